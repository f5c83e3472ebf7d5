//! Users with devices of their own: what their devices say, what the backend asks for them, and what somebody on the way makes of it.
//! All of it at any time; whether the answers are right is for the checkers to say.

use crate::choices::Choices;
use crate::clients::{Ask, api_key, mechanisms, payload};
use crate::keystore;
use crate::world::HSM_ID;
use countersign_approvals::digest::{Approved, Purpose, device_message};
use countersign_approvals::es256::{PublicKey, SigningKey};
use countersign_approvals::sealed::{CODE_INFO, ENROLMENT_INFO, OpeningKey, encode_codes, seal};
use countersign_approvals::statement::{
    AccountRequest, AccountView, EnrolmentRequest, Identity, Signed, Statement, View,
};
use countersign_wire::client::{
    Act, Answer, Approval, ApprovalKind, Enroll, KeyPlan, Mechanism, Outcome, Payload, Reply, Request, Sign,
    StageSign, Subject, TotpParameters,
};
use countersign_wire::device::{
    Approve, Decline, DeviceAct, DevicePurpose, EnrollSealed, Evidence, IntentId, Sealed, SealedCode,
    SignedStatement, ViewAccount, ViewIntent,
};
use countersign_wire::names::{AccountName, KeyLabel, TenantName};
use countersign_wire::reason::Reason;
use serde_bytes::{ByteArray, ByteBuf};
use std::collections::BTreeMap;

/// Whose they are, and what they are called.
const OWNERS: [(&str, &str); 4] = [("a", "d0"), ("a", "d1"), ("a", "d2"), ("b", "d3")];

/// What is kept of each kind: older ones are forgotten.
const KEPT_MAX: usize = 4;

/// One user with a device.
#[derive(Clone)]
pub struct Owner {
    tenant: &'static str,
    name: AccountName,
    seed: u8,
    identity: Option<Identity>,
    /// With what the key will be for.
    invitations: Vec<(IntentId, Vec<Mechanism>)>,
    /// What his key is for.
    mechanisms: Vec<Mechanism>,
    account: Option<Account>,
}

/// What his device knows of his account.
#[derive(Clone)]
struct Account {
    secret: Vec<u8>,
    act_nonce: [u8; 32],
    /// It may be another one by now.
    is_stale: bool,
    confirmed: bool,
    /// He asked for it.
    frozen: bool,
    /// Not yet shown.
    staged: Vec<(IntentId, Payload)>,
    seen: Vec<(View, Payload)>,
    approved: Vec<(View, Payload)>,
    /// What he refused.
    refused: Vec<Payload>,
    /// What the device said, for whoever carries it to say again.
    said: Vec<Act>,
}

/// All of them.
#[derive(Clone)]
pub struct Owners {
    all: Vec<Owner>,
    asked: BTreeMap<u64, (usize, Act)>,
}

impl Default for Owners {
    fn default() -> Self {
        let owner = |(seed, (tenant, name)): (u8, (&'static str, &str))| Owner {
            tenant,
            name: AccountName::parse(name).expect("accounts have names"),
            seed,
            identity: None,
            invitations: Vec::new(),
            mechanisms: Vec::new(),
            account: None,
        };
        Self { all: (10..).zip(OWNERS).map(owner).collect(), asked: BTreeMap::new() }
    }
}

fn keep<T>(kept: &mut Vec<T>, one: T) {
    if kept.len() == KEPT_MAX {
        kept.remove(0);
    }
    kept.push(one);
}

impl Owners {
    /// Tickets begin again.
    pub fn forget_asked(&mut self) {
        self.asked.clear();
    }

    /// Notes what was sent.
    pub fn sent(&mut self, ticket: u64, ask: &Ask) {
        if let (Some(owner), Some(request)) = (ask.owner, &ask.request) {
            self.asked.insert(ticket, (owner, request.act.clone()));
        }
    }

