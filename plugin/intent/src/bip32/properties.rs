//! What must hold of extended public keys and paths, whoever wrote them, as [`crate::ethereum::properties`] says it of
//! transactions. The other opinion is that of `bitcoin`. Never part of an image.

use super::{ChildNumber, ExtendedPublicKey, Path};
use crate::base58;
use crate::model::Network;
use core::str::FromStr;

/// The bytes as the text of a key, as the serialised form of one, and as the text of a path.
pub fn check_keys(bytes: &[u8]) -> bool {
    let serialised = bytes.first_chunk().is_some_and(check_serialised);
    let text = core::str::from_utf8(bytes).is_ok_and(|text| check_text(text) | check_path(text));
    serialised || text
}

/// A text is an extended public key to us and to the other one, or to neither; then it is the same key.
fn check_text(text: &str) -> bool {
    let other = bitcoin::bip32::Xpub::from_str(text).ok();
    // The other one takes a master key with a parent or a number, too (BIP-32, invalid vectors of test vector 5).
    let other = other.filter(|key| {
        let is_root = key.parent_fingerprint.to_bytes() == [0; 4] && u32::from(key.child_number) == 0;
        key.depth > 0 || is_root
    });
    let Ok((key, main)) = ExtendedPublicKey::of_text(text) else {
        assert_eq!(other, None, "{text} is a key to the other one");
        return false;
    };
    let other = other.expect("the other one reads it too");
    let network = if main { Network::Main } else { Network::Test };
    assert_eq!(key.to_text(network), text, "one key, one text");
    assert_eq!(other.encode(), key.to_bytes(network));
    let child = key.child(ChildNumber::of_u32(7));
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    let others = other.derive_pub(&secp, &[bitcoin::bip32::ChildNumber::from(7)]);
    // Past the last depth there is no child; the other one has none either, or counts from 0 again.
    if key.depth() < u8::MAX {
        assert_eq!(child.ok().map(|child| child.to_bytes(network)), others.ok().map(|child| child.encode()));
    } else {
        assert!(child.is_err());
    }
    true
}

/// The serialised form is read exactly if its text is.
fn check_serialised(bytes: &[u8; ExtendedPublicKey::BYTES]) -> bool {
    let text = base58::encode_check(bytes);
    let read = ExtendedPublicKey::of_bytes(bytes);
    assert_eq!(read, ExtendedPublicKey::of_text(&text));
    assert_eq!(read.is_ok(), check_text(&text));
    read.is_ok_and(|(key, main)| key.to_bytes(if main { Network::Main } else { Network::Test }) == *bytes)
}

/// A path that is read has the same steps to the other one.
fn check_path(text: &str) -> bool {
    let Ok(path) = text.parse::<Path>() else { return false };
    let other = bitcoin::bip32::DerivationPath::from_str(text).expect("the other one reads it too");
    let steps: Vec<u32> = path.steps().iter().map(|step| step.to_u32()).collect();
    assert_eq!(other.to_u32_vec(), steps);
    true
}
