//! Approvals that are more than a code: made on the user's device for one staged intent, in the context PIN or before.

use crate::application::{Application, CODE, attribute, call};
use crate::fake_hsm::{api_key, key};
use crate::key_pairs::{SECP256K1, generate};
use countersign_pkcs11::CKA_COUNTERSIGN_FLOOR;
use countersign_pkcs11::failure::{Function, return_value};
use countersign_wire::client::{Act, Approval, ApprovalKind, Payload};
use countersign_wire::device::{Assertion, Evidence, IntentApproval, SealedCode};
use countersign_wire::encode;
use countersign_wire::names::{ApiKey, TenantName};
use countersign_wire::reason::Reason;
use cryptoki_sys::*;
use data_encoding::BASE64URL_NOPAD;
use serde_bytes::{ByteArray, ByteBuf};
use std::ptr;

const DIGEST: [u8; 32] = [7; 32];

fn sealed_code() -> IntentApproval {
    let sealed = SealedCode {
        device: ByteArray::new([2; 16]),
        encapsulated: ByteArray::new([4; 65]),
        ciphertext: ByteBuf::from(vec![5; 81]),
        signature: ByteArray::new([6; 64]),
    };
    IntentApproval { intent: ByteArray::new([1; 16]), evidence: Evidence::SealedCode(sealed) }
}

/// As long as an approval can be.
fn longest_passkey() -> IntentApproval {
    let bytes = |length| ByteBuf::from(vec![0x20; length]);
    let assertion = Assertion {
        credential_id: bytes(255),
        client_data_json: bytes(2048),
        authenticator_data: bytes(1024),
        signature: bytes(72),
    };
    IntentApproval { intent: ByteArray::new([3; 16]), evidence: Evidence::Passkey(assertion) }
}

fn pin(approval: &IntentApproval) -> String {
    format!("csa1_{}", BASE64URL_NOPAD.encode(&encode(approval)))
}

fn repeat_api_key(application: &Application, session: CK_SESSION_HANDLE) -> CK_RV {
    application.login_as(session, CKU_CONTEXT_SPECIFIC, api_key().expose().as_bytes())
}

/// The user approves [`DIGEST`] on a device.
fn approve_before(application: &Application) {
    application.hsm.approve_before(key(0).id, Payload::Digest(ByteArray::new(DIGEST)));
}

#[test]
fn a_sealed_code_or_a_passkey_as_context_pin_reaches_the_hsm_as_it_was_made() {
    let (application, session) = Application::logged_in();
    assert_ne!(encode(&sealed_code()).len() % 3, 0, "base64 would pad it");
    for approval in [sealed_code(), longest_passkey()] {
        application.begin_digest(session);
        application.hsm.allow_approval(&approval);
        assert_eq!(application.give_code(session, &pin(&approval)), CKR_OK);
        assert!(application.sign(session, &DIGEST).is_ok());
        let acts = application.hsm.acts();
        let [Act::ContextLogin(login), Act::ContextSign(_)] = &acts[..] else { panic!("{acts:?}") };
        assert_eq!(login.approval, Approval::Intent(Box::new(approval.clone())));

        application.begin_digest(session);
        assert_eq!(application.give_code(session, &pin(&approval)), CKR_PIN_INCORRECT, "used");
        assert_eq!(application.sign(session, &DIGEST), Err(CKR_USER_NOT_LOGGED_IN));
    }
}

#[test]
fn a_grant_from_a_sealed_code_is_given_back_when_the_operation_ends() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.allow_approval(&sealed_code());
    assert_eq!(application.give_code(session, &pin(&sealed_code())), CKR_OK);
    assert_eq!(application.give_code(session, CODE), CKR_USER_ALREADY_LOGGED_IN);
    assert_eq!(call!(application, C_SignInit(session, ptr::null_mut(), 0)), CKR_OK);
    assert_eq!(application.hsm.asked(), ["context-login", "context-end"]);
    assert_eq!(application.hsm.grants(), 0);
}

