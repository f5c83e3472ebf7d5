//! A stand-in for the plugin in tests of devices, with real keys: honest, or lying in one way.

use countersign_approvals::digest::{Approved, Purpose, device_message, intent_hash};
use countersign_approvals::es256::{PublicKey, SigningKey, verify};
use countersign_approvals::sealed::{CODE_INFO, ENROLMENT_INFO, OpeningKey, decode_codes, seal, sealed_hash};
use countersign_approvals::statement::{
    AccountState, AccountView, ApprovalKind, ClockMode, Enrolment, Factor, HistoryEntry, Identity,
    IntentState, KeyEntry, OpenIntent, Receipt, Signed, Statement, View,
};
use countersign_wire::client::{Act, Answer, Outcome};
use countersign_wire::device::{
    self, DeviceAct, DevicePurpose, EnrollSealed, EnrolledSealed, Evidence, SignedStatement, ViewAccount,
    ViewIntent,
};
use countersign_wire::reason::Reason;
use serde_bytes::{ByteArray, ByteBuf};

pub(crate) const HSM: [u8; 16] = [0x11; 16];
pub(crate) const MEASUREMENT: [u8; 48] = [0x22; 48];
pub(crate) const NOW: u64 = 1_790_000_000;
pub(crate) const INTENT: [u8; 16] = [0x99; 16];
pub(crate) const INVITATION: [u8; 16] = [0x77; 16];
pub(crate) const CODE: &str = "492039";
pub(crate) const SECOND_CODE: &str = "118204";
pub(crate) const OTPAUTH: &str =
    "otpauth://totp/Countersign:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Countersign";
pub(crate) const SUMMARY: &str =
    "sign: transfer on Ethereum (eip155:1)\nwarning: never paid before\npays: 1.5 ETH\n";

/// The public key of the private key 1: the generator of secp256k1 (SEC 2 section 2.4.1). Its address is well known.
const KEY: &str = "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
                   483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
pub(crate) const ADDRESS: &str = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";

/// How the stand-in, or what is between it and the device, lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Not at all.
    #[default]
    None,
    /// Another root endorses it.
    Root,
    /// A byte of each statement but the identity is changed.
    Tampered,
    /// The identity is changed.
    TamperedIdentity,
    /// Statements are about another HSM.
    Hsm,
    /// Made by another image.
    Image,
    /// About another account.
    Account,
    /// About another tenant.
    Tenant,
    /// About another intent.
    Intent,
    /// With a nonce of before.
    Nonce,
    /// Another secret than the receipt's.
    Secret,
    /// A secret that was sealed to another device.
    SealedToAnother,
    /// An address that the key does not give.
    Address,
    /// A device more.
    Device,
    /// Another device in the place of this.
    OtherDevice,
    /// A statement of another kind, well signed.
    Kind,
    /// A receipt of something else.
    Receipt,
}

pub(crate) struct Fake {
    pub(crate) lie: Lie,
    pub(crate) state: IntentState,
    pub(crate) floor: ApprovalKind,
    pub(crate) account: AccountState,
    pub(crate) signs_at_once: bool,
    /// What was carried out, in words.
    pub(crate) done: Vec<String>,
    signing: SigningKey,
    sealing: OpeningKey,
    device: Option<PublicKey>,
    act_nonce: [u8; 32],
}

fn key_point() -> [u8; 65] {
    data_encoding::HEXLOWER.decode(KEY.as_bytes()).unwrap().try_into().unwrap()
}

impl Fake {
    pub(crate) fn new(lie: Lie) -> Self {
        Self {
            lie,
            state: IntentState::Open,
            floor: ApprovalKind::SealedCode,
            account: AccountState::Confirmed,
            signs_at_once: true,
            done: Vec::new(),
            signing: SigningKey::derive(&[1; 32], "signing"),
            sealing: OpeningKey::derive(&[1; 32], "sealing"),
            device: None,
            act_nonce: [0x44; 32],
        }
    }

    /// The fingerprint of its root, in hex.
    pub(crate) fn root() -> String {
        data_encoding::HEXLOWER.encode(&SigningKey::derive(&[1; 32], "root").public_key().fingerprint())
    }

