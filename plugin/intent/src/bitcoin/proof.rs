//! What the inputs spend, and who says so.

use super::psbt::{Map, input};
use super::reader::MALFORMED;
use super::script::{p2sh, p2wsh};
use super::signer::{Own, Way};
use super::transaction::{Input, Output, Previous};
use countersign_wire::reason::Reason;

/// What an input spends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) output: Output,
    /// The whole previous transaction was there, and hashes to the txid that is signed.
    pub(crate) proven: bool,
}

/// The output that an input spends, from its previous transaction if that is there, else from its witness UTXO.
/// Whatever of both is there must agree, and so must the scripts.
pub(crate) fn spent(map: &Map, spending: &Input) -> Result<Spent, Reason> {
    let witnessed = map.get(input::WITNESS_UTXO).map(super::psbt::witness_utxo).transpose()?;
    let spent = match map.get(input::NON_WITNESS_UTXO) {
        Some(bytes) => {
            let output = output_of(Previous::read(bytes)?, spending)?;
            if witnessed.is_some_and(|witnessed| witnessed != output) {
                return Err(MALFORMED);
            }
            Spent { output, proven: true }
        }
        None => Spent { output: witnessed.ok_or(Reason::AmountNotProven)?, proven: false },
    };
    check_scripts(map, &spent.output.script)?;
    Ok(spent)
}

/// BIP-174: "If a non-witness UTXO is provided, its hash must match the hash specified in the prevout."
fn output_of(previous: Previous, spending: &Input) -> Result<Output, Reason> {
    if previous.txid != spending.outpoint.txid {
        return Err(MALFORMED);
    }
    let index = usize::try_from(spending.outpoint.index).map_err(|_| MALFORMED)?;
    previous.outputs.into_iter().nth(index).ok_or(MALFORMED)
}

/// BIP-174: "If a redeemScript is provided, the scriptPubKey must be for that redeemScript. If a witnessScript is
/// provided, the scriptPubKey or the redeemScript must be for that witnessScript."
fn check_scripts(map: &Map, script: &[u8]) -> Result<(), Reason> {
    let redeem = map.get(input::REDEEM_SCRIPT);
    let witness = map.get(input::WITNESS_SCRIPT);
    let redeems = redeem.is_none_or(|redeem| p2sh(redeem) == script);
    let witnesses = witness.is_none_or(|witness| p2wsh(witness) == redeem.unwrap_or(script));
    if redeems && witnesses { Ok(()) } else { Err(MALFORMED) }
}

/// Whether the amounts are proven, taken together. A signature of ours for witness version 0 proves the amount of
/// its own input, for it is void if the amount is false; the module's documentation says why one such input is the
/// most, and which it may be.
pub(crate) fn check_amounts(spent: &[Spent], own: &[Option<Own>]) -> Result<(), Reason> {
    let mut unproven = spent.iter().zip(own).filter(|(spent, _)| !spent.proven).map(|(_, own)| own);
    let committed = match unproven.next() {
        None => true,
        Some(Some(Own { way: Way::WitnessV0(_), alone, .. })) => *alone || spent.len() == 1,
        Some(_) => false,
    };
    if committed && unproven.next().is_none() { Ok(()) } else { Err(Reason::AmountNotProven) }
}
