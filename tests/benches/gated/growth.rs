//! The same work on HSMs with more and more accounts: how fast, how much memory and disk, how long to start.

use crate::gated::{key_label, sign_natively, stations};
use crate::population::Population;
use crate::rounds::{Contender, Round, Work, measure};
use countersign_tests::processes::memory_bytes;
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Act;
use countersign_wire::names::KeyLabel;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc::RLIM_INFINITY;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Native clients.
pub(crate) const CLIENTS: usize = 32;

/// Accounts whose keys stay open in SoftHSM: two keys each, far fewer than the HSM keeps open.
const HIT_SET: usize = 512;

/// Starts of which the middle one is told, and the accounts up to which there are so many: reading a large store takes long.
const STARTS: usize = 41;
const FEW_ACCOUNTS: usize = 10_000;

/// The same users sign in every run.
const SEED: u64 = 2_026;

/// Which users sign in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    /// Any, at random over all accounts.
    AtRandom,
    /// Always the same, whose keys are open in the keystore.
    SameAgain,
    /// In turn all others, each once: their keys are not open.
    OnceEach,
}

impl Users {
    pub(crate) fn of(keystore: Keystore, accounts: usize) -> &'static [Self] {
        match keystore {
            Keystore::Embedded => &[Self::AtRandom],
            // So few users' keys are all open before long.
            Keystore::Softhsm if accounts < 8 * HIT_SET => &[Self::SameAgain],
            Keystore::Softhsm => &[Self::SameAgain, Self::OnceEach],
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::AtRandom => "",
            Self::SameAgain => "-hit",
            Self::OnceEach => "-miss",
        }
    }
}

/// How long it took to start an HSM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Starts {
    /// From the start of its process until it serves, nothing of its store being in the page cache.
    pub(crate) cold: Duration,
    /// The same until it has released the first signature.
    pub(crate) first_signature: Duration,
    /// Until it serves when it was stopped a moment ago: the middle one of [`STARTS`], or of three with many accounts.
    pub(crate) warm: Duration,
}

/// Whether the plugins' memory is locked, as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Memory {
    #[default]
    Locked,
    /// This machine does not let so much be locked. The HSMs run without that layer of their sandbox.
    Unlocked,
}

/// What a plugin with a million accounts may want to lock: what it may have, and its code.
const LOCKED_BYTES: u64 = 96 * 1024 * 1024;

/// Makes sure that memory is locked for all HSMs that this process starts from here on, or for none of them: a
/// plugin that runs into the limit while it grows ends.
pub(crate) fn settle_memory() -> Memory {
    let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).expect("limits can be read");
    let may_raise = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok();
    if may_raise || hard >= LOCKED_BYTES {
        return Memory::Locked;
    }
    eprintln!("only {} KiB may be locked into memory (memlock): the HSMs run without", hard / 1024);
    setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0).expect("a limit can be lowered");
    Memory::Unlocked
}

/// One size that was grown to.
pub(crate) struct Grown {
    population: Population,
    starts: Option<Starts>,
}

impl Grown {
    /// Starts the HSM, several times if starts are measured.
    pub(crate) fn start(mut population: Population, memory: Memory, measure_starts: bool) -> Self {
        population.hsm.weak_sandbox = memory == Memory::Unlocked;
        let starts = measure_starts.then(|| {
            let starts = starts(&mut population);
            eprintln!("{}: {starts:?}", population.len());
            starts
        });
        population.hsm.run();
        Self { population, starts }
    }

    pub(crate) fn keystore(&self) -> Keystore {
        self.population.hsm.keystore
    }

    pub(crate) fn accounts(&self) -> usize {
        self.population.len()
    }

    /// What is left behind when the rounds are over.
    pub(crate) fn footprint(&self) -> Footprint {
        let [firmware, plugin] = stations(&self.population).map(|station| memory_bytes(station.pid));
        Footprint {
            accounts: self.accounts(),
            keystore: self.keystore(),
            firmware_bytes: firmware,
            plugin_bytes: plugin,
            store_bytes: store_bytes(&self.population.hsm),
            starts: self.starts,
        }
    }
}

/// What an HSM with so many accounts takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    pub(crate) accounts: usize,
    pub(crate) keystore: Keystore,
    pub(crate) firmware_bytes: u64,
    pub(crate) plugin_bytes: u64,
    pub(crate) store_bytes: u64,
    pub(crate) starts: Option<Starts>,
}

impl Footprint {
    pub(crate) fn store_bytes_per_account(&self) -> f64 {
        megabytes(self.store_bytes) * 1024.0 * 1024.0 / crate::rounds::as_f64(self.accounts)
    }

