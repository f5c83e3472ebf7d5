//! Keys from an account's wallet, and what they sign: transactions, messages, PSBTs.

use super::*;
use countersign_intent::bip32::ExtendedPublicKey;
use countersign_intent::bitcoin::{self, Psbt};
use countersign_wire::client::Network;
use sha2::{Digest, Sha256};

fn wallet_plan(mechanisms: &[Mechanism], network: Option<Network>, path: &str) -> KeyPlan {
    KeyPlan { network, path: Some(path.parse().unwrap()), ..KeyPlan::of(mechanisms.to_vec()) }
}

fn create(device: &mut Device, label: &str, plan: KeyPlan) -> Result<KeyInfo, Reason> {
    device.ask(Act::CreateKey(CreateKey { label: label.parse().unwrap(), plan })).map(|answer| match answer {
        Answer::Key(key) => key,
        other => panic!("{other:?}"),
    })
}

fn sign_with(device: &mut Device, user: &User, key: &KeyInfo, payload: Payload) -> Result<Signed, Reason> {
    device.advance(30);
    let approval = Some(Approval::Code(typed(&user.code(device.time.unix_secs))));
    let act = Act::Sign(Sign { key: key.label.clone(), payload, approval });
    device.ask(act).map(|answer| match answer {
        Answer::Signed(signed) => signed,
        other => panic!("{other:?}"),
    })
}

fn bitcoin_account(key: &KeyInfo) -> bitcoin::Account {
    let watch = key.watch.as_ref().unwrap();
    let (extended, _) = ExtendedPublicKey::of_text(&watch.xpub).unwrap();
    let (path, network) = (key.plan.path.as_ref().unwrap(), key.plan.network.unwrap());
    bitcoin::Account::at(path, extended, watch.root_fingerprint.into_array(), network).unwrap()
}

#[test]
fn a_wallet_key_signs_like_any_other_and_its_root_comes_back_after_a_restart() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let plan =
        wallet_plan(&[Mechanism::Digest, Mechanism::Ethereum, Mechanism::Message], None, "m/44h/60h/0h/0/0");
    let key = create(&mut device, "alice/spending", plan.clone()).unwrap();
    assert_eq!(key.plan, plan);
    for _ in 0..2 {
        device.ops.clear();
        let signed = sign_with(&mut device, &user, &key, Payload::Digest([7; 32].into())).unwrap();
        assert!(crate::ecdsa::verify(&key.public_key, &[7; 32], &signed.signature).is_ok());
        assert!(!device.ops.contains(&"sign"), "the keystore knows no such key");
        device.ops.retain(|op| *op != "read");
        assert_eq!(
            device.ops,
            ["mac", "commit", "commit", "mac"],
            "the root is made after the spend is durable"
        );
        assert!(device.boot());
    }
    let text = Payload::Message(b"I agree".to_vec().into());
    let signed = sign_with(&mut device, &user, &key, text).unwrap_err();
    assert_eq!(signed, Reason::PolicyRefused, "the policy for development permits no messages");
}

#[test]
fn a_wallet_whose_root_is_another_one_signs_nothing() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let plan = wallet_plan(&[Mechanism::Digest], None, "m/44h/60h/0h/0/0");
    let key = create(&mut device, "alice/spending", plan).unwrap();
    device.wrong_roots = true;
    let refused = sign_with(&mut device, &user, &key, Payload::Digest([7; 32].into()));
    assert_eq!(refused.unwrap_err(), Reason::KeystoreFailed);
}

#[test]
fn i8_a_path_has_one_key_for_ever_and_so_have_those_above_and_below_it() {
    let mut device = Device::ready();
    enroll(&mut device, "alice");
    let ethereum = |path| wallet_plan(&[Mechanism::Ethereum], None, path);
    let account = |network, path| wallet_plan(&[Mechanism::Bitcoin], Some(network), path);
    create(&mut device, "alice/a", ethereum("m/44h/60h/0h/0/0")).unwrap();
    create(&mut device, "alice/b", ethereum("m/44h/60h/0h/0/1")).unwrap();
    create(&mut device, "alice/c", account(Network::Main, "m/84h/0h/0h")).unwrap();
    create(&mut device, "alice/d", account(Network::Test, "m/84h/1h/0h")).unwrap();
    for (plan, reason) in [
        (ethereum("m/44h/60h/0h/0/0"), Reason::PathTaken),
        (wallet_plan(&[Mechanism::Digest], None, "m/44h/60h/0h/0/0"), Reason::PathTaken),
        (account(Network::Main, "m/84h/0h/0h"), Reason::PathTaken),
        (account(Network::Regtest, "m/84h/1h/0h"), Reason::PathTaken),
        (account(Network::Main, "m/84h/1h/1h"), Reason::UnsupportedPath),
        (account(Network::Main, "m/86h/0h/0h"), Reason::UnsupportedPath),
        (account(Network::Main, "m/84h/0h/1h/0/0"), Reason::UnsupportedPath),
        (ethereum("m/44h/60h/0h/0"), Reason::UnsupportedPath),
        (wallet_plan(&[Mechanism::Bitcoin], None, "m/84h/0h/1h"), Reason::MalformedRequest),
        (
            wallet_plan(&[Mechanism::Ethereum], Some(Network::Main), "m/44h/60h/0h/0/9"),
            Reason::MalformedRequest,
        ),
        (
            wallet_plan(&[Mechanism::Digest, Mechanism::Bitcoin], Some(Network::Main), "m/84h/0h/1h"),
            Reason::MalformedRequest,
        ),
    ] {
        assert_eq!(create(&mut device, "alice/z", plan.clone()).unwrap_err(), reason, "{plan:?}");
    }
}

