//! What the tests of this crate share.

use data_encoding::HEXLOWER_PERMISSIVE;

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).unwrap()
}

pub(crate) fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER_PERMISSIVE.encode(bytes.as_ref())
}
