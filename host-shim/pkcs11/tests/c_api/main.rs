//! The module as a C application sees it: everything goes through the function list of `C_GetFunctionList`, and
//! over a real socket to an HSM that the tests play themselves.
#![allow(unsafe_code, reason = "these tests are a C application")]
#![allow(clippy::unwrap_used, reason = "whatever is wrong here fails the test, with the line it is in")]

mod application;
mod approvals;
mod certificates;
mod documentation;
mod fake_hsm;
mod general;
mod key_pairs;
mod lengths;
mod objects;
mod processes;
mod refusals;
mod sessions;
mod signing;
mod tokens;
