//! What a fuzzer begins with where no standard has vectors: the formats of this project. When one of them changes, what
//! was saved of it is refused from then on; these are written into the corpora again with
//! `cargo run -p countersign-fuzz-checks --example seeds`.

use countersign_policy::Policy;
use countersign_wire::client::{
    Act, Answer, Approval, ContextLogin, ContextSign, CreateKey, Enroll, KeyPlan, KeyQuery, Mechanism,
    Network, Operation, Outcome, Payload, Reply, Request, Sign, Signed, TotpParameters, TrustPayee, TwoCodes,
    Welcome,
};
use countersign_wire::device::{Assertion, Evidence, IntentApproval, SealedCode};
use countersign_wire::frame;
use countersign_wire::hal::{
    Delivery, Event, Fault, MemoryRegion, Op, Output, Secret, Time, Value, WritableMemory,
};
use countersign_wire::names::{ApiKey, TypedCode};
use countersign_wire::reason::{Reason, Refusal};
use countersign_wire::{encode, encode_packed};
use data_encoding::BASE64URL_NOPAD;
use serde_bytes::{ByteArray, ByteBuf};
use sha1::{Digest, Sha1};

/// The seeds of a target; none where the vectors of standards serve.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "approvals_passkeys" => vectors(&["client_data_json", "authenticator_data"], &[], &["assertion"]),
        "approvals_statements" => vectors(&[], &["statement"], &[]).into_iter().chain(codes()).collect(),
        "attestation_tokens" => countersign_attestation::properties::tokens(),
        "bitcoin_psbt" => countersign_intent::bitcoin::properties::psbts(),
        "firmware_files" => countersign_simulator::properties::files(),
        "log_files" => countersign_tlog::properties::texts(),
        "release_files" => countersign_release::properties::files(),
        "pkcs11_context_pin" => context_pins(),
        "plugin_records" => countersign_plugin::properties::records(),
        "plugin_requests" => scripts(),
        "plugin_store" => countersign_plugin::store::properties::stores(),
        "policy_document" => vec![Policy::development().document().to_bytes()],
        "policy_rules" => vec![Policy::development().document().rules.clone().into_bytes()],
        "wire_client" => acts().into_iter().map(request).chain(replies()).collect(),
        "wire_frames" => frames(),
        "wire_hal" => hal(),
        _ => Vec::new(),
    }
}

/// Histories of some length, drawn.
fn scripts() -> Vec<Vec<u8>> {
    let script = |number: u8| {
        let blocks = 0..10 + 8 * number;
        blocks.flat_map(|block| <[u8; 20]>::from(Sha1::digest([number, block]))).collect()
    };
    (0..6).map(script).collect()
}

/// Codes, the session's API key, nothing, and an approval of each kind.
fn context_pins() -> Vec<Vec<u8>> {
    let bytes = |length| ByteBuf::from(vec![0xff; length]);
    let passkey = Assertion {
        credential_id: bytes(16),
        client_data_json: bytes(90),
        authenticator_data: bytes(37),
        signature: bytes(70),
    };
    let sealed = SealedCode {
        device: ByteArray::new([2; 16]),
        encapsulated: ByteArray::new([4; 65]),
        ciphertext: bytes(32),
        signature: ByteArray::new([6; 64]),
    };
    let approvals = [Evidence::Passkey(passkey), Evidence::SealedCode(sealed)].map(|evidence| {
        let approval = IntentApproval { intent: ByteArray::new([1; 16]), evidence };
        format!("csa1_{}", BASE64URL_NOPAD.encode(&encode(&approval)))
    });
    let own = countersign_pkcs11::properties::session_key();
    let texts = ["123456", "12 456", "", own.expose()];
    texts.into_iter().chain(approvals.iter().map(String::as_str)).map(Vec::from).collect()
}

/// What is sealed of one code and of two, behind the digest that it is for.
fn codes() -> Vec<Vec<u8>> {
    let digest = [7; 32];
    let plaintext = |codes: &[&str]| countersign_approvals::sealed::encode_codes(&digest, codes).to_vec();
    [plaintext(&["123456"]), plaintext(&["123456", "654321"])]
        .map(|bytes| [&digest[..], &bytes].concat())
        .into()
}

/// Of the protocol's vectors that are accepted: these fields of all, the bytes of these kinds, and the signatures of those.
fn vectors(fields: &[&str], whole: &[&str], signed: &[&str]) -> Vec<Vec<u8>> {
    let text = include_str!("../../../../docs/approvals-vectors.json");
    let file: serde_json::Value = serde_json::from_str(text).expect("the vectors are JSON");
    let accepted = file["vectors"].as_array().expect("a list").iter().filter(|one| one["must"] == "accept");
    let texts = accepted.flat_map(|one| {
        let is_among = |kinds: &[&str]| kinds.iter().any(|kind| one["kind"] == *kind);
        let whole = is_among(whole).then(|| one["bytes"].as_str()).flatten();
        let signature = is_among(signed).then(|| one["signature"].as_str()).flatten();
        let parts = fields.iter().filter_map(|field| one["fields"][field].as_str());
        parts.chain(whole).chain(signature).collect::<Vec<_>>()
    });
    let mut seeds: Vec<Vec<u8>> =
        texts.filter_map(|text| data_encoding::HEXLOWER.decode(text.as_bytes()).ok()).collect();
    seeds.sort();
    seeds.dedup();
    seeds
}

