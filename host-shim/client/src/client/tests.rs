use super::*;
use crate::fake_hsm::{FakeHsm, Reaction, done, framed, refused};
use countersign_wire::client::{Approval, KeyId, KeyPlan};
use countersign_wire::client::{
    ContextLogin, ContextSign, CreateKey, Enroll, KeyPage, KeyQuery, Mechanism, Operation, Payload, Sign,
    StageSign, StagedIntent, Subject, TotpParameters, TwoCodes, Welcome,
};
use countersign_wire::device::Decline;
use countersign_wire::log::{LogQuery, LogStart};
use countersign_wire::names::TypedCode;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use serde_bytes::{ByteArray, ByteBuf};
use std::collections::HashSet;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const UNREACHABLE: Result<Answer, Refusal> =
    Err(Refusal { reason: Reason::HsmUnreachable, retry_after_secs: None });

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("hsm.sock")
    }

    fn client(&self) -> Client {
        Client::new(HostConfig::for_socket(self.socket()))
    }

    fn impatient_client(&self) -> Client {
        let config = HostConfig::for_socket(self.socket());
        Client::new(HostConfig { request_timeout: Duration::from_millis(500), ..config })
    }
}

fn welcome(request: &Request) -> Reaction {
    done(request, Answer::Welcome(Welcome { tenant: "default".to_owned() }))
}

fn is_welcome(outcome: &Result<Answer, Refusal>) -> bool {
    matches!(outcome, Ok(Answer::Welcome(_)))
}

/// Every act there is.
fn acts() -> Vec<Act> {
    let mechanism = Mechanism::Digest;
    let operation =
        || Operation { id: ByteArray::new([1; 16]), key: KeyId::new([2; 16]), mechanism: Mechanism::Digest };
    let code = || TypedCode::new("123456").unwrap();
    let two = || TwoCodes { account: "alice".parse().unwrap(), first: code(), second: code() };
    let payload = || Payload::Digest(ByteArray::new([3; 32]));
    vec![
        Act::Status,
        Act::Login,
        Act::Random(4),
        Act::Enroll(Enroll {
            account: "alice".parse().unwrap(),
            totp: TotpParameters::default(),
            key: "k".parse().unwrap(),
            plan: KeyPlan::of(vec![mechanism]),
        }),
        Act::Confirm(two()),
        Act::Unlock(two()),
        Act::ShowAccount("alice".parse().unwrap()),
        Act::CreateKey(CreateKey { label: "alice/k".parse().unwrap(), plan: KeyPlan::of(vec![mechanism]) }),
        Act::FindKeys(KeyQuery::All(None)),
        Act::Sign(Sign { key: "alice/k".parse().unwrap(), payload: payload(), approval: None }),
        Act::ContextLogin(ContextLogin { operation: operation(), approval: Approval::Code(code()) }),
        Act::ContextSign(ContextSign { operation: operation(), payload: payload() }),
        Act::ContextEnd(operation()),
        Act::Identity,
        Act::LogCheckpoint,
        Act::ReadLog(LogQuery { from: LogStart::Beginning, entries_max: 1 }),
        Act::ShowIntent(StagedIntent { account: "alice".parse().unwrap(), intent: RequestId::new([4; 16]) }),
        Act::Stage(Subject::Sign(StageSign { key: "alice/k".parse().unwrap(), payload: payload() })),
        Act::Decline(Decline {
            tenant: "default".parse().unwrap(),
            account: "alice".parse().unwrap(),
            intent: RequestId::new([4; 16]),
            device: ByteArray::new([5; 16]),
            signature: ByteArray::new([6; 64]),
        }),
    ]
}

#[test]
fn returns_the_answer_and_keeps_the_connection() {
    let place = Place::new();
    let hsm = FakeHsm::serve(&place.socket(), welcome);
    let client = place.client();
    for _ in 0..3 {
        assert!(is_welcome(&client.call(None, Act::Login)));
    }
    assert_eq!(hsm.connections(), 1);
    let ids: HashSet<_> = hsm.requests().iter().map(|request| request.id).collect();
    assert_eq!(ids.len(), 3, "a request id was used twice");
}

