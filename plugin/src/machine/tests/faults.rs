//! The store in the attacker's hands, and a firmware that fails at every place: always a refusal.

use super::*;
use crate::audit::What;
use crate::store::StoreError;
use crate::store::log::split_first;

fn two_states() -> (Device, User, Vec<u8>) {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let yesterday = device.store.clone();
    let code = user.code(device.time.unix_secs);
    sign(&mut device, &user, &code).unwrap();
    (device, user, yesterday)
}

fn refuses(device: &mut Device, error: StoreError) {
    assert!(!device.boot());
    assert_eq!(device.halted, Some(error.to_string()));
}

#[test]
fn i6_yesterdays_store_is_refused_and_the_good_one_opens_afterwards() {
    let (mut device, user, yesterday) = two_states();
    let today = std::mem::replace(&mut device.store, yesterday);
    refuses(&mut device, StoreError::Short);
    device.store = today;
    assert!(device.boot());
    assert_eq!(show(&mut device, &user).failures_left, 10);
}

#[test]
fn i6_any_flipped_bit_is_refused() {
    let (mut device, ..) = two_states();
    let good = device.store.clone();
    for at in (0..good.len()).step_by(7) {
        device.store = good.clone();
        device.store[at] ^= 1 << (at % 8);
        assert!(!device.boot(), "byte {at}");
    }
    device.store = good;
    assert!(device.boot());
}

#[test]
fn i6_any_truncation_is_refused() {
    let (mut device, ..) = two_states();
    let good = device.store.clone();
    for length in (0..good.len()).step_by(11) {
        device.store = good[..length].to_vec();
        refuses(&mut device, if length == 0 { StoreError::Empty } else { StoreError::Short });
    }
}

#[test]
fn i6_what_lies_beyond_the_head_is_discarded() {
    let (mut device, user, _) = two_states();
    let good = device.store.clone();
    device.store.extend_from_slice(b"CSE1 torn");
    assert!(device.boot());
    assert_eq!(device.store[..good.len()], good);
    assert!(!device.store.windows(4).any(|window| window == b"torn"));
    device.advance(60);
    let code = user.code(device.time.unix_secs);
    sign(&mut device, &user, &code).unwrap();
    assert!(device.boot());
}

#[test]
fn i6_a_crash_between_store_and_nvram_loses_only_what_was_never_told() {
    let (mut device, user, _) = two_states();
    device.advance(60);
    let (nvram, length) = (device.nvram.clone(), device.store.len());
    let code = user.code(device.time.unix_secs);
    let request = Request { id: [1; 16].into(), api_key: Some(api_key("a")), act: sign_act(&user, 1, &code) };
    let ticket = device.send(&request);
    assert_eq!(device.under_way(), ["mac", "commit"]);
    device.finish("commit");
    assert!(device.reply(ticket).is_none(), "no reply before the spend is durable");
    // The store was synced, NVRAM was not.
    device.nvram = nvram;
    assert!(device.store.len() > length);
    assert!(device.boot());
    assert_eq!(show(&mut device, &user).failures_left, 10);
    sign(&mut device, &user, &code).unwrap();
}

#[test]
fn i6_a_store_without_its_nvram_is_refused() {
    let (mut device, ..) = two_states();
    device.nvram = None;
    refuses(&mut device, StoreError::Foreign);
    device.nvram = Some(vec![0; 76]);
    refuses(&mut device, StoreError::NvramUnreadable);
}

#[test]
fn i6_a_store_of_another_sealing_key_is_refused_even_before_a_record_is_read() {
    let mut device = Device::ready();
    device.sealing_key = 10;
    refuses(&mut device, StoreError::OtherKey);
    device.sealing_key = 9;
    assert!(device.boot());
}

