//! PSBTs for tests, field by field, and the keys that they belong to.

use super::super::psbt::Version;
use super::super::reader::{write_compact_size, write_string};
use super::super::*;
use crate::bip32::ExtendedPrivateKey;
use crate::model::Network;
use k256::ecdsa::SigningKey;
use k256::ecdsa::signature::hazmat::PrehashSigner;

/// Keys and values of one map, in order.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Debug)]
pub(super) struct DraftInput {
    pub(super) input: Input,
    pub(super) fields: Fields,
}

#[derive(Clone, Debug)]
pub(super) struct DraftOutput {
    pub(super) output: Output,
    pub(super) fields: Fields,
}

#[derive(Clone)]
pub(super) struct Draft {
    pub(super) version: Version,
    pub(super) lock_time: u32,
    pub(super) global: Fields,
    pub(super) inputs: Vec<DraftInput>,
    pub(super) outputs: Vec<DraftOutput>,
}

impl core::fmt::Debug for Draft {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.bytes()))
    }
}

pub(super) fn field(kind: u8, data: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([&[kind][..], data].concat(), value.to_vec())
}

impl Draft {
    pub(super) fn new(version: Version) -> Self {
        Self { version, lock_time: 0, global: Vec::new(), inputs: Vec::new(), outputs: Vec::new() }
    }

    pub(super) fn input(mut self, input: DraftInput) -> Self {
        self.inputs.push(input);
        self
    }

    pub(super) fn output(mut self, value_sat: u64, script: Vec<u8>, fields: Fields) -> Self {
        self.outputs.push(DraftOutput { output: Output { value_sat, script }, fields });
        self
    }

    pub(super) fn transaction(&self) -> Transaction {
        Transaction {
            version: 2,
            inputs: self.inputs.iter().map(|draft| draft.input).collect(),
            outputs: self.outputs.iter().map(|draft| draft.output.clone()).collect(),
            lock_time: self.lock_time,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = b"psbt\xff".to_vec();
        let mut global = self.global.clone();
        match self.version {
            Version::V0 => global.push(field(0, &[], &self.transaction().encode())),
            Version::V2 => {
                global.push(field(2, &[], &[2, 0, 0, 0]));
                global.push(field(3, &[], &self.lock_time.to_le_bytes()));
                for (kind, count) in [(4, self.inputs.len()), (5, self.outputs.len())] {
                    let mut value = Vec::new();
                    write_compact_size(&mut value, count);
                    global.push(field(kind, &[], &value));
                }
                global.push(field(0xfb, &[], &[2, 0, 0, 0]));
            }
        }
        write_map(&mut out, global);
        for draft in &self.inputs {
            let mut fields = draft.fields.clone();
            if self.version == Version::V2 {
                fields.push(field(0x0e, &[], &draft.input.outpoint.txid));
                fields.push(field(0x0f, &[], &draft.input.outpoint.index.to_le_bytes()));
                fields.push(field(0x10, &[], &draft.input.sequence.to_le_bytes()));
            }
            write_map(&mut out, fields);
        }
        for draft in &self.outputs {
            let mut fields = draft.fields.clone();
            if self.version == Version::V2 {
                fields.push(field(0x03, &[], &draft.output.value_sat.to_le_bytes()));
                fields.push(field(0x04, &[], &draft.output.script));
            }
            write_map(&mut out, fields);
        }
        out
    }

    pub(super) fn read(&self) -> Psbt {
        Psbt::read(&self.bytes()).unwrap()
    }
}

/// In ascending order, as most wallets write it.
fn write_map(out: &mut Vec<u8>, mut fields: Fields) {
    fields.sort();
    for (key, value) in &fields {
        write_string(out, key);
        write_string(out, value);
    }
    out.push(0);
}

/// A transaction in the old form that pays `value_sat` to a script as its output 1. The salt makes it another one.
pub(super) fn previous(script: &[u8], value_sat: u64, salt: u8) -> Vec<u8> {
    let output = |value_sat, script: &[u8]| Output { value_sat, script: script.to_vec() };
    Transaction {
        version: 2,
        inputs: vec![Input { outpoint: Outpoint { txid: [salt; 32], index: 3 }, sequence: 7 }],
        outputs: vec![output(12_345, &[0x6a]), output(value_sat, script)],
        lock_time: 0,
    }
    .encode()
}

/// An input that spends such an output, with its previous transaction.
pub(super) fn spend(script: &[u8], value_sat: u64, salt: u8) -> DraftInput {
    let previous = previous(script, value_sat, salt);
    let txid = sha256d(&previous);
    let input = Input { outpoint: Outpoint { txid, index: 1 }, sequence: 0xffff_fffd };
    DraftInput { input, fields: vec![field(0, &[], &previous)] }
}

pub(super) fn witness_utxo(script: &[u8], value_sat: u64) -> (Vec<u8>, Vec<u8>) {
    let mut value = Vec::new();
    Output { value_sat, script: script.to_vec() }.write(&mut value);
    field(1, &[], &value)
}

impl DraftInput {
    pub(super) fn with(mut self, field: (Vec<u8>, Vec<u8>)) -> Self {
        self.fields.push(field);
        self
    }

