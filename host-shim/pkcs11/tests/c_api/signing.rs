//! Signing, and the login each signature needs.

use crate::application::{Application, CODE, attribute, call, mechanism};
use crate::fake_hsm::{key, signature};
use crate::key_pairs::{SECP256K1, generate};
use countersign_pkcs11::{CKA_COUNTERSIGN_NETWORK, CKM_COUNTERSIGN_ETHEREUM, CKM_COUNTERSIGN_PSBT};
use countersign_wire::client::{Act, KeyInfo, KeyPlan, Mechanism, Payload};
use countersign_wire::names::{ApiKey, TenantName};
use countersign_wire::reason::Reason;
use cryptoki_sys::*;
use serde_bytes::{ByteArray, ByteBuf};
use std::ptr;

/// The one signing request among `acts`, and the signature that the HSM gives for it.
fn signed(acts: &[Act]) -> (&Payload, Vec<u8>) {
    let mut signs = acts.iter().filter_map(|act| match act {
        Act::ContextSign(sign) => Some(sign),
        _ => None,
    });
    let sign = signs.next().expect("a signature was asked for");
    assert!(signs.next().is_none(), "and only one");
    (&sign.payload, signature(&sign.operation, &sign.payload).to_vec())
}

#[test]
fn i1_init_login_sign_gives_the_signature_of_the_hsm() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.allow_code(CODE);
    assert!(application.hsm.asked().is_empty(), "beginning needs no HSM");
    assert_eq!(application.give_code(session, CODE), CKR_OK);
    let released = application.sign(session, &[7; 32]).unwrap();
    let acts = application.hsm.acts();
    let [Act::ContextLogin(login), Act::ContextSign(sign)] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!(login.operation, sign.operation);
    assert_eq!((sign.operation.key, sign.operation.mechanism), (key(0).id, Mechanism::Digest));
    assert_eq!(sign.payload, Payload::Digest(ByteArray::new([7; 32])));
    assert_eq!(released, signed(&acts).1);
    assert_eq!(application.sign(session, &[7; 32]), Err(CKR_OPERATION_NOT_INITIALIZED), "one signature");
}

#[test]
fn every_operation_has_an_id_of_its_own() {
    let (application, session) = Application::logged_in();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..16 {
        application.begin_digest(session);
        assert_eq!(application.sign(session, &[7; 32]), Err(CKR_USER_NOT_LOGGED_IN));
        let acts = application.hsm.acts();
        let [Act::ContextSign(sign)] = &acts[..] else { panic!("{acts:?}") };
        assert!(ids.insert(sign.operation.id));
    }
}

#[test]
fn i1_refuses_without_a_login_and_the_client_can_begin_again() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    assert_eq!(application.sign(session, &[7; 32]), Err(CKR_USER_NOT_LOGGED_IN));
    assert_eq!(application.hsm.asked(), ["context-sign"], "it is the HSM that refuses");
    application.approve_digest(session);
    assert!(application.sign(session, &[7; 32]).is_ok());
}

#[test]
fn a_wrong_code_leaves_the_operation_able_to_take_a_right_one() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, "000000"), CKR_PIN_INCORRECT);
    for malformed in ["12345", "1234567", "12 456", ""] {
        assert_eq!(application.give_code(session, malformed), CKR_PIN_INVALID, "{malformed:?}");
    }
    application.hsm.refuse_next(Reason::Locked);
    assert_eq!(application.give_code(session, CODE), CKR_PIN_LOCKED);
    assert_eq!(application.give_code(session, CODE), CKR_OK);
    assert!(application.sign(session, &[7; 32]).is_ok());
}

#[test]
fn i2_a_used_code_is_refused() {
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    assert!(application.sign(session, &[7; 32]).is_ok());
    application.begin_digest(session);
    assert_eq!(application.give_code(session, CODE), CKR_PIN_INCORRECT);
    assert_eq!(application.sign(session, &[7; 32]), Err(CKR_USER_NOT_LOGGED_IN));
}

#[test]
fn a_second_login_spends_no_second_code() {
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    application.hsm.allow_code("222222");
    assert_eq!(application.give_code(session, "222222"), CKR_USER_ALREADY_LOGGED_IN);
    assert!(application.hsm.asked().is_empty());
    assert!(application.sign(session, &[7; 32]).is_ok());
    application.begin_digest(session);
    assert_eq!(application.give_code(session, "222222"), CKR_OK, "it is still good");
}

