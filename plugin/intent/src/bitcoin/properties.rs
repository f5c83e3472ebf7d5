//! What must hold of everything that is read, whoever made it. Each function takes any bytes, panics when a property is
//! breached, and says whether the bytes were read; tests and fuzzers call them. Never part of an image.
//!
//! The other opinions are those of `bitcoin` and `psbt-v2`, which share no code with the readers.

mod samples;

use super::psbt::Map;
use super::{Account, Psbt, Purpose, Review, Signer, SingleKey, Version};
use crate::bip32::ExtendedPrivateKey;
use crate::model::{Amount, Asset, Kind, Network};
use crate::summary;
pub use samples::psbts;
use std::sync::OnceLock;

/// The ones whom any bytes are reviewed for: an account of each purpose under the seed of 32 bytes 0x5a on the test
/// network, and the first key of the last account alone.
pub fn signers() -> &'static [Signer] {
    static SIGNERS: OnceLock<Vec<Signer>> = OnceLock::new();
    SIGNERS.get_or_init(usual_signers)
}

fn usual_signers() -> Vec<Signer> {
    let master = ExtendedPrivateKey::of_seed(&[0x5a; 32]).expect("a seed of 32 bytes");
    let accounts = Purpose::ALL.iter().map(|purpose| Account::of_master(&master, *purpose, 0, Network::Test));
    let mut signers: Vec<_> =
        accounts.map(|account| Signer::Account(Box::new(account.expect("a usual account")))).collect();
    let first = signers.iter().rev().find_map(|signer| match signer {
        Signer::Account(account) => account.public_key(0, 0),
        Signer::Key(_) => None,
    });
    let key = SingleKey::new(first.expect("a first key"), Network::Test).expect("a derived key");
    signers.push(Signer::Key(key));
    signers
}

/// Any bytes are refused, or read as a PSBT that is given back as the same bytes and that the others read as the same;
/// and whatever is reviewed holds together.
pub fn check_psbt(bytes: &[u8]) -> bool {
    let Ok(psbt) = Psbt::read(bytes) else { return false };
    assert_eq!(psbt.encode(), bytes, "what was read is given back");
    for signer in signers() {
        if let Ok(review) = psbt.review(signer) {
            check_review(&psbt, signer, &review);
        }
    }
    check_against_others(&psbt, bytes);
    true
}

/// Whatever is read, the others read as the same.
fn check_against_others(psbt: &Psbt, bytes: &[u8]) {
    let theirs = match psbt.version() {
        Version::V0 => {
            let theirs = bitcoin::Psbt::deserialize(bytes).expect("bitcoin reads it too");
            assert_eq!(bitcoin::consensus::serialize(&theirs.unsigned_tx), unsigned(psbt));
            theirs.serialize()
        }
        Version::V2 => match psbt_v2::v2::Psbt::deserialize(bytes) {
            Ok(theirs) => theirs.serialize(),
            // BIP-370 asks that these fields are there, not that they hold anything else than what the other one takes for a
            // missing field.
            Err(error) => {
                let (inputs, outputs) = (&psbt.transaction().inputs, &psbt.transaction().outputs);
                let taken_for_missing = match format!("{error:?}").as_str() {
                    "DecodeInput(MissingPreviousTxid)" => {
                        inputs.iter().any(|input| input.outpoint.txid == [0; 32])
                    }
                    "DecodeInput(MissingSpentOutputIndex)" => {
                        inputs.iter().any(|input| input.outpoint.index == u32::MAX)
                    }
                    "DecodeOutput(MissingValue)" => outputs.iter().any(|output| output.value_sat == 0),
                    "DecodeOutput(MissingScriptPubkey)" => {
                        outputs.iter().any(|output| output.script.is_empty())
                    }
                    _ => false,
                };
                assert!(taken_for_missing, "psbt-v2 refuses it: {error:?}");
                return;
            }
        },
    };
    let theirs = Psbt::read(&theirs).expect("we read what they write");
    assert_eq!(theirs.transaction(), psbt.transaction());
    let maps = |psbt: &Psbt| {
        let maps = core::iter::once(&psbt.global).chain(&psbt.inputs).chain(&psbt.outputs);
        maps.map(sorted).collect::<Vec<_>>()
    };
    assert_eq!(maps(&theirs), maps(psbt));
}

