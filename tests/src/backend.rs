//! What a custodian's backend asks an HSM natively, and the users that it enrols.

use crate::hsm::Hsm;
use crate::phone::{Phone, STEP_SECS};
use alloy_primitives::Address;
use countersign_wire::client::{
    AccountInfo, Act, Answer, Approval, ContextLogin, ContextSign, CreateKey, Enroll, Enrolled, KeyInfo,
    KeyPage, KeyPlan, KeyQuery, Mechanism, Operation, Payload, RequestId, Sign, Signed, TotpParameters,
    TwoCodes,
};
use countersign_wire::names::{AccountName, ApiKey, KeyLabel, KeyName, TypedCode};
use countersign_wire::reason::{Reason, Refusal};
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{Signature, VerifyingKey};
use serde_bytes::ByteArray;

/// An enrolled user, phone in hand.
#[derive(Clone, Debug)]
pub struct User {
    /// The account.
    pub account: AccountName,
    /// The authenticator.
    pub phone: Phone,
    /// The account's first key.
    pub key: KeyInfo,
    /// The tenant's API key.
    pub api_key: ApiKey,
}

/// The name of a user's first key.
pub const FIRST_KEY: &str = "first";

/// An account's name.
pub fn account(name: &str) -> AccountName {
    AccountName::parse(name).expect("tests use good names")
}

/// A key's full name.
pub fn label(text: &str) -> KeyLabel {
    text.parse().expect("tests use good labels")
}

/// Something typed as a code.
pub fn typed(code: &str) -> TypedCode {
    TypedCode::new(code).expect("tests type at most 64 bytes")
}

/// A digest to sign, told from others by its number.
pub fn digest(number: u8) -> Payload {
    Payload::Digest(ByteArray::new([number; 32]))
}

/// A request to sign with `key`, approved by `code`.
pub fn sign_act(key: &KeyLabel, payload: Payload, code: Option<&str>) -> Act {
    let approval = code.map(|code| Approval::Code(typed(code)));
    Act::Sign(Sign { key: key.clone(), payload, approval })
}

/// A request to enrol an account with its first key.
pub fn enroll_act(name: &str, mechanisms: &[Mechanism]) -> Act {
    Act::Enroll(Enroll {
        account: account(name),
        totp: TotpParameters::default(),
        key: KeyName::parse(FIRST_KEY).expect("the name is good"),
        plan: KeyPlan::of(mechanisms.to_vec()),
    })
}

/// Two codes of an account.
pub fn two_codes(account: &AccountName, first: &str, second: &str) -> TwoCodes {
    TwoCodes { account: account.clone(), first: typed(first), second: typed(second) }
}

/// Why a request was refused; panics if it was not.
#[track_caller]
pub fn reason<T: core::fmt::Debug>(result: Result<T, Refusal>) -> Reason {
    result.expect_err("the request is refused").reason
}

/// Fails unless a request was refused because the HSM cannot serve: its store failed, or it stopped because of that.
#[track_caller]
pub fn assert_cannot_serve<T: core::fmt::Debug>(result: Result<T, Refusal>) {
    let reason = reason(result);
    let cannot_serve = [Reason::StoreRefused, Reason::HsmNotReady, Reason::HsmUnreachable];
    assert!(cannot_serve.contains(&reason), "{reason}");
}

impl User {
    /// The full name of another key of this user.
    pub fn key_named(&self, name: &str) -> KeyLabel {
        label(&format!("{}/{name}", self.account))
    }
}

impl Hsm {
    /// Asks with the API key of [`crate::hsm::TENANT`].
    pub fn ask(&self, act: Act) -> Result<Answer, Refusal> {
        self.client.call(Some(self.api_key()), act)
    }

    /// Opens an enrolment under a tenant's API key.
    pub fn enroll(&self, api_key: &ApiKey, act: Act) -> Result<User, Refusal> {
        let answer = self.client.call(Some(api_key), act)?;
        let Answer::Enrolled(enrolled) = answer else { panic!("not an enrolment: {answer:?}") };
        let Enrolled { otpauth, key, .. } = &enrolled;
        let phone = Phone::scan(otpauth);
        Ok(User { account: key.label.account.clone(), phone, key: key.clone(), api_key: api_key.clone() })
    }

    /// Shows the codes of the two time steps before the present one: those of the present and the next stay fresh.
    pub fn confirm(&self, user: &User) -> Result<AccountInfo, Refusal> {
        self.confirm_at(user, self.now())
    }

    /// The same for whoever knows the time, in seconds since 1970.
    pub fn confirm_at(&self, user: &User, now: u64) -> Result<AccountInfo, Refusal> {
        let code = |steps| user.phone.code_steps_off(now, steps);
        let codes = two_codes(&user.account, &code(-2), &code(-1));
        account_of(self.client.call(Some(&user.api_key), Act::Confirm(codes)))
    }

    /// An enrolled and confirmed user of [`crate::hsm::TENANT`] whose first key is for these mechanisms.
    pub fn user(&self, name: &str, mechanisms: &[Mechanism]) -> User {
        self.user_of(self.api_key(), name, mechanisms)
    }

    /// An enrolled and confirmed user of any tenant.
    pub fn user_of(&self, api_key: &ApiKey, name: &str, mechanisms: &[Mechanism]) -> User {
        let user = self.enroll(api_key, enroll_act(name, mechanisms)).expect("a new account can be enrolled");
        assert!(self.confirm(&user).expect("two right codes confirm").confirmed);
        user
    }

