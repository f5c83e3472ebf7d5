//! Keys that derive keys (BIP-32): the private side on 64 bytes that never leave, the public side as `xpub` text.
//!
//! There is no text form of a private key here, neither to write nor to read, so none can leave by mistake.
//!
//! A child whose number gives no valid key ("In case parse256(IL) ≥ n or ki = 0, the resulting key is invalid, and
//! one should proceed with the next value for i") is an error here; proceeding is the caller's decision, not made
//! silently.

#[cfg(any(test, feature = "properties"))]
pub mod properties;
#[cfg(test)]
mod tests;

use crate::base58;
use crate::bitcoin::hash160;
use crate::model::Network;
use core::fmt;
pub use countersign_wire::path::{ChildNumber, DerivationPath as Path, HARDENED, NotAPath, PATH_MAX_DEPTH};
use hmac::{Hmac, KeyInit, Mac};
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::sec1::ToSec1Point;
use k256::{FieldBytes, ProjectivePoint, PublicKey, Scalar};
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The bytes do not give a valid key. With honest input that happens once in 2^127.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey;

/// The first four bytes of HASH160 of a public key.
pub type Fingerprint = [u8; 4];

/// A private key and its chain code: what derives all that is beneath. Erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ExtendedPrivateKey {
    key: [u8; 32],
    chain_code: [u8; 32],
}

impl fmt::Debug for ExtendedPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExtendedPrivateKey(redacted)")
    }
}

impl ExtendedPrivateKey {
    /// The master key of a seed of 16 to 64 bytes (BIP-32, "Master key generation").
    pub fn of_seed(seed: &[u8]) -> Result<Self, InvalidKey> {
        if !(16..=64).contains(&seed.len()) {
            return Err(InvalidKey);
        }
        Self::of_bytes(&hmac_sha512(b"Bitcoin seed", &[seed]))
    }

    /// Of k ‖ c, 32 bytes each, as [`Self::to_bytes`] gave it.
    pub fn of_bytes(bytes: &[u8; 64]) -> Result<Self, InvalidKey> {
        let (key, chain_code) = halves(bytes);
        scalar(&key).filter(|scalar| !bool::from(scalar.is_zero())).ok_or(InvalidKey)?;
        Ok(Self { key: *key, chain_code })
    }

    /// k ‖ c, 32 bytes each, to be sealed.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(&self.key);
        bytes[32..].copy_from_slice(&self.chain_code);
        bytes
    }

    /// k: what signs.
    pub fn private_key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The public key, SEC 1 compressed.
    pub fn public_key(&self) -> [u8; 33] {
        let secret = Zeroizing::new(scalar(&self.key).expect("checked when it was made"));
        compressed(&ProjectivePoint::mul_by_generator(&secret)).expect("k is not 0")
    }

    /// The fingerprint of the public key.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.public_key())
    }

    /// `CKDpriv` (BIP-32, "Private parent key → private child key").
    pub fn child(&self, number: ChildNumber) -> Result<Self, InvalidKey> {
        let index = number.to_u32().to_be_bytes();
        let hashed = if number.is_hardened() {
            hmac_sha512(&self.chain_code, &[&[0], &self.key, &index])
        } else {
            hmac_sha512(&self.chain_code, &[&self.public_key(), &index])
        };
        let (tweak, chain_code) = halves(&hashed);
        Ok(Self { key: *added(&tweak, &self.key)?, chain_code })
    }

    /// Child by child along a path.
    pub fn derive(&self, path: &Path) -> Result<Self, InvalidKey> {
        path.steps().iter().try_fold(self.clone(), |key, number| key.child(*number))
    }

    /// The extended public key at a path beneath this key, which must be a master key.
    pub fn public_at(&self, path: &Path) -> Result<ExtendedPublicKey, InvalidKey> {
        let mut key = self.clone();
        let (mut depth, mut parent, mut number) = (0u8, [0; 4], 0);
        for step in path.steps() {
            parent = key.fingerprint();
            key = key.child(*step)?;
            number = step.to_u32();
            depth = depth.checked_add(1).ok_or(InvalidKey)?;
        }
        let (public_key, chain_code) = (key.public_key(), key.chain_code);
        Ok(ExtendedPublicKey { depth, parent, number, chain_code, public_key })
    }
}

/// A public key and its chain code, with its place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedPublicKey {
    depth: u8,
    parent: Fingerprint,
    number: u32,
    chain_code: [u8; 32],
    public_key: [u8; 33],
}

impl ExtendedPublicKey {
    /// Length of the serialised form in bytes.
    pub const BYTES: usize = 78;

    /// `CKDpub` (BIP-32, "Public parent key → public child key"): not for hardened children.
    pub fn child(&self, number: ChildNumber) -> Result<Self, InvalidKey> {
        if number.is_hardened() {
            return Err(InvalidKey);
        }
        let index = number.to_u32().to_be_bytes();
        let hashed = hmac_sha512(&self.chain_code, &[&self.public_key, &index]);
        let (tweak, chain_code) = halves(&hashed);
        let tweak = scalar(&tweak).ok_or(InvalidKey)?;
        let parent = PublicKey::from_sec1_bytes(&self.public_key).map_err(|_| InvalidKey)?;
        let point = ProjectivePoint::mul_by_generator(&tweak) + parent.to_projective();
        Ok(Self {
            depth: self.depth.checked_add(1).ok_or(InvalidKey)?,
            parent: fingerprint(&self.public_key),
            number: number.to_u32(),
            chain_code,
            public_key: compressed(&point)?,
        })
    }

