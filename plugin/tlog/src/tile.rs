//! How a log lies in files ([c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles)): tiles of 256 hashes on every eighth level of the
//! tree, bundles of 256 entries; the last of each may be partial.

use crate::tree::{Hash, node_hash};

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;

/// Levels of the tree in one tile.
pub const TILE_HEIGHT: u32 = 8;

/// The longest entry that a bundle can hold, in bytes.
pub const ENTRY_MAX_BYTES: usize = u16::MAX as usize;

/// What one file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// The hashes of a level: 0 for the leaves', then every eighth.
    Hashes(u8),
    /// Entries.
    Entries,
}

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// What it holds.
    pub content: Content,
    /// Its place on its level.
    pub index: u64,
    /// How many it holds: 1 to 256.
    pub width: u16,
}

impl Tile {
    /// Where it lies: `tile/0/x001/x234/067.p/8`.
    pub fn path(&self) -> String {
        let level = match self.content {
            Content::Hashes(level) => level.to_string(),
            Content::Entries => "entries".to_owned(),
        };
        let mut place = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            place = format!("x{:03}/{place}", rest % 1000);
            rest /= 1000;
        }
        let partial =
            if u64::from(self.width) == TILE_WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{level}/{place}{partial}")
    }

    /// Every file that a tree of this size has, in order: the entries, then the levels from the leaves up.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        let levels = core::iter::once((Content::Entries, size)).chain(
            (0..8).map(move |level| (Content::Hashes(level), size >> (TILE_HEIGHT * u32::from(level)))),
        );
        levels.flat_map(|(content, count)| Self::of_level(content, 0, count))
    }

    /// The files of one level that hold those from `begin` (rounded down to a whole file) to `count`.
    pub fn of_level(content: Content, begin: u64, count: u64) -> impl Iterator<Item = Self> {
        (begin / TILE_WIDTH..count.div_ceil(TILE_WIDTH)).map(move |index| {
            let width = (count - index * TILE_WIDTH).min(TILE_WIDTH);
            Self { content, index, width: u16::try_from(width).expect("at most 256") }
        })
    }
}

/// The root of the full subtree over these hashes, a power of two of them.
pub fn subtree_root(hashes: &[Hash]) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    level.pop()
}

/// Entries as a bundle: each behind its length, 2 bytes, big-endian. `None`: one is too long.
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Some(bytes)
}

/// The entries of a bundle. `None`: it does not end with an entry, or has more than 256.
pub fn unbundle(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
        if entries.len() as u64 > TILE_WIDTH {
            return None;
        }
    }
    bytes.is_empty().then_some(entries)
}
