//! The whole plugin over a firmware in memory: what is durable when, in which order, and what no failure may open.

mod any_policy;
mod approvals;
mod attestation;
mod calls;
mod cleaning;
mod device;
mod enrolment;
mod faults;
mod gate;
mod keys;
mod large;
mod log;
mod phone;
mod policies;
mod wallets;

use crate::record::Account;
use crate::store::Change;
use core::cell::Cell;
use countersign_wire::client::{
    AccountInfo, Act, Answer, Approval, ContextLogin, ContextSign, CreateKey, Enroll, KeyInfo, KeyPlan,
    KeyQuery, Mechanism, Operation, Payload, Request, Sign, Signed, TotpParameters, TwoCodes,
};
use countersign_wire::hal::Fault;
use countersign_wire::names::{KeyLabel, TypedCode};
use countersign_wire::reason::Reason;
use device::{Device, START, api_key};
use std::rc::Rc;

/// An enrolled user: the phone and the first key.
struct User {
    name: &'static str,
    phone: totp_rs::Totp,
    key: KeyInfo,
}

impl User {
    fn code(&self, at: u64) -> String {
        self.phone.generate(at).to_string()
    }
}

fn typed(code: &str) -> TypedCode {
    TypedCode::new(code).unwrap()
}

fn enroll_act(name: &str, mechanisms: &[Mechanism]) -> Act {
    Act::Enroll(Enroll {
        account: name.parse().unwrap(),
        totp: TotpParameters::default(),
        key: "main".parse().unwrap(),
        plan: KeyPlan::of(mechanisms.to_vec()),
    })
}

fn open_account(device: &mut Device, name: &'static str) -> User {
    match device.ask(enroll_act(name, &[Mechanism::Digest])).unwrap() {
        Answer::Enrolled(enrolled) => User {
            name,
            phone: totp_rs::Totp::from_url(&enrolled.otpauth).unwrap(),
            key: enrolled.key.clone(),
        },
        other => panic!("{other:?}"),
    }
}

fn two_codes(user: &User, first: u64) -> TwoCodes {
    TwoCodes {
        account: user.name.parse().unwrap(),
        first: typed(&user.code(first)),
        second: typed(&user.code(first + 30)),
    }
}

/// Enrols and confirms; the codes up to now are used, and a minute passes.
fn enroll(device: &mut Device, name: &'static str) -> User {
    let user = open_account(device, name);
    let now = device.time.unix_secs;
    device.ask(Act::Confirm(two_codes(&user, now - 30))).unwrap();
    device.advance(60);
    user
}

fn sign_act(user: &User, digest: u8, code: &str) -> Act {
    Act::Sign(Sign {
        key: user.key.label.clone(),
        payload: Payload::Digest([digest; 32].into()),
        approval: Some(Approval::Code(typed(code))),
    })
}

fn sign(device: &mut Device, user: &User, code: &str) -> Result<Signed, Reason> {
    device.ask(sign_act(user, 1, code)).map(|answer| match answer {
        Answer::Signed(signed) => signed,
        other => panic!("{other:?}"),
    })
}

fn show(device: &mut Device, user: &User) -> AccountInfo {
    match device.ask(Act::ShowAccount(user.name.parse().unwrap())).unwrap() {
        Answer::Account(info) => info,
        other => panic!("{other:?}"),
    }
}

fn wrong_code(device: &Device, user: &User) -> String {
    let now = device.time.unix_secs;
    let near: Vec<String> = (0..5).map(|step| user.code(now - 60 + 30 * step)).collect();
    (0..10).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).unwrap()
}

/// An account of the tenant `a`, as the store has it.
fn account(device: &mut Device, name: &str) -> Account {
    let found = Rc::new(Cell::new(None));
    let (core, give, name) = (Rc::clone(&device.plugin.core), Rc::clone(&found), name.parse().unwrap());
    device.plugin.spawn(async move {
        let core = core.get().unwrap();
        let id = core.store.account_id(&"a".parse().unwrap(), &name);
        give.set(core.store.load(&core.hal, id).await.unwrap());
    });
    device.settle();
    found.take().expect("an account")
}

/// Stages all of these before a commit begins. The entries that come of it.
fn stage(device: &mut Device, changes: Vec<Change>) -> Vec<Vec<u8>> {
    let before = device.written.len();
    for change in changes {
        let core = Rc::clone(&device.plugin.core);
        device.plugin.spawn(async move { core.get().unwrap().store.commit(change).await.unwrap() });
    }
    device.settle();
    device.written.split_off(before)
}

