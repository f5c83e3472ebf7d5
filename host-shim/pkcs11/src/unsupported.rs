//! What this module does not do.
//!
//! These functions are in the function lists, check what they are given as far as the standard asks first, and
//! return `CKR_FUNCTION_NOT_SUPPORTED`; the two of the old parallel interface return `CKR_FUNCTION_NOT_PARALLEL`.

use crate::failure::Result;
use crate::module::Module;
use crate::slot_token;
use cryptoki_sys::{CK_SESSION_HANDLE, CK_SLOT_ID, CKR_FUNCTION_NOT_PARALLEL, CKR_FUNCTION_NOT_SUPPORTED};

/// A function of the module as a whole.
pub(crate) fn always() -> Result {
    Err(CKR_FUNCTION_NOT_SUPPORTED.into())
}

/// A function of a slot.
pub(crate) fn in_slot(slot: CK_SLOT_ID) -> Result {
    slot_token::check(slot)?;
    always()
}

/// A function of a session.
pub(crate) fn in_session(module: &Module, session: CK_SESSION_HANDLE) -> Result {
    module.session(session)?;
    always()
}

/// `C_GetFunctionStatus` and `C_CancelFunction` (PKCS#11 v2.40 section 5.16).
pub(crate) fn not_parallel(module: &Module, session: CK_SESSION_HANDLE) -> Result {
    module.session(session)?;
    Err(CKR_FUNCTION_NOT_PARALLEL.into())
}
