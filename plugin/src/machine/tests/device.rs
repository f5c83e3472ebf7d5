//! A firmware in memory, no kinder than a real one: it refuses what the limits forbid, checks the offset of every
//! append, and can be told to fail. It answers only when asked to, so that a test decides what finishes when.

use super::super::Plugin;
use countersign_approvals::es256::{self, PublicKey};
use countersign_approvals::statement::{self, Signed};
use countersign_wire::client::{Act, Answer, ClockMode, Outcome, Reply, Request, TotpHash};
use countersign_wire::device::Identity;
use countersign_wire::hal::{
    APPEND_MAX_BYTES, Boot, Delivery, Event, Extent, Fault, LogNames, NVRAM_MAX_BYTES, Op, Output,
    READ_MAX_BYTES, Secret, Tenant, Time, Value,
};
use countersign_wire::names::{ApiKey, TenantName};
use countersign_wire::reason::{Reason, Refusal};
use countersign_wire::{decode, encode, encode_packed};
use hmac::{Hmac, KeyInit, Mac};
use k256::ecdsa::signature::hazmat::PrehashSigner;
use k256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256, Sha512};
use std::collections::{BTreeMap, VecDeque};

/// What survives the plugin: store, NVRAM, keystore and clock.
#[allow(clippy::struct_excessive_bools, reason = "each is one fault that a test switches on")]
pub(super) struct Device {
    /// The log, from the offset `begin` on.
    pub(super) store: Vec<u8>,
    pub(super) begin: u64,
    pub(super) archive: Vec<u8>,
    pub(super) nvram: Option<Vec<u8>>,
    pub(super) time: Time,
    pub(super) ops: Vec<&'static str>,
    /// Every call with the request that it was said to be made for.
    pub(super) made_for: Vec<(&'static str, Option<u64>)>,
    pub(super) fail_next: BTreeMap<&'static str, Fault>,
    /// After so many more reads the store is this one.
    pub(super) exchange: Option<(usize, Vec<u8>)>,
    pub(super) corrupt_signatures: bool,
    /// The keystore's public keys are no points of the curve.
    pub(super) corrupt_points: bool,
    /// The keystore's MACs for wallets are of another key.
    pub(super) wrong_roots: bool,
    /// Every second of them is.
    pub(super) flaky_roots: bool,
    roots: u64,
    /// What the disk has room for, as it says.
    pub(super) room: Option<u64>,
    pub(super) halted: Option<String>,
    pub(super) tenants: Vec<Tenant>,
    hsm_id: u8,
    pub(super) sealing_key: u8,
    /// Every byte string that was ever appended, also what was lost again.
    pub(super) written: Vec<Vec<u8>>,
    pub(super) plugin: Plugin,
    queue: VecDeque<(u64, Op)>,
    replies: BTreeMap<u64, Reply>,
    ready: bool,
    last_ticket: u64,
    random: u64,
}

pub(super) const START: u64 = 1_800_000_000;

pub(super) fn api_key(tenant: &str) -> ApiKey {
    ApiKey::from_random(&Sha256::digest(tenant.as_bytes()).into(), &TenantName::parse(tenant).unwrap())
}

/// What users' devices have pinned.
pub(super) fn root() -> es256::SigningKey {
    es256::SigningKey::from_scalar(&[3; 32]).unwrap()
}

pub(super) fn tenant(name: &str) -> Tenant {
    Tenant {
        name: TenantName::parse(name).unwrap(),
        api_key_sha256: <[u8; 32]>::from(Sha256::digest(api_key(name).expose().as_bytes())).into(),
        plain_enrolment: true,
        failures_per_hour: None,
        accounts_max: None,
        policy: None,
        lifted: Vec::new(),
        log_names: LogNames::Plain,
    }
}

impl Device {
    /// A fresh device with the tenants `a` and `b`, booted and ready.
    pub(super) fn ready() -> Self {
        Self::of(7)
    }

