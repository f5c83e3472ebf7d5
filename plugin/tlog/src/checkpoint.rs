//! Checkpoints ([c2sp.org/tlog-checkpoint](https://c2sp.org/tlog-checkpoint)): the text of a signed note that says how large a
//! tree is and what its root is.
//!
//! ```text
//! <origin>
//! <size, decimal>
//! <root, base64>
//! <extension lines, if any>
//! ```

use crate::tree::Hash;
use core::fmt::Write;
use data_encoding::BASE64;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log it is of.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root of its tree.
    pub root: Hash,
    /// Lines that say something else, in order.
    pub extension: Vec<String>,
}

/// The most extension lines that are read.
const EXTENSIONS_MAX: usize = 16;

impl Checkpoint {
    /// The text that is signed.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(&self.root));
        for line in &self.extension {
            writeln!(text, "{line}").expect("a string takes everything");
        }
        text
    }

    /// Reads exactly what [`Self::to_text`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let root = hash_of(lines.next()?)?;
        let extension: Vec<String> = lines.map(str::to_owned).collect();
        if extension.len() > EXTENSIONS_MAX || extension.iter().any(String::is_empty) {
            return None;
        }
        let checkpoint = Self { origin, size, root, extension };
        (checkpoint.to_text() == text).then_some(checkpoint)
    }
}

/// A hash from its base64.
pub(crate) fn hash_of(base64: &str) -> Option<Hash> {
    BASE64.decode(base64.as_bytes()).ok()?.try_into().ok()
}
