//! The module call by call: what each call of an operation does and leaves, and what is never done with a gated key.

use countersign_tests::backend::{assert_signed_by, digest, reason};
use countersign_tests::module::CKM_COUNTERSIGN_ETHEREUM;
use countersign_tests::raw::Raw;
use countersign_tests::{Hsm, Keystore, User, on_both_keystores, on_embedded, transactions};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::reason::Reason;
use cryptoki_sys::{
    CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKA_ALLOWED_MECHANISMS, CKA_ALWAYS_AUTHENTICATE, CKA_COPYABLE,
    CKA_DERIVE, CKA_DESTROYABLE, CKA_EC_POINT, CKA_EXTRACTABLE, CKA_ID, CKA_LABEL, CKA_LOCAL, CKA_MODIFIABLE,
    CKA_NEVER_EXTRACTABLE, CKA_SENSITIVE, CKA_SIGN, CKM_AES_KEY_WRAP, CKM_ECDH1_DERIVE, CKM_ECDSA,
    CKM_ECDSA_SHA256, CKR_ACTION_PROHIBITED, CKR_BUFFER_TOO_SMALL, CKR_DATA_LEN_RANGE, CKR_DEVICE_REMOVED,
    CKR_FUNCTION_NOT_SUPPORTED, CKR_FUNCTION_REJECTED, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_UNEXTRACTABLE,
    CKR_MECHANISM_INVALID, CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED, CKR_PIN_INCORRECT,
    CKR_PIN_INVALID, CKR_PIN_LOCKED, CKR_SESSION_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN,
};
use std::sync::Barrier;

on_both_keystores!(
    a_code_between_init_and_sign_gets_a_signature,
    i2_sixteen_threads_racing_one_code_get_one_signature,
);
on_embedded!(
    i1_without_a_context_login_there_is_no_signature,
    a_wrong_code_leaves_the_operation_able_to_take_a_right_one,
    i1_size_queries_and_short_buffers_neither_sign_nor_spend_nor_end,
    i2_a_second_login_of_an_operation_burns_no_second_code,
    i1_an_operation_that_ends_otherwise_drops_its_grant,
    i1_a_grant_stays_with_its_session,
    digests_are_exactly_32_bytes,
    updates_add_up_to_the_data,
    a_refusal_after_the_login_burns_the_code,
    an_api_key_is_no_code,
    a_locked_account_does_not_log_the_backend_out,
    i1_an_hsm_that_was_restarted_between_login_and_sign_releases_nothing,
    i8_gated_keys_are_not_exported_derived_copied_changed_or_destroyed,
    i8_pins_tokens_and_operation_states_are_not_the_api_keys_to_change,
    keys_have_the_attributes_of_gated_keys,
    i15_other_mechanisms_are_no_second_way_to_sign,
    random_bytes_come_from_the_hsm,
    a_closed_session_and_a_logout_end_what_was_under_way,
);

struct Stage {
    hsm: Hsm,
    alice: User,
    raw: Raw,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
}

impl Stage {
    /// A user with a key for digests, and a session that is logged in.
    fn set(keystore: Keystore) -> Self {
        let hsm = Hsm::start(keystore);
        let alice = hsm.user("alice", &[Digest]);
        let raw = hsm.raw();
        let session = raw.session(hsm.api_key());
        let key = raw.find(session, &alice.key.label).expect("the key is found");
        Self { hsm, alice, raw, session, key }
    }

    fn code(&self) -> String {
        self.alice.phone.code(self.hsm.now())
    }

    fn next_code(&self) -> String {
        self.alice.phone.code(self.hsm.advance(30))
    }

    fn init(&self) {
        self.raw.sign_init(self.session, CKM_ECDSA, self.key).expect("C_SignInit");
    }

    fn login(&self, code: &str) {
        self.raw.context_login(self.session, code).expect("C_Login");
    }

    /// The operation that is open gives a signature over this digest.
    #[track_caller]
    fn signs(&self, number: u8) {
        let signature = self.raw.sign(self.session, &[number; 32], 64).expect("C_Sign");
        assert_signed_by(&self.alice.key, &[number; 32], &signature);
    }

    /// Nothing is open: a whole new operation works with the next code.
    #[track_caller]
    fn goes_on(&self) {
        self.init();
        self.login(&self.next_code());
        self.signs(0x77);
    }
}

