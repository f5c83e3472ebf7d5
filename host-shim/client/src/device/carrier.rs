//! How messages travel: the HSM's socket, or a relay. Neither is trusted.

use crate::client::{Client, new_request_id, read_reply};
use countersign_wire::client::{Act, Answer, Outcome, Request};
use countersign_wire::encode;
use countersign_wire::frame::CLIENT_MAX_BYTES;
use countersign_wire::reason::{Reason, Refusal};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// Carries what a device asks to the HSM, and the answer back. Anything but a well-formed answer to this very request is
/// [`Reason::HsmUnreachable`].
pub trait Carrier {
    /// Asks without an API key.
    fn carry(&self, act: Act) -> Result<Answer, Refusal>;
}

impl Carrier for Client {
    fn carry(&self, act: Act) -> Result<Answer, Refusal> {
        self.call(None, act)
    }
}

/// The longest that an exchange with a relay takes: longer than what HSMs are usually given.
const RELAY_TIMEOUT: Duration = Duration::from_mins(1);

/// A relay (`docs/relay.md`), reached over plain HTTP on this machine: a tunnel (`ssh -L`, a TLS proxy) reaches others.
pub struct HttpRelay {
    agent: ureq::Agent,
    address: String,
}

/// A text that names no relay on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARelay;

impl fmt::Display for NotARelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a relay is http://127.0.0.1:PORT, or another address of this machine; reach one elsewhere through a tunnel (ssh -L, or a TLS proxy)",
        )
    }
}

impl std::error::Error for NotARelay {}

impl HttpRelay {
    /// Of its base address. No proxy is used, whatever the environment says, and no redirect is followed.
    pub fn new(base: &str) -> Result<Self, NotARelay> {
        let uri: ureq::http::Uri = base.parse().map_err(|_| NotARelay)?;
        let host = uri.host().ok_or(NotARelay)?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let here = host == "localhost" || literal.is_ok_and(|address| address.is_loopback());
        let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
        if !here || !plain || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(NotARelay);
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(RELAY_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build();
        Ok(Self { agent: config.into(), address: format!("{}/v1/hsm", base.trim_end_matches('/')) })
    }
}

impl Carrier for HttpRelay {
    fn carry(&self, act: Act) -> Result<Answer, Refusal> {
        let unreachable = |_| Refusal::from(Reason::HsmUnreachable);
        let request = Request { id: new_request_id(), api_key: None, act };
        let payload = Zeroizing::new(encode(&request));
        let post = self.agent.post(&self.address).header("content-type", "application/cbor");
        let mut response = post.send(payload.as_slice()).map_err(unreachable)?;
        match response.status().as_u16() {
            200 => {}
            429 | 503 => {
                let wait = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
                let retry_after_secs = wait.and_then(|secs| secs.parse().ok());
                return Err(Refusal { reason: Reason::Busy, retry_after_secs });
            }
            _ => return Err(Reason::HsmUnreachable.into()),
        }
        let body = response.body_mut().with_config().limit(CLIENT_MAX_BYTES as u64);
        let reply = Zeroizing::new(body.read_to_vec().map_err(unreachable)?);
        match read_reply(&request, &reply).ok_or(Reason::HsmUnreachable)?.1 {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Refused(refusal) => Err(refusal),
        }
    }
}
