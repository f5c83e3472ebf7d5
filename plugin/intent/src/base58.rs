//! Base58Check: bytes with four bytes of a double SHA-256 behind them, in Bitcoin's base 58 alphabet.

use crate::bitcoin::sha256d;

/// The longest text that is read, in characters: a serialised extended key (82 bytes) has 111 or 112.
const TEXT_MAX: usize = 112;

/// The text of a payload.
pub(crate) fn encode_check(payload: &[u8]) -> String {
    let mut bytes = payload.to_vec();
    bytes.extend_from_slice(&sha256d(payload)[..4]);
    bs58::encode(bytes).into_string()
}

/// The payload of a text, if its checksum is right.
pub(crate) fn decode_check(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let mut bytes = bs58::decode(text).into_vec().ok()?;
    let payload = bytes.len().checked_sub(4)?;
    let checksum = bytes.split_off(payload);
    (sha256d(&bytes)[..4] == checksum).then_some(bytes)
}
