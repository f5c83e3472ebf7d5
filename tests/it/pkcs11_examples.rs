//! The programs of `docs/examples`, compiled and run with the very lines of `docs/pkcs11.md`, against a real HSM.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::intents::{MAIL, set_policy};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_dyn_abi::TypedData;
use alloy_primitives::{Address, Bytes, keccak256};
use countersign_tests::backend::{address, assert_signed_by, digest};
use countersign_tests::bitcoin::{Watched, wallet_key};
use countersign_tests::{
    Hsm, Keystore, User, artefacts, on_both_keystores, on_embedded, owner, transactions,
};
use countersign_wire::client::Mechanism::{Bitcoin, Digest, Ethereum, Message, TypedData as Typed};
use countersign_wire::client::{ApprovalKind, KeyQuery};
use k256::ecdsa::signature::hazmat::PrehashSigner;
use k256::ecdsa::{Signature as K256Signature, SigningKey};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

on_both_keystores!(
    the_c_example_signs_with_every_mechanism,
    the_c_example_says_why_it_was_refused,
    the_python_example_signs_with_every_mechanism,
    the_python_example_says_why_it_was_refused,
    the_javascript_example_signs_with_every_mechanism,
    the_javascript_example_says_why_it_was_refused,
    the_go_example_signs_with_every_mechanism,
    the_go_example_says_why_it_was_refused,
    the_java_example_signs_with_every_mechanism,
    the_java_example_says_why_it_was_refused,
    i1_the_examples_sign_what_was_approved_on_a_device_and_nothing_else,
    i1_javas_key_store_signs_what_was_approved_on_a_device,
);
on_embedded!(the_python_example_makes_transactions_that_can_be_broadcast);

/// The languages in which the program is there.
const LANGUAGES: [&str; 5] = ["C", "Python", "JavaScript", "Go", "Java"];

/// The section "Worked example".
fn worked_example() -> String {
    let document = fs::read_to_string(artefacts::workspace().join("docs/pkcs11.md")).unwrap();
    let (_, section) = document.split_once("\n## Worked example\n").unwrap();
    section.split("\n## ").next().unwrap().to_owned()
}

/// The lines of the shell that the documentation has for a language.
fn documented(language: &str) -> Vec<String> {
    let section = worked_example();
    let (_, part) = section.split_once(&format!("\n**{language}**")).unwrap();
    let (_, block) = part.split_once("\n```sh\n").unwrap();
    let block = block.split("\n```").next().unwrap().replace("\\\n", " ");
    block.lines().map(str::to_owned).collect()
}

/// One of the programs, where it was compiled.
struct Example {
    folder: PathBuf,
    /// The start of the line that runs it, up to its arguments.
    run: String,
}

/// How a program ended.
struct Ended {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

fn shell(folder: &Path, line: &str) -> Command {
    let mut command = Command::new("sh");
    command.current_dir(folder).args(["-c", line, "sh"]).stdin(Stdio::null());
    command
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Example {
    /// Does what the documentation says, in a copy of the folder. Python's and JavaScript's packages are there already.
    fn made_for(hsm: &Hsm, language: &str) -> Self {
        let folder = hsm.folder().join(format!("examples-{language}"));
        fs::create_dir(&folder).unwrap();
        for file in fs::read_dir(artefacts::workspace().join("docs/examples")).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                fs::copy(file.path(), folder.join(file.file_name())).unwrap();
            }
        }
        let [make, run, ..] = &documented(language)[..] else {
            panic!("a line to make it, a line to run it")
        };
        match language {
            "Python" => {
                let environment = artefacts::python().parent().and_then(Path::parent).unwrap().to_owned();
                symlink(environment, folder.join("venv")).unwrap();
            }
            "JavaScript" => {
                symlink(artefacts::node().join("node_modules"), folder.join("node_modules")).unwrap();
            }
            _ => succeeded(&shell(&folder, make).output().unwrap()),
        }
        let arguments = " \"$MODULE\" alice/ethereum ethereum transaction.bin > signature.bin";
        let run = run.strip_suffix(arguments).expect("the line ends with the arguments of the example");
        Self { folder, run: run.to_owned() }
    }

