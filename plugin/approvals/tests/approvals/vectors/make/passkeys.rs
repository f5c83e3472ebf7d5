//! Passkeys, registered and asserted, and refused.

use super::{Vector, bytes};
use crate::json::{Json, hex, text};
use crate::samples::{
    self, Assertion, CREDENTIAL_ID, ORIGIN, RP_ID, USER_FLAGS, approval_digest, assertion_of,
    authenticator_data, client_data, credential, public_key,
};
use countersign_approvals::digest::Purpose;
use countersign_approvals::es256;
use p256::ecdsa::Signature;
use sha2::{Digest, Sha256};

fn registration(name: &str, client: &str, authenticator: &[u8]) -> Vector {
    let fields = vec![
        ("challenge", hex(samples::challenge())),
        ("client_data_json", hex(client)),
        ("authenticator_data", hex(authenticator)),
        ("credential_id", hex(CREDENTIAL_ID)),
        ("public_key", hex(public_key("passkey").as_bytes())),
        ("rp_id", text(RP_ID)),
        ("origin", text(ORIGIN)),
        ("sign_count", Json::Number(0)),
        ("backup_eligible", Json::Truth(true)),
        ("backed_up", Json::Truth(true)),
    ];
    bytes(Vector::new(name, "registration", fields), authenticator)
}

/// What many authenticators add for a discoverable passkey: `{"credProtect": 2}` (CTAP 2.1 section 12.1).
const CRED_PROTECT: &[u8] = b"\xa1\x6bcredProtect\x02";

fn registrations() -> Vec<Vector> {
    let challenge = samples::challenge();
    let client = |kind: &str, origin: &str| client_data(kind, &challenge, origin, false);
    let good = client("webauthn.create", ORIGIN);
    let with = |rp_id: &str, flags: u8| {
        [authenticator_data(rp_id, flags | 0x40, 0), credential(&CREDENTIAL_ID, &public_key("passkey"))]
            .concat()
    };
    let data = with(RP_ID, USER_FLAGS);
    let extended = |more: &[u8]| [with(RP_ID, USER_FLAGS | 0x80), more.to_vec()].concat();
    let longer = [data.as_slice(), &[0]].concat();
    let rs256 = {
        let mut data = data.clone();
        let at = data.windows(2).position(|pair| pair == [0x03, 0x26]).unwrap();
        data[at + 1] = 0x27;
        data
    };
    let refuse = |name: &str, client: &str, data: &[u8], reason| {
        registration(&format!("registration {name}"), client, data).refused(reason)
    };
    vec![
        registration("registration", &good, &data),
        registration("registration whose authenticator says more", &good, &extended(CRED_PROTECT)),
        refuse("as a sign-in", &client("webauthn.get", ORIGIN), &data, "passkey-wrong-type"),
        refuse(
            "over another challenge",
            &client_data("webauthn.create", &[7; 32], ORIGIN, false),
            &data,
            "passkey-wrong-challenge",
        ),
        refuse(
            "without TLS",
            &client("webauthn.create", "http://approve.example.org"),
            &data,
            "passkey-wrong-origin",
        ),
        refuse("for another domain", &good, &with("example.com", USER_FLAGS), "passkey-wrong-rp"),
        refuse("for a domain of one label", &good, &with("org", USER_FLAGS), "passkey-wrong-rp"),
        refuse("without user verification", &good, &with(RP_ID, 0x01), "passkey-user-not-verified"),
        refuse("with a backup that cannot be", &good, &with(RP_ID, 0x15), "passkey-backup-flags"),
        refuse("with extension data that is no map", &good, &extended(&[0x80]), "passkey-malformed"),
        refuse("with extension data that goes on", &good, &extended(&[0xa0, 0xa0]), "passkey-malformed"),
        refuse(
            "with extension data that ends early",
            &good,
            &extended(&CRED_PROTECT[..12]),
            "passkey-malformed",
        ),
        refuse("without the extension data it has", &good, &extended(&[]), "passkey-malformed"),
        refuse("with a byte after it", &good, &longer, "passkey-malformed"),
        refuse("without a credential", &good, &authenticator_data(RP_ID, USER_FLAGS, 0), "passkey-malformed"),
        refuse("of another algorithm", &good, &rs256, "passkey-unsupported-key"),
    ]
}

/// An assertion, checked against a passkey that last said this.
fn assertion(name: &str, assertion: &Assertion, last_count: u64, backup_eligible: bool) -> Vector {
    let count = u32::from_be_bytes(*assertion.authenticator_data[33..].first_chunk().unwrap());
    let fields = vec![
        ("challenge", hex(approval_digest(Purpose::Sign))),
        ("client_data_json", hex(&assertion.client_data_json)),
        ("authenticator_data", hex(&assertion.authenticator_data)),
        ("public_key", hex(public_key("passkey").as_bytes())),
        ("rp_id", text(RP_ID)),
        ("origin", text(ORIGIN)),
        ("sign_count", Json::Number(last_count)),
        ("backup_eligible", Json::Truth(backup_eligible)),
        ("sign_count_after", Json::Number(count.into())),
    ];
    let message =
        [assertion.authenticator_data.as_slice(), &Sha256::digest(&assertion.client_data_json)].concat();
    bytes(Vector::new(name, "assertion", fields), &message).with("signature", hex(&assertion.signature))
}