fn request(act: Act) -> Vec<u8> {
    let api_key = ApiKey::from_random(&[0xab; 32], &"default".parse().expect("a name"));
    encode(&Request { id: ByteArray::new([7; 16]), api_key: Some(api_key), act })
}

fn acts() -> Vec<Act> {
    let code = || TypedCode::new("123456").expect("a code is short");
    let approval = || Approval::Code(code());
    let account = || "alice".parse().expect("a name");
    let key = || "alice/ethereum".parse().expect("a label");
    let operation = || Operation {
        id: ByteArray::new([1; 16]),
        key: ByteArray::new([2; 16]),
        mechanism: Mechanism::Ethereum,
    };
    let path = "m/84h/1h/0h".parse().ok();
    let wallet = KeyPlan { network: Some(Network::Test), path, ..KeyPlan::of(vec![Mechanism::Bitcoin]) };
    let plan = KeyPlan::of(vec![Mechanism::Ethereum, Mechanism::Message]);
    let codes = TwoCodes { account: account(), first: code(), second: code() };
    let sign = |payload| Act::Sign(Sign { key: key(), payload, approval: Some(approval()) });
    let payload = Payload::Ethereum(ByteBuf::from([2, 0xc0]));
    let name = "ethereum".parse().expect("a name");
    vec![
        Act::Status,
        Act::Login,
        Act::Random(32),
        Act::Enroll(Enroll { account: account(), totp: TotpParameters::default(), key: name, plan }),
        Act::Confirm(codes),
        Act::ShowAccount(account()),
        Act::TrustPayee(TrustPayee {
            account: account(),
            address: "0x00".into(),
            known: true,
            approval: Some(approval()),
        }),
        Act::CreateKey(CreateKey { label: key(), plan: wallet }),
        Act::FindKeys(KeyQuery::All(None)),
        Act::FindKeys(KeyQuery::Label(key())),
        sign(payload.clone()),
        sign(Payload::Digest(ByteArray::new([9; 32]))),
        Act::ContextLogin(ContextLogin { operation: operation(), approval: approval() }),
        Act::ContextSign(ContextSign { operation: operation(), payload }),
        Act::ContextEnd(operation()),
    ]
}

fn replies() -> Vec<Vec<u8>> {
    let reply = |outcome| encode(&Reply { id: ByteArray::new([7; 16]), outcome });
    let signed = Signed {
        signature: ByteArray::new([1; 64]),
        y_parity: 1,
        digest: ByteArray::new([2; 32]),
        raw_transaction: Some(ByteBuf::from([2, 0xc0])),
        transaction_hash: Some(ByteArray::new([3; 32])),
        psbt: None,
        summary: "kind: transfer\n".into(),
    };
    vec![
        reply(Outcome::Done(Answer::Ended)),
        reply(Outcome::Done(Answer::Welcome(Welcome { tenant: "default".into() }))),
        reply(Outcome::Done(Answer::Signed(signed))),
        reply(Outcome::Refused(Refusal { reason: Reason::Locked, retry_after_secs: Some(300) })),
    ]
}

fn frames() -> Vec<Vec<u8>> {
    let mut stream = vec![5];
    for payload in [&b"one"[..], b"and two", &request(Act::Status)] {
        frame::append(&mut stream, payload);
    }
    let bad = [&stream[..], &[0; 4]].concat();
    vec![stream, bad]
}

fn hal() -> Vec<Vec<u8>> {
    let call = |op| encode_packed(&Output::Call { call: 9, op, ticket: Some(3) });
    let delivery =
        |event| encode_packed(&Delivery { time: Time { unix_secs: 1_767_225_600, running_secs: 2 }, event });
    let commit =
        Op::Commit { offset: 1, append: ByteBuf::from([1, 2]), nvram: ByteBuf::from([3]), discard_before: 0 };
    let hash = TotpParameters::default().hash;
    vec![
        encode_packed(&WritableMemory { regions: vec![MemoryRegion { start: 4096, length_bytes: 8192 }] }),
        encode_packed(&Output::Ready),
        encode_packed(&Output::Halt { why: "no".into() }),
        call(commit),
        call(Op::Mac { wrapped: ByteBuf::from([4; 48]), hash, counters: vec![1, 2, 3] }),
        call(Op::WrapMacKey { hash, secret: Secret::new(vec![5; 20]) }),
        call(Op::ReadStore { offset: 0, length_bytes: 4096 }),
        delivery(Event::Request { ticket: 1, payload: ByteBuf::from(request(Act::Status)) }),
        delivery(Event::Done { call: 9, result: Ok(Value::Signature(ByteArray::new([6; 64]))) }),
        delivery(Event::Done { call: 9, result: Err(Fault::StoreFull) }),
    ]
}