#[test]
fn what_cannot_be_a_code_never_leaves_the_process() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    let other = ApiKey::from_random(&[0xcd; 32], &TenantName::parse("default").unwrap());
    for bytes in [other.expose().as_bytes(), b"\xff\xff\xff\xff\xff\xff", &[b'1'; 65]] {
        assert_eq!(application.login_as(session, CKU_CONTEXT_SPECIFIC, bytes), CKR_PIN_INVALID);
    }
    assert_eq!(application.login_as(session, CKU_CONTEXT_SPECIFIC, &[b'1'; 8193]), CKR_PIN_LEN_RANGE);
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn a_code_without_an_operation_is_not_spent() {
    let (application, session) = Application::logged_in();
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OPERATION_NOT_INITIALIZED);
    let other = application.open();
    application.begin_digest(other);
    assert_eq!(application.give_code(session, CODE), CKR_OPERATION_NOT_INITIALIZED, "another session's");
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn i1_a_size_query_never_ends_signs_or_spends() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    let (mut length, mut small) = (0, [0u8; 63]);
    let mut data = [7u8; 32];
    let mut ask = |signature: *mut u8, room| {
        length = room;
        (call!(application, C_Sign(session, data.as_mut_ptr(), 32, signature, &raw mut length)), length)
    };
    assert_eq!(ask(ptr::null_mut(), 0), (CKR_OK, 64));
    assert_eq!(ask(ptr::null_mut(), 1000), (CKR_OK, 64));
    assert_eq!(ask(small.as_mut_ptr(), 63), (CKR_BUFFER_TOO_SMALL, 64));
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OK, "queries before the login ended nothing");
    assert_eq!(ask(ptr::null_mut(), 0), (CKR_OK, 64));
    assert_eq!(ask(small.as_mut_ptr(), 0), (CKR_BUFFER_TOO_SMALL, 64));
    assert_eq!(application.hsm.asked(), ["context-login"]);
    assert_eq!(small, [0; 63]);
    assert!(application.sign(session, &[7; 32]).is_ok());
    assert_eq!(ask(ptr::null_mut(), 0).0, CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn a_size_query_for_a_psbt_counts_the_length_of_the_psbt() {
    let (application, session) = Application::logged_in();
    let bitcoin = KeyInfo {
        label: "user-0000/bitcoin".parse().unwrap(),
        plan: KeyPlan::of(vec![Mechanism::Bitcoin]),
        ..key(8)
    };
    application.hsm.add_keys([bitcoin]);
    let private = application.private_key(session, "user-0000/bitcoin");
    assert_eq!(application.sign_init(session, CKM_COUNTERSIGN_PSBT, private), CKR_OK);
    let (mut psbt, mut length) = ([7u8; 200], 0);
    for data in [psbt.as_mut_ptr(), ptr::null_mut()] {
        assert_eq!(call!(application, C_Sign(session, data, 200, ptr::null_mut(), &raw mut length)), CKR_OK);
        assert_eq!(length, 200 + 27_648);
    }
    let mut room = vec![0; 200 + 27_648];
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OK);
    length -= 1;
    let mut sign =
        || call!(application, C_Sign(session, psbt.as_mut_ptr(), 200, room.as_mut_ptr(), &raw mut length));
    assert_eq!((sign(), sign()), (CKR_BUFFER_TOO_SMALL, CKR_OK), "what it says is enough");
}

#[test]
fn i1_a_size_query_of_the_last_part_never_ends_signs_or_spends() {
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    assert_eq!(application.sign_update(session, &[7; 32]), CKR_OK);
    let (mut length, mut small) = (0, [0u8; 10]);
    assert_eq!(call!(application, C_SignFinal(session, ptr::null_mut(), &raw mut length)), CKR_OK);
    assert_eq!(length, 64);
    length = 10;
    let rv = call!(application, C_SignFinal(session, small.as_mut_ptr(), &raw mut length));
    assert_eq!((rv, length), (CKR_BUFFER_TOO_SMALL, 64));
    assert!(application.hsm.asked().is_empty());
    assert!(application.sign_final(session).is_ok());
    assert_eq!(application.sign_final(session), Err(CKR_OPERATION_NOT_INITIALIZED));
}

