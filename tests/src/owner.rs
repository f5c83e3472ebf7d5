//! A user with a device of his own, played by the Rust client over any carrier, and what his custodian's backend asks.

use crate::backend::{account, label};
use crate::hsm::{Hsm, TENANT};
use crate::phone::Phone;
use countersign_client::device::{Carrier, Device, DeviceError, Keys, Owner, Root};
use countersign_wire::client::{
    Act, Answer, Approval, ApprovalKind, Enroll, KeyPlan, Payload, Sign, Signed, StageSign, Staged, Subject,
    TotpParameters,
};
use countersign_wire::names::KeyLabel;
use countersign_wire::reason::Refusal;

/// The name of the key that an owner is enrolled with.
pub const OWNED_KEY: &str = "main";

/// The root that a user's device has pinned.
pub fn root_of(hsm: &Hsm) -> Root {
    hsm.initialised.root_fingerprint.parse().expect("init prints the root's fingerprint")
}

/// The full name of an owner's key.
pub fn owned_key(name: &str) -> KeyLabel {
    label(&format!("{name}/{OWNED_KEY}"))
}

/// A device of this user that has met the HSM.
pub fn device<'a>(
    hsm: &Hsm,
    carrier: &'a dyn Carrier,
    name: &str,
    secret: u8,
) -> Result<Device<'a>, DeviceError> {
    let owner = Owner { tenant: TENANT.parse().expect("a name"), account: account(name) };
    Device::connect(carrier, &root_of(hsm), None, owner, Keys::of_secret(&[secret; 32]))
}

/// The codes of the two time steps before the present one.
pub fn codes_before(hsm: &Hsm, phone: &Phone) -> [String; 2] {
    [-2, -1].map(|steps| phone.code_steps_off(hsm.now(), steps))
}

/// Enrols and confirms over this device; gives the authenticator.
pub fn enrol(hsm: &Hsm, device: &Device<'_>, name: &str, plan: KeyPlan) -> Phone {
    let enrolled = device.enroll(hsm.invite(name, plan)).expect("an invited device enrols");
    let phone = Phone::scan(enrolled.otpauth());
    let [first, second] = codes_before(hsm, &phone);
    device.confirm((&first, &second)).expect("two right codes confirm");
    phone
}

impl Hsm {
    /// Invites a device of a user's; gives the invitation's id.
    pub fn invite(&self, name: &str, plan: KeyPlan) -> [u8; 16] {
        let enroll = Enroll {
            account: account(name),
            totp: TotpParameters::default(),
            key: OWNED_KEY.parse().expect("a name"),
            plan,
        };
        match self.ask(Act::Invite(enroll)).expect("a new account can be invited") {
            Answer::Invited(invited) => invited.invitation.into_array(),
            other => panic!("not an invitation: {other:?}"),
        }
    }

    /// Stages something to be signed with an owner's key.
    pub fn stage(&self, name: &str, payload: Payload) -> Result<Staged, Refusal> {
        match self.ask(Act::Stage(Subject::Sign(StageSign { key: owned_key(name), payload })))? {
            Answer::Staged(staged) => Ok(staged),
            other => panic!("not staged: {other:?}"),
        }
    }

    /// Signs what the owner approved before.
    pub fn sign_approved(&self, name: &str, payload: Payload) -> Result<Signed, Refusal> {
        let act = Act::Sign(Sign { key: owned_key(name), payload, approval: Some(Approval::Prior) });
        match self.ask(act)? {
            Answer::Signed(signed) => Ok(signed),
            other => panic!("not a signature: {other:?}"),
        }
    }
}

/// A key of its own with this floor.
pub fn plan_with_floor(mechanisms: &[countersign_wire::client::Mechanism], floor: ApprovalKind) -> KeyPlan {
    KeyPlan { floor, ..KeyPlan::of(mechanisms.to_vec()) }
}