#[test]
fn an_approval_that_is_not_one_never_leaves_the_process() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    let good = pin(&sealed_code());
    let cut = &good[..good.len() - 4];
    let other_message = format!("csa1_{}", BASE64URL_NOPAD.encode(&encode(&Act::Status)));
    let longer_than_any = format!("csa1_{}", "A".repeat(8000));
    for bad in ["csa1_", "csa1_123456", cut, &format!("{good}=="), &other_message, &longer_than_any] {
        assert_eq!(application.give_code(session, bad), CKR_PIN_INVALID, "{bad}");
    }
    assert!(application.hsm.asked().is_empty());
    application.hsm.allow_approval(&sealed_code());
    assert_eq!(application.give_code(session, &good), CKR_OK, "the operation still takes a right one");
}

#[test]
fn i1_what_was_approved_before_is_signed_without_any_login_once_and_nothing_else_is() {
    let (application, session) = Application::logged_in();
    approve_before(&application);
    application.begin_digest(session);
    assert_eq!(application.sign(session, &[8; 32]), Err(CKR_USER_NOT_LOGGED_IN), "another digest");
    application.begin_digest(session);
    assert!(application.sign(session, &DIGEST).is_ok());
    application.begin_digest(session);
    assert_eq!(application.sign(session, &DIGEST), Err(CKR_USER_NOT_LOGGED_IN), "a second time");
    assert_eq!(application.hsm.asked(), ["context-sign"], "and nothing is given back");
}

#[test]
fn what_was_approved_before_is_signed_in_parts_too_and_size_queries_use_up_nothing() {
    let (application, session) = Application::logged_in();
    approve_before(&application);
    application.begin_digest(session);
    let (mut length, mut small) = (0, [0u8; 10]);
    let mut data = DIGEST;
    let rv = call!(application, C_Sign(session, data.as_mut_ptr(), 32, ptr::null_mut(), &raw mut length));
    assert_eq!((rv, length), (CKR_OK, 64));
    assert_eq!(application.sign_update(session, &DIGEST[..20]), CKR_OK);
    assert_eq!(application.sign_update(session, &DIGEST[20..]), CKR_OK);
    assert_eq!(call!(application, C_SignFinal(session, ptr::null_mut(), &raw mut length)), CKR_OK);
    length = 10;
    let rv = call!(application, C_SignFinal(session, small.as_mut_ptr(), &raw mut length));
    assert_eq!((rv, length), (CKR_BUFFER_TOO_SMALL, 64));
    assert!(application.hsm.asked().is_empty());
    assert!(application.sign_final(session).is_ok());
    assert_eq!(application.hsm.asked(), ["context-sign"]);
}

#[test]
fn the_api_key_repeated_or_no_pin_is_a_login_that_makes_no_grant() {
    let (application, session) = Application::logged_in();
    let null = |session| call!(application, C_Login(session, CKU_CONTEXT_SPECIFIC, ptr::null_mut(), 0));
    let logins: [&dyn Fn() -> CK_RV; 3] =
        [&|| repeat_api_key(&application, session), &|| application.give_code(session, ""), &|| {
            null(session)
        }];
    for login in logins {
        approve_before(&application);
        application.begin_digest(session);
        assert_eq!((login(), login()), (CKR_OK, CKR_OK));
        let acts = application.hsm.acts();
        let [Act::ContextLogin(first), Act::ContextLogin(_)] = &acts[..] else { panic!("{acts:?}") };
        assert_eq!(first.approval, Approval::Prior);
        assert_eq!(application.hsm.grants(), 0);
        assert_eq!(application.sign(session, &[8; 32]), Err(CKR_USER_NOT_LOGGED_IN), "another digest");
        application.begin_digest(session);
        assert_eq!(login(), CKR_OK);
        assert!(application.sign(session, &DIGEST).is_ok());
    }
}

