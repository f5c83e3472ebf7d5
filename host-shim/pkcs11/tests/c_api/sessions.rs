//! Sessions and the user's login.

use crate::application::{Application, CODE, call};
use crate::fake_hsm::api_key;
use countersign_wire::reason::Reason;
use cryptoki_sys::*;
use std::ptr;

#[test]
fn sessions_are_serial_read_only_or_not_and_their_handles_are_never_used_again() {
    let application = Application::start();
    let mut session = 0;
    let open = |flags, session: &mut CK_SESSION_HANDLE| {
        call!(application, C_OpenSession(0, flags, ptr::null_mut(), None, ptr::from_mut(session)))
    };
    assert_eq!(open(CKF_RW_SESSION, &mut session), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
    assert_eq!(open(CKF_SERIAL_SESSION, &mut session), CKR_OK);
    assert_eq!(application.session_state(session), Ok(CKS_RO_PUBLIC_SESSION));
    assert_eq!(application.session_state(application.open()), Ok(CKS_RW_PUBLIC_SESSION));
    assert_eq!(
        call!(application, C_OpenSession(3, CKF_SERIAL_SESSION, ptr::null_mut(), None, &raw mut session)),
        CKR_SLOT_ID_INVALID
    );
    assert_eq!(
        call!(application, C_OpenSession(0, CKF_SERIAL_SESSION, ptr::null_mut(), None, ptr::null_mut())),
        CKR_ARGUMENTS_BAD
    );
    assert_eq!(call!(application, C_CloseSession(session)), CKR_OK);
    assert_eq!(call!(application, C_CloseSession(session)), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(application.finalize(), CKR_OK);
    assert_eq!(application.initialize(), CKR_OK);
    assert_ne!(application.open(), session);
    assert_eq!(application.session_state(session), Err(CKR_SESSION_HANDLE_INVALID));
}

#[test]
fn the_api_key_is_checked_by_the_hsm_and_logs_all_sessions_in() {
    let application = Application::start();
    let (first, second) = (application.open(), application.open());
    let wrong = api_key().expose().replace("abab", "abac");
    for pin in [wrong.as_bytes(), b"123456", b"", b"\xff\xfe", &[b'x'; 8192]] {
        assert_eq!(application.login_as(first, CKU_USER, pin), CKR_PIN_INCORRECT);
    }
    assert_eq!(application.hsm.asked(), ["login"], "only what has the form of an API key is sent");
    assert_eq!(application.login_as(first, CKU_USER, &[b'x'; 8193]), CKR_PIN_LEN_RANGE);
    assert_eq!(call!(application, C_Login(first, CKU_USER, ptr::null_mut(), 0)), CKR_ARGUMENTS_BAD);
    assert_eq!(application.login_as(first, CKU_SO, b"123456"), CKR_USER_TYPE_INVALID);
    assert_eq!(application.login_as(first, 9, b"123456"), CKR_USER_TYPE_INVALID);
    assert_eq!(application.session_state(second), Ok(CKS_RW_PUBLIC_SESSION));
    assert_eq!(application.log_in(first), CKR_OK);
    assert_eq!(application.session_state(second), Ok(CKS_RW_USER_FUNCTIONS));
    assert_eq!(application.log_in(second), CKR_USER_ALREADY_LOGGED_IN);
    assert_eq!(call!(application, C_Logout(second)), CKR_OK);
    assert_eq!(application.session_state(first), Ok(CKS_RW_PUBLIC_SESSION));
    assert_eq!(call!(application, C_Logout(second)), CKR_USER_NOT_LOGGED_IN);
}

#[test]
fn closing_the_last_session_logs_out() {
    let (application, session) = Application::logged_in();
    let other = application.open();
    assert_eq!(call!(application, C_CloseSession(session)), CKR_OK);
    assert_eq!(application.session_state(other), Ok(CKS_RW_USER_FUNCTIONS));
    assert_eq!(call!(application, C_CloseSession(other)), CKR_OK);
    assert_eq!(application.session_state(application.open()), Ok(CKS_RW_PUBLIC_SESSION));
    assert_eq!(call!(application, C_CloseAllSessions(4)), CKR_SLOT_ID_INVALID);
}

#[test]
fn a_locked_user_does_not_log_the_backend_out() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.refuse_next(Reason::Locked);
    assert_eq!(application.give_code(session, CODE), CKR_PIN_LOCKED);
    assert_eq!(application.session_state(session), Ok(CKS_RW_USER_FUNCTIONS));
}

#[test]
fn every_way_to_end_a_session_gives_its_grant_back_once() {
    type End = fn(&Application, CK_SESSION_HANDLE) -> CK_RV;
    let ends: [(&str, End); 6] = [
        ("C_CloseSession", |application, session| call!(application, C_CloseSession(session))),
        ("C_CloseAllSessions", |application, _| call!(application, C_CloseAllSessions(0))),
        ("C_Logout", |application, session| call!(application, C_Logout(session))),
        ("C_SignInit", |application, session| call!(application, C_SignInit(session, ptr::null_mut(), 0))),
        ("C_SessionCancel", |_, session| {
            // SAFETY: it takes no pointers.
            unsafe { countersign_pkcs11::boundary::functions_v3::C_SessionCancel(session, CKF_SIGN) }
        }),
        ("C_Finalize", |application, _| application.finalize()),
    ];
    for (name, end) in ends {
        let (application, session) = Application::logged_in();
        application.approve_digest(session);
        assert_eq!(application.hsm.grants(), 1, "{name}");
        assert_eq!(end(&application, session), CKR_OK, "{name}");
        assert_eq!(application.hsm.asked(), ["context-end"], "{name}");
        assert_eq!(application.hsm.grants(), 0, "{name}");
        assert!(application.sign(session, &[7; 32]).is_err(), "{name}");
        assert!(application.hsm.asked().is_empty(), "{name}");
    }
}

#[test]
fn ending_without_a_grant_tells_the_hsm_nothing() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    assert_eq!(call!(application, C_CloseSession(session)), CKR_OK);
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn cancelling_ends_only_what_the_flags_name() {
    let (application, session) = Application::logged_in();
    let cancel = |flags| {
        // SAFETY: it takes no pointers.
        unsafe { countersign_pkcs11::boundary::functions_v3::C_SessionCancel(session, flags) }
    };
    application.approve_digest(session);
    assert_eq!(call!(application, C_FindObjectsInit(session, ptr::null_mut(), 0)), CKR_OK);
    assert_eq!(cancel(CKF_FIND_OBJECTS | CKF_DECRYPT), CKR_OK);
    assert_eq!(call!(application, C_FindObjectsFinal(session)), CKR_OPERATION_NOT_INITIALIZED);
    assert!(application.sign(session, &[7; 32]).is_ok(), "the signature went on");
    assert_eq!(cancel(CKF_SIGN), CKR_OK, "with nothing to end");
    assert_eq!(cancel(0), CKR_OK);
}
