//! The certificate beside each key, for clients that show no key without one.

use crate::application::{Application, attribute, call};
use crate::fake_hsm::{POINT, key};
use countersign_pkcs11::{CKA_COUNTERSIGN_ETHEREUM_ADDRESS, CKM_COUNTERSIGN_PSBT};
use countersign_wire::client::{KeyInfo, KeyPlan, Mechanism, Network};
use cryptoki_sys::*;
use std::ptr::null_mut;

/// A Bitcoin key, as the HSM tells it: without an Ethereum address.
fn bitcoin() -> KeyInfo {
    let plan = KeyPlan { network: Some(Network::Regtest), ..KeyPlan::of(vec![Mechanism::Bitcoin]) };
    KeyInfo { label: "user-0000/bitcoin".parse().unwrap(), plan, ethereum_address: String::new(), ..key(8) }
}

/// Finds by class and one other attribute.
fn find(
    application: &Application,
    session: CK_SESSION_HANDLE,
    class: CK_OBJECT_CLASS,
    wanted: CK_ATTRIBUTE,
) -> Vec<CK_OBJECT_HANDLE> {
    application.find(session, &mut [attribute(CKA_CLASS, &class.to_ne_bytes()), wanted])
}

#[test]
fn every_key_has_one_certificate_of_its_id_and_label() {
    let (application, session) = Application::logged_in();
    application.hsm.add_keys([bitcoin()]);
    for key in [key(0), key(1), bitcoin()] {
        let label = key.label.to_string();
        for wanted in [attribute(CKA_ID, key.id.as_slice()), attribute(CKA_LABEL, label.as_bytes())] {
            let found = find(&application, session, CKO_CERTIFICATE, wanted);
            let [certificate] = found[..] else { panic!("{found:?} for {label}") };
            let get = |kind| application.attribute_of(session, certificate, kind);
            assert_eq!(get(CKA_ID).unwrap(), key.id.as_slice());
            assert_eq!(get(CKA_LABEL).unwrap(), label.as_bytes());
            assert_eq!(get(CKA_CLASS).unwrap(), CKO_CERTIFICATE.to_ne_bytes());
            assert_eq!(get(CKA_CERTIFICATE_TYPE).unwrap(), CKC_X_509.to_ne_bytes());
            for kind in [CKA_TOKEN, CKA_PRIVATE] {
                assert_eq!(get(kind).unwrap(), [CK_TRUE], "0x{kind:x}");
            }
            for kind in [CKA_TRUSTED, CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE] {
                assert_eq!(get(kind).unwrap(), [CK_FALSE], "0x{kind:x}");
            }
            for kind in [CKA_KEY_TYPE, CKA_EC_POINT, CKA_SIGN, CKA_ALWAYS_AUTHENTICATE, CKA_MODULUS] {
                assert_eq!(get(kind), Err(CKR_ATTRIBUTE_TYPE_INVALID), "0x{kind:x}");
            }
            let value = get(CKA_VALUE).unwrap();
            for kind in [CKA_SUBJECT, CKA_ISSUER, CKA_SERIAL_NUMBER, CKA_PUBLIC_KEY_INFO] {
                let part = get(kind).unwrap();
                assert!(value.windows(part.len()).any(|window| window == part), "0x{kind:x} stands in it");
            }
            assert!(value.windows(65).any(|window| window == POINT));
            assert!(value.ends_with(&[3, 1, 0]), "its signature is empty");
        }
    }
}

#[test]
fn whoever_asks_for_keys_sees_no_certificate_and_the_other_way() {
    let (application, session) = Application::logged_in();
    let by_label = |class| {
        let found = find(&application, session, class, attribute(CKA_LABEL, b"user-0000/digest"));
        assert_eq!(found.len(), 1);
        found[0]
    };
    let all = [CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_CERTIFICATE].map(by_label);
    assert_eq!(application.find(session, &mut [attribute(CKA_LABEL, b"user-0000/digest")]), all);
    let ec = CKK_EC.to_ne_bytes();
    let keys = application
        .find(session, &mut [attribute(CKA_LABEL, b"user-0000/digest"), attribute(CKA_KEY_TYPE, &ec)]);
    assert_eq!(keys, all[..2]);
    assert!(find(&application, session, CKO_CERTIFICATE, attribute(CKA_KEY_TYPE, &ec)).is_empty());
    assert!(find(&application, session, CKO_CERTIFICATE, attribute(CKA_SIGN, &[CK_TRUE])).is_empty());
}

