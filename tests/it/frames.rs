//! I14 at the socket: whatever comes in, the HSM goes on serving everyone else.

use countersign_tests::backend::{digest, reason};
use countersign_tests::{Hsm, Keystore, User, artefacts, on_embedded, seed};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::client::{Act, Answer, Outcome, Reply, Request};
use countersign_wire::frame::{self, CLIENT_MAX_BYTES};
use countersign_wire::reason::Reason;
use countersign_wire::{decode, encode};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

on_embedded!(
    i14_zero_length_and_oversized_frames_end_their_connection_only,
    i14_garbage_in_a_frame_is_refused_and_counted_nowhere,
    i14_half_frames_hold_up_nobody,
    i14_a_hundred_idle_connections_hold_up_nobody,
    i14_a_thousand_requests_on_one_connection_are_each_answered_once,
    i14_a_client_that_never_reads_holds_up_nobody,
    i14_mutated_requests_never_stop_the_hsm,
    i14_requests_have_one_encoding,
    a_client_of_another_process_namespace_is_known_by_its_user,
);

fn connect(hsm: &Hsm) -> UnixStream {
    let stream = UnixStream::connect(&hsm.ready().socket).expect("the socket takes connections");
    // Longer than any answer takes: a test that runs into it fails.
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, payload);
    bytes
}

fn receive(stream: &mut UnixStream) -> Reply {
    let mut header = [0; 4];
    stream.read_exact(&mut header).expect("a reply comes");
    let mut payload = vec![0; frame::payload_length(header, CLIENT_MAX_BYTES).expect("a good length")];
    stream.read_exact(&mut payload).expect("the reply is whole");
    decode(&payload).expect("the HSM's replies are canonical")
}

/// Whether the HSM ended the connection; panics if it sends anything more.
fn is_ended(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => panic!("the HSM answered to what is no frame"),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn status(id: u8) -> Request {
    Request { id: [id; 16].into(), api_key: None, act: Act::Status }
}

fn a_client_of_another_process_namespace_is_known_by_its_user(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let mut client = Command::new("unshare");
    client.args(["--user", "--map-current-user", "--pid", "--fork"]).arg(artefacts::cli());
    client.args(["status", "--json"]).env("COUNTERSIGN_CONFIG", hsm.host_toml()).stdin(Stdio::null());
    let output = client.output().expect("unshare can be started");
    let (told, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{log}");
    assert!(told.contains("measurement"), "{told}");
}

#[track_caller]
fn serves(hsm: &Hsm, alice: &User) {
    let code = alice.phone.code(hsm.advance(30));
    hsm.sign(alice, digest(1), &code).expect("the HSM goes on serving others");
}

fn i14_zero_length_and_oversized_frames_end_their_connection_only(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let oversized = u32::try_from(CLIENT_MAX_BYTES + 1).expect("a short length");
    for length in [0, oversized, u32::MAX / 2, u32::MAX] {
        let mut stream = connect(&hsm);
        stream.write_all(&framed(&encode(&status(1)))).expect("sent");
        assert_eq!(receive(&mut stream).id, status(1).id);
        stream.write_all(&length.to_be_bytes()).expect("sent");
        assert!(is_ended(&mut stream), "a frame of {length} bytes");
        serves(&hsm, &alice);
    }
    // The longest frame there may be is read, and refused for what it holds.
    let mut stream = connect(&hsm);
    stream.write_all(&framed(&vec![0; CLIENT_MAX_BYTES])).expect("sent");
    assert_eq!(receive(&mut stream).outcome, Outcome::Refused(Reason::MalformedRequest.into()));
    serves(&hsm, &alice);
}

fn i14_garbage_in_a_frame_is_refused_and_counted_nowhere(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let before = hsm.show(&alice).expect("shown");
    let deep = vec![0x81; 4000];
    let long_string = [&[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[b'a'; 50]].concat();
    let many = [0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for garbage in [&[0xff][..], b"GET / HTTP/1.1\r\n\r\n", &[0; 64], &deep, &long_string, &many] {
        let mut stream = connect(&hsm);
        stream.write_all(&framed(garbage)).expect("sent");
        let reply = receive(&mut stream);
        assert_eq!(
            (reply.id, reply.outcome),
            ([0; 16].into(), Outcome::Refused(Reason::MalformedRequest.into()))
        );
    }
    assert_eq!(hsm.show(&alice).expect("shown"), before);
    serves(&hsm, &alice);
}

fn i14_half_frames_hold_up_nobody(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let whole = framed(&encode(&status(2)));
    let halves: Vec<(usize, UnixStream)> = (0..whole.len())
        .map(|cut| {
            let mut stream = connect(&hsm);
            stream.write_all(&whole[..cut]).expect("sent");
            (cut, stream)
        })
        .collect();
    serves(&hsm, &alice);
    for (cut, mut stream) in halves {
        match stream.write_all(&whole[cut..]) {
            Ok(()) => {
                assert_eq!(receive(&mut stream).id, status(2).id, "what was cut at {cut} came in two pieces");
            }
            Err(error) => panic!("the connection that was cut at {cut} is gone: {error}"),
        }
    }
    // Hanging up in the middle of a frame is nobody's problem either.
    for cut in [1, 4, whole.len() - 1] {
        connect(&hsm).write_all(&whole[..cut]).expect("sent");
    }
    serves(&hsm, &alice);
}

fn i14_a_hundred_idle_connections_hold_up_nobody(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let mut idle: Vec<UnixStream> = (0..100).map(|_| connect(&hsm)).collect();
    serves(&hsm, &alice);
    for stream in &mut idle {
        stream.write_all(&framed(&encode(&status(3)))).expect("sent");
    }
    for stream in &mut idle {
        assert_eq!(receive(stream).id, status(3).id);
    }
    serves(&hsm, &alice);
}

fn i14_a_thousand_requests_on_one_connection_are_each_answered_once(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let mut stream = connect(&hsm);
    let mut sender = stream.try_clone().expect("a socket has two ends");
    // As many as the HSM takes of one connection before it stops reading.
    let (answered, room) = std::sync::mpsc::channel();
    (0..64).for_each(|_| answered.send(()).expect("somebody listens"));
    let id = |number: u16| {
        let mut id = [0x5a; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        id
    };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..1000 {
                room.recv().expect("answers come");
                let request = Request { id: id(number).into(), api_key: None, act: Act::Status };
                sender.write_all(&framed(&encode(&request))).expect("sent");
            }
        });
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let reply = receive(&mut stream);
            // Bounded queues may refuse, but never stay silent.
            let fine = matches!(&reply.outcome, Outcome::Done(Answer::Status(_)))
                || reply.outcome == Outcome::Refused(Reason::Busy.into());
            assert!(fine, "{:?}", reply.outcome);
            assert!(seen.insert(reply.id), "answered twice");
            // At the end nobody waits for room any more.
            let _ = answered.send(());
        }
    });
    serves(&hsm, &alice);
}

