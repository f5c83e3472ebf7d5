//! The functions that PKCS#11 v3.0 added. `docs/pkcs11.md` says of each what it does.

use crate::boundary::entry::{c_functions, unsupported_in_session};
use crate::boundary::lists;
use crate::boundary::memory::{Out, OutList, optional, text_is};
use crate::session;
use cryptoki_sys::{
    CK_BYTE_PTR, CK_FLAGS, CK_INTERFACE_PTR, CK_INTERFACE_PTR_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE,
    CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR, CK_USER_TYPE, CK_UTF8CHAR_PTR, CK_VERSION_PTR, CK_VOID_PTR,
    CKR_ARGUMENTS_BAD,
};

c_functions! {
    /// Lists the interfaces: v3.0 and v2.40.
    #[unsafe(no_mangle)]
    fn C_GetInterfaceList(interfaces: CK_INTERFACE_PTR, count: CK_ULONG_PTR) {
        OutList::new(interfaces, count)?.fill(&lists::INTERFACES.0)
    }

    /// Gives the newest interface that has this name, version and flags; `NULL` stands for any.
    #[unsafe(no_mangle)]
    fn C_GetInterface(
        name: CK_UTF8CHAR_PTR,
        version: CK_VERSION_PTR,
        interface: CK_INTERFACE_PTR_PTR,
        flags: CK_FLAGS,
    ) {
        let mut out = Out::new(interface)?;
        let named = text_is(name, lists::INTERFACE_NAME).unwrap_or(true);
        let found = if named { lists::interface(optional(version), flags) } else { None };
        out.set(found.ok_or(CKR_ARGUMENTS_BAD)?);
        Ok(())
    }

    /// Ends the operations that the flags name.
    fn C_SessionCancel(session: CK_SESSION_HANDLE, operations: CK_FLAGS) with module {
        session::cancel(module, session, operations)
    }
}

unsupported_in_session! {
    C_LoginUser(CK_USER_TYPE, CK_UTF8CHAR_PTR, CK_ULONG, CK_UTF8CHAR_PTR, CK_ULONG);
    C_MessageEncryptInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_EncryptMessage(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_EncryptMessageBegin(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_EncryptMessageNext(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR, CK_FLAGS);
    C_MessageEncryptFinal();
    C_MessageDecryptInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_DecryptMessage(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_DecryptMessageBegin(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_DecryptMessageNext(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR, CK_FLAGS);
    C_MessageDecryptFinal();
    C_MessageSignInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_SignMessage(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_SignMessageBegin(CK_VOID_PTR, CK_ULONG);
    C_SignMessageNext(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_MessageSignFinal();
    C_MessageVerifyInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_VerifyMessage(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_VerifyMessageBegin(CK_VOID_PTR, CK_ULONG);
    C_VerifyMessageNext(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_MessageVerifyFinal();
}
