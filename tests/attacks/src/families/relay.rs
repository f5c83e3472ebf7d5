//! What passes between the user's device and the HSM passes through the attacker: he changes it, keeps it, plays it again, and
//! puts another HSM at its end.

use crate::attack::{Attack, Family, On, Tries};
use crate::relay::{Relay, owner, transfer};
use countersign_client::device::Carrier;
use countersign_tests::changes::{WAYS, changed, leaves};
use countersign_tests::owner::{device, plan_with_floor, root_of};
use countersign_tests::{Hsm, Keystore, cli};
use countersign_wire::client::ApprovalKind;
use countersign_wire::client::Mechanism::Ethereum;
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(crate) const FAMILY: Family = Family {
    name: "relay",
    title: "The attacker is the relay between the user's device and the HSM",
    invariants: &["I1", "I2"],
    attacks: &[
        Attack {
            name: "every-field-changed",
            had: "what the user's device sends to approve, to refuse and to freeze",
            does: "changes each field of it in four ways and sends that instead; afterwards asks for the signature",
            guards: &["device-signature"],
            faults: &[],
            on: On::Embedded,
            play: every_field_changed,
        },
        Attack {
            name: "approval-after-the-refusal",
            had: "an approval that he kept, of which the user believes that it failed, so that she refuses the intent",
            does: "delivers it after the refusal, and asks for the signature",
            guards: &["intent-refused"],
            faults: &[],
            on: On::Both,
            play: approval_after_the_refusal,
        },
        Attack {
            name: "approval-after-the-end",
            had: "an approval that he kept, of which the user believes that it failed",
            does: "delivers it when its intent has ended, while its code is not yet old, and asks for the signature",
            guards: &["intent-ends"],
            faults: &[],
            on: On::Embedded,
            play: approval_after_the_end,
        },
        Attack {
            name: "freeze-played-again",
            had: "a freeze of the user's, which the operator lifted",
            does: "plays it again, to stop her for as long as he likes",
            guards: &["act-nonce"],
            faults: &[],
            on: On::Embedded,
            play: freeze_played_again,
        },
        Attack {
            name: "another-hsm",
            had: "an HSM of his own, with the same image",
            does: "leads the user's device there when she enrols: her coins would lie under his keys",
            guards: &["root-pinned"],
            faults: &[],
            on: On::Embedded,
            play: another_hsm,
        },
    ],
};

fn stage(hsm: &Hsm, nonce: u64) -> [u8; 16] {
    hsm.stage("alice", transfer(nonce)).expect("staged").intent.into_array()
}

fn every_field_changed(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::to(&hsm);
    let (owner, phone) = owner(&hsm, &relay);
    let seen = owner.view(stage(&hsm, 1)).expect("shown");
    let sent = [
        relay.keep(|| owner.decline(&seen)),
        relay.keep(|| owner.freeze()),
        relay.keep(|| owner.approve(&seen, &phone.code(hsm.now()))),
    ];
    for act in &sent {
        for (leaf, way) in (0..leaves(act)).flat_map(|leaf| (0..WAYS).map(move |way| (leaf, way))) {
            if let Some(other) = changed(act, leaf, way) {
                tries.ask("what her device did not say", hsm.client.carry(other));
            }
        }
    }
    tries.ask("a signature", hsm.sign_approved("alice", transfer(1)));
    if tries.got.is_empty() {
        let [_, _, approval] = sent;
        hsm.client.carry(approval).expect("what she said is good");
        hsm.sign_approved("alice", transfer(1)).expect("and that is signed");
    }
}

fn approval_after_the_refusal(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::to(&hsm);
    let (owner, phone) = owner(&hsm, &relay);
    let seen = owner.view(stage(&hsm, 1)).expect("shown");
    let approval = relay.keep(|| owner.approve(&seen, &phone.code(hsm.now())));
    owner.decline(&seen).expect("she refuses it");
    tries.ask("the approval of what was refused", hsm.client.carry(approval.clone()));
    tries.ask("a signature of what was refused", hsm.sign_approved("alice", transfer(1)));
}

fn approval_after_the_end(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::to(&hsm);
    let (owner, phone) = owner(&hsm, &relay);
    let seen = owner.view(stage(&hsm, 1)).expect("shown");
    hsm.advance(seen.expires_in_secs() - 1);
    let approval = relay.keep(|| owner.approve(&seen, &phone.code(hsm.now())));
    hsm.advance(2);
    tries.ask("the approval of what has ended", hsm.client.carry(approval));
    tries.ask("a signature of what has ended", hsm.sign_approved("alice", transfer(1)));
}

fn freeze_played_again(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::start(keystore);
    let (phone, freeze) = {
        let relay = Relay::to(&hsm);
        let (owner, phone) = owner(&hsm, &relay);
        owner.freeze().expect("she freezes it");
        (phone, relay.kept())
    };
    let shown = cli::run(&hsm, &["account", "show", "alice"]).done();
    let number = shown["frozen"].as_u64().expect("the freeze's number");
    hsm.stop();
    hsm.lift_freeze("alice", number);
    hsm.run();
    for _ in 0..2 {
        tries.ask("a freeze that she did not ask for", hsm.client.carry(freeze.clone()));
        hsm.kill_and_run();
    }
    if tries.got.is_empty() {
        let relay = Relay::to(&hsm);
        let owner = device(&hsm, &relay, "alice", 1).expect("the device meets its HSM");
        let seen = owner.view(stage(&hsm, 1)).expect("shown");
        owner.approve(&seen, &phone.code(hsm.now())).expect("she approves");
        hsm.sign_approved("alice", transfer(1)).expect("and it is signed");
    }
}

fn another_hsm(keystore: Keystore, tries: &mut Tries) {
    let (hers, his) = (Hsm::start(keystore), Hsm::start(keystore));
    let passphrase = hers.folder().join("passphrase");
    fs::write(&passphrase, "correct horse\n").expect("a file can be written");
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).expect("and be hers alone");
    let enrols_at = |hsm: &Hsm, keys: &str| {
        let invitation = hsm.invite("alice", plan_with_floor(&[Ethereum], ApprovalKind::SealedCode));
        let mut enroll = cli::command(hsm);
        enroll.env("COUNTERSIGN_DEVICE_PASSPHRASE_FILE", &passphrase);
        enroll.args(["device", "enroll", "--tenant", countersign_tests::hsm::TENANT, "--account", "alice"]);
        enroll.args([
            "--invitation",
            &format!("{:032x}", u128::from_be_bytes(invitation)),
            "--root",
            &root_of(&hers).to_string(),
        ]);
        cli::run_command(enroll.arg("--keys").arg(hers.folder().join(keys)).arg("--json"), None)
    };
    let ended = enrols_at(&his, "led-astray");
    match ended.json["refused"].as_str() {
        Some(word) if ended.code == 3 => tries.refused(word),
        _ => tries.got("an account of hers under his keys"),
    }
    enrols_at(&hers, "at-home").done();
}
