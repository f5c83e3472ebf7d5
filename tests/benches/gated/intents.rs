//! What it costs to read what is signed and to ask the policy, by kind of intent, beside a gated signature.
//!
//! Decoding, digests, the summary and the decision, as the plugin does them in this order, on the sample policy of a
//! retail exchange; outside a plugin, so that nothing else is in the figure.

use crate::report::Table;
use crate::results::Section;
use crate::rounds::{Contender, Figures, LONE_TURNS, Round, Work, measure};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, Signature, TxKind, U256, address};
use bitcoin::hashes::Hash;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, absolute};
use countersign_intent::bitcoin::{Psbt, Signer, SingleKey};
use countersign_intent::{Intent, Network, ethereum, summary};
use countersign_policy::tool::{self, Sources};
use countersign_policy::{Approval, KeyUse, Ledger, Payees, Policy, Question};
use std::hint::black_box;

/// Inputs of the small and the large Bitcoin transaction; the largest that is read has 256.
const INPUTS: [usize; 3] = [1, 10, 256];

/// `USDC`, which the sample policy declares.
const TOKEN: Address = address!("A0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48");

/// Whom it pays.
const RECIPIENT: Address = address!("d8dA6BF26964aF9D7eEd9e03E53415D37aA96045");

/// Figures of this part begin so.
pub(crate) const PREFIX: &str = "intent/";

/// The gated signatures that the others are set off against.
pub(crate) const GATED: &str = "gated/embedded/native/32";

/// The kind whose share is bounded.
pub(crate) const PLAIN: &str = "intent/transfer";

/// What is to be read, as it arrives.
enum Arrived {
    Transaction(Vec<u8>),
    TypedData(Vec<u8>),
    Message(Vec<u8>),
    Psbt(Vec<u8>, Signer),
}

impl Arrived {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Transaction(bytes)
            | Self::TypedData(bytes)
            | Self::Message(bytes)
            | Self::Psbt(bytes, _) => bytes,
        }
    }

    fn mechanism(&self) -> (&'static str, Option<Network>) {
        match self {
            Self::Transaction(_) => ("ethereum", None),
            Self::TypedData(_) => ("typed-data", None),
            Self::Message(_) => ("message", None),
            Self::Psbt(..) => ("bitcoin", Some(Network::Main)),
        }
    }

    /// Decodes it and makes every digest that would be signed.
    fn read(&self) -> Intent {
        let good = "the benchmark asks for what is accepted";
        match self {
            Self::Transaction(bytes) => {
                let transaction = ethereum::Transaction::read(bytes).expect(good);
                black_box(transaction.digest());
                transaction.intent()
            }
            Self::TypedData(bytes) => {
                let data = ethereum::TypedData::read(bytes).expect(good);
                black_box(data.digest());
                data.intent()
            }
            Self::Message(bytes) => {
                let message = ethereum::Message::read(bytes).expect(good);
                black_box(message.digest());
                message.intent()
            }
            Self::Psbt(bytes, signer) => {
                Psbt::read(bytes).and_then(|psbt| psbt.review(signer)).expect(good).intent
            }
        }
    }
}

/// One kind of intent, read and decided over and over.
pub(crate) struct Reading<'a> {
    name: String,
    arrived: Arrived,
    policy: &'a Policy,
    times: usize,
}

impl Reading<'_> {
    /// Length of what is read.
    pub(crate) fn length_bytes(&self) -> usize {
        self.arrived.bytes().len()
    }
}

impl Work for Reading<'_> {
    fn sign(&self, _thread: usize, _number: usize) {
        let intent = self.arrived.read();
        black_box(summary::render(&intent));
        let (mechanism, network) = self.arrived.mechanism();
        black_box(self.policy.decide(&Question {
            tenant: "default",
            account: "alice",
            key: KeyUse { mechanisms: &[mechanism], network },
            intent: &intent,
            approval: Approval::Code,
            backed_up: false,
            unix_secs: 1_767_268_800,
            elapsed_secs: 86_400,
            account_ledger: &Ledger::default(),
            tenant_ledger: &Ledger::default(),
            payees: &Payees::default(),
        }));
    }
}

impl Contender for Reading<'_> {
    fn name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    fn threads(&self) -> usize {
        1
    }

    fn round(&self) -> Round {
        measure(1, self.times, &[], self)
    }
}

/// The policy that is asked.
pub(crate) fn policy() -> Policy {
    let sources = Sources {
        policy_toml: include_str!("../../../policy/samples/retail-exchange-hot-wallet/policy.toml")
            .to_owned(),
        policy_cedar: include_str!("../../../policy/samples/retail-exchange-hot-wallet/policy.cedar")
            .to_owned(),
    };
    tool::check(&sources).expect("the sample is good")
}