/// Refused for what the client data says. All are signed properly.
fn refused_client_data() -> Vec<Vector> {
    let digest = approval_digest(Purpose::Sign);
    let good = client_data("webauthn.get", &digest, ORIGIN, false);
    let data = authenticator_data(RP_ID, USER_FLAGS, 0);
    let refuse = |name: &str, client: &str, reason| {
        assertion(&format!("assertion {name}"), &assertion_of(client, data.clone()), 0, true).refused(reason)
    };
    let add = |more: &str| good.replace('}', &format!(",{more}}}"));
    let same = format!(r#""origin":"{ORIGIN}""#);
    let padded = good.replace(r#"","origin"#, r#"=","origin"#);
    vec![
        refuse("with an origin twice", &add(&same), "passkey-duplicate-key"),
        refuse("with a type twice, once in escapes", &add(r#""t\u0079pe":"x""#), "passkey-duplicate-key"),
        refuse("with a key twice further in", &add(r#""x":{"a":1,"a":1}"#), "passkey-duplicate-key"),
        refuse(
            "as a registration",
            &client_data("webauthn.create", &digest, ORIGIN, false),
            "passkey-wrong-type",
        ),
        refuse(
            "over another digest",
            &client_data("webauthn.get", &approval_digest(Purpose::Decline), ORIGIN, false),
            "passkey-wrong-challenge",
        ),
        refuse("with a padded challenge", &padded, "passkey-wrong-challenge"),
        refuse(
            "on another origin",
            &client_data("webauthn.get", &digest, "https://example.org", false),
            "passkey-wrong-origin",
        ),
        refuse(
            "from another origin's page",
            &client_data("webauthn.get", &digest, ORIGIN, true),
            "passkey-cross-origin",
        ),
        refuse("with a top origin", &add(r#""topOrigin":"https://evil.example""#), "passkey-cross-origin"),
        refuse("with client data that goes on", &format!("{good}x"), "passkey-malformed"),
        refuse("with client data of 2,049 bytes", &format!("{good:>2049}"), "passkey-malformed"),
    ]
}

/// Refused for what the authenticator says. All are signed properly.
fn refused_authenticator_data() -> Vec<Vector> {
    let good = client_data("webauthn.get", &approval_digest(Purpose::Sign), ORIGIN, false);
    let refuse = |name: &str, data: Vec<u8>, last: u64, reason| {
        assertion(&format!("assertion {name}"), &assertion_of(&good, data), last, true).refused(reason)
    };
    let with = |flags: u8| authenticator_data(RP_ID, flags, 0);
    let credential = credential(&CREDENTIAL_ID, &public_key("passkey"));
    vec![
        refuse(
            "of another domain",
            authenticator_data("approve.example.org", USER_FLAGS, 0),
            0,
            "passkey-wrong-rp",
        ),
        refuse("without user verification", with(USER_FLAGS & !0x04), 0, "passkey-user-not-verified"),
        refuse("without a user", with(USER_FLAGS & !0x01), 0, "passkey-user-not-present"),
        refuse("no longer eligible for backup", with(0x05), 0, "passkey-backup-flags"),
        refuse("with a reserved flag", with(USER_FLAGS | 0x20), 0, "passkey-malformed"),
        assertion(
            "assertion whose authenticator says more",
            &assertion_of(&good, [with(USER_FLAGS | 0x80), CRED_PROTECT.to_vec()].concat()),
            0,
            true,
        ),
        refuse(
            "with extension data that is no map",
            [with(USER_FLAGS | 0x80), vec![0x80]].concat(),
            0,
            "passkey-malformed",
        ),
        refuse("with a credential", [with(USER_FLAGS | 0x40), credential].concat(), 0, "passkey-malformed"),
        refuse("whose counter stands", authenticator_data(RP_ID, USER_FLAGS, 7), 7, "passkey-counter"),
        refuse("whose counter fell to zero", with(USER_FLAGS), 7, "passkey-counter"),
    ]
}

fn refused_signatures() -> Vec<Vector> {
    let good = samples::assertion();
    let low = Signature::from_slice(&es256::der_to_raw(&good.signature).unwrap()).unwrap();
    let high = Signature::from_scalars(low.r(), -*low.s()).unwrap().to_bytes().into();
    let with = |name: &str, signature: Vec<u8>, reason| {
        let changed = Assertion { signature, ..good.clone() };
        assertion(&format!("assertion {name}"), &changed, 0, true).refused(reason)
    };
    let mut more = good.clone();
    more.client_data_json.pop();
    more.client_data_json.extend_from_slice(br#","more":1}"#);
    vec![
        with("with s in the higher half", es256::raw_to_der(&high), "passkey-malformed-signature"),
        with("with raw signature", low.to_bytes().to_vec(), "passkey-malformed-signature"),
        with(
            "with a byte after the signature",
            [good.signature.as_slice(), &[0]].concat(),
            "passkey-malformed-signature",
        ),
        with(
            "signed by another key",
            es256::raw_to_der(&samples::signing_key("device").sign(b"x")),
            "passkey-wrong-signature",
        ),
        assertion("assertion with a member added", &more, 0, true).refused("passkey-wrong-signature"),
    ]
}

pub(crate) fn vectors() -> Vec<Vector> {
    let digest = approval_digest(Purpose::Sign);
    let counted = assertion_of(
        &client_data("webauthn.get", &digest, ORIGIN, false),
        authenticator_data(RP_ID, USER_FLAGS & !0x10, 8),
    );
    let bare = client_data("webauthn.get", &digest, ORIGIN, false).replace(r#","crossOrigin":false"#, "");
    let mut all = registrations();
    all.push(assertion("assertion", &samples::assertion(), 0, true));
    all.push(assertion("assertion with a counter", &counted, 7, true));
    let absent = assertion_of(&bare, authenticator_data(RP_ID, USER_FLAGS, 0));
    all.push(assertion("assertion without crossOrigin", &absent, 0, true));
    all.extend(refused_client_data());
    all.extend(refused_authenticator_data());
    all.extend(refused_signatures());
    all
}
