//! Clients of the module by the very lines and programs of "Clients" in `docs/pkcs11.md`, on each keystore: what they sign, and
//! what they say where they are refused.

use countersign_client::Client;
use countersign_tests::backend::{address, assert_signed_by, digest, reason};
use countersign_tests::recipe::{Recipe, section};
use countersign_tests::terminal::Terminal;
use countersign_tests::{Hsm, Keystore, User, artefacts, on_both_keystores, owner, transactions};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{ApprovalKind, KeyInfo, KeyQuery};
use countersign_wire::reason::Reason;
use k256::ecdsa::Signature;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

on_both_keystores!(
    python_pkcs11,
    graphene,
    pkcs11_tool_at_a_terminal,
    openssl_at_a_terminal,
    p11_kits_proxy,
    p11_kits_server,
    pykcs11_and_pkcs11js_say_that_there_was_no_code,
    i1_what_was_approved_on_a_device_is_signed_without_a_code,
);

const PAGE: &str = "docs/pkcs11.md";

/// The digest that the lines sign.
const DIGEST: [u8; 32] = [7; 32];

/// An HSM with `alice/digest` and `alice/ethereum`, and a folder with what a client needs.
struct Desk {
    hsm: Hsm,
    alice: User,
    digest: KeyInfo,
    ethereum: KeyInfo,
    folder: PathBuf,
    /// What takes the module's place for this client.
    module: PathBuf,
}

/// How a client ended.
struct Ended {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Desk {
    fn set(keystore: Keystore, client: &str) -> Self {
        let hsm = Hsm::start(keystore);
        let alice = hsm.user("alice", &[Digest]);
        let digest = hsm.create_key(&alice, "digest", &[Digest]).expect("a further key");
        let ethereum = hsm.create_key(&alice, "ethereum", &[Ethereum]).expect("a further key");
        let folder = folder_for(&hsm);
        Recipe::of(PAGE, client).write_to(&folder);
        Self { hsm, alice, digest, ethereum, folder, module: artefacts::module() }
    }

    fn code(&self) -> String {
        self.alice.phone.code(self.hsm.now())
    }

    fn next_code(&self) -> String {
        self.alice.phone.code(self.hsm.advance(30))
    }

    fn wrong_code(&self) -> String {
        self.alice.phone.wrong_code(self.hsm.now())
    }

    /// Runs a line with this on its standard input.
    fn run(&self, line: &str, input: &str) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        self.run_command(command, input)
    }

