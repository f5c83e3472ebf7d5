//! The vectors of the standards.

use super::super::psbt::Version;
use super::super::script::{Template, p2sh, p2wpkh, p2wsh};
use super::super::sighash::{Shared, witness_v0};
use super::super::*;
use crate::base58;
use crate::bip32::ExtendedPrivateKey;
use crate::model::Network;
use countersign_wire::reason::Reason;
use data_encoding::HEXLOWER;
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{Signature, VerifyingKey};

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// What it is, its name, its bytes.
fn vectors(file: &'static str) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &'static str| {
        let mut parts = line.split('\t');
        let mut next = || parts.next().unwrap();
        (next(), next(), hex(next()))
    };
    lines.map(read).collect()
}

fn bip_174(what: &str) -> Vec<(&'static str, Vec<u8>)> {
    let all = vectors(include_str!("bip-0174.txt")).into_iter();
    all.filter(|(kind, ..)| *kind == what).map(|(_, name, bytes)| (name, bytes)).collect()
}

fn bip_370(what: &str) -> Vec<(&'static str, Vec<u8>)> {
    let all = vectors(include_str!("bip-0370.txt")).into_iter();
    all.filter(|(kind, ..)| *kind == what).map(|(_, name, bytes)| (name, bytes)).collect()
}

#[test]
fn bip_174_valid_psbts_are_read_and_given_back() {
    let valid = bip_174("valid");
    assert_eq!(valid.len(), 12);
    for (name, bytes) in valid {
        let psbt = Psbt::read(&bytes).unwrap_or_else(|_| panic!("{name}"));
        assert_eq!((psbt.version(), psbt.encode()), (Version::V0, bytes), "{name}");
    }
}

#[test]
fn bip_174_invalid_psbts_are_refused() {
    let invalid = bip_174("invalid");
    assert_eq!(invalid.len(), 19);
    for (name, bytes) in invalid {
        assert_eq!(Psbt::read(&bytes), Err(Reason::MalformedPsbt), "{name}");
    }
}

/// The keys of the signer in BIP-174's examples: m/0'/0'/0' to m/0'/0'/3'.
const BIP_174_KEYS: [&str; 4] = [
    "029583bf39ae0a609747ad199addd634fa6108559d6c5cd39b4c2183f1ab96e07f",
    "02dab61ff49a14db6a7d02b0cd1fbb78fc4b18312b5b4e54dae4dba2fbfef536d7",
    "03089dc10c7ac6db54f91329af617333db388cead0c231f723379d1b99030b02dc",
    "023add904f3d6dcf59ddb906b0dee23529b7ffb9ed50e5e86151926860221f0e73",
];

fn bip_174_signer(key: usize) -> Signer {
    let public_key = hex(BIP_174_KEYS[key]).try_into().unwrap();
    Signer::Key(SingleKey::new(public_key, Network::Test).unwrap())
}

#[test]
fn bip_174_what_fails_signer_checks_is_refused() {
    let failing = bip_174("signer");
    assert_eq!(failing.len(), 4);
    for (name, bytes) in failing {
        let psbt = Psbt::read(&bytes).unwrap();
        for key in 0..4 {
            // The first vector's P2PKH input is spent with the last key alone.
            let strange = name.starts_with("A Witness UTXO") && key != 3;
            let reason = if strange { Reason::NothingToSign } else { Reason::MalformedPsbt };
            assert_eq!(psbt.review(&bip_174_signer(key)), Err(reason), "{name}");
        }
    }
}

/// BIP-174's example after its combiner, with the previous transaction of the second input put in.
fn example_with_its_previous_transactions() -> Psbt {
    let previous = hex(concat!(
        "0200000000010158e87a21b56daf0c23be8e7070456c336f7cbaa5c8757924f545887bb2abdd7501000000171600145f275f436b09a8cc9a2eb2",
        "a2f528485c68a56323feffffff02d8231f1b0100000017a914aed962d6654f9a2b36608eb9d64d2b260db4f1118700c2eb0b0000000017a914b7",
        "f5faf40e3d40a5a459b1db3535f2b72fa921e88702483045022100a22edcc6e5bc511af4cc4ae0de0fcd75c7e04d8c1c3a8aa9d820ed4b967384",
        "ec02200642963597b9b1bc22c75e9f3e117284a962188bf5e8a74c895089046a20ad770121035509a48eb623e10aace8bfd0212fdb8a8e5af3c9",
        "4b0b133b95e114cab89e4f7965000000"
    ));
    let (_, combined) = bip_174("valid").into_iter().find(|(name, _)| *name == "combiner's result").unwrap();
    let mut psbt = Psbt::read(&combined).unwrap();
    psbt.inputs[1].put(0, &[], previous);
    psbt
}

