//! Secrets that one reader alone can open: HPKE (RFC 9180) in base mode, with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and
//! AES-256-GCM, one message to a context (section 6.1).
//!
//! A device seals its user's codes to the HSM; the HSM seals the otpauth URI to the device.

mod codes;
mod receive;

pub use codes::{BadCodes, CODE_MAX_BYTES, decode_codes, encode_codes};

use crate::es256::{NotAScalar, PublicKey};
use hkdf::Hkdf;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The info string of codes, sealed to the identity's sealing key. Associated data: the approval digest.
pub const CODE_INFO: &[u8] = b"countersign sealed code v1";

/// The info string of an otpauth URI, sealed to the device sealing key. Associated data: the device nonce.
pub const ENROLMENT_INFO: &[u8] = b"countersign enrolment v1";

/// The longest ciphertext that is opened, in bytes: an otpauth URI with long names, and the tag.
pub const CIPHERTEXT_MAX_BYTES: usize = 4096;

/// The length of the tag at the end of each ciphertext (AES-GCM, RFC 5116 section 5.1), in bytes.
const TAG_BYTES: usize = 16;

/// A sealed message, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The sender's ephemeral public key: `enc` of RFC 9180, an uncompressed point.
    pub encapsulated: [u8; 65],
    /// As long as the plaintext, and 16 bytes of tag.
    pub ciphertext: Vec<u8>,
}

/// It does not open: made for another key, info or associated data, changed on the way, too long, or `encapsulated` is no
/// public key. Which of them it was helps only an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsealed;

impl Unsealed {
    /// The stable word for programs.
    pub fn word(self) -> &'static str {
        "bad-seal"
    }
}

impl Sealed {
    /// `SHA-256(encapsulated ‖ ciphertext)`: what signatures cover of it.
    pub fn hash(&self) -> [u8; 32] {
        sealed_hash(&self.encapsulated, &self.ciphertext)
    }
}

/// [`Sealed::hash`] of the two parts where they lie.
pub fn sealed_hash(encapsulated: &[u8; 65], ciphertext: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(encapsulated).chain_update(ciphertext).finalize().into()
}

/// A private key that opens what was sealed to its public key. Never printed, never copied, erased when dropped.
pub struct OpeningKey {
    private: SecretKey,
    public: PublicKey,
}

/// Separates the keys that are derived here from everything else that may be derived of the same secret.
const DERIVE_SALT: &[u8] = b"countersign opening key v1";

impl OpeningKey {
    /// The key that belongs to a secret and a label, always the same: HKDF-SHA256 (RFC 5869) gives 32 bytes, and
    /// `DeriveKeyPair` (RFC 9180 section 7.1.3) the key.
    pub fn derive(secret: &[u8; 32], label: &str) -> Self {
        let mut material = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(DERIVE_SALT), secret)
            .expand(label.as_bytes(), material.as_mut_slice())
            .expect("HKDF-SHA256 gives up to 8,160 bytes");
        let (private, _) = DhP256HkdfSha256::derive_keypair(material.as_slice());
        let scalar = Zeroizing::new(private.to_bytes().into());
        Self::from_scalar(&scalar).expect("it is a private key")
    }

    /// A key that is known already: 32 bytes, big-endian, from 1 to n − 1.
    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, NotAScalar> {
        let private = SecretKey::from_bytes(&(*scalar).into()).map_err(|_| NotAScalar)?;
        let public = PublicKey::parse(private.public_key().to_sec1_point(false).as_bytes());
        Ok(Self { private, public: public.expect("a scalar from 1 to n − 1 has a public key") })
    }

    /// Whom others seal to.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Opens what was sealed to this key with the same info and associated data.
    pub fn open(
        &self,
        info: &[u8],
        associated: &[u8],
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, Unsealed> {
        self.open_parts(info, associated, &sealed.encapsulated, &sealed.ciphertext)
    }

    /// [`open`](Self::open) of the two parts where they lie.
    pub fn open_parts(
        &self,
        info: &[u8],
        associated: &[u8],
        encapsulated: &[u8; 65],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unsealed> {
        if !(TAG_BYTES..=CIPHERTEXT_MAX_BYTES).contains(&ciphertext.len()) {
            return Err(Unsealed);
        }
        receive::open((&self.private, &self.public), info, associated, encapsulated, ciphertext)
    }
}

impl core::fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("OpeningKey(redacted)")
    }
}

/// Seals one message. `random` is fresh for every message, from a proper source: it is `ikmE` of RFC 9180, from which the
/// ephemeral key is derived.
pub fn seal(to: &PublicKey, info: &[u8], associated: &[u8], plaintext: &[u8], random: &[u8; 32]) -> Sealed {
    let to = <DhP256HkdfSha256 as Kem>::PublicKey::from_bytes(to.as_bytes());
    let sealed = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
        &OpModeS::Base,
        &to.expect("it is a point of P-256, not the identity"),
        info,
        plaintext,
        associated,
        &mut Once(Some(Zeroizing::new(*random))),
    );
    let (encapsulated, ciphertext) =
        sealed.expect("a first message, below 64 GiB, to a point that is not the identity");
    Sealed { encapsulated: encapsulated.to_bytes().into(), ciphertext }
}

/// Hands 32 bytes out, once, in one piece, which is how RFC 9180's `GenerateKeyPair` is asked for here. Anything else
/// stops: bytes that were used before must not come again.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl TryRng for Once {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("the ephemeral key takes 32 bytes in one piece")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("the ephemeral key takes 32 bytes in one piece")
    }

    fn try_fill_bytes(&mut self, place: &mut [u8]) -> Result<(), Self::Error> {
        let bytes = self.0.take().expect("one message takes one ephemeral key");
        place.copy_from_slice(bytes.as_slice());
        Ok(())
    }
}

impl TryCryptoRng for Once {}

#[cfg(test)]
mod tests;
