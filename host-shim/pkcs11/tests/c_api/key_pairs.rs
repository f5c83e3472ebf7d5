//! New keys.

use crate::application::{Application, attribute, call, mechanism};
use countersign_pkcs11::CKM_COUNTERSIGN_ETHEREUM;
use countersign_wire::client::{Act, Mechanism};
use cryptoki_sys::*;
use std::ptr;

pub(crate) const SECP256K1: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 10];
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const LABEL: &[u8] = b"user-0000/new";

/// Makes a key: its public half and its private half.
pub(crate) fn generate(
    application: &Application,
    session: CK_SESSION_HANDLE,
    public: &[CK_ATTRIBUTE],
    private: &[CK_ATTRIBUTE],
) -> Result<[CK_OBJECT_HANDLE; 2], CK_RV> {
    let mut mechanism = mechanism(CKM_EC_KEY_PAIR_GEN);
    let (mut public_key, mut private_key) = (0, 0);
    let rv = call!(
        application,
        C_GenerateKeyPair(
            session,
            &raw mut mechanism,
            public.as_ptr().cast_mut(),
            public.len() as CK_ULONG,
            private.as_ptr().cast_mut(),
            private.len() as CK_ULONG,
            &raw mut public_key,
            &raw mut private_key,
        )
    );
    if rv == CKR_OK { Ok([public_key, private_key]) } else { Err(rv) }
}

#[test]
fn a_new_key_is_the_accounts_and_signs_transactions_unless_asked_otherwise() {
    let (application, session) = Application::logged_in();
    let [public, private] = generate(
        &application,
        session,
        &[
            attribute(CKA_EC_PARAMS, SECP256K1),
            attribute(CKA_VERIFY, &[CK_TRUE]),
            attribute(CKA_PRIVATE, &[CK_FALSE]),
        ],
        &[
            attribute(CKA_LABEL, LABEL),
            attribute(CKA_TOKEN, &[CK_TRUE]),
            attribute(CKA_SIGN, &[CK_TRUE]),
            attribute(CKA_SENSITIVE, &[CK_TRUE]),
            attribute(CKA_ALWAYS_AUTHENTICATE, &[CK_TRUE]),
            attribute(CKA_ID, b""),
        ],
    )
    .unwrap();
    let acts = application.hsm.acts();
    let [Act::CreateKey(create)] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!(
        (create.label.to_string().as_bytes(), &create.plan.mechanisms[..]),
        (LABEL, &[Mechanism::Ethereum][..])
    );
    assert_eq!(
        application.attribute_of(session, public, CKA_CLASS),
        Ok(CKO_PUBLIC_KEY.to_ne_bytes().to_vec())
    );
    assert_eq!(application.attribute_of(session, private, CKA_LABEL), Ok(LABEL.to_vec()));
    assert_eq!(application.find(session, &mut [attribute(CKA_LABEL, LABEL)])[..2], [private, public]);
}

#[test]
fn i15_blind_signing_is_had_only_by_asking_for_it() {
    let (application, session) = Application::logged_in();
    let both: Vec<u8> =
        [CKM_COUNTERSIGN_ETHEREUM, CKM_ECDSA, CKM_ECDSA].iter().flat_map(|kind| kind.to_ne_bytes()).collect();
    let private = [attribute(CKA_LABEL, LABEL), attribute(CKA_ALLOWED_MECHANISMS, &both)];
    generate(&application, session, &[attribute(CKA_EC_PARAMS, SECP256K1)], &private).unwrap();
    let acts = application.hsm.acts();
    let [Act::CreateKey(create)] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!(
        create.plan.mechanisms,
        [Mechanism::Digest, Mechanism::Ethereum],
        "ascending, without repeats"
    );
}

