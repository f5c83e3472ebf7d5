//! What is refused, and with which return value.

use crate::application::{Application, CODE, call};
use countersign_pkcs11::boundary::{functions, functions_v3};
use countersign_pkcs11::failure::{Function, return_value};
use countersign_wire::reason::Reason;
use cryptoki_sys::*;
use std::ptr::null_mut;

#[test]
fn every_refusal_of_a_code_has_its_return_value_and_keeps_the_operation() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    for &reason in Reason::ALL {
        application.hsm.refuse_next(reason);
        let expected = return_value(reason, Function::Other);
        assert_eq!(application.give_code(session, CODE), expected, "{reason}");
    }
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OK, "after all of them");
}

#[test]
fn every_refusal_of_a_signature_has_its_return_value() {
    let (application, session) = Application::logged_in();
    for &reason in Reason::ALL {
        application.begin_digest(session);
        application.hsm.refuse_next(reason);
        let expected = return_value(reason, Function::Other);
        assert_eq!(application.sign(session, &[7; 32]), Err(expected), "{reason}");
    }
}

#[test]
fn the_return_values_are_those_of_the_design() {
    let other = |reason| return_value(reason, Function::Other);
    for (reasons, rv) in [
        (&[Reason::WrongCode, Reason::CodeUsed][..], CKR_PIN_INCORRECT),
        (&[Reason::MalformedCode], CKR_PIN_INVALID),
        (&[Reason::Locked, Reason::AccountOverBudget, Reason::TenantOverBudget], CKR_PIN_LOCKED),
        (&[Reason::ApprovalMissing], CKR_USER_NOT_LOGGED_IN),
        (&[Reason::MechanismNotAllowed], CKR_MECHANISM_INVALID),
        (&[Reason::PolicyRefused], CKR_FUNCTION_REJECTED),
        (
            &[Reason::MalformedTransaction, Reason::UnsupportedTransaction, Reason::ChainIdMissing],
            CKR_DATA_INVALID,
        ),
        (
            &[Reason::HsmUnreachable, Reason::HsmNotReady, Reason::ClockUnsure, Reason::StoreRefused],
            CKR_DEVICE_ERROR,
        ),
    ] {
        for &reason in reasons {
            assert_eq!(other(reason), rv, "{reason}");
        }
    }
    assert_eq!(return_value(Reason::WrongApiKey, Function::UserLogin), CKR_PIN_INCORRECT);
    assert_eq!(other(Reason::WrongApiKey), CKR_USER_NOT_LOGGED_IN);
}

#[test]
fn an_api_key_that_is_revoked_while_logged_in_signs_nothing() {
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    application.hsm.revoke_api_key();
    assert_eq!(application.sign(session, &[7; 32]), Err(CKR_USER_NOT_LOGGED_IN));
}

