//! Who would sign, and what of a transaction is his. Nothing is believed that the plugin cannot derive itself.
//!
//! | signer | inputs that are ours | outputs that are ours (change) |
//! | --- | --- | --- |
//! | one key | P2PKH, P2WPKH and P2SH-P2WPKH of the key; P2WSH and P2SH-P2WSH multisig that the key is in | the first three |
//! | an account | the script type of its purpose, of a key that is derived at the path which the PSBT gives for it | the same |
//!
//! A multisig output is never change, not even one with the script of an input: whoever makes a 1-of-2 with our key
//! and his own would have the rest paid to himself and shown as ours. Wallets under purpose 48 (multisig accounts)
//! are not known.

use super::descriptor;
use super::psbt::{Map, input, output};
use super::reader::MALFORMED;
use super::script::{multisig_keys, p2pkh, p2sh, p2wpkh, p2wsh};
use super::{address, hash160};
use crate::bip32::{ChildNumber, ExtendedPrivateKey, ExtendedPublicKey, Fingerprint, InvalidKey, Path};
use crate::model::{Address, Network};
use countersign_wire::path;
use countersign_wire::reason::Reason;

/// From this index on, an output to a key of the account is not told as its own: whoever makes the PSBT chooses the index, and
/// no wallet looks so far.
pub const OWN_OUTPUT_INDEX_END: u32 = 1 << 20;

/// The chain and the index of a key beneath an account: chain 0 receives, chain 1 takes change (BIP-44).
pub(crate) type Child = (u32, u32);

/// What an account is for, and so which script its keys have. The number is the first step of its path (BIP-43).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// P2PKH (BIP-44).
    Bip44,
    /// P2SH-P2WPKH (BIP-49).
    Bip49,
    /// P2WPKH (BIP-84).
    Bip84,
}

impl Purpose {
    /// Every purpose there is.
    pub const ALL: &[Purpose] = &[Purpose::Bip44, Purpose::Bip49, Purpose::Bip84];

    /// The first step of the path, hardened.
    pub const fn number(self) -> u32 {
        match self {
            Purpose::Bip44 => 44,
            Purpose::Bip49 => 49,
            Purpose::Bip84 => 84,
        }
    }

    /// The purpose of that number.
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|purpose| purpose.number() == number)
    }

    /// scriptPubKey of a compressed key.
    pub fn script(self, public_key: &[u8; 33]) -> Vec<u8> {
        let hash = hash160(public_key);
        match self {
            Purpose::Bip44 => p2pkh(&hash),
            Purpose::Bip49 => p2sh(&p2wpkh(&hash)),
            Purpose::Bip84 => p2wpkh(&hash),
        }
    }
}

/// One key, on one network. It signs for each single-key script of [`Purpose`], and in P2WSH multisig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleKey {
    public_key: [u8; 33],
    network: Network,
}

impl SingleKey {
    /// Of a compressed public key; refuses bytes that are none.
    pub fn new(public_key: [u8; 33], network: Network) -> Result<Self, InvalidKey> {
        if !crate::bip32::is_compressed_key(&public_key) {
            return Err(InvalidKey);
        }
        Ok(Self { public_key, network })
    }

    /// SEC 1 compressed.
    pub fn public_key(&self) -> &[u8; 33] {
        &self.public_key
    }

    /// Where it receives, for one of its scripts.
    pub fn address(&self, purpose: Purpose) -> Address {
        address(&purpose.script(&self.public_key), self.network)
    }
}

/// The extended key does not stand where an account's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAccount;

/// An account of a wallet: `m / purpose' / coin_type' / account'` (BIP-44), by its extended public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    key: ExtendedPublicKey,
    master: Fingerprint,
    purpose: Purpose,
    number: u32,
    network: Network,
    /// The keys of chain 0 and 1, which every key of the account is derived from.
    chains: [ExtendedPublicKey; 2],
}

impl Account {
    /// Of an account's extended public key, which must be the hardened child `number` at depth 3, and of its master
    /// key's fingerprint.
    pub fn new(
        key: ExtendedPublicKey,
        master: Fingerprint,
        purpose: Purpose,
        number: u32,
        network: Network,
    ) -> Result<Self, NotAnAccount> {
        let placed = ChildNumber::hardened(number).is_some_and(|child| child.to_u32() == key.number());
        if !placed || key.depth() != 3 {
            return Err(NotAnAccount);
        }
        let chain = |index| {
            let number = ChildNumber::normal(index).ok_or(NotAnAccount)?;
            key.child(number).map_err(|InvalidKey| NotAnAccount)
        };
        let chains = [chain(0)?, chain(1)?];
        Ok(Self { key, master, purpose, number, network, chains })
    }