fn a_code_between_init_and_sign_gets_a_signature(keystore: Keystore) {
    let stage = Stage::set(keystore);
    stage.init();
    stage.login(&stage.code());
    stage.signs(1);
    assert_eq!(
        stage.raw.sign(stage.session, &[1; 32], 64),
        Err(CKR_OPERATION_NOT_INITIALIZED),
        "it signs once"
    );
    stage.init();
    assert_eq!(
        stage.raw.context_login(stage.session, &stage.code()),
        Err(CKR_PIN_INCORRECT),
        "and the code is used"
    );
    stage.login(&stage.next_code());
    stage.signs(2);
}

fn i2_sixteen_threads_racing_one_code_get_one_signature(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let (code, start) = (stage.code(), Barrier::new(16));
    let signatures: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..16u8)
            .map(|number| {
                let (stage, code, start) = (&stage, &code, &start);
                scope.spawn(move || {
                    let session = stage.raw.open_session().expect("C_OpenSession");
                    stage.raw.sign_init(session, CKM_ECDSA, stage.key).expect("C_SignInit");
                    start.wait();
                    let login = stage.raw.context_login(session, code);
                    let signature = stage.raw.sign(session, &[number; 32], 64);
                    assert_eq!(login.is_ok(), signature.is_ok(), "only who logged in signs");
                    match (login, &signature) {
                        (Ok(()), Ok(_))
                        | (Err(CKR_PIN_INCORRECT | CKR_PIN_LOCKED), Err(CKR_USER_NOT_LOGGED_IN)) => {}
                        other => panic!("{other:x?}"),
                    }
                    Some((number, signature.ok()?))
                })
            })
            .collect();
        racers.into_iter().filter_map(|racer| racer.join().expect("a racer does not panic")).collect()
    });
    assert_eq!(signatures.len(), 1, "exactly one signature");
    let (number, signature) = &signatures[0];
    assert_signed_by(&stage.alice.key, &[*number; 32], signature);
}

fn i1_without_a_context_login_there_is_no_signature(keystore: Keystore) {
    let stage = Stage::set(keystore);
    stage.init();
    assert_eq!(stage.raw.sign(stage.session, &[1; 32], 64), Err(CKR_USER_NOT_LOGGED_IN));
    stage.raw.sign_cancel(stage.session).expect("C_SignInit(NULL)");
    stage.init();
    stage.raw.sign_update(stage.session, &[1; 32]).expect("C_SignUpdate");
    assert_eq!(stage.raw.sign_final(stage.session, 64), Err(CKR_USER_NOT_LOGGED_IN));
    stage.raw.sign_cancel(stage.session).expect("C_SignInit(NULL)");
    assert_eq!(stage.raw.context_login(stage.session, &stage.code()), Err(CKR_OPERATION_NOT_INITIALIZED));
    stage.hsm.sign(&stage.alice, digest(1), &stage.code()).expect("no code was spent by any of it");
    stage.goes_on();
}

fn a_wrong_code_leaves_the_operation_able_to_take_a_right_one(keystore: Keystore) {
    let stage = Stage::set(keystore);
    stage.init();
    let wrong = stage.alice.phone.wrong_code(stage.hsm.now());
    assert_eq!(stage.raw.context_login(stage.session, &wrong), Err(CKR_PIN_INCORRECT));
    assert_eq!(stage.raw.context_login(stage.session, "nonsense"), Err(CKR_PIN_INVALID));
    stage.login(&stage.code());
    stage.signs(1);
    stage.goes_on();
}

fn i1_size_queries_and_short_buffers_neither_sign_nor_spend_nor_end(keystore: Keystore) {
    let stage = Stage::set(keystore);
    stage.init();
    assert_eq!(stage.raw.sign_length(stage.session, &[1; 32]), Ok(64), "before the login");
    assert_eq!(stage.raw.sign(stage.session, &[1; 32], 63), Err(CKR_BUFFER_TOO_SMALL));
    stage.login(&stage.code());
    let before = stage.hsm.copy_store();
    for _ in 0..3 {
        assert_eq!(stage.raw.sign_length(stage.session, &[1; 32]), Ok(64), "after the login");
        assert_eq!(stage.raw.sign(stage.session, &[1; 32], 0), Err(CKR_BUFFER_TOO_SMALL));
        assert_eq!(stage.raw.sign(stage.session, &[1; 32], 63), Err(CKR_BUFFER_TOO_SMALL));
    }
    assert!(stage.hsm.copy_store().bytes() == before.bytes(), "nothing was signed");
    stage.signs(1);
    stage.goes_on();
}

