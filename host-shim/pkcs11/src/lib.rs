//! The PKCS#11 module of a Countersign HSM: `libcountersign_pkcs11.so`.
//!
//! It lives outside the boundary and is trusted with nothing. It turns the calls of PKCS#11 v2.40 (and v3.0's
//! interface list) into requests to the HSM, and the HSM's refusals into return values. Every decision about a
//! signature is the HSM's: where this module refuses by itself, it does so to save the user a code, never in place
//! of the HSM. What each function does is in `docs/pkcs11.md`.
//!
//! Principles:
//!
//! * `unsafe` is in [`boundary`] alone: it copies what comes in, wraps what goes out, and calls safe functions.
//!   Every `C_*` function goes through one macro, and no panic leaves it.
//! * No lock that two sessions share is held while the HSM is asked, so sessions run in parallel.
//! * A size query or `CKR_BUFFER_TOO_SMALL` never ends an operation, signs, or spends a code.
//! * Handles of sessions and objects are never used twice in one process.
//! * Keys live in the HSM only; of secrets this process holds the API key while logged in, and a code while it is
//!   being sent. Both are zeroized.
//!
//! Modules, after the chapters of the standard (PKCS#11 v2.40, section 5):
//!
//! * `general`: initialising, versions, interfaces (5.4);
//! * `slot_token`: the one slot and its token (5.5);
//! * `session`: sessions and logins (5.6);
//! * `objects`: handles and attributes of keys and their certificates, and `search`: finding them (5.7);
//! * `sign`: signing, and the login each signature needs (5.11); `context_pin`: what its PIN can be;
//! * `key_generation`: new keys, and what cannot be done with keys (5.14);
//! * `random`: random bytes (5.15);
//! * `unsupported`: what this module does not do.
//!
//! Beside them: [`failure`] maps every refusal to its return value, [`mechanism`], `attributes` and `certificate` say
//! what the token's mechanisms and objects look like, `module` is the state between `C_Initialize` and `C_Finalize`, and
//! [`boundary`] is the C side of it all.

mod attributes;
pub mod boundary;
mod certificate;
mod context_pin;
pub mod failure;
mod general;
mod key_generation;
pub mod mechanism;
mod module;
mod objects;
#[cfg(feature = "properties")]
pub mod properties;
mod random;
mod search;
mod session;
mod sign;
mod slot_token;
pub mod unsupported;

pub use attributes::{
    CKA_COUNTERSIGN_DESCRIPTOR, CKA_COUNTERSIGN_ETHEREUM_ADDRESS, CKA_COUNTERSIGN_FLOOR,
    CKA_COUNTERSIGN_NETWORK, CKA_COUNTERSIGN_PATH, CKA_COUNTERSIGN_XPUB,
};
pub use boundary::functions::C_GetFunctionList;
pub use boundary::functions_v3::{C_GetInterface, C_GetInterfaceList};
pub use mechanism::{
    CKM_COUNTERSIGN_ETHEREUM, CKM_COUNTERSIGN_MESSAGE, CKM_COUNTERSIGN_PSBT, CKM_COUNTERSIGN_TYPED_DATA,
};

#[cfg(not(panic = "unwind"))]
compile_error!("a panic must not take the host process down: build this library with panic = \"unwind\"");
