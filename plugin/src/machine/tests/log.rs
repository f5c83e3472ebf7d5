//! The tenants' audit logs: that their trees follow from the trail, whatever happens, and who may read what.

use super::*;
use crate::store::nvram::Nvram;
use crate::store::trail::Reader;
use countersign_tlog::note::VerifierKey;
use countersign_tlog::tree::leaf_hash;
use countersign_tlog::{Checkpoint, Frontier, Note};
use countersign_wire::device::Decline;
use countersign_wire::hal::Tenant;
use countersign_wire::hal::{LogNames, STORE_RESERVE_BYTES};
use countersign_wire::log::{LOG_PAGE_MAX_ENTRIES, LogCheckpoint, LogPage, LogQuery, LogStart};
use countersign_wire::names::TenantName;
use device::tenant;

const MIB: u64 = 1024 * 1024;

fn told(device: &mut Device, whose: &str) -> LogCheckpoint {
    match device.ask_as(whose, Act::LogCheckpoint).unwrap() {
        Answer::LogCheckpoint(checkpoint) => checkpoint,
        other => panic!("{other:?}"),
    }
}

/// The log's checkpoint, once its signature was verified.
fn checkpoint(device: &mut Device, whose: &str) -> Checkpoint {
    let LogCheckpoint { note, vkey } = told(device, whose);
    let (note, key) = (Note::parse(&note).unwrap(), VerifierKey::parse(&vkey).unwrap());
    assert!(note.verify(&key).is_some());
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!(checkpoint.origin, key.name());
    assert_eq!(checkpoint.origin, format!("countersign/{}/{whose}", "07".repeat(16)));
    checkpoint
}

fn page(device: &mut Device, whose: &str, from: LogStart, entries_max: u16) -> Result<LogPage, Reason> {
    device.ask_as(whose, Act::ReadLog(LogQuery { from, entries_max })).map(|answer| match answer {
        Answer::LogPage(page) => page,
        other => panic!("{other:?}"),
    })
}

/// Every entry that a tenant can read.
fn entries(device: &mut Device, whose: &str) -> Vec<Vec<u8>> {
    let (mut from, mut entries) = (LogStart::Beginning, Vec::new());
    loop {
        let page = page(device, whose, from, LOG_PAGE_MAX_ENTRIES).unwrap();
        entries.extend(page.entries.into_iter().map(serde_bytes::ByteBuf::into_vec));
        if !page.more {
            return entries;
        }
        from = LogStart::After(page.next);
    }
}

pub(super) fn texts(device: &mut Device, whose: &str) -> Vec<String> {
    entries(device, whose).into_iter().map(|entry| String::from_utf8(entry).unwrap()).collect()
}

/// What the sealed trail says that a tenant's log holds.
fn trail(device: &Device, whose: &str) -> Vec<Vec<u8>> {
    let nvram = Nvram::decode(device.nvram.as_ref().unwrap()).unwrap();
    let archived = usize::try_from(nvram.archive.length_bytes()).unwrap();
    let mut reader = Reader::new(&[9; 32], [7; 16]);
    let events = reader.trail(&nvram, &device.archive[..archived], &device.store).unwrap();
    reader.leaves(&TenantName::parse(whose).unwrap(), &events)
}

fn root_of(leaves: &[Vec<u8>]) -> [u8; 32] {
    let mut tree = Frontier::default();
    for leaf in leaves {
        tree.append(leaf_hash(leaf));
    }
    tree.root()
}

/// Trail, checkpoint and what can be read say the same.
#[track_caller]
fn assert_whole(device: &mut Device) {
    for whose in ["a", "b"] {
        let (expected, told) = (trail(device, whose), checkpoint(device, whose));
        assert_eq!((told.size, told.root), (expected.len() as u64, root_of(&expected)), "{whose}");
        assert_eq!(entries(device, whose), expected, "{whose}");
    }
}

fn sign_next(device: &mut Device, user: &User) {
    device.advance(30);
    let code = user.code(device.time.unix_secs);
    sign(device, user, &code).unwrap();
}

