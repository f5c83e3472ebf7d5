//! Everything that PKCS#11 can be asked for with the API key alone.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{digest, operation, sign_act};
use countersign_tests::module::CKM_COUNTERSIGN_ETHEREUM;
use countersign_tests::raw::{Raw, return_value_name};
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{Act, Approval, ContextLogin, Sign};
use countersign_wire::names::KeyLabel;
use cryptoki_sys::{
    CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKA_ALLOWED_MECHANISMS, CKA_ALWAYS_AUTHENTICATE,
    CKA_COPYABLE, CKA_DERIVE, CKA_DESTROYABLE, CKA_EXTRACTABLE, CKA_ID, CKA_LABEL, CKA_MODIFIABLE,
    CKA_PRIVATE, CKA_SENSITIVE, CKA_SIGN, CKA_TOKEN, CKA_VALUE, CKA_WRAP, CKM_AES_CBC_PAD, CKM_AES_KEY_WRAP,
    CKM_AES_KEY_WRAP_PAD, CKM_ECDH1_COFACTOR_DERIVE, CKM_ECDH1_DERIVE, CKM_ECDSA, CKM_ECDSA_SHA256,
    CKM_EDDSA, CKM_RSA_PKCS, CKM_SHA_1_HMAC, CKM_SHA256_HMAC, CKU_SO, CKU_USER,
};
use std::collections::BTreeMap;

pub(crate) const FAMILY: Family = Family {
    name: "pkcs11",
    title: "The API key alone, through every function of PKCS#11 and natively",
    invariants: &["I1", "I7", "I8"],
    attacks: &[
        Attack {
            name: "no-approval",
            had: "nothing",
            does: "signs without a code: natively, in an operation that nobody logged in to, as if approved before, with the API key for a code",
            guards: &["approval"],
            faults: &[],
            on: On::Both,
            play: no_approval,
        },
        Attack {
            name: "every-function",
            had: "nothing",
            does: "reads the private value, wraps, derives, copies, changes attributes, sets PINs, saves states, asks for MACs, looks for other objects, and signs after all that",
            guards: &["approval"],
            faults: &[],
            on: On::Both,
            play: every_function,
        },
        Attack {
            name: "sequences",
            had: "nothing",
            does: "searches 3,000 calls in orders that a program makes up for one that leads to a signature",
            guards: &["approval"],
            faults: &[],
            on: On::Embedded,
            play: sequences,
        },
        Attack {
            name: "sequences-with-codes",
            had: "40 fresh codes of the user's, one after the other",
            does: "searches 4,000 calls in orders that a program makes up for one that makes two signatures of a code",
            guards: &["used-steps"],
            faults: &[],
            on: On::Embedded,
            play: sequences_with_codes,
        },
    ],
};

fn no_approval(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    tries.ask("a signature without a code", hsm.ask(sign_act(&alice.key.label, digest(1), None)));
    let prior = Sign { key: alice.key.label.clone(), payload: digest(1), approval: Some(Approval::Prior) };
    tries.ask("a signature as if approved before", hsm.ask(Act::Sign(prior)));
    let nobodys = operation(&alice.key, Digest);
    tries.ask(
        "a signature in an operation that nobody logged in to",
        hsm.context_sign(&alice, &nobodys, digest(1)),
    );
    let login = ContextLogin { operation: nobodys.clone(), approval: Approval::Prior };
    tries.ask("a login as if approved before", hsm.ask(Act::ContextLogin(login)));
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    let key = raw.find(session, &alice.key.label).expect("the key is found");
    raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
    tries.call("C_Sign without a login", raw.sign(session, &[1; 32], 64));
    raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
    tries.call("C_Login with the API key for a code", raw.context_login(session, hsm.api_key().expose()));
    raw.sign_update(session, &[1; 32]).expect("C_SignUpdate");
    tries.call("C_SignFinal without a login", raw.sign_final(session, 64));
}

