//! People for tests: real keys, made and used with `ssh-keygen`, and hardware keys that are played.

use crate::message::NAMESPACE;
use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, Signature, SshSig};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A person with a key in a file.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    folder: tempfile::TempDir,
}

impl Person {
    /// With a new key of this kind: `ed25519`, `ecdsa`, `rsa`.
    pub(crate) fn with_key(name: &'static str, kind: &str) -> Self {
        let person = Self { name, folder: tempfile::tempdir().unwrap() };
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-C", name, "-f"])
            .arg(person.key_file())
            .output()
            .expect("ssh-keygen is installed: openssh-client");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        person
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// Kind and key, as a list of keys has them.
    pub(crate) fn public_key(&self) -> String {
        let text = std::fs::read_to_string(self.key_file().with_extension("pub")).unwrap();
        text.trim_end().rsplit_once(' ').unwrap().0.to_owned()
    }

    /// A line of a list of release keys.
    pub(crate) fn line(&self) -> String {
        format!("{} {}\n", self.name, self.public_key())
    }

    /// What `ssh-keygen -Y sign` makes of the message.
    pub(crate) fn sign_for(&self, namespace: &str, hash: &str, message: &[u8]) -> Vec<u8> {
        let mut signing = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-O", &format!("hashalg={hash}"), "-f"])
            .arg(self.key_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        signing.stdin.take().unwrap().write_all(message).unwrap();
        let Output { status, stdout, stderr } = signing.wait_with_output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        stdout
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_for(NAMESPACE, "sha512", message)
    }
}

/// A hardware key's signature, made as `PROTOCOL.u2f` says: over the hashes of application and message, with flags and
/// counter between them.
pub(crate) fn hardware_signature(algorithm: &Algorithm, flags: u8, message: &[u8]) -> (PublicKey, String) {
    let (application, counter) = ("ssh:", 7_u32.to_be_bytes());
    let data = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, message).unwrap();
    let signed = [&Sha256::digest(application)[..], &[flags], &counter, &Sha256::digest(data)].concat();
    let (key, raw) = if *algorithm == Algorithm::SkEd25519 {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let public = Ed25519PublicKey(secret.verifying_key().to_bytes());
        let key = KeyData::SkEd25519(SkEd25519::new(public, application));
        (key, secret.sign(&signed).to_bytes().to_vec())
    } else {
        let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let EcdsaPublicKey::NistP256(public) = EcdsaPublicKey::from(*secret.verifying_key()) else {
            panic!("a P-256 key")
        };
        let signature: p256::ecdsa::Signature = secret.sign(&signed);
        let key = KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(public, application));
        (key, Signature::try_from(signature).unwrap().as_bytes().to_vec())
    };
    let raw = [&raw[..], &[flags], &counter].concat();
    let signature = Signature::new(algorithm.clone(), raw).unwrap();
    let signature = SshSig::new(key.clone(), NAMESPACE, HashAlg::Sha512, signature).unwrap();
    (PublicKey::from(key), signature.to_pem(LineEnding::LF).unwrap())
}
