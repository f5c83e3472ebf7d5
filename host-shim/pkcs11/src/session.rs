//! Sessions and logins (PKCS#11 v2.40 section 5.6).

use crate::boundary::memory::Out;
use crate::failure::{Function, Result};
use crate::module::{Login, Module, not_an_answer};
use crate::search::Search;
use crate::sign::{self, Signing};
use crate::slot_token::{self, SLOT};
use countersign_wire::client::{Act, Answer};
use countersign_wire::names::ApiKey;
use cryptoki_sys::{
    CK_FLAGS, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_USER_TYPE, CKF_FIND_OBJECTS, CKF_RW_SESSION,
    CKF_SERIAL_SESSION, CKF_SIGN, CKR_PIN_INCORRECT, CKR_SESSION_HANDLE_INVALID,
    CKR_SESSION_PARALLEL_NOT_SUPPORTED, CKR_SESSION_READ_ONLY, CKR_USER_ALREADY_LOGGED_IN,
    CKR_USER_TYPE_INVALID, CKS_RO_PUBLIC_SESSION, CKS_RO_USER_FUNCTIONS, CKS_RW_PUBLIC_SESSION,
    CKS_RW_USER_FUNCTIONS, CKU_CONTEXT_SPECIFIC, CKU_USER,
};
use std::sync::{Arc, Mutex, MutexGuard};

/// One session. What is under way in it has a lock of its own, which may be held while the HSM is asked.
pub(crate) struct Session {
    /// Opened with `CKF_RW_SESSION`.
    pub(crate) writable: bool,
    state: Mutex<State>,
}

/// What is under way in a session: at most one search and one signature.
#[derive(Default)]
pub(crate) struct State {
    closed: bool,
    pub(crate) search: Option<Search>,
    pub(crate) signing: Option<Signing>,
}

impl Session {
    /// Its state, once no other call is using the session.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock_even_closed();
        if state.closed { Err(CKR_SESSION_HANDLE_INVALID.into()) } else { Ok(state) }
    }

    fn lock_even_closed(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            // A call panicked half way: what was under way cannot be trusted any more, so it ends.
            let mut state = poisoned.into_inner();
            *state = State { closed: state.closed, ..State::default() };
            self.state.clear_poison();
            state
        })
    }
}

