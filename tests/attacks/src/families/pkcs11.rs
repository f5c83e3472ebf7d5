//! Everything that PKCS#11 can be asked for with the API key alone.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{digest, operation, sign_act};
use countersign_tests::module::CKM_COUNTERSIGN_ETHEREUM;
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{Act, Approval, ContextLogin, Sign};
use cryptoki_sys::{
    CK_MECHANISM_TYPE, CKA_ALLOWED_MECHANISMS, CKA_ALWAYS_AUTHENTICATE, CKA_COPYABLE, CKA_DERIVE,
    CKA_DESTROYABLE, CKA_EXTRACTABLE, CKA_ID, CKA_LABEL, CKA_MODIFIABLE, CKA_PRIVATE, CKA_SENSITIVE,
    CKA_SIGN, CKA_TOKEN, CKA_VALUE, CKA_WRAP, CKM_AES_CBC_PAD, CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD,
    CKM_ECDH1_COFACTOR_DERIVE, CKM_ECDH1_DERIVE, CKM_ECDSA, CKM_ECDSA_SHA256, CKM_EDDSA, CKM_RSA_PKCS,
    CKM_SHA_1_HMAC, CKM_SHA256_HMAC, CKU_SO, CKU_USER,
};

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

fn sequences(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let (alice, bob) = (hsm.user("alice", &[Digest]), hsm.user("bob", &[Ethereum]));
    let raw = hsm.raw();
    let sessions: Vec<_> = std::iter::once(raw.session(hsm.api_key()))
        .chain((0..3).map(|_| raw.open_session().expect("C_OpenSession")))
        .collect();
    let keys: Vec<_> = [&alice, &bob]
        .into_iter()
        .map(|user| raw.find(sessions[0], &user.key.label).expect("the key is found"))
        .chain([0, 1, u64::MAX])
        .collect();
    let mut numbers = Numbers(7);
    for _ in 0..3000 {
        let (session, key) = (numbers.one_of(&sessions), numbers.one_of(&keys));
        let data = numbers.one_of(&[&[1; 32][..], &[2; 32], &[0; 31], &[]]);
        let room = numbers.one_of(&[64, 0, 63, 200]);
        match numbers.below(14) {
            // Opening an operation, feeding it and ending it are no gain.
            0..=2 => drop(raw.sign_init(
                session,
                numbers.one_of(&[CKM_ECDSA, CKM_COUNTERSIGN_ETHEREUM, CKM_SHA_1_HMAC]),
                key,
            )),
            3 => drop(raw.sign_update(session, data)),
            4 => drop(raw.sign_cancel(session)),
            5 => drop(raw.sign_length(session, data)),
            6 | 7 => signature(tries, raw.sign(session, data, room)),
            8 => signature(tries, raw.sign_final(session, room)),
            9 => {
                let code = numbers.one_of(&["", "12345", "abcdef", "0000000", hsm.api_key().expose()]);
                tries.call("a login", raw.context_login(session, code));
            }
            10 => tries.call("the key, wrapped", raw.wrap(session, numbers.one_of(MECHANISMS), key)),
            11 => tries.call("a key derived from it", raw.derive(session, numbers.one_of(MECHANISMS), key)),
            12 => tries.call(
                "an attribute, changed",
                raw.set_attribute(session, key, numbers.one_of(ATTRIBUTES), &[1]),
            ),
            _ => tries.call("a copy", raw.copy(session, key)),
        }
        if !tries.got.is_empty() {
            return;
        }
    }
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("no code was touched");
}

/// The length alone, where there is no room, is no signature.
fn signature(tries: &mut Tries, answer: Result<Vec<u8>, u64>) {
    match answer {
        Ok(bytes) if bytes.is_empty() => tries.refused("nothing"),
        other => tries.call("a signature", other),
    }
}