#[test]
fn a_buffer_as_long_as_the_size_query_says_holds_a_signed_psbt() {
    let (application, session) = Application::logged_in();
    let kinds = CKM_COUNTERSIGN_PSBT.to_ne_bytes();
    let private = [
        attribute(CKA_LABEL, b"user-0000/bitcoin"),
        attribute(CKA_ALLOWED_MECHANISMS, &kinds),
        attribute(CKA_COUNTERSIGN_NETWORK, b"regtest"),
    ];
    let [_, key] = generate(&application, session, &[attribute(CKA_EC_PARAMS, SECP256K1)], &private).unwrap();
    assert_eq!(application.sign_init(session, CKM_COUNTERSIGN_PSBT, key), CKR_OK);
    let mut data = [7u8; 1000];
    let mut room = 0;
    for (start, given, expected) in [
        (data.as_mut_ptr(), 1000, 28_648),
        (ptr::null_mut(), 1000, 28_648),
        (ptr::null_mut(), 0, 27_648),
        (ptr::null_mut(), CK_ULONG::MAX, 128 * 1024 + 27_648),
    ] {
        assert_eq!(call!(application, C_Sign(session, start, given, ptr::null_mut(), &raw mut room)), CKR_OK);
        assert_eq!(room, expected);
    }
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OK, "queries ended nothing");
    let mut sign = |room: CK_ULONG| {
        let (mut out, mut length) = (vec![0; usize::try_from(room).unwrap()], room);
        let start = data.as_mut_ptr();
        (call!(application, C_Sign(session, start, 1000, out.as_mut_ptr(), &raw mut length)), length)
    };
    assert_eq!(sign(28_647), (CKR_BUFFER_TOO_SMALL, 28_648));
    assert_eq!(sign(28_648), (CKR_OK, 1064));
}

#[test]
fn missing_arguments_end_nothing() {
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    let (mut length, mut out) = (64, [0u8; 64]);
    let rv = call!(application, C_Sign(session, ptr::null_mut(), 32, out.as_mut_ptr(), &raw mut length));
    assert_eq!(rv, CKR_ARGUMENTS_BAD);
    let rv = call!(application, C_Sign(session, out.as_mut_ptr(), 32, out.as_mut_ptr(), ptr::null_mut()));
    assert_eq!(rv, CKR_ARGUMENTS_BAD);
    assert_eq!(call!(application, C_SignUpdate(session, ptr::null_mut(), 1)), CKR_ARGUMENTS_BAD);
    assert!(application.sign(session, &[7; 32]).is_ok());
}

#[test]
fn data_and_signature_may_share_their_memory() {
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    let (mut memory, mut length) = ([7u8; 64], 64);
    let start = memory.as_mut_ptr();
    assert_eq!(call!(application, C_Sign(session, start, 32, start, &raw mut length)), CKR_OK);
    assert_eq!(memory.to_vec(), signed(&application.hsm.acts()).1);
}

#[test]
fn parts_are_collected_and_the_login_may_come_between() {
    let (application, session) = Application::logged_in();
    application.begin_ethereum(session);
    assert_eq!(application.sign_update(session, &[2]), CKR_OK);
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OK);
    assert_eq!(application.sign_update(session, &[]), CKR_OK);
    assert_eq!(application.sign_update(session, &[0xc0, 1]), CKR_OK);
    assert_eq!(
        application.sign(session, &[1]),
        Err(CKR_OPERATION_NOT_INITIALIZED),
        "no single part any more"
    );
    let released = application.sign_final(session).unwrap();
    let acts = application.hsm.acts();
    assert_eq!(signed(&acts), (&Payload::Ethereum(ByteBuf::from(vec![2, 0xc0, 1])), released));
}

