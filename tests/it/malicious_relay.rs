//! A relay in the hands of an attacker: it flips every field that passes, replays, reorders, withholds, and puts its own keys, other
//! accounts and other transactions in place. The device is the Rust client, the HSM a real one. Never is anything signed but what the
//! device showed, and each attempt ends in a named refusal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign_client::Client;
use countersign_client::device::{Carrier, Device, DeviceError, Distrust};
use countersign_tests::backend::{digest, reason};
use countersign_tests::changes::{WAYS, changed, leaves};
use countersign_tests::owner::{codes_before, device, enrol, owned_key, plan_with_floor};
use countersign_tests::phone::Phone;
use countersign_tests::{Hsm, Keystore, on_embedded};
use countersign_wire::client::{Act, Answer, ApprovalKind, Mechanism};
use countersign_wire::encode;
use countersign_wire::reason::{Reason, Refusal};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

on_embedded!(
    nothing_that_a_relay_changes_is_believed_or_signed,
    no_relay_enrols_anybody_else_or_learns_a_secret,
    what_a_relay_plays_again_or_swaps_is_noticed,
    a_relay_that_plays_the_hsm_itself_is_not_trusted,
);

/// What the relay does to the messages that pass.
enum Evil {
    Nothing,
    /// Changes the one leaf of that number of the request, in that way.
    Request(usize, usize),
    /// The same of the answer.
    Answer(usize, usize),
    /// Answers without asking.
    Instead(Answer),
    /// Asks something else.
    Ask(Act),
    /// Drops the answer.
    Withhold,
}

struct Relay<'a> {
    hsm: &'a Client,
    evil: RefCell<Evil>,
    /// Whether what it was to change was there to be changed.
    changed: Cell<bool>,
    /// It lets pass what only looks, and sends nothing on that it cannot change.
    only_acts: Cell<bool>,
    /// How many leaves the last act had.
    leaves: Cell<usize>,
    transcript: RefCell<Vec<u8>>,
    /// The last request and answer.
    last: RefCell<Option<(Act, Result<Answer, Refusal>)>>,
}

impl<'a> Relay<'a> {
    fn to(hsm: &'a Hsm) -> Self {
        Self {
            hsm: &hsm.client,
            evil: RefCell::new(Evil::Nothing),
            changed: Cell::new(false),
            only_acts: Cell::new(false),
            leaves: Cell::new(0),
            transcript: RefCell::default(),
            last: RefCell::default(),
        }
    }

    fn is(&self, evil: Evil) -> &Self {
        *self.evil.borrow_mut() = evil;
        self.changed.set(false);
        self
    }

    fn last(&self) -> (Act, Result<Answer, Refusal>) {
        self.last.borrow().clone().expect("something passed")
    }
}

impl Carrier for Relay<'_> {
    fn carry(&self, act: Act) -> Result<Answer, Refusal> {
        let acts = matches!(act, Act::Approve(_) | Act::Decline(_) | Act::DeviceAct(_));
        if self.only_acts.get() && !acts {
            return self.hsm.carry(act);
        }
        self.leaves.set(leaves(&act));
        let evil = self.evil.replace(Evil::Nothing);
        self.transcript.borrow_mut().extend(encode(&act));
        let asked = match &evil {
            Evil::Request(leaf, way) => match changed(&act, *leaf, *way) {
                Some(other) => {
                    self.changed.set(true);
                    other
                }
                None if self.only_acts.get() => return Err(Reason::HsmUnreachable.into()),
                None => act,
            },
            Evil::Instead(answer) => return Ok(answer.clone()),
            Evil::Ask(other) => other.clone(),
            _ => act,
        };
        let answer = self.hsm.carry(asked.clone());
        if let Ok(answer) = &answer {
            self.transcript.borrow_mut().extend(encode(answer));
        }
        *self.last.borrow_mut() = Some((asked, answer.clone()));
        match (evil, answer) {
            (Evil::Withhold, _) => Err(Reason::HsmUnreachable.into()),
            (Evil::Answer(leaf, way), Ok(answer)) => match changed(&answer, leaf, way) {
                Some(other) => {
                    self.changed.set(true);
                    Ok(other)
                }
                None => Ok(answer),
            },
            (_, answer) => answer,
        }
    }
}

/// The stable word of what a device says when something is wrong.
fn word(error: &DeviceError) -> &'static str {
    match error {
        DeviceError::Refused(refusal) => refusal.reason.word(),
        DeviceError::Distrusted(distrust) => distrust.word(),
    }
}

