//! Finding keys and their attributes.

use crate::application::{Application, attribute, call};
use crate::fake_hsm::key;
use countersign_pkcs11::{CKA_COUNTERSIGN_ETHEREUM_ADDRESS, CKM_COUNTERSIGN_ETHEREUM};
use countersign_wire::client::{Act, KeyQuery};
use countersign_wire::reason::Reason;
use cryptoki_sys::*;
use std::ptr;

#[test]
fn without_a_login_there_is_nothing_to_find() {
    let application = Application::start();
    let session = application.open();
    assert!(application.find(session, &mut []).is_empty());
    assert!(application.hsm.asked().is_empty());
}

#[test]
fn finds_both_halves_and_the_certificate_of_every_key_page_by_page() {
    let (application, session) = Application::logged_in();
    application.hsm.add_keys((4..8).map(key));
    assert_eq!(application.find(session, &mut []).len(), 24);
    assert_eq!(application.hsm.asked(), ["find-keys"; 3]);
    for class in [CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_CERTIFICATE] {
        let class = class.to_ne_bytes();
        assert_eq!(application.find(session, &mut [attribute(CKA_CLASS, &class)]).len(), 8);
    }
}

#[test]
fn asks_for_no_more_pages_than_the_application_reads() {
    let (application, session) = Application::logged_in();
    assert_eq!(call!(application, C_FindObjectsInit(session, ptr::null_mut(), 0)), CKR_OK);
    assert!(application.hsm.asked().is_empty());
    let (mut handles, mut count) = ([0; 2], 0);
    assert_eq!(call!(application, C_FindObjects(session, handles.as_mut_ptr(), 2, &raw mut count)), CKR_OK);
    assert_eq!((count, application.hsm.asked().len()), (2, 1));
    assert_eq!(call!(application, C_FindObjects(session, handles.as_mut_ptr(), 0, &raw mut count)), CKR_OK);
    assert_eq!((count, application.hsm.asked().len()), (0, 0));
}

#[test]
fn an_hsm_whose_pages_never_end_is_a_device_error() {
    let (application, session) = Application::logged_in();
    application.hsm.repeat_pages();
    let (address, mut handle, mut count) = (attribute(CKA_COUNTERSIGN_ETHEREUM_ADDRESS, b"0x"), 0, 0);
    let begin = call!(application, C_FindObjectsInit(session, (&raw const address).cast_mut(), 1));
    assert_eq!(begin, CKR_OK);
    let rv = call!(application, C_FindObjects(session, &raw mut handle, 1, &raw mut count));
    assert_eq!(rv, CKR_DEVICE_ERROR);
}

#[test]
fn a_label_or_an_id_is_asked_for_directly_and_the_rest_is_filtered_here() {
    let (application, session) = Application::logged_in();
    let wanted = key(1);
    let label = wanted.label.to_string();
    let found = application.find(session, &mut [attribute(CKA_LABEL, label.as_bytes())]);
    let by_id = application.find(session, &mut [attribute(CKA_ID, wanted.id.as_slice())]);
    assert_eq!((found.len(), &found), (3, &by_id), "the same key has the same handles");
    let acts = application.hsm.acts();
    assert!(
        matches!(&acts[..], [Act::FindKeys(KeyQuery::Label(_)), Act::FindKeys(KeyQuery::Id(_))]),
        "{acts:?}"
    );

    let (class, kind) = (CKO_PUBLIC_KEY.to_ne_bytes(), CKK_EC.to_ne_bytes());
    let point = application.attribute_of(session, found[0], CKA_EC_POINT).unwrap();
    let template = &mut [
        attribute(CKA_LABEL, label.as_bytes()),
        attribute(CKA_CLASS, &class),
        attribute(CKA_KEY_TYPE, &kind),
        attribute(CKA_TOKEN, &[CK_TRUE]),
        attribute(CKA_EC_POINT, &point),
    ];
    assert_eq!(application.find(session, template), [found[1]]);
    assert!(application.find(session, &mut [attribute(CKA_LABEL, b"user-0000/none")]).is_empty());
}

#[test]
fn what_cannot_match_is_not_asked_for() {
    let (application, session) = Application::logged_in();
    let (data, long) = (CKO_DATA.to_ne_bytes(), vec![b'a'; 1 << 20]);
    for template in [
        attribute(CKA_CLASS, &data),
        attribute(CKA_TOKEN, &[CK_FALSE]),
        attribute(CKA_LABEL, b"my key"),
        attribute(CKA_LABEL, &long),
        attribute(CKA_LABEL, b""),
        attribute(CKA_ID, &[1, 2]),
    ] {
        assert!(application.find(session, &mut [template]).is_empty());
    }
    assert!(application.hsm.asked().is_empty());
    assert!(
        application.find(session, &mut [attribute(CKA_VALUE, &[0; 32])]).is_empty(),
        "never by the secret"
    );
}

