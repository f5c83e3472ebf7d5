//! Runs the HSM: starts the plugin, watches it, starts it again when it dies, and stops everything together.
//!
//! A plugin that dies takes nothing with it: what it had not answered is not released, commits that were under way
//! finish, and its successor begins with what is on the disk.

use crate::boundary::Boundary;
use crate::home::{Claim, Home};
use crate::image::SealedImage;
use crate::link::PluginLink;
use crate::listener::{self, Admission};
use crate::observe::{Lookout, PluginEnd, Wanted};
use crate::ops::Hardware;
use crate::relay::{self, Crew, Relay, SMALL_STACK_BYTES, Said, Switchboard};
use crate::sandbox::Launched;
use crate::sandbox::verify::Found;
use crate::trust::Trust;
use crate::vm::qemu::Acceleration;
use crate::{HsmError, control, hardening, log};
use countersign_release::{Channel, Measurement, Release, Version};
use countersign_wire::client::ClockMode;
use countersign_wire::hal::{Boot, Event, halt_word};
use data_encoding::HEXLOWER;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Calls of the plugin that are under way at once. Measured: one is too few on two cores, three gain nothing.
const WORKERS: usize = 2;

/// The first restart is immediate; then the wait begins here and doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait before a restart.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A plugin that served this long is trusted to start again at once.
const GOOD_TIME: Duration = Duration::from_secs(10);

/// How long a plugin whose socket is gone may take to end by itself.
const END_TIME: Duration = Duration::from_secs(1);

/// How long it is waited for what a plugin said before its process was gone. It is there at once, or as soon as a thread gets its turn.
const LAST_WORDS_TIME: Duration = Duration::from_secs(10);

/// A plugin that says nothing for this long before it is ready is ended. An interpreted machine on a busy host may take a minute; one
/// with a large store asks for it piece by piece.
const SILENCE_MAX: Duration = Duration::from_mins(3);

/// How often a plugin that was never ready is started before the HSM gives up.
const FIRST_STARTS: u32 = 3;

/// What the operator decides when the HSM is started.
#[derive(Debug)]
pub struct RunPlan {
    /// The HSM.
    pub home: Home,
    /// Its lock and its fuses.
    pub claim: Claim,
    /// The image file; only one that the HSM takes is run.
    pub image: PathBuf,
    /// Start although sandbox layers are missing.
    pub weak_sandbox: bool,
    /// Who carries out a virtual machine's instructions.
    pub acceleration: Acceleration,
    /// Further users whose processes may connect.
    pub allow_uids: Vec<u32>,
    /// What of it can be seen.
    pub wanted: Wanted,
}

enum Notice {
    Stop,
    Plugin { start: u64, said: Said },
}

/// The line on standard output that says that the HSM serves.
#[derive(Serialize)]
struct Serving<'a> {
    socket: &'a Path,
    control: Option<&'a Path>,
    pid: u32,
    measurement: Measurement,
    version: Version,
    channel: Channel,
    /// Measurement of a virtual machine's kernel and first root.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    /// Where metrics are served, if the operator wants them.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<String>,
}

/// Runs the HSM until it is told to stop or cannot go on.
pub fn run(plan: RunPlan) -> Result<(), HsmError> {
    // Before anything is started, so that no signal is lost; the thread that waits for them comes later.
    let signals = Signals::new([SIGINT, SIGTERM]).map_err(HsmError::io("wait for signals"))?;
    let lookout = Lookout::open(&plan.wanted)?;
    let linger = plan.wanted.linger;
    let (notices, inbox) = channel();
    watch_signals(signals, notices.clone())?;
    let ended = serve(plan, &lookout, notices, &inbox);
    if let (Err(error), Some(endpoint)) = (&ended, &lookout.endpoint) {
        lookout.watch.stopped(error);
        log::line(format_args!(
            "{error}; {} tells why for {} s more, or until the HSM is stopped",
            endpoint.address(),
            linger.as_secs()
        ));
        stopped_within(&inbox, linger);
    }
    ended
}

