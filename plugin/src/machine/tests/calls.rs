//! The order of calls, commits and replies.

use super::super::IN_FLIGHT_MAX;
use super::*;
use crate::store::StoreError;
use countersign_wire::hal::Event;

/// Asks for a signature of the digest 1 and leaves the request where it is. The ticket fetches the reply.
fn begin_to_sign(device: &mut Device, user: &User, code: &str) -> u64 {
    device.begin_as("a", sign_act(user, 1, code))
}

#[test]
fn i4_the_attempt_is_durable_before_the_code_is_compared_and_the_spend_before_the_key_is_used() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    device.ops.clear();
    let code = user.code(device.time.unix_secs);
    sign(&mut device, &user, &code).unwrap();
    assert_eq!(device.ops, ["mac", "commit", "commit", "sign"]);
    device.ops.clear();
    let wrong = wrong_code(&device, &user);
    assert_eq!(sign(&mut device, &user, &wrong).unwrap_err(), Reason::WrongCode);
    assert_eq!(device.ops, ["mac", "commit", "commit"], "counted, compared, recorded; nothing signed");
}

#[test]
fn a_call_tells_the_request_that_it_is_made_for_and_a_commit_is_everybodys() {
    let mut device = Device::ready();
    let (alice, bob) = (enroll(&mut device, "alice"), enroll(&mut device, "bob"));
    device.made_for.clear();
    let now = device.time.unix_secs;
    let [first, second] = [&alice, &bob].map(|user| begin_to_sign(&mut device, user, &user.code(now)));
    device.settle();
    assert!([first, second].iter().all(|ticket| device.reply(*ticket).is_some_and(|reply| reply.is_ok())));
    for ticket in [first, second] {
        let own: Vec<_> = device.made_for.iter().filter(|(_, of)| *of == Some(ticket)).collect();
        assert_eq!(own.iter().map(|(op, _)| *op).collect::<Vec<_>>(), ["mac", "sign"]);
    }
    assert!(
        device.made_for.iter().all(|(op, of)| (*op == "commit") == of.is_none()),
        "{:?}",
        device.made_for
    );
}

#[test]
fn i4_what_to_compare_with_may_come_early_and_nothing_is_compared_before_the_count_is_durable() {
    for right in [true, false] {
        let mut device = Device::ready();
        let user = enroll(&mut device, "alice");
        let now = device.time.unix_secs;
        let code = if right { user.code(now) } else { wrong_code(&device, &user) };
        let ticket = begin_to_sign(&mut device, &user, &code);
        assert_eq!(device.under_way(), ["mac", "commit"]);
        device.finish("mac");
        assert_eq!(device.under_way(), ["commit"], "it waits for the count, whatever the code is");
        assert!(device.reply(ticket).is_none());
        device.finish("commit");
        assert_eq!(device.under_way(), ["commit"], "now the spend or the refusal is made durable");
        assert!(device.reply(ticket).is_none());
        device.settle();
        assert_eq!(device.reply(ticket).unwrap().is_ok(), right);
    }
}

#[test]
fn i4_a_failure_counts_even_if_the_power_goes_before_the_comparison() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let wrong = wrong_code(&device, &user);
    begin_to_sign(&mut device, &user, &wrong);
    assert_eq!(device.under_way(), ["mac", "commit"]);
    device.finish("commit");
    assert!(device.boot());
    assert_eq!(show(&mut device, &user).failures_left, 9);
    assert_eq!(show(&mut device, &user).consecutive_failures, 1);
}

#[test]
fn i2_many_requests_with_one_code_give_exactly_one_signature() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    let tickets: Vec<u64> =
        (0..4).map(|digest| device.begin_as("a", sign_act(&user, digest, &code))).collect();
    assert_eq!(device.under_way(), ["mac", "commit"], "one account: strictly in order");
    device.finish("commit");
    assert_eq!(device.under_way(), ["mac"]);
    device.settle();
    let outcomes: Vec<_> = tickets.into_iter().map(|ticket| device.reply(ticket).unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes[0].is_ok(), "the first one asked");
}

