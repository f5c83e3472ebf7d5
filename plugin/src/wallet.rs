//! Wallets (BIP-32): an account's root, made inside the boundary and never shown, and the keys below it.
//!
//! The root is not kept: it is made anew for each use, as HMAC-SHA-512 of one message under a key of the keystore that does
//! nothing else. The 64 bytes are the master key and its chain code. So the record alone gives nothing away, the keystore
//! needs to know nothing of wallets, and there is no way to write a root down.

use crate::grant::Permit;
use crate::intent::{Intent, ToSign};
use crate::machine::Core;
use crate::record::{Account, Key, Source, Wallet};
use countersign_intent::bip32::{ExtendedPrivateKey, ExtendedPublicKey};
use countersign_intent::bitcoin;
use countersign_wire::client::{Network, TotpHash, Watch};
use countersign_wire::path::{ChildNumber, DerivationPath};
use countersign_wire::reason::Reason;
use k256::ecdsa::SigningKey;
use k256::ecdsa::signature::hazmat::PrehashSigner;
use k256::elliptic_curve::sec1::ToSec1Point;
use serde_bytes::ByteArray;

/// The counter whose MAC is the root. No time step is ever as large.
const ROOT_COUNTER: u64 = u64::MAX;

/// The hash of the MAC: its 64 bytes are a key and a chain code.
const ROOT_HASH: TotpHash = TotpHash::Sha512;

/// The public key and the source of a new key at a path of the account's wallet, which is made if there is none.
pub(crate) async fn derive(
    core: &Core,
    wallet: &mut Option<Wallet>,
    path: &DerivationPath,
    network: Option<Network>,
) -> Result<([u8; 65], Source), Reason> {
    let root = if let Some(wallet) = wallet {
        open(core, wallet).await?
    } else {
        let (made, root) = make(core).await?;
        *wallet = Some(made);
        root
    };
    let extended = root.public_at(path).map_err(|_| Reason::InternalError)?;
    let public_key = uncompressed(extended.public_key())?;
    let extended = network.map(|network| ByteArray::new(extended.to_bytes(network)));
    Ok((public_key, Source::Derived { path: path.clone(), extended }))
}

/// A new wallet and its root.
async fn make(core: &Core) -> Result<(Wallet, ExtendedPrivateKey), Reason> {
    let length = u16::try_from(ROOT_HASH.secret_bytes()).map_err(|_| Reason::InternalError)?;
    let secret = core.hal.random(length).await?;
    let wrapped = core.hal.wrap_mac_key(ROOT_HASH, secret).await?;
    let mut wallet = Wallet { wrapped: wrapped.into(), fingerprint: ByteArray::new([0; 4]) };
    let root = read_root(core, &wallet).await?;
    // Addresses will be told of it. A fault of the keystore now would show when coins are to be spent, and be too late.
    if *read_root(core, &wallet).await?.to_bytes() != *root.to_bytes() {
        return Err(Reason::KeystoreFailed);
    }
    wallet.fingerprint = ByteArray::new(root.fingerprint());
    Ok((wallet, root))
}

/// The root of a wallet; refused if it is not the one that it was.
async fn open(core: &Core, wallet: &Wallet) -> Result<ExtendedPrivateKey, Reason> {
    let root = read_root(core, wallet).await?;
    if root.fingerprint() == wallet.fingerprint.into_array() { Ok(root) } else { Err(Reason::KeystoreFailed) }
}

async fn read_root(core: &Core, wallet: &Wallet) -> Result<ExtendedPrivateKey, Reason> {
    let macs = core.hal.mac(&wallet.wrapped, ROOT_HASH, vec![ROOT_COUNTER]).await?;
    let bytes = macs.first().and_then(|mac| mac.expose().try_into().ok()).ok_or(Reason::KeystoreFailed)?;
    ExtendedPrivateKey::of_bytes(bytes).map_err(|_| Reason::KeystoreFailed)
}