    /// Learns from an answer.
    pub fn answered(&mut self, ticket: u64, reply: &Reply) {
        if let Some((owner, act)) = self.asked.remove(&ticket) {
            self.all[owner].answered(act, &reply.outcome);
        }
    }

    /// One of them asks, or somebody for him.
    pub fn ask(&mut self, rng: &mut Choices, unix_secs: u64) -> Ask {
        let at = rng.usize(..self.all.len());
        let owner = &mut self.all[at];
        let act = owner.act(rng, unix_secs);
        let id = ByteArray::new(rng.unguessable().to_be_bytes());
        owner.ask(at, id, act)
    }

    /// Those who can approve, and whose keys sign digests.
    pub fn able(&self) -> impl Iterator<Item = usize> {
        let able = |owner: &Owner| {
            let may = owner.account.as_ref().is_some_and(|one| one.confirmed && !one.frozen);
            may && owner.mechanisms.contains(&Mechanism::Digest)
        };
        self.all.iter().enumerate().filter(move |(_, owner)| able(owner)).map(|(at, _)| at)
    }

    /// The next step of this one to a signature of what he is shown.
    pub fn next_step(&mut self, at: usize, rng: &mut Choices, unix_secs: u64, id: IntentId) -> Ask {
        let owner = &mut self.all[at];
        let code = owner.code(unix_secs);
        let act = owner
            .towards_a_signature(rng, &code, false)
            .unwrap_or_else(|| owner.stage(rng, Mechanism::Digest));
        owner.ask(at, id, act)
    }

    /// Forgets what is under way, as his device does when it is opened anew.
    pub fn begin_anew(&mut self, at: usize) {
        if let Some(account) = &mut self.all[at].account {
            (account.staged, account.seen, account.approved) = Default::default();
        }
    }
}

impl Owner {
    fn ask(&self, at: usize, id: IntentId, act: Act) -> Ask {
        let from_device = act.is_of_device();
        let request = Request { id, api_key: (!from_device).then(|| api_key(self.tenant)), act };
        Ask { tenant: (!from_device).then_some(self.tenant), request: Some(request), owner: Some(at) }
    }

    fn signing_key(&self) -> SigningKey {
        SigningKey::from_scalar(&[self.seed; 32]).expect("a scalar")
    }

    fn sealing_key(&self) -> OpeningKey {
        OpeningKey::from_scalar(&[self.seed + 100; 32]).expect("a scalar")
    }

    fn tenant(&self) -> TenantName {
        TenantName::parse(self.tenant).expect("tenants have names")
    }

    fn label(&self) -> KeyLabel {
        KeyLabel { account: self.name.clone(), key: "main".parse().expect("a key's name") }
    }

    fn read<S: Statement>(&self, signed: &SignedStatement) -> Option<S> {
        let signed =
            Signed { statement: signed.statement.to_vec(), signature: signed.signature.into_array() };
        signed.verify(&self.identity.as_ref()?.signing_key).ok()
    }

