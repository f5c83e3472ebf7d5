//! What the relay's operator sees: requests by route and outcome. No address, and nothing of what was carried.
//!
//! `docs/observability.md` lists it, and a test compares. It is served on a port of its own, so that no user's browser
//! ever reaches it.

use crate::refusal::NotCarried;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use tokio::sync::Semaphore;

/// How a request ended, in the response's extensions. Without one it was served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended(pub(crate) &'static str);

/// The HSM answered, be it with a refusal.
pub(crate) const CARRIED: &str = "carried";

/// The HSM did not answer.
pub(crate) const UNREACHABLE: &str = "unreachable";

/// There was something to give that needs no HSM.
const SERVED: &str = "served";

/// The routes that are told apart.
const ROUTES: [&str; 4] = ["hsm", "healthz", "page", "other"];

type Label = (&'static str, &'static str);
type Level = Gauge<u64, AtomicU64>;

/// Places that are taken one by one, and how many there are.
pub(crate) struct Places {
    pub(crate) free: Arc<Semaphore>,
    pub(crate) all: usize,
}

impl Places {
    fn taken(&self) -> u64 {
        self.all.saturating_sub(self.free.available_permits()) as u64
    }
}

/// All that is told of one relay.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<[Label; 2], Counter>,
    duration: Family<[Label; 1], Histogram, fn() -> Histogram>,
    in_flight: (Level, Places),
    connections: (Level, Places),
    has_page: bool,
}

/// From a quarter of a millisecond, doubling, to 8 seconds.
fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

impl Metrics {
    pub(crate) fn new(in_flight: Places, connections: Places, has_page: bool) -> Self {
        let mut registry = Registry::with_prefix("countersign_relay");
        let requests = Family::<[Label; 2], Counter>::default();
        let duration = Family::new_with_constructor(buckets as fn() -> Histogram);
        let [under_way, open] = [Level::default(), Level::default()];
        registry.register("requests", "Requests", requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to its answer",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register("in_flight", "Requests under way to the HSM", under_way.clone());
        registry.register("connections_open", "Open connections", open.clone());
        // A counter that begins at one has not risen: what may happen is there before it does.
        for outcome in NotCarried::ALL.map(NotCarried::word).into_iter().chain([CARRIED, UNREACHABLE]) {
            drop(requests.get_or_create(&[("route", "hsm"), ("outcome", outcome)]));
        }
        for route in ROUTES {
            drop(duration.get_or_create(&[("route", route)]));
        }
        Self {
            registry,
            requests,
            duration,
            in_flight: (under_way, in_flight),
            connections: (open, connections),
            has_page,
        }
    }

    fn route(&self, path: &str) -> &'static str {
        match path {
            "/v1/hsm" => "hsm",
            "/healthz" => "healthz",
            _ if self.has_page => "page",
            _ => "other",
        }
    }

    fn text(&self) -> String {
        for (level, places) in [&self.in_flight, &self.connections] {
            level.set(places.taken());
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes every write");
        text
    }
}

/// Counts every request of the public port.
pub(crate) async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let (route, began) = (metrics.route(request.uri().path()), Instant::now());
    let response = next.run(request).await;
    let outcome = response.extensions().get().map_or(SERVED, |Ended(word)| *word);
    metrics.requests.get_or_create(&[("route", route), ("outcome", outcome)]).inc();
    metrics.duration.get_or_create(&[("route", route)]).observe(began.elapsed().as_secs_f64());
    response
}

/// Answers `/metrics` on the port that is there for it.
pub(crate) async fn get(State(metrics): State<Arc<Metrics>>) -> Response {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], metrics.text()).into_response()
}
