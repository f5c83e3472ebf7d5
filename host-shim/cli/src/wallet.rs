//! Addresses of keys: made here from what the HSM says of them, and of no use for spending.

use crate::failure::Failure;
use crate::show::{KeyShown, Show, line};
use countersign_intent::bip32::ExtendedPublicKey;
use countersign_intent::bitcoin::{Account, Purpose, SingleKey};
use countersign_wire::client::{AccountInfo, KeyInfo, Network};
use countersign_wire::reason::Reason;
use serde::Serialize;

/// `address`.
#[derive(Serialize)]
pub(crate) struct AddressShown {
    key: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl Show for AddressShown {
    fn for_people(&self, out: &mut String) {
        line(out, "Address", &self.address);
        if let Some(path) = &self.path {
            line(out, "  path", path);
        }
    }
}

/// The address of a key; of a Bitcoin wallet account, the one at this index.
pub(crate) fn address(key: &KeyInfo, index: Option<u32>, change: bool) -> Result<AddressShown, Failure> {
    let label = key.label.to_string();
    let Some(network) = key.plan.network else {
        no_index(index, change)?;
        return Ok(AddressShown { key: label, address: key.ethereum_address.clone(), path: path_of(key) });
    };
    if let Some(account) = account(key, network) {
        let (chain, index) = (u32::from(change), index.unwrap_or_default());
        let address = account
            .address(chain, index)
            .ok_or_else(|| Failure::Usage("indices are below 2147483648".to_owned()))?;
        let path = account.path_of(chain, index).map(|path| path.to_string());
        return Ok(AddressShown { key: label, address: address.to_string(), path });
    }
    no_index(index, change)?;
    let compressed = compressed(&key.public_key);
    let key = SingleKey::new(compressed, network).map_err(|_| Reason::HsmUnreachable)?;
    Ok(AddressShown { key: label, address: key.address(Purpose::Bip84).to_string(), path: None })
}

fn no_index(index: Option<u32>, change: bool) -> Result<(), Failure> {
    if index.is_some() || change {
        return Err(Failure::Usage(
            "this key has one address: --index and --change are for wallet accounts".to_owned(),
        ));
    }
    Ok(())
}

fn path_of(key: &KeyInfo) -> Option<String> {
    key.plan.path.as_ref().map(ToString::to_string)
}

/// The wallet account that a key is, if it is one.
fn account(key: &KeyInfo, network: Network) -> Option<Account> {
    let (path, watch) = (key.plan.path.as_ref()?, key.watch.as_ref()?);
    let (extended, _) = ExtendedPublicKey::of_text(&watch.xpub).ok()?;
    Account::at(path, extended, watch.root_fingerprint.into_array(), network).ok()
}

/// SEC 1: x, and whether y is odd.
fn compressed(public_key: &[u8; 65]) -> [u8; 33] {
    let mut compressed = [0; 33];
    compressed[0] = 2 + (public_key[64] & 1);
    compressed[1..].copy_from_slice(&public_key[1..33]);
    compressed
}

/// `wallet show`.
#[derive(Serialize)]
pub(crate) struct WalletShown {
    account: String,
    keys: Vec<WalletKey>,
}

#[derive(Serialize)]
struct WalletKey {
    #[serde(flatten)]
    key: KeyShown,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_address: Option<String>,
}

impl WalletShown {
    /// The keys of the account's wallet.
    pub(crate) fn of(account: &AccountInfo) -> Self {
        let keys = account.keys.iter().filter(|key| key.plan.path.is_some());
        let keys = keys.map(|key| WalletKey {
            key: KeyShown::from(key),
            first_address: address(key, None, false).ok().map(|shown| shown.address),
        });
        Self { account: account.account.to_string(), keys: keys.collect() }
    }
}

impl Show for WalletShown {
    fn for_people(&self, out: &mut String) {
        line(out, "Wallet", &self.account);
        if self.keys.is_empty() {
            out.push_str("No key was made from this wallet: see countersign key create --help.\n");
        }
        for key in &self.keys {
            key.key.for_people(out);
            if let Some(address) = &key.first_address {
                line(out, "  first", address);
            }
        }
    }
}