    #[allow(dead_code, reason = "shared with the command line's tests, where devices enrol")]
    /// Knows a device as if it had enrolled here.
    pub(crate) fn with_device(mut self, key: PublicKey) -> Self {
        self.device = Some(key);
        self
    }

    pub(crate) fn outcome(&mut self, act: &Act) -> Outcome {
        match self.answer(act) {
            Ok(answer) => Outcome::Done(answer),
            Err(reason) => Outcome::Refused(reason.into()),
        }
    }

    fn answer(&mut self, act: &Act) -> Result<Answer, Reason> {
        match act {
            Act::Identity => Ok(Answer::Identity(self.identity())),
            Act::EnrollSealed(request) => self.enroll(request),
            Act::ViewIntent(ask) => Ok(Answer::View(self.say(&self.view(ask)))),
            Act::ViewAccount(ask) => self.account(ask),
            Act::Approve(approve) => {
                let Evidence::SealedCode(sealed) = &approve.evidence else {
                    return Err(Reason::UnknownPasskey);
                };
                let digest = self.honest_view().approval_digest();
                let parts = Some((sealed.encapsulated.into_array(), sealed.ciphertext.to_vec()));
                self.check(&digest, parts, &sealed.signature.into_array(), &[CODE])?;
                self.state = if self.signs_at_once { IntentState::Signed } else { IntentState::Approved };
                self.done.push("approved".to_owned());
                Ok(Answer::Approved)
            }
            Act::Decline(decline) => {
                let digest = self.honest_view().decline_digest();
                self.check(&digest, None, &decline.signature.into_array(), &[])?;
                self.state = IntentState::Declined;
                self.done.push("declined".to_owned());
                Ok(Answer::Declined)
            }
            Act::DeviceAct(act) => self.act(act),
            Act::ViewReceipt(_) if self.state == IntentState::Signed => {
                Ok(Answer::Receipt(self.say(&self.receipt())))
            }
            Act::ViewReceipt(_) => Err(Reason::UnknownReceipt),
            _ => Err(Reason::MalformedRequest),
        }
    }

    pub(crate) fn identity(&self) -> device::Identity {
        let root = match self.lie {
            Lie::Root => SigningKey::derive(&[2; 32], "root"),
            _ => SigningKey::derive(&[1; 32], "root"),
        };
        let identity = Identity {
            hsm: HSM,
            measurement: MEASUREMENT,
            clock: ClockMode::Manual,
            signing_key: self.signing.public_key(),
            sealing_key: self.sealing.public_key(),
        };
        let mut signed = Signed::sign(&root, &identity);
        if self.lie == Lie::TamperedIdentity {
            signed.statement[40] ^= 1;
        }
        device::Identity {
            statement: ByteBuf::from(signed.statement),
            signature: ByteArray::new(signed.signature),
            root: ByteArray::new(*root.public_key().as_bytes()),
        }
    }

    /// Signs a statement, and may change it then.
    fn say<S: Statement>(&self, statement: &S) -> SignedStatement {
        let mut signed = Signed::sign(&self.signing, statement);
        match self.lie {
            Lie::Tampered => *signed.statement.last_mut().unwrap() ^= 1,
            Lie::Kind => {
                let identity = Identity::parse(&self.identity().statement).unwrap();
                signed = Signed::sign(&self.signing, &identity);
            }
            _ => {}
        }
        SignedStatement {
            statement: ByteBuf::from(signed.statement),
            signature: ByteArray::new(signed.signature),
        }
    }

    fn hsm(&self) -> [u8; 16] {
        if self.lie == Lie::Hsm { [0x12; 16] } else { HSM }
    }

    fn measurement(&self) -> [u8; 48] {
        if self.lie == Lie::Image { [0x23; 48] } else { MEASUREMENT }
    }

    fn tenant(&self) -> String {
        if self.lie == Lie::Tenant { "other" } else { "default" }.to_owned()
    }

    fn account_name(&self) -> String {
        if self.lie == Lie::Account { "mallory" } else { "alice" }.to_owned()
    }

    fn nonce(&self, asked: &ByteArray<32>) -> [u8; 32] {
        if self.lie == Lie::Nonce { [0x55; 32] } else { asked.into_array() }
    }

