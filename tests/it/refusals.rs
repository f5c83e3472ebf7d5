//! What gets refused, and how: each refusal natively, on the command line and through the module, with its stable
//! reason, exit code and return value; and what it leaves untouched.

use countersign_tests::backend::{User, digest, reason, sign_act};
use countersign_tests::cli;
use countersign_tests::module::{
    CKM_COUNTERSIGN_ETHEREUM, CKM_COUNTERSIGN_MESSAGE, CKM_COUNTERSIGN_PSBT, CKM_COUNTERSIGN_TYPED_DATA,
};
use countersign_tests::raw::Raw;
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded, transactions};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{AccountInfo, Payload};
use countersign_wire::names::{ApiKey, KeyLabel};
use countersign_wire::reason::Reason;
use cryptoki_sys::{
    CK_RV, CKM_ECDSA, CKR_DATA_INVALID, CKR_DEVICE_ERROR, CKR_FUNCTION_REJECTED, CKR_KEY_HANDLE_INVALID,
    CKR_MECHANISM_INVALID, CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LOCKED, CKR_USER_PIN_NOT_INITIALIZED,
    CKU_USER,
};
use data_encoding::HEXLOWER;

on_both_keystores!(refuses_a_wrong_code, refuses_a_used_code);
on_embedded!(
    refuses_an_older_code,
    refuses_a_malformed_code,
    refuses_an_unknown_account,
    refuses_an_unknown_key,
    i9_refuses_another_tenants_key_like_one_that_is_not_there,
    refuses_an_unconfirmed_account,
    refuses_a_locked_account,
    i15_refuses_a_blind_digest_on_an_ethereum_key,
    i15_refuses_calldata_on_a_key_that_may_not_sign_blind,
    refuses_a_transaction_from_before_eip_155,
    refuses_transaction_types_it_does_not_know,
    refuses_bytes_that_are_no_canonical_transaction,
    refuses_an_oversized_transaction,
    refuses_a_wrong_api_key,
    refuses_when_the_hsm_is_down,
    the_same_refusals_come_after_a_failed_one,
);

/// A user with two keys, and an HSM with two tenants.
struct Stage {
    hsm: Hsm,
    alice: User,
    raw: Raw,
}

impl Stage {
    fn set(keystore: Keystore) -> Self {
        let mut hsm = Hsm::init(keystore, &["default", "other"]);
        hsm.run();
        let alice = hsm.user("alice", &[Ethereum]);
        hsm.create_key(&alice, "blind", &[Digest]).expect("a further key");
        let raw = hsm.raw();
        Self { hsm, alice, raw }
    }

    fn blind(&self) -> KeyLabel {
        self.alice.key_named("blind")
    }

    fn shown(&self) -> AccountInfo {
        self.hsm.show(&self.alice).expect("alice is there")
    }

    fn code(&self) -> String {
        self.alice.phone.code(self.hsm.now())
    }

    /// Asks for the signature natively, on the command line and through the module; each must refuse.
    #[track_caller]
    fn refuses(&self, api_key: &ApiKey, key: &KeyLabel, payload: &Payload, code: &str, how: (Reason, CK_RV)) {
        let (expected, return_value) = how;
        let native = self.hsm.client.call(Some(api_key), sign_act(key, payload.clone(), Some(code)));
        assert_eq!(reason(native), expected);
        cli_sign(&self.hsm, api_key, key, payload, code).refused(expected);
        assert_eq!(self.module_sign(api_key, key, payload, code), Err(return_value));
    }

    /// The same for the tenant of alice.
    #[track_caller]
    fn refuses_alice(&self, key: &KeyLabel, payload: &Payload, code: &str, how: (Reason, CK_RV)) {
        self.refuses(self.hsm.api_key(), key, payload, code, how);
    }

    /// Init, Login, Sign; the first return value that is not `CKR_OK`. A key that is not found has an invalid handle.
    fn module_sign(
        &self,
        api_key: &ApiKey,
        key: &KeyLabel,
        payload: &Payload,
        code: &str,
    ) -> Result<Vec<u8>, CK_RV> {
        let session = self.raw.open_session()?;
        let outcome = self.raw.login(session, CKU_USER, api_key.expose().as_bytes()).and_then(|()| {
            let object = self.raw.find(session, key).ok_or(CKR_KEY_HANDLE_INVALID)?;
            let (kind, data) = match payload {
                Payload::Digest(digest) => (CKM_ECDSA, digest.as_slice()),
                Payload::Ethereum(transaction) => (CKM_COUNTERSIGN_ETHEREUM, transaction.as_slice()),
                Payload::TypedData(data) => (CKM_COUNTERSIGN_TYPED_DATA, data.as_slice()),
                Payload::Message(text) => (CKM_COUNTERSIGN_MESSAGE, text.as_slice()),
                Payload::Psbt(psbt) => (CKM_COUNTERSIGN_PSBT, psbt.as_slice()),
            };
            self.raw.sign_init(session, kind, object)?;
            self.raw.context_login(session, code)?;
            self.raw.sign(session, data, 64)
        });
        self.raw.close_session(session)?;
        outcome
    }