    fn answered(&mut self, act: Act, outcome: &Outcome) {
        let answer = match outcome {
            Outcome::Done(answer) => answer,
            Outcome::Refused(refusal) => return self.refused(&act, refusal.reason),
        };
        match (act, answer) {
            (Act::Identity, Answer::Identity(told)) => {
                let root = PublicKey::parse(told.root.as_slice()).expect("the root is a key");
                let signed =
                    Signed { statement: told.statement.to_vec(), signature: told.signature.into_array() };
                self.identity = signed.verify(&root).ok();
            }
            (Act::Invite(enroll), Answer::Invited(invited)) => {
                keep(&mut self.invitations, (invited.invitation, enroll.plan.mechanisms));
            }
            (Act::EnrollSealed(enroll), Answer::EnrolledSealed(enrolled)) => {
                let opened = self.sealing_key().open_parts(
                    ENROLMENT_INFO,
                    &self.nonce(),
                    &enrolled.encapsulated.into_array(),
                    &enrolled.ciphertext,
                );
                let Ok(otpauth) = opened else { return };
                let mut invitations = std::mem::take(&mut self.invitations).into_iter();
                let used = invitations.find(|(invitation, _)| *invitation == enroll.invitation);
                self.mechanisms = used.map(|(_, mechanisms)| mechanisms).unwrap_or_default();
                self.account = Some(Account {
                    secret: crate::clients::secret_of(&String::from_utf8_lossy(&otpauth)),
                    act_nonce: enrolled.act_nonce.into_array(),
                    is_stale: false,
                    confirmed: false,
                    frozen: false,
                    staged: Vec::new(),
                    seen: Vec::new(),
                    approved: Vec::new(),
                    refused: Vec::new(),
                    said: Vec::new(),
                });
            }
            (Act::Stage(Subject::Sign(stage)), Answer::Staged(staged)) => {
                if let Some(account) = &mut self.account {
                    keep(&mut account.staged, (staged.intent, stage.payload));
                }
            }
            (Act::ViewIntent(ask), Answer::View(told)) => {
                let view: Option<View> = self.read(told);
                let Some(account) = &mut self.account else { return };
                let at = account.staged.iter().position(|(intent, _)| *intent == ask.intent);
                if let (Some(view), Some(at)) = (view, at) {
                    let (_, payload) = account.staged.remove(at);
                    keep(&mut account.seen, (view, payload));
                }
            }
            (Act::ViewAccount(_), Answer::View(told)) => {
                if let (Some(view), Some(account)) = (self.read::<AccountView>(told), &mut self.account) {
                    account.act_nonce = view.act_nonce;
                    account.is_stale = false;
                }
            }
            (Act::Approve(approve), Answer::Approved) => {
                let Some(account) = &mut self.account else { return };
                let is_it = |(view, _): &(View, Payload)| approve.intent == view.intent;
                if let Some(at) = account.seen.iter().position(is_it) {
                    let seen = account.seen.remove(at);
                    keep(&mut account.approved, seen);
                }
            }
            (Act::DeviceAct(act), Answer::CarriedOut) => {
                let Some(account) = &mut self.account else { return };
                account.confirmed |= act.purpose == DevicePurpose::Confirm;
                account.is_stale = true;
            }
            _ => {}
        }
    }

    fn refused(&mut self, act: &Act, reason: Reason) {
        match (act, reason) {
            (_, Reason::EnrolmentExpired) => self.account = None,
            (Act::DeviceAct(act), Reason::UnknownDevice) if act.purpose == DevicePurpose::Confirm => {
                self.account = None;
            }
            (Act::DeviceAct(_), _) => {
                if let Some(account) = &mut self.account {
                    account.is_stale = true;
                }
            }
            (Act::EnrollSealed(enroll), Reason::UnknownInvitation) => {
                self.invitations.retain(|(invitation, _)| *invitation != enroll.invitation);
            }
            _ => {}
        }
    }

    /// A nonce that this device uses again and again: what is fresh the checkers do not take from it.
    fn nonce(&self) -> [u8; 32] {
        [self.seed; 32]
    }

