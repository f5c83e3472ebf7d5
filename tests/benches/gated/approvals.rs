//! What a sealed code and a passkey cost beside a plain code: all that the plugin does for them before it counts and compares.
//! Outside a plugin, so that nothing else is in the figure.

use crate::report::Table;
use crate::results::Section;
use crate::rounds::{Contender, LONE_TURNS, Round, Work, measure};
use countersign_approvals::digest::device_message;
use countersign_approvals::es256::{self, PublicKey, SigningKey};
use countersign_approvals::sealed::{self, CODE_INFO, OpeningKey, Sealed};
use countersign_approvals::webauthn::{self, Registered};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use std::hint::black_box;

/// Figures of this part begin so.
const PREFIX: &str = "approval/";

/// What is bounded.
pub(crate) const SEALED_CODE: &str = "approval/sealed-code";
/// What is bounded.
pub(crate) const PASSKEY: &str = "approval/passkey";

/// What is approved.
const DIGEST: [u8; 32] = [7; 32];

const ORIGIN: &str = "https://approve.example.com";
const RP_ID: &str = "example.com";

/// One kind of evidence, verified over and over.
pub(crate) struct Verifying {
    name: &'static str,
    evidence: Evidence,
    times: usize,
}

enum Evidence {
    SealedCode { device: PublicKey, plugin: Box<OpeningKey>, sealed: Sealed, signature: [u8; 64] },
    Passkey { key: PublicKey, client_data: Vec<u8>, authenticator_data: Vec<u8>, signature: Vec<u8> },
}

/// Both kinds, each so often in a round of all turns.
pub(crate) fn kinds(times: usize) -> [Verifying; 2] {
    let times = (times / LONE_TURNS).max(1);
    let device = SigningKey::from_scalar(&[3; 32]).expect("a scalar");
    let plugin = OpeningKey::from_scalar(&[4; 32]).expect("a scalar");
    let plaintext = sealed::encode_codes(&DIGEST, &["123456"]);
    let sealed = sealed::seal(&plugin.public_key(), CODE_INFO, &DIGEST, &plaintext, &[5; 32]);
    let sealed_code = Evidence::SealedCode {
        device: device.public_key(),
        signature: device.sign(&device_message(&DIGEST, &sealed.hash())),
        plugin: Box::new(plugin),
        sealed,
    };
    let challenge = BASE64URL_NOPAD.encode(&DIGEST);
    let client_data = format!(
        r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{ORIGIN}","crossOrigin":false}}"#
    )
    .into_bytes();
    let authenticator_data = [&Sha256::digest(RP_ID)[..], &[5], &9_u32.to_be_bytes()].concat();
    let message = [&authenticator_data[..], &Sha256::digest(&client_data)].concat();
    let passkey = Evidence::Passkey {
        key: device.public_key(),
        signature: es256::raw_to_der(&device.sign(&message)),
        client_data,
        authenticator_data,
    };
    [(SEALED_CODE, sealed_code), (PASSKEY, passkey)].map(|(name, evidence)| Verifying {
        name,
        evidence,
        times,
    })
}

impl Work for Verifying {
    fn sign(&self, _thread: usize, _number: usize) {
        let good = "the benchmark asks for what is accepted";
        match &self.evidence {
            Evidence::SealedCode { device, plugin, sealed, signature } => {
                es256::verify(device, &device_message(&DIGEST, &sealed.hash()), signature).expect(good);
                let opened = plugin.open(CODE_INFO, &DIGEST, sealed).expect(good);
                black_box(sealed::decode_codes(&opened, &DIGEST).expect(good));
            }
            Evidence::Passkey { key, client_data, authenticator_data, signature } => {
                let passkey = Registered {
                    public_key: key,
                    rp_id: RP_ID,
                    origin: ORIGIN,
                    sign_count: 8,
                    backup_eligible: false,
                };
                let asserted =
                    webauthn::assert(&passkey, client_data, authenticator_data, signature, &DIGEST);
                black_box(asserted.expect(good));
            }
        }
    }
}

impl Contender for Verifying {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn threads(&self) -> usize {
        1
    }

    fn round(&self) -> Round {
        measure(1, self.times, &[], self)
    }
}

/// How long one verification takes, in microseconds.
pub(crate) fn us(section: &Section, name: &str) -> Option<f64> {
    Some(section.find(name)?.percentile_us(50))
}

/// The table for people.
pub(crate) fn table(section: &Section) -> Option<(Table, String)> {
    let mut table = Table::new(&["", "µs"]);
    for name in [SEALED_CODE, PASSKEY] {
        let us = us(section, name)?;
        table.row(vec![format!("`{}`", name.trim_start_matches(PREFIX)), format!("{us:.1}")]);
    }
    let prose = "What is verified of a sealed code (the device's signature, the seal, what it is for) and of a passkey's assertion before \
                 anything is counted, medians on one thread: what each adds to a gated signature. A passkey then needs no MACs."
        .to_owned();
    Some((table, prose))
}
