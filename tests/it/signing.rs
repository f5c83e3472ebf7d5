//! The main job, natively: with the user's code comes the signature.

use alloy_primitives::{U256, hex};
use countersign_tests::backend::{FIRST_KEY, address, assert_signed_by, digest};
use countersign_tests::{Hsm, Keystore, on_both_keystores, transactions};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{Act, Enroll, KeyPlan};
use countersign_wire::client::{Payload, TotpHash, TotpParameters};
use countersign_wire::names::KeyName;
use serde_bytes::ByteArray;

on_both_keystores!(
    a_code_signs_an_eip_1559_transaction_ready_to_broadcast,
    a_code_signs_a_legacy_transaction_with_the_chain_id_in_v,
    a_code_signs_a_digest_with_a_key_made_for_it,
    signs_with_every_hash_number_of_digits_and_period,
    every_signature_is_low_s,
    every_key_of_an_account_signs_with_the_same_users_code,
    keys_sign_the_same_after_a_restart,
);

fn a_code_signs_an_eip_1559_transaction_ready_to_broadcast(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let transaction = transactions::transfer(0);
    let code = alice.phone.code(hsm.now());
    let signed = hsm.sign(&alice, transactions::payload(&transaction), &code).expect("a right code signs");
    transactions::assert_signed_transaction(&signed, &transaction, address(&alice.key));
}

fn a_code_signs_a_legacy_transaction_with_the_chain_id_in_v(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    // The highest chain id is one whose v still fits 64 bits comfortably; 1 is the lowest.
    for (step, chain_id) in [1, 137, 4_294_967_295].into_iter().enumerate() {
        let now = if step == 0 { hsm.now() } else { hsm.advance(30) };
        let transaction = transactions::legacy_transfer(Some(chain_id));
        let payload = transactions::payload(&transaction);
        let signed = hsm.sign(&alice, payload, &alice.phone.code(now)).expect("a right code signs");
        transactions::assert_signed_transaction(&signed, &transaction, address(&alice.key));
    }
    // EIP-155's own example: the HSM reads exactly these bytes, and signs the hash that the EIP gives.
    let example =
        hex!("ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080");
    let now = hsm.advance(30);
    let payload = Payload::Ethereum(example.to_vec().into());
    let signed = hsm.sign(&alice, payload, &alice.phone.code(now)).expect("a right code signs");
    let hash = hex!("daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53");
    assert_eq!(signed.digest[..], hash);
    assert_signed_by(&alice.key, &hash, &signed.signature[..]);
}

fn a_code_signs_a_digest_with_a_key_made_for_it(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let signed = hsm.sign(&alice, digest(7), &alice.phone.code(hsm.now())).expect("a right code signs");
    assert_eq!(signed.digest, ByteArray::new([7; 32]));
    assert_eq!((&signed.raw_transaction, &signed.transaction_hash), (&None, &None));
    assert_signed_by(&alice.key, &[7; 32], &signed.signature[..]);
}

fn signs_with_every_hash_number_of_digits_and_period(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let mut number = 0;
    for hash in [TotpHash::Sha1, TotpHash::Sha256, TotpHash::Sha512] {
        for (digits, period_secs) in [(6, 30), (8, 30), (6, 60), (8, 60)] {
            number += 1;
            let act = Act::Enroll(Enroll {
                account: countersign_tests::backend::account(&format!("user-{number}")),
                totp: TotpParameters { hash, digits, period_secs },
                key: KeyName::parse(FIRST_KEY).expect("a good name"),
                plan: KeyPlan::of(vec![Digest]),
            });
            let user = hsm.enroll(hsm.api_key(), act).expect("every combination can be enrolled");
            assert_eq!(user.phone.secret().len(), hash.secret_bytes());
            hsm.confirm(&user).expect("totp-rs makes the same codes from the URI");
            let code = user.phone.code(hsm.now());
            assert_eq!(code.len(), usize::from(digits));
            let signed = hsm.sign(&user, digest(number), &code).expect("a right code signs");
            assert_signed_by(&user.key, &[number; 32], &signed.signature[..]);
        }
    }
}

fn every_signature_is_low_s(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    // SoftHSM makes a high S half of the time: 24 signatures in a row would all be low by luck once in 16 million.
    let mut now = hsm.now();
    for number in 0..24 {
        let signed = hsm.sign(&alice, digest(number), &alice.phone.code(now)).expect("a right code signs");
        assert_signed_by(&alice.key, &[number; 32], &signed.signature[..]);
        now = hsm.advance(30);
    }
}

fn every_key_of_an_account_signs_with_the_same_users_code(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let both = hsm.create_key(&alice, "both", &[Digest, Ethereum]).expect("a further key");
    let third = hsm.create_key(&alice, "third", &[Digest]).expect("a further key");
    assert_ne!(both.public_key, third.public_key);
    let now = hsm.now();
    let signed = hsm.sign_with(&alice, &both.label, digest(1), Some(&alice.phone.code(now))).expect("signs");
    assert_signed_by(&both, &[1; 32], &signed.signature[..]);

    // Calldata is blind to the plugin: only a key that may also sign blind signs it.
    let mut call = transactions::transfer(1);
    call.input = hex!("a9059cbb").into();
    call.value = U256::ZERO;
    let payload = transactions::payload(&call);
    let code = alice.phone.code(hsm.advance(30));
    let signed = hsm.sign_with(&alice, &both.label, payload, Some(&code)).expect("signs");
    transactions::assert_signed_transaction(&signed, &call, address(&both));

    let code = alice.phone.code(hsm.advance(30));
    let signed = hsm.sign_with(&alice, &third.label, digest(2), Some(&code)).expect("signs");
    assert_signed_by(&third, &[2; 32], &signed.signature[..]);
}

fn keys_sign_the_same_after_a_restart(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    hsm.create_key(&alice, "second", &[Digest]).expect("a further key");
    let mut before = hsm.show(&alice).expect("the account is there");
    for stop in [Hsm::stop, Hsm::kill] {
        stop(&mut hsm);
        hsm.run();
        assert_eq!(hsm.show(&alice).expect("the account is there"), before);
        let transaction = transactions::transfer(1);
        let code = alice.phone.code(hsm.advance(30));
        let signed =
            hsm.sign(&alice, transactions::payload(&transaction), &code).expect("a right code signs");
        transactions::assert_signed_transaction(&signed, &transaction, address(&alice.key));
        before.signatures += 1;
    }
}
