//! The faults of a published plugin of this kind (TOTP before an Ethereum signature, in another vendor's enclave),
//! each as a refusal. What is not here cannot be seen from outside: that codes are compared in constant time is a
//! matter of the plugin's source, and replacing a lost factor is the officers'.

use countersign_tests::backend::{assert_cannot_serve, digest, enroll_act, operation, reason};
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded, transactions};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{Act, Answer};
use countersign_wire::reason::Reason;
use cryptoki_sys::{
    CKA_ALWAYS_AUTHENTICATE, CKA_EXTRACTABLE, CKA_LABEL, CKA_NEVER_EXTRACTABLE, CKA_SENSITIVE, CKA_VALUE,
    CKM_AES_KEY_WRAP, CKM_ECDSA, CKR_ACTION_PROHIBITED, CKR_ATTRIBUTE_SENSITIVE, CKR_KEY_UNEXTRACTABLE,
    CKR_PIN_INCORRECT,
};
use std::time::SystemTime;

on_both_keystores!(
    it_signed_unconditionally_when_the_totp_record_could_not_be_loaded,
    it_stored_the_used_code_non_atomically,
    it_ignored_a_failed_store,
    it_needed_an_exportable_master_key,
);
on_embedded!(
    it_accepted_eleven_time_steps,
    it_had_no_limit_on_attempts,
    it_kept_the_counter_in_metadata_that_others_may_edit,
    it_read_an_insecure_clock,
    it_signed_an_opaque_hash,
    it_handed_the_qr_secret_to_the_backend,
);

fn it_signed_unconditionally_when_the_totp_record_could_not_be_loaded(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    hsm.kill_and_run();
    let good = hsm.copy_store();
    let (now, zeros) = (hsm.now(), vec![0; good.bytes().len()]);
    hsm.write_store(&zeros);
    let (right, wrong) = (alice.phone.code(now), alice.phone.wrong_code(now));
    for code in [&right, &wrong] {
        assert_eq!(reason(hsm.sign(&alice, digest(1), code)), Reason::StoreRefused);
        assert_eq!(
            reason(hsm.context_login(&alice, &operation(&alice.key, Digest), code)),
            Reason::StoreRefused
        );
    }
    for refused in [
        hsm.sign_with(&alice, &alice.key.label, digest(1), None),
        hsm.context_sign(&alice, &operation(&alice.key, Digest), digest(1)),
    ] {
        let reason = reason(refused);
        assert!([Reason::ApprovalMissing, Reason::StoreRefused].contains(&reason), "{reason}");
    }
    // What was refused was recorded behind the damage; with the damage undone the store is whole again.
    let appended = hsm.copy_store().bytes()[good.bytes().len()..].to_vec();
    hsm.write_store(&[]);
    assert_eq!(reason(hsm.sign(&alice, digest(1), &right)), Reason::StoreRefused, "nor with no store at all");
    hsm.kill();
    hsm.write_store(&[good.bytes(), &appended].concat());
    hsm.run();
    hsm.sign(&alice, digest(1), &right).expect("with its record it signs, and no code was lost");
}

fn it_accepted_eleven_time_steps(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    hsm.advance(600);
    for steps in [-5, -4, -3, -2, 2, 3, 4, 5] {
        let now = hsm.advance(86_400);
        let code = alice.phone.code_steps_off(now, steps);
        assert_eq!(reason(hsm.sign(&alice, digest(1), &code)), Reason::WrongCode, "{steps} steps off");
        hsm.sign(&alice, digest(1), &alice.phone.code(now)).expect("the present one signs");
    }
}

fn it_had_no_limit_on_attempts(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let wrong = alice.phone.wrong_code(hsm.now());
    // A machine guesses as fast as it can for a week, waiting out whatever it is told to wait.
    let (mut checked, started, mut now) = (0, hsm.now(), hsm.now());
    while now < started + 7 * 86_400 {
        let refusal = hsm.sign(&alice, digest(1), &wrong).expect_err("a wrong code is refused");
        match refusal.reason {
            Reason::WrongCode => checked += 1,
            Reason::Locked | Reason::AccountOverBudget => {
                now = hsm.advance(refusal.retry_after_secs.expect("it says how long").max(1));
            }
            other => panic!("{other}"),
        }
    }
    assert!(checked <= 10 + 14, "{checked} guesses in a week, of a million codes of which three are right");
    assert!(checked >= 20, "{checked}: the budget is forgiven with time");
}

fn it_stored_the_used_code_non_atomically(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for _ in 0..5 {
        let code = alice.phone.code(hsm.advance(30));
        hsm.sign(&alice, digest(1), &code).expect("a right code signs");
        hsm.kill_and_run();
        assert_eq!(
            reason(hsm.sign(&alice, digest(1), &code)),
            Reason::CodeUsed,
            "what was answered was durable"
        );
    }
}