    pub(crate) fn json(&self) -> Value {
        let ms = |time: fn(&Starts) -> Duration| {
            self.starts.as_ref().map(|starts| time(starts).as_secs_f64() * 1e3)
        };
        json!({
            "accounts": self.accounts,
            "firmware_memory_bytes": self.firmware_bytes,
            "plugin_memory_bytes": self.plugin_bytes,
            "store_bytes": self.store_bytes,
            "store_bytes_per_account": self.store_bytes_per_account(),
            "start_ms": ms(|starts| starts.warm),
            "cold_start_ms": ms(|starts| starts.cold),
            "cold_start_to_first_signature_ms": ms(|starts| starts.first_signature),
        })
    }
}

/// Bytes as MiB.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).expect("less than four TiB")) / 1024.0
}

fn starts(population: &mut Population) -> Starts {
    forget(&population.hsm);
    let began = Instant::now();
    population.hsm.run();
    let cold = began.elapsed();
    let now = population.hsm.now();
    let last = population.len() - 1;
    sign_natively(population, &key_label(last), &population.phone(last).code(now));
    let first_signature = began.elapsed();
    population.hsm.stop();
    let count = if population.len() <= FEW_ACCOUNTS { STARTS } else { 3 };
    let mut warm: Vec<Duration> = (0..count)
        .map(|_| {
            let began = Instant::now();
            population.hsm.run();
            let taken = began.elapsed();
            population.hsm.stop();
            taken
        })
        .collect();
    warm.sort();
    Starts { cold, first_signature, warm: warm[count / 2] }
}

/// Puts the store out of the page cache.
fn forget(hsm: &Hsm) {
    for file in files_below(&hsm.home().join("store")) {
        let file = File::open(file).expect("a file of the store");
        file.sync_all().expect("the disk syncs");
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("advice is taken");
    }
}

/// What the store takes of the disk.
fn store_bytes(hsm: &Hsm) -> u64 {
    let files = files_below(&hsm.home().join("store"));
    files.iter().map(|file| fs::metadata(file).expect("a file of the store").blocks() * 512).sum()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the HSM");
    let paths = entries.map(|entry| entry.expect("a folder can be read").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// So many signatures by native clients.
pub(crate) struct Growth<'a> {
    grown: &'a Grown,
    users: Users,
    signatures: usize,
    rng: RefCell<fastrand::Rng>,
    next: RefCell<usize>,
}

impl<'a> Growth<'a> {
    pub(crate) fn new(grown: &'a Grown, users: Users, signatures: usize) -> Self {
        let signatures = if users == Users::AtRandom { signatures } else { signatures.min(HIT_SET) };
        let rng = RefCell::new(fastrand::Rng::with_seed(SEED));
        Self { grown, users, signatures, rng, next: RefCell::new(HIT_SET) }
    }

    /// Different users: each signs once with a code.
    fn draw(&self) -> Vec<usize> {
        let accounts = self.grown.accounts();
        match self.users {
            Users::AtRandom => {
                let mut drawn = self.rng.borrow_mut().choose_multiple(0..accounts, self.signatures);
                self.rng.borrow_mut().shuffle(&mut drawn);
                drawn
            }
            Users::SameAgain => (0..self.signatures).collect(),
            Users::OnceEach => {
                let mut next = self.next.borrow_mut();
                let others =
                    (HIT_SET..accounts).cycle().skip(*next - HIT_SET).take(self.signatures).collect();
                *next = HIT_SET + (*next - HIT_SET + self.signatures) % (accounts - HIT_SET);
                others
            }
        }
    }
}

/// What the figures are called.
pub(crate) fn name(keystore: Keystore, users: Users, accounts: usize) -> String {
    format!("growth/{}{}/{accounts}", keystore.word(), users.suffix())
}

impl Contender for Growth<'_> {
    fn name(&self) -> String {
        name(self.grown.keystore(), self.users, self.grown.accounts())
    }

    fn threads(&self) -> usize {
        CLIENTS
    }

    fn round(&self) -> Round {
        let population = &self.grown.population;
        let now = population.hsm.advance(30);
        let signers =
            self.draw().into_iter().map(|number| (key_label(number), population.phone(number).code(now)));
        let work = Signing { population, signers: signers.collect() };
        measure(CLIENTS, self.signatures, &stations(population), &work)
    }
}

struct Signing<'a> {
    population: &'a Population,
    /// Keys and codes.
    signers: Vec<(KeyLabel, String)>,
}

impl Work for Signing<'_> {
    fn warm_up(&self, _thread: usize) {
        self.population.hsm.client.call(None, Act::Status).expect("the HSM answers");
    }

    fn sign(&self, _thread: usize, number: usize) {
        let (key, code) = &self.signers[number];
        sign_natively(self.population, key, code);
    }
}