#[test]
fn one_search_at_a_time_and_none_without_beginning() {
    let (application, session) = Application::logged_in();
    let (mut handle, mut count) = (0, 0);
    let mut next = || call!(application, C_FindObjects(session, &raw mut handle, 1, &raw mut count));
    assert_eq!(next(), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(call!(application, C_FindObjectsFinal(session)), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(call!(application, C_FindObjectsInit(session, ptr::null_mut(), 1)), CKR_ARGUMENTS_BAD);
    assert_eq!(call!(application, C_FindObjectsInit(session, ptr::null_mut(), 0)), CKR_OK);
    assert_eq!(call!(application, C_FindObjectsInit(session, ptr::null_mut(), 0)), CKR_OPERATION_ACTIVE);
    application.hsm.refuse_next(Reason::StoreRefused);
    assert_eq!(next(), CKR_DEVICE_ERROR);
    assert_eq!(next(), CKR_OK, "the search goes on where it was");
    application.begin_digest(application.open());
    assert_eq!(call!(application, C_FindObjectsFinal(session)), CKR_OK);
}

#[test]
fn a_private_key_tells_everything_but_its_secret() {
    let (application, session) = Application::logged_in();
    let wanted = key(1);
    let object = application.private_key(session, "user-0000/ethereum");
    let get = |kind| application.attribute_of(session, object, kind);
    assert_eq!(get(CKA_LABEL).unwrap(), b"user-0000/ethereum");
    assert_eq!(get(CKA_ID).unwrap(), wanted.id.as_slice());
    assert_eq!(get(CKA_KEY_TYPE).unwrap(), CKK_EC.to_ne_bytes());
    assert_eq!(get(CKA_EC_PARAMS).unwrap(), [6, 5, 0x2b, 0x81, 4, 0, 10]);
    assert_eq!(get(CKA_EC_POINT).unwrap()[..3], [4, 65, 4]);
    assert_eq!(get(CKA_ALLOWED_MECHANISMS).unwrap(), CKM_COUNTERSIGN_ETHEREUM.to_ne_bytes());
    assert_eq!(get(CKA_COUNTERSIGN_ETHEREUM_ADDRESS).unwrap(), wanted.ethereum_address.as_bytes());
    for kind in
        [CKA_ALWAYS_AUTHENTICATE, CKA_SENSITIVE, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_SIGN]
    {
        assert_eq!(get(kind).unwrap(), [CK_TRUE], "0x{kind:x}");
    }
    for kind in [CKA_EXTRACTABLE, CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE, CKA_DERIVE, CKA_UNWRAP] {
        assert_eq!(get(kind).unwrap(), [CK_FALSE], "0x{kind:x}");
    }
    assert_eq!(get(CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
    assert_eq!(get(CKA_MODULUS), Err(CKR_ATTRIBUTE_TYPE_INVALID));
    let public = application.public_key(session, "user-0000/ethereum");
    assert_eq!(application.attribute_of(session, public, CKA_VERIFY), Ok(vec![CK_FALSE]));
    assert_eq!(application.attribute_of(session, public, CKA_SIGN), Err(CKR_ATTRIBUTE_TYPE_INVALID));
}

#[test]
fn a_template_is_answered_to_its_end_whatever_is_wrong_in_it() {
    let (application, session) = Application::logged_in();
    let object = application.private_key(session, "user-0000/digest");
    let (mut small, mut room) = ([0u8; 3], [0u8; 32]);
    let slot =
        |kind, value: *mut u8, length| CK_ATTRIBUTE { type_: kind, pValue: value.cast(), ulValueLen: length };
    let mut template = [
        slot(CKA_VALUE, room.as_mut_ptr(), 32),
        slot(CKA_MODULUS, ptr::null_mut(), 0),
        slot(CKA_LABEL, small.as_mut_ptr(), 3),
        slot(CKA_ID, ptr::null_mut(), 0),
        slot(CKA_ID, room.as_mut_ptr(), 32),
    ];
    let rv = call!(application, C_GetAttributeValue(session, object, template.as_mut_ptr(), 5));
    assert_eq!(rv, CKR_ATTRIBUTE_SENSITIVE);
    let lengths = template.map(|slot| slot.ulValueLen);
    let unavailable = CK_UNAVAILABLE_INFORMATION;
    assert_eq!(lengths, [unavailable, unavailable, unavailable, 16, 16]);
    assert_eq!((small, &room[..16], room[16]), ([0; 3], key(0).id.as_slice(), 0));
    let rv = call!(application, C_GetAttributeValue(session, object, &raw mut template[3], 1));
    assert_eq!((rv, template[3].ulValueLen), (CKR_OK, 16), "a question for the length alone");
    template[2].ulValueLen = 3;
    let rv = call!(application, C_GetAttributeValue(session, object, &raw mut template[2], 1));
    assert_eq!(rv, CKR_BUFFER_TOO_SMALL);
    assert_eq!(
        call!(application, C_GetAttributeValue(session, object, ptr::null_mut(), 1)),
        CKR_ARGUMENTS_BAD
    );
    assert_eq!(
        call!(application, C_GetAttributeValue(session, 1, ptr::null_mut(), 0)),
        CKR_OBJECT_HANDLE_INVALID
    );
}

#[test]
fn handles_end_with_the_login_and_never_come_back() {
    let (application, session) = Application::logged_in();
    let before = application.private_key(session, "user-0000/digest");
    assert_eq!(before, application.private_key(application.open(), "user-0000/digest"));
    assert_eq!(call!(application, C_Logout(session)), CKR_OK);
    assert_eq!(application.attribute_of(session, before, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
    assert_eq!(application.log_in(session), CKR_OK);
    assert_eq!(application.attribute_of(session, before, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
    assert_eq!(application.sign_init(session, CKM_ECDSA, before), CKR_KEY_HANDLE_INVALID);
    assert_ne!(application.private_key(session, "user-0000/digest"), before);
}