fn it_kept_the_counter_in_metadata_that_others_may_edit(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("a right code signs");
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    let key = raw.find(session, &alice.key.label).expect("the key is found");
    for (kind, value) in
        [(CKA_LABEL, &b"alice/second"[..]), (CKA_ALWAYS_AUTHENTICATE, &[0]), (CKA_EXTRACTABLE, &[1])]
    {
        assert_eq!(raw.set_attribute(session, key, kind, value), Err(CKR_ACTION_PROHIBITED));
    }
    assert_eq!(raw.copy(session, key), Err(CKR_ACTION_PROHIBITED));
    assert_eq!(raw.destroy(session, key), Err(CKR_ACTION_PROHIBITED));
    // Nothing that the API key can ask for makes the used code good again.
    assert_eq!(reason(hsm.ask(enroll_act("alice", &[Digest]))), Reason::AccountExists);
    hsm.create_key(&alice, "second", &[Digest]).expect("a further key");
    assert_eq!(hsm.ask(Act::ContextEnd(operation(&alice.key, Digest))), Ok(Answer::Ended));
    raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
    assert_eq!(raw.context_login(session, &code), Err(CKR_PIN_INCORRECT));
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed);
}

fn it_ignored_a_failed_store(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    let good = hsm.copy_store();
    // The next write finds another file than it left.
    hsm.write_store(&good.bytes()[..good.bytes().len() - 1]);
    assert_eq!(reason(hsm.sign(&alice, digest(1), &code)), Reason::StoreRefused);
    hsm.restore_store(&good);
    // Not until it is started again.
    assert_cannot_serve(hsm.sign(&alice, digest(1), &code));
    assert_cannot_serve(hsm.ask(enroll_act("bob", &[Digest])));
    hsm.kill_and_run();
    hsm.sign(&alice, digest(1), &code).expect("a code that never got checked is still good");
}

fn it_read_an_insecure_clock(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let now = hsm.advance(86_400);
    // The backend's own clock says something else: the HSM does not ask it.
    let backend = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    assert_eq!(reason(hsm.sign(&alice, digest(1), &alice.phone.code(backend))), Reason::WrongCode);
    // Of all that can be asked for with the API key, nothing moves the clock.
    for act in [
        Act::Status,
        Act::Login,
        Act::Random(32),
        Act::ShowAccount(alice.account.clone()),
        enroll_act("bob", &[Digest]),
    ] {
        hsm.ask(act).expect("answers");
        assert_eq!(hsm.now(), now);
    }
    // The control channel moves a manual clock, and only on.
    for line in
        ["{\"advance_secs\":-30}", "{\"advance_secs\":18446744073709551615}", "{\"set\":0}", "nonsense"]
    {
        let answer = countersign_tests::hsm::control_line(&hsm, line);
        assert!(answer.contains("error"), "{line}: {answer}");
        assert_eq!(hsm.now(), now, "{line}");
    }
    hsm.sign(&alice, digest(1), &alice.phone.code(now)).expect("the HSM's own time is what counts");
}

fn it_signed_an_opaque_hash(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let code = alice.phone.code(hsm.now());
    // The hash of a good transaction is as opaque as any other.
    let transaction = transactions::transfer(0);
    let hash = alloy_consensus::SignableTransaction::signature_hash(&transaction);
    let blind = countersign_wire::client::Payload::Digest(hash.0.into());
    assert_eq!(reason(hsm.sign(&alice, blind, &code)), Reason::MechanismNotAllowed);
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    let key = raw.find(session, &alice.key.label).expect("the key is found");
    assert_eq!(raw.sign_init(session, CKM_ECDSA, key), Err(cryptoki_sys::CKR_MECHANISM_INVALID));
    let signed =
        hsm.sign(&alice, transactions::payload(&transaction), &code).expect("what it can read it signs");
    assert_eq!(signed.digest[..], hash[..]);
}

fn it_handed_the_qr_secret_to_the_backend(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    hsm.add_tenant("careful", &["--plain-enrolment", "false"]);
    hsm.run();
    let careful = hsm.api_key_of("careful");
    let refused = hsm.client.call(Some(careful), enroll_act("alice", &[Ethereum]));
    assert_eq!(reason(refused), Reason::PlainEnrolmentNotAllowed);
    // Where a tenant allows it, the secret is shown once and never again.
    let alice = hsm.user("alice", &[Ethereum]);
    let answers = [
        hsm.ask(Act::ShowAccount(alice.account.clone())).map(|answer| format!("{answer:?}")),
        hsm.ask(enroll_act("alice", &[Ethereum])).map(|answer| format!("{answer:?}")),
    ];
    for answer in answers {
        assert!(!format!("{answer:?}").contains("otpauth"), "{answer:?}");
    }
}

fn it_needed_an_exportable_master_key(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    let key = raw.find(session, &alice.key.label).expect("the key is found");
    assert_eq!(raw.attribute(session, key, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
    for (kind, value) in [(CKA_SENSITIVE, 1), (CKA_EXTRACTABLE, 0), (CKA_NEVER_EXTRACTABLE, 1)] {
        assert_eq!(raw.attribute(session, key, kind), Ok(vec![value]), "attribute 0x{kind:x}");
    }
    assert_eq!(raw.wrap(session, CKM_AES_KEY_WRAP, key), Err(CKR_KEY_UNEXTRACTABLE));
}
