//! Everything that the HSM can be asked for, natively.

use crate::attack::{Attack, Family, On, Tries};
use countersign_client::device::Keys;
use countersign_tests::backend::{account, digest, enroll_act, label, operation, typed};
use countersign_tests::owner::{device, enrol, owned_key, plan_with_floor};
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::client::{
    Act, Answer, Approval, ApprovalKind, ContextLogin, ContextSign, CreateKey, FindReceipt, KeyInfo, KeyPlan,
    KeyQuery, Sign, StageSign, StagedIntent, Subject, TrustPayee, TwoCodes,
};
use countersign_wire::device::{
    Approve, Decline, DeviceAct, DevicePurpose, EnrollSealed, Evidence, Sealed, SealedCode, ViewAccount,
    ViewIntent, ViewReceipt,
};
use countersign_wire::log::{LogQuery, LogStart};
use std::collections::BTreeSet;

pub(crate) const FAMILY: Family = Family {
    name: "requests",
    title: "The API key alone, through every request of the HSM's own protocol",
    invariants: &["I1", "I8", "I9"],
    attacks: &[
        Attack {
            name: "every-request",
            had: "nothing",
            does: "makes every kind of request there is, with codes, signatures and seals of his own invention, and looks which gives him more than an API key is good for",
            guards: &["approval", "device-signature"],
            faults: &[],
            on: On::Both,
            play: every_request,
        },
        Attack {
            name: "another-tenants-intents",
            had: "the id of an intent of another tenant",
            does: "asks how it is and for what it says, and signs what its owner approved, under his own tenant and an account of the same name",
            guards: &["own-intents"],
            faults: &[],
            on: On::Embedded,
            play: another_tenants_intents,
        },
    ],
};

/// Signatures, keys and nonces of his own invention.
const INVENTED: u8 = 7;

/// A point of the curve that anybody knows: its generator.
fn point() -> [u8; 65] {
    let hex = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
               4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    let mut bytes = [0; 65];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).expect("ASCII");
        *byte = u8::from_str_radix(digits, 16).expect("hexadecimal");
    }
    bytes
}

/// Her device's secret, which he does not have.
pub(super) const SECRET: u8 = 1;

/// Her device's id, which he has seen.
fn her_device() -> [u8; 16] {
    Keys::of_secret(&[SECRET; 32]).device_id().into_array()
}

fn invented_evidence() -> Evidence {
    Evidence::SealedCode(SealedCode {
        device: her_device().into(),
        encapsulated: point().into(),
        ciphertext: vec![INVENTED; 24].into(),
        signature: [INVENTED; 64].into(),
    })
}

/// What an API key is good for: to see, to ask, to enrol and to stage, and to make further keys of the same factor.
fn of_an_api_key(key: &KeyInfo, intent: [u8; 16]) -> Vec<Act> {
    let (name, tenant) = (|| account("alice"), || "default".parse().expect("a name"));
    let stage = StageSign { key: key.label.clone(), payload: digest(3) };
    let further = CreateKey { label: label("alice/further"), plan: KeyPlan::of(vec![Digest]) };
    vec![
        Act::Status,
        Act::Login,
        Act::Random(8),
        enroll_act("his-own", &[Digest]),
        Act::ShowAccount(name()),
        Act::CreateKey(further),
        Act::FindKeys(KeyQuery::All(None)),
        Act::ContextEnd(operation(key, Digest)),
        match enroll_act("invited", &[Digest]) {
            Act::Enroll(enroll) => Act::Invite(enroll),
            _ => unreachable!("it enrols"),
        },
        Act::Stage(Subject::Sign(stage)),
        Act::Attest(vec![INVENTED; 32].into()),
        Act::LogCheckpoint,
        Act::ReadLog(LogQuery { from: LogStart::Recent, entries_max: 8 }),
        Act::Identity,
        Act::ShowIntent(StagedIntent { account: name(), intent: intent.into() }),
        Act::FindReceipt(FindReceipt { key: key.label.clone(), payload: digest(3) }),
        Act::ViewIntent(ViewIntent {
            tenant: tenant(),
            account: name(),
            intent: intent.into(),
            device_nonce: [INVENTED; 32].into(),
        }),
        Act::ViewReceipt(ViewReceipt { tenant: tenant(), account: name(), intent: intent.into() }),
    ]
}

