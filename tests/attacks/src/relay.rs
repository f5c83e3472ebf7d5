//! The relay of the attacker, and a user whose device goes through it.

use countersign_client::device::{Carrier, Device, DeviceError};
use countersign_tests::owner::{device, enrol, plan_with_floor};
use countersign_tests::phone::Phone;
use countersign_tests::{Hsm, transactions};
use countersign_wire::client::Mechanism::Ethereum;
use countersign_wire::client::{Act, Answer, ApprovalKind, Payload};
use countersign_wire::reason::{Reason, Refusal};
use std::cell::{Cell, RefCell};

/// The attacker's relay: keeps what the device does, and lets it pass or not.
pub(crate) struct Relay<'a> {
    hsm: &'a Hsm,
    kept: RefCell<Vec<Act>>,
    withholds: Cell<bool>,
}

impl<'a> Relay<'a> {
    pub(crate) fn to(hsm: &'a Hsm) -> Self {
        Self { hsm, kept: RefCell::default(), withholds: Cell::new(false) }
    }

    /// What passed last.
    pub(crate) fn kept(&self) -> Act {
        self.kept.borrow().last().expect("something passed").clone()
    }

    /// What the device does in this step, of which nothing reaches the HSM.
    pub(crate) fn keep(&self, step: impl FnOnce() -> Result<(), DeviceError>) -> Act {
        let before = self.kept.borrow().len();
        self.withholds.set(true);
        step().expect_err("nothing came back");
        self.withholds.set(false);
        assert_eq!(self.kept.borrow().len(), before + 1, "the step does one thing");
        self.kept()
    }
}

impl Carrier for Relay<'_> {
    fn carry(&self, act: Act) -> Result<Answer, Refusal> {
        if matches!(act, Act::Approve(_) | Act::Decline(_) | Act::DeviceAct(_)) {
            self.kept.borrow_mut().push(act.clone());
            if self.withholds.get() {
                return Err(Reason::HsmUnreachable.into());
            }
        }
        self.hsm.client.carry(act)
    }
}

pub(crate) fn transfer(nonce: u64) -> Payload {
    transactions::payload(&transactions::transfer(nonce))
}

/// Alice with her device, enrolled through the relay; her key takes approvals of hers alone.
pub(crate) fn owner<'a>(hsm: &Hsm, relay: &'a Relay<'_>) -> (Device<'a>, Phone) {
    let owner = device(hsm, relay, "alice", 1).expect("the device meets its HSM");
    let phone = enrol(hsm, &owner, "alice", plan_with_floor(&[Ethereum], ApprovalKind::SealedCode));
    hsm.advance(60);
    (owner, phone)
}