/// Mechanisms that a token might know.
const MECHANISMS: &[CK_MECHANISM_TYPE] = &[
    CKM_AES_KEY_WRAP,
    CKM_AES_KEY_WRAP_PAD,
    CKM_AES_CBC_PAD,
    CKM_RSA_PKCS,
    CKM_ECDH1_DERIVE,
    CKM_ECDH1_COFACTOR_DERIVE,
    CKM_SHA_1_HMAC,
    CKM_SHA256_HMAC,
    CKM_ECDSA_SHA256,
    CKM_EDDSA,
    CKM_COUNTERSIGN_ETHEREUM,
];

/// What a key would have to say of itself to be let go.
const ATTRIBUTES: &[u64] = &[
    CKA_EXTRACTABLE,
    CKA_SENSITIVE,
    CKA_ALWAYS_AUTHENTICATE,
    CKA_MODIFIABLE,
    CKA_COPYABLE,
    CKA_DESTROYABLE,
    CKA_DERIVE,
    CKA_WRAP,
    CKA_SIGN,
    CKA_PRIVATE,
    CKA_TOKEN,
    CKA_LABEL,
    CKA_ID,
    CKA_ALLOWED_MECHANISMS,
    CKA_VALUE,
];

fn every_function(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let before = hsm.all_keys(hsm.api_key());
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    let key = raw.find(session, &alice.key.label).expect("the key is found");
    tries.call("the private value", raw.attribute(session, key, CKA_VALUE));
    for mechanism in MECHANISMS {
        tries.call("the key, wrapped", raw.wrap(session, *mechanism, key));
        tries.call("a key derived from it", raw.derive(session, *mechanism, key));
        tries.call("an operation of another mechanism", raw.sign_init(session, *mechanism, key));
    }
    for attribute in ATTRIBUTES {
        for value in [&[0][..], &[1], b"alice/second", &[]] {
            tries.call("an attribute, changed", raw.set_attribute(session, key, *attribute, value));
        }
    }
    tries.call("a copy", raw.copy(session, key));
    tries.call("the key destroyed", raw.destroy(session, key));
    tries.call("the token made anew", raw.init_token());
    tries.call("a user's PIN", raw.init_pin(session));
    tries.call("another PIN", raw.set_pin(session, hsm.api_key().expose().as_bytes(), b"12345678"));
    tries.call("a security officer's login", raw.login(session, CKU_SO, hsm.api_key().expose().as_bytes()));
    tries.call("a second user's login", raw.login(session, CKU_USER, b"000000"));
    raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
    tries.call("an operation's state", raw.operation_state(session));
    tries.call("a signature after all that", raw.sign(session, &[1; 32], 64));
    // What is there beside that key: nothing that MACs, wraps or opens.
    for name in ["alice", "wrapping", "countersign", "alice/totp", "root"] {
        let found = raw.find_labelled(session, name.as_bytes());
        tries.expect("an object that is no user's key", "nothing of that name", found.is_none());
    }
    tries.expect("a key that is not as it was", "keys as they were", hsm.all_keys(hsm.api_key()) == before);
}

/// A small generator of numbers that are the same in every run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).expect("short")]
    }
}

/// Two users' keys and some that there are not, over several sessions, and orders to call them in.
struct Search<'a> {
    raw: &'a Raw,
    sessions: Vec<CK_SESSION_HANDLE>,
    keys: Vec<CK_OBJECT_HANDLE>,
    codes: Vec<String>,
    numbers: Numbers,
    /// Which key each session's operation is of.
    opened: BTreeMap<CK_SESSION_HANDLE, CK_OBJECT_HANDLE>,
    signatures: usize,
}

impl<'a> Search<'a> {
    fn of(hsm: &'a Hsm, raw: &'a Raw, first: CK_SESSION_HANDLE, keys: [&KeyLabel; 2]) -> Self {
        let mut sessions = vec![first];
        sessions.extend((0..2).map(|_| raw.open_session().expect("C_OpenSession")));
        let find = |label: &KeyLabel| raw.find(sessions[0], label).expect("the key is found");
        let [first, second] = keys.map(find);
        let keys = vec![first, first, first, second, 0, u64::MAX];
        let codes = ["", "12345", "abcdef", "0000000", hsm.api_key().expose()].map(str::to_owned).to_vec();
        Self { raw, codes, sessions, keys, numbers: Numbers(7), opened: BTreeMap::new(), signatures: 0 }
    }

