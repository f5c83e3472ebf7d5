use super::*;
use crate::tests::{array, bytes, hex};
use p256::Scalar;
use p256::elliptic_curve::PrimeField;

/// The private key of RFC 6979 appendix A.2.5.
const RFC_6979_KEY: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";

/// The group order n (SEC 2 section 2.4.2), n − 1, (n − 1)/2 and (n + 1)/2.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const ORDER_LESS_1: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550";
const LOW_MOST: &str = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";
const HIGH_LEAST: &str = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a9";

const ONE: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn key() -> SigningKey {
    SigningKey::from_scalar(&array(RFC_6979_KEY)).unwrap()
}

fn raw(r: &str, s: &str) -> RawSignature {
    array(&[r, s].concat())
}

#[test]
fn signs_as_rfc_6979_a_2_5_with_s_in_the_lower_half() {
    // "With SHA-256, message = "sample"" and "test": r, s.
    let sample = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
                  f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
    let test = "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367\
                019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083";
    assert_eq!(key().sign(b"sample"), low_s(array(sample)));
    assert_ne!(key().sign(b"sample"), array(sample), "its s is in the higher half");
    assert_eq!(key().sign(b"test"), array(test));
    assert_eq!(verify(&key().public_key(), b"sample", &low_s(array(sample))), Ok(()));
    assert_eq!(verify(&key().public_key(), b"sample", &array(sample)), Err(BadSignature::Malformed));
    assert_eq!(verify(&key().public_key(), b"test", &array(test)), Ok(()));
    assert_eq!(verify(&key().public_key(), b"sample", &array(test)), Err(BadSignature::Wrong));
    assert_eq!(hex(key().sign(b"test")), test);
}

#[test]
fn the_halves_of_the_order_are_what_they_are_called() {
    let scalar = |hex: &str| Scalar::from_repr(array(hex).into()).unwrap();
    assert_eq!(scalar(LOW_MOST) + scalar(HIGH_LEAST), Scalar::ZERO);
    assert_eq!(scalar(HIGH_LEAST) - scalar(LOW_MOST), Scalar::ONE);
    assert_eq!(scalar(ORDER_LESS_1) + Scalar::ONE, Scalar::ZERO);
    assert!(bool::from(Scalar::from_repr(array::<32>(ORDER).into()).is_none()));
}

#[test]
fn refuses_scalars_out_of_range_and_s_in_the_higher_half() {
    let public = key().public_key();
    for (r, s) in [
        (ZERO, ONE),
        (ONE, ZERO),
        (ORDER, ONE),
        (ONE, ORDER),
        (ONE, HIGH_LEAST),
        (ONE, ORDER_LESS_1),
        (&"f".repeat(64), ONE),
        (ONE, &"f".repeat(64)),
    ] {
        let signature = raw(r, s);
        assert_eq!(verify(&public, b"x", &signature), Err(BadSignature::Malformed), "{r} {s}");
        assert_eq!(der_to_raw(&raw_to_der(&signature)), Err(BadSignature::Malformed), "{r} {s}");
    }
    for (r, s) in [(ONE, ONE), (ORDER_LESS_1, ONE), (ONE, LOW_MOST)] {
        let signature = raw(r, s);
        assert_eq!(verify(&public, b"x", &signature), Err(BadSignature::Wrong), "{r} {s}");
        assert_eq!(der_to_raw(&raw_to_der(&signature)), Ok(signature), "{r} {s}");
    }
}

#[test]
fn low_s_gives_the_other_form_once_and_leaves_what_is_no_signature() {
    assert_eq!(low_s(raw(ONE, HIGH_LEAST)), raw(ONE, LOW_MOST));
    assert_eq!(low_s(raw(ONE, LOW_MOST)), raw(ONE, LOW_MOST));
    assert_eq!(low_s(raw(ONE, ORDER_LESS_1)), raw(ONE, ONE));
    for malformed in [raw(ONE, ORDER), raw(ZERO, HIGH_LEAST), [0; 64], [0xff; 64]] {
        assert_eq!(low_s(malformed), malformed);
    }
}

