//! How the HSM is right now: what is looked up when somebody asks, and not counted as it happens.

use super::metrics::{Metrics, set_bool};
use super::{Observer, Wanted};
use crate::HsmError;
use crate::boundary::InForce;
use crate::listener::Connection;
use crate::ops::Hardware;
use crate::relay::{Relay, Switchboard};
use crate::sandbox::verify;
use countersign_wire::client::{Act, Answer, Outcome, Reply, Request, Status};
use countersign_wire::frame::{self, CLIENT_MAX_BYTES, HEADER_BYTES};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

/// How long the plugin may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// One HSM, for those who ask how it is.
pub struct Watch {
    observer: Arc<Observer>,
    switchboard: Arc<Switchboard>,
    seen: Mutex<Seen>,
    asking: Mutex<Option<Asking>>,
}

/// What the supervisor told so far.
#[derive(Default)]
struct Seen {
    hardware: Weak<Hardware>,
    /// `process` or `vm`; empty before the HSM is open.
    boundary: &'static str,
    /// The process that started the plugin which runs.
    launch_pid: Option<u32>,
    not_serving: Option<&'static str>,
}

/// A question that the plugin has not answered yet. While there is one, no other is asked.
struct Asking {
    relay: Weak<Relay>,
    answers: UnixStream,
}

impl Watch {
    /// Nothing is known yet but where to look.
    pub fn new(observer: Arc<Observer>, switchboard: Arc<Switchboard>) -> Self {
        Self { observer, switchboard, seen: Mutex::default(), asking: Mutex::default() }
    }

    /// The HSM is open, and its plugin will run in these layers.
    pub fn opened(&self, hardware: &Arc<Hardware>, in_force: &InForce) {
        {
            let mut seen = self.seen();
            seen.hardware = Arc::downgrade(hardware);
            seen.boundary = in_force.boundary;
        }
        let Some(metrics) = self.observer.metrics() else { return };
        let fuses = hardware.fuses();
        let labels = [
            ("boundary", in_force.boundary),
            ("keystore", hardware.keystore_name()),
            ("clock", fuses.clock.word()),
        ];
        metrics.describe(labels, hardware.release().measurement.to_hex());
        metrics.tell_layers(in_force);
    }

    /// This process started the plugin that runs, or none runs.
    pub fn runs(&self, launch_pid: Option<u32>) {
        self.seen().launch_pid = launch_pid;
    }

    /// The HSM does not serve, and will not.
    pub fn stopped(&self, error: &HsmError) {
        let word = error.word();
        self.seen().not_serving = Some(word);
        if let Some(metrics) = self.observer.metrics() {
            metrics.not_serving.get_or_create(&[("reason", word)]).set(1);
        }
    }