/// The bytes of the unsigned transaction; without inputs `bitcoin` writes the form with a witness.
fn unsigned(psbt: &Psbt) -> Vec<u8> {
    let bytes = psbt.transaction().encode();
    if psbt.transaction().inputs.is_empty() {
        let mut marked = bytes[..4].to_vec();
        marked.extend_from_slice(&[0, 1]);
        marked.extend_from_slice(&bytes[4..]);
        return marked;
    }
    bytes
}

/// The fields of a map, but for an explicit version 0 and defaults, which others leave out or write.
fn sorted(map: &Map) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let fields = map.fields().iter().map(|field| (field.kind(), field.data().to_vec(), field.value.clone()));
    let default = |kind: u64, value: &[u8]| (kind == 0xfb && value == [0; 4]) || (kind == 6 && value == [0]);
    let mut fields: Vec<_> = fields.filter(|(kind, _, value)| !default(*kind, value)).collect();
    fields.sort();
    fields
}

/// What a review must be, whatever the PSBT.
pub fn check_review(psbt: &Psbt, signer: &Signer, review: &Review) {
    let (transaction, intent) = (psbt.transaction(), &review.intent);
    assert!(!review.to_sign.is_empty() && review.to_sign.len() <= transaction.inputs.len());
    assert!(review.to_sign.windows(2).all(|pair| pair[0].input < pair[1].input), "each input is signed once");
    assert_eq!(intent.kind, Kind::Transfer);
    assert!(!intent.opaque);
    assert_eq!(intent.moves.len(), transaction.outputs.len(), "every output is told");
    let text = summary::render(intent);
    for (moved, output) in intent.moves.iter().zip(&transaction.outputs) {
        assert_eq!(moved.amount, Amount::from(output.value_sat));
        assert_eq!(moved.to, super::address(&output.script, signer.network()));
        assert!(text.contains(moved.to.as_str()), "every address is shown");
    }
    assert!(intent.sum(&Asset::Native).is_some());

    // Any signatures at all: the fields are what matters here.
    let signatures = vec![[0x41; 64]; review.to_sign.len()];
    let bytes = psbt.with_signatures(review, &signatures).expect("as many signatures as asked");
    let again = Psbt::read(&bytes).expect("what is given back is a PSBT");
    assert_eq!((again.version(), again.transaction()), (psbt.version(), transaction));
    let second = again.review(signer).expect("signing takes nothing away");
    assert_eq!(
        (&second.intent, &second.commitment, &second.to_sign),
        (intent, &review.commitment, &review.to_sign),
        "a signature changes nothing of what is signed"
    );
    assert_eq!(
        again.with_signatures(&second, &signatures).as_ref(),
        Ok(&bytes),
        "signing again changes nothing"
    );
}

/// A script has the address that the other one gives it, or none to both; a descriptor has the same checksum to both.
/// Says whether the script has an address.
pub fn check_script(bytes: &[u8]) -> bool {
    let networks = Network::ALL.iter().zip([
        bitcoin::Network::Bitcoin,
        bitcoin::Network::Testnet,
        bitcoin::Network::Signet,
        bitcoin::Network::Regtest,
    ]);
    let mut has_address = false;
    for (network, other) in networks {
        let ours = super::address(bytes, *network);
        let other = bitcoin::Address::from_script(bitcoin::Script::from_bytes(bytes), other);
        has_address = other.is_ok();
        let hex = || format!("script:{}", data_encoding::HEXLOWER.encode(bytes));
        assert_eq!(ours.as_str(), other.map_or_else(|_| hex(), |address| address.to_string()));
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        let other = miniscript::descriptor::checksum::desc_checksum(text).ok();
        let other = other.map(|checksum| format!("{text}#{checksum}"));
        assert_eq!(super::with_checksum(text), other);
    }
    has_address
}
