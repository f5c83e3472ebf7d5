//! Real clients against the module: the `cryptoki` crate, `pkcs11-tool` at a terminal, python-pkcs11.

use countersign_tests::backend::{address, assert_signed_by, reason};
use countersign_tests::module::{TOKEN_LABEL, ethereum, pin, private_key, return_value, sign};
use countersign_tests::recipe::section;
use countersign_tests::terminal::Terminal;
use countersign_tests::{Hsm, Keystore, User, artefacts, on_both_keystores, on_embedded, raw, transactions};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::reason::Reason;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::RvError;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

on_both_keystores!(
    cryptoki_signs_transactions_and_digests,
    cryptoki_signs_by_the_lines_of_the_documentation,
    cryptoki_is_refused_with_the_return_values_of_the_documentation,
    pkcs11_tool_lists_and_signs_with_codes_typed_at_a_terminal,
    python_pkcs11_signs_with_the_code_as_pin,
);
on_embedded!(
    cryptoki_generates_a_key_under_an_enrolled_account,
    cryptoki_reads_what_token_and_mechanisms_there_are,
    python_pkcs11_survives_a_fork,
);

fn cryptoki_signs_transactions_and_digests(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let blind = hsm.create_key(&alice, "blind", &[Digest]).expect("a further key");
    let module = hsm.module();
    let session = module.session(hsm.api_key());
    let mut now = hsm.now();

    let key = private_key(&session, &alice.key.label);
    let transaction = transactions::transfer(3);
    let data = transactions::unsigned(&transaction);
    let signature = sign(&session, &ethereum(), key, &alice.phone.code(now), &data).expect("signs");
    assert!(transactions::is_signer(&signature, &transaction, address(&alice.key)));

    now = hsm.advance(30);
    let transaction = transactions::legacy_transfer(Some(1));
    let data = transactions::unsigned(&transaction);
    let signature = sign(&session, &ethereum(), key, &alice.phone.code(now), &data).expect("signs");
    assert!(transactions::is_signer(&signature, &transaction, address(&alice.key)));

    now = hsm.advance(30);
    let transaction = transactions::access_list_transfer();
    let data = transactions::unsigned(&transaction);
    let signature = sign(&session, &ethereum(), key, &alice.phone.code(now), &data).expect("signs");
    assert!(transactions::is_signer(&signature, &transaction, address(&alice.key)));

    now = hsm.advance(30);
    let key = private_key(&session, &blind.label);
    let signature = sign(&session, &Mechanism::Ecdsa, key, &alice.phone.code(now), &[5; 32]).expect("signs");
    assert_signed_by(&blind, &[5; 32], &signature);
}

/// The lines of "cryptoki" in `docs/pkcs11.md`, as they stand there.
#[rustfmt::skip]
fn documented(module: &Path, api_key: &str, code: &str, digest: [u8; 32]) -> Result<Vec<u8>, cryptoki::error::Error> {
    let pkcs11 = Pkcs11::new(module)?;
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let session = pkcs11.open_ro_session(pkcs11.get_slots_with_token()?[0])?;
    session.login(UserType::User, Some(&AuthPin::new(api_key.into())))?;
    let wanted = [Attribute::Label(b"alice/digest".to_vec()), Attribute::Class(ObjectClass::PRIVATE_KEY)];
    let key = session.find_objects(&wanted)?[0];
    session.sign_init(&Mechanism::Ecdsa, key)?;
    session.login(UserType::ContextSpecific, Some(&AuthPin::new(code.into())))?;
    session.sign_update(&digest)?;
    let signature = session.sign_final()?;
    Ok(signature)
}

