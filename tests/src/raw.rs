//! The PKCS#11 module call by call, for what no well-behaved client does.

use crate::hsm::Hsm;
use crate::module::copy_of_module;
use countersign_wire::names::{ApiKey, KeyLabel};
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_C_INITIALIZE_ARGS, CK_FUNCTION_LIST, CK_MECHANISM, CK_MECHANISM_TYPE,
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG, CK_USER_TYPE, CKA_CLASS, CKA_LABEL,
    CKF_OS_LOCKING_OK, CKF_RW_SESSION, CKF_SERIAL_SESSION, CKO_PRIVATE_KEY, CKR_OK, CKU_CONTEXT_SPECIFIC,
    CKU_USER, Pkcs11,
};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

/// The module's function list, safe to call: every pointer that these methods pass points to what it should.
pub struct Raw {
    functions: CK_FUNCTION_LIST,
    // Keeps the library loaded, and `functions` with it.
    _library: Pkcs11,
}

/// Runs `initialize`, in which modules read their configuration, with `COUNTERSIGN_CONFIG` set to `config`.
pub fn with_config<T>(config: &Path, initialize: impl FnOnce() -> T) -> T {
    static ENVIRONMENT: Mutex<()> = Mutex::new(());
    let _one_at_a_time = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    set_variable("COUNTERSIGN_CONFIG", config);
    initialize()
}

/// Sets an environment variable that a library reads when it is initialised.
#[allow(unsafe_code, reason = "there is no other way to tell a loaded library its configuration")]
pub fn set_variable(name: &str, value: &Path) {
    // SAFETY: everything written in Rust here reads the environment under the standard library's own lock, which this
    // takes too. Libraries with a lock of their own read it in their C_Initialize only, which runs under the lock of
    // `with_config` or before there are threads.
    unsafe { std::env::set_var(name, value) }
}

macro_rules! call {
    ($raw:expr, $name:ident ( $($argument:expr),* $(,)? )) => {{
        let function = $raw.functions.$name.expect(concat!("the module lists ", stringify!($name)));
        // SAFETY: the function is the one of that name and type in the module's own list. Every pointer passed is
        // null or points to a live value of this call, of the length that is passed with it.
        #[allow(unsafe_code, reason = "a call across the C boundary")]
        unsafe { function($($argument),*) }
    }};
}

/// `CKR_OK` as `Ok`.
fn check(value: CK_RV) -> Result<(), CK_RV> {
    if value == CKR_OK { Ok(()) } else { Err(value) }
}

fn len(bytes: &[u8]) -> CK_ULONG {
    bytes.len().try_into().expect("tests pass short buffers")
}

fn mechanism(kind: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: kind, pParameter: null_mut(), ulParameterLen: 0 }
}

