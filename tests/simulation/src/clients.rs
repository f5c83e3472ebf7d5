//! The workload: what backends, users and attackers with the API key ask. It may ask anything at any time; whether the
//! answers are right is for the checkers to say.

use crate::choices::Choices;
use crate::{keystore, money};
use countersign_wire::client::{
    Act, Answer, Approval, ContextLogin, ContextSign, CreateKey, Enroll, KeyInfo, KeyPlan, KeyQuery,
    Mechanism, Operation, Outcome, Payload, Reply, Request, RequestId, Sign, TotpHash, TotpParameters,
    TwoCodes,
};
use countersign_wire::log::{LogQuery, LogStart};
use countersign_wire::names::{AccountName, ApiKey, KeyLabel, TenantName, TypedCode};
use countersign_wire::reason::Reason;
use serde_bytes::ByteArray;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The tenants.
pub const TENANTS: [&str; 2] = ["a", "b"];

/// Accounts of each tenant; the same names in both.
pub const NAMES: [&str; 5] = ["u0", "u1", "u2", "u3", "u4"];

/// A tenant's API key.
pub fn api_key(tenant: &str) -> ApiKey {
    let tenant = TenantName::parse(tenant).expect("tenants have names");
    ApiKey::from_random(&Sha256::digest(tenant.as_str()).into(), &tenant)
}

/// One user, as far as the clients know.
#[derive(Clone, Debug)]
pub struct User {
    /// Whose account it is.
    pub tenant: &'static str,
    /// The account.
    pub name: AccountName,
    /// The factor's parameters.
    pub totp: TotpParameters,
    secret: Vec<u8>,
    keys: Vec<KeyInfo>,
    /// Whether a confirmation was acknowledged.
    pub confirmed: bool,
    operations: Vec<Operation>,
    last: Option<Request>,
    /// The latest step whose code the user has given away.
    last_step: u64,
}

impl User {
    fn step(&self, unix_secs: u64) -> u64 {
        unix_secs / u64::from(self.totp.period_secs)
    }

    /// What the phone shows for a step.
    pub fn code(&self, step: u64) -> String {
        keystore::code(&self.secret, self.totp.hash, self.totp.digits, step)
    }
}

