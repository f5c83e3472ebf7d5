//! A device against a stand-in for the plugin: what it does right, and that it believes no lie.

use super::fake::{ADDRESS, CODE, Fake, HSM, INTENT, INVITATION, Lie, OTPAUTH, SECOND_CODE, SUMMARY};
use super::*;
use countersign_approvals::statement::{ApprovalKind, IntentState, KeyEntry};
use countersign_wire::client::Outcome;
use countersign_wire::device::Evidence;
use countersign_wire::reason::{Reason, Refusal};
use std::cell::RefCell;

struct Carried(RefCell<Fake>);

impl Carrier for Carried {
    fn carry(&self, act: Act) -> Result<Answer, Refusal> {
        match self.0.borrow_mut().outcome(&act) {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Refused(refusal) => Err(refusal),
        }
    }
}

fn keys() -> Keys {
    Keys::of_secret(&[3; 32])
}

fn owner() -> Owner {
    Owner { tenant: "default".parse().unwrap(), account: "alice".parse().unwrap() }
}

fn hsm(lie: Lie) -> Carried {
    Carried(RefCell::new(Fake::new(lie).with_device(keys().signing.public_key())))
}

fn device(carried: &Carried) -> Result<Device<'_>, DeviceError> {
    Device::connect(carried, &Fake::root().parse().unwrap(), Some(HSM), owner(), keys())
}

#[allow(clippy::needless_pass_by_value, reason = "it is what was just returned")]
fn distrusts<T>(outcome: Result<T, DeviceError>, expected: Distrust, lie: Lie) {
    match outcome {
        Err(DeviceError::Distrusted(found)) => assert_eq!(found, expected, "{lie:?}"),
        Err(other) => panic!("{lie:?}: {other}"),
        Ok(_) => panic!("{lie:?} was believed"),
    }
}

#[test]
fn enrols_confirms_and_knows_the_address() {
    let hsm = hsm(Lie::None);
    let device = device(&hsm).unwrap();
    let enrolled = device.enroll(INVITATION).unwrap();
    assert_eq!((enrolled.otpauth(), enrolled.confirm_within_secs()), (OTPAUTH, 1800));
    assert_eq!(enrolled.receipt().keys[0].address, ADDRESS);
    device.confirm((CODE, SECOND_CODE)).unwrap();
    assert_eq!(hsm.0.borrow().done, ["confirmed"]);
    assert_eq!(device.confirm((SECOND_CODE, CODE)), Err(Reason::WrongCode.into()));
    let wrong = device.enroll([0; 16]).err();
    assert_eq!(wrong, Some(Reason::UnknownInvitation.into()));
}

#[test]
fn believes_no_lie_about_an_enrolment() {
    for (lie, expected) in [
        (Lie::Tampered, Distrust::BadSignature),
        (Lie::Kind, Distrust::MalformedStatement),
        (Lie::Hsm, Distrust::OtherHsm),
        (Lie::Image, Distrust::OtherImage),
        (Lie::Account, Distrust::OtherAccount),
        (Lie::Tenant, Distrust::OtherAccount),
        (Lie::Nonce, Distrust::StaleAnswer),
        (Lie::Device, Distrust::UnknownFactor),
        (Lie::OtherDevice, Distrust::UnknownFactor),
        (Lie::Secret, Distrust::WrongSeal),
        (Lie::SealedToAnother, Distrust::WrongSeal),
        (Lie::Address, Distrust::WrongAddress),
    ] {
        let hsm = hsm(lie);
        distrusts(device(&hsm).unwrap().enroll(INVITATION), expected, lie);
    }
}

#[test]
fn believes_no_lie_about_who_the_hsm_is() {
    for (lie, expected) in [(Lie::Root, Distrust::WrongRoot), (Lie::TamperedIdentity, Distrust::BadSignature)]
    {
        distrusts(device(&hsm(lie)), expected, lie);
    }
    let hsm = hsm(Lie::None);
    let root = Fake::root().parse().unwrap();
    distrusts(Device::connect(&hsm, &root, Some([0; 16]), owner(), keys()), Distrust::OtherHsm, Lie::None);
}

#[test]
fn approves_exactly_what_was_seen() {
    let hsm = hsm(Lie::None);
    let device = device(&hsm).unwrap();
    let seen = device.view(INTENT).unwrap();
    assert_eq!((seen.view().summary.as_str(), seen.expires_in_secs()), (SUMMARY, 600));
    assert_eq!(seen.lines().0, ["warning: never paid before"]);
    assert_eq!(device.approve(&seen, "000000"), Err(Reason::WrongCode.into()));
    device.approve(&seen, CODE).unwrap();
    assert_eq!(hsm.0.borrow().done, ["approved"]);
    let verified = device.receipt(&seen).unwrap();
    assert_eq!(verified.intent_hash(), seen.view().intent_hash());
    let again = device.view(INTENT).unwrap();
    assert_eq!(device.approve(&again, CODE), Err(Reason::IntentNotOpen.into()));
}