fn attribute(kind: CK_ATTRIBUTE_TYPE, value: &mut [u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE { type_: kind, ulValueLen: len(value), pValue: value.as_mut_ptr().cast() }
}

impl Hsm {
    /// The module's functions, initialised for this HSM.
    pub fn raw(&self) -> Raw {
        let raw = Raw::load(&copy_of_module(self.folder()));
        with_config(&self.host_toml(), || raw.initialize()).expect("C_Initialize");
        raw
    }
}

impl Raw {
    /// Loads a module, and does not initialise it.
    #[allow(unsafe_code, reason = "loading a library and reading its function list")]
    pub fn load(path: &Path) -> Self {
        // SAFETY: the file is the module under test, whose constructors do nothing.
        let library = unsafe { Pkcs11::new(path) }.expect("the module can be loaded");
        let mut list = null_mut();
        // SAFETY: `list` is a live out-parameter.
        let value = unsafe { library.C_GetFunctionList(&raw mut list) };
        assert!(value == CKR_OK && !list.is_null(), "C_GetFunctionList: 0x{value:x}");
        // SAFETY: the module returned CKR_OK, so the pointer is to its static list.
        Self { functions: unsafe { *list }, _library: library }
    }

    /// `C_Initialize` with OS locking.
    pub fn initialize(&self) -> Result<(), CK_RV> {
        self.initialize_with(Some(CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..Default::default() }))
    }

    /// `C_Initialize` with these arguments, or with `NULL`.
    pub fn initialize_with(&self, mut arguments: Option<CK_C_INITIALIZE_ARGS>) -> Result<(), CK_RV> {
        let arguments = arguments.as_mut().map_or(null_mut(), |arguments| (&raw mut *arguments).cast());
        check(call!(self, C_Initialize(arguments)))
    }

    /// `C_Finalize`.
    pub fn finalize(&self) -> Result<(), CK_RV> {
        check(call!(self, C_Finalize(null_mut())))
    }

    /// The one slot.
    pub fn slot(&self) -> CK_SLOT_ID {
        let (mut slot, mut count) = (0, 1);
        check(call!(self, C_GetSlotList(1, &raw mut slot, &raw mut count))).expect("C_GetSlotList");
        assert_eq!(count, 1);
        slot
    }

    /// The first slot of a module that may have several.
    pub fn first_slot(&self) -> CK_SLOT_ID {
        let mut slots = [0; 16];
        let mut count = slots.len().try_into().expect("a short list");
        check(call!(self, C_GetSlotList(1, slots.as_mut_ptr(), &raw mut count))).expect("C_GetSlotList");
        slots[0]
    }

    /// A session that may write.
    pub fn open_session(&self) -> Result<CK_SESSION_HANDLE, CK_RV> {
        self.open_session_on(self.slot())
    }

    /// A session on this slot that may write.
    pub fn open_session_on(&self, slot: CK_SLOT_ID) -> Result<CK_SESSION_HANDLE, CK_RV> {
        let mut session = 0;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        check(call!(self, C_OpenSession(slot, flags, null_mut(), None, &raw mut session)))?;
        Ok(session)
    }

    /// A session, logged in with an API key.
    pub fn session(&self, api_key: &ApiKey) -> CK_SESSION_HANDLE {
        let session = self.open_session().expect("C_OpenSession");
        self.login(session, CKU_USER, api_key.expose().as_bytes()).expect("C_Login");
        session
    }

    /// `C_CloseSession`.
    pub fn close_session(&self, session: CK_SESSION_HANDLE) -> Result<(), CK_RV> {
        check(call!(self, C_CloseSession(session)))
    }

    /// `C_Login`.
    pub fn login(&self, session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &[u8]) -> Result<(), CK_RV> {
        let mut pin = pin.to_vec();
        check(call!(self, C_Login(session, user, pin.as_mut_ptr(), len(&pin))))
    }

    /// `C_Login(CKU_CONTEXT_SPECIFIC)`.
    pub fn context_login(&self, session: CK_SESSION_HANDLE, code: &str) -> Result<(), CK_RV> {
        self.login(session, CKU_CONTEXT_SPECIFIC, code.as_bytes())
    }

    /// `C_Logout`.
    pub fn logout(&self, session: CK_SESSION_HANDLE) -> Result<(), CK_RV> {
        check(call!(self, C_Logout(session)))
    }

    /// The private key of that name, if there is one.
    pub fn find(&self, session: CK_SESSION_HANDLE, label: &KeyLabel) -> Option<CK_OBJECT_HANDLE> {
        self.find_labelled(session, label.to_string().as_bytes())
    }

    /// The private key with that `CKA_LABEL`, if there is one; of any module.
    pub fn find_labelled(&self, session: CK_SESSION_HANDLE, label: &[u8]) -> Option<CK_OBJECT_HANDLE> {
        let (mut class, mut label) = (CKO_PRIVATE_KEY.to_ne_bytes(), label.to_vec());
        let mut template = [attribute(CKA_CLASS, &mut class), attribute(CKA_LABEL, &mut label)];
        check(call!(self, C_FindObjectsInit(session, template.as_mut_ptr(), 2))).expect("C_FindObjectsInit");
        let (mut found, mut count) = (0, 0);
        check(call!(self, C_FindObjects(session, &raw mut found, 1, &raw mut count))).expect("C_FindObjects");
        check(call!(self, C_FindObjectsFinal(session))).expect("C_FindObjectsFinal");
        (count == 1).then_some(found)
    }

    /// `C_SignInit`.
    pub fn sign_init(
        &self,
        session: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<(), CK_RV> {
        let mut kind = mechanism(kind);
        check(call!(self, C_SignInit(session, &raw mut kind, key)))
    }

    /// `C_SignInit` without a mechanism, which ends the operation.
    pub fn sign_cancel(&self, session: CK_SESSION_HANDLE) -> Result<(), CK_RV> {
        check(call!(self, C_SignInit(session, null_mut(), 0)))
    }

    /// `C_Sign` into a buffer of `room` bytes.
    pub fn sign(&self, session: CK_SESSION_HANDLE, data: &[u8], room: usize) -> Result<Vec<u8>, CK_RV> {
        let (mut data, mut out) = (data.to_vec(), vec![0; room]);
        let mut length = len(&out);
        check(call!(
            self,
            C_Sign(session, data.as_mut_ptr(), len(&data), out.as_mut_ptr(), &raw mut length)
        ))?;
        out.truncate(usize::try_from(length).expect("a short length"));
        Ok(out)
    }

    /// `C_Sign(NULL)`: how long the signature would be.
    pub fn sign_length(&self, session: CK_SESSION_HANDLE, data: &[u8]) -> Result<CK_ULONG, CK_RV> {
        let (mut data, mut length) = (data.to_vec(), 0);
        check(call!(self, C_Sign(session, data.as_mut_ptr(), len(&data), null_mut(), &raw mut length)))?;
        Ok(length)
    }

    /// `C_SignUpdate`.
    pub fn sign_update(&self, session: CK_SESSION_HANDLE, data: &[u8]) -> Result<(), CK_RV> {
        let mut data = data.to_vec();
        check(call!(self, C_SignUpdate(session, data.as_mut_ptr(), len(&data))))
    }

    /// `C_SignFinal` into a buffer of `room` bytes.
    pub fn sign_final(&self, session: CK_SESSION_HANDLE, room: usize) -> Result<Vec<u8>, CK_RV> {
        let mut out = vec![0; room];
        let mut length = len(&out);
        check(call!(self, C_SignFinal(session, out.as_mut_ptr(), &raw mut length)))?;
        out.truncate(usize::try_from(length).expect("a short length"));
        Ok(out)
    }

    /// `C_GetAttributeValue` of one attribute.
    pub fn attribute(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Vec<u8>, CK_RV> {
        let mut value = vec![0; 512];
        let mut template = attribute(kind, &mut value);
        check(call!(self, C_GetAttributeValue(session, object, &raw mut template, 1)))?;
        value.truncate(usize::try_from(template.ulValueLen).expect("a short length"));
        Ok(value)
    }

    /// `C_SetAttributeValue` of one attribute.
    pub fn set_attribute(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
        value: &[u8],
    ) -> Result<(), CK_RV> {
        let mut value = value.to_vec();
        let mut template = attribute(kind, &mut value);
        check(call!(self, C_SetAttributeValue(session, object, &raw mut template, 1)))
    }

    /// `C_CopyObject` with an empty template.
    pub fn copy(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<(), CK_RV> {
        let mut copy = 0;
        check(call!(self, C_CopyObject(session, object, null_mut(), 0, &raw mut copy)))
    }

    /// `C_DestroyObject`.
    pub fn destroy(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<(), CK_RV> {
        check(call!(self, C_DestroyObject(session, object)))
    }

    /// `C_WrapKey` of `object` by itself.
    pub fn wrap(
        &self,
        session: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        object: CK_OBJECT_HANDLE,
    ) -> Result<Vec<u8>, CK_RV> {
        let mut out = vec![0; 512];
        let mut length = len(&out);
        let mut kind = mechanism(kind);
        check(call!(
            self,
            C_WrapKey(session, &raw mut kind, object, object, out.as_mut_ptr(), &raw mut length)
        ))?;
        out.truncate(usize::try_from(length).expect("a short length"));
        Ok(out)
    }

    /// `C_DeriveKey` with an empty template.
    pub fn derive(
        &self,
        session: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        object: CK_OBJECT_HANDLE,
    ) -> Result<(), CK_RV> {
        let (mut kind, mut derived) = (mechanism(kind), 0);
        check(call!(self, C_DeriveKey(session, &raw mut kind, object, null_mut(), 0, &raw mut derived)))
    }

    /// `C_InitToken`.
    pub fn init_token(&self) -> Result<(), CK_RV> {
        let (mut pin, mut label) = (*b"12345678", [b' '; 32]);
        check(call!(self, C_InitToken(self.slot(), pin.as_mut_ptr(), len(&pin), label.as_mut_ptr())))
    }

    /// `C_InitPIN`.
    pub fn init_pin(&self, session: CK_SESSION_HANDLE) -> Result<(), CK_RV> {
        let mut pin = *b"12345678";
        check(call!(self, C_InitPIN(session, pin.as_mut_ptr(), len(&pin))))
    }

    /// `C_SetPIN`.
    pub fn set_pin(&self, session: CK_SESSION_HANDLE, old: &[u8], new: &[u8]) -> Result<(), CK_RV> {
        let (mut old, mut new) = (old.to_vec(), new.to_vec());
        check(call!(self, C_SetPIN(session, old.as_mut_ptr(), len(&old), new.as_mut_ptr(), len(&new))))
    }

    /// `C_GetOperationState`.
    pub fn operation_state(&self, session: CK_SESSION_HANDLE) -> Result<Vec<u8>, CK_RV> {
        let mut state = vec![0; 4096];
        let mut length = len(&state);
        check(call!(self, C_GetOperationState(session, state.as_mut_ptr(), &raw mut length)))?;
        state.truncate(usize::try_from(length).expect("a short length"));
        Ok(state)
    }

    /// `C_GenerateRandom`.
    pub fn random(&self, session: CK_SESSION_HANDLE, length: usize) -> Result<Vec<u8>, CK_RV> {
        let mut bytes = vec![0; length];
        check(call!(self, C_GenerateRandom(session, bytes.as_mut_ptr(), len(&bytes))))?;
        Ok(bytes)
    }
}

/// A return value by its name in the standard, for those that the module gives.
pub fn return_value_name(value: CK_RV) -> String {
    macro_rules! name {
        ($($name:ident),* $(,)?) => {
            match value {
                $(cryptoki_sys::$name => stringify!($name).to_owned(),)*
                other => format!("return value 0x{other:x}"),
            }
        };
    }
    name!(
        CKR_ACTION_PROHIBITED,
        CKR_ARGUMENTS_BAD,
        CKR_ATTRIBUTE_READ_ONLY,
        CKR_ATTRIBUTE_SENSITIVE,
        CKR_ATTRIBUTE_TYPE_INVALID,
        CKR_ATTRIBUTE_VALUE_INVALID,
        CKR_BUFFER_TOO_SMALL,
        CKR_DATA_INVALID,
        CKR_DATA_LEN_RANGE,
        CKR_DEVICE_ERROR,
        CKR_DEVICE_REMOVED,
        CKR_FUNCTION_NOT_SUPPORTED,
        CKR_FUNCTION_REJECTED,
        CKR_KEY_FUNCTION_NOT_PERMITTED,
        CKR_KEY_HANDLE_INVALID,
        CKR_KEY_UNEXTRACTABLE,
        CKR_MECHANISM_INVALID,
        CKR_OBJECT_HANDLE_INVALID,
        CKR_OPERATION_ACTIVE,
        CKR_OPERATION_NOT_INITIALIZED,
        CKR_PIN_INCORRECT,
        CKR_PIN_INVALID,
        CKR_PIN_LOCKED,
        CKR_SAVED_STATE_INVALID,
        CKR_SESSION_HANDLE_INVALID,
        CKR_SESSION_READ_ONLY,
        CKR_TEMPLATE_INCONSISTENT,
        CKR_USER_ALREADY_LOGGED_IN,
        CKR_USER_NOT_LOGGED_IN,
        CKR_USER_TYPE_INVALID,
        CKR_WRAPPING_KEY_HANDLE_INVALID,
    )
}