#[test]
fn i8_templates_that_ask_for_less_protection_are_refused_and_nothing_is_made() {
    let (application, session) = Application::logged_in();
    let curve = attribute(CKA_EC_PARAMS, SECP256K1);
    let label = attribute(CKA_LABEL, LABEL);
    for (kind, value) in [
        (CKA_EXTRACTABLE, CK_TRUE),
        (CKA_SENSITIVE, CK_FALSE),
        (CKA_ALWAYS_AUTHENTICATE, CK_FALSE),
        (CKA_TOKEN, CK_FALSE),
        (CKA_PRIVATE, CK_FALSE),
        (CKA_SIGN, CK_FALSE),
        (CKA_DERIVE, CK_TRUE),
        (CKA_DECRYPT, CK_TRUE),
        (CKA_UNWRAP, CK_TRUE),
        (CKA_MODIFIABLE, CK_TRUE),
        (CKA_COPYABLE, CK_TRUE),
        (CKA_DESTROYABLE, CK_TRUE),
    ] {
        let private = [label, attribute(kind, &[value])];
        let rv = generate(&application, session, &[curve], &private);
        assert_eq!(rv, Err(CKR_TEMPLATE_INCONSISTENT), "0x{kind:x} = {value}");
    }
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn templates_that_make_no_sense_are_refused_for_what_is_wrong() {
    let (application, session) = Application::logged_in();
    let (curve, label) = (attribute(CKA_EC_PARAMS, SECP256K1), attribute(CKA_LABEL, LABEL));
    let mechanisms = CKM_ECDSA_SHA256.to_ne_bytes();
    let cases: [(&[CK_ATTRIBUTE], &[CK_ATTRIBUTE], CK_RV); 12] = [
        (&[], &[label], CKR_TEMPLATE_INCOMPLETE),
        (&[curve], &[], CKR_TEMPLATE_INCOMPLETE),
        (&[attribute(CKA_EC_PARAMS, P256)], &[label], CKR_CURVE_NOT_SUPPORTED),
        (&[curve, attribute(CKA_LABEL, b"user-0000/other")], &[label], CKR_TEMPLATE_INCONSISTENT),
        (&[curve], &[attribute(CKA_LABEL, b"no slash")], CKR_ATTRIBUTE_VALUE_INVALID),
        (&[curve], &[attribute(CKA_LABEL, b"\xff/x")], CKR_ATTRIBUTE_VALUE_INVALID),
        (&[curve], &[label, attribute(CKA_ID, &[1; 16])], CKR_TEMPLATE_INCONSISTENT),
        (&[curve], &[label, attribute(CKA_VALUE, &[1; 32])], CKR_ATTRIBUTE_READ_ONLY),
        (&[curve], &[label, attribute(CKA_MODULUS_BITS, &[1; 8])], CKR_ATTRIBUTE_TYPE_INVALID),
        (&[curve], &[label, attribute(CKA_ALLOWED_MECHANISMS, &mechanisms)], CKR_ATTRIBUTE_VALUE_INVALID),
        (&[curve], &[label, attribute(CKA_ALLOWED_MECHANISMS, &[1, 2])], CKR_ATTRIBUTE_VALUE_INVALID),
        (&[curve, attribute(CKA_KEY_TYPE, &CKK_RSA.to_ne_bytes())], &[label], CKR_TEMPLATE_INCONSISTENT),
    ];
    for (at, (public, private, rv)) in cases.into_iter().enumerate() {
        assert_eq!(generate(&application, session, public, private), Err(rv), "case {at}");
    }
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn the_hsm_refuses_unknown_accounts_and_taken_names() {
    let (application, session) = Application::logged_in();
    let curve = [attribute(CKA_EC_PARAMS, SECP256K1)];
    let with = |label: &[u8]| generate(&application, session, &curve, &[attribute(CKA_LABEL, label)]);
    assert_eq!(with(b"nobody/new"), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    assert_eq!(with(b"user-0000/digest"), Err(CKR_ATTRIBUTE_VALUE_INVALID));
}

#[test]
fn making_keys_needs_a_login_and_a_session_that_may_write() {
    let (application, session) = Application::logged_in();
    let mut read_only = 0;
    let rv =
        call!(application, C_OpenSession(0, CKF_SERIAL_SESSION, ptr::null_mut(), None, &raw mut read_only));
    assert_eq!(rv, CKR_OK);
    let (curve, label) = ([attribute(CKA_EC_PARAMS, SECP256K1)], [attribute(CKA_LABEL, LABEL)]);
    assert_eq!(generate(&application, read_only, &curve, &label), Err(CKR_SESSION_READ_ONLY));
    assert_eq!(call!(application, C_Logout(session)), CKR_OK);
    assert_eq!(generate(&application, session, &curve, &label), Err(CKR_USER_NOT_LOGGED_IN));
    assert!(application.hsm.asked().is_empty());
}