    fn act(&mut self, rng: &mut Choices, unix_secs: u64) -> Act {
        if self.identity.is_none() {
            return Act::Identity;
        }
        let Some(confirmed) = self.account.as_ref().map(|account| account.confirmed) else {
            return match self.invitations.last().map(|(invitation, _)| *invitation) {
                Some(invitation) if rng.u8(..10) > 0 => self.enroll(rng, invitation),
                _ => Act::Invite(Enroll {
                    account: self.name.clone(),
                    totp: TotpParameters::default(),
                    key: "main".parse().expect("a key's name"),
                    plan: KeyPlan {
                        floor: [ApprovalKind::Code, ApprovalKind::SealedCode][rng.usize(..2)],
                        ..KeyPlan::of(Self::some_mechanisms(rng))
                    },
                }),
            };
        };
        if self.account.as_ref().is_some_and(|account| account.is_stale) && rng.u8(..5) > 0 {
            return self.view_account();
        }
        if !confirmed {
            return match rng.u8(..12) {
                0 => self.view_account(),
                1 => self.two_codes(rng, DevicePurpose::Confirm, unix_secs + 300, unix_secs),
                _ => self.two_codes(rng, DevicePurpose::Confirm, unix_secs - 30, unix_secs),
            };
        }
        let account = self.account.as_ref();
        let has_approved = account.is_some_and(|account| !account.approved.is_empty());
        let has_refused = account.is_some_and(|account| !account.refused.is_empty());
        match rng.u8(..100) {
            0..20 if has_approved => self.decline(rng),
            20..40 if has_refused => self.sign_refused(),
            0..56 => {
                let code = self.some_code(rng, unix_secs);
                let changed = rng.u8(..4) == 0;
                self.towards_a_signature(rng, &code, changed).unwrap_or_else(|| self.stage_something(rng))
            }
            56..65 => self.sign_something(rng),
            65..73 => self.said_again(rng),
            73..81 => {
                let code = self.some_code(rng, unix_secs);
                self.approve(rng, &code, true)
            }
            81..89 => self.decline(rng),
            89..92 => self.view_account(),
            92..96 => self.two_codes(rng, DevicePurpose::Unlock, unix_secs - 30, unix_secs),
            96 | 97 => self.freeze(unix_secs),
            _ => self.stage_something(rng),
        }
    }

    fn some_mechanisms(rng: &mut Choices) -> Vec<Mechanism> {
        match mechanisms(rng) {
            none if none.is_empty() => vec![Mechanism::Digest],
            some => some,
        }
    }

    /// `None`: nothing is staged.
    fn towards_a_signature(&mut self, rng: &mut Choices, code: &str, changed: bool) -> Option<Act> {
        let account = self.account.as_mut()?;
        if let Some((_, payload)) = account.approved.pop() {
            return Some(self.sign(payload));
        }
        if !account.seen.is_empty() {
            return Some(self.approve(rng, code, changed));
        }
        let (intent, _) = account.staged.last()?;
        Some(Act::ViewIntent(ViewIntent {
            intent: *intent,
            tenant: self.tenant(),
            account: self.name.clone(),
            device_nonce: ByteArray::new(self.nonce()),
        }))
    }

    /// Something that the key is for, mostly.
    fn stage_something(&self, rng: &mut Choices) -> Act {
        let mechanism = match self.mechanisms.as_slice() {
            some if rng.u8(..30) > 0 && !some.is_empty() => some[rng.usize(..some.len())],
            _ => Mechanism::Ethereum,
        };
        self.stage(rng, mechanism)
    }

    fn stage(&self, rng: &mut Choices, mechanism: Mechanism) -> Act {
        Act::Stage(Subject::Sign(StageSign { key: self.label(), payload: payload(rng, mechanism) }))
    }

    fn sign(&self, payload: Payload) -> Act {
        Act::Sign(Sign { key: self.label(), payload, approval: Some(Approval::Prior) })
    }

    /// The backend asks for a signature of what may not be approved.
    fn sign_something(&self, rng: &mut Choices) -> Act {
        let account = self.account.as_ref().expect("it is confirmed");
        let shown = account.seen.last().map(|(_, payload)| payload);
        let staged = account.staged.last().map(|(_, payload)| payload);
        let known: Vec<&Payload> = [shown, staged].into_iter().flatten().collect();
        match rng.usize(..=known.len()) {
            none if none == known.len() => self.sign(payload(rng, Mechanism::Digest)),
            one => self.sign(known[one].clone()),
        }
    }

    /// The backend asks for a signature of what the user refused.
    fn sign_refused(&mut self) -> Act {
        let refused = self.account.as_mut().and_then(|account| account.refused.pop());
        self.sign(refused.expect("he refused something"))
    }