/// Refusals grow the store as well, and cost little.
fn grow(device: &mut Device, user: &User, bytes: u64) {
    let until = device.begin + device.store.len() as u64 + bytes;
    while device.begin + (device.store.len() as u64) < until {
        let tickets: Vec<u64> = (0..64).map(|_| device.begin_as("a", sign_act(user, 1, "12 456"))).collect();
        device.settle();
        assert!(tickets.into_iter().all(|ticket| device.reply(ticket).is_some()));
    }
}

#[test]
fn i13_a_log_holds_every_decision_in_order_and_its_checkpoint_is_over_exactly_that() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    sign_next(&mut device, &user);
    let wrong = wrong_code(&device, &user);
    sign(&mut device, &user, &wrong).unwrap_err();
    assert_whole(&mut device);
    let texts = texts(&mut device, "a");
    let whats: Vec<&str> = texts
        .iter()
        .map(|text| text.split_once("\"what\":\"").unwrap().1.split('"').next().unwrap())
        .collect();
    let expected = [
        "log-opened",
        "booted",
        "terms-changed",
        "enrolled",
        "code-counted",
        "confirmed",
        "code-counted",
        "granted",
        "code-counted",
        "refused",
    ];
    assert_eq!(whats, expected);
    assert!(texts[0].contains(&format!("\"hsm\":\"{}\",\"tenant\":\"a\"", "07".repeat(16))));
    assert!(texts[9].ends_with("\"account\":\"alice\",\"act\":\"sign\",\"reason\":\"wrong-code\"}"));
}

#[test]
fn i9_a_tenant_reads_its_own_entries_and_sees_nothing_of_what_another_does() {
    let mut device = Device::ready();
    let before = told(&mut device, "b");
    let user = enroll(&mut device, "alice");
    sign_next(&mut device, &user);
    assert_eq!(told(&mut device, "b"), before, "not even that something happened");
    let theirs = texts(&mut device, "b");
    assert_eq!(theirs.len(), 3);
    assert!(!theirs.concat().contains("alice"));
    let place = page(&mut device, "a", LogStart::Beginning, 1).unwrap().next;
    assert_eq!(page(&mut device, "b", LogStart::After(place), 1).unwrap_err(), Reason::MalformedRequest);
}

#[test]
fn i14_wrong_places_and_numbers_are_refused() {
    let mut device = Device::ready();
    let place = page(&mut device, "a", LogStart::Beginning, 1).unwrap().next;
    for at in 0..place.len() {
        let mut other = place;
        other[at] ^= 0x10;
        assert_eq!(page(&mut device, "a", LogStart::After(other), 1).unwrap_err(), Reason::MalformedRequest);
    }
    for entries_max in [0, LOG_PAGE_MAX_ENTRIES + 1] {
        let refused = page(&mut device, "a", LogStart::Beginning, entries_max).unwrap_err();
        assert_eq!(refused, Reason::MalformedRequest);
    }
    let end = page(&mut device, "a", LogStart::Beginning, 1024).unwrap();
    assert!(!end.more);
    let after = page(&mut device, "a", LogStart::After(end.next), 1024).unwrap();
    assert!(after.entries.is_empty() && !after.more);
}

#[test]
fn a_log_of_one_size_has_one_checkpoint_that_names_the_stores_head_of_then() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    sign_next(&mut device, &user);
    let (nvram, told_before) =
        (Nvram::decode(device.nvram.as_ref().unwrap()).unwrap(), told(&mut device, "a"));
    assert_eq!(told(&mut device, "a"), told_before);
    let head = data_encoding::BASE64.encode(&nvram.head.head());
    assert_eq!(checkpoint(&mut device, "a").extension, [format!("countersign-store-head {head}")]);
    let before = checkpoint(&mut device, "a");
    assert!(device.boot());
    let after = checkpoint(&mut device, "a");
    assert_eq!(after.size, before.size + 1, "that it was started");
    let entries = entries(&mut device, "a");
    assert_eq!(root_of(&entries[..entries.len() - 1]), before.root, "it goes on from there");
    assert_eq!(told(&mut device, "a").vkey, told_before.vkey, "under the same key");
}

