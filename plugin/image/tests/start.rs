//! How the executable starts, behind a socket, without its firmware.

use countersign_wire::client::ClockMode;
use countersign_wire::frame::{self, HAL_MAX_BYTES};
use countersign_wire::hal::{Boot, Delivery, Event, Extent, Output, Secret, Started, Time, WritableMemory};
use countersign_wire::{decode_packed, encode_packed};
use serde_bytes::ByteArray;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than the executable takes to say something.
const PATIENCE: Duration = Duration::from_secs(20);

fn start() -> (UnixStream, Child) {
    let (socket, plugin) = UnixStream::pair().expect("a socket pair");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-image"));
    (socket, command.stdin(Stdio::from(OwnedFd::from(plugin))).spawn().expect("it can be started"))
}

/// The first message and the first delivery, as they go over the wire.
fn first_messages() -> [Vec<u8>; 2] {
    let boot = Boot {
        hsm_id: ByteArray::new([1; 16]),
        sealing_key: Secret::new(vec![2; 32]),
        measurement: ByteArray::new([3; 48]),
        clock: ClockMode::Manual,
        keystore: "embedded".to_owned(),
        nvram: None,
        store: Extent::default(),
        archive_bytes: 0,
        tenants: Vec::new(),
        missing_sandbox_layers: Vec::new(),
    };
    let delivery = Delivery {
        time: Time { unix_secs: 1_800_000_000, running_secs: 1 },
        event: Event::Boot(Box::new(boot)),
    };
    [encode_packed(&WritableMemory::default()), encode_packed(&delivery)].map(|payload| {
        let mut message = Vec::new();
        frame::append(&mut message, &payload);
        message
    })
}

/// The payload of the next frame.
fn receive(socket: &mut UnixStream, arrived: &mut Vec<u8>) -> Vec<u8> {
    loop {
        if let Some((payload, length)) = frame::split_first(arrived, HAL_MAX_BYTES).expect("frames") {
            let payload = payload.to_vec();
            arrived.drain(..length);
            return payload;
        }
        let mut chunk = [0; 4096];
        let count = socket.read(&mut chunk).expect("the plugin says something in time");
        assert!(count > 0, "the plugin goes on");
        arrived.extend_from_slice(&chunk[..count]);
    }
}

/// Writes the pieces one by one; the plugin opens its store, for which it needs the firmware.
fn assert_boots(pieces: &[&[u8]]) {
    let (mut socket, mut child) = start();
    let mut arrived = Vec::new();
    let started = receive(&mut socket, &mut arrived);
    assert_eq!(decode_packed(&started), Ok(Started {}));
    for piece in pieces {
        socket.write_all(piece).expect("it reads");
    }
    let first = decode_packed(&receive(&mut socket, &mut arrived)).expect("an output");
    assert!(matches!(first, Output::Call { .. }), "{first:?}");
    drop(socket);
    assert!(child.wait().expect("it ends").success(), "it ends with its firmware");
}

#[test]
fn deliveries_are_taken_however_they_arrive() {
    let [memory, boot] = first_messages();
    let together = [memory.as_slice(), &boot].concat();
    assert!(together.len() < 1024, "one read takes all of it");
    assert_boots(&[&memory, &boot]);
    assert_boots(&[&together]);
    for cut in [1, memory.len() - 1, memory.len() + 1, together.len() - 1] {
        let (begin, end) = together.split_at(cut);
        assert_boots(&[begin, end]);
    }
}

/// In a virtual machine the plugin is the first process, and the machine ends with it.
#[test]
fn a_plugin_that_halts_stays_until_it_was_heard() {
    let [memory, boot] = first_messages();
    let (mut socket, mut child) = start();
    // To be started twice is no doubt that it may live with.
    socket.write_all(&[memory, boot.clone(), boot].concat()).expect("it reads");
    let mut arrived = Vec::new();
    let started = receive(&mut socket, &mut arrived);
    assert_eq!(decode_packed(&started), Ok(Started {}));
    let why = loop {
        match decode_packed(&receive(&mut socket, &mut arrived)).expect("an output") {
            Output::Halt { why } => break why,
            Output::Call { .. } => {}
            other => panic!("before it halts: {other:?}"),
        }
    };
    assert!(why.contains("twice"), "{why}");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // More than a socket holds, and no frames at all: it goes through only while somebody reads, whatever it says.
    socket.write_all(&vec![0xff; 4 << 20]).expect("it is still there");
    drop(socket);
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}
