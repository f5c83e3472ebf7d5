//! Plays attacks, each in a process of its own: it may be told which programs to run, and may end as it likes.

use crate::attack::{Attack, Family, Tries};
use crate::families;
use crate::twin::Programs;
use countersign_tests::Keystore;
use countersign_tests::hsm::kill_now;
use countersign_tests::processes;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

/// How many are played at once.
const AT_ONCE: usize = 2;

/// How long one may take, on whatever machine: beyond, it hangs.
const PATIENCE: Duration = Duration::from_mins(10);

/// What an attack is played against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    /// The HSM as it ships (under the faults of the attack), with this keystore.
    Real(Keystore),
    /// The test build with every guard in place: what it gives without one is then the guard's doing.
    Control,
    /// The test build without this guard.
    Twin(&'static str),
}

/// One attack against one of them.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) family: &'static Family,
    pub(crate) attack: &'static Attack,
    pub(crate) against: Against,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) job: Job,
    /// What was tried; `Err`: it could not be played to its end.
    pub(crate) tries: Result<Tries, String>,
}

impl Outcome {
    /// Whether it is as it must be: nothing where all guards stand, something where one does not.
    pub(crate) fn is_good(&self) -> bool {
        match (&self.tries, self.job.against) {
            (Ok(tries), Against::Real(_) | Against::Control) => {
                tries.got.is_empty() && !tries.refused.is_empty()
            }
            (Ok(tries), Against::Twin(_)) => !tries.got.is_empty(),
            (Err(_), _) => false,
        }
    }
}

impl Job {
    fn name(&self) -> String {
        format!("{}/{}", self.family.name, self.attack.name)
    }

    fn keystore(&self) -> Keystore {
        match self.against {
            Against::Real(keystore) => keystore,
            Against::Control | Against::Twin(_) => Keystore::Embedded,
        }
    }

    fn play(self) -> Outcome {
        let mut off = self.attack.faults.to_vec();
        if let Against::Twin(guard) = self.against {
            off.push(guard);
        }
        let is_test_build = !off.is_empty() || self.against == Against::Control;
        let programs = is_test_build.then(|| Programs::without(&off));
        let itself = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(itself);
        child.arg("--job").arg(format!("{} {}", self.name(), self.keystore().word()));
        if let Some(programs) = &programs {
            child.env("COUNTERSIGN_TEST_HSM", &programs.hsm).env("COUNTERSIGN_TEST_IMAGE", &programs.image);
            child.env("COUNTERSIGN_TEST_CLI", &programs.cli).env("COUNTERSIGN_TEST_TIMING", &programs.timing);
        }
        let Ended { well, said, log } = run(child);
        let tries: Option<Tries> = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
        let tries = match tries {
            // Without its guard an HSM may well not go on as the attack expects of one that is whole.
            Some(tries) if well || !tries.got.is_empty() => Ok(tries),
            _ => Err(log),
        };
        Outcome { job: self, tries }
    }

    fn line(&self, outcome: &Outcome) -> String {
        let against = match self.against {
            Against::Real(keystore) => keystore.word().to_owned(),
            Against::Control => "test build, all guards".to_owned(),
            Against::Twin(guard) => format!("without {guard}"),
        };
        let what = match &outcome.tries {
            Err(log) => format!("COULD NOT BE PLAYED\n{log}"),
            Ok(tries) => {
                let refused = tries.refused.iter().map(|(word, count)| format!("{word} ×{count}"));
                let list = if tries.got.is_empty() { refused.collect() } else { tries.got.clone() };
                let word = match (self.against, tries.got.is_empty()) {
                    (Against::Real(_) | Against::Control, true) => "refused",
                    (Against::Real(_) | Against::Control, false) => "BREACHED",
                    (Against::Twin(_), true) => "DOES NOT BITE",
                    (Against::Twin(_), false) => "bites",
                };
                format!("{word}: {}", list.join(", "))
            }
        };
        format!("{:<44} {against:<34} {what}", self.name())
    }
}

/// How a process that played an attack ended.
struct Ended {
    well: bool,
    said: String,
    log: String,
}

/// Runs it to its end, or to the end of everybody's patience; then it and all that it started are killed.
fn run(mut child: Command) -> Ended {
    let file = || tempfile::tempfile().expect("a temporary file");
    let (mut said, mut log) = (file(), file());
    let write_to = |file: &File| Stdio::from(file.try_clone().expect("a file can be shared"));
    child.stdin(Stdio::null()).stdout(write_to(&said)).stderr(write_to(&log));
    let mut child = child.spawn().expect("this program can be started");
    let (pid, (tell, ended)) = (child.id(), mpsc::channel());
    std::thread::spawn(move || tell.send(child.wait()));
    let status = ended.recv_timeout(PATIENCE).ok().and_then(Result::ok);
    if status.is_none() {
        processes::descendants(pid).into_iter().chain([pid]).for_each(kill_now);
    }
    let text = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("what was written can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut log = text(&mut log);
    if status.is_none() {
        log.push_str("it did not end\n");
    }
    Ended { well: status.is_some_and(|status| status.success()), said: text(&mut said), log }
}

/// Plays all of them, a few at once, and says of each how it went. The outcomes come in the order of the jobs.
pub(crate) fn play_all(jobs: &[Job]) -> Vec<Outcome> {
    let waiting: Mutex<VecDeque<(usize, Job)>> = Mutex::new(jobs.iter().copied().enumerate().collect());
    let done: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("nobody panics with it").pop_front();
                    let Some((at, job)) = next else { break };
                    let outcome = job.play();
                    println!("{}", job.line(&outcome));
                    done.lock().expect("nobody panics with it").push((at, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nobody panics with it");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Plays one in this process; the last line on standard output is what came of it.
pub(crate) fn play_here(job: &str) -> ExitCode {
    let (name, keystore) = job.split_once(' ').expect("a job names an attack and a keystore");
    let chosen = families::chosen(&[name.to_owned()]).expect("the attack is there");
    let keystore = [Keystore::Embedded, Keystore::Softhsm].into_iter().find(|one| one.word() == keystore);
    let mut tries = Tries::default();
    let played = catch_unwind(AssertUnwindSafe(|| {
        (chosen[0].1.play)(keystore.expect("the keystore is there"), &mut tries);
    }));
    println!("{}", serde_json::to_string(&tries).expect("plain data"));
    if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
