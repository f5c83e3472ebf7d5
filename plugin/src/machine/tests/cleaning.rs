//! The log is cleaned while it grows: it stays short, nothing is lost, no crash and no full disk does harm, and what
//! was changed on the disk meanwhile is not carried on.

use super::device::tenant;
use super::*;
use crate::store::RecordId;
use crate::store::StoreError;
use crate::store::log::{Chain, EntryBuilder, Kind, Owner, split_first};
use crate::store::nvram::Nvram;
use crate::store::seal::{Name, Position};
use countersign_wire::client::ClockMode;

const MIB: usize = 1024 * 1024;

/// A device with users whose log is as long as it can be before cleaning begins.
fn aged() -> (Device, Vec<User>) {
    aged_with(["alice", "bobby", "carol"], 0)
}

fn aged_with(names: impl IntoIterator<Item = &'static str>, more_tenants: usize) -> (Device, Vec<User>) {
    let mut device = Device::ready();
    device.tenants.extend((0..more_tenants).map(|number| tenant(&format!("tenant-{number}"))));
    assert!(device.boot());
    let users: Vec<User> = names.into_iter().map(|name| enroll(&mut device, name)).collect();
    // Refusals are recorded as well, and cost little here.
    while device.store.len() < MIB - 1024 {
        let requests: Vec<u64> = (0..64).map(|_| send_malformed(&mut device, &users)).collect();
        device.settle();
        for ticket in requests {
            assert_eq!(device.reply(ticket).unwrap().unwrap_err().reason, Reason::MalformedCode);
        }
    }
    assert_eq!(device.begin, 0);
    (device, users)
}

fn send_malformed(device: &mut Device, users: &[User]) -> u64 {
    let act = sign_act(&users[0], 1, "12 456");
    device.begin_as("a", act)
}

fn sign_once(device: &mut Device, user: &User) {
    device.advance(30);
    let code = user.code(device.time.unix_secs);
    sign(device, user, &code).unwrap();
}

/// The users' last codes stay used, their next ones work.
fn hold_to_account(device: &mut Device, users: &[User]) {
    for user in users {
        let used = user.code(device.time.unix_secs);
        assert_eq!(show(device, user).failures_left, 10, "{}", user.name);
        sign(device, user, &used).map_or_else(
            |refused| assert_eq!(refused, Reason::CodeUsed),
            |_| assert_eq!(sign(device, user, &used).unwrap_err(), Reason::CodeUsed),
        );
        device.advance(13 * 3600);
        sign_once(device, user);
    }
}

fn nvram(device: &Device) -> Nvram {
    Nvram::decode(device.nvram.as_ref().unwrap()).unwrap()
}

#[test]
fn the_log_stays_short_and_nothing_of_it_is_lost() {
    let (mut device, users) = aged();
    let mut longest = 0;
    for _ in 0..1500 {
        sign_once(&mut device, &users[1]);
        longest = longest.max(device.store.len());
    }
    assert!(device.begin > MIB as u64, "it was cleaned over and over: {}", device.begin);
    assert!(longest < MIB + MIB / 2, "{longest}");
    assert!(device.boot());
    // Alice and Carol signed nothing meanwhile: their records were moved each time.
    hold_to_account(&mut device, &users);
}

#[test]
fn a_region_goes_when_all_that_is_needed_of_it_was_moved_with_several_commits() {
    for disk_is_full_now_and_then in [false, true] {
        let (mut device, users) = aged_with((0..100).map(|number| &*format!("user-{number:02}").leak()), 0);
        let (mut moving, mut full) = (0, 0);
        for _ in 0..500 {
            if device.begin > 0 {
                break;
            }
            device.advance(30);
            let code = users[0].code(device.time.unix_secs);
            if disk_is_full_now_and_then && moving % 2 == 1 {
                device.fail_next.insert("commit", Fault::StoreFull);
                assert_eq!(sign(&mut device, &users[0], &code).unwrap_err(), Reason::StoreFull);
                full += 1;
            }
            sign(&mut device, &users[0], &code).unwrap();
            moving += usize::from(!device.archive.is_empty());
        }
        assert!(device.begin > 0, "the region never went");
        // With two commits each.
        assert!(moving > 3 && (full > 1) == disk_is_full_now_and_then, "{moving} signatures, {full} failed");
        assert!(device.boot());
        for user in &users {
            assert_eq!(show(&mut device, user).failures_left, 10, "{}", user.name);
        }
        sign_once(&mut device, &users[99]);
    }
}

