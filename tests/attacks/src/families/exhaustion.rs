//! The HSM is kept busy, filled and flooded.

use crate::attack::{Attack, Family, On, Tries};
use countersign_client::device::{Device, Keys, Owner};
use countersign_tests::backend::{account, digest, enroll_act, label};
use countersign_tests::owner::{codes_before, device, enrol, plan_with_floor, root_of};
use countersign_tests::phone::Phone;
use countersign_tests::{Hsm, Keystore, User, cli, processes};
use countersign_wire::client::Mechanism::{Digest, Message};
use countersign_wire::client::{Act, Answer, ApprovalKind, Payload, StageSign, Subject};
use countersign_wire::frame::CLIENT_MAX_BYTES;
use countersign_wire::names::{ApiKey, KeyLabel};
use countersign_wire::reason::Reason;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) const FAMILY: Family = Family {
    name: "exhaustion",
    title: "The attacker takes all memory, all places and all attention, so that nobody else is served",
    invariants: &["I14"],
    attacks: &[
        Attack {
            name: "frames-without-end",
            had: "the HSM's socket",
            does: "announces frames of megabytes and gigabytes",
            guards: &["frame-bound"],
            faults: &[],
            on: On::Embedded,
            play: frames_without_end,
        },
        Attack {
            name: "connections-without-end",
            had: "the HSM's socket",
            does: "opens 700 connections and leaves them open",
            guards: &["places"],
            faults: &[],
            on: On::Embedded,
            play: connections_without_end,
        },
        Attack {
            name: "frames-never-ended",
            had: "the HSM's socket",
            does: "begins a frame on 700 connections, ends none of them, and goes on with further ones while others ask for a signature",
            guards: &["half-frames"],
            faults: &[],
            on: On::Embedded,
            play: frames_never_ended,
        },
        Attack {
            name: "intents-without-end",
            had: "the API key of a tenant, and as many accounts of his own as he likes",
            does: "stages messages of 16 KB until there is no room for more, so that another tenant's users cannot be asked",
            guards: &["intents-share"],
            faults: &[],
            on: On::Embedded,
            play: intents_without_end,
        },
    ],
};

/// Others are served.
fn serves(hsm: &Hsm, alice: &User, tries: &mut Tries) {
    let signed = hsm.sign(alice, digest(1), &alice.phone.code(hsm.advance(30)));
    tries.expect("the others not served", "the others are served", signed.is_ok());
}

fn connect(hsm: &Hsm) -> UnixStream {
    UnixStream::connect(&hsm.ready().socket).expect("the socket takes connections")
}

fn frames_without_end(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let most = u32::try_from(CLIENT_MAX_BYTES).expect("short");
    for length in [most + 1, 1 << 24, 1 << 30, u32::MAX] {
        let mut stream = connect(&hsm);
        // Of an HSM that waits for the rest nothing ever comes: that is told after a while.
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        stream.write_all(&length.to_be_bytes()).expect("the socket takes bytes");
        let ended = match stream.read(&mut [0; 16]) {
            Ok(0) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
            Ok(_) => false,
        };
        tries.expect("an HSM that waits for a frame of gigabytes", "the connection ends", ended);
        if !ended {
            return;
        }
    }
    serves(&hsm, &alice, tries);
}

fn connections_without_end(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let held: Vec<UnixStream> = (0..700).map(|_| connect(&hsm)).collect();
    // A connection made now is taken after all of them.
    hsm.client.forget_connections();
    serves(&hsm, &alice, tries);
    let threads = processes::threads(hsm.ready().pid).len();
    tries.expect("a thread of the HSM for each of 700 connections", "at most 512 places", threads < 600);
    drop(held);
    serves(&hsm, &alice, tries);
}

fn frames_never_ended(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let begin = || {
        let mut stream = connect(&hsm);
        // Of a connection that has no place nothing is read.
        let _ = stream.write_all(&[0, 0, 1, 0, 7]);
        stream
    };
    let mut held: Vec<UnixStream> = (0..700).map(|_| begin()).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // He goes on while she signs, with a further frame for each that the HSM gave up.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                held.retain(is_open);
                held.extend((0..20).map(|_| begin()));
            }
        });
        for _ in 0..20 {
            hsm.client.forget_connections();
            serves(&hsm, &alice, tries);
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// Whether the HSM has not ended it.
fn is_open(stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).expect("a socket need not block");
    let mut stream = stream;
    stream.read(&mut [0; 16]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// More than he needs to fill his room.
const HIS_ACCOUNTS: usize = 200;

/// A user of another tenant, with a device; the key that he has.
fn user_with_device(hsm: &Hsm, api_key: &ApiKey) -> KeyLabel {
    let Act::Enroll(enroll) = enroll_act("alice", &[Digest]) else { unreachable!("it enrols") };
    let key = label(&format!("alice/{}", enroll.key));
    let invited = hsm.client.call(Some(api_key), Act::Invite(enroll)).expect("invited");
    let Answer::Invited(invited) = invited else { panic!("not an invitation: {invited:?}") };
    let owner = Owner { tenant: "other".parse().expect("a name"), account: account("alice") };
    let device = Device::connect(&hsm.client, &root_of(hsm), None, owner, Keys::of_secret(&[1; 32]));
    let device = device.expect("the device meets its HSM");
    let phone = Phone::scan(device.enroll(invited.invitation.into_array()).expect("enrols").otpauth());
    let [first, second] = codes_before(hsm, &phone);
    device.confirm((&first, &second)).expect("two right codes confirm");
    key
}

fn intents_without_end(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::init(keystore, &["default", "other"]);
    // The policy of his own tenant is no obstacle to him.
    cli::set_policy(&mut hsm, &Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/anything"));
    hsm.run();
    let other = hsm.api_key_of("other").clone();
    let alices = user_with_device(&hsm, &other);
    // Long ones until there is no room for another, then shorter ones, down to the shortest.
    let mut lengths = [16_000, 1000, 1].into_iter();
    let mut length = lengths.next();
    for number in 0..HIS_ACCOUNTS {
        if length.is_none() {
            break;
        }
        let name = format!("his-{number}");
        let his = device(&hsm, &hsm.client, &name, 2).expect("the device meets its HSM");
        enrol(&hsm, &his, &name, plan_with_floor(&[Message], ApprovalKind::Code));
        for _ in 0..4 {
            let Some(bytes) = length else { break };
            let staged = hsm.stage(&name, Payload::Message(vec![b'x'; bytes].into()));
            if staged.is_err_and(|no| no.reason == Reason::Busy) {
                length = lengths.next();
            }
        }
    }
    let is_full = length.is_none();
    tries.expect("room without end", "his room ends", is_full);
    let stage = Act::Stage(Subject::Sign(StageSign { key: alices, payload: digest(1) }));
    let staged = hsm.client.call(Some(&other), stage);
    tries.expect("another tenant's user not asked", "the other tenant's user is asked", staged.is_ok());
}