    /// Signs `data` with these lines on its standard input.
    fn sign(&self, hsm: &Hsm, key: &str, mechanism: &str, data: &[u8], codes: &[&str]) -> Ended {
        self.sign_as(hsm, hsm.api_key().expose(), key, mechanism, data, codes)
    }

    fn sign_as(
        &self,
        hsm: &Hsm,
        api_key: &str,
        key: &str,
        mechanism: &str,
        data: &[u8],
        codes: &[&str],
    ) -> Ended {
        let file = self.folder.join("data.bin");
        fs::write(&file, data).unwrap();
        let mut command = shell(&self.folder, &format!("exec {} \"$@\"", self.run));
        command.arg(artefacts::module()).args([key, mechanism]).arg(file);
        command.env("COUNTERSIGN_CONFIG", hsm.host_toml()).env("COUNTERSIGN_API_KEY", api_key);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines: String = codes.iter().flat_map(|code| [*code, "\n"]).collect();
        // A program that asks for no code has ended before it could read one.
        let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(!stderr.contains(api_key), "an API key is never shown");
        Ended { code: status.code().expect("no signal ended it"), stdout, stderr }
    }
}

impl Ended {
    #[track_caller]
    fn signature(self) -> Vec<u8> {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// Fails unless nothing was signed, with that exit code, and the last line begins with that sentence.
    #[track_caller]
    fn refused(&self, code: i32, sentence: &str) {
        let last = self.stderr.lines().last().unwrap_or_default();
        let last = last.rsplit_once("Code for alice/first: ").map_or(last, |(_, after)| after);
        assert!(last.starts_with(sentence), "{}", self.stderr);
        assert_eq!((self.code, self.stdout.len()), (code, 0), "{}", self.stderr);
    }
}

/// An HSM whose policy permits what it can decode, and a user of it.
fn hsm_and_user(keystore: Keystore) -> (Hsm, User) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    set_policy(&mut hsm, "decoded");
    hsm.run();
    let alice = hsm.user("alice", &[Digest, Ethereum, Typed, Message]);
    (hsm, alice)
}

fn signs_with_every_mechanism(language: &str, keystore: Keystore) {
    let (hsm, alice) = hsm_and_user(keystore);
    let bitcoin = wallet_key(&hsm, &alice, "btc", Bitcoin, "m/84h/1h/0h");
    let example = Example::made_for(&hsm, language);
    let sign = |key: &str, mechanism: &str, data: &[u8]| {
        let code = alice.phone.code(hsm.advance(30));
        example.sign(&hsm, key, mechanism, data, &[&code]).signature()
    };
    let transfer = transactions::transfer(1);
    let signature = sign("alice/first", "ethereum", &transactions::unsigned(&transfer));
    assert!(transactions::is_signer(&signature, &transfer, address(&alice.key)));

    let digest = serde_json::from_str::<TypedData>(MAIL).unwrap().eip712_signing_hash().unwrap();
    assert_signed_by(&alice.key, digest.as_slice(), &sign("alice/first", "typed-data", MAIL.as_bytes()));

    // PyKCS11 refuses to pass on data of no bytes.
    let texts = ["I, Alice, agree.", ""];
    for text in &texts[..if language == "Python" { 1 } else { 2 }] {
        let digest = alloy_primitives::eip191_hash_message(text);
        assert_signed_by(&alice.key, digest.as_slice(), &sign("alice/first", "message", text.as_bytes()));
    }

    let watched = Watched::of(&bitcoin);
    let unsigned = watched.psbt();
    watched.assert_signed(&unsigned, &sign("alice/btc", "psbt", &unsigned.serialize()));
}