#[test]
fn a_region_goes_when_every_tree_is_written_down_with_several_commits() {
    let (mut device, users) = aged_with(["alice"], 200);
    let mut cleaned = 0;
    for _ in 0..3000 {
        if cleaned == 3 {
            break;
        }
        let begin = device.begin;
        sign_once(&mut device, &users[0]);
        if device.begin > begin {
            cleaned += 1;
            // Each tree is grown from what was written of it, and from no entry that is gone.
            assert!(device.boot(), "{:?}", device.halted);
        }
    }
    assert_eq!(cleaned, 3);
    hold_to_account(&mut device, &users);
}

#[test]
fn i13_audit_events_go_to_the_archive_whole_and_in_order() {
    let (mut device, users) = aged();
    while device.begin < MIB as u64 {
        sign_once(&mut device, &users[0]);
    }
    let nvram = nvram(&device);
    let first = crate::store::seal::Sealer::new(&[9; 32], [7; 16], 0).first_archive_head();
    let (mut chain, mut rest, mut sequences) = (Chain::from(first, 0), device.archive.as_slice(), Vec::new());
    while let Some(block) = split_first(rest).unwrap() {
        chain.append(block.bytes);
        sequences.extend(block.records.iter().map(|(name, _)| name.version));
        rest = &rest[block.bytes.len()..];
    }
    assert!(rest.is_empty());
    let remembered = usize::try_from(nvram.archive.length_bytes()).unwrap();
    let grown = device.plugin.core.get().unwrap().store.grown_bytes();
    assert_eq!(
        grown,
        device.begin + (device.store.len() + remembered) as u64,
        "every byte that was ever appended"
    );
    assert!(remembered <= device.archive.len(), "what is archived of a region under way comes later");
    assert!(device.archive.len() - remembered < MIB);
    let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
    assert_eq!(sequences, expected, "every entry's events, once, in order");
    device.archive.truncate(remembered);
    assert!(device.boot());
    device.archive.truncate(remembered - 1);
    assert!(!device.boot());
    assert_eq!(device.halted, Some(StoreError::ArchiveShort.to_string()));
}

#[test]
fn a_crash_at_any_step_of_cleaning_costs_nothing() {
    let (mut device, users) = aged();
    let mut crashes = 0;
    // Steps through signatures one call at a time, and cuts the power after a different call each time.
    for steps in 0.. {
        device.advance(60);
        let now = device.time.unix_secs;
        let requests: Vec<u64> = users
            .iter()
            .map(|user| {
                let act = sign_act(user, 1, &user.code(now));
                device.begin_as("a", act)
            })
            .collect();
        device.under_way();
        for _ in 0..steps % 17 {
            device.step();
        }
        let answered: Vec<bool> = requests.iter().map(|ticket| device.reply(*ticket).is_some()).collect();
        assert!(device.boot(), "after {steps} rounds: {:?}", device.halted);
        crashes += 1;
        for (user, answered) in users.iter().zip(answered) {
            if answered {
                assert_eq!(sign(&mut device, user, &user.code(now)).unwrap_err(), Reason::CodeUsed);
            }
        }
        // Failures that a crash left counted are forgiven.
        device.advance(6 * 12 * 3600);
        if device.begin > MIB as u64 / 2 {
            break;
        }
    }
    assert!(crashes > 3 * 17, "each step three times: {crashes}");
    hold_to_account(&mut device, &users);
}

#[test]
fn i6_a_log_that_was_changed_while_the_plugin_ran_is_not_carried_on() {
    let (mut device, users) = aged();
    let good = device.store.clone();
    device.store[1000] ^= 1;
    let mut refused = false;
    while !refused {
        device.advance(30);
        let code = users[0].code(device.time.unix_secs);
        let ticket = device.begin_as("a", sign_act(&users[0], 1, &code));
        device.settle();
        refused = device.halted.is_some();
        let reply = device.reply(ticket);
        assert!(refused || reply.as_ref().is_some_and(Result::is_ok), "{reply:?}");
    }
    assert_eq!(device.halted, Some(StoreError::Changed.to_string()));
    assert!(!device.boot());
    assert_eq!(device.halted, Some(StoreError::HeadMismatch.to_string()));
    device.store[..good.len()].copy_from_slice(&good);
    assert!(device.boot());
    hold_to_account(&mut device, &users);
}

