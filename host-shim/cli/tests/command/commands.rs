//! What each command asks, and what it shows for the answer.

use crate::fake_hsm::{Reaction, done};
use crate::place::{Place, account, account_json, api_key, key, key_json, shown_at_terminal, status};
use countersign_wire::client::{
    Act, Answer, Approval, CreateKey, Enroll, Enrolled, KeyPage, KeyPlan, KeyQuery, Mechanism, Payload,
    Request, RequestId, Sign, Signed, Status, TotpHash, TotpParameters, TwoCodes,
};
use countersign_wire::names::TypedCode;
use serde_bytes::{ByteArray, ByteBuf};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

const OTPAUTH: &str =
    "otpauth://totp/Countersign:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Countersign";

fn code(text: &str) -> TypedCode {
    TypedCode::new(text).unwrap()
}

fn signed(raw: Option<&[u8]>) -> Signed {
    Signed {
        signature: ByteArray::new([0x5a; 64]),
        y_parity: 1,
        digest: ByteArray::new([0xdd; 32]),
        raw_transaction: raw.map(ByteBuf::from),
        transaction_hash: raw.map(|_| ByteArray::new([0xee; 32])),
        psbt: None,
        summary: "sign: digest, blind\n".to_owned(),
    }
}

/// Answers every request as an HSM with the account alice would.
fn cooperate(request: &Request) -> Reaction {
    let page = |keys| KeyPage { keys, next: None };
    let answer = match &request.act {
        Act::Status => Answer::Status(status()),
        Act::Enroll(_) => Answer::Enrolled(Enrolled {
            otpauth: OTPAUTH.to_owned(),
            key: key("alice/ethereum"),
            confirm_within_secs: 1800,
        }),
        Act::Confirm(_) | Act::Unlock(_) | Act::ShowAccount(_) => Answer::Account(account()),
        Act::CreateKey(create) => Answer::Key(key(&create.label.to_string())),
        Act::FindKeys(KeyQuery::All(None)) => {
            Answer::Keys(KeyPage { keys: vec![key("alice/ethereum")], next: Some(ByteArray::new([1; 8])) })
        }
        Act::FindKeys(KeyQuery::All(Some(_))) => Answer::Keys(page(vec![key("bob/ethereum")])),
        Act::FindKeys(KeyQuery::Label(label)) => Answer::Keys(page(vec![key(&label.to_string())])),
        Act::FindKeys(KeyQuery::Id(_)) => Answer::Keys(page(Vec::new())),
        Act::Sign(Sign { payload: Payload::Ethereum(_), .. }) => {
            Answer::Signed(signed(Some(&[0x02, 0xc1, 0x80])))
        }
        Act::Sign(_) => Answer::Signed(signed(None)),
        other => unreachable!("the command line never asks {other:?}"),
    };
    done(request, answer)
}

/// Runs a command to its good end and returns its JSON and the one act that it asked for.
fn ask(arguments: &[&str]) -> (serde_json::Value, Act) {
    let place = Place::new();
    let hsm = place.serve(cooperate);
    let ended = place.run_json(arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    let [request] = &hsm.requests()[..] else { panic!("one request, not {}", hsm.requests().len()) };
    (ended.json(), request.act.clone())
}

#[test]
fn status_shows_the_hsm_and_needs_no_api_key() {
    let place = Place::new();
    std::fs::remove_file(place.path("api-key")).unwrap();
    let hsm = place.serve(cooperate);
    let ended = place.run_json(&["status"]);
    assert_eq!(
        ended.json(),
        json!({
            "version": "1.2.3",
            "hsm_id": "11".repeat(16),
            "measurement": "22".repeat(48),
            "clock": "manual",
            "unix_time": 1_790_000_000,
            "clock_sure": true,
            "keystore": "embedded",
            "boot_count": 3,
            "missing_sandbox_layers": [],
            "store_room_bytes": 5_368_709_120_u64,
            "refused_for_room": 0,
        })
    );
    assert_eq!((ended.code, hsm.requests()[0].api_key.clone()), (0, None));
}

#[test]
fn status_calls_only_an_hsm_ready_that_has_a_sure_clock_and_a_complete_sandbox() {
    for (clock_sure, missing, said) in [
        (true, &[][..], &["The HSM is ready."][..]),
        (false, &[], &["refuses codes: its clock is unsure", "UNSURE"]),
        (true, &["landlock"], &["its sandbox is not complete", "WEAK, without: landlock"]),
        (false, &["landlock"], &["its clock is unsure", "sandbox is not complete"]),
    ] {
        let place = Place::new();
        let _hsm = place.serve(move |request| {
            let missing_sandbox_layers = missing.iter().map(|layer| (*layer).to_owned()).collect();
            done(request, Answer::Status(Status { clock_sure, missing_sandbox_layers, ..status() }))
        });
        let shown = place.run(&["status"]).stdout;
        assert!(said.iter().all(|words| shown.contains(words)), "{shown}");
        let good = clock_sure && missing.is_empty();
        assert_eq!(shown.contains("is ready"), good, "{shown}");
        let green = "\x1b[1m\x1b[32m";
        assert_eq!(shown_at_terminal(place.command(&["status"])).contains(green), good);
    }
}

#[test]
fn clock_show_shows_the_time_and_its_source() {
    let (json, _) = ask(&["clock", "show"]);
    assert_eq!(json, json!({ "unix_time": 1_790_000_000, "clock": "manual" }));
}

#[test]
fn clock_advance_uses_the_control_channel_alone() {
    let place = Place::new();
    let listener = UnixListener::bind(place.configure_control()).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        BufReader::new(&stream).read_line(&mut asked).unwrap();
        stream.write_all(b"{\"unix_time\":1790000300}\n").unwrap();
        asked
    });
    let ended = place.run_json(&["clock", "advance", "5m"]);
    assert_eq!((ended.code, ended.json()), (0, json!({ "unix_time": 1_790_000_300 })));
    assert_eq!(server.join().unwrap(), "{\"advance_secs\":300}\n");
}

