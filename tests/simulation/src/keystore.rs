//! A keystore in memory: real ECDSA and real HMACs, and nothing that takes time besides them.
//!
//! A wrapped key is the key with a tag over it, so that a blob that this keystore did not make opens nothing.

use crate::world::{HSM_ID, MEASUREMENT};
use countersign_approvals::es256::{self, PublicKey};
use countersign_approvals::statement::{self, Signed};
use countersign_wire::client::TotpHash;
use countersign_wire::device::Identity;
use countersign_wire::hal::{Fault, Secret};
use hmac::{Hmac, KeyInit, Mac};
use k256::ecdsa::signature::hazmat::PrehashSigner;
use k256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

const TAG_BYTES: usize = 8;

fn tag(secret: &[u8]) -> [u8; TAG_BYTES] {
    let hash = Sha256::new().chain_update(b"wrapped in the simulation").chain_update(secret).finalize();
    *hash.first_chunk().expect("a hash is longer than a tag")
}

/// Wraps a secret.
pub fn wrap(secret: &[u8]) -> Vec<u8> {
    [secret, &tag(secret)].concat()
}

/// The secret in a blob that this keystore made.
pub fn unwrap(wrapped: &[u8]) -> Result<&[u8], Fault> {
    let (secret, found) = wrapped.split_last_chunk().ok_or(Fault::Keystore)?;
    if *found == tag(secret) { Ok(secret) } else { Err(Fault::Keystore) }
}

/// The root's word that these are the keys of the one image there is.
pub fn endorse(signing_key: &[u8; 65], sealing_key: &[u8; 65]) -> Identity {
    let key = |bytes: &[u8; 65]| PublicKey::parse(bytes).expect("the plugin has keys");
    let identity = statement::Identity {
        hsm: HSM_ID,
        measurement: MEASUREMENT,
        clock: statement::ClockMode::Manual,
        signing_key: key(signing_key),
        sealing_key: key(sealing_key),
    };
    let root = es256::SigningKey::from_scalar(&[3; 32]).expect("a scalar");
    let signed = Signed::sign(&root, &identity);
    Identity {
        statement: signed.statement.into(),
        signature: signed.signature.into(),
        root: (*root.public_key().as_bytes()).into(),
    }
}

/// A key pair out of 32 random bytes: the wrapped private key and the public point.
pub fn key_pair(random: [u8; 32]) -> (Vec<u8>, [u8; 65]) {
    // One in 2^128 draws is no private key; the simulation's draws are known to be ones.
    let key = SigningKey::from_slice(&random).expect("the draw is a private key");
    let point = key.verifying_key().to_sec1_point(false);
    (wrap(&random), point.as_bytes().try_into().expect("an uncompressed point has 65 bytes"))
}

/// Signs a digest: r‖s.
pub fn sign(wrapped: &[u8], digest: &[u8; 32]) -> Result<[u8; 64], Fault> {
    let key = SigningKey::from_slice(unwrap(wrapped)?).map_err(|_| Fault::Keystore)?;
    let signature: Signature = key.sign_prehash(digest).map_err(|_| Fault::Keystore)?;
    Ok(signature.to_bytes().into())
}

/// The HMAC of one counter.
pub fn mac(secret: &[u8], hash: TotpHash, counter: u64) -> Vec<u8> {
    let counter = counter.to_be_bytes();
    match hash {
        TotpHash::Sha1 => {
            let mac = Hmac::<sha1::Sha1>::new_from_slice(secret).expect("HMAC takes keys of any length");
            mac.chain_update(counter).finalize().into_bytes().to_vec()
        }
        TotpHash::Sha256 => {
            let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
            mac.chain_update(counter).finalize().into_bytes().to_vec()
        }
        TotpHash::Sha512 => {
            let mac = Hmac::<sha2::Sha512>::new_from_slice(secret).expect("HMAC takes keys of any length");
            mac.chain_update(counter).finalize().into_bytes().to_vec()
        }
    }
}

/// The MACs of some counters.
pub fn macs(wrapped: &[u8], hash: TotpHash, counters: &[u64]) -> Result<Vec<Secret>, Fault> {
    let secret = unwrap(wrapped)?;
    Ok(counters.iter().map(|counter| Secret::new(mac(secret, hash, *counter))).collect())
}

/// What the user's phone shows for a step (RFC 4226 section 5.3).
pub fn code(secret: &[u8], hash: TotpHash, digits: u8, step: u64) -> String {
    let mac = mac(secret, hash, step);
    let at = usize::from(mac[mac.len() - 1] & 0x0f);
    let word = u32::from_be_bytes(mac[at..at + 4].try_into().expect("four bytes")) & 0x7fff_ffff;
    format!("{:01$}", word % 10u32.pow(u32::from(digits)), usize::from(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238 appendix B.
    #[test]
    fn codes_are_those_of_the_standard() {
        assert_eq!(code(b"12345678901234567890", TotpHash::Sha1, 8, 59 / 30), "94287082");
        assert_eq!(code(b"12345678901234567890123456789012", TotpHash::Sha256, 8, 59 / 30), "46119246");
    }

    #[test]
    fn a_blob_of_another_maker_opens_nothing() {
        let mut blob = wrap(&[1; 20]);
        assert_eq!(unwrap(&blob), Ok(&[1; 20][..]));
        blob[3] ^= 1;
        assert_eq!(unwrap(&blob), Err(Fault::Keystore));
        assert_eq!(unwrap(&[]), Err(Fault::Keystore));
    }
}