    /// The next good code still signs, natively and through the module.
    #[track_caller]
    fn goes_on(&self) {
        let transfer = transactions::payload(&transactions::transfer(1));
        let now = self.hsm.advance(30);
        self.hsm
            .sign(&self.alice, transfer.clone(), &self.alice.phone.code(now))
            .expect("the next code signs");
        let code = self.alice.phone.code_steps_off(now, 1);
        self.module_sign(self.hsm.api_key(), &self.alice.key.label, &transfer, &code)
            .expect("and the one after it");
    }
}

fn cli_sign(hsm: &Hsm, api_key: &ApiKey, key: &KeyLabel, payload: &Payload, code: &str) -> cli::Ended {
    let mut command = cli::command(hsm);
    command.env("COUNTERSIGN_API_KEY", api_key.expose());
    command.args(["sign", "--json", "--key", &key.to_string(), "--code", code]);
    let (option, input) = match payload {
        Payload::Digest(digest) => {
            return cli::run_command(command.args(["--digest", &HEXLOWER.encode(digest.as_slice())]), None);
        }
        Payload::Ethereum(transaction) => ("--ethereum", HEXLOWER.encode(transaction).into_bytes()),
        Payload::TypedData(data) => ("--typed-data", data.to_vec()),
        Payload::Message(text) => ("--message", text.to_vec()),
        Payload::Psbt(psbt) => ("--psbt", psbt.to_vec()),
    };
    command.args([option, "-"]).stdin(std::process::Stdio::piped());
    cli::run_command(&mut command, Some(&input))
}

fn transfer() -> Payload {
    transactions::payload(&transactions::transfer(0))
}

fn raw_transaction(bytes: &[u8]) -> Payload {
    Payload::Ethereum(bytes.to_vec().into())
}

fn refuses_a_wrong_code(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let wrong = stage.alice.phone.wrong_code(stage.hsm.now());
    stage.refuses_alice(&stage.alice.key.label, &transfer(), &wrong, (Reason::WrongCode, CKR_PIN_INCORRECT));
    let info = stage.shown();
    assert_eq!((info.consecutive_failures, info.failures_left), (3, 7), "each of the three was counted");
    stage.goes_on();
}

fn refuses_a_used_code(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let code = stage.code();
    stage.hsm.sign(&stage.alice, transfer(), &code).expect("the first time it signs");
    stage.refuses_alice(&stage.alice.key.label, &transfer(), &code, (Reason::CodeUsed, CKR_PIN_INCORRECT));
    stage.goes_on();
}

fn refuses_an_older_code(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let now = stage.hsm.advance(60);
    let [older, newer] = [-1, 0].map(|steps| stage.alice.phone.code_steps_off(now, steps));
    stage.hsm.sign(&stage.alice, transfer(), &newer).expect("the newer one signs");
    stage.refuses_alice(&stage.alice.key.label, &transfer(), &older, (Reason::CodeUsed, CKR_PIN_INCORRECT));
    stage.goes_on();
}

fn refuses_a_malformed_code(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let before = stage.shown();
    for malformed in ["12345", "1234567", "12345678", "12 456", "abcdef", "１２３４５６"] {
        let how = (Reason::MalformedCode, CKR_PIN_INVALID);
        stage.refuses_alice(&stage.alice.key.label, &transfer(), malformed, how);
    }
    assert_eq!(stage.shown(), before, "nothing was counted");
    stage.goes_on();
}

fn refuses_an_unknown_account(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let before = stage.shown();
    let key = countersign_tests::backend::label("nobody/first");
    stage.refuses_alice(&key, &transfer(), &stage.code(), (Reason::UnknownAccount, CKR_KEY_HANDLE_INVALID));
    assert_eq!(stage.shown(), before);
    stage.goes_on();
}

fn refuses_an_unknown_key(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let before = stage.shown();
    let key = stage.alice.key_named("nothing");
    stage.refuses_alice(&key, &transfer(), &stage.code(), (Reason::UnknownKey, CKR_KEY_HANDLE_INVALID));
    assert_eq!(stage.shown(), before, "and no code was burned");
    stage.goes_on();
}