#[test]
fn ecdsa_takes_exactly_one_digest_and_other_lengths_end_the_operation_unsigned() {
    for length in [0, 1, 20, 31, 33, 64, 4096, 1 << 20] {
        let (application, session) = Application::logged_in();
        application.approve_digest(session);
        assert_eq!(application.sign(session, &vec![7; length]), Err(CKR_DATA_LEN_RANGE), "{length} bytes");
        assert_eq!(application.hsm.asked(), ["context-end"], "the grant is given back");
        assert_eq!(application.sign(session, &[7; 32]), Err(CKR_OPERATION_NOT_INITIALIZED));
    }
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    assert_eq!(application.sign_update(session, &[7; 20]), CKR_OK);
    assert_eq!(application.sign_update(session, &[7; 13]), CKR_DATA_LEN_RANGE);
    assert_eq!(application.hsm.asked(), ["context-end"]);
    assert_eq!(application.sign_update(session, &[7; 1]), CKR_OPERATION_NOT_INITIALIZED);
    application.begin_digest(session);
    assert_eq!(application.sign_update(session, &[7; 20]), CKR_OK);
    assert_eq!(application.sign_final(session), Err(CKR_DATA_LEN_RANGE), "too short");
}

#[test]
fn a_transaction_may_be_as_long_as_the_frame_allows_and_no_longer() {
    let (application, session) = Application::logged_in();
    application.begin_ethereum(session);
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OK);
    assert!(application.sign(session, &vec![2; 128 * 1024]).is_ok());
    application.begin_ethereum(session);
    assert_eq!(application.sign(session, &vec![2; 128 * 1024 + 1]), Err(CKR_DATA_LEN_RANGE));
    application.begin_ethereum(session);
    assert_eq!(application.sign_final(session), Err(CKR_DATA_LEN_RANGE), "nothing is no transaction");
    application.hsm.acts();
    application.begin_ethereum(session);
    assert_eq!(application.sign_update(session, &vec![2; 128 * 1024]), CKR_OK);
    assert_eq!(application.sign_update(session, &[2]), CKR_DATA_LEN_RANGE);
}

