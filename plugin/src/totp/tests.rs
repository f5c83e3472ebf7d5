use super::*;
use hmac::{Hmac, KeyInit, Mac};

fn mac(hash: TotpHash, key: &[u8], counter: u64) -> Secret {
    let message = counter.to_be_bytes();
    macro_rules! with {
        ($digest:ty) => {{
            let mut mac = Hmac::<$digest>::new_from_slice(key).unwrap();
            mac.update(&message);
            mac.finalize().into_bytes().to_vec()
        }};
    }
    Secret::new(match hash {
        TotpHash::Sha1 => with!(sha1::Sha1),
        TotpHash::Sha256 => with!(sha2::Sha256),
        TotpHash::Sha512 => with!(sha2::Sha512),
    })
}

const RFC_KEY: &[u8] = b"1234567890123456789012345678901234567890123456789012345678901234";

fn code(text: &str) -> Code {
    Code::parse(text, u8::try_from(text.len()).unwrap()).unwrap()
}

/// RFC 4226 appendix D.
#[test]
fn rfc_4226_appendix_d_hotp_values() {
    let expected =
        ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
    for (counter, text) in (0..).zip(expected) {
        let value = truncate(mac(TotpHash::Sha1, &RFC_KEY[..20], counter).expose(), 6).unwrap();
        assert_eq!(format!("{value:06}"), text, "counter {counter}");
    }
}

/// RFC 6238 appendix B, with the keys of its reference implementation (as long as the hash).
#[test]
fn rfc_6238_appendix_b_totp_values() {
    let rows: [(u64, [&str; 3]); 6] = [
        (59, ["94287082", "46119246", "90693936"]),
        (1_111_111_109, ["07081804", "68084774", "25091201"]),
        (1_111_111_111, ["14050471", "67062674", "99943326"]),
        (1_234_567_890, ["89005924", "91819424", "93441116"]),
        (2_000_000_000, ["69279037", "90698825", "38618901"]),
        (20_000_000_000, ["65353130", "77737706", "47863826"]),
    ];
    for (time, codes) in rows {
        for (hash, text) in [TotpHash::Sha1, TotpHash::Sha256, TotpHash::Sha512].into_iter().zip(codes) {
            let totp = TotpParameters { hash, digits: 8, period_secs: 30 };
            let step = step_at(time, &totp);
            let macs = [mac(hash, &RFC_KEY[..hash.secret_bytes()], step)];
            assert_eq!(
                check(&code(text), &[step], &macs, 8, step - 1),
                Match::Fresh(step),
                "{time} {hash:?}"
            );
        }
    }
}

fn macs_of(steps: &[u64]) -> Vec<Secret> {
    steps.iter().map(|step| mac(TotpHash::Sha1, &RFC_KEY[..20], *step)).collect()
}

fn text_of(step: u64) -> String {
    format!("{:06}", truncate(macs_of(&[step])[0].expose(), 6).unwrap())
}

#[test]
fn i3_a_step_at_or_below_the_highest_used_one_never_matches() {
    let steps = window(100);
    let macs = macs_of(&steps);
    for used in 97..=103 {
        for step in 95..=105 {
            let expected = match step {
                99..=101 if step > used => Match::Fresh(step),
                99..=101 => Match::Used,
                _ => Match::None,
            };
            assert_eq!(
                check(&code(&text_of(step)), &steps, &macs, 6, used),
                expected,
                "step {step}, used {used}"
            );
        }
    }
}

#[test]
fn of_two_equal_codes_in_the_window_the_higher_step_is_spent() {
    let one = macs_of(&[7]).remove(0);
    let macs = [one.clone(), one.clone(), one];
    assert_eq!(check(&code(&text_of(7)), &[9, 10, 11], &macs, 6, 8), Match::Fresh(11));
    assert_eq!(check(&code(&text_of(7)), &[9, 10, 11], &macs, 6, 11), Match::Used);
}

#[test]
fn prior_art_the_window_is_three_steps_not_eleven() {
    assert_eq!(window(50), [49, 50, 51]);
    assert_eq!(window(0), [0, 1]);
}

#[test]
fn a_factor_has_six_or_eight_digits_and_half_a_minute_or_a_whole_one() {
    for hash in [TotpHash::Sha1, TotpHash::Sha256, TotpHash::Sha512] {
        for digits in 0..=u8::MAX {
            for period_secs in 0..=u8::MAX {
                let supported = [6, 8].contains(&digits) && [30, 60].contains(&period_secs);
                assert_eq!(is_supported(&TotpParameters { hash, digits, period_secs }), supported);
            }
        }
    }
}

#[test]
fn a_code_has_no_more_digits_than_a_number_holds() {
    assert_eq!(Code::parse("123456789", 9).map(|code| code.value), Ok(123_456_789));
    assert!(Code::parse("0123456789", 10).is_err());
}

#[test]
fn a_code_is_exactly_its_digits() {
    for bad in
        ["", "12345", "1234567", " 12345", "12345 ", "+12345", "-12345", "12345a", "１２３４５６", "12345\0"]
    {
        assert_eq!(Code::parse(bad, 6).err(), Some(MalformedCode), "{bad:?}");
    }
    assert_eq!(Code::parse("123456", 8).err(), Some(MalformedCode));
    assert!(Code::parse("000000", 6).is_ok() && Code::parse("00000000", 8).is_ok());
}

#[test]
fn a_pair_is_two_unused_consecutive_steps_in_order() {
    let steps = pair_window(100);
    assert_eq!(steps, [98, 99, 100, 101]);
    let macs = macs_of(&steps);
    for first in 96..=102 {
        for second in 96..=102 {
            for used in [0, 98, 99, 100] {
                let (a, b) = (code(&text_of(first)), code(&text_of(second)));
                let in_window = second == first + 1 && (98..=100).contains(&first);
                let expected = match (in_window, first > used) {
                    (true, true) => Match::Fresh(second),
                    (true, false) => Match::Used,
                    (false, _) => Match::None,
                };
                assert_eq!(check_pair([&a, &b], &steps, &macs, 6, used), expected, "{first} {second} {used}");
            }
        }
    }
}

#[test]
fn the_uri_is_what_totp_rs_reads_and_writes() {
    for hash in [TotpHash::Sha1, TotpHash::Sha256, TotpHash::Sha512] {
        for (digits, period_secs) in [(6u8, 30u8), (8, 60)] {
            let secret = RFC_KEY[..hash.secret_bytes()].to_vec();
            let totp = TotpParameters { hash, digits, period_secs };
            let uri = otpauth_uri("a.b@example", &Secret::new(secret.clone()), &totp);
            let phone = totp_rs::Totp::from_url(&uri).unwrap();
            assert_eq!(phone.secret().to_vec(), secret);
            assert_eq!(phone.digits(), digits);
            assert_eq!(phone.account_name(), "a.b@example");
            let step = step_at(1_234_567_890, &totp);
            let macs = [mac(hash, &secret, step)];
            let shown = phone.generate(1_234_567_890);
            assert_eq!(check(&code(&shown.to_string()), &[step], &macs, digits, 0), Match::Fresh(step));
        }
    }
}
