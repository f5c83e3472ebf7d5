//! `POST /v1/hsm`: one request of a device in, one reply of the HSM out.

use crate::metrics::{CARRIED, Ended, UNREACHABLE};
use crate::refusal::NotCarried;
use crate::serve::Shared;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use countersign_wire::client::{Outcome, Reply, Request};
use countersign_wire::reason::Reason;
use countersign_wire::{decode, encode};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest request of a device: an enrolment with four passkeys, and room.
pub(crate) const BODY_MAX_BYTES: usize = 64 * 1024;

/// The longest that a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How requests and replies are typed.
const CBOR: &str = "application/cbor";

/// The address that the connection came from.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Answers `POST /v1/hsm`.
pub(crate) async fn post(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: HttpRequest,
) -> Response {
    let (head, body) = request.into_parts();
    let mut response = match carry(&shared, peer, &head.headers, body).await {
        Ok((reply, ended)) => {
            let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(CBOR))];
            let mut response = (kind, reply).into_response();
            response.extensions_mut().insert(ended);
            response
        }
        Err(not) => not.into_response(),
    };
    shared.origins.open(&head.headers, &mut response);
    crate::headers::of_an_answer(response)
}

/// Answers `OPTIONS /v1/hsm`.
pub(crate) async fn preflight(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    crate::headers::of_an_answer(shared.origins.preflight(&headers))
}

async fn carry(
    shared: &Arc<Shared>,
    peer: IpAddr,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Vec<u8>, Ended), NotCarried> {
    let client = if shared.behind_proxy { forwarded_for(headers).unwrap_or(peer) } else { peer };
    shared
        .rates
        .take(client, Instant::now())
        .map_err(|retry_after_secs| NotCarried::TooOften { retry_after_secs })?;
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes() != CBOR.as_bytes()) {
        return Err(NotCarried::NotCbor);
    }
    let payload = read(headers, body).await?;
    let request = of_a_device(&payload)?;
    // Held until the HSM has answered, even where the client no longer waits: this bounds the threads.
    let permit = Arc::clone(&shared.in_flight).try_acquire_owned().map_err(|_| NotCarried::Busy)?;
    let hsm = Arc::clone(&shared.hsm);
    let asked = tokio::task::spawn_blocking(move || {
        let reply = hsm.forward(payload);
        drop(permit);
        reply
    });
    // Pages have one way to read what went wrong: a reply.
    Ok(match asked.await.unwrap_or_else(|_| Err(Reason::HsmUnreachable.into())) {
        Ok(reply) => (reply, Ended(CARRIED)),
        Err(refusal) => {
            let outcome = Outcome::Refused(refusal);
            (encode(&Reply { id: request.id, outcome }), Ended(UNREACHABLE))
        }
    })
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, NotCarried> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > BODY_MAX_BYTES as u64) {
        return Err(NotCarried::TooLarge);
    }
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        // The body was longer than it may be, or the client hung up and hears nothing any more.
        Ok(Err(_)) => Err(NotCarried::TooLarge),
        Err(_) => Err(NotCarried::TooSlow),
    }
}

/// The request, if it is one that a device may make.
fn of_a_device(payload: &[u8]) -> Result<Request, NotCarried> {
    let request: Request = decode(payload).map_err(|_| NotCarried::Malformed)?;
    if request.api_key.is_some() {
        return Err(NotCarried::ApiKey);
    }
    if request.act.is_of_device() { Ok(request) } else { Err(NotCarried::NotOfADevice) }
}

/// Whom the proxy in front says that it speaks for: the last address, which is the one that the proxy itself wrote.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}