    fn run_command(&self, mut command: Command, input: &str) -> Ended {
        self.set_up(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a shell can be started");
        // A program that asks for no code has ended before it could read one.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it can be waited for");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains(self.hsm.api_key().expose()), "the API key is never shown");
        Ended { code: output.status.code(), stdout: output.stdout, stderr }
    }

    fn set_up(&self, command: &mut Command) {
        command.current_dir(&self.folder).env_remove("XDG_CONFIG_HOME").env("HOME", &self.folder);
        command.env("MODULE", &self.module).env("COUNTERSIGN_CONFIG", self.hsm.host_toml());
        command.env("COUNTERSIGN_API_KEY", self.hsm.api_key().expose());
    }

    /// Runs a line at a terminal and answers each prompt; whether it succeeded, and what was shown.
    fn at_a_terminal(&self, line: &str, key: &KeyInfo, answers: &[(&str, &str)]) -> (bool, String) {
        let mut terminal = Terminal::start("sh", |command| {
            command.args(["-c", line]).env("ID", data_encoding::HEXLOWER.encode(&key.id[..]));
            self.set_up(command);
        });
        for (prompt, answer) in answers {
            terminal.answer_secretly(prompt, answer);
        }
        let (succeeded, shown) = terminal.end();
        assert!(answers.iter().all(|(_, answer)| !shown.contains(answer)), "what is typed is not shown");
        (succeeded, shown)
    }

    /// The signature that a line writes.
    #[track_caller]
    fn signature(&self, ended: &Ended) -> Vec<u8> {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        fs::read(self.folder.join("signature.bin")).expect("a signature was written")
    }

    /// A line that signs the digest under a code on its standard input: it does so, and says why it does not.
    fn signs_a_digest_and_says_why_not(&self, line: &str, words: &Words) {
        let refused = |code: &str, word: &str| {
            let ended = self.run(line, code);
            assert!(ended.stderr.contains(word), "{word:?} is not in: {}", ended.stderr);
            assert!(ended.code.is_some_and(|code| code != 0), "it ends by itself, and says that it failed");
            let written = fs::read(self.folder.join("signature.bin")).unwrap_or_default();
            assert!(written.is_empty(), "a refusal writes nothing");
        };
        refused(&self.wrong_code(), &words.wrong);
        let code = self.code();
        assert_signed_by(&self.digest, &DIGEST, &self.signature(&self.run(line, &code)));
        refused(&code, &words.wrong);
        refused("", &words.none);
        let signature = self.signature(&self.run(line, &self.next_code()));
        assert_signed_by(&self.digest, &DIGEST, &signature);
    }

    /// The signature in `signature.bin` is over the transaction.
    #[track_caller]
    fn signed_the_transaction(&self, signature: &[u8]) {
        assert!(transactions::is_signer(signature, &transactions::transfer(3), address(&self.ethereum)));
    }
}

/// A folder with what is to be signed, Python's packages and Node's.
fn folder_for(hsm: &Hsm) -> PathBuf {
    let folder = hsm.folder().join("client");
    fs::create_dir(&folder).expect("a folder can be made");
    fs::write(folder.join("digest.bin"), DIGEST).expect("a file can be written");
    let transaction = transactions::unsigned(&transactions::transfer(3));
    fs::write(folder.join("transaction.bin"), transaction).expect("a file can be written");
    let python = artefacts::python();
    let environment = python.parent().and_then(Path::parent).expect("an environment has folders");
    symlink(environment, folder.join("venv")).expect("a link can be made");
    symlink(artefacts::node().join("node_modules"), folder.join("node_modules")).expect("a link can be made");
    folder
}

/// What a client says of refusals, by the table.
struct Words {
    wrong: String,
    none: String,
}

impl Words {
    fn of(client: &str) -> Self {
        let text = section(PAGE, "## Clients");
        let row = text.lines().find(|line| line.starts_with(&format!("| [{client}]"))).expect("it has a row");
        let cells: Vec<_> = row.split(" | ").collect();
        let word = |cell: &str| cell.rsplit('`').nth(1).unwrap_or("no word of the client's").to_owned();
        Self { wrong: word(cells[2]), none: word(cells[3]) }
    }
}

fn python_pkcs11(keystore: Keystore) {
    let desk = Desk::set(keystore, "### python-pkcs11");
    let recipe = Recipe::of(PAGE, "### python-pkcs11");
    desk.signs_a_digest_and_says_why_not(recipe.line("digest.py"), &Words::of("python-pkcs11"));
    // No mechanism by its number: that is why it signs no transactions.
    let ended = desk.run("venv/bin/python -c 'import pkcs11; pkcs11.Mechanism(0xc3530001)'", "");
    assert!(ended.stderr.contains("ValueError"), "{}", ended.stderr);
}

fn graphene(keystore: Keystore) {
    let desk = Desk::set(keystore, "### graphene-pk11");
    let recipe = Recipe::of(PAGE, "### graphene-pk11");
    let words = Words::of("graphene-pk11");
    desk.signs_a_digest_and_says_why_not(recipe.line("alice/digest"), &words);
    let line = recipe.line("alice/ethereum");
    desk.signed_the_transaction(&desk.signature(&desk.run(line, &desk.next_code())));
    let refused = desk.run(line, &desk.code());
    assert!(refused.code != Some(0) && refused.stderr.contains(&words.wrong), "{}", refused.stderr);
}

fn pkcs11_tool_at_a_terminal(keystore: Keystore) {
    let desk = Desk::set(keystore, "### pkcs11-tool");
    let (recipe, words) = (Recipe::of(PAGE, "### pkcs11-tool"), Words::of("pkcs11-tool"));
    let api_key = desk.hsm.api_key().expose();
    let code_prompt = "Please enter context specific PIN";
    let (listed, shown) =
        desk.at_a_terminal(recipe.line("--list-objects"), &desk.digest, &[("PIN:", api_key)]);
    assert!(listed && shown.contains("alice/digest") && shown.contains("alice/ethereum"), "{shown}");

    let signature = || fs::read(desk.folder.join("signature.bin")).unwrap_or_default();
    let sign = |line: &str, key: &KeyInfo, code: &str| {
        desk.at_a_terminal(line, key, &[("PIN:", api_key), (code_prompt, code)])
    };
    let line = recipe.line("--login --sign --mechanism ECDSA");
    let (signed, shown) = sign(line, &desk.digest, &desk.wrong_code());
    assert!(!signed && shown.contains(&words.wrong) && signature().is_empty(), "{shown}");
    let code = desk.code();
    assert!(sign(line, &desk.digest, &code).0);
    assert_signed_by(&desk.digest, &DIGEST, &signature());
    fs::remove_file(desk.folder.join("signature.bin")).expect("it can be removed");
    let (signed, shown) = sign(line, &desk.digest, &code);
    assert!(!signed && shown.contains(&words.wrong) && signature().is_empty(), "{shown}");

    assert!(sign(recipe.line("0xc3530001"), &desk.ethereum, &desk.next_code()).0);
    desk.signed_the_transaction(&signature());

    fs::remove_file(desk.folder.join("signature.bin")).expect("it can be removed");
    let (signed, shown) = desk.at_a_terminal(recipe.line("--pin"), &desk.digest, &[]);
    assert!(!signed && shown.contains(&words.none) && signature().is_empty(), "{shown}");
}

fn openssl_at_a_terminal(keystore: Keystore) {
    let desk = Desk::set(keystore, "### OpenSSL");
    let recipe = Recipe::of(PAGE, "### OpenSSL");
    let words = Words::of("OpenSSL, libp11's engine");
    let prepared = |line: &str| format!("{}\n{line}", recipe.line("export"));
    let prompt = "Enter PKCS#11 key PIN for alice/digest:";
    let signature = || fs::read(desk.folder.join("signature.der")).unwrap_or_default();
    let sign = |words: &str, code: &str| {
        desk.at_a_terminal(&prepared(recipe.line(words)), &desk.digest, &[(prompt, code)])
    };
    let (signed, shown) = sign("pkeyutl", &desk.wrong_code());
    assert!(!signed && shown.contains(&words.wrong) && signature().is_empty(), "{shown}");
    let code = desk.code();
    let (signed, shown) = sign("pkeyutl", &code);
    assert!(signed, "{shown}");
    let rs = Signature::from_der(&signature()).expect("DER").to_bytes();
    assert_signed_by(&desk.digest, &DIGEST, &rs);
    let exported = desk.run(&prepared(recipe.line("-pubout")), "");
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let verify = "openssl pkeyutl -verify -pubin -inkey public.pem -sigfile signature.der -in";
    assert!(section(PAGE, "### OpenSSL").contains(verify), "the page has that line");
    assert_eq!(desk.run(&format!("{verify} digest.bin"), "").code, Some(0));
    fs::write(desk.folder.join("other.bin"), [8; 32]).expect("a file can be written");
    assert_eq!(desk.run(&format!("{verify} other.bin"), "").code, Some(1));

    fs::remove_file(desk.folder.join("signature.der")).expect("it can be removed");
    let (signed, shown) = sign("pkeyutl", &code);
    assert!(
        !signed && shown.contains(&words.wrong) && signature().is_empty(),
        "the same code again: {shown}"
    );
    // A code in no other way: the question is answered at a terminal or not at all.
    let without = format!("setsid {} -passin env:CODE", recipe.line("pkeyutl"));
    let command = format!("{}\nCODE={} {without}", recipe.line("export"), desk.next_code());
    let ended = desk.run(&command, "");
    assert!(ended.code != Some(0) && ended.stderr.contains("UI_process"), "{}", ended.stderr);
    // The code was not spent on that.
    let hashed = fs::read(desk.folder.join("transaction.bin")).expect("it is there");
    let hashed = <sha2::Sha256 as sha2::Digest>::digest(hashed);
    let (signed, shown) = sign("openssl dgst", &desk.code());
    assert!(signed, "{shown}");
    let rs = Signature::from_der(&signature()).expect("DER").to_bytes();
    assert_signed_by(&desk.digest, &hashed, &rs);
}

/// p11-kit does not read what a user configures where the user is root; in a user namespace nobody is.
fn not_as_root(line: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("unshare");
        command.args(["--user", "sh", "-c", line]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    }
}

/// Where p11-kit's own modules are.
fn of_p11_kit(name: &str) -> PathBuf {
    let folders =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/pkcs11", "/usr/lib64/pkcs11", "/usr/lib64"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed"))
}

