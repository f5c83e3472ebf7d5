//! The custodian's backend. It has the PKCS#11 module and the API key, and nothing else.

use anyhow::{Context, Result};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::vendor_defined::{CKM_VENDOR_DEFINED, VendorDefinedMechanism};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use std::path::Path;

/// `CKM_COUNTERSIGN_ETHEREUM`, as `docs/pkcs11.md` gives it: the data is one unsigned transaction.
const CKM_COUNTERSIGN_ETHEREUM: u64 = CKM_VENDOR_DEFINED | 0x4353_0001;

/// A backend that is logged in.
pub(super) struct Backend {
    context: Pkcs11,
    session: Session,
    api_key: String,
}

/// The name of the return value with which the module refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

impl Backend {
    /// Loads the module and logs in.
    pub(super) fn connect(module: &Path, api_key: &str) -> Result<Self> {
        let context = Pkcs11::new(module).with_context(|| format!("cannot load {}", module.display()))?;
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).context("C_Initialize")?;
        let session = log_in(&context, api_key)?;
        Ok(Self { context, session, api_key: api_key.to_owned() })
    }

    /// Begins anew after the HSM was away.
    pub(super) fn reconnect(self) -> Result<Self> {
        let Self { context, session, api_key } = self;
        drop(session);
        let session = log_in(&context, &api_key)?;
        Ok(Self { context, session, api_key })
    }

    /// Signs a transaction without asking its owner for anything: `C_SignInit`, `C_Sign`.
    pub(super) fn sign_without_code(
        &self,
        label: &str,
        transaction: &[u8],
    ) -> Result<Result<Vec<u8>, Refused>> {
        refusal(self.session.sign(&ethereum()?, self.key(label)?, transaction))
    }

    /// Signs a transaction with its owner's code: `C_SignInit`, `C_Login(CKU_CONTEXT_SPECIFIC)`, `C_SignUpdate`,
    /// `C_SignFinal`.
    pub(super) fn sign(
        &self,
        label: &str,
        transaction: &[u8],
        code: &str,
    ) -> Result<Result<Vec<u8>, Refused>> {
        self.session.sign_init(&ethereum()?, self.key(label)?).context("C_SignInit")?;
        let pin = AuthPin::new(code.into());
        let login = refusal(self.session.login(UserType::ContextSpecific, Some(&pin)))?;
        let signature =
            refusal(self.session.sign_update(transaction).and_then(|()| self.session.sign_final()))?;
        // Without its login the operation must not sign; it has ended now either way.
        Ok(match login {
            Ok(()) => signature,
            Err(refused) => match signature {
                Err(_) => Err(refused),
                Ok(signature) => Ok(signature),
            },
        })
    }

    fn key(&self, label: &str) -> Result<ObjectHandle> {
        let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(label.into())];
        let found = self.session.find_objects(&template).context("C_FindObjects")?;
        found.into_iter().next().with_context(|| format!("the token has no key {label}"))
    }
}

fn log_in(context: &Pkcs11, api_key: &str) -> Result<Session> {
    let slots = context.get_slots_with_token().context("C_GetSlotList")?;
    let slot = *slots.first().context("there is no token: the module does not reach the HSM")?;
    let session = context.open_rw_session(slot).context("C_OpenSession")?;
    session.login(UserType::User, Some(&AuthPin::new(api_key.into()))).context("C_Login")?;
    Ok(session)
}

fn ethereum() -> Result<Mechanism<'static>> {
    let kind = MechanismType::new_vendor_defined(CKM_COUNTERSIGN_ETHEREUM)?;
    Ok(Mechanism::VendorDefined(VendorDefinedMechanism::new::<()>(kind, None)))
}

/// Tells a refusal by the module, which the story is about, from everything else that may go wrong.
fn refusal<T>(result: Result<T, Error>) -> Result<Result<T, Refused>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Pkcs11(rv, _)) => Ok(Err(Refused(rv_name(&rv)))),
        Err(error) => Err(error.into()),
    }
}

fn rv_name(rv: &RvError) -> String {
    match rv {
        RvError::PinIncorrect => "CKR_PIN_INCORRECT".to_owned(),
        RvError::PinInvalid => "CKR_PIN_INVALID".to_owned(),
        RvError::PinLocked => "CKR_PIN_LOCKED".to_owned(),
        RvError::UserNotLoggedIn => "CKR_USER_NOT_LOGGED_IN".to_owned(),
        RvError::FunctionRejected => "CKR_FUNCTION_REJECTED".to_owned(),
        RvError::DeviceError => "CKR_DEVICE_ERROR".to_owned(),
        other => format!("{other:?}"),
    }
}
