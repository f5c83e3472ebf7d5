//! One of everything, from fixed keys.

use countersign_approvals::digest::{Approved, Purpose, intent_hash, registration_challenge};
use countersign_approvals::es256::{self, PublicKey, SigningKey};
use countersign_approvals::sealed::{self, OpeningKey, Sealed};
use countersign_approvals::statement::{
    AccountRequest, AccountState, AccountView, ApprovalKind, ClockMode, Enrolment, EnrolmentRequest, Factor,
    HistoryEntry, Identity, IntentState, KeyEntry, OfferedPasskey, OpenIntent, Receipt, View,
};
use countersign_approvals::webauthn::{self, Passkey};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

pub(crate) const HSM: [u8; 16] = [0x11; 16];
pub(crate) const MEASUREMENT: [u8; 48] = [0x22; 48];
pub(crate) const TENANT: &str = "acme";
pub(crate) const ACCOUNT: &str = "alice@example.org";
pub(crate) const INTENT: [u8; 16] = [0x33; 16];
pub(crate) const INVITATION: [u8; 16] = [0x44; 16];
pub(crate) const NONCE: [u8; 32] = [0x55; 32];
pub(crate) const ACT_NONCE: [u8; 32] = [0x56; 32];
pub(crate) const DEVICE_NONCE: [u8; 32] = [0x66; 32];
pub(crate) const NOW: u64 = 1_790_000_000;
pub(crate) const EXPIRES: u64 = NOW + 600;
pub(crate) const ETHEREUM_KEY_ID: [u8; 16] = [0x77; 16];
pub(crate) const BITCOIN_KEY_ID: [u8; 16] = [0x78; 16];
pub(crate) const CREDENTIAL_ID: [u8; 32] = [0x88; 32];
pub(crate) const ORIGIN: &str = "https://approve.example.org";
pub(crate) const RP_ID: &str = "example.org";

/// The otpauth URI with the secret of RFC 6238 appendix B.
pub(crate) const OTPAUTH: &str = "otpauth://totp/Countersign:alice%40example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
                           &issuer=Countersign&algorithm=SHA1&digits=6&period=30";

/// What a Rust implementation passes as randomness; others take the ephemeral key that follows from it.
pub(crate) const CODE_RANDOM: [u8; 32] = [0x99; 32];
pub(crate) const OTPAUTH_RANDOM: [u8; 32] = [0x9a; 32];

/// The scalar of a test key: the hash of its name.
pub(crate) fn scalar(name: &str) -> [u8; 32] {
    Sha256::digest(format!("countersign test key: {name}")).into()
}

pub(crate) fn signing_key(name: &str) -> SigningKey {
    SigningKey::from_scalar(&scalar(name)).unwrap()
}

pub(crate) fn opening_key(name: &str) -> OpeningKey {
    OpeningKey::from_scalar(&scalar(name)).unwrap()
}

pub(crate) fn public_key(name: &str) -> PublicKey {
    signing_key(name).public_key()
}

pub(crate) fn identity() -> Identity {
    Identity {
        hsm: HSM,
        measurement: MEASUREMENT,
        clock: ClockMode::System,
        signing_key: public_key("signing"),
        sealing_key: public_key("sealing"),
    }
}

/// An Ethereum transfer with a warning.
pub(crate) fn view() -> View {
    View {
        hsm: HSM,
        tenant: TENANT.to_owned(),
        account: ACCOUNT.to_owned(),
        intent: INTENT,
        purpose: Purpose::Sign,
        key: format!("{ACCOUNT}/ethereum"),
        key_id: ETHEREUM_KEY_ID.to_vec(),
        mechanism: "ethereum".to_owned(),
        digests: vec![[0xd1; 32]],
        summary: "warning: the payee is not on the account's list\n\
                  transfer: 1.5 ETH\n\
                  to: 0x9858EfFD232B4033E47d90003D41EC34EcaEda94\n\
                  fee: at most 0.00042 ETH"
            .to_owned(),
        floor: ApprovalKind::SealedCode,
        state: IntentState::Open,
        nonce: NONCE,
        expires_unix_secs: EXPIRES,
        now_unix_secs: NOW,
        device_nonce: DEVICE_NONCE,
    }
}

pub(crate) fn payee_view() -> View {
    View {
        purpose: Purpose::Payee,
        key: String::new(),
        key_id: Vec::new(),
        mechanism: "payee".to_owned(),
        digests: Vec::new(),
        summary: "payee: 0x9858EfFD232B4033E47d90003D41EC34EcaEda94".to_owned(),
        floor: ApprovalKind::Passkey,
        state: IntentState::Approved,
        ..view()
    }
}

fn hex65(hex: &str) -> [u8; 65] {
    HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
}

