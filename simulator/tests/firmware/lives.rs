//! Plugins that die, halt, make no sense or do not read, and what comes after them.

use super::*;

#[test]
fn a_plugin_that_dies_takes_only_the_connections_that_waited_for_it() {
    let hsm = Hsm::start();
    let (mut idle, mut waiting) = (hsm.connect(), hsm.connect());
    assert_eq!(idle.ask("echo before").unwrap(), "before");
    waiting.send(b"ignore");
    assert_eq!(waiting.ask("echo next").unwrap(), "next", "the plugin has taken what came before");
    assert_eq!(hsm.connect().ask("exit"), None);
    assert_eq!(waiting.receive(), None, "its answer will never come");
    assert_eq!(hsm.ask_when_ready("echo after"), "after");
    assert_eq!(idle.ask("echo after").unwrap(), "after", "an idle connection stays");
}

#[test]
fn a_plugin_that_dies_as_soon_as_it_is_ready_is_started_again() {
    let hsm = Hsm::start();
    assert!(hsm.ask("commit vanish").contains("Ok"));
    assert_eq!(hsm.connect().ask("exit"), None);
    assert_eq!(hsm.ask_when_ready("boot"), "nvram=back store=10 missing=");
}

#[test]
fn a_plugin_that_makes_no_sense_is_started_again() {
    let hsm = Hsm::start();
    assert!(hsm.ask("commit state").contains("Ok"));
    assert_eq!(hsm.connect().ask("garbage"), None);
    assert_eq!(hsm.ask_when_ready("boot"), "nvram=state store=5 missing=");
}

#[test]
fn while_no_plugin_is_ready_requests_are_refused_by_name() {
    let hsm = Hsm::start();
    // From here on the plugin dies at each start, and soon the HSM waits between two of them.
    assert!(hsm.ask("commit die").contains("Ok"));
    assert_eq!(hsm.connect().ask("exit"), None);
    // A request that still finds the old plugin goes down with it.
    let begun = std::time::Instant::now();
    while hsm.connect().ask("no request at all").is_none() {
        assert!(begun.elapsed() < PATIENCE);
    }
    let mut client = hsm.connect();
    let id = RequestId::new([9; 16]);
    client.send(&countersign_wire::encode(&Request { id, api_key: None, act: Act::Status }));
    let refused = |id| Reply { id, outcome: Outcome::Refused(Reason::HsmNotReady.into()) };
    assert_eq!(countersign_wire::decode::<Reply>(&client.receive().unwrap()), Ok(refused(id)));
    client.send(b"no request at all");
    let zero = RequestId::new([0; 16]);
    assert_eq!(countersign_wire::decode::<Reply>(&client.receive().unwrap()), Ok(refused(zero)));
}

