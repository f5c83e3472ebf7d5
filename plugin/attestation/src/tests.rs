use super::*;
use crate::claims::DebugStatus;
use crate::properties::good as claims;
use countersign_approvals::es256::SigningKey;
use proptest::prelude::*;

fn keys() -> (SigningKey, SigningKey) {
    (SigningKey::derive(&[1; 32], "attestation"), SigningKey::derive(&[2; 32], "root"))
}

fn issued() -> (Vec<u8>, [u8; 32]) {
    let (key, root) = keys();
    (issue(&claims(), &key, &root), root.public_key().fingerprint())
}

#[test]
fn what_was_attested_is_what_is_read() {
    let (token, root) = issued();
    let found = verify(&token, &root).unwrap();
    assert_eq!((found.claims, found.attestation_key), (claims(), keys().0.public_key()));
    assert!(token.len() < ATTESTATION_MAX_BYTES / 4, "{}", token.len());
}

#[test]
fn refuses_another_root_and_a_key_that_the_root_does_not_know() {
    let (key, root) = keys();
    let fingerprint = root.public_key().fingerprint();
    let token = issue(&claims(), &key, &root);
    assert_eq!(verify(&token, &[0; 32]).err(), Some(Refused::WrongRoot));
    let other = SigningKey::derive(&[3; 32], "root");
    assert_eq!(verify(&issue(&claims(), &key, &other), &fingerprint).err(), Some(Refused::WrongRoot));
}

#[test]
fn refuses_every_changed_byte_and_every_cut() {
    let (token, root) = issued();
    for at in 0..token.len() {
        let mut changed = token.clone();
        changed[at] ^= 1;
        assert!(verify(&changed, &root).is_err(), "byte {at}");
        assert!(verify(&token[..at], &root).is_err(), "cut at {at}");
    }
    assert_eq!(verify(&[token.as_slice(), &[0]].concat(), &root).err(), Some(Refused::Malformed));
    assert_eq!(verify(&vec![0; ATTESTATION_MAX_BYTES + 1], &root).err(), Some(Refused::Malformed));
}

#[test]
fn refuses_what_was_not_expected_by_name() {
    let good = claims();
    let nonce = Some(vec![7; 32]);
    let (measurements, platforms) = (vec![[2; 48]], Vec::new());
    let expected = Expected { nonce, measurements, platforms, hsm_id: Some([1; 16]), allowed: Vec::new() };
    assert_eq!(expected.check(&good), Ok(()));
    assert!(expected.weaknesses(&good).is_empty());
    let refused = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims();
        change(&mut claims);
        let refused = expected.check(&claims);
        let allowed = Expected { allowed: Allowed::ALL.to_vec(), ..expected.clone() };
        (refused, allowed.check(&claims))
    };
    for (change, expected) in [
        (&(|claims: &mut Claims| claims.nonce[0] = 0) as &dyn Fn(&mut Claims), Refused::WrongNonce),
        (&|claims: &mut Claims| claims.hsm_id[0] = 0, Refused::UnexpectedHsm),
        (&|claims: &mut Claims| claims.measurement[0] = 0, Refused::UnexpectedMeasurement),
    ] {
        assert_eq!(refused(change), (Err(expected), Err(expected)));
    }
    for (change, expected) in [
        (
            &(|claims: &mut Claims| claims.debug = DebugStatus::Enabled) as &dyn Fn(&mut Claims),
            Refused::DevelopmentImage,
        ),
        (&|claims: &mut Claims| claims.release_keys = None, Refused::DevelopmentImage),
        (&|claims: &mut Claims| claims.clock = "manual".to_owned(), Refused::ManualClock),
        (&|claims: &mut Claims| claims.clock = "sundial".to_owned(), Refused::ManualClock),
        (&|claims: &mut Claims| claims.missing_layers = vec!["tsc".to_owned()], Refused::WeakSandbox),
        (&|claims: &mut Claims| claims.plugin.clock_sure = false, Refused::ClockInDoubt),
        (&|claims: &mut Claims| claims.plugin.policy = None, Refused::NoPolicy),
        (&|claims: &mut Claims| claims.boundary = claims::VM.to_owned(), Refused::PlatformUnchecked),
        (&|claims: &mut Claims| claims.platform = Some([8; 48]), Refused::PlatformUnchecked),
    ] {
        assert_eq!(refused(change), (Err(expected), Ok(())));
    }
}

#[test]
fn a_virtual_machine_is_one_of_those_that_were_named_or_is_refused() {
    let of = |platforms: &[[u8; 48]]| Expected {
        platforms: platforms.to_vec(),
        allowed: Allowed::ALL.to_vec(),
        ..Expected::default()
    };
    let machine = Claims { boundary: claims::VM.to_owned(), platform: Some([8; 48]), ..claims() };
    let named = Expected { allowed: Vec::new(), ..of(&[[7; 48], [8; 48]]) };
    assert_eq!(named.check(&machine), Ok(()));
    assert!(named.weaknesses(&machine).is_empty());
    assert_eq!(of(&[[7; 48]]).check(&machine), Err(Refused::UnexpectedPlatform), "whatever is allowed");
    assert_eq!(of(&[[8; 48]]).check(&claims()), Err(Refused::UnexpectedPlatform), "there is no machine");
    assert_eq!(of(&[]).check(&machine), Ok(()));
}

#[test]
fn words_are_stable_and_each_has_one_meaning() {
    for (at, one) in Refused::ALL.iter().enumerate() {
        assert!(Refused::ALL[at + 1..].iter().all(|other| other.word() != one.word()), "{one:?}");
        assert!(one.sentence().ends_with('.'));
    }
    for weakness in Allowed::ALL {
        assert_eq!(weakness.word().parse(), Ok(*weakness));
    }
    assert!("anything".parse::<Allowed>().is_err());
}

proptest! {
    #[test]
    fn no_byte_of_any_token_can_change(at in any::<usize>(), by in 1_u8.., boots in any::<u64>(), officers in any::<Option<[u8; 32]>>()) {
        let mut claims = claims();
        (claims.plugin.boot_count, claims.plugin.officers) = (boots, officers);
        properties::claims_have_one_encoding(&claims.to_bytes());
        properties::no_byte_of_a_token_can_change(&claims, at, by);
    }

    #[test]
    fn no_bytes_make_the_verifier_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        properties::tokens_are_read_safely(&bytes);
        properties::claims_have_one_encoding(&bytes);
    }
}