fn serve(
    plan: RunPlan,
    lookout: &Lookout,
    notices: Sender<Notice>,
    inbox: &Receiver<Notice>,
) -> Result<(), HsmError> {
    let image = SealedImage::load(&plan.image)?;
    Trust::of(&plan.claim.fuses, &plan.home)?.admit(&image, &plan.image)?;
    let boundary = Boundary::open(&plan.claim.fuses, &plan.home, plan.weak_sandbox, plan.acceleration)?;
    let in_force = boundary.in_force();
    let hardware = Arc::new(Hardware::open(&plan.home, plan.claim, image.release(), in_force.clone())?);
    lookout.watch.opened(&hardware, &in_force);
    let switchboard = Arc::clone(&lookout.switchboard);
    let sockets = Sockets::open(&plan.home, &Admission::of(&plan.allow_uids), &hardware, &switchboard)?;
    let mut supervisor = Supervisor {
        image,
        boundary,
        hardware,
        switchboard,
        lookout,
        notices,
        inbox,
        sockets,
        starts: 0,
        announced: false,
    };
    supervisor.supervise()
}

fn watch_signals(mut signals: Signals, notices: Sender<Notice>) -> Result<(), HsmError> {
    let watch = move || {
        for _ in signals.forever() {
            if notices.send(Notice::Stop).is_err() {
                return;
            }
        }
    };
    spawn("signals", watch).map(drop)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, HsmError> {
    let thread = std::thread::Builder::new().name(name.into()).stack_size(SMALL_STACK_BYTES);
    thread.spawn(body).map_err(HsmError::io(format!("start the thread {name}")))
}

/// The sockets that clients see. Their files go with them.
struct Sockets {
    client: PathBuf,
    control: Option<PathBuf>,
}

impl Sockets {
    fn open(
        home: &Home,
        admission: &Admission,
        hardware: &Arc<Hardware>,
        switchboard: &Arc<Switchboard>,
    ) -> Result<Self, HsmError> {
        let (path, admitted, board) = (home.socket(), admission.clone(), Arc::clone(switchboard));
        let clients = listener::bind(&path, admission)?;
        spawn("listener", move || listener::serve(&clients, &admitted, &board))?;
        let mut sockets = Self { client: path, control: None };
        if hardware.clock().mode() == ClockMode::Manual {
            // Clients are not those who move the clock.
            let (path, owner, hardware) =
                (home.control_socket(), Admission::owner_only(), Arc::clone(hardware));
            let commands = listener::bind(&path, &owner)?;
            log::line("the clock is set by hand, which is for tests and development; keep no money here");
            spawn("control", move || control::serve(&commands, &owner, hardware.clock()))?;
            sockets.control = Some(path);
        }
        Ok(sockets)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in std::iter::once(&self.client).chain(&self.control) {
            // A file that is gone already is what is wanted.
            let _ = std::fs::remove_file(path);
        }
    }
}

struct Supervisor<'a> {
    image: SealedImage,
    boundary: Boundary,
    hardware: Arc<Hardware>,
    switchboard: Arc<Switchboard>,
    lookout: &'a Lookout,
    notices: Sender<Notice>,
    inbox: &'a Receiver<Notice>,
    sockets: Sockets,
    starts: u64,
    announced: bool,
}

/// How the life of one plugin ended.
enum End {
    /// The operator stopped the HSM.
    Stopped,
    /// It died after this time of service; `None` if it never was ready.
    Died(Option<Duration>),
}

