//! The Rust client of a Countersign HSM.
//!
//! It lives outside the boundary and is trusted with nothing: it carries requests to the HSM's socket and answers
//! back. What it owes its caller is to never hang, never guess and never do a thing twice:
//!
//! * every call ends within the configured time, whatever the other side does;
//! * a reply is taken only if it is the strict encoding of an answer to exactly this request; anything else is
//!   [`Reason::HsmUnreachable`](countersign_wire::reason::Reason::HsmUnreachable), and the connection is dropped;
//! * after a lost connection a request is sent again, under the same id, only where doing so is harmless;
//! * the socket must be served by the expected user, or nothing is sent at all;
//! * it is safe under threads and forks: no call waits for another one's lock, and a connection made by one
//!   process is never used by another.
//!
//! Modules:
//!
//! * [`config`]: `host.toml`, and where the API key comes from;
//! * [`client`]: [`Client`], one call after the other or many at once;
//! * [`control`]: the development-only channel that advances a manual clock;
//! * `device`, with the feature of that name: what a user's own device does, and how it knows what it is talking to;
//! * `log`, with the feature of that name: the tenant's audit log: export, verification, proofs, witnesses;
//! * `connection`: one socket: connecting, deadlines, frames;
//! * `pool`: the idle connections.

pub mod client;
pub mod config;
mod connection;
pub mod control;
#[cfg(feature = "device")]
pub mod device;
#[cfg(test)]
mod fake_hsm;
#[cfg(feature = "log")]
pub mod log;
mod pool;
#[cfg(feature = "properties")]
pub mod properties;

pub use client::{Client, new_request_id};
pub use config::{ConfigError, HostConfig, Located, Place};
pub use control::{ControlError, advance_clock};
