//! The relay: carries messages between users' devices and the HSM, and may serve the users' page.
//!
//! It is trusted with nothing. What goes through it is sealed, signed, or public; it could drop a message, and no more.
//! What it owes its operator is to stay up and to let nothing else through:
//!
//! * it has no API key, and passes on no request that has one;
//! * it passes on what a device asks ([`Act::is_of_device`](countersign_wire::client::Act::is_of_device)) and nothing else,
//!   strictly decoded;
//! * sizes, times and connections are bounded in total, rates for each client address and in total;
//! * it keeps nothing, and writes no line about what it carried.
//!
//! Modules:
//!
//! * [`serve`]: [`serve()`], one relay from its first connection to its last;
//! * `carry`: `POST /v1/hsm`;
//! * `headers`: what each response says to browsers, and which other origins may read it;
//! * `limits`: who may ask how often;
//! * `metrics`: what its operator sees, on a port of its own;
//! * [`page`]: the users' page, read once, served as it was read;
//! * `refusal`: what is said to requests that are not passed on.

#![forbid(unsafe_code)]

mod carry;
#[cfg(test)]
#[path = "../../../client/src/fake_hsm.rs"]
mod fake_hsm;
mod headers;
mod limits;
mod metrics;
pub mod page;
mod refusal;
pub mod serve;

pub use page::{Page, PageError};
pub use serve::{Limits, Relay, RelayError, Serving, serve};
