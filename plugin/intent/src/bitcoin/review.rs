//! What signing a PSBT would do, and the PSBT with the signatures in it.

use super::psbt::{Psbt, Version, global, input};
use super::reader::MALFORMED;
use super::script::Template;
use super::sighash::{SIGHASH_ALL, Shared, legacy, witness_v0};
use super::signer::{Own, Signer, Way};
use super::transaction::{Input, SEQUENCE_FINAL, Transaction};
use super::{MONEY_MAX_SAT, fee, proof, sha256, signature};
use crate::model::{Amount, Asset, Chain, Detail, Intent, Kind, Move, Network};
use countersign_wire::reason::Reason;

/// Lock times below are block heights, from here on unix times.
const LOCK_TIME_THRESHOLD: u32 = 500_000_000;

/// `PSBT_GLOBAL_TX_MODIFIABLE`: inputs may be added, outputs may be added (BIP-370).
const MODIFIABLE: u8 = 0b11;

/// One digest that a review asks to have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToSign {
    /// Which input, from 0.
    pub input: u32,
    /// What is signed.
    pub digest: [u8; 32],
    /// Chain and index of the key beneath the account; `None` for the single key itself.
    pub child: Option<(u32, u32)>,
    /// The key, SEC 1 compressed.
    pub public_key: [u8; 33],
}

/// What signing a PSBT would do. Holding one proves that every amount is proven, that each digest belongs to an
/// input of the signer, and that the intent tells of all outputs and of the exact fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// What people and policies are told.
    pub intent: Intent,
    /// One hash over all that is signed: what an approval is bound to.
    pub commitment: [u8; 32],
    /// All that is to be signed under one approval, in the order of the inputs; never empty.
    pub to_sign: Vec<ToSign>,
    /// SHA-256 of the PSBT.
    of: [u8; 32],
}

impl Psbt {
    /// What signing it would do. Refuses what nobody could judge: see the module's documentation.
    pub fn review(&self, signer: &Signer) -> Result<Review, Reason> {
        let transaction = self.transaction();
        check_outpoints(&transaction.inputs)?;
        let mut spent = Vec::new();
        let mut own = Vec::new();
        for (map, spending) in self.inputs.iter().zip(&transaction.inputs) {
            let output = proof::spent(map, spending)?;
            own.push(self::own(signer, map, &output.output.script)?);
            spent.push(output);
        }
        if own.iter().all(Option::is_none) {
            let taproot = spent.iter().any(|spent| Template::of(&spent.output.script).is_taproot());
            return Err(if taproot { Reason::TaprootNotSupported } else { Reason::NothingToSign });
        }
        proof::check_amounts(&spent, &own)?;
        let brought_sat = sum(spent.iter().map(|spent| spent.output.value_sat))?;
        let paid_sat = sum(transaction.outputs.iter().map(|output| output.value_sat))?;
        let fee_sat = fee::checked(brought_sat, paid_sat, transaction.encode().len())?;
        let to_sign = digests(transaction, &spent, &own)?;
        let intent = self.intent(signer, fee_sat, to_sign.len())?;
        let commitment = commitment(signer.network(), transaction, &to_sign);
        Ok(Review { intent, commitment, to_sign, of: sha256(&self.encode()) })
    }

    fn intent(&self, signer: &Signer, fee_sat: u64, digests: usize) -> Result<Intent, Reason> {
        let transaction = self.transaction();
        let (mut moves, mut details) = (Vec::new(), Vec::new());
        if transaction.outputs.is_empty() {
            return Err(MALFORMED);
        }
        for (map, output) in self.outputs.iter().zip(&transaction.outputs) {
            let own = signer.output(map, &output.script)?;
            if let (Signer::Account(account), Some((chain, index))) = (signer, own.and_then(|own| own.child))
            {
                let path = account.path_of(chain, index).ok_or(Reason::InternalError)?;
                details.push(Detail { label: "change key", text: path.to_string() });
            }
            moves.push(Move {
                from: None,
                to: super::address(&output.script, signer.network()),
                asset: Asset::Native,
                amount: Amount::from(output.value_sat),
                own: own.is_some(),
            });
        }
        if digests < transaction.inputs.len() {
            let text = format!("{digests} of {} inputs", transaction.inputs.len());
            details.push(Detail { label: "signs", text });
        }
        details.extend(not_before(transaction));
        Ok(Intent {
            kind: Kind::Transfer,
            chain: Some(Chain::Bitcoin(signer.network())),
            moves,
            fee_most: Some(Amount::from(fee_sat)),
            nonce: None,
            opaque: false,
            warnings: Vec::new(),
            details,
        })
    }

