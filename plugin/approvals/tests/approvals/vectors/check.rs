//! One vector, read from the file, given to the crate.

use super::fields::Fields;
use crate::json::Json;
use countersign_approvals::digest::{Approved, Purpose, device_message, intent_hash, registration_challenge};
use countersign_approvals::es256::{self, BadSignature, PublicKey};
use countersign_approvals::sealed::{self, BadCodes, OpeningKey, Sealed, Unsealed};
use countersign_approvals::statement::{
    AccountRequest, AccountView, BadSigned, Enrolment, EnrolmentRequest, Identity, Receipt, Signed,
    Statement, View,
};
use countersign_approvals::webauthn::{self, PasskeyProblem, Registered};
use data_encoding::HEXLOWER;
use serde_json::Value;

/// The object of one vector or of its fields.
#[derive(Clone, Copy)]
struct Object<'a>(&'a Value);

impl<'a> Object<'a> {
    fn bytes(self, name: &str) -> Vec<u8> {
        HEXLOWER.decode(self.text(name).as_bytes()).unwrap()
    }

    fn array<const N: usize>(self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    fn text(self, name: &str) -> &'a str {
        self.0[name].as_str().unwrap_or_else(|| panic!("{name}"))
    }

    fn number(self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }
}

/// What the crate says of it: nothing, or the word for why it refuses.
pub(crate) fn check(vector: &Value, keys: &Value) -> Result<(), &'static str> {
    let (whole, fields) = (Object(vector), Object(&vector["fields"]));
    match whole.text("kind") {
        "statement" => statement(whole, keys),
        "digest" => hashed(whole, approval(fields)),
        "intent-hash" => hashed(whole, intent(fields)),
        "registration-challenge" => hashed(whole, challenge(fields)),
        "message" => message(whole, fields),
        "evidence" if vector.get("signature").is_some() => device(whole, fields, keys),
        "evidence" => seal(fields, keys),
        "registration" => registration(fields),
        "assertion" => assertion(whole, fields),
        other => panic!("{other}"),
    }
}

fn public_key(keys: &Value, name: &str) -> PublicKey {
    PublicKey::parse(&Object(keys).bytes(&format!("{name}_public"))).unwrap()
}

