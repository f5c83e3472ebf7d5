use super::*;
use crate::tests::{array, bytes, hex};

/// The official test vectors of RFC 9180 (its `test-vectors.json`): mode 0, KEM 16, KDF 1, AEAD 2, first encryption. The
/// RFC's own appendix A.3 has the same suite with AES-128-GCM.
#[test]
fn seals_and_opens_as_the_test_vectors_of_rfc_9180() {
    let info = bytes("4f6465206f6e2061204772656369616e2055726e");
    let ikm_e = array("a90d3417c3da9cb6c6ae19b4b5dd6cc9529a4cc24efb7ae0ace1f31887a8cd6c");
    let sk_r = "317f915db7bc629c48fe765587897e01e282d3e8445f79f27f65d031a88082b2";
    let pk_r = "04abc7e49a4c6b3566d77d0304addc6ed0e98512ffccf505e6a8e3eb25c685136f\
                853148544876de76c0f2ef99cdc3a05ccf5ded7860c7c021238f9e2073d2356c";
    let enc = "04c06b4f6bebc7bb495cb797ab753f911aff80aefb86fd8b6fcc35525f3ab5f03e\
               0b21bd31a86c6048af3cb2d98e0d3bf01da5cc4c39ff5370d331a4f1f7d5a4e0";
    let (aad, pt) = (bytes("436f756e742d30"), b"Beauty is truth, truth beauty");
    let ct = "58c61a45059d0c5704560e9d88b564a8b63f1364b8d1fcb3c4c6ddc1d291742465e902cd216f8908da49f8f96f";
    let key = OpeningKey::from_scalar(&array(sk_r)).unwrap();
    assert_eq!(hex(key.public_key().as_bytes()), pk_r);
    let sealed = seal(&key.public_key(), &info, &aad, pt, &ikm_e);
    assert_eq!((hex(sealed.encapsulated), hex(&sealed.ciphertext)), (enc.to_owned(), ct.to_owned()));
    assert_eq!(key.open(&info, &aad, &sealed).unwrap().as_slice(), pt);
}

#[test]
fn refuses_another_key_info_or_associated_data() {
    let key = OpeningKey::derive(&[7; 32], "sealing");
    let sealed = seal(&key.public_key(), CODE_INFO, b"digest", b"secret", &[9; 32]);
    assert_eq!(key.open(CODE_INFO, b"digest", &sealed).unwrap().as_slice(), b"secret");
    assert_eq!(key.open(ENROLMENT_INFO, b"digest", &sealed), Err(Unsealed));
    assert_eq!(key.open(CODE_INFO, b"digesu", &sealed), Err(Unsealed));
    let other = OpeningKey::derive(&[7; 32], "other");
    assert_eq!(other.open(CODE_INFO, b"digest", &sealed), Err(Unsealed));
}

#[test]
fn refuses_every_changed_bit() {
    let key = OpeningKey::derive(&[7; 32], "sealing");
    let good = seal(&key.public_key(), CODE_INFO, b"digest", b"secret", &[9; 32]);
    for bit in 0..65 * 8 {
        let mut changed = good.clone();
        changed.encapsulated[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.open(CODE_INFO, b"digest", &changed), Err(Unsealed), "bit {bit}");
    }
    for bit in 0..good.ciphertext.len() * 8 {
        let mut changed = good.clone();
        changed.ciphertext[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.open(CODE_INFO, b"digest", &changed), Err(Unsealed), "bit {bit}");
        assert_ne!(changed.hash(), good.hash());
    }
}

#[test]
fn i14_the_ciphertext_is_bounded_and_has_its_tag() {
    let key = OpeningKey::derive(&[7; 32], "sealing");
    let sealed_bytes = |count: usize| seal(&key.public_key(), b"", b"", &vec![1; count], &[9; 32]);
    let opened = |count: usize| key.open(b"", b"", &sealed_bytes(count)).map(|plaintext| plaintext.len());
    let most = CIPHERTEXT_MAX_BYTES - 16;
    assert_eq!((opened(0), opened(most), opened(most + 1)), (Ok(0), Ok(most), Err(Unsealed)));
    for short in 0..16 {
        assert_eq!(key.open_parts(b"", b"", &sealed_bytes(0).encapsulated, &vec![0; short]), Err(Unsealed));
    }
}

#[test]
fn the_hash_is_over_both_parts() {
    let sealed = Sealed { encapsulated: [1; 65], ciphertext: vec![2; 20] };
    let whole: [u8; 32] = Sha256::digest([[1; 65].as_slice(), &[2; 20]].concat()).into();
    assert_eq!(sealed.hash(), whole);
    assert_eq!(sealed_hash(&sealed.encapsulated, &sealed.ciphertext), whole);
}

