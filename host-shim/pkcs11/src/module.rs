//! The state between `C_Initialize` and `C_Finalize`: the way to the HSM, the sessions, the login.
//!
//! Locks, outermost first: one session's state; the [`Table`] of sessions and the login; one login's key handles.
//! The last two are never held while the HSM is asked.

use crate::failure::{Failure, Function, Result};
use crate::objects::Handles;
use crate::session::Session;
use countersign_client::Client;
use countersign_wire::client::{Act, Answer, Status};
use countersign_wire::names::ApiKey;
use countersign_wire::reason::Reason;
use cryptoki_sys::{
    CK_SESSION_HANDLE, CK_ULONG, CKR_HOST_MEMORY, CKR_SESSION_COUNT, CKR_SESSION_HANDLE_INVALID,
    CKR_USER_ALREADY_LOGGED_IN, CKR_USER_NOT_LOGGED_IN,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The most sessions that are open at once.
pub(crate) const SESSIONS_MAX: usize = 65_536;

/// Everything that is there between `C_Initialize` and `C_Finalize`.
pub(crate) struct Module {
    client: Client,
    table: RwLock<Table>,
}

/// The sessions, and the login: one for all sessions of an application (PKCS#11 v2.40, `C_Login`).
#[derive(Default)]
struct Table {
    sessions: HashMap<CK_SESSION_HANDLE, Arc<Session>>,
    login: Option<Arc<Login>>,
}

/// One login of this application. Handles of keys live and die with it.
pub(crate) struct Login {
    /// The API key, checked by the HSM.
    pub(crate) api_key: ApiKey,
    /// The handles given out under this login.
    pub(crate) handles: Mutex<Handles>,
    /// The HSM's boot count when it was last asked.
    pub(crate) boot_count: AtomicU64,
}

/// How many sessions are open.
pub(crate) struct SessionCount {
    pub(crate) all: usize,
    pub(crate) writable: usize,
}

impl Login {
    pub(crate) fn new(api_key: ApiKey, boot_count: u64) -> Self {
        Self { api_key, handles: Mutex::default(), boot_count: AtomicU64::new(boot_count) }
    }
}

/// A handle that this process never gave out before, and never 0.
pub(crate) fn fresh_handle() -> Result<CK_ULONG> {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let handle = NEXT
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| next.checked_add(1))
        .map_err(|_| CKR_HOST_MEMORY)?;
    Ok(CK_ULONG::try_from(handle).map_err(|_| CKR_HOST_MEMORY)?)
}

impl Module {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, table: RwLock::default() }
    }

    /// Asks the HSM on behalf of `function`.
    pub(crate) fn ask(&self, api_key: Option<&ApiKey>, function: Function, act: Act) -> Result<Answer> {
        self.client.call(api_key, act).map_err(|refusal| Failure::refused(refusal, function))
    }

    /// How the HSM is.
    pub(crate) fn status(&self) -> Result<Status> {
        match self.ask(None, Function::Other, Act::Status)? {
            Answer::Status(status) => Ok(status),
            _ => Err(not_an_answer()),
        }
    }

    /// The open session of that handle.
    pub(crate) fn session(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        let table = self.read();
        Ok(Arc::clone(table.sessions.get(&handle).ok_or(CKR_SESSION_HANDLE_INVALID)?))
    }

    /// Opens a session.
    pub(crate) fn add_session(&self, session: Session) -> Result<CK_SESSION_HANDLE> {
        let handle = fresh_handle()?;
        let mut table = self.write();
        if table.sessions.len() >= SESSIONS_MAX {
            return Err(CKR_SESSION_COUNT.into());
        }
        table.sessions.insert(handle, Arc::new(session));
        Ok(handle)
    }

    /// Takes a session out; closing the last one logs the application out (PKCS#11 v2.40, `C_CloseSession`).
    pub(crate) fn remove_session(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        let mut table = self.write();
        let session = table.sessions.remove(&handle).ok_or(CKR_SESSION_HANDLE_INVALID)?;
        if table.sessions.is_empty() {
            table.login = None;
        }
        Ok(session)
    }

    /// Takes all sessions out and logs the application out.
    pub(crate) fn remove_all_sessions(&self) -> Vec<Arc<Session>> {
        let mut table = self.write();
        table.login = None;
        table.sessions.drain().map(|(_, session)| session).collect()
    }

    /// How many sessions are open.
    pub(crate) fn count_sessions(&self) -> SessionCount {
        let table = self.read();
        let writable = table.sessions.values().filter(|session| session.writable).count();
        SessionCount { all: table.sessions.len(), writable }
    }

    /// The login, if there is one.
    pub(crate) fn login(&self) -> Option<Arc<Login>> {
        self.read().login.clone()
    }

    /// The login, or the refusal of what needs one.
    pub(crate) fn logged_in(&self) -> Result<Arc<Login>> {
        Ok(self.login().ok_or(CKR_USER_NOT_LOGGED_IN)?)
    }

    /// Logs the application in through the session of that handle, which may have been closed while the HSM was
    /// asked.
    pub(crate) fn set_login(&self, handle: CK_SESSION_HANDLE, login: Login) -> Result {
        let mut table = self.write();
        if !table.sessions.contains_key(&handle) {
            return Err(CKR_SESSION_HANDLE_INVALID.into());
        }
        if table.login.is_some() {
            return Err(CKR_USER_ALREADY_LOGGED_IN.into());
        }
        table.login = Some(Arc::new(login));
        Ok(())
    }

    /// Logs the application out: what to clean up in which sessions.
    pub(crate) fn take_login(&self) -> Result<(Arc<Login>, Vec<Arc<Session>>)> {
        let mut table = self.write();
        let login = table.login.take().ok_or(CKR_USER_NOT_LOGGED_IN)?;
        Ok((login, table.sessions.values().cloned().collect()))
    }

    /// Drops what `fork` copied of the parent into a child, or what an unloaded module leaves: the API key is zeroized and the
    /// connections are closed without a word. Never waits: a lock that the parent held at that moment stays held in its child for ever.
    pub(crate) fn abandon(&self) {
        if let Ok(mut table) = self.table.try_write() {
            *table = Table::default();
        }
        self.client.forget_connections();
    }

    // Nothing can panic while the table is held with it half changed, so a poisoned one is whole.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The HSM answered something else than what it was asked.
pub(crate) fn not_an_answer() -> Failure {
    Failure::refused(Reason::HsmUnreachable.into(), Function::Other)
}
