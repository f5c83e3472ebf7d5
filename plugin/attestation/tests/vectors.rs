//! `docs/attestation-vectors.json`: one good attestation, and forged or unwelcome ones with the word of each refusal. Written
//! anew with `COUNTERSIGN_WRITE_VECTORS=1`, and compared otherwise. What is forged is put together with `coset` alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ciborium::Value;
use coset::iana::{Algorithm, CoapContentFormat};
use coset::{CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable};
use countersign_approvals::es256::SigningKey;
use countersign_attestation::claims::{DebugStatus, Lineage, ReleaseKeys, SIMULATOR};
use countersign_attestation::{Allowed, Claims, Expected, PluginClaims, Refused, issue, verify};
use std::fmt::Write;
use std::path::Path;

const NONCE: [u8; 16] = *b"0123456789abcdef";

fn claims() -> Claims {
    Claims {
        nonce: NONCE.to_vec(),
        hsm_id: [0x11; 16],
        issued_unix_secs: 1_790_000_000,
        hardware_model: SIMULATOR.to_owned(),
        firmware_version: "0.1.0".to_owned(),
        debug: DebugStatus::DisabledPermanently,
        measurement: [0x22; 48],
        image_version: "0.1.1".to_owned(),
        clock: "system".to_owned(),
        keystore: "embedded".to_owned(),
        layers: ["namespaces", "landlock", "seccomp", "memory-lock", "tsc"].map(str::to_owned).to_vec(),
        missing_layers: Vec::new(),
        boundary: "vm".to_owned(),
        platform: Some([0x88; 48]),
        lineage: Lineage { first: [0x33; 48], upgrades: 1, head: [0x34; 32] },
        release_keys: Some(ReleaseKeys { sha256: [0x44; 32], threshold: 2 }),
        plugin: PluginClaims {
            version: "0.1.0".to_owned(),
            boot_count: 7,
            tenant: "acme".to_owned(),
            policy: Some((3, [0x55; 32])),
            officers: None,
            statement_key: *SigningKey::derive(&[3; 32], "statements").public_key().as_bytes(),
            sealing_key: *SigningKey::derive(&[4; 32], "seals").public_key().as_bytes(),
            log_key: Some([0x66; 32]),
            store_head: [0x77; 32],
            clock_sure: true,
        },
    }
}

fn root() -> SigningKey {
    SigningKey::derive(&[1; 32], "root")
}

fn key() -> SigningKey {
    SigningKey::derive(&[2; 32], "attestation")
}