    fn enroll(&self, rng: &mut Choices, invitation: IntentId) -> Act {
        let (device_key, device_sealing_key) =
            (self.signing_key().public_key(), self.sealing_key().public_key());
        let request = EnrolmentRequest {
            hsm: HSM_ID,
            tenant: self.tenant.to_owned(),
            account: self.name.to_string(),
            invitation: invitation.into_array(),
            device_nonce: self.nonce(),
            device_key,
            device_sealing_key,
            passkeys: Vec::new(),
        };
        let mut signature = self.signing_key().sign(&request.to_bytes());
        signature[40] ^= u8::from(rng.u8(..12) == 0);
        Act::EnrollSealed(Box::new(EnrollSealed {
            tenant: self.tenant(),
            account: self.name.clone(),
            invitation,
            device_nonce: ByteArray::new(self.nonce()),
            device_key: ByteArray::new(*device_key.as_bytes()),
            device_sealing_key: ByteArray::new(*device_sealing_key.as_bytes()),
            passkeys: Vec::new(),
            signature: ByteArray::new(signature),
        }))
    }

    fn code(&self, unix_secs: u64) -> String {
        let totp = TotpParameters::default();
        let secret = self.account.as_ref().map_or(&[][..], |account| &account.secret);
        keystore::code(secret, totp.hash, totp.digits, unix_secs / u64::from(totp.period_secs))
    }

    /// The present code, mostly.
    fn some_code(&self, rng: &mut Choices, unix_secs: u64) -> String {
        match rng.u8(..20) {
            0 => format!("{:06}", rng.u32(..1_000_000)),
            1 => self.code(unix_secs - 60),
            2 => self.code(unix_secs - 30),
            3 => self.code(unix_secs + 30),
            _ => self.code(unix_secs),
        }
    }

    /// Codes sealed for a digest, and the device's word for both.
    fn seal(&self, rng: &mut Choices, digest: &[u8; 32], codes: &[&str]) -> (Sealed, [u8; 64]) {
        let to = self.identity.as_ref().expect("it has met the HSM").sealing_key;
        let mut random = [0; 32];
        rng.fill(&mut random);
        let made = seal(&to, CODE_INFO, digest, &encode_codes(digest, codes), &random);
        let signature = self.signing_key().sign(&device_message(digest, &made.hash()));
        let sealed = Sealed {
            encapsulated: ByteArray::new(made.encapsulated),
            ciphertext: ByteBuf::from(made.ciphertext),
        };
        (sealed, signature)
    }

    /// Approves what was seen last. Something may be changed on the way.
    fn approve(&mut self, rng: &mut Choices, code: &str, changed: bool) -> Act {
        let seen = self.account.as_ref().and_then(|account| account.seen.last().cloned());
        let Some((view, _)) = seen else { return self.stage_something(rng) };
        let (mut sealed, mut signature) = self.seal(rng, &view.approval_digest(), &[code]);
        let mut intent = view.intent;
        if changed {
            match rng.u8(..6) {
                0..3 => signature[3] ^= 1,
                3 => sealed.ciphertext[7] ^= 1,
                4 => sealed.encapsulated = ByteArray::new(*self.sealing_key().public_key().as_bytes()),
                _ => {
                    let staged = self.account.as_ref().and_then(|account| account.staged.last());
                    intent = staged.map_or([9; 16], |(intent, _)| intent.into_array());
                }
            }
        }
        let evidence = SealedCode {
            device: ByteArray::new(self.signing_key().public_key().device_id()),
            encapsulated: sealed.encapsulated,
            ciphertext: sealed.ciphertext,
            signature: ByteArray::new(signature),
        };
        let act = Act::Approve(Approve {
            tenant: self.tenant(),
            account: self.name.clone(),
            intent: ByteArray::new(intent),
            evidence: Evidence::SealedCode(evidence),
        });
        self.said(act)
    }

