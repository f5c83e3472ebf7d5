//! An HSM for these tests: the real frames and messages over a real socket, and as much of the plugin's behaviour
//! as the module could get wrong. It keeps every request, so that a test sees what was asked and in which order.

use countersign_wire::client::{
    Act, Answer, Approval, ClockMode, ContextLogin, ContextSign, CreateKey, KeyId, KeyInfo, KeyPage, KeyPlan,
    KeyQuery, Mechanism, Operation, Outcome, Payload, Reply, Request, Signed, Status, Welcome,
};
use countersign_wire::device::IntentApproval;
use countersign_wire::frame::{self, CLIENT_MAX_BYTES, HEADER_BYTES};
use countersign_wire::names::{ApiKey, TenantName, TypedCode};
use countersign_wire::reason::{Reason, Refusal};
use countersign_wire::{decode, encode};
use serde_bytes::{ByteArray, ByteBuf};
use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// How many keys a page of [`KeyQuery::All`] holds.
pub(crate) const PAGE_KEYS: usize = 3;

/// The API key that the HSM knows.
pub(crate) fn api_key() -> ApiKey {
    ApiKey::from_random(&[0xab; 32], &TenantName::parse("default").unwrap())
}

/// The public key of every key: the generator of secp256k1 (SEC 2 section 2.4.1).
pub(crate) const POINT: [u8; 65] = [
    4, 0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0, 0x62, 0x95, 0xce, 0x87, 0x0b, 0x07, 0x02,
    0x9b, 0xfc, 0xdb, 0x2d, 0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b, 0x16, 0xf8, 0x17, 0x98, 0x48, 0x3a,
    0xda, 0x77, 0x26, 0xa3, 0xc4, 0x65, 0x5d, 0xa4, 0xfb, 0xfc, 0x0e, 0x11, 0x08, 0xa8, 0xfd, 0x17, 0xb4,
    0x48, 0xa6, 0x85, 0x54, 0x19, 0x9c, 0x47, 0xd0, 0x8f, 0xfb, 0x10, 0xd4, 0xb8,
];

/// The key that the HSM has under that number: even ones sign digests, odd ones transactions.
pub(crate) fn key(number: u8) -> KeyInfo {
    let (name, mechanism) = match number % 2 {
        0 => ("digest", Mechanism::Digest),
        _ => ("ethereum", Mechanism::Ethereum),
    };
    KeyInfo {
        label: format!("user-{:04}/{name}", number / 2).parse().unwrap(),
        id: ByteArray::new([number + 1; 16]),
        public_key: ByteArray::new(POINT),
        ethereum_address: format!("0x{number:040x}"),
        plan: KeyPlan::of(vec![mechanism]),
        watch: None,
    }
}

/// The signature that the HSM gives for `payload` in `operation`.
pub(crate) fn signature(operation: &Operation, payload: &Payload) -> [u8; 64] {
    let data = match payload {
        Payload::Digest(digest) => digest.to_vec(),
        Payload::Ethereum(bytes)
        | Payload::TypedData(bytes)
        | Payload::Message(bytes)
        | Payload::Psbt(bytes) => bytes.to_vec(),
    };
    let mut signature = [0; 64];
    signature[..16].copy_from_slice(operation.key.as_slice());
    signature[16..24].copy_from_slice(&(data.len() as u64).to_be_bytes());
    for (at, byte) in data.iter().enumerate() {
        signature[24 + at % 40] ^= byte;
    }
    signature
}

/// What stands in a request, in one word.
pub(crate) fn word(act: &Act) -> &'static str {
    match act {
        Act::Status => "status",
        Act::Login => "login",
        Act::Random(_) => "random",
        Act::FindKeys(_) => "find-keys",
        Act::CreateKey(_) => "create-key",
        Act::ContextLogin(_) => "context-login",
        Act::ContextSign(_) => "context-sign",
        Act::ContextEnd(_) => "context-end",
        Act::Enroll(_)
        | Act::Confirm(_)
        | Act::Unlock(_)
        | Act::ShowAccount(_)
        | Act::TrustPayee(_)
        | Act::Sign(_)
        | Act::Invite(_)
        | Act::Stage(_)
        | Act::ShowIntent(_)
        | Act::FindReceipt(_)
        | Act::Attest(_)
        | Act::LogCheckpoint
        | Act::ReadLog(_)
        | Act::Identity
        | Act::ViewIntent(_)
        | Act::ViewAccount(_)
        | Act::ViewReceipt(_)
        | Act::Approve(_)
        | Act::Decline(_)
        | Act::EnrollSealed(_)
        | Act::DeviceAct(_) => "not-pkcs11",
    }
}