fn statement(whole: Object<'_>, keys: &Value) -> Result<(), &'static str> {
    match whole.text("statement") {
        Identity::KIND => statement_of::<Identity>(whole, keys),
        View::KIND => statement_of::<View>(whole, keys),
        EnrolmentRequest::KIND => statement_of::<EnrolmentRequest>(whole, keys),
        Enrolment::KIND => statement_of::<Enrolment>(whole, keys),
        AccountRequest::KIND => statement_of::<AccountRequest>(whole, keys),
        AccountView::KIND => statement_of::<AccountView>(whole, keys),
        Receipt::KIND => statement_of::<Receipt>(whole, keys),
        other => panic!("{other}"),
    }
}

fn statement_of<S: Statement + Fields>(whole: Object<'_>, keys: &Value) -> Result<(), &'static str> {
    let signed = Signed { statement: whole.bytes("bytes"), signature: whole.array("signature") };
    let key = public_key(keys, whole.text("signed_by"));
    let read: S = signed.verify(&key).map_err(BadSigned::word)?;
    let fields: Value = serde_json::from_str(&Json::Object(read.fields()).to_text()).unwrap();
    assert_eq!(fields, whole.0["fields"]);
    assert_eq!(read.to_bytes(), signed.statement);
    Ok(())
}

fn hashed(whole: Object<'_>, hash: [u8; 32]) -> Result<(), &'static str> {
    if whole.array("bytes") == hash { Ok(()) } else { Err("another-hash") }
}

fn approval(fields: Object<'_>) -> [u8; 32] {
    let approved = Approved {
        purpose: Purpose::of_word(fields.text("purpose")).unwrap(),
        hsm: &fields.array("hsm"),
        tenant: fields.text("tenant"),
        account: fields.text("account"),
        key_id: &fields.bytes("key_id"),
        intent_hash: &fields.bytes("intent_hash"),
        expires_unix_secs: fields.number("expires"),
        nonce: &fields.array("nonce"),
    };
    approved.digest()
}

fn intent(fields: Object<'_>) -> [u8; 32] {
    let digests = fields.0["digests"].as_array().unwrap().iter();
    let digests: Vec<[u8; 32]> = digests
        .map(|digest| HEXLOWER.decode(digest.as_str().unwrap().as_bytes()).unwrap().try_into().unwrap())
        .collect();
    intent_hash(fields.text("mechanism"), &digests, fields.text("summary"))
}

fn challenge(fields: Object<'_>) -> [u8; 32] {
    let (hsm, invitation) = (fields.array("hsm"), fields.array("invitation"));
    let device_key = fields.array("device_key");
    registration_challenge(&hsm, fields.text("tenant"), fields.text("account"), &invitation, &device_key)
}

fn message(whole: Object<'_>, fields: Object<'_>) -> Result<(), &'static str> {
    let codes =
        sealed::decode_codes(&whole.bytes("bytes"), &fields.array("digest")).map_err(BadCodes::word)?;
    let read: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    assert_eq!(serde_json::to_value(&read).unwrap(), fields.0["codes"]);
    Ok(())
}

fn device(whole: Object<'_>, fields: Object<'_>, keys: &Value) -> Result<(), &'static str> {
    let message = device_message(&fields.array("digest"), &fields.bytes("sealed"));
    assert_eq!(whole.bytes("bytes"), message);
    let key = public_key(keys, whole.text("signed_by"));
    es256::verify(&key, &message, &whole.array("signature")).map_err(BadSignature::word)
}

fn seal(fields: Object<'_>, keys: &Value) -> Result<(), &'static str> {
    let key = OpeningKey::from_scalar(&Object(keys).array(&format!("{}_scalar", fields.text("to")))).unwrap();
    let sealed =
        Sealed { encapsulated: fields.array("encapsulated"), ciphertext: fields.bytes("ciphertext") };
    assert_eq!(sealed.hash(), fields.array("sealed_hash"));
    let (info, associated) = (fields.text("info").as_bytes(), fields.bytes("associated"));
    let opened = key.open(info, &associated, &sealed).map_err(Unsealed::word)?;
    assert_eq!(*opened, fields.bytes("plaintext"));
    let again = sealed::seal(&key.public_key(), info, &associated, &opened, &fields.array("random"));
    assert_eq!(again, sealed);
    Ok(())
}

fn registration(fields: Object<'_>) -> Result<(), &'static str> {
    let (client, data) = (fields.bytes("client_data_json"), fields.bytes("authenticator_data"));
    let passkey =
        webauthn::register(&client, &data, &fields.array("challenge")).map_err(PasskeyProblem::word)?;
    assert_eq!(passkey.credential_id, fields.bytes("credential_id"));
    assert_eq!(passkey.public_key.as_bytes(), &fields.array("public_key"));
    assert_eq!(
        (passkey.rp_id.as_str(), passkey.origin.as_str()),
        (fields.text("rp_id"), fields.text("origin"))
    );
    assert_eq!(u64::from(passkey.sign_count), fields.number("sign_count"));
    let backup = [passkey.backup_eligible, passkey.backed_up].map(Value::Bool);
    assert_eq!([&backup[0], &backup[1]], [&fields.0["backup_eligible"], &fields.0["backed_up"]]);
    Ok(())
}

fn assertion(whole: Object<'_>, fields: Object<'_>) -> Result<(), &'static str> {
    let passkey = Registered {
        public_key: &PublicKey::parse(&fields.bytes("public_key")).unwrap(),
        rp_id: fields.text("rp_id"),
        origin: fields.text("origin"),
        sign_count: fields.number("sign_count").try_into().unwrap(),
        backup_eligible: fields.0["backup_eligible"].as_bool().unwrap(),
    };
    let (client, data) = (fields.bytes("client_data_json"), fields.bytes("authenticator_data"));
    let signature = whole.bytes("signature");
    let asserted = webauthn::assert(&passkey, &client, &data, &signature, &fields.array("challenge"));
    let asserted = asserted.map_err(PasskeyProblem::word)?;
    assert_eq!(u64::from(asserted.sign_count), fields.number("sign_count_after"));
    Ok(())
}