fn says_why_it_was_refused(language: &str, keystore: Keystore) {
    let (mut hsm, alice) = hsm_and_user(keystore);
    let example = Example::made_for(&hsm, language);
    let transfer = transactions::transfer(1);
    let unsigned = transactions::unsigned(&transfer);
    let sign = |data: &[u8], codes: &[&str]| example.sign(&hsm, "alice/first", "ethereum", data, codes);
    let fresh = || {
        let now = hsm.advance(30);
        (alice.phone.code(now), alice.phone.wrong_code(now))
    };

    let (code, wrong) = fresh();
    let ended = sign(&unsigned, &[&wrong, "12345", &code]);
    let (counted, slip) = ("The code is wrong or was used before.", "This is not a code.");
    assert!(ended.stderr.contains(counted) && ended.stderr.contains(slip), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("Code for alice/first: ").count(), 3, "{}", ended.stderr);
    assert!(transactions::is_signer(&ended.signature(), &transfer, address(&alice.key)));
    let ended = sign(&unsigned, &[&code]);
    assert!(ended.stderr.contains(counted), "the same code again: {}", ended.stderr);
    ended.refused(3, "No right code was given. Nothing is signed.");

    let call =
        TxEip1559 { input: Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef]), ..transactions::transfer(2) };
    sign(&transactions::unsigned(&call), &[&fresh().0]).refused(3, "The custodian's policy does not permit");
    sign(b"not a transaction", &[&fresh().0]).refused(3, "The HSM cannot read this data");
    example.sign(&hsm, "alice/first", "digest", &[3; 31], &[&fresh().0]).refused(3, "A digest has 32 bytes.");

    // Before a code is asked for: nothing is spent on these.
    let (code, wrong) = fresh();
    for (key, mechanism, sentence) in [
        ("alice/first", "psbt", "The key was not made for this mechanism."),
        ("alice/second", "ethereum", "There is no key of this label."),
        ("bob/first", "ethereum", "There is no key of this label."),
    ] {
        example.sign(&hsm, key, mechanism, &unsigned, &[&code]).refused(3, sentence);
    }
    let other = format!("cs1_{}_default", "0".repeat(64));
    let ended = example.sign_as(&hsm, &other, "alice/first", "ethereum", &unsigned, &[&code]);
    ended.refused(3, "The API key is not valid");
    // C has no names for return values at run time.
    assert!(language == "C" || ended.stderr.contains("CKR_PIN_INCORRECT"), "{}", ended.stderr);
    sign(&unsigned, &[&code]).signature();

    sign(&unsigned, &[&wrong, &wrong, &wrong, &wrong, &wrong, &wrong]).refused(3, "Too many wrong codes");
    hsm.stop();
    example.sign(&hsm, "alice/first", "ethereum", &unsigned, &[]).refused(4, "The HSM cannot serve");
}

fn the_c_example_signs_with_every_mechanism(keystore: Keystore) {
    signs_with_every_mechanism("C", keystore);
}

fn the_c_example_says_why_it_was_refused(keystore: Keystore) {
    says_why_it_was_refused("C", keystore);
}

fn the_python_example_signs_with_every_mechanism(keystore: Keystore) {
    signs_with_every_mechanism("Python", keystore);
}

fn the_python_example_says_why_it_was_refused(keystore: Keystore) {
    says_why_it_was_refused("Python", keystore);
}

fn the_javascript_example_signs_with_every_mechanism(keystore: Keystore) {
    signs_with_every_mechanism("JavaScript", keystore);
}

fn the_javascript_example_says_why_it_was_refused(keystore: Keystore) {
    says_why_it_was_refused("JavaScript", keystore);
}

fn the_go_example_signs_with_every_mechanism(keystore: Keystore) {
    signs_with_every_mechanism("Go", keystore);
}

fn the_go_example_says_why_it_was_refused(keystore: Keystore) {
    says_why_it_was_refused("Go", keystore);
}

fn the_java_example_signs_with_every_mechanism(keystore: Keystore) {
    signs_with_every_mechanism("Java", keystore);
}

fn the_java_example_says_why_it_was_refused(keystore: Keystore) {
    says_why_it_was_refused("Java", keystore);
}

