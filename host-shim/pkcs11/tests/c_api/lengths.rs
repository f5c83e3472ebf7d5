//! Data that is too long for its mechanism is refused here, before any login.

use crate::application::{Application, CODE, call};
use crate::fake_hsm::key;
use countersign_pkcs11::{CKM_COUNTERSIGN_MESSAGE, CKM_COUNTERSIGN_TYPED_DATA};
use countersign_wire::client::{KeyInfo, KeyPlan, MESSAGE_MAX_BYTES, Mechanism, TYPED_DATA_MAX_BYTES};
use cryptoki_sys::*;
use std::ptr;

const LABEL: &str = "user-0000/texts";

/// Messages and typed data, with the most bytes of each.
const TEXTS: [(CK_MECHANISM_TYPE, usize); 2] =
    [(CKM_COUNTERSIGN_MESSAGE, MESSAGE_MAX_BYTES), (CKM_COUNTERSIGN_TYPED_DATA, TYPED_DATA_MAX_BYTES)];

/// With a key that signs both.
fn application() -> (Application, CK_SESSION_HANDLE, CK_OBJECT_HANDLE) {
    let (application, session) = Application::logged_in();
    let plan = KeyPlan::of(vec![Mechanism::TypedData, Mechanism::Message]);
    application.hsm.add_keys([KeyInfo { label: LABEL.parse().unwrap(), plan, ..key(8) }]);
    let key = application.private_key(session, LABEL);
    (application, session, key)
}

#[test]
fn texts_as_long_as_the_hsm_reads_are_signed() {
    let (application, session, key) = application();
    for (kind, most) in TEXTS {
        for (code, whole) in [(CODE, true), ("222222", false)] {
            assert_eq!(application.sign_init(session, kind, key), CKR_OK);
            let code = format!("{}{}", if kind == CKM_COUNTERSIGN_MESSAGE { 1 } else { 2 }, &code[1..]);
            application.hsm.allow_code(&code);
            assert_eq!(application.give_code(session, &code), CKR_OK);
            let text = vec![b'x'; most];
            if whole {
                assert!(application.sign(session, &text).is_ok(), "0x{kind:x}");
            } else {
                assert_eq!(application.sign_update(session, &text), CKR_OK);
                assert!(application.sign_final(session).is_ok(), "0x{kind:x}");
            }
        }
    }
}

#[test]
fn longer_texts_are_refused_before_a_login_and_the_hsm_is_not_asked() {
    let (application, session, key) = application();
    for (kind, most) in TEXTS {
        let text = vec![b'x'; most + 1];
        assert_eq!(application.sign_init(session, kind, key), CKR_OK);
        assert_eq!(application.sign(session, &text), Err(CKR_DATA_LEN_RANGE), "0x{kind:x}");
        assert_eq!(application.sign(session, b"x"), Err(CKR_OPERATION_NOT_INITIALIZED), "it ended");
        assert_eq!(application.sign_init(session, kind, key), CKR_OK);
        assert_eq!(application.sign_update(session, &text[..most]), CKR_OK);
        assert_eq!(application.sign_update(session, b"x"), CKR_DATA_LEN_RANGE, "0x{kind:x}");
        assert_eq!(application.sign_final(session), Err(CKR_OPERATION_NOT_INITIALIZED));
    }
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn after_a_login_a_longer_text_gives_the_grant_back() {
    let (application, session, key) = application();
    assert_eq!(application.sign_init(session, CKM_COUNTERSIGN_MESSAGE, key), CKR_OK);
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OK);
    let text = vec![b'x'; MESSAGE_MAX_BYTES + 1];
    assert_eq!(application.sign(session, &text), Err(CKR_DATA_LEN_RANGE));
    assert_eq!(application.hsm.asked(), ["context-login", "context-end"]);
    assert_eq!(application.hsm.grants(), 0);
}

#[test]
fn an_empty_message_is_one_and_empty_typed_data_is_none() {
    let (application, session, key) = application();
    assert_eq!(application.sign_init(session, CKM_COUNTERSIGN_TYPED_DATA, key), CKR_OK);
    assert_eq!(application.sign(session, b""), Err(CKR_DATA_LEN_RANGE));
    assert!(application.hsm.asked().is_empty());
    assert_eq!(application.sign_init(session, CKM_COUNTERSIGN_MESSAGE, key), CKR_OK);
    application.hsm.allow_code(CODE);
    assert_eq!(application.give_code(session, CODE), CKR_OK);
    let mut length = 0;
    let size = call!(application, C_Sign(session, ptr::null_mut(), 0, ptr::null_mut(), &raw mut length));
    assert_eq!((size, length), (CKR_OK, 64));
    assert!(application.sign(session, b"").is_ok());
}