    /// The same with another id.
    pub(super) fn of(hsm_id: u8) -> Self {
        let mut device = Self {
            hsm_id,
            store: Vec::new(),
            begin: 0,
            archive: Vec::new(),
            nvram: None,
            time: Time { unix_secs: START, running_secs: 0 },
            ops: Vec::new(),
            made_for: Vec::new(),
            fail_next: BTreeMap::new(),
            corrupt_signatures: false,
            corrupt_points: false,
            wrong_roots: false,
            flaky_roots: false,
            roots: 0,
            room: Some(1 << 40),
            halted: None,
            tenants: vec![tenant("a"), tenant("b")],
            sealing_key: 9,
            exchange: None,
            written: Vec::new(),
            plugin: Plugin::new(),
            queue: VecDeque::new(),
            replies: BTreeMap::new(),
            ready: false,
            last_ticket: 0,
            random: 0,
        };
        assert!(device.boot(), "halted: {:?}", device.halted);
        device
    }

    /// Drops the plugin with all that it had in memory, and starts it again. Whether it became ready.
    pub(super) fn boot(&mut self) -> bool {
        self.power_on();
        self.settle();
        self.ready && self.halted.is_none()
    }

    /// A new plugin that was told to boot, and nothing more.
    pub(super) fn power_on(&mut self) {
        (self.plugin, self.ready, self.halted) = (Plugin::new(), false, None);
        self.queue.clear();
        self.deliver_boot();
    }

    pub(super) fn deliver_boot(&mut self) {
        let boot = Boot {
            hsm_id: [self.hsm_id; 16].into(),
            sealing_key: Secret::new(vec![self.sealing_key; 32]),
            measurement: [5; 48].into(),
            clock: ClockMode::Manual,
            keystore: "memory".to_owned(),
            nvram: self.nvram.clone().map(Into::into),
            store: Extent { begin: self.begin, end: self.begin + self.store.len() as u64 },
            archive_bytes: self.archive.len() as u64,
            tenants: self.tenants.clone(),
            missing_sandbox_layers: Vec::new(),
        };
        self.deliver(Event::Boot(Box::new(boot)));
    }

    /// Moves both clocks.
    pub(super) fn advance(&mut self, secs: u64) {
        self.time.unix_secs += secs;
        self.time.running_secs += secs;
    }

    /// Hands a request in without working on it. The ticket fetches the reply.
    pub(super) fn send(&mut self, request: &Request) -> u64 {
        self.send_bytes(encode(request))
    }

    pub(super) fn send_bytes(&mut self, payload: Vec<u8>) -> u64 {
        self.last_ticket += 1;
        self.deliver(Event::Request { ticket: self.last_ticket, payload: payload.into() });
        self.last_ticket
    }

    /// Runs until nothing is left to do.
    pub(super) fn settle(&mut self) {
        self.collect();
        while self.step() {}
    }

    /// Finishes the oldest call under way. `false`: there was none.
    pub(super) fn step(&mut self) -> bool {
        let Some((call, op)) = self.queue.pop_front() else { return false };
        let result = self.execute(op);
        self.deliver(Event::Done { call, result });
        self.collect();
        true
    }

    /// Finishes the oldest call of this name.
    pub(super) fn finish(&mut self, what: &str) {
        let at = self.queue.iter().position(|(_, op)| name(op) == what).expect("such a call is under way");
        let call = self.queue.remove(at).expect("it was found there");
        self.queue.push_front(call);
        assert!(self.step());
    }

    /// Finishes calls until only signatures are under way.
    pub(super) fn run_until_signing(&mut self) {
        self.collect();
        while self.queue.iter().any(|(_, op)| name(op) != "sign") {
            let at = self.queue.iter().position(|(_, op)| name(op) != "sign").expect("there is one");
            let call = self.queue.remove(at).expect("it was found there");
            self.queue.push_front(call);
            assert!(self.step());
        }
    }

    /// Finishes all calls under way without letting the plugin work.
    pub(super) fn hand_in_all(&mut self) {
        while let Some((call, op)) = self.queue.pop_front() {
            let result = self.execute(op);
            self.deliver(Event::Done { call, result });
        }
    }

    /// Lets the plugin work for one step.
    pub(super) fn step_plugin(&mut self) {
        let outputs = self.plugin.step();
        self.take(outputs);
    }

    /// The calls under way, by name.
    pub(super) fn under_way(&mut self) -> Vec<&'static str> {
        self.collect();
        self.queue.iter().map(|(_, op)| name(op)).collect()
    }