#[test]
fn enroll_has_defaults_that_every_authenticator_knows() {
    let (json, act) = ask(&["account", "enroll", "alice"]);
    let expected = Enroll {
        account: "alice".parse().unwrap(),
        totp: TotpParameters::default(),
        key: "ethereum".parse().unwrap(),
        plan: KeyPlan::of(vec![Mechanism::Ethereum]),
    };
    assert_eq!(act, Act::Enroll(expected));
    assert_eq!(
        json,
        json!({
            "account": "alice",
            "otpauth": OTPAUTH,
            "key": key_json("alice/ethereum"),
            "confirm_within_secs": 1800,
        })
    );
}

#[test]
fn enroll_passes_every_option_on() {
    let options = "account enroll alice --hash sha512 --digits 8 --period 60 --key cold \
                   --mechanism ethereum --mechanism digest --mechanism ethereum";
    let (_, act) = ask(&options.split_whitespace().collect::<Vec<_>>());
    let expected = Enroll {
        account: "alice".parse().unwrap(),
        totp: TotpParameters { hash: TotpHash::Sha512, digits: 8, period_secs: 60 },
        key: "cold".parse().unwrap(),
        plan: KeyPlan::of(vec![Mechanism::Digest, Mechanism::Ethereum]),
    };
    assert_eq!(act, Act::Enroll(expected));
}

