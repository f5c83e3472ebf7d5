//! SoftHSM's files: its configuration, its PIN, and a token that always opens.
//!
//! Every `C_Login` truncates and rewrites `token.object` in place without syncing it, and a kill at the wrong
//! moment leaves it empty; key generation syncs nothing either. So SoftHSM never touches the only copy:
//!
//! ```text
//! keystore/softhsm2.conf   points SoftHSM at keystore/tokens
//! keystore/module          path of the library that made the token
//! keystore/pin             the user PIN, 64 hex digits
//! keystore/tokens.copy/    the token as it was made, synced; read only from then on
//! keystore/tokens/         what SoftHSM works on: made anew from the copy at each start
//! ```
//! That is enough because nothing is added to the token after initialisation: all other keys are wrapped blobs
//! in the plugin's records, opened into session objects.

use crate::{HsmError, durable};
use data_encoding::HEXLOWER;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The environment variable by which SoftHSM finds its configuration.
pub const CONFIGURATION_VARIABLE: &str = "SOFTHSM2_CONF";

/// Where Debian's packages put the library.
const MODULE_PATHS: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
];

/// The files of one token.
#[derive(Debug)]
pub struct TokenFiles {
    folder: PathBuf,
}

impl TokenFiles {
    /// The files in this keystore folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// SoftHSM's configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    fn working(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    fn copy(&self) -> PathBuf {
        self.folder.join("tokens.copy")
    }

    /// Makes configuration and PIN, and the folder for the token to be made in. Returns the module's path.
    pub fn create(&self, module: Option<&Path>) -> Result<PathBuf, HsmError> {
        let module = find_module(module)?;
        let module_text = module.to_str().ok_or_else(|| not_text(&module))?;
        let tokens = self.working();
        let tokens_text = tokens.to_str().ok_or_else(|| not_text(&tokens))?;
        let configuration = format!(
            "directories.tokendir = {tokens_text}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
        );
        durable::create_folder(&tokens)?;
        durable::create_file(&self.configuration(), configuration.as_bytes())?;
        durable::create_file(&self.folder.join("module"), module_text.as_bytes())?;
        durable::create_file(&self.folder.join("pin"), random_pin()?.as_bytes())?;
        Ok(module)
    }

    /// Syncs the token that was made and keeps the copy that every start begins from.
    pub fn keep_copy(&self) -> Result<(), HsmError> {
        durable::sync_all_below(&self.working())?;
        durable::copy_folder(&self.working(), &self.copy())
    }

    /// Makes the working token anew from the copy. SoftHSM must not be running on it.
    pub fn restore(&self) -> Result<(), HsmError> {
        durable::remove_folder(&self.working())?;
        durable::copy_folder(&self.copy(), &self.working())
    }

    /// The user PIN.
    pub fn pin(&self) -> Result<Zeroizing<String>, HsmError> {
        self.read("pin").map(Zeroizing::new)
    }

    /// The library that made the token.
    pub fn module(&self) -> Result<PathBuf, HsmError> {
        self.read("module").map(PathBuf::from)
    }

    fn read(&self, name: &str) -> Result<String, HsmError> {
        let path = self.folder.join(name);
        std::fs::read_to_string(&path).map_err(HsmError::io(format!("read {}", path.display())))
    }
}

/// 32 random bytes in hex.
pub fn random_pin() -> Result<Zeroizing<String>, HsmError> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut_slice()).map_err(HsmError::io("make a PIN"))?;
    Ok(Zeroizing::new(HEXLOWER.encode(random.as_slice())))
}

fn find_module(asked: Option<&Path>) -> Result<PathBuf, HsmError> {
    if let Some(path) = asked {
        let missing = HsmError::io(format!("find SoftHSM's library {}", path.display()));
        return std::path::absolute(path).and_then(|path| path.metadata().map(|_| path)).map_err(missing);
    }
    MODULE_PATHS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        HsmError::Keystore(
            "SoftHSM is not installed: install the package softhsm2, or name its library with --softhsm-module"
                .into(),
        )
    })
}

fn not_text(path: &Path) -> HsmError {
    HsmError::Keystore(format!("SoftHSM needs paths in UTF-8, and {} is not", path.display()))
}
