use super::*;
use crate::es256::SigningKey;
use crate::tests::{array, bytes};
use PasskeyProblem as P;
use data_encoding::BASE64URL_NOPAD;

mod w3c;

const CHALLENGE: [u8; 32] = [7; 32];

/// UP, UV.
const USER: u8 = 0x05;

fn key() -> SigningKey {
    SigningKey::derive(&[3; 32], "passkey")
}

fn client(kind: &str, origin: &str) -> Vec<u8> {
    let challenge = BASE64URL_NOPAD.encode(&CHALLENGE);
    format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"}}"#).into_bytes()
}

fn head(rp_id: &str, flags: u8, sign_count: u32) -> Vec<u8> {
    [&hash(rp_id.as_bytes())[..], &[flags], &sign_count.to_be_bytes()].concat()
}

fn registration(rp_id: &str, flags: u8, id: &[u8]) -> Vec<u8> {
    let public = key().public_key();
    let (x, y) = public.as_bytes()[1..].split_at(32);
    let length = u16::try_from(id.len()).unwrap().to_be_bytes();
    let cose = [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20], x, &[0x22, 0x58, 0x20], y].concat();
    [head(rp_id, flags | 0x40, 5), vec![0; 16], length.to_vec(), id.to_vec(), cose].concat()
}

fn registered_on(origin: &str, rp_id: &str) -> Result<Passkey, P> {
    register(&client("webauthn.create", origin), &registration(rp_id, USER, &[1]), &CHALLENGE)
}

fn with_data(data: &[u8]) -> Result<Passkey, P> {
    register(&client("webauthn.create", "https://example.org"), data, &CHALLENGE)
}

/// Signs properly and asserts.
fn asserted(passkey: &Passkey, data: &[u8]) -> Result<Asserted, P> {
    let client = client("webauthn.get", "https://example.org");
    let signature = es256::raw_to_der(&key().sign(&[data, &hash(&client)].concat()));
    assert(&passkey.registered(), &client, data, &signature, &CHALLENGE)
}

#[test]
fn a_registration_gives_what_the_authenticator_said() {
    let passkey = registered_on("https://pay.example.org:8443", "example.org").unwrap();
    let expected = Passkey {
        credential_id: vec![1],
        public_key: key().public_key(),
        rp_id: "example.org".to_owned(),
        origin: "https://pay.example.org:8443".to_owned(),
        sign_count: 5,
        backup_eligible: false,
        backed_up: false,
    };
    assert_eq!(passkey, expected);
}

#[test]
fn the_rp_id_is_the_host_or_a_parent_of_it() {
    let rp_id = |origin, rp_id| registered_on(origin, rp_id).map(|passkey| passkey.rp_id);
    assert_eq!(rp_id("https://pay.example.org", "pay.example.org").unwrap(), "pay.example.org");
    assert_eq!(rp_id("http://localhost:5173", "localhost").unwrap(), "localhost");
    for (origin, wrong) in [
        ("https://pay.example.org", "org"),
        ("https://pay.example.org", "bank.example.org"),
        ("https://example.org", "pay.example.org"),
        ("https://example.org", "localhost"),
        ("http://localhost", "example.org"),
    ] {
        assert_eq!(rp_id(origin, wrong), Err(P::WrongRp), "{origin} {wrong}");
    }
    assert_eq!(rp_id("http://example.org", "example.org"), Err(P::WrongOrigin));
}

#[test]
fn i14_credential_ids_have_1_to_255_bytes() {
    let length = |bytes: usize| {
        let read = with_data(&registration("example.org", USER, &vec![1; bytes]));
        read.map(|passkey| passkey.credential_id.len())
    };
    assert_eq!((length(1), length(255)), (Ok(1), Ok(255)));
    assert_eq!(
        (length(0), length(256), length(1023)),
        (Err(P::Malformed), Err(P::Malformed), Err(P::Malformed))
    );
}

