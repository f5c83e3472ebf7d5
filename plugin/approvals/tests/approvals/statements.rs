//! Each statement is the array that the document says, within its bounds, and is read as itself alone.

use crate::samples;
use ciborium::Value;
use countersign_approvals::digest::Purpose;
use countersign_approvals::statement::{
    AccountRequest, AccountView, BadSigned, BadStatement, DIGESTS_MAX, Enrolment, EnrolmentRequest,
    FACTORS_MAX, Factor, HEADLINE_MAX_BYTES, HISTORY_MAX, Identity, KEYS_MAX, NAME_MAX_BYTES,
    OPEN_INTENTS_MAX, ORIGIN_MAX_BYTES, PASSKEYS_MAX, Receipt, STATEMENT_MAX_BYTES, SUMMARY_MAX_BYTES,
    Signed, Statement, View,
};

const MALFORMED: BadStatement = BadStatement::Malformed;

fn read<S: Statement>(statement: &S) -> Result<(), BadStatement> {
    S::parse(&statement.to_bytes()).map(|_| ())
}

/// The elements, as another reader sees them.
fn elements<S: Statement>(statement: &S) -> Vec<Value> {
    let value: Value = ciborium::from_reader(statement.to_bytes().as_slice()).unwrap();
    value.into_array().unwrap()
}

fn blob(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

#[test]
fn a_view_is_the_array_of_the_document() {
    let view = samples::view();
    let expected = vec![
        "countersign view v1".into(),
        blob(&view.hsm),
        "acme".into(),
        "alice@example.org".into(),
        blob(&view.intent),
        "sign".into(),
        "alice@example.org/ethereum".into(),
        blob(&view.key_id),
        "ethereum".into(),
        Value::Array(vec![blob(&view.digests[0])]),
        view.summary.as_str().into(),
        "sealed-code".into(),
        "open".into(),
        blob(&view.nonce),
        view.expires_unix_secs.into(),
        view.now_unix_secs.into(),
        blob(&view.device_nonce),
    ];
    assert_eq!(elements(&view), expected);
}

#[test]
fn an_identity_and_an_account_request_are_the_arrays_of_the_document() {
    let identity = samples::identity();
    let expected = vec![
        "countersign identity v1".into(),
        blob(&identity.hsm),
        blob(&identity.measurement),
        "system".into(),
        blob(identity.signing_key.as_bytes()),
        blob(identity.sealing_key.as_bytes()),
    ];
    assert_eq!(elements(&identity), expected);
    let request = samples::account_request();
    let expected = vec![
        "countersign account request v1".into(),
        blob(&request.hsm),
        "acme".into(),
        "alice@example.org".into(),
        blob(&request.device_nonce),
    ];
    assert_eq!(elements(&request), expected);
}

#[test]
fn an_enrolment_is_the_array_of_the_document() {
    let enrolment = samples::enrolment();
    let (device, passkey) = (samples::public_key("device"), samples::public_key("passkey"));
    let factors = vec![
        Value::Array(vec!["totp".into(), "sha1".into(), 6.into(), 30.into()]),
        Value::Array(vec!["device".into(), blob(&device.device_id()), blob(device.as_bytes())]),
        Value::Array(vec![
            "passkey".into(),
            blob(&samples::CREDENTIAL_ID),
            blob(passkey.as_bytes()),
            "example.org".into(),
            "https://approve.example.org".into(),
            true.into(),
        ]),
    ];
    let keys = enrolment.keys.iter().map(|key| {
        Value::Array(vec![
            key.key.as_str().into(),
            blob(&key.key_id),
            blob(&key.public_key),
            Value::Array(key.mechanisms.iter().map(|word| word.as_str().into()).collect()),
            key.floor.word().into(),
            key.network.as_str().into(),
            key.path.as_str().into(),
            key.address.as_str().into(),
            key.xpub.as_str().into(),
        ])
    });
    let expected = vec![
        "countersign enrolment v1".into(),
        blob(&enrolment.hsm),
        blob(&enrolment.measurement),
        "system".into(),
        "acme".into(),
        "alice@example.org".into(),
        blob(&enrolment.device_nonce),
        enrolment.now_unix_secs.into(),
        blob(&enrolment.policy),
        Value::Array(factors),
        Value::Array(keys.collect()),
        blob(&enrolment.sealed),
    ];
    assert_eq!(elements(&enrolment), expected);
}

#[test]
fn an_enrolment_request_an_account_and_a_receipt_have_the_elements_of_the_document() {
    let request = elements(&samples::enrolment_request());
    assert_eq!((request.len(), &request[0]), (9, &"countersign enrolment request v1".into()));
    assert_eq!(request[6], blob(samples::public_key("device").as_bytes()));
    let (client, data) = samples::registration();
    assert_eq!(request[8], Value::Array(vec![Value::Array(vec![blob(&client), blob(&data)])]));
    let account = elements(&samples::account_view());
    assert_eq!((account.len(), &account[0]), (13, &"countersign account v1".into()));
    assert_eq!((&account[6], &account[9]), (&"confirmed".into(), &300.into()));
    let intent = vec![blob(&samples::INTENT), "open".into(), samples::EXPIRES.into()];
    assert_eq!(account[10], Value::Array(vec![Value::Array(intent)]));
    let last = &account[11].as_array().unwrap()[1].as_array().unwrap()[..3];
    assert_eq!(last, [300.into(), (samples::NOW - 700).into(), "sealed-code".into()]);
    let receipt = elements(&samples::receipt());
    assert_eq!((receipt.len(), &receipt[0]), (13, &"countersign receipt v1".into()));
    assert_eq!(receipt[10..], ["sealed-code".into(), 301.into(), (samples::NOW + 60).into()]);
}

#[test]
fn each_is_read_as_itself_and_refused_by_name_as_any_other() {
    fn kinds_that_read(bytes: &[u8]) -> Vec<&'static str> {
        fn try_one<S: Statement>(bytes: &[u8], read: &mut Vec<&'static str>) {
            match S::parse(bytes) {
                Ok(_) => read.push(S::KIND),
                Err(bad) => assert_eq!(bad, BadStatement::AnotherKind, "{}", S::KIND),
            }
        }
        let mut read = Vec::new();
        try_one::<Identity>(bytes, &mut read);
        try_one::<View>(bytes, &mut read);
        try_one::<EnrolmentRequest>(bytes, &mut read);
        try_one::<Enrolment>(bytes, &mut read);
        try_one::<AccountRequest>(bytes, &mut read);
        try_one::<AccountView>(bytes, &mut read);
        try_one::<Receipt>(bytes, &mut read);
        read
    }
    assert_eq!(kinds_that_read(&samples::identity().to_bytes()), [Identity::KIND]);
    assert_eq!(kinds_that_read(&samples::view().to_bytes()), [View::KIND]);
    assert_eq!(kinds_that_read(&samples::enrolment_request().to_bytes()), [EnrolmentRequest::KIND]);
    assert_eq!(kinds_that_read(&samples::enrolment().to_bytes()), [Enrolment::KIND]);
    assert_eq!(kinds_that_read(&samples::account_request().to_bytes()), [AccountRequest::KIND]);
    assert_eq!(kinds_that_read(&samples::account_view().to_bytes()), [AccountView::KIND]);
    assert_eq!(kinds_that_read(&samples::receipt().to_bytes()), [Receipt::KIND]);
}

