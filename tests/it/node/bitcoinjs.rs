//! Bitcoin with bitcoinjs-lib.

use super::assert_shown;
use bitcoin::consensus::deserialize;
use countersign_tests::backend::{User, reason};
use countersign_tests::module::CKM_COUNTERSIGN_PSBT;
use countersign_tests::node::{Node, bytes, hex, list, text};
use countersign_tests::{Hsm, Keystore, cli, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::{Bitcoin, Ethereum};
use countersign_wire::client::{KeyInfo, KeyPlan, Network, Payload};
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::collections::BTreeMap;

on_both_keystores!(bitcoinjs_makes_transactions_of_psbts_that_we_signed_and_voids_them_once_they_are_changed);
on_embedded!(
    bitcoinjs_derives_our_addresses_from_our_descriptor,
    a_signature_for_a_false_amount_is_void_for_the_true_one,
    what_bitcoinjs_makes_and_nobody_should_sign_is_refused,
);

/// The keys that sign, by the names that the scripts give them.
struct Keys {
    user: User,
    keys: BTreeMap<&'static str, KeyInfo>,
}

fn create(hsm: &Hsm, user: &User, name: &str, network: Network, path: Option<&str>) -> KeyInfo {
    let path = path.map(|path| path.parse().expect("a path"));
    hsm.create_key_as(user, name, KeyPlan { network: Some(network), path, ..KeyPlan::of(vec![Bitcoin]) })
        .expect("a further key")
}

fn descriptor(key: &KeyInfo) -> &str {
    &key.watch.as_ref().expect("a wallet account").descriptor
}

impl Keys {
    fn of_alice(hsm: &Hsm) -> Self {
        let user = hsm.user("alice", &[Ethereum]);
        let paths = [
            ("pkh", Some("m/44h/1h/0h")),
            ("sh_wpkh", Some("m/49h/1h/0h")),
            ("wpkh", Some("m/84h/1h/0h")),
            ("single", None),
        ];
        let keys = paths.map(|(name, path)| (name, create(hsm, &user, name, Network::Regtest, path)));
        Self { user, keys: keys.into() }
    }

    /// What the scripts are told of them.
    fn told(&self) -> Value {
        let watched =
            ["pkh", "sh_wpkh", "wpkh"].map(|name| (name.to_owned(), descriptor(&self.keys[name]).into()));
        let mut told = Value::Object(watched.into_iter().collect());
        told["single"] = hex(&self.keys["single"].public_key[..]);
        told
    }

    fn key(&self, story: &Value) -> &KeyInfo {
        &self.keys[text(&story["key"])]
    }
}

fn psbt(story: &Value) -> Vec<u8> {
    BASE64.decode(text(&story["psbt"]).as_bytes()).expect("Base64")
}

fn bitcoinjs_makes_transactions_of_psbts_that_we_signed_and_voids_them_once_they_are_changed(
    keystore: Keystore,
) {
    let hsm = Hsm::start(keystore);
    let (alice, mut bitcoinjs) = (Keys::of_alice(&hsm), Node::start("bitcoin"));
    let stories = bitcoinjs.ask("stories", alice.told());
    assert_eq!(list(&stories).len(), 7);
    for story in list(&stories) {
        let (key, unsigned) = (&alice.key(story).label, psbt(story));
        let through = hsm.sign_through_module(&alice.user, key, CKM_COUNTERSIGN_PSBT, &unsigned);
        let code = alice.user.phone.code(hsm.advance(30));
        let signed = hsm
            .sign_with(&alice.user, key, Payload::Psbt(unsigned.into()), Some(&code))
            .expect("a right code signs");
        assert_shown(&story["shown"], &signed.summary);
        for signed in [through, signed.psbt.expect("the signed PSBT").into_vec()] {
            check(&mut bitcoinjs, story, &BASE64.encode(&signed));
        }
    }
}

/// What bitcoinjs makes of a signed PSBT, and of the same signatures in another transaction.
fn check(bitcoinjs: &mut Node, story: &Value, signed: &str) {
    let name = text(&story["name"]);
    let made = bitcoinjs.ask("finish", json!({"unsigned": story["psbt"], "signed": signed}));
    let ours = list(&made["ours"]);
    assert_eq!(
        (ours.len() as u64, &made["fee"]),
        (story["ours"].as_u64().expect("a count"), &story["fee"]),
        "{name}"
    );
    for (input, signature) in ours.iter().enumerate() {
        assert_eq!((&signature[0], &signature[2]), (&json!(input), &json!(1)), "{name}: SIGHASH_ALL");
    }
    let transaction: bitcoin::Transaction = deserialize(&bytes(&made["transaction"])).expect("a transaction");
    assert_eq!(made["txid"], transaction.compute_txid().to_string(), "{name}");
    let changed = bitcoinjs.ask("flip", json!({"signed": signed, "ours": ours}));
    assert_eq!(list(&changed).len(), 9);
    for one in list(&changed) {
        let (what, still_valid) = (text(&one["what"]), one["what"] == "nothing");
        assert_eq!(list(&one["valid"]), vec![json!(still_valid); ours.len()], "{name}: {what}");
    }
}

fn bitcoinjs_derives_our_addresses_from_our_descriptor(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let (alice, mut bitcoinjs) = (hsm.user("alice", &[Ethereum]), Node::start("bitcoin"));
    for (purpose, name) in [(44, "pkh"), (49, "sh-wpkh"), (84, "wpkh")] {
        for (coin, network, word) in [(0, Network::Main, "main"), (1, Network::Regtest, "regtest")] {
            let name = format!("{name}-{word}");
            let key = create(&hsm, &alice, &name, network, Some(&format!("m/{purpose}h/{coin}h/3h")));
            let asked = json!({"descriptor": descriptor(&key), "network": word, "count": 3});
            let derived = bitcoinjs.ask("addresses", asked);
            for (chain, addresses) in list(&derived).iter().enumerate() {
                for (index, address) in list(addresses).iter().enumerate() {
                    let (key, index) = (format!("alice/{name}"), index.to_string());
                    let mut words = vec!["address", key.as_str(), "--index", index.as_str()];
                    words.extend((chain == 1).then_some("--change"));
                    assert_eq!(&cli::run(&hsm, &words).done()["address"], address, "{key} {chain}/{index}");
                }
            }
        }
    }
}

fn a_signature_for_a_false_amount_is_void_for_the_true_one(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let (alice, mut bitcoinjs) = (Keys::of_alice(&hsm), Node::start("bitcoin"));
    // The coin is of 100,000 satoshi; who makes the PSBT says 60,000, so that the fee looks 40,000 smaller than it is.
    let lie = bitcoinjs.ask("lie", alice.told());
    let code = alice.user.phone.code(hsm.advance(30));
    let payload = Payload::Psbt(psbt(&lie).into());
    let signed =
        hsm.sign_with(&alice.user, &alice.key(&lie).label, payload, Some(&code)).expect("a right code signs");
    assert_shown(&lie["shown"], &signed.summary);
    let signed = BASE64.encode(&signed.psbt.expect("the signed PSBT"));
    let valid = bitcoinjs.ask("amounts", json!({"signed": signed, "amounts": [60_000, 100_000]}));
    assert_eq!(valid, json!([true, false]));
}

fn what_bitcoinjs_makes_and_nobody_should_sign_is_refused(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = Keys::of_alice(&hsm);
    let unsafe_ones = Node::start("bitcoin").ask("unsafe", alice.told());
    assert_eq!(list(&unsafe_ones).len(), 5);
    let code = alice.user.phone.code(hsm.advance(30));
    for one in list(&unsafe_ones) {
        let payload = Payload::Psbt(psbt(one).into());
        let refused = hsm.sign_with(&alice.user, &alice.key(one).label, payload, Some(&code));
        assert_eq!(reason(refused).word(), text(&one["reason"]));
    }
}