#[test]
fn i1_one_code_gives_one_verified_signature_and_never_a_second() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    let signed = sign(&mut device, &user, &code).unwrap();
    let verified = crate::ecdsa::verify(&user.key.public_key, &[1; 32], &signed.signature).unwrap();
    assert_eq!(verified.signature, signed.signature.into_array(), "low-S");
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::CodeUsed);
    assert!(device.boot());
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::CodeUsed);
}

#[test]
fn i1_without_an_approval_nothing_is_signed_or_counted() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let Act::Sign(mut request) = sign_act(&user, 1, "") else { unreachable!() };
    request.approval = None;
    device.ops.clear();
    assert_eq!(device.ask(Act::Sign(request)).unwrap_err(), Reason::ApprovalMissing);
    assert!(!device.ops.contains(&"sign") && !device.ops.contains(&"mac"));
    assert_eq!(show(&mut device, &user).failures_left, 10);
}

#[test]
fn i3_an_older_step_is_never_accepted_after_a_newer_one() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let now = device.time.unix_secs;
    sign(&mut device, &user, &user.code(now + 30)).unwrap();
    assert_eq!(sign(&mut device, &user, &user.code(now)).unwrap_err(), Reason::CodeUsed);
    assert_eq!(sign(&mut device, &user, &user.code(now - 30)).unwrap_err(), Reason::CodeUsed);
}

#[test]
fn a_retry_returns_the_same_signature_and_changes_nothing() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    let request = |id: u8, digest: u8, code: &str| Request {
        id: [id; 16].into(),
        api_key: Some(api_key("a")),
        act: sign_act(&user, digest, code),
    };
    let ask = |device: &mut Device, request: Request| {
        let ticket = device.send(&request);
        device.settle();
        device.reply(ticket).unwrap().map_err(|refusal| refusal.reason)
    };
    let first = ask(&mut device, request(9, 1, &code)).unwrap();
    let info = show(&mut device, &user);
    device.advance(500);
    assert_eq!(ask(&mut device, request(9, 1, &code)).unwrap(), first);
    assert_eq!(show(&mut device, &user), info);
    assert_eq!(ask(&mut device, request(9, 2, &code)), Err(Reason::RequestIdReused));
    assert_eq!(ask(&mut device, request(9, 1, "000000")), Err(Reason::RequestIdReused));
    device.advance(100);
    assert_eq!(ask(&mut device, request(9, 1, &code)), Err(Reason::WrongCode), "ten minutes are over");
}

#[test]
fn malformed_codes_are_refused_and_not_counted() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    for bad in ["", "12345", "1234567", "12345x", &format!(" {}", &code[..5]), api_key("a").expose()] {
        let Ok(bad) = TypedCode::new(bad) else { continue };
        assert_eq!(sign(&mut device, &user, bad.expose()).unwrap_err(), Reason::MalformedCode);
    }
    assert_eq!(show(&mut device, &user).failures_left, 10);
    sign(&mut device, &user, &code).unwrap();
}

#[test]
fn the_refusal_that_locks_says_for_how_long() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let wrong = wrong_code(&device, &user);
    let waits: Vec<_> = (0..6)
        .map(|_| {
            let ticket = device.begin_as("a", sign_act(&user, 1, &wrong));
            device.settle();
            device.reply(ticket).unwrap().unwrap_err().retry_after_secs
        })
        .collect();
    assert_eq!(waits[..4], [None; 4]);
    assert!(waits[4].is_some_and(|secs| secs > 0));
    assert_eq!(waits[4], waits[5], "as the next one, which is not compared");
}

#[test]
fn five_wrong_codes_lock_and_time_or_two_codes_reopen() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let wrong = wrong_code(&device, &user);
    for _ in 0..5 {
        assert_eq!(sign(&mut device, &user, &wrong).unwrap_err(), Reason::WrongCode);
    }
    let good = user.code(device.time.unix_secs);
    assert_eq!(sign(&mut device, &user, &good).unwrap_err(), Reason::Locked);
    assert!(device.boot());
    assert_eq!(sign(&mut device, &user, &good).unwrap_err(), Reason::Locked, "a restart opens nothing");
    let now = device.time.unix_secs;
    device.ask(Act::Unlock(two_codes(&user, now - 30))).unwrap();
    assert_eq!(device.ask(Act::Unlock(two_codes(&user, now))).unwrap_err(), Reason::TryLater);
    sign(&mut device, &user, &user.code(now + 30)).unwrap();
    device.advance(3600);
    let wrong = wrong_code(&device, &user);
    for _ in 0..5 {
        let refused = sign(&mut device, &user, &wrong).unwrap_err();
        assert_eq!(refused, Reason::WrongCode);
    }
    device.advance(599);
    let good = user.code(device.time.unix_secs);
    assert_eq!(
        sign(&mut device, &user, &good).unwrap_err(),
        Reason::Locked,
        "the second lock is twice as long"
    );
    device.advance(1);
    let good = user.code(device.time.unix_secs);
    assert_eq!(
        sign(&mut device, &user, &good).unwrap_err(),
        Reason::AccountOverBudget,
        "ten failures in a day"
    );
    device.advance(12 * 3600);
    let good = user.code(device.time.unix_secs);
    sign(&mut device, &user, &good).unwrap();
}