#[test]
fn a_signature_is_checked_before_anything_is_read() {
    let (key, other) = (samples::signing_key("signing"), samples::public_key("root"));
    let garbage = Signed { statement: vec![0xff; 40], signature: key.sign(&[0xff; 40]) };
    let malformed = Err(BadSigned::Statement(MALFORMED));
    assert_eq!(garbage.verify::<View>(&key.public_key()), malformed);
    assert!(matches!(garbage.verify::<View>(&other), Err(BadSigned::Signature(_))));
}

#[test]
fn a_view_is_for_a_signature_or_a_payee_and_consistent() {
    let (sign, payee) = (samples::view(), samples::payee_view());
    assert_eq!((read(&sign), read(&payee)), (Ok(()), Ok(())));
    let others = Purpose::ALL.iter().filter(|purpose| !matches!(purpose, Purpose::Sign | Purpose::Payee));
    for purpose in others {
        assert_eq!(read(&View { purpose: *purpose, ..sign.clone() }), Err(MALFORMED));
        assert_eq!(read(&View { purpose: *purpose, ..payee.clone() }), Err(MALFORMED));
    }
    for bad in [
        View { key: String::new(), ..sign.clone() },
        View { key_id: Vec::new(), ..sign.clone() },
        View { key_id: vec![1; 15], ..sign.clone() },
        View { key_id: vec![1; 17], ..sign.clone() },
        View { mechanism: "payee".to_owned(), ..sign.clone() },
        View { digests: Vec::new(), ..sign.clone() },
        View { key: "alice/ethereum".to_owned(), ..payee.clone() },
        View { key_id: vec![1; 16], ..payee.clone() },
        View { mechanism: "ethereum".to_owned(), ..payee.clone() },
        View { digests: vec![[1; 32]], ..payee.clone() },
    ] {
        assert_eq!(read(&bad), Err(MALFORMED), "{bad:?}");
    }
}

#[test]
fn a_receipt_is_of_something_and_counted_from_1() {
    let receipt = samples::receipt();
    assert_eq!(read(&Receipt { counter: 1, ..receipt.clone() }), Ok(()));
    assert_eq!(read(&Receipt { counter: 0, ..receipt.clone() }), Err(MALFORMED));
    assert_eq!(read(&Receipt { digests: Vec::new(), ..receipt }), Err(MALFORMED));
}