fn cryptoki_signs_by_the_lines_of_the_documentation(keystore: Keystore) {
    let text = section("docs/pkcs11.md", "### cryptoki");
    let (_, lines) = text.split_once("```rust\n").expect("a block");
    let lines: Vec<&str> = lines.split("```").next().expect("a block ends").lines().collect();
    let here: Vec<&str> = include_str!("pkcs11_clients.rs").lines().map(str::trim).collect();
    assert!(
        lines.len() > 5 && here.windows(lines.len()).any(|window| window == lines),
        "they are the same lines"
    );

    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let key = hsm.create_key(&alice, "digest", &[Digest]).expect("a further key");
    // A copy each, as a process of its own would have it.
    let sign = |number: u32, code: &str| {
        let copy = hsm.folder().join(format!("documented_{number}.so"));
        fs::copy(artefacts::module(), &copy).expect("the module can be copied");
        raw::with_config(&hsm.host_toml(), || documented(&copy, hsm.api_key().expose(), code, [4; 32]))
    };
    let code = alice.phone.code(hsm.now());
    assert_eq!(return_value(sign(0, &alice.phone.wrong_code(hsm.now()))), RvError::PinIncorrect);
    assert_signed_by(&key, &[4; 32], &sign(1, &code).expect("signs"));
    assert_eq!(return_value(sign(2, &code)), RvError::PinIncorrect);
}

fn cryptoki_is_refused_with_the_return_values_of_the_documentation(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let (alice, bob) = (hsm.user("alice", &[Digest]), hsm.user("bob", &[Digest]));
    let module = hsm.module();
    let session = module.session(hsm.api_key());
    let key = private_key(&session, &alice.key.label);
    let login = |code: &str| session.login(UserType::ContextSpecific, Some(&pin(code)));
    let now = hsm.now();
    session.sign_init(&Mechanism::Ecdsa, key).expect("C_SignInit");
    assert_eq!(return_value(login(&bob.phone.code(now))), RvError::PinIncorrect);
    assert_eq!(return_value(login("12345")), RvError::PinInvalid);
    for _ in 0..4 {
        assert_eq!(return_value(login(&alice.phone.wrong_code(now))), RvError::PinIncorrect);
    }
    assert_eq!(return_value(login(&alice.phone.code(now))), RvError::PinLocked);
    session.sign_update(&[1; 32]).expect("C_SignUpdate");
    assert_eq!(return_value(session.sign_final()), RvError::UserNotLoggedIn);
    // cryptoki's own sign() has no gap for the login: it is refused, and spends nothing.
    let key = private_key(&session, &bob.key.label);
    assert_eq!(return_value(session.sign(&Mechanism::Ecdsa, key, &[1; 32])), RvError::UserNotLoggedIn);
    assert_eq!(return_value(session.sign_init(&ethereum(), key)), RvError::MechanismInvalid);
    let signature = sign(&session, &Mechanism::Ecdsa, key, &bob.phone.code(now), &[2; 32]).expect("signs");
    assert_signed_by(&bob.key, &[2; 32], &signature);
}

fn cryptoki_generates_a_key_under_an_enrolled_account(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let module = hsm.module();
    let session = module.session(hsm.api_key());
    let label = Attribute::Label(b"alice/generated".to_vec());
    let curve = Attribute::EcParams(vec![0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a]);
    let allowed = Attribute::AllowedMechanisms(vec![MechanismType::ECDSA]);
    let generate = |public: &[Attribute], private: &[Attribute]| {
        session.generate_key_pair(&Mechanism::EccKeyPairGen, public, private)
    };
    let (_, private) =
        generate(std::slice::from_ref(&curve), &[label.clone(), allowed.clone()]).expect("C_GenerateKeyPair");
    let generated = hsm.show(&alice).expect("shown").keys.pop().expect("a key");
    assert_eq!(
        (generated.label.to_string().as_str(), &generated.plan.mechanisms[..]),
        ("alice/generated", &[Digest][..])
    );
    let code = alice.phone.code(hsm.now());
    let signature = sign(&session, &Mechanism::Ecdsa, private, &code, &[8; 32]).expect("signs");
    assert_signed_by(&generated, &[8; 32], &signature);

    // No second key of the name, no key without an account, none that is weaker than they all are.
    let before = hsm.all_keys(hsm.api_key());
    for (public, private) in [
        (vec![curve.clone()], vec![label.clone(), allowed.clone()]),
        (vec![curve.clone()], vec![Attribute::Label(b"nobody/key".to_vec())]),
        (vec![curve.clone()], vec![Attribute::Label(b"no-slash".to_vec())]),
        (vec![curve.clone()], vec![Attribute::Label(b"alice/weak".to_vec()), Attribute::Extractable(true)]),
        (
            vec![curve.clone()],
            vec![Attribute::Label(b"alice/weak".to_vec()), Attribute::AlwaysAuthenticate(false)],
        ),
        (vec![curve], vec![Attribute::Label(b"alice/weak".to_vec()), Attribute::Derive(true)]),
        (vec![Attribute::EcParams(vec![0x06, 0x08, 0x2a])], vec![Attribute::Label(b"alice/p256".to_vec())]),
    ] {
        generate(&public, &private).expect_err("no such key is made");
    }
    assert_eq!(hsm.all_keys(hsm.api_key()), before);
}

