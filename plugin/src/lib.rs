//! The Countersign plugin: it runs inside the HSM boundary, holds a custodian's ECDSA keys and each user's second
//! factor, and releases no signature before the user's approval was checked and spent here.
//!
//! # Principles
//! * It sees the world only through [`hal`]. No file, no socket, no clock, no randomness of its own.
//! * Every way to a signature goes through [`signing`], one file that reads top to bottom.
//! * Any doubt is a refusal. An error in a read, a parse, the clock, the RNG or the keystore never passes.
//! * No reply leaves before the change it reports is durable.
//! * Given the request, the state, the time and the random bytes, every decision is determined.
//!
//! # Where things are
//! | module | what |
//! | --- | --- |
//! | [`machine`] | the loop: deliveries in, outputs out, tasks in between; what a firmware or a simulation drives |
//! | [`hal`] | the seam to the firmware: randomness, store, NVRAM, keystore as awaitable calls |
//! | `gate` | strict decoding, the API key, dispatch, the audit of refusals |
//! | [`signing`] | the life of a signature |
//! | `approval` | count first, check, spend: the only maker of grants |
//! | `given` | what a signature is approved with: something offered now, a grant of this boot, or an approval from before |
//! | `evidence` | what a device or a passkey says, verified |
//! | `staging`, `staged` | intents that wait for the user's approval on a device |
//! | `identity` | who the plugin is to devices: its keys, endorsed by the root |
//! | `invitation` | sealed enrolment |
//! | `device_acts` | what a device does to its account: look, confirm, unlock, freeze |
//! | `receipts` | what was signed, as signed statements |
//! | `grant` | one unused right to sign one intent once |
//! | [`totp`] | RFC 6238 codes, compared in constant time |
//! | [`limits`] | locks and failure budgets |
//! | [`intent`] | what is to be signed, decoded and hashed inside |
//! | [`ecdsa`] | verification before release, low-S, the parity of R |
//! | `enrolment` | accounts: enrol, confirm, unlock, show |
//! | `keys` | keys: make and find |
//! | [`record`] | what one account's and one tenant's sealed record holds |
//! | [`store`] | the sealed log, its table, its head in NVRAM, group commit |
//! | [`clock`] | the time floor, and running time for delays |
//! | `wallet` | an account's wallet root, and the keys below it |
//! | `turns` | strict order of requests on one account |
//! | `retry` | the same request again gets the same signature |
//! | `audit` | what is recorded of every decision, and its text in the tenant's log |
//! | `audit_log` | that log, as its tenant may read it: checkpoints and entries |
//! | `room` | room on the store's disk, and what is refused when there is little |
//! | `attestation` | what the plugin says of itself when the HSM attests |

#![forbid(unsafe_code)]

mod approval;
mod attestation;
mod audit;
mod audit_log;
pub mod clock;
mod device_acts;
pub mod ecdsa;
mod enrolment;
mod evidence;
mod gate;
mod given;
mod grant;
pub mod hal;
mod identity;
pub mod intent;
mod invitation;
mod keys;
pub mod limits;
pub mod machine;
#[cfg(any(test, feature = "properties"))]
pub mod properties;
mod receipts;
pub mod record;
mod refusals;
mod retry;
mod room;
pub mod signing;
mod staged;
mod staging;
pub mod store;
mod tenants;
#[cfg(feature = "properties")]
pub mod timing;
pub mod totp;
mod turns;
mod wallet;

/// The version that the plugin reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