#[test]
fn a_devices_id_is_that_of_its_key_and_keys_are_points() {
    let good = samples::enrolment().to_bytes();
    let (id, key) = (samples::public_key("device").device_id(), samples::public_key("device"));
    let changed = |part: &[u8]| {
        let at = good.windows(part.len()).position(|window| window == part).unwrap();
        let mut changed = good.clone();
        changed[at + part.len() - 1] ^= 1;
        changed
    };
    assert!(Enrolment::parse(&good).is_ok());
    assert_eq!(Enrolment::parse(&changed(&id)), Err(MALFORMED));
    assert_eq!(Enrolment::parse(&changed(key.as_bytes())), Err(MALFORMED));
}

#[test]
fn i14_texts_are_bounded() {
    let text = |bytes: usize| "a".repeat(bytes);
    let view = samples::view();
    let summary = |bytes: usize| read(&View { summary: text(bytes), ..view.clone() });
    assert_eq!((summary(SUMMARY_MAX_BYTES), summary(SUMMARY_MAX_BYTES + 1)), (Ok(()), Err(MALFORMED)));
    let tenant = |bytes: usize| read(&View { tenant: text(bytes), ..view.clone() });
    assert_eq!((tenant(NAME_MAX_BYTES), tenant(NAME_MAX_BYTES + 1)), (Ok(()), Err(MALFORMED)));
    let origin = |bytes: usize| {
        let mut enrolment = samples::enrolment();
        let Factor::Passkey { origin, .. } = &mut enrolment.factors[2] else { panic!("a passkey") };
        *origin = text(bytes);
        read(&enrolment)
    };
    assert_eq!((origin(ORIGIN_MAX_BYTES), origin(ORIGIN_MAX_BYTES + 1)), (Ok(()), Err(MALFORMED)));
    let headline = |bytes: usize| {
        let mut account = samples::account_view();
        account.history[0].headline = text(bytes);
        read(&account)
    };
    assert_eq!((headline(HEADLINE_MAX_BYTES), headline(HEADLINE_MAX_BYTES + 1)), (Ok(()), Err(MALFORMED)));
}

#[test]
fn i14_lists_are_bounded() {
    let view = samples::view();
    let digests = |count: usize| read(&View { digests: vec![[1; 32]; count], ..view.clone() });
    assert_eq!((digests(DIGESTS_MAX), digests(DIGESTS_MAX + 1)), (Ok(()), Err(MALFORMED)));
    let keys = |count: usize| {
        let mut account = samples::account_view();
        account.keys = vec![samples::keys().remove(1); count];
        read(&account)
    };
    assert_eq!((keys(KEYS_MAX), keys(KEYS_MAX + 1)), (Ok(()), Err(MALFORMED)));
    let factors = |count: usize| {
        let device = Factor::Device { key: samples::public_key("device") };
        read(&Enrolment { factors: vec![device; count], ..samples::enrolment() })
    };
    assert_eq!((factors(FACTORS_MAX), factors(FACTORS_MAX + 1)), (Ok(()), Err(MALFORMED)));
    let passkeys = |count: usize| {
        let mut request = samples::enrolment_request();
        request.passkeys = vec![request.passkeys.remove(0); count];
        read(&request)
    };
    assert_eq!((passkeys(PASSKEYS_MAX), passkeys(PASSKEYS_MAX + 1)), (Ok(()), Err(MALFORMED)));
    let shown = |history: usize, intents: usize| {
        let mut account = samples::account_view();
        account.history = vec![account.history.remove(0); history];
        account.intents = vec![account.intents.remove(0); intents];
        read(&account)
    };
    assert_eq!(shown(HISTORY_MAX, OPEN_INTENTS_MAX), Ok(()));
    assert_eq!(shown(HISTORY_MAX + 1, OPEN_INTENTS_MAX), Err(MALFORMED));
    assert_eq!(shown(HISTORY_MAX, OPEN_INTENTS_MAX + 1), Err(MALFORMED));
}

#[test]
fn i14_the_largest_statement_fits_and_a_larger_one_is_not_looked_at() {
    let mut receipt = samples::receipt();
    receipt.summary = "a".repeat(SUMMARY_MAX_BYTES);
    receipt.digests = vec![[1; 32]; DIGESTS_MAX];
    assert!(receipt.to_bytes().len() < STATEMENT_MAX_BYTES);
    assert_eq!(read(&receipt), Ok(()));
    assert_eq!(Receipt::parse(&vec![0x8d; STATEMENT_MAX_BYTES + 1]), Err(MALFORMED));
}

#[test]
fn the_digests_of_a_view_are_worked_out_from_what_it_shows() {
    let (sign, payee) = (samples::view(), samples::payee_view());
    assert_eq!(sign.approval_digest(), samples::approval_digest(Purpose::Sign));
    assert_eq!(payee.approval_digest(), samples::approval_digest(Purpose::Payee));
    assert_eq!(sign.decline_digest(), samples::approval_digest(Purpose::Decline));
    let other = View { summary: sign.summary.replace("1.5", "0.5"), ..sign.clone() };
    assert_ne!(other.approval_digest(), sign.approval_digest());
    assert_ne!(other.decline_digest(), sign.decline_digest());
}