#[test]
fn public_keys_are_uncompressed_points_of_the_curve() {
    // RFC 6979 appendix A.2.5, Ux and Uy.
    let point = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
                 7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
    let good = bytes(point);
    let key = PublicKey::parse(&good).unwrap();
    assert_eq!(key, self::key().public_key());
    assert_eq!(key.as_bytes().as_slice(), good);
    let with_first = |first: u8| [&[first], &good[1..]].concat();
    let mut off_curve = good.clone();
    off_curve[64] ^= 1;
    // x is the prime of the field (SEC 2 section 2.4.2), which is 0 written another way; 0 is the x of a point.
    let prime = bytes("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let y_of_0 = bytes("66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4");
    assert!(PublicKey::parse(&[&[4], [0; 32].as_slice(), &y_of_0].concat()).is_ok());
    for bad in [
        &[][..],
        &[0],
        &good[..64],
        &[good.as_slice(), &[0]].concat(),
        &[&[3], &good[1..33]].concat(),
        &with_first(0),
        &with_first(2),
        &with_first(6),
        &with_first(7),
        &off_curve,
        &[0; 65],
        &[&[4], [0; 64].as_slice()].concat(),
        &[&[4], prime.as_slice(), &y_of_0].concat(),
    ] {
        assert_eq!(PublicKey::parse(bad), Err(NotAPublicKey), "{}", hex(bad));
    }
}

#[test]
fn a_device_is_named_by_the_first_half_of_its_fingerprint() {
    let key = key().public_key();
    assert_eq!(key.fingerprint(), <[u8; 32]>::from(Sha256::digest(key.as_bytes())));
    assert_eq!(key.device_id(), key.fingerprint()[..16]);
}

#[test]
fn a_derived_key_is_the_same_for_ever_and_another_for_each_label_and_secret() {
    // By another HKDF: expand(extract("countersign es256 key v1", 07…07), "signing" ‖ 00, 32).
    let scalar = "c95067a0225092f6db7a96264794ff5548ff3bf27ecb54ab00c0480df1748e47";
    let known = SigningKey::from_scalar(&array(scalar)).unwrap().public_key();
    assert_eq!(SigningKey::derive(&[7; 32], "signing").public_key(), known);
    assert_ne!(SigningKey::derive(&[7; 32], "signinh").public_key(), known);
    assert_ne!(SigningKey::derive(&[8; 32], "signing").public_key(), known);
}

#[test]
fn private_keys_are_scalars_from_1_to_n_less_1() {
    for bad in [ZERO, ORDER, &"f".repeat(64)] {
        assert!(SigningKey::from_scalar(&array(bad)).is_err(), "{bad}");
    }
    assert!(SigningKey::from_scalar(&array(ONE)).is_ok());
    assert!(SigningKey::from_scalar(&array(ORDER_LESS_1)).is_ok());
}

#[test]
fn i7_a_signing_key_never_prints() {
    assert_eq!(format!("{:?}", key()), "SigningKey(redacted)");
}

#[test]
fn refuses_another_message_key_or_signature() {
    let (key, other) = (key(), SigningKey::derive(&[1; 32], "other"));
    let signature = key.sign(b"message");
    assert_eq!(verify(&key.public_key(), b"message", &signature), Ok(()));
    assert_eq!(verify(&key.public_key(), b"messagf", &signature), Err(BadSignature::Wrong));
    assert_eq!(verify(&other.public_key(), b"message", &signature), Err(BadSignature::Wrong));
    for bit in 0..512 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&key.public_key(), b"message", &changed).is_err(), "bit {bit}");
    }
}

/// One body of a SEQUENCE from two INTEGERs as they are.
fn der(r: &str, s: &str) -> String {
    let integer = |hex: &str| format!("02{:02x}{hex}", hex.len() / 2);
    let body = [integer(r), integer(s)].concat();
    format!("30{:02x}{body}", body.len() / 2)
}

#[test]
fn der_has_one_form() {
    for (r, s, encoded) in [
        (ONE, ONE, "3006020101020101".to_owned()),
        (ORDER_LESS_1, LOW_MOST, der(&format!("00{ORDER_LESS_1}"), LOW_MOST)),
    ] {
        assert_eq!(der_to_raw(&bytes(&encoded)), Ok(raw(r, s)));
        assert_eq!(hex(raw_to_der(&raw(r, s))), encoded);
    }
    let longest = raw_to_der(&raw(ORDER_LESS_1, LOW_MOST));
    assert!(longest.len() <= crate::webauthn::SIGNATURE_MAX_BYTES);
}

#[test]
fn refuses_other_forms_of_der() {
    let high = der("01", HIGH_LEAST);
    for (bad, why) in [
        ("", "empty"),
        ("30", "no length"),
        ("3000", "no integers"),
        ("3003020101", "one integer"),
        ("30060201010201", "cut off"),
        ("300602010102010100", "something follows"),
        ("3009020101020101020101", "a third integer"),
        ("3007020101020101ff", "something within follows"),
        ("3005020101020101", "length too short"),
        ("3007020101020101", "length too long"),
        ("308106020101020101", "long form of a short length"),
        ("30820006020101020101", "longer form"),
        ("3080020101020101 0000", "indefinite length"),
        ("300702810101020101", "long form in an integer"),
        ("3007020101 02810101", "long form in the other one"),
        ("300702020001020101", "r with a needless zero"),
        ("300702010102020001", "s with a needless zero"),
        ("3006020181020101", "negative r"),
        ("3006020101020180", "negative s"),
        ("3006020100020101", "r is zero"),
        ("3006020101020100", "s is zero"),
        ("30050200020101", "r is empty"),
        ("30050201010200", "s is empty"),
        ("3106020101020101", "a SET"),
        ("3006030101020101", "a BIT STRING"),
        ("1006020101020101", "not constructed"),
        ("3006220101020101", "a constructed INTEGER"),
        ("3f300602010102 0101", "a long tag"),
        (&high, "s in the higher half"),
        (&der(&format!("00{ORDER}"), "01"), "r is n"),
        (&der("01", &format!("00{ORDER}")), "s is n"),
        (&der(&format!("01{ZERO}"), "01"), "r of 33 bytes"),
        (&der("01", &format!("01{ZERO}")), "s of 33 bytes"),
        (&der(&"11".repeat(60), "01"), "r of 60 bytes"),
        (&raw(ONE, ONE).map(|byte| format!("{byte:02x}")).concat(), "raw"),
    ] {
        let bad = bytes(&bad.replace(' ', ""));
        assert_eq!(der_to_raw(&bad), Err(BadSignature::Malformed), "{why}");
    }
}

#[test]
fn whatever_der_is_read_is_the_only_one_of_its_signature() {
    let mut random = fastrand::Rng::with_seed(4);
    let good = raw_to_der(&key().sign(b"test"));
    let mut read = 0;
    for _ in 0..100_000 {
        let mut changed = good.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..changed.len());
            changed[at] = random.u8(..);
        }
        read += usize::from(crate::properties::check_der(&changed));
    }
    assert!(read > 1000, "{read}");
}