/// A user who has not shown two codes yet.
pub(super) const UNCONFIRMED: &str = "dave";

/// What takes the user, or a device of hers.
pub(super) fn of_the_user(key: &KeyInfo, intent: [u8; 16], invitation: [u8; 16], now: u64) -> Vec<Act> {
    let (name, tenant) = (|| account("alice"), || "default".parse().expect("a name"));
    let two = |name| TwoCodes { account: account(name), first: typed("000000"), second: typed("000001") };
    let payload = || digest(3);
    let address = "0x3535353535353535353535353535353535353535".to_owned();
    let label = || key.label.clone();
    let login = ContextLogin { operation: operation(key, Digest), approval: Approval::Prior };
    let device_act = |purpose| {
        let takes_codes = matches!(purpose, DevicePurpose::Confirm | DevicePurpose::Unlock);
        let sealed = Sealed { encapsulated: point().into(), ciphertext: vec![INVENTED; 32].into() };
        Act::DeviceAct(DeviceAct {
            tenant: tenant(),
            account: name(),
            purpose,
            expires_unix_secs: now + 60,
            device: her_device().into(),
            sealed: Some(sealed).filter(|_| takes_codes),
            signature: [INVENTED; 64].into(),
        })
    };
    vec![
        Act::Confirm(two(UNCONFIRMED)),
        Act::Unlock(two("alice")),
        Act::TrustPayee(TrustPayee { account: name(), address, known: true, approval: None }),
        Act::Sign(Sign { key: label(), payload: payload(), approval: None }),
        Act::Sign(Sign { key: label(), payload: payload(), approval: Some(Approval::Prior) }),
        Act::Sign(Sign { key: label(), payload: payload(), approval: Some(Approval::Code(typed("000000"))) }),
        Act::ContextLogin(login),
        Act::ContextSign(ContextSign { operation: operation(key, Digest), payload: payload() }),
        Act::ViewAccount(ViewAccount {
            tenant: tenant(),
            account: name(),
            device: her_device().into(),
            device_nonce: [INVENTED; 32].into(),
            signature: [INVENTED; 64].into(),
        }),
        Act::Approve(Approve {
            tenant: tenant(),
            account: name(),
            intent: intent.into(),
            evidence: invented_evidence(),
        }),
        Act::Decline(Decline {
            tenant: tenant(),
            account: name(),
            intent: intent.into(),
            device: her_device().into(),
            signature: [INVENTED; 64].into(),
        }),
        Act::EnrollSealed(Box::new(EnrollSealed {
            tenant: tenant(),
            account: account("carol"),
            invitation: invitation.into(),
            device_nonce: [INVENTED; 32].into(),
            device_key: point().into(),
            device_sealing_key: point().into(),
            passkeys: Vec::new(),
            signature: [INVENTED; 64].into(),
        })),
        device_act(DevicePurpose::Confirm),
        device_act(DevicePurpose::Unlock),
        device_act(DevicePurpose::Freeze),
        device_act(DevicePurpose::CancelRecovery),
    ]
}

/// The act's word on the wire.
pub(super) fn word(act: &Act) -> String {
    match serde_json::to_value(act).expect("plain data") {
        serde_json::Value::String(word) => word,
        serde_json::Value::Object(fields) => fields.keys().next().expect("a variant").clone(),
        other => panic!("an act is no {other}"),
    }
}

/// What the acts of [`of_the_user`] end with, in their order.
const REFUSED_WITH: [&str; 16] = [
    "wrong-code",
    "wrong-code",
    "approval-missing",
    "approval-missing",
    "approval-missing",
    "wrong-code",
    "malformed-code",
    "approval-missing",
    "wrong-device-signature",
    "wrong-device-signature",
    "wrong-device-signature",
    "wrong-device-signature",
    "wrong-device-signature",
    "wrong-device-signature",
    "wrong-device-signature",
    "wrong-device-signature",
];

