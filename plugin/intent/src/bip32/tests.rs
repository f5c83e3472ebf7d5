use super::*;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

/// Seed, path, extended public key and extended private key of each case.
fn vectors() -> Vec<[&'static str; 4]> {
    let lines = include_str!("bip-0032.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t').collect::<Vec<_>>().try_into().unwrap()).collect()
}

/// k ‖ c of a text `xprv…`, which nothing but a test reads.
fn private_bytes(text: &str) -> [u8; 64] {
    let bytes = base58::decode_check(text).unwrap();
    [&bytes[46..], &bytes[13..45]].concat().try_into().unwrap()
}

#[test]
fn bip_32_test_vectors_1_to_4() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 17);
    for [seed, path, public, private] in vectors {
        let master = ExtendedPrivateKey::of_seed(&HEXLOWER.decode(seed.as_bytes()).unwrap()).unwrap();
        let path: Path = path.parse().unwrap();
        let key = master.derive(&path).unwrap();
        assert_eq!(*key.to_bytes(), private_bytes(private), "{path}");
        let extended = master.public_at(&path).unwrap();
        assert_eq!(extended.to_text(Network::Main), public, "{path}");
        assert_eq!(ExtendedPublicKey::of_text(public), Ok((extended, true)));
        // A private key's text is never read.
        assert_eq!(ExtendedPublicKey::of_text(private), Err(InvalidKey));
    }
}

#[test]
fn bip_32_test_vector_5_invalid_extended_keys_are_refused() {
    let texts = include_str!("bip-0032-invalid.txt").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for text in texts {
        assert_eq!(ExtendedPublicKey::of_text(text), Err(InvalidKey), "{text}");
        count += 1;
    }
    assert_eq!(count, 16);
}