/// Every kind, each read so often in a round of all turns.
pub(crate) fn readings(policy: &Policy, times: usize) -> Vec<Reading<'_>> {
    let token = |selector: [u8; 4], amount: u64| {
        let call = [&selector[..], &[0; 12], RECIPIENT.as_slice(), &U256::from(amount).to_be_bytes::<32>()];
        transaction(TOKEN, U256::ZERO, call.concat())
    };
    let mut kinds = vec![
        ("transfer".to_owned(), transaction(RECIPIENT, U256::from(1_000_000_000_000_000u64), Vec::new())),
        ("erc20-transfer".to_owned(), token([0xa9, 0x05, 0x9c, 0xbb], 5_000_000)),
        ("erc20-approve".to_owned(), token([0x09, 0x5e, 0xa7, 0xb3], 5_000_000)),
        ("permit".to_owned(), Arrived::TypedData(PERMIT.as_bytes().to_vec())),
        ("message".to_owned(), Arrived::Message(b"I agree to the terms of 2026.".to_vec())),
    ];
    kinds.extend(INPUTS.map(|inputs| (format!("psbt-{inputs}-inputs"), psbt(inputs))));
    let reading = |(name, arrived): (String, Arrived)| {
        // The largest takes a thousand times as long.
        let times = if arrived.bytes().len() > 16 * 1024 { times / 50 } else { times };
        Reading { name, arrived, policy, times: (times / LONE_TURNS).max(1) }
    };
    kinds.into_iter().map(reading).collect()
}

fn transaction(to: Address, value: U256, input: Vec<u8>) -> Arrived {
    let transaction = TxEip1559 {
        chain_id: 1,
        nonce: 7,
        gas_limit: 60_000,
        max_fee_per_gas: 30_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to),
        value,
        input: input.into(),
        ..TxEip1559::default()
    };
    Arrived::Transaction(SignableTransaction::<Signature>::encoded_for_signing(&transaction))
}

/// ERC-2612, as `USDC` takes it.
const PERMIT: &str = r#"{"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"version","type":"string"},
    {"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}],
    "Permit":[{"name":"owner","type":"address"},{"name":"spender","type":"address"},{"name":"value","type":"uint256"},
    {"name":"nonce","type":"uint256"},{"name":"deadline","type":"uint256"}]},"primaryType":"Permit",
    "domain":{"name":"USD Coin","version":"2","chainId":1,"verifyingContract":"0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"},
    "message":{"owner":"0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045","spender":"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "value":"5000000","nonce":"0","deadline":"1767355200"}}"#;

/// So many inputs of one P2WPKH key, each with its whole previous transaction, to one recipient and back.
fn psbt(inputs: usize) -> Arrived {
    // The generator of secp256k1: the key of 1.
    let key =
        bitcoin::secp256k1::SecretKey::from_slice(&U256::from(1).to_be_bytes::<32>()).expect("1 is a key");
    let key = key.public_key(&bitcoin::secp256k1::Secp256k1::new());
    let own = ScriptBuf::new_p2wpkh(&bitcoin::CompressedPublicKey(key).wpubkey_hash());
    let stranger = ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array([9; 20]));
    let input = |previous_output| TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    let transaction = |input, output| Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input,
        output,
    };
    let paid = |sat, script_pubkey| TxOut { value: Amount::from_sat(sat), script_pubkey };
    let previous: Vec<Transaction> = (0..inputs)
        .map(|number| {
            let number = u32::try_from(number).expect("few inputs");
            let coin = OutPoint { txid: Txid::from_byte_array([7; 32]), vout: number };
            transaction(vec![input(coin)], vec![paid(20_000, own.clone())])
        })
        .collect();
    let spent = previous.iter().map(|one| input(OutPoint { txid: one.compute_txid(), vout: 0 })).collect();
    let half = 10_000 * inputs as u64;
    let outputs = vec![paid(half, stranger), paid(half - 500 * inputs as u64, own)];
    let mut psbt = bitcoin::Psbt::from_unsigned_tx(transaction(spent, outputs)).expect("nothing is signed");
    for (input, one) in psbt.inputs.iter_mut().zip(previous) {
        input.witness_utxo = Some(one.output[0].clone());
        input.non_witness_utxo = Some(one);
    }
    let signer = SingleKey::new(key.serialize(), Network::Main).expect("a good key");
    Arrived::Psbt(psbt.serialize(), Signer::Key(signer))
}

/// Processor time of the HSM for one gated signature, in microseconds.
fn gated_us(section: &Section) -> Option<f64> {
    let spent = section.find(GATED)?.cpu_us();
    Some(spent.iter().filter(|(station, _)| *station != "client").map(|(_, spent)| spent).sum())
}

/// Processor time of one reading, in microseconds.
fn reading_us(figures: &Figures) -> f64 {
    figures.percentile_us(50)
}

/// What reading and deciding a plain transfer is of a gated signature's processor time, in percent.
pub(crate) fn share_percent(section: &Section, name: &str) -> Option<f64> {
    Some(reading_us(section.find(name)?) / gated_us(section)? * 100.0)
}

/// The table for people.
pub(crate) fn table(section: &Section, lengths: &[(String, usize)]) -> Option<(Table, String)> {
    let gated = gated_us(section)?;
    let mut table = Table::new(&["", "bytes", "µs", "% of a gated signature"]);
    for figures in section.figures.iter().filter(|figures| figures.name.starts_with(PREFIX)) {
        let length = lengths.iter().find(|(name, _)| *name == figures.name).map_or(0, |(_, length)| *length);
        let us = reading_us(figures);
        table.row(vec![
            format!("`{}`", figures.name.trim_start_matches(PREFIX)),
            length.to_string(),
            format!("{us:.1}"),
            format!("{:.1}", us / gated * 100.0),
        ]);
    }
    let prose = format!(
        "Decoding, all digests, the summary and the decision of the sample policy `retail-exchange-hot-wallet`, medians on one \
         thread, beside the {gated:.0} µs of processor time (firmware and plugin, user and kernel) that a gated signature of a \
         digest takes at 32 native clients on the embedded keystore, in the same rounds."
    );
    Some((table, prose))
}