#[test]
fn i15_a_mechanism_that_the_key_was_not_made_for_is_refused_before_a_code_is_spent() {
    let (application, session) = Application::logged_in();
    let digest = application.private_key(session, "user-0000/digest");
    let ethereum = application.private_key(session, "user-0000/ethereum");
    for (kind, key) in [
        (CKM_ECDSA, ethereum),
        (CKM_COUNTERSIGN_ETHEREUM, digest),
        (CKM_ECDSA_SHA256, digest),
        (CKM_EC_KEY_PAIR_GEN, digest),
    ] {
        assert_eq!(application.sign_init(session, kind, key), CKR_MECHANISM_INVALID, "0x{kind:x}");
        application.hsm.allow_code(CODE);
        assert_eq!(application.give_code(session, CODE), CKR_OPERATION_NOT_INITIALIZED);
    }
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn sign_init_checks_its_arguments() {
    let (application, session) = Application::logged_in();
    let private = application.private_key(session, "user-0000/digest");
    let public = application.public_key(session, "user-0000/digest");
    assert_eq!(application.sign_init(session, CKM_ECDSA, 0), CKR_KEY_HANDLE_INVALID);
    assert_eq!(application.sign_init(session, CKM_ECDSA, public), CKR_KEY_FUNCTION_NOT_PERMITTED);
    let mut parameter = 7u8;
    let parameter =
        CK_MECHANISM { pParameter: (&raw mut parameter).cast(), ulParameterLen: 1, ..mechanism(CKM_ECDSA) };
    let rv = call!(application, C_SignInit(session, (&raw const parameter).cast_mut(), private));
    assert_eq!(rv, CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(call!(application, C_SignInit(session, ptr::null_mut(), 0)), CKR_OK, "nothing to end");
    assert_eq!(application.sign_init(session, CKM_ECDSA, private), CKR_OK);
    assert_eq!(application.sign_init(session, CKM_ECDSA, private), CKR_OPERATION_ACTIVE);
    assert_eq!(call!(application, C_Logout(session)), CKR_OK);
    assert_eq!(application.sign_init(session, CKM_ECDSA, private), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(application.sign_init(9999, CKM_ECDSA, private), CKR_SESSION_HANDLE_INVALID);
}

#[test]
fn an_operation_of_an_earlier_login_is_none() {
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    assert_eq!(call!(application, C_Logout(application.open())), CKR_OK);
    assert_eq!(application.hsm.grants(), 0);
    assert_eq!(application.log_in(session), CKR_OK);
    assert_eq!(application.sign(session, &[7; 32]), Err(CKR_OPERATION_NOT_INITIALIZED));
    assert_eq!(application.give_code(session, CODE), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn a_grant_that_the_hsm_lost_with_a_restart_is_a_removed_device() {
    let (mut application, session) = Application::logged_in();
    application.approve_digest(session);
    application.hsm.stop();
    application.hsm.serve();
    assert_eq!(application.sign(session, &[7; 32]), Err(CKR_DEVICE_REMOVED));
    application.begin_digest(session);
    assert_eq!(application.give_code(session, CODE), CKR_PIN_INCORRECT, "the code is burnt");
    application.hsm.allow_code("222222");
    assert_eq!(application.give_code(session, "222222"), CKR_OK);
    application.hsm.refuse_next(Reason::ApprovalMissing);
    assert_eq!(application.sign(session, &[7; 32]), Err(CKR_USER_NOT_LOGGED_IN), "too old, in the same boot");
}

#[test]
fn an_hsm_that_is_down_is_a_device_error_and_the_operation_waits_for_it() {
    let (mut application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.allow_code(CODE);
    application.hsm.stop();
    assert_eq!(application.give_code(session, CODE), CKR_DEVICE_ERROR);
    assert_eq!(application.log_in(session), CKR_USER_ALREADY_LOGGED_IN);
    let label = attribute(CKA_LABEL, b"user-0000/digest");
    assert_eq!(call!(application, C_FindObjectsInit(session, (&raw const label).cast_mut(), 1)), CKR_OK);
    let (mut handle, mut count) = (0, 0);
    assert_eq!(
        call!(application, C_FindObjects(session, &raw mut handle, 1, &raw mut count)),
        CKR_DEVICE_ERROR
    );
    application.hsm.serve();
    application.hsm.acts();
    assert_eq!(application.give_code(session, CODE), CKR_OK);
    assert!(application.sign(session, &[7; 32]).is_ok());
    assert_eq!(application.hsm.asked(), ["context-login", "context-sign"]);
}

#[test]
fn after_a_lost_answer_the_login_is_tried_again_and_spends_nothing_more() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.allow_code(CODE);
    application.hsm.allow_code("222222");
    application.hsm.lose_next_answer("context-login");
    assert_eq!(application.give_code(session, CODE), CKR_DEVICE_ERROR);
    assert_eq!(application.hsm.asked(), ["context-login"], "a code is never sent twice by itself");
    assert_eq!(application.give_code(session, "222222"), CKR_OK);
    assert_eq!(application.give_code(session, "222222"), CKR_USER_ALREADY_LOGGED_IN);
    assert!(application.sign(session, &[7; 32]).is_ok());
    assert_eq!(application.hsm.asked(), ["context-login", "context-sign"]);
    application.begin_digest(session);
    assert_eq!(application.give_code(session, "222222"), CKR_OK, "it is still good");
}

#[test]
fn a_wrong_code_after_a_lost_answer_does_not_forget_that_there_may_be_a_grant() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.allow_code(CODE);
    application.hsm.lose_next_answer("context-login");
    assert_eq!(application.give_code(session, CODE), CKR_DEVICE_ERROR);
    application.hsm.refuse_next(Reason::WrongCode);
    assert_eq!(application.give_code(session, CODE), CKR_PIN_INCORRECT);
    application.hsm.acts();
    assert_eq!(call!(application, C_SignInit(session, ptr::null_mut(), 0)), CKR_OK);
    assert_eq!(application.hsm.asked(), ["context-end"]);
    assert_eq!(application.hsm.grants(), 0);
}

#[test]
fn an_approval_whose_answer_was_lost_is_given_back_when_the_operation_ends() {
    let (mut application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.stop();
    assert_eq!(application.give_code(session, CODE), CKR_DEVICE_ERROR);
    application.hsm.serve();
    application.hsm.acts();
    assert_eq!(call!(application, C_SignInit(session, ptr::null_mut(), 0)), CKR_OK);
    assert_eq!(application.hsm.asked(), ["context-end"]);
}

#[test]
fn a_signature_refused_by_the_hsm_ends_the_operation() {
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    application.hsm.refuse_next(Reason::PolicyRefused);
    assert_eq!(application.sign(session, &[7; 32]), Err(CKR_FUNCTION_REJECTED));
    assert_eq!(application.hsm.asked(), ["context-sign"], "which used the grant up");
    assert_eq!(application.sign(session, &[7; 32]), Err(CKR_OPERATION_NOT_INITIALIZED));
}
