//! What is signed, from the outside: made by other libraries, signed by a real HSM, and verified by those libraries again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloy_dyn_abi::TypedData;
use countersign_tests::backend::{assert_signed_by, reason};
use countersign_tests::bitcoin::{Watched, wallet_key};
use countersign_tests::module::{CKM_COUNTERSIGN_MESSAGE, CKM_COUNTERSIGN_PSBT, CKM_COUNTERSIGN_TYPED_DATA};
use countersign_tests::{Hsm, Keystore, cli, on_both_keystores, on_embedded, transactions};
use countersign_wire::client::Mechanism::{Bitcoin, Digest, Ethereum, Message, TypedData as Typed};
use countersign_wire::client::Payload;
use countersign_wire::reason::Reason;
use data_encoding::BASE64;
use std::path::{Path, PathBuf};

on_both_keystores!(
    a_psbt_is_signed_under_one_code_and_verified_by_another_library,
    typed_data_and_messages_have_the_digests_that_others_compute,
);
on_embedded!(
    a_policy_comes_from_the_ceremony_folder_alone_and_its_limits_hold,
    the_command_line_makes_wallets_and_signs_psbts,
    a_policy_is_tried_on_a_psbt_with_the_descriptor_alone,
);

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("it/intents")
}

/// Gives one of the policies beside this file to an HSM that does not run.
pub(crate) fn set_policy(hsm: &mut Hsm, name: &str) {
    cli::set_policy(hsm, &policies().join(name));
}

fn a_psbt_is_signed_under_one_code_and_verified_by_another_library(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let key = wallet_key(&hsm, &alice, "btc", Bitcoin, "m/84h/1h/0h");
    let watched = Watched::of(&key);
    let unsigned = watched.psbt();
    let native = Payload::Psbt(unsigned.serialize().into());
    let code = alice.phone.code(hsm.advance(30));
    let signed = hsm.sign_with(&alice, &key.label, native.clone(), Some(&code)).unwrap();
    watched.assert_signed(&unsigned, signed.psbt.as_ref().unwrap());
    assert!(signed.summary.starts_with("sign: transfer on a Bitcoin test network"), "{}", signed.summary);
    let again = hsm.sign_with(&alice, &key.label, native, Some(&code));
    assert_eq!(reason(again), Reason::CodeUsed);
    let through = hsm.sign_through_module(&alice, &key.label, CKM_COUNTERSIGN_PSBT, &unsigned.serialize());
    watched.assert_signed(&unsigned, &through);
}

/// Typed data in the manner of EIP-712's example.
pub(crate) const MAIL: &str = r#"{"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"chainId","type":"uint256"}],
    "Mail":[{"name":"to","type":"address"},{"name":"contents","type":"string"}]},"primaryType":"Mail",
    "domain":{"name":"Ether Mail","chainId":1},
    "message":{"to":"0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB","contents":"Hello, Bob!"}}"#;

fn typed_data_and_messages_have_the_digests_that_others_compute(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    set_policy(&mut hsm, "statements");
    hsm.run();
    let alice = hsm.user("alice", &[Digest, Ethereum, Typed, Message]);
    let code = || alice.phone.code(hsm.advance(30));
    let typed: TypedData = serde_json::from_str(MAIL).unwrap();
    let expected = typed.eip712_signing_hash().unwrap();
    let payload = Payload::TypedData(MAIL.as_bytes().to_vec().into());
    let signed = hsm.sign(&alice, payload, &code()).unwrap();
    assert_eq!(*signed.digest, *expected);
    assert_signed_by(&alice.key, expected.as_slice(), &signed.signature[..]);
    let through =
        hsm.sign_through_module(&alice, &alice.key.label, CKM_COUNTERSIGN_TYPED_DATA, MAIL.as_bytes());
    assert_signed_by(&alice.key, expected.as_slice(), &through);

    // I15: what a contract makes of it nobody here knows, so a key that was not made for digests does not sign it.
    let bob = hsm.user("bob", &[Ethereum, Typed]);
    let payload = Payload::TypedData(MAIL.as_bytes().to_vec().into());
    let refused = hsm.sign(&bob, payload, &bob.phone.code(hsm.advance(30)));
    assert_eq!(reason(refused), Reason::PolicyRefused);

    let text = "I, Alice, agree.";
    let expected = alloy_primitives::eip191_hash_message(text);
    let payload = Payload::Message(text.as_bytes().to_vec().into());
    let signed = hsm.sign(&alice, payload, &code()).unwrap();
    assert_eq!(*signed.digest, *expected);
    assert_signed_by(&alice.key, expected.as_slice(), &signed.signature[..]);
    let through = hsm.sign_through_module(&alice, &alice.key.label, CKM_COUNTERSIGN_MESSAGE, text.as_bytes());
    assert_signed_by(&alice.key, expected.as_slice(), &through);
}

