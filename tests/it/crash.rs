//! kill -9, everywhere and at any time: no code accepted twice, no acknowledged change lost, and token and store open
//! every time. Each user's [`ledger::Ledger`] holds what was acknowledged; after each kill the HSM is held to it.
//!
//! * [`points`]: at every write of the HSM's process in turn.
//! * [`cleaning`]: while the log is cleaned, goes on in a new file and loses an old one.
//! * [`kills`]: at random moments under load, with the store in the attacker's hands between kill and start.

mod cleaning;
mod kills;
mod ledger;
mod oracle;
mod points;

/// Long enough for every failure that a round can leave behind to be forgiven: one each half day.
const BETWEEN_ROUNDS_SECS: u64 = 6 * 12 * 3600;