/// Keys of the mnemonic of BIP-84 ("abandon … about"): `m/44h/60h/0h/0/0` and `m/84h/0h/0h`, whose address of index 0 is
/// in that document.
pub(crate) fn keys() -> Vec<KeyEntry> {
    let ethereum = "0437b0bb7a8288d38ed49a524b5dc98cff3eb5ca824c9f9dc0dfdb3d9cd600f299\
                    a6179912b7451c09896c4098eca7ce6b2e58330672795e847c4d6af44e024230";
    let bitcoin = "04707a62fdacc26ea9b63b1c197906f56ee0180d0bcf1966e1a2da34f5f3a09a9b\
                   b84dce4d78c9f0ffa18d15f0298c435862b1e7d62afa9e4359525eef0c54888c";
    let xpub = "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V";
    let ethereum = KeyEntry {
        key: format!("{ACCOUNT}/ethereum"),
        key_id: ETHEREUM_KEY_ID,
        public_key: hex65(ethereum),
        mechanisms: vec!["ethereum".to_owned(), "typed-data".to_owned()],
        floor: ApprovalKind::SealedCode,
        network: String::new(),
        path: "m/44h/60h/0h/0/0".to_owned(),
        address: "0x9858EfFD232B4033E47d90003D41EC34EcaEda94".to_owned(),
        xpub: String::new(),
    };
    let bitcoin = KeyEntry {
        key: format!("{ACCOUNT}/btc"),
        key_id: BITCOIN_KEY_ID,
        public_key: hex65(bitcoin),
        mechanisms: vec!["bitcoin".to_owned()],
        floor: ApprovalKind::Passkey,
        network: "main".to_owned(),
        path: "m/84h/0h/0h".to_owned(),
        address: "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu".to_owned(),
        xpub: xpub.to_owned(),
    };
    vec![ethereum, bitcoin]
}

pub(crate) fn enrolment_request() -> EnrolmentRequest {
    let (client_data_json, authenticator_data) = registration();
    EnrolmentRequest {
        hsm: HSM,
        tenant: TENANT.to_owned(),
        account: ACCOUNT.to_owned(),
        invitation: INVITATION,
        device_nonce: DEVICE_NONCE,
        device_key: public_key("device"),
        device_sealing_key: public_key("device sealing"),
        passkeys: vec![OfferedPasskey { client_data_json, authenticator_data }],
    }
}

pub(crate) fn sealed_otpauth() -> Sealed {
    let to = public_key("device sealing");
    sealed::seal(&to, sealed::ENROLMENT_INFO, &DEVICE_NONCE, OTPAUTH.as_bytes(), &OTPAUTH_RANDOM)
}

pub(crate) fn enrolment() -> Enrolment {
    let passkey = Factor::Passkey {
        credential_id: CREDENTIAL_ID.to_vec(),
        key: public_key("passkey"),
        rp_id: RP_ID.to_owned(),
        origin: ORIGIN.to_owned(),
        backup_eligible: true,
    };
    Enrolment {
        hsm: HSM,
        measurement: MEASUREMENT,
        clock: ClockMode::System,
        tenant: TENANT.to_owned(),
        account: ACCOUNT.to_owned(),
        device_nonce: DEVICE_NONCE,
        now_unix_secs: NOW,
        policy: [0xee; 32],
        factors: vec![
            Factor::Totp { hash: "sha1".to_owned(), digits: 6, period_secs: 30 },
            Factor::Device { key: public_key("device") },
            passkey,
        ],
        keys: keys(),
        sealed: sealed_otpauth().hash(),
    }
}

pub(crate) fn account_request() -> AccountRequest {
    AccountRequest {
        hsm: HSM,
        tenant: TENANT.to_owned(),
        account: ACCOUNT.to_owned(),
        device_nonce: DEVICE_NONCE,
    }
}

pub(crate) fn account_view() -> AccountView {
    let entry = |counter: u64, headline: &str| HistoryEntry {
        counter,
        time_unix_secs: NOW - 1000 + counter,
        approval: ApprovalKind::SealedCode,
        key: format!("{ACCOUNT}/ethereum"),
        intent_hash: view().intent_hash(),
        headline: headline.to_owned(),
    };
    AccountView {
        hsm: HSM,
        tenant: TENANT.to_owned(),
        account: ACCOUNT.to_owned(),
        device_nonce: DEVICE_NONCE,
        now_unix_secs: NOW,
        state: AccountState::Confirmed,
        locked_for_secs: 0,
        act_nonce: ACT_NONCE,
        signatures: 300,
        intents: vec![OpenIntent { intent: INTENT, state: IntentState::Open, expires_unix_secs: EXPIRES }],
        history: vec![entry(299, "transfer: 2 ETH"), entry(300, "transfer: 1.5 ETH")],
        keys: keys(),
    }
}