    /// Refuses what he saw last, or what he approved last.
    fn decline(&mut self, rng: &mut Choices) -> Act {
        let account = self.account.as_mut().expect("it is confirmed");
        let approved = account.seen.is_empty() || rng.u8(..4) > 0;
        let last = if approved { account.approved.pop() } else { None };
        let Some((view, payload)) = last.or_else(|| account.seen.pop()) else { return self.view_account() };
        keep(&mut account.refused, payload);
        let key = self.signing_key();
        let act = Act::Decline(Decline {
            tenant: self.tenant(),
            account: self.name.clone(),
            intent: ByteArray::new(view.intent),
            device: ByteArray::new(key.public_key().device_id()),
            signature: ByteArray::new(key.sign(&device_message(&view.decline_digest(), &[]))),
        });
        self.said(act)
    }

    fn view_account(&self) -> Act {
        let request = AccountRequest {
            hsm: HSM_ID,
            tenant: self.tenant.to_owned(),
            account: self.name.to_string(),
            device_nonce: self.nonce(),
        };
        let key = self.signing_key();
        Act::ViewAccount(ViewAccount {
            tenant: self.tenant(),
            account: self.name.clone(),
            device: ByteArray::new(key.public_key().device_id()),
            device_nonce: ByteArray::new(self.nonce()),
            signature: ByteArray::new(key.sign(&request.to_bytes())),
        })
    }

    fn two_codes(&mut self, rng: &mut Choices, purpose: DevicePurpose, first: u64, unix_secs: u64) -> Act {
        let codes = [self.code(first), self.code(first + 30)];
        self.device_act(rng, purpose, unix_secs + 300, Some([&codes[0], &codes[1]]))
    }

    fn freeze(&mut self, unix_secs: u64) -> Act {
        // Whether it came about may never be told.
        if let Some(account) = &mut self.account {
            account.frozen = true;
        }
        self.device_act(&mut Choices::of_seed(0), DevicePurpose::Freeze, unix_secs + 300, None)
    }

    fn device_act(
        &mut self,
        rng: &mut Choices,
        purpose: DevicePurpose,
        expires_unix_secs: u64,
        codes: Option<[&str; 2]>,
    ) -> Act {
        let nonce = self.account.as_ref().map_or([0; 32], |account| account.act_nonce);
        let approved = Approved {
            purpose: match purpose {
                DevicePurpose::Confirm => Purpose::Confirm,
                DevicePurpose::Unlock => Purpose::Unlock,
                DevicePurpose::Freeze => Purpose::Freeze,
                DevicePurpose::CancelRecovery => Purpose::CancelRecovery,
            },
            hsm: &HSM_ID,
            tenant: self.tenant,
            account: self.name.as_str(),
            key_id: &[],
            intent_hash: &[],
            expires_unix_secs,
            nonce: &nonce,
        };
        let digest = approved.digest();
        let key = self.signing_key();
        let (sealed, signature) = match codes {
            Some(codes) => {
                let (sealed, signature) = self.seal(rng, &digest, &codes);
                (Some(sealed), signature)
            }
            None => (None, key.sign(&device_message(&digest, &[]))),
        };
        let act = Act::DeviceAct(DeviceAct {
            tenant: self.tenant(),
            account: self.name.clone(),
            purpose,
            expires_unix_secs,
            device: ByteArray::new(key.public_key().device_id()),
            sealed,
            signature: ByteArray::new(signature),
        });
        self.said(act)
    }

    /// Whoever carries it remembers it.
    fn said(&mut self, act: Act) -> Act {
        if let Some(account) = &mut self.account {
            keep(&mut account.said, act.clone());
        }
        act
    }

    /// Somebody on the way says it again: as it was, or an approval as one of another intent.
    fn said_again(&mut self, rng: &mut Choices) -> Act {
        let account = self.account.as_ref().expect("it is confirmed");
        if account.said.is_empty() {
            return self.view_account();
        }
        let mut act = account.said[rng.usize(..account.said.len())].clone();
        if let (Act::Approve(approve), Some((intent, _)), 0) = (&mut act, account.staged.last(), rng.u8(..3))
        {
            approve.intent = *intent;
        }
        act
    }
}
