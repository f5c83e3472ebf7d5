//! What an attack is, and what came of one.

use countersign_tests::Keystore;
use countersign_wire::reason::{Reason, Refusal};
use cryptoki_sys::CK_RV;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Attacks of one kind.
pub(crate) struct Family {
    /// Its name; the first part of its attacks' names.
    pub(crate) name: &'static str,
    /// What the attacker tries.
    pub(crate) title: &'static str,
    /// The invariants of ARCHITECTURE.md that stand in the way.
    pub(crate) invariants: &'static [&'static str],
    /// Its attacks.
    pub(crate) attacks: &'static [Attack],
}

/// One attack.
pub(crate) struct Attack {
    /// Its name within the family.
    pub(crate) name: &'static str,
    /// What the attacker had, beside the API key, the network and the disk, which he always has.
    pub(crate) had: &'static str,
    /// What he does.
    pub(crate) does: &'static str,
    /// The guards that stand in the way, by their names in `guards.toml`; without any one of them the attack succeeds.
    pub(crate) guards: &'static [&'static str],
    /// Faults of the HSM's own parts that it is made under, by their names in `guards.toml`.
    pub(crate) faults: &'static [&'static str],
    /// What has no part in it.
    pub(crate) on: On,
    /// Plays it. What is his he calls by [`Tries`]; the rest is expected to work.
    pub(crate) play: fn(Keystore, &mut Tries),
}

/// The keystores that an attack is played against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// Both.
    Both,
    /// The embedded one, since no keystore takes part in it.
    Embedded,
}

impl On {
    /// Which.
    pub(crate) fn keystores(self) -> &'static [Keystore] {
        match self {
            Self::Both => &[Keystore::Embedded, Keystore::Softhsm],
            Self::Embedded => &[Keystore::Embedded],
        }
    }
}

/// What an attacker tried, and what he got.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Tries {
    /// What was refused, by the word of the refusal, and how often.
    pub(crate) refused: BTreeMap<String, u64>,
    /// What he got that he must not get. Empty: the attack failed.
    pub(crate) got: Vec<String>,
    /// What the tables say beside that.
    pub(crate) notes: Vec<String>,
    /// It is part of the attack that the HSM may be down. Else no answer at all is no refusal.
    #[serde(skip)]
    pub(crate) may_be_down: bool,
}

/// What he got is listed up to so many times.
const LISTED_MAX: usize = 8;

impl Tries {
    /// He asked the HSM for `what`.
    pub(crate) fn ask<T>(&mut self, what: &str, answer: Result<T, Refusal>) {
        match answer.map(drop) {
            Ok(()) => self.got(what),
            Err(refusal) => {
                let is_answer = !matches!(refusal.reason, Reason::HsmUnreachable | Reason::HsmNotReady);
                assert!(is_answer || self.may_be_down, "the HSM does not answer when asked for {what}");
                self.refused(refusal.reason.word());
            }
        }
    }

    /// He called the PKCS#11 module for `what`.
    pub(crate) fn call<T>(&mut self, what: &str, answer: Result<T, CK_RV>) {
        match answer.map(drop) {
            Ok(()) => self.got(what),
            Err(value) => self.refused(&countersign_tests::raw::return_value_name(value)),
        }
    }

    /// He did something else; `held` unless it gave him `what`.
    pub(crate) fn expect(&mut self, what: &str, word: &str, held: bool) {
        if held { self.refused(word) } else { self.got(what) }
    }

    /// He got `what`.
    pub(crate) fn got(&mut self, what: &str) {
        if self.got.len() < LISTED_MAX {
            self.got.push(what.to_owned());
        }
    }

    /// He was refused.
    pub(crate) fn refused(&mut self, word: &str) {
        *self.refused.entry(word.to_owned()).or_default() += 1;
    }

    /// Something that a reader wants to know of it; the same in every run.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}
