//! Whatever is changed in what was accepted, by one bit or one byte, is refused. The seed is fixed.

use crate::samples::{self, Assertion, approval_digest};
use countersign_approvals::digest::{Purpose, device_message};
use countersign_approvals::es256::{self, BadSignature};
use countersign_approvals::sealed::{self, BadCodes, Sealed, Unsealed};
use countersign_approvals::statement::{
    AccountRequest, AccountView, Enrolment, EnrolmentRequest, Identity, Receipt, Signed, Statement, View,
};
use countersign_approvals::webauthn;
use fastrand::Rng;

const CHANGES: usize = 10_000;

/// Flips a bit, sets a byte, takes one out or puts one in. Never gives back what it got.
fn change(bytes: &[u8], random: &mut Rng) -> Vec<u8> {
    loop {
        let mut changed = bytes.to_vec();
        let at = random.usize(..bytes.len().max(1));
        match random.u8(..4) {
            0 if !bytes.is_empty() => changed[at] ^= 1 << random.u8(..8),
            1 if !bytes.is_empty() => changed[at] = random.u8(..),
            2 if !bytes.is_empty() => drop(changed.remove(at)),
            _ => changed.insert(random.usize(..=bytes.len()), random.u8(..)),
        }
        if changed != bytes {
            return changed;
        }
    }
}

/// A device's sealed code as it travels.
#[derive(Clone, PartialEq, Eq)]
struct Envelope {
    encapsulated: Vec<u8>,
    ciphertext: Vec<u8>,
    signature: Vec<u8>,
}

/// All that is done with it inside, in its order. Which step it was that refused.
fn open(envelope: &Envelope) -> Result<Vec<String>, &'static str> {
    let digest = approval_digest(Purpose::Sign);
    let encapsulated = envelope.encapsulated.as_slice().try_into().map_err(|_| "length")?;
    let signature = envelope.signature.as_slice().try_into().map_err(|_| "length")?;
    let sealed = Sealed { encapsulated, ciphertext: envelope.ciphertext.clone() };
    let message = device_message(&digest, &sealed.hash());
    es256::verify(&samples::public_key("device"), &message, signature).map_err(BadSignature::word)?;
    open_seal(&sealed)
}

fn open_seal(sealed: &Sealed) -> Result<Vec<String>, &'static str> {
    let digest = approval_digest(Purpose::Sign);
    let key = samples::opening_key("sealing");
    let opened = key.open(sealed::CODE_INFO, &digest, sealed).map_err(Unsealed::word)?;
    let codes = sealed::decode_codes(&opened, &digest).map_err(BadCodes::word)?;
    Ok(codes.iter().map(|code| code.to_string()).collect())
}

fn envelope() -> Envelope {
    let sealed = samples::sealed_codes(&["123456"]);
    let message = device_message(&approval_digest(Purpose::Sign), &sealed.hash());
    Envelope {
        encapsulated: sealed.encapsulated.to_vec(),
        ciphertext: sealed.ciphertext,
        signature: samples::signing_key("device").sign(&message).to_vec(),
    }
}

#[test]
fn ten_thousand_changed_envelopes_are_refused() {
    let good = envelope();
    assert_eq!(open(&good), Ok(vec!["123456".to_owned()]));
    let mut random = Rng::with_seed(1);
    for _ in 0..CHANGES {
        let mut changed = good.clone();
        let part = match random.u8(..3) {
            0 => &mut changed.encapsulated,
            1 => &mut changed.ciphertext,
            _ => &mut changed.signature,
        };
        *part = change(part, &mut random);
        assert!(open(&changed).is_err());
    }
}

#[test]
fn a_changed_seal_does_not_open_even_where_nobody_signed_it() {
    let good = samples::sealed_codes(&["123456"]);
    assert!(open_seal(&good).is_ok());
    let mut random = Rng::with_seed(2);
    for _ in 0..1000 {
        let mut changed = good.clone();
        if random.bool() {
            let Ok(encapsulated) = change(&good.encapsulated, &mut random).try_into() else { continue };
            changed.encapsulated = encapsulated;
        } else {
            changed.ciphertext = change(&good.ciphertext, &mut random);
        }
        assert_eq!(open_seal(&changed), Err("bad-seal"));
    }
}

fn assert_passkey(assertion: &Assertion) -> Result<webauthn::Asserted, webauthn::PasskeyProblem> {
    webauthn::assert(
        &samples::passkey().registered(),
        &assertion.client_data_json,
        &assertion.authenticator_data,
        &assertion.signature,
        &approval_digest(Purpose::Sign),
    )
}

#[test]
fn ten_thousand_changed_assertions_are_refused() {
    let good = samples::assertion();
    assert_eq!(assert_passkey(&good).map(|asserted| asserted.sign_count), Ok(0));
    let mut random = Rng::with_seed(3);
    for _ in 0..CHANGES {
        let mut changed = good.clone();
        let part = match random.u8(..3) {
            0 => &mut changed.client_data_json,
            1 => &mut changed.authenticator_data,
            _ => &mut changed.signature,
        };
        *part = change(part, &mut random);
        assert!(assert_passkey(&changed).is_err(), "{changed:?}");
    }
}

fn changed_statements<S: Statement>(statement: &S, seed: u64) {
    let key = samples::signing_key("signing");
    let good = Signed::sign(&key, statement);
    assert!(good.verify::<S>(&key.public_key()).is_ok());
    let mut random = Rng::with_seed(seed);
    for _ in 0..CHANGES / 20 {
        let mut changed = good.clone();
        if random.bool() {
            changed.statement = change(&good.statement, &mut random);
        } else {
            let Ok(signature) = change(&good.signature, &mut random).try_into() else { continue };
            changed.signature = signature;
        }
        assert!(changed.verify::<S>(&key.public_key()).is_err());
    }
    // Without the signature, whatever is still read is another statement in its one form.
    for _ in 0..CHANGES {
        let changed = change(&good.statement, &mut random);
        if let Ok(read) = S::parse(&changed) {
            assert_eq!(read.to_bytes(), changed);
        }
    }
}

#[test]
fn changed_statements_are_refused_and_what_is_read_has_one_form() {
    changed_statements::<Identity>(&samples::identity(), 10);
    changed_statements::<View>(&samples::view(), 11);
    changed_statements::<View>(&samples::payee_view(), 12);
    changed_statements::<EnrolmentRequest>(&samples::enrolment_request(), 13);
    changed_statements::<Enrolment>(&samples::enrolment(), 14);
    changed_statements::<AccountRequest>(&samples::account_request(), 15);
    changed_statements::<AccountView>(&samples::account_view(), 16);
    changed_statements::<Receipt>(&samples::receipt(), 17);
}