impl Supervisor<'_> {
    fn supervise(&mut self) -> Result<(), HsmError> {
        let mut restarts_in_a_row: u32 = 0;
        loop {
            match self.one_life()? {
                End::Stopped => return Ok(()),
                End::Died(Some(served)) if served >= GOOD_TIME => restarts_in_a_row = 0,
                End::Died(_) => restarts_in_a_row += 1,
            }
            if self.hardware.is_poisoned() {
                let refused = "a write to the store or NVRAM failed, so nothing is believed until the HSM is started again (store-failed)";
                return Err(HsmError::StoreRefused(refused.into()));
            }
            if !self.announced && restarts_in_a_row >= FIRST_STARTS {
                let failed = "the plugin was started several times and was never ready";
                // A machine's memory was asked for before it was started.
                let a_process = self.boundary.platform().is_none();
                return Err(HsmError::Plugin(
                    match hardening::locked_memory_is_short().filter(|_| a_process) {
                        Some(limit) => format!("{failed}; {limit}"),
                        None => failed.into(),
                    },
                ));
            }
            let wait = wait_before_restart(restarts_in_a_row);
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            log::say_with(
                log::Event::PluginRestarted,
                &[("wait_ms", millis.into())],
                format_args!("the plugin is started again in {millis} ms"),
            );
            if stopped_within(self.inbox, wait) {
                return Ok(());
            }
        }
    }

    /// Starts a plugin and stays with it until it is gone, together with all that it was doing.
    fn one_life(&mut self) -> Result<End, HsmError> {
        self.starts += 1;
        let life = Life::begin(self)?;
        self.lookout.observer.plugin_started(self.starts > 1);
        self.lookout.watch.runs(Some(life.child_pid()));
        let end = self.watch(&life);
        self.lookout.watch.runs(None);
        self.switchboard.set(None);
        // Nothing is read from NVRAM for the next plugin while something may still be written for this one, and the
        // keystore's library must be idle when the process exits.
        life.end();
        end
    }

    fn watch(&mut self, life: &Life) -> Result<End, HsmError> {
        let mut ready_since: Option<Instant> = None;
        loop {
            let notice = if ready_since.is_some() {
                self.inbox.recv().ok()
            } else if let Ok(notice) = hear(self.inbox, || life.relay.silent_for()) {
                notice
            } else {
                let silent = SILENCE_MAX.as_secs();
                log::say(
                    log::Event::PluginGone,
                    format_args!("the plugin is gone: it said nothing for {silent} s and was not ready"),
                );
                return Ok(self.ends(PluginEnd::Gone, End::Died(None)));
            };
            match notice {
                None | Some(Notice::Stop) => return Ok(self.ends(PluginEnd::Stopped, End::Stopped)),
                Some(Notice::Plugin { start, .. }) if start != self.starts => {}
                Some(Notice::Plugin { said: Said::Ready, .. }) => {
                    if self.boundary.verify(life.child_pid())? == Found::Gone {
                        return Ok(self.gone_at_once());
                    }
                    self.switchboard.set(Some(Arc::clone(&life.relay)));
                    ready_since = Some(Instant::now());
                    self.announce();
                }
                Some(Notice::Plugin { said: Said::Halt(why), .. }) if ready_since.is_none() => {
                    self.lookout.observer.plugin_ended(PluginEnd::Halted);
                    return Err(HsmError::StoreRefused(why));
                }
                Some(Notice::Plugin { said: Said::Halt(why), .. }) => {
                    // Its replies came before, and were passed on as they came.
                    return Ok(self.halted(&why, ready_since.map(|since| since.elapsed())));
                }
                Some(Notice::Plugin { said: Said::Gone(why), .. }) => {
                    log::say(log::Event::PluginGone, format_args!("the plugin is gone: {why}"));
                    let served = ready_since.map(|since| since.elapsed());
                    return Ok(self.ends(PluginEnd::Gone, End::Died(served)));
                }
            }
        }
    }

    /// The process was gone before it could be looked at: because it halted, perhaps, and then it has said why.
    fn gone_at_once(&self) -> End {
        let why = loop {
            // That its socket is closed comes after all that it said.
            match self.inbox.recv_timeout(LAST_WORDS_TIME) {
                Ok(Notice::Stop) => return self.ends(PluginEnd::Stopped, End::Stopped),
                Ok(Notice::Plugin { start, .. }) if start != self.starts => {}
                Ok(Notice::Plugin { said: Said::Ready, .. }) => {}
                Ok(Notice::Plugin { said: Said::Halt(why), .. }) => return self.halted(&why, None),
                Ok(Notice::Plugin { said: Said::Gone(why), .. }) => break why,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    break "nobody knows why".into();
                }
            }
        };
        log::say(
            log::Event::PluginGone,
            format_args!("the plugin is gone: it ended as soon as it was ready ({why})"),
        );
        self.ends(PluginEnd::Gone, End::Died(None))
    }

    fn halted(&self, why: &str, served: Option<Duration>) -> End {
        log::say_with(
            log::Event::PluginHalted,
            &[("reason", halt_word(why).into())],
            format_args!("the plugin halted: {why}"),
        );
        self.ends(PluginEnd::Halted, End::Died(served))
    }

    fn ends(&self, how: PluginEnd, end: End) -> End {
        self.lookout.observer.plugin_ended(how);
        end
    }

    /// Says, once, that the HSM serves.
    fn announce(&mut self) {
        log::say(log::Event::PluginReady, "the plugin is ready");
        if self.image.release().channel == Channel::Development {
            log::line("the image is for development: nobody has signed it; keep no money here");
        }
        if !std::mem::replace(&mut self.announced, true) {
            let Release { measurement, version, channel } = self.image.release();
            let serving = Serving {
                socket: &self.sockets.client,
                control: self.sockets.control.as_deref(),
                pid: std::process::id(),
                measurement,
                version,
                channel,
                platform: self.boundary.platform().map(|platform| HEXLOWER.encode(platform)),
                metrics: self.lookout.endpoint.as_ref().map(|endpoint| endpoint.address().to_string()),
            };
            let text = serde_json::to_string(&serving).expect("Home::at checked that the paths are UTF-8");
            let mut stdout = std::io::stdout().lock();
            // Nobody may be listening, and the HSM serves all the same.
            let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        }
    }
}

