//! PSBTs that the signers of [`super::signers`] review, for a fuzzer to begin with: nobody guesses a key.

use super::super::reader::{write_compact_size, write_string};
use super::super::{Account, Input, Outpoint, Output, Purpose, Transaction, script, sha256d};
use super::{Signer, signers};
use crate::bip32::ExtendedPrivateKey;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A payment of each account, in both versions.
pub fn psbts() -> Vec<Vec<u8>> {
    let accounts = signers().iter().filter_map(|signer| match signer {
        Signer::Account(account) => Some(account),
        Signer::Key(_) => None,
    });
    accounts.flat_map(|account| [payment(account, false), payment(account, true)]).collect()
}

fn field(kind: u8, data: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([&[kind][..], data].concat(), value.to_vec())
}

/// The public key of a child, and the value of its derivation field.
fn child(account: &Account, chain: u32, index: u32) -> ([u8; 33], Vec<u8>) {
    let master = ExtendedPrivateKey::of_seed(&[0x5a; 32]).expect("a seed of 32 bytes");
    let path = account.path();
    let steps = path.steps().iter().map(|step| step.to_u32()).chain([chain, index]);
    let derivation = [master.fingerprint().to_vec(), steps.flat_map(u32::to_le_bytes).collect()].concat();
    (account.public_key(chain, index).expect("a usual child"), derivation)
}

/// One input of a coin, its previous transaction with it; a part to a stranger, the rest back.
fn payment(account: &Account, second_version: bool) -> Vec<u8> {
    let (ours, derivation) = child(account, 0, 5);
    let (change, change_derivation) = child(account, 1, 7);
    let output = |value_sat, script: Vec<u8>| Output { value_sat, script };
    let script_of = |key: &[u8; 33]| account.purpose().script(key);
    let before = Input { outpoint: Outpoint { txid: [3; 32], index: 0 }, sequence: 7 };
    let outputs = vec![output(100_000_000, script_of(&ours))];
    let previous = Transaction { version: 2, inputs: vec![before], outputs, lock_time: 0 }.encode();
    let input = Input { outpoint: Outpoint { txid: sha256d(&previous), index: 0 }, sequence: 0xffff_fffd };
    let outputs =
        vec![output(40_000_000, script::p2wpkh(&[0xee; 20])), output(59_999_000, script_of(&change))];
    let transaction = Transaction { version: 2, inputs: vec![input], outputs, lock_time: 0 };
    let mut spent = vec![field(0, &[], &previous), field(6, &ours, &derivation)];
    if account.purpose() == Purpose::Bip49 {
        let redeem_script = script::p2wpkh(&super::super::hash160(&ours));
        spent.insert(1, field(4, &[], &redeem_script));
    }
    let to = [Vec::new(), vec![field(2, &change, &change_derivation)]];
    encode(&transaction, spent, to, second_version)
}

fn encode(
    transaction: &Transaction,
    mut spent: Fields,
    mut to: [Fields; 2],
    second_version: bool,
) -> Vec<u8> {
    let mut global = vec![field(0, &[], &transaction.encode())];
    if second_version {
        global = vec![
            field(2, &[], &transaction.version.to_le_bytes()),
            field(3, &[], &transaction.lock_time.to_le_bytes()),
            field(4, &[], &[1]),
            field(5, &[], &[2]),
            field(0xfb, &[], &[2, 0, 0, 0]),
        ];
        let input = &transaction.inputs[0];
        spent.push(field(0x0e, &[], &input.outpoint.txid));
        spent.push(field(0x0f, &[], &input.outpoint.index.to_le_bytes()));
        spent.push(field(0x10, &[], &input.sequence.to_le_bytes()));
        for (fields, output) in to.iter_mut().zip(&transaction.outputs) {
            fields.push(field(3, &[], &output.value_sat.to_le_bytes()));
            fields.push(field(4, &[], &output.script));
        }
    }
    let mut bytes = b"psbt\xff".to_vec();
    for map in [global, spent].into_iter().chain(to) {
        for (key, value) in map {
            write_string(&mut bytes, &key);
            write_string(&mut bytes, &value);
        }
        write_compact_size(&mut bytes, 0);
    }
    bytes
}