#[test]
fn a_full_disk_refuses_decides_nothing_and_goes_on_when_there_is_room() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    for _ in 0..300 {
        device.fail_next.insert("commit", Fault::StoreFull);
        device.ops.clear();
        assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::StoreFull);
        assert_eq!(device.ops, ["mac", "commit"], "nothing was compared, signed or recorded");
    }
    assert_eq!(show(&mut device, &user).failures_left, 10);
    // Neither the user's budget nor the tenant's was used up.
    sign(&mut device, &user, &code).unwrap();
    device.advance(30);
    let code = user.code(device.time.unix_secs);
    device.fail_next.insert("commit", Fault::StoreFull);
    device.send_bytes(b"not a request".to_vec());
    assert_eq!(sign(&mut device, &user, &code).unwrap_err(), Reason::StoreFull);
    assert!(device.boot());
    sign(&mut device, &user, &code).unwrap();
}

#[test]
fn a_disk_that_is_full_between_count_and_spend_leaves_the_attempt_counted_and_the_code_unused() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    let request = Request { id: [1; 16].into(), api_key: Some(api_key("a")), act: sign_act(&user, 1, &code) };
    device.ops.clear();
    let ticket = device.send(&request);
    device.under_way();
    while device.ops.len() < 2 {
        assert!(device.step());
    }
    assert!(
        device.ops.contains(&"commit") && device.under_way() == ["commit"],
        "counted, and about to be spent"
    );
    device.fail_next.insert("commit", Fault::StoreFull);
    device.settle();
    assert_eq!(device.reply(ticket).unwrap().unwrap_err().reason, Reason::StoreFull);
    assert!(!device.ops.contains(&"sign"));
    assert_eq!(show(&mut device, &user).failures_left, 9);
    sign(&mut device, &user, &code).unwrap();
}

#[test]
fn a_full_disk_while_cleaning_only_puts_it_off() {
    for (op, fault) in
        [("archive", Fault::StoreFull), ("read", Fault::StoreUnreadable), ("commit", Fault::StoreFull)]
    {
        let (mut device, users) = aged();
        let (mut met, mut put_off_at) = (0, 0);
        // What cleaning tries first; nobody else reads here.
        let first = if op == "commit" { "archive" } else { op };
        let state = |device: &Device| {
            let tries = device.ops.iter().filter(|name| **name == first).count();
            (device.begin + device.store.len() as u64, tries)
        };
        while device.begin < MIB as u64 / 2 {
            let (end, tries) = state(&device);
            device.advance(30);
            let code = users[0].code(device.time.unix_secs);
            if device.ops.len() % 7 == 0 && met < 2 {
                device.fail_next.insert(op, fault);
            }
            let waiting = device.fail_next.len();
            match sign(&mut device, &users[0], &code) {
                Ok(_) => {}
                Err(refused) => assert_eq!(refused, Reason::StoreFull, "{op}"),
            }
            let failed = waiting - device.fail_next.len();
            met += failed;
            // What failed is tried again, but not at once and for nothing.
            if failed > 0 && op != "commit" {
                // A region is asked for in two pieces.
                let of_one_try = if op == "read" { 2 } else { 1 };
                assert_eq!(state(&device).1, tries + of_one_try, "{op}");
                put_off_at = end;
            } else if state(&device).1 > tries {
                assert!(state(&device).0 >= put_off_at + MIB as u64, "{op}");
            }
            if device.time.unix_secs % 86_400 < 30 {
                // Failures that were left counted are forgiven.
                device.advance(6 * 12 * 3600);
            }
        }
        assert!(met > 0, "{op}");
        assert!(device.boot(), "{op}");
        device.advance(6 * 12 * 3600);
        hold_to_account(&mut device, &users);
    }
}

