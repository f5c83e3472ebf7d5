//! Ethereum with viem.

use super::assert_shown;
use countersign_tests::backend::{User, address, assert_signed_by, reason};
use countersign_tests::module::{
    CKM_COUNTERSIGN_ETHEREUM, CKM_COUNTERSIGN_MESSAGE, CKM_COUNTERSIGN_TYPED_DATA,
};
use countersign_tests::node::{Node, bytes, hex, list, text};
use countersign_tests::{Hsm, Keystore, cli, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::{Digest, Ethereum, Message, TypedData};
use countersign_wire::client::{Payload, Signed};
use cryptoki_sys::CK_MECHANISM_TYPE;
use serde_json::{Value, json};
use std::path::Path;

on_both_keystores!(
    viem_reads_each_type_of_transaction_as_it_built_it_and_finds_our_key_behind_it,
    viem_finds_our_key_behind_typed_data_and_messages,
);
on_embedded!(what_viem_encodes_and_nobody_should_sign_is_refused);

/// Alice's key may sign everything, even what nobody inside can read, and policy permits it.
fn start(keystore: Keystore) -> (Hsm, User) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    cli::set_policy(&mut hsm, &Path::new(env!("CARGO_MANIFEST_DIR")).join("it/node/everything"));
    hsm.run();
    let alice = hsm.user("alice", &[Digest, Ethereum, TypedData, Message]);
    (hsm, alice)
}

fn sign(hsm: &Hsm, alice: &User, payload: Payload) -> Signed {
    hsm.sign(alice, payload, &alice.phone.code(hsm.advance(30))).expect("a right code signs")
}

fn sign_through_module(hsm: &Hsm, alice: &User, kind: CK_MECHANISM_TYPE, data: &[u8]) -> Value {
    hex(&hsm.sign_through_module(alice, &alice.key.label, kind, data))
}

fn viem_reads_each_type_of_transaction_as_it_built_it_and_finds_our_key_behind_it(keystore: Keystore) {
    let (hsm, alice) = start(keystore);
    let (mut viem, owner) = (Node::start("ethereum"), address(&alice.key).to_checksum(None));
    let built = viem.ask_plainly("build");
    assert_eq!(list(&built).len(), 11);
    for case in list(&built) {
        let (name, unsigned) = (text(&case["name"]), bytes(&case["unsigned"]));
        let of = |signature: Value| json!({"name": name, "signature": signature, "address": owner});

        // PKCS#11 gives r and s: viem finds the parity and makes the transaction.
        let signature = sign_through_module(&hsm, &alice, CKM_COUNTERSIGN_ETHEREUM, &unsigned);
        let made = viem.ask("assemble", of(signature));
        assert_eq!((&made["fields"], &made["signer"]), (&case["fields"], &json!(owner)), "{name}");

        // The native client gives all of it, and viem would have made the same bytes.
        let signed = sign(&hsm, &alice, Payload::Ethereum(unsigned.into()));
        let raw = hex(signed.raw_transaction.as_ref().expect("the whole transaction"));
        let read = viem.ask("read", json!({"raw": raw}));
        assert_eq!((&read["fields"], &read["signer"]), (&case["fields"], &json!(owner)), "{name}");
        assert_eq!(read["hash"], hex(&signed.transaction_hash.expect("its hash")[..]), "{name}");
        let made = viem.ask("assemble", of(hex(&signed.signature[..])));
        assert_eq!((&made["raw"], &made["y_parity"]), (&raw, &json!(signed.y_parity)), "{name}");
        assert_shown(&case["shown"], &signed.summary);

        // The same signature belongs to no other transaction of ours.
        let others = viem.ask("flip", json!({"raw": raw}));
        let others = others.as_object().expect("signers by field");
        assert!(others.len() >= 7, "{name}: {others:?}");
        for (field, found) in others {
            assert_ne!(found, &json!(owner), "{name}: another {field}");
        }
    }
}

fn viem_finds_our_key_behind_typed_data_and_messages(keystore: Keystore) {
    let (hsm, alice) = start(keystore);
    let (mut viem, owner) = (Node::start("ethereum"), address(&alice.key).to_checksum(None));
    let asked = viem.ask("statements", json!({"address": owner}));
    let (typed, messages) = (list(&asked["typed_data"]), list(&asked["messages"]));
    assert_eq!((typed.len(), messages.len()), (4, 4));
    let typed = typed.iter().map(|one| {
        let json = text(&one["json"]).as_bytes().to_vec();
        (one, CKM_COUNTERSIGN_TYPED_DATA, json.clone(), Payload::TypedData(json.into()))
    });
    let messages = messages.iter().map(|one| {
        let raw = bytes(&one["raw"]);
        (one, CKM_COUNTERSIGN_MESSAGE, raw.clone(), Payload::Message(raw.into()))
    });
    for (one, kind, data, payload) in typed.chain(messages) {
        let signed = sign(&hsm, &alice, payload);
        assert_eq!(hex(&signed.digest[..]), one["digest"], "{one}");
        assert_shown(&one["shown"], &signed.summary);
        let through = sign_through_module(&hsm, &alice, kind, &data);
        assert_signed_by(&alice.key, &bytes(&one["digest"]), &bytes(&through));
        for signature in [through, hex(&signed.signature[..])] {
            let question = json!({
                "name": one["name"], "raw": one["raw"], "signature": signature, "address": owner
            });
            let found = viem.ask("signer", question);
            assert_eq!(found["signer"], json!(owner), "{one}");
            assert_ne!(found["of_another"], json!(owner), "{one}");
        }
    }
}

fn what_viem_encodes_and_nobody_should_sign_is_refused(keystore: Keystore) {
    let (hsm, alice) = start(keystore);
    let unsafe_ones = Node::start("ethereum").ask_plainly("unsafe");
    let unsafe_ones = unsafe_ones.as_object().expect("transactions by reason");
    assert_eq!(unsafe_ones.len(), 2);
    let code = alice.phone.code(hsm.advance(30));
    for (expected, transaction) in unsafe_ones {
        let refused = hsm.sign(&alice, Payload::Ethereum(bytes(transaction).into()), &code);
        assert_eq!(reason(refused).word(), expected);
    }
}