fn i2_a_second_login_of_an_operation_burns_no_second_code(keystore: Keystore) {
    let stage = Stage::set(keystore);
    stage.init();
    stage.login(&stage.code());
    let fresh = stage.alice.phone.code_steps_off(stage.hsm.now(), 1);
    stage.raw.context_login(stage.session, &fresh).expect_err("the operation has its login");
    stage.signs(1);
    stage.hsm.sign(&stage.alice, digest(2), &fresh).expect("the second code was not spent");
}

fn i1_an_operation_that_ends_otherwise_drops_its_grant(keystore: Keystore) {
    let stage = Stage::set(keystore);
    stage.init();
    stage.login(&stage.code());
    stage.raw.sign_cancel(stage.session).expect("C_SignInit(NULL)");
    assert_eq!(stage.raw.sign(stage.session, &[1; 32], 64), Err(CKR_OPERATION_NOT_INITIALIZED));
    stage.init();
    assert_eq!(
        stage.raw.sign(stage.session, &[1; 32], 64),
        Err(CKR_USER_NOT_LOGGED_IN),
        "it was the other's login"
    );
    stage.goes_on();
}

fn i1_a_grant_stays_with_its_session(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let other = stage.raw.open_session().expect("C_OpenSession");
    stage.init();
    stage.raw.sign_init(other, CKM_ECDSA, stage.key).expect("C_SignInit");
    stage.login(&stage.code());
    assert_eq!(stage.raw.sign(other, &[1; 32], 64), Err(CKR_USER_NOT_LOGGED_IN));
    stage.signs(1);
}

fn digests_are_exactly_32_bytes(keystore: Keystore) {
    let stage = Stage::set(keystore);
    for length in [0, 1, 20, 31, 33, 64, 4096] {
        stage.init();
        stage.login(&stage.next_code());
        let data = vec![1; length];
        assert_eq!(stage.raw.sign(stage.session, &data, 64), Err(CKR_DATA_LEN_RANGE), "{length} bytes");
        assert_eq!(
            stage.raw.sign(stage.session, &[1; 32], 64),
            Err(CKR_OPERATION_NOT_INITIALIZED),
            "and it ended"
        );
    }
    stage.goes_on();
}

fn updates_add_up_to_the_data(keystore: Keystore) {
    let stage = Stage::set(keystore);
    stage.init();
    stage.login(&stage.code());
    for part in [5, 0, 26, 1] {
        stage.raw.sign_update(stage.session, &vec![9; part]).expect("C_SignUpdate");
    }
    assert_eq!(stage.raw.sign_final(stage.session, 10), Err(CKR_BUFFER_TOO_SMALL));
    let signature = stage.raw.sign_final(stage.session, 64).expect("C_SignFinal");
    assert_signed_by(&stage.alice.key, &[9; 32], &signature);

    stage.init();
    stage.login(&stage.next_code());
    stage.raw.sign_update(stage.session, &[9; 31]).expect("C_SignUpdate");
    assert_eq!(stage.raw.sign_final(stage.session, 64), Err(CKR_DATA_LEN_RANGE), "a byte is missing");
    stage.init();
    assert_eq!(stage.raw.sign_update(stage.session, &[9; 33]), Err(CKR_DATA_LEN_RANGE), "a byte too many");
    stage.goes_on();
}

fn a_refusal_after_the_login_burns_the_code(keystore: Keystore) {
    let stage = Stage::set(keystore);
    stage.hsm.create_key(&stage.alice, "clear", &[Ethereum]).expect("a further key");
    let key = stage.raw.find(stage.session, &stage.alice.key_named("clear")).expect("the key is found");
    let mut call = transactions::transfer(0);
    call.input = vec![1, 2, 3, 4].into();
    let code = stage.code();
    stage.raw.sign_init(stage.session, CKM_COUNTERSIGN_ETHEREUM, key).expect("C_SignInit");
    stage.login(&code);
    let refused = stage.raw.sign(stage.session, &transactions::unsigned(&call), 64);
    assert_eq!(refused, Err(CKR_FUNCTION_REJECTED));
    assert_eq!(stage.raw.sign(stage.session, &[1; 32], 64), Err(CKR_OPERATION_NOT_INITIALIZED));
    assert_eq!(reason(stage.hsm.sign(&stage.alice, digest(1), &code)), Reason::CodeUsed);
    stage.goes_on();
}

