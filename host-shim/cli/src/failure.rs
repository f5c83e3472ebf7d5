//! What can go wrong, how it is told, and the exit codes.

use anstyle::{AnsiColor, Style};
use countersign_attestation::Refused;
use countersign_client::device::{DeviceError, Distrust};
use countersign_client::log::LogFault;
use countersign_client::{ConfigError, ControlError};
use countersign_release::Refusal as ImageRefusal;
use countersign_wire::names::BadName;
use countersign_wire::reason::{Blame, Reason, Refusal};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
use zeroize::Zeroizing;

/// The command, its configuration or its files are not as they should be; nothing was asked of the HSM.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Refused: ask differently, or later.
pub(crate) const EXIT_REFUSED: u8 = 3;
/// The HSM cannot be reached or cannot serve.
pub(crate) const EXIT_UNREACHABLE: u8 = 4;

/// The word for a clock that the control channel does not move. It never comes from the HSM, so it is no [`Reason`].
const CLOCK_NOT_ADVANCED: &str = "clock-not-advanced";

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The HSM refused, or could not be asked.
    Refused(Refusal),
    /// What came back is not what this device trusts.
    Distrusted(Distrust),
    /// An attestation is not believed, or not what was expected.
    Attestation(Refused),
    /// The passphrase does not open the device's file.
    WrongPassphrase,
    /// The device's file cannot be used.
    DeviceFile(String),
    /// Something is wrong with an audit log.
    Log(LogFault),
    /// No API key can look like this.
    NotAnApiKey(String),
    /// The clock was not advanced.
    Clock(ControlError),
    /// The command cannot be carried out as it was given.
    Usage(String),
    /// A policy does not decide as its table of cases expects, or two images differ; what is shown says where.
    Told(Zeroizing<String>),
    /// An installation is not as it should be; what is shown says where.
    ToldAs {
        /// What is shown.
        shown: Zeroizing<String>,
        /// What it ends with.
        exit_code: u8,
    },
    /// The image, its signatures or the release keys are not taken.
    Image(ImageRefusal),
    /// The configuration cannot be used.
    Config(ConfigError),
    /// The answer could not be written out.
    Output(std::io::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl From<BadName> for Failure {
    fn from(_: BadName) -> Self {
        Reason::MalformedName.into()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::NotAnApiKey { .. } => Self::NotAnApiKey(error.to_string()),
            error => Self::Config(error),
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Refused(refusal) => Self::Refused(refusal),
            DeviceError::Distrusted(distrust) => Self::Distrusted(distrust),
        }
    }
}

impl From<ImageRefusal> for Failure {
    fn from(refusal: ImageRefusal) -> Self {
        Self::Image(refusal)
    }
}

impl From<LogFault> for Failure {
    fn from(fault: LogFault) -> Self {
        match fault {
            LogFault::Refused(refusal) => Self::Refused(refusal),
            fault => Self::Log(fault),
        }
    }
}

impl From<Distrust> for Failure {
    fn from(distrust: Distrust) -> Self {
        Self::Distrusted(distrust)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Attestation(refused)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::Clock(error)
    }
}

/// One failure in the one form that both programs and people are told in.
#[derive(Serialize)]
struct Told {
    #[serde(skip)]
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_secs: Option<u64>,
    /// Who refuses, where it is not the HSM.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    /// The entry of an audit log that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
}

impl Told {
    /// What is refused here, not by the HSM.
    fn by(who: &'static str, word: &'static str, message: &str) -> Self {
        Self {
            exit_code: EXIT_REFUSED,
            refused: Some(word),
            error: None,
            message: message.to_owned(),
            retry_after_secs: None,
            by: Some(who),
            index: None,
        }
    }

    fn refused(reason: Reason, message: String, retry_after_secs: Option<u64>) -> Self {
        let exit_code = match reason.blame() {
            Blame::Caller => EXIT_REFUSED,
            Blame::Device => EXIT_UNREACHABLE,
        };
        Self {
            exit_code,
            refused: Some(reason.word()),
            error: None,
            message,
            retry_after_secs,
            by: None,
            index: None,
        }
    }

    fn error(word: &'static str, message: String) -> Self {
        Self {
            exit_code: EXIT_USAGE,
            refused: None,
            error: Some(word),
            message,
            retry_after_secs: None,
            by: None,
            index: None,
        }
    }

    fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => {
                let Refusal { reason, retry_after_secs } = *refusal;
                Self::refused(reason, reason.sentence().to_owned(), retry_after_secs)
            }
            Failure::NotAnApiKey(message) => Self::refused(Reason::WrongApiKey, message.clone(), None),
            Failure::Clock(error @ (ControlError::Unreachable | ControlError::Garbage)) => {
                Self::refused(Reason::HsmUnreachable, error.to_string(), None)
            }
            Failure::Clock(error @ (ControlError::NotConfigured | ControlError::Refused(_))) => Self {
                exit_code: EXIT_REFUSED,
                refused: Some(CLOCK_NOT_ADVANCED),
                error: None,
                message: error.to_string(),
                retry_after_secs: None,
                by: None,
                index: None,
            },
            Failure::Distrusted(distrust) => Self::by("device", distrust.word(), distrust.sentence()),
            Failure::Attestation(refused) => Self::by("verifier", refused.word(), refused.sentence()),
            Failure::WrongPassphrase => Self::by(
                "device",
                "wrong-passphrase",
                "The passphrase does not open the device's file; type it again, or name another file with --keys.",
            ),
            Failure::Log(fault @ LogFault::File { .. }) => Self::error(fault.word(), fault.to_string()),
            Failure::Log(fault) => Self {
                exit_code: EXIT_REFUSED,
                refused: Some(fault.word()),
                error: None,
                message: fault.to_string(),
                retry_after_secs: None,
                by: Some("verifier"),
                index: fault.index(),
            },
            Failure::DeviceFile(message) => Self::error("device-file", message.clone()),
            Failure::Usage(message) => Self::error("usage", message.clone()),
            Failure::Told(_) | Failure::ToldAs { .. } => {
                Self::error("told", "what was shown says it".to_owned())
            }
            Failure::Image(refusal) => Self::by("command", refusal.word(), &refusal.to_string()),
            Failure::Config(error) => Self::error("configuration", error.to_string()),
            Failure::Output(error) => Self::error("output", format!("cannot write the answer: {error}")),
        }
    }

    fn for_people(&self) -> String {
        let head = if self.refused.is_some() { "Refused" } else { "Error" };
        let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let mut text = format!("{style}{head}:{style:#} {}\n", crate::show::printable(&self.message));
        if let Some(word) = self.refused {
            text.push_str("Reason: ");
            text.push_str(word);
            text.push('\n');
        }
        if let Some(secs) = self.retry_after_secs {
            text.push_str("Try again in ");
            text.push_str(&crate::show::duration(secs));
            text.push_str(".\n");
        }
        text
    }
}

impl Failure {
    /// Tells of it and returns the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let shown = match self {
            Failure::Told(shown) => Some((shown, EXIT_REFUSED)),
            Failure::ToldAs { shown, exit_code } => Some((shown, *exit_code)),
            _ => None,
        };
        if let Some((shown, exit_code)) = shown {
            // It is an answer like that of what was well; only the exit code differs.
            let _ = anstream::stdout().write_all(shown.as_bytes());
            return ExitCode::from(exit_code);
        }
        let told = Told::of(self);
        // Where even this cannot be written, the exit code still says it.
        let _ = if json {
            let line = serde_json::to_string(&told).expect("it has only strings and numbers");
            writeln!(std::io::stdout(), "{line}")
        } else {
            anstream::stderr().write_all(told.for_people().as_bytes())
        };
        ExitCode::from(told.exit_code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_exit_code_and_its_words() {
        for reason in Reason::ALL {
            let told = Told::of(&(*reason).into());
            let expected = if reason.blame() == Blame::Caller { 3 } else { 4 };
            assert_eq!(told.exit_code, expected, "{reason}");
            let json = serde_json::to_value(&told).unwrap();
            assert_eq!(
                json,
                serde_json::json!({ "refused": reason.word(), "message": reason.sentence() }),
                "{reason}"
            );
            let people = anstream::adapter::strip_str(&told.for_people()).to_string();
            assert_eq!(people, format!("Refused: {}\nReason: {}\n", reason.sentence(), reason.word()));
        }
    }

    #[test]
    fn says_when_to_try_again() {
        let told = Told::of(&Refusal { reason: Reason::Locked, retry_after_secs: Some(299) }.into());
        assert_eq!(serde_json::to_value(&told).unwrap()["retry_after_secs"], 299);
        assert!(told.for_people().contains("Try again in 4 minutes 59 seconds."));
    }

    #[test]
    fn the_clock_word_is_no_reason_of_the_hsm() {
        assert!(Reason::ALL.iter().all(|reason| reason.word() != CLOCK_NOT_ADVANCED));
    }

    #[test]
    fn control_characters_from_elsewhere_never_reach_the_terminal() {
        let told = Told::of(&Failure::Clock(ControlError::Refused("\x1b[2Jgone".to_owned())));
        assert!(!told.for_people().contains("\x1b[2J"));
    }
}
