//! What it costs to make a group of sealed records durable, and to read one back: plain files next to embedded
//! databases. `cargo bench -p countersign-tests --bench storage`
//!
//! The plugin seals every record and checks it against a table of its own, so a storage library is asked for little:
//! take a group of opaque records, give one back by its id. Every contender gets the same updates of the same
//! records in the same order; they take turns, round after round.
//!
//! * [`plain`]: records appended to segment files, one `fdatasync` a group; where a record lies is known in memory;
//! * [`redb`](mod@redb_store): a copy-on-write B-tree; [`fjall`](mod@fjall_store): a log-structured merge tree.

mod fjall_store;
mod plain;
mod redb_store;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of a record: a sealed account with one key and its audit event.
const RECORD_BYTES: usize = 700;

/// Records updated by one commit.
const GROUPS: [usize; 3] = [1, 8, 32];

/// Different records.
const RECORDS: u64 = 100_000;

/// Commits of each size in one round.
const COMMITS: usize = 20;

/// Reads of one round.
const READS: usize = 1_000;

const ROUNDS: usize = 20;

/// Records that one commit writes while the store is filled.
const FILL_GROUP: u64 = 1_000;

const SEED: u64 = 7;

/// Something that keeps records.
trait Store {
    /// What it is called.
    fn name(&self) -> &'static str;
    /// Makes the newest versions of these records durable.
    fn commit(&mut self, records: &[(u64, Vec<u8>)]);
    /// The newest version of a record.
    fn read(&self, id: u64) -> Vec<u8>;
    /// The folder that it keeps them in.
    fn folder(&self) -> &Path;
    /// Lets it do what it would do in the background: give up room, merge.
    fn settle(&mut self);
}

/// What was measured of one store.
struct Figures {
    name: &'static str,
    commits: [Vec<Duration>; GROUPS.len()],
    reads: Vec<Duration>,
}

fn main() {
    let folder =
        tempfile::Builder::new().prefix("countersign-storage-").tempdir().expect("a temporary folder");
    let sub = |name: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).expect("a folder can be made");
        path
    };
    let mut stores: Vec<Box<dyn Store>> = vec![
        Box::new(plain::Plain::create(&sub("plain"))),
        Box::new(redb_store::Redb::create(&sub("redb"))),
        Box::new(fjall_store::Fjall::create(&sub("fjall"))),
    ];
    for store in &mut stores {
        eprintln!("filling {} with {RECORDS} records", store.name());
        let ids: Vec<u64> = (0..RECORDS).collect();
        for group in ids.chunks(usize::try_from(FILL_GROUP).expect("a small number")) {
            store.commit(&group.iter().map(|id| (*id, record(*id, 0))).collect::<Vec<_>>());
        }
    }
    let mut figures: Vec<Figures> = stores
        .iter()
        .map(|store| Figures { name: store.name(), commits: Default::default(), reads: Vec::new() })
        .collect();
    for round in 1..=ROUNDS {
        for (store, figures) in stores.iter_mut().zip(&mut figures) {
            // Each store gets the same updates.
            one_round(store.as_mut(), figures, fastrand::Rng::with_seed(SEED + round as u64));
        }
        eprintln!("round {round} of {ROUNDS}");
    }
    let mut rows = vec![heading()];
    for (store, figures) in stores.iter_mut().zip(&figures) {
        let after = disk_bytes(store.folder());
        store.settle();
        rows.push(row(figures, after, disk_bytes(store.folder())));
    }
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

fn one_round(store: &mut dyn Store, figures: &mut Figures, mut rng: fastrand::Rng) {
    for (group, latencies) in GROUPS.iter().zip(&mut figures.commits) {
        for _ in 0..COMMITS {
            let version = rng.u64(..);
            let records: Vec<(u64, Vec<u8>)> =
                (0..*group).map(|_| rng.u64(..RECORDS)).map(|id| (id, record(id, version))).collect();
            let began = Instant::now();
            store.commit(&records);
            latencies.push(began.elapsed());
        }
    }
    for _ in 0..READS {
        let id = rng.u64(..RECORDS);
        let began = Instant::now();
        let found = store.read(id);
        figures.reads.push(began.elapsed());
        assert!(found.len() == RECORD_BYTES && found.starts_with(&id.to_be_bytes()), "the record itself");
    }
}

/// Sealed records look random: nothing compresses them.
fn record(id: u64, version: u64) -> Vec<u8> {
    let mut bytes = vec![0; RECORD_BYTES];
    fastrand::Rng::with_seed(id ^ version.rotate_left(32)).fill(&mut bytes);
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    bytes
}

fn heading() -> Vec<String> {
    let commits = GROUPS.iter().map(|group| format!("commit of {group}: µs p50 / p99"));
    let rest = ["read: µs p50 / p99", "disk bytes a record", "after compaction"].map(str::to_owned);
    std::iter::once(String::new()).chain(commits).chain(rest).collect()
}

fn row(figures: &Figures, disk: u64, settled: u64) -> Vec<String> {
    let commits = figures.commits.iter().map(|latencies| percentiles(latencies));
    let rest = [percentiles(&figures.reads), (disk / RECORDS).to_string(), (settled / RECORDS).to_string()];
    std::iter::once(figures.name.to_owned()).chain(commits).chain(rest).collect()
}

fn percentiles(latencies: &[Duration]) -> String {
    let mut sorted = latencies.to_vec();
    sorted.sort();
    let us =
        |percent: usize| sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1e6;
    format!("{:.1} / {:.1}", us(50), us(99))
}

/// What the files in a folder take of the disk.
fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).expect("a folder of a store");
    let paths = entries.map(|entry| entry.expect("a folder can be read").path());
    paths
        .map(|path| {
            let metadata = std::fs::metadata(&path).expect("a file of a store");
            if metadata.is_dir() { disk_bytes(&path) } else { metadata.blocks() * 512 }
        })
        .sum()
}
