//! The checks by name, and what can come of one.

use crate::show::{Show, headline, printable, warning};
use serde::{Serialize, Serializer};
use std::fmt::Write;

/// Defines the checks with their words, in the order in which they are shown.
macro_rules! checks {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal),+ $(,)?) => {
        /// One thing that is looked at. Names never change: scripts know them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Check { $($(#[doc = $doc])+ $name),+ }

        impl Check {
            /// Every check there is.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name.
            pub(crate) const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }
        }
    };
}

checks! {
    /// Which configuration is read, and whether it is good.
    ConfigFile = "config-file",
    /// Whether somebody else can change it.
    ConfigSafe = "config-safe",
    /// Whether there is an API key, for its owner alone.
    ApiKey = "api-key",
    /// Whether the socket is there, served by the right user.
    Socket = "socket",
    /// Whether the HSM answers.
    HsmAnswers = "hsm-answers",
    /// Whether it takes the API key.
    ApiKeyAccepted = "api-key-accepted",
    /// Whether it is the one of the root that is trusted.
    HsmIdentity = "hsm-identity",
    /// Whether this program and the plugin are of one version.
    Versions = "versions",
    /// Whether the image is one for release.
    ImageChannel = "image-channel",
    /// Whether the sandbox is complete.
    Sandbox = "sandbox",
    /// Whether the tenant has a policy of its own.
    Policy = "policy",
    /// Whether the HSM believes its clock.
    ClockSure = "clock-sure",
    /// Whether its time comes from a clock, and not from a hand.
    ClockMode = "clock-mode",
    /// Whether its time is this machine's.
    ClockAgrees = "clock-agrees",
    /// Whether the store has room.
    StoreRoom = "store-room",
    /// Whether this machine's clock is kept right.
    TimeSynchronised = "time-synchronised",
    /// Whether the PKCS#11 module is there, and is one.
    Pkcs11Module = "pkcs11-module",
    /// Whether p11-kit knows the module.
    P11Kit = "p11-kit",
    /// Whether the image's file is the one that runs.
    ImageFile = "image-file",
    /// Whether the folder is that of an HSM.
    Home = "home",
    /// Whether it is its owner's alone.
    HomePrivate = "home-private",
    /// Whether what it lies on keeps what it is given.
    HomeDisk = "home-disk",
    /// Whether the system lets the HSM make namespaces.
    UserNamespaces = "user-namespaces",
    /// Whether each layer of the sandbox can be had.
    SandboxLayers = "sandbox-layers",
    /// Whether the HSM may lock memory enough.
    MemoryLockLimit = "memory-lock-limit",
    /// Whether a crash leaves memory behind.
    CoreDumps = "core-dumps",
    /// Whether memory may reach a disk in the clear.
    Swap = "swap",
    /// Whether processes of one user may read each other.
    PtraceScope = "ptrace-scope",
    /// Whether systemd runs it as it should.
    SystemdUnit = "systemd-unit",
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and should not be so where money is.
    Warning,
    /// It does not work, or will not, or something lies open.
    Problem,
    /// It could not be looked at, or does not concern this machine.
    Skipped,
}

/// What came of a check, a sentence for people, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) message: String,
    /// There is one for every warning and problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Verdict {
    pub(crate) fn ok(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Ok, message: message.into(), mend: None }
    }

    pub(crate) fn skipped(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, message: message.into(), mend: None }
    }

    pub(crate) fn warning(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { outcome: Outcome::Warning, message: message.into(), mend: Some(mend.into()) }
    }

    pub(crate) fn problem(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { outcome: Outcome::Problem, message: message.into(), mend: Some(mend.into()) }
    }
}

#[derive(Debug, Serialize)]
struct Checked {
    check: Check,
    #[serde(flatten)]
    verdict: Verdict,
}

/// All that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    healthy: bool,
    pub(crate) problems: usize,
    pub(crate) warnings: usize,
    checks: Vec<Checked>,
}

impl Report {
    pub(crate) fn new(checks: Vec<(Check, Verdict)>, strict: bool) -> Self {
        let count = |outcome| checks.iter().filter(|(_, verdict)| verdict.outcome == outcome).count();
        let (problems, warnings) = (count(Outcome::Problem), count(Outcome::Warning));
        Self {
            healthy: problems == 0 && !(strict && warnings > 0),
            problems,
            warnings,
            checks: checks.into_iter().map(|(check, verdict)| Checked { check, verdict }).collect(),
        }
    }

    /// Whether the HSM was looked for and does not serve.
    pub(crate) fn is_unserved(&self) -> bool {
        self.checks.iter().any(|checked| {
            matches!(checked.check, Check::Socket | Check::HsmAnswers)
                && checked.verdict.outcome == Outcome::Problem
        })
    }
}

impl Show for Report {
    fn for_people(&self, out: &mut String) {
        for Checked { check, verdict } in &self.checks {
            let word = match verdict.outcome {
                Outcome::Ok => "ok",
                Outcome::Warning => "WARNING",
                Outcome::Problem => "PROBLEM",
                Outcome::Skipped => "skipped",
            };
            let _ = writeln!(out, "{word:<8} {:<18} {}", check.word(), printable(&verdict.message));
            if let Some(mend) = &verdict.mend {
                let _ = writeln!(out, "{:<8} {:<18} -> {}", "", "", printable(mend));
            }
        }
        out.push('\n');
        match (self.problems, self.warnings) {
            (0, 0) => headline(out, "Nothing to mend."),
            (problems, warnings) => {
                let count = |count: usize, what: &str| match count {
                    1 => format!("1 {what}"),
                    count => format!("{count} {what}s"),
                };
                warning(out, &format!("{}, {}.", count(problems, "problem"), count(warnings, "warning")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/cli.md` is where scripts' authors read the names.
    #[test]
    fn every_check_is_in_the_documentation_under_its_name_and_once_in_the_code() {
        let page = include_str!("../../../../docs/cli.md");
        for check in Check::ALL {
            let word = check.word();
            assert!(page.contains(&format!("\n| `{word}` |")), "{word} is not in docs/cli.md");
            assert!(
                word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            );
            assert_eq!(Check::ALL.iter().filter(|other| other.word() == word).count(), 1, "{word}");
        }
    }

    #[test]
    fn warnings_are_not_healthy_where_it_is_strict() {
        let report = |strict, verdict| Report::new(vec![(Check::ClockMode, verdict)], strict);
        assert!(report(false, Verdict::warning("w", "m")).healthy);
        assert!(!report(true, Verdict::warning("w", "m")).healthy);
        assert!(!report(false, Verdict::problem("p", "m")).healthy);
        assert!(report(true, Verdict::skipped("s")).healthy);
    }

    #[test]
    fn only_an_hsm_that_was_looked_for_and_does_not_serve_is_unserved() {
        let report = |check, verdict| Report::new(vec![(check, verdict)], false).is_unserved();
        assert!(report(Check::Socket, Verdict::problem("p", "m")));
        assert!(report(Check::HsmAnswers, Verdict::problem("p", "m")));
        assert!(!report(Check::HsmAnswers, Verdict::skipped("no configuration")));
        assert!(!report(Check::ConfigFile, Verdict::problem("p", "m")));
    }

    #[test]
    fn programs_read_the_name_the_outcome_and_what_to_do() {
        let report =
            Report::new(vec![(Check::Swap, Verdict::warning("there is swap", "turn it off"))], false);
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({"healthy": true, "problems": 0, "warnings": 1, "checks": [
                {"check": "swap", "outcome": "warning", "message": "there is swap", "mend": "turn it off"}]})
        );
    }
}
