//! The firmware: does what the plugin asks, a step at a time, so that a crash or another call comes between any two.

use crate::choices::Choices;
use crate::disk::Disk;
use crate::history::Coverage;
use crate::keystore;
use crate::weather::{Weather, strikes};
use countersign_wire::hal::{Fault, Op, Secret, Value};
use serde_bytes::ByteArray;

/// A call under way.
pub struct Call {
    /// What for.
    pub op: Op,
    /// Nothing is done of it before this step of the history.
    pub not_before: u64,
    stage: u8,
    /// What came of it, once that is known.
    pub result: Option<Result<Value, Fault>>,
}

impl Call {
    /// A call that was just made.
    pub fn new(op: Op, not_before: u64) -> Self {
        Self { op, not_before, stage: 0, result: None }
    }

    /// Whether anything was done of it.
    pub fn is_begun(&self) -> bool {
        self.stage > 0
    }
}

/// What the calls work on.
pub struct Hardware<'a> {
    /// The disk.
    pub disk: &'a mut Disk,
    /// NVRAM.
    pub nvram: &'a mut Option<Vec<u8>>,
    /// All chance.
    pub rng: &'a mut Choices,
    /// What may go wrong.
    pub weather: &'a Weather,
    /// What did.
    pub coverage: &'a mut Coverage,
}

/// What one step of a call did besides.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing that others must know.
    Something,
    /// NVRAM was written: the commit is durable.
    Durable,
}