/// All that the clients remember.
#[derive(Clone, Default)]
pub struct Clients {
    users: BTreeMap<(&'static str, AccountName), User>,
    asked: BTreeMap<u64, (&'static str, Act)>,
}

/// What is to be sent.
pub struct Ask {
    /// Whose API key.
    pub tenant: Option<&'static str>,
    /// The request; `None`: bytes that are none.
    pub request: Option<Request>,
    /// Which of the users with a device it is about.
    pub owner: Option<usize>,
}

fn typed(code: &str) -> TypedCode {
    TypedCode::new(code).expect("codes are short")
}

fn account(name: &str) -> AccountName {
    AccountName::parse(name).expect("accounts have names")
}

impl Clients {
    /// Every user whose confirmation was acknowledged.
    pub fn confirmed(&self) -> impl Iterator<Item = &User> {
        self.users.values().filter(|user| user.confirmed)
    }

    /// One user.
    pub fn user(&self, tenant: &'static str, name: &str) -> Option<&User> {
        self.users.get(&(tenant, account(name)))
    }

    /// Tickets begin again.
    pub fn forget_asked(&mut self) {
        self.asked.clear();
    }

    /// Notes what was sent.
    pub fn sent(&mut self, ticket: u64, ask: &Ask) {
        if let (Some(tenant), Some(request), None) = (ask.tenant, &ask.request, ask.owner) {
            self.asked.insert(ticket, (tenant, request.act.clone()));
        }
    }

    /// Learns from an answer.
    pub fn answered(&mut self, ticket: u64, reply: &Reply) {
        let Some((tenant, act)) = self.asked.remove(&ticket) else { return };
        let answer = match &reply.outcome {
            Outcome::Done(answer) => answer,
            Outcome::Refused(refusal) if refusal.reason == Reason::EnrolmentExpired => {
                let account = match act {
                    Act::Confirm(codes) => codes.account,
                    Act::Sign(sign) => sign.key.account,
                    _ => return,
                };
                self.users.remove(&(tenant, account));
                return;
            }
            Outcome::Refused(_) => return,
        };
        match (act, answer) {
            (Act::Enroll(enroll), Answer::Enrolled(enrolled)) => {
                let secret = secret_of(&enrolled.otpauth);
                let user = User {
                    tenant,
                    name: enroll.account.clone(),
                    totp: enroll.totp,
                    secret,
                    keys: vec![enrolled.key.clone()],
                    confirmed: false,
                    operations: Vec::new(),
                    last: None,
                    last_step: 0,
                };
                self.users.insert((tenant, enroll.account), user);
            }
            (Act::Confirm(codes), Answer::Account(_)) => {
                if let Some(user) = self.users.get_mut(&(tenant, codes.account)) {
                    user.confirmed = true;
                }
            }
            (Act::CreateKey(create), Answer::Key(key)) => {
                if let Some(user) = self.users.get_mut(&(tenant, create.label.account)) {
                    user.keys.push(key.clone());
                }
            }
            (Act::ContextLogin(login), Answer::LoggedIn) => {
                let of = |user: &&mut User| user.keys.iter().any(|key| key.id == login.operation.key);
                if let Some(user) = self.users.values_mut().find(of) {
                    user.operations.push(login.operation);
                }
            }
            _ => {}
        }
    }

    /// Somebody asks something.
    pub fn ask(&mut self, rng: &mut Choices, unix_secs: u64) -> Ask {
        let tenant = TENANTS[usize::from(rng.u8(..4) == 0)];
        let name = account(NAMES[rng.usize(..NAMES.len())]);
        let id = ByteArray::new(rng.unguessable().to_be_bytes());
        match rng.u8(..100) {
            0 => return Ask { tenant: None, request: None, owner: None },
            1 => {
                let stranger = api_key(if rng.bool() { "c" } else { "b.c" });
                let request = Request { id, api_key: Some(stranger), act: Act::Login };
                return Ask { tenant: None, request: Some(request), owner: None };
            }
            2 => {
                let from = if rng.bool() { LogStart::Beginning } else { LogStart::Recent };
                let act = [
                    Act::Status,
                    Act::Login,
                    Act::Random(rng.u16(..40)),
                    Act::FindKeys(KeyQuery::All(None)),
                    Act::LogCheckpoint,
                    Act::ReadLog(LogQuery { from, entries_max: rng.u16(1..200) }),
                ];
                return request(tenant, id, act[rng.usize(..act.len())].clone());
            }
            _ => {}
        }
        match self.users.get_mut(&(tenant, name.clone())) {
            None => request(tenant, id, stranger(rng, name)),
            Some(user) if !user.confirmed && rng.u8(..10) > 0 => {
                let act = user.unconfirmed(rng, unix_secs);
                request(tenant, id, act)
            }
            Some(user) => {
                let asker =
                    if rng.u8(..40) == 0 { TENANTS[usize::from(tenant == TENANTS[0])] } else { tenant };
                user.anything(rng, asker, id, unix_secs)
            }
        }
    }
}

fn request(tenant: &'static str, id: RequestId, act: Act) -> Ask {
    Ask {
        tenant: Some(tenant),
        request: Some(Request { id, api_key: Some(api_key(tenant)), act }),
        owner: None,
    }
}

pub(crate) fn secret_of(otpauth: &str) -> Vec<u8> {
    let rest = otpauth.split_once("?secret=").map_or("", |(_, rest)| rest);
    let text = rest.split('&').next().unwrap_or_default();
    data_encoding::BASE32_NOPAD.decode(text.as_bytes()).expect("a secret is base32")
}

fn parameters(rng: &mut Choices) -> TotpParameters {
    match rng.u8(..16) {
        0 => TotpParameters { hash: TotpHash::Sha256, digits: 8, period_secs: 60 },
        1 => TotpParameters { hash: TotpHash::Sha512, digits: 6, period_secs: 30 },
        2 => TotpParameters { digits: 7, ..TotpParameters::default() },
        _ => TotpParameters::default(),
    }
}

pub(crate) fn mechanisms(rng: &mut Choices) -> Vec<Mechanism> {
    match rng.u8(..30) {
        0 => vec![],
        1..8 => vec![Mechanism::Ethereum],
        8..14 => vec![Mechanism::Digest, Mechanism::Ethereum],
        _ => vec![Mechanism::Digest],
    }
}

/// One that the key was made for, most likely.
fn some_mechanism(rng: &mut Choices, key: &KeyInfo) -> Mechanism {
    match key.plan.mechanisms.as_slice() {
        [] => Mechanism::Digest,
        _ if rng.u8(..30) == 0 => [Mechanism::Digest, Mechanism::Ethereum][rng.usize(..2)],
        some => some[rng.usize(..some.len())],
    }
}

/// A digest, or a transfer.
pub(crate) fn payload(rng: &mut Choices, mechanism: Mechanism) -> Payload {
    if mechanism == Mechanism::Ethereum {
        return money::transfer(rng);
    }
    let mut digest = [0; 32];
    rng.fill(&mut digest);
    Payload::Digest(ByteArray::new(digest))
}

/// An enrolment of a name.
pub fn enroll(name: AccountName, totp: TotpParameters, mechanisms: Vec<Mechanism>) -> Act {
    Act::Enroll(Enroll {
        account: name,
        totp,
        key: "main".parse().expect("a key's name"),
        plan: KeyPlan::of(mechanisms),
    })
}

/// What is asked about an account that nobody has.
fn stranger(rng: &mut Choices, name: AccountName) -> Act {
    let two = || TwoCodes { account: name.clone(), first: typed("000000"), second: typed("111111") };
    match rng.u8(..20) {
        0 => Act::ShowAccount(name),
        1 => Act::Confirm(two()),
        2 => Act::Unlock(two()),
        3 => Act::FindKeys(KeyQuery::Id(ByteArray::new(rng.unguessable().to_be_bytes()))),
        4 => Act::Sign(Sign {
            key: KeyLabel { account: name, key: "main".parse().expect("a key's name") },
            payload: Payload::Digest(ByteArray::new([1; 32])),
            approval: Some(Approval::Code(typed("123456"))),
        }),
        _ => enroll(name, parameters(rng), mechanisms(rng)),
    }
}

impl User {
    fn two_codes(&self, first: u64) -> TwoCodes {
        TwoCodes {
            account: self.name.clone(),
            first: typed(&self.code(first)),
            second: typed(&self.code(first + 1)),
        }
    }

    fn wrong_codes(&self, rng: &mut Choices) -> TwoCodes {
        TwoCodes {
            account: self.name.clone(),
            first: typed(&self.some_code(rng)),
            second: typed(&self.some_code(rng)),
        }
    }

    /// A code that is most likely wrong.
    fn some_code(&self, rng: &mut Choices) -> String {
        format!("{:01$}", rng.u32(..10u32.pow(u32::from(self.totp.digits))), usize::from(self.totp.digits))
    }

    fn key(&self, rng: &mut Choices) -> KeyInfo {
        self.keys[rng.usize(..self.keys.len())].clone()
    }

    /// A code: mostly the present one, sometimes any other.
    fn some_approval(&mut self, rng: &mut Choices, unix_secs: u64) -> String {
        let now = self.step(unix_secs);
        match rng.u8(..100) {
            0..10 => self.some_code(rng),
            10..16 => self.code(self.last_step),
            16..20 => self.code(now.saturating_sub(1)),
            20..24 => self.code(now + 1),
            24..27 => self.code((now + 3).saturating_sub(rng.u64(..7))),
            27 => " 12345".to_owned(),
            _ => {
                self.last_step = now;
                self.code(now)
            }
        }
    }

    fn unconfirmed(&mut self, rng: &mut Choices, unix_secs: u64) -> Act {
        let now = self.step(unix_secs);
        match rng.u8(..20) {
            0 => Act::Confirm(self.wrong_codes(rng)),
            1 => Act::Confirm(self.two_codes(now + 5)),
            2 => Act::ShowAccount(self.name.clone()),
            3 => self.sign(rng, unix_secs),
            4 => self.create_key(rng),
            5 => enroll(self.name.clone(), TotpParameters::default(), vec![Mechanism::Digest]),
            6 => Act::Confirm(self.two_codes(now)),
            _ => Act::Confirm(self.two_codes(now - 1)),
        }
    }

    fn create_key(&self, rng: &mut Choices) -> Act {
        let key = format!("k{}", rng.u8(..20)).parse().expect("a key's name");
        let label = KeyLabel { account: self.name.clone(), key };
        Act::CreateKey(CreateKey { label, plan: KeyPlan::of(mechanisms(rng)) })
    }

    fn sign(&mut self, rng: &mut Choices, unix_secs: u64) -> Act {
        let code = self.some_approval(rng, unix_secs);
        self.sign_with(rng, &code)
    }

    /// Approve and sign something fresh with this code.
    pub fn sign_with(&self, rng: &mut Choices, code: &str) -> Act {
        let key = self.key(rng);
        let mechanism = some_mechanism(rng, &key);
        Act::Sign(Sign {
            payload: payload(rng, mechanism),
            key: key.label,
            approval: (rng.u8(..60) > 0).then(|| Approval::Code(typed(code))),
        })
    }

    /// A sign request with the present code that lacks nothing.
    pub fn sign_now(&self, digest: [u8; 32], unix_secs: u64) -> Act {
        Act::Sign(Sign {
            key: self.keys[0].label.clone(),
            payload: Payload::Digest(ByteArray::new(digest)),
            approval: Some(Approval::Code(typed(&self.code(self.step(unix_secs))))),
        })
    }

    /// The confirmation with the codes of the step before and this one.
    pub fn confirm_now(&self, unix_secs: u64) -> Act {
        Act::Confirm(self.two_codes(self.step(unix_secs) - 1))
    }

    /// Whether the first key signs digests.
    pub fn signs_digests(&self) -> bool {
        self.keys[0].plan.mechanisms.contains(&Mechanism::Digest)
    }

    fn anything(&mut self, rng: &mut Choices, asker: &'static str, id: RequestId, unix_secs: u64) -> Ask {
        let act = match rng.u8(..100) {
            0..36 => {
                let ask = request(asker, id, self.sign(rng, unix_secs));
                self.last.clone_from(&ask.request);
                return ask;
            }
            36..46 => return self.again(rng, asker, id),
            46..60 => self.login(rng, unix_secs),
            60..72 => self.context_sign(rng),
            72..78 => self.create_key(rng),
            78..84 => Act::ShowAccount(self.name.clone()),
            84..86 => Act::FindKeys(KeyQuery::Label(self.key(rng).label)),
            86..88 => Act::FindKeys(KeyQuery::Id(self.key(rng).id)),
            88..91 => Act::Unlock(self.two_codes(self.step(unix_secs) - 1)),
            91..93 => Act::Unlock(self.wrong_codes(rng)),
            93 => Act::Confirm(self.two_codes(self.step(unix_secs))),
            94 => enroll(self.name.clone(), TotpParameters::default(), vec![Mechanism::Digest]),
            95 => match self.operations.pop() {
                Some(operation) => Act::ContextEnd(operation),
                None => Act::ShowAccount(self.name.clone()),
            },
            _ => {
                let code = self.some_code(rng);
                self.sign_with(rng, &code)
            }
        };
        request(asker, id, act)
    }

    /// The last request again: as it was, or with something exchanged.
    fn again(&mut self, rng: &mut Choices, asker: &'static str, id: RequestId) -> Ask {
        let Some(mut last) = self.last.clone() else {
            return request(asker, id, Act::ShowAccount(self.name.clone()));
        };
        if let Act::Sign(sign) = &mut last.act {
            match rng.u8(..8) {
                0 => sign.approval = Some(Approval::Code(typed(&self.some_code(rng)))),
                1 => sign.payload = Payload::Digest(ByteArray::new([rng.u8(..); 32])),
                2 => last.id = id,
                3 => sign.key = self.key(rng).label,
                _ => {}
            }
        }
        last.api_key = Some(api_key(asker));
        Ask { tenant: Some(asker), request: Some(last), owner: None }
    }

    fn login(&mut self, rng: &mut Choices, unix_secs: u64) -> Act {
        let key = self.key(rng);
        let operation = match self.operations.last() {
            Some(open) if rng.u8(..6) == 0 => open.clone(),
            _ => Operation {
                id: ByteArray::new(rng.unguessable().to_be_bytes()),
                key: key.id,
                mechanism: some_mechanism(rng, &key),
            },
        };
        let approval = Approval::Code(typed(&self.some_approval(rng, unix_secs)));
        Act::ContextLogin(ContextLogin { operation, approval })
    }

    fn context_sign(&mut self, rng: &mut Choices) -> Act {
        // Used ones are kept: a second signature must be refused.
        if self.operations.len() > 3 {
            self.operations.remove(0);
        }
        let operation = match self.operations.len() {
            0 => {
                Operation { id: ByteArray::new([7; 16]), key: self.key(rng).id, mechanism: Mechanism::Digest }
            }
            some => self.operations[some - 1 - rng.usize(..some.min(2))].clone(),
        };
        let payload = match rng.u8(..40) {
            0 => Payload::Ethereum(vec![rng.u8(..); 32].into()),
            1 => payload(rng, Mechanism::Digest),
            _ => payload(rng, operation.mechanism),
        };
        Act::ContextSign(ContextSign { operation, payload })
    }
}
