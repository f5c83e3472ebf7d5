//! A user's device and passkey, played by the protocol crate over real keys.

use super::device::{Device, root};
use super::*;
use countersign_approvals::digest::{Approved, Purpose, device_message, registration_challenge};
use countersign_approvals::es256::{self, PublicKey, SigningKey};
use countersign_approvals::sealed::{self, CODE_INFO, ENROLMENT_INFO, OpeningKey};
use countersign_approvals::statement::{self, Signed as SignedBytes, Statement, View};
use countersign_wire::client::{Enroll, IntentInfo, Staged, StagedIntent, Subject};
use countersign_wire::device::{
    Approve, Assertion, Decline, DeviceAct, DevicePurpose, EnrollSealed, EnrolledSealed, Evidence, IntentId,
    Registration, Sealed, SealedCode, SignedStatement, ViewAccount, ViewIntent, ViewReceipt,
};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

pub(super) const ORIGIN: &str = "https://approve.example.com";
pub(super) const RP_ID: &str = "example.com";

/// A passkey in software.
pub(super) struct Authenticator {
    pub(super) key: SigningKey,
    pub(super) id: Vec<u8>,
    pub(super) count: u32,
}

impl Authenticator {
    pub(super) fn new(byte: u8) -> Self {
        Self { key: SigningKey::from_scalar(&[byte; 32]).unwrap(), id: vec![byte; 20], count: 0 }
    }

    pub(super) fn client_data(kind: &str, challenge: &[u8; 32]) -> Vec<u8> {
        let challenge = BASE64URL_NOPAD.encode(challenge);
        format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{ORIGIN}","crossOrigin":false}}"#)
            .into_bytes()
    }

    pub(super) fn register(&self, challenge: &[u8; 32]) -> Registration {
        let mut data = Sha256::digest(RP_ID).to_vec();
        data.push(0x45);
        data.extend_from_slice(&[0; 4 + 16]);
        data.extend_from_slice(&u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend_from_slice(&self.id);
        let public = self.key.public_key();
        let (x, y) = public.as_bytes()[1..].split_at(32);
        data.extend_from_slice(&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32]);
        data.extend_from_slice(x);
        data.extend_from_slice(&[0x22, 0x58, 32]);
        data.extend_from_slice(y);
        Registration {
            client_data_json: Self::client_data("webauthn.create", challenge).into(),
            authenticator_data: data.into(),
        }
    }

    pub(super) fn assert(&mut self, challenge: &[u8; 32]) -> Assertion {
        self.count += 1;
        self.assert_with(Self::client_data("webauthn.get", challenge), 0x05)
    }

    /// As one that has no counter.
    pub(super) fn assert_uncounted(&self, challenge: &[u8; 32]) -> Assertion {
        assert_eq!(self.count, 0);
        self.assert_with(Self::client_data("webauthn.get", challenge), 0x05)
    }

    pub(super) fn assert_with(&self, client_data: Vec<u8>, flags: u8) -> Assertion {
        let mut data = Sha256::digest(RP_ID).to_vec();
        data.push(flags);
        data.extend_from_slice(&self.count.to_be_bytes());
        let message = [&data[..], &Sha256::digest(&client_data)].concat();
        Assertion {
            credential_id: self.id.clone().into(),
            signature: es256::raw_to_der(&self.key.sign(&message)).into(),
            client_data_json: client_data.into(),
            authenticator_data: data.into(),
        }
    }
}

/// A user with a device of his own.
pub(super) struct Owner {
    pub(super) name: &'static str,
    pub(super) key: SigningKey,
    sealing: OpeningKey,
    pub(super) identity: statement::Identity,
    pub(super) passkey: Authenticator,
    pub(super) phone: Option<totp_rs::Totp>,
    pub(super) receipt: Option<statement::Enrolment>,
    pub(super) act_nonce: [u8; 32],
    asked: u8,
}