/// Tries a step once for each way of changing each of its fields, request and answer; counts the words it ends in.
fn try_all<T>(
    relay: &Relay<'_>,
    words: &mut BTreeMap<&'static str, u32>,
    mut prepare: impl FnMut(),
    mut step: impl FnMut() -> Result<T, DeviceError>,
) {
    prepare();
    relay.is(Evil::Withhold);
    let error = step().err().expect("without an answer there is nothing");
    *words.entry(word(&error)).or_default() += 1;
    let (act, answer) = relay.last();
    let in_answer = answer.as_ref().map_or(0, leaves);
    for way in 0..WAYS {
        for leaf in 0..leaves(&act) {
            prepare();
            relay.is(Evil::Request(leaf, way));
            let outcome = step();
            if relay.changed.get() {
                let error =
                    outcome.err().unwrap_or_else(|| panic!("leaf {leaf}, way {way} of {act:?} passed"));
                *words.entry(word(&error)).or_default() += 1;
            }
        }
        for leaf in 0..in_answer {
            prepare();
            relay.is(Evil::Answer(leaf, way));
            let outcome = step();
            if relay.changed.get() {
                let error =
                    outcome.err().unwrap_or_else(|| panic!("leaf {leaf}, way {way} of an answer passed"));
                *words.entry(word(&error)).or_default() += 1;
            }
        }
    }
    relay.is(Evil::Nothing);
}

/// The same for what must not come through once: each field of each request that the step makes, and the answer stays.
fn try_requests(
    relay: &Relay<'_>,
    words: &mut BTreeMap<&'static str, u32>,
    mut step: impl FnMut() -> Result<(), DeviceError>,
) {
    relay.only_acts.set(true);
    let (mut tried, mut leaf) = (0, 0);
    while leaf == 0 || leaf < relay.leaves.get() {
        for way in 0..WAYS {
            relay.is(Evil::Request(leaf, way));
            let error = step().expect_err("it was changed, or never sent");
            if relay.changed.get() {
                *words.entry(word(&error)).or_default() += 1;
                tried += 1;
            }
        }
        leaf += 1;
    }
    relay.only_acts.set(false);
    relay.is(Evil::Nothing);
    assert!(tried > 5, "{tried}");
}

const FLOOR: ApprovalKind = ApprovalKind::SealedCode;

fn nothing_that_a_relay_changes_is_believed_or_signed(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::to(&hsm);
    let owner = device(&hsm, &relay, "alice", 1).unwrap();
    let phone = enrol(&hsm, &owner, "alice", plan_with_floor(&[Mechanism::Digest], FLOOR));
    hsm.advance(30);
    let mut words = BTreeMap::new();
    try_all(&relay, &mut words, || (), || device(&hsm, &relay, "alice", 1));
    try_all(&relay, &mut words, || (), || owner.account());

    let staged = Cell::new(hsm.stage("alice", digest(1)).unwrap().intent.into_array());
    try_all(&relay, &mut words, || (), || owner.view(staged.get()));
    // Approvals: each attempt at another intent, so that one which came through does not stand in the next one's way.
    let fresh = || {
        let seen = owner.view(staged.get()).unwrap();
        let _ = owner.decline(&seen);
        hsm.advance(310);
        staged.set(hsm.stage("alice", digest(1)).unwrap().intent.into_array());
    };
    let approve = |relay: &Relay<'_>, evil| {
        let seen = owner.view(staged.get()).unwrap();
        relay.is(evil);
        owner.approve(&seen, &phone.code(hsm.now()))
    };
    fresh();
    approve(&relay, Evil::Nothing).unwrap();
    let (act, _) = relay.last();
    assert_eq!(reason(hsm.sign_approved("alice", digest(2))), Reason::ApprovalMissing);
    hsm.sign_approved("alice", digest(1)).unwrap();
    let mut tried = 0;
    for leaf in 0..leaves(&act) {
        for way in 0..WAYS {
            fresh();
            let outcome = approve(&relay, Evil::Request(leaf, way));
            if relay.changed.get() {
                *words.entry(word(&outcome.unwrap_err())).or_default() += 1;
                tried += 1;
                for number in 1..=3 {
                    assert_eq!(reason(hsm.sign_approved("alice", digest(number))), Reason::ApprovalMissing);
                }
            }
        }
    }
    assert!(tried > 20, "{tried}");
    fresh();
    let seen = owner.view(staged.get()).unwrap();
    owner.approve(&seen, &phone.code(hsm.now())).unwrap();
    hsm.sign_approved("alice", digest(1)).unwrap();
    owner.receipt(&seen).unwrap();
    try_all(&relay, &mut words, || (), || owner.receipt(&seen));
    assert_eq!(owner.account().unwrap().view().signatures, 2, "two were approved, and two are signed");

    // What a device does to its account, and what it refuses.
    let open = hsm.stage("alice", digest(1)).unwrap().intent.into_array();
    let seen = owner.view(open).unwrap();
    try_requests(&relay, &mut words, || owner.decline(&seen));
    try_requests(&relay, &mut words, || owner.freeze());
    assert_eq!(
        owner.account().unwrap().view().state.word(),
        "confirmed",
        "nothing that was changed froze it"
    );
    for (needed, least) in [("bad-signature", 10), ("wrong-device-signature", 20), ("wrong-root", 3)] {
        assert!(words.get(needed).is_some_and(|count| *count >= least), "{needed}: {words:?}");
    }
    let known = |word: &&str| {
        Reason::ALL.iter().any(|reason| reason.word() == *word)
            || Distrust::ALL.iter().any(|distrust| distrust.word() == *word)
    };
    assert!(words.keys().all(known), "{words:?}");
    println!("what the attempts ended in: {words:?}");
}

