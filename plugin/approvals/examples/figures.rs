//! How long the operations of an approval take: `cargo run --release -p countersign-approvals --example figures`.

use countersign_approvals::digest::{Approved, Purpose, device_message};
use countersign_approvals::es256::{self, PublicKey, SigningKey};
use countersign_approvals::sealed::{self, OpeningKey};
use countersign_approvals::statement::{ClockMode, Identity, Signed};
use countersign_approvals::webauthn::{self, Registered};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 500;

/// Microseconds of one round, the best of five series.
fn measure<T>(name: &str, mut round: impl FnMut() -> T) {
    let series = (0..5).map(|_| {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            black_box(round());
        }
        start.elapsed().as_nanos() / u128::from(ROUNDS)
    });
    let best_ns = series.min().unwrap_or_default();
    println!("{name:24} {:>6}.{} µs", best_ns / 1000, best_ns % 1000 / 100);
}

fn main() {
    let key = SigningKey::derive(&[1; 32], "signing");
    let public = key.public_key();
    let message = device_message(&[2; 32], &[3; 32]);
    let signature = key.sign(&message);
    measure("derive a signing key", || SigningKey::derive(&[1; 32], "signing"));
    measure("parse a public key", || PublicKey::parse(public.as_bytes()));
    measure("sign", || key.sign(&message));
    measure("verify", || es256::verify(&public, &message, &signature));

    let opening = OpeningKey::derive(&[1; 32], "sealing");
    let digest = [4; 32];
    let plaintext = sealed::encode_codes(&digest, &["123456"]);
    let to = opening.public_key();
    let sealed = sealed::seal(&to, sealed::CODE_INFO, &digest, &plaintext, &[5; 32]);
    measure("seal", || sealed::seal(&to, sealed::CODE_INFO, &digest, &plaintext, &[5; 32]));
    measure("open", || opening.open(sealed::CODE_INFO, &digest, &sealed));

    let challenge = Approved {
        purpose: Purpose::Sign,
        hsm: &[1; 16],
        tenant: "acme",
        account: "alice",
        key_id: &[2; 16],
        intent_hash: &[3; 32],
        expires_unix_secs: 1_790_000_000,
        nonce: &[4; 32],
    };
    measure("approval digest", || challenge.digest());
    let challenge = challenge.digest();
    let client = format!(
        r#"{{"type":"webauthn.get","challenge":"{}","origin":"https://example.org","crossOrigin":false}}"#,
        BASE64URL_NOPAD.encode(&challenge)
    );
    let data = [&Sha256::digest("example.org")[..], &[0x05, 0, 0, 0, 1]].concat();
    let der = es256::raw_to_der(&key.sign(&[data.as_slice(), &Sha256::digest(&client)].concat()));
    let passkey = Registered {
        public_key: &public,
        rp_id: "example.org",
        origin: "https://example.org",
        sign_count: 0,
        backup_eligible: false,
    };
    measure("assertion", || webauthn::assert(&passkey, client.as_bytes(), &data, &der, &challenge));
    let identity = Identity {
        hsm: [1; 16],
        measurement: [2; 48],
        clock: ClockMode::System,
        signing_key: public,
        sealing_key: to,
    };
    measure("sign an identity", || Signed::sign(&key, &identity));
    let signed = Signed::sign(&key, &identity);
    measure("verify an identity", || signed.verify::<Identity>(&public));
}
