//! The way into and out of every `C_*` function.

use crate::failure::{Failure, Result};
use cryptoki_sys::{CK_RV, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL, CKR_GENERAL_ERROR, CKR_OK};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set to anything but an empty text, it makes the module write a line to standard error for each call that fails.
const LOG_ENV: &str = "COUNTERSIGN_LOG";

static LOG: AtomicBool = AtomicBool::new(false);

/// Reads [`LOG_ENV`]. Done in `C_Initialize` only, where an application can be expected not to change its
/// environment at the same time.
pub(super) fn read_log_setting() {
    LOG.store(std::env::var_os(LOG_ENV).is_some_and(|value| !value.is_empty()), Ordering::Relaxed);
}

/// Runs a safe function and turns how it went into a return value. A panic ends here, as `CKR_GENERAL_ERROR`.
pub(super) fn enter(name: &str, call: impl FnOnce() -> Result) -> CK_RV {
    // Whatever a panicking call had locked repairs itself when it is locked next: see `Session::lock`.
    match catch_unwind(AssertUnwindSafe(call)) {
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
}