    /// The witness UTXO in the place of the previous transaction.
    pub(super) fn unproven(mut self, script: &[u8], value_sat: u64) -> Self {
        self.fields.retain(|(key, _)| key != &[0]);
        self.with(witness_utxo(script, value_sat))
    }
}

/// A wallet with its private keys.
pub(super) struct Wallet {
    pub(super) master: ExtendedPrivateKey,
    pub(super) account: Account,
}

impl Wallet {
    pub(super) fn new(purpose: Purpose) -> Self {
        let master = ExtendedPrivateKey::of_seed(&[0x5a; 32]).unwrap();
        let account = Account::of_master(&master, purpose, 0, Network::Test).unwrap();
        Self { master, account }
    }

    pub(super) fn signer(&self) -> Signer {
        Signer::Account(Box::new(self.account.clone()))
    }

    pub(super) fn public_key(&self, chain: u32, index: u32) -> [u8; 33] {
        self.account.public_key(chain, index).unwrap()
    }

    pub(super) fn script(&self, chain: u32, index: u32) -> Vec<u8> {
        self.account.purpose().script(&self.public_key(chain, index))
    }

    /// The BIP-32 derivation of one of its keys, for an input (6) or an output (2).
    pub(super) fn derivation(&self, kind: u8, chain: u32, index: u32) -> (Vec<u8>, Vec<u8>) {
        let mut value = self.master.fingerprint().to_vec();
        for step in self.account.path().steps() {
            value.extend_from_slice(&step.to_u32().to_le_bytes());
        }
        value.extend_from_slice(&chain.to_le_bytes());
        value.extend_from_slice(&index.to_le_bytes());
        field(kind, &self.public_key(chain, index), &value)
    }

    /// An input of the wallet that spends this much, whole.
    pub(super) fn input(&self, index: u32, value_sat: u64) -> DraftInput {
        let script = self.script(0, index);
        let salt = u8::try_from(index).unwrap();
        spend(&script, value_sat, salt).with(self.derivation(6, 0, index))
    }

    pub(super) fn sign(&self, asked: &ToSign) -> [u8; 64] {
        let (chain, index) = asked.child.unwrap();
        let key = self.master.derive(&self.account.path_of(chain, index).unwrap()).unwrap();
        sign(key.private_key(), &asked.digest)
    }
}

pub(super) fn sign(private_key: &[u8; 32], digest: &[u8; 32]) -> [u8; 64] {
    let key = SigningKey::from_slice(private_key).unwrap();
    let signature: k256::ecdsa::Signature = key.sign_prehash(digest).unwrap();
    signature.normalize_s().to_bytes().into()
}

/// A single key: its private key, and the one who signs with it.
pub(super) fn single(seed: u8) -> ([u8; 32], SingleKey) {
    let private = [seed; 32];
    (private, SingleKey::new(public_of(&private), Network::Test).unwrap())
}

pub(super) fn public_of(private: &[u8; 32]) -> [u8; 33] {
    SigningKey::from_slice(private)
        .unwrap()
        .verifying_key()
        .to_sec1_point(true)
        .as_bytes()
        .try_into()
        .unwrap()
}

/// `OP_m <key>… OP_n OP_CHECKMULTISIG`.
pub(super) fn multisig(needed: u8, keys: &[[u8; 33]]) -> Vec<u8> {
    let mut script = vec![0x50 + needed];
    for key in keys {
        script.push(33);
        script.extend_from_slice(key);
    }
    script.extend_from_slice(&[0x50 + u8::try_from(keys.len()).unwrap(), 0xae]);
    script
}

/// Somebody else's script.
pub(super) fn stranger() -> Vec<u8> {
    script::p2wpkh(&[0xee; 20])
}

/// The usual case: one input of 1 coin, 0.4 to a stranger, the rest but 1,000 sat to chain 1.
pub(super) fn payment(wallet: &Wallet, version: Version) -> Draft {
    Draft::new(version).input(wallet.input(5, 100_000_000)).output(40_000_000, stranger(), Vec::new()).output(
        59_999_000,
        wallet.script(1, 7),
        vec![wallet.derivation(2, 1, 7)],
    )
}