    pub(super) fn reply(&mut self, ticket: u64) -> Option<Result<Answer, Refusal>> {
        self.replies.remove(&ticket).map(|reply| match reply.outcome {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Refused(refusal) => Err(refusal),
        })
    }

    /// One request of tenant `a`, worked on until it is answered.
    pub(super) fn ask(&mut self, act: Act) -> Result<Answer, Reason> {
        self.ask_as("a", act)
    }

    pub(super) fn ask_as(&mut self, tenant: &str, act: Act) -> Result<Answer, Reason> {
        let ticket = self.begin_as(tenant, act);
        self.settle();
        self.reply(ticket).expect("every request is answered").map_err(|refusal| refusal.reason)
    }

    /// One request without an API key.
    pub(super) fn ask_plainly(&mut self, act: Act) -> Result<Answer, Reason> {
        let id = u128::from(self.last_ticket + 1).to_be_bytes().into();
        let ticket = self.send(&Request { id, api_key: None, act });
        self.settle();
        self.reply(ticket).expect("every request is answered").map_err(|refusal| refusal.reason)
    }

    /// Hands one request of a tenant in without working on it.
    pub(super) fn begin_as(&mut self, tenant: &str, act: Act) -> u64 {
        let id = u128::from(self.last_ticket + 1).to_be_bytes().into();
        self.send(&Request { id, api_key: Some(api_key(tenant)), act })
    }

    pub(super) fn deliver(&mut self, event: Event) {
        self.plugin.deliver(Delivery { time: self.time, event });
    }

