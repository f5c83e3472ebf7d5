//! What is inside a sealed code: `["countersign code v1", approval digest, [code, …]]`.

use crate::cbor::{Reader, Writer};
use zeroize::Zeroizing;

/// The longest code, in bytes: as long as the longest that can be typed anywhere.
pub const CODE_MAX_BYTES: usize = 64;

/// How many codes go together: one, or two of consecutive time steps.
const CODES_MAX: usize = 2;

const NAME: &str = "countersign code v1";

/// Why an opened plaintext gives no codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCodes {
    /// Not the one encoding of one or two codes of at most [`CODE_MAX_BYTES`].
    Malformed,
    /// Made for another approval digest.
    AnotherDigest,
}

impl BadCodes {
    /// The stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed-codes",
            Self::AnotherDigest => "codes-for-another-digest",
        }
    }
}

/// The plaintext to seal. The codes go in as they were typed; whether they look like codes is asked inside.
pub fn encode_codes(digest: &[u8; 32], codes: &[&str]) -> Zeroizing<Vec<u8>> {
    let mut writer = Writer::new();
    writer.array(3);
    writer.text(NAME);
    writer.bytes(digest);
    writer.array(codes.len());
    for code in codes {
        writer.text(code);
    }
    Zeroizing::new(writer.finish())
}

/// Reads the codes, one or two, from a plaintext that was made for this digest.
pub fn decode_codes(plaintext: &[u8], digest: &[u8; 32]) -> Result<Vec<Zeroizing<String>>, BadCodes> {
    let (found, codes) = read(plaintext).ok_or(BadCodes::Malformed)?;
    if found == *digest { Ok(codes) } else { Err(BadCodes::AnotherDigest) }
}

fn read(plaintext: &[u8]) -> Option<([u8; 32], Vec<Zeroizing<String>>)> {
    let mut reader = Reader::new(plaintext);
    reader.array(3).ok()?;
    let named = reader.text(NAME.len()).ok()? == NAME;
    let digest = reader.fixed().ok()?;
    let count = reader.array_up_to(CODES_MAX).ok()?;
    let codes =
        (0..count).map(|_| reader.text(CODE_MAX_BYTES).ok().map(|code| Zeroizing::new(code.to_owned())));
    let codes: Vec<_> = codes.collect::<Option<_>>()?;
    reader.end().ok()?;
    (named && count > 0).then_some((digest, codes))
}