#[test]
fn what_approves_one_intent_approves_no_other() {
    let hsm = hsm(Lie::None);
    let device = device(&hsm).unwrap();
    let seen = device.view(INTENT).unwrap();
    let mut other = seen.view().clone();
    other.summary = "sign: something else\n".to_owned();
    let Evidence::SealedCode(first) = device.evidence(&seen, CODE).evidence else { panic!() };
    assert_ne!(other.approval_digest(), seen.view().approval_digest());
    let message = |digest: &[u8; 32]| {
        let sealed =
            countersign_approvals::sealed::sealed_hash(&first.encapsulated.into_array(), &first.ciphertext);
        countersign_approvals::digest::device_message(digest, &sealed)
    };
    let (key, signature) = (device.keys.signing.public_key(), first.signature.into_array());
    let verifies =
        |digest: &[u8; 32]| countersign_approvals::es256::verify(&key, &message(digest), &signature).is_ok();
    assert!(verifies(&seen.view().approval_digest()));
    assert!(!verifies(&other.approval_digest()));
    let pin = context_pin(&device.evidence(&seen, CODE));
    assert!(pin.starts_with("csa1_") && !pin.contains('='));
}

#[test]
fn believes_no_lie_about_an_intent() {
    for (lie, expected) in [
        (Lie::Tampered, Distrust::BadSignature),
        (Lie::Kind, Distrust::MalformedStatement),
        (Lie::Hsm, Distrust::OtherHsm),
        (Lie::Account, Distrust::OtherAccount),
        (Lie::Tenant, Distrust::OtherAccount),
        (Lie::Intent, Distrust::OtherIntent),
        (Lie::Nonce, Distrust::StaleAnswer),
    ] {
        distrusts(device(&hsm(lie)).unwrap().view(INTENT), expected, lie);
    }
}

#[test]
fn asks_for_no_code_that_could_not_count() {
    let hsm = hsm(Lie::None);
    hsm.0.borrow_mut().floor = ApprovalKind::Passkey;
    let device = device(&hsm).unwrap();
    let seen = device.view(INTENT).unwrap();
    assert_eq!(device.may_approve(&seen), Err(Reason::BelowFloor.into()));
    assert_eq!(device.approve(&seen, CODE), Err(Reason::BelowFloor.into()));
}

#[test]
fn declines_and_acts_on_its_account() {
    let hsm = hsm(Lie::None);
    let device = device(&hsm).unwrap();
    device.decline(&device.view(INTENT).unwrap()).unwrap();
    assert_eq!(hsm.0.borrow().state, IntentState::Declined);
    device.unlock((CODE, SECOND_CODE)).unwrap();
    device.freeze().unwrap();
    assert_eq!(device.cancel_recovery(), Err(Reason::NoRecovery.into()));
    assert_eq!(hsm.0.borrow().done, ["declined", "unlocked", "frozen"]);
    assert_eq!(device.account().unwrap().view().state, statement::AccountState::Frozen);
}

#[test]
fn believes_no_lie_about_its_account() {
    for (lie, expected) in [
        (Lie::Tampered, Distrust::BadSignature),
        (Lie::Kind, Distrust::MalformedStatement),
        (Lie::Hsm, Distrust::OtherHsm),
        (Lie::Account, Distrust::OtherAccount),
        (Lie::Nonce, Distrust::StaleAnswer),
        (Lie::Address, Distrust::WrongAddress),
    ] {
        let hsm = hsm(lie);
        let device = device(&hsm).unwrap();
        distrusts(device.account(), expected, lie);
        distrusts(device.freeze(), expected, lie);
    }
}

#[test]
fn believes_no_lie_about_a_receipt() {
    for (lie, expected) in [
        (Lie::Tampered, Distrust::BadSignature),
        (Lie::Kind, Distrust::MalformedStatement),
        (Lie::Hsm, Distrust::OtherHsm),
        (Lie::Image, Distrust::OtherImage),
        (Lie::Account, Distrust::OtherAccount),
        (Lie::Receipt, Distrust::OtherIntent),
    ] {
        let hsm = hsm(Lie::None);
        let device = device(&hsm).unwrap();
        let seen = device.view(INTENT).unwrap();
        device.approve(&seen, CODE).unwrap();
        hsm.0.borrow_mut().lie = lie;
        distrusts(device.receipt(&seen), expected, lie);
    }
}