#[test]
fn authenticator_data_has_no_byte_too_many_or_too_few() {
    let good = registration("example.org", USER, &[1; 16]);
    assert!(with_data(&good).is_ok());
    for length in 0..good.len() {
        let problem = with_data(&good[..length]).unwrap_err();
        let in_the_key = length >= 37 + 18 + 16;
        assert_eq!(problem, if in_the_key { P::UnsupportedKey } else { P::Malformed }, "{length}");
    }
    assert_eq!(with_data(&[good.as_slice(), &[0]].concat()), Err(P::Malformed));
    let passkey = with_data(&good).unwrap();
    let good = head("example.org", USER, 6);
    assert!(asserted(&passkey, &good).is_ok());
    for length in 0..good.len() {
        assert_eq!(asserted(&passkey, &good[..length]), Err(P::Malformed));
    }
    assert_eq!(asserted(&passkey, &[good.as_slice(), &[0]].concat()), Err(P::Malformed));
}

#[test]
fn every_flag_means_what_it_means() {
    for flags in 0..=u8::MAX {
        let passkey = with_data(&registration("example.org", flags & !0x40, &[1]));
        let expected = match flags {
            _ if flags & 0xa2 != 0 => Err(P::Malformed),
            _ if flags & 0x01 == 0 => Err(P::UserNotPresent),
            _ if flags & 0x04 == 0 => Err(P::UserNotVerified),
            _ if flags & 0x18 == 0x10 => Err(P::BackupFlags),
            _ => Ok((flags & 0x08 != 0, flags & 0x10 != 0)),
        };
        assert_eq!(
            passkey.map(|passkey| (passkey.backup_eligible, passkey.backed_up)),
            expected,
            "{flags:x}"
        );
        let passkey = with_data(&registration("example.org", USER | 0x08, &[1])).unwrap();
        let expected = match expected {
            _ if flags & 0xe2 != 0 => Err(P::Malformed),
            Ok((false, _)) => Err(P::BackupFlags),
            other => other.map(|(_, backed_up)| Asserted { sign_count: 6, backed_up }),
        };
        assert_eq!(asserted(&passkey, &head("example.org", flags, 6)), expected, "{flags:x}");
    }
}

#[test]
fn the_counter_rises_or_is_always_zero() {
    let passkey = with_data(&registration("example.org", USER, &[1])).unwrap();
    let count = |last: u32, now: u32| {
        let passkey = Passkey { sign_count: last, ..passkey.clone() };
        asserted(&passkey, &head("example.org", USER, now)).map(|asserted| asserted.sign_count)
    };
    for (last, now) in [(0, 0), (0, 1), (5, 6), (5, u32::MAX)] {
        assert_eq!(count(last, now), Ok(now));
    }
    for (last, now) in [(5, 5), (5, 4), (5, 0), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
        assert_eq!(count(last, now), Err(P::Counter));
    }
}

#[test]
fn a_stranger_cannot_raise_the_alarm_of_a_copied_passkey() {
    let passkey = with_data(&registration("example.org", USER, &[1])).unwrap();
    let (client, data) = (client("webauthn.get", "https://example.org"), head("example.org", USER, 1));
    let stranger = SigningKey::derive(&[4; 32], "stranger");
    let signature = es256::raw_to_der(&stranger.sign(&[data.as_slice(), &hash(&client)].concat()));
    let refused = assert(&passkey.registered(), &client, &data, &signature, &CHALLENGE);
    assert_eq!(refused, Err(P::WrongSignature));
}

#[test]
fn refuses_keys_in_other_forms() {
    let good = registration("example.org", USER, &[1]);
    let at = good.len() - 77;
    let with = |from: usize, to: &[u8]| {
        let mut data = good.clone();
        data[at + from..at + from + to.len()].copy_from_slice(to);
        with_data(&data)
    };
    for (from, to, why) in [
        (0, &[0xa4][..], "a map of four"),
        (0, &[0xbf], "a map of indefinite length"),
        (2, &[0x01], "another key type"),
        (4, &[0x27], "EdDSA"),
        (4, &[0x2f], "ES256K"),
        (6, &[0x02], "P-384"),
        (1, &[3, 0x26, 1, 2], "another order"),
        (76, &[0xff], "no point of the curve"),
    ] {
        assert_eq!(with(from, to), Err(P::UnsupportedKey), "{why}");
    }
    assert!(with(0, &[0xa5]).is_ok());
}
