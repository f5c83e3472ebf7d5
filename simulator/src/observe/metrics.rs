//! What is counted and measured, and how it is told. `docs/observability.md` lists all of it, and a test compares.
//!
//! Labels have values from short lists of the program's own; what comes from outside never becomes one. The one
//! exception are the names of tenants, if the operator asks for them, and these come from the ceremony folder.

use super::words::{CALL_OUTCOMES, CALLS};
use crate::boundary::InForce;
use crate::log;
use crate::sandbox::Layer;
use countersign_wire::client::Act;
use countersign_wire::reason::Reason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, EncodeMetric, LabelSetEncoder,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// One label and its value.
pub(super) type Label = (&'static str, &'static str);

/// A gauge of unsigned numbers.
pub(super) type Level = Gauge<u64, AtomicU64>;

/// How a request ended, besides `refused`.
pub(super) const DONE: &str = "done";
/// It was refused.
pub(super) const REFUSED: &str = "refused";
/// The plugin died while it was under way, so that nobody knows.
pub(super) const DROPPED: &str = "dropped";
/// The value of a label where there is nothing to say.
pub(super) const NONE: &str = "none";

/// What became of a connection.
pub(super) const CONNECTIONS: [&str; 4] = ["admitted", "stranger", "full", "failed"];

/// How the plugin's life ended.
pub(super) const ENDS: [&str; 3] = ["stopped", "halted", "gone"];

/// The labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) act: &'static str,
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
    /// Only where the operator asked for it.
    pub(super) tenant: Option<&'static str>,
}

