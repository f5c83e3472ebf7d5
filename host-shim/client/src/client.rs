//! [`Client`]: one request, one answer.

use crate::config::HostConfig;
use crate::connection::{Broken, Connection, Server, deadline_after};
use crate::pool::Pool;
use countersign_wire::client::{Act, Answer, Outcome, Reply, Request, RequestId};
use countersign_wire::frame::{self, CLIENT_MAX_BYTES, HEADER_BYTES};
use countersign_wire::names::ApiKey;
use countersign_wire::reason::{Reason, Refusal};
use countersign_wire::{decode, encode};
use std::time::Instant;
use zeroize::Zeroizing;

/// A client of one HSM: any number of threads, one request at a time on each connection.
pub struct Client {
    config: HostConfig,
    pool: Pool,
}

/// How an exchange on one connection ended without an answer.
enum Failure {
    /// The stream broke.
    Broken(Broken),
    /// What came back is no answer to what was asked.
    Garbage,
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// 16 fresh random bytes. Ends the process if the system has no randomness: nothing safe could follow.
pub fn new_request_id() -> RequestId {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("a running Linux system always has random bytes");
    RequestId::new(id)
}

impl Client {
    /// Connects when first called.
    pub fn new(config: HostConfig) -> Self {
        Self { config, pool: Pool::new() }
    }

    /// Asks under a fresh request id.
    ///
    /// Anything but a well-formed answer to this very request, within the configured time, is
    /// [`Reason::HsmUnreachable`]; whether the HSM did what was asked is then unknown.
    pub fn call(&self, api_key: Option<&ApiKey>, act: Act) -> Result<Answer, Refusal> {
        self.call_with_id(new_request_id(), api_key, act)
    }

    /// As [`Client::call`], under a request id of the caller's: a retry of the same thing repeats its id.
    pub fn call_with_id(&self, id: RequestId, api_key: Option<&ApiKey>, act: Act) -> Result<Answer, Refusal> {
        let request = Request { id, api_key: api_key.cloned(), act };
        match self.ask(&request, Zeroizing::new(encode(&request)))? {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Refused(refusal) => Err(refusal),
        }
    }

    /// Carries a request that somebody else encoded, and returns the reply as the HSM encoded it.
    ///
    /// Both are messages in their only valid form: a payload that is no [`Request`] is [`Reason::MalformedRequest`] and is
    /// not sent, and what comes back is a [`Reply`] to this very request or [`Reason::HsmUnreachable`]. A refusal by the
    /// HSM is a reply.
    pub fn forward(&self, payload: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let payload = Zeroizing::new(payload);
        let request: Request = decode(&payload).map_err(|_| Reason::MalformedRequest)?;
        let outcome = self.ask(&request, payload)?;
        Ok(encode(&Reply { id: request.id, outcome }))
    }

    /// Sends a request and takes what the HSM says to it.
    fn ask(&self, request: &Request, payload: Zeroizing<Vec<u8>>) -> Result<Outcome, Refusal> {
        let deadline = deadline_after(self.config.request_timeout);
        if payload.len() > CLIENT_MAX_BYTES {
            return Err(Reason::MalformedRequest.into());
        }
        let mut framed = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + payload.len()));
        frame::append(&mut framed, &payload);
        drop(payload);
        let mut outcome = self.exchange(request, &framed, deadline);
        if matches!(outcome, Err(Failure::Broken(Broken::Lost))) && may_be_sent_again(&request.act) {
            outcome = self.exchange(request, &framed, deadline);
        }
        outcome.map_err(|_| Reason::HsmUnreachable.into())
    }

    /// Closes all idle connections without using them. A child process calls this after `fork` to let go of what it
    /// inherited; even without it, no connection is used by a process that did not make it.
    pub fn forget_connections(&self) {
        self.pool.clear();
    }

    /// Sends one frame and takes its reply; keeps the connection only if all went well.
    fn exchange(&self, request: &Request, framed: &[u8], deadline: Instant) -> Result<Outcome, Failure> {
        let connection = match self.pool.take(Instant::now()) {
            Some(connection) => connection,
            None => self.connect(deadline)?,
        };
        match connection.send_all(framed, deadline) {
            // A server that hung up before it had read everything may have said why.
            Ok(()) | Err(Broken::Lost) => {}
            Err(broken) => return Err(broken.into()),
        }
        let mut header = [0; HEADER_BYTES];
        connection.receive_exact(&mut header, deadline)?;
        let length = frame::payload_length(header, CLIENT_MAX_BYTES).map_err(|_| Failure::Garbage)?;
        let mut payload = Zeroizing::new(vec![0; length]);
        connection.receive_exact(&mut payload, deadline)?;
        let (read, outcome) = read_reply(request, &payload).ok_or(Failure::Garbage)?;
        if read == Read::ItsOwn {
            self.pool.put(connection, Instant::now());
        }
        Ok(outcome)
    }

    fn connect(&self, deadline: Instant) -> Result<Connection, Broken> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = self.config.connect_timeout.min(left);
        Connection::open(&self.config.socket, Server::expected(self.config.hsm_uid), timeout)
    }
}