fn cryptoki_reads_what_token_and_mechanisms_there_are(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest, Ethereum]);
    let module = hsm.module();
    let token = module.library.get_token_info(module.slot).expect("C_GetTokenInfo");
    assert_eq!(token.label(), TOKEN_LABEL);
    assert!(token.login_required() && token.user_pin_initialized() && token.token_initialized());
    let listed = module.library.get_mechanism_list(module.slot).expect("C_GetMechanismList");
    assert!(listed.contains(&MechanismType::ECDSA) && listed.contains(&MechanismType::ECC_KEY_PAIR_GEN));
    // The crate leaves vendor-defined ones out of the list.
    let ethereum = module.library.get_mechanism_info(module.slot, ethereum().mechanism_type());
    assert!(ethereum.expect("C_GetMechanismInfo").sign());
    let session = module.library.open_ro_session(module.slot).expect("C_OpenSession");
    let all = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
    assert_eq!(session.find_objects(&all).expect("C_FindObjects"), [], "nothing is told before the login");
    let wrong = format!("cs1_{}_default", "0".repeat(64));
    assert_eq!(return_value(session.login(UserType::User, Some(&pin(&wrong)))), RvError::PinIncorrect);
    session.login(UserType::User, Some(&pin(hsm.api_key().expose()))).expect("C_Login");
    for wanted in [
        Attribute::Id(alice.key.id.to_vec()),
        Attribute::Label(b"alice/first".to_vec()),
        Attribute::KeyType(KeyType::EC),
    ] {
        let found = session.find_objects(&[all[0].clone(), wanted.clone()]).expect("C_FindObjects");
        assert_eq!(found.len(), 1, "{wanted:?}");
    }
    let nothing = [all[0].clone(), Attribute::Id(vec![0; 16])];
    assert_eq!(session.find_objects(&nothing).expect("C_FindObjects"), []);
}

/// `pkcs11-tool` at a terminal.
fn pkcs11_tool(hsm: &Hsm, arguments: &[&str]) -> Terminal {
    Terminal::start("pkcs11-tool", |command| {
        command.arg("--module").arg(artefacts::module()).args(arguments);
        command.env("COUNTERSIGN_CONFIG", hsm.host_toml());
    })
}

fn pkcs11_tool_lists_and_signs_with_codes_typed_at_a_terminal(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (listed, text) = pkcs11_tool(&hsm, &["--list-token-slots"]).end();
    assert!(listed && text.contains(TOKEN_LABEL), "{text}");

    let api_key = hsm.api_key().expose();
    let id = data_encoding::HEXLOWER.encode(&alice.key.id[..]);
    let mut terminal = pkcs11_tool(&hsm, &["--list-objects", "--login"]);
    terminal.answer_secretly("PIN:", api_key);
    let (listed, text) = terminal.end();
    assert!(listed && text.contains("alice/first") && text.contains(&id), "{text}");
    assert!(!text.contains(&api_key[4..20]), "the API key is not echoed: {text}");

    let (input, output) = (hsm.folder().join("digest.bin"), hsm.folder().join("signature.bin"));
    fs::write(&input, [6; 32]).expect("a digest can be written");
    let (input, output_name) = (input.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));
    let arguments = [
        "--sign",
        "--login",
        "--id",
        &id,
        "--mechanism",
        "ECDSA",
        "--input-file",
        input,
        "--output-file",
        output_name,
    ];
    let code = alice.phone.code(hsm.now());
    let mut terminal = pkcs11_tool(&hsm, &arguments);
    terminal.answer_secretly("PIN:", api_key);
    terminal.answer_secretly("PIN:", &code);
    let (signed, text) = terminal.end();
    assert!(signed, "{text}");
    assert_signed_by(&alice.key, &[6; 32], &fs::read(&output).expect("a signature was written"));

    fs::remove_file(&output).expect("the signature can be removed");
    let mut terminal = pkcs11_tool(&hsm, &arguments);
    terminal.answer_secretly("PIN:", api_key);
    terminal.answer_secretly("PIN:", &code);
    let (signed, text) = terminal.end();
    assert!(!signed && text.contains("CKR_PIN_INCORRECT"), "the same code again: {text}");
    assert!(fs::read(&output).unwrap_or_default().is_empty());
}

