//! ES256: ECDSA over P-256 with SHA-256 (FIPS 186-5 section 6, RFC 7518 section 3.4), with s in the lower half of the
//! group order. Every signature has a second form, with n − s in the place of s; that one is refused everywhere, so that
//! what was accepted once cannot come back as other bytes.

mod der;

pub use der::{der_to_raw, raw_to_der};

use hkdf::Hkdf;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// r‖s, big-endian, 32 bytes each.
pub type RawSignature = [u8; 64];

/// A P-256 public key: a point on the curve, not the identity, that came as 65 bytes (SEC 1 section 2.3.3, uncompressed).
#[derive(Clone, Copy)]
pub struct PublicKey {
    bytes: [u8; 65],
    key: VerifyingKey,
}

/// The bytes are no public key: another length or form, or no point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPublicKey;

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSignature {
    /// r or s is zero or not below the group order, s is in the higher half, or the DER is not the only valid form.
    Malformed,
    /// A signature in its proper form, but not of this message by this key.
    Wrong,
}

/// The 32 bytes are no private key: zero, or not below the group order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAScalar;

impl NotAPublicKey {
    /// The stable word for programs.
    pub fn word(self) -> &'static str {
        "not-a-public-key"
    }
}

impl BadSignature {
    /// The stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed-signature",
            Self::Wrong => "wrong-signature",
        }
    }
}

impl NotAScalar {
    /// The stable word for programs.
    pub fn word(self) -> &'static str {
        "not-a-scalar"
    }
}

impl PublicKey {
    /// The one way in: 65 bytes, the first `04`, a point on the curve (SEC 1 section 3.2.2; P-256 has cofactor 1).
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAPublicKey> {
        let bytes: [u8; 65] = bytes.try_into().map_err(|_| NotAPublicKey)?;
        // The other forms of SEC 1 have other lengths, or (the hybrid one) are not read.
        let key = VerifyingKey::from_sec1_bytes(&bytes).map_err(|_| NotAPublicKey)?;
        Ok(Self { bytes, key })
    }

    /// The 65 bytes it came from.
    pub fn as_bytes(&self) -> &[u8; 65] {
        &self.bytes
    }

    /// SHA-256 of the 65 bytes. In hex it is what people compare of a root.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.bytes).into()
    }

    /// The first 16 bytes of the [`fingerprint`](Self::fingerprint): how a device is named in messages.
    pub fn device_id(&self) -> [u8; 16] {
        let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = self.fingerprint();
        first
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PublicKey(")?;
        self.device_id().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Reads r‖s: both from 1 to n − 1, s at most (n − 1)/2.
fn read_raw(signature: &RawSignature) -> Result<Signature, BadSignature> {
    let read = Signature::from_slice(signature).map_err(|_| BadSignature::Malformed)?;
    if read.normalize_s() == read { Ok(read) } else { Err(BadSignature::Malformed) }
}

/// Checks a signature over `message`, which is hashed with SHA-256. All inputs are public.
pub fn verify(key: &PublicKey, message: &[u8], signature: &RawSignature) -> Result<(), BadSignature> {
    let signature = read_raw(signature)?;
    key.key.verify(message, &signature).map_err(|_| BadSignature::Wrong)
}

/// The same signature with s in the lower half. What is no signature at all (r or s out of range) comes back unchanged,
/// and is refused by [`verify`].
pub fn low_s(signature: RawSignature) -> RawSignature {
    Signature::from_slice(&signature).map_or(signature, |read| read.normalize_s().to_bytes().into())
}

/// A private key that signs. Never printed, never copied, erased when dropped.
pub struct SigningKey(p256::ecdsa::SigningKey);

/// Separates the keys that are derived here from everything else that may be derived of the same secret.
const DERIVE_SALT: &[u8] = b"countersign es256 key v1";

impl SigningKey {
    /// The key that belongs to a secret and a label, always the same. HKDF-SHA256 (RFC 5869) gives candidates of 32
    /// bytes, with `label ‖ number of the try` as info, until one is a scalar (FIPS 186-5 appendix A.2.2): the first,
    /// but for one in 2^32.
    pub fn derive(secret: &[u8; 32], label: &str) -> Self {
        let root = Hkdf::<Sha256>::new(Some(DERIVE_SALT), secret);
        (0..=u8::MAX)
            .find_map(|attempt| {
                let mut candidate = Zeroizing::new([0; 32]);
                root.expand_multi_info(&[label.as_bytes(), &[attempt]], candidate.as_mut_slice()).ok()?;
                Self::from_scalar(&candidate).ok()
            })
            .expect("32 bytes can be expanded, and 256 candidates fail once in 2^8192")
    }

    /// A key that is known already, for example that of a test vector: 32 bytes, big-endian, from 1 to n − 1.
    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, NotAScalar> {
        p256::ecdsa::SigningKey::from_slice(scalar).map(Self).map_err(|_| NotAScalar)
    }

    /// Whom signatures of this key are checked with.
    pub fn public_key(&self) -> PublicKey {
        let key = *self.0.verifying_key();
        let bytes = key.to_sec1_point(false).as_bytes().try_into();
        PublicKey { bytes: bytes.expect("an uncompressed point of P-256 has 65 bytes"), key }
    }

    /// Signs SHA-256 of the message; the nonce is that of RFC 6979, so no randomness is needed. s is in the lower half.
    pub fn sign(&self, message: &[u8]) -> RawSignature {
        let signature: Signature = self.0.sign(message);
        signature.normalize_s().to_bytes().into()
    }
}

impl core::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}

#[cfg(test)]
mod tests;