/// `C_OpenSession`.
pub(crate) fn open(module: &Module, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Result<CK_SESSION_HANDLE> {
    slot_token::check(slot)?;
    if flags & CKF_SERIAL_SESSION == 0 {
        return Err(CKR_SESSION_PARALLEL_NOT_SUPPORTED.into());
    }
    module.add_session(Session { writable: flags & CKF_RW_SESSION != 0, state: Mutex::default() })
}

/// `C_CloseSession`. Waits for a call that is using the session.
pub(crate) fn close(module: &Module, handle: CK_SESSION_HANDLE) -> Result {
    close_each(module, vec![module.remove_session(handle)?]);
    Ok(())
}

/// `C_CloseAllSessions`.
pub(crate) fn close_all(module: &Module, slot: CK_SLOT_ID) -> Result {
    slot_token::check(slot)?;
    close_each(module, module.remove_all_sessions());
    Ok(())
}

/// Closes sessions that were taken out of the module, and gives back what their operations hold.
pub(crate) fn close_each(module: &Module, sessions: Vec<Arc<Session>>) {
    let close = |session: Arc<Session>| {
        let mut state = session.lock_even_closed();
        state.closed = true;
        state.search = None;
        state.signing.take()
    };
    let ended: Vec<Signing> = sessions.into_iter().filter_map(close).collect();
    sign::abandon_each(module, ended);
}

/// `C_GetSessionInfo`.
pub(crate) fn info(module: &Module, handle: CK_SESSION_HANDLE, info: &mut Out<CK_SESSION_INFO>) -> Result {
    let session = module.session(handle)?;
    let (state, writable) = match (module.login().is_some(), session.writable) {
        (false, false) => (CKS_RO_PUBLIC_SESSION, 0),
        (true, false) => (CKS_RO_USER_FUNCTIONS, 0),
        (false, true) => (CKS_RW_PUBLIC_SESSION, CKF_RW_SESSION),
        (true, true) => (CKS_RW_USER_FUNCTIONS, CKF_RW_SESSION),
    };
    info.set(CK_SESSION_INFO { slotID: SLOT, state, flags: CKF_SERIAL_SESSION | writable, ulDeviceError: 0 });
    Ok(())
}

/// `C_SessionCancel` (PKCS#11 v3.0 section 5.6).
pub(crate) fn cancel(module: &Module, handle: CK_SESSION_HANDLE, operations: CK_FLAGS) -> Result {
    let session = module.session(handle)?;
    let mut state = session.lock()?;
    if operations & CKF_FIND_OBJECTS != 0 {
        state.search = None;
    }
    let ended = if operations & CKF_SIGN != 0 { state.signing.take() } else { None };
    drop(state);
    sign::abandon_each(module, ended);
    Ok(())
}

/// `C_Login`: the user's PIN is the tenant's API key, the context-specific PIN is the code of the key's owner.
pub(crate) fn login(module: &Module, handle: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &[u8]) -> Result {
    let session = module.session(handle)?;
    match user {
        CKU_USER => user_login(module, handle, pin),
        CKU_CONTEXT_SPECIFIC => sign::context_login(module, &session, pin),
        // There is no security officer: what he would do is done in the HSM's ceremony.
        _ => Err(CKR_USER_TYPE_INVALID.into()),
    }
}

fn user_login(module: &Module, handle: CK_SESSION_HANDLE, pin: &[u8]) -> Result {
    if module.login().is_some() {
        return Err(CKR_USER_ALREADY_LOGGED_IN.into());
    }
    let text = core::str::from_utf8(pin).map_err(|_| CKR_PIN_INCORRECT)?;
    let api_key = ApiKey::parse(text).map_err(|_| CKR_PIN_INCORRECT)?;
    match module.ask(Some(&api_key), Function::UserLogin, Act::Login)? {
        Answer::Welcome(_) => {}
        _ => return Err(not_an_answer()),
    }
    let boot_count = module.status()?.boot_count;
    module.set_login(handle, Login::new(api_key, boot_count))
}

/// `C_Logout`. Ends what is under way in every session, and with the login go the handles of its keys.
///
/// > When `C_Logout` successfully executes, any of the application's handles to private objects become invalid
/// > (even if a user is later logged back into the token, those handles remain invalid). (PKCS#11 v2.40)
pub(crate) fn logout(module: &Module, handle: CK_SESSION_HANDLE) -> Result {
    module.session(handle)?;
    let (login, sessions) = module.take_login()?;
    let end = |session: Arc<Session>| {
        let mut state = session.lock_even_closed();
        state.search.take_if(|search| search.belongs_to(&login));
        state.signing.take_if(|signing| signing.belongs_to(&login))
    };
    let ended: Vec<Signing> = sessions.into_iter().filter_map(end).collect();
    sign::abandon_each(module, ended);
    Ok(())
}

/// Refuses what changes the token, in a session that may not (`CKR_SESSION_READ_ONLY`).
pub(crate) fn check_writable(session: &Session) -> Result {
    if session.writable { Ok(()) } else { Err(CKR_SESSION_READ_ONLY.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_client::{Client, HostConfig};

    fn module() -> Module {
        Module::new(Client::new(HostConfig::for_socket("/nowhere")))
    }

    #[test]
    fn a_call_that_comes_to_its_session_too_late_finds_it_closed() {
        let module = module();
        let handle = open(&module, SLOT, CKF_SERIAL_SESSION).unwrap();
        let session = module.session(handle).unwrap();
        assert!(session.lock().is_ok());
        close(&module, handle).unwrap();
        assert_eq!(session.lock().err(), Some(CKR_SESSION_HANDLE_INVALID.into()));
    }

    #[test]
    fn a_panic_in_a_session_ends_what_was_under_way_and_nothing_else() {
        let module = module();
        let handle = open(&module, SLOT, CKF_SERIAL_SESSION).unwrap();
        let session = module.session(handle).unwrap();
        session.lock().unwrap().search = Some(Search::new(Vec::new(), None));
        let holding = Arc::clone(&session);
        let panicked = std::thread::spawn(move || {
            let _state = holding.lock().unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(session.lock().unwrap().search.is_none());
        assert!(close(&module, handle).is_ok());
    }

    #[test]
    fn there_are_no_more_sessions_than_the_token_says() {
        let module = module();
        for _ in 0..crate::module::SESSIONS_MAX {
            open(&module, SLOT, CKF_SERIAL_SESSION).unwrap();
        }
        let one_more = open(&module, SLOT, CKF_SERIAL_SESSION);
        assert_eq!(one_more, Err(cryptoki_sys::CKR_SESSION_COUNT.into()));
        close_all(&module, SLOT).unwrap();
        assert!(open(&module, SLOT, CKF_SERIAL_SESSION).is_ok());
    }
}
