//! Statements, signed and refused.

use super::{Vector, bytes};
use crate::json::{hex, text};
use crate::samples::{self, signing_key};
use crate::vectors::fields::Fields;
use countersign_approvals::statement::{Signed, Statement, View};
use p256::ecdsa::Signature;

/// A statement, signed by the key of this name.
fn signed<S: Statement + Fields>(name: &str, statement: &S, by: &'static str) -> Vector {
    let signed = Signed::sign(&signing_key(by), statement);
    of_bytes(name, S::KIND, Some(statement), &signed, by)
}

fn of_bytes<S: Fields>(
    name: &str,
    kind: &'static str,
    of: Option<&S>,
    signed: &Signed,
    by: &'static str,
) -> Vector {
    let fields = of.map(Fields::fields).unwrap_or_default();
    let vector =
        Vector::new(name, "statement", fields).with("statement", text(kind)).with("signed_by", text(by));
    bytes(vector, &signed.statement).with("signature", hex(signed.signature))
}

/// A view in another encoding, properly signed.
fn encoded(name: &str, statement: Vec<u8>) -> Vector {
    let signature = signing_key("signing").sign(&statement);
    let signed = Signed { statement, signature };
    of_bytes::<View>(name, View::KIND, None, &signed, "signing").refused("malformed-statement")
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

fn accepted() -> Vec<Vector> {
    let mut manual = samples::identity();
    manual.clock = countersign_approvals::statement::ClockMode::Manual;
    let mut bare = samples::account_view();
    (bare.history, bare.intents, bare.locked_for_secs) = (Vec::new(), Vec::new(), 300);
    bare.state = countersign_approvals::statement::AccountState::Frozen;
    let mut without_passkeys = samples::enrolment_request();
    without_passkeys.passkeys.clear();
    vec![
        signed("identity", &samples::identity(), "root"),
        signed("identity with a manual clock", &manual, "root"),
        signed("view of a transfer with a warning", &samples::view(), "signing"),
        signed("view of a payee", &samples::payee_view(), "signing"),
        signed("enrolment request", &samples::enrolment_request(), "device"),
        signed("enrolment request without passkeys", &without_passkeys, "device"),
        signed("enrolment with three factors and two keys", &samples::enrolment(), "signing"),
        signed("account request", &samples::account_request(), "device"),
        signed("account", &samples::account_view(), "signing"),
        signed("frozen account", &bare, "signing"),
        signed("receipt", &samples::receipt(), "signing"),
    ]
}

fn refused() -> Vec<Vector> {
    let view = samples::view();
    let good = Signed::sign(&signing_key("signing"), &view);
    let other_form = Signature::from_slice(&good.signature).unwrap();
    let (r, s) = (other_form.r(), -*other_form.s());
    let high = Signed { signature: Signature::from_scalars(r, s).unwrap().to_bytes().into(), ..good.clone() };
    let tampered = Signed { statement: replaced(&good.statement, b"1.5 ETH", b"0.5 ETH"), ..good.clone() };
    let expires = [&[0x1a], &u32::try_from(samples::EXPIRES).unwrap().to_be_bytes()[..]].concat();
    let long = [&[0x1b], &samples::EXPIRES.to_be_bytes()[..]].concat();
    let indefinite = [&[0x9f], &good.statement[1..], &[0xff]].concat();
    let refuse = |name: &str, signed: &Signed| of_bytes::<View>(name, View::KIND, None, signed, "signing");
    let identity = Signed::sign(&signing_key("signing"), &samples::identity());
    let by_device = Signed::sign(&signing_key("device"), &view);
    let mut for_act = view.clone();
    for_act.purpose = countersign_approvals::digest::Purpose::Freeze;
    vec![
        refuse("view with s in the higher half", &high).refused("malformed-signature"),
        refuse("view with another amount", &tampered).refused("wrong-signature"),
        refuse("view signed by another key", &by_device).refused("wrong-signature"),
        refuse("identity in the place of a view", &identity).refused("another-statement"),
        encoded("view with an integer that is not the shortest", replaced(&good.statement, &expires, &long)),
        encoded("view as an array of indefinite length", indefinite),
        encoded("view with a byte after it", [good.statement.as_slice(), &[0]].concat()),
        encoded("view with a tag before it", [&[0xc1], good.statement.as_slice()].concat()),
        encoded("view with text that is not UTF-8", replaced(&good.statement, b"warning", b"warnin\xff")),
        encoded("view for an act", for_act.to_bytes()),
    ]
}

pub(crate) fn vectors() -> Vec<Vector> {
    [accepted(), refused()].into_iter().flatten().collect()
}
