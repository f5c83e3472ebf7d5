//! Requests that have two readings.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{digest, sign_act};
use countersign_tests::{Hsm, Keystore, transactions};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{Act, Answer, Outcome, Payload, Reply, Request};
use countersign_wire::frame::{self, CLIENT_MAX_BYTES};
use countersign_wire::reason::{Reason, Refusal};
use countersign_wire::{decode, encode};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

pub(crate) const FAMILY: Family = Family {
    name: "readings",
    title: "A request or a transaction is written so that another reader reads it otherwise",
    invariants: &["I5", "I15"],
    attacks: &[
        Attack {
            name: "request-twice-told",
            had: "a fresh code of the user's",
            does: "encodes the request otherwise: longer integers, indefinite lengths, a tag, bytes after it",
            guards: &["one-encoding"],
            faults: &[],
            on: On::Embedded,
            play: request_twice_told,
        },
        Attack {
            name: "transaction-with-a-tail",
            had: "a fresh code of the user's",
            does: "appends bytes to a transaction, and a whole second one",
            guards: &["rlp-whole"],
            faults: &[],
            on: On::Embedded,
            play: transaction_with_a_tail,
        },
        Attack {
            name: "transaction-with-other-integers",
            had: "a fresh code of the user's",
            does: "writes nonce and value with leading zeros, which nodes and explorers read each in its own way",
            guards: &["rlp-shortest"],
            faults: &[],
            on: On::Embedded,
            play: transaction_with_other_integers,
        },
    ],
};

/// Sends a request in which the bytes `from`, which stand in it once, are exchanged for `to`.
pub(super) fn ask_raw(hsm: &Hsm, act: &Act, from: &[u8], to: &[u8]) -> Result<Answer, Refusal> {
    let bytes = request(hsm, act.clone());
    let at: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert_eq!(at.len(), 1, "what is exchanged stands there once");
    send(hsm, &[&bytes[..at[0]], to, &bytes[at[0] + from.len()..]].concat())
}

/// A text of CBOR (RFC 8949 section 3.1, major type 3) in its shortest form.
pub(super) fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    let [high, low] = length.to_be_bytes();
    let head = match length {
        0..=23 => vec![0x60 + low],
        24..=255 => vec![0x78, low],
        _ => vec![0x79, high, low],
    };
    [head, text.as_bytes().to_vec()].concat()
}

fn request(hsm: &Hsm, act: Act) -> Vec<u8> {
    encode(&Request { id: [7; 16].into(), api_key: Some(hsm.api_key().clone()), act })
}

fn send(hsm: &Hsm, payload: &[u8]) -> Result<Answer, Refusal> {
    let mut stream = UnixStream::connect(&hsm.ready().socket).expect("the socket takes connections");
    let mut framed = Vec::new();
    frame::append(&mut framed, payload);
    stream.write_all(&framed).expect("the socket takes bytes");
    let mut header = [0; 4];
    if stream.read_exact(&mut header).is_err() {
        return Err(Reason::HsmUnreachable.into());
    }
    let mut reply = vec![0; frame::payload_length(header, CLIENT_MAX_BYTES).expect("a good length")];
    stream.read_exact(&mut reply).expect("the reply is whole");
    match decode::<Reply>(&reply).expect("the HSM's replies are canonical").outcome {
        Outcome::Done(answer) => Ok(answer),
        Outcome::Refused(refusal) => Err(refusal),
    }
}

fn request_twice_told(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    let act = sign_act(&alice.key.label, digest(1), Some(&code));
    let good = request(&hsm, act);
    // A map of three, and the 32 bytes of the digest, in other forms of the same (RFC 8949 sections 3 and 4.2).
    let indefinite = [&[0xbf], &good[1..], &[0xff]].concat();
    let longer = [&[0xb8, good[0] & 0x1f], &good[1..]].concat();
    let tagged = [&[0xd9, 0xd9, 0xf7], &good[..]].concat();
    let after = [&good[..], &[0]].concat();
    for other in [indefinite, longer, tagged, after] {
        tries.ask("a request in a second encoding", send(&hsm, &other));
    }
    if tries.got.is_empty() {
        send(&hsm, &good).expect("in its one encoding it signs");
    }
}

/// An EIP-1559 transfer as RLP, with these bytes for its nonce and its value.
fn transfer(nonce: &[u8], value: &[u8]) -> Vec<u8> {
    let string = |bytes: &[u8]| match bytes {
        [byte] if *byte < 0x80 => vec![*byte],
        _ => [&[0x80 + u8::try_from(bytes.len()).expect("short")], bytes].concat(),
    };
    let recipient = [0xee; 20];
    let fields: Vec<u8> = [&[1][..], nonce, &[1], &[2], &[0x52, 0x08], &recipient, value, &[]]
        .into_iter()
        .flat_map(string)
        .chain([0xc0])
        .collect();
    let length = u8::try_from(fields.len()).expect("short");
    assert!(length <= 55);
    [&[2, 0xc0 + length][..], &fields].concat()
}

fn transaction_with_a_tail(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let good = transactions::unsigned(&transactions::transfer(1));
    for tail in [&[0][..], &[0xc0], &good[1..], &good] {
        let payload = Payload::Ethereum([&good[..], tail].concat().into());
        tries.ask(
            "a transaction with more behind it",
            hsm.sign(&alice, payload, &alice.phone.code(hsm.now())),
        );
    }
    if tries.got.is_empty() {
        hsm.sign(&alice, Payload::Ethereum(good.into()), &alice.phone.code(hsm.now()))
            .expect("by itself it signs");
    }
}

fn transaction_with_other_integers(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    for (nonce, value) in [(&[0][..], &[5][..]), (&[0, 9], &[5]), (&[9], &[0, 5]), (&[9], &[0, 0, 5])] {
        let payload = Payload::Ethereum(transfer(nonce, value).into());
        tries.ask(
            "a transaction with a second form of a number",
            hsm.sign(&alice, payload, &alice.phone.code(hsm.now())),
        );
    }
    if tries.got.is_empty() {
        let payload = Payload::Ethereum(transfer(&[9], &[5]).into());
        hsm.sign(&alice, payload, &alice.phone.code(hsm.now())).expect("in the one form it signs");
    }
}