#[test]
fn enroll_prints_the_qr_code_only_at_a_terminal_or_when_told() {
    let place = Place::new();
    let _hsm = place.serve(cooperate);
    let quiet = place.run(&["account", "enroll", "alice"]);
    assert!(quiet.stdout.contains(OTPAUTH) && !quiet.stdout.contains('█'), "{}", quiet.stdout);
    assert!(quiet.stdout.contains("countersign account confirm alice --code"), "says what comes next");
    let secret = |line: &str| line.split_whitespace().eq(["Secret", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"]);
    assert!(quiet.stdout.lines().any(secret), "for those who cannot scan: {}", quiet.stdout);
    let told = place.run(&["account", "enroll", "alice", "--qr-terminal"]);
    assert!(told.stdout.contains('█'));
    let shown = shown_at_terminal(place.command(&["account", "enroll", "alice"]));
    assert!(shown.contains('█') && shown.contains(OTPAUTH));
    let json = shown_at_terminal(place.command(&["account", "enroll", "alice", "--json"]));
    assert!(json.starts_with('{') && json.trim_end().ends_with('}'), "{json}");
}

#[test]
fn colours_appear_at_a_terminal_and_never_against_no_color() {
    let place = Place::new();
    let _hsm = place.serve(cooperate);
    for arguments in [&["status"][..], &["account", "enroll", "alice"]] {
        assert!(shown_at_terminal(place.command(arguments)).contains('\x1b'), "{arguments:?}");
        let mut plain = place.command(arguments);
        plain.env("NO_COLOR", "1");
        assert!(!shown_at_terminal(plain).contains('\x1b'), "{arguments:?}");
    }
}

#[test]
fn enroll_saves_the_qr_code_in_a_private_file() {
    for name in ["alice.png", "alice.svg"] {
        let place = Place::new();
        let _hsm = place.serve(cooperate);
        let ended = place.run_json(&["account", "enroll", "alice", "--qr", name]);
        assert_eq!((ended.code, ended.json()["qr_file"].as_str()), (0, Some(name)));
        let found = std::fs::metadata(place.path(name)).unwrap();
        assert!(found.len() > 100);
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn confirm_and_unlock_carry_two_codes_in_their_order() {
    let two = TwoCodes { account: "alice".parse().unwrap(), first: code("123456"), second: code("654321") };
    for (word, expected) in [("confirm", Act::Confirm(two.clone())), ("unlock", Act::Unlock(two.clone()))] {
        let (json, act) = ask(&["account", word, "alice", "--code", "123456", "--code", "654321"]);
        assert_eq!((act, json), (expected, account_json()));
    }
}

#[test]
fn two_codes_come_from_standard_input_or_a_terminal_just_as_well() {
    let place = Place::new();
    let hsm = place.serve(cooperate);
    let ended = place.run_with_input(&["account", "confirm", "alice", "--code", "-"], b"123456\n654321\n");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let ended = place.run_at_terminal(&["account", "confirm", "alice"], "123456\n654321\n");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("Code: ") && ended.stderr.contains("The code after it: "));
    let two = TwoCodes { account: "alice".parse().unwrap(), first: code("123456"), second: code("654321") };
    for request in hsm.requests() {
        assert_eq!(request.act, Act::Confirm(two.clone()));
    }
}

#[test]
fn show_shows_the_account() {
    let (json, act) = ask(&["account", "show", "alice"]);
    assert_eq!((act, json), (Act::ShowAccount("alice".parse().unwrap()), account_json()));
}

#[test]
fn key_create_names_the_mechanisms() {
    let (json, act) = ask(&["key", "create", "alice/cold", "--mechanism", "digest"]);
    let expected =
        CreateKey { label: "alice/cold".parse().unwrap(), plan: KeyPlan::of(vec![Mechanism::Digest]) };
    assert_eq!((act, json), (Act::CreateKey(expected), key_json("alice/cold")));
}

#[test]
fn key_list_follows_every_page() {
    let place = Place::new();
    let hsm = place.serve(cooperate);
    let ended = place.run_json(&["key", "list"]);
    assert_eq!(ended.json(), json!({ "keys": [key_json("alice/ethereum"), key_json("bob/ethereum")] }));
    let queries: Vec<Act> = hsm.requests().into_iter().map(|request| request.act).collect();
    let second = KeyQuery::All(Some(ByteArray::new([1; 8])));
    assert_eq!(queries, [Act::FindKeys(KeyQuery::All(None)), Act::FindKeys(second)]);
}

#[test]
fn key_list_does_not_follow_a_page_that_leads_to_itself() {
    let place = Place::new();
    let hsm = place.serve(|request| {
        done(request, Answer::Keys(KeyPage { keys: Vec::new(), next: Some(ByteArray::new([1; 8])) }))
    });
    assert_eq!(place.run(&["key", "list"]).code, 4);
    assert_eq!(hsm.requests().len(), 2);
}

#[test]
fn key_list_narrows_to_an_account_a_key_or_an_id() {
    let (json, act) = ask(&["key", "list", "alice"]);
    assert_eq!(act, Act::ShowAccount("alice".parse().unwrap()));
    assert_eq!(json, json!({ "keys": [key_json("alice/ethereum")] }));
    let (json, act) = ask(&["key", "list", "alice/cold"]);
    assert_eq!(act, Act::FindKeys(KeyQuery::Label("alice/cold".parse().unwrap())));
    assert_eq!(json, json!({ "keys": [key_json("alice/cold")] }));
    let (json, act) = ask(&["key", "list", "--id", &"0a".repeat(16)]);
    assert_eq!(act, Act::FindKeys(KeyQuery::Id(ByteArray::new([10; 16]))));
    assert_eq!(json, json!({ "keys": [] }));
}

#[test]
fn sign_sends_a_digest_and_shows_r_s_v() {
    let digest = format!("0x{}", "0C".repeat(32));
    let (json, act) = ask(&["sign", "--key", "alice/digest", "--digest", &digest, "--code", "123456"]);
    let expected = Sign {
        key: "alice/digest".parse().unwrap(),
        payload: Payload::Digest(ByteArray::new([12; 32])),
        approval: Some(Approval::Code(code("123456"))),
    };
    assert_eq!(act, Act::Sign(expected));
    let digest = format!("0x{}", "dd".repeat(32));
    let signature = format!("0x{}01", "5a".repeat(64));
    assert_eq!(
        json,
        json!({ "signature": signature, "hash": digest, "digest": digest, "summary": "sign: digest, blind\n" })
    );
}

#[test]
fn sign_reads_a_transaction_as_hex_or_raw_from_a_file_or_standard_input() {
    let raw = [0x02, 0xc2, 0x01, 0x20];
    let act = |place: &Place, input: &[u8], file: &str| {
        let hsm = place.serve(cooperate);
        let arguments = ["--json", "sign", "--key", "alice/ethereum", "--ethereum", file, "--code", "123456"];
        let ended = place.run_with_input(&arguments, input);
        assert_eq!(ended.code, 0, "{}", ended.stdout);
        let json = json!({
            "signature": format!("0x{}01", "5a".repeat(64)),
            "hash": format!("0x{}", "ee".repeat(32)),
            "digest": format!("0x{}", "dd".repeat(32)),
            "raw_transaction": "0x02c180",
            "summary": "sign: digest, blind\n",
        });
        assert_eq!(ended.json(), json);
        hsm.requests()[0].act.clone()
    };
    let expected = Act::Sign(Sign {
        key: "alice/ethereum".parse().unwrap(),
        payload: Payload::Ethereum(ByteBuf::from(raw)),
        approval: Some(Approval::Code(code("123456"))),
    });
    let place = Place::new();
    std::fs::write(place.path("hex"), "0x02c20120\n").unwrap();
    std::fs::write(place.path("raw"), raw).unwrap();
    assert_eq!(act(&place, b"", "hex"), expected);
    assert_eq!(act(&place, b"", "raw"), expected);
    assert_eq!(act(&place, b"02C20120", "-"), expected);
    assert_eq!(act(&place, &raw, "-"), expected);
}

#[test]
fn sign_takes_the_code_from_standard_input_or_a_terminal_just_as_well() {
    let place = Place::new();
    let hsm = place.serve(cooperate);
    let digest = "00".repeat(32);
    let arguments = ["sign", "--key", "alice/digest", "--digest", &digest];
    assert_eq!(place.run_with_input(&[&arguments[..], &["--code", "-"]].concat(), b"123456\n").code, 0);
    let asked = place.run_at_terminal(&arguments, "654321\n");
    assert_eq!((asked.code, asked.stderr.as_str()), (0, "Code: "));
    let codes: Vec<_> = hsm
        .requests()
        .into_iter()
        .map(|request| match request.act {
            Act::Sign(Sign { approval: Some(Approval::Code(code)), .. }) => code,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, [code("123456"), code("654321")]);
}

#[test]
fn sign_sends_the_request_id_that_was_given_and_else_a_fresh_one() {
    let place = Place::new();
    let hsm = place.serve(cooperate);
    let digest = "00".repeat(32);
    let arguments = ["sign", "--key", "alice/digest", "--digest", &digest, "--code", "123456"];
    for more in [&["--request-id", &"0b".repeat(16)][..], &[], &[]] {
        assert_eq!(place.run(&[&arguments[..], more].concat()).code, 0);
    }
    let ids: Vec<RequestId> = hsm.requests().iter().map(|request| request.id).collect();
    assert_eq!(ids[0], RequestId::new([11; 16]));
    assert!(ids[1] != ids[0] && ids[2] != ids[1] && ids[2] != ids[0]);
}

#[test]
fn the_api_key_of_the_environment_goes_before_the_file() {
    let place = Place::new();
    let hsm = place.serve(cooperate);
    assert_eq!(place.run(&["account", "show", "alice"]).code, 0);
    let mut command = place.command(&["account", "show", "alice"]);
    assert!(command.env("COUNTERSIGN_API_KEY", api_key('b')).output().unwrap().status.success());
    let keys: Vec<String> =
        hsm.requests().iter().map(|request| request.api_key.as_ref().unwrap().expose().to_owned()).collect();
    assert_eq!(keys, [api_key('a'), api_key('b')]);
}

#[test]
fn people_read_plain_words_without_colours_in_a_pipe() {
    let place = Place::new();
    let _hsm = place.serve(cooperate);
    for arguments in [
        &["status"][..],
        &["clock", "show"],
        &["account", "enroll", "alice", "--qr-terminal"],
        &["account", "show", "alice"],
        &["key", "list"],
        &["sign", "--key", "alice/digest", "--digest", &"00".repeat(32), "--code", "123456"],
    ] {
        let ended = place.run(arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(!ended.stdout.is_empty() && !ended.stdout.contains('\x1b'), "{arguments:?}");
    }
}
