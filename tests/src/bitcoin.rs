//! A Bitcoin wallet as another library sees it: keys derived from what the HSM tells, PSBTs, signatures verified.

use crate::backend::User;
use crate::hsm::Hsm;
use bitcoin::bip32::{ChildNumber, DerivationPath, Fingerprint, Xpub};
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{PublicKey, Secp256k1};
use bitcoin::sighash::SighashCache;
pub use bitcoin::{Amount, Psbt};
use bitcoin::{
    CompressedPublicKey, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, absolute,
    transaction,
};
use countersign_wire::client::Mechanism::Bitcoin;
use countersign_wire::client::{KeyInfo, KeyPlan, Mechanism, Network};

/// A further key of a user's, at a path of his wallet.
pub fn wallet_key(hsm: &Hsm, user: &User, name: &str, mechanism: Mechanism, path: &str) -> KeyInfo {
    let network = (mechanism == Bitcoin).then_some(Network::Regtest);
    let plan = KeyPlan {
        network,
        path: Some(path.parse().expect("tests make good ones")),
        ..KeyPlan::of(vec![mechanism])
    };
    hsm.create_key_as(user, name, plan).expect("tests make good ones")
}

/// The keys of a wallet account, as another library derives them.
pub struct Watched {
    /// The account's extended public key.
    pub xpub: Xpub,
    root: Fingerprint,
    account: DerivationPath,
}

impl Watched {
    /// Those of a key that is a wallet account.
    pub fn of(key: &KeyInfo) -> Self {
        let watch = key.watch.as_ref().expect("tests make good ones");
        Self {
            xpub: watch.xpub.parse().expect("tests make good ones"),
            root: Fingerprint::from(watch.root_fingerprint.into_array()),
            account: key
                .plan
                .path
                .as_ref()
                .expect("tests make good ones")
                .to_string()
                .parse()
                .expect("tests make good ones"),
        }
    }

    /// A key of the wallet: the key, where it comes from, and its script.
    pub fn key(&self, chain: u32, index: u32) -> (PublicKey, (Fingerprint, DerivationPath), ScriptBuf) {
        let steps =
            [chain, index].map(|step| ChildNumber::from_normal_idx(step).expect("tests make good ones"));
        let derived = self
            .xpub
            .derive_pub(&Secp256k1::verification_only(), &steps)
            .expect("tests make good ones")
            .public_key;
        let script = ScriptBuf::new_p2wpkh(&CompressedPublicKey(derived).wpubkey_hash());
        (derived, (self.root, self.account.extend(steps)), script)
    }

    /// Two inputs of 100,000 satoshi each; 150,000 go to a stranger and 49,000 come back.
    pub fn psbt(&self) -> Psbt {
        let input = |previous_output| TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        };
        let transaction = |input, output| Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input,
            output,
        };
        let paid = |sat, script_pubkey| TxOut { value: Amount::from_sat(sat), script_pubkey };
        let previous = [0, 1].map(|index| {
            let coin = OutPoint {
                txid: Txid::from_byte_array([7 + u8::try_from(index).expect("tests make good ones"); 32]),
                vout: 0,
            };
            transaction(vec![input(coin)], vec![paid(100_000, self.key(0, index).2)])
        });
        let stranger = ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array([9; 20]));
        let inputs = previous.iter().map(|one| input(OutPoint { txid: one.compute_txid(), vout: 0 }));
        let outputs = vec![paid(150_000, stranger), paid(49_000, self.key(1, 0).2)];
        let mut psbt =
            Psbt::from_unsigned_tx(transaction(inputs.collect(), outputs)).expect("tests make good ones");
        for (index, one) in (0u32..).zip(previous) {
            let (key, origin, _) = self.key(0, index);
            let input = &mut psbt.inputs[index as usize];
            input.witness_utxo = Some(one.output[0].clone());
            input.non_witness_utxo = Some(one);
            input.bip32_derivation.insert(key, origin);
        }
        let (key, origin, _) = self.key(1, 0);
        psbt.outputs[1].bip32_derivation.insert(key, origin);
        psbt
    }

    /// Each input has one signature, of its key, over what the other library computes.
    pub fn assert_signed(&self, unsigned: &Psbt, signed: &[u8]) {
        let signed = Psbt::deserialize(signed).expect("tests make good ones");
        assert_eq!(signed.unsigned_tx, unsigned.unsigned_tx);
        let mut cache = SighashCache::new(&unsigned.unsigned_tx);
        for (index, input) in signed.inputs.iter().enumerate() {
            let (message, _) = unsigned.sighash_ecdsa(index, &mut cache).expect("tests make good ones");
            let (key, ..) = self.key(0, u32::try_from(index).expect("tests make good ones"));
            let signature = &input.partial_sigs[&bitcoin::PublicKey::new(key)];
            assert_eq!(input.partial_sigs.len(), 1);
            Secp256k1::verification_only()
                .verify_ecdsa(&message, &signature.signature, &key)
                .expect("tests make good ones");
        }
    }
}