fn no_relay_enrols_anybody_else_or_learns_a_secret(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::to(&hsm);
    let plan = || plan_with_floor(&[Mechanism::Digest], FLOOR);
    let number = Cell::new(0);
    let name = || format!("user-{}", number.get());
    let mut words = BTreeMap::<&'static str, u32>::new();
    // A new account for each attempt: where the answer was changed, the HSM has made one.
    let enroll = |evil| {
        number.set(number.get() + 1);
        let owner = device(&hsm, &relay, &name(), 2).unwrap();
        let invitation = hsm.invite(&name(), plan());
        relay.is(evil);
        owner.enroll(invitation).map(drop)
    };
    enroll(Evil::Nothing).unwrap();
    let (act, answer) = relay.last();
    let mut tried = 0;
    for way in 0..WAYS {
        let requests = (0..leaves(&act)).map(|leaf| Evil::Request(leaf, way));
        let answers = (0..leaves(&answer.clone().unwrap())).map(|leaf| Evil::Answer(leaf, way));
        for evil in requests.chain(answers).collect::<Vec<_>>() {
            // The last two of the answer are the act nonce and the time left, which nobody believes.
            let last = leaves(&answer.clone().unwrap()) - 2;
            let is_unbelieved = matches!(&evil, Evil::Answer(leaf, _) if *leaf >= last);
            let outcome = enroll(evil);
            if relay.changed.get() {
                match outcome {
                    Ok(()) => assert!(is_unbelieved, "something changed enrolled"),
                    Err(error) => *words.entry(word(&error)).or_default() += 1,
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 30, "{tried}");
    for needed in ["wrong-device-signature", "unknown-invitation", "bad-signature", "wrong-seal"] {
        assert!(words.contains_key(needed), "{needed}: {words:?}");
    }

    // The whole of an honest relay's transcript gives nothing away.
    let quiet = Relay::to(&hsm);
    let owner = device(&hsm, &quiet, "alice", 3).unwrap();
    let phone = enrol(&hsm, &owner, "alice", plan());
    let mut codes = codes_before(&hsm, &phone).to_vec();
    hsm.advance(30);
    let staged = hsm.stage("alice", digest(1)).unwrap();
    let seen = owner.view(staged.intent.into_array()).unwrap();
    codes.push(phone.code(hsm.now()));
    owner.approve(&seen, &codes[2]).unwrap();
    hsm.sign_approved("alice", digest(1)).unwrap();
    owner.receipt(&seen).unwrap();
    owner.account().unwrap();
    assert_holds_none(&quiet.transcript.borrow(), &phone, &codes);
}

/// Searches for the secret in every form that it is written in, and for the codes.
fn assert_holds_none(transcript: &[u8], phone: &Phone, codes: &[String]) {
    use data_encoding::{BASE32, BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
    let secret = phone.secret();
    let texts = [BASE32, BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER];
    let mut searched: Vec<Vec<u8>> = texts.iter().map(|form| form.encode(secret).into_bytes()).collect();
    searched.push(secret.to_vec());
    searched.push(b"otpauth".to_vec());
    searched.extend(codes.iter().map(|code| code.clone().into_bytes()));
    for needle in searched {
        let found = transcript.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "{} is in the transcript", String::from_utf8_lossy(&needle));
    }
    // The search itself finds what is there.
    assert!(transcript.windows(5).any(|window| window == b"alice"));
}

fn what_a_relay_plays_again_or_swaps_is_noticed(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::to(&hsm);
    let owner = device(&hsm, &relay, "alice", 1).unwrap();
    let phone = enrol(&hsm, &owner, "alice", plan_with_floor(&[Mechanism::Digest], FLOOR));
    let bob = device(&hsm, &relay, "bob", 9).unwrap();
    enrol(&hsm, &bob, "bob", plan_with_floor(&[Mechanism::Digest], FLOOR));
    hsm.advance(30);
    let stage = |name, number| hsm.stage(name, digest(number)).unwrap().intent.into_array();
    let (mine, evil, bobs) = (stage("alice", 1), stage("alice", 2), stage("bob", 3));

    // A view of something else, an old one, another account's.
    let view = |device: &Device<'_>, intent, evil| {
        relay.is(evil);
        device.view(intent).map(drop).map_err(|error| word(&error))
    };
    owner.view(mine).unwrap();
    let (Act::ViewIntent(asked), Ok(old)) = relay.last() else { panic!("a view passed") };
    assert_eq!(view(&owner, mine, Evil::Instead(old)), Err("stale-answer"));
    let mut other = asked.clone();
    other.intent = evil.into();
    assert_eq!(view(&owner, mine, Evil::Ask(Act::ViewIntent(other))), Err("stale-answer"));
    bob.view(bobs).unwrap();
    let (_, Ok(of_bob)) = relay.last() else { panic!("a view passed") };
    assert_eq!(view(&owner, mine, Evil::Instead(of_bob)), Err("other-account"));
    bob.account().unwrap();
    let (_, Ok(of_bob)) = relay.last() else { panic!("an account passed") };
    relay.is(Evil::Instead(of_bob));
    assert_eq!(owner.account().map_err(|error| word(&error)).map(drop), Err("other-account"));

    // An approval that is sent for another intent, twice, or much later.
    let seen = owner.view(mine).unwrap();
    let code = phone.code(hsm.now());
    relay.is(Evil::Withhold);
    assert_eq!(word(&owner.approve(&seen, &code).unwrap_err()), "hsm-unreachable");
    let (Act::Approve(kept), _) = relay.last() else { panic!("an approval passed") };
    hsm.sign_approved("alice", digest(1)).unwrap();
    for (intent, expected) in
        [(mine, Reason::IntentNotOpen), (evil, Reason::WrongDeviceSignature), (bobs, Reason::UnknownIntent)]
    {
        let mut again = kept.clone();
        again.intent = intent.into();
        assert_eq!(reason(hsm.client.call(None, Act::Approve(again))), expected);
    }
    assert_eq!(reason(hsm.sign_approved("alice", digest(2))), Reason::ApprovalMissing);
    assert_eq!(reason(hsm.sign_approved("bob", digest(3))), Reason::ApprovalMissing);

    // Out of order: a receipt before the signature, an approval before the view is of no use to anybody.
    let next = stage("alice", 4);
    let seen = owner.view(next).unwrap();
    assert_eq!(owner.receipt(&seen).map(drop).map_err(|error| word(&error)), Err("unknown-receipt"));
    assert_eq!(reason(hsm.sign_approved("alice", digest(4))), Reason::ApprovalMissing);
    // Somebody else's receipt in the place of this one's.
    let mine_seen = owner.view(mine).unwrap();
    owner.receipt(&mine_seen).unwrap();
    let (_, Ok(receipt)) = relay.last() else { panic!("a receipt passed") };
    relay.is(Evil::Instead(receipt));
    assert_eq!(owner.receipt(&seen).map(drop).map_err(|error| word(&error)), Err("other-intent"));
    let _ = owned_key("alice");
}

fn a_relay_that_plays_the_hsm_itself_is_not_trusted(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let thief = Hsm::start(keystore);
    // Another HSM, honest in itself, in the place of the user's.
    let relay = Relay::to(&thief);
    let met = device(&hsm, &relay, "alice", 1).map(drop).map_err(|error| word(&error));
    assert_eq!(met, Err("wrong-root"));
    // The right identity, and behind it the other one.
    let relay = Relay::to(&hsm);
    let owner = device(&hsm, &relay, "alice", 1).unwrap();
    let invitation = thief.invite("alice", plan_with_floor(&[Mechanism::Digest], FLOOR));
    let through = Relay::to(&thief);
    let (_, identity) = { relay.last() };
    through.is(Evil::Instead(identity.unwrap()));
    let fooled = device(&hsm, &through, "alice", 1).unwrap();
    assert_eq!(
        fooled.enroll(invitation).map(drop).map_err(|error| word(&error)),
        Err("wrong-device-signature"),
        "what the device signs names the HSM that it trusts"
    );
    drop(owner);
}
