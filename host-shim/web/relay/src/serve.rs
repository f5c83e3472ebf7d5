//! One relay, from its first connection to its last.

use crate::carry::{self, Peer};
use crate::headers::{self, Origins};
use crate::limits::Rates;
use crate::metrics::{self, Metrics, Places};
use crate::page::{self, Page};
use crate::refusal::NotCarried;
use axum::Router;
use axum::extract::Extension;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use countersign_client::{Client, HostConfig};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 512;

/// The longest that a request's head may take to come, and that a connection may lie idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a connection lives, whatever it does: more than the longest call to an HSM.
const CONNECTION_AGE_MAX: Duration = Duration::from_mins(11);

/// How long requests that are under way have to end once the relay is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// The most connections to the metrics at a time.
const METRICS_CONNECTIONS_MAX: usize = 4;

/// How much one relay takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The requests to the HSM that one client address may make in a minute; all together may make 20 times as many.
    pub requests_per_minute: u32,
    /// The requests to the HSM that may be under way at a time.
    pub max_in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests_per_minute: 120, max_in_flight: 32 }
    }
}

/// What one relay is told.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// The users' page, if it serves one.
    pub page: Option<Page>,
    /// The origins, besides its own, whose pages may talk to it: `https://host[:port]`, letter for letter.
    pub allow_origins: Vec<String>,
    /// Whether a proxy in front of it says in `X-Forwarded-For` whom it speaks for.
    pub behind_proxy: bool,
    /// How much it takes on.
    pub limits: Limits,
    /// Where its metrics are served, if anywhere: on this machine alone.
    pub metrics: Option<SocketAddr>,
}

/// Where a relay that serves can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// By users' devices.
    pub listen: SocketAddr,
    /// By its operator.
    pub metrics: Option<SocketAddr>,
}

/// Why a relay cannot serve.
#[derive(Debug)]
pub enum RelayError {
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The system gives it no threads, no signals or no sockets.
    System(io::Error),
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, why) => write!(f, "cannot listen on {address}: {why}"),
            Self::System(why) => write!(f, "cannot serve: {why}"),
        }
    }
}

impl std::error::Error for RelayError {}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) hsm: Arc<Client>,
    pub(crate) rates: Rates,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) origins: Origins,
    pub(crate) behind_proxy: bool,
}

/// Serves until SIGINT or SIGTERM, then lets what is under way end. `ready` is called once with the addresses, when
/// connections are accepted.
pub fn serve(relay: Relay, hsm: &HostConfig, ready: impl FnOnce(Serving)) -> Result<(), RelayError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(relay.limits.max_in_flight)
        .enable_all()
        .build()
        .map_err(RelayError::System)?;
    let served = runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt()).map_err(RelayError::System)?;
        let mut terminated = signal(SignalKind::terminate()).map_err(RelayError::System)?;
        let stop = async move {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        };
        run(relay, hsm, ready, stop).await
    });
    runtime.shutdown_timeout(STOP_TIMEOUT);
    served
}

async fn run(
    relay: Relay,
    hsm: &HostConfig,
    ready: impl FnOnce(Serving),
    stop: impl Future<Output = ()>,
) -> Result<(), RelayError> {
    let (listener, listen) = listen_on(relay.listen).await?;
    let (connections, graceful) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), GracefulShutdown::new());
    let wanted = relay.metrics;
    let (router, metrics) = router(relay, hsm, &connections);
    let mut told = None;
    if let Some(wanted) = wanted {
        let (listener, address) = listen_on(wanted).await?;
        told = Some(address);
        tokio::spawn(tell(listener, metrics));
    }
    ready(Serving { listen, metrics: told });
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = accept(&listener, &connections) => {
                let (stream, peer, permit) = accepted;
                attend(stream, router.clone().layer(Extension(Peer(peer.ip()))), &graceful, permit);
            }
            () = &mut stop => break,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await;
    Ok(())
}

async fn listen_on(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RelayError> {
    let failed = |why| RelayError::Listen(address, why);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Serves the metrics, for as long as the relay does.
async fn tell(listener: TcpListener, metrics: Arc<Metrics>) {
    let router =
        Router::new().route("/metrics", get(metrics::get)).fallback(nothing_here).with_state(metrics);
    // It ends with the relay, and nobody waits for it.
    let (connections, graceful) =
        (Arc::new(Semaphore::new(METRICS_CONNECTIONS_MAX)), GracefulShutdown::new());
    loop {
        let (stream, _, permit) = accept(&listener, &connections).await;
        attend(stream, router.clone(), &graceful, permit);
    }
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = Arc::clone(connections).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            // The client is gone already, or the system is short of something: it passes, but not in a hot loop.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn attend(stream: TcpStream, router: Router, graceful: &GracefulShutdown, permit: OwnedSemaphorePermit) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // How a connection ends is its client's affair.
        let _ = tokio::time::timeout(CONNECTION_AGE_MAX, connection).await;
        drop(permit);
    });
}

fn router(relay: Relay, hsm: &HostConfig, connections: &Arc<Semaphore>) -> (Router, Arc<Metrics>) {
    // Even where host.toml names one: there is no API key in this process.
    let hsm = HostConfig { api_key_file: None, ..hsm.clone() };
    let shared = Arc::new(Shared {
        hsm: Arc::new(Client::new(hsm)),
        rates: Rates::new(relay.limits.requests_per_minute, Instant::now()),
        in_flight: Arc::new(Semaphore::new(relay.limits.max_in_flight)),
        origins: Origins::new(&relay.allow_origins),
        behind_proxy: relay.behind_proxy,
    });
    let under_way = Places { free: Arc::clone(&shared.in_flight), all: relay.limits.max_in_flight };
    let open = Places { free: Arc::clone(connections), all: CONNECTIONS_MAX };
    let metrics = Arc::new(Metrics::new(under_way, open, relay.page.is_some()));
    let carried = post(carry::post).options(carry::preflight).fallback(no_method);
    let router = Router::new().route("/v1/hsm", carried).route("/healthz", get(healthz).fallback(no_method));
    let router = match relay.page {
        Some(page) => router.fallback(page::get).layer(Extension(Arc::new(page))),
        None => router.fallback(nothing_here),
    };
    let counted = from_fn_with_state(Arc::clone(&metrics), metrics::count);
    (router.with_state(shared).layer(counted), metrics)
}

/// That the relay itself serves. It does not ask the HSM: whoever watches that asks `countersign status`.
async fn healthz() -> Response {
    headers::of_an_answer("{\"serving\":true}\n".into_response())
}

async fn nothing_here() -> Response {
    headers::of_an_answer(NotCarried::NotFound.into_response())
}

async fn no_method() -> Response {
    headers::of_an_answer(NotCarried::Method.into_response())
}

#[cfg(test)]
mod tests;
