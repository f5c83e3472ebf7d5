//! Something is signed that is not what it seems, or that nobody can read.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{digest, operation};
use countersign_tests::{Hsm, Keystore, transactions};
use countersign_wire::client::Mechanism::{Digest, Ethereum, Message, TypedData};
use countersign_wire::client::Payload;

pub(crate) const FAMILY: Family = Family {
    name: "blind-signing",
    title: "A key that signs what the HSM can read is made to sign what it cannot",
    invariants: &["I15"],
    attacks: &[
        Attack {
            name: "digest-with-an-ethereum-key",
            had: "a fresh code, typed for a transfer",
            does: "gives a digest instead of a transaction: natively, by login, as a message, and in an operation for transactions",
            guards: &["mechanism"],
            faults: &[],
            on: On::Both,
            play: digest_with_an_ethereum_key,
        },
        Attack {
            name: "transaction-as-message",
            had: "a fresh code, typed for a message",
            does: "gives a key for messages a transaction and a digest, and logs in for typed data",
            guards: &["mechanism"],
            faults: &[],
            on: On::Embedded,
            play: transaction_as_message,
        },
    ],
};

fn digest_with_an_ethereum_key(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let code = alice.phone.code(hsm.now());
    tries.ask("a digest signed", hsm.sign(&alice, digest(1), &code));
    let blind = operation(&alice.key, Digest);
    tries.ask("a login for digests", hsm.context_login(&alice, &blind, &code));
    tries.ask("a digest signed by login", hsm.context_sign(&alice, &blind, digest(1)));
    tries.ask("a digest signed as a message", hsm.sign(&alice, Payload::Message(vec![1; 32].into()), &code));
    // Logged in for a transaction, and then something else is given.
    let granted = operation(&alice.key, Ethereum);
    let next = alice.phone.code(hsm.advance(30));
    hsm.context_login(&alice, &granted, &next).expect("logs in");
    tries.ask(
        "a digest signed in an operation for transactions",
        hsm.context_sign(&alice, &granted, digest(1)),
    );
    if tries.got.is_empty() {
        let payload = transactions::payload(&transactions::transfer(1));
        hsm.sign(&alice, payload, &alice.phone.code(hsm.advance(30))).expect("a transaction signs");
    }
}

fn transaction_as_message(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Message]);
    let code = alice.phone.code(hsm.now());
    let transaction = transactions::payload(&transactions::transfer(1));
    tries.ask("a transaction signed by a key for messages", hsm.sign(&alice, transaction, &code));
    tries.ask("a digest signed by a key for messages", hsm.sign(&alice, digest(1), &code));
    let other = operation(&alice.key, TypedData);
    tries.ask("a login for typed data", hsm.context_login(&alice, &other, &code));
    if tries.got.is_empty() {
        let key = hsm.create_key(&alice, "ethereum", &[Ethereum]).expect("a further key");
        let transaction = transactions::payload(&transactions::transfer(1));
        hsm.sign_with(&alice, &key.label, transaction, Some(&code))
            .expect("her key for transactions signs it");
    }
}