struct State {
    keys: Vec<KeyInfo>,
    /// Codes that are right and unused.
    codes: BTreeSet<String>,
    used: BTreeSet<String>,
    /// Approvals of staged intents that are right and unused.
    approvals: Vec<IntentApproval>,
    /// What users approved on their devices, and nobody has signed yet.
    approved: Vec<(KeyId, Payload)>,
    grants: BTreeSet<Operation>,
    acts: Vec<Act>,
    refusals: VecDeque<Refusal>,
    boot_count: u64,
    api_key_good: bool,
    repeats_pages: bool,
    /// The next answer to a request of that kind is lost on its way.
    loses: Option<&'static str>,
    /// Requests of that kind wait until it is taken away.
    held: Option<&'static str>,
    waiting: usize,
    streams: Vec<UnixStream>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub(crate) struct FakeHsm {
    shared: Arc<Shared>,
    socket: PathBuf,
    serving: Option<thread::JoinHandle<()>>,
}

impl FakeHsm {
    /// Serves `folder/hsm.sock`, with four keys.
    pub(crate) fn start(folder: &Path) -> Self {
        let state = State {
            keys: (0..4).map(key).collect(),
            codes: BTreeSet::new(),
            used: BTreeSet::new(),
            approvals: Vec::new(),
            approved: Vec::new(),
            grants: BTreeSet::new(),
            acts: Vec::new(),
            refusals: VecDeque::new(),
            boot_count: 1,
            api_key_good: true,
            repeats_pages: false,
            loses: None,
            held: None,
            waiting: 0,
            streams: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let mut hsm = Self { shared, socket: folder.join("hsm.sock"), serving: None };
        hsm.serve();
        hsm
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// From here on, that code is right, once.
    pub(crate) fn allow_code(&self, code: &str) {
        self.state().codes.insert(code.to_owned());
    }

    /// From here on, that approval of a staged intent is right, once.
    pub(crate) fn allow_approval(&self, approval: &IntentApproval) {
        self.state().approvals.push(approval.clone());
    }

    /// The user approves exactly that on a device: it may be signed once with that key.
    pub(crate) fn approve_before(&self, key: KeyId, payload: Payload) {
        self.state().approved.push((key, payload));
    }

    pub(crate) fn add_keys(&self, keys: impl IntoIterator<Item = KeyInfo>) {
        self.state().keys.extend(keys);
    }

    /// Refuses the next request that needs an API key.
    pub(crate) fn refuse_next(&self, reason: Reason) {
        self.state().refusals.push_back(reason.into());
    }

    /// From here on, every page leads to the same next one.
    pub(crate) fn repeat_pages(&self) {
        self.state().repeats_pages = true;
    }

    /// Does what the next request of that kind asks, and hangs up instead of answering.
    pub(crate) fn lose_next_answer(&self, word: &'static str) {
        self.state().loses = Some(word);
    }

    /// From here on, the API key is not good any more.
    pub(crate) fn revoke_api_key(&self) {
        self.state().api_key_good = false;
    }

    /// The requests since the last call of this, in one word each.
    pub(crate) fn asked(&self) -> Vec<&'static str> {
        self.acts().iter().map(word).collect()
    }

    /// The requests since the last call of this.
    pub(crate) fn acts(&self) -> Vec<Act> {
        std::mem::take(&mut self.state().acts)
    }

    pub(crate) fn grants(&self) -> usize {
        self.state().grants.len()
    }

    /// Requests of that kind wait from here on.
    pub(crate) fn hold(&self, word: &'static str) {
        self.state().held = Some(word);
    }

    /// Returns once so many held requests are waiting.
    pub(crate) fn wait_for_held(&self, requests: usize) {
        let state = self.state();
        drop(self.shared.changed.wait_while(state, |state| state.waiting < requests).unwrap());
    }

    /// Lets held requests go on.
    pub(crate) fn release(&self) {
        self.state().held = None;
        self.shared.changed.notify_all();
    }

    /// Stops like a machine whose plug is pulled: connections break, grants are lost.
    pub(crate) fn stop(&mut self) {
        let Some(serving) = self.serving.take() else { return };
        std::fs::remove_file(&self.socket).unwrap();
        let mut state = self.state();
        state.boot_count += 1;
        state.grants.clear();
        for stream in state.streams.drain(..) {
            // The other side may have closed it first.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        serving.join().unwrap();
    }

    /// Starts again after [`FakeHsm::stop`].
    pub(crate) fn serve(&mut self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        // The listener's own end is among the streams: shutting it down ends the loop.
        self.state()
            .streams
            .push(UnixStream::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap())));
        let shared = Arc::clone(&self.shared);
        self.serving = Some(thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let shared = Arc::clone(&shared);
                shared.state.lock().unwrap().streams.push(stream.try_clone().unwrap());
                thread::spawn(move || shared.converse(stream));
            }
        }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for FakeHsm {
    fn drop(&mut self) {
        self.release();
        self.stop();
    }
}

impl Shared {
    /// Answers one connection until it ends.
    fn converse(&self, mut stream: UnixStream) {
        loop {
            let mut header = [0; HEADER_BYTES];
            if stream.read_exact(&mut header).is_err() {
                return;
            }
            let mut payload = vec![0; frame::payload_length(header, CLIENT_MAX_BYTES).unwrap()];
            if stream.read_exact(&mut payload).is_err() {
                return;
            }
            let request: Request = decode(&payload).expect("the module sends canonical requests");
            let kind = word(&request.act);
            let reply = Reply { id: request.id, outcome: self.answer(request) };
            if self.state.lock().unwrap().loses.take_if(|lost| *lost == kind).is_some() {
                // The listener's list holds the stream as well: dropping this end would not close it.
                stream.shutdown(Shutdown::Both).unwrap();
                return;
            }
            let mut framed = Vec::new();
            frame::append(&mut framed, &encode(&reply));
            if stream.write_all(&framed).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: Request) -> Outcome {
        let mut state = self.state.lock().unwrap();
        state.acts.push(request.act.clone());
        if state.held == Some(word(&request.act)) {
            state.waiting += 1;
            self.changed.notify_all();
            state = self.changed.wait_while(state, |state| state.held.is_some()).unwrap();
            state.waiting -= 1;
        }
        if let Act::Status = request.act {
            return Outcome::Done(Answer::Status(state.status()));
        }
        if request.api_key != Some(api_key()) || !state.api_key_good {
            return Outcome::Refused(Reason::WrongApiKey.into());
        }
        if let Some(refusal) = state.refusals.pop_front() {
            if let Act::ContextSign(sign) = &request.act {
                state.grants.remove(&sign.operation);
            }
            return Outcome::Refused(refusal);
        }
        state.perform(request.act).map_or_else(|reason| Outcome::Refused(reason.into()), Outcome::Done)
    }
}

impl State {
    fn perform(&mut self, act: Act) -> Result<Answer, Reason> {
        match act {
            Act::Login => Ok(Answer::Welcome(Welcome { tenant: "default".into() })),
            Act::Random(bytes) => Ok(Answer::Random(ByteBuf::from(vec![0x5a; bytes.into()]))),
            Act::FindKeys(query) => Ok(Answer::Keys(self.find(&query))),
            Act::CreateKey(create) => self.create(create),
            Act::ContextLogin(login) => self.log_in(&login),
            Act::ContextSign(sign) => self.sign(&sign),
            Act::ContextEnd(operation) => {
                self.grants.remove(&operation);
                Ok(Answer::Ended)
            }
            other => panic!("the module has no use for {}", word(&other)),
        }
    }

