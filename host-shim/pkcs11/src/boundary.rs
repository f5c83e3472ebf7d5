//! The C side: the only place in this library with `unsafe`.
//!
//! * `entry`: the macro that makes every `C_*` function, and the way out of each: a return value, never a panic;
//! * [`functions`] and [`functions_v3`]: what each `C_*` function takes, and which safe function answers it;
//! * [`lists`]: the function lists and interfaces that applications get;
//! * `memory`: the application's memory. What comes in is copied before anything else happens; what goes out is
//!   written through types that know how much room there is;
//! * `process`: the module of this process, across `C_Initialize`, `C_Finalize` and `fork`.

mod entry;
#[allow(non_snake_case, unsafe_code, reason = "the names are the standard's, and C calls these functions")]
pub mod functions;
#[allow(non_snake_case, unsafe_code, reason = "the names are the standard's, and C calls these functions")]
pub mod functions_v3;
#[allow(unsafe_code, reason = "the interfaces that the standard wants to be shared hold raw pointers")]
pub mod lists;
#[allow(unsafe_code, reason = "the memory belongs to a C application")]
pub(crate) mod memory;
#[allow(unsafe_code, reason = "a process that was forked must not touch any lock of its parent's")]
mod process;