pub(crate) fn receipt() -> Receipt {
    let view = view();
    Receipt {
        hsm: HSM,
        measurement: MEASUREMENT,
        tenant: view.tenant,
        account: view.account,
        key: view.key,
        key_id: ETHEREUM_KEY_ID,
        mechanism: view.mechanism,
        digests: view.digests,
        summary: view.summary,
        approval: ApprovalKind::SealedCode,
        counter: 301,
        time_unix_secs: NOW + 60,
    }
}

/// What an approval of this purpose is bound to, with the intent of [`view`] or [`payee_view`].
pub(crate) fn approval_digest(purpose: Purpose) -> [u8; 32] {
    let view = view();
    let hash = intent_hash(&view.mechanism, &view.digests, &view.summary);
    let act = Approved {
        purpose,
        hsm: &HSM,
        tenant: TENANT,
        account: ACCOUNT,
        key_id: &[],
        intent_hash: &[],
        expires_unix_secs: EXPIRES,
        nonce: &ACT_NONCE,
    };
    let approved = match purpose {
        Purpose::Sign | Purpose::Decline => {
            Approved { key_id: &ETHEREUM_KEY_ID, intent_hash: &hash, nonce: &NONCE, ..act }
        }
        Purpose::Payee => {
            return Approved { intent_hash: &payee_view().intent_hash(), nonce: &NONCE, ..act }.digest();
        }
        _ => act,
    };
    approved.digest()
}

pub(crate) fn sealed_codes(codes: &[&str]) -> Sealed {
    let digest = approval_digest(if codes.len() == 1 { Purpose::Sign } else { Purpose::Confirm });
    let plaintext = sealed::encode_codes(&digest, codes);
    sealed::seal(&public_key("sealing"), sealed::CODE_INFO, &digest, &plaintext, &CODE_RANDOM)
}

/// Client data as browsers write it (WebAuthn level 3, section 5.8.1.1).
pub(crate) fn client_data(kind: &str, challenge: &[u8; 32], origin: &str, cross_origin: bool) -> String {
    let challenge = BASE64URL_NOPAD.encode(challenge);
    format!(
        r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":{cross_origin}}}"#
    )
}

/// The head of authenticator data.
pub(crate) fn authenticator_data(rp_id: &str, flags: u8, sign_count: u32) -> Vec<u8> {
    [&Sha256::digest(rp_id)[..], &[flags], &sign_count.to_be_bytes()].concat()
}

/// UP, UV, BE, BS.
pub(crate) const USER_FLAGS: u8 = 0x01 | 0x04 | 0x08 | 0x10;

/// The credential that follows it at registration.
pub(crate) fn credential(id: &[u8], key: &PublicKey) -> Vec<u8> {
    let (x, y) = key.as_bytes()[1..].split_at(32);
    let length = u16::try_from(id.len()).unwrap().to_be_bytes();
    let to_x = [0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20];
    [&[0xaa; 16][..], &length, id, &to_x, x, &[0x22, 0x58, 0x20], y].concat()
}

pub(crate) fn challenge() -> [u8; 32] {
    registration_challenge(&HSM, TENANT, ACCOUNT, &INVITATION, public_key("device").as_bytes())
}

/// Client data and authenticator data of a registration that is accepted.
pub(crate) fn registration() -> (Vec<u8>, Vec<u8>) {
    let client = client_data("webauthn.create", &challenge(), ORIGIN, false);
    let head = authenticator_data(RP_ID, USER_FLAGS | 0x40, 0);
    (client.into_bytes(), [head, credential(&CREDENTIAL_ID, &public_key("passkey"))].concat())
}

pub(crate) fn passkey() -> Passkey {
    let (client, authenticator) = registration();
    webauthn::register(&client, &authenticator, &challenge()).unwrap()
}

/// What a passkey answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assertion {
    pub(crate) client_data_json: Vec<u8>,
    pub(crate) authenticator_data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// Signs as the passkey does.
pub(crate) fn assertion_of(client: &str, authenticator_data: Vec<u8>) -> Assertion {
    let message = [authenticator_data.as_slice(), &Sha256::digest(client)].concat();
    let signature = es256::raw_to_der(&signing_key("passkey").sign(&message));
    Assertion { client_data_json: client.as_bytes().to_vec(), authenticator_data, signature }
}

/// An assertion over the intent of [`view`] that is accepted.
pub(crate) fn assertion() -> Assertion {
    let client = client_data("webauthn.get", &approval_digest(Purpose::Sign), ORIGIN, false);
    assertion_of(&client, authenticator_data(RP_ID, USER_FLAGS, 0))
}