fn p11_kits_proxy(keystore: Keystore) {
    let mut desk = Desk::set(keystore, "### python-pkcs11");
    let recipe = Recipe::of(PAGE, "### p11-kit");
    let registered = desk.run(recipe.line("mkdir"), "");
    assert_eq!(registered.code, Some(0), "{}", registered.stderr);
    for line in ["p11-kit list-modules", "p11tool --list-token-urls"] {
        let ended = desk.run_command(not_as_root(recipe.line(line)), "");
        let listed = String::from_utf8_lossy(&ended.stdout);
        assert!(
            listed.contains("token: countersign") || listed.contains("token=countersign"),
            "{line}: {listed}"
        );
    }
    let words = Words::of("python-pkcs11");
    desk.module = of_p11_kit("p11-kit-proxy.so");
    let line = Recipe::of(PAGE, "### python-pkcs11").line("digest.py").to_owned();
    let sign = |code: &str| desk.run_command(not_as_root(&line), code);
    let code = desk.code();
    assert!(sign(&desk.wrong_code()).stderr.contains(&words.wrong));
    assert_signed_by(&desk.digest, &DIGEST, &desk.signature(&sign(&code)));
    assert!(sign(&code).stderr.contains(&words.wrong));
    assert!(sign("").stderr.contains(&words.none));
    // Mechanisms of vendors go through it as they are.
    Recipe::of(PAGE, "### graphene-pk11").write_to(&desk.folder);
    let line = Recipe::of(PAGE, "### graphene-pk11").line("alice/ethereum").to_owned();
    desk.signed_the_transaction(&desk.signature(&desk.run_command(not_as_root(&line), &desk.next_code())));
}