fn an_api_key_is_no_code(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let before = stage.hsm.show(&stage.alice).expect("shown");
    stage.init();
    let api_key = stage.hsm.api_key().expose().to_owned();
    assert_eq!(stage.raw.context_login(stage.session, &api_key), Err(CKR_PIN_INVALID));
    assert_eq!(stage.raw.context_login(stage.session, ""), Err(CKR_PIN_INVALID));
    assert_eq!(
        stage.hsm.show(&stage.alice).expect("shown"),
        before,
        "a client that repeats its PIN locks nobody"
    );
    stage.login(&stage.code());
    stage.signs(1);
}

fn a_locked_account_does_not_log_the_backend_out(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let bob = stage.hsm.user("bob", &[Digest]);
    stage.init();
    let wrong = stage.alice.phone.wrong_code(stage.hsm.now());
    for _ in 0..5 {
        assert_eq!(stage.raw.context_login(stage.session, &wrong), Err(CKR_PIN_INCORRECT));
    }
    assert_eq!(stage.raw.context_login(stage.session, &stage.code()), Err(CKR_PIN_LOCKED));
    let other = stage.raw.open_session().expect("C_OpenSession");
    let key = stage.raw.find(other, &bob.key.label).expect("the backend is still logged in");
    stage.raw.sign_init(other, CKM_ECDSA, key).expect("C_SignInit");
    stage.raw.context_login(other, &bob.phone.code(stage.hsm.now())).expect("bob is not held up");
    let signature = stage.raw.sign(other, &[3; 32], 64).expect("C_Sign");
    assert_signed_by(&bob.key, &[3; 32], &signature);
    stage.hsm.advance(300);
    stage.login(&stage.code());
    stage.signs(4);
}

fn i1_an_hsm_that_was_restarted_between_login_and_sign_releases_nothing(keystore: Keystore) {
    let mut stage = Stage::set(keystore);
    stage.init();
    let code = stage.code();
    stage.login(&code);
    stage.hsm.kill_and_run();
    assert_eq!(
        stage.raw.sign(stage.session, &[1; 32], 64),
        Err(CKR_DEVICE_REMOVED),
        "the grant went with its boot"
    );
    stage.init();
    assert_eq!(stage.raw.context_login(stage.session, &code), Err(CKR_PIN_INCORRECT), "and the code is used");
    stage.login(&stage.next_code());
    stage.signs(2);
}