    fn find(&self, query: &KeyQuery) -> KeyPage {
        let with = |wanted: &dyn Fn(&KeyInfo) -> bool| {
            let keys = self.keys.iter().filter(|key| wanted(key)).cloned().collect();
            KeyPage { keys, next: None }
        };
        match query {
            KeyQuery::Label(label) => with(&|key| key.label == *label),
            KeyQuery::Id(id) => with(&|key| key.id == *id),
            KeyQuery::All(cursor) => {
                let from = cursor.map_or(0, |cursor| usize::from_be_bytes(cursor.into_array()));
                let to = (from + PAGE_KEYS).min(self.keys.len());
                let to = if self.repeats_pages { PAGE_KEYS } else { to };
                let next = (to < self.keys.len()).then(|| ByteArray::new(to.to_be_bytes()));
                KeyPage { keys: self.keys[from..to].to_vec(), next }
            }
        }
    }

    fn create(&mut self, create: CreateKey) -> Result<Answer, Reason> {
        if self.keys.iter().any(|key| key.label == create.label) {
            return Err(Reason::KeyExists);
        }
        if !self.keys.iter().any(|key| key.label.account == create.label.account) {
            return Err(Reason::UnknownAccount);
        }
        assert!(
            create.plan.mechanisms.is_sorted() && !create.plan.mechanisms.is_empty(),
            "as the wire wants them"
        );
        let number = u8::try_from(self.keys.len()).unwrap();
        let key = KeyInfo { label: create.label, plan: create.plan, ..key(number) };
        self.keys.push(key.clone());
        Ok(Answer::Key(key))
    }