#[test]
fn a_receipt_is_checked_offline_down_from_the_root() {
    let fake = Fake::new(Lie::None);
    let file = ReceiptFile::new(&fake.identity(), &fake.signed_receipt());
    let root: Root = Fake::root().parse().unwrap();
    let verified = file.verify(&root).unwrap();
    assert_eq!(verified.receipt().summary, SUMMARY);
    assert_eq!(verified.to_file(), file);
    assert_eq!(file.verify(&Root([0; 32])).err(), Some(Distrust::WrongRoot));
    let text = serde_json::to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<ReceiptFile>(&text).unwrap(), file);
    for (lie, expected) in [
        (Lie::Tampered, Distrust::BadSignature),
        (Lie::Kind, Distrust::MalformedStatement),
        (Lie::Hsm, Distrust::OtherHsm),
        (Lie::Image, Distrust::OtherImage),
    ] {
        let file = ReceiptFile::new(&fake.identity(), &Fake::new(lie).signed_receipt());
        assert_eq!(file.verify(&root).err(), Some(expected), "{lie:?}");
    }
    let file = ReceiptFile::new(&Fake::new(Lie::Root).identity(), &fake.signed_receipt());
    assert_eq!(file.verify(&root).err(), Some(Distrust::WrongRoot));
}

/// The first account of the test vectors of BIP-84: its extended public key (as `xpub`), and its first address.
fn bip84() -> KeyEntry {
    use countersign_intent::bip32::{ExtendedPrivateKey, ExtendedPublicKey};
    use countersign_wire::client::Network;
    // The seed of BIP-39's words "abandon … about", without password, which BIP-84's vectors start from.
    let seed = "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1\
                9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4";
    let seed = data_encoding::HEXLOWER.decode(seed.as_bytes()).unwrap();
    let path = "m/84h/0h/0h".parse().unwrap();
    let key: ExtendedPublicKey = ExtendedPrivateKey::of_seed(&seed).unwrap().public_at(&path).unwrap();
    KeyEntry {
        key: "alice/btc".to_owned(),
        key_id: [8; 16],
        public_key: uncompressed(key.public_key()),
        mechanisms: vec!["bitcoin".to_owned()],
        floor: ApprovalKind::SealedCode,
        network: "main".to_owned(),
        path: "m/84h/0h/0h".to_owned(),
        address: "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu".to_owned(),
        xpub: key.to_text(Network::Main),
    }
}

/// Only x and the parity of y count for addresses of Bitcoin.
fn uncompressed(compressed: &[u8; 33]) -> [u8; 65] {
    let mut point = [0; 65];
    point[0] = 4;
    point[1..33].copy_from_slice(&compressed[1..]);
    point[64] = compressed[0] & 1;
    point
}

#[test]
fn the_first_address_of_a_bitcoin_account_is_that_of_bip_84() {
    let key = bip84();
    assert_eq!(addresses::check(&key), Ok(()));
    let single = KeyEntry { xpub: String::new(), path: String::new(), ..key.clone() };
    for wrong in [
        KeyEntry { address: String::new(), ..key.clone() },
        KeyEntry { address: "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g".to_owned(), ..key.clone() },
        KeyEntry { network: "test".to_owned(), ..key.clone() },
        KeyEntry { path: "m/84h/0h/1h".to_owned(), ..key.clone() },
        KeyEntry { xpub: String::new(), ..key.clone() },
        KeyEntry { public_key: [4; 65], ..key.clone() },
        single,
    ] {
        assert_eq!(addresses::check(&wrong), Err(Distrust::WrongAddress), "{wrong:?}");
    }
}

#[test]
fn only_relays_of_this_machine_are_reached_in_the_clear() {
    for good in ["http://127.0.0.1:8787", "http://localhost:8787/", "http://[::1]:80", "http://127.9.9.9/way"]
    {
        assert!(HttpRelay::new(good).is_ok(), "{good}");
    }
    for bad in [
        "https://relay.example",
        "http://relay.example",
        "http://192.0.2.1",
        "http://127.0.0.1@relay.example",
        "http://localhost.example",
        "ftp://127.0.0.1",
        "127.0.0.1:8787",
        "",
    ] {
        assert!(HttpRelay::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_words_are_unique_and_end_in_sentences() {
    let words: std::collections::BTreeSet<_> = Distrust::ALL.iter().map(|distrust| distrust.word()).collect();
    assert_eq!(words.len(), Distrust::ALL.len());
    assert!(Distrust::ALL.iter().all(|distrust| distrust.sentence().ends_with('.')));
    assert!(words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
}