impl EncodeLabelSet for Request {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        let labels = [("act", self.act), ("outcome", self.outcome), ("reason", self.reason)];
        for label in labels.into_iter().chain(self.tenant.map(|tenant| ("tenant", tenant))) {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// A histogram's constructor, which a family can name.
type Buckets = fn() -> Histogram;

/// From a quarter of a millisecond, doubling, to 8 seconds: a signature takes about one to ten milliseconds.
fn of_requests() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// From 16 microseconds, doubling, to half a second: a MAC takes some microseconds, a synced commit some hundred.
fn of_calls() -> Histogram {
    Histogram::new(exponential_buckets(0.000_016, 2.0, 16))
}

/// Everything that is told of one HSM.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    pub(super) requests: Family<Request, Counter>,
    pub(super) refusals: Family<[Label; 1], Counter>,
    pub(super) request_duration: Family<[Label; 1], Histogram, Buckets>,
    pub(super) in_flight: Level,
    pub(super) bytes_waiting: Level,
    pub(super) open_connections: Level,
    pub(super) connections: Family<[Label; 1], Counter>,
    pub(super) calls: Family<[Label; 2], Counter>,
    pub(super) call_duration: Family<[Label; 1], Histogram, Buckets>,
    pub(super) call_wait: Family<[Label; 1], Histogram, Buckets>,
    pub(super) appended: Family<[Label; 1], Counter>,
    pub(super) stored: Family<[Label; 1], Level>,
    pub(super) disk: Family<[Label; 1], Level>,
    pub(super) plugin_starts: Counter,
    pub(super) plugin_restarts: Counter,
    pub(super) plugin_ends: Family<[Label; 1], Counter>,
    pub(super) ready: Level,
    pub(super) answers: Level,
    pub(super) not_serving: Family<[Label; 1], Level>,
    pub(super) clock_sure: Level,
    pub(super) clock_unix: Level,
    pub(super) layers: Family<[Label; 1], Level>,
    pub(super) boots: Level,
    pub(super) memory: Family<[Label; 2], Level>,
    pub(super) spans: Family<[Label; 1], Counter>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("countersign")),
            requests: Family::default(),
            refusals: Family::default(),
            request_duration: Family::new_with_constructor(of_requests),
            in_flight: Level::default(),
            bytes_waiting: Level::default(),
            open_connections: Level::default(),
            connections: Family::default(),
            calls: Family::default(),
            call_duration: Family::new_with_constructor(of_calls),
            call_wait: Family::new_with_constructor(of_calls),
            appended: Family::default(),
            stored: Family::default(),
            disk: Family::default(),
            plugin_starts: Counter::default(),
            plugin_restarts: Counter::default(),
            plugin_ends: Family::default(),
            ready: Level::default(),
            answers: Level::default(),
            not_serving: Family::default(),
            clock_sure: Level::default(),
            clock_unix: Level::default(),
            layers: Family::default(),
            boots: Level::default(),
            memory: Family::default(),
            spans: Family::default(),
        };
        metrics.begin_at_zero();
        metrics.register_requests();
        metrics.register_calls();
        metrics.register_plugin();
        metrics
    }

    /// What may happen for the first time is told before it does: a counter that begins at one has not risen.
    fn begin_at_zero(&self) {
        for reason in Reason::ALL {
            drop(self.refusals.get_or_create(&[("reason", reason.word())]));
        }
        for act in Act::WORDS {
            drop(self.request_duration.get_or_create(&[("act", act)]));
        }
        for outcome in CONNECTIONS {
            drop(self.connections.get_or_create(&[("outcome", outcome)]));
        }
        for call in CALLS {
            for outcome in CALL_OUTCOMES {
                drop(self.calls.get_or_create(&[("call", call), ("outcome", outcome)]));
            }
            drop(self.call_duration.get_or_create(&[("call", call)]));
            drop(self.call_wait.get_or_create(&[("call", call)]));
        }
        for file in ["log", "archive"] {
            drop(self.appended.get_or_create(&[("file", file)]));
        }
        for end in ENDS {
            drop(self.plugin_ends.get_or_create(&[("end", end)]));
        }
        for outcome in ["written", "dropped"] {
            drop(self.spans.get_or_create(&[("outcome", outcome)]));
        }
    }

    fn register_requests(&self) {
        let registry = &mut *self.registry();
        registry.register("requests", "Requests answered by the HSM", self.requests.clone());
        registry.register("refusals", "Requests refused", self.refusals.clone());
        registry.register_with_unit(
            "request_duration",
            "From the last byte of a request to its reply",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        registry.register("requests_in_flight", "Requests without an answer", self.in_flight.clone());
        registry.register_with_unit(
            "requests_waiting",
            "Length of all requests without an answer",
            Unit::Bytes,
            self.bytes_waiting.clone(),
        );
        registry.register("connections_open", "Open connections of clients", self.open_connections.clone());
        registry.register("connections", "Connections of clients", self.connections.clone());
        registry.register("spans", "Spans of traces", self.spans.clone());
        registry.register_collector(Box::new(LogEvents));
    }

    fn register_calls(&self) {
        let registry = &mut *self.registry();
        registry.register("hal_calls", "What the firmware did for the plugin", self.calls.clone());
        registry.register_with_unit(
            "hal_call_duration",
            "How long the firmware took for it",
            Unit::Seconds,
            self.call_duration.clone(),
        );
        registry.register_with_unit(
            "hal_call_wait",
            "How long it waited for a thread",
            Unit::Seconds,
            self.call_wait.clone(),
        );
        registry.register_with_unit(
            "store_appended",
            "Appended to the store and synced",
            Unit::Bytes,
            self.appended.clone(),
        );
        registry.register_with_unit("store", "Length of the store", Unit::Bytes, self.stored.clone());
        registry.register_with_unit("store_disk", "The store's disk", Unit::Bytes, self.disk.clone());
    }

    fn register_plugin(&self) {
        let registry = &mut *self.registry();
        registry.register("plugin_starts", "Plugins started", self.plugin_starts.clone());
        registry.register("plugin_restarts", "Plugins started after one died", self.plugin_restarts.clone());
        registry.register("plugin_ends", "Plugins that ended", self.plugin_ends.clone());
        registry.register("plugin_ready", "1 while a plugin takes requests", self.ready.clone());
        registry.register("plugin_answers", "1 if the plugin just answered", self.answers.clone());
        registry.register(
            "not_serving",
            "1: the HSM does not serve, for this reason",
            self.not_serving.clone(),
        );
        registry.register("clock_sure", "1 if the plugin believes the clock", self.clock_sure.clone());
        registry.register_with_unit("clock_unix", "The HSM's clock", Unit::Seconds, self.clock_unix.clone());
        registry.register("sandbox_layer", "1 if the plugin runs in this layer", self.layers.clone());
        registry.register("boot_count", "How often the plugin was started in its life", self.boots.clone());
        registry.register_with_unit(
            "process_memory",
            "Memory of the HSM's processes",
            Unit::Bytes,
            self.memory.clone(),
        );
    }

    /// What does not change while the HSM runs.
    pub(super) fn describe(&self, labels: [Label; 3], measurement: String) {
        let labels: Vec<(String, String)> = labels
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain([
                ("measurement".to_owned(), measurement),
                ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ])
            .collect();
        self.registry().register("hsm", "What runs here", Info::new(labels));
    }

    /// The layers that this boundary should have: 1 for those that are there, 0 for those that are missing. Nothing is told of
    /// them before, nor of layers that another boundary has.
    pub(super) fn tell_layers(&self, in_force: &InForce) {
        for layer in Layer::ALL {
            let is_in = |words: &[String]| words.iter().any(|word| word == layer.word());
            let is_there = is_in(&in_force.layers);
            if is_there || is_in(&in_force.missing) {
                set_bool(&self.layers.get_or_create(&[("layer", layer.word())]), is_there);
            }
        }
    }

    pub(super) fn observe_request(&self, request: &Request, took: Duration) {
        let (act, reason, outcome) = (request.act, request.reason, request.outcome);
        self.requests.get_or_create(request).inc();
        self.request_duration.get_or_create(&[("act", act)]).observe(took.as_secs_f64());
        if outcome == REFUSED {
            self.refusals.get_or_create(&[("reason", reason)]).inc();
        }
    }

    /// All of it, in the text format of `OpenMetrics` 1.0.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(64 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry())
            .expect("a String takes every write");
        text
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().expect("encoding does not panic")
    }
}

/// How often each event of the log happened.
#[derive(Debug)]
struct LogEvents;

impl Collector for LogEvents {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut encoder = encoder.encode_descriptor("log_events", "Lines of the log.", None, kind)?;
        for (event, count) in log::counts() {
            let labels = [("event", event.word()), ("level", event.level().word())];
            ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Sets a gauge to 1 or 0.
pub(super) fn set_bool(gauge: &Level, is_so: bool) {
    gauge.set(u64::from(is_so));
}

/// The present value of a counter, for tests.
#[cfg(test)]
pub(super) fn value(counter: &Counter) -> u64 {
    counter.get()
}