#[test]
fn requests_on_different_accounts_share_commits_and_run_side_by_side() {
    let mut device = Device::ready();
    let users: Vec<User> = ["alice", "bob", "carol"].map(|name| enroll(&mut device, name)).into();
    let now = device.time.unix_secs;
    device.ops.clear();
    for user in &users {
        begin_to_sign(&mut device, user, &user.code(now));
    }
    assert_eq!(device.under_way(), ["mac", "mac", "mac", "commit"], "all three attempts in one commit");
    device.finish("commit");
    device.finish("mac");
    assert_eq!(device.under_way(), ["mac", "mac", "commit"], "a lone spend waits for nobody");
    device.settle();
    assert_eq!(device.ops.iter().filter(|op| **op == "sign").count(), 3);
    assert!(device.ops.iter().filter(|op| **op == "commit").count() <= 3);
}

#[test]
fn i14_beyond_the_bound_the_answer_is_busy() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let wrong = wrong_code(&device, &user);
    let tickets: Vec<u64> = (0..=IN_FLIGHT_MAX).map(|_| begin_to_sign(&mut device, &user, &wrong)).collect();
    let last = *tickets.last().unwrap();
    assert_eq!(device.under_way(), ["mac", "commit"]);
    assert_eq!(device.reply(last).unwrap().unwrap_err().reason, Reason::Busy);
    // One tenant does not fill the plugin alone: another one is served meanwhile.
    let ticket = device.begin_as("b", Act::Login);
    device.under_way();
    assert!(device.reply(ticket).unwrap().is_ok());
    device.settle();
    let mut busy =
        |ticket: &u64| device.reply(*ticket).unwrap().is_err_and(|refusal| refusal.reason == Reason::Busy);
    let refused = tickets[..IN_FLIGHT_MAX].iter().filter(|ticket| busy(ticket)).count();
    assert_eq!(refused, IN_FLIGHT_MAX - crate::tenants::REQUESTS_MAX);
}

#[test]
fn what_is_more_than_the_plugin_takes_at_once_is_refused_and_the_rest_is_answered() {
    let mut device = Device::ready();
    let mut begin = |number| device.begin_as(if number % 2 == 0 { "a" } else { "b" }, Act::Login);
    let tickets: Vec<u64> = (0..IN_FLIGHT_MAX).map(&mut begin).collect();
    let one_more = begin(0);
    device.settle();
    assert_eq!(device.reply(one_more).unwrap().unwrap_err().reason, Reason::Busy);
    assert!(tickets.iter().all(|ticket| device.reply(*ticket).unwrap().is_ok()));
    assert!(device.ask(Act::Login).is_ok(), "there is room again");
}

#[test]
fn a_start_that_cannot_be_recorded_says_whether_the_disk_is_full() {
    for fault in [Fault::StoreFull, Fault::Store] {
        let mut device = Device::ready();
        device.ops.clear();
        device.power_on();
        device.under_way();
        // The first commit claims the start; what is recorded of it comes with the second.
        while !device.ops.contains(&"commit") {
            assert!(device.step());
        }
        device.fail_next.insert("commit", fault);
        device.settle();
        assert!(device.fail_next.is_empty());
        assert_eq!(device.halted, Some(StoreError::Hal(fault).to_string()));
        assert!(device.boot());
    }
}

#[test]
fn a_fault_in_a_commit_refuses_everything_until_the_next_start() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    device.fail_next.insert("commit", Fault::Store);
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::StoreRefused);
    assert!(device.halted.is_some(), "whoever waited is refused, then the plugin stops");
    assert!(device.boot());
    sign(&mut device, &user, &code).unwrap();
}