fn the_python_example_makes_transactions_that_can_be_broadcast(keystore: Keystore) {
    let (hsm, alice) = hsm_and_user(keystore);
    let example = Example::made_for(&hsm, "Python");
    let [.., line] = &documented("Python")[..] else { panic!("a line that finishes the transaction") };
    let address = address(&alice.key);
    let finish = |unsigned: &[u8], signature: &[u8], of: &str| {
        fs::write(example.folder.join("transaction.bin"), unsigned).unwrap();
        fs::write(example.folder.join("signature.bin"), signature).unwrap();
        let output = shell(&example.folder, line).env("ADDRESS", OsStr::new(of)).output().unwrap();
        (output, fs::read(example.folder.join("raw.bin")).unwrap())
    };
    let sign = |unsigned: &[u8]| {
        let code = alice.phone.code(hsm.advance(30));
        example.sign(&hsm, "alice/first", "ethereum", unsigned, &[&code]).signature()
    };
    // Some signatures: both parities, and types, come about.
    for nonce in 0..4 {
        let transfer = transactions::transfer(nonce);
        let unsigned = transactions::unsigned(&transfer);
        let (output, raw) = finish(&unsigned, &sign(&unsigned), &address.to_checksum(None));
        succeeded(&output);
        transactions::assert_broadcastable(&raw, keccak256(&raw).as_slice(), &transfer, address);
    }
    let legacy = transactions::legacy_transfer(Some(11_155_111));
    let unsigned = transactions::unsigned(&legacy);
    let signature = sign(&unsigned);
    let (output, raw) = finish(&unsigned, &signature, &address.to_checksum(None));
    succeeded(&output);
    transactions::assert_broadcastable(&raw, keccak256(&raw).as_slice(), &legacy, address);

    // RLP integers have no leading zeros; r or s of one signature in about 85 has some.
    let key = SigningKey::from_slice(&[0x46; 32]).unwrap();
    let short = |half: usize| {
        let signed = (0..).map(|nonce| {
            let transfer = transactions::transfer(nonce);
            let signature: K256Signature = key.sign_prehash(transfer.signature_hash().as_slice()).unwrap();
            (transfer, signature.to_bytes())
        });
        signed.take(4096).find(|(_, signature)| signature[half] == 0).expect("one in 256 or in 128")
    };
    let public_key = key.verifying_key().to_sec1_point(false);
    let signer = Address::from_raw_public_key(&public_key.as_bytes()[1..]);
    for (transfer, signature) in [short(0), short(32)] {
        let (output, raw) = finish(&transactions::unsigned(&transfer), &signature, &signer.to_checksum(None));
        succeeded(&output);
        transactions::assert_broadcastable(&raw, keccak256(&raw).as_slice(), &transfer, signer);
    }

    let stranger = transactions::RECIPIENT.to_checksum(None);
    let (output, raw) = finish(&unsigned, &signature, &stranger);
    assert!(!output.status.success() && raw.is_empty(), "not a signature of that address");
}

/// An empty line instead of a code: it is passed on as an empty PIN. And digests, under a policy that permits them.
fn i1_the_examples_sign_what_was_approved_on_a_device_and_nothing_else(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let device = owner::device(&hsm, &hsm.client, "alice", 1).unwrap();
    let phone =
        owner::enrol(&hsm, &device, "alice", owner::plan_with_floor(&[Ethereum], ApprovalKind::SealedCode));
    let key = &hsm.find_keys(hsm.api_key(), KeyQuery::Label(owner::owned_key("alice"))).unwrap().keys[0];
    let bob = hsm.user("bob", &[Digest]);
    for (nonce, language) in (0..).zip(LANGUAGES) {
        let example = Example::made_for(&hsm, language);
        let transfer = transactions::transfer(nonce);
        let sign = |transfer| {
            let data = transactions::unsigned(transfer);
            example.sign(&hsm, "alice/main", "ethereum", &data, &[""])
        };
        let refused = |ended: Ended| {
            assert!(ended.stderr.contains("This is not a code."), "{language}: {}", ended.stderr);
            assert_eq!((ended.code, ended.stdout.len()), (3, 0), "{language}: {}", ended.stderr);
        };
        refused(sign(&transfer));
        hsm.advance(30);
        let staged = hsm.stage("alice", transactions::payload(&transfer)).unwrap();
        let seen = device.view(staged.intent.into_array()).unwrap();
        device.approve(&seen, &phone.code(hsm.now())).unwrap();
        // Something is approved, so the empty PIN is taken; this is not it.
        let another = transactions::transfer(nonce + 100);
        let other = sign(&another);
        assert_eq!((other.code, other.stdout.len()), (3, 0), "{language}: {}", other.stderr);
        let word = "CKR_USER_NOT_LOGGED_IN";
        assert!(language == "C" || other.stderr.contains(word), "{language}: {}", other.stderr);
        let signature = sign(&transfer).signature();
        assert!(transactions::is_signer(&signature, &transfer, address(key)), "{language}");
        refused(sign(&transfer));
        let code = bob.phone.code(hsm.now());
        let signature = example.sign(&hsm, "bob/first", "digest", &[3; 32], &[&code]).signature();
        assert_signed_by(&bob.key, &[3; 32], &signature);
    }
}