    /// Of the extended public key at a path of a wallet.
    pub fn at(
        path: &Path,
        key: ExtendedPublicKey,
        master: Fingerprint,
        network: Network,
    ) -> Result<Self, NotAnAccount> {
        let Some(path::Purpose::BitcoinAccount { bip, account }) = path.purpose(Some(network)) else {
            return Err(NotAnAccount);
        };
        let purpose = Purpose::ALL.iter().find(|purpose| purpose.number() == bip).ok_or(NotAnAccount)?;
        Self::new(key, master, *purpose, account, network)
    }

    /// The account of that number beneath a master key.
    pub fn of_master(
        master: &ExtendedPrivateKey,
        purpose: Purpose,
        number: u32,
        network: Network,
    ) -> Result<Self, NotAnAccount> {
        let path = account_path(purpose, number, network).ok_or(NotAnAccount)?;
        let key = master.public_at(&path).map_err(|InvalidKey| NotAnAccount)?;
        Self::new(key, master.fingerprint(), purpose, number, network)
    }

    /// Its path from the master key.
    pub fn path(&self) -> Path {
        account_path(self.purpose, self.number, self.network).expect("checked when it was made")
    }

    /// The path of one of its keys from the master key, `m/84h/0h/0h/1/7`: what [`ExtendedPrivateKey::derive`]
    /// takes to sign. `None` unless the chain is 0 or 1 and the index below 2^31.
    pub fn path_of(&self, chain: u32, index: u32) -> Option<Path> {
        let mut steps = self.path().steps().to_vec();
        steps.push(ChildNumber::normal(chain).filter(|_| chain <= 1)?);
        steps.push(ChildNumber::normal(index)?);
        Path::of_steps(steps).ok()
    }

    /// The fingerprint of the master key that it is beneath.
    pub fn master_fingerprint(&self) -> Fingerprint {
        self.master
    }

    /// Which account of its purpose it is, from 0.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// `xpub…` or `tpub…`.
    pub fn extended_key(&self) -> String {
        self.key.to_text(self.network)
    }

    /// What the account is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The network of its addresses.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The public key at a chain (0 or 1) and an index below 2^31; `None` where there is none.
    pub fn public_key(&self, chain: u32, index: u32) -> Option<[u8; 33]> {
        let chain = self.chains.get(usize::try_from(chain).ok()?)?;
        chain.child(ChildNumber::normal(index)?).ok().map(|key| *key.public_key())
    }

    /// The address at a chain (0 receives, 1 takes change) and an index below 2^31.
    pub fn address(&self, chain: u32, index: u32) -> Option<Address> {
        let public_key = self.public_key(chain, index)?;
        Some(address(&self.purpose.script(&public_key), self.network))
    }

    /// The output descriptor of both chains with its checksum (BIP-380, BIP-389), as Bitcoin Core reads it from
    /// 29.0 on: `wpkh([fingerprint/84h/0h/0h]xpub…/<0;1>/*)#checksum`.
    pub fn descriptor(&self) -> String {
        self.descriptor_with("<0;1>")
    }

    /// The output descriptors of the receiving chain and of the change chain, which older readers take one by one.
    pub fn descriptors(&self) -> [String; 2] {
        [self.descriptor_with("0"), self.descriptor_with("1")]
    }

    fn descriptor_with(&self, chain: &str) -> String {
        let master = data_encoding::HEXLOWER.encode(&self.master);
        let path = self.path().to_string();
        let origin = path.strip_prefix('m').unwrap_or_default();
        let key = format!("[{master}{origin}]{}/{chain}/*", self.extended_key());
        let script = match self.purpose {
            Purpose::Bip44 => format!("pkh({key})"),
            Purpose::Bip49 => format!("sh(wpkh({key}))"),
            Purpose::Bip84 => format!("wpkh({key})"),
        };
        descriptor::with_checksum(&script).expect("these characters are all in the set")
    }

    /// The child that a BIP-32 derivation field names, if it says that the key is one of this account.
    fn claimed(&self, origin: &[u8]) -> Option<Child> {
        let (master, steps) = origin.split_first_chunk::<4>()?;
        let steps = steps.chunks(4).map(|step| step.try_into().ok().map(u32::from_le_bytes));
        let steps: Vec<ChildNumber> =
            steps.map(|step| step.map(ChildNumber::of_u32)).collect::<Option<_>>()?;
        let [account @ .., chain, index] = steps.as_slice() else { return None };
        let here = *master == self.master && account == self.path().steps();
        let ours = here && chain.to_u32() <= 1 && !index.is_hardened();
        ours.then_some((chain.to_u32(), index.to_u32()))
    }
}

/// `m / purpose' / coin_type' / account'`, the coin type 0 on the main network and 1 on every other (SLIP-44).
fn account_path(purpose: Purpose, number: u32, network: Network) -> Option<Path> {
    let coin = u32::from(network != Network::Main);
    let steps = [purpose.number(), coin, number].map(ChildNumber::hardened);
    Path::of_steps(steps.into_iter().collect::<Option<_>>()?).ok()
}