#[test]
fn forwards_a_request_and_its_reply_byte_for_byte() {
    let place = Place::new();
    let refusal = Refusal { reason: Reason::Locked, retry_after_secs: Some(299) };
    let hsm = FakeHsm::serve(&place.socket(), move |request| match request.act {
        Act::Login => welcome(request),
        _ => refused(request, refusal),
    });
    for act in acts() {
        let request = Request { id: new_request_id(), api_key: None, act };
        let reply: Reply = decode(&place.client().forward(encode(&request)).unwrap()).unwrap();
        assert_eq!(reply.id, request.id);
        assert_eq!(
            matches!(reply.outcome, Outcome::Refused(found) if found == refusal),
            request.act != Act::Login
        );
        assert_eq!(hsm.requests().last(), Some(&request));
    }
}

#[test]
fn forwards_no_payload_that_is_no_request_and_returns_no_reply_to_another() {
    let place = Place::new();
    let hsm = FakeHsm::serve(&place.socket(), |request| {
        let id = RequestId::new([request.id[0] ^ 1; 16]);
        framed(&Reply { id, outcome: Outcome::Done(Answer::Ended) })
    });
    let request = encode(&Request { id: new_request_id(), api_key: None, act: Act::Status });
    let mut trailing = request.clone();
    trailing.push(0);
    for bad in [&[][..], b"{}", &trailing, &request[..request.len() - 1]] {
        assert_eq!(place.client().forward(bad.to_vec()), Err(Reason::MalformedRequest.into()));
    }
    assert!(hsm.requests().is_empty());
    assert_eq!(place.client().forward(request), Err(Reason::HsmUnreachable.into()));
}

#[test]
fn returns_a_refusal_as_it_came() {
    let place = Place::new();
    let refusal = Refusal { reason: Reason::Locked, retry_after_secs: Some(299) };
    let hsm = FakeHsm::serve(&place.socket(), move |request| refused(request, refusal));
    let client = place.client();
    assert_eq!(client.call(None, Act::Login), Err(refusal));
    assert_eq!(client.call(None, Act::Login), Err(refusal));
    assert_eq!(hsm.connections(), 1);
}

#[test]
fn takes_the_refusal_of_a_request_that_could_not_be_read() {
    let place = Place::new();
    let unread = |outcome| framed(&Reply { id: RequestId::new([0; 16]), outcome });
    let _hsm = FakeHsm::serve(&place.socket(), move |request| match request.act {
        Act::Login => unread(Outcome::Refused(Reason::MalformedRequest.into())),
        _ => unread(Outcome::Done(Answer::Ended)),
    });
    let client = place.client();
    assert_eq!(client.call(None, Act::Login), Err(Reason::MalformedRequest.into()));
    assert_eq!(client.call(None, Act::Status), UNREACHABLE);
}

#[test]
fn sends_again_under_the_same_id_only_where_that_is_harmless() {
    let harmless = |act: &Act| match act {
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
        // Each of these could count a typed code, or make something, a second time.
        Act::TrustPayee(_)
        | Act::Enroll(_)
        | Act::Confirm(_)
        | Act::Unlock(_)
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
    };
    for act in acts() {
        let place = Place::new();
        let hsm = FakeHsm::serve(&place.socket(), |_| Reaction::SendAndClose(Vec::new()));
        let id = new_request_id();
        assert_eq!(place.client().call_with_id(id, None, act.clone()), UNREACHABLE);
        let requests = hsm.requests();
        assert_eq!(requests.len(), if harmless(&act) { 2 } else { 1 }, "{act:?}");
        assert!(requests.iter().all(|request| request.id == id && request.act == act), "{act:?}");
    }
}

#[test]
fn a_lost_reply_is_asked_for_again_on_a_new_connection() {
    let place = Place::new();
    let mut calls = 0;
    let hsm = FakeHsm::serve(&place.socket(), move |request| {
        calls += 1;
        if calls == 1 { Reaction::SendAndClose(vec![0, 0]) } else { welcome(request) }
    });
    assert!(is_welcome(&place.client().call(None, Act::Login)));
    assert_eq!(hsm.connections(), 2);
}

