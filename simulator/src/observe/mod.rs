//! What operators see of an HSM: metrics, health and traces. `docs/observability.md` is the reference.
//!
//! Principles:
//! * It looks at what passes through the firmware, from outside the plugin. The plugin tells nothing more than it did.
//! * Words come from short lists ([`words`]): no secret, account, key, id or address can become one.
//! * What is not asked for costs nothing, and nobody's request ever waits for somebody who looks.
//!
//! * [`words`]: which request, reply or call it is; `metrics`: what is counted; `traces`: spans, and where they go.
//! * `watch`: how the HSM is right now; `endpoint`: where all that can be read.

mod endpoint;
mod metrics;
mod traces;
mod watch;
pub mod words;

pub use endpoint::{Address, Endpoint};
pub use traces::{Context, Ratio, Target};
pub use watch::{Lookout, Watch};

use crate::HsmError;
use countersign_wire::hal::{Fault, Op, Tenant, Value};
use countersign_wire::reason::{Blame, Reason};
use metrics::{DONE, DROPPED, Metrics, NONE, REFUSED, Request};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use traces::{Moment, Span, Tracer};
use words::{Asked, OTHER};

/// How much the threads that tell yield to those that work (`nice`).
const NICE: i32 = 10;

/// Names of tenants that become labels at the most; the rest share one.
const TENANTS_MAX: usize = 64;

/// What the operator wants to see.
#[derive(Debug)]
pub struct Wanted {
    /// Where metrics are served, if anywhere.
    pub metrics: Option<Address>,
    /// Whether requests are counted by tenant.
    pub tenants: bool,
    /// How long metrics stay when the HSM cannot serve: time to read why.
    pub linger: Duration,
    /// Where traces go, if anywhere.
    pub traces: Option<Target>,
    /// The share of requests that is traced.
    pub ratio: Ratio,
}

/// What looks at one HSM.
#[derive(Default)]
pub struct Observer {
    metrics: Option<Arc<Metrics>>,
    tracer: Option<Tracer>,
    /// The names that may become labels; not set where the operator did not ask for them.
    tenants: Option<OnceLock<Vec<&'static str>>>,
}

/// A request that was seen; tells of it when it ends. Empty where nobody looks.
#[derive(Default)]
pub struct Seen(Option<Box<SeenRequest>>);

struct SeenRequest {
    act: &'static str,
    /// The tenant that it names, as a label, if the operator asked for them.
    tenant: Option<words::Named<'static>>,
    began: Moment,
    trace: Option<Context>,
}

impl Seen {
    /// Where spans of its calls belong.
    pub fn trace(&self) -> Option<Context> {
        self.0.as_ref()?.trace
    }
}

/// A call that was seen. Empty where nobody looks.
#[derive(Default)]
pub struct SeenCall(Option<Box<SeenCallOf>>);

struct SeenCallOf {
    call: &'static str,
    /// Where it goes, and how much, if it appends.
    appends: Option<(&'static str, u64)>,
    asked_at: Instant,
    begun: Option<Moment>,
    /// The requests that it is made for, as far as they are traced.
    parents: Vec<Context>,
}

impl Observer {
    /// What looks as the operator wants it. Opens where traces go.
    pub fn new(wanted: &Wanted) -> Result<Self, HsmError> {
        let metrics = wanted.metrics.as_ref().map(|_| Arc::new(Metrics::new()));
        let told = metrics.clone();
        let wrote = move |written: u64, dropped: u64| {
            for (outcome, count) in [("written", written), ("dropped", dropped)] {
                if let Some(metrics) = &told {
                    metrics.spans.get_or_create(&[("outcome", outcome)]).inc_by(count);
                }
            }
        };
        let tracer = match &wanted.traces {
            Some(target) => Some(Tracer::open(target, wanted.ratio, wrote)?),
            None => None,
        };
        Ok(Self { metrics, tracer, tenants: wanted.tenants.then(OnceLock::new) })
    }

    /// The tenants, which do not change while the HSM runs.
    pub fn learn_tenants(&self, tenants: &[Tenant]) {
        if let Some(names) = &self.tenants {
            // They live as long as the process, and so do labels.
            let leaked = |tenant: &Tenant| -> &'static str { tenant.name.to_string().leak() };
            names.get_or_init(|| tenants.iter().take(TENANTS_MAX).map(leaked).collect());
        }
    }

    fn is_off(&self) -> bool {
        self.metrics.is_none() && self.tracer.is_none()
    }

    /// A request came in.
    pub fn request(&self, payload: &[u8]) -> Seen {
        if self.is_off() {
            return Seen(None);
        }
        let asked = words::asked(payload);
        let tenant = self.tenants.as_ref().and_then(|names| {
            let known = names.get().map(Vec::as_slice).unwrap_or_default();
            let label = |name: &str| known.iter().copied().find(|known| *known == name).unwrap_or(OTHER);
            asked.tenant.map(|named| named.with(label))
        });
        let trace = self.tracer.as_ref().and_then(Tracer::begin);
        Seen(Some(Box::new(SeenRequest { act: asked.act, tenant, began: Moment::now(), trace })))
    }

    /// The plugin answered it.
    pub fn replied(&self, seen: Seen, payload: &[u8]) {
        if let Seen(Some(request)) = seen {
            let reason = words::refused(payload);
            self.ended(&request, if reason.is_some() { REFUSED } else { DONE }, reason.unwrap_or(NONE));
        }
    }

    /// The firmware refused it itself.
    pub fn refused(&self, payload: &[u8], reason: Reason) {
        if let Seen(Some(request)) = self.request(payload) {
            self.ended(&request, REFUSED, reason.word());
        }
    }