    /// One call, whichever.
    fn call(&mut self, tries: &mut Tries) {
        let raw = self.raw;
        let numbers = &mut self.numbers;
        let (session, key) = (numbers.one_of(&self.sessions), numbers.one_of(&self.keys));
        let data = numbers.one_of(&[&[1; 32][..], &[1; 32], &[2; 32], &[0; 31], &[]]);
        let room = numbers.one_of(&[64, 64, 200, 0, 63]);
        match numbers.below(18) {
            // Opening an operation, feeding it and ending it are no gain.
            0..=2 => {
                let mechanisms = [CKM_ECDSA, CKM_ECDSA, CKM_COUNTERSIGN_ETHEREUM, CKM_SHA_1_HMAC];
                if raw.sign_init(session, numbers.one_of(&mechanisms), key).is_ok() {
                    self.opened.insert(session, key);
                }
            }
            3 => _ = raw.sign_update(session, data),
            4 => _ = raw.sign_cancel(session),
            5 => _ = raw.sign_length(session, data),
            6 | 7 => self.signed(session, raw.sign(session, data, room), tries),
            8 => self.signed(session, raw.sign_final(session, room), tries),
            9..=13 => {
                let codes: Vec<&str> = self.codes.iter().map(String::as_str).collect();
                if let Err(value) = raw.context_login(session, numbers.one_of(&codes)) {
                    tries.refused(&return_value_name(value));
                }
            }
            14 => tries.call("the key, wrapped", raw.wrap(session, numbers.one_of(MECHANISMS), key)),
            15 => tries.call("a key derived from it", raw.derive(session, numbers.one_of(MECHANISMS), key)),
            16 => tries.call(
                "an attribute, changed",
                raw.set_attribute(session, key, numbers.one_of(ATTRIBUTES), &[1]),
            ),
            _ => tries.call("a copy", raw.copy(session, key)),
        }
    }

    /// A signature is counted; the length alone, where there is no room, is none. With the other user's key any is one too many.
    fn signed(&mut self, session: CK_SESSION_HANDLE, answer: Result<Vec<u8>, u64>, tries: &mut Tries) {
        match answer {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(_) if self.opened.get(&session) != self.keys.first() => {
                tries.got("a signature of another user's key");
            }
            Ok(_) => self.signatures += 1,
            Err(value) => tries.refused(&return_value_name(value)),
        }
    }
}

fn sequences(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let (alice, bob) = (hsm.user("alice", &[Digest]), hsm.user("bob", &[Ethereum]));
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    let mut search = Search::of(&hsm, &raw, session, [&alice.key.label, &bob.key.label]);
    for _ in 0..3000 {
        search.call(tries);
        if search.signatures > 0 {
            tries.got("a signature without a code");
            return;
        }
    }
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("no code was touched");
}

fn sequences_with_codes(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let bob = hsm.user("bob", &[Ethereum]);
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    let mut with_a_signature = 0;
    for round in 0..CODES {
        // A user for each code: used and wrong ones count, and would lock the account for the rounds that follow.
        let alice = hsm.user(&format!("alice-{round}"), &[Digest]);
        let mut search = Search::of(&hsm, &raw, session, [&alice.key.label, &bob.key.label]);
        search.numbers = Numbers(round);
        let code = alice.phone.code(hsm.now());
        let others = search.codes.clone();
        // So often that most logins are with it, and some with something else.
        search.codes = vec![code; 3 * others.len()];
        search.codes.extend(others);
        for _ in 0..100 {
            search.call(tries);
        }
        for session in &search.sessions {
            let _ = raw.sign_cancel(*session);
        }
        for session in &search.sessions[1..] {
            raw.close_session(*session).expect("C_CloseSession");
        }
        if search.signatures > 1 {
            tries.got("two signatures for one code");
            return;
        }
        with_a_signature += search.signatures;
    }
    assert!(with_a_signature > 5, "some orders are those of an honest client: {with_a_signature}");
}

/// Codes that a search is given, one after the other.
const CODES: u64 = 40;