#[test]
fn i6_each_wrong_store_is_refused_for_its_own_reason_and_the_good_one_opens_afterwards() {
    let (mut device, users) = aged();
    for _ in 0..300 {
        sign_once(&mut device, &users[0]);
    }
    assert!(device.begin > 0);
    let (good, begin) = (device.store.clone(), device.begin);
    let other = Device::of(8);
    let older = {
        let mut bytes = good.clone();
        bytes[3] = b'1';
        bytes
    };
    let clock = {
        let mut bytes = good.clone();
        bytes[32] = 0;
        bytes
    };
    let exchanged = exchange_records(&good);
    let forged = forge(good.len());
    let random: Vec<u8> = (0..=250u8).cycle().take(good.len()).map(|at| at.wrapping_mul(97)).collect();
    for (what, store, begin, error) in [
        ("random bytes", random, begin, StoreError::NotALog),
        ("nothing", Vec::new(), begin, StoreError::Empty),
        ("another HSM's", other.store.clone(), other.begin, StoreError::OtherHsm),
        ("another clock mode's", clock, begin, StoreError::OtherClock),
        ("an older version's", older, begin, StoreError::OtherVersion),
        ("another account's record", exchanged, begin, StoreError::HeadMismatch),
        (
            "a record that no table takes, which none was asked to take",
            forged,
            begin,
            StoreError::HeadMismatch,
        ),
        ("an older copy", good[..good.len() - 5000].to_vec(), begin, StoreError::Short),
        ("without its beginning", good[5000..].to_vec(), begin + 5000, StoreError::NotALog),
    ] {
        (device.store, device.begin) = (store, begin);
        assert!(!device.boot(), "{what}");
        assert_eq!(device.halted, Some(error.to_string()), "{what}");
    }
    (device.store, device.begin) = (good, begin);
    assert!(device.boot());
    hold_to_account(&mut device, &users);
}

/// A log of this length with a record that is longer than any can be.
fn forge(length: usize) -> Vec<u8> {
    let owner = Owner { hsm: [7; 8], clock: ClockMode::Manual };
    let id = RecordId { tenant: [1; 8], account: [2; 8] };
    let mut bytes = Vec::new();
    let half = (length - 100_000 - 3 * (35 + 37)) / 2;
    let rest = length - 100_000 - 3 * (35 + 37) - half;
    for (kind, sealed_bytes) in [(Kind::Account, 100_000), (Kind::Audit, half), (Kind::Audit, rest)] {
        let mut entry = EntryBuilder::new(owner, 1, 1);
        let name = Name { kind, id, version: 1 };
        entry.push(name, Position::from_bytes([0; 8]), &vec![0; sealed_bytes]);
        bytes.extend(entry.finish());
    }
    assert_eq!(bytes.len(), length);
    bytes
}

#[test]
fn i6_a_log_that_is_exchanged_while_it_is_read_is_refused() {
    let (mut device, users) = aged();
    device.ops.clear();
    assert!(device.boot());
    // The last two are of the tenants' records; before them, the region in which the trees are grown is read once more.
    let reads = device.ops.iter().filter(|op| **op == "read").count() - 2;
    let good = device.store.clone();
    let mut changed = good.clone();
    changed[good.len() - 1] ^= 1;
    for after in 1..reads {
        (device.store, device.exchange) = (good.clone(), Some((after, changed.clone())));
        assert!(!device.boot(), "after {after} of {reads} reads");
        assert_eq!(
            device.halted,
            Some(StoreError::HeadMismatch.to_string()),
            "after {after} of {reads} reads"
        );
    }
    (device.store, device.exchange) = (good, None);
    assert!(device.boot());
    hold_to_account(&mut device, &users);
}

/// Puts one account's newest record in the place of another's, where both are of one length.
fn exchange_records(good: &[u8]) -> Vec<u8> {
    let (mut bytes, mut at, mut found) = (good.to_vec(), 0, Vec::new());
    while let Some(entry) = split_first(&good[at..]).unwrap() {
        for (name, placed) in entry.records {
            if name.kind == Kind::Account {
                found.push((name.id, at + usize::try_from(placed.offset).unwrap(), placed.sealed_bytes));
            }
        }
        at += entry.bytes.len();
    }
    let pairs = found.iter().flat_map(|one| found.iter().map(move |other| (*one, *other)));
    let mut alike = pairs.filter(|((one, _, length), (other, _, same))| one != other && length == same);
    let ((_, from, length), (_, to, _)) = alike.next().expect("two of a length");
    let whole = 37 + length as usize;
    bytes.copy_within(from..from + whole, to);
    bytes
}
