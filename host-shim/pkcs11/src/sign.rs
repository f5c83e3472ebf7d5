//! Signing, and the login each signature needs (PKCS#11 v2.40 sections 5.11 and 4.9).
//!
//! The life of a signature here: `C_SignInit` opens an operation under a fresh random id. `C_Login` with
//! `CKU_CONTEXT_SPECIFIC` has the HSM spend the code into a grant for that operation. `C_Sign` or `C_SignFinal`
//! has the HSM use the grant up for the data. If the operation ends in any other way, the HSM is told to drop the
//! grant. Whether there is a grant, or an earlier approval of exactly this data, is the HSM's to say: a signature
//! without a login is asked for like any other, and made or refused there.
//!
//! > A call to `C_Sign` always terminates the active signing operation unless it returns `CKR_BUFFER_TOO_SMALL` or
//! > is a successful call (i.e., one which returns `CKR_OK`) to determine the length of the buffer needed to hold
//! > the signature. (PKCS#11 v2.40 section 5.11)

use crate::attributes::Part;
use crate::boundary::memory::{MechanismArgument, OutList};
use crate::context_pin;
use crate::failure::{Failure, Function, Result};
use crate::mechanism;
use crate::module::{Login, Module, not_an_answer};
use crate::objects;
use crate::session::{Session, State};
use countersign_client::new_request_id;
use countersign_wire::client::{
    Act, Answer, Approval, ContextLogin, ContextSign, Mechanism, Operation, Payload,
};
use countersign_wire::reason::Reason;
use cryptoki_sys::{
    CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKR_DATA_LEN_RANGE, CKR_DEVICE_REMOVED,
    CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_OPERATION_ACTIVE,
    CKR_OPERATION_NOT_INITIALIZED, CKR_USER_ALREADY_LOGGED_IN,
};
use serde_bytes::{ByteArray, ByteBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A signature under way, from `C_SignInit` to its end.
pub(crate) struct Signing {
    login: Arc<Login>,
    operation: Operation,
    grant: Grant,
    /// What `C_SignUpdate` collected; `None` before the first one.
    parts: Option<Vec<u8>>,
}

/// What is known of the grant that the HSM keeps for an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grant {
    /// No login succeeded.
    None,
    /// A login got no answer, so a code may have been spent.
    Perhaps,
    /// A login succeeded, in that boot of the HSM.
    Held { boot_count: u64 },
}

impl Signing {
    /// Whether it was begun under that login.
    pub(crate) fn belongs_to(&self, login: &Arc<Login>) -> bool {
        Arc::ptr_eq(&self.login, login)
    }

    /// Has the HSM use up the grant for `data`. The operation ends here, however it goes.
    fn finish(self, module: &Module, data: &[u8]) -> Result<Vec<u8>> {
        let Some(payload) = payload(self.operation.mechanism, data) else {
            abandon_each(module, Some(self));
            return Err(CKR_DATA_LEN_RANGE.into());
        };
        let act = Act::ContextSign(ContextSign { operation: self.operation, payload });
        match module.ask(Some(&self.login.api_key), Function::Other, act) {
            Ok(Answer::Signed(signed)) => Ok(match signed.psbt {
                Some(psbt) => psbt.into_vec(),
                None => signed.signature.to_vec(),
            }),
            Ok(_) => Err(not_an_answer()),
            Err(failure) => Err(explain_lost_grant(module, &self.login, self.grant, failure)),
        }
    }
}

/// A grant that was held and is gone was either too old, or lost when the HSM started anew: `CKR_DEVICE_REMOVED`.
fn explain_lost_grant(module: &Module, login: &Login, grant: Grant, failure: Failure) -> Failure {
    let (Grant::Held { boot_count }, Some(Reason::ApprovalMissing)) = (grant, failure.reason()) else {
        return failure;
    };
    let Ok(status) = module.status() else { return failure };
    login.boot_count.store(status.boot_count, Ordering::Relaxed);
    if status.boot_count == boot_count { failure } else { Failure { rv: CKR_DEVICE_REMOVED, ..failure } }
}