#[test]
fn each_account_has_a_wallet_of_its_own() {
    let mut device = Device::ready();
    let plan = || wallet_plan(&[Mechanism::Bitcoin], Some(Network::Main), "m/84h/0h/0h");
    let keys = ["alice", "bob"].map(|name| {
        enroll(&mut device, name);
        create(&mut device, &format!("{name}/btc"), plan()).unwrap()
    });
    let [alice, bob] = keys.map(|key| key.watch.unwrap());
    assert_ne!(alice.root_fingerprint, bob.root_fingerprint);
    assert_ne!(alice.xpub, bob.xpub);
    assert!(alice.descriptor.starts_with("wpkh([") && alice.descriptor.contains("/84h/0h/0h]xpub"));
}

/// A version 0 PSBT that pays 60,000 of 100,000 satoshi on and 39,000 back as change; its inputs are at 0/0 and 0/1.
fn psbt(account: &bitcoin::Account, inputs: u32) -> Vec<u8> {
    let script = |chain, index| account.purpose().script(&account.public_key(chain, index).unwrap());
    let output = |amount: u64, script: &[u8]| {
        [&amount.to_le_bytes()[..], &[u8::try_from(script.len()).unwrap()], script].concat()
    };
    let previous: Vec<Vec<u8>> = (0..inputs)
        .map(|index| {
            let spends = [&[u8::try_from(index).unwrap() + 1; 32][..], &[0; 4], &[0], &[0xff; 4]].concat();
            [&[2, 0, 0, 0, 1][..], &spends, &[1], &output(100_000, &script(0, index)), &[0; 4]].concat()
        })
        .collect();
    let txid = |raw: &[u8]| Sha256::digest(Sha256::digest(raw));
    let mut unsigned = vec![2, 0, 0, 0, u8::try_from(inputs).unwrap()];
    for raw in &previous {
        unsigned.extend([&txid(raw)[..], &[0; 4], &[0], &[0xfd, 0xff, 0xff, 0xff]].concat());
    }
    let mut stranger = vec![0, 20];
    stranger.extend([9; 20]);
    unsigned.push(2);
    unsigned.extend(output(60_000 * u64::from(inputs), &stranger));
    unsigned.extend(output(39_000 * u64::from(inputs), &script(1, 0)));
    unsigned.extend([0; 4]);

    let field = |kind: u8, data: &[u8], value: &[u8]| {
        let key = [&[kind][..], data].concat();
        [&[u8::try_from(key.len()).unwrap()][..], &key, &[u8::try_from(value.len()).unwrap()], value].concat()
    };
    let origin = |chain: u32, index: u32| {
        let path = account.path_of(chain, index).unwrap();
        let steps = path.steps().iter().flat_map(|step| step.to_u32().to_le_bytes());
        account.master_fingerprint().into_iter().chain(steps).collect::<Vec<u8>>()
    };
    let mut bytes = b"psbt\xff".to_vec();
    bytes.extend(field(0, &[], &unsigned));
    bytes.push(0);
    for (raw, index) in previous.iter().zip(0..) {
        bytes.extend(field(0, &[], raw));
        bytes.extend(field(1, &[], &output(100_000, &script(0, index))));
        bytes.extend(field(6, &account.public_key(0, index).unwrap(), &origin(0, index)));
        bytes.push(0);
    }
    bytes.push(0);
    bytes.extend(field(2, &account.public_key(1, 0).unwrap(), &origin(1, 0)));
    bytes.push(0);
    bytes
}