fn stranger() -> SigningKey {
    SigningKey::derive(&[9; 32], "stranger")
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn decode(bytes: &[u8]) -> Value {
    ciborium::from_reader(bytes).unwrap()
}

/// The parts of the good attestation, to be put together otherwise.
struct Parts {
    payload: Vec<u8>,
    endorsement: Value,
}

fn parts() -> Parts {
    let token = CoseSign1::from_tagged_slice(&issue(&claims(), &key(), &root())).unwrap();
    let (_, endorsement) = token.protected.header.rest[0].clone();
    Parts { payload: token.payload.unwrap(), endorsement }
}

impl Parts {
    fn claims(&self) -> Vec<(Value, Value)> {
        decode(&self.payload).into_map().unwrap()
    }

    fn with_claims(mut self, claims: Vec<(Value, Value)>) -> Self {
        self.payload = encode(&Value::Map(claims));
        self
    }

    /// The endorsement with another payload, signed by whom.
    fn endorsed(self, change: impl FnOnce(&mut Vec<(Value, Value)>), by: &SigningKey) -> Self {
        self.endorsed_with(change, |message| by.sign(message).to_vec())
    }

    fn endorsed_with(
        mut self,
        change: impl FnOnce(&mut Vec<(Value, Value)>),
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Self {
        let token = CoseSign1::from_tagged_slice(&encode(&self.endorsement)).unwrap();
        let mut said = decode(&token.payload.unwrap()).into_map().unwrap();
        change(&mut said);
        let header = HeaderBuilder::new().algorithm(Algorithm::ES256).build();
        let built = CoseSign1Builder::new().protected(header).payload(encode(&Value::Map(said)));
        let built = built.create_signature(b"", sign).build();
        self.endorsement = decode(&built.to_tagged_vec().unwrap());
        self
    }

    fn header(&self) -> HeaderBuilder {
        let header =
            HeaderBuilder::new().algorithm(Algorithm::ES256).content_format(CoapContentFormat::EatCwt);
        header.value(13, self.endorsement.clone())
    }

    fn built(&self, header: HeaderBuilder) -> CoseSign1Builder {
        CoseSign1Builder::new().protected(header.build()).payload(self.payload.clone())
    }

    fn signed(&self) -> Vec<u8> {
        self.signed_by(&key())
    }

    fn signed_by(&self, key: &SigningKey) -> Vec<u8> {
        let built = self.built(self.header());
        built.create_signature(b"", |message| key.sign(message).to_vec()).build().to_tagged_vec().unwrap()
    }
}

/// The `COSE_Key` in an endorsement.
fn cose_key(said: &mut [(Value, Value)]) -> &mut Vec<(Value, Value)> {
    let confirmation = said.iter_mut().find(|(key, _)| *key == Value::from(8)).unwrap();
    confirmation.1.as_map_mut().unwrap()[0].1.as_map_mut().unwrap()
}

/// What the root signed, and should not have.
fn badly_endorsed() -> Vec<Case> {
    let high_s = parts().endorsed_with(|_| (), |message| other_s(&root().sign(message)));
    let off_curve = parts().endorsed(|said| cose_key(said)[2].1 = Value::Bytes(vec![0; 32]), &root());
    let no_number = parts().endorsed(|said| cose_key(said)[0].1 = Value::Bool(true), &root());
    let more = parts().endorsed(|said| said.push((Value::from(-70_010), Value::Null)), &root());
    let swapped = parts().endorsed(|said| said.swap(0, 1), &root());
    let twice = Parts { endorsement: parts().endorsement, ..parts() }.endorsed(|_| (), &stranger());
    vec![
        case("the other s of the root's signature", high_s.signed(), Refused::BadChain),
        case("an attestation key that is no point", off_curve.signed(), Refused::Malformed),
        case("true where 1 should be", no_number.signed(), Refused::Malformed),
        case("the root says more than it may", more.signed(), Refused::Malformed),
        case("the root's claims in another order", swapped.signed(), Refused::Malformed),
        case("two wrong signatures: the root's is told", twice.signed_by(&stranger()), Refused::BadChain),
    ]
}

/// s and n − s sign the same: this is the other one.
fn other_s(signature: &[u8; 64]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (mut other, mut borrow) = (signature.to_vec(), 0_i16);
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        other[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    other
}

struct Case {
    name: &'static str,
    attestation: Vec<u8>,
    expected: Expected,
    refused: Option<Refused>,
}

fn expected() -> Expected {
    let (nonce, measurements) = (Some(NONCE.to_vec()), vec![[0x22; 48], [0x23; 48]]);
    let platforms = vec![[0x88; 48], [0x89; 48]];
    Expected { nonce, measurements, platforms, hsm_id: Some([0x11; 16]), allowed: Vec::new() }
}

fn case(name: &'static str, attestation: Vec<u8>, refused: Refused) -> Case {
    Case { name, attestation, expected: expected(), refused: Some(refused) }
}

fn changed(change: impl FnOnce(&mut Claims)) -> Vec<u8> {
    let mut claims = claims();
    change(&mut claims);
    issue(&claims, &key(), &root())
}

#[allow(clippy::too_many_lines, reason = "a list, and what is on it")]
fn forged() -> Vec<Case> {
    let good = issue(&claims(), &key(), &root());
    let mut cut = good.clone();
    cut.pop();
    let swapped = {
        let parts = parts();
        let mut claims = parts.claims();
        claims.swap(0, 1);
        parts.with_claims(claims).signed()
    };
    let with = |extra: (Value, Value)| {
        let parts = parts();
        let mut claims = parts.claims();
        claims.push(extra);
        parts.with_claims(claims).signed()
    };
    let reserved = {
        let parts = parts();
        let mut claims = parts.claims();
        let submodules = claims.iter_mut().find(|(key, _)| *key == Value::from(266)).unwrap();
        let plugin = submodules.1.as_map_mut().unwrap()[0].1.as_map_mut().unwrap();
        plugin.insert(plugin.len() - 1, (Value::from(-70_108), Value::from(4711)));
        parts.with_claims(claims).signed()
    };
    let without = {
        let parts = parts();
        let mut claims = parts.claims();
        claims.retain(|(key, _)| *key != Value::from(-70_005));
        parts.with_claims(claims).signed()
    };
    let unprotected = {
        let parts = parts();
        let built = parts.built(parts.header()).unprotected(HeaderBuilder::new().key_id(vec![1]).build());
        built.create_signature(b"", |message| key().sign(message).to_vec()).build().to_tagged_vec().unwrap()
    };
    let other_algorithm = {
        let parts = parts();
        let built = parts.built(parts.header().algorithm(Algorithm::ES384));
        built.create_signature(b"", |message| key().sign(message).to_vec()).build().to_tagged_vec().unwrap()
    };
    let bare = {
        let parts = parts();
        let header =
            HeaderBuilder::new().algorithm(Algorithm::ES256).content_format(CoapContentFormat::EatCwt);
        let built = parts.built(header);
        built.create_signature(b"", |message| key().sign(message).to_vec()).build().to_tagged_vec().unwrap()
    };
    let high_s = {
        let parts = parts();
        let built = parts.built(parts.header());
        built.create_signature(b"", |message| other_s(&key().sign(message))).build().to_tagged_vec().unwrap()
    };
    let long_integer = {
        let mut parts = parts();
        // `iat`, the first claim: four bytes of value become eight.
        assert_eq!(parts.payload[1..3], [6, 0x1a]);
        parts.payload.splice(2..3, [0x1b, 0, 0, 0, 0]);
        parts.signed()
    };
    let other_hsm = parts().endorsed(
        |said| {
            let ueid = said.iter_mut().find(|(key, _)| *key == Value::from(256)).unwrap();
            ueid.1 = Value::Bytes([&[1], [0x12; 16].as_slice()].concat());
        },
        &root(),
    );
    let other_profile = {
        let parts = parts();
        let mut claims = parts.claims();
        let profile = claims.iter_mut().find(|(key, _)| *key == Value::from(265)).unwrap();
        profile.1 = "urn:uuid:00000000-0000-4000-8000-000000000000".into();
        parts.with_claims(claims).signed()
    };
    vec![
        case("another root signed for everything", issue(&claims(), &key(), &stranger()), Refused::WrongRoot),
        case(
            "a stranger signed in the root's name",
            parts().endorsed(|_| (), &stranger()).signed(),
            Refused::BadChain,
        ),
        case("another key signed the claims", parts().signed_by(&stranger()), Refused::WrongSignature),
        case("the signature's other s", high_s, Refused::WrongSignature),
        case("the root's word for another HSM", other_hsm.signed(), Refused::AnotherHsm),
        case("another profile", other_profile, Refused::AnotherProfile),
        case("cut at the end", cut, Refused::Malformed),
        case("a byte behind it", [good.as_slice(), &[0]].concat(), Refused::Malformed),
        case("without its tag", good[1..].to_vec(), Refused::Malformed),
        case("claims in another order", swapped, Refused::Malformed),
        case(
            "a claim that the profile does not have",
            with((Value::from(-70_999), Value::from(1))),
            Refused::Malformed,
        ),
        case("the claim that is reserved", reserved, Refused::Malformed),
        case("a claim twice", with((Value::from(-70_109), Value::from(1))), Refused::Malformed),
        case("a claim is missing", without, Refused::Malformed),
        case("something outside the signature", unprotected, Refused::Malformed),
        case("another algorithm named", other_algorithm, Refused::Malformed),
        case("no word of the root", bare, Refused::Malformed),
        case("an integer that is longer than it need be", long_integer, Refused::Malformed),
        case("a text that is too long", changed(|claims| claims.clock = "x".repeat(129)), Refused::Malformed),
        case(
            "a text that moves the cursor",
            changed(|claims| claims.keystore.push('\u{1b}')),
            Refused::Malformed,
        ),
        case(
            "too many layers",
            changed(|claims| claims.layers = vec![String::new(); 17]),
            Refused::Malformed,
        ),
        case("a nonce that is too long", changed(|claims| claims.nonce.resize(65, 0)), Refused::Malformed),
        case("a nonce that is too short", changed(|claims| claims.nonce.truncate(7)), Refused::Malformed),
    ]
}

fn unwelcome() -> Vec<Case> {
    vec![
        case("another nonce", changed(|claims| claims.nonce[0] ^= 1), Refused::WrongNonce),
        case("another HSM", changed(|claims| claims.hsm_id[0] ^= 1), Refused::UnexpectedHsm),
        case("another image", changed(|claims| claims.measurement[0] ^= 1), Refused::UnexpectedMeasurement),
        case(
            "a development image",
            changed(|claims| claims.debug = DebugStatus::Enabled),
            Refused::DevelopmentImage,
        ),
        case("no release keys", changed(|claims| claims.release_keys = None), Refused::DevelopmentImage),
        case(
            "a clock set by hand",
            changed(|claims| "manual".clone_into(&mut claims.clock)),
            Refused::ManualClock,
        ),
        case(
            "a layer of the sandbox missing",
            changed(|claims| claims.missing_layers.extend(claims.layers.pop())),
            Refused::WeakSandbox,
        ),
        case("a clock in doubt", changed(|claims| claims.plugin.clock_sure = false), Refused::ClockInDoubt),
        case("no policy", changed(|claims| claims.plugin.policy = None), Refused::NoPolicy),
        case(
            "a virtual machine with another kernel",
            changed(|claims| claims.platform = Some([0x8a; 48])),
            Refused::UnexpectedPlatform,
        ),
        case(
            "a process where a virtual machine was expected",
            changed(|claims| {
                "process".clone_into(&mut claims.boundary);
                claims.platform = None;
            }),
            Refused::UnexpectedPlatform,
        ),
        case(
            "a virtual machine without a platform where one was expected",
            changed(|claims| claims.platform = None),
            Refused::UnexpectedPlatform,
        ),
        Case {
            name: "a virtual machine, and no platform to compare with",
            attestation: changed(|_| ()),
            expected: Expected { platforms: Vec::new(), ..expected() },
            refused: Some(Refused::PlatformUnchecked),
        },
        Case {
            name: "a virtual machine that does not say its platform, and none to compare with",
            attestation: changed(|claims| claims.platform = None),
            expected: Expected { platforms: Vec::new(), ..expected() },
            refused: Some(Refused::PlatformUnchecked),
        },
        Case {
            name: "a platform without a word of a virtual machine, and none to compare with",
            attestation: changed(|claims| "process".clone_into(&mut claims.boundary)),
            expected: Expected { platforms: Vec::new(), ..expected() },
            refused: Some(Refused::PlatformUnchecked),
        },
    ]
}

fn welcome() -> Vec<Case> {
    let weak = changed(|claims| {
        (claims.debug, claims.release_keys) = (DebugStatus::Enabled, None);
        "manual".clone_into(&mut claims.clock);
    });
    let allowed = Expected { allowed: vec![Allowed::DevelopmentImage, Allowed::ManualClock], ..expected() };
    let weakest = changed(|claims| {
        (claims.debug, claims.clock) = (DebugStatus::Enabled, "sundial".to_owned());
        claims.missing_layers.append(&mut claims.layers);
        (claims.plugin.clock_sure, claims.plugin.policy) = (false, None);
    });
    let everything = Expected { allowed: Allowed::ALL.to_vec(), ..expected() };
    let future = changed(|claims| {
        (claims.keystore, claims.boundary) = ("fram".to_owned(), "submarine".to_owned());
        claims.platform = None;
        claims.nonce = NONCE.to_vec();
    });
    let unchecked = Expected { allowed: vec![Allowed::PlatformUnchecked], ..Expected::default() };
    let process = changed(|claims| {
        "process".clone_into(&mut claims.boundary);
        claims.platform = None;
    });
    let good = issue(&claims(), &key(), &root());
    vec![
        Case { name: "good", attestation: good.clone(), expected: expected(), refused: None },
        Case { name: "good, with nothing expected", attestation: good, expected: unchecked, refused: None },
        Case {
            name: "a process, with nothing expected and nothing allowed",
            attestation: process,
            expected: Expected::default(),
            refused: None,
        },
        Case { name: "weak, and allowed", attestation: weak, expected: allowed, refused: None },
        Case {
            name: "as weak as can be, and allowed",
            attestation: weakest,
            expected: everything,
            refused: None,
        },
        Case {
            name: "words that are not known yet",
            attestation: future,
            expected: Expected { platforms: Vec::new(), ..expected() },
            refused: None,
        },
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = welcome();
    cases.append(&mut forged());
    cases.append(&mut badly_endorsed());
    cases.append(&mut unwelcome());
    cases
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The claims by the names that verifiers print.
fn told(claims: &Claims) -> String {
    let Claims { lineage, plugin, .. } = claims;
    let (keys, (version, policy)) = (claims.release_keys.unwrap(), plugin.policy.unwrap());
    let lineage_told = format!(
        "{{\"first\": \"{}\", \"upgrades\": {}, \"head\": \"{}\"}}",
        hex(&lineage.first),
        lineage.upgrades,
        hex(&lineage.head)
    );
    let layers: Vec<_> = claims.layers.iter().map(|layer| format!("\"{layer}\"")).collect();
    let texts = [
        ("hsm_id", hex(&claims.hsm_id)),
        ("measurement", hex(&claims.measurement)),
        ("version", plugin.version.clone()),
        ("platform", hex(&claims.platform.unwrap())),
        ("image_version", claims.image_version.clone()),
        ("clock", claims.clock.clone()),
        ("keystore", claims.keystore.clone()),
        ("boundary", claims.boundary.clone()),
        ("hardware_model", claims.hardware_model.clone()),
        ("firmware_version", claims.firmware_version.clone()),
        ("tenant", plugin.tenant.clone()),
        ("store_head", hex(&plugin.store_head)),
        ("statement_key", hex(&plugin.statement_key)),
        ("sealing_key", hex(&plugin.sealing_key)),
        ("log_key", hex(&plugin.log_key.unwrap())),
    ];
    let others = [
        ("lineage", lineage_told),
        ("unix_time", claims.issued_unix_secs.to_string()),
        ("clock_sure", plugin.clock_sure.to_string()),
        ("sandbox_layers", format!("[{}]", layers.join(", "))),
        ("missing_sandbox_layers", "[]".to_owned()),
        ("development", "false".to_owned()),
        (
            "release_keys",
            format!("{{\"sha256\": \"{}\", \"threshold\": {}}}", hex(&keys.sha256), keys.threshold),
        ),
        ("policy", format!("{{\"version\": {version}, \"sha256\": \"{}\"}}", hex(&policy))),
        ("officers", "null".to_owned()),
        ("boot_count", plugin.boot_count.to_string()),
    ];
    let texts = texts.map(|(name, text)| (name, format!("\"{text}\"")));
    let lines: Vec<_> =
        texts.iter().chain(&others).map(|(name, value)| format!("        \"{name}\": {value}")).collect();
    format!("{{\n{}\n      }}", lines.join(",\n"))
}

fn json(cases: &[Case]) -> String {
    let words =
        |words: Vec<String>| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let mut text =
        format!("{{\n  \"root\": \"{}\",\n  \"vectors\": [\n", hex(&root().public_key().fingerprint()));
    for (at, case) in cases.iter().enumerate() {
        let quoted = |text: Option<String>| text.map_or("null".to_owned(), |text| format!("\"{text}\""));
        let expected = &case.expected;
        let measurements = words(expected.measurements.iter().map(|bytes| hex(bytes)).collect());
        let platforms = words(expected.platforms.iter().map(|bytes| hex(bytes)).collect());
        let allow = words(expected.allowed.iter().map(|weakness| weakness.word().to_owned()).collect());
        writeln!(text, "    {{\n      \"name\": \"{}\",", case.name).unwrap();
        writeln!(text, "      \"nonce\": {},", quoted(expected.nonce.as_deref().map(hex))).unwrap();
        writeln!(text, "      \"measurements\": [{measurements}],").unwrap();
        writeln!(text, "      \"platforms\": [{platforms}],").unwrap();
        writeln!(text, "      \"hsm_id\": {},", quoted(expected.hsm_id.map(|id| hex(&id)))).unwrap();
        writeln!(text, "      \"allow\": [{allow}],").unwrap();
        if at == 0 {
            writeln!(text, "      \"claims\": {},", told(&claims())).unwrap();
        }
        writeln!(
            text,
            "      \"refused\": {},",
            quoted(case.refused.map(|refused| refused.word().to_owned()))
        )
        .unwrap();
        let comma = if at + 1 < cases.len() { "," } else { "" };
        writeln!(text, "      \"attestation\": \"{}\"\n    }}{comma}", hex(&case.attestation)).unwrap();
    }
    text.push_str("  ]\n}\n");
    text
}

#[test]
fn each_forged_attestation_has_its_refusal() {
    let root = root().public_key().fingerprint();
    for case in cases() {
        let found = verify(&case.attestation, &root)
            .and_then(|found| case.expected.check(&found.claims).map(|()| found.claims));
        assert_eq!(found.err(), case.refused, "{}", case.name);
    }
}

#[test]
fn the_vectors_are_those_in_the_documentation() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/attestation-vectors.json");
    let made = json(&cases());
    if std::env::var_os("COUNTERSIGN_WRITE_VECTORS").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(
        kept == made,
        "docs/attestation-vectors.json differs; COUNTERSIGN_WRITE_VECTORS=1 writes it anew"
    );
}