    /// Whether a plugin serves, and then whether it believes the clock; else a word that says why not.
    pub(super) fn readiness(&self) -> Result<bool, &'static str> {
        if let Some(word) = self.seen().not_serving {
            return Err(word);
        }
        let relay = self.switchboard.current().ok_or("starting")?;
        self.ask(&relay).map(|status| status.clock_sure).ok_or("plugin-not-answering")
    }

    /// All metrics, as they are now.
    pub(super) fn metrics(&self) -> String {
        let Some(metrics) = self.observer.metrics() else { return String::new() };
        self.look_at_plugin(metrics);
        self.look_at_store(metrics);
        self.look_at_processes(metrics);
        metrics.text()
    }

    fn look_at_plugin(&self, metrics: &Metrics) {
        let relay = self.switchboard.current();
        set_bool(&metrics.ready, relay.is_some());
        let (requests, bytes) = relay.as_ref().map(|relay| relay.unanswered()).unwrap_or_default();
        metrics.in_flight.set(requests);
        metrics.bytes_waiting.set(bytes);
        let status = relay.and_then(|relay| self.ask(&relay));
        set_bool(&metrics.answers, status.is_some());
        if let Some(status) = status {
            set_bool(&metrics.clock_sure, status.clock_sure);
            metrics.clock_unix.set(status.unix_time_secs);
            metrics.boots.set(status.boot_count);
        }
    }

    fn look_at_store(&self, metrics: &Metrics) {
        let Some(hardware) = self.seen().hardware.upgrade() else { return };
        let (log, archive) = hardware.stored_bytes();
        for (file, bytes) in [("log", log), ("archive", archive)] {
            metrics.stored.get_or_create(&[("file", file)]).set(bytes);
        }
        if let Some((free, total)) = hardware.disk_bytes() {
            for (kind, bytes) in [("free", free), ("total", total)] {
                metrics.disk.get_or_create(&[("kind", kind)]).set(bytes);
            }
        }
    }

    fn look_at_processes(&self, metrics: &Metrics) {
        let (boundary, launched) = {
            let seen = self.seen();
            (seen.boundary, seen.launch_pid)
        };
        let plugin = launched.and_then(|pid| status_of_plugin(boundary, pid));
        let firmware = std::fs::read_to_string("/proc/self/status").ok();
        for (process, status) in [("firmware", firmware), ("plugin", plugin)] {
            for (kind, name) in [("resident", "VmRSS"), ("locked", "VmLck"), ("swapped", "VmSwap")] {
                let labels = [("process", process), ("kind", kind)];
                match status.as_ref().and_then(|status| verify::kib(status, name)) {
                    Some(kib) => {
                        metrics.memory.get_or_create(&labels).set(kib * 1024);
                    }
                    // What is not known is not told: nothing would look like no swap.
                    None => {
                        metrics.memory.remove(&labels);
                    }
                }
            }
        }
    }

    /// Asks the plugin how it is, as any client may. One question is under way at a time, so that a plugin that does not
    /// answer is not asked more and more.
    fn ask(&self, relay: &Arc<Relay>) -> Option<Status> {
        let mut asking = self.asking.lock().expect("nothing panics while it asks");
        let is_of_this = |asking: &Asking| asking.relay.ptr_eq(&Arc::downgrade(relay));
        let under_way = if let Some(under_way) = asking.take().filter(is_of_this) {
            under_way
        } else {
            let (answers, ours) = UnixStream::pair().ok()?;
            answers.set_read_timeout(Some(PATIENCE)).ok()?;
            let request = Request { id: [0; 16].into(), api_key: None, act: Act::Status };
            let ours = Connection::new(ours, rustix::process::geteuid().as_raw());
            relay.ask_unseen(&ours, countersign_wire::encode(&request)).ok()?;
            Asking { relay: Arc::downgrade(relay), answers }
        };
        let Some(payload) = read_frame(&under_way.answers) else {
            *asking = Some(under_way);
            return None;
        };
        match countersign_wire::decode::<Reply>(&payload).ok()?.outcome {
            Outcome::Done(Answer::Status(status)) => Some(status),
            _ => None,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics while it holds what was seen")
    }
}

/// `/proc/PID/status` of the process whose memory the plugin is in: of a machine, the one that was started, QEMU; of a sandbox, the
/// one that this started.
pub(super) fn status_of_plugin(boundary: &str, launched: u32) -> Option<String> {
    if boundary == "vm" {
        return std::fs::read_to_string(format!("/proc/{launched}/status")).ok();
    }
    verify::child_of(launched).ok()?.map(|plugin| plugin.status)
}

fn read_frame(mut stream: &UnixStream) -> Option<Vec<u8>> {
    // An answer is written at once and whole, so what does not come has not been begun.
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).ok()?;
    let mut payload = vec![0; frame::payload_length(header, CLIENT_MAX_BYTES).ok()?];
    stream.read_exact(&mut payload).ok()?;
    Some(payload)
}

/// Everything that looks at one HSM, as its operator wants it.
pub struct Lookout {
    /// What looks at all that passes.
    pub observer: Arc<Observer>,
    /// Who answers how the HSM is.
    pub watch: Arc<Watch>,
    /// Which plugin takes requests.
    pub switchboard: Arc<Switchboard>,
    /// Where that can be read.
    pub endpoint: Option<super::Endpoint>,
}

impl Lookout {
    /// Opens what the operator wants to see, before anything else of the HSM is.
    pub fn open(wanted: &Wanted) -> Result<Self, HsmError> {
        let observer = Arc::new(Observer::new(wanted)?);
        let switchboard = Arc::new(Switchboard::watched_by(Arc::clone(&observer)));
        let watch = Arc::new(Watch::new(Arc::clone(&observer), Arc::clone(&switchboard)));
        let endpoint = match &wanted.metrics {
            Some(address) => Some(super::Endpoint::open(address, &watch)?),
            None => None,
        };
        Ok(Self { observer, watch, switchboard, endpoint })
    }
}