#[test]
fn i13_cleaning_moves_entries_and_changes_no_log() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let (mut from, mut read) = (LogStart::Beginning, Vec::new());
    while device.begin < MIB {
        for _ in 0..40 {
            sign_next(&mut device, &user);
        }
        // A reader who goes slowly: what he is about to read is archived in the meantime.
        let page = page(&mut device, "a", from, 30).unwrap();
        read.extend(page.entries.into_iter().map(serde_bytes::ByteBuf::into_vec));
        from = LogStart::After(page.next);
    }
    assert_whole(&mut device);
    assert!(!device.archive.is_empty());
    loop {
        let page = page(&mut device, "a", from, 900).unwrap();
        read.extend(page.entries.into_iter().map(serde_bytes::ByteBuf::into_vec));
        from = LogStart::After(page.next);
        if !page.more {
            break;
        }
    }
    assert_eq!(read, trail(&device, "a"));
    assert!(device.boot());
    assert_whole(&mut device);
}

#[test]
fn a_start_reads_the_events_since_the_trees_were_written_down_and_no_others() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    grow(&mut device, &user, MIB + MIB / 8);
    assert!(device.boot());
    assert_whole(&mut device);
    let recent = page(&mut device, "a", LogStart::Recent, 1).unwrap();
    let size = checkpoint(&mut device, "a").size;
    let index = recent.index.unwrap();
    assert!(index > 0 && index < size, "{index} of {size}");
    assert_eq!(recent.entries[0].as_slice(), trail(&device, "a")[usize::try_from(index).unwrap()]);
}

#[test]
fn i6_a_crash_at_any_step_leaves_the_log_that_the_trail_says() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    grow(&mut device, &user, MIB / 4 * 3);
    let mut crashes = 0;
    for steps in 0.. {
        grow(&mut device, &user, MIB / 24);
        let ticket = device.begin_as("a", sign_act(&user, 1, "12 456"));
        device.under_way();
        for _ in 0..steps % 7 {
            device.step();
        }
        let _ = device.reply(ticket);
        assert!(device.boot(), "{:?}", device.halted);
        assert_whole(&mut device);
        crashes += 1;
        if device.begin > MIB / 2 {
            break;
        }
    }
    assert!(crashes > 7, "each step once: {crashes}");
}

#[test]
fn what_was_changed_on_the_disk_is_refused_to_its_reader_and_stops_nobody_else() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    grow(&mut device, &user, MIB + MIB / 2);
    assert!(!device.archive.is_empty());
    let archive = device.archive.clone();
    for at in [0, 4, 20, 35, 60, 200, archive.len() / 3] {
        device.archive[at] ^= 1;
        let refused = read_through(&mut device);
        // A changed boot count or owner of a block is nobody's business here: no entry comes from it.
        let harmless = at == 20;
        let expected = [Reason::StoreRefused, Reason::StoreUnreadable];
        assert!(refused.map_or(harmless, |refused| expected.contains(&refused)), "byte {at}: {refused:?}");
        device.archive.clone_from(&archive);
    }
    let mut refusals = 0;
    for at in (0..2000).step_by(167) {
        device.store[at] ^= 1;
        // What is no audit event is not looked at.
        refusals += usize::from(read_through(&mut device).is_some());
        device.store[at] ^= 1;
    }
    assert!(refusals > 4, "{refusals}");
    sign_next(&mut device, &user);
    assert_whole(&mut device);
}

/// Reads a log from its beginning to its end, or to a refusal.
fn read_through(device: &mut Device) -> Option<Reason> {
    let mut from = LogStart::Beginning;
    loop {
        match page(device, "a", from, 1024) {
            Ok(page) if page.more => from = LogStart::After(page.next),
            Ok(_) => return None,
            Err(refused) => return Some(refused),
        }
    }
}

