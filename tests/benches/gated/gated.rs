//! An HSM with many users, signed for through the module and natively.

use crate::rounds::{Contender, Round, measure};
use countersign_tests::backend::{digest, enroll_act};
use countersign_tests::raw::Raw;
use countersign_tests::{Hsm, Keystore, User};
use countersign_wire::client::Mechanism;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKM_ECDSA};

/// How the backend asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Init, Login, Sign through the module.
    Pkcs11,
    /// One request of the native client.
    Native,
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::Pkcs11, Self::Native];
}

/// Threads that enrol users before anything is measured.
const ENROLLERS: usize = 16;

/// An HSM, its users, and the module with every user's key found.
pub(crate) struct Bench {
    hsm: Hsm,
    raw: Raw,
    users: Vec<(User, CK_OBJECT_HANDLE)>,
    sessions: Vec<CK_SESSION_HANDLE>,
}

impl Bench {
    pub(crate) fn prepare(keystore: Keystore, accounts: usize) -> Self {
        eprintln!("enrolling {accounts} users on {}", keystore.word());
        let hsm = Hsm::start(keystore);
        let users = enroll(&hsm, accounts);
        let raw = hsm.raw();
        let first = raw.session(hsm.api_key());
        let users = users
            .into_iter()
            .map(|user| {
                let key = raw.find(first, &user.key.label).expect("every user's key is found");
                (user, key)
            })
            .collect();
        let most = *crate::THREADS.iter().max().expect("some threads are measured");
        let others = (1..most).map(|_| raw.open_session().expect("C_OpenSession"));
        let sessions = [first].into_iter().chain(others).collect();
        Self { hsm, raw, users, sessions }
    }
}

fn enroll(hsm: &Hsm, accounts: usize) -> Vec<User> {
    let numbers: Vec<usize> = (0..accounts).collect();
    std::thread::scope(|scope| {
        let enrollers: Vec<_> = numbers
            .chunks(accounts.div_ceil(ENROLLERS))
            .map(|numbers| {
                scope.spawn(move || numbers.iter().map(|number| user(hsm, *number)).collect::<Vec<_>>())
            })
            .collect();
        enrollers.into_iter().flat_map(|enroller| enroller.join().expect("every user is enrolled")).collect()
    })
}

fn user(hsm: &Hsm, number: usize) -> User {
    let act = enroll_act(&format!("user-{number:04}"), &[Mechanism::Digest]);
    let user = hsm.enroll(hsm.api_key(), act).expect("a new user");
    hsm.confirm(&user).expect("two right codes");
    user
}

/// One way of signing on so many threads.
pub(crate) struct Gated<'a> {
    bench: &'a Bench,
    way: Way,
    threads: usize,
    signatures: usize,
}

impl<'a> Gated<'a> {
    pub(crate) fn new(bench: &'a Bench, way: Way, threads: usize, signatures: usize) -> Self {
        assert!(signatures <= bench.users.len(), "each user signs once in a round");
        Self { bench, way, threads, signatures }
    }

    fn sign(&self, thread: usize, number: usize, code: &str) {
        let Bench { hsm, raw, users, sessions } = self.bench;
        let (user, key) = &users[number];
        match self.way {
            Way::Pkcs11 => {
                let session = sessions[thread];
                raw.sign_init(session, CKM_ECDSA, *key).expect("C_SignInit");
                raw.context_login(session, code).expect("C_Login");
                raw.sign(session, &[7; 32], 64).expect("C_Sign");
            }
            Way::Native => {
                hsm.sign(user, digest(7), code).expect("a right code signs");
            }
        }
    }
}

impl Contender for Gated<'_> {
    fn name(&self) -> String {
        let way = match self.way {
            Way::Pkcs11 => "pkcs11",
            Way::Native => "native",
        };
        format!("gated/{}/{way}/{}", self.bench.hsm.keystore.word(), self.threads)
    }

    fn round(&self) -> Round {
        let hsm = &self.bench.hsm;
        let now = hsm.advance(30);
        let codes: Vec<String> = self.bench.users.iter().map(|(user, _)| user.phone.code(now)).collect();
        let pids = [hsm.ready().pid, hsm.plugin_pid()];
        measure(self.threads, self.signatures, &pids, |thread, number| {
            self.sign(thread, number, &codes[number]);
        })
    }
}