/// BIP-174's example transaction, its second input (P2SH-P2WSH, 2 of 2). The example has its witness UTXO alone;
/// beside another input that proves nothing here, so the previous transaction, which the example names, is put in.
#[test]
fn bip_174_signatures_of_the_example_verify_over_our_digest() {
    let (_, combined) = bip_174("valid").into_iter().find(|(name, _)| *name == "combiner's result").unwrap();
    assert_eq!(Psbt::read(&combined).unwrap().review(&bip_174_signer(3)), Err(Reason::AmountNotProven));
    let psbt = example_with_its_previous_transactions();
    for key in [2, 3] {
        let review = psbt.review(&bip_174_signer(key)).unwrap();
        let [asked] = review.to_sign.as_slice() else { panic!("one input is ours") };
        assert_eq!((asked.input, HEXLOWER.encode(&asked.public_key).as_str()), (1, BIP_174_KEYS[key]));
        let signature =
            psbt.inputs[1].all(2).find(|field| field.data() == asked.public_key).unwrap().value.clone();
        let signature = Signature::from_der(&signature[..signature.len() - 1]).unwrap();
        let public_key = VerifyingKey::from_sec1_bytes(&asked.public_key).unwrap();
        assert!(public_key.verify_prehash(&asked.digest, &signature).is_ok());
        // Signing gives the example's bytes back, with our signature in the place of its own.
        let signed = psbt.with_signatures(&review, &[signature.to_bytes().into()]).unwrap();
        assert_eq!(signed, psbt.encode());
    }
}

/// With nonces by RFC 6979, the keys of BIP-174's example give its own signatures, byte for byte.
#[test]
fn bip_174_keys_of_the_example_make_its_signatures() {
    let master = private_key(
        "tprv8ZgxMBicQKsPd9TeAdPADNnSyH9SSUUbTVeFszDE23Ki6TBB5nCefAdHkK8Fm3qMQR6sHwA56zqRmKmxnHk37JkiFzvncDqoKmPWubu7hDF",
    );
    let combined = example_with_its_previous_transactions();
    for key in [2, 3] {
        let private = master.derive(&format!("m/0h/0h/{key}h").parse().unwrap()).unwrap();
        assert_eq!(HEXLOWER.encode(&private.public_key()), BIP_174_KEYS[key]);
        let review = combined.review(&bip_174_signer(key)).unwrap();
        let signature = super::draft::sign(private.private_key(), &review.to_sign[0].digest);
        assert_eq!(combined.with_signatures(&review, &[signature]).unwrap(), combined.encode());
    }
}

#[test]
fn bip_370_valid_psbts_are_read_and_given_back() {
    let valid = bip_370("valid");
    assert_eq!(valid.len(), 14);
    for (name, bytes) in valid {
        let psbt = Psbt::read(&bytes).unwrap_or_else(|_| panic!("{name}"));
        assert_eq!((psbt.version(), psbt.encode()), (Version::V2, bytes), "{name}");
    }
}

#[test]
fn bip_370_invalid_psbts_are_refused() {
    let invalid = bip_370("invalid");
    assert_eq!(invalid.len(), 25);
    for (name, bytes) in invalid {
        assert_eq!(Psbt::read(&bytes), Err(Reason::MalformedPsbt), "{name}");
    }
}

#[test]
fn bip_370_lock_times_are_determined() {
    let all = vectors(include_str!("bip-0370.txt"));
    let cases = all.iter().filter_map(|(what, name, bytes)| Some((what.strip_prefix("lock ")?, name, bytes)));
    assert_eq!(cases.clone().count(), 9);
    for (lock_time, name, bytes) in cases {
        let psbt = Psbt::read(bytes).unwrap();
        assert_eq!(psbt.transaction().lock_time.to_string(), lock_time, "{name}");
    }
}

#[test]
fn bip_143_native_p2wpkh() {
    let unsigned = hex(concat!(
        "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeffffffef51e1b804cc89d182d27965",
        "5c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76",
        "ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000"
    ));
    let transaction = Transaction::read_unsigned(&unsigned).unwrap();
    assert_eq!(transaction.encode(), unsigned);
    let shared = Shared::of(&transaction);
    assert_eq!(shared.prevouts[..], hex("96b827c8483d4e9b96712b6713a7b68d6e8003a781feba36c31143470b4efd37"));
    assert_eq!(shared.sequences[..], hex("52b0a642eea2fb7ae638c36f6252b6750293dbe574a806984b8e4d8548339a3b"));
    assert_eq!(shared.outputs[..], hex("863ef3e1a92afbfdb97f31ad0fc7683ee943e9abcf2501590ff8f6551f47e5e5"));
    let public_key: [u8; 33] =
        hex("025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee6357").try_into().unwrap();
    assert_eq!(Purpose::Bip84.script(&public_key), hex("00141d0f172a0ecb48aee1be1f2687d2963ae33f71a1"));
    let code = hex("76a9141d0f172a0ecb48aee1be1f2687d2963ae33f71a188ac");
    let digest = witness_v0(&transaction, &shared, 1, &code, 600_000_000).unwrap();
    assert_eq!(digest[..], hex("c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670"));
}

