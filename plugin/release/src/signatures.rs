//! The signatures of an image: a file beside it, of its name and `.sig`.
//!
//! The file is one armored SSHSIG after the other (OpenSSH's `PROTOCOL.sshsig`, 1 to 3), each exactly as `ssh-keygen -Y sign`
//! writes it, and nothing else.

use crate::message::NAMESPACE;
use crate::{Refusal, keys};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, LineEnding, PublicKey, SshSig};

/// The longest file of signatures, in bytes.
pub const SIGNATURES_MAX_BYTES: usize = 64 * 1024;

/// The most signatures in a file.
pub const SIGNATURES_MAX: usize = 64;

/// The longest single signature, in bytes: far more than those of the kinds that are taken have.
const SIGNATURE_MAX_BYTES: usize = 4096;

const END: &str = "-----END SSH SIGNATURE-----\n";

/// "User presence": somebody touched the key (OpenSSH's `PROTOCOL.u2f`, flags of signatures; FIDO, `UP`).
const USER_PRESENT: u8 = 0x01;

/// Flags (1) and counter (4), which end a signature of an `sk-` key.
const SK_TRAILER_BYTES: usize = 5;

/// Reads a file of signatures. None at all is refused by a word of its own.
pub fn parse(file: &[u8]) -> Result<Vec<SshSig>, Refusal> {
    if file.is_empty() {
        return Err(Refusal::ImageUnsigned);
    }
    let bad = |what: &str| Refusal::SignaturesDamaged(what.to_owned());
    if file.len() > SIGNATURES_MAX_BYTES {
        return Err(bad("the file is too long"));
    }
    let text = core::str::from_utf8(file).map_err(|_| bad("the file is not text"))?;
    let blocks: Vec<&str> = text.split_inclusive(END).collect();
    if blocks.len() > SIGNATURES_MAX {
        return Err(bad("there are too many signatures"));
    }
    (1..).zip(blocks).map(|(number, block)| read(number, block)).collect()
}

fn read(number: usize, block: &str) -> Result<SshSig, Refusal> {
    let bad = |what: &str| Refusal::SignaturesDamaged(format!("signature {number}: {what}"));
    if block.len() > SIGNATURE_MAX_BYTES {
        return Err(bad("it is too long"));
    }
    let signature = SshSig::from_pem(block).map_err(|_| bad("it is no SSH signature"))?;
    if signature.to_pem(LineEnding::LF).ok().as_deref() != Some(block) {
        return Err(bad("it is not in the one form that ssh-keygen writes"));
    }
    if signature.version() != SshSig::VERSION || !signature.reserved().is_empty() {
        return Err(bad("it is of another version"));
    }
    Ok(signature)
}

/// The one signature that `ssh-keygen -Y sign` just made of `message`: checked with the key that it names itself.
pub fn made_now(armored: &[u8], message: &[u8]) -> Result<SshSig, Refusal> {
    let mut signatures = parse(armored)?;
    let (Some(signature), true) = (signatures.pop(), signatures.is_empty()) else {
        return Err(Refusal::SignaturesDamaged("there is more than one".into()));
    };
    let key = PublicKey::from(signature.public_key().clone());
    verify(&signature, &key, message).map_err(|what| Refusal::SignaturesDamaged(what.into()))?;
    Ok(signature)
}

/// The key that a signature is of, as OpenSSH names keys: `SHA256:…`.
pub fn fingerprint(signature: &SshSig) -> String {
    signature.public_key().fingerprint(HashAlg::Sha256).to_string()
}

/// Whether `key` signed `message` as a release key does; if not, why.
pub(crate) fn verify(signature: &SshSig, key: &PublicKey, message: &[u8]) -> Result<(), &'static str> {
    if !keys::is_taken(key.key_data()) {
        return Err("keys of this kind are not taken");
    }
    if signature.namespace() != NAMESPACE {
        return Err("it was made for another namespace");
    }
    if signature.algorithm() != key.key_data().algorithm() {
        return Err("its algorithm is not its key's");
    }
    let on_hardware = matches!(key.key_data(), KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_));
    if on_hardware && !was_touched(signature.signature_bytes()) {
        return Err("nobody touched the key");
    }
    key.verify(NAMESPACE, message, signature).map_err(|_| "it is not of this image, version and channel")
}

fn was_touched(signature: &[u8]) -> bool {
    let flags = signature.len().checked_sub(SK_TRAILER_BYTES).and_then(|at| signature.get(at));
    flags.is_some_and(|flags| flags & USER_PRESENT != 0)
}

#[cfg(test)]
mod tests;
