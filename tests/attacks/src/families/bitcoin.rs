//! What the coins of a PSBT are worth.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::bitcoin::{Watched, wallet_key};
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::{Bitcoin, Ethereum};
use countersign_wire::client::Payload;

pub(crate) const FAMILY: Family = Family {
    name: "bitcoin",
    title: "A PSBT lies about the coins that it spends, so that the rest goes to a miner as fee",
    invariants: &["I15"],
    attacks: &[Attack {
        name: "amounts-that-are-not",
        had: "the user's right code for a payment that he shows in full",
        does: "gives other previous transactions in which the coins are worth more or less, or leaves out what proves their worth",
        guards: &["previous-transaction"],
        faults: &[],
        on: On::Embedded,
        play: amounts_that_are_not,
    }],
};

fn amounts_that_are_not(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let key = wallet_key(&hsm, &alice, "btc", Bitcoin, "m/84h/1h/0h");
    let watched = Watched::of(&key);
    let good = watched.psbt();
    let code = alice.phone.code(hsm.advance(30));
    let mut ask = |psbt: &countersign_tests::bitcoin::Psbt, what: &str| {
        let payload = Payload::Psbt(psbt.serialize().into());
        tries.ask(what, hsm.sign_with(&alice, &key.label, payload, Some(&code)));
    };
    for sat in [99_999, 100_001, 10_000_000] {
        for inputs in [&[0][..], &[1], &[0, 1]] {
            let mut lie = good.clone();
            for index in inputs {
                let input = &mut lie.inputs[*index];
                let previous = input.non_witness_utxo.as_mut().expect("it is there");
                previous.output[0].value = countersign_tests::bitcoin::Amount::from_sat(sat);
                input.witness_utxo = Some(previous.output[0].clone());
            }
            ask(&lie, "a payment whose inputs are not worth what was shown");
        }
    }
    // Only the words of one of two: nobody signs for both.
    let mut unproven = good.clone();
    for input in &mut unproven.inputs {
        input.non_witness_utxo = None;
    }
    ask(&unproven, "a payment whose amounts nothing proves");
    let mut empty = good.clone();
    for input in &mut empty.inputs {
        input.non_witness_utxo = None;
        input.witness_utxo = None;
    }
    ask(&empty, "a payment that says nothing of its coins");
    if tries.got.is_empty() {
        let payload = Payload::Psbt(good.serialize().into());
        hsm.sign_with(&alice, &key.label, payload, Some(&code)).expect("the truth signs, with the same code");
    }
}