#[test]
fn bip_143_p2sh_p2wpkh() {
    let unsigned = hex(concat!(
        "0100000001db6b1b20aa0fd7b23880be2ecbd4a98130974cf4748fb66092ac4d3ceb1a54770100000000feffffff02b8b4eb0b000000001976a9",
        "14a457b684d7f0d539a46a45bbc043f35b59d0d96388ac0008af2f000000001976a914fd270b1ee6abcaea97fea7ad0402e8bd8ad6d77c88ac92",
        "040000"
    ));
    let transaction = Transaction::read_unsigned(&unsigned).unwrap();
    let public_key: [u8; 33] =
        hex("03ad1d8e89212f0b92c74d23bb710c00662ad1470198ac48c43f7d6f93a2a26873").try_into().unwrap();
    assert_eq!(Purpose::Bip49.script(&public_key), hex("a9144733f37cf4db86fbc2efed2500b4f4e49f31202387"));
    let code = hex("76a91479091972186c449eb1ded22b78e40d009bdf008988ac");
    let digest = witness_v0(&transaction, &Shared::of(&transaction), 0, &code, 1_000_000_000).unwrap();
    assert_eq!(digest[..], hex("64f3b0f4dd2bb3aa1ce8566d220cc74dda9df97d8490cc81d89d735c92e59fb6"));
}

#[test]
fn bip_143_p2sh_p2wsh_sighash_all() {
    let unsigned = hex(concat!(
        "010000000136641869ca081e70f394c6948e8af409e18b619df2ed74aa106c1ca29787b96e0100000000ffffffff0200e9a435000000001976a9",
        "14389ffce9cd9ae88dcc0631e88a821ffdbe9bfe2688acc0832f05000000001976a9147480a33f950689af511e6e84c138dbbd3c3ee41588ac00",
        "000000"
    ));
    let witness_script = hex(concat!(
        "56210307b8ae49ac90a048e9b53357a2354b3334e9c8bee813ecb98e99a7e07e8c3ba32103b28f0c28bfab54554ae8c658ac5c3e0ce6e79ad336",
        "331f78c428dd43eea8449b21034b8113d703413d57761b8b9781957b8c0ac1dfe69f492580ca4195f50376ba4a21033400f6afecb833092a9a21",
        "cfdf1ed1376e58c5d1f47de74683123987e967a8f42103a6d48b1131e94ba04d9737d61acdaa1322008af9602b3b14862c07a1789aac162102d8",
        "b661b0b3302ee2f162b09e07a55ad5dfbe673a9f01d9f0c19617681024306b56ae"
    ));
    assert_eq!(script::multisig_keys(&witness_script).unwrap().len(), 6);
    let transaction = Transaction::read_unsigned(&unsigned).unwrap();
    let digest =
        witness_v0(&transaction, &Shared::of(&transaction), 0, &witness_script, 987_654_321).unwrap();
    assert_eq!(digest[..], hex("185c0be5263dce5b4bb50a047973c1b6272bfbd0103a89444597dc40b248ee7c"));
}

/// The version 0 addresses of BIP-173 are among those of BIP-350, which replaces the others.
#[test]
fn bip_173_and_350_addresses_of_scripts() {
    for (network, text, script) in [
        (
            Network::Main,
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "0014751e76e8199196d454941c45d1b3a323f1433bd6",
        ),
        (
            Network::Test,
            "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
            "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
        ),
        (
            Network::Main,
            "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
            "5128751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3a323f1433bd6",
        ),
        (Network::Main, "BC1SW50QGDZ25J", "6002751e"),
        (Network::Main, "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", "5210751e76e8199196d454941c45d1b3a323"),
        (
            Network::Signet,
            "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
            "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
        ),
        (
            Network::Test,
            "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
            "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
        ),
        (
            Network::Main,
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        ),
    ] {
        assert_eq!(address(&hex(script), network).as_str(), text.to_ascii_lowercase());
    }
}