fn i9_refuses_another_tenants_key_like_one_that_is_not_there(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let before = stage.shown();
    let other = stage.hsm.api_key_of("other").clone();
    let how = (Reason::UnknownAccount, CKR_KEY_HANDLE_INVALID);
    stage.refuses(&other, &stage.alice.key.label, &transfer(), &stage.code(), how);
    assert_eq!(stage.shown(), before);
    stage.goes_on();
}

fn refuses_an_unconfirmed_account(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let act = countersign_tests::backend::enroll_act("bob", &[Ethereum]);
    let bob = stage.hsm.enroll(stage.hsm.api_key(), act).expect("enrols");
    let code = bob.phone.code(stage.hsm.now());
    stage.refuses_alice(
        &bob.key.label,
        &transfer(),
        &code,
        (Reason::NotConfirmed, CKR_USER_PIN_NOT_INITIALIZED),
    );
    stage.hsm.confirm(&bob).expect("nothing was lost");
    stage.hsm.sign(&bob, transfer(), &code).expect("not even the code");
    stage.goes_on();
}

fn refuses_a_locked_account(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let wrong = stage.alice.phone.wrong_code(stage.hsm.now());
    for _ in 0..5 {
        assert_eq!(reason(stage.hsm.sign(&stage.alice, transfer(), &wrong)), Reason::WrongCode);
    }
    let before = stage.shown();
    stage.refuses_alice(&stage.alice.key.label, &transfer(), &stage.code(), (Reason::Locked, CKR_PIN_LOCKED));
    let json = cli_sign(&stage.hsm, stage.hsm.api_key(), &stage.alice.key.label, &transfer(), &wrong);
    assert_eq!(json.refused(Reason::Locked)["retry_after_secs"], 300);
    assert_eq!(stage.shown(), before);
    stage.hsm.advance(300);
    stage.goes_on();
}

fn i15_refuses_a_blind_digest_on_an_ethereum_key(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let before = stage.shown();
    let how = (Reason::MechanismNotAllowed, CKR_MECHANISM_INVALID);
    stage.refuses_alice(&stage.alice.key.label, &digest(1), &stage.code(), how);
    stage.refuses_alice(&stage.blind(), &transfer(), &stage.code(), how);
    assert_eq!(stage.shown(), before, "and no code was burned: through the module C_SignInit refuses");
    stage.hsm.sign(&stage.alice, transfer(), &stage.code()).expect("the very same code signs");
    stage.goes_on();
}

fn i15_refuses_calldata_on_a_key_that_may_not_sign_blind(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let mut call = transactions::transfer(0);
    call.input = vec![0xa9, 0x05, 0x9c, 0xbb].into();
    let mut creation = transactions::transfer(0);
    creation.to = alloy_primitives::TxKind::Create;
    for blind in [call, creation] {
        stage.hsm.advance(60);
        let payload = transactions::payload(&blind);
        let how = (Reason::PolicyRefused, CKR_FUNCTION_REJECTED);
        stage.refuses_alice(&stage.alice.key.label, &payload, &stage.code(), how);
        assert_eq!(stage.shown().consecutive_failures, 0);
        // Natively policy is asked first and no code is burned; through the module the code came first.
        assert_eq!(reason(stage.hsm.sign(&stage.alice, transfer(), &stage.code())), Reason::CodeUsed);
        stage.goes_on();
    }
}

fn refuses_a_transaction_from_before_eip_155(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let how = (Reason::ChainIdMissing, CKR_DATA_INVALID);
    let old = transactions::payload(&transactions::legacy_transfer(None));
    stage.refuses_alice(&stage.alice.key.label, &old, &stage.code(), how);
    stage.hsm.advance(60);
    let mut zero = transactions::transfer(0);
    zero.chain_id = 0;
    stage.refuses_alice(&stage.alice.key.label, &transactions::payload(&zero), &stage.code(), how);
    stage.goes_on();
}

fn refuses_transaction_types_it_does_not_know(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let fields = transactions::unsigned(&transactions::transfer(0))[1..].to_vec();
    for kind in [0x00, 0x05, 0x7f] {
        let transaction = [&[kind], &fields[..]].concat();
        let how = (Reason::UnsupportedTransaction, CKR_DATA_INVALID);
        stage.refuses_alice(&stage.alice.key.label, &raw_transaction(&transaction), &stage.code(), how);
        stage.hsm.advance(60);
    }
    stage.goes_on();
}