/// The plugin said nothing for too long.
struct Silent;

/// Waits for a notice, for as long as the plugin is not silent for too long. `None`: nobody is left who could send one.
fn hear(inbox: &Receiver<Notice>, silent_for: impl Fn() -> Duration) -> Result<Option<Notice>, Silent> {
    loop {
        let left = SILENCE_MAX.checked_sub(silent_for()).filter(|left| !left.is_zero()).ok_or(Silent)?;
        match inbox.recv_timeout(left) {
            Ok(notice) => return Ok(Some(notice)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            // It may have asked for something meanwhile.
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn stopped_within(inbox: &Receiver<Notice>, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    loop {
        match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
            Ok(Notice::Plugin { .. }) => {}
        }
    }
}

fn wait_before_restart(restarts_in_a_row: u32) -> Duration {
    match restarts_in_a_row {
        0 | 1 => Duration::ZERO,
        more => FIRST_WAIT.saturating_mul(1 << (more - 2).min(16)).min(LONGEST_WAIT),
    }
}

/// One plugin that runs, with the threads that belong to it.
struct Life {
    relay: Arc<Relay>,
    child: Child,
    threads: Vec<JoinHandle<()>>,
}

impl Life {
    fn begin(supervisor: &Supervisor<'_>) -> Result<Self, HsmError> {
        let observer = &supervisor.lookout.observer;
        let boot = supervisor.hardware.boot()?;
        observer.learn_tenants(&boot.tenants);
        let Launched { child, socket, stderr } = supervisor.boundary.launch(&supervisor.image)?;
        let relay = Relay::new(PluginLink::new(Arc::clone(&supervisor.hardware), socket), observer);
        let mut life = Self { relay, child, threads: Vec::new() };
        if let Err(error) = life.attend(supervisor, stderr, boot) {
            life.end();
            return Err(error);
        }
        Ok(life)
    }

    /// Starts the threads that it needs.
    fn attend(
        &mut self,
        supervisor: &Supervisor<'_>,
        stderr: ChildStderr,
        boot: Boot,
    ) -> Result<(), HsmError> {
        self.threads.push(spawn("plugin-stderr", move || relay::log_stderr(stderr))?);
        let (notices, start) = (supervisor.notices.clone(), supervisor.starts);
        let crew = Crew::start(&self.relay, &supervisor.hardware, WORKERS, move |said| {
            // The supervisor outlives these threads.
            let _ = notices.send(Notice::Plugin { start, said });
        });
        self.threads.extend(crew.map_err(HsmError::io("start the worker threads"))?);
        // Not here: to a plugin that does not read it would be written for ever, and nobody would hear that the HSM is to stop.
        let relay = Arc::clone(&self.relay);
        self.threads.push(spawn("boot", move || {
            // If the plugin is gone already, a worker says so.
            let _ = relay.link().deliver(Event::Boot(Box::new(boot)));
        })?);
        Ok(())
    }

    /// A plugin without a socket ends by itself, and how it ended is worth knowing.
    fn wait_briefly(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let handle = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let (Some(handle), Ok(time)) = (handle, Timespec::try_from(END_TIME)) {
            // Whatever comes of it, the process is killed and waited for afterwards.
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&time));
        }
    }

    fn child_pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the plugin and waits until nothing of it is left.
    fn end(mut self) {
        self.relay.close();
        self.wait_briefly();
        // It fails only when the process is gone; the plugin dies with it.
        let _ = self.child.kill();
        match self.child.wait() {
            Ok(status) => {
                log::say(log::Event::PluginEnded, format_args!("the plugin's process ended with {status}"));
            }
            Err(error) => log::line(format_args!("the plugin's process cannot be waited for: {error}")),
        }
        // Standard error ends when the last process that had it is gone, and that is the plugin.
        for thread in self.threads {
            // A thread that panicked has ended the process already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::InForce;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn clients_that_are_let_in_do_not_reach_the_control_channel() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("hsm")).unwrap();
        let plan = crate::home::tests::plan();
        home.initialise(&plan).unwrap();
        let in_force = InForce { boundary: "process", layers: Vec::new(), missing: Vec::new() };
        let hardware = Hardware::open(&home, home.claim().unwrap(), plan.first, in_force).unwrap();
        let switchboard = Arc::new(Switchboard::default());
        let further = Admission::of(&[u32::MAX - 1]);
        let sockets = Sockets::open(&home, &further, &Arc::new(hardware), &switchboard).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&sockets.client), 0o666);
        assert_eq!(mode(sockets.control.as_deref().unwrap()), 0o600);
    }

    #[test]
    fn one_restart_is_immediate_and_the_rest_are_ever_slower_up_to_a_bound() {
        let waits: Vec<_> = (0..12).map(wait_before_restart).collect();
        assert_eq!(waits[1], Duration::ZERO);
        assert_eq!(waits[2], FIRST_WAIT);
        assert!(waits[1..].is_sorted());
        assert_eq!(wait_before_restart(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn a_plugin_that_says_nothing_before_it_is_ready_is_not_waited_for() {
        let (notices, inbox) = channel();
        assert!(hear(&inbox, || SILENCE_MAX).is_err());
        // One that asks for its store goes on, however long that takes.
        let looks = std::cell::Cell::new(0_u32);
        let silent_for = || {
            looks.set(looks.get() + 1);
            if looks.get() == 3 {
                notices.send(Notice::Stop).expect("the inbox is there");
            }
            SILENCE_MAX.saturating_sub(Duration::from_millis(1))
        };
        assert!(matches!(hear(&inbox, silent_for), Ok(Some(Notice::Stop))));
        assert_eq!(looks.get(), 3);
        drop(notices);
        assert!(matches!(hear(&inbox, || Duration::ZERO), Ok(None)));
    }
}