fn p11_kits_server(keystore: Keystore) {
    let desk = Desk::set(keystore, "### python-pkcs11");
    let (recipe, words) = (Recipe::of(PAGE, "### p11-kit"), Words::of("python-pkcs11"));
    let (start, stop) = (recipe.line("eval"), recipe.line("--kill"));
    let client = of_p11_kit("p11-kit-client.so");
    let around = |line: &str| format!("{start}\n{line}\nended=$?\n{stop} >&2\nexit $ended");
    let sign = around(recipe.line("digest.py"));
    assert!(sign.contains(client.to_str().expect("UTF-8")), "the page names Debian's path");
    desk.signs_a_digest_and_says_why_not(&sign, &words);
    let program = artefacts::workspace().join("docs/examples/sign.py");
    let sign = format!("venv/bin/python {} {}", program.display(), client.display());
    let code = desk.next_code();
    let ended = desk.run(&around(&format!("{sign} alice/ethereum ethereum transaction.bin")), &code);
    assert!(ended.code == Some(3) && ended.stderr.contains("CKR_MECHANISM_INVALID"), "{}", ended.stderr);
    // It was refused before the code was given.
    desk.hsm.sign_with(&desk.alice, &desk.digest.label, digest(1), Some(&code)).expect("the code is fresh");
    let again = desk.hsm.sign_with(&desk.alice, &desk.digest.label, digest(2), Some(&code));
    assert_eq!(reason(again), Reason::CodeUsed);
}

fn pykcs11_and_pkcs11js_say_that_there_was_no_code(keystore: Keystore) {
    let desk = Desk::set(keystore, "## Clients");
    let python = "
import os, PyKCS11
library = PyKCS11.PyKCS11Lib()
library.load(os.environ['MODULE'])
session = library.openSession(library.getSlotList(tokenPresent=True)[0])
session.login(os.environ['COUNTERSIGN_API_KEY'])
key = session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_LABEL, 'alice/digest')])[0]
session.sign(key, bytes(32), PyKCS11.Mechanism(PyKCS11.CKM_ECDSA, None))
";
    let javascript = "
