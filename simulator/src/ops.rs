//! Does what the plugin asks. Everything the plugin can reach is here, and nothing here needs a plugin process:
//! tests run the plugin's core in process against the real parts.

use crate::boundary::InForce;
use crate::clock::Clock;
use crate::fuses::Fuses;
use crate::home::{Claim, Home, HomeLock};
use crate::keystore::{self, Keystore, KeystoreError, WRAPPED_MAX_BYTES};
use crate::lineage::Kept;
use crate::nvram::{STATE_SLOT_BYTES, Slots};
use crate::store::{Store, StoreFault};
use crate::{HsmError, attestation, ceremony, log};
use countersign_approvals::es256::PublicKey;
use countersign_approvals::statement::{self, Signed};
use countersign_release::{Lineage, Release};
use countersign_wire::client::{ClockMode, RANDOM_MAX_BYTES, TotpHash};
use countersign_wire::device::Identity;
use countersign_wire::hal::{
    APPEND_MAX_BYTES, Boot, Extent, Fault, NONCE_MAX_BYTES, NONCE_MIN_BYTES, NVRAM_MAX_BYTES, Op,
    PluginClaims, READ_MAX_BYTES, STORE_RESERVE_BYTES, Secret, Time, Value,
};
use serde_bytes::{ByteArray, ByteBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

/// The most counters that one call authenticates.
pub const COUNTERS_MAX: usize = 8;

/// The parts of one HSM that the plugin can reach through the firmware.
pub struct Hardware {
    home: Home,
    fuses: Fuses,
    release: Release,
    lineage: Lineage,
    sealing_key: Secret,
    clock: Clock,
    store: Store,
    nvram: Mutex<Slots>,
    /// The log before this is not needed any more.
    given_up: AtomicU64,
    keystore: Box<dyn Keystore>,
    in_force: InForce,
    /// The operator was told that there is little room.
    room_is_low: AtomicBool,
    _lock: HomeLock,
}

impl Hardware {
    /// Opens the HSM in this home, which this process has claimed, for the image that runs, which was measured. The state opens to
    /// that one where it is what the lineage has come to, and to no other.
    pub fn open(home: &Home, claim: Claim, release: Release, in_force: InForce) -> Result<Self, HsmError> {
        let Claim { fuses, lock } = claim;
        let kept = Kept::open(&home.nvram_lineage(), &fuses)?;
        let lineage = kept.lineage().clone();
        let state_key = kept.state_key(&fuses, &release)?;
        Ok(Self {
            sealing_key: fuses.sealing_key(state_key.expose(), &lineage.root()),
            release,
            lineage,
            clock: Clock::open(fuses.clock, &home.nvram_clock())?,
            store: Store::open(&home.store())?,
            nvram: Mutex::new(Slots::open(&home.nvram_state(), STATE_SLOT_BYTES)?),
            given_up: AtomicU64::new(0),
            keystore: keystore::open(fuses.keystore, &home.keystore())?,
            home: home.clone(),
            fuses,
            in_force,
            room_is_low: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// What the plugin learns when it is started now.
    pub fn boot(&self) -> Result<Boot, HsmError> {
        let nvram = self.nvram().content().to_vec();
        let tenants = ceremony::tenants(&self.home.tenants())?;
        for tenant in tenants.iter().filter(|tenant| tenant.policy.is_none()) {
            log::say_with(
                log::Event::PolicyMissing,
                &[("tenant", tenant.name.to_string().into())],
                format_args!(
                    "tenant {} has no policy of its own; the one for development permits it every transfer",
                    tenant.name
                ),
            );
        }
        Ok(Boot {
            hsm_id: ByteArray::new(self.fuses.hsm_id),
            sealing_key: self.sealing_key.clone(),
            measurement: ByteArray::new(*self.release.measurement.as_bytes()),
            clock: self.fuses.clock,
            keystore: self.keystore.name().into(),
            nvram: (!nvram.is_empty()).then(|| ByteBuf::from(nvram)),
            store: self.store.extent(),
            archive_bytes: self.store.archive_bytes(),
            tenants,
            missing_sandbox_layers: self.in_force.missing.clone(),
        })
    }

    /// The present.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The fuses.
    pub fn fuses(&self) -> &Fuses {
        &self.fuses
    }

    /// The image that runs: measurement, version, and whether it is for development or for release.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The images that had this HSM's state, up to the one that runs.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The keystore's name.
    pub fn keystore_name(&self) -> &'static str {
        self.keystore.name()
    }

    /// Lengths of the log, as far as it is kept, and of the archive.
    pub fn stored_bytes(&self) -> (u64, u64) {
        let Extent { begin, end } = self.store.extent();
        (end.saturating_sub(begin), self.store.archive_bytes())
    }

    /// What the store's disk has free for the HSM's user, and in all; `None`: the system does not tell.
    pub fn disk_bytes(&self) -> Option<(u64, u64)> {
        let disk = rustix::fs::statvfs(self.home.store()).ok()?;
        Some((disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)))
    }

    /// Whether store or NVRAM failed, so that nothing is believed until the HSM is started again.
    pub fn is_poisoned(&self) -> bool {
        self.store.is_poisoned()
    }

    /// Does one thing. Several threads may call this at once; commits and truncations come one at a time.
    pub fn perform(&self, op: Op) -> Result<Value, Fault> {
        match op {
            Op::Random { length_bytes } => random(length_bytes),
            Op::ReadStore { offset, length_bytes } => self.read_store(offset, length_bytes),
            Op::ReadArchive { offset, length_bytes } => self.read_archive(offset, length_bytes),
            Op::Room => Ok(Value::Room(self.room())),
            Op::CutStore { end, archive_bytes } => {
                self.store.cut(end, archive_bytes).map(|()| Value::Done).map_err(|fault| of_store(&fault))
            }
            Op::Commit { offset, append, nvram, discard_before } => {
                self.commit(offset, &append, &nvram)?;
                // What the commit before this one gave up: the plugin has its answer, and asks for nothing there any more.
                self.store.discard_before(self.given_up.swap(discard_before, Ordering::AcqRel));
                Ok(Value::Done)
            }
            Op::Archive { offset, append } => self.archive(offset, &append),
            Op::GenerateKeyPair => {
                let pair = self.keystore.generate_key_pair().map_err(|error| of_keystore(&error))?;
                let public_key = ByteArray::new(pair.public_key);
                Ok(Value::KeyPair { wrapped: bounded(pair.wrapped)?, public_key })
            }
            Op::SignDigest { wrapped, digest } => {
                let signature = self.keystore.sign_digest(opens(&wrapped)?, &digest);
                signature.map(|rs| Value::Signature(ByteArray::new(rs))).map_err(|error| of_keystore(&error))
            }
            Op::WrapMacKey { hash, secret } => {
                let wrapped = self.keystore.wrap_mac_key(hash, secret.expose());
                Ok(Value::Wrapped(bounded(wrapped.map_err(|error| of_keystore(&error))?)?))
            }
            Op::Mac { wrapped, hash, counters } => self.mac(&wrapped, hash, &counters),
            Op::Endorse { signing_key, sealing_key } => self.endorse(&signing_key, &sealing_key),
            Op::Attest { nonce, claims } => self.attest(nonce.into_vec(), *claims),
        }
    }

    /// The root says which keys the image has that it measured. What it says of HSM, image and clock it knows itself.
    fn endorse(&self, signing_key: &[u8; 65], sealing_key: &[u8; 65]) -> Result<Value, Fault> {
        let key = |bytes: &[u8; 65]| PublicKey::parse(bytes).map_err(|_| Fault::Limits);
        let identity = statement::Identity {
            hsm: self.fuses.hsm_id,
            measurement: *self.release.measurement.as_bytes(),
            clock: match self.fuses.clock {
                ClockMode::System => statement::ClockMode::System,
                ClockMode::Manual => statement::ClockMode::Manual,
            },
            signing_key: key(signing_key)?,
            sealing_key: key(sealing_key)?,
        };
        let root = self.fuses.root();
        let Signed { statement, signature } = Signed::sign(&root, &identity);
        Ok(Value::Endorsed(Box::new(Identity {
            statement: statement.into(),
            signature: ByteArray::new(signature),
            root: ByteArray::new(*root.public_key().as_bytes()),
        })))
    }

    /// Attests this HSM and the image that it runs. Of what the plugin says only the form is checked.
    fn attest(&self, nonce: Vec<u8>, said: PluginClaims) -> Result<Value, Fault> {
        if !(NONCE_MIN_BYTES..=NONCE_MAX_BYTES).contains(&nonce.len()) {
            return Err(Fault::Limits);
        }
        let facts = attestation::Facts {
            fuses: &self.fuses,
            release: &self.release,
            lineage: &self.lineage,
            keystore: self.keystore.name(),
            in_force: &self.in_force,
            unix_secs: self.now().unix_secs,
        };
        Ok(Value::Attested(facts.attest(nonce, said).into()))
    }

    fn read_store(&self, offset: u64, length_bytes: u32) -> Result<Value, Fault> {
        if length_bytes > READ_MAX_BYTES {
            return Err(Fault::Limits);
        }
        of_read(self.store.read(offset, length_bytes))
    }

    fn read_archive(&self, offset: u64, length_bytes: u32) -> Result<Value, Fault> {
        if length_bytes > READ_MAX_BYTES {
            return Err(Fault::Limits);
        }
        of_read(self.store.read_archive(offset, length_bytes))
    }

    /// How much room the store has to grow. What is little is said once, and again after there was enough.
    fn room(&self) -> Option<u64> {
        let room = match self.store.room_bytes() {
            Ok(room) => room,
            Err(error) => {
                log::line(format_args!("how much room the store's disk has cannot be told: {error}"));
                return None;
            }
        };
        let is_low = room < ROOM_TOLD_BELOW_BYTES;
        if !self.room_is_low.swap(is_low, Ordering::AcqRel) && is_low {
            let (room, reserve) = (room / MIB, STORE_RESERVE_BYTES / MIB);
            log::line(format_args!(
                "the store's disk has room for {room} MiB more; below {reserve} MiB nothing new is begun: make room"
            ));
        }
        Some(room)
    }

    fn archive(&self, offset: u64, append: &[u8]) -> Result<Value, Fault> {
        if append.len() > APPEND_MAX_BYTES {
            return Err(Fault::Limits);
        }
        self.store.append_to_archive(offset, append).map(|()| Value::Done).map_err(|fault| of_store(&fault))
    }

    fn commit(&self, offset: u64, append: &[u8], nvram: &[u8]) -> Result<(), Fault> {
        if append.len() > APPEND_MAX_BYTES || nvram.is_empty() || nvram.len() > NVRAM_MAX_BYTES {
            return Err(Fault::Limits);
        }
        // The order is what makes a crash harmless: what NVRAM names is on the disk before NVRAM names it.
        let mut slots = self.nvram();
        self.store.append(offset, append).map_err(|fault| of_store(&fault))?;
        slots.write(nvram).map_err(|error| {
            self.store.poison();
            log::say(
                log::Event::NvramFailed,
                format_args!("NVRAM failed: {error}; nothing is believed until the next start"),
            );
            Fault::Store
        })
    }

    fn mac(&self, wrapped: &[u8], hash: TotpHash, counters: &[u64]) -> Result<Value, Fault> {
        if !(1..=COUNTERS_MAX).contains(&counters.len()) {
            return Err(Fault::Limits);
        }
        let macs = self.keystore.mac(opens(wrapped)?, hash, counters);
        macs.map(Value::Macs).map_err(|error| of_keystore(&error))
    }

    fn nvram(&self) -> MutexGuard<'_, Slots> {
        self.nvram.lock().expect("nothing panics while it holds the NVRAM")
    }
}

fn random(length_bytes: u16) -> Result<Value, Fault> {
    if !(1..=RANDOM_MAX_BYTES).contains(&length_bytes) {
        return Err(Fault::Limits);
    }
    let mut bytes = vec![0; usize::from(length_bytes)];
    getrandom::fill(&mut bytes).map_err(|error| {
        log::say(log::Event::RngFailed, format_args!("the random number generator failed: {error}"));
        Fault::Rng
    })?;
    Ok(Value::Random(Secret::new(bytes)))
}

fn opens(wrapped: &[u8]) -> Result<&[u8], Fault> {
    if wrapped.len() <= WRAPPED_MAX_BYTES { Ok(wrapped) } else { Err(Fault::Limits) }
}

fn bounded(wrapped: Vec<u8>) -> Result<ByteBuf, Fault> {
    if wrapped.len() <= WRAPPED_MAX_BYTES { Ok(ByteBuf::from(wrapped)) } else { Err(Fault::Keystore) }
}

const MIB: u64 = 1024 * 1024;

/// With less room than this on the store's disk the operator is told.
const ROOM_TOLD_BELOW_BYTES: u64 = 32 * STORE_RESERVE_BYTES;

fn of_read(read: Result<Vec<u8>, StoreFault>) -> Result<Value, Fault> {
    read.map(|bytes| Value::Bytes(ByteBuf::from(bytes))).map_err(|fault| match fault {
        // Less than was asked for is the disk's fault, not the plugin's.
        StoreFault::OutOfRange => Fault::StoreUnreadable,
        other => of_store(&other),
    })
}

fn of_store(fault: &StoreFault) -> Fault {
    match fault {
        StoreFault::Io(error) => {
            log::say(log::Event::StoreFailed, format_args!("the store failed: {error}"));
            Fault::Store
        }
        StoreFault::Full(error) => {
            log::say(
                log::Event::StoreFull,
                format_args!("the store's disk is full, nothing was changed: {error}"),
            );
            Fault::StoreFull
        }
        StoreFault::Unreadable(error) => {
            log::say(log::Event::StoreUnreadable, format_args!("the store cannot be read: {error}"));
            Fault::StoreUnreadable
        }
        StoreFault::Poisoned => Fault::Store,
        StoreFault::OutOfRange => {
            log::say(
                log::Event::StoreFailed,
                "the store's files are not as the plugin knows them: is there one too many or too few?",
            );
            Fault::Limits
        }
    }
}

fn of_keystore(error: &KeystoreError) -> Fault {
    log::say(log::Event::KeystoreFailed, format_args!("the keystore refused: {error}"));
    match error {
        KeystoreError::SecretLength => Fault::Limits,
        KeystoreError::Rng(_) => Fault::Rng,
        _ => Fault::Keystore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::tests::plan;
    use crate::lineage;
    use crate::sandbox::Layer;
    use countersign_approvals::es256::SigningKey;
    use countersign_release::Measurement;

    fn fresh() -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("hsm")).unwrap();
        home.initialise(&plan()).unwrap();
        (folder, home)
    }

    fn open(home: &Home, missing: Vec<String>) -> Result<Hardware, HsmError> {
        let layers = Layer::ALL.iter().map(ToString::to_string).filter(|layer| !missing.contains(layer));
        let in_force = InForce { boundary: "process", layers: layers.collect(), missing };
        Hardware::open(home, home.claim()?, plan().first, in_force)
    }

    fn commit(offset: u64, append: &[u8], nvram: &[u8]) -> Op {
        let (append, nvram) = (ByteBuf::from(append), ByteBuf::from(nvram));
        Op::Commit { offset, append, nvram, discard_before: 0 }
    }

    #[test]
    fn what_was_committed_is_there_at_the_next_boot() {
        let (_folder, home) = fresh();
        let hardware = open(&home, vec!["tsc".into()]).unwrap();
        let boot = hardware.boot().unwrap();
        assert_eq!((boot.nvram.as_deref(), boot.store, boot.tenants.len()), (None, Extent::default(), 1));
        assert_eq!(hardware.perform(commit(0, b"entry", b"head")), Ok(Value::Done));
        assert_eq!(hardware.perform(commit(5, b"", b"head 2")), Ok(Value::Done));
        drop(hardware);
        let boot = open(&home, Vec::new()).unwrap().boot().unwrap();
        assert_eq!(boot.nvram.as_ref().map(|nvram| nvram.as_slice()), Some(b"head 2".as_slice()));
        assert_eq!(boot.store, Extent { begin: 0, end: 5 });
    }

    #[test]
    fn the_root_endorses_the_keys_of_this_image_on_this_hsm_and_nothing_else() {
        let (_folder, home) = fresh();
        let hardware = open(&home, Vec::new()).unwrap();
        let [signing, sealing] =
            [1, 2].map(|byte| SigningKey::from_scalar(&[byte; 32]).unwrap().public_key());
        let endorse = |signing_key: &[u8; 65]| Op::Endorse {
            signing_key: ByteArray::new(*signing_key),
            sealing_key: ByteArray::new(*sealing.as_bytes()),
        };
        let Ok(Value::Endorsed(endorsed)) = hardware.perform(endorse(signing.as_bytes())) else {
            panic!("not endorsed")
        };
        let root = PublicKey::parse(endorsed.root.as_slice()).unwrap();
        assert_eq!(root, hardware.fuses().root().public_key());
        let signed =
            Signed { statement: endorsed.statement.to_vec(), signature: endorsed.signature.into_array() };
        let said: statement::Identity = signed.verify(&root).unwrap();
        assert_eq!((said.hsm, said.measurement), (hardware.fuses().hsm_id, [7; 48]));
        assert_eq!((said.signing_key, said.sealing_key), (signing, sealing));
        assert_eq!(said.clock, statement::ClockMode::Manual);
        assert!(signed.verify::<statement::Identity>(&signing).is_err());
        assert_eq!(hardware.perform(endorse(&[4; 65])), Err(Fault::Limits), "not a point");
    }

    fn said() -> PluginClaims {
        PluginClaims {
            version: "1.2.3".into(),
            boot_count: 4,
            tenant: "default".parse().unwrap(),
            policy: None,
            officers_sha256: None,
            statement_key: ByteArray::new([1; 65]),
            sealing_key: ByteArray::new([2; 65]),
            log_key: ByteArray::new([4; 32]),
            store_head: ByteArray::new([3; 32]),
            clock_sure: false,
        }
    }

    #[test]
    fn attests_what_the_firmware_knows_itself_beside_what_the_image_says() {
        let (_folder, home) = fresh();
        let hardware = open(&home, vec!["tsc".into()]).unwrap();
        let attest = |length| Op::Attest { nonce: vec![6; length].into(), claims: Box::new(said()) };
        let Ok(Value::Attested(attestation)) = hardware.perform(attest(NONCE_MAX_BYTES)) else {
            panic!("not attested")
        };
        let root = hardware.fuses().root().public_key().fingerprint();
        let found = countersign_attestation::verify(&attestation, &root).unwrap();
        assert_ne!(found.attestation_key, found.root);
        let claims = found.claims;
        assert_eq!((claims.nonce, claims.hsm_id), (vec![6; NONCE_MAX_BYTES], hardware.fuses().hsm_id));
        assert_eq!((claims.measurement, claims.clock.as_str()), ([7; 48], "manual"));
        assert_eq!(claims.missing_layers, ["tsc"]);
        assert!(claims.layers.len() == 4 && !claims.layers.contains(&"tsc".to_owned()));
        assert_eq!((claims.plugin.version.as_str(), claims.plugin.boot_count), ("1.2.3", 4));
        assert_eq!((claims.plugin.store_head, claims.plugin.clock_sure), ([3; 32], false));
        for length in [0, NONCE_MIN_BYTES - 1, NONCE_MAX_BYTES + 1] {
            assert_eq!(hardware.perform(attest(length)), Err(Fault::Limits));
        }
    }

    #[test]
    fn nvram_takes_no_more_than_4_kib_whatever_the_plugin_keeps_in_it() {
        let (folder, home) = fresh();
        let hardware = open(&home, Vec::new()).unwrap();
        for _ in 0..5 {
            hardware.perform(commit(0, b"", &[0xff; NVRAM_MAX_BYTES])).unwrap();
            hardware.clock().advance(30).unwrap();
        }
        let files = std::fs::read_dir(folder.path().join("hsm/nvram")).unwrap();
        let lengths = files.map(|file| file.unwrap().metadata().unwrap().len());
        assert!(lengths.sum::<u64>() <= 4096);
        assert!(std::fs::metadata(home.fuses()).unwrap().len() <= crate::nvram::FUSES_MAX_BYTES as u64);
    }

    #[test]
    fn a_commit_at_the_wrong_offset_changes_neither_store_nor_nvram() {
        let (_folder, home) = fresh();
        let hardware = open(&home, Vec::new()).unwrap();
        hardware.perform(commit(0, b"entry", b"head")).unwrap();
        assert_eq!(hardware.perform(commit(4, b"x", b"new head")), Err(Fault::Limits));
        assert_eq!(hardware.perform(commit(6, b"x", b"new head")), Err(Fault::Limits));
        let boot = hardware.boot().unwrap();
        assert_eq!((boot.nvram.unwrap().into_vec(), boot.store.end), (b"head".to_vec(), 5));
    }

    #[test]
    fn after_a_failed_commit_nothing_is_believed_until_the_next_start() {
        let (_folder, home) = fresh();
        let hardware = open(&home, Vec::new()).unwrap();
        hardware.perform(commit(0, b"entry", b"head")).unwrap();
        std::fs::write(home.store().join("log-0000000000000000"), b"").unwrap();
        for op in [
            commit(5, b"x", b"new head"),
            commit(5, b"", b"new head"),
            Op::ReadStore { offset: 0, length_bytes: 0 },
            Op::CutStore { end: 0, archive_bytes: 0 },
        ] {
            assert_eq!(hardware.perform(op), Err(Fault::Store));
        }
        assert!(hardware.is_poisoned());
        assert_eq!(hardware.boot().unwrap().nvram.unwrap().into_vec(), b"head");
    }

    #[test]
    fn refuses_what_is_outside_the_limits() {
        let (_folder, home) = fresh();
        let hardware = open(&home, Vec::new()).unwrap();
        let mac = |counters| Op::Mac { wrapped: ByteBuf::new(), hash: TotpHash::Sha1, counters };
        for op in [
            Op::Random { length_bytes: 0 },
            Op::Random { length_bytes: RANDOM_MAX_BYTES + 1 },
            Op::ReadStore { offset: 0, length_bytes: READ_MAX_BYTES + 1 },
            Op::CutStore { end: 1, archive_bytes: 0 },
            commit(0, b"x", b""),
            commit(0, b"x", &[0; NVRAM_MAX_BYTES + 1]),
            commit(0, &vec![0; APPEND_MAX_BYTES + 1], b"head"),
            mac(vec![]),
            mac(vec![0; COUNTERS_MAX + 1]),
            Op::SignDigest {
                wrapped: ByteBuf::from([0; WRAPPED_MAX_BYTES + 1]),
                digest: ByteArray::new([0; 32]),
            },
            Op::WrapMacKey { hash: TotpHash::Sha1, secret: Secret::new(vec![1; 19]) },
        ] {
            let asked = format!("{op:?}");
            assert_eq!(hardware.perform(op), Err(Fault::Limits), "{asked}");
        }
        assert_eq!(
            hardware.perform(Op::ReadStore { offset: 0, length_bytes: 1 }),
            Err(Fault::StoreUnreadable)
        );
        assert_eq!(hardware.perform(mac(vec![1])), Err(Fault::Keystore));
        assert!(!hardware.is_poisoned());
    }

    #[test]
    fn i12_the_sealing_key_is_for_the_image_that_was_measured_alone() {
        let (_folder, home) = fresh();
        let first = plan().first;
        let hardware = Hardware::open(&home, home.claim().unwrap(), first, InForce::default()).unwrap();
        let boot = hardware.boot().unwrap();
        assert_eq!(boot.sealing_key.expose().len(), 32);
        assert_eq!(boot.measurement.as_slice(), first.measurement.as_bytes());
        assert_eq!((hardware.release(), hardware.lineage().steps()), (&first, 0));
        lineage::create(&home.nvram_lineage().with_extension("other"), hardware.fuses(), &first).unwrap();
        drop(hardware);
        let mut measurement = *first.measurement.as_bytes();
        measurement[47] ^= 1;
        let other = Release { measurement: Measurement::from_bytes(measurement), ..first };
        let refused = Hardware::open(&home, home.claim().unwrap(), other, InForce::default()).err().unwrap();
        assert_eq!(refused.exit_code(), 3);
        std::fs::rename(home.nvram_lineage().with_extension("other"), home.nvram_lineage()).unwrap();
        let hardware = Hardware::open(&home, home.claim().unwrap(), first, InForce::default()).unwrap();
        assert_ne!(hardware.boot().unwrap().sealing_key, boot.sealing_key, "it follows from the state key");
    }

    #[test]
    fn refuses_to_open_without_nvram_or_store() {
        for lost in ["nvram/state", "nvram/lineage", "store/log-0000000000000000", "store/archive"] {
            let (folder, home) = fresh();
            std::fs::remove_file(folder.path().join("hsm").join(lost)).unwrap();
            assert!(open(&home, Vec::new()).is_err(), "{lost}");
        }
    }
}