/// BIP-350: "Invalid program length for witness version 0", "Invalid program length": these scripts have no
/// address.
#[test]
fn bip_350_programs_without_an_address_are_shown_as_scripts() {
    for script in ["0010751e76e8199196d454941c45d1b3a323", "510175", "6a04deadbeef", ""] {
        assert_eq!(address(&hex(script), Network::Main).as_str(), format!("script:{script}"));
    }
    assert_eq!(Template::of(&hex("510175")), Template::Other);
}

/// The text of a private key under SLIP-132's version bytes, which nothing but a test reads.
fn private_key(text: &str) -> ExtendedPrivateKey {
    let bytes = base58::decode_check(text).unwrap();
    ExtendedPrivateKey::of_bytes(&[&bytes[46..], &bytes[13..45]].concat().try_into().unwrap()).unwrap()
}

#[test]
fn bip_84_account_keys_and_addresses() {
    let master = private_key(
        "zprvAWgYBBk7JR8Gjrh4UJQ2uJdG1r3WNRRfURiABBE3RvMXYSrRJL62XuezvGdPvG6GFBZduosCc1YP5wixPox7zhZLfiUm8aunE96BBa4Kei5",
    );
    let account = Account::of_master(&master, Purpose::Bip84, 0, Network::Main).unwrap();
    let expected = private_key(
        "zprvAdG4iTXWBoARxkkzNpNh8r6Qag3irQB8PzEMkAFeTRXxHpbF9z4QgEvBRmfvqWvGp42t42nvgGpNgYSJA9iefm1yYNZKEm7z6qUWCroSQnE",
    );
    assert_eq!(master.derive(&account.path()).unwrap().to_bytes(), expected.to_bytes());
    for (chain, index, public_key, address) in [
        (
            0,
            0,
            "0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c",
            "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
        ),
        (
            0,
            1,
            "03e775fd51f0dfb8cd865d9ff1cca2a158cf651fe997fdc9fee9c1d3b5e995ea77",
            "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g",
        ),
        (
            1,
            0,
            "03025324888e429ab8e3dbaf1f7802648b9cd01e9b418485c5fa4c1b9b5700e1a6",
            "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el",
        ),
    ] {
        assert_eq!(account.public_key(chain, index).unwrap()[..], hex(public_key));
        assert_eq!(account.address(chain, index).unwrap().as_str(), address);
    }
}

#[test]
fn bip_49_account_key_and_address() {
    let master = private_key(
        "uprv8tXDerPXZ1QsVNjUJWTurs9kA1KGfKUAts74GCkcXtU8GwnH33GDRbNJpEqTvipfCyycARtQJhmdfWf8oKt41X9LL1zeD2pLsWmxEk3VAwd",
    );
    let account = Account::of_master(&master, Purpose::Bip49, 0, Network::Test).unwrap();
    let expected = private_key(
        "uprv91G7gZkzehuMVxDJTYE6tLivdF8e4rvzSu1LFfKw3b2Qx1Aj8vpoFnHdfUZ3hmi9jsvPifmZ24RTN2KhwB8BfMLTVqaBReibyaFFcTP1s9n",
    );
    assert_eq!(account.path().to_string(), "m/49h/1h/0h");
    assert_eq!(master.derive(&account.path()).unwrap().to_bytes(), expected.to_bytes());
    let public_key = account.public_key(0, 0).unwrap();
    assert_eq!(public_key[..], hex("03a1af804ac108a8a51782198c2d034b28bf90c8803f5a53f76276fa69a4eae77f"));
    assert_eq!(hash160(&public_key)[..], hex("38971f73930f6c141d977ac4fd4a727c854935b3"));
    assert_eq!(hash160(&p2wpkh(&hash160(&public_key)))[..], hex("336caa13e08b96080a32b5d818d59b4ab3b36742"));
    assert_eq!(account.address(0, 0).unwrap().as_str(), "2Mww8dCYPUpKHofjgcXcBCEGmniw9CoaiD2");
}

#[test]
fn base58_addresses_of_both_kinds_of_network() {
    let (pkh, sh) = (script::p2pkh(&[7; 20]), p2sh(&[1]));
    for script in [&pkh, &sh] {
        for (network, theirs) in [
            (Network::Main, bitcoin::Network::Bitcoin),
            (Network::Test, bitcoin::Network::Testnet),
            (Network::Signet, bitcoin::Network::Signet),
            (Network::Regtest, bitcoin::Network::Regtest),
        ] {
            let theirs = bitcoin::Address::from_script(bitcoin::Script::from_bytes(script), theirs).unwrap();
            assert_eq!(address(script, network).as_str(), theirs.to_string());
        }
    }
    assert!(address(&p2wsh(&[1]), Network::Regtest).as_str().starts_with("bcrt1q"));
}