#[test]
fn a_jump_of_the_clock_ends_no_lock() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let wrong = wrong_code(&device, &user);
    for _ in 0..5 {
        let _ = sign(&mut device, &user, &wrong);
    }
    device.time.unix_secs += 590;
    let good = user.code(device.time.unix_secs);
    assert_eq!(sign(&mut device, &user, &good).unwrap_err(), Reason::Locked);
    device.time.unix_secs += 7 * 24 * 3600;
    let good = user.code(device.time.unix_secs);
    assert_eq!(
        sign(&mut device, &user, &good).unwrap_err(),
        Reason::ClockUnsure,
        "such a jump is not believed"
    );
}

#[test]
fn i11_a_clock_behind_the_floor_refuses_codes_and_counts_nothing() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let now = device.time.unix_secs;
    sign(&mut device, &user, &user.code(now)).unwrap();
    device.time.unix_secs = START - 3600;
    assert!(device.boot());
    let code = user.code(START - 3600);
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::ClockUnsure);
    assert_eq!(show(&mut device, &user).failures_left, 10);
    device.time.unix_secs = now + 60;
    sign(&mut device, &user, &user.code(now + 60)).unwrap();
}

#[test]
fn i11_a_grant_signs_nothing_while_the_clock_is_unsure() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    for (id, jump_secs, signs) in [(1, 0, true), (2, 7 * 24 * 3600, false)] {
        device.advance(30);
        device.ask(login(&user, id, &user.code(device.time.unix_secs))).unwrap();
        device.ops.clear();
        // Rules may ask for the hour, and nobody knows it.
        device.time.unix_secs += jump_secs;
        let signed = device.ask(context_sign(&user, id));
        assert_eq!(signed.is_ok(), signs);
        assert!(signed.err().is_none_or(|reason| reason == Reason::ClockUnsure));
        assert_eq!(device.ops.contains(&"sign"), signs);
    }
}

