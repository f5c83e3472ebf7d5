//! Frames: how messages are cut out of a byte stream.
//!
//! ```text
//! offset  size  what
//! 0       4     length of the payload in bytes, unsigned, big-endian; 1 to the channel's maximum
//! 4       n     payload: one CBOR message
//! ```
//!
//! There is no version byte and no padding. A length of 0 or above the maximum ends the connection: the stream
//! can no longer be trusted to be in step.

/// The largest payload between host and HSM, in bytes. It fits a PSBT of 128 KiB with signatures for 256 inputs (27 KiB) and
/// the longest summary (32 KiB).
pub const CLIENT_MAX_BYTES: usize = 192 * 1024;

/// The largest payload between plugin and firmware, in bytes.
pub const HAL_MAX_BYTES: usize = 1024 * 1024;

/// Bytes in front of each payload.
pub const HEADER_BYTES: usize = 4;

/// A length field that no honest peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength;

impl core::fmt::Display for BadLength {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("frame length is zero or above the maximum")
    }
}

impl std::error::Error for BadLength {}

/// Reads a frame header: the length of the payload in bytes, between 1 and `max_bytes`.
pub fn payload_length(header: [u8; HEADER_BYTES], max_bytes: usize) -> Result<usize, BadLength> {
    match usize::try_from(u32::from_be_bytes(header)) {
        Ok(length) if (1..=max_bytes).contains(&length) => Ok(length),
        _ => Err(BadLength),
    }
}

/// Puts the header in front of `payload` and appends both to `out`.
///
/// The caller keeps `payload` within the channel's maximum; a longer one ends the connection at the other side.
pub fn append(out: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("payloads are bounded far below 4 GiB by every sender");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Cuts the first whole frame off the front of `buffer`: the payload and the number of bytes it took.
/// `None` means that more bytes are needed.
pub fn split_first(buffer: &[u8], max_bytes: usize) -> Result<Option<(&[u8], usize)>, BadLength> {
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let end = HEADER_BYTES + payload_length(*header, max_bytes)?;
    Ok(buffer.get(HEADER_BYTES..end).map(|payload| (payload, end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_empty_and_oversized_frames() {
        assert_eq!(payload_length([0; 4], 10), Err(BadLength));
        assert_eq!(payload_length(11u32.to_be_bytes(), 10), Err(BadLength));
        assert_eq!(payload_length([0xff; 4], CLIENT_MAX_BYTES), Err(BadLength));
        assert_eq!(payload_length(10u32.to_be_bytes(), 10), Ok(10));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stream = Vec::new();
            for payload in &payloads {
                append(&mut stream, payload);
            }
            let visible = &stream[..cut.index(stream.len() + 1)];
            let (mut at, mut seen) = (0, Vec::new());
            while let Some((payload, used)) = split_first(&visible[at..], 40).unwrap() {
                seen.push(payload.to_vec());
                at += used;
            }
            prop_assert!(payloads.starts_with(&seen));
            prop_assert!(visible.len() < stream.len() || seen == payloads);
        }
    }
}
