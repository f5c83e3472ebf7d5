//! Tests across the whole of Countersign: every test here runs a real HSM process with the frozen image in its
//! sandbox, and talks to it as a backend, an operator or an attacker would.
//!
//! # Principles
//! * Nothing is mocked: the image, the HSM, the command line, the module and its clients are the ones that ship.
//! * Time stands still unless a test moves it: every HSM here has a manual clock. No test sleeps.
//! * A test's name is the claim it shows, with the invariant's number of `ARCHITECTURE.md` where there is one.
//! * A random test prints its seed; `COUNTERSIGN_TEST_SEED` repeats it.
//!
//! # Where things are
//! | module | what |
//! | --- | --- |
//! | [`artefacts`] | the programs under test, as `cargo xtask test` built them |
//! | [`hsm`] | one HSM: its home, its process, its clock |
//! | [`backend`] | what a backend asks an HSM natively |
//! | [`bitcoin`] | a Bitcoin wallet as another library sees it |
//! | [`phone`] | the user's authenticator app |
//! | [`owner`] | a user with a device of his own |
//! | [`changes`] | a message with one of its fields changed |
//! | [`cli`] | the command line |
//! | [`module`] | the PKCS#11 module through the `cryptoki` crate |
//! | [`racing`] | many who ask at once |
//! | [`raw`] | the PKCS#11 module call by call, for what no well-behaved client does |
//! | [`disk`] | what an attacker does to the untrusted disk |
//! | [`faults`] | kills at a write, and a disk that fails, in the HSM's own process |
//! | [`store_files`] | the store's folder, file by file |
//! | [`metrics`] | what an operator reads of an HSM |
//! | [`proxy`] | what passes between clients and the HSM, written down |
//! | [`tap`] | what passes between firmware and plugin: every secret of a run |
//! | [`processes`] | what `/proc` says of a process |
//! | [`recipe`] | what the documentation tells its readers to do |
//! | [`terminal`] | a program at a terminal of its own |
//! | [`node`] | libraries in JavaScript, for transactions as other people's backends make and read them |
//! | [`ethereum_node`] | a stand-in for an Ethereum node, which checks what is broadcast |
//! | [`http`] | as much HTTP as the examples need |
//! | [`transactions`] | Ethereum transactions, and an independent reading of what was signed |
//!
//! The tests themselves are in `it/`, the benchmarks in `benches/`: `gated` is `cargo xtask bench`, `storage` compares
//! ways to keep records. `model/` checks the protocol without any process; `faults/` is what is preloaded into the
//! HSM's.

pub mod artefacts;
pub mod backend;
pub mod bitcoin;
pub mod changes;
pub mod cli;
pub mod disk;
pub mod ethereum_node;
pub mod faults;
pub mod hsm;
pub mod http;
pub mod metrics;
pub mod module;
pub mod node;
pub mod owner;
pub mod people;
pub mod phone;
pub mod processes;
pub mod proxy;
pub mod racing;
pub mod raw;
pub mod recipe;
pub mod relay;
pub mod store_files;
pub mod tap;
pub mod terminal;
pub mod transactions;

pub use backend::User;
pub use hsm::{Hsm, Keystore};
pub use racing::race;

/// Runs each named function, which takes a [`Keystore`], as two tests: `NAME::embedded` and `NAME::softhsm`.
#[macro_export]
macro_rules! on_both_keystores {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            #[test]
            fn embedded() {
                super::$name($crate::Keystore::Embedded);
            }

            #[test]
            fn softhsm() {
                super::$name($crate::Keystore::Softhsm);
            }
        }
    )* };
}

/// Runs each named function, which takes a [`Keystore`], on the embedded keystore: for what no keystore takes
/// part in.
#[macro_export]
macro_rules! on_embedded {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            #[test]
            fn embedded() {
                super::$name($crate::Keystore::Embedded);
            }
        }
    )* };
}

/// The seed of a random test: `COUNTERSIGN_TEST_SEED`, else a fresh one. It is printed, and shown where a test fails.
pub fn seed(of: &str) -> u64 {
    let seed = std::env::var("COUNTERSIGN_TEST_SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("COUNTERSIGN_TEST_SEED is a number"));
    eprintln!("{of}: COUNTERSIGN_TEST_SEED={seed}");
    seed
}