fn a_policy_comes_from_the_ceremony_folder_alone_and_its_limits_hold(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    set_policy(&mut hsm, "limited");
    hsm.run();
    let alice = hsm.user("alice", &[Ethereum]);
    // Each transfer is of one ether, and three with their fees fit.
    for nonce in 0..3 {
        let code = alice.phone.code(hsm.advance(30));
        hsm.sign(&alice, transactions::payload(&transactions::transfer(nonce)), &code).unwrap();
    }
    let code = alice.phone.code(hsm.advance(30));
    let fourth = || transactions::payload(&transactions::transfer(3));
    assert_eq!(reason(hsm.sign(&alice, fourth(), &code)), Reason::LimitExceeded);
    hsm.kill_and_run();
    assert_eq!(reason(hsm.sign(&alice, fourth(), &code)), Reason::LimitExceeded, "and no restart frees it");
    // The document is on the operator's side; without it the HSM does not start, and with it as before.
    hsm.stop();
    let document = hsm.home().join("ceremony/default.policy");
    let kept = std::fs::read(&document).unwrap();
    std::fs::remove_file(&document).unwrap();
    let refused = hsm.try_run().unwrap_err();
    assert_eq!(refused.exit_code, Some(4), "{}", refused.log);
    assert!(refused.log.contains("the policy of tenant default is refused"), "{}", refused.log);
    std::fs::write(&document, kept).unwrap();
    hsm.run();
    let code = alice.phone.code(hsm.advance(2 * 86_400));
    hsm.sign(&alice, fourth(), &code).unwrap();
}

fn the_command_line_makes_wallets_and_signs_psbts(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let create = [
        "key",
        "create",
        "alice/btc",
        "--mechanism",
        "bitcoin",
        "--network",
        "regtest",
        "--path",
        "m/84'/1'/0'",
    ];
    let created = cli::run(&hsm, &create).done();
    assert_eq!(created["path"], "m/84h/1h/0h");
    let key = hsm
        .find_keys(hsm.api_key(), countersign_wire::client::KeyQuery::Label(alice.key_named("btc")))
        .unwrap();
    let watched = Watched::of(&key.keys[0]);
    let shown = cli::run(&hsm, &["wallet", "show", "alice"]).done();
    assert_eq!(shown["keys"][0]["xpub"], watched.xpub.to_string());
    let address = cli::run(&hsm, &["address", "alice/btc", "--index", "7", "--change"]).done();
    let script = watched.key(1, 7).2;
    let expected = bitcoin::Address::from_script(&script, bitcoin::Network::Regtest).unwrap();
    assert_eq!(
        (&address["address"], &address["path"]),
        (&expected.to_string().into(), &"m/84h/1h/0h/1/7".into())
    );

    let unsigned = watched.psbt();
    let file = hsm.folder().join("payment.psbt");
    std::fs::write(&file, BASE64.encode(&unsigned.serialize())).unwrap();
    let code = alice.phone.code(hsm.advance(30));
    let signed =
        cli::run(&hsm, &["sign", "--key", "alice/btc", "--psbt", file.to_str().unwrap(), "--code", &code]);
    let psbt = BASE64.decode(signed.done()["psbt"].as_str().unwrap().as_bytes()).unwrap();
    watched.assert_signed(&unsigned, &psbt);
}

/// What a custodian who writes a policy sees of a PSBT: without the HSM, with the wallet's descriptor alone.
fn a_policy_is_tried_on_a_psbt_with_the_descriptor_alone(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let key = wallet_key(&hsm, &alice, "btc", Bitcoin, "m/84h/1h/0h");
    let psbt = BASE64.encode(&Watched::of(&key).psbt().serialize());
    let shown = cli::run(&hsm, &["wallet", "show", "alice"]).done();
    let descriptor = shown["keys"][0]["descriptor"].as_str().unwrap();
    let folder = hsm.folder().join("tried");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(policies().join("limited/policy.cedar"), folder.join("policy.cedar")).unwrap();
    let policy = "format = 1\nname = \"tried\"\nversion = 1\npayee_delay = \"0s\"\n\
                  [[asset]]\nname = \"btc\"\nchain = \"bitcoin:regtest\"\nasset = \"native\"\ndecimals = 8\n\
                  [[limit]]\nname = \"day\"\nper = \"account\"\nwindow = \"1d\"\nmost = \"0.00151 btc\"\n";
    std::fs::write(folder.join("policy.toml"), policy).unwrap();
    // 150,000 satoshi leave and 1,000 are the fee; the change is no part of it.
    let case = |name: &str, booked: &str, expect: &str| {
        let wallet = format!("wallet = '{descriptor}'\nnetwork = \"regtest\"");
        format!("[[case]]\nname = \"{name}\"\npsbt = \"{psbt}\"\n{wallet}\n{booked}\n{expect}\n")
    };
    let cases = [
        case("all of it", "", "expect = \"permit\"\nrule = \"transfers\""),
        case(
            "one satoshi more",
            "booked = [{ limit = \"day\", amount = \"0.00000001 btc\", ago = \"1h\" }]",
            "expect = \"deny\"\nwhy = \"limit day\"",
        ),
    ];
    std::fs::write(folder.join("cases.toml"), cases.concat()).unwrap();
    let ran = cli::run(&hsm, &["policy", "test", folder.to_str().unwrap()]).done();
    assert_eq!((&ran["passed"], &ran["failed"]), (&2.into(), &0.into()));

    let file = hsm.folder().join("payment.psbt");
    std::fs::write(&file, &psbt).unwrap();
    let explain = |wallet: &str| {
        let words = ["policy", "explain", folder.to_str().unwrap(), "--psbt", file.to_str().unwrap()];
        cli::run(&hsm, &[&words[..], &["--network", "regtest", "--wallet", wallet]].concat())
    };
    let explained = explain(descriptor).done();
    assert_eq!(explained["permitted"], true);
    assert!(explained["summary"].as_str().unwrap().contains("0.0015 test BTC"), "{explained}");
    let refused = explain("wpkh(nobody)");
    assert_eq!(refused.code, 2);
    let message = refused.json["message"].as_str().unwrap();
    assert!(message.contains("neither a descriptor"), "{message}");
}