#[test]
fn a_derived_key_is_the_same_for_ever_and_another_for_each_label_and_secret() {
    // By another HKDF: DeriveKeyPair(expand(extract("countersign opening key v1", 07…07), "sealing", 32)).
    let scalar = "76548757cc8ebebad22001afed990c618018e831ad5e282d8c96de61b5447aa9";
    let known = OpeningKey::from_scalar(&array(scalar)).unwrap().public_key();
    assert_eq!(OpeningKey::derive(&[7; 32], "sealing").public_key(), known);
    assert_ne!(OpeningKey::derive(&[7; 32], "sealinh").public_key(), known);
    assert_ne!(OpeningKey::derive(&[8; 32], "sealing").public_key(), known);
    let signs = crate::es256::SigningKey::derive(&[7; 32], "sealing").public_key();
    assert_ne!(signs, known, "a key for signing is never a key for opening");
}

#[test]
fn opening_keys_are_scalars_and_never_print() {
    assert!(OpeningKey::from_scalar(&[0; 32]).is_err());
    assert!(OpeningKey::from_scalar(&[0xff; 32]).is_err());
    let key = OpeningKey::from_scalar(&[1; 32]).unwrap();
    assert_eq!(format!("{key:?}"), "OpeningKey(redacted)");
}

#[test]
#[should_panic(expected = "one message takes one ephemeral key")]
fn randomness_is_never_used_twice() {
    let mut once = Once(Some(Zeroizing::new([1; 32])));
    let mut bytes = [0; 32];
    once.try_fill_bytes(&mut bytes).unwrap();
    assert_eq!(bytes, [1; 32]);
    once.try_fill_bytes(&mut bytes).unwrap();
}

fn decoded(plaintext: &[u8], digest: &[u8; 32]) -> Result<Vec<String>, BadCodes> {
    let codes = decode_codes(plaintext, digest)?;
    Ok(codes.iter().map(|code| code.to_string()).collect())
}

#[test]
fn codes_come_back_and_only_for_their_digest() {
    let longest = "9".repeat(CODE_MAX_BYTES);
    for codes in [&["123456"][..], &["123456", "654321"], &[""], &[longest.as_str()]] {
        let plaintext = encode_codes(&[1; 32], codes);
        assert_eq!(decoded(&plaintext, &[1; 32]).unwrap(), codes);
        assert_eq!(decoded(&plaintext, &[2; 32]), Err(BadCodes::AnotherDigest));
    }
    // ["countersign code v1", h'01…01', ["123456"]]
    let one = ["83", "73", &hex("countersign code v1"), "5820", &"01".repeat(32), "81", "66", &hex("123456")];
    assert_eq!(hex(encode_codes(&[1; 32], &["123456"])), one.concat());
}

#[test]
fn refuses_other_plaintexts() {
    let digest = "01".repeat(32);
    let name = hex("countersign code v1");
    let too_long = format!("81 7841 {}", "31".repeat(65));
    let with = |codes: &str| format!("83 73{name} 5820{digest} {codes}");
    for (bad, why) in [
        (String::new(), "empty"),
        (with("80"), "no code"),
        (with("83 6131 6132 6133"), "three codes"),
        (with(&too_long), "a code of 65 bytes"),
        (with("81 4131"), "bytes"),
        (with("81 01"), "a number"),
        (with("81 61ff"), "not UTF-8"),
        (with("9f 6131 ff"), "indefinite length"),
        (with("81 6131 00"), "something follows"),
        (with("81 780131"), "a longer head"),
        (format!("82 73{name} 5820{digest}"), "no list"),
        (format!("84 73{name} 5820{digest} 81 6131 00"), "four elements"),
        (format!("83 73{} 5820{digest} 81 6131", hex("countersign code v2")), "another version"),
        (format!("83 73{name} 581f{} 81 6131", &digest[2..]), "a shorter digest"),
    ] {
        assert_eq!(decoded(&bytes(&bad.replace(' ', "")), &[1; 32]), Err(BadCodes::Malformed), "{why}");
    }
    assert_eq!(decoded(&bytes(&with("81 6131").replace(' ', "")), &[1; 32]).unwrap(), ["1"]);
}

#[test]
fn what_the_library_seals_opens_at_every_length() {
    let key = OpeningKey::derive(&[3; 32], "lengths");
    for length in [0, 1, 15, 16, 17, 31, 32, 33, 255, 1024, CIPHERTEXT_MAX_BYTES - TAG_BYTES] {
        let (plain, info) = (vec![0x5a; length], vec![0xc3; length % 97]);
        let random = [u8::try_from(length % 251).unwrap(); 32];
        let sealed = seal(&key.public_key(), &info, &plain, &plain, &random);
        assert_eq!(key.open(&info, &plain, &sealed).unwrap().as_slice(), plain, "{length}");
    }
}