/// The data as the mechanism takes it; `None`: not of a length that it takes.
fn payload(made_for: Mechanism, data: &[u8]) -> Option<Payload> {
    match made_for {
        Mechanism::Digest => Some(Payload::Digest(ByteArray::new(data.try_into().ok()?))),
        _ if data.len() > mechanism::data_max_bytes(made_for) => None,
        Mechanism::Message => Some(Payload::Message(ByteBuf::from(data))),
        _ if data.is_empty() => None,
        Mechanism::Ethereum => Some(Payload::Ethereum(ByteBuf::from(data))),
        Mechanism::TypedData => Some(Payload::TypedData(ByteBuf::from(data))),
        Mechanism::Bitcoin => Some(Payload::Psbt(ByteBuf::from(data))),
    }
}

/// Gives back the grants of operations that end without a signature. Best effort: the HSM also drops a grant that
/// is not used in time, and nobody else knows the operation's id.
pub(crate) fn abandon_each(module: &Module, signings: impl IntoIterator<Item = Signing>) {
    for signing in signings {
        if signing.grant == Grant::None {
            continue;
        }
        let act = Act::ContextEnd(signing.operation);
        let outcome = module.ask(Some(&signing.login.api_key), Function::Other, act);
        if outcome.is_err_and(|failure| failure.reason() == Some(Reason::HsmUnreachable)) {
            return;
        }
    }
}

/// The session's operation. One that was begun under an earlier login is no operation any more.
fn active<'a>(module: &Module, state: &'a mut State) -> Result<&'a mut Signing> {
    let login = module.login();
    state.signing.take_if(|signing| !login.as_ref().is_some_and(|login| signing.belongs_to(login)));
    Ok(state.signing.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?)
}

/// `C_SignInit`. Without a mechanism it ends the operation (PKCS#11 v3.0 section 5.13).
///
/// A mechanism that the key was not made for is refused here, before a code is asked for or spent.
pub(crate) fn init(
    module: &Module,
    session: CK_SESSION_HANDLE,
    mechanism: Option<MechanismArgument>,
    key: CK_OBJECT_HANDLE,
) -> Result {
    let session = module.session(session)?;
    let mut state = session.lock()?;
    let Some(mechanism) = mechanism else {
        let ended = state.signing.take();
        drop(state);
        abandon_each(module, ended);
        return Ok(());
    };
    if active(module, &mut state).is_ok() {
        return Err(CKR_OPERATION_ACTIVE.into());
    }
    let login = module.logged_in()?;
    let made_for = mechanism::signs(mechanism.kind).ok_or(CKR_MECHANISM_INVALID)?;
    if mechanism.parameter_bytes != 0 {
        return Err(CKR_MECHANISM_PARAM_INVALID.into());
    }
    let object = objects::find_key(module, key)?;
    if object.part != Part::Private {
        return Err(CKR_KEY_FUNCTION_NOT_PERMITTED.into());
    }
    if !object.key.plan.mechanisms.contains(&made_for) {
        return Err(Failure::refused(Reason::MechanismNotAllowed.into(), Function::Other));
    }
    let operation = Operation { id: new_request_id(), key: object.key.id, mechanism: made_for };
    state.signing = Some(Signing { login, operation, grant: Grant::None, parts: None });
    Ok(())
}

