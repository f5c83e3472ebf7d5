//! The embedded keystore: k256 and HMAC, keys wrapped with AES-256-GCM.
//!
//! ```text
//! offset  size  what
//! 0       12    nonce, random
//! 12      n     the key, encrypted
//! 12 + n  16    tag, over the key and the authenticated data that names the kind of key
//! ```
//! The wrapping key is 32 random bytes in `keystore/key`. Nonces are random, which NIST SP 800-38D section 8.3
//! allows for 2^32 blobs under one key: a thousand times what one HSM makes.

use super::{KeyKind, KeyPair, Keystore, KeystoreError};
use crate::{HsmError, durable};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use countersign_wire::client::TotpHash;
use countersign_wire::hal::Secret;
use hmac::Mac;
use k256::ecdsa::signature::hazmat::PrehashSigner;
use k256::ecdsa::{Signature, SigningKey};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;

/// The embedded keystore. Its wrapping key is zeroized when it is dropped.
pub struct Embedded {
    cipher: Aes256Gcm,
}

fn key_file(folder: &Path) -> PathBuf {
    folder.join("key")
}

/// Makes the wrapping key.
pub fn create(folder: &Path) -> Result<(), HsmError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(key.as_mut_slice()).map_err(HsmError::io("make the keystore's key"))?;
    durable::create_file(&key_file(folder), key.as_slice()).map(drop)
}

impl Embedded {
    /// Opens it with the wrapping key in its folder.
    pub fn open(folder: &Path) -> Result<Self, HsmError> {
        let path = key_file(folder);
        let key = std::fs::read(&path)
            .map(Zeroizing::new)
            .map_err(HsmError::io(format!("read the keystore's key in {}", path.display())))?;
        let cipher = Aes256Gcm::new_from_slice(&key)
            .map_err(|_| HsmError::Keystore(format!("{} does not hold a key of 32 bytes", path.display())))?;
        Ok(Self { cipher })
    }

    fn wrap(&self, kind: KeyKind, key: &[u8]) -> Result<Vec<u8>, KeystoreError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: key, aad: &authenticated(kind) };
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .expect("AES-GCM refuses only messages of many gigabytes");
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn unwrap(&self, kind: KeyKind, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_BYTES>().ok_or(KeystoreError::NotOurs)?;
        let payload = Payload { msg: sealed, aad: &authenticated(kind) };
        let key = self.cipher.decrypt(&Nonce::from(*nonce), payload).map_err(|_| KeystoreError::NotOurs)?;
        Ok(Zeroizing::new(key))
    }
}

fn authenticated(kind: KeyKind) -> Vec<u8> {
    [b"countersign/simulator/embedded-keystore/1\0".as_slice(), kind.word().as_bytes()].concat()
}

impl Keystore for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn generate_key_pair(&self) -> Result<KeyPair, KeystoreError> {
        let mut candidate = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(candidate.as_mut_slice())?;
            // All but one in 2^128 strings of 32 bytes are private keys (SEC 1 section 3.2.1).
            let Ok(key) = SigningKey::from_slice(candidate.as_slice()) else { continue };
            let point = key.verifying_key().to_sec1_point(false);
            let public_key =
                point.as_bytes().try_into().map_err(|_| KeystoreError::Implausible("the public key"))?;
            return Ok(KeyPair { wrapped: self.wrap(KeyKind::Signing, candidate.as_slice())?, public_key });
        }
    }

    fn sign_digest(&self, wrapped: &[u8], digest: &[u8; 32]) -> Result<[u8; 64], KeystoreError> {
        let key = self.unwrap(KeyKind::Signing, wrapped)?;
        let key = SigningKey::from_slice(&key).map_err(|_| KeystoreError::NotOurs)?;
        let signature: Signature =
            key.sign_prehash(digest).map_err(|_| KeystoreError::Implausible("the signature"))?;
        Ok(signature.to_bytes().into())
    }

    fn wrap_mac_key(&self, hash: TotpHash, secret: &[u8]) -> Result<Vec<u8>, KeystoreError> {
        if secret.len() == hash.secret_bytes() {
            self.wrap(KeyKind::Mac(hash), secret)
        } else {
            Err(KeystoreError::SecretLength)
        }
    }

    fn mac(&self, wrapped: &[u8], hash: TotpHash, counters: &[u64]) -> Result<Vec<Secret>, KeystoreError> {
        let secret = self.unwrap(KeyKind::Mac(hash), wrapped)?;
        Ok(match hash {
            TotpHash::Sha1 => macs::<hmac::Hmac<sha1::Sha1>>(&secret, counters),
            TotpHash::Sha256 => macs::<hmac::Hmac<sha2::Sha256>>(&secret, counters),
            TotpHash::Sha512 => macs::<hmac::Hmac<sha2::Sha512>>(&secret, counters),
        })
    }
}

fn macs<M: Mac + KeyInit + Clone>(secret: &[u8], counters: &[u64]) -> Vec<Secret> {
    let keyed = <M as KeyInit>::new_from_slice(secret).expect("HMAC takes keys of any length");
    let mac = |counter: &u64| {
        let mut mac = keyed.clone();
        mac.update(&counter.to_be_bytes());
        Secret::new(mac.finalize().into_bytes().to_vec())
    };
    counters.iter().map(mac).collect()
}
