//! What the context-specific PIN of a signature can be (`C_Login` with `CKU_CONTEXT_SPECIFIC`).
//!
//! It says how the user approves: with a code that he typed, with an approval that his device or passkey made for one
//! staged intent, or by pointing at what he approved before. Whatever is none of these never leaves the process.

use countersign_wire::client::Approval;
use countersign_wire::decode;
use countersign_wire::device::{AUTHENTICATOR_DATA_MAX_BYTES, CLIENT_DATA_MAX_BYTES, SEALED_MAX_BYTES};
use countersign_wire::names::{ApiKey, TypedCode};
use cryptoki_sys::{CK_RV, CKR_PIN_INVALID};
use data_encoding::BASE64URL_NOPAD;

/// What an approval for a staged intent begins with; after it come the base64url characters of its CBOR, unpadded.
pub(crate) const APPROVAL_PREFIX: &str = "csa1_";

/// What every API key begins with, and no code.
const API_KEY_PREFIX: &str = "cs1_";

/// The longest credential id (WebAuthn level 3 section 6.5.1: 1023 bytes; the HSM enrols none over 255).
const CREDENTIAL_ID_MAX_BYTES: usize = 255;

/// The longest signature of a passkey: ES256 in DER.
const DER_SIGNATURE_MAX_BYTES: usize = 72;

/// Bytes of one CBOR text that names a field: one of its length, and itself (RFC 8949 section 3.1).
const fn field(name: &str) -> usize {
    assert!(name.len() < 24, "a longer name has a longer head");
    1 + name.len()
}

/// Bytes of one CBOR byte string of so many bytes.
const fn byte_string(bytes: usize) -> usize {
    let head = match bytes {
        0..=23 => 1,
        24..=255 => 2,
        256..=65_535 => 3,
        _ => panic!("nothing in an approval is as long"),
    };
    head + bytes
}

/// Bytes of an approval's CBOR around its evidence: two maps, the intent, and which evidence it is.
const fn around(kind: &str) -> usize {
    1 + field("intent") + byte_string(16) + field("evidence") + 1 + field(kind) + 1
}

/// The longest approval of a passkey, in CBOR.
const PASSKEY_MAX_BYTES: usize = around("passkey")
    + field("credential_id")
    + byte_string(CREDENTIAL_ID_MAX_BYTES)
    + field("client_data_json")
    + byte_string(CLIENT_DATA_MAX_BYTES)
    + field("authenticator_data")
    + byte_string(AUTHENTICATOR_DATA_MAX_BYTES)
    + field("signature")
    + byte_string(DER_SIGNATURE_MAX_BYTES);

/// The longest approval with a sealed code, in CBOR.
const SEALED_CODE_MAX_BYTES: usize = around("sealed-code")
    + field("device")
    + byte_string(16)
    + field("encapsulated")
    + byte_string(65)
    + field("ciphertext")
    + byte_string(SEALED_MAX_BYTES)
    + field("signature")
    + byte_string(64);

/// The longest approval as a PIN.
const APPROVAL_PIN_MAX_BYTES: usize = {
    let cbor =
        if PASSKEY_MAX_BYTES > SEALED_CODE_MAX_BYTES { PASSKEY_MAX_BYTES } else { SEALED_CODE_MAX_BYTES };
    APPROVAL_PREFIX.len() + (4 * cbor).div_ceil(3)
};

/// The longest PIN that `C_Login` takes, as `ulMaxPinLen` says.
pub(crate) const PIN_MAX_BYTES: usize = 8192;

const _: () = assert!(APPROVAL_PIN_MAX_BYTES <= PIN_MAX_BYTES, "every approval fits");
const _: () = assert!(TypedCode::MAX_BYTES < PIN_MAX_BYTES, "and so does every code");

