//! Tenants: what is not yours is not there.

use countersign_tests::backend::{account, digest, enroll_act, operation, reason, sign_act, two_codes};
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{Act, Approval, ContextLogin, ContextSign, CreateKey, KeyPlan, KeyQuery};
use countersign_wire::names::ApiKey;
use countersign_wire::reason::Reason;

on_both_keystores!(i9_two_tenants_use_the_same_names_side_by_side);
on_embedded!(
    i9_another_tenants_accounts_and_keys_are_the_same_miss_as_none,
    i9_a_grant_is_of_no_use_to_another_tenant,
    keys_are_listed_page_by_page_and_each_once,
    an_api_key_works_for_its_own_tenant_only,
    i9_one_tenants_accounts_never_crowd_out_another,
);

/// Asks about another tenant's (true) or about nobody's (false).
type Question<'a> = Box<dyn Fn(bool) -> Act + 'a>;

fn two_tenants(keystore: Keystore) -> Hsm {
    let mut hsm = Hsm::init(keystore, &["default", "other"]);
    hsm.run();
    hsm
}

fn i9_two_tenants_use_the_same_names_side_by_side(keystore: Keystore) {
    let hsm = two_tenants(keystore);
    let (ours, theirs) = (hsm.api_key().clone(), hsm.api_key_of("other").clone());
    let (alice, other_alice) =
        (hsm.user_of(&ours, "alice", &[Digest]), hsm.user_of(&theirs, "alice", &[Digest]));
    assert_ne!((alice.key.id, alice.key.public_key), (other_alice.key.id, other_alice.key.public_key));
    let now = hsm.now();
    assert_eq!(reason(hsm.sign(&alice, digest(1), &other_alice.phone.code(now))), Reason::WrongCode);
    assert_eq!(hsm.show(&other_alice).expect("shown").consecutive_failures, 0);
    hsm.sign(&alice, digest(1), &alice.phone.code(now)).expect("each signs with her own code");
    hsm.sign(&other_alice, digest(1), &other_alice.phone.code(now)).expect("each signs with her own code");
    assert_eq!(hsm.all_keys(&ours), [alice.key]);
    assert_eq!(hsm.all_keys(&theirs), [other_alice.key]);
}

fn i9_another_tenants_accounts_and_keys_are_the_same_miss_as_none(keystore: Keystore) {
    let hsm = two_tenants(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let before = hsm.show(&alice).expect("shown");
    let code = alice.phone.code(hsm.now());
    let theirs: ApiKey = hsm.api_key_of("other").clone();
    let ask = |act: Act| hsm.client.call(Some(&theirs), act);
    let invented =
        operation(&countersign_wire::client::KeyInfo { id: [9; 16].into(), ..alice.key.clone() }, Digest);
    // The same question about what is another tenant's and about what is nowhere gets the same answer.
    let name = |foreign: bool| account(if foreign { "alice" } else { "nobody" });
    let label = |foreign: bool| {
        countersign_tests::backend::label(if foreign { "alice/first" } else { "nobody/first" })
    };
    let of = |foreign: bool| if foreign { operation(&alice.key, Digest) } else { invented.clone() };
    let approval = || Approval::Code(countersign_tests::backend::typed(&code));
    let questions: Vec<(Question<'_>, Reason)> = vec![
        (Box::new(|f| Act::ShowAccount(name(f))), Reason::UnknownAccount),
        (Box::new(|f| Act::Confirm(two_codes(&name(f), &code, &code))), Reason::UnknownAccount),
        (Box::new(|f| Act::Unlock(two_codes(&name(f), &code, &code))), Reason::UnknownAccount),
        (Box::new(|f| sign_act(&label(f), digest(1), Some(&code))), Reason::UnknownAccount),
        (
            Box::new(|f| Act::CreateKey(CreateKey { label: label(f), plan: KeyPlan::of(vec![Ethereum]) })),
            Reason::UnknownAccount,
        ),
        (
            Box::new(|f| Act::ContextLogin(ContextLogin { operation: of(f), approval: approval() })),
            Reason::UnknownKey,
        ),
        (
            Box::new(|f| Act::ContextSign(ContextSign { operation: of(f), payload: digest(1) })),
            Reason::ApprovalMissing,
        ),
    ];
    for (question, expected) in &questions {
        assert_eq!(ask(question(true)), ask(question(false)), "{expected}");
        assert_eq!(reason(ask(question(true))), *expected);
    }
    for query in [KeyQuery::All(None), KeyQuery::Label(alice.key.label.clone()), KeyQuery::Id(alice.key.id)] {
        let page = hsm.find_keys(&theirs, query).expect("a miss is an empty list");
        assert_eq!((page.keys, page.next), (Vec::new(), None));
    }
    assert_eq!(hsm.show(&alice).expect("shown"), before, "nothing of it was counted");
    hsm.enroll(&theirs, enroll_act("alice", &[Digest])).expect("the name is free to the other tenant");
    hsm.sign(&alice, digest(1), &code).expect("the code is as good as ever");
}

fn i9_a_grant_is_of_no_use_to_another_tenant(keystore: Keystore) {
    let hsm = two_tenants(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let granted = operation(&alice.key, Digest);
    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.now())).expect("logs in");
    let act = Act::ContextSign(ContextSign { operation: granted.clone(), payload: digest(1) });
    let theirs = hsm.api_key_of("other");
    assert_eq!(reason(hsm.client.call(Some(theirs), act)), Reason::ApprovalMissing);
    hsm.client
        .call(Some(theirs), Act::ContextEnd(granted.clone()))
        .expect("ending what is not there is fine");
    hsm.context_sign(&alice, &granted, digest(1)).expect("it is still alice's tenant's");
}

fn keys_are_listed_page_by_page_and_each_once(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let mut names: Vec<String> = (0..40).map(|number| format!("user-{number:02}")).collect();
    for name in &names {
        hsm.user(name, &[Digest]);
    }
    let list = |hsm: &Hsm| -> Vec<String> {
        let keys = hsm.all_keys(hsm.api_key());
        let mut accounts: Vec<String> = keys.iter().map(|key| key.label.account.to_string()).collect();
        accounts.sort();
        accounts
    };
    names.sort();
    assert_eq!(list(&hsm), names);
    hsm.kill_and_run();
    assert_eq!(list(&hsm), names);
}

fn an_api_key_works_for_its_own_tenant_only(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    hsm.run();
    hsm.stop();
    hsm.add_tenant("late", &[]);
    hsm.run();
    for tenant in ["default", "late"] {
        match hsm.client.call(Some(hsm.api_key_of(tenant)), Act::Login).expect("the key is good") {
            countersign_wire::client::Answer::Welcome(welcome) => assert_eq!(welcome.tenant, tenant),
            other => panic!("not a welcome: {other:?}"),
        }
    }
    let swapped = hsm.api_key_of("late").expose().replace("_late", "_default");
    let swapped = ApiKey::parse(&swapped).expect("it has the form of one");
    assert_eq!(reason(hsm.client.call(Some(&swapped), Act::Login)), Reason::WrongApiKey);
}

fn i9_one_tenants_accounts_never_crowd_out_another(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    hsm.add_tenant("small", &["--accounts-max", "2"]);
    hsm.run();
    let small = hsm.api_key_of("small").clone();
    let alice = hsm.user_of(&small, "alice", &[Digest]);
    hsm.enroll(&small, enroll_act("bob", &[Digest])).expect("the second of two");
    assert_eq!(reason(hsm.enroll(&small, enroll_act("carol", &[Digest]))), Reason::TenantFull);
    hsm.user("carol", &[Digest]);
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("a full tenant's users sign as ever");
}