import pkcs11js from 'pkcs11js';
const p11 = new pkcs11js.PKCS11();
p11.load(process.env.MODULE);
p11.C_Initialize();
try {
  const session = p11.C_OpenSession(p11.C_GetSlotList(true)[0], pkcs11js.CKF_SERIAL_SESSION);
  p11.C_Login(session, pkcs11js.CKU_USER, process.env.COUNTERSIGN_API_KEY);
  p11.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_LABEL, value: 'alice/digest' },
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY }]);
  const [key] = p11.C_FindObjects(session, 1);
  p11.C_FindObjectsFinal(session);
  p11.C_SignInit(session, { mechanism: pkcs11js.CKM_ECDSA }, key);
  p11.C_Sign(session, Buffer.alloc(32), Buffer.alloc(64));
} finally {
  p11.C_Finalize();
}
";
    fs::write(desk.folder.join("none.py"), python).expect("a file can be written");
    fs::write(desk.folder.join("none.mjs"), javascript).expect("a file can be written");
    for (client, line) in [("PyKCS11", "venv/bin/python none.py"), ("pkcs11js", "node none.mjs")] {
        let ended = desk.run(line, "");
        assert_eq!(ended.code, Some(1), "{client}: {}", ended.stderr);
        assert!(ended.stderr.contains(&Words::of(client).none), "{client}: {}", ended.stderr);
    }
}

/// The clients that can sign without a code do so for what the user approved on a device, once each; OpenSSL's engine cannot.
fn i1_what_was_approved_on_a_device_is_signed_without_a_code(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let carrier = Client::new(hsm.host_config());
    let device = owner::device(&hsm, &carrier, "alice", 1).expect("a device meets the HSM");
    let plan = owner::plan_with_floor(&[Digest], ApprovalKind::SealedCode);
    let phone = owner::enrol(&hsm, &device, "alice", plan);
    let query = KeyQuery::Label(owner::owned_key("alice"));
    let key = hsm.find_keys(hsm.api_key(), query).expect("keys can be found").keys.remove(0);
    let alice =
        User { account: key.label.account.clone(), phone, key: key.clone(), api_key: hsm.api_key().clone() };
    let folder = folder_for(&hsm);
    let module = artefacts::module();
    let desk = Desk { hsm, alice, digest: key.clone(), ethereum: key, folder, module };
    let approve = || {
        desk.hsm.advance(30);
        let payload = countersign_wire::client::Payload::Digest(serde_bytes::ByteArray::new(DIGEST));
        let staged = desk.hsm.stage("alice", payload).expect("it can be staged");
        let seen = device.view(staged.intent.into_array()).expect("the device sees it");
        device.approve(&seen, &desk.code()).expect("a right code approves");
    };
    for (heading, words) in [
        ("### python-pkcs11", "digest.py"),
        ("### graphene-pk11", "alice/digest"),
        ("### pkcs11-tool", "--pin"),
    ] {
        let recipe = Recipe::of(PAGE, heading);
        recipe.write_to(&desk.folder);
        for (name, text) in &recipe.files {
            fs::write(desk.folder.join(name), text.replace("alice/digest", "alice/main")).expect("written");
        }
        let id = data_encoding::HEXLOWER.encode(&desk.digest.id[..]);
        let line = recipe.line(words).replace("alice/digest", "alice/main").replace("$ID", &id);
        assert_ne!(desk.run(&line, "").code, Some(0), "{heading}: nothing is approved");
        approve();
        assert_signed_by(&desk.digest, &DIGEST, &desk.signature(&desk.run(&line, "")));
        assert_ne!(desk.run(&line, "").code, Some(0), "{heading}: it is signed once");
        fs::remove_file(desk.folder.join("signature.bin")).expect("it can be removed");
    }
    let recipe = Recipe::of(PAGE, "### OpenSSL");
    recipe.write_to(&desk.folder);
    let line = format!("{}\n{}", recipe.line("export"), recipe.line("pkeyutl")).replace("digest;", "main;");
    approve();
    let mut terminal = Terminal::start("sh", |command| {
        command.args(["-c", &line]);
        desk.set_up(command);
    });
    terminal.answer_secretly("Enter PKCS#11 key PIN for alice/main:", "");
    let (signed, shown) = terminal.end();
    assert!(!signed && shown.contains("You must type in 4 to 32 characters"), "{shown}");
}