/// Reads a context-specific PIN in a session that is logged in with `own`.
///
/// Some clients (pkcs11-tool with `--pin`, pkcs11-provider) repeat the user PIN here without being asked, others give
/// none: then the user has approved before, or has not. Anything else than a code, an approval, the session's own API
/// key or nothing is `CKR_PIN_INVALID`.
pub(crate) fn read(pin: &[u8], own: &ApiKey) -> Result<Approval, CK_RV> {
    let text = core::str::from_utf8(pin).map_err(|_| CKR_PIN_INVALID)?;
    if text.is_empty() || text == own.expose() {
        return Ok(Approval::Prior);
    }
    if let Some(encoded) = text.strip_prefix(APPROVAL_PREFIX) {
        let cbor = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| CKR_PIN_INVALID)?;
        return decode(&cbor)
            .map(|approval| Approval::Intent(Box::new(approval)))
            .map_err(|_| CKR_PIN_INVALID);
    }
    // Another's API key, or a part of one, is nobody's code.
    if text.starts_with(API_KEY_PREFIX) {
        return Err(CKR_PIN_INVALID);
    }
    TypedCode::new(text).map(Approval::Code).map_err(|_| CKR_PIN_INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::device::{Assertion, Evidence, IntentApproval, SealedCode};
    use countersign_wire::encode;
    use countersign_wire::names::TenantName;
    use serde_bytes::{ByteArray, ByteBuf};

    fn own() -> ApiKey {
        ApiKey::from_random(&[0xab; 32], &TenantName::parse("default").unwrap())
    }

    fn pin(cbor: &[u8]) -> String {
        format!("{APPROVAL_PREFIX}{}", BASE64URL_NOPAD.encode(cbor))
    }

    fn passkey(credential_id_bytes: usize) -> IntentApproval {
        let bytes = |length| ByteBuf::from(vec![0xff; length]);
        let assertion = Assertion {
            credential_id: bytes(credential_id_bytes),
            client_data_json: bytes(CLIENT_DATA_MAX_BYTES),
            authenticator_data: bytes(AUTHENTICATOR_DATA_MAX_BYTES),
            signature: bytes(DER_SIGNATURE_MAX_BYTES),
        };
        IntentApproval { intent: ByteArray::new([1; 16]), evidence: Evidence::Passkey(assertion) }
    }

    fn sealed_code() -> IntentApproval {
        let sealed = SealedCode {
            device: ByteArray::new([2; 16]),
            encapsulated: ByteArray::new([4; 65]),
            ciphertext: ByteBuf::from(vec![5; SEALED_MAX_BYTES]),
            signature: ByteArray::new([6; 64]),
        };
        IntentApproval { intent: ByteArray::new([1; 16]), evidence: Evidence::SealedCode(sealed) }
    }

    #[test]
    fn the_longest_approvals_are_as_long_as_was_counted_and_fit_a_pin() {
        let (passkey, sealed) = (encode(&passkey(CREDENTIAL_ID_MAX_BYTES)), encode(&sealed_code()));
        assert_eq!((passkey.len(), sealed.len()), (PASSKEY_MAX_BYTES, SEALED_CODE_MAX_BYTES));
        assert_eq!(pin(&passkey).len(), APPROVAL_PIN_MAX_BYTES);
        assert_eq!(APPROVAL_PIN_MAX_BYTES, 4_689, "as docs/pkcs11.md says");
    }

    #[test]
    fn an_approval_is_read_as_what_was_encoded() {
        for approval in [passkey(16), sealed_code()] {
            let read = read(pin(&encode(&approval)).as_bytes(), &own());
            assert_eq!(read, Ok(Approval::Intent(Box::new(approval))));
        }
    }

    #[test]
    fn an_approval_in_any_other_form_is_none() {
        let good = pin(&encode(&sealed_code()));
        let cbor = encode(&sealed_code());
        let mut long_head = cbor.clone();
        // The head of the intent's 16 bytes, written in two bytes instead of one.
        long_head.splice(8..9, [0x58, 16]);
        assert_eq!(cbor[8], 0x50, "that is where it stands");
        for bad in [
            good[..good.len() - 1].to_owned(),
            format!("{good}A"),
            format!("{good}=="),
            format!(" {good}"),
            good.replacen("csa1_", "CSA1_", 1),
            good.replacen("csa1_", "csa2_", 1) + &"A".repeat(64),
            APPROVAL_PREFIX.to_owned(),
            pin(b"\xa0"),
            pin(&[&cbor[..], &[0]].concat()),
            pin(&long_head),
            pin(&encode(&Approval::Intent(Box::new(sealed_code())))),
            pin(&[0x9f; 4096]),
        ] {
            assert_eq!(read(bad.as_bytes(), &own()), Err(CKR_PIN_INVALID), "{bad}");
        }
        let cbor = BASE64URL_NOPAD.encode(&encode(&passkey(16)));
        assert!(cbor.contains('_'), "standard base64 has another character there");
        let standard = format!("{APPROVAL_PREFIX}{}", cbor.replace('_', "/").replace('-', "+"));
        assert_eq!(read(standard.as_bytes(), &own()), Err(CKR_PIN_INVALID));
    }

    #[test]
    fn the_sessions_own_api_key_and_nothing_point_at_an_earlier_approval() {
        assert_eq!(read(own().expose().as_bytes(), &own()), Ok(Approval::Prior));
        assert_eq!(read(b"", &own()), Ok(Approval::Prior));
    }

    #[test]
    fn any_other_api_key_and_parts_of_one_are_invalid() {
        let other = ApiKey::from_random(&[0xcd; 32], &TenantName::parse("default").unwrap());
        let own = own();
        for bad in [other.expose(), &own.expose()[..60], "cs1_", &format!("{} ", own.expose())] {
            assert_eq!(read(bad.as_bytes(), &own), Err(CKR_PIN_INVALID), "{bad}");
        }
    }

    #[test]
    fn everything_else_is_a_code_if_it_is_short_enough() {
        let code = |text: &str| Ok(Approval::Code(TypedCode::new(text).unwrap()));
        for text in ["123456", "12 456", "csa", &"1".repeat(64)] {
            assert_eq!(read(text.as_bytes(), &own()), code(text));
        }
        assert_eq!(read(&[b'1'; 65], &own()), Err(CKR_PIN_INVALID));
        assert_eq!(read(b"\xff\xff\xff\xff\xff\xff", &own()), Err(CKR_PIN_INVALID));
    }
}