#[test]
fn refuses_garbage_and_never_uses_its_connection_again() {
    let replies: Vec<(&str, Vec<u8>)> = vec![
        ("empty frame", vec![0; 4]),
        ("oversized frame", u32::try_from(CLIENT_MAX_BYTES + 1).unwrap().to_be_bytes().to_vec()),
        ("not CBOR", vec![0, 0, 0, 2, 0xff, 0xff]),
        ("CBOR of something else", vec![0, 0, 0, 1, 0xf6]),
    ];
    for (name, bytes) in replies {
        let place = Place::new();
        let hsm = FakeHsm::serve(&place.socket(), move |_| Reaction::Send(bytes.clone()));
        let client = place.client();
        assert_eq!(client.call(None, Act::Login), UNREACHABLE, "{name}");
        assert_eq!(client.call(None, Act::Login), UNREACHABLE, "{name}");
        assert_eq!((hsm.requests().len(), hsm.connections()), (2, 2), "{name}");
    }
}

#[test]
fn refuses_the_reply_to_another_request_and_the_answer_to_another_act() {
    let place = Place::new();
    let _hsm = FakeHsm::serve(&place.socket(), |request| match request.act {
        Act::Login => framed(&Reply {
            id: RequestId::new([9; 16]),
            outcome: Outcome::Done(Answer::Welcome(Welcome { tenant: "default".to_owned() })),
        }),
        Act::Status => {
            framed(&Reply { id: RequestId::new([9; 16]), outcome: Outcome::Refused(Reason::Busy.into()) })
        }
        Act::Random(_) => done(request, Answer::Random(ByteBuf::from(vec![1; 3]))),
        _ => done(request, Answer::LoggedIn),
    });
    let client = place.client();
    for act in [Act::Login, Act::Status, Act::Random(4), Act::FindKeys(KeyQuery::All(None))] {
        assert_eq!(client.call(None, act.clone()), UNREACHABLE, "{act:?}");
    }
}

#[test]
fn each_act_takes_its_own_answer() {
    let page = || Answer::Keys(KeyPage { keys: Vec::new(), next: None });
    assert!(answers(&Act::FindKeys(KeyQuery::All(None)), &page()));
    for act in acts() {
        assert_eq!(answers(&act, &page()), matches!(act, Act::FindKeys(_)), "{act:?}");
        assert_eq!(answers(&act, &Answer::LoggedIn), matches!(act, Act::ContextLogin(_)), "{act:?}");
        assert_eq!(answers(&act, &Answer::Ended), matches!(act, Act::ContextEnd(_)), "{act:?}");
    }
}

#[test]
fn refuses_a_pooled_connection_with_stray_bytes_in_it() {
    let place = Place::new();
    let hsm = FakeHsm::serve(&place.socket(), |request| {
        let (Reaction::Send(mut bytes), Reaction::Send(stray)) = (welcome(request), welcome(request)) else {
            unreachable!("both are frames")
        };
        bytes.extend_from_slice(&stray);
        Reaction::Send(bytes)
    });
    let client = place.client();
    assert!(is_welcome(&client.call(None, Act::Login)));
    assert!(is_welcome(&client.call(None, Act::Login)));
    assert_eq!(hsm.connections(), 2);
}

#[test]
fn times_out_and_does_not_ask_again() {
    let place = Place::new();
    let (asked, seen) = std::sync::mpsc::channel();
    let hsm = FakeHsm::serve(&place.socket(), move |request| {
        asked.send(request.id).unwrap();
        Reaction::Hold
    });
    assert_eq!(place.impatient_client().call(None, Act::Login), UNREACHABLE);
    assert!(seen.recv_timeout(Duration::from_mins(1)).is_ok());
    drop(hsm);
    assert!(seen.recv().is_err(), "asked again");
}

#[test]
fn takes_the_refusal_of_a_server_that_hangs_up_without_reading() {
    let place = Place::new();
    let listener = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();
    let refusal =
        Reply { id: RequestId::new([0; 16]), outcome: Outcome::Refused(Reason::HsmNotReady.into()) };
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let Reaction::Send(bytes) = framed(&refusal) else { unreachable!("it is a frame") };
        stream.write_all(&bytes).unwrap();
    });
    // Longer than any socket buffer, so that sending surely meets the closed end.
    let act = Act::Sign(Sign {
        key: "alice/k".parse().unwrap(),
        payload: Payload::Ethereum(ByteBuf::from(vec![0; CLIENT_MAX_BYTES - 1024])),
        approval: None,
    });
    assert_eq!(place.client().call(None, act), Err(Reason::HsmNotReady.into()));
    server.join().unwrap();
}

#[test]
fn a_reply_in_drops_does_not_stretch_the_time() {
    let place = Place::new();
    let _hsm = FakeHsm::serve(&place.socket(), |_| Reaction::Send(vec![0, 0, 1]));
    assert_eq!(place.impatient_client().call(None, Act::Login), UNREACHABLE);
}