    /// The public key, SEC 1 compressed.
    pub fn public_key(&self) -> &[u8; 33] {
        &self.public_key
    }

    /// How many steps it is from its master key.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// The number of this child under its parent; 0 for a master key.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// BIP-32, "Serialization format": version ‖ depth ‖ parent's fingerprint ‖ number ‖ chain code ‖ public key.
    pub fn to_bytes(&self, network: Network) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&version(network));
        bytes[4] = self.depth;
        bytes[5..9].copy_from_slice(&self.parent);
        bytes[9..13].copy_from_slice(&self.number.to_be_bytes());
        bytes[13..45].copy_from_slice(&self.chain_code);
        bytes[45..].copy_from_slice(&self.public_key);
        bytes
    }

    /// Reads the serialised form; says whether it is for the main network.
    pub fn of_bytes(bytes: &[u8; Self::BYTES]) -> Result<(Self, bool), InvalidKey> {
        let (known, rest) = bytes.split_first_chunk::<4>().ok_or(InvalidKey)?;
        let main = match *known {
            XPUB => true,
            TPUB => false,
            _ => return Err(InvalidKey),
        };
        let (depth, rest) = rest.split_first().ok_or(InvalidKey)?;
        let (parent, rest) = rest.split_first_chunk::<4>().ok_or(InvalidKey)?;
        let (number, rest) = rest.split_first_chunk::<4>().ok_or(InvalidKey)?;
        let (chain_code, rest) = rest.split_first_chunk::<32>().ok_or(InvalidKey)?;
        let public_key: [u8; 33] = rest.try_into().map_err(|_| InvalidKey)?;
        let number = u32::from_be_bytes(*number);
        if *depth == 0 && (*parent != [0; 4] || number != 0) || !is_compressed_key(&public_key) {
            return Err(InvalidKey);
        }
        Ok((Self { depth: *depth, parent: *parent, number, chain_code: *chain_code, public_key }, main))
    }

    /// The text of a network: `xpub…` on the main network, `tpub…` on every other.
    pub fn to_text(&self, network: Network) -> String {
        base58::encode_check(&self.to_bytes(network))
    }

    /// Reads `xpub…` or `tpub…`, nothing else: not `ypub`, `zpub` (the descriptor says the script type), and no
    /// private key.
    pub fn of_text(text: &str) -> Result<(Self, bool), InvalidKey> {
        let bytes = base58::decode_check(text).ok_or(InvalidKey)?;
        Self::of_bytes(bytes.as_slice().try_into().map_err(|_| InvalidKey)?)
    }
}

/// Version bytes of a public key on the main network (BIP-32).
const XPUB: [u8; 4] = [0x04, 0x88, 0xb2, 0x1e];

/// Version bytes of a public key on a test network (BIP-32).
const TPUB: [u8; 4] = [0x04, 0x35, 0x87, 0xcf];

fn version(network: Network) -> [u8; 4] {
    if network == Network::Main { XPUB } else { TPUB }
}

/// The first four bytes of HASH160 of a compressed public key.
pub fn fingerprint(public_key: &[u8; 33]) -> Fingerprint {
    let [a, b, c, d, ..] = hash160(public_key);
    [a, b, c, d]
}

/// Whether it is a point of secp256k1 in compressed form. The curve's own reader takes a compact form (first byte
/// 5) as well.
pub(crate) fn is_compressed_key(bytes: &[u8; 33]) -> bool {
    matches!(bytes[0], 2 | 3) && PublicKey::from_sec1_bytes(bytes).is_ok()
}

fn compressed(point: &ProjectivePoint) -> Result<[u8; 33], InvalidKey> {
    let key = PublicKey::from_affine(point.to_affine()).map_err(|_| InvalidKey)?;
    key.to_sec1_point(true).as_bytes().try_into().map_err(|_| InvalidKey)
}

/// parse256, where the number is below the group order.
fn scalar(bytes: &[u8; 32]) -> Option<Scalar> {
    Scalar::from_repr(FieldBytes::from(*bytes)).into_option()
}

/// parse256(IL) + k, unless one of the two rules makes it invalid.
fn added(tweak: &[u8; 32], key: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, InvalidKey> {
    let tweak = Zeroizing::new(scalar(tweak).ok_or(InvalidKey)?);
    let key = Zeroizing::new(scalar(key).ok_or(InvalidKey)?);
    let sum = Zeroizing::new(*tweak + *key);
    if sum.is_zero().into() { Err(InvalidKey) } else { Ok(Zeroizing::new(sum.to_bytes().into())) }
}

fn halves(bytes: &[u8; 64]) -> (Zeroizing<[u8; 32]>, [u8; 32]) {
    let (left, right) = bytes.split_at(32);
    let mut halves = (Zeroizing::new([0; 32]), [0; 32]);
    halves.0.copy_from_slice(left);
    halves.1.copy_from_slice(right);
    halves
}

fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}
