//! The PKCS#11 module through the `cryptoki` crate, as a backend in Rust uses it.
//!
//! A process has one module, and it serves one HSM. Tests run many HSMs in one process, so each loads a copy of the
//! module's file of its own: the loader takes it for another library, with state of its own.

use crate::artefacts;
use crate::backend::User;
use crate::hsm::Hsm;
use crate::phone::STEP_SECS;
use crate::raw;
use countersign_wire::names::{ApiKey, KeyLabel};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use cryptoki_sys::{CK_MECHANISM_TYPE, CKM_VENDOR_DEFINED};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// `CKM_COUNTERSIGN_ETHEREUM`: the data is an unsigned Ethereum transaction. `docs/pkcs11.md` names the number.
pub const CKM_COUNTERSIGN_ETHEREUM: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4353_0001;

/// `CKM_COUNTERSIGN_TYPED_DATA`: the data is EIP-712 JSON.
pub const CKM_COUNTERSIGN_TYPED_DATA: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4353_0002;

/// `CKM_COUNTERSIGN_MESSAGE`: the data is an EIP-191 personal message.
pub const CKM_COUNTERSIGN_MESSAGE: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4353_0003;

/// `CKM_COUNTERSIGN_PSBT`: the data is a PSBT.
pub const CKM_COUNTERSIGN_PSBT: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4353_0004;

/// What signing adds to a PSBT at the most.
pub const PSBT_ADDED_MAX_BYTES: usize = 108 * 256;

/// The token's label.
pub const TOKEN_LABEL: &str = "countersign";

/// A loaded and initialised module.
pub struct Module {
    /// The library.
    pub library: Pkcs11,
    /// Its one slot.
    pub slot: Slot,
}

/// Copies the module's file, so that it can be loaded once more.
pub fn copy_of_module(folder: &Path) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let copy = folder.join(format!("libcountersign_pkcs11_{number}.so"));
    std::fs::copy(artefacts::module(), &copy).expect("the module can be copied");
    copy
}

/// `CKM_COUNTERSIGN_ETHEREUM` for the `cryptoki` crate.
pub fn ethereum() -> Mechanism<'static> {
    let kind = MechanismType::new_vendor_defined(CKM_COUNTERSIGN_ETHEREUM).expect("it is vendor-defined");
    Mechanism::VendorDefined(VendorDefinedMechanism::new::<()>(kind, None))
}

/// Something as a PIN.
pub fn pin(text: &str) -> AuthPin {
    AuthPin::new(text.into())
}

/// What the module returned instead of `CKR_OK`.
#[track_caller]
pub fn return_value<T: core::fmt::Debug>(result: Result<T, Error>) -> RvError {
    match result.expect_err("the call is refused") {
        Error::Pkcs11(value, _) => value,
        other => panic!("not a return value: {other}"),
    }
}

impl Hsm {
    /// The module, initialised for this HSM.
    pub fn module(&self) -> Module {
        let library = Pkcs11::new(copy_of_module(self.folder())).expect("the module can be loaded");
        raw::with_config(&self.host_toml(), || {
            library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("C_Initialize");
        });
        let slots = library.get_slots_with_token().expect("C_GetSlotList");
        assert_eq!(slots.len(), 1, "one HSM is one slot");
        Module { slot: slots[0], library }
    }

    /// What the module signs of some data under the user's present code, in a session that knows how much room it needs.
    pub fn sign_through_module(
        &self,
        user: &User,
        key: &KeyLabel,
        kind: CK_MECHANISM_TYPE,
        data: &[u8],
    ) -> Vec<u8> {
        let raw = self.raw();
        let session = raw.session(&user.api_key);
        let key = raw.find(session, key).expect("the key is there");
        raw.sign_init(session, kind, key).expect("C_SignInit");
        let room = raw.sign_length(session, data).expect("a size query");
        let room = usize::try_from(room).expect("a short length");
        assert!(room <= data.len().max(64) + PSBT_ADDED_MAX_BYTES);
        raw.context_login(session, &user.phone.code(self.advance(STEP_SECS))).expect("C_Login");
        let signed = raw.sign(session, data, room).expect("C_Sign");
        raw.close_session(session).expect("C_CloseSession");
        signed
    }
}

impl Module {
    /// A session, logged in with an API key if no other session is yet.
    pub fn session(&self, api_key: &ApiKey) -> Session {
        let session = self.library.open_rw_session(self.slot).expect("C_OpenSession");
        match session.login(UserType::User, Some(&pin(api_key.expose()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
            Err(error) => panic!("C_Login: {error}"),
        }
    }
}

/// The private key of that name.
pub fn private_key(session: &Session, label: &KeyLabel) -> ObjectHandle {
    let wanted =
        [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(label.to_string().into_bytes())];
    let found = session.find_objects(&wanted).expect("C_FindObjects");
    assert_eq!(found.len(), 1, "{label} is one private key");
    found[0]
}

/// Init, Login, Update, Final: the one way for the `cryptoki` crate to log in between.
pub fn sign(
    session: &Session,
    mechanism: &Mechanism<'_>,
    key: ObjectHandle,
    code: &str,
    data: &[u8],
) -> Result<Vec<u8>, Error> {
    session.sign_init(mechanism, key)?;
    session.login(UserType::ContextSpecific, Some(&pin(code)))?;
    session.sign_update(data)?;
    session.sign_final()
}