#[test]
fn gives_up_on_a_plugin_that_was_never_ready() {
    let mut hsm = Hsm::start();
    assert!(hsm.ask("commit die").contains("Ok"));
    assert!(hsm.stop().success());
    let ended = hsm.run_command(&[]).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn a_store_that_the_plugin_refuses_at_start_ends_the_hsm_with_its_sentence() {
    let mut hsm = Hsm::start();
    assert!(hsm.ask("commit refuse the store was rolled back").contains("Ok"));
    assert!(hsm.stop().success());
    let refused = hsm.run_command(&[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the store was rolled back"));
    assert!(refused.stdout.is_empty());
}

#[test]
fn a_failed_write_ends_the_hsm_when_its_plugin_goes() {
    let mut hsm = Hsm::start();
    assert!(hsm.ask("commit state").contains("Ok"));
    std::fs::write(hsm.home().join("store/log-0000000000000000"), b"").unwrap();
    assert!(hsm.ask("commit more").contains("Err"));
    assert!(hsm.ask("commit more").contains("Err"), "poisoned");
    assert_eq!(hsm.connect().ask("exit"), None);
    assert_eq!(hsm.wait().code(), Some(4));
}

#[test]
fn a_plugin_that_halts_after_a_failed_write_ends_the_hsm_and_its_replies_are_passed_on() {
    let mut hsm = Hsm::init(&[]);
    let mut stderr = hsm.run_and_listen();
    assert!(hsm.ask("commit state").contains("Ok"));
    std::fs::write(hsm.home().join("store/log-0000000000000000"), b"").unwrap();
    let mut early = hsm.connect();
    early.send(b"big 100000");
    // Its reply has come, and stays unread.
    let mut there = [rustix::event::PollFd::new(&early.0, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut there, None), Ok(1));
    let mut failed = hsm.connect();
    failed.send(b"commit-and-halt more");
    // Nobody reads before the HSM has ended.
    assert_eq!(hsm.wait().code(), Some(4));
    assert!(early.receive().unwrap() == vec![b'x'; 100_000]);
    assert!(String::from_utf8(failed.receive().unwrap()).unwrap().contains("Err"));
    assert_eq!(failed.receive(), None);
    let mut log = String::new();
    stderr.read_to_string(&mut log).unwrap();
    assert!(log.contains("the plugin halted: what was committed is not known"), "{log}");
    assert!(log.contains("nothing is believed until the HSM is started again"), "{log}");
}

#[test]
fn a_plugin_that_halts_for_another_reason_is_started_again() {
    let hsm = Hsm::start();
    assert!(hsm.ask("commit state").contains("Ok"));
    assert_eq!(hsm.connect().ask("halt enough"), None);
    assert_eq!(hsm.ask_when_ready("boot"), "nvram=state store=5 missing=");
}

#[test]
fn a_plugin_that_halted_is_not_heard_any_more() {
    let hsm = Hsm::start();
    assert!(hsm.ask("commit state").contains("Ok"));
    assert_eq!(hsm.connect().ask("halt-and-go-on enough"), None, "what came after it is passed on to nobody");
    assert_eq!(hsm.ask_when_ready("boot"), "nvram=state store=5 missing=", "and is not carried out");
}

#[test]
fn why_a_plugin_halted_is_told_although_it_ended_before_it_was_looked_at() {
    let mut hsm = Hsm::init(&[]);
    let mut stderr = hsm.run_and_listen();
    assert!(hsm.ask("commit give up").contains("Ok"));
    assert_eq!(hsm.connect().ask("exit"), None);
    assert_eq!(hsm.ask_when_ready("boot"), "nvram=back store=11 missing=");
    assert!(hsm.stop().success());
    let mut log = String::new();
    stderr.read_to_string(&mut log).unwrap();
    assert!(log.contains("the plugin halted: enough"), "{log}");
}

#[test]
fn a_plugin_that_says_twice_that_it_is_ready_makes_no_sense_either() {
    let hsm = Hsm::start();
    assert!(hsm.ask("commit state").contains("Ok"));
    assert_eq!(hsm.connect().ask("ready-again"), None);
    assert_eq!(hsm.ask_when_ready("boot"), "nvram=state store=5 missing=");
}

#[test]
fn an_hsm_whose_plugin_does_not_read_stops_when_it_is_told_to() {
    const POLICY_BYTES: usize = 64 * 1024;
    let mut hsm = Hsm::init_for(&compile_probe("deaf", &["--cfg", "deaf"]).image, &[]);
    let names = ["one", "two", "three", "four", "five"];
    let (socket, _other) = UnixStream::pair().unwrap();
    let held_bytes = rustix::net::sockopt::socket_send_buffer_size(&socket).unwrap();
    assert!(
        names.len() * POLICY_BYTES > held_bytes,
        "a socket holds {held_bytes} bytes here: take larger policies"
    );
    for name in names {
        assert!(
            hsm_command(&["tenant", "add", "--home", text(&hsm.home()), "--name", name])
                .status()
                .unwrap()
                .success()
        );
        std::fs::write(hsm.home().join(format!("ceremony/{name}.policy")), vec![0; POLICY_BYTES]).unwrap();
    }
    let mut child = hsm.run_command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    // Whatever fails here ends it.
    hsm.process = Some((child, BufReader::new(stdout)));
    let mut log = BufReader::new(stderr).lines();
    let said: Vec<_> =
        log.by_ref().map(Result::unwrap).take_while(|line| !line.ends_with("plugin: deaf")).collect();
    hsm.signal(rustix::process::Signal::TERM);
    let begun = std::time::Instant::now();
    let ended = loop {
        if let Some(ended) = hsm.process.as_mut().unwrap().0.try_wait().unwrap() {
            break ended;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not stop");
        std::thread::yield_now();
    };
    // Had it ended before it was told to, it would have failed.
    assert_eq!(ended.code(), Some(0), "{said:?}");
}