#[test]
fn all_inputs_of_a_psbt_are_signed_under_one_code() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let plan = wallet_plan(&[Mechanism::Bitcoin], Some(Network::Regtest), "m/84h/1h/0h");
    let key = create(&mut device, "alice/btc", plan).unwrap();
    let account = bitcoin_account(&key);
    let unsigned = psbt(&account, 2);
    device.ops.clear();
    let signed = sign_with(&mut device, &user, &key, Payload::Psbt(unsigned.clone().into())).unwrap();
    assert_eq!(device.ops, ["mac", "commit", "commit", "mac"], "one code, one spend");
    assert_eq!(
        signed.summary,
        format!(
            "sign: transfer on a Bitcoin test network (bitcoin:regtest)\nsend: 0.0012 test BTC\n  to: {}\n\
             change: 0.00078 test BTC\n  to: {}\nfee: at most 0.00002 test BTC\nin all: at most 0.00122 test BTC\n{}",
            bitcoin::address(&[&[0, 20][..], &[9; 20]].concat(), Network::Regtest),
            account.address(1, 0).unwrap(),
            signed.summary.split_once("0.00122 test BTC\n").unwrap().1
        )
    );
    let psbt = signed.psbt.unwrap();
    assert!(Psbt::read(&psbt).is_ok() && psbt.len() > unsigned.len() + 2 * 100);
    for index in 0..2 {
        let public_key = account.public_key(0, index).unwrap();
        assert!(psbt.windows(33).filter(|window| *window == public_key).count() > 1, "input {index}");
    }
}

#[test]
fn i10_a_psbt_of_another_users_wallet_has_nothing_to_sign() {
    let mut device = Device::ready();
    let plan = || wallet_plan(&[Mechanism::Bitcoin], Some(Network::Regtest), "m/84h/1h/0h");
    let [alice, bob] = ["alice", "bob"].map(|name| {
        let user = enroll(&mut device, name);
        let key = create(&mut device, &format!("{name}/btc"), plan()).unwrap();
        (user, key)
    });
    let others = psbt(&bitcoin_account(&bob.1), 1);
    device.ops.clear();
    let refused = sign_with(&mut device, &alice.0, &alice.1, Payload::Psbt(others.into()));
    assert_eq!(refused.unwrap_err(), Reason::NothingToSign);
    assert!(!device.ops.contains(&"mac"), "no code was looked at");
}

#[test]
fn a_keystore_key_signs_psbts_too_and_only_with_its_network() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let plan = KeyPlan { network: Some(Network::Regtest), ..KeyPlan::of(vec![Mechanism::Bitcoin]) };
    let key = create(&mut device, "alice/btc", plan).unwrap();
    assert!(key.watch.is_none());
    let digest = Payload::Digest([1; 32].into());
    assert_eq!(sign_with(&mut device, &user, &key, digest).unwrap_err(), Reason::MechanismNotAllowed);
    let garbage = Payload::Psbt(b"psbt\xff\x00".to_vec().into());
    assert_eq!(sign_with(&mut device, &user, &key, garbage).unwrap_err(), Reason::MalformedPsbt);
    assert_eq!(key.ethereum_address, "", "nobody could spend what is sent there");
}

#[test]
fn i3_a_retry_of_a_psbt_gives_the_same_psbt_and_spends_nothing() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let plan = wallet_plan(&[Mechanism::Bitcoin], Some(Network::Regtest), "m/84h/1h/0h");
    let key = create(&mut device, "alice/btc", plan).unwrap();
    let payload = Payload::Psbt(psbt(&bitcoin_account(&key), 2).into());
    let approval = Some(Approval::Code(typed(&user.code(device.time.unix_secs))));
    let act = Act::Sign(Sign { key: key.label.clone(), payload, approval });
    let request = Request { id: [5; 16].into(), api_key: Some(api_key("a")), act };
    let mut answers = (0..2).map(|_| {
        let ticket = device.send(&request);
        device.settle();
        device.reply(ticket).unwrap().unwrap()
    });
    assert_eq!(answers.next(), answers.next());
}

#[test]
fn a_root_that_comes_out_otherwise_the_second_time_is_told_to_nobody() {
    let mut device = Device::ready();
    enroll(&mut device, "alice");
    let plan = || wallet_plan(&[Mechanism::Bitcoin], Some(Network::Main), "m/84h/0h/0h");
    device.flaky_roots = true;
    assert_eq!(create(&mut device, "alice/btc", plan()).unwrap_err(), Reason::KeystoreFailed);
    device.flaky_roots = false;
    assert!(create(&mut device, "alice/btc", plan()).is_ok(), "nothing was kept of it");
}