impl Owner {
    /// Who trusts the HSM because of its root.
    pub(super) fn meets(device: &mut Device, name: &'static str, seed: u8) -> Self {
        let Answer::Identity(told) = device.ask_plainly(Act::Identity).unwrap() else {
            panic!("no identity")
        };
        let pinned = root().public_key();
        assert_eq!(told.root.as_slice(), pinned.as_bytes());
        let signed =
            SignedBytes { statement: told.statement.to_vec(), signature: told.signature.into_array() };
        let identity = signed.verify(&pinned).unwrap();
        Self {
            name,
            key: SigningKey::from_scalar(&[seed; 32]).unwrap(),
            sealing: OpeningKey::from_scalar(&[seed + 1; 32]).unwrap(),
            identity,
            passkey: Authenticator::new(seed + 2),
            phone: None,
            receipt: None,
            act_nonce: [0; 32],
            asked: 0,
        }
    }

    /// Enrolled with its device and its passkey, and confirmed.
    pub(super) fn enrolled(device: &mut Device, name: &'static str, seed: u8, plan: KeyPlan) -> Self {
        let mut owner = Self::meets(device, name, seed);
        let invitation = invite(device, name, plan).unwrap();
        let request = owner.request(invitation, true);
        let answer = device.ask_plainly(Act::EnrollSealed(Box::new(request))).unwrap();
        owner.take(answer);
        let now = device.time.unix_secs;
        let codes = [owner.code(now - 30), owner.code(now)];
        let act = owner.act(device, DevicePurpose::Confirm, Some(&[&codes[0], &codes[1]]));
        assert_eq!(device.ask_plainly(act), Ok(Answer::CarriedOut));
        device.advance(60);
        owner
    }

    pub(super) fn code(&self, at: u64) -> String {
        self.phone.as_ref().expect("it is enrolled").generate(at).to_string()
    }

    pub(super) fn label(&self) -> KeyLabel {
        format!("{}/main", self.name).parse().unwrap()
    }

    fn nonce(&mut self) -> [u8; 32] {
        self.asked += 1;
        [self.asked; 32]
    }

    pub(super) fn request(&mut self, invitation: IntentId, with_passkey: bool) -> EnrollSealed {
        let device_key = *self.key.public_key().as_bytes();
        let challenge =
            registration_challenge(&self.identity.hsm, "a", self.name, &invitation.into_array(), &device_key);
        let passkeys = if with_passkey { vec![self.passkey.register(&challenge)] } else { Vec::new() };
        let mut request = EnrollSealed {
            tenant: "a".parse().unwrap(),
            account: self.name.parse().unwrap(),
            invitation,
            device_nonce: self.nonce().into(),
            device_key: device_key.into(),
            device_sealing_key: (*self.sealing.public_key().as_bytes()).into(),
            passkeys,
            signature: [0; 64].into(),
        };
        self.sign_request(&mut request);
        request
    }

    pub(super) fn sign_request(&self, request: &mut EnrollSealed) {
        let passkeys = request.passkeys.iter().map(|one| statement::OfferedPasskey {
            client_data_json: one.client_data_json.to_vec(),
            authenticator_data: one.authenticator_data.to_vec(),
        });
        let signed = statement::EnrolmentRequest {
            hsm: self.identity.hsm,
            tenant: request.tenant.as_str().to_owned(),
            account: request.account.as_str().to_owned(),
            invitation: request.invitation.into_array(),
            device_nonce: request.device_nonce.into_array(),
            device_key: self.key.public_key(),
            device_sealing_key: PublicKey::parse(request.device_sealing_key.as_slice()).unwrap(),
            passkeys: passkeys.collect(),
        };
        request.signature = self.key.sign(&signed.to_bytes()).into();
    }

