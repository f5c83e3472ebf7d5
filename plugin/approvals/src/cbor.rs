//! The one encoding of statements: CBOR (RFC 8949) with the rules of its section 4.2.1 for what is used here (unsigned
//! integers, byte strings, text, arrays, truth values): shortest heads, definite lengths, no tags, no floats.
//!
//! The reader accepts what the writer writes and nothing else; every length is checked against the caller's bound and
//! against the bytes that are there before anything is copied. Depth is that of the caller's own code.

/// The bytes are not the one valid encoding of what was expected.
///
/// It says nothing more on purpose: what exactly was wrong with a hostile message helps only its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Malformed {
    /// The stable word for programs.
    pub fn word(self) -> &'static str {
        "malformed"
    }
}

/// The major types that are used (RFC 8949 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Major {
    Unsigned = 0,
    Bytes = 2,
    Text = 3,
    Array = 4,
}

/// How long the argument of a head is that does not fit into it (section 3).
const ONE_BYTE: u8 = 0x18;
const TWO_BYTES: u8 = 0x19;
const FOUR_BYTES: u8 = 0x1a;
const EIGHT_BYTES: u8 = 0x1b;

/// Simple values (section 3.3).
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;

/// Writes one value after the other.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(512))
    }

    /// The head of a value: major type and argument, in the shortest form (section 4.2.1).
    fn head(&mut self, major: Major, argument: u64) {
        let major = (major as u8) << 5;
        let bytes = argument.to_be_bytes();
        match argument {
            0..24 => self.0.push(major | bytes[7]),
            24..0x100 => self.0.extend_from_slice(&[major | ONE_BYTE, bytes[7]]),
            0x100..0x1_0000 => self.long_head(major | TWO_BYTES, &bytes[6..]),
            0x1_0000..0x1_0000_0000 => self.long_head(major | FOUR_BYTES, &bytes[4..]),
            _ => self.long_head(major | EIGHT_BYTES, &bytes),
        }
    }

    fn long_head(&mut self, first: u8, argument: &[u8]) {
        self.0.push(first);
        self.0.extend_from_slice(argument);
    }

    pub(crate) fn array(&mut self, count: usize) {
        self.head(Major::Array, count as u64);
    }

    pub(crate) fn unsigned(&mut self, value: u64) {
        self.head(Major::Unsigned, value);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.head(Major::Bytes, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.head(Major::Text, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn truth(&mut self, value: bool) {
        self.0.push(if value { TRUE } else { FALSE });
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads one value after the other.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// The argument of a head of this major type, if it stands there in its shortest form.
    fn head(&mut self, major: Major) -> Result<u64, Malformed> {
        let first = self.byte()?;
        if first >> 5 != major as u8 {
            return Err(Malformed);
        }
        let (length, least) = match first & 0x1f {
            small @ 0..24 => return Ok(u64::from(small)),
            ONE_BYTE => (1, 24),
            TWO_BYTES => (2, 0x100),
            FOUR_BYTES => (4, 0x1_0000),
            EIGHT_BYTES => (8, 0x1_0000_0000),
            _ => return Err(Malformed),
        };
        let argument = self.take(length)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if argument >= least { Ok(argument) } else { Err(Malformed) }
    }

    /// A head that gives a count or a length, within the bound.
    fn length(&mut self, major: Major, max: usize) -> Result<usize, Malformed> {
        let length = usize::try_from(self.head(major)?).map_err(|_| Malformed)?;
        if length <= max { Ok(length) } else { Err(Malformed) }
    }

    /// An array of exactly this many elements, which the caller reads next.
    pub(crate) fn array(&mut self, count: usize) -> Result<(), Malformed> {
        if self.length(Major::Array, count)? == count { Ok(()) } else { Err(Malformed) }
    }

    /// An array of up to `max` elements; the caller reads as many next as this says.
    pub(crate) fn array_up_to(&mut self, max: usize) -> Result<usize, Malformed> {
        self.length(Major::Array, max)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, Malformed> {
        self.head(Major::Unsigned)
    }

    pub(crate) fn bytes(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let length = self.length(Major::Bytes, max)?;
        self.take(length)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes(N)?.try_into().map_err(|_| Malformed)
    }

    pub(crate) fn text(&mut self, max: usize) -> Result<&'a str, Malformed> {
        let length = self.length(Major::Text, max)?;
        core::str::from_utf8(self.take(length)?).map_err(|_| Malformed)
    }

    pub(crate) fn truth(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            FALSE => Ok(false),
            TRUE => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// Nothing may follow.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests;