/// Whether sending the same request twice is as good as sending it once, whatever became of the first: it changes
/// nothing.
///
/// A signature is not among them. The HSM knows a signing request again by its id only while it runs: if it was
/// started anew in between, the code that somebody typed once would count twice, the second time as a failure.
/// Callers who want to ask again do so themselves, with [`Client::call_with_id`].
fn may_be_sent_again(act: &Act) -> bool {
    match act {
        Act::Status
        | Act::Login
        | Act::Random(_)
        | Act::ShowAccount(_)
        | Act::FindKeys(_)
        | Act::ContextEnd(_)
        | Act::ShowIntent(_)
        | Act::FindReceipt(_)
        | Act::Attest(_)
        | Act::LogCheckpoint
        | Act::ReadLog(_)
        | Act::Identity
        | Act::ViewIntent(_)
        | Act::ViewAccount(_)
        | Act::ViewReceipt(_) => true,
        Act::Enroll(_)
        | Act::Confirm(_)
        | Act::Unlock(_)
        | Act::TrustPayee(_)
        | Act::CreateKey(_)
        | Act::Sign(_)
        | Act::ContextLogin(_)
        | Act::ContextSign(_)
        | Act::Invite(_)
        | Act::Stage(_)
        | Act::Approve(_)
        | Act::Decline(_)
        | Act::EnrollSealed(_)
        | Act::DeviceAct(_) => false,
    }
}

/// Whose reply it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// The request's.
    ItsOwn,
    /// That of a request that could not be read: the connection ends with it.
    OfNone,
}

/// What a payload says to a request, if it is a reply to that very request, of the kind that it asks for.
pub(crate) fn read_reply(request: &Request, payload: &[u8]) -> Option<(Read, Outcome)> {
    let reply: Reply = decode(payload).ok()?;
    match &reply.outcome {
        Outcome::Refused(_) if reply.id == RequestId::new([0; 16]) => Some((Read::OfNone, reply.outcome)),
        _ if reply.id != request.id => None,
        Outcome::Done(answer) if !answers(&request.act, answer) => None,
        _ => Some((Read::ItsOwn, reply.outcome)),
    }
}

/// Whether `answer` is of the kind that `act` asks for.
fn answers(act: &Act, answer: &Answer) -> bool {
    match act {
        Act::Status => matches!(answer, Answer::Status(_)),
        Act::Login => matches!(answer, Answer::Welcome(_)),
        Act::Random(bytes) => matches!(answer, Answer::Random(random) if random.len() == usize::from(*bytes)),
        Act::Enroll(_) => matches!(answer, Answer::Enrolled(_)),
        Act::Confirm(_) | Act::Unlock(_) | Act::TrustPayee(_) | Act::ShowAccount(_) => {
            matches!(answer, Answer::Account(_))
        }
        Act::CreateKey(_) => matches!(answer, Answer::Key(_)),
        Act::FindKeys(_) => matches!(answer, Answer::Keys(_)),
        Act::Sign(_) | Act::ContextSign(_) => matches!(answer, Answer::Signed(_)),
        Act::ContextLogin(_) => matches!(answer, Answer::LoggedIn),
        Act::ContextEnd(_) => matches!(answer, Answer::Ended),
        Act::Invite(_) => matches!(answer, Answer::Invited(_)),
        Act::Stage(_) => matches!(answer, Answer::Staged(_)),
        Act::ShowIntent(_) => matches!(answer, Answer::Intent(_)),
        Act::FindReceipt(_) | Act::ViewReceipt(_) => matches!(answer, Answer::Receipt(_)),
        Act::Attest(_) => matches!(answer, Answer::Attested(_)),
        Act::LogCheckpoint => matches!(answer, Answer::LogCheckpoint(_)),
        Act::ReadLog(query) => matches!(answer, Answer::LogPage(page)
            if page.entries.len() <= usize::from(query.entries_max)),
        Act::Identity => matches!(answer, Answer::Identity(_)),
        Act::ViewIntent(_) | Act::ViewAccount(_) => matches!(answer, Answer::View(_)),
        Act::Approve(_) => matches!(answer, Answer::Approved),
        Act::Decline(_) => matches!(answer, Answer::Declined),
        Act::EnrollSealed(_) => matches!(answer, Answer::EnrolledSealed(_)),
        Act::DeviceAct(_) => matches!(answer, Answer::CarriedOut),
    }
}

#[cfg(test)]
mod tests;