#[test]
fn i9_another_tenant_meets_the_same_miss_and_its_failures_refuse_nobody_else() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    assert_eq!(device.ask_as("b", sign_act(&user, 1, &code)).unwrap_err(), Reason::UnknownAccount);
    let by_id = |id| Act::FindKeys(KeyQuery::Id(id));
    for query in [by_id(user.key.id), Act::FindKeys(KeyQuery::Label(user.key.label.clone()))] {
        match device.ask_as("b", query).unwrap() {
            Answer::Keys(page) => assert!(page.keys.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    let operation = Operation { id: [1; 16].into(), key: user.key.id, mechanism: Mechanism::Digest };
    let login = Act::ContextLogin(ContextLogin { operation, approval: Approval::Code(typed(&code)) });
    assert_eq!(device.ask_as("b", login).unwrap_err(), Reason::UnknownKey);
    match device.ask(by_id(user.key.id)).unwrap() {
        Answer::Keys(page) => assert_eq!(page.keys, std::slice::from_ref(&user.key)),
        other => panic!("{other:?}"),
    }
    sign(&mut device, &user, &code).unwrap();
}

#[test]
fn i10_one_users_code_never_opens_another_users_key() {
    let mut device = Device::ready();
    let (alice, bob) = (enroll(&mut device, "alice"), enroll(&mut device, "bob"));
    let code = alice.code(device.time.unix_secs);
    assert_eq!(sign(&mut device, &bob, &code).unwrap_err(), Reason::WrongCode);
    sign(&mut device, &alice, &code).unwrap();
}

#[test]
fn i8_an_account_is_enrolled_once_and_signs_nothing_before_two_codes() {
    let mut device = Device::ready();
    let user = open_account(&mut device, "alice");
    let now = device.time.unix_secs;
    assert_eq!(sign(&mut device, &user, &user.code(now)).unwrap_err(), Reason::NotConfirmed);
    assert_eq!(device.ask(enroll_act("alice", &[Mechanism::Digest])).unwrap_err(), Reason::AccountExists);
    let swapped = TwoCodes {
        account: "alice".parse().unwrap(),
        first: typed(&user.code(now)),
        second: typed(&user.code(now - 30)),
    };
    assert_eq!(device.ask(Act::Confirm(swapped)).unwrap_err(), Reason::WrongCode);
    device.ask(Act::Confirm(two_codes(&user, now - 30))).unwrap();
    assert_eq!(device.ask(Act::Confirm(two_codes(&user, now))).unwrap_err(), Reason::AlreadyConfirmed);
    assert_eq!(device.ask(enroll_act("alice", &[Mechanism::Digest])).unwrap_err(), Reason::AccountExists);
    assert_eq!(
        sign(&mut device, &user, &user.code(now)).unwrap_err(),
        Reason::CodeUsed,
        "confirming spent it"
    );
}

#[test]
fn an_unconfirmed_enrolment_expires_and_only_then_gives_its_name_free() {
    let mut device = Device::ready();
    let old = open_account(&mut device, "alice");
    device.advance(30 * 60);
    let now = device.time.unix_secs;
    assert_eq!(device.ask(Act::Confirm(two_codes(&old, now - 30))).unwrap_err(), Reason::EnrolmentExpired);
    assert_eq!(sign(&mut device, &old, &old.code(now)).unwrap_err(), Reason::EnrolmentExpired);
    let new = open_account(&mut device, "alice");
    assert_ne!(old.key.public_key, new.key.public_key);
    assert_eq!(device.ask(Act::Confirm(two_codes(&old, now - 30))).unwrap_err(), Reason::WrongCode);
    device.ask(Act::Confirm(two_codes(&new, now - 30))).unwrap();
}

#[test]
fn a_key_is_made_once_with_one_set_of_mechanisms() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let create = |name: &str, mechanisms: &[Mechanism]| {
        Act::CreateKey(CreateKey {
            label: format!("alice/{name}").parse().unwrap(),
            plan: KeyPlan::of(mechanisms.to_vec()),
        })
    };
    assert_eq!(device.ask(create("main", &[Mechanism::Ethereum])).unwrap_err(), Reason::KeyExists);
    assert_eq!(device.ask(create("none", &[])).unwrap_err(), Reason::MalformedRequest);
    let twice = [Mechanism::Digest, Mechanism::Digest];
    assert_eq!(device.ask(create("twice", &twice)).unwrap_err(), Reason::MalformedRequest);
    for n in 1..16 {
        device.ask(create(&format!("k{n}"), &[Mechanism::Ethereum])).unwrap();
    }
    assert_eq!(device.ask(create("k16", &[Mechanism::Ethereum])).unwrap_err(), Reason::TooManyKeys);
    assert_eq!(show(&mut device, &user).keys.len(), 16);
}

fn operation(user: &User, id: u8) -> Operation {
    Operation { id: [id; 16].into(), key: user.key.id, mechanism: Mechanism::Digest }
}

fn login(user: &User, id: u8, code: &str) -> Act {
    let approval = Approval::Code(typed(code));
    Act::ContextLogin(ContextLogin { operation: operation(user, id), approval })
}

fn context_sign(user: &User, id: u8) -> Act {
    let payload = Payload::Digest([3; 32].into());
    Act::ContextSign(ContextSign { operation: operation(user, id), payload })
}

#[test]
fn i1_a_context_login_is_good_for_one_signature_of_its_operation() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    assert_eq!(device.ask(context_sign(&user, 1)).unwrap_err(), Reason::ApprovalMissing);
    let now = device.time.unix_secs;
    device.ask(login(&user, 1, &user.code(now))).unwrap();
    assert_eq!(device.ask(context_sign(&user, 2)).unwrap_err(), Reason::ApprovalMissing, "another operation");
    assert_eq!(device.ask_as("b", context_sign(&user, 1)).unwrap_err(), Reason::ApprovalMissing);
    device.ops.clear();
    assert!(matches!(device.ask(context_sign(&user, 1)), Ok(Answer::Signed(_))));
    assert_eq!(device.ops, ["commit", "sign"], "bound durably, then signed");
    assert_eq!(device.ask(context_sign(&user, 1)).unwrap_err(), Reason::ApprovalMissing, "used up");
    assert_eq!(device.ask(login(&user, 3, &user.code(now))).unwrap_err(), Reason::CodeUsed);
}