    fn collect(&mut self) {
        let outputs = self.plugin.turn();
        self.take(outputs);
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Ready => self.ready = true,
                Output::Halt { why } => self.halted = Some(why),
                Output::Reply { ticket, payload } => {
                    let reply: Reply = decode(&payload).unwrap();
                    assert!(self.replies.insert(ticket, reply).is_none(), "answered twice");
                }
                Output::Call { call, op, ticket } => {
                    self.made_for.push((name(&op), ticket));
                    self.queue.push_back((call, op));
                }
            }
        }
    }

    fn execute(&mut self, op: Op) -> Result<Value, Fault> {
        self.ops.push(name(&op));
        if let Some(fault) = self.fail_next.remove(name(&op)) {
            return Err(fault);
        }
        match op {
            Op::Random { length_bytes } => Ok(Value::Random(Secret::new(self.random(length_bytes.into())))),
            Op::ReadStore { offset, length_bytes } => {
                assert!(length_bytes <= READ_MAX_BYTES);
                let from = usize::try_from(offset.checked_sub(self.begin).ok_or(Fault::Store)?).unwrap();
                let bytes = self.store.get(from..from + length_bytes as usize).ok_or(Fault::Store)?.to_vec();
                if let Some((reads, _)) = &mut self.exchange {
                    *reads -= 1;
                }
                if let Some((_, store)) = self.exchange.take_if(|(reads, _)| *reads == 0) {
                    self.store = store;
                }
                Ok(Value::Bytes(bytes.into()))
            }
            Op::ReadArchive { offset, length_bytes } => {
                assert!(length_bytes <= READ_MAX_BYTES);
                let from = usize::try_from(offset).unwrap();
                let bytes =
                    self.archive.get(from..from + length_bytes as usize).ok_or(Fault::StoreUnreadable)?;
                Ok(Value::Bytes(bytes.to_vec().into()))
            }
            Op::Room => Ok(Value::Room(self.room)),
            Op::CutStore { end, archive_bytes } => {
                assert!(
                    end <= self.begin + self.store.len() as u64 && archive_bytes <= self.archive.len() as u64
                );
                self.store.truncate(usize::try_from(end - self.begin).unwrap());
                self.archive.truncate(usize::try_from(archive_bytes).unwrap());
                Ok(Value::Done)
            }
            Op::Archive { offset, append } => {
                assert_eq!(offset, self.archive.len() as u64, "append only");
                assert!(append.len() <= APPEND_MAX_BYTES);
                self.archive.extend_from_slice(&append);
                Ok(Value::Done)
            }
            Op::Commit { offset, append, nvram, discard_before } => {
                assert_eq!(offset, self.begin + self.store.len() as u64, "append only");
                assert!(append.len() <= APPEND_MAX_BYTES && nvram.len() <= NVRAM_MAX_BYTES);
                self.store.extend_from_slice(&append);
                self.written.push(append.into_vec());
                self.nvram = Some(nvram.into_vec());
                self.store.drain(..usize::try_from(discard_before - self.begin).unwrap());
                self.begin = discard_before;
                Ok(Value::Done)
            }
            Op::GenerateKeyPair => {
                let wrapped = self.random(32);
                let key = SigningKey::from_slice(&wrapped).unwrap();
                let mut public_key: [u8; 65] =
                    key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
                public_key[64] ^= u8::from(self.corrupt_points);
                Ok(Value::KeyPair { wrapped: wrapped.into(), public_key: public_key.into() })
            }
            Op::SignDigest { wrapped, digest } => {
                let key = SigningKey::from_slice(&wrapped).map_err(|_| Fault::Keystore)?;
                let signature: Signature = key.sign_prehash(digest.as_slice()).unwrap();
                let mut bytes: [u8; 64] = signature.to_bytes().into();
                if self.corrupt_signatures {
                    bytes[40] ^= 1;
                }
                Ok(Value::Signature(bytes.into()))
            }
            Op::WrapMacKey { secret, .. } => Ok(Value::Wrapped(secret.expose().to_vec().into())),
            Op::Mac { wrapped, hash, counters } => {
                self.roots += u64::from(hash == TotpHash::Sha512);
                let wrong = self.wrong_roots || self.flaky_roots && self.roots.is_multiple_of(2);
                let shift = u64::from(wrong && hash == TotpHash::Sha512);
                Ok(Value::Macs(
                    counters.iter().map(|counter| mac(hash, &wrapped, *counter ^ shift)).collect(),
                ))
            }
            // What the plugin says goes back as it came: the firmware's own tests show what it makes of it.
            Op::Attest { nonce, claims } => Ok(Value::Attested(encode_packed(&(nonce, claims)).into())),
            Op::Endorse { signing_key, sealing_key } => {
                Ok(Value::Endorsed(Box::new(self.endorse(&signing_key, &sealing_key))))
            }
        }
    }

    fn endorse(&self, signing_key: &[u8; 65], sealing_key: &[u8; 65]) -> Identity {
        let identity = statement::Identity {
            hsm: [self.hsm_id; 16],
            measurement: [5; 48],
            clock: statement::ClockMode::Manual,
            signing_key: PublicKey::parse(signing_key).unwrap(),
            sealing_key: PublicKey::parse(sealing_key).unwrap(),
        };
        let root = root();
        let signed = Signed::sign(&root, &identity);
        Identity {
            statement: signed.statement.into(),
            signature: signed.signature.into(),
            root: (*root.public_key().as_bytes()).into(),
        }
    }

    fn random(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            self.random += 1;
            bytes.extend_from_slice(&Sha256::digest(self.random.to_be_bytes()));
        }
        bytes.truncate(length);
        bytes
    }
}

fn mac(hash: TotpHash, key: &[u8], counter: u64) -> Secret {
    match hash {
        TotpHash::Sha1 => mac_with(Hmac::<sha1::Sha1>::new_from_slice(key).unwrap(), counter),
        TotpHash::Sha256 => mac_with(Hmac::<Sha256>::new_from_slice(key).unwrap(), counter),
        TotpHash::Sha512 => mac_with(Hmac::<Sha512>::new_from_slice(key).unwrap(), counter),
    }
}

fn mac_with(mut mac: impl Mac, counter: u64) -> Secret {
    mac.update(&counter.to_be_bytes());
    Secret::new(mac.finalize().into_bytes().to_vec())
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Random { .. } => "random",
        Op::ReadStore { .. } => "read",
        Op::ReadArchive { .. } => "read-archive",
        Op::Room => "room",
        Op::CutStore { .. } => "cut",
        Op::Archive { .. } => "archive",
        Op::Commit { .. } => "commit",
        Op::GenerateKeyPair => "generate",
        Op::SignDigest { .. } => "sign",
        Op::WrapMacKey { .. } => "wrap",
        Op::Mac { .. } => "mac",
        Op::Endorse { .. } => "endorse",
        Op::Attest { .. } => "attest",
    }
}