#[test]
fn i8_keys_are_not_changed_copied_destroyed_wrapped_or_derived_from() {
    let (application, session) = Application::logged_in();
    let private = application.private_key(session, "user-0000/digest");
    let public = application.public_key(session, "user-0000/digest");
    let mut out = 0;
    for key in [private, public] {
        assert_eq!(
            call!(application, C_SetAttributeValue(session, key, null_mut(), 0)),
            CKR_ACTION_PROHIBITED
        );
        assert_eq!(
            call!(application, C_CopyObject(session, key, null_mut(), 0, &raw mut out)),
            CKR_ACTION_PROHIBITED
        );
        assert_eq!(call!(application, C_DestroyObject(session, key)), CKR_ACTION_PROHIBITED);
    }
    let wrap = |key| call!(application, C_WrapKey(session, null_mut(), private, key, null_mut(), null_mut()));
    let derive = |key| call!(application, C_DeriveKey(session, null_mut(), key, null_mut(), 0, null_mut()));
    assert_eq!(wrap(private), CKR_KEY_UNEXTRACTABLE);
    assert_eq!(derive(private), CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_eq!((wrap(0), derive(0)), (CKR_KEY_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID));
    assert_eq!(call!(application, C_DestroyObject(session, 0)), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(call!(application, C_DestroyObject(0, private)), CKR_SESSION_HANDLE_INVALID);
    assert!(application.hsm.asked().is_empty());
}

/// Calls functions by name with a session and arguments of no meaning.
macro_rules! each {
    ($session:expr, $($module:ident::$name:ident($($argument:expr),*);)*) => {
        // SAFETY: these functions look at nothing but the session.
        [$((stringify!($name), unsafe { $module::$name($session $(, $argument)*) })),*]
    };
}

/// Every function that only checks its session: its name and what it returns.
fn unsupported(session: CK_SESSION_HANDLE) -> Vec<(&'static str, CK_RV)> {
    let (bytes, count) = (null_mut(), null_mut());
    let mut all = each![session,
        functions::C_InitPIN(bytes, 0);
        functions::C_SetPIN(bytes, 0, bytes, 0);
        functions::C_GetOperationState(bytes, count);
        functions::C_SetOperationState(bytes, 0, 0, 0);
        functions::C_CreateObject(null_mut(), 0, null_mut());
        functions::C_GetObjectSize(0, count);
        functions::C_EncryptInit(null_mut(), 0);
        functions::C_Encrypt(bytes, 0, bytes, count);
        functions::C_EncryptUpdate(bytes, 0, bytes, count);
        functions::C_EncryptFinal(bytes, count);
        functions::C_DecryptInit(null_mut(), 0);
        functions::C_Decrypt(bytes, 0, bytes, count);
        functions::C_DecryptUpdate(bytes, 0, bytes, count);
        functions::C_DecryptFinal(bytes, count);
        functions::C_DigestInit(null_mut());
        functions::C_Digest(bytes, 0, bytes, count);
        functions::C_DigestUpdate(bytes, 0);
        functions::C_DigestKey(0);
        functions::C_DigestFinal(bytes, count);
        functions::C_SignRecoverInit(null_mut(), 0);
        functions::C_SignRecover(bytes, 0, bytes, count);
        functions::C_VerifyInit(null_mut(), 0);
        functions::C_Verify(bytes, 0, bytes, 0);
        functions::C_VerifyUpdate(bytes, 0);
        functions::C_VerifyFinal(bytes, 0);
        functions::C_VerifyRecoverInit(null_mut(), 0);
        functions::C_VerifyRecover(bytes, 0, bytes, count);
        functions::C_DigestEncryptUpdate(bytes, 0, bytes, count);
        functions::C_DecryptDigestUpdate(bytes, 0, bytes, count);
        functions::C_SignEncryptUpdate(bytes, 0, bytes, count);
        functions::C_DecryptVerifyUpdate(bytes, 0, bytes, count);
        functions::C_GenerateKey(null_mut(), null_mut(), 0, null_mut());
        functions::C_UnwrapKey(null_mut(), 0, bytes, 0, null_mut(), 0, null_mut());
    ]
    .to_vec();
    all.extend(each![session,
        functions_v3::C_LoginUser(1, bytes, 0, bytes, 0);
        functions_v3::C_MessageEncryptInit(null_mut(), 0);
        functions_v3::C_EncryptMessage(null_mut(), 0, bytes, 0, bytes, 0, bytes, count);
        functions_v3::C_EncryptMessageBegin(null_mut(), 0, bytes, 0);
        functions_v3::C_EncryptMessageNext(null_mut(), 0, bytes, 0, bytes, count, 0);
        functions_v3::C_MessageEncryptFinal();
        functions_v3::C_MessageDecryptInit(null_mut(), 0);
        functions_v3::C_DecryptMessage(null_mut(), 0, bytes, 0, bytes, 0, bytes, count);
        functions_v3::C_DecryptMessageBegin(null_mut(), 0, bytes, 0);
        functions_v3::C_DecryptMessageNext(null_mut(), 0, bytes, 0, bytes, count, 0);
        functions_v3::C_MessageDecryptFinal();
        functions_v3::C_MessageSignInit(null_mut(), 0);
        functions_v3::C_SignMessage(null_mut(), 0, bytes, 0, bytes, count);
        functions_v3::C_SignMessageBegin(null_mut(), 0);
        functions_v3::C_SignMessageNext(null_mut(), 0, bytes, 0, bytes, count);
        functions_v3::C_MessageSignFinal();
        functions_v3::C_MessageVerifyInit(null_mut(), 0);
        functions_v3::C_VerifyMessage(null_mut(), 0, bytes, 0, bytes, 0);
        functions_v3::C_VerifyMessageBegin(null_mut(), 0);
        functions_v3::C_VerifyMessageNext(null_mut(), 0, bytes, 0, bytes, 0);
        functions_v3::C_MessageVerifyFinal();
    ]);
    all
}

#[test]
fn every_unsupported_function_checks_its_session_and_says_so() {
    let names: Vec<&str> = unsupported(0).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [functions::UNSUPPORTED, functions_v3::UNSUPPORTED].concat(),
        "the list above is complete"
    );
    let (application, session) = Application::logged_in();
    for (name, rv) in unsupported(session) {
        assert_eq!(rv, CKR_FUNCTION_NOT_SUPPORTED, "{name}");
    }
    for (name, rv) in unsupported(session + 1) {
        assert_eq!(rv, CKR_SESSION_HANDLE_INVALID, "{name}");
    }
    assert_eq!(application.finalize(), CKR_OK);
    for (name, rv) in unsupported(session) {
        assert_eq!(rv, CKR_CRYPTOKI_NOT_INITIALIZED, "{name}");
    }
}

#[test]
fn the_rest_of_the_unsupported_functions() {
    let (application, session) = Application::logged_in();
    assert_eq!(call!(application, C_InitToken(0, null_mut(), 0, null_mut())), CKR_FUNCTION_NOT_SUPPORTED);
    assert_eq!(call!(application, C_InitToken(1, null_mut(), 0, null_mut())), CKR_SLOT_ID_INVALID);
    assert_eq!(call!(application, C_WaitForSlotEvent(0, null_mut(), null_mut())), CKR_FUNCTION_NOT_SUPPORTED);
    assert_eq!(call!(application, C_GetFunctionStatus(session)), CKR_FUNCTION_NOT_PARALLEL);
    assert_eq!(call!(application, C_CancelFunction(session)), CKR_FUNCTION_NOT_PARALLEL);
}