    /// The plugin died before it answered.
    pub fn dropped(&self, seen: Seen) {
        if let Seen(Some(request)) = seen {
            self.ended(&request, DROPPED, NONE);
        }
    }

    fn ended(&self, request: &SeenRequest, outcome: &'static str, reason: &'static str) {
        let SeenRequest { act, tenant, began, trace } = *request;
        let took = began.instant.elapsed();
        // Whoever asks names any tenant; only some answers show that it was that one.
        let refused = (outcome != DONE).then_some(reason);
        let proven = words::proven_tenant(&Asked { act, tenant }, refused).unwrap_or(NONE);
        let tenant = self.tenants.as_ref().map(|_| proven);
        if let Some(metrics) = &self.metrics {
            metrics.observe_request(&Request { act, outcome, reason, tenant }, took);
        }
        if let Some(context) = trace {
            let is_device =
                Reason::ALL.iter().any(|known| known.word() == reason && known.blame() == Blame::Device);
            let attributes = vec![
                ("countersign.act", act.into()),
                ("countersign.outcome", outcome.into()),
                ("countersign.reason", reason.into()),
            ];
            let is_error = outcome == DROPPED || is_device;
            self.span(Span { context, parent: None, name: act, began, took, attributes, is_error });
        }
    }

    /// The plugin asked for something, on behalf of these requests.
    pub fn call(&self, op: &Op, parents: impl FnOnce() -> Vec<Context>) -> SeenCall {
        if self.is_off() {
            return SeenCall(None);
        }
        let appends = match op {
            Op::Commit { append, .. } => Some(("log", append.len() as u64)),
            Op::Archive { append, .. } => Some(("archive", append.len() as u64)),
            _ => None,
        };
        let parents = if self.tracer.is_some() { parents() } else { Vec::new() };
        let (call, asked_at) = (words::call(op), Instant::now());
        SeenCall(Some(Box::new(SeenCallOf { call, appends, asked_at, begun: None, parents })))
    }

    /// The firmware begins with it.
    pub fn call_begins(&self, SeenCall(seen): &mut SeenCall) {
        if let Some(seen) = seen {
            let now = Moment::now();
            if let Some(metrics) = &self.metrics {
                let waited = now.instant.saturating_duration_since(seen.asked_at);
                metrics.call_wait.get_or_create(&[("call", seen.call)]).observe(waited.as_secs_f64());
            }
            seen.begun = Some(now);
        }
    }

    /// It is done.
    pub fn call_ended(&self, SeenCall(seen): SeenCall, result: &Result<Value, Fault>) {
        let Some((seen, began)) = seen.and_then(|seen| seen.begun.map(|begun| (seen, begun))) else { return };
        let (outcome, took) = (words::call_outcome(result), began.instant.elapsed());
        if let Some(metrics) = &self.metrics {
            metrics.calls.get_or_create(&[("call", seen.call), ("outcome", outcome)]).inc();
            metrics.call_duration.get_or_create(&[("call", seen.call)]).observe(took.as_secs_f64());
            if let (Some((file, bytes)), true) = (seen.appends, result.is_ok()) {
                metrics.appended.get_or_create(&[("file", file)]).inc_by(bytes);
            }
        }
        let waited = began.instant.saturating_duration_since(seen.asked_at).as_micros();
        let is_shared = seen.appends.is_some();
        for parent in seen.parents {
            let Some(context) = Tracer::child(parent) else { continue };
            let attributes = vec![
                ("countersign.outcome", outcome.into()),
                ("countersign.wait_us", u64::try_from(waited).unwrap_or(u64::MAX).into()),
                ("countersign.shared", is_shared.into()),
            ];
            let (parent, is_error) = (Some(parent), result.is_err());
            self.span(Span { context, parent, name: seen.call, began, took, attributes, is_error });
        }
    }

    fn span(&self, span: Span) {
        let is_passed_on = self.tracer.as_ref().is_some_and(|tracer| tracer.end(span));
        if let (false, Some(metrics)) = (is_passed_on, &self.metrics) {
            metrics.spans.get_or_create(&[("outcome", "dropped")]).inc();
        }
    }

    /// A connection was admitted, or not.
    pub fn connection(&self, became: Connected) {
        if let Some(metrics) = &self.metrics {
            metrics.connections.get_or_create(&[("outcome", became.word())]).inc();
            if became == Connected::Admitted {
                metrics.open_connections.inc();
            }
        }
    }

    /// A connection that was admitted is over.
    pub fn disconnected(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.open_connections.dec();
        }
    }

    /// A plugin was started, or started again.
    pub fn plugin_started(&self, is_restart: bool) {
        if let Some(metrics) = &self.metrics {
            metrics.plugin_starts.inc();
            metrics.plugin_restarts.inc_by(u64::from(is_restart));
        }
    }

    /// A plugin is gone.
    pub fn plugin_ended(&self, end: PluginEnd) {
        if let Some(metrics) = &self.metrics {
            metrics.plugin_ends.get_or_create(&[("end", end.word())]).inc();
        }
    }

    fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_deref()
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// It is served.
    Admitted,
    /// It came from a user who may not connect.
    Stranger,
    /// There was no place for it.
    Full,
    /// The system could not do it.
    Failed,
}

impl Connected {
    const fn word(self) -> &'static str {
        match self {
            Connected::Admitted => "admitted",
            Connected::Stranger => "stranger",
            Connected::Full => "full",
            Connected::Failed => "failed",
        }
    }
}

/// How the life of a plugin ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginEnd {
    /// The HSM was stopped.
    Stopped,
    /// It refused to go on.
    Halted,
    /// It was gone without a word.
    Gone,
}

impl PluginEnd {
    const fn word(self) -> &'static str {
        match self {
            PluginEnd::Stopped => "stopped",
            PluginEnd::Halted => "halted",
            PluginEnd::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests;
