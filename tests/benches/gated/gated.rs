//! HSMs with many users, signed for through the module and natively.

use crate::population::{Population, account_name};
use crate::rounds::{Contender, Round, Watched, Work, measure};
use countersign_tests::backend::{FIRST_KEY, digest, label, sign_act};
use countersign_tests::raw::Raw;
use countersign_wire::client::Act;
use countersign_wire::names::KeyLabel;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKM_ECDSA};

/// What an embedded HSM that tells of itself is called.
pub(crate) const OBSERVED: &str = "embedded-observed";

/// Clients of the HSM that tells of itself.
pub(crate) const OBSERVED_CLIENTS: usize = 32;

/// How the backend asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// Init, Login, Sign through the module.
    Pkcs11,
    /// One request of the native client.
    Native,
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::Pkcs11, Self::Native];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Pkcs11 => "pkcs11",
            Self::Native => "native",
        }
    }
}

/// The full name of the key of the account of that number.
pub(crate) fn key_label(number: usize) -> KeyLabel {
    label(&format!("{}/{FIRST_KEY}", account_name(number)))
}

/// A running HSM whose users each sign once in a round.
pub(crate) struct Bench {
    /// What its figures are called after.
    name: String,
    population: Population,
    labels: Vec<KeyLabel>,
    module: Module,
}

/// The module, with every user's key found.
struct Module {
    raw: Raw,
    keys: Vec<CK_OBJECT_HANDLE>,
    sessions: Vec<CK_SESSION_HANDLE>,
}

impl Bench {
    /// Starts the HSM; the module gets this many sessions.
    pub(crate) fn start(mut population: Population, sessions: usize) -> Self {
        population.hsm.run();
        let hsm = &population.hsm;
        let labels: Vec<KeyLabel> = (0..population.len()).map(key_label).collect();
        let raw = hsm.raw();
        let first = raw.session(hsm.api_key());
        let found = |label| raw.find(first, label).expect("every user's key is found");
        let keys = labels.iter().map(found).collect();
        let others = (1..sessions).map(|_| raw.open_session().expect("C_OpenSession"));
        let sessions = std::iter::once(first).chain(others).collect();
        let name = hsm.keystore.word().to_owned();
        Self { name, module: Module { raw, keys, sessions }, labels, population }
    }

    /// The same with metrics served, and traces of one request in a hundred written beside the store.
    pub(crate) fn start_observed(mut population: Population, sessions: usize) -> Self {
        let traces = population.hsm.folder().join("traces.jsonl").display().to_string();
        let options = ["--metrics", "127.0.0.1:0", "--traces", &traces, "--traces-ratio", "0.01"];
        population.hsm.options = options.map(str::to_owned).into();
        let bench = Self::start(population, sessions);
        Self { name: OBSERVED.to_owned(), ..bench }
    }
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
        assert!(signatures <= bench.labels.len(), "each user signs once in a round");
        Self { bench, way, threads, signatures }
    }
}

impl Contender for Gated<'_> {
    fn name(&self) -> String {
        format!("gated/{}/{}/{}", self.bench.name, self.way.word(), self.threads)
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn round(&self) -> Round {
        let population = &self.bench.population;
        let now = population.hsm.advance(30);
        let codes = (0..self.signatures).map(|number| population.phone(number).code(now)).collect();
        let work = Signing { bench: self.bench, way: self.way, codes };
        measure(self.threads, self.signatures, &stations(population), &work)
    }
}

/// The processes of an HSM.
pub(crate) fn stations(population: &Population) -> [Watched; 2] {
    let hsm = &population.hsm;
    [
        Watched { name: "firmware", pid: hsm.ready().pid, by_thread: true },
        Watched { name: "plugin", pid: hsm.plugin_pid(), by_thread: false },
    ]
}

struct Signing<'a> {
    bench: &'a Bench,
    way: Way,
    /// Of each user, in order.
    codes: Vec<String>,
}

impl Work for Signing<'_> {
    fn warm_up(&self, thread: usize) {
        match self.way {
            Way::Pkcs11 => {
                self.bench
                    .module
                    .raw
                    .random(self.bench.module.sessions[thread], 8)
                    .expect("C_GenerateRandom");
            }
            Way::Native => {
                self.bench.population.hsm.client.call(None, Act::Status).expect("the HSM answers");
            }
        }
    }

    fn sign(&self, thread: usize, number: usize) {
        let code = &self.codes[number];
        match self.way {
            Way::Pkcs11 => {
                let Module { raw, keys, sessions } = &self.bench.module;
                let session = sessions[thread];
                raw.sign_init(session, CKM_ECDSA, keys[number]).expect("C_SignInit");
                raw.context_login(session, code).expect("C_Login");
                raw.sign(session, &[7; 32], 64).expect("C_Sign");
            }
            Way::Native => sign_natively(&self.bench.population, &self.bench.labels[number], code),
        }
    }
}

/// One request that approves and signs.
pub(crate) fn sign_natively(population: &Population, key: &KeyLabel, code: &str) {
    population.hsm.ask(sign_act(key, digest(7), Some(code))).expect("a right code signs");
}