fn i8_gated_keys_are_not_exported_derived_copied_changed_or_destroyed(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let Stage { raw, session, key, .. } = &stage;
    let before = stage.hsm.all_keys(stage.hsm.api_key());
    assert_eq!(raw.wrap(*session, CKM_AES_KEY_WRAP, *key), Err(CKR_KEY_UNEXTRACTABLE));
    assert_eq!(raw.derive(*session, CKM_ECDH1_DERIVE, *key), Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
    assert_eq!(raw.copy(*session, *key), Err(CKR_ACTION_PROHIBITED));
    assert_eq!(raw.destroy(*session, *key), Err(CKR_ACTION_PROHIBITED));
    for kind in
        [CKA_LABEL, CKA_ID, CKA_EXTRACTABLE, CKA_ALWAYS_AUTHENTICATE, CKA_ALLOWED_MECHANISMS, CKA_MODIFIABLE]
    {
        assert_eq!(raw.set_attribute(*session, *key, kind, &[1]), Err(CKR_ACTION_PROHIBITED), "0x{kind:x}");
    }
    assert_eq!(stage.hsm.all_keys(stage.hsm.api_key()), before);
    stage.goes_on();
}

fn i8_pins_tokens_and_operation_states_are_not_the_api_keys_to_change(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let Stage { raw, session, .. } = &stage;
    stage.init();
    stage.login(&stage.code());
    let api_key = stage.hsm.api_key().expose().as_bytes();
    assert_eq!(raw.init_token(), Err(CKR_FUNCTION_NOT_SUPPORTED));
    assert_eq!(raw.init_pin(*session), Err(CKR_FUNCTION_NOT_SUPPORTED));
    assert_eq!(raw.set_pin(*session, api_key, b"12345678"), Err(CKR_FUNCTION_NOT_SUPPORTED));
    assert_eq!(
        raw.operation_state(*session),
        Err(CKR_FUNCTION_NOT_SUPPORTED),
        "a grant cannot be saved and restored"
    );
    stage.signs(1);
    stage.goes_on();
}

fn keys_have_the_attributes_of_gated_keys(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let attribute = |kind| stage.raw.attribute(stage.session, stage.key, kind).expect("C_GetAttributeValue");
    for kind in [CKA_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_ALWAYS_AUTHENTICATE, CKA_LOCAL, CKA_SIGN] {
        assert_eq!(attribute(kind), [1], "0x{kind:x}");
    }
    for kind in [CKA_EXTRACTABLE, CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE, CKA_DERIVE] {
        assert_eq!(attribute(kind), [0], "0x{kind:x}");
    }
    assert_eq!(attribute(CKA_LABEL), b"alice/first");
    assert_eq!(attribute(CKA_ID), stage.alice.key.id.to_vec());
    assert_eq!(attribute(CKA_ALLOWED_MECHANISMS), CKM_ECDSA.to_ne_bytes());
    let point = attribute(CKA_EC_POINT);
    assert_eq!(
        (&point[..2], &point[2..]),
        (&[0x04, 65][..], &stage.alice.key.public_key[..]),
        "DER OCTET STRING"
    );
}

fn i15_other_mechanisms_are_no_second_way_to_sign(keystore: Keystore) {
    let stage = Stage::set(keystore);
    for kind in [CKM_COUNTERSIGN_ETHEREUM, CKM_ECDSA_SHA256, CKM_ECDH1_DERIVE, 0, u64::MAX] {
        assert_eq!(
            stage.raw.sign_init(stage.session, kind, stage.key),
            Err(CKR_MECHANISM_INVALID),
            "0x{kind:x}"
        );
    }
    stage.init();
    assert_eq!(stage.raw.sign_init(stage.session, CKM_ECDSA, stage.key), Err(CKR_OPERATION_ACTIVE));
    stage.login(&stage.code());
    stage.signs(1);
}

fn random_bytes_come_from_the_hsm(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let (one, other) = (stage.raw.random(stage.session, 32), stage.raw.random(stage.session, 32));
    assert_ne!(one.expect("C_GenerateRandom"), other.expect("C_GenerateRandom"));
    let long = stage.raw.random(stage.session, 5000).expect("more than one request's worth");
    assert!(long.chunks(1000).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
}

fn a_closed_session_and_a_logout_end_what_was_under_way(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let other = stage.raw.open_session().expect("C_OpenSession");
    stage.raw.sign_init(other, CKM_ECDSA, stage.key).expect("C_SignInit");
    stage.raw.context_login(other, &stage.code()).expect("C_Login");
    stage.raw.close_session(other).expect("C_CloseSession");
    assert_eq!(stage.raw.sign(other, &[1; 32], 64), Err(CKR_SESSION_HANDLE_INVALID));

    stage.init();
    stage.login(&stage.next_code());
    stage.raw.logout(stage.session).expect("C_Logout");
    stage.raw.sign(stage.session, &[1; 32], 64).expect_err("the login went, and its operations with it");
    let api_key = stage.hsm.api_key().expose().as_bytes();
    stage.raw.login(stage.session, cryptoki_sys::CKU_USER, api_key).expect("C_Login");
    assert_eq!(
        stage.raw.sign(stage.session, &[1; 32], 64),
        Err(CKR_OPERATION_NOT_INITIALIZED),
        "it does not come back"
    );
    let key = stage.raw.find(stage.session, &stage.alice.key.label).expect("the key is found again");
    stage.raw.sign_init(stage.session, CKM_ECDSA, key).expect("C_SignInit");
    stage.login(&stage.next_code());
    stage.signs(2);
}
