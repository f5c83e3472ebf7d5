//! Who the HSM is: its plugin's keys, endorsed by its root.

use super::codec::{statement, words};
use crate::es256::PublicKey;

words! {
    /// Where the HSM has its time from.
    pub enum ClockMode {
        /// A clock that runs.
        System = "system",
        /// A clock that stands until it is told: for tests alone, and shown as that.
        Manual = "manual",
    }
}

statement! {
    "countersign identity v1", |_| true,
    /// The plugin's two public keys, for one HSM and one measurement. Signed by the root.
    pub struct Identity {
        /// The HSM's id.
        hsm: [u8; 16],
        /// SHA-384 of the image.
        measurement: [u8; 48],
        /// Where it has its time from.
        clock: ClockMode,
        /// What it signs with.
        signing_key: PublicKey,
        /// What codes are sealed to.
        sealing_key: PublicKey,
    }
}