#[test]
fn a_certificate_is_found_by_its_subject_and_an_issuers_is_not_asked_for() {
    let (application, session) = Application::logged_in();
    let certificate = find(&application, session, CKO_CERTIFICATE, attribute(CKA_LABEL, b"user-0001/digest"));
    let get = |kind| application.attribute_of(session, certificate[0], kind).unwrap();
    let (subject, issuer) = (get(CKA_SUBJECT), get(CKA_ISSUER));
    assert_eq!(find(&application, session, CKO_CERTIFICATE, attribute(CKA_SUBJECT, &subject)), certificate);
    assert_eq!(application.hsm.asked(), ["find-keys"; 2]);
    assert!(find(&application, session, CKO_CERTIFICATE, attribute(CKA_SUBJECT, &issuer)).is_empty());
    assert!(find(&application, session, CKO_PRIVATE_KEY, attribute(CKA_SUBJECT, &subject)).is_empty());
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn i8_a_certificate_is_no_key_and_is_not_changed_copied_or_destroyed() {
    let (application, session) = Application::logged_in();
    let found = find(&application, session, CKO_CERTIFICATE, attribute(CKA_LABEL, b"user-0000/digest"));
    let certificate = found[0];
    application.hsm.acts();
    let mut out = 0;
    assert_eq!(application.sign_init(session, CKM_ECDSA, certificate), CKR_KEY_HANDLE_INVALID);
    assert_eq!(
        call!(application, C_WrapKey(session, null_mut(), certificate, certificate, null_mut(), null_mut())),
        CKR_KEY_HANDLE_INVALID
    );
    assert_eq!(
        call!(application, C_DeriveKey(session, null_mut(), certificate, null_mut(), 0, null_mut())),
        CKR_KEY_HANDLE_INVALID
    );
    assert_eq!(
        call!(application, C_SetAttributeValue(session, certificate, null_mut(), 0)),
        CKR_ACTION_PROHIBITED
    );
    assert_eq!(
        call!(application, C_CopyObject(session, certificate, null_mut(), 0, &raw mut out)),
        CKR_ACTION_PROHIBITED
    );
    assert_eq!(call!(application, C_DestroyObject(session, certificate)), CKR_ACTION_PROHIBITED);
    assert!(application.hsm.asked().is_empty());
    assert_eq!(call!(application, C_Logout(session)), CKR_OK);
    assert!(find(&application, session, CKO_CERTIFICATE, attribute(CKA_TOKEN, &[CK_TRUE])).is_empty());
    let got = application.attribute_of(session, certificate, CKA_VALUE);
    assert_eq!(got, Err(CKR_OBJECT_HANDLE_INVALID), "it goes with the login");
}

#[test]
fn a_bitcoin_key_has_no_ethereum_address() {
    let (application, session) = Application::logged_in();
    application.hsm.add_keys([bitcoin()]);
    let address = |object| application.attribute_of(session, object, CKA_COUNTERSIGN_ETHEREUM_ADDRESS);
    for object in [
        application.private_key(session, "user-0000/bitcoin"),
        application.public_key(session, "user-0000/bitcoin"),
    ] {
        assert_eq!(address(object), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        let mechanisms = application.attribute_of(session, object, CKA_ALLOWED_MECHANISMS);
        assert_eq!(mechanisms, Ok(CKM_COUNTERSIGN_PSBT.to_ne_bytes().to_vec()));
    }
    assert!(address(application.private_key(session, "user-0000/ethereum")).is_ok());
    let empty = application.find(session, &mut [attribute(CKA_COUNTERSIGN_ETHEREUM_ADDRESS, b"")]);
    assert!(empty.is_empty(), "nor is it found by an empty one");
}
