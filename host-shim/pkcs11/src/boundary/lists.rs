//! The function lists and interfaces that applications get.

#![allow(
    clippy::wildcard_imports,
    reason = "the lists below name every function, and the compiler misses none"
)]

use crate::boundary::functions::*;
use crate::boundary::functions_v3::*;
use crate::general::{V2_40, V3_0};
use cryptoki_sys::{
    CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_PTR, CK_INTERFACE, CK_INTERFACE_PTR,
    CK_VERSION,
};
use std::ffi::CStr;

/// Hands the names of v2.40's functions, in the order of its list, to another macro.
macro_rules! with_v2_40 {
    ($then:ident! { $($more:tt)* }) => {
        $then! { $($more)* [
            C_Initialize, C_Finalize, C_GetInfo, C_GetFunctionList, C_GetSlotList, C_GetSlotInfo,
            C_GetTokenInfo, C_GetMechanismList, C_GetMechanismInfo, C_InitToken, C_InitPIN, C_SetPIN,
            C_OpenSession, C_CloseSession, C_CloseAllSessions, C_GetSessionInfo, C_GetOperationState,
            C_SetOperationState, C_Login, C_Logout, C_CreateObject, C_CopyObject, C_DestroyObject,
            C_GetObjectSize, C_GetAttributeValue, C_SetAttributeValue, C_FindObjectsInit, C_FindObjects,
            C_FindObjectsFinal, C_EncryptInit, C_Encrypt, C_EncryptUpdate, C_EncryptFinal, C_DecryptInit,
            C_Decrypt, C_DecryptUpdate, C_DecryptFinal, C_DigestInit, C_Digest, C_DigestUpdate,
            C_DigestKey, C_DigestFinal, C_SignInit, C_Sign, C_SignUpdate, C_SignFinal, C_SignRecoverInit,
            C_SignRecover, C_VerifyInit, C_Verify, C_VerifyUpdate, C_VerifyFinal, C_VerifyRecoverInit,
            C_VerifyRecover, C_DigestEncryptUpdate, C_DecryptDigestUpdate, C_SignEncryptUpdate,
            C_DecryptVerifyUpdate, C_GenerateKey, C_GenerateKeyPair, C_WrapKey, C_UnwrapKey, C_DeriveKey,
            C_SeedRandom, C_GenerateRandom, C_GetFunctionStatus, C_CancelFunction, C_WaitForSlotEvent,
        ] }
    };
}

macro_rules! list_v2_40 {
    ([$($name:ident),* $(,)?]) => {
        static FUNCTIONS: CK_FUNCTION_LIST = CK_FUNCTION_LIST { version: V2_40, $($name: Some($name)),* };

        /// The names of v2.40's functions.
        pub const NAMES_V2_40: &[&str] = &[$(stringify!($name)),*];
    };
}

macro_rules! list_v3_0 {
    ([$($added:ident),* $(,)?] [$($name:ident),* $(,)?]) => {
        static FUNCTIONS_3_0: CK_FUNCTION_LIST_3_0 =
            CK_FUNCTION_LIST_3_0 { version: V3_0, $($name: Some($name),)* $($added: Some($added)),* };

        /// The names of the functions that v3.0 added.
        pub const NAMES_ADDED_BY_V3_0: &[&str] = &[$(stringify!($added)),*];
    };
}

with_v2_40! { list_v2_40! {} }
with_v2_40! { list_v3_0! { [
        C_GetInterfaceList, C_GetInterface, C_LoginUser, C_SessionCancel, C_MessageEncryptInit,
        C_EncryptMessage, C_EncryptMessageBegin, C_EncryptMessageNext, C_MessageEncryptFinal,
        C_MessageDecryptInit, C_DecryptMessage, C_DecryptMessageBegin, C_DecryptMessageNext,
        C_MessageDecryptFinal, C_MessageSignInit, C_SignMessage, C_SignMessageBegin, C_SignMessageNext,
        C_MessageSignFinal, C_MessageVerifyInit, C_VerifyMessage, C_VerifyMessageBegin,
        C_VerifyMessageNext, C_MessageVerifyFinal,
] } }

/// The interfaces' one name (PKCS#11 v3.0 section 5.4, `C_GetInterface`).
pub(super) const INTERFACE_NAME: &CStr = c"PKCS 11";

/// The interfaces, newest first.
pub(super) struct Interfaces(pub(super) [CK_INTERFACE; 2]);

// SAFETY: what the pointers in it point to is never written to by anyone: the standard makes them non-const for
// lack of a better type.
unsafe impl Sync for Interfaces {}

/// Neither has `CKF_INTERFACE_FORK_SAFE`: a child process initialises for itself.
pub(super) static INTERFACES: Interfaces = Interfaces([
    CK_INTERFACE {
        pInterfaceName: INTERFACE_NAME.as_ptr().cast_mut().cast(),
        pFunctionList: (&raw const FUNCTIONS_3_0).cast_mut().cast(),
        flags: 0,
    },
    CK_INTERFACE {
        pInterfaceName: INTERFACE_NAME.as_ptr().cast_mut().cast(),
        pFunctionList: (&raw const FUNCTIONS).cast_mut().cast(),
        flags: 0,
    },
]);

/// The function list of v2.40.
pub(super) fn v2_40() -> CK_FUNCTION_LIST_PTR {
    (&raw const FUNCTIONS).cast_mut()
}

/// The newest interface of that version (any, if `None`) that has all of those flags.
pub(super) fn interface(version: Option<CK_VERSION>, flags: CK_FLAGS) -> Option<CK_INTERFACE_PTR> {
    let versions = [V3_0, V2_40].map(|version| (version.major, version.minor));
    let wanted = version.map(|version| (version.major, version.minor));
    let fits = |at: &usize| {
        wanted.is_none_or(|wanted| versions[*at] == wanted) && INTERFACES.0[*at].flags & flags == flags
    };
    let at = (0..versions.len()).find(fits)?;
    Some((&raw const INTERFACES.0[at]).cast_mut())
}
