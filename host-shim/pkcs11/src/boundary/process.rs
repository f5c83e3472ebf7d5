//! The module of this process, across `C_Initialize`, `C_Finalize` and `fork`.
//!
//! After `fork` a child has to call `C_Initialize` itself before it can use Cryptoki (PKCS#11 usage guide, "Applications
//! and processes").
//!
//! A child inherits its parent's memory but none of its threads: a lock that some thread of the parent held at the
//! moment of `fork` stays locked in the child for ever. So what belongs to a process is found through one atomic
//! pointer and says whose it is; a child makes its own and never waits for a lock of its parent's.
//!
//! Every call that uses the module is counted, so that `C_Finalize` can wait for those that are under way. None waits
//! for ever: each request to the HSM ends within the configured time.

use crate::failure::Result;
use crate::module::Module;
use cryptoki_sys::{CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED};
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

/// What belongs to one process.
struct Process {
    pid: u32,
    running: RwLock<Option<Arc<Running>>>,
}

/// One module, from its `C_Initialize` to its `C_Finalize`, and how many calls are using it.
struct Running {
    module: Module,
    calls: Mutex<usize>,
    call_ended: Condvar,
}

/// One call that is under way; until this is dropped, `C_Finalize` waits.
pub(super) struct Call(Arc<Running>);

impl Call {
    fn begin(running: &Arc<Running>) -> Self {
        *running.calls.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(Arc::clone(running))
    }
}

impl Deref for Call {
    type Target = Module;

    fn deref(&self) -> &Module {
        &self.0.module
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        *self.0.calls.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.call_ended.notify_all();
    }
}

impl Running {
    /// Returns once no call is under way. None begins meanwhile: the caller has taken the module out.
    fn wait_for_calls(&self) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let none = self.call_ended.wait_while(calls, |calls| *calls > 0);
        drop(none.unwrap_or_else(PoisonError::into_inner));
    }
}

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());

/// The newest [`Process`], be it this one or the parent that this one was forked from.
fn newest() -> Option<&'static Process> {
    // SAFETY: null, or a leaked box of `mine`, which nothing ever frees or changes but through its own lock.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

/// This process's, if it has ever been initialised.
fn current() -> Option<&'static Process> {
    newest().filter(|process| process.pid == std::process::id())
}

/// This process's, made if need be. A few bytes are leaked for each generation of processes that initialises.
fn mine() -> &'static Process {
    loop {
        if let Some(process) = current() {
            return process;
        }
        let inherited = newest();
        let fresh = Box::new(Process { pid: std::process::id(), running: RwLock::new(None) });
        let before = inherited.map_or(ptr::null_mut(), |process| ptr::from_ref(process).cast_mut());
        let fresh = Box::into_raw(fresh);
        if CURRENT.compare_exchange(before, fresh, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            if let Some(inherited) = inherited {
                abandon(inherited);
            }
        } else {
            // SAFETY: made by `Box::into_raw` above, and as it was not put into `CURRENT`, nobody else has it.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

/// Lets go of what a forked child inherited, or an unloaded module leaves, as far as that needs no waiting.
fn abandon(inherited: &Process) {
    if let Ok(mut running) = inherited.running.try_write()
        && let Some(running) = running.take()
    {
        running.module.abandon();
    }
}

/// What the loader calls when the module is unloaded, and at the end of the process.
///
/// Some clients unload without `C_Finalize` (pkcs11js: its `close` is `dlclose`). The memory of a module that is gone is
/// reached by nobody any more, and without this the API key would stay in it, and its connections open.
#[used]
// SAFETY: an element of `.fini_array` is a function without arguments and without a result, as this is.
#[unsafe(link_section = ".fini_array")]
static UNLOADED: extern "C" fn() = unloaded;

/// As after `fork`, nothing is waited for: at the end of a process, other threads may be anywhere. A child lets go of what it inherited.
extern "C" fn unloaded() {
    // There is nobody left to be told.
    let _ = std::panic::catch_unwind(|| newest().map(abandon));
}

/// The module, if it is initialised, for one call.
pub(super) fn module() -> Result<Call> {
    let process = current().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?;
    let running = process.running.read().unwrap_or_else(PoisonError::into_inner);
    Ok(running.as_ref().map(Call::begin).ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?)
}

/// Initialises: of threads that race, exactly one makes the module.
pub(super) fn initialize(make: impl FnOnce() -> Result<Module>) -> Result {
    let mut running = mine().running.write().unwrap_or_else(PoisonError::into_inner);
    if running.is_some() {
        return Err(CKR_CRYPTOKI_ALREADY_INITIALIZED.into());
    }
    *running = Some(Arc::new(Running { module: make()?, calls: Mutex::new(0), call_ended: Condvar::new() }));
    Ok(())
}

/// Takes the module out, so that no call begins any more, waits for those that are under way, and stops it.
pub(super) fn finalize(stop: impl FnOnce(&Module)) -> Result {
    let process = current().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?;
    let taken = process.running.write().unwrap_or_else(PoisonError::into_inner).take();
    let running = taken.ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?;
    running.wait_for_calls();
    stop(&running.module);
    Ok(())
}
