//! Why the HSM does not start, or cannot go on.

use crate::sandbox::MissingLayer;
use core::fmt;
use countersign_release::Refusal;
use countersign_wire::hal::halt_word;

/// Why the HSM does not start, or cannot go on. Each prints as a sentence for the operator, without secrets.
#[derive(Debug)]
pub enum HsmError {
    /// The home folder is not what it should be.
    Home(String),
    /// The operator's folder inside the home is not readable as such.
    Ceremony(String),
    /// The image is not one that this HSM takes.
    Refused(Refusal),
    /// Store or NVRAM were refused when the HSM started.
    StoreRefused(String),
    /// Layers of the sandbox are not available here.
    SandboxIncomplete(Vec<MissingLayer>),
    /// The plugin could not be run, or not as it must be.
    Plugin(String),
    /// The keystore does not open.
    Keystore(String),
    /// The operating system said no.
    Io {
        /// What was being done.
        what: String,
        /// What it said.
        source: std::io::Error,
    },
}

impl HsmError {
    /// The exit code of `countersign-hsm`.
    pub const fn exit_code(&self) -> u8 {
        match self {
            HsmError::Refused(_) => 3,
            HsmError::StoreRefused(_) => 4,
            HsmError::SandboxIncomplete(_) => 5,
            _ => 1,
        }
    }

    /// A stable word for it. Where the plugin refused the store, it is the one that the plugin told.
    pub fn word(&self) -> &'static str {
        match self {
            HsmError::Home(_) => "home",
            HsmError::Ceremony(_) => "ceremony",
            HsmError::Refused(refusal) => refusal.word(),
            HsmError::StoreRefused(why) => halt_word(why).unwrap_or("store-failed"),
            HsmError::SandboxIncomplete(_) => "sandbox-incomplete",
            HsmError::Plugin(_) => "plugin",
            HsmError::Keystore(_) => "keystore",
            HsmError::Io { .. } => "system",
        }
    }

    /// For `map_err`: an operating-system error with what was being done.
    pub fn io<E: Into<std::io::Error>>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        let what = what.to_string();
        move |source| HsmError::Io { what, source: source.into() }
    }
}

impl fmt::Display for HsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HsmError::Home(text)
            | HsmError::Ceremony(text)
            | HsmError::StoreRefused(text)
            | HsmError::Plugin(text)
            | HsmError::Keystore(text) => f.write_str(text),
            HsmError::Refused(refusal) => refusal.fmt(f),
            HsmError::SandboxIncomplete(missing) => {
                f.write_str("the sandbox is not complete, so the plugin was not started")?;
                for layer in missing {
                    write!(f, "; missing {}: {}", layer.layer, layer.why)?;
                }
                f.write_str("; repair this, or for development only pass --weak-sandbox")
            }
            HsmError::Io { what, source } => write!(f, "cannot {what}: {source}"),
        }
    }
}

impl std::error::Error for HsmError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HsmError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