#[test]
fn i2_a_login_repeated_after_a_lost_answer_spends_nothing_and_makes_no_second_grant() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let now = device.time.unix_secs;
    device.ask(login(&user, 1, &user.code(now))).unwrap();
    device.ops.clear();
    device.ask(login(&user, 1, &user.code(now))).unwrap();
    device.ask(login(&user, 1, &user.code(now + 30))).unwrap();
    assert!(device.ops.is_empty());
    device.ask(context_sign(&user, 1)).unwrap();
    assert_eq!(device.ask(context_sign(&user, 1)).unwrap_err(), Reason::ApprovalMissing);
    sign(&mut device, &user, &user.code(now + 30)).unwrap();
}

#[test]
fn i1_a_context_grant_ends_with_its_operation_its_boot_and_its_time() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    for end in 0..3 {
        let now = device.time.unix_secs;
        device.ask(login(&user, 1, &user.code(now))).unwrap();
        match end {
            0 => assert!(matches!(device.ask(Act::ContextEnd(operation(&user, 1))), Ok(Answer::Ended))),
            1 => assert!(device.boot()),
            _ => device.advance(120),
        }
        assert_eq!(device.ask(context_sign(&user, 1)).unwrap_err(), Reason::ApprovalMissing);
        device.advance(60);
    }
}

#[test]
fn i15_a_refusal_of_the_data_burns_the_context_grant() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    device.ask(login(&user, 1, &user.code(device.time.unix_secs))).unwrap();
    let payload = Payload::Ethereum(vec![2, 0xc0].into());
    let foreign = Act::ContextSign(ContextSign { operation: operation(&user, 1), payload });
    assert_eq!(device.ask(foreign).unwrap_err(), Reason::MechanismNotAllowed);
    assert_eq!(device.ask(context_sign(&user, 1)).unwrap_err(), Reason::ApprovalMissing);
}

#[test]
fn i15_a_mechanism_the_key_was_not_made_for_is_refused_before_a_code_is_spent() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    let wrong = Operation { mechanism: Mechanism::Ethereum, ..operation(&user, 1) };
    let approval = Approval::Code(typed(&code));
    let act = Act::ContextLogin(ContextLogin { operation: wrong, approval });
    assert_eq!(device.ask(act).unwrap_err(), Reason::MechanismNotAllowed);
    sign(&mut device, &user, &code).unwrap();
}

/// An EIP-1559 transfer of 1 wei on chain 1, or the same with four bytes of calldata.
fn transaction(calldata: bool) -> Payload {
    let mut fields = vec![1, 0x80, 1, 2, 0x82, 0x52, 0x08, 0x94];
    fields.extend([0x35; 20]);
    fields.push(1);
    fields.extend_from_slice(if calldata { &[0x84, 0xa9, 0x05, 0x9c, 0xbb] } else { &[0x80] });
    fields.push(0xc0);
    let mut bytes = vec![2, 0xc0 + u8::try_from(fields.len()).unwrap()];
    bytes.extend(fields);
    Payload::Ethereum(bytes.into())
}

#[test]
fn i15_policy_is_asked_before_a_code_is_spent_and_denies_what_is_not_decoded() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let label: KeyLabel = "alice/eth".parse().unwrap();
    let create = CreateKey { label: label.clone(), plan: KeyPlan::of(vec![Mechanism::Ethereum]) };
    let Ok(Answer::Key(key)) = device.ask(Act::CreateKey(create)) else { panic!("no key") };
    let code = user.code(device.time.unix_secs);
    let mut ask = |payload| {
        let approval = Some(Approval::Code(typed(&code)));
        device.ops.clear();
        let answer = device.ask(Act::Sign(Sign { key: label.clone(), payload, approval }));
        (answer, device.ops.clone())
    };
    let (refused, ops) = ask(transaction(true));
    assert_eq!(refused, Err(Reason::PolicyRefused));
    assert_eq!(ops, ["commit"], "recorded; no code was looked at");
    assert_eq!(ask(Payload::Digest([1; 32].into())).0, Err(Reason::MechanismNotAllowed));
    let (Ok(Answer::Signed(signed)), _) = ask(transaction(false)) else { panic!("not signed") };
    assert!(crate::ecdsa::verify(&key.public_key, &signed.digest, &signed.signature).is_ok());

    device.advance(60);
    let operation = Operation { id: [1; 16].into(), key: key.id, mechanism: Mechanism::Ethereum };
    let approval = Approval::Code(typed(&user.code(device.time.unix_secs)));
    device.ask(Act::ContextLogin(ContextLogin { operation: operation.clone(), approval })).unwrap();
    let payload = transaction(true);
    let act = Act::ContextSign(ContextSign { operation, payload });
    assert_eq!(device.ask(act.clone()).unwrap_err(), Reason::PolicyRefused);
    assert_eq!(device.ask(act).unwrap_err(), Reason::ApprovalMissing, "the refusal burned the grant");
}

