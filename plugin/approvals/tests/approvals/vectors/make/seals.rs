//! Digests, what devices sign, and seals.

use super::{Vector, bytes};
use crate::json::{Json, hex, text};
use crate::samples::{self, ACCOUNT, HSM, TENANT, approval_digest, public_key, signing_key};
use ciborium::Value;
use countersign_approvals::digest::{self, Purpose};
use countersign_approvals::sealed::{self, Sealed};
use countersign_approvals::statement::View;
use hpke::{Kem, Serializable, kem::DhP256HkdfSha256};
use sha2::{Digest, Sha256};

/// An array as another encoder writes it.
fn encoded(elements: Vec<Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&Value::Array(elements), &mut bytes).unwrap();
    bytes
}

fn hashed(vector: Vector, preimage: &[u8], hash: [u8; 32]) -> Vector {
    assert_eq!(<[u8; 32]>::from(Sha256::digest(preimage)), hash);
    bytes(vector.with("preimage", hex(preimage)), &hash)
}

fn blob(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

fn approval(purpose: Purpose) -> Vector {
    let (view, payee) = (samples::view(), samples::payee_view());
    let (key_id, intent_hash, nonce) = match purpose {
        Purpose::Sign | Purpose::Decline => {
            (view.key_id.clone(), view.intent_hash().to_vec(), samples::NONCE)
        }
        Purpose::Payee => (Vec::new(), payee.intent_hash().to_vec(), samples::NONCE),
        _ => (Vec::new(), Vec::new(), samples::ACT_NONCE),
    };
    let fields = vec![
        ("purpose", text(purpose.word())),
        ("hsm", hex(HSM)),
        ("tenant", text(TENANT)),
        ("account", text(ACCOUNT)),
        ("key_id", hex(&key_id)),
        ("intent_hash", hex(&intent_hash)),
        ("expires", Json::Number(samples::EXPIRES)),
        ("nonce", hex(nonce)),
    ];
    let preimage = encoded(vec![
        "countersign approval v1".into(),
        purpose.word().into(),
        blob(&HSM),
        TENANT.into(),
        ACCOUNT.into(),
        blob(&key_id),
        blob(&intent_hash),
        samples::EXPIRES.into(),
        blob(&nonce),
    ]);
    let name = format!("approval digest: {}", purpose.word());
    hashed(Vector::new(name, "digest", fields), &preimage, approval_digest(purpose))
}

fn intent_hash(name: &str, view: &View) -> Vector {
    let digests = view.digests.iter().map(|digest| blob(digest)).collect();
    let preimage = encoded(vec![
        "countersign intent v1".into(),
        view.mechanism.as_str().into(),
        Value::Array(digests),
        view.summary.as_str().into(),
    ]);
    let fields = vec![
        ("mechanism", text(&view.mechanism)),
        ("digests", Json::List(view.digests.iter().map(hex).collect())),
        ("summary", text(&view.summary)),
    ];
    hashed(Vector::new(name, "intent-hash", fields), &preimage, view.intent_hash())
}

fn challenge() -> Vector {
    let device = public_key("device");
    let fields = vec![
        ("hsm", hex(HSM)),
        ("tenant", text(TENANT)),
        ("account", text(ACCOUNT)),
        ("invitation", hex(samples::INVITATION)),
        ("device_key", hex(device.as_bytes())),
    ];
    let preimage = encoded(vec![
        "countersign passkey registration v1".into(),
        blob(&HSM),
        TENANT.into(),
        ACCOUNT.into(),
        blob(&samples::INVITATION),
        blob(device.as_bytes()),
    ]);
    let vector = Vector::new("challenge of a passkey's registration", "registration-challenge", fields);
    hashed(vector, &preimage, samples::challenge())
}

fn device(name: &str, digest: [u8; 32], sealed: &[u8]) -> Vector {
    let message = digest::device_message(&digest, sealed);
    let fields = vec![("digest", hex(digest)), ("sealed", hex(sealed))];
    let vector = Vector::new(name, "evidence", fields).with("signed_by", text("device"));
    bytes(vector, &message).with("signature", hex(signing_key("device").sign(&message)))
}

fn codes(name: &str, digest: [u8; 32], plaintext: &[u8], codes: &[&str]) -> Vector {
    let codes = codes.iter().map(|code| text(*code)).collect();
    let fields = vec![("digest", hex(digest)), ("codes", Json::List(codes))];
    bytes(Vector::new(name, "message", fields), plaintext)
}

/// One that is sealed to the key of this name.
fn sealed(
    name: &str,
    to: &str,
    info: &[u8],
    associated: &[u8],
    plaintext: &[u8],
    random: [u8; 32],
    sealed: &Sealed,
) -> Vector {
    let ephemeral = DhP256HkdfSha256::derive_keypair(&random).0;
    let fields = vec![
        ("to", text(to)),
        ("info", text(core::str::from_utf8(info).unwrap())),
        ("associated", hex(associated)),
        ("plaintext", hex(plaintext)),
        ("random", hex(random)),
        ("ephemeral_scalar", hex(ephemeral.to_bytes())),
        ("encapsulated", hex(sealed.encapsulated)),
        ("ciphertext", hex(&sealed.ciphertext)),
        ("sealed_hash", hex(sealed.hash())),
    ];
    let all = [sealed.encapsulated.as_slice(), &sealed.ciphertext].concat();
    bytes(Vector::new(name, "evidence", fields), &all)
}

fn seals() -> Vec<Vector> {
    let sign = approval_digest(Purpose::Sign);
    let confirm = approval_digest(Purpose::Confirm);
    let one = sealed::encode_codes(&sign, &["123456"]);
    let two = sealed::encode_codes(&confirm, &["123456", "654321"]);
    let (sealed_one, sealed_two) =
        (samples::sealed_codes(&["123456"]), samples::sealed_codes(&["123456", "654321"]));
    let code = |name: &str, associated: &[u8], plaintext: &[u8], of: &Sealed| {
        sealed(name, "sealing", sealed::CODE_INFO, associated, plaintext, samples::CODE_RANDOM, of)
    };
    let mut flipped = sealed_one.clone();
    flipped.ciphertext[0] ^= 1;
    let mut short = sealed_one.clone();
    short.ciphertext.truncate(15);
    let otpauth = samples::sealed_otpauth();
    vec![
        device("device signature with a sealed code", sign, &sealed_one.hash()),
        device("device signature with two sealed codes", confirm, &sealed_two.hash()),
        code("sealed code", &sign, &one, &sealed_one),
        code("two sealed codes", &confirm, &two, &sealed_two),
        code("sealed code under another digest", &confirm, &one, &sealed_one).refused("bad-seal"),
        code("sealed code with a changed bit", &sign, &one, &flipped).refused("bad-seal"),
        code("sealed code without its tag", &sign, &one, &short).refused("bad-seal"),
        sealed(
            "sealed otpauth",
            "device_sealing",
            sealed::ENROLMENT_INFO,
            &samples::DEVICE_NONCE,
            samples::OTPAUTH.as_bytes(),
            samples::OTPAUTH_RANDOM,
            &otpauth,
        ),
    ]
}

fn plaintexts() -> Vec<Vector> {
    let digest = approval_digest(Purpose::Sign);
    let encode = |these: &[&str]| sealed::encode_codes(&digest, these);
    let other = approval_digest(Purpose::Payee);
    let long = "1".repeat(65);
    vec![
        codes("plaintext of one code", digest, &encode(&["123456"]), &["123456"]),
        codes("plaintext of two codes", digest, &encode(&["123456", "654321"]), &["123456", "654321"]),
        codes("plaintext for another digest", other, &encode(&["123456"]), &[])
            .refused("codes-for-another-digest"),
        codes("plaintext of three codes", digest, &encode(&["1", "2", "3"]), &[]).refused("malformed-codes"),
        codes("plaintext of no code", digest, &encode(&[]), &[]).refused("malformed-codes"),
        codes("plaintext of a code of 65 bytes", digest, &encode(&[&long]), &[]).refused("malformed-codes"),
    ]
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut all: Vec<Vector> = Purpose::ALL.into_iter().map(approval).collect();
    all.push(intent_hash("intent hash", &samples::view()));
    all.push(intent_hash("intent hash of a payee", &samples::payee_view()));
    all.push(challenge());
    all.push(device("device signature: decline", approval_digest(Purpose::Decline), &[]));
    all.push(device("device signature: freeze", approval_digest(Purpose::Freeze), &[]));
    all.extend(plaintexts());
    all.extend(seals());
    all
}