fn every_request(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let owner = device(&hsm, &hsm.client, "alice", SECRET).expect("the device meets its HSM");
    let phone = enrol(&hsm, &owner, "alice", plan_with_floor(&[Digest], ApprovalKind::Code));
    let now = hsm.advance(60);
    let query = KeyQuery::Label(owned_key("alice"));
    let key = hsm.find_keys(hsm.api_key(), query.clone()).expect("listed").keys.remove(0);
    let intent = hsm.stage("alice", digest(3)).expect("staged").intent.into_array();
    let invitation = hsm.invite("carol", plan_with_floor(&[Digest], ApprovalKind::Code));
    hsm.enroll(hsm.api_key(), enroll_act(UNCONFIRMED, &[Digest])).expect("enrolled, and not confirmed");
    let free = of_an_api_key(&key, intent);
    let guarded = of_the_user(&key, intent, invitation, now);
    let made: BTreeSet<String> = free.iter().chain(&guarded).map(word).collect();
    let all: BTreeSet<String> = Act::WORDS.iter().map(|word| (*word).to_owned()).collect();
    assert_eq!(made, all, "no kind of request is left out");
    for act in free {
        let word = word(&act);
        let answer = if act.is_of_device() { hsm.client.call(None, act) } else { hsm.ask(act) };
        if let Ok(Answer::Signed(_) | Answer::LoggedIn | Answer::CarriedOut | Answer::Approved) = answer {
            tries.got(&format!("more than an API key is good for, by {word}"));
        }
    }
    let mut words = Vec::new();
    for act in guarded {
        let word = word(&act);
        let answer = if act.is_of_device() { hsm.client.call(None, act) } else { hsm.ask(act) };
        words.push(answer.as_ref().err().map_or("done", |refusal| refusal.reason.word()));
        tries.ask(&format!("what takes the user, by {word}"), answer);
    }
    if tries.got.is_empty() {
        assert_eq!(words, REFUSED_WITH, "each at what takes the user, and not before");
        let keys = hsm.find_keys(hsm.api_key(), query).expect("listed").keys;
        tries.expect("her key, changed", "her key is as it was", keys == [key]);
        let now = hsm.advance(30);
        let seen = owner.view(intent).expect("the intent still waits for her");
        owner.approve(&seen, &phone.code(now)).expect("and her device approves it");
        hsm.sign_approved("alice", digest(3)).expect("which signs it");
    }
}

fn another_tenants_intents(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::init(keystore, &["default", "other"]);
    hsm.run();
    let owner = device(&hsm, &hsm.client, "alice", SECRET).expect("the device meets its HSM");
    let phone = enrol(&hsm, &owner, "alice", plan_with_floor(&[Digest], ApprovalKind::Code));
    hsm.advance(60);
    let intent = hsm.stage("alice", digest(3)).expect("staged").intent;
    // His own user of the same name, in the tenant that is his.
    let other = hsm.api_key_of("other").clone();
    let his = hsm.user_of(&other, "alice", &[Digest]);
    let shown = Act::ShowIntent(StagedIntent { account: account("alice"), intent });
    tries.ask("another tenant's intent, shown", hsm.client.call(Some(&other), shown));
    let view = ViewIntent {
        tenant: "other".parse().expect("a name"),
        account: account("alice"),
        intent,
        device_nonce: [INVENTED; 32].into(),
    };
    tries.ask("another tenant's intent, viewed", hsm.client.call(None, Act::ViewIntent(view)));
    let seen = owner.view(intent.into_array()).expect("it waits for her");
    owner.approve(&seen, &phone.code(hsm.now())).expect("she approves it");
    let sign = Sign { key: his.key.label.clone(), payload: digest(3), approval: Some(Approval::Prior) };
    tries.ask("a signature for what she approved", hsm.client.call(Some(&other), Act::Sign(sign)));
    if tries.got.is_empty() {
        hsm.sign_approved("alice", digest(3)).expect("in her tenant it is signed");
    }
}