#[test]
fn a_tenant_that_came_later_has_a_log_of_its_own_from_then_on() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    sign_next(&mut device, &user);
    device.tenants.push(tenant("c"));
    assert!(device.boot());
    let texts = texts(&mut device, "c");
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("\"log-opened\"") && texts[1].contains("\"booted\",\"boot\":2,"));
    assert_eq!(checkpoint(&mut device, "c").root, root_of(&trail(&device, "c")));
    assert_whole(&mut device);
    // Without it the HSM goes on, and so does its log when it is back.
    device.tenants.pop();
    assert!(device.boot());
    device.tenants.push(tenant("c"));
    assert!(device.boot());
    assert_eq!(checkpoint(&mut device, "c").root, root_of(&trail(&device, "c")));
    assert_eq!(checkpoint(&mut device, "c").size, 5);
}

#[test]
fn names_are_hashed_from_the_start_on_that_the_operator_says_so_and_no_leaf_changes() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let plain = texts(&mut device, "a");
    assert!(plain.concat().contains("\"account\":\"alice\""));
    assert_eq!(show(&mut device, &user).log_name, "alice");
    device.tenants[0].log_names = LogNames::Hashed;
    assert!(device.boot());
    sign_next(&mut device, &user);
    let pseudonym = show(&mut device, &user).log_name;
    let reader = Reader::new(&[9; 32], [7; 16]);
    let (a, b) = (TenantName::parse("a").unwrap(), TenantName::parse("b").unwrap());
    assert_eq!(pseudonym, reader.pseudonym(&a, &"alice".parse().unwrap()));
    assert_ne!(pseudonym, reader.pseudonym(&b, &"alice".parse().unwrap()));
    assert_ne!(pseudonym, Reader::new(&[8; 32], [7; 16]).pseudonym(&a, &"alice".parse().unwrap()));
    let all = texts(&mut device, "a");
    assert_eq!(all[..plain.len()], plain, "what was told stays as it was told");
    let hashed = all[plain.len()..].concat();
    assert!(!hashed.contains("alice") && hashed.contains(&format!("\"account\":\"{pseudonym}\"")));
    assert_whole(&mut device);
}

#[test]
fn with_little_room_nothing_new_is_begun_what_is_refused_is_counted_and_reading_goes_on() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let code = user.code(device.time.unix_secs);
    let room = |device: &mut Device, bytes| {
        device.room = Some(bytes);
        device.advance(1);
        match device.ask_plainly(Act::Status).unwrap() {
            Answer::Status(status) => (status.store_room_bytes, status.refused_for_room),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(room(&mut device, STORE_RESERVE_BYTES), (Some(STORE_RESERVE_BYTES), 0));
    sign(&mut device, &user, &code).unwrap();
    assert_eq!(
        room(&mut device, STORE_RESERVE_BYTES - 1),
        (Some(STORE_RESERVE_BYTES / 4 * 3), 0),
        "told roughly"
    );
    let (written, failures) = (device.written.len(), show(&mut device, &user).failures_left);
    device.advance(30);
    let code = user.code(device.time.unix_secs);
    for act in [sign_act(&user, 1, &code), enroll_act("bob", &[Mechanism::Digest]), sign_act(&user, 1, "x")] {
        assert_eq!(device.ask(act).unwrap_err(), Reason::StoreFull);
    }
    assert_eq!(device.written.len(), written, "nothing was written");
    assert_eq!(show(&mut device, &user).failures_left, failures);
    checkpoint(&mut device, "a");
    assert!(!entries(&mut device, "a").is_empty());
    assert_eq!(room(&mut device, u64::MAX), (Some(3 << 62), 3));
    device.advance(60);
    let code = user.code(device.time.unix_secs);
    sign(&mut device, &user, &code).unwrap();
    let texts = texts(&mut device, "a");
    assert!(texts.iter().any(|text| text.ends_with("\"what\":\"no-room\",\"count\":3}")), "{texts:?}");
    // A firmware that cannot tell stops nobody.
    device.room = None;
    assert!(device.boot());
    sign_next(&mut device, &user);
}

#[test]
fn i13_when_the_log_cannot_be_written_no_decision_is_made_or_told() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let before = told(&mut device, "a");
    device.advance(30);
    let code = user.code(device.time.unix_secs);
    for act in [sign_act(&user, 1, &code), sign_act(&user, 1, "x"), enroll_act("bob", &[Mechanism::Digest])] {
        device.fail_next.insert("commit", Fault::StoreFull);
        assert_eq!(device.ask(act).unwrap_err(), Reason::StoreFull);
        assert_eq!(told(&mut device, "a"), before, "nothing was decided");
    }
    sign(&mut device, &user, &code).unwrap();
    assert_whole(&mut device);
}

