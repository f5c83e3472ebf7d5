//! `docs/pkcs11.md` tells the truth about every function and every reason.

use countersign_pkcs11::boundary::lists::{NAMES_ADDED_BY_V3_0, NAMES_V2_40};
use countersign_pkcs11::boundary::{functions, functions_v3};
use countersign_pkcs11::{
    CKA_COUNTERSIGN_DESCRIPTOR, CKA_COUNTERSIGN_ETHEREUM_ADDRESS, CKA_COUNTERSIGN_FLOOR,
    CKA_COUNTERSIGN_NETWORK, CKA_COUNTERSIGN_PATH, CKA_COUNTERSIGN_XPUB, CKM_COUNTERSIGN_ETHEREUM,
    CKM_COUNTERSIGN_MESSAGE, CKM_COUNTERSIGN_PSBT, CKM_COUNTERSIGN_TYPED_DATA,
};
use countersign_wire::reason::Reason;
use std::collections::BTreeMap;

const DOCUMENT: &str = include_str!("../../../../docs/pkcs11.md");

/// The rows of one section's tables whose first cell is one name in code style: the name and the other cells.
fn rows(section: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {section}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let name = cells.next().unwrap().trim_matches('`');
        assert!(rows.insert(name, cells.collect()).is_none(), "{name} stands twice");
    }
    rows
}

#[test]
fn every_function_of_the_lists_has_its_row_and_its_state() {
    let rows = rows("Functions");
    let absent = [
        functions::UNSUPPORTED,
        functions_v3::UNSUPPORTED,
        &["C_InitToken", "C_WaitForSlotEvent", "C_GetFunctionStatus", "C_CancelFunction"],
    ]
    .concat();
    let names = [NAMES_V2_40, NAMES_ADDED_BY_V3_0].concat();
    for name in &names {
        let cells = rows.get(name).unwrap_or_else(|| panic!("{name} has no row"));
        assert!(["done", "limited", "refused", "absent"].contains(&cells[0]), "{name} is {:?}", cells[0]);
        assert_eq!(cells[0] == "absent", absent.contains(name), "{name} is {:?}", cells[0]);
    }
    for name in rows.keys() {
        assert!(names.contains(name), "{name} is in no list");
    }
}

#[test]
fn every_reason_has_its_row_and_its_return_value() {
    use countersign_pkcs11::failure::{Function, return_value};
    let rows = rows("Return values");
    for &reason in Reason::ALL {
        let cells = rows.get(reason.word()).unwrap_or_else(|| panic!("{reason} has no row"));
        for function in [Function::UserLogin, Function::KeyGeneration, Function::Other] {
            let name = name_of(return_value(reason, function));
            assert!(cells[0].contains(name), "{reason} in {function:?} is {name}, not {:?}", cells[0]);
        }
    }
}

#[test]
fn the_vendor_constants_stand_there_with_their_numbers() {
    for (name, number) in [
        ("CKM_COUNTERSIGN_ETHEREUM", CKM_COUNTERSIGN_ETHEREUM),
        ("CKM_COUNTERSIGN_TYPED_DATA", CKM_COUNTERSIGN_TYPED_DATA),
        ("CKM_COUNTERSIGN_MESSAGE", CKM_COUNTERSIGN_MESSAGE),
        ("CKM_COUNTERSIGN_PSBT", CKM_COUNTERSIGN_PSBT),
        ("CKA_COUNTERSIGN_ETHEREUM_ADDRESS", CKA_COUNTERSIGN_ETHEREUM_ADDRESS),
        ("CKA_COUNTERSIGN_PATH", CKA_COUNTERSIGN_PATH),
        ("CKA_COUNTERSIGN_NETWORK", CKA_COUNTERSIGN_NETWORK),
        ("CKA_COUNTERSIGN_XPUB", CKA_COUNTERSIGN_XPUB),
        ("CKA_COUNTERSIGN_DESCRIPTOR", CKA_COUNTERSIGN_DESCRIPTOR),
        ("CKA_COUNTERSIGN_FLOOR", CKA_COUNTERSIGN_FLOOR),
    ] {
        let number = format!("0x{number:08x}");
        let stands = |line: &str| line.contains(&format!("`{name}`")) && line.contains(&number);
        assert!(DOCUMENT.lines().any(stands), "{name} {number}");
    }
}

fn name_of(rv: cryptoki_sys::CK_RV) -> &'static str {
    use cryptoki_sys::*;
    match rv {
        CKR_PIN_INCORRECT => "CKR_PIN_INCORRECT",
        CKR_PIN_INVALID => "CKR_PIN_INVALID",
        CKR_PIN_LOCKED => "CKR_PIN_LOCKED",
        CKR_USER_NOT_LOGGED_IN => "CKR_USER_NOT_LOGGED_IN",
        CKR_USER_PIN_NOT_INITIALIZED => "CKR_USER_PIN_NOT_INITIALIZED",
        CKR_ATTRIBUTE_VALUE_INVALID => "CKR_ATTRIBUTE_VALUE_INVALID",
        CKR_KEY_HANDLE_INVALID => "CKR_KEY_HANDLE_INVALID",
        CKR_DEVICE_MEMORY => "CKR_DEVICE_MEMORY",
        CKR_MECHANISM_INVALID => "CKR_MECHANISM_INVALID",
        CKR_DATA_INVALID => "CKR_DATA_INVALID",
        CKR_FUNCTION_REJECTED => "CKR_FUNCTION_REJECTED",
        CKR_FUNCTION_FAILED => "CKR_FUNCTION_FAILED",
        CKR_GENERAL_ERROR => "CKR_GENERAL_ERROR",
        CKR_DEVICE_ERROR => "CKR_DEVICE_ERROR",
        _ => panic!("0x{rv:x} is not among the return values of refusals"),
    }
}