#[test]
fn signatures_are_taken_up_one_at_a_time_after_what_is_urgent_and_are_not_put_off_for_ever() {
    let mut device = Device::ready();
    let users: Vec<User> = ["alice", "bob", "carol"].map(|name| enroll(&mut device, name)).into();
    let now = device.time.unix_secs;
    let tickets: Vec<u64> =
        users.iter().map(|user| begin_to_sign(&mut device, user, &user.code(now))).collect();
    device.run_until_signing();
    assert_eq!(device.under_way(), ["sign"; 3]);
    // All three signatures come, and before each step something else that has to be answered at once.
    device.hand_in_all();
    let mut steps = 0;
    while device.plugin.has_more() {
        device.send(&Request { id: [9; 16].into(), api_key: None, act: Act::Status });
        device.step_plugin();
        steps += 1;
    }
    assert!(steps <= 6, "{steps}");
    for ticket in tickets {
        assert!(device.reply(ticket).unwrap().is_ok());
    }
}

#[test]
fn i11_a_code_that_ran_out_while_it_was_counted_is_refused() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    let ticket = begin_to_sign(&mut device, &user, &code);
    assert_eq!(device.under_way(), ["mac", "commit"]);
    device.advance(90);
    device.settle();
    assert_eq!(device.reply(ticket).unwrap().unwrap_err().reason, Reason::WrongCode);
    assert_eq!(show(&mut device, &user).failures_left, 9);
}

#[test]
fn i14_a_request_that_is_refused_for_a_full_disk_leaves_no_call_behind() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    let ticket = begin_to_sign(&mut device, &user, &code);
    assert_eq!(device.under_way(), ["mac", "commit"]);
    device.fail_next.insert("commit", Fault::StoreFull);
    device.finish("commit");
    assert!(device.reply(ticket).is_none(), "it is under way for as long as its call is");
    device.finish("mac");
    assert_eq!(device.reply(ticket).unwrap().unwrap_err().reason, Reason::StoreFull);
}

#[test]
fn a_fault_in_a_commit_is_told_though_the_keystore_is_still_at_work() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    let ticket = begin_to_sign(&mut device, &user, &code);
    assert_eq!(device.under_way(), ["mac", "commit"]);
    device.fail_next.insert("commit", Fault::Store);
    device.finish("commit");
    assert_eq!(device.reply(ticket).unwrap().unwrap_err().reason, Reason::StoreRefused);
    assert!(device.halted.is_some());
    assert!(device.boot());
    sign(&mut device, &user, &code).unwrap();
}

#[test]
fn what_is_urgent_goes_before_a_signature_that_came_and_puts_it_off_once() {
    let mut device = Device::ready();
    let users = ["alice", "bobby", "carol"].map(|name| enroll(&mut device, name));
    let code = |device: &Device, user: &User| user.code(device.time.unix_secs);
    let (first, second, third) =
        (code(&device, &users[0]), code(&device, &users[1]), code(&device, &users[2]));
    let ticket = begin_to_sign(&mut device, &users[0], &first);
    device.run_until_signing();
    device.hand_in_all();
    begin_to_sign(&mut device, &users[1], &second);
    device.made_for.clear();
    device.step_plugin();
    assert!(!device.made_for.is_empty(), "what the second asks for is under way");
    assert!(device.reply(ticket).is_none() && device.plugin.has_more(), "the signature was put off");
    begin_to_sign(&mut device, &users[2], &third);
    device.step_plugin();
    assert!(device.reply(ticket).unwrap().is_ok(), "and is not a second time");
}

#[test]
fn what_no_firmware_says_halts_the_plugin() {
    let mut device = Device::ready();
    device.deliver(Event::Done { call: u64::MAX, result: Err(Fault::Store) });
    device.settle();
    assert_eq!(device.halted.as_deref(), Some("the firmware answered a call that was not made"));
    let mut device = Device::ready();
    device.deliver_boot();
    device.settle();
    assert_eq!(device.halted.as_deref(), Some("the firmware booted the plugin twice"));
}