fn i14_a_client_that_never_reads_holds_up_nobody(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let mut deaf = connect(&hsm);
    deaf.set_nonblocking(true).expect("a socket need not block");
    let request = framed(&encode(&status(4)));
    // Until both directions are full, or the HSM has had enough of it.
    let mut sent = 0;
    while sent < 50_000 && deaf.write_all(&request).is_ok() {
        sent += 1;
    }
    serves(&hsm, &alice);
    drop(deaf);
    serves(&hsm, &alice);
}

fn i14_mutated_requests_never_stop_the_hsm(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let mut random = fastrand::Rng::with_seed(seed("mutated requests"));
    let code = alice.phone.wrong_code(hsm.now());
    let good = encode(&Request {
        id: [7; 16].into(),
        api_key: Some(hsm.api_key().clone()),
        act: countersign_tests::backend::sign_act(&alice.key.label, digest(1), Some(&code)),
    });
    let boots = hsm.status().boot_count;
    for _ in 0..2000 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            match random.u8(0..3) {
                0 => {
                    let at = random.usize(0..bytes.len());
                    bytes[at] = random.u8(..);
                }
                1 => bytes.truncate(random.usize(1..=bytes.len())),
                _ => bytes.insert(random.usize(0..=bytes.len()), random.u8(..)),
            }
        }
        let mut stream = connect(&hsm);
        stream.write_all(&framed(&bytes)).expect("sent");
        let reply = receive(&mut stream);
        let unchanged = bytes == good;
        assert!(
            unchanged || matches!(reply.outcome, Outcome::Refused(_)),
            "{:?} to {bytes:02x?}",
            reply.outcome
        );
    }
    assert_eq!(hsm.status().boot_count, boots, "the plugin never had to be started again");
    hsm.advance(86_400);
    serves(&hsm, &alice);
}

fn i14_requests_have_one_encoding(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    let request = Request {
        id: [8; 16].into(),
        api_key: Some(hsm.api_key().clone()),
        act: countersign_tests::backend::sign_act(&alice.key.label, digest(1), Some(&code)),
    };
    let good = encode(&request);
    let trailing = [&good[..], &[0]].concat();
    let tagged = [&[0xd9, 0xd9, 0xf7][..], &good].concat();
    let packed = countersign_wire::encode_packed(&request);
    // The outer map with its length in a byte of its own, which is not the shortest form.
    let long_map = [&[0xb8, good[0] - 0xa0][..], &good[1..]].concat();
    for other in [trailing, tagged, packed, long_map] {
        let mut stream = connect(&hsm);
        stream.write_all(&framed(&other)).expect("sent");
        assert_eq!(receive(&mut stream).outcome, Outcome::Refused(Reason::MalformedRequest.into()));
    }
    let mut stream = connect(&hsm);
    stream.write_all(&framed(&good)).expect("sent");
    assert!(
        matches!(receive(&mut stream).outcome, Outcome::Done(Answer::Signed(_))),
        "the code was not burned"
    );
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed);
}