    /// A further key, made by the keystore.
    pub fn create_key(&self, user: &User, name: &str, mechanisms: &[Mechanism]) -> Result<KeyInfo, Refusal> {
        self.create_key_as(user, name, KeyPlan::of(mechanisms.to_vec()))
    }

    /// A further key of any kind.
    pub fn create_key_as(&self, user: &User, name: &str, plan: KeyPlan) -> Result<KeyInfo, Refusal> {
        let act = Act::CreateKey(CreateKey { label: user.key_named(name), plan });
        match self.client.call(Some(&user.api_key), act)? {
            Answer::Key(key) => Ok(key),
            other => panic!("not a key: {other:?}"),
        }
    }

    /// Signs with a user's first key.
    pub fn sign(&self, user: &User, payload: Payload, code: &str) -> Result<Signed, Refusal> {
        self.sign_with(user, &user.key.label, payload, Some(code))
    }

    /// Signs with any key under the user's API key.
    pub fn sign_with(
        &self,
        user: &User,
        key: &KeyLabel,
        payload: Payload,
        code: Option<&str>,
    ) -> Result<Signed, Refusal> {
        signed(self.client.call(Some(&user.api_key), sign_act(key, payload, code)))
    }

    /// Signs under a chosen request id.
    pub fn sign_as(
        &self,
        id: RequestId,
        user: &User,
        payload: Payload,
        code: &str,
    ) -> Result<Signed, Refusal> {
        let act = sign_act(&user.key.label, payload, Some(code));
        signed(self.client.call_with_id(id, Some(&user.api_key), act))
    }

    /// Two codes to reopen a locked account.
    pub fn unlock(&self, user: &User, first: &str, second: &str) -> Result<AccountInfo, Refusal> {
        let act = Act::Unlock(two_codes(&user.account, first, second));
        account_of(self.client.call(Some(&user.api_key), act))
    }

    /// The account as the backend may see it.
    pub fn show(&self, user: &User) -> Result<AccountInfo, Refusal> {
        account_of(self.client.call(Some(&user.api_key), Act::ShowAccount(user.account.clone())))
    }

    /// Keys under an API key.
    pub fn find_keys(&self, api_key: &ApiKey, query: KeyQuery) -> Result<KeyPage, Refusal> {
        match self.client.call(Some(api_key), Act::FindKeys(query))? {
            Answer::Keys(page) => Ok(page),
            other => panic!("not keys: {other:?}"),
        }
    }

    /// All keys under an API key.
    pub fn all_keys(&self, api_key: &ApiKey) -> Vec<KeyInfo> {
        let (mut keys, mut from) = (Vec::new(), None);
        loop {
            let page = self.find_keys(api_key, KeyQuery::All(from)).expect("keys can be listed");
            keys.extend(page.keys);
            from = page.next;
            if from.is_none() {
                return keys;
            }
        }
    }

    /// What the PKCS#11 module asks for `C_Login(CKU_CONTEXT_SPECIFIC)`.
    pub fn context_login(&self, user: &User, operation: &Operation, code: &str) -> Result<(), Refusal> {
        let act = Act::ContextLogin(ContextLogin {
            operation: operation.clone(),
            approval: Approval::Code(typed(code)),
        });
        self.client.call(Some(&user.api_key), act).map(|answer| assert_eq!(answer, Answer::LoggedIn))
    }

    /// What the PKCS#11 module asks for `C_Sign`.
    pub fn context_sign(
        &self,
        user: &User,
        operation: &Operation,
        payload: Payload,
    ) -> Result<Signed, Refusal> {
        let act = Act::ContextSign(ContextSign { operation: operation.clone(), payload });
        signed(self.client.call(Some(&user.api_key), act))
    }
}

/// A fresh operation, as `C_SignInit` begins it.
pub fn operation(key: &KeyInfo, mechanism: Mechanism) -> Operation {
    Operation { id: countersign_client::new_request_id(), key: key.id, mechanism }
}

fn signed(answer: Result<Answer, Refusal>) -> Result<Signed, Refusal> {
    match answer? {
        Answer::Signed(signed) => Ok(signed),
        other => panic!("not a signature: {other:?}"),
    }
}

fn account_of(answer: Result<Answer, Refusal>) -> Result<AccountInfo, Refusal> {
    match answer? {
        Answer::Account(info) => Ok(info),
        other => panic!("not an account: {other:?}"),
    }
}

/// Fails unless `signature` (r‖s) is a low-S signature of `key` over `digest`.
#[track_caller]
pub fn assert_signed_by(key: &KeyInfo, digest: &[u8], signature: &[u8]) {
    let verifying = VerifyingKey::from_sec1_bytes(&key.public_key[..]).expect("the public key is a point");
    let signature = Signature::from_slice(signature).expect("a signature is r and s");
    verifying.verify_prehash(digest, &signature).expect("the signature verifies under the key's public key");
    assert_eq!(signature.normalize_s(), signature, "s is in the lower half");
}

/// The address of a key, computed from its public key; it is the one that the HSM names.
#[track_caller]
pub fn address(key: &KeyInfo) -> Address {
    let address = Address::from_raw_public_key(&key.public_key[1..]);
    assert_eq!(address.to_checksum(None), key.ethereum_address);
    address
}

/// How far a test moves the clock for a fresh code.
pub const ONE_STEP: u64 = STEP_SECS;
