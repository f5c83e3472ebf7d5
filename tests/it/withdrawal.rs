//! The withdrawal services of `docs/examples/withdrawal`, made and run by the lines of its page, against a real HSM and a stand-in
//! for an Ethereum node that checks what is broadcast.

use crate::intents::set_policy;
use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Signature, TxKind, U256};
use countersign_tests::backend::address;
use countersign_tests::ethereum_node::{Chain, EthereumNode, Line};
use countersign_tests::hsm::kill_tree;
use countersign_tests::http;
use countersign_tests::recipe::Recipe;
use countersign_tests::{Hsm, Keystore, User, artefacts, on_embedded, owner, transactions};
use countersign_wire::client::Mechanism::Ethereum;
use countersign_wire::client::{ApprovalKind, KeyQuery};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

on_embedded!(
    withdraws_from_python,
    withdraws_from_javascript,
    withdraws_from_java,
    withdraws_from_go,
    i1_withdraws_from_python_what_was_approved_on_a_device,
    i1_withdraws_from_javascript_what_was_approved_on_a_device,
    i1_withdraws_from_java_what_was_approved_on_a_device,
    i1_withdraws_from_go_what_was_approved_on_a_device,
);

const PAGE: &str = "docs/examples/withdrawal/README.md";

/// The chain of the policy's limit.
const CHAIN_ID: u64 = 1;

const FIRST_NONCE: u64 = 5;

/// What a unit of gas costs at the node of these tests, in wei.
const BASE_FEE: u64 = 7_000_000_000;

/// One ether, in wei.
const ETHER: u128 = 1_000_000_000_000_000_000;