/// Runs a script in the virtual environment's Python; what it prints.
fn python(hsm: &Hsm, alice: &User, script: &str) -> String {
    let now = hsm.now();
    let output = Command::new(artefacts::python())
        .args(["-c", script])
        .env("COUNTERSIGN_CONFIG", hsm.host_toml())
        .env("MODULE", artefacts::module())
        .env("PIN", hsm.api_key().expose())
        .env("CODE", alice.phone.code(now))
        .env("NEXT_CODE", alice.phone.code_steps_off(now, 1))
        .stdin(Stdio::null())
        .output()
        .expect("Python can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

const PYTHON_OPENS: &str = "
import os, pkcs11
from pkcs11 import Mechanism, ObjectClass
library = pkcs11.lib(os.environ['MODULE'])
token = library.get_token(token_label='countersign')
session = token.open(user_pin=os.environ['PIN'], rw=True)
key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label='alice/first')
sign = lambda code: key.sign(bytes([7]) * 32, mechanism=Mechanism.ECDSA, pin=code)
";

fn python_pkcs11_signs_with_the_code_as_pin(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let printed = python(
        &hsm,
        &alice,
        &format!(
            "{PYTHON_OPENS}
print(sign(os.environ['CODE']).hex())
try:
    sign(os.environ['CODE'])
except pkcs11.exceptions.PinIncorrect:
    print('the same code again is refused')
session.close()
session = token.open(user_pin=os.environ['PIN'])
key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label='alice/first')
print(sign(os.environ['NEXT_CODE']).hex())
"
        ),
    );
    let lines: Vec<&str> = printed.lines().collect();
    let [first, refused, second] = lines[..] else { panic!("{printed}") };
    assert_eq!(refused, "the same code again is refused");
    for signature in [first, second] {
        let signature = data_encoding::HEXLOWER.decode(signature.as_bytes()).expect("hex digits");
        assert_signed_by(&alice.key, &[7; 32], &signature);
    }
    let next = alice.phone.code_steps_off(hsm.now(), 1);
    let again = hsm.sign(&alice, countersign_tests::backend::digest(1), &next);
    assert_eq!(reason(again), Reason::CodeUsed, "both were spent");
}

fn python_pkcs11_survives_a_fork(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    // After fork a child's module is not initialised (PKCS#11 v2.40 section 5.4); the parent goes on as before.
    let printed = python(
        &hsm,
        &alice,
        &format!(
            "{PYTHON_OPENS}
child = os.fork()
if child == 0:
    try:
        session.generate_random(64)
        os._exit(1)
    except pkcs11.exceptions.PKCS11Error:
        pass
    try:
        library.finalize()
    except pkcs11.exceptions.PKCS11Error:
        library.initialize()
    own = library.get_token(token_label='countersign').open(user_pin=os.environ['PIN'])
    key = own.get_key(object_class=ObjectClass.PRIVATE_KEY, label='alice/first')
    print(sign(os.environ['CODE']).hex(), flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(sign(os.environ['NEXT_CODE']).hex())
"
        ),
    );
    let lines: Vec<&str> = printed.lines().collect();
    let [childs, ended, parents] = lines[..] else { panic!("{printed}") };
    assert_eq!(ended, "0", "the child's call is refused, and it does not crash");
    for signature in [childs, parents] {
        let signature = data_encoding::HEXLOWER.decode(signature.as_bytes()).expect("hex digits");
        assert_signed_by(&alice.key, &[7; 32], &signature);
    }
}