#[test]
fn times_out_where_nobody_accepts() {
    let place = Place::new();
    let unix = |flags| socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    let (listener, address) = (unix(SockFlag::empty()), UnixAddr::new(&place.socket()).unwrap());
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    // Fill the queue of those who wait to be accepted.
    let waiting: Vec<_> = std::iter::repeat_with(|| unix(SockFlag::SOCK_NONBLOCK))
        .take_while(|socket| connect(socket.as_raw_fd(), &address).is_ok())
        .collect();
    assert!(!waiting.is_empty());
    let config = HostConfig::for_socket(place.socket());
    let client = Client::new(HostConfig { connect_timeout: Duration::from_millis(40), ..config });
    assert_eq!(client.call(None, Act::Login), UNREACHABLE);
}

#[test]
fn recovers_after_the_server_restarts() {
    let place = Place::new();
    let client = place.client();
    assert_eq!(client.call(None, Act::Login), UNREACHABLE, "not there yet");
    for _ in 0..3 {
        let hsm = FakeHsm::serve(&place.socket(), |request| match request.act {
            Act::ContextLogin(_) => done(request, Answer::LoggedIn),
            _ => welcome(request),
        });
        // The first is an act that is never sent twice, so the stale connection must be found out beforehand.
        let login = acts().into_iter().find(|act| matches!(act, Act::ContextLogin(_))).unwrap();
        assert_eq!(client.call(None, login), Ok(Answer::LoggedIn));
        assert!(is_welcome(&client.call(None, Act::Login)));
        drop(hsm);
        assert_eq!(client.call(None, Act::Login), UNREACHABLE, "gone");
    }
}

#[test]
fn sends_nothing_to_a_server_of_another_user() {
    let place = Place::new();
    let hsm = FakeHsm::serve(&place.socket(), welcome);
    let own = nix::unistd::geteuid().as_raw();
    let served_by = |uid| {
        let config = HostConfig::for_socket(place.socket());
        Client::new(HostConfig { hsm_uid: Some(uid), ..config }).call(None, Act::Login)
    };
    assert!(is_welcome(&served_by(own)));
    assert_eq!(served_by(own + 1), UNREACHABLE);
    assert_eq!(hsm.requests().len(), 1);
}

#[test]
fn refuses_a_request_that_is_too_long_to_send() {
    let place = Place::new();
    let hsm = FakeHsm::serve(&place.socket(), welcome);
    let act = Act::Sign(Sign {
        key: "alice/k".parse().unwrap(),
        payload: Payload::Ethereum(ByteBuf::from(vec![0; CLIENT_MAX_BYTES])),
        approval: None,
    });
    assert_eq!(place.client().call(None, act), Err(Reason::MalformedRequest.into()));
    assert!(hsm.requests().is_empty());
}

#[test]
fn forgotten_connections_are_closed_and_new_ones_made() {
    let place = Place::new();
    let hsm = FakeHsm::serve(&place.socket(), welcome);
    let client = place.client();
    assert!(is_welcome(&client.call(None, Act::Login)));
    client.forget_connections();
    assert!(client.pool.take(Instant::now()).is_none());
    assert!(is_welcome(&client.call(None, Act::Login)));
    assert_eq!(hsm.connections(), 2);
}

#[test]
fn many_threads_share_one_client_and_no_reply_goes_astray() {
    const THREADS: usize = 16;
    const CALLS: usize = 50;
    let place = Place::new();
    let hsm = FakeHsm::serve(&place.socket(), |request| {
        let Act::Random(bytes) = request.act else { unreachable!("only this is asked") };
        done(request, Answer::Random(ByteBuf::from(vec![0; usize::from(bytes)])))
    });
    let (client, start, good) = (place.client(), Barrier::new(THREADS), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 1..=THREADS {
            let (client, start, good) = (&client, &start, &good);
            scope.spawn(move || {
                start.wait();
                for _ in 0..CALLS {
                    let bytes = u16::try_from(thread).unwrap();
                    let answer = client.call(None, Act::Random(bytes)).unwrap();
                    assert_eq!(answer, Answer::Random(ByteBuf::from(vec![0; thread])));
                    good.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(good.into_inner(), THREADS * CALLS);
    assert_eq!(hsm.requests().len(), THREADS * CALLS);
}
