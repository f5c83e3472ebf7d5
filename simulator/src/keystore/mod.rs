//! The keystore: the only place where keys are used. Keys live outside it as wrapped blobs, which only the
//! keystore that made them can open, each only as the kind of key that it was made as.
//!
//! * [`embedded`]: pure Rust, nothing to install.
//! * [`softhsm`]: SoftHSM2 through PKCS#11; [`softhsm_token`] keeps its token files whole; [`open_keys`] bounds
//!   the keys that are open in it.

pub mod embedded;
pub mod open_keys;
pub mod softhsm;
pub mod softhsm_token;
#[cfg(test)]
mod tests;

use crate::HsmError;
use core::fmt;
use countersign_wire::client::TotpHash;
use countersign_wire::hal::Secret;
use std::path::Path;

/// The longest wrapped blob that a keystore gives out, in bytes.
pub const WRAPPED_MAX_BYTES: usize = 256;

/// A new key pair.
#[derive(Debug)]
pub struct KeyPair {
    /// The private key, wrapped.
    pub wrapped: Vec<u8>,
    /// SEC 1 uncompressed point.
    pub public_key: [u8; 65],
}

/// What any keystore does. Calls may come from several threads at once.
pub trait Keystore: Send + Sync {
    /// Its name, for status.
    fn name(&self) -> &'static str;

    /// Makes a secp256k1 key pair.
    fn generate_key_pair(&self) -> Result<KeyPair, KeystoreError>;

    /// ECDSA over a digest with a wrapped private key: r‖s, big-endian, not necessarily low-S.
    fn sign_digest(&self, wrapped: &[u8], digest: &[u8; 32]) -> Result<[u8; 64], KeystoreError>;

    /// Wraps a TOTP secret, which is as long as its hash.
    fn wrap_mac_key(&self, hash: TotpHash, secret: &[u8]) -> Result<Vec<u8>, KeystoreError>;

    /// HMAC of each counter, as 8 bytes big-endian (RFC 4226 section 5.2), in order.
    fn mac(&self, wrapped: &[u8], hash: TotpHash, counters: &[u64]) -> Result<Vec<Secret>, KeystoreError>;
}

/// Why the keystore did not do something.
#[derive(Debug)]
pub enum KeystoreError {
    /// The blob is not one that this keystore made for this kind of key.
    NotOurs,
    /// The secret is not as long as its hash.
    SecretLength,
    /// No randomness.
    Rng(getrandom::Error),
    /// SoftHSM failed.
    Pkcs11(cryptoki::error::Error),
    /// SoftHSM gave something that cannot be right.
    Implausible(&'static str),
}

impl fmt::Display for KeystoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeystoreError::NotOurs => f.write_str("the blob does not open as that kind of key"),
            KeystoreError::SecretLength => f.write_str("a TOTP secret must be as long as its hash"),
            KeystoreError::Rng(error) => write!(f, "no randomness: {error}"),
            KeystoreError::Pkcs11(error) => write!(f, "SoftHSM failed: {error}"),
            KeystoreError::Implausible(what) => write!(f, "SoftHSM gave a wrong answer: {what}"),
        }
    }
}

impl std::error::Error for KeystoreError {}

impl From<cryptoki::error::Error> for KeystoreError {
    fn from(error: cryptoki::error::Error) -> Self {
        KeystoreError::Pkcs11(error)
    }
}

impl From<getrandom::Error> for KeystoreError {
    fn from(error: getrandom::Error) -> Self {
        KeystoreError::Rng(error)
    }
}

/// Which keystore an HSM has; fixed when it was initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeystoreKind {
    /// [`embedded`].
    Embedded,
    /// [`softhsm`].
    Softhsm,
}

impl KeystoreKind {
    /// Its byte in the fuses.
    pub const fn code(self) -> u8 {
        match self {
            KeystoreKind::Embedded => 0,
            KeystoreKind::Softhsm => 1,
        }
    }

    /// From its byte in the fuses.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(KeystoreKind::Embedded),
            1 => Some(KeystoreKind::Softhsm),
            _ => None,
        }
    }
}

/// What kind of key a blob holds. A blob opens only as the kind that it was wrapped as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A secp256k1 private key.
    Signing,
    /// A TOTP secret for this hash.
    Mac(TotpHash),
}

impl KeyKind {
    /// Every kind there is.
    pub const ALL: [KeyKind; 4] = [
        KeyKind::Signing,
        KeyKind::Mac(TotpHash::Sha1),
        KeyKind::Mac(TotpHash::Sha256),
        KeyKind::Mac(TotpHash::Sha512),
    ];

    /// Its name in labels and in authenticated data.
    pub const fn word(self) -> &'static str {
        match self {
            KeyKind::Signing => "secp256k1",
            KeyKind::Mac(TotpHash::Sha1) => "hmac-sha1",
            KeyKind::Mac(TotpHash::Sha256) => "hmac-sha256",
            KeyKind::Mac(TotpHash::Sha512) => "hmac-sha512",
        }
    }
}

/// Makes the keystore in its folder, durably.
pub fn create(kind: KeystoreKind, folder: &Path, softhsm_module: Option<&Path>) -> Result<(), HsmError> {
    match kind {
        KeystoreKind::Embedded => embedded::create(folder),
        KeystoreKind::Softhsm => softhsm::create(folder, softhsm_module),
    }
}

/// Opens the keystore in its folder.
pub fn open(kind: KeystoreKind, folder: &Path) -> Result<Box<dyn Keystore>, HsmError> {
    match kind {
        KeystoreKind::Embedded => Ok(Box::new(embedded::Embedded::open(folder)?)),
        KeystoreKind::Softhsm => Ok(Box::new(softhsm::SoftHsm::open(folder)?)),
    }
}
