//! Initialising, versions, interfaces (PKCS#11 v2.40 section 5.4, v3.0 section 5.4).

use crate::failure::{Cause, Failure, Result};
use crate::module::Module;
use crate::session;
use countersign_client::{Client, HostConfig};
use cryptoki_sys::{
    CK_C_INITIALIZE_ARGS, CK_INFO, CK_VERSION, CKF_OS_LOCKING_OK, CKR_ARGUMENTS_BAD, CKR_CANT_LOCK,
    CKR_GENERAL_ERROR,
};

/// The version of the standard that `C_GetFunctionList` offers.
pub(crate) const V2_40: CK_VERSION = CK_VERSION { major: 2, minor: 40 };

/// The version of the standard that `C_GetInterface` offers besides.
pub(crate) const V3_0: CK_VERSION = CK_VERSION { major: 3, minor: 0 };

/// The version of this library.
pub(crate) const LIBRARY: CK_VERSION = CK_VERSION {
    major: decimal(env!("CARGO_PKG_VERSION_MAJOR")),
    minor: decimal(env!("CARGO_PKG_VERSION_MINOR")),
};

pub(crate) const MANUFACTURER: &str = "Countersign";

const fn decimal(digits: &str) -> u8 {
    let (mut value, mut at) = (0, 0);
    while at < digits.len() {
        value = value * 10 + (digits.as_bytes()[at] - b'0');
        at += 1;
    }
    value
}

/// `text` as the standard wants it: padded with blanks, without a terminating zero. Only for texts that fit.
pub(crate) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    field
}

/// Checks what the application says about threads and locks (PKCS#11 v2.40 section 5.4, `C_Initialize`).
///
/// The module always locks with the operating system's means, so an application that wants its own mutexes used
/// and does not allow the system's is refused. Threads of its own it never makes.
pub(crate) fn check_arguments(arguments: Option<&CK_C_INITIALIZE_ARGS>) -> Result {
    let Some(arguments) = arguments else { return Ok(()) };
    if !arguments.pReserved.is_null() {
        return Err(CKR_ARGUMENTS_BAD.into());
    }
    let mutexes = [
        arguments.CreateMutex.is_some(),
        arguments.DestroyMutex.is_some(),
        arguments.LockMutex.is_some(),
        arguments.UnlockMutex.is_some(),
    ];
    if mutexes != [mutexes[0]; 4] {
        return Err(CKR_ARGUMENTS_BAD.into());
    }
    if mutexes[0] && arguments.flags & CKF_OS_LOCKING_OK == 0 {
        return Err(CKR_CANT_LOCK.into());
    }
    Ok(())
}

/// A module as `host.toml` says. The HSM is not asked yet.
pub(crate) fn start() -> Result<Module> {
    let config = HostConfig::load()
        .map_err(|error| Failure { rv: CKR_GENERAL_ERROR, cause: Cause::Configuration(error.to_string()) })?;
    Ok(Module::new(Client::new(config)))
}

/// Closes what is open, and gives back what it holds, once no call is under way any more.
pub(crate) fn stop(module: &Module) {
    session::close_each(module, module.remove_all_sessions());
}

/// `C_GetInfo`.
pub(crate) fn info() -> CK_INFO {
    CK_INFO {
        cryptokiVersion: V2_40,
        manufacturerID: padded(MANUFACTURER),
        flags: 0,
        libraryDescription: padded("Countersign PKCS#11 module"),
        libraryVersion: LIBRARY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_and_pads_with_blanks() {
        assert_eq!(decimal("240"), 240);
        assert_eq!(&padded::<6>("ab"), b"ab    ");
        assert_eq!(&padded::<2>("abc"), b"ab");
    }
}
