//! The module of this process, across `C_Initialize`, `C_Finalize` and `fork`.
//!
//! After `fork` a child has to call `C_Initialize` itself before it can use Cryptoki (PKCS#11 usage guide, "Applications
//! and processes").
//!
//! A child inherits its parent's memory but none of its threads: a lock that some thread of the parent held at the
//! moment of `fork` stays locked in the child for ever. So what belongs to a process is found through one atomic
//! pointer and says whose it is; a child makes its own and never waits for a lock of its parent's.

use crate::failure::Result;
use crate::module::Module;
use cryptoki_sys::{CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What belongs to one process.
struct Process {
    pid: u32,
    module: RwLock<Option<Arc<Module>>>,
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
        let fresh = Box::new(Process { pid: std::process::id(), module: RwLock::new(None) });
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

/// Lets go of what a forked child inherited, as far as that needs no waiting.
fn abandon(inherited: &Process) {
    if let Ok(mut module) = inherited.module.try_write()
        && let Some(module) = module.take()
    {
        module.abandon_after_fork();
    }
}

/// The module, if it is initialised.
pub(super) fn module() -> Result<Arc<Module>> {
    let process = current().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?;
    let module = process.module.read().unwrap_or_else(PoisonError::into_inner);
    Ok(module.clone().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?)
}

/// Initialises: of threads that race, exactly one makes the module.
pub(super) fn initialize(make: impl FnOnce() -> Result<Module>) -> Result {
    let mut module = mine().module.write().unwrap_or_else(PoisonError::into_inner);
    if module.is_some() {
        return Err(CKR_CRYPTOKI_ALREADY_INITIALIZED.into());
    }
    *module = Some(Arc::new(make()?));
    Ok(())
}

/// Takes the module out. Calls that are under way keep it until they return.
pub(super) fn finalize() -> Result<Arc<Module>> {
    let process = current().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?;
    let mut module = process.module.write().unwrap_or_else(PoisonError::into_inner);
    Ok(module.take().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?)
}