/// A service that runs; dropping it kills it.
struct Service {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Drop for Service {
    fn drop(&mut self) {
        kill_tree(&mut self.child);
        if std::thread::panicking() {
            eprintln!("the service's log:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// A service's folder, its HSM's host, its node.
struct Stand<'a> {
    hsm: &'a Hsm,
    node: &'a EthereumNode,
    key: String,
    folder: PathBuf,
    run: String,
}

impl<'a> Stand<'a> {
    /// Does what the page says for a language, in a copy of the folder. What npm and pip would fetch is there already.
    fn made(hsm: &'a Hsm, node: &'a EthereumNode, key: &str, language: &str) -> Self {
        let folder = hsm.folder().join("withdrawal");
        let sources = artefacts::workspace().join("docs/examples/withdrawal");
        let copied =
            Command::new("cp").arg("-R").args([&sources, &folder]).status().expect("cp can be started");
        assert!(copied.success());
        let python = artefacts::python();
        let environment = python.parent().and_then(Path::parent).expect("an environment has folders");
        symlink(environment, folder.join("venv")).expect("a link can be made");
        let packages = artefacts::node().join("node_modules");
        symlink(packages, folder.join("node/node_modules")).expect("a link can be made");
        let recipe = Recipe::of(PAGE, &format!("### {language}"));
        let [make, run] = &recipe.lines[..] else { panic!("a line to make it, a line to run it") };
        if ["Java", "Go"].contains(&language) {
            let output =
                Command::new("sh").args(["-c", make]).current_dir(&folder).output().expect("a shell");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Self { hsm, node, key: key.to_owned(), folder, run: run.clone() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("service.log")).expect("there is a log")
    }

    /// Starts the service and waits until it says where it listens.
    fn start(&self) -> Service {
        let log = File::options().create(true).append(true).open(self.folder.join("service.log"));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {}", self.run)]).current_dir(&self.folder);
        command.env("MODULE", artefacts::module()).env("COUNTERSIGN_CONFIG", self.hsm.host_toml());
        command.env("COUNTERSIGN_API_KEY", self.hsm.api_key().expose()).env("CLI", artefacts::cli());
        command
            .env("KEY", &self.key)
            .env("NODE_URL", self.node.url())
            .env("CHAIN_ID", CHAIN_ID.to_string())
            .env("STORE", self.folder.join("store"));
        command.env("PORT", "0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.expect("a log file"));
        let mut child = command.spawn().expect("a shell can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it writes lines");
        let address =
            line.trim().strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        let log = self.folder.join("service.log");
        Service { child, log, address: address.unwrap_or_else(|| panic!("{line:?}\n{}", self.log())) }
    }
}

impl Service {
    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        http::ask(self.address, method, path, &body.to_string())
    }

    /// Asks for a withdrawal of so many wei; its path.
    #[track_caller]
    fn withdraw(&self, wei: u128) -> String {
        let body = json!({ "to": transactions::RECIPIENT.to_checksum(None), "amount_wei": wei.to_string() });
        let (status, answer) = self.ask("POST", "/withdrawals", &body);
        assert_eq!((status, &answer["state"]), (201, &json!("open")), "{answer}");
        format!("/withdrawals/{}", answer["id"].as_str().expect("an id"))
    }

    fn state(&self, withdrawal: &str) -> Value {
        self.ask("GET", withdrawal, &json!({})).1["state"].take()
    }

    fn give(&self, withdrawal: &str, code: &str) -> (u16, Value) {
        self.ask("POST", &format!("{withdrawal}/code"), &json!({ "code": code }))
    }

    /// Fails unless the code is refused with this status and word, and leaves the withdrawal in this state.
    #[track_caller]
    fn refuses(&self, withdrawal: &str, code: &str, status: u16, word: &str, state: &str) -> String {
        let (told, answer) = self.give(withdrawal, code);
        assert_eq!((told, &answer["error"]), (status, &json!(word)), "{answer}");
        assert_eq!(self.state(withdrawal), state);
        answer["message"].as_str().expect("a sentence").to_owned()
    }

    #[track_caller]
    fn broadcast(&self, withdrawal: &str, status: u16, state: &str) -> Value {
        let (told, answer) = self.ask("POST", &format!("{withdrawal}/broadcast"), &json!({}));
        assert_eq!(told, status, "{answer}");
        assert_eq!(self.state(withdrawal), state);
        answer
    }
}

/// A node whose chain knows this account.
fn node_of(account: Address) -> EthereumNode {
    let accounts = BTreeMap::from([(account, (FIRST_NONCE, U256::from(20 * ETHER)))]);
    let chain = Chain { chain_id: CHAIN_ID, base_fee: BASE_FEE, accounts, accepted: Vec::new() };
    EthereumNode::serve(chain)
}

/// What was broadcast is a transfer of so many wei by this account.
#[track_caller]
fn assert_paid(paid: &TxEnvelope, from: Address, nonce: u64, wei: u128) {
    assert_eq!(paid.recover_signer().expect("a valid signature"), from);
    assert_eq!(
        (paid.nonce(), paid.value(), paid.to()),
        (nonce, U256::from(wei), Some(transactions::RECIPIENT))
    );
    assert_eq!(
        (paid.max_fee_per_gas(), paid.max_priority_fee_per_gas()),
        (15_000_000_000, Some(1_000_000_000))
    );
}

fn withdraws(language: &str, keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    set_policy(&mut hsm, "limited");
    hsm.run();
    let alice = hsm.user("alice", &[Ethereum]);
    let node = node_of(address(&alice.key));
    asks_again_until_the_code_is_right(&hsm, &alice, &node, language);
    loses_nothing_without_hsm_or_node(&mut hsm, &alice, &node);
    says_what_policy_and_lock_mean(&hsm, &alice, &node);
    goes_by_what_is_saved(&hsm, &alice, &node);
    gives_no_nonce_twice(&hsm, &alice, &node);
    believes_no_node_about_chain_and_fees(&hsm, &node);
}

/// The stand that the first part made.
fn stand_again<'a>(hsm: &'a Hsm, node: &'a EthereumNode) -> Stand<'a> {
    let folder = hsm.folder().join("withdrawal");
    let run = fs::read_to_string(folder.join("run")).expect("the first part wrote it");
    Stand { hsm, node, key: "alice/first".into(), folder, run }
}

fn asks_again_until_the_code_is_right(hsm: &Hsm, alice: &User, node: &EthereumNode, language: &str) {
    let stand = Stand::made(hsm, node, "alice/first", language);
    fs::write(stand.folder.join("run"), &stand.run).expect("a file can be written");
    let service = stand.start();
    let to = transactions::RECIPIENT.to_checksum(None);
    for bad in [
        json!({}),
        json!({ "to": to, "amount_wei": "0" }),
        json!({ "to": to, "amount_wei": 5 }),
        json!({ "to": to, "amount_wei": "1.5" }),
        json!({ "to": to, "amount_wei": "-1" }),
        json!({ "to": to, "amount_wei": U256::MAX.to_string() + "0" }),
        json!({ "to": &to[..40], "amount_wei": "5" }),
        json!({ "to": [to], "amount_wei": "5" }),
    ] {
        let (status, answer) = service.ask("POST", "/withdrawals", &bad);
        assert_eq!((status, &answer["error"]), (400, &json!("request")), "{bad}: {answer}");
    }
    assert_eq!(service.ask("GET", "/withdrawals/none", &json!({})).0, 404);
    node.set_line(Line::Down);
    let asked = json!({ "to": to, "amount_wei": ETHER.to_string() });
    assert_eq!(service.ask("POST", "/withdrawals", &asked).0, 502, "nothing is begun");
    node.set_line(Line::Up);

    let withdrawal = service.withdraw(ETHER);
    let (status, answer) = service.ask("POST", "/withdrawals", &asked);
    assert_eq!((status, &answer["error"]), (409, &json!("under-way")));
    let now = hsm.now();
    let sentence = service.refuses(&withdrawal, &alice.phone.wrong_code(now), 403, "wrong-code", "open");
    assert!(sentence.contains("Try the next code"), "{sentence}");
    for slip in ["12345", "12345x", ""] {
        service.refuses(&withdrawal, slip, 400, "not-a-code", "open");
    }
    let (status, answer) = service.ask("POST", &format!("{withdrawal}/stage"), &json!({}));
    assert_eq!((status, &answer["error"]), (409, &json!("no-device")), "{answer}");
    let code = alice.phone.code(now);
    let (status, answer) = service.give(&withdrawal, &code);
    assert_eq!((status, &answer["state"]), (200, &json!("sent")), "{answer}");
    let accepted = node.accepted();
    assert_paid(&accepted[0], address(&alice.key), FIRST_NONCE, ETHER);
    assert_eq!(answer["hash"], json!(accepted[0].hash()));
    // The same code for another withdrawal, and another code for the same one.
    assert_eq!(service.give(&withdrawal, &alice.phone.code(hsm.advance(30))).0, 409);
    let second = service.withdraw(1);
    service.refuses(&second, &code, 403, "wrong-code", "open");
    assert_eq!(service.ask("DELETE", &second, &json!({})).0, 200);
    assert_eq!(node.accepted().len(), 1);
    keeps_no_secret(&stand, alice, &[&code]);
}

/// Neither what it wrote nor what it keeps has a code or the API key.
fn keeps_no_secret(stand: &Stand<'_>, alice: &User, codes: &[&str]) {
    let mut written = stand.log();
    let kept = fs::read_dir(stand.folder.join("store")).expect("it keeps withdrawals");
    for file in kept {
        written.push_str(&fs::read_to_string(file.expect("an entry").path()).expect("text"));
    }
    assert!(written.contains(&address(&alice.key).to_checksum(None)), "it is what was kept");
    assert!(!written.contains(stand.hsm.api_key().expose()));
    for code in codes {
        assert!(!written.contains(&format!("\"{code}\"")) && !stand.log().contains(code), "{written}");
    }
}

fn loses_nothing_without_hsm_or_node(hsm: &mut Hsm, alice: &User, node: &EthereumNode) {
    let service = stand_again(hsm, node).start();
    let withdrawal = service.withdraw(2);
    let code = alice.phone.code(hsm.advance(30));
    hsm.stop();
    service.refuses(&withdrawal, &code, 503, "hsm", "open");
    hsm.run();
    // The HSM saw nothing of that code.
    node.set_line(Line::LosesAnswers);
    let (status, answer) = service.give(&withdrawal, &code);
    assert_eq!((status, &answer["error"]), (502, &json!("node")), "{answer}");
    assert_eq!(service.state(&withdrawal), "signed");
    node.set_line(Line::Down);
    // Killed, and started again.
    drop(service);
    let service = stand_again(hsm, node).start();
    service.broadcast(&withdrawal, 502, "signed");
    let asked = json!({ "to": transactions::RECIPIENT.to_checksum(None), "amount_wei": "1" });
    assert_eq!(service.ask("POST", "/withdrawals", &asked).0, 409, "its nonce is taken");
    assert_eq!(service.ask("DELETE", &withdrawal, &json!({})).0, 409, "what is signed may be out already");
    node.set_line(Line::Up);
    let first = service.broadcast(&withdrawal, 200, "sent");
    assert_eq!(service.broadcast(&withdrawal, 200, "sent"), first, "it may be repeated");
    let accepted = node.accepted();
    assert_eq!(accepted.len(), 2, "the node had it since its answer was lost");
    assert_paid(&accepted[1], address(&alice.key), FIRST_NONCE + 1, 2);
}

fn says_what_policy_and_lock_mean(hsm: &Hsm, alice: &User, node: &EthereumNode) {
    let service = stand_again(hsm, node).start();
    let withdrawal = service.withdraw(9 * ETHER);
    service.refuses(&withdrawal, &alice.phone.code(hsm.advance(30)), 403, "policy", "denied");
    let withdrawal = service.withdraw(3);
    let now = hsm.advance(30);
    for _ in 0..5 {
        service.refuses(&withdrawal, &alice.phone.wrong_code(now), 403, "wrong-code", "open");
    }
    let sentence = service.refuses(&withdrawal, &alice.phone.code(now), 429, "locked", "open");
    assert!(sentence.contains("frozen the account"), "{sentence}");
    let (status, answer) = service.give(&withdrawal, &alice.phone.code(hsm.advance(300)));
    assert_eq!((status, &answer["state"]), (200, &json!("sent")), "{answer}");
    assert_paid(&node.accepted()[2], address(&alice.key), FIRST_NONCE + 2, 3);
}

/// Where the withdrawal is written before it takes its name: a folder there makes every change of it fail.
fn bar(stand: &Stand<'_>, withdrawal: &str) -> PathBuf {
    let id = withdrawal.rsplit('/').next().expect("an id");
    stand.folder.join("store").join(id).with_extension("new")
}

fn goes_by_what_is_saved(hsm: &Hsm, alice: &User, node: &EthereumNode) {
    let stand = stand_again(hsm, node);
    let mode = fs::metadata(stand.folder.join("store")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "withdrawals are nobody else's to read");
    let service = stand.start();
    let (withdrawal, before) = (service.withdraw(4), node.accepted().len());
    let bar = bar(&stand, &withdrawal);
    fs::create_dir(&bar).expect("nothing is there");
    // It is signed, and the signature cannot be kept.
    service.refuses(&withdrawal, &alice.phone.code(hsm.advance(30)), 500, "internal", "open");
    service.broadcast(&withdrawal, 409, "open");
    assert_eq!(service.ask("DELETE", &withdrawal, &json!({})).0, 500);
    assert_eq!(service.state(&withdrawal), "open");
    assert_eq!(node.accepted().len(), before, "what is not saved is not sent");
    fs::remove_dir(&bar).expect("it is empty");
    node.set_line(Line::Down);
    assert_eq!(service.give(&withdrawal, &alice.phone.code(hsm.advance(30))).0, 502);
    node.set_line(Line::Up);
    // It is sent, and that cannot be kept.
    fs::create_dir(&bar).expect("nothing is there");
    service.broadcast(&withdrawal, 500, "signed");
    fs::remove_dir(&bar).expect("it is empty");
    service.broadcast(&withdrawal, 200, "sent");
    let accepted = node.accepted();
    assert_eq!(accepted.len(), before + 1);
    assert_paid(&accepted[before], address(&alice.key), FIRST_NONCE + 3, 4);
}

fn gives_no_nonce_twice(hsm: &Hsm, alice: &User, node: &EthereumNode) {
    let sends = |service: &Service, wei| {
        let withdrawal = service.withdraw(wei);
        let (status, answer) = service.give(&withdrawal, &alice.phone.code(hsm.advance(30)));
        (withdrawal, status, answer)
    };
    let service = stand_again(hsm, node).start();
    let (first, status, answer) = sends(&service, 5);
    assert_eq!(status, 200, "{answer}");
    drop(service);
    node.change(Chain::forget_last);
    // What it sent it knows from its files.
    let service = stand_again(hsm, node).start();
    let (second, status, answer) = sends(&service, 6);
    assert_eq!((status, &answer["error"]), (502, &json!("node")), "the node misses the one before: {answer}");
    service.broadcast(&first, 200, "sent");
    service.broadcast(&second, 200, "sent");
    let accepted = node.accepted();
    let [.., paid, paid_next] = &accepted[..] else { panic!("two were broadcast") };
    assert_paid(paid, address(&alice.key), FIRST_NONCE + 4, 5);
    assert_paid(paid_next, address(&alice.key), FIRST_NONCE + 5, 6);
}

fn believes_no_node_about_chain_and_fees(hsm: &Hsm, node: &EthereumNode) {
    let service = stand_again(hsm, node).start();
    let refuses = |about: &str| {
        let asked = json!({ "to": transactions::RECIPIENT.to_checksum(None), "amount_wei": "1" });
        let (status, answer) = service.ask("POST", "/withdrawals", &asked);
        assert_eq!((status, &answer["error"]), (502, &json!("node")), "{answer}");
        assert!(answer["message"].as_str().expect("a sentence").contains(about), "{answer}");
    };
    node.change(|chain| chain.chain_id = CHAIN_ID + 1);
    refuses("another chain");
    node.change(|chain| chain.chain_id = CHAIN_ID);
    // Twice this and the tip of one gwei is just above 300 gwei.
    node.change(|chain| chain.base_fee = 149_500_000_001);
    refuses("higher fee");
    node.change(|chain| chain.base_fee = 149_500_000_000);
    let withdrawal = service.withdraw(1);
    assert_eq!(service.ask("DELETE", &withdrawal, &json!({})).0, 200);
    node.change(|chain| chain.base_fee = BASE_FEE);
}

fn withdraws_from_python(keystore: Keystore) {
    withdraws("Python", keystore);
}

fn withdraws_from_javascript(keystore: Keystore) {
    withdraws("JavaScript", keystore);
}

fn withdraws_from_java(keystore: Keystore) {
    withdraws("Java", keystore);
}

fn withdraws_from_go(keystore: Keystore) {
    withdraws("Go", keystore);
}

fn withdraws_what_was_approved_on_a_device(language: &str, keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    set_policy(&mut hsm, "limited");
    hsm.run();
    let device = owner::device(&hsm, &hsm.client, "alice", 1).expect("a device meets the HSM");
    let plan = owner::plan_with_floor(&[Ethereum], ApprovalKind::SealedCode);
    let phone = owner::enrol(&hsm, &device, "alice", plan);
    let query = KeyQuery::Label(owner::owned_key("alice"));
    let account = address(&hsm.find_keys(hsm.api_key(), query).expect("found").keys[0]);
    let node = node_of(account);
    let stand = Stand::made(&hsm, &node, "alice/main", language);
    let service = stand.start();
    let withdrawal = service.withdraw(ETHER);
    let bar = bar(&stand, &withdrawal);
    let finish = || service.ask("POST", &format!("{withdrawal}/approved"), &json!({}));
    let stages = |withdrawal: &str| service.ask("POST", &format!("{withdrawal}/stage"), &json!({}));
    let approves = || {
        let (status, answer) = stages(&withdrawal);
        assert_eq!(status, 200, "{answer} {}", stand.log());
        let intent = answer["intent"].as_str().expect("an intent's id");
        let intent = data_encoding::HEXLOWER.decode(intent.as_bytes()).expect("hex digits");
        assert_eq!(finish().1["error"], "not-approved", "staged is not approved");
        let seen = device.view(intent.try_into().expect("16 bytes")).expect("the device sees it");
        device.approve(&seen, &phone.code(hsm.advance(30))).expect("a right code approves");
    };
    let (status, answer) = finish();
    assert_eq!((status, &answer["error"]), (409, &json!("not-approved")), "{answer}");
    // What cannot be kept is neither told nor sent: that it is staged, and that it is signed.
    fs::create_dir(&bar).expect("nothing is there");
    assert_eq!(stages(&withdrawal).0, 500);
    assert_eq!(service.ask("GET", &withdrawal, &json!({})).1["intent"], Value::Null);
    fs::remove_dir(&bar).expect("it is empty");
    approves();
    fs::create_dir(&bar).expect("nothing is there");
    assert_eq!(finish().0, 500);
    assert_eq!((service.state(&withdrawal), node.accepted().len()), (json!("open"), 0));
    fs::remove_dir(&bar).expect("it is empty");
    approves();
    let (status, answer) = finish();
    assert_eq!((status, &answer["state"]), (200, &json!("sent")), "{answer}");
    assert_paid(&node.accepted()[0], account, FIRST_NONCE, ETHER);
    assert_eq!((finish().0, node.accepted().len()), (409, 1), "it is paid once");

    // What refuses to stage is told as what refuses to sign.
    let refuses = |withdrawal: &str, status: u16, word: &str, state: &str| {
        let (told, answer) = stages(withdrawal);
        assert_eq!((told, &answer["error"]), (status, &json!(word)), "{answer} {}", stand.log());
        assert_eq!(service.state(withdrawal), state);
    };
    refuses(&withdrawal, 409, "not-open", "sent");
    refuses(&service.withdraw(9 * ETHER), 403, "policy", "denied");
    let withdrawal = service.withdraw(1);
    assert!((0..10).any(|_| stages(&withdrawal).0 != 200), "an account has few intents");
    refuses(&withdrawal, 429, "too-many", "open");
    device.freeze().expect("a device freezes its account");
    refuses(&withdrawal, 429, "locked", "open");
    drop(device);
    hsm.stop();
    let (status, answer) = stages(&withdrawal);
    assert_eq!((status, &answer["error"]), (503, &json!("hsm")), "{answer}");
}

fn i1_withdraws_from_python_what_was_approved_on_a_device(keystore: Keystore) {
    withdraws_what_was_approved_on_a_device("Python", keystore);
}

fn i1_withdraws_from_javascript_what_was_approved_on_a_device(keystore: Keystore) {
    withdraws_what_was_approved_on_a_device("JavaScript", keystore);
}

fn i1_withdraws_from_java_what_was_approved_on_a_device(keystore: Keystore) {
    withdraws_what_was_approved_on_a_device("Java", keystore);
}

fn i1_withdraws_from_go_what_was_approved_on_a_device(keystore: Keystore) {
    withdraws_what_was_approved_on_a_device("Go", keystore);
}

#[test]
fn the_stand_in_refuses_what_a_node_refuses() {
    let key = SigningKey::from_slice(&[0x46; 32]).expect("a key");
    let account = Address::from_raw_public_key(&key.verifying_key().to_sec1_point(false).as_bytes()[1..]);
    let accounts = BTreeMap::from([(account, (FIRST_NONCE, U256::from(2 * ETHER)))]);
    let mut chain = Chain { chain_id: CHAIN_ID, base_fee: 7, accounts, accepted: Vec::new() };
    let good = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce: FIRST_NONCE,
        gas_limit: 21_000,
        max_fee_per_gas: 7,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(transactions::RECIPIENT),
        value: U256::from(ETHER),
        ..TxEip1559::default()
    };
    let signed = |transaction: &TxEip1559| {
        let digest = transaction.signature_hash();
        let (signature, id) = key.sign_prehash_recoverable(digest.as_slice());
        let signature = Signature::from_bytes_and_parity(&signature.to_bytes(), id.is_y_odd());
        TxEnvelope::from(transaction.clone().into_signed(signature)).encoded_2718()
    };
    for (bad, why) in [
        (TxEip1559 { chain_id: 2, ..good.clone() }, "invalid chain id for signer"),
        (TxEip1559 { nonce: FIRST_NONCE - 1, ..good.clone() }, "nonce too low"),
        (TxEip1559 { nonce: FIRST_NONCE + 1, ..good.clone() }, "nonce too high"),
        (TxEip1559 { gas_limit: 20_999, ..good.clone() }, "intrinsic gas too low"),
        (TxEip1559 { max_fee_per_gas: 6, ..good.clone() }, "max fee per gas less than block base fee"),
        (
            TxEip1559 { value: U256::from(2 * ETHER), ..good.clone() },
            "insufficient funds for gas * price + value",
        ),
        (TxEip1559 { value: U256::MAX, ..good.clone() }, "insufficient funds for gas * price + value"),
    ] {
        assert_eq!(chain.accept(&signed(&bad)).expect_err(why), why);
    }
    let raw = signed(&good);
    chain.accept(&raw[1..]).expect_err("it cannot be decoded");
    let mut other = raw.clone();
    *other.last_mut().expect("bytes") ^= 1;
    chain.accept(&other).expect_err("it is another's signature, and he has no money");
    assert!(chain.accepted.is_empty());
    chain.accept(&raw).expect("it is good");
    assert_eq!(chain.accept(&raw).expect_err("again"), "already known");
    assert_eq!(chain.accepted.len(), 1);
}
