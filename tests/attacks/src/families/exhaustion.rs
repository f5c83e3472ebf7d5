//! The HSM is kept busy, filled and flooded.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::digest;
use countersign_tests::{Hsm, Keystore, User, processes};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::frame::CLIENT_MAX_BYTES;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
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
        stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout can be set");
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
