//! Bytes from outside, read one after the other; whatever does not fit is a refusal.

use countersign_wire::reason::Reason;

/// What every reader of this module refuses with.
pub(crate) const MALFORMED: Reason = Reason::MalformedPsbt;

/// Reads bytes one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses bytes that nobody asked for.
    pub(crate) fn end(&self) -> Result<(), Reason> {
        if self.rest.is_empty() { Ok(()) } else { Err(MALFORMED) }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(MALFORMED)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        self.take(N)?.try_into().map_err(|_| MALFORMED)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Reason> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Reason> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Reason> {
        self.array().map(u64::from_le_bytes)
    }

    /// A compact size in its shortest form: below 0xfd one byte; 0xfd, 0xfe, 0xff before 2, 4, 8 bytes.
    pub(crate) fn compact_size(&mut self) -> Result<u64, Reason> {
        let (size, least) = match self.u8()? {
            0xfd => (u64::from(u16::from_le_bytes(self.array()?)), 0xfd),
            0xfe => (u64::from(self.u32()?), 0x1_0000),
            0xff => (self.u64()?, 0x1_0000_0000),
            small => (u64::from(small), 0),
        };
        if size < least { Err(MALFORMED) } else { Ok(size) }
    }

    /// A count that is bounded before anything is done with it.
    pub(crate) fn count(&mut self, most: usize) -> Result<usize, Reason> {
        let count = usize::try_from(self.compact_size()?).map_err(|_| MALFORMED)?;
        if count > most { Err(MALFORMED) } else { Ok(count) }
    }

    /// Bytes behind their length.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Reason> {
        let length = usize::try_from(self.compact_size()?).map_err(|_| MALFORMED)?;
        self.take(length)
    }
}

/// Writes a compact size in its shortest form.
pub(crate) fn write_compact_size(out: &mut Vec<u8>, size: usize) {
    let wide = (size as u64).to_le_bytes();
    match size {
        0..=0xfc => out.push(wide[0]),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend_from_slice(&wide[..2]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfe);
            out.extend_from_slice(&wide[..4]);
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&wide);
        }
    }
}

/// Writes bytes behind their length.
pub(crate) fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    write_compact_size(out, bytes.len());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn compact_sizes_have_one_form(size: u32, shift in 0u32..32) {
            let size = (size >> shift) as usize;
            let mut out = Vec::new();
            write_compact_size(&mut out, size);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.compact_size(), Ok(size as u64));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn whatever_is_read_is_written_back(bytes: [u8; 9]) {
            let mut reader = Reader::new(&bytes);
            if let Ok(size) = reader.compact_size() {
                let mut out = Vec::new();
                write_compact_size(&mut out, usize::try_from(size).unwrap());
                prop_assert_eq!(&out[..], &bytes[..9 - reader.rest().len()]);
            }
        }
    }

    #[test]
    fn refuses_a_compact_size_that_could_be_shorter() {
        for long in
            [&[0xfd, 0xfc, 0][..], &[0xfe, 0xff, 0xff, 0, 0], &[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]]
        {
            assert_eq!(Reader::new(long).compact_size(), Err(MALFORMED));
        }
        assert_eq!(Reader::new(&[0xfd, 0xfd, 0]).compact_size(), Ok(0xfd));
        assert_eq!(Reader::new(&[0xfd, 0xfd]).compact_size(), Err(MALFORMED));
    }
}
