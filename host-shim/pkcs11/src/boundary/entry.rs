//! The way into and out of every `C_*` function.

use crate::failure::{Failure, Result};
use cryptoki_sys::{CK_RV, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL, CKR_GENERAL_ERROR, CKR_OK};
use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set to anything but an empty text, it makes the module write a line to standard error for each call that fails.
const LOG_ENV: &str = "COUNTERSIGN_LOG";

static LOG: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is inside a `C_*` function.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Reads [`LOG_ENV`] and has panics go by it. Done in `C_Initialize` only, where an application can be expected not
/// to change its environment at the same time.
pub(super) fn read_log_setting() {
    static DONE: AtomicBool = AtomicBool::new(false);
    LOG.store(std::env::var_os(LOG_ENV).is_some_and(|value| !value.is_empty()), Ordering::Relaxed);
    // Not a `Once`: a forked child could wait for ever for one that its parent was about to finish.
    if !DONE.swap(true, Ordering::Relaxed) {
        take_over_own_panics();
    }
}

/// Has a panic inside a `C_*` function reported like any other failure, without the message that comes with it.
///
/// As a shared library the module has a Rust runtime of its own, so no hook of the application's is touched. Where it
/// is linked into a Rust program, all other panics stay with the hook that was there before.
fn take_over_own_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| if INSIDE.get() { log_panic(panic) } else { before(panic) }));
}

/// Runs a safe function and turns how it went into a return value. A panic ends here, as `CKR_GENERAL_ERROR`.
pub(super) fn enter(name: &str, call: impl FnOnce() -> Result) -> CK_RV {
    INSIDE.set(true);
    // Whatever a panicking call had locked repairs itself when it is locked next: see `Session::lock`.
    let outcome = catch_unwind(AssertUnwindSafe(call));
    INSIDE.set(false);
    match outcome {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(failure)) => {
            log(name, &failure);
            failure.rv
        }
        Err(payload) => {
            // Dropping it could run code that panics again.
            core::mem::forget(payload);
            CKR_GENERAL_ERROR
        }
    }
}

/// Function, return value and reason: nothing that the application passed in. Two return values are how clients
/// ask what there is and how long it is, and would drown the others.
fn log(name: &str, failure: &Failure) {
    let asking = [CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL].contains(&failure.rv);
    if LOG.load(Ordering::Relaxed) && !asking {
        // There is nowhere to report that standard error cannot be written.
        let _ = writeln!(std::io::stderr(), "countersign: {name}: {failure}");
    }
}

/// Where it happened, and nothing else: a message could hold what the application passed in.
fn log_panic(panic: &PanicHookInfo<'_>) {
    if LOG.load(Ordering::Relaxed)
        && let Some(place) = panic.location()
    {
        let _ = writeln!(std::io::stderr(), "countersign: a fault of the module at {place}");
    }
}

/// Makes `C_*` functions out of safe ones.
///
/// `fn C_Name(arguments) with module { … }` needs a module that is initialised, without `with module` it does not.
/// The block is the one place where the arguments' raw pointers are taken over by the types of `memory`.
macro_rules! c_functions {
    ($(
        $(#[$meta:meta])*
        fn $name:ident($($argument:tt: $type:ty),* $(,)?) $(with $module:ident)? $body:block
    )*) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        ///
        /// Every pointer is as PKCS#11 section 5.2 wants it: `NULL`, or valid during the call for as many
        /// elements as the length beside it says, and not used by another thread in that time.
        #[allow(unused_unsafe, reason = "some of these functions take no pointer")]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> cryptoki_sys::CK_RV {
            $crate::boundary::entry::enter(stringify!($name), || {
                $(
                    let module = $crate::boundary::process::module()?;
                    let $module = &*module;
                )?
                // SAFETY: the caller keeps the contract above, which is the one that the constructors in `memory`
                // ask for; they refuse `NULL` where it has no meaning, and nothing they make outlives this call.
                unsafe { $body }
            })
        }
    )*};
}

/// Makes functions that only check their session and are not supported, and lists their names in `UNSUPPORTED`.
macro_rules! unsupported_in_session {
    ($($name:ident($($type:ty),*);)*) => {
        $crate::boundary::entry::c_functions! {$(
            /// Not supported.
            fn $name(session: CK_SESSION_HANDLE, $(_: $type),*) with module {
                $crate::unsupported::in_session(module, session)
            }
        )*}

        /// The functions here that only check their session and are not supported.
        pub const UNSUPPORTED: &[&str] = &[$(stringify!($name)),*];
    };
}

pub(super) use {c_functions, unsupported_in_session};

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki_sys::CKR_PIN_INCORRECT;

    #[test]
    fn a_panic_never_crosses_the_boundary() {
        struct PanicsWhenDropped;
        impl Drop for PanicsWhenDropped {
            fn drop(&mut self) {
                assert!(std::thread::panicking(), "dropped outside of unwinding");
            }
        }
        assert_eq!(enter("C_Test", || panic!("on purpose")), CKR_GENERAL_ERROR);
        assert_eq!(enter("C_Test", || std::panic::panic_any(PanicsWhenDropped)), CKR_GENERAL_ERROR);
        assert_eq!(enter("C_Test", || Err(CKR_PIN_INCORRECT.into())), CKR_PIN_INCORRECT);
        assert_eq!(enter("C_Test", || Ok(())), CKR_OK);
    }

    #[test]
    fn only_panics_inside_a_call_are_kept_from_the_hook_that_was_there_before() {
        use std::sync::atomic::AtomicUsize;
        static HEARD: AtomicUsize = AtomicUsize::new(0);
        let (this_thread, before) = (std::thread::current().id(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().id() == this_thread {
                HEARD.fetch_add(1, Ordering::Relaxed);
            } else {
                before(panic);
            }
        }));
        take_over_own_panics();
        assert_eq!(enter("C_Test", || panic!("on purpose")), CKR_GENERAL_ERROR);
        assert_eq!(HEARD.load(Ordering::Relaxed), 0);
        assert!(catch_unwind(|| panic!("on purpose")).is_err());
        assert_eq!(HEARD.load(Ordering::Relaxed), 1);
        drop(std::panic::take_hook());
    }
}