    pub(super) fn take(&mut self, answer: Answer) {
        let Answer::EnrolledSealed(enrolled) = answer else { panic!("not enrolled: {answer:?}") };
        let EnrolledSealed { receipt, encapsulated, ciphertext, act_nonce, .. } = *enrolled;
        let receipt: statement::Enrolment = self.verified(&receipt);
        assert_eq!(receipt.device_nonce, [self.asked; 32]);
        assert_eq!(receipt.sealed, sealed::sealed_hash(&encapsulated, &ciphertext));
        let opened = self
            .sealing
            .open_parts(ENROLMENT_INFO, &receipt.device_nonce, &encapsulated, &ciphertext)
            .unwrap();
        self.phone = Some(totp_rs::Totp::from_url(core::str::from_utf8(&opened).unwrap()).unwrap());
        self.act_nonce = act_nonce.into_array();
        self.receipt = Some(receipt);
    }

    pub(super) fn verified<S: Statement>(&self, signed: &SignedStatement) -> S {
        let signed =
            SignedBytes { statement: signed.statement.to_vec(), signature: signed.signature.into_array() };
        signed.verify(&self.identity.signing_key).expect("the plugin said it")
    }

    fn seal(&self, digest: &[u8; 32], codes: &[&str]) -> (Sealed, [u8; 64]) {
        let plaintext = sealed::encode_codes(digest, codes);
        let random = [self.asked.wrapping_add(digest[0]); 32];
        let made = sealed::seal(&self.identity.sealing_key, CODE_INFO, digest, &plaintext, &random);
        let signature = self.key.sign(&device_message(digest, &made.hash()));
        (Sealed { encapsulated: made.encapsulated.into(), ciphertext: made.ciphertext.into() }, signature)
    }

    pub(super) fn device_id(&self) -> [u8; 16] {
        self.key.public_key().device_id()
    }

    /// What the device signs to act on its account, until ten minutes from now.
    pub(super) fn act(&self, device: &Device, purpose: DevicePurpose, codes: Option<&[&str]>) -> Act {
        let expires_unix_secs = device.time.unix_secs + 600;
        let word = match purpose {
            DevicePurpose::Confirm => Purpose::Confirm,
            DevicePurpose::Unlock => Purpose::Unlock,
            DevicePurpose::Freeze => Purpose::Freeze,
            DevicePurpose::CancelRecovery => Purpose::CancelRecovery,
        };
        let digest = Approved {
            purpose: word,
            hsm: &self.identity.hsm,
            tenant: "a",
            account: self.name,
            key_id: &[],
            intent_hash: &[],
            expires_unix_secs,
            nonce: &self.act_nonce,
        }
        .digest();
        let (sealed, signature) = match codes {
            Some(codes) => {
                let (sealed, signature) = self.seal(&digest, codes);
                (Some(sealed), signature)
            }
            None => (None, self.key.sign(&device_message(&digest, &[]))),
        };
        Act::DeviceAct(DeviceAct {
            tenant: "a".parse().unwrap(),
            account: self.name.parse().unwrap(),
            purpose,
            expires_unix_secs,
            device: self.device_id().into(),
            sealed,
            signature: signature.into(),
        })
    }

    pub(super) fn view(&mut self, device: &mut Device, intent: IntentId) -> Result<View, Reason> {
        let device_nonce = self.nonce();
        let act = Act::ViewIntent(ViewIntent {
            tenant: "a".parse().unwrap(),
            account: self.name.parse().unwrap(),
            intent,
            device_nonce: device_nonce.into(),
        });
        let Answer::View(signed) = device.ask_plainly(act)? else { panic!("no view") };
        let view: View = self.verified(&signed);
        assert_eq!((view.device_nonce, view.intent), (device_nonce, intent.into_array()));
        Ok(view)
    }