fn refuses_bytes_that_are_no_canonical_transaction(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let good = transactions::unsigned(&transactions::transfer(0));
    let trailing = [&good[..], &[0]].concat();
    // The list's header says one byte more than there is; the list's length in two bytes where one does.
    let truncated = good[..good.len() - 1].to_vec();
    let long_form = [&[0x02, 0xf8, good[1] - 0xc0], &good[2..]].concat();
    let mut leading_zero = transactions::unsigned(&transactions::legacy_transfer(Some(1)));
    // nonce 9 (one byte) becomes 0x8109, which is not the shortest form.
    leading_zero[0] += 1;
    leading_zero.insert(1, 0x81);
    for transaction in [trailing, truncated, long_form, leading_zero, vec![0x02], vec![0x80], vec![0xc0]] {
        let how = (Reason::MalformedTransaction, CKR_DATA_INVALID);
        let shown = HEXLOWER.encode(&transaction);
        let before = stage.shown();
        let native = stage.hsm.sign(&stage.alice, raw_transaction(&transaction), &stage.code());
        assert_eq!(reason(native), Reason::MalformedTransaction, "{shown}");
        assert_eq!(stage.shown(), before, "{shown}");
        stage.refuses_alice(&stage.alice.key.label, &raw_transaction(&transaction), &stage.code(), how);
        stage.hsm.advance(60);
    }
    assert_eq!(stage.shown().consecutive_failures, 0);
    stage.goes_on();
}

fn refuses_an_oversized_transaction(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let mut huge = transactions::transfer(0);
    huge.input = vec![1; 128 * 1024].into();
    let payload = transactions::payload(&huge);
    let before = stage.shown();
    assert_eq!(reason(stage.hsm.sign(&stage.alice, payload, &stage.code())), Reason::MalformedTransaction);
    huge.input = vec![1; 256 * 1024].into();
    let payload = transactions::payload(&huge);
    assert_eq!(reason(stage.hsm.sign(&stage.alice, payload, &stage.code())), Reason::MalformedRequest);
    assert_eq!(stage.shown(), before);
    stage.goes_on();
}

fn refuses_a_wrong_api_key(keystore: Keystore) {
    let stage = Stage::set(keystore);
    let before = stage.shown();
    let good = stage.hsm.api_key().expose().to_owned();
    let turned = if good.as_bytes()[10] == b'0' { "1" } else { "0" };
    let changed = format!("{}{turned}{}", &good[..10], &good[11..]);
    let (secret, _) = good["cs1_".len()..].split_once('_').expect("cs1_, hex, _ and the tenant");
    let moved = format!("cs1_{secret}_other");
    let nobody = format!("cs1_{secret}_nobody");
    for wrong in [changed, moved, nobody] {
        let wrong = ApiKey::parse(&wrong).expect("it has the form of one");
        let how = (Reason::WrongApiKey, CKR_PIN_INCORRECT);
        stage.refuses(&wrong, &stage.alice.key.label, &transfer(), &stage.code(), how);
    }
    let act = sign_act(&stage.alice.key.label, transfer(), Some(&stage.code()));
    assert_eq!(reason(stage.hsm.client.call(None, act)), Reason::WrongApiKey, "none at all");
    assert_eq!(stage.shown(), before);
    stage.goes_on();
}

fn refuses_when_the_hsm_is_down(keystore: Keystore) {
    let mut stage = Stage::set(keystore);
    let (code, before) = (stage.code(), stage.shown());
    let session = stage.raw.session(stage.hsm.api_key());
    stage.hsm.stop();
    let native = stage.hsm.sign(&stage.alice, transfer(), &code);
    assert_eq!(reason(native), Reason::HsmUnreachable);
    cli_sign(&stage.hsm, stage.hsm.api_key(), &stage.alice.key.label, &transfer(), &code)
        .refused(Reason::HsmUnreachable);
    cli::run(&stage.hsm, &["status"]).refused(Reason::HsmUnreachable);
    assert_eq!(stage.raw.random(session, 8), Err(CKR_DEVICE_ERROR));
    stage.raw.close_session(session).expect("a session can be closed without the HSM");
    stage.hsm.run();
    assert_eq!(stage.shown(), before);
    stage.hsm.sign(&stage.alice, transfer(), &code).expect("the same code signs once it is back");
    stage.goes_on();
}

fn the_same_refusals_come_after_a_failed_one(keystore: Keystore) {
    // A refusal leaves nothing behind that another request could stumble over.
    let stage = Stage::set(keystore);
    for _ in 0..3 {
        let how = (Reason::UnknownKey, CKR_KEY_HANDLE_INVALID);
        stage.refuses_alice(&stage.alice.key_named("nothing"), &transfer(), &stage.code(), how);
        let how = (Reason::MalformedCode, CKR_PIN_INVALID);
        stage.refuses_alice(&stage.alice.key.label, &transfer(), "nonsense", how);
        stage.goes_on();
        stage.hsm.advance(60);
    }
}
