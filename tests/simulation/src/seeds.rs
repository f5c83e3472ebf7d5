//! Many histories on all cores.

use crate::checkers::Violation;
use crate::choices::Choices;
use crate::history::Coverage;
use crate::world::{Beginning, Failure, Ran, World};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// One history in so many begins with an HSM that was in use for long.
const AGED_EVERY: u64 = 5;

/// From this seed on, some users have devices of their own.
pub const WITH_DEVICES: u64 = 1 << 32;

/// Steps of a history: some are short, few are long.
const STEPS: [u64; 4] = [150, 300, 300, 700];

/// The HSM that was in use for long, made once for each process.
fn aged() -> &'static Result<Beginning, Failure> {
    static AGED: OnceLock<Result<Beginning, Failure>> = OnceLock::new();
    AGED.get_or_init(Beginning::aged)
}

/// Runs the history of one seed. A panic of the plugin is a violation like any other.
pub fn run(seed: u64) -> Result<Ran, Failure> {
    catch_unwind(|| run_uncaught(seed)).unwrap_or_else(|_| {
        let violation = Violation {
            invariant: "the-plugin-never-panics",
            seen: "it panicked; see above where".to_owned(),
        };
        Err(Failure { violation, tail: String::new() })
    })
}

fn run_uncaught(seed: u64) -> Result<Ran, Failure> {
    let steps = STEPS[usize::try_from(seed / AGED_EVERY % STEPS.len() as u64).unwrap_or_default()];
    let beginning = if seed.is_multiple_of(AGED_EVERY) {
        match aged() {
            Ok(beginning) => beginning.clone(),
            Err(failure) => return Err(failure.clone()),
        }
    } else {
        Beginning::default()
    };
    let world = World::new(Choices::of_seed(seed), beginning, None);
    let world = if seed >= WITH_DEVICES { world.with_devices() } else { world };
    world.run(steps)
}

/// Runs the history that a script tells, of an HSM that is new. Some users have devices.
pub fn run_script(script: &[u8]) -> Result<Ran, Failure> {
    World::new(Choices::of_script(script), Beginning::default(), None).with_devices().run_script()
}

/// What came of many histories.
#[derive(Debug)]
pub struct Summary {
    /// How many there were.
    pub histories: u64,
    /// A hash over the hashes of all, in the order of their seeds.
    pub hash: [u8; 32],
    /// What happened how often.
    pub coverage: Coverage,
}

/// Runs the histories of all these seeds; or gives the lowest seed that failed.
pub fn run_all(
    seeds: Range<u64>,
    threads: usize,
    progress: impl Fn(u64) + Sync,
) -> Result<Summary, (u64, Failure)> {
    let next = AtomicU64::new(seeds.start);
    let first_failure = Mutex::new(None::<(u64, Failure)>);
    let hashes = Mutex::new(BTreeMap::new());
    let coverage = Mutex::new(Coverage::default());
    // A thread that panicked has nothing half done under a lock: each holds it for one assignment.
    let lowest =
        || first_failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(seed, _)| *seed);
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut own = Coverage::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || lowest().is_some_and(|failed| failed < seed) {
                        break;
                    }
                    match run(seed) {
                        Ok(ran) => {
                            own.add(ran.coverage);
                            hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, ran.hash);
                        }
                        Err(failure) => {
                            let mut first = first_failure.lock().unwrap_or_else(PoisonError::into_inner);
                            if first.as_ref().is_none_or(|(other, _)| seed < *other) {
                                *first = Some((seed, failure));
                            }
                        }
                    }
                    progress(seed - seeds.start);
                }
                coverage.lock().unwrap_or_else(PoisonError::into_inner).add(own);
            });
        }
    });
    if let Some(failed) = first_failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failed);
    }
    let hashes = hashes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut hash = Sha256::new();
    for one in hashes.values() {
        hash.update(one);
    }
    Ok(Summary {
        histories: hashes.len() as u64,
        hash: hash.finalize().into(),
        coverage: coverage.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}