    pub(super) fn account(&mut self, device: &mut Device) -> Result<statement::AccountView, Reason> {
        let device_nonce = self.nonce();
        let request = statement::AccountRequest {
            hsm: self.identity.hsm,
            tenant: "a".to_owned(),
            account: self.name.to_owned(),
            device_nonce,
        };
        let act = Act::ViewAccount(ViewAccount {
            tenant: "a".parse().unwrap(),
            account: self.name.parse().unwrap(),
            device: self.device_id().into(),
            device_nonce: device_nonce.into(),
            signature: self.key.sign(&request.to_bytes()).into(),
        });
        let Answer::View(signed) = device.ask_plainly(act)? else { panic!("no view") };
        let view: statement::AccountView = self.verified(&signed);
        self.act_nonce = view.act_nonce;
        Ok(view)
    }

    pub(super) fn sealed_code(&self, view: &View, code: &str) -> Evidence {
        let (sealed, signature) = self.seal(&view.approval_digest(), &[code]);
        Evidence::SealedCode(SealedCode {
            device: self.device_id().into(),
            encapsulated: sealed.encapsulated,
            ciphertext: sealed.ciphertext,
            signature: signature.into(),
        })
    }

    /// A code that is signed for, sealed under and sealed about these digests.
    pub(super) fn sealed_code_of(
        &self,
        signed: &[u8; 32],
        associated: &[u8; 32],
        inner: &[u8; 32],
        code: &str,
    ) -> Evidence {
        let plaintext = sealed::encode_codes(inner, &[code]);
        let made = sealed::seal(&self.identity.sealing_key, CODE_INFO, associated, &plaintext, &[7; 32]);
        Evidence::SealedCode(SealedCode {
            device: self.device_id().into(),
            encapsulated: made.encapsulated.into(),
            signature: self.key.sign(&device_message(signed, &made.hash())).into(),
            ciphertext: made.ciphertext.into(),
        })
    }

    pub(super) fn assertion(&mut self, view: &View) -> Evidence {
        Evidence::Passkey(self.passkey.assert(&view.approval_digest()))
    }

    pub(super) fn approve(&self, intent: IntentId, evidence: Evidence) -> Act {
        let (tenant, account) = ("a".parse().unwrap(), self.name.parse().unwrap());
        Act::Approve(Approve { tenant, account, intent, evidence })
    }

    pub(super) fn decline(&self, view: &View) -> Act {
        Act::Decline(Decline {
            tenant: "a".parse().unwrap(),
            account: self.name.parse().unwrap(),
            intent: view.intent.into(),
            device: self.device_id().into(),
            signature: self.key.sign(&device_message(&view.decline_digest(), &[])).into(),
        })
    }

    pub(super) fn receipt_of(
        &self,
        device: &mut Device,
        intent: IntentId,
    ) -> Result<statement::Receipt, Reason> {
        let (tenant, account) = ("a".parse().unwrap(), self.name.parse().unwrap());
        let act = Act::ViewReceipt(ViewReceipt { tenant, account, intent });
        let Answer::Receipt(signed) = device.ask_plainly(act)? else { panic!("no receipt") };
        Ok(self.verified(&signed))
    }

    pub(super) fn state(&self, device: &mut Device, intent: IntentId) -> Result<IntentInfo, Reason> {
        let act = Act::ShowIntent(StagedIntent { account: self.name.parse().unwrap(), intent });
        let Answer::Intent(info) = device.ask(act)? else { panic!("no intent") };
        Ok(info)
    }
}

pub(super) fn invite(device: &mut Device, name: &str, plan: KeyPlan) -> Result<IntentId, Reason> {
    let enroll = Enroll {
        account: name.parse().unwrap(),
        totp: TotpParameters::default(),
        key: "main".parse().unwrap(),
        plan,
    };
    let Answer::Invited(invited) = device.ask(Act::Invite(enroll))? else { panic!("not invited") };
    Ok(invited.invitation)
}

pub(super) fn stage(device: &mut Device, subject: Subject) -> Result<Staged, Reason> {
    match device.ask(Act::Stage(subject))? {
        Answer::Staged(staged) => Ok(staged),
        other => panic!("not staged: {other:?}"),
    }
}