#[test]
fn without_an_earlier_approval_the_api_key_repeated_is_a_malformed_code() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    assert_eq!(repeat_api_key(&application, session), CKR_PIN_INVALID);
    assert_eq!(application.give_code(session, ""), CKR_PIN_INVALID);
    application.hsm.approve_before(key(2).id, Payload::Digest(ByteArray::new(DIGEST)));
    assert_eq!(repeat_api_key(&application, session), CKR_PIN_INVALID, "that was another key's");
    assert_eq!(application.hsm.asked(), ["context-login"; 3]);
    assert_eq!(application.sign(session, &DIGEST), Err(CKR_USER_NOT_LOGGED_IN));
}

#[test]
fn another_api_key_and_a_null_pin_of_some_length_are_never_sent() {
    let (application, session) = Application::logged_in();
    approve_before(&application);
    application.begin_digest(session);
    let other = ApiKey::from_random(&[0xcd; 32], &TenantName::parse("default").unwrap());
    for bad in [other.expose(), &api_key().expose()[..50]] {
        assert_eq!(application.give_code(session, bad), CKR_PIN_INVALID);
    }
    let rv = call!(application, C_Login(session, CKU_CONTEXT_SPECIFIC, ptr::null_mut(), 6));
    assert_eq!(rv, CKR_ARGUMENTS_BAD);
    assert_eq!(call!(application, C_Login(session, CKU_USER, ptr::null_mut(), 0)), CKR_ARGUMENTS_BAD);
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn after_a_login_that_points_at_an_earlier_approval_there_is_nothing_to_give_back() {
    let (application, session) = Application::logged_in();
    approve_before(&application);
    application.begin_digest(session);
    assert_eq!(repeat_api_key(&application, session), CKR_OK);
    assert_eq!(call!(application, C_SignInit(session, ptr::null_mut(), 0)), CKR_OK);
    application.begin_digest(session);
    application.hsm.lose_next_answer("context-login");
    application.hsm.acts();
    assert_eq!(repeat_api_key(&application, session), CKR_DEVICE_ERROR);
    assert_eq!(call!(application, C_SignInit(session, ptr::null_mut(), 0)), CKR_OK);
    assert_eq!(application.hsm.asked(), ["context-login"], "no context-end");
}

#[test]
fn a_code_may_follow_a_login_that_points_at_an_earlier_approval_and_its_grant_is_kept() {
    let (application, session) = Application::logged_in();
    approve_before(&application);
    application.begin_digest(session);
    assert_eq!(repeat_api_key(&application, session), CKR_OK);
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OK);
    assert_eq!(repeat_api_key(&application, session), CKR_USER_ALREADY_LOGGED_IN);
    assert!(application.sign(session, &[8; 32]).is_ok(), "the code is for any digest");
}

#[test]
fn an_earlier_approval_does_not_hide_that_a_lost_answer_may_have_made_a_grant() {
    let (application, session) = Application::logged_in();
    approve_before(&application);
    application.begin_digest(session);
    application.hsm.allow_code(CODE);
    application.hsm.lose_next_answer("context-login");
    assert_eq!(application.give_code(session, CODE), CKR_DEVICE_ERROR);
    assert_eq!(repeat_api_key(&application, session), CKR_OK);
    application.hsm.acts();
    assert_eq!(call!(application, C_SignInit(session, ptr::null_mut(), 0)), CKR_OK);
    assert_eq!(application.hsm.asked(), ["context-end"]);
    assert_eq!(application.hsm.grants(), 0);
}