    fn log_in(&mut self, login: &ContextLogin) -> Result<Answer, Reason> {
        if self.grants.contains(&login.operation) {
            return Ok(Answer::LoggedIn);
        }
        match &login.approval {
            Approval::Code(code) => self.spend_code(TypedCode::expose(code))?,
            Approval::Intent(approval) => {
                let at = self.approvals.iter().position(|right| right == &**approval);
                self.approvals.remove(at.ok_or(Reason::UnknownIntent)?);
            }
            // No grant: what may be signed is what was approved, and nothing else.
            Approval::Prior => {
                let any = self.approved.iter().any(|(key, _)| *key == login.operation.key);
                return if any { Ok(Answer::LoggedIn) } else { Err(Reason::MalformedCode) };
            }
        }
        self.grants.insert(login.operation.clone());
        Ok(Answer::LoggedIn)
    }

    fn spend_code(&mut self, code: &str) -> Result<(), Reason> {
        if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Reason::MalformedCode);
        }
        if self.used.contains(code) {
            return Err(Reason::CodeUsed);
        }
        if !self.codes.remove(code) {
            return Err(Reason::WrongCode);
        }
        self.used.insert(code.to_owned());
        Ok(())
    }

    fn sign(&mut self, sign: &ContextSign) -> Result<Answer, Reason> {
        if !self.grants.remove(&sign.operation) {
            let is = |(key, payload): &(_, _)| *key == sign.operation.key && *payload == sign.payload;
            let at = self.approved.iter().position(is).ok_or(Reason::ApprovalMissing)?;
            self.approved.remove(at);
        }
        assert_eq!(sign.payload.mechanism(), sign.operation.mechanism);
        let signature = signature(&sign.operation, &sign.payload);
        // What stands for a signed PSBT is the data with the signature behind it.
        let psbt = match &sign.payload {
            Payload::Psbt(data) => Some(ByteBuf::from([data.as_slice(), &signature].concat())),
            _ => None,
        };
        Ok(Answer::Signed(Signed {
            signature: ByteArray::new(signature),
            y_parity: 0,
            digest: ByteArray::new([0; 32]),
            raw_transaction: None,
            transaction_hash: None,
            psbt,
            summary: String::new(),
        }))
    }

    fn status(&self) -> Status {
        Status {
            version: "1.7.3".into(),
            hsm_id: ByteArray::new([0xc5; 16]),
            measurement: ByteArray::new([1; 48]),
            clock: ClockMode::Manual,
            unix_time_secs: 1_700_000_000,
            clock_sure: true,
            keystore: "fake".into(),
            boot_count: self.boot_count,
            missing_sandbox_layers: Vec::new(),
            store_room_bytes: None,
            refused_for_room: 0,
        }
    }
}
