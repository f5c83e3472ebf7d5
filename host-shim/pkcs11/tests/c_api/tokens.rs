//! The slot, its token, its mechanisms, and random bytes.

use crate::application::{Application, call};
use countersign_pkcs11::{
    CKM_COUNTERSIGN_ETHEREUM, CKM_COUNTERSIGN_MESSAGE, CKM_COUNTERSIGN_PSBT, CKM_COUNTERSIGN_TYPED_DATA,
};
use cryptoki_sys::*;
use std::ptr;

#[test]
fn there_is_one_slot_whether_the_hsm_answers_or_not() {
    let mut application = Application::start();
    application.hsm.stop();
    for present in [CK_FALSE, CK_TRUE] {
        let mut count = 9;
        assert_eq!(call!(application, C_GetSlotList(present, ptr::null_mut(), &raw mut count)), CKR_OK);
        assert_eq!(count, 1);
        let mut slot = 77;
        count = 0;
        let rv = call!(application, C_GetSlotList(present, &raw mut slot, &raw mut count));
        assert_eq!((rv, count, slot), (CKR_BUFFER_TOO_SMALL, 1, 77));
        assert_eq!(call!(application, C_GetSlotList(present, &raw mut slot, &raw mut count)), CKR_OK);
        assert_eq!(slot, 0);
    }
    let mut info = CK_SLOT_INFO::default();
    assert_eq!(call!(application, C_GetSlotInfo(0, &raw mut info)), CKR_OK);
    assert_eq!(info.flags, CKF_TOKEN_PRESENT | CKF_HW_SLOT);
    assert_eq!(call!(application, C_GetSlotInfo(1, &raw mut info)), CKR_SLOT_ID_INVALID);
}

#[test]
fn the_token_says_what_it_is_and_how_to_log_in() {
    let mut application = Application::start();
    let _session = application.open();
    let mut info = CK_TOKEN_INFO::default();
    assert_eq!(call!(application, C_GetTokenInfo(0, &raw mut info)), CKR_OK);
    assert_eq!(&info.label, b"countersign                     ");
    assert_eq!(&info.serialNumber, b"c5c5c5c5c5c5c5c5");
    assert_eq!(
        info.flags,
        CKF_RNG | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED,
        "and no protected authentication path"
    );
    assert_eq!((info.ulMinPinLen, info.ulMaxPinLen), (6, 8192));
    assert_eq!((info.ulSessionCount, info.ulRwSessionCount), (1, 1));
    assert_eq!((info.firmwareVersion.major, info.firmwareVersion.minor), (1, 7));
    assert_eq!(call!(application, C_GetTokenInfo(5, &raw mut info)), CKR_SLOT_ID_INVALID);
    assert_eq!(call!(application, C_GetTokenInfo(0, ptr::null_mut())), CKR_ARGUMENTS_BAD);
    application.hsm.stop();
    assert_eq!(call!(application, C_GetTokenInfo(0, &raw mut info)), CKR_DEVICE_ERROR);
}

#[test]
fn the_mechanisms_are_those_that_keys_are_made_for() {
    let application = Application::start();
    let mut count = 0;
    assert_eq!(call!(application, C_GetMechanismList(0, ptr::null_mut(), &raw mut count)), CKR_OK);
    let mut mechanisms = vec![0; usize::try_from(count).unwrap()];
    assert_eq!(call!(application, C_GetMechanismList(0, mechanisms.as_mut_ptr(), &raw mut count)), CKR_OK);
    let signing =
        [CKM_COUNTERSIGN_ETHEREUM, CKM_COUNTERSIGN_TYPED_DATA, CKM_COUNTERSIGN_MESSAGE, CKM_COUNTERSIGN_PSBT];
    assert_eq!(mechanisms[..2], [CKM_ECDSA, CKM_EC_KEY_PAIR_GEN]);
    assert_eq!(mechanisms[2..], signing);
    assert_eq!(CKM_COUNTERSIGN_ETHEREUM, 0x8000_0000 | 0x4353_0001);
    let mut info = CK_MECHANISM_INFO::default();
    for mechanism in mechanisms {
        assert_eq!(call!(application, C_GetMechanismInfo(0, mechanism, &raw mut info)), CKR_OK);
        assert_eq!((info.ulMinKeySize, info.ulMaxKeySize), (256, 256));
    }
    assert_eq!(
        call!(application, C_GetMechanismInfo(0, CKM_ECDSA_SHA256, &raw mut info)),
        CKR_MECHANISM_INVALID
    );
}

#[test]
fn random_bytes_come_from_the_hsm_as_many_as_wanted() {
    let (application, session) = Application::logged_in();
    let mut bytes = vec![0; 2500];
    assert_eq!(call!(application, C_GenerateRandom(session, bytes.as_mut_ptr(), 2499)), CKR_OK);
    assert_eq!(application.hsm.asked(), ["random"; 3]);
    assert!(bytes[..2499].iter().all(|byte| *byte == 0x5a));
    assert_eq!(bytes[2499], 0, "not one more than wanted");
    assert_eq!(call!(application, C_GenerateRandom(session, ptr::null_mut(), 1)), CKR_ARGUMENTS_BAD);
    assert_eq!(
        call!(application, C_SeedRandom(session, bytes.as_mut_ptr(), 8)),
        CKR_RANDOM_SEED_NOT_SUPPORTED
    );
    assert_eq!(call!(application, C_Logout(session)), CKR_OK);
    assert_eq!(call!(application, C_GenerateRandom(session, bytes.as_mut_ptr(), 8)), CKR_USER_NOT_LOGGED_IN);
}
