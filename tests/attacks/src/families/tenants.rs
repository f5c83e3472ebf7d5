//! Others' accounts and keys, by their own names and by names that look like them.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{digest, operation, sign_act};
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::client::{Act, ContextSign, KeyQuery};

pub(crate) const FAMILY: Family = Family {
    name: "tenants",
    title: "One tenant or user reaches for another's accounts and keys",
    invariants: &["I9", "I10"],
    attacks: &[
        Attack {
            name: "another-tenants-key",
            had: "the id of a key of another tenant, and a code of that key's user",
            does: "finds the key, logs in to it and signs with it under his own API key",
            guards: &["own-tenant"],
            faults: &[],
            on: On::Both,
            play: another_tenants_key,
        },
        Attack {
            name: "another-users-code",
            had: "an authenticator of his own in the same tenant",
            does: "signs with another user's key and his own code",
            guards: &["own-factor"],
            faults: &[],
            on: On::Both,
            play: another_users_code,
        },
        Attack {
            name: "names-that-look-alike",
            had: "the name of a user",
            does: "asks by names that a lookup might take for hers: slash, NUL, case, dots, blanks, look-alikes, lengths",
            guards: &["names-strict"],
            faults: &[],
            on: On::Embedded,
            play: names_that_look_alike,
        },
    ],
};

fn another_tenants_key(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::init(keystore, &["default", "other"]);
    hsm.run();
    let (alice, theirs) = (hsm.user("alice", &[Digest]), hsm.api_key_of("other").clone());
    let code = alice.phone.code(hsm.now());
    let granted = operation(&alice.key, Digest);
    let as_other = countersign_tests::User { api_key: theirs.clone(), ..alice.clone() };
    for query in [KeyQuery::Id(alice.key.id), KeyQuery::Label(alice.key.label.clone()), KeyQuery::All(None)] {
        let found = hsm.find_keys(&theirs, query).expect("a miss is an empty list");
        tries.expect("another tenant's key, found", "no such key", found.keys.is_empty());
    }
    tries.ask(
        "a signature by the key's name",
        hsm.client.call(Some(&theirs), sign_act(&alice.key.label, digest(1), Some(&code))),
    );
    tries.ask("a login by the key's id", hsm.context_login(&as_other, &granted, &code));
    let sign = Act::ContextSign(ContextSign { operation: granted.clone(), payload: digest(1) });
    tries.ask("a signature by the key's id", hsm.client.call(Some(&theirs), sign));
    if tries.got.is_empty() {
        hsm.sign(&alice, digest(1), &code).expect("the code was never touched");
    }
}

fn another_users_code(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let (alice, mallory) = (hsm.user("alice", &[Digest]), hsm.user("mallory", &[Digest]));
    let his = mallory.phone.code(hsm.now());
    tries.ask("a signature with her key and his code", hsm.sign(&alice, digest(1), &his));
    let of_hers = operation(&alice.key, Digest);
    tries.ask("a login to her key with his code", hsm.context_login(&mallory, &of_hers, &his));
    tries.ask("a signature with her key", hsm.context_sign(&mallory, &of_hers, digest(1)));
    hsm.sign(&mallory, digest(1), &his).expect("his own key takes his code");
}

fn names_that_look_alike(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let long = "a".repeat(300);
    for name in [
        "Alice",
        "ALICE",
        "aLice",
        "alice ",
        " alice",
        "alice\0",
        "alice\0bob",
        "alice/first",
        "alice/",
        "/alice",
        "../alice",
        "alic\u{435}",
        "\u{ff41}lice",
        "ali\u{200b}ce",
        "alice\u{301}",
        "a\u{131}ice",
        "alice\n",
        "",
        ".",
        "..",
        long.as_str(),
    ] {
        // His client is his own: what reads the name is the HSM.
        let code = alice.phone.code(hsm.now());
        let act = sign_act(&alice.key.label, digest(1), Some(&code));
        let answer = super::wire::ask_raw(&hsm, &act, &super::wire::text("alice"), &super::wire::text(name));
        tries.ask("a signature under a name that is none", answer);
        if !tries.got.is_empty() {
            return;
        }
    }
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("her own name signs");
}
