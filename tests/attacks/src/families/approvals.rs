//! What the user's own device approves, on its way through the attacker's relay and backend.

use crate::attack::{Attack, Family, On, Tries};
use crate::relay::{Relay, owner, transfer};
use countersign_client::device::{Carrier, Device, DeviceError};
use countersign_tests::owner::owned_key;
use countersign_tests::phone::Phone;
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::Ethereum;
use countersign_wire::client::{Act, Answer};
use countersign_wire::device::{Approve, Evidence};

pub(crate) const FAMILY: Family = Family {
    name: "approvals",
    title: "The user approves one transaction on his own device; the relay and the backend want another",
    invariants: &["I1", "I2"],
    attacks: &[
        Attack {
            name: "approve-one-sign-another",
            had: "a transaction that the user approved on his device",
            does: "signs another one with that approval: natively and through PKCS#11's data",
            guards: &["approved-intent"],
            faults: &[],
            on: On::Both,
            play: approve_one_sign_another,
        },
        Attack {
            name: "approval-for-another-intent",
            had: "what the user's device sent to approve one intent",
            does: "sends it on as the approval of another one, whose id he puts in its place",
            guards: &["device-signature"],
            faults: &[],
            on: On::Both,
            play: approval_for_another_intent,
        },
        Attack {
            name: "approved-once-signed-twice",
            had: "a transaction that the user approved and that was signed",
            does: "signs it again, sends the approval again, stages it again and sends the approval again",
            guards: &["approval-used-up"],
            faults: &[],
            on: On::Both,
            play: approved_once_signed_twice,
        },
        Attack {
            name: "plain-code-for-a-stronger-key",
            had: "a plain code that the user typed into the backend's page, for a key that takes approvals of his device alone",
            does: "signs with it natively and logs in with it",
            guards: &["floor"],
            faults: &[],
            on: On::Both,
            play: plain_code_for_a_stronger_key,
        },
    ],
};

fn approve(hsm: &Hsm, owner: &Device<'_>, phone: &Phone, nonce: u64) -> Result<(), DeviceError> {
    let intent = hsm.stage("alice", transfer(nonce)).expect("staged").intent.into_array();
    let seen = owner.view(intent).expect("shown");
    owner.approve(&seen, &phone.code(hsm.now()))
}

fn approve_one_sign_another(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::to(&hsm);
    let (owner, phone) = owner(&hsm, &relay);
    approve(&hsm, &owner, &phone, 1).expect("she approves the first");
    for nonce in [2, 3] {
        tries.ask(
            "another transaction than the one that was approved",
            hsm.sign_approved("alice", transfer(nonce)),
        );
    }
    let module = hsm.ask(Act::FindKeys(countersign_wire::client::KeyQuery::Label(owned_key("alice"))));
    let Ok(Answer::Keys(keys)) = module else { panic!("the key is listed") };
    let operation = countersign_tests::backend::operation(&keys.keys[0], Ethereum);
    let sign = countersign_wire::client::ContextSign { operation, payload: transfer(2) };
    tries.ask("another transaction through PKCS#11", hsm.ask(Act::ContextSign(sign)));
    if tries.got.is_empty() {
        hsm.sign_approved("alice", transfer(1)).expect("the one that she approved is signed");
    }
}

fn approval_for_another_intent(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::to(&hsm);
    let (owner, phone) = owner(&hsm, &relay);
    let other = hsm.stage("alice", transfer(2)).expect("staged").intent;
    let Act::Approve(held) = relay.keep(|| approve(&hsm, &owner, &phone, 1)) else { panic!("an approval") };
    let Evidence::SealedCode(_) = held.evidence else { panic!("a sealed code") };
    tries.ask(
        "an approval of another intent",
        hsm.client.carry(Act::Approve(Approve { intent: other, ..held.clone() })),
    );
    tries.ask("the other transaction signed", hsm.sign_approved("alice", transfer(2)));
    if tries.got.is_empty() {
        hsm.client.carry(Act::Approve(held)).expect("for the intent that she saw it is good");
        hsm.sign_approved("alice", transfer(1)).expect("and that is signed");
    }
}

fn approved_once_signed_twice(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::start(keystore);
    let held = {
        let relay = Relay::to(&hsm);
        let (owner, phone) = owner(&hsm, &relay);
        approve(&hsm, &owner, &phone, 1).expect("she approves it");
        hsm.sign_approved("alice", transfer(1)).expect("it is signed, once");
        let Act::Approve(held) = relay.kept() else { panic!("an approval") };
        held
    };
    tries.ask("a second signature", hsm.sign_approved("alice", transfer(1)));
    tries.ask("the approval a second time", hsm.client.carry(Act::Approve(held.clone())));
    let again = hsm.stage("alice", transfer(1)).expect("staged").intent;
    tries.ask(
        "the approval for it staged again",
        hsm.client.carry(Act::Approve(Approve { intent: again, ..held.clone() })),
    );
    tries.ask("a signature of it staged again", hsm.sign_approved("alice", transfer(1)));
    hsm.kill_and_run();
    tries.ask("the approval after a restart", hsm.client.carry(Act::Approve(held)));
    tries.ask("a signature after a restart", hsm.sign_approved("alice", transfer(1)));
}

fn plain_code_for_a_stronger_key(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::to(&hsm);
    let (_owner, phone) = owner(&hsm, &relay);
    let code = phone.code(hsm.now());
    let sign = countersign_tests::backend::sign_act(&owned_key("alice"), transfer(1), Some(&code));
    tries.ask("a signature for a plain code", hsm.ask(sign));
    let Ok(Answer::Keys(keys)) =
        hsm.ask(Act::FindKeys(countersign_wire::client::KeyQuery::Label(owned_key("alice"))))
    else {
        panic!("the key is listed")
    };
    let login = countersign_wire::client::ContextLogin {
        operation: countersign_tests::backend::operation(&keys.keys[0], Ethereum),
        approval: countersign_wire::client::Approval::Code(countersign_tests::backend::typed(&code)),
    };
    tries.ask("a login for a plain code", hsm.ask(Act::ContextLogin(login)));
}
