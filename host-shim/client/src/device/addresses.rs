//! That an address is what a key gives: worked out here, with the code that makes addresses inside the HSM.

use crate::device::trust::Distrust;
use countersign_approvals::statement::KeyEntry;
use countersign_intent::bip32::ExtendedPublicKey;
use countersign_intent::bitcoin::{Account, Purpose, SingleKey};
use countersign_intent::ethereum;
use countersign_wire::client::Network;
use countersign_wire::path::DerivationPath;
use serde_bytes::ByteArray;

/// Checks a key's address: of an Ethereum key the one of EIP-55, of a Bitcoin wallet account the one of index 0, of another
/// Bitcoin key that of P2WPKH. Where the HSM names none there is nothing to show, and only a key that pays from no address
/// may have none.
pub fn check(key: &KeyEntry) -> Result<(), Distrust> {
    let expected = expected(key).ok_or(Distrust::WrongAddress)?;
    let blind = key.mechanisms.iter().all(|mechanism| mechanism == "digest");
    if key.address == expected || key.address.is_empty() && blind && key.network.is_empty() {
        Ok(())
    } else {
        Err(Distrust::WrongAddress)
    }
}

/// The address that the key gives.
fn expected(key: &KeyEntry) -> Option<String> {
    if key.network.is_empty() {
        if !key.xpub.is_empty() {
            return None;
        }
        return Some(ethereum::address_of(&ByteArray::new(key.public_key)).to_string());
    }
    let network = Network::ALL.iter().copied().find(|network| network.word() == key.network)?;
    if key.xpub.is_empty() && key.path.is_empty() {
        let single = SingleKey::new(compressed(&key.public_key), network).ok()?;
        return Some(single.address(Purpose::Bip84).to_string());
    }
    let (extended, is_main) = ExtendedPublicKey::of_text(&key.xpub).ok()?;
    // The key that signs is the one that the extended key is about.
    if *extended.public_key() != compressed(&key.public_key) || is_main != (network == Network::Main) {
        return None;
    }
    let path: DerivationPath = key.path.parse().ok()?;
    // The master's fingerprint stands in descriptors, not in addresses.
    let account = Account::at(&path, extended, [0; 4], network).ok()?;
    account.address(0, 0).map(|address| address.to_string())
}

/// SEC 1: x, and whether y is odd.
fn compressed(public_key: &[u8; 65]) -> [u8; 33] {
    let mut compressed = [0; 33];
    compressed[0] = 2 + (public_key[64] & 1);
    compressed[1..].copy_from_slice(&public_key[1..33]);
    compressed
}
