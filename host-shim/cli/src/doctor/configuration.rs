//! `host.toml` and the API key.

use super::verdict::Verdict;
use countersign_client::{HostConfig, Place};
use std::path::PathBuf;

/// What was found where the configuration is looked for.
pub(super) enum ConfigFacts {
    /// Nothing, or something that cannot be looked at; what the client says of it.
    None(String),
    /// A file.
    File {
        file: PathBuf,
        /// `None`: `--config` names it.
        place: Option<Place>,
        /// The configuration, or why it is none.
        read: Result<HostConfig, String>,
        /// Who owns it and what its mode is; `None` where that could not be seen.
        owner: Option<Owner>,
        /// Who is asking.
        own_uid: u32,
    },
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) mode: u32,
}

impl ConfigFacts {
    /// The configuration, if there is a good one.
    pub(super) fn usable(&self) -> Option<&HostConfig> {
        match self {
            Self::File { read: Ok(config), .. } => Some(config),
            _ => None,
        }
    }
}

/// Which configuration is read, why, and whether it is good.
pub(super) fn file(facts: &ConfigFacts) -> Verdict {
    match facts {
        ConfigFacts::None(why) => Verdict::problem(
            why.clone(),
            "Write the file with at least the line `socket = \"/path/of/hsm.sock\"`; docs/configuration.md has every field.",
        ),
        ConfigFacts::File { file, read: Err(why), .. } => Verdict::problem(
            why.clone(),
            format!("Correct {}; docs/configuration.md has every field.", file.display()),
        ),
        ConfigFacts::File { file, place, read: Ok(_), .. } => {
            let why = match place {
                None => "--config names it",
                Some(Place::Environment) => "COUNTERSIGN_CONFIG names it",
                Some(Place::Home) => "it is the one in the home folder",
                Some(Place::System) => "there is none in the home folder, and this is the machine's",
            };
            Verdict::ok(format!("{} is read: {why}.", file.display()))
        }
    }
}

/// Whoever can change it can name another HSM, and have the API key sent there.
pub(super) fn safe(facts: &ConfigFacts) -> Verdict {
    let ConfigFacts::File { file, owner: Some(Owner { uid, mode }), own_uid, .. } = facts else {
        return Verdict::skipped("There is no configuration to look at.");
    };
    let file = file.display();
    if *uid != 0 && uid != own_uid {
        return Verdict::problem(
            format!(
                "{file} belongs to user {uid}, who can name another HSM in it, and have the API key sent there."
            ),
            format!("Make it your own or root's: chown root {file}"),
        );
    }
    if mode & 0o022 != 0 {
        return Verdict::problem(
            format!(
                "Others can write to {file}: they can name another HSM in it, and have the API key sent there."
            ),
            format!("chmod go-w {file}"),
        );
    }
    Verdict::ok(format!("Only its owner can change {file}."))
}

/// What was found of the API key. The key itself is not among it.
pub(super) struct KeyFacts {
    /// Whether one is configured, and where; `None`: nowhere.
    pub(super) source: Option<String>,
    /// Why it cannot be used.
    pub(super) fault: Option<String>,
}

/// Whether there is an API key, for its owner alone.
pub(super) fn api_key(facts: Option<&KeyFacts>) -> Verdict {
    let Some(KeyFacts { source, fault }) = facts else {
        return Verdict::skipped("There is no configuration to look at.");
    };
    match (source, fault) {
        (None, _) => Verdict::skipped(
            "No API key is configured. Relays, devices and the PKCS#11 module need none here; else name its file as api_key_file.",
        ),
        (Some(_), Some(fault)) => Verdict::problem(
            fault.clone(),
            "Put the key, and nothing else, into a file of your own with mode 600, and name it as api_key_file in host.toml.",
        ),
        (Some(source), None) => Verdict::ok(format!("There is an API key in {source}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Outcome;
    use super::*;

    fn found(read: Result<HostConfig, String>, uid: u32, mode: u32) -> ConfigFacts {
        ConfigFacts::File {
            file: "/etc/countersign/host.toml".into(),
            place: Some(Place::System),
            read,
            owner: Some(Owner { uid, mode }),
            own_uid: 1000,
        }
    }

    #[test]
    fn a_configuration_is_found_and_it_is_said_why_this_one() {
        let good = found(Ok(HostConfig::for_socket("/s")), 0, 0o644);
        let verdict = file(&good);
        assert_eq!(verdict.outcome, Outcome::Ok);
        assert!(
            verdict.message.contains("/etc/countersign/host.toml") && verdict.message.contains("machine's")
        );
        assert!(good.usable().is_some());
    }

    #[test]
    fn no_configuration_and_a_broken_one_are_problems() {
        assert_eq!(file(&ConfigFacts::None("none".into())).outcome, Outcome::Problem);
        let broken = found(Err("unknown field".into()), 0, 0o644);
        assert_eq!(file(&broken).outcome, Outcome::Problem);
        assert!(broken.usable().is_none());
    }

    #[test]
    fn a_configuration_that_somebody_else_can_change_is_a_problem() {
        let config = || Ok(HostConfig::for_socket("/s"));
        for (uid, mode, outcome) in [
            (0, 0o100_644, Outcome::Ok),
            (1000, 0o100_600, Outcome::Ok),
            (1001, 0o100_600, Outcome::Problem),
            (1000, 0o100_620, Outcome::Problem),
            (0, 0o100_646, Outcome::Problem),
        ] {
            assert_eq!(safe(&found(config(), uid, mode)).outcome, outcome, "{uid} {mode:o}");
        }
        assert_eq!(safe(&ConfigFacts::None(String::new())).outcome, Outcome::Skipped);
    }

    #[test]
    fn an_api_key_is_not_needed_everywhere_but_one_that_lies_open_is_a_problem() {
        let key = |source: Option<&str>, fault: Option<&str>| {
            let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
            api_key(Some(&KeyFacts { source: owned(source), fault: owned(fault) })).outcome
        };
        assert_eq!(key(None, None), Outcome::Skipped);
        assert_eq!(key(Some("/k"), None), Outcome::Ok);
        assert_eq!(key(Some("/k"), Some("others can read it")), Outcome::Problem);
        assert_eq!(api_key(None).outcome, Outcome::Skipped);
    }
}
