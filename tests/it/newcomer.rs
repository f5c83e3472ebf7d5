//! "Ten minutes to a signature": the page's files and lines as they stand there. Only `cargo xtask dev`, which builds what the
//! tests have already, is played by a `dev.json` of the same form.

use countersign_tests::backend::{address, assert_signed_by};
use countersign_tests::recipe::{Recipe, section};
use countersign_tests::terminal::Terminal;
use countersign_tests::{Hsm, Keystore, User, artefacts, on_embedded, transactions};
use countersign_wire::client::KeyInfo;
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

on_embedded!(a_newcomer_gets_a_signature_and_a_transaction_by_the_lines_of_the_page);

const PAGE: &str = "docs/manual/backend/start.md";

/// The digest of the page's program.
const DIGEST: &str = "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53";

/// What `cargo xtask dev` prints, as far as the page's table of its fields says.
fn dev_json(hsm: &Hsm, user: &User, keys: &[&KeyInfo]) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| {
            json!({
                "label": key.label.to_string(),
                "id": data_encoding::HEXLOWER.encode(&key.id[..]),
                "public_key": data_encoding::HEXLOWER.encode(&key.public_key[..]),
                "ethereum_address": key.ethereum_address,
            })
        })
        .collect();
    json!({
        "module": artefacts::module(),
        "cli": artefacts::cli(),
        "env": { "COUNTERSIGN_CONFIG": hsm.host_toml() },
        "token_label": "countersign",
        "user_pin": hsm.api_key().expose(),
        "accounts": [{ "account": user.account.to_string(), "otpauth": user.phone.otpauth(), "keys": keys }],
    })
}

fn a_newcomer_gets_a_signature_and_a_transaction_by_the_lines_of_the_page(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let user = hsm.user("user-0000", &[Digest]);
    let digest = hsm.create_key(&user, "digest", &[Digest]).expect("a further key");
    let ethereum = hsm.create_key(&user, "ethereum", &[Ethereum]).expect("a further key");
    let folder = hsm.folder().join("newcomer");
    fs::create_dir(&folder).expect("a folder can be made");
    let dev = dev_json(&hsm, &user, &[&digest, &ethereum]);
    let table = section(PAGE, "## 1. An HSM with a user");
    for field in dev.as_object().expect("an object").keys() {
        assert!(table.contains(&format!("`{field}`")), "the page's table has {field}");
    }
    fs::write(folder.join("dev.json"), dev.to_string()).expect("a file can be written");
    let [begin] = &Recipe::of(PAGE, "## 1. An HSM with a user").lines[..] else { panic!("one line") };
    assert_eq!(begin, "cargo xtask dev > dev.json");
    a_client(&folder, &digest, &user);
    a_transaction(&hsm, &folder, &user, &ethereum);
}

fn a_client(folder: &Path, digest: &KeyInfo, user: &User) {
    let recipe = Recipe::of(PAGE, "## 2. A client");
    recipe.write_to(folder);
    let [install, lines @ ..] = &recipe.lines[..] else { panic!("lines") };
    let package = install.rsplit(' ').next().expect("a package");
    let pinned = fs::read_to_string(artefacts::workspace().join("xtask/python-requirements.txt"));
    assert!(
        pinned.expect("it is there").lines().any(|line| line == package),
        "{package} is what the tests have"
    );
    let python = artefacts::python();
    let environment = python.parent().and_then(Path::parent).expect("an environment has folders");
    symlink(environment, folder.join("venv")).expect("a link can be made");
    let mut shell = Command::new("sh");
    shell.args(["-c", &lines.join("\n")]).current_dir(folder).env_remove("COUNTERSIGN_CONFIG");
    let output = shell.stdin(Stdio::null()).output().expect("a shell can be started");
    let (said, signature) =
        (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{said}");
    let signature =
        data_encoding::HEXLOWER.decode(signature.trim().as_bytes()).expect("one signature in hex");
    let bytes = data_encoding::HEXLOWER.decode(DIGEST.as_bytes()).expect("hex digits");
    assert!(recipe.files[0].1.contains(DIGEST), "it is what the program signs");
    assert_signed_by(digest, &bytes, &signature);
    assert_eq!(said.lines().collect::<Vec<_>>(), ["PinIncorrect", "UserNotLoggedIn"]);
    assert!(!said.contains(user.phone.otpauth()));
}

fn a_transaction(hsm: &Hsm, folder: &Path, user: &User, ethereum: &KeyInfo) {
    let [prepare @ .., sign] = &Recipe::of(PAGE, "## 3. A transaction instead of a digest").lines[..] else {
        panic!("lines")
    };
    let script = format!("{}\nexec {sign}", prepare.join("\n"));
    let mut terminal = Terminal::start("sh", |command| {
        command.args(["-c", &script]).current_dir(folder).env("COUNTERSIGN_CONFIG", hsm.host_toml());
    });
    let code = user.phone.code(hsm.advance(30));
    terminal.answer("Code: ", &code);
    let (signed, shown) = terminal.end();
    assert!(signed, "{shown}");
    let raw = shown.lines().find_map(|line| Some(line.split_once("Raw ")?.1.split_once("0x")?.1.trim()));
    let raw = alloy_primitives::hex::decode(raw.unwrap_or_else(|| panic!("no raw transaction: {shown}")));
    let hash = alloy_primitives::keccak256(raw.as_ref().expect("hex digits"));
    let transfer = alloy_consensus::TxLegacy {
        to: alloy_primitives::TxKind::Call(alloy_primitives::Address::repeat_byte(0x35)),
        ..transactions::legacy_transfer(Some(1))
    };
    transactions::assert_broadcastable(
        &raw.expect("hex digits"),
        hash.as_slice(),
        &transfer,
        address(ethereum),
    );
}
