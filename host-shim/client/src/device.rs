//! What a user's own device does, in Rust: the command line is one, and an app can be another.
//!
//! `docs/approvals.md` is the contract. A [`Device`] trusts one thing, the fingerprint of the HSM's root, which it has from
//! somewhere else than the backend ([`Root`]). Everything that comes through a [`Carrier`] is checked down from there, and
//! nothing that was not checked is ever returned: what is wrong is a [`Distrust`] with a stable word.
//!
//! ```no_run
//! use countersign_client::device::{Device, DeviceError, HttpRelay, Keys, Owner, Root};
//! # fn show(_: &str) {}
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let relay = HttpRelay::new("http://127.0.0.1:8787")?;
//! let root: Root = "<64 hex digits, from the custodian's ceremony>".parse()?;
//! let owner = Owner { tenant: "default".parse()?, account: "alice".parse()? };
//! let keys = Keys::of_secret(&[7; 32]); // 32 random bytes, kept encrypted
//! let device = Device::connect(&relay, &root, None, owner, keys)?;
//! let seen = device.view([9; 16])?; // the intent's id, from a link
//! show(&seen.view().summary); // all of it, warnings first
//! device.approve(&seen, "492039")?;
//! # Ok(()) }
//! ```
//!
//! * `act`: confirm, unlock, freeze, cancel a recovery; the account and its history;
//! * [`addresses`]: that an address is what a key gives;
//! * [`carrier`]: how messages travel: the HSM's socket, or a relay;
//! * `enrol`: a new account, and what is checked before its QR code is shown;
//! * `intent`: what is to be approved, and approving it;
//! * [`receipt`]: receipts, and checking them offline;
//! * [`trust`]: what a device trusts, and why it does not trust an answer.

mod act;
pub mod addresses;
pub mod carrier;
mod enrol;
mod intent;
pub mod receipt;
pub mod trust;

pub use act::{AccountSeen, Codes};
pub use carrier::{Carrier, HttpRelay, NotARelay};
pub use enrol::{Enrolled, Invitation};
pub use intent::{IntentSeen, context_pin};
pub use receipt::{ReceiptFile, VerifiedReceipt};
pub use trust::{DeviceError, Distrust, Hsm, NotARoot, Root};

/// What the HSM signs, as it is read.
pub use countersign_approvals::statement;

use countersign_approvals::es256::SigningKey;
use countersign_approvals::sealed::OpeningKey;
use countersign_approvals::statement::Signed;
use countersign_wire::client::{Act, Answer};
use countersign_wire::device::{DeviceId, SignedStatement};
use countersign_wire::names::{AccountName, TenantName};
use serde_bytes::ByteArray;

/// Whose device it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The custodian's name on the HSM.
    pub tenant: TenantName,
    /// The user's.
    pub account: AccountName,
}

/// A device's two key pairs, both derived from one secret. Zeroized on drop, never printed.
pub struct Keys {
    signing: SigningKey,
    sealing: OpeningKey,
}

impl Keys {
    /// The keys of 32 secret random bytes. Whoever has these is the device: keep them encrypted.
    pub fn of_secret(secret: &[u8; 32]) -> Self {
        Self {
            signing: SigningKey::derive(secret, "countersign device key"),
            sealing: OpeningKey::derive(secret, "countersign device sealing key"),
        }
    }

    /// How the device is named in messages: the first 16 bytes of SHA-256 of its public key.
    pub fn device_id(&self) -> DeviceId {
        ByteArray::new(self.signing.public_key().device_id())
    }
}

/// A device that knows whom it talks to: its HSM's identity was checked down from the root that it trusts.
pub struct Device<'a> {
    carrier: &'a dyn Carrier,
    hsm: Hsm,
    owner: Owner,
    keys: Keys,
}

impl<'a> Device<'a> {
    /// Asks for the HSM's identity and checks it. Do so at each start: an HSM whose image was replaced has other keys.
    ///
    /// `known` is the HSM's id where the device has met it before.
    pub fn connect(
        carrier: &'a dyn Carrier,
        root: &Root,
        known: Option<[u8; 16]>,
        owner: Owner,
        keys: Keys,
    ) -> Result<Self, DeviceError> {
        let hsm = Hsm::identify(carrier, root)?;
        if known.is_some_and(|known| known != hsm.identity().hsm) {
            return Err(Distrust::OtherHsm.into());
        }
        Ok(Self { carrier, hsm, owner, keys })
    }

    /// The HSM that it talks to.
    pub fn hsm(&self) -> &Hsm {
        &self.hsm
    }

    /// Whose device it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    fn ask(&self, act: Act) -> Result<Answer, DeviceError> {
        Ok(self.carrier.carry(act)?)
    }

    /// That a statement is about this HSM and this account.
    fn is_ours(&self, hsm: &[u8; 16], tenant: &str, account: &str) -> Result<(), Distrust> {
        if *hsm != self.hsm.identity().hsm {
            return Err(Distrust::OtherHsm);
        }
        if tenant != self.owner.tenant.as_str() || account != self.owner.account.as_str() {
            return Err(Distrust::OtherAccount);
        }
        Ok(())
    }
}

/// As the approvals crate has it.
fn signed(wire: &SignedStatement) -> Signed {
    Signed { statement: wire.statement.to_vec(), signature: wire.signature.into_array() }
}

/// Fresh random bytes. Ends the process if the system has no randomness: nothing safe could follow.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("a running Linux system always has random bytes");
    bytes
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