/// `SunPKCS11`'s `KeyStore` knows no login for each signature.
fn i1_javas_key_store_signs_what_was_approved_on_a_device(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let device = owner::device(&hsm, &hsm.client, "alice", 1).unwrap();
    let plan = owner::plan_with_floor(&[Digest], ApprovalKind::SealedCode);
    let phone = owner::enrol(&hsm, &device, "alice", plan);
    let folder = hsm.folder().join("key-store");
    fs::create_dir(&folder).unwrap();
    let program = artefacts::workspace().join("docs/examples/SignApproved.java");
    fs::copy(program, folder.join("SignApproved.java")).unwrap();
    let [make, sign] = &documented("Java's KeyStore")[..] else { panic!("two lines") };
    succeeded(&shell(&folder, make).output().unwrap());
    fs::write(folder.join("digest.bin"), [1; 32]).unwrap();
    let run = || {
        let line = sign.replace("alice/digest", "alice/main");
        let mut command = shell(&folder, &line);
        command.env("MODULE", artefacts::module()).env("COUNTERSIGN_CONFIG", hsm.host_toml());
        let output = command.env("COUNTERSIGN_API_KEY", hsm.api_key().expose()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), fs::read(folder.join("signature.bin")).unwrap(), said)
    };
    let refused = |(code, signature, said): (Option<i32>, Vec<u8>, String)| {
        assert_eq!((code, signature.len()), (Some(3), 0), "{said}");
        assert!(said.contains("The user has not approved exactly this"), "{said}");
    };
    refused(run());
    hsm.advance(30);
    let staged = hsm.stage("alice", digest(1)).unwrap();
    let seen = device.view(staged.intent.into_array()).unwrap();
    device.approve(&seen, &phone.code(hsm.now())).unwrap();
    let (code, signature, said) = run();
    assert_eq!(code, Some(0), "{said}");
    let keys = hsm.find_keys(hsm.api_key(), KeyQuery::Label(owner::owned_key("alice"))).unwrap().keys;
    assert_signed_by(&keys[0], &[1; 32], &signature);
    refused(run());
}

#[test]
fn the_documented_packages_are_the_ones_that_are_tested() {
    let read = |path: &str| fs::read_to_string(artefacts::workspace().join(path)).unwrap();
    let page = read("docs/pkcs11.md") + &read("docs/examples/withdrawal/README.md");
    let installed = |with: &str| -> Vec<String> {
        let lines = page.lines().filter_map(|line| line.split_once(with));
        lines.flat_map(|(_, packages)| packages.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let (python, node) = (installed("pip install "), installed("npm install "));
    assert_eq!((python.len(), node.len()), (7, 2), "{python:?} {node:?}");
    let pinned = read("xtask/python-requirements.txt");
    for package in python {
        assert!(pinned.lines().any(|line| line == package), "{package} is not in python-requirements.txt");
    }
    let pinned: serde_json::Value = serde_json::from_str(&read("tests/node/package.json")).unwrap();
    for package in node {
        let (name, version) = package.split_once('@').unwrap();
        assert_eq!(pinned["dependencies"][name], version, "{package} is not what tests/node has");
    }
    let locks = ["tests/node", "docs/examples/withdrawal/node"];
    let [tested, example]: [serde_json::Value; 2] =
        locks.map(|folder| serde_json::from_str(&read(&format!("{folder}/package-lock.json"))).unwrap());
    let locked = example["packages"].as_object().unwrap().iter().filter(|(name, _)| !name.is_empty());
    for (name, package) in locked {
        assert_eq!(package["integrity"], tested["packages"][name]["integrity"], "{name}");
    }
}