/// `C_Login(CKU_CONTEXT_SPECIFIC)`. Whatever goes wrong, the operation stays able to take a right code.
///
/// Where an answer is lost, nobody here knows whether there is a grant. The next login is sent all the same: the HSM
/// says yes to it without spending anything if the operation holds its grant.
///
/// A login that points at an earlier approval makes no grant, so it changes nothing that is known of one: a code may
/// still follow, and there is nothing to give back.
///
/// The session's lock is held while the HSM is asked, so that of two threads with a code each only one is spent.
pub(crate) fn context_login(module: &Module, session: &Session, pin: &[u8]) -> Result {
    let mut state = session.lock()?;
    let signing = active(module, &mut state)?;
    if matches!(signing.grant, Grant::Held { .. }) {
        return Err(CKR_USER_ALREADY_LOGGED_IN.into());
    }
    let approval = context_pin::read(pin, &signing.login.api_key)?;
    let before = signing.grant;
    let held = match approval {
        Approval::Prior => before,
        Approval::Code(_) | Approval::Intent(_) => {
            signing.grant = Grant::Perhaps;
            Grant::Held { boot_count: signing.login.boot_count.load(Ordering::Relaxed) }
        }
    };
    let act = Act::ContextLogin(ContextLogin { operation: signing.operation.clone(), approval });
    match module.ask(Some(&signing.login.api_key), Function::Other, act) {
        Ok(Answer::LoggedIn) => {
            signing.grant = held;
            Ok(())
        }
        Ok(_) => Err(not_an_answer()),
        Err(failure) => {
            if failure.reason() != Some(Reason::HsmUnreachable) {
                signing.grant = before;
            }
            Err(failure)
        }
    }
}

/// The session's operation, if all of its data may still come at once.
///
/// > `C_Sign` cannot be used to terminate a multi-part operation. (PKCS#11 v2.40 section 5.11)
fn single_part<'a>(module: &Module, state: &'a mut State) -> Result<&'a mut Signing> {
    let signing = active(module, state)?;
    if signing.parts.is_some() { Err(CKR_OPERATION_NOT_INITIALIZED.into()) } else { Ok(signing) }
}

/// `C_Sign` without a place for the signature: the room that one over so many bytes of data needs. The data itself
/// need not be there yet.
pub(crate) fn size(
    module: &Module,
    session: CK_SESSION_HANDLE,
    data_bytes: usize,
    signature: &mut OutList<u8>,
) -> Result {
    let session = module.session(session)?;
    let mut state = session.lock()?;
    let made_for = single_part(module, &mut state)?.operation.mechanism;
    let data_bytes = data_bytes.min(mechanism::data_max_bytes(made_for));
    signature.takes(mechanism::signature_max_bytes(made_for, data_bytes)).map(drop)
}

/// `C_Sign`: all data at once.
pub(crate) fn sign(
    module: &Module,
    session: CK_SESSION_HANDLE,
    data: &[u8],
    signature: &mut OutList<u8>,
) -> Result {
    let session = module.session(session)?;
    let mut state = session.lock()?;
    let signing = single_part(module, &mut state)?;
    if !signature.takes(mechanism::signature_max_bytes(signing.operation.mechanism, data.len()))? {
        return Ok(());
    }
    let signing = state.signing.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
    drop(state);
    signature.fill(&signing.finish(module, data)?)
}

/// `C_SignUpdate`: collects data. Too much of it ends the operation.
pub(crate) fn update(module: &Module, session: CK_SESSION_HANDLE, data: &[u8]) -> Result {
    let session = module.session(session)?;
    let mut state = session.lock()?;
    let signing = active(module, &mut state)?;
    let parts = signing.parts.get_or_insert_default();
    if data.len() <= mechanism::data_max_bytes(signing.operation.mechanism) - parts.len() {
        parts.extend_from_slice(data);
        return Ok(());
    }
    let ended = state.signing.take();
    drop(state);
    abandon_each(module, ended);
    Err(CKR_DATA_LEN_RANGE.into())
}

/// `C_SignFinal`: signs what was collected.
pub(crate) fn finish(module: &Module, session: CK_SESSION_HANDLE, signature: &mut OutList<u8>) -> Result {
    let session = module.session(session)?;
    let mut state = session.lock()?;
    let signing = active(module, &mut state)?;
    let data_bytes = signing.parts.as_ref().map_or(0, Vec::len);
    if !signature.takes(mechanism::signature_max_bytes(signing.operation.mechanism, data_bytes))? {
        return Ok(());
    }
    let mut signing = state.signing.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
    drop(state);
    let data = signing.parts.take().unwrap_or_default();
    signature.fill(&signing.finish(module, &data)?)
}
