//! Approvals bound to the transaction: what devices and the HSM sign, seal and hash, as `docs/approvals.md` has it.
//!
//! One crate for both sides: the plugin inside the boundary, and the devices outside that check what it says. It is pure:
//! no clock, no randomness of its own (whoever seals brings 32 random bytes), nothing read or sent.
//!
//! * [`es256`]: P-256 keys and signatures, in the one form that is accepted.
//! * [`digest`]: what an approval is bound to, and what a device signs.
//! * [`statement`]: what the HSM signs for devices, and what devices sign for the HSM.
//! * [`sealed`]: codes and secrets that only one reader can open (HPKE, RFC 9180).
//! * [`webauthn`]: passkeys, registered and asserted (WebAuthn level 3).
//! * `cbor`: the one encoding of statements (RFC 8949), written and read.
//!
//! Whatever is read is bounded in size, count and depth before anything is built from it, and is refused when it has
//! another form than the one that is written here. Each refusal has a stable `word()`.

#![forbid(unsafe_code)]

mod cbor;
pub mod digest;
pub mod es256;
#[cfg(any(test, feature = "properties"))]
pub mod properties;
pub mod sealed;
pub mod statement;
pub mod webauthn;

pub use cbor::Malformed;

#[cfg(test)]
mod tests;