/// Uses up permits of a key of the account's wallet: one signature for each, r‖s, deterministic (RFC 6979), not verified.
pub(crate) async fn sign(
    core: &Core,
    account: &Account,
    key: &Key,
    path: &DerivationPath,
    permits: Vec<Permit>,
    intent: &Intent,
) -> Result<Vec<[u8; 64]>, Reason> {
    let wallet = account.wallet.as_ref().ok_or(Reason::InternalError)?;
    let node = open(core, wallet).await?.derive(path).map_err(|_| Reason::InternalError)?;
    let one = |(permit, to_sign): (Permit, &ToSign)| {
        let digest = permit.consume(&key.id).ok_or(Reason::InternalError)?;
        sign_one(&node, digest, to_sign)
    };
    permits.into_iter().zip(intent.to_sign()).map(one).collect()
}

fn sign_one(node: &ExtendedPrivateKey, digest: [u8; 32], to_sign: &ToSign) -> Result<[u8; 64], Reason> {
    let child = match to_sign.child {
        None => node.clone(),
        Some((chain, index)) => {
            let steps = [chain, index].map(ChildNumber::of_u32).to_vec();
            let below = DerivationPath::of_steps(steps).map_err(|_| Reason::InternalError)?;
            node.derive(&below).map_err(|_| Reason::InternalError)?
        }
    };
    let key = SigningKey::from_slice(child.private_key()).map_err(|_| Reason::InternalError)?;
    let is_it = key.verifying_key().to_sec1_point(false).as_bytes() == to_sign.public_key;
    if digest != to_sign.digest || !is_it {
        return Err(Reason::InternalError);
    }
    let signature: k256::ecdsa::Signature = key.sign_prehash(&digest).map_err(|_| Reason::InternalError)?;
    Ok(signature.to_bytes().into())
}

/// SEC 1: the uncompressed form of a compressed point.
pub(crate) fn uncompressed(compressed: &[u8; 33]) -> Result<[u8; 65], Reason> {
    let key = k256::PublicKey::from_sec1_bytes(compressed).map_err(|_| Reason::InternalError)?;
    key.to_sec1_point(false).as_bytes().try_into().map_err(|_| Reason::InternalError)
}

/// SEC 1: the compressed form of an uncompressed point.
pub(crate) fn compressed(public_key: &ByteArray<65>) -> Result<[u8; 33], Reason> {
    let key = k256::PublicKey::from_sec1_bytes(public_key.as_slice()).map_err(|_| Reason::InternalError)?;
    key.to_sec1_point(true).as_bytes().try_into().map_err(|_| Reason::InternalError)
}

/// Who a Bitcoin key signs as; `None`: it is no Bitcoin key.
pub(crate) fn signer(wallet: Option<&Wallet>, key: &Key) -> Result<bitcoin::Signer, Reason> {
    let network = key.network.ok_or(Reason::MechanismNotAllowed)?;
    match &key.source {
        Source::Wrapped(_) => {
            let single = bitcoin::SingleKey::new(compressed(&key.public_key)?, network);
            Ok(bitcoin::Signer::Key(single.map_err(|_| Reason::InternalError)?))
        }
        Source::Derived { path, extended: Some(extended) } => {
            let wallet = wallet.ok_or(Reason::InternalError)?;
            let account = account(wallet, path, extended, network).ok_or(Reason::InternalError)?;
            Ok(bitcoin::Signer::Account(Box::new(account)))
        }
        Source::Derived { extended: None, .. } => Err(Reason::InternalError),
    }
}

fn account(
    wallet: &Wallet,
    path: &DerivationPath,
    extended: &ByteArray<78>,
    network: Network,
) -> Option<bitcoin::Account> {
    let (extended, _) = ExtendedPublicKey::of_bytes(extended).ok()?;
    bitcoin::Account::at(path, extended, wallet.fingerprint.into_array(), network).ok()
}

/// What the host is told to watch a key of a wallet.
pub(crate) fn watch(wallet: Option<&Wallet>, key: &Key) -> Option<Watch> {
    let Source::Derived { path, extended: Some(extended) } = &key.source else { return None };
    let account = account(wallet?, path, extended, key.network?)?;
    Some(Watch {
        xpub: account.extended_key(),
        root_fingerprint: wallet?.fingerprint,
        descriptor: account.descriptor(),
    })
}