#[test]
fn i6_no_nonce_ever_repeats_not_even_after_discarded_tails() {
    let (mut device, user, _) = two_states();
    device.advance(60);
    let code = user.code(device.time.unix_secs);
    for _ in 0..3 {
        let (length, before) = (device.store.len(), device.nvram.clone());
        sign(&mut device, &user, &code).unwrap();
        // The power went before NVRAM was written: the same change is made again after the restart.
        device.store.truncate(length);
        device.nvram = before;
        assert!(device.boot());
    }
    let mut nonces = std::collections::BTreeSet::new();
    for bytes in device.written.iter().filter(|bytes| !bytes.is_empty()) {
        let entry = split_first(bytes).unwrap().unwrap();
        for (name, placed) in entry.records {
            let nonce = (placed.position.boot(), placed.position.counter());
            assert!(nonces.insert(nonce), "{nonce:?} was used twice, now for {name:?}");
        }
    }
}

#[test]
fn of_two_changes_made_from_the_same_version_one_is_a_conflict() {
    let (mut device, user, _) = two_states();
    let core = Rc::clone(&device.plugin.core);
    let outcomes = Rc::new(core::cell::RefCell::new(Vec::new()));
    for _ in 0..2 {
        let (core, outcomes) = (Rc::clone(&core), Rc::clone(&outcomes));
        let name = user.key.label.account.clone();
        device.plugin.spawn(async move {
            let core = core.get().unwrap();
            let tenant = "a".parse().unwrap();
            let id = core.store.account_id(&tenant, &name);
            let mut account = core.store.load(&core.hal, id).await.unwrap().unwrap();
            account.version += 1;
            let event = core.event(None, None, What::Unlocked);
            let change = Change { account: Some(account), tenant: None, event };
            let outcome = core.store.commit(change).await;
            outcomes.borrow_mut().push(outcome);
        });
    }
    device.settle();
    let mut outcomes = outcomes.take();
    outcomes.sort_by_key(Result::is_ok);
    assert_eq!(outcomes, [Err(crate::store::CommitError::Conflict), Ok(())]);
}

/// Every operation of every kind of request is made to fail, one at a time: never a signature, never an acceptance.
#[test]
fn i5_a_failure_of_any_call_is_a_refusal() {
    for op in ["commit", "mac", "sign"] {
        for fault in [Fault::Store, Fault::Keystore, Fault::Rng, Fault::Limits] {
            let mut device = Device::ready();
            let user = enroll(&mut device, "alice");
            let code = user.code(device.time.unix_secs);
            device.fail_next.insert(op, fault);
            assert!(sign(&mut device, &user, &code).is_err(), "{op} {fault:?}");
            let mut device = Device::ready();
            let user = enroll(&mut device, "alice");
            device.fail_next.insert(op, fault);
            let logged_in = device.ask(login(&user, 1, &code));
            let signed = device.ask(context_sign(&user, 1));
            assert!(logged_in.is_err() || signed.is_err(), "{op} {fault:?}");
        }
    }
    for op in ["random", "generate", "wrap", "commit"] {
        let mut device = Device::ready();
        device.fail_next.insert(op, Fault::Keystore);
        assert!(device.ask(enroll_act("alice", &[Mechanism::Digest])).is_err(), "{op}");
        assert!(device.boot());
        assert!(
            device.ask(enroll_act("alice", &[Mechanism::Digest])).is_ok(),
            "nothing was left behind by {op}"
        );
    }
}

#[test]
fn prior_art_a_record_that_cannot_be_loaded_is_a_refusal() {
    let (mut device, user, _) = two_states();
    device.advance(60);
    assert!(device.boot());
    let code = user.code(device.time.unix_secs);
    device.fail_next.insert("read", Fault::Store);
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::StoreRefused);
    // Edited under the running plugin: found at the read.
    let good = device.store.clone();
    for byte in &mut device.store {
        *byte ^= 0x55;
    }
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::StoreRefused);
    device.store = good;
    sign(&mut device, &user, &code).unwrap();
}

/// Such a record is the plugin's own in every other way: sealed, of its version, in its place.
#[test]
fn i5_an_account_of_another_format_is_refused() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let mut alice = account(&mut device, "alice");
    (alice.version, alice.format) = (alice.version + 1, alice.format + 1);
    let event =
        device.plugin.core.get().unwrap().event(Some(&alice.tenant), Some(&alice.name), What::Confirmed);
    stage(&mut device, vec![Change { account: Some(alice), tenant: None, event }]);
    assert!(device.boot(), "{:?}", device.halted);
    let code = user.code(device.time.unix_secs);
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::StoreRefused);
}