/// Who would sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// One key.
    Key(SingleKey),
    /// An account of a wallet.
    Account(Box<Account>),
}

/// How the digest of an input is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As before BIP-143: the amount is not signed.
    Legacy,
    /// BIP-143, with this script code.
    WitnessV0(Vec<u8>),
}

/// An input that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) child: Option<Child>,
    pub(crate) public_key: [u8; 33],
    pub(crate) way: Way,
    /// No signature but ours makes the input valid.
    pub(crate) alone: bool,
}

/// An output that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnOutput {
    /// Its key beneath the account; `None` for the single key.
    pub(crate) child: Option<Child>,
}

/// A script of ours that takes one key.
struct Found {
    child: Option<Child>,
    public_key: [u8; 33],
    purpose: Purpose,
}

impl Signer {
    /// The network that its addresses are of.
    pub fn network(&self) -> Network {
        match self {
            Signer::Key(key) => key.network,
            Signer::Account(account) => account.network,
        }
    }

    /// Whether, and how, we would sign for an input that spends this script. Its scripts must have been checked.
    pub(crate) fn input(&self, map: &Map, script: &[u8]) -> Result<Option<Own>, Reason> {
        if let Some(Found { child, public_key, purpose }) = self.find(map, input::BIP32_DERIVATION, script)? {
            let way = match purpose {
                Purpose::Bip44 => Way::Legacy,
                // BIP-143: for P2WPKH the script code is the P2PKH script of the same hash.
                Purpose::Bip49 | Purpose::Bip84 => Way::WitnessV0(p2pkh(&hash160(&public_key))),
            };
            return Ok(Some(Own { child, public_key, way, alone: true }));
        }
        Ok(self.multisig(map, script))
    }

    /// Whether an output with this script is ours.
    pub(crate) fn output(&self, map: &Map, script: &[u8]) -> Result<Option<OwnOutput>, Reason> {
        let found = self.find(map, output::BIP32_DERIVATION, script)?;
        // Change that no wallet would look for is as good as gone, so it is told as a payment.
        let near = |found: &Found| found.child.is_none_or(|(_, index)| index < OWN_OUTPUT_INDEX_END);
        Ok(found.filter(near).map(|found| OwnOutput { child: found.child }))
    }

    /// A single-key script of ours. A PSBT that gives our path for a script which is another key's is refused:
    /// nobody says that by mistake.
    fn find(&self, map: &Map, derivations: u64, script: &[u8]) -> Result<Option<Found>, Reason> {
        let account = match self {
            Signer::Key(SingleKey { public_key, .. }) => {
                let purpose = Purpose::ALL.iter().find(|purpose| purpose.script(public_key) == script);
                let found =
                    |purpose: &Purpose| Found { child: None, public_key: *public_key, purpose: *purpose };
                return Ok(purpose.map(found));
            }
            Signer::Account(account) => account,
        };
        for field in map.all(derivations) {
            let Ok(public_key) = <&[u8; 33]>::try_from(field.data()) else { continue };
            let Some((chain, index)) = account.claimed(&field.value) else { continue };
            if account.purpose.script(public_key) != script {
                continue;
            }
            if account.public_key(chain, index).as_ref() != Some(public_key) {
                return Err(MALFORMED);
            }
            let child = Some((chain, index));
            return Ok(Some(Found { child, public_key: *public_key, purpose: account.purpose }));
        }
        Ok(None)
    }

    /// P2WSH multisig, bare or within P2SH, that our one key is in.
    fn multisig(&self, map: &Map, script: &[u8]) -> Option<Own> {
        let Signer::Key(SingleKey { public_key, .. }) = self else { return None };
        let witness_script = map.get(input::WITNESS_SCRIPT)?;
        let program = p2wsh(witness_script);
        let spends = script == program || script == p2sh(&program);
        let member = multisig_keys(witness_script)?.contains(public_key);
        let way = Way::WitnessV0(witness_script.to_vec());
        (spends && member).then_some(Own { child: None, public_key: *public_key, way, alone: false })
    }

    /// Whether the PSBT says that a taproot input is ours.
    pub(crate) fn is_named_in_taproot(&self, map: &Map) -> bool {
        let mut derivations = map.all(input::TAP_BIP32_DERIVATION);
        match self {
            Signer::Key(SingleKey { public_key, .. }) => {
                let x_only = &public_key[1..];
                map.get(input::TAP_INTERNAL_KEY) == Some(x_only)
                    || derivations.any(|field| field.data() == x_only)
            }
            Signer::Account(account) => derivations.any(|field| {
                let hashes = field.value.first().map_or(0, |count| usize::from(*count));
                field.value.get(1 + hashes * 32..).is_some_and(|origin| origin.starts_with(&account.master))
            }),
        }
    }
}