    fn keys(&self) -> Vec<KeyEntry> {
        let other = "0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF";
        let address = if self.lie == Lie::Address { other } else { ADDRESS }.to_owned();
        vec![KeyEntry {
            key: "alice/ethereum".to_owned(),
            key_id: [7; 16],
            public_key: key_point(),
            mechanisms: vec!["ethereum".to_owned()],
            floor: self.floor,
            network: String::new(),
            path: String::new(),
            address,
            xpub: String::new(),
        }]
    }

    fn enroll(&mut self, request: &EnrollSealed) -> Result<Answer, Reason> {
        if request.invitation.into_array() != INVITATION {
            return Err(Reason::UnknownInvitation);
        }
        let own = PublicKey::parse(request.device_key.as_slice()).map_err(|_| Reason::MalformedDeviceKey)?;
        let mut seals_to = PublicKey::parse(request.device_sealing_key.as_slice()).unwrap();
        let foreign = SigningKey::derive(&[9; 32], "another device").public_key();
        if self.lie == Lie::SealedToAnother {
            seals_to = foreign;
        }
        let nonce = self.nonce(&request.device_nonce);
        let mut sealed = seal(&seals_to, ENROLMENT_INFO, &nonce, OTPAUTH.as_bytes(), &[6; 32]);
        let hash = sealed.hash();
        if self.lie == Lie::Secret {
            sealed = seal(&seals_to, ENROLMENT_INFO, &nonce, OTPAUTH.as_bytes(), &[5; 32]);
        }
        let mut factors = vec![
            Factor::Totp { hash: "SHA1".to_owned(), digits: 6, period_secs: 30 },
            Factor::Device { key: if self.lie == Lie::OtherDevice { foreign } else { own } },
        ];
        if self.lie == Lie::Device {
            factors.push(Factor::Device { key: foreign });
        }
        self.device = Some(own);
        self.account = AccountState::Open;
        let receipt = Enrolment {
            hsm: self.hsm(),
            measurement: self.measurement(),
            clock: ClockMode::Manual,
            tenant: self.tenant(),
            account: self.account_name(),
            device_nonce: nonce,
            now_unix_secs: NOW,
            policy: [0; 32],
            factors,
            keys: self.keys(),
            sealed: hash,
        };
        Ok(Answer::EnrolledSealed(Box::new(EnrolledSealed {
            receipt: self.say(&receipt),
            encapsulated: ByteArray::new(sealed.encapsulated),
            ciphertext: ByteBuf::from(sealed.ciphertext),
            act_nonce: ByteArray::new(self.act_nonce),
            confirm_within_secs: 1800,
        })))
    }

    fn honest_view(&self) -> View {
        View {
            hsm: HSM,
            tenant: "default".to_owned(),
            account: "alice".to_owned(),
            intent: INTENT,
            purpose: Purpose::Sign,
            key: "alice/ethereum".to_owned(),
            key_id: vec![7; 16],
            mechanism: "ethereum".to_owned(),
            digests: vec![[0xdd; 32]],
            summary: SUMMARY.to_owned(),
            floor: self.floor,
            state: self.state,
            nonce: [0x66; 32],
            expires_unix_secs: NOW + 600,
            now_unix_secs: NOW,
            device_nonce: [0; 32],
        }
    }

    fn view(&self, ask: &ViewIntent) -> View {
        View {
            hsm: self.hsm(),
            tenant: self.tenant(),
            account: self.account_name(),
            intent: if self.lie == Lie::Intent { [0x98; 16] } else { INTENT },
            device_nonce: self.nonce(&ask.device_nonce),
            ..self.honest_view()
        }
    }

    fn account(&self, ask: &ViewAccount) -> Result<Answer, Reason> {
        let device = self.device.ok_or(Reason::UnknownDevice)?;
        if ask.device.into_array() != device.device_id() {
            return Err(Reason::UnknownDevice);
        }
        let view = self.honest_view();
        let entry = |counter, approval, intent_hash, headline: &str| HistoryEntry {
            counter,
            time_unix_secs: NOW - 60,
            approval,
            key: "alice/ethereum".to_owned(),
            intent_hash,
            headline: headline.to_owned(),
        };
        Ok(Answer::View(self.say(&AccountView {
            hsm: self.hsm(),
            tenant: self.tenant(),
            account: self.account_name(),
            device_nonce: self.nonce(&ask.device_nonce),
            now_unix_secs: NOW,
            state: self.account,
            locked_for_secs: 0,
            act_nonce: self.act_nonce,
            signatures: 2,
            intents: vec![OpenIntent { intent: INTENT, state: self.state, expires_unix_secs: NOW + 600 }],
            history: vec![
                entry(1, ApprovalKind::Code, [0xaa; 32], "sign: something else"),
                entry(
                    2,
                    ApprovalKind::SealedCode,
                    view.intent_hash(),
                    "sign: transfer on Ethereum (eip155:1)",
                ),
            ],
            keys: self.keys(),
        })))
    }

