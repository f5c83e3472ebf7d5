//! What must hold of every context-specific PIN that is taken. Panics when a property is breached, and says whether the PIN was taken;
//! tests and fuzzers call it.

use crate::context_pin::{APPROVAL_PREFIX, read};
use countersign_wire::client::Approval;
use countersign_wire::encode;
use countersign_wire::names::{ApiKey, TenantName, TypedCode};
use cryptoki_sys::CKR_PIN_INVALID;
use data_encoding::BASE64URL_NOPAD;

/// A PIN is an approval in its one form, a code as it was typed, or the session's own API key; no key of another session is ever a code.
pub fn check_context_pin(pin: &[u8]) -> bool {
    let own = session_key();
    match read(pin, &own) {
        Ok(Approval::Intent(approval)) => {
            let again = format!("{APPROVAL_PREFIX}{}", BASE64URL_NOPAD.encode(&encode(&approval)));
            assert_eq!(again.as_bytes(), pin);
        }
        Ok(Approval::Code(code)) => {
            assert_eq!(code.expose().as_bytes(), pin);
            assert!(!pin.is_empty() && pin.len() <= TypedCode::MAX_BYTES);
            assert!(!pin.starts_with(b"cs1_") && !pin.starts_with(APPROVAL_PREFIX.as_bytes()));
        }
        Ok(Approval::Prior) => assert!(pin.is_empty() || pin == own.expose().as_bytes()),
        Err(refused) => {
            assert_eq!(refused, CKR_PIN_INVALID);
            return false;
        }
    }
    true
}

/// The API key of the session that the PINs are read in.
pub fn session_key() -> ApiKey {
    ApiKey::from_random(&[0xab; 32], &TenantName::parse("default").expect("a name"))
}