impl Hardware<'_> {
    /// One step of a call.
    pub fn step(&mut self, call: &mut Call) -> Done {
        let stage = call.stage;
        call.stage += 1;
        match &call.op {
            Op::Commit { append, nvram, discard_before, .. } => {
                let (append, nvram) = (append.as_slice(), nvram.as_slice());
                match stage {
                    0 => call.result = self.write_log(append),
                    1 => self.sync_log(append),
                    2 => {
                        if self.strike(self.weather.write_fault, "fault: nvram write refused") {
                            call.result = Some(Err(Fault::Store));
                            return Done::Something;
                        }
                        *self.nvram = Some(nvram.to_vec());
                        return Done::Durable;
                    }
                    _ => {
                        self.disk.no_need_before(*discard_before);
                        if !self.strike(self.weather.lazy_discard, "disk: discard put off")
                            && self.disk.discard()
                        {
                            self.coverage.count("disk: segment discarded");
                        }
                        call.result = Some(self.answer_commit());
                    }
                }
            }
            Op::Archive { append, .. } => {
                let append = append.as_slice();
                if stage == 0 {
                    call.result = self.write_archive(append);
                } else {
                    // The archive is written so seldom that it must be lied about more often.
                    let odds = self.weather.lying_sync.saturating_mul(8);
                    if self.strike(odds, "fault: lying sync of the archive") {
                        self.disk.suspect = true;
                    } else {
                        self.disk.archive.sync();
                    }
                    self.coverage.count("disk: archive appended");
                    call.result = Some(Ok(Value::Done));
                }
            }
            op => call.result = Some(self.at_once(&op.clone())),
        }
        Done::Something
    }

    fn strike(&mut self, chance: u16, what: &'static str) -> bool {
        let strikes = strikes(self.rng, chance);
        if strikes {
            self.coverage.count(what);
        }
        strikes
    }

    fn write_log(&mut self, append: &[u8]) -> Option<Result<Value, Fault>> {
        if append.is_empty() {
            return None;
        }
        if self.disk.full {
            self.coverage.count("fault: full disk, commit");
            return Some(Err(Fault::StoreFull));
        }
        if self.strike(self.weather.write_fault, "fault: log write") {
            let some = self.rng.usize(..=append.len());
            self.disk.append(&append[..some]);
            return Some(Err(Fault::Store));
        }
        self.disk.append(append);
        None
    }

    fn sync_log(&mut self, append: &[u8]) {
        if !append.is_empty() && self.strike(self.weather.lying_sync, "fault: lying sync of the log") {
            self.disk.suspect = true;
        } else {
            self.disk.log.sync();
        }
    }

    /// The last thing that can go wrong with a commit: it is done, and the firmware says that it failed.
    fn answer_commit(&mut self) -> Result<Value, Fault> {
        if self.strike(self.weather.write_fault / 2, "fault: commit done but said to have failed") {
            return Err(Fault::Store);
        }
        Ok(Value::Done)
    }

    fn write_archive(&mut self, append: &[u8]) -> Option<Result<Value, Fault>> {
        if self.disk.full {
            self.coverage.count("fault: full disk, archive");
            return Some(Err(Fault::StoreFull));
        }
        if self.strike(self.weather.write_fault * 5, "fault: archive write") {
            let some = self.rng.usize(..=append.len());
            self.disk.archive.append(&append[..some]);
            return Some(Err(Fault::Store));
        }
        self.disk.archive.append(append);
        None
    }

    fn at_once(&mut self, op: &Op) -> Result<Value, Fault> {
        match op {
            Op::Random { length_bytes } => {
                if self.strike(self.weather.rng_fault, "fault: rng") {
                    return Err(Fault::Rng);
                }
                Ok(Value::Random(Secret::new(self.random((*length_bytes).into()))))
            }
            Op::ReadStore { offset, length_bytes } => {
                let bytes = self.disk.log.read(*offset, offset + u64::from(*length_bytes));
                let bytes = bytes.map(<[u8]>::to_vec);
                self.read(bytes)
            }
            Op::ReadArchive { offset, length_bytes } => {
                let bytes = self.disk.archive.read(*offset, offset + u64::from(*length_bytes));
                let bytes = bytes.map(<[u8]>::to_vec);
                self.read(bytes)
            }
            Op::Room => {
                let room = if self.disk.full { 0 } else { 1 << 30 };
                Ok(Value::Room(if self.rng.u8(..8) == 0 { None } else { Some(room) }))
            }
            Op::CutStore { end, archive_bytes } => {
                if self.strike(self.weather.write_fault, "fault: cut") {
                    return Err(Fault::Store);
                }
                if *archive_bytes < self.disk.archive.end() {
                    self.coverage.count("disk: archive cut at start");
                }
                self.disk.cut(*end, *archive_bytes);
                self.coverage.count("disk: cut at start");
                Ok(Value::Done)
            }
            _ if self.strike(self.weather.keystore_fault, "fault: keystore") => Err(Fault::Keystore),
            Op::GenerateKeyPair => {
                let random = self.random(32).try_into().expect("32 bytes were drawn");
                let (wrapped, public_key) = keystore::key_pair(random);
                Ok(Value::KeyPair { wrapped: wrapped.into(), public_key: public_key.into() })
            }
            Op::SignDigest { wrapped, digest } => {
                let mut signature = keystore::sign(wrapped, digest)?;
                if self.strike(self.weather.wrong_signature, "fault: wrong signature") {
                    signature[self.rng.usize(..64)] ^= 1 << self.rng.u8(..8);
                }
                Ok(Value::Signature(ByteArray::new(signature)))
            }
            Op::WrapMacKey { secret, .. } => Ok(Value::Wrapped(keystore::wrap(secret.expose()).into())),
            Op::Endorse { signing_key, sealing_key } => {
                Ok(Value::Endorsed(Box::new(keystore::endorse(signing_key, sealing_key))))
            }
            // Nobody in these histories asks for one.
            Op::Attest { nonce, .. } => Ok(Value::Attested(nonce.clone())),
            Op::Mac { wrapped, hash, counters } => keystore::macs(wrapped, *hash, counters).map(Value::Macs),
            Op::Commit { .. } | Op::Archive { .. } => unreachable!("these go step by step"),
        }
    }

    fn read(&mut self, bytes: Option<Vec<u8>>) -> Result<Value, Fault> {
        if self.strike(self.weather.unreadable, "fault: unreadable") {
            return Err(Fault::StoreUnreadable);
        }
        let mut bytes = bytes.ok_or(Fault::StoreUnreadable)?;
        if !bytes.is_empty() && self.strike(self.weather.flipped_read, "fault: flipped read") {
            let at = self.rng.usize(..bytes.len());
            bytes[at] ^= 1 << self.rng.u8(..8);
        }
        Ok(Value::Bytes(bytes.into()))
    }

    fn random(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.rng.fill(&mut bytes);
        bytes
    }
}
