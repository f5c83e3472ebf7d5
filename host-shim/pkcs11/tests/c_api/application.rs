//! A C application: calls through the function list, on memory of its own.

use crate::fake_hsm::{FakeHsm, api_key};
use countersign_pkcs11::{C_GetFunctionList, CKM_COUNTERSIGN_ETHEREUM};
use cryptoki_sys::*;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Calls one function of the list.
macro_rules! call {
    ($application:expr, $name:ident($($argument:expr),* $(,)?)) => {{
        let function = $application.list.$name.expect("every function is in the list");
        // SAFETY: every pointer that these tests pass is `NULL` or leads to living memory of the test, as long as
        // the length beside it says.
        unsafe { function($($argument),*) }
    }};
}

pub(crate) use call;

/// One application with an initialised module, and the HSM it talks to. There is one module in a process, so there
/// is one of these at a time.
pub(crate) struct Application {
    pub(crate) list: &'static CK_FUNCTION_LIST,
    pub(crate) hsm: FakeHsm,
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// A signing mechanism, as a caller passes it.
pub(crate) fn mechanism(kind: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: kind, pParameter: ptr::null_mut(), ulParameterLen: 0 }
}

/// One attribute of a template. The template must not outlive the value.
pub(crate) fn attribute(kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> CK_ATTRIBUTE {
    let length = value.len() as CK_ULONG;
    CK_ATTRIBUTE { type_: kind, pValue: value.as_ptr().cast_mut().cast(), ulValueLen: length }
}

/// What leads the module to `hsm`.
pub(crate) fn host_toml(hsm: &FakeHsm) -> String {
    format!("socket = \"{}\"\nrequest_timeout_ms = 20000\n", hsm.socket().display())
}

/// The code that is right in most tests.
pub(crate) const CODE: &str = "123456";

impl Application {
    /// With an HSM that runs and a module that is not initialised.
    pub(crate) fn load() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed has finalized all the same.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let hsm = FakeHsm::start(folder.path());
        let config = folder.path().join("host.toml");
        std::fs::write(&config, host_toml(&hsm)).unwrap();
        // SAFETY: tests that use the environment hold the turn, and the module reads it in `C_Initialize` only.
        unsafe { std::env::set_var("COUNTERSIGN_CONFIG", &config) };
        let mut list = ptr::null_mut();
        // SAFETY: the function is part of this test, and `list` lives.
        assert_eq!(unsafe { C_GetFunctionList(&raw mut list) }, CKR_OK);
        // SAFETY: the list is never freed or changed.
        let list = unsafe { &*list };
        Self { list, hsm, folder, _turn: turn }
    }

    /// With an initialised module.
    pub(crate) fn start() -> Self {
        let application = Self::load();
        assert_eq!(application.initialize(), CKR_OK);
        application
    }

    /// With a session that is logged in.
    pub(crate) fn logged_in() -> (Self, CK_SESSION_HANDLE) {
        let application = Self::start();
        let session = application.open();
        assert_eq!(application.log_in(session), CKR_OK);
        application.hsm.acts();
        (application, session)
    }

    /// The folder that `COUNTERSIGN_CONFIG` points into.
    pub(crate) fn write_config(&self, text: &str) {
        std::fs::write(self.folder.path().join("host.toml"), text).unwrap();
    }

    pub(crate) fn initialize(&self) -> CK_RV {
        call!(self, C_Initialize(ptr::null_mut()))
    }

    pub(crate) fn finalize(&self) -> CK_RV {
        call!(self, C_Finalize(ptr::null_mut()))
    }

    /// Opens a session that may write.
    pub(crate) fn open(&self) -> CK_SESSION_HANDLE {
        let mut session = 0;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        assert_eq!(call!(self, C_OpenSession(0, flags, ptr::null_mut(), None, &raw mut session)), CKR_OK);
        assert_ne!(session, 0);
        session
    }

    pub(crate) fn login_as(&self, session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &[u8]) -> CK_RV {
        call!(self, C_Login(session, user, pin.as_ptr().cast_mut(), pin.len() as CK_ULONG))
    }

    /// Logs in with the API key.
    pub(crate) fn log_in(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        self.login_as(session, CKU_USER, api_key().expose().as_bytes())
    }

    /// Logs the operation in with a code.
    pub(crate) fn give_code(&self, session: CK_SESSION_HANDLE, code: &str) -> CK_RV {
        self.login_as(session, CKU_CONTEXT_SPECIFIC, code.as_bytes())
    }

    /// Begins, reads and ends a search.
    pub(crate) fn find(
        &self,
        session: CK_SESSION_HANDLE,
        template: &mut [CK_ATTRIBUTE],
    ) -> Vec<CK_OBJECT_HANDLE> {
        let count = template.len() as CK_ULONG;
        assert_eq!(call!(self, C_FindObjectsInit(session, template.as_mut_ptr(), count)), CKR_OK);
        let (mut found, mut all) = (u64::MAX, Vec::new());
        while found > 0 {
            let mut some = [0; 5];
            let room = some.len() as CK_ULONG;
            assert_eq!(call!(self, C_FindObjects(session, some.as_mut_ptr(), room, &raw mut found)), CKR_OK);
            all.extend_from_slice(&some[..usize::try_from(found).unwrap()]);
        }
        assert_eq!(call!(self, C_FindObjectsFinal(session)), CKR_OK);
        all
    }

    /// The private half of the key of that name.
    pub(crate) fn private_key(&self, session: CK_SESSION_HANDLE, label: &str) -> CK_OBJECT_HANDLE {
        self.half(session, label, CKO_PRIVATE_KEY)
    }

    /// The public half of the key of that name.
    pub(crate) fn public_key(&self, session: CK_SESSION_HANDLE, label: &str) -> CK_OBJECT_HANDLE {
        self.half(session, label, CKO_PUBLIC_KEY)
    }

    fn half(&self, session: CK_SESSION_HANDLE, label: &str, class: CK_OBJECT_CLASS) -> CK_OBJECT_HANDLE {
        let found = self.look_up(session, label, class);
        self.hsm.acts();
        found
    }

    fn look_up(&self, session: CK_SESSION_HANDLE, label: &str, class: CK_OBJECT_CLASS) -> CK_OBJECT_HANDLE {
        let class = class.to_ne_bytes();
        let template = &mut [attribute(CKA_LABEL, label.as_bytes()), attribute(CKA_CLASS, &class)];
        let found = self.find(session, template);
        assert_eq!(found.len(), 1, "{label}");
        found[0]
    }

    pub(crate) fn sign_init(
        &self,
        session: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        key: CK_OBJECT_HANDLE,
    ) -> CK_RV {
        let mut mechanism = mechanism(kind);
        call!(self, C_SignInit(session, &raw mut mechanism, key))
    }

    /// Begins a blind signature with the first key that is made for it.
    pub(crate) fn begin_digest(&self, session: CK_SESSION_HANDLE) {
        let key = self.private_key(session, "user-0000/digest");
        assert_eq!(self.sign_init(session, CKM_ECDSA, key), CKR_OK);
    }

    /// As [`Application::begin_digest`], for a forked child: the HSM's threads, which are its parent's, may have had
    /// the list of requests locked when it forked, so that is left alone.
    pub(crate) fn begin_digest_in_child(&self, session: CK_SESSION_HANDLE) {
        let key = self.look_up(session, "user-0000/digest", CKO_PRIVATE_KEY);
        assert_eq!(self.sign_init(session, CKM_ECDSA, key), CKR_OK);
    }

    /// Begins a transaction with the first key that is made for it.
    pub(crate) fn begin_ethereum(&self, session: CK_SESSION_HANDLE) {
        let key = self.private_key(session, "user-0000/ethereum");
        assert_eq!(self.sign_init(session, CKM_COUNTERSIGN_ETHEREUM, key), CKR_OK);
    }

    /// Begins a blind signature and gives a right code.
    pub(crate) fn approve_digest(&self, session: CK_SESSION_HANDLE) {
        self.begin_digest(session);
        self.hsm.allow_code(CODE);
        assert_eq!(self.give_code(session, CODE), CKR_OK);
        self.hsm.acts();
    }

    pub(crate) fn sign(&self, session: CK_SESSION_HANDLE, data: &[u8]) -> Result<Vec<u8>, CK_RV> {
        let mut signature = vec![0; 100];
        let mut length = signature.len() as CK_ULONG;
        let (from, count) = (data.as_ptr().cast_mut(), data.len() as CK_ULONG);
        let rv = call!(self, C_Sign(session, from, count, signature.as_mut_ptr(), &raw mut length));
        signature.truncate(usize::try_from(length).unwrap());
        if rv == CKR_OK { Ok(signature) } else { Err(rv) }
    }

    pub(crate) fn sign_update(&self, session: CK_SESSION_HANDLE, part: &[u8]) -> CK_RV {
        call!(self, C_SignUpdate(session, part.as_ptr().cast_mut(), part.len() as CK_ULONG))
    }

    pub(crate) fn sign_final(&self, session: CK_SESSION_HANDLE) -> Result<Vec<u8>, CK_RV> {
        let mut signature = vec![0; 100];
        let mut length = signature.len() as CK_ULONG;
        let rv = call!(self, C_SignFinal(session, signature.as_mut_ptr(), &raw mut length));
        signature.truncate(usize::try_from(length).unwrap());
        if rv == CKR_OK { Ok(signature) } else { Err(rv) }
    }

    /// One attribute of an object.
    pub(crate) fn attribute_of(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Vec<u8>, CK_RV> {
        let mut value = vec![0; 1000];
        let mut template = attribute(kind, &value);
        template.pValue = value.as_mut_ptr().cast();
        let rv = call!(self, C_GetAttributeValue(session, object, &raw mut template, 1));
        if rv != CKR_OK {
            return Err(rv);
        }
        value.truncate(usize::try_from(template.ulValueLen).unwrap());
        Ok(value)
    }

    pub(crate) fn session_state(&self, session: CK_SESSION_HANDLE) -> Result<CK_STATE, CK_RV> {
        let mut info = CK_SESSION_INFO::default();
        match call!(self, C_GetSessionInfo(session, &raw mut info)) {
            CKR_OK => Ok(info.state),
            rv => Err(rv),
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.hsm.release();
        self.finalize();
    }
}