#[test]
fn a_tenants_budget_ends_spraying_waits_for_checks_under_way_and_spares_the_vouched() {
    let mut device = Device::ready();
    device.tenants[0].failures_per_hour = Some(3);
    assert!(device.boot());
    let names = ["u0", "u1", "u2", "u3", "u4"];
    let users: Vec<User> = names.map(|name| enroll(&mut device, name)).into();
    let now = device.time.unix_secs;
    // Five at once, all right: more than the budget, yet none is refused.
    let tickets: Vec<u64> = (0u8..)
        .zip(&users)
        .map(|(n, user)| {
            let act = sign_act(user, n, &user.code(now));
            device.begin_as("a", act)
        })
        .collect();
    device.settle();
    assert!(tickets.into_iter().all(|ticket| device.reply(ticket).unwrap().is_ok()));
    device.advance(60);
    let now = device.time.unix_secs;
    for user in &users[..3] {
        let wrong = wrong_code(&device, user);
        assert_eq!(sign(&mut device, user, &wrong).unwrap_err(), Reason::WrongCode);
    }
    assert_eq!(sign(&mut device, &users[4], &users[4].code(now)).unwrap_err(), Reason::TenantOverBudget);
    device.ask(Act::Unlock(two_codes(&users[4], now - 30))).unwrap();
    sign(&mut device, &users[4], &users[4].code(now + 30)).unwrap();
    device.advance(1200);
    let now = device.time.unix_secs;
    sign(&mut device, &users[3], &users[3].code(now)).unwrap();
}

#[test]
fn unreadable_requests_are_answered_and_change_nothing() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let store = device.store.clone();
    for payload in [vec![0xff], vec![0xa0], vec![0x80; 64]] {
        let ticket = device.send_bytes(payload);
        device.settle();
        let refusal = device.reply(ticket).unwrap().unwrap_err();
        assert_eq!(refusal.reason, Reason::MalformedRequest);
    }
    let mut request = Request { id: [1; 16].into(), api_key: None, act: Act::Login };
    for key in [None, Some(api_key("nobody"))] {
        request.api_key = key;
        let ticket = device.send(&request);
        device.settle();
        assert_eq!(device.reply(ticket).unwrap().unwrap_err().reason, Reason::WrongApiKey);
    }
    assert_eq!(device.store, store);
    let code = user.code(device.time.unix_secs);
    sign(&mut device, &user, &code).unwrap();
}

#[test]
fn i14_a_tenant_holds_no_more_accounts_than_its_operator_allows() {
    let mut device = Device::ready();
    device.tenants[0].accounts_max = Some(2);
    assert!(device.boot());
    open_account(&mut device, "alice");
    open_account(&mut device, "bob");
    assert_eq!(device.ask(enroll_act("carol", &[Mechanism::Digest])).unwrap_err(), Reason::TenantFull);
    device.ask_as("b", enroll_act("carol", &[Mechanism::Digest])).unwrap();
    device.advance(30 * 60);
    open_account(&mut device, "alice");
}

#[test]
fn i5_a_faulty_signature_never_leaves() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    device.corrupt_signatures = true;
    let code = user.code(device.time.unix_secs);
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::KeystoreFailed);
    device.corrupt_signatures = false;
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::CodeUsed, "the code is burned");
}

#[test]
fn i13_every_decision_is_in_the_log_before_it_is_told() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let mut length = device.store.len();
    let code = user.code(device.time.unix_secs);
    for act in [
        sign_act(&user, 1, "x"),
        sign_act(&user, 1, &code),
        sign_act(&user, 1, &code),
        enroll_act("alice", &[Mechanism::Digest]),
        Act::Confirm(two_codes(&user, START)),
        context_sign(&user, 1),
    ] {
        let _ = device.ask(act);
        assert!(device.store.len() > length, "nothing was recorded");
        length = device.store.len();
    }
    let _ = device.ask(Act::ShowAccount("alice".parse().unwrap()));
    assert_eq!(device.store.len(), length, "reads decide nothing");
}
