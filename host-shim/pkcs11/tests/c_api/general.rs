//! Initialising, versions, interfaces.

use crate::application::{Application, call, host_toml};
use countersign_pkcs11::boundary::lists::{NAMES_ADDED_BY_V3_0, NAMES_V2_40};
use countersign_pkcs11::{C_GetInterface, C_GetInterfaceList};
use cryptoki_sys::*;
use std::ptr;

fn arguments() -> CK_C_INITIALIZE_ARGS {
    CK_C_INITIALIZE_ARGS::default()
}

unsafe extern "C" fn create(_: *mut CK_VOID_PTR) -> CK_RV {
    CKR_GENERAL_ERROR
}

unsafe extern "C" fn other(_: CK_VOID_PTR) -> CK_RV {
    CKR_GENERAL_ERROR
}

fn with_mutexes(flags: CK_FLAGS) -> CK_C_INITIALIZE_ARGS {
    CK_C_INITIALIZE_ARGS {
        CreateMutex: Some(create),
        DestroyMutex: Some(other),
        LockMutex: Some(other),
        UnlockMutex: Some(other),
        flags,
        ..arguments()
    }
}

fn initialize_with(application: &Application, mut arguments: CK_C_INITIALIZE_ARGS) -> CK_RV {
    let rv = call!(application, C_Initialize((&raw mut arguments).cast()));
    application.finalize();
    rv
}

#[test]
fn nothing_works_before_initialize_and_after_finalize() {
    let application = Application::load();
    let mut info = CK_INFO::default();
    assert_eq!(call!(application, C_GetInfo(&raw mut info)), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(application.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(application.initialize(), CKR_OK);
    assert_eq!(application.initialize(), CKR_CRYPTOKI_ALREADY_INITIALIZED);
    assert_eq!(call!(application, C_GetInfo(&raw mut info)), CKR_OK);
    assert_eq!((info.cryptokiVersion.major, info.cryptokiVersion.minor), (2, 40));
    assert_eq!(&info.manufacturerID, b"Countersign                     ");
    assert_eq!(call!(application, C_Finalize((&raw mut info).cast())), CKR_ARGUMENTS_BAD);
    assert_eq!(application.finalize(), CKR_OK);
    assert_eq!(call!(application, C_CloseSession(1)), CKR_CRYPTOKI_NOT_INITIALIZED);
}

#[test]
fn takes_system_locks_and_refuses_to_depend_on_the_applications_mutexes() {
    let application = Application::load();
    assert_eq!(initialize_with(&application, arguments()), CKR_OK);
    assert_eq!(initialize_with(&application, with_mutexes(CKF_OS_LOCKING_OK)), CKR_OK);
    let flags = CKF_OS_LOCKING_OK | CKF_LIBRARY_CANT_CREATE_OS_THREADS;
    assert_eq!(initialize_with(&application, CK_C_INITIALIZE_ARGS { flags, ..arguments() }), CKR_OK);
    assert_eq!(initialize_with(&application, with_mutexes(0)), CKR_CANT_LOCK);
    let half = CK_C_INITIALIZE_ARGS { LockMutex: None, ..with_mutexes(CKF_OS_LOCKING_OK) };
    assert_eq!(initialize_with(&application, half), CKR_ARGUMENTS_BAD);
    let mut anything = 0;
    let reserved = CK_C_INITIALIZE_ARGS { pReserved: (&raw mut anything).cast(), ..arguments() };
    assert_eq!(initialize_with(&application, reserved), CKR_ARGUMENTS_BAD);
}

#[test]
fn an_unusable_configuration_is_a_general_error_and_can_be_mended() {
    let application = Application::load();
    application.write_config("socket = 7\n");
    assert_eq!(application.initialize(), CKR_GENERAL_ERROR);
    assert_eq!(application.initialize(), CKR_GENERAL_ERROR, "it did not count as initialised");
    application.write_config(&host_toml(&application.hsm));
    assert_eq!(application.initialize(), CKR_OK);
}

#[test]
fn initialising_does_not_ask_the_hsm() {
    let mut application = Application::load();
    application.hsm.stop();
    assert_eq!(application.initialize(), CKR_OK);
}

#[test]
fn both_interfaces_are_offered_newest_first_with_every_function() {
    let mut count = 0;
    // SAFETY: `count` lives, and there is no list.
    assert_eq!(unsafe { C_GetInterfaceList(ptr::null_mut(), &raw mut count) }, CKR_OK);
    assert_eq!(count, 2);
    let mut interfaces = [CK_INTERFACE::default(); 2];
    count = 1;
    // SAFETY: there is room for one interface, as `count` says.
    let rv = unsafe { C_GetInterfaceList(interfaces.as_mut_ptr(), &raw mut count) };
    assert_eq!((rv, count), (CKR_BUFFER_TOO_SMALL, 2));
    // SAFETY: there is room for two interfaces, as `count` says.
    assert_eq!(unsafe { C_GetInterfaceList(interfaces.as_mut_ptr(), &raw mut count) }, CKR_OK);
    // SAFETY: the first is of v3.0, and lists are never freed or changed.
    let newest = unsafe { &*interfaces[0].pFunctionList.cast::<CK_FUNCTION_LIST_3_0>() };
    assert_eq!((newest.version.major, newest.version.minor), (3, 0));
    assert!(newest.C_SessionCancel.is_some() && newest.C_MessageVerifyFinal.is_some());
    // SAFETY: the second is of v2.40, and lists are never freed or changed.
    let oldest = unsafe { &*interfaces[1].pFunctionList.cast::<CK_FUNCTION_LIST>() };
    assert_eq!((oldest.version.major, oldest.version.minor), (2, 40));
    let pointer = size_of::<usize>();
    assert_eq!(size_of::<CK_FUNCTION_LIST>() / pointer - 1, NAMES_V2_40.len());
    assert_eq!(
        size_of::<CK_FUNCTION_LIST_3_0>() / pointer - 1,
        NAMES_V2_40.len() + NAMES_ADDED_BY_V3_0.len()
    );
}

#[test]
fn get_interface_finds_by_name_version_and_flags() {
    let find = |name: Option<&std::ffi::CStr>, version: Option<(u8, u8)>, flags| {
        let name = name.map_or(ptr::null_mut(), |name| name.as_ptr().cast_mut().cast());
        let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
        let version = version.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        let mut found = ptr::null_mut();
        // SAFETY: name and version are `NULL` or live until the call returns, as `found` does.
        let rv = unsafe { C_GetInterface(name, version, &raw mut found, flags) };
        if rv != CKR_OK {
            return Err(rv);
        }
        // SAFETY: interfaces are never freed or changed, and each list begins with its version.
        let version = unsafe { *(*found).pFunctionList.cast::<CK_VERSION>() };
        Ok((version.major, version.minor))
    };
    assert_eq!(find(None, None, 0), Ok((3, 0)));
    assert_eq!(find(Some(c"PKCS 11"), None, 0), Ok((3, 0)));
    assert_eq!(find(Some(c"PKCS 11"), Some((2, 40)), 0), Ok((2, 40)));
    assert_eq!(find(None, Some((3, 2)), 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(find(Some(c"Vendor"), None, 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(find(None, None, CKF_INTERFACE_FORK_SAFE), Err(CKR_ARGUMENTS_BAD), "a child initialises anew");
}