#[test]
fn approvals_are_refused_with_the_return_values_of_the_documentation() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    for (reasons, rv) in [
        (&[Reason::AccountFrozen][..], CKR_PIN_LOCKED),
        (&[Reason::BelowFloor, Reason::ApprovalForOther], CKR_FUNCTION_REJECTED),
        (
            &[
                Reason::MalformedDeviceSignature,
                Reason::WrongSeal,
                Reason::UnknownDevice,
                Reason::UnknownPasskey,
                Reason::PasskeyMalformed,
                Reason::PasskeyMalformedSignature,
            ],
            CKR_PIN_INVALID,
        ),
        (
            &[
                Reason::WrongDeviceSignature,
                Reason::PasskeyWrongChallenge,
                Reason::PasskeyCounter,
                Reason::UnknownIntent,
                Reason::IntentNotOpen,
                Reason::ApprovalExpired,
            ],
            CKR_PIN_INCORRECT,
        ),
    ] {
        for &reason in reasons {
            application.hsm.refuse_next(reason);
            assert_eq!(application.give_code(session, &pin(&sealed_code())), rv, "{reason}");
        }
    }
    application.hsm.refuse_next(Reason::ApprovalForOther);
    assert_eq!(application.sign(session, &DIGEST), Err(CKR_FUNCTION_REJECTED));
    assert_eq!(return_value(Reason::FloorNotPossible, Function::KeyGeneration), CKR_ATTRIBUTE_VALUE_INVALID);
}

/// Makes a key whose template gives that floor.
fn with_floor(
    application: &Application,
    session: CK_SESSION_HANDLE,
    floor: &[u8],
) -> Result<[CK_OBJECT_HANDLE; 2], CK_RV> {
    let private = [attribute(CKA_LABEL, b"user-0000/new"), attribute(CKA_COUNTERSIGN_FLOOR, floor)];
    generate(application, session, &[attribute(CKA_EC_PARAMS, SECP256K1)], &private)
}

#[test]
fn a_new_key_has_the_floor_of_its_template_and_tells_it() {
    for floor in ApprovalKind::ALL {
        let (application, session) = Application::logged_in();
        let made = with_floor(&application, session, floor.word().as_bytes()).unwrap();
        let acts = application.hsm.acts();
        let [Act::CreateKey(create)] = &acts[..] else { panic!("{acts:?}") };
        assert_eq!(create.plan.floor, *floor);
        for half in made {
            let told = application.attribute_of(session, half, CKA_COUNTERSIGN_FLOOR);
            assert_eq!(told, Ok(floor.word().as_bytes().to_vec()));
        }
    }
    let words = ApprovalKind::ALL.iter().map(|floor| floor.word());
    assert!(words.eq(["code", "sealed-code", "passkey"]), "the words of the documentation");
}

#[test]
fn a_key_without_a_floor_in_its_template_takes_codes() {
    let (application, session) = Application::logged_in();
    with_floor(&application, session, b"").unwrap();
    let acts = application.hsm.acts();
    let [Act::CreateKey(create)] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!(create.plan.floor, ApprovalKind::Code);
}

#[test]
fn a_floor_that_is_none_or_not_possible_is_an_invalid_value() {
    let (application, session) = Application::logged_in();
    for bad in [&b"none"[..], b"Passkey", b"sealed_code", b"code ", b"\xff", &[1; 8]] {
        assert_eq!(with_floor(&application, session, bad), Err(CKR_ATTRIBUTE_VALUE_INVALID), "{bad:?}");
    }
    let label = attribute(CKA_LABEL, b"user-0000/new");
    let (curve, code) = (attribute(CKA_EC_PARAMS, SECP256K1), attribute(CKA_COUNTERSIGN_FLOOR, b"code"));
    let two = [label, attribute(CKA_COUNTERSIGN_FLOOR, b"passkey")];
    assert_eq!(generate(&application, session, &[curve, code], &two), Err(CKR_TEMPLATE_INCONSISTENT));
    assert!(application.hsm.asked().is_empty());
    application.hsm.refuse_next(Reason::FloorNotPossible);
    assert_eq!(with_floor(&application, session, b"passkey"), Err(CKR_ATTRIBUTE_VALUE_INVALID));
}