/// Garbage, which is counted for everybody.
fn garbage(device: &mut Device) {
    let ticket = device.send_bytes(vec![0xff]);
    device.settle();
    assert_eq!(device.reply(ticket).unwrap().unwrap_err().reason, Reason::MalformedRequest);
}

#[test]
fn i9_what_is_counted_for_everybody_does_not_tell_when_somebody_commits() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    device.advance(60);
    garbage(&mut device);
    sign_next(&mut device, &user);
    let before = told(&mut device, "b");
    for _ in 0..3 {
        garbage(&mut device);
        device.ask(sign_act(&user, 1, "x")).unwrap_err();
        assert_eq!(told(&mut device, "b"), before, "not at each commit of another's");
    }
    // Nor does a name of a tenant that is not there make a difference to others.
    let (tenant, account) = ("nobody".parse().unwrap(), "alice".parse().unwrap());
    let decline = Decline {
        tenant,
        account,
        intent: [1; 16].into(),
        device: [4; 16].into(),
        signature: [5; 64].into(),
    };
    assert_eq!(device.ask_plainly(Act::Decline(decline)).unwrap_err(), Reason::UnknownIntent);
    // With the next code it is a minute, to the second.
    device.advance(30);
    sign_next(&mut device, &user);
    let theirs = texts(&mut device, "b");
    assert_eq!(checkpoint(&mut device, "b").size, theirs.len() as u64);
    assert!(theirs.last().unwrap().ends_with("\"what\":\"unreadable\",\"count\":3}"), "{theirs:?}");
    assert_whole(&mut device);
}

#[test]
fn i13_who_changes_what_the_operator_decides_leaves_a_trace_and_putting_it_back_leaves_another() {
    let mut device = Device::ready();
    let was = device.tenants[0].clone();
    let terms = |device: &mut Device| -> Vec<String> {
        let changed = |text: &String| text.contains("\"what\":\"terms-changed\"");
        texts(device, "a").into_iter().filter(changed).collect()
    };
    assert_eq!(terms(&mut device).len(), 1, "what it begins with");
    assert!(device.boot());
    assert_eq!(terms(&mut device).len(), 1, "nothing was changed");
    let changes: [fn(&mut Tenant); 5] = [
        |tenant| tenant.failures_per_hour = Some(u32::MAX),
        |tenant| tenant.plain_enrolment = !tenant.plain_enrolment,
        |tenant| tenant.accounts_max = Some(7),
        |tenant| tenant.log_names = LogNames::Hashed,
        |tenant| tenant.api_key_sha256 = [1; 32].into(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        change(&mut device.tenants[0]);
        assert!(device.boot());
        device.tenants[0] = was.clone();
        assert!(device.boot());
        let terms = terms(&mut device);
        assert_eq!(terms.len(), 3 + 2 * number);
        let after_time = |text: &str| text.split_once("\"of\"").unwrap().1.to_owned();
        assert_eq!(after_time(&terms[0]), after_time(terms.last().unwrap()), "as it was");
        assert_ne!(after_time(&terms[0]), after_time(&terms[terms.len() - 2]));
    }
    assert_whole(&mut device);
}

#[test]
fn an_entry_tells_which_image_was_started() {
    let mut device = Device::ready();
    let booted = texts(&mut device, "a").swap_remove(1);
    let measurement = format!("\"measurement\":\"{}\"", "05".repeat(48));
    assert!(booted.contains(&measurement) && booted.contains(crate::VERSION), "{booted}");
}
