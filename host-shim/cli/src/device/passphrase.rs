//! What a device's file is encrypted under.

use crate::codes;
use crate::failure::Failure;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Names the file whose first line is the passphrase.
const FILE_ENV: &str = "COUNTERSIGN_DEVICE_PASSPHRASE_FILE";

/// The shortest that new files take, in bytes.
const MIN_BYTES: usize = 8;

/// The passphrase of a file that is there.
pub(super) fn known() -> Result<Zeroizing<String>, Failure> {
    match from_file()? {
        Some(passphrase) => Ok(passphrase),
        None => ask("Passphrase of this device"),
    }
}

/// A passphrase for a new file; at the terminal it is asked for twice.
pub(super) fn new() -> Result<Zeroizing<String>, Failure> {
    let passphrase = if let Some(passphrase) = from_file()? {
        passphrase
    } else {
        let first = ask("A passphrase for this device")?;
        if *first != *ask("The same again")? {
            return Err(Failure::Usage("the two passphrases differ; start again".to_owned()));
        }
        first
    };
    if passphrase.len() < MIN_BYTES {
        return Err(Failure::Usage(format!(
            "a passphrase has at least {MIN_BYTES} characters; better, six words"
        )));
    }
    Ok(passphrase)
}

fn from_file() -> Result<Option<Zeroizing<String>>, Failure> {
    let Some(path) = std::env::var_os(FILE_ENV).filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    let unreadable =
        |error| Failure::Usage(format!("cannot read the passphrase in {}: {error}", path.display()));
    let mode = std::fs::metadata(&path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        let told = format!(
            "others can read the passphrase in {0}; make it private with: chmod 600 {0}",
            path.display()
        );
        return Err(Failure::Usage(told));
    }
    let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(unreadable)?);
    Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
}

/// Asks at the terminal, without echo.
fn ask(what: &str) -> Result<Zeroizing<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        let told = format!("nobody can be asked for the device's passphrase: name its file in {FILE_ENV}");
        return Err(Failure::Usage(told));
    }
    let mut terminal = std::io::stderr();
    write!(terminal, "{what}: ").and_then(|()| terminal.flush()).map_err(Failure::Output)?;
    let hidden = Hidden::begin()?;
    let line = codes::read_line();
    drop(hidden);
    line
}

/// A terminal that does not show what is typed; dropped, it does again.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> Result<Self, Failure> {
        let failed = |why| Failure::Usage(format!("the terminal cannot hide a passphrase: {why}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        hidden.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &hidden).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to restore.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