    fn act(&mut self, act: &DeviceAct) -> Result<Answer, Reason> {
        if act.expires_unix_secs <= NOW || act.expires_unix_secs > NOW + device::ACT_OPEN_SECS {
            return Err(Reason::ApprovalExpired);
        }
        let (purpose, word) = match act.purpose {
            DevicePurpose::Confirm => (Purpose::Confirm, "confirmed"),
            DevicePurpose::Unlock => (Purpose::Unlock, "unlocked"),
            DevicePurpose::Freeze => (Purpose::Freeze, "frozen"),
            DevicePurpose::CancelRecovery => (Purpose::CancelRecovery, "recovery cancelled"),
        };
        let approved = Approved {
            purpose,
            hsm: &HSM,
            tenant: "default",
            account: "alice",
            key_id: &[],
            intent_hash: &[],
            expires_unix_secs: act.expires_unix_secs,
            nonce: &self.act_nonce,
        };
        let parts =
            act.sealed.as_ref().map(|sealed| (sealed.encapsulated.into_array(), sealed.ciphertext.to_vec()));
        let codes: &[&str] = if parts.is_some() { &[CODE, SECOND_CODE] } else { &[] };
        self.check(&approved.digest(), parts, &act.signature.into_array(), codes)?;
        match act.purpose {
            DevicePurpose::Freeze => self.account = AccountState::Frozen,
            DevicePurpose::CancelRecovery => return Err(Reason::NoRecovery),
            DevicePurpose::Confirm => self.account = AccountState::Confirmed,
            DevicePurpose::Unlock => {}
        }
        self.act_nonce[0] += 1;
        self.done.push(word.to_owned());
        Ok(Answer::CarriedOut)
    }

    /// As the plugin does: the device's signature, the seal, the codes.
    fn check(
        &self,
        digest: &[u8; 32],
        sealed: Option<([u8; 65], Vec<u8>)>,
        signature: &[u8; 64],
        codes: &[&str],
    ) -> Result<(), Reason> {
        let device = self.device.ok_or(Reason::UnknownDevice)?;
        let hash = sealed.as_ref().map_or_else(Vec::new, |(enc, text)| sealed_hash(enc, text).to_vec());
        verify(&device, &device_message(digest, &hash), signature)
            .map_err(|_| Reason::WrongDeviceSignature)?;
        let Some((encapsulated, ciphertext)) = sealed else { return Ok(()) };
        let opened = self.sealing.open_parts(CODE_INFO, digest, &encapsulated, &ciphertext);
        let opened = opened.map_err(|_| Reason::WrongSeal)?;
        let found = decode_codes(&opened, digest).map_err(|_| Reason::WrongSeal)?;
        if found.iter().map(|code| code.as_str()).eq(codes.iter().copied()) {
            Ok(())
        } else {
            Err(Reason::WrongCode)
        }
    }

    /// The receipt, in the state that it would be in.
    pub(crate) fn receipt(&self) -> Receipt {
        let view = self.honest_view();
        debug_assert_eq!(view.intent_hash(), intent_hash("ethereum", &[[0xdd; 32]], SUMMARY));
        Receipt {
            hsm: self.hsm(),
            measurement: self.measurement(),
            tenant: self.tenant(),
            account: self.account_name(),
            key: view.key,
            key_id: [7; 16],
            mechanism: view.mechanism,
            digests: if self.lie == Lie::Receipt { vec![[0xde; 32]] } else { view.digests },
            summary: view.summary,
            approval: ApprovalKind::SealedCode,
            counter: 2,
            time_unix_secs: NOW,
        }
    }

    pub(crate) fn signed_receipt(&self) -> SignedStatement {
        self.say(&self.receipt())
    }
}