#[test]
fn the_rule_for_invalid_children_holds() {
    let order = HEXLOWER.decode(b"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
    let order: [u8; 32] = order.try_into().unwrap();
    let mut one = [0; 32];
    one[31] = 1;
    let mut least = order;
    least[31] -= 1;
    // "In case parse256(IL) ≥ n or ki = 0, the resulting key is invalid".
    assert_eq!(added(&order, &one).map(|key| *key), Err(InvalidKey));
    assert_eq!(added(&[0xff; 32], &one).map(|key| *key), Err(InvalidKey));
    assert_eq!(added(&least, &one).map(|key| *key), Err(InvalidKey));
    assert_eq!(added(&[0; 32], &one).map(|key| *key), Ok(one));
    // "Ki is the point at infinity".
    assert_eq!(compressed(&ProjectivePoint::IDENTITY), Err(InvalidKey));
}

#[test]
fn refuses_seeds_and_bytes_that_give_no_key() {
    for length in [0, 15, 65] {
        assert!(ExtendedPrivateKey::of_seed(&vec![1; length]).is_err());
    }
    for length in [16, 32, 64] {
        assert!(ExtendedPrivateKey::of_seed(&vec![1; length]).is_ok());
    }
    assert!(ExtendedPrivateKey::of_bytes(&[0; 64]).is_err());
    assert!(ExtendedPrivateKey::of_bytes(&[0xff; 64]).is_err());
    assert!(ExtendedPrivateKey::of_bytes(&[1; 64]).is_ok());
}

#[test]
fn refuses_a_hardened_child_of_a_public_key() {
    let master = ExtendedPrivateKey::of_seed(&[7; 32]).unwrap();
    let public = master.public_at(&Path::default()).unwrap();
    assert_eq!(public.child(ChildNumber::hardened(0).unwrap()), Err(InvalidKey));
    assert!(public.child(ChildNumber::normal(0).unwrap()).is_ok());
}

#[test]
fn refuses_an_extended_key_whose_key_is_not_in_compressed_form() {
    let good = ExtendedPrivateKey::of_seed(&[7; 32]).unwrap().public_at(&Path::default()).unwrap();
    let mut bytes = good.to_bytes(Network::Main);
    assert_eq!(ExtendedPublicKey::of_bytes(&bytes), Ok((good, true)));
    for first in [0, 1, 4, 5, 6, 7] {
        bytes[45] = first;
        assert_eq!(ExtendedPublicKey::of_bytes(&bytes), Err(InvalidKey));
    }
}

#[test]
fn a_private_key_prints_nothing() {
    let key = ExtendedPrivateKey::of_seed(&[7; 32]).unwrap();
    assert_eq!(format!("{key:?}"), "ExtendedPrivateKey(redacted)");
}

#[test]
fn paths_have_one_meaning() {
    for (text, canonical) in [
        ("m", "m"),
        ("m/0", "m/0"),
        ("m/84'/0h/0'/1/2147483647", "m/84h/0h/0h/1/2147483647"),
        ("m/2147483647h", "m/2147483647h"),
    ] {
        let path: Path = text.parse().unwrap();
        assert_eq!(path.to_string(), canonical);
        assert_eq!(canonical.parse(), Ok(path));
    }
    let deep = format!("m{}", "/0".repeat(PATH_MAX_DEPTH));
    assert!(deep.parse::<Path>().is_ok());
    assert_eq!(format!("{deep}/0").parse::<Path>(), Err(NotAPath));
    for text in [
        "",
        "M",
        "m/",
        "/0",
        "0",
        "m//0",
        "m/0/",
        "m/-1",
        "m/+1",
        "m/ 1",
        "m/1 ",
        "m/01",
        "m/00",
        "m/2147483648",
        "m/4294967296h",
        "m/1H",
        "m/1hh",
        "m/h",
        "m/'",
        "m/1''",
        "m/a",
        "m/1/m",
        "m/٣",
    ] {
        assert_eq!(text.parse::<Path>(), Err(NotAPath), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// N(CKDpriv((kpar, cpar), i)) = CKDpub(N(kpar, cpar), i), and another implementation agrees.
    #[test]
    fn both_ways_to_a_public_child_agree(seed: [u8; 32], index in 0..HARDENED, hardened in 0..HARDENED) {
        use bitcoin::bip32 as other;
        let master = ExtendedPrivateKey::of_seed(&seed).unwrap();
        let path: Path = format!("m/{hardened}h").parse().unwrap();
        let number = ChildNumber::normal(index).unwrap();
        let public = master.public_at(&path).unwrap().child(number).unwrap();
        let private = master.derive(&path).unwrap().child(number).unwrap();
        prop_assert_eq!(public.public_key(), &private.public_key());
        let deeper: Path = format!("{path}/{index}").parse().unwrap();
        prop_assert_eq!(&master.public_at(&deeper).unwrap(), &public);

        let secp = bitcoin::secp256k1::Secp256k1::new();
        let theirs = other::Xpriv::new_master(bitcoin::Network::Testnet, &seed).unwrap();
        prop_assert_eq!(theirs.fingerprint(&secp).to_bytes(), master.fingerprint());
        let deeper: other::DerivationPath = deeper.to_string().parse().unwrap();
        let theirs = theirs.derive_priv(&secp, &deeper).unwrap();
        prop_assert_eq!(&theirs.private_key.secret_bytes(), private.private_key());
        let text = public.to_text(Network::Test);
        prop_assert_eq!(other::Xpub::from_priv(&secp, &theirs).to_string(), text.clone());
        prop_assert_eq!(ExtendedPublicKey::of_text(&text), Ok((public, false)));
    }

    #[test]
    fn any_bytes_are_an_extended_key_or_a_refusal(bytes: [u8; 78], at in 0usize..78, value: u8) {
        let _ = ExtendedPublicKey::of_bytes(&bytes);
        let mut edited = ExtendedPrivateKey::of_seed(&[7; 32]).unwrap().public_at(&Path::default()).unwrap().to_bytes(Network::Main);
        edited[at] = value;
        if let Ok((key, main)) = ExtendedPublicKey::of_bytes(&edited) {
            prop_assert_eq!(key.to_bytes(if main { Network::Main } else { Network::Test }), edited);
            prop_assert!(bitcoin::bip32::Xpub::decode(&edited).is_ok());
        }
    }
}
