//! Who the plugin is to a user's device: two P-256 key pairs that follow from the sealing key, so from this device, this image
//! and this clock mode, and the root's word that they do.

use crate::hal::{Hal, HalError};
use countersign_approvals::es256::{PublicKey, SigningKey};
use countersign_approvals::sealed::OpeningKey;
use countersign_approvals::statement::{self, Signed, Statement};
use countersign_wire::device::{self, SignedStatement};
use countersign_wire::hal::{Fault, Secret};
use hkdf::Hkdf;
use serde_bytes::ByteArray;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The plugin's own keys.
pub(crate) struct Identity {
    signing: SigningKey,
    opening: OpeningKey,
    acts: Zeroizing<[u8; 32]>,
    endorsed: device::Identity,
}

impl Identity {
    /// Makes the keys and has the root endorse them.
    pub(crate) async fn endorse(hal: &Hal, sealing_key: &Secret) -> Result<Self, HalError> {
        let refused = HalError(Fault::Keystore);
        let secret: &[u8; 32] = sealing_key.expose().try_into().map_err(|_| refused)?;
        let signing = SigningKey::derive(secret, "countersign plugin statements v1");
        let opening = OpeningKey::derive(secret, "countersign plugin seals v1");
        let mut acts = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, secret)
            .expand(b"countersign act nonces v1", acts.as_mut_slice())
            .map_err(|_| refused)?;
        let (signing_key, sealing_key) = (signing.public_key(), opening.public_key());
        let endorsed = hal.endorse(*signing_key.as_bytes(), *sealing_key.as_bytes()).await?;
        // What devices are told must be what they can check.
        let root = PublicKey::parse(endorsed.root.as_slice()).map_err(|_| refused)?;
        let signed =
            Signed { statement: endorsed.statement.to_vec(), signature: endorsed.signature.into_array() };
        let told = signed.verify::<statement::Identity>(&root).map_err(|_| refused)?;
        if told.signing_key == signing_key && told.sealing_key == sealing_key {
            Ok(Self { signing, opening, acts, endorsed })
        } else {
            Err(refused)
        }
    }

    /// As devices ask for it.
    pub(crate) fn endorsed(&self) -> &device::Identity {
        &self.endorsed
    }

    /// What it signs with, and what is sealed to it with: SEC 1 uncompressed.
    pub(crate) fn keys(&self) -> ([u8; 65], [u8; 65]) {
        (*self.signing.public_key().as_bytes(), *self.opening.public_key().as_bytes())
    }

    /// What is sealed to the plugin.
    pub(crate) fn opening(&self) -> &OpeningKey {
        &self.opening
    }

    /// Says something, signed.
    pub(crate) fn say<S: Statement>(&self, statement: &S) -> SignedStatement {
        self.say_encoded(statement.to_bytes())
    }

    /// Says a statement that was encoded before.
    pub(crate) fn say_encoded(&self, statement: Vec<u8>) -> SignedStatement {
        let signature = self.signing.sign(&statement);
        SignedStatement { statement: statement.into(), signature: ByteArray::new(signature) }
    }

    /// The nonce of the next act on an account: another one after each act, and no state to be kept for it.
    pub(crate) fn act_nonce(&self, tenant: &str, account: &str, acts: u64) -> [u8; 32] {
        let mut info = Vec::with_capacity(160);
        for name in [tenant, account] {
            info.extend_from_slice(&(name.len() as u64).to_be_bytes());
            info.extend_from_slice(name.as_bytes());
        }
        info.extend_from_slice(&acts.to_be_bytes());
        let mut nonce = [0; 32];
        Hkdf::<Sha256>::new(None, self.acts.as_slice())
            .expand(&info, &mut nonce)
            .expect("32 bytes are within HKDF's limit");
        nonce
    }
}