    /// The PSBT with a partial signature (`PSBT_IN_PARTIAL_SIG`) for each digest of its review, r‖s each, in order;
    /// one that was there under the same key is replaced. All else stays as it was read, but for
    /// `PSBT_GLOBAL_TX_MODIFIABLE`. A review of another PSBT, or another number of signatures, is a fault of the
    /// caller's code.
    pub fn with_signatures(&self, review: &Review, signatures: &[[u8; 64]]) -> Result<Vec<u8>, Reason> {
        if review.of != sha256(&self.encode()) || review.to_sign.len() != signatures.len() {
            return Err(Reason::InternalError);
        }
        let mut signed = self.clone();
        for (asked, signature) in review.to_sign.iter().zip(signatures) {
            let at = usize::try_from(asked.input).map_err(|_| Reason::InternalError)?;
            let map = signed.inputs.get_mut(at).ok_or(Reason::InternalError)?;
            let value = signature::with_sighash_all(signature).ok_or(Reason::InternalError)?;
            map.put(input::PARTIAL_SIG, &asked.public_key, value);
        }
        // BIP-370, "Signer": a signature without ANYONECANPAY must clear the Inputs Modifiable flag, one that is
        // not SIGHASH_NONE the Outputs Modifiable flag.
        if let (Version::V2, Some([flags])) =
            (signed.version(), signed.global.value_mut(global::TX_MODIFIABLE).map(Vec::as_mut_slice))
        {
            *flags &= !MODIFIABLE;
        }
        Ok(signed.encode())
    }
}

/// An output is spent once.
fn check_outpoints(inputs: &[Input]) -> Result<(), Reason> {
    let mut outpoints: Vec<_> = inputs.iter().map(|input| input.outpoint).collect();
    outpoints.sort_unstable();
    if outpoints.windows(2).any(|pair| pair[0] == pair[1]) { Err(MALFORMED) } else { Ok(()) }
}

/// Whether and how an input is to be signed by us. One that is final already is nobody's to sign.
fn own(signer: &Signer, map: &super::psbt::Map, script: &[u8]) -> Result<Option<Own>, Reason> {
    if map.get(input::FINAL_SCRIPTSIG).is_some() || map.get(input::FINAL_SCRIPTWITNESS).is_some() {
        return Ok(None);
    }
    if Template::of(script).is_taproot() && signer.is_named_in_taproot(map) {
        return Err(Reason::TaprootNotSupported);
    }
    let Some(own) = signer.input(map, script)? else { return Ok(None) };
    if map.u32(input::SIGHASH_TYPE)?.is_some_and(|sighash| sighash != u32::from(SIGHASH_ALL)) {
        return Err(Reason::SighashNotAllowed);
    }
    // BIP-174: "If a witness UTXO is provided, no non-witness signature may be created."
    if own.way == Way::Legacy && map.get(input::WITNESS_UTXO).is_some() {
        return Err(MALFORMED);
    }
    Ok(Some(own))
}

fn sum(amounts: impl Iterator<Item = u64>) -> Result<u64, Reason> {
    let sum = amounts.fold(0, u64::saturating_add);
    if sum > MONEY_MAX_SAT { Err(MALFORMED) } else { Ok(sum) }
}

fn digests(
    transaction: &Transaction,
    spent: &[proof::Spent],
    own: &[Option<Own>],
) -> Result<Vec<ToSign>, Reason> {
    let shared = Shared::of(transaction);
    let mut to_sign = Vec::new();
    for (at, (spent, own)) in spent.iter().zip(own).enumerate() {
        let Some(Own { child, public_key, way, .. }) = own else { continue };
        let digest = match way {
            Way::Legacy => legacy(transaction, at, &spent.output.script),
            Way::WitnessV0(code) => witness_v0(transaction, &shared, at, code, spent.output.value_sat),
        };
        let digest = digest.ok_or(Reason::InternalError)?;
        let input = u32::try_from(at).map_err(|_| Reason::InternalError)?;
        to_sign.push(ToSign { input, digest, child: *child, public_key: *public_key });
    }
    Ok(to_sign)
}

/// A lock time means something as soon as one input is not final.
fn not_before(transaction: &Transaction) -> Option<Detail> {
    let lock_time = transaction.lock_time;
    let locked = lock_time > 0 && transaction.inputs.iter().any(|input| input.sequence != SEQUENCE_FINAL);
    let what = if lock_time < LOCK_TIME_THRESHOLD { "block" } else { "unix time" };
    locked.then(|| Detail { label: "not valid before", text: format!("{what} {lock_time}") })
}

/// SHA-256 of `"countersign bitcoin v1" ‖ 0x00 ‖ network's word ‖ 0x00 ‖ length of the unsigned transaction (4
/// bytes, little endian) ‖ unsigned transaction ‖ number of digests (4) ‖ (input (4) ‖ public key (33) ‖ digest
/// (32))*`.
fn commitment(network: Network, transaction: &Transaction, to_sign: &[ToSign]) -> [u8; 32] {
    let mut bytes = b"countersign bitcoin v1\0".to_vec();
    bytes.extend_from_slice(network.word().as_bytes());
    bytes.push(0);
    let unsigned = transaction.encode();
    bytes.extend_from_slice(&(unsigned.len() as u64).to_le_bytes()[..4]);
    bytes.extend_from_slice(&unsigned);
    bytes.extend_from_slice(&(to_sign.len() as u64).to_le_bytes()[..4]);
    for asked in to_sign {
        bytes.extend_from_slice(&asked.input.to_le_bytes());
        bytes.extend_from_slice(&asked.public_key);
        bytes.extend_from_slice(&asked.digest);
    }
    sha256(&bytes)
}
