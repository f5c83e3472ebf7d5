//! The one slot and its token (PKCS#11 v2.40 section 5.5).

use crate::boundary::memory::{Out, OutList};
use crate::context_pin::PIN_MAX_BYTES;
use crate::failure::Result;
use crate::general::{LIBRARY, MANUFACTURER, padded};
use crate::mechanism;
use crate::module::{Module, SESSIONS_MAX};
use countersign_wire::client::Status;
use cryptoki_sys::{
    CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_SLOT_ID, CK_SLOT_INFO, CK_TOKEN_INFO, CK_ULONG,
    CK_UNAVAILABLE_INFORMATION, CK_VERSION, CKF_HW_SLOT, CKF_LOGIN_REQUIRED, CKF_RNG, CKF_TOKEN_INITIALIZED,
    CKF_TOKEN_PRESENT, CKF_USER_PIN_INITIALIZED, CKR_MECHANISM_INVALID, CKR_SLOT_ID_INVALID,
};
use std::fmt::Write;

/// The one slot.
pub(crate) const SLOT: CK_SLOT_ID = 0;

/// The token's label.
pub(crate) const TOKEN_LABEL: &str = "countersign";

/// The shortest PIN there is: a code of six digits.
const PIN_MIN_BYTES: CK_ULONG = 6;

/// Refuses every slot but the one.
pub(crate) fn check(slot: CK_SLOT_ID) -> Result {
    if slot == SLOT { Ok(()) } else { Err(CKR_SLOT_ID_INVALID.into()) }
}

/// `C_GetSlotList`. The slot's token is not removable, so it is always present, whether the HSM answers or not.
pub(crate) fn list(slots: &mut OutList<CK_SLOT_ID>) -> Result {
    slots.fill(&[SLOT])
}

/// `C_GetSlotInfo`.
///
/// > If this flag (`CKF_REMOVABLE_DEVICE`) is not set for a given slot, then the `CKF_TOKEN_PRESENT` flag for that
/// > slot is always set. (PKCS#11 v2.40 section 3.2, `CK_SLOT_INFO`)
pub(crate) fn slot_info(slot: CK_SLOT_ID, info: &mut Out<CK_SLOT_INFO>) -> Result {
    check(slot)?;
    info.set(CK_SLOT_INFO {
        slotDescription: padded("Countersign HSM"),
        manufacturerID: padded(MANUFACTURER),
        flags: CKF_TOKEN_PRESENT | CKF_HW_SLOT,
        hardwareVersion: CK_VERSION { major: 0, minor: 0 },
        firmwareVersion: LIBRARY,
    });
    Ok(())
}

/// `C_GetTokenInfo`. Asks the HSM each time, so it also tells whether the HSM can be reached.
pub(crate) fn token_info(module: &Module, slot: CK_SLOT_ID, info: &mut Out<CK_TOKEN_INFO>) -> Result {
    check(slot)?;
    let status = module.status()?;
    let sessions = module.count_sessions();
    info.set(CK_TOKEN_INFO {
        label: padded(TOKEN_LABEL),
        manufacturerID: padded(MANUFACTURER),
        model: padded("Countersign"),
        serialNumber: serial(&status),
        // A user's code always comes through this process, so CKF_PROTECTED_AUTHENTICATION_PATH is not set.
        flags: CKF_RNG | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED,
        ulMaxSessionCount: count(SESSIONS_MAX),
        ulSessionCount: count(sessions.all),
        ulMaxRwSessionCount: count(SESSIONS_MAX),
        ulRwSessionCount: count(sessions.writable),
        ulMaxPinLen: count(PIN_MAX_BYTES),
        ulMinPinLen: PIN_MIN_BYTES,
        ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
        hardwareVersion: CK_VERSION { major: 0, minor: 0 },
        firmwareVersion: version(&status.version),
        utcTime: [b' '; 16],
    });
    Ok(())
}

/// `C_GetMechanismList`.
pub(crate) fn mechanism_list(slot: CK_SLOT_ID, mechanisms: &mut OutList<CK_MECHANISM_TYPE>) -> Result {
    check(slot)?;
    mechanisms.fill(&mechanism::ALL)
}

/// `C_GetMechanismInfo`.
pub(crate) fn mechanism_info(
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    info: &mut Out<CK_MECHANISM_INFO>,
) -> Result {
    check(slot)?;
    info.set(mechanism::info(mechanism).ok_or(CKR_MECHANISM_INVALID)?);
    Ok(())
}

/// The first half of the HSM's id, in hex.
fn serial(status: &Status) -> [u8; 16] {
    let mut digits = String::with_capacity(16);
    for byte in &status.hsm_id.as_slice()[..8] {
        write!(digits, "{byte:02x}").expect("a String takes every write");
    }
    padded(&digits)
}

fn count(number: usize) -> CK_ULONG {
    CK_ULONG::try_from(number).unwrap_or(CK_UNAVAILABLE_INFORMATION)
}

/// The first two numbers of `major.minor.patch`.
fn version(text: &str) -> CK_VERSION {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    CK_VERSION { major: next(), minor: next() }
}
