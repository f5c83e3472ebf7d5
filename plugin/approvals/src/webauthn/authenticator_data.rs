//! Authenticator data (WebAuthn level 3 section 6.1): 32 bytes hash of the RP id, 1 of flags, 4 of counter, and at
//! registration the credential (section 6.5.1): 16 bytes AAGUID, 2 of length, credential id, key. Extension data may follow: browsers
//! ask for some by themselves (`credProtect`). It is read as far as it takes to find its end, and nothing in it means anything here.

use super::{AUTHENTICATOR_DATA_MAX_BYTES, CREDENTIAL_ID_MAX_BYTES, PasskeyProblem};
use crate::es256::PublicKey;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED_CREDENTIAL: u8 = 0x40;
const EXTENSION_DATA: u8 = 0x80;
/// Reserved bits.
const NEVER: u8 = 0x02 | 0x20;

#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    pub(super) rp_id_hash: [u8; 32],
    flags: u8,
    pub(super) sign_count: u32,
    /// At registration, and never else.
    pub(super) credential: Option<Credential<'a>>,
}

#[derive(Debug)]
pub(super) struct Credential<'a> {
    pub(super) id: &'a [u8],
    pub(super) public_key: PublicKey,
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all of it; nothing may be left over.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, PasskeyProblem> {
        let malformed = PasskeyProblem::Malformed;
        if bytes.len() > AUTHENTICATOR_DATA_MAX_BYTES {
            return Err(malformed);
        }
        let (rp_id_hash, rest) = bytes.split_first_chunk().ok_or(malformed)?;
        let (flags, rest) = rest.split_first().ok_or(malformed)?;
        let (sign_count, rest) = rest.split_first_chunk().ok_or(malformed)?;
        let (credential, rest) = match (flags & NEVER, flags & ATTESTED_CREDENTIAL) {
            (0, 0) => (None, rest),
            (0, ATTESTED_CREDENTIAL) => {
                let (credential, rest) = Credential::parse(rest)?;
                (Some(credential), rest)
            }
            _ => return Err(malformed),
        };
        let rest = if flags & EXTENSION_DATA == 0 { rest } else { after_map(rest).ok_or(malformed)? };
        if !rest.is_empty() {
            return Err(malformed);
        }
        let sign_count = u32::from_be_bytes(*sign_count);
        Ok(Self { rp_id_hash: *rp_id_hash, flags: *flags, sign_count, credential })
    }

    pub(super) fn backup_eligible(&self) -> bool {
        self.flags & BACKUP_ELIGIBLE != 0
    }

    pub(super) fn backed_up(&self) -> bool {
        self.flags & BACKED_UP != 0
    }

    /// Sections 7.1 steps 15 to 17 and 7.2 steps 16 to 18: the user was there and was verified, and nothing is backed up
    /// that cannot be.
    pub(super) fn check_user(&self) -> Result<(), PasskeyProblem> {
        if self.flags & USER_PRESENT == 0 {
            Err(PasskeyProblem::UserNotPresent)
        } else if self.flags & USER_VERIFIED == 0 {
            Err(PasskeyProblem::UserNotVerified)
        } else if self.backed_up() && !self.backup_eligible() {
            Err(PasskeyProblem::BackupFlags)
        } else {
            Ok(())
        }
    }
}

/// The start of an ES256 key in COSE (RFC 9053 section 7.1.1) and CTAP2's canonical CBOR, up to its x coordinate: a map of
/// five; 1 (kty): 2 (EC2); 3 (alg): -7 (ES256); -1 (crv): 1 (P-256); -2 (x): 32 bytes.
const KEY_TO_X: [u8; 10] = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];

/// What stands between the coordinates: -3 (y): 32 bytes.
const KEY_TO_Y: [u8; 3] = [0x22, 0x58, 0x20];

/// How long the only supported key is.
const KEY_BYTES: usize = KEY_TO_X.len() + 32 + KEY_TO_Y.len() + 32;

impl<'a> Credential<'a> {
    /// The credential, and what follows it.
    fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), PasskeyProblem> {
        let malformed = PasskeyProblem::Malformed;
        let (_aaguid, rest) = bytes.split_first_chunk::<16>().ok_or(malformed)?;
        let (length, rest) = rest.split_first_chunk().ok_or(malformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 || length > CREDENTIAL_ID_MAX_BYTES {
            return Err(malformed);
        }
        let (id, key) = rest.split_at_checked(length).ok_or(malformed)?;
        let (key, rest) = key.split_at_checked(KEY_BYTES).ok_or(PasskeyProblem::UnsupportedKey)?;
        let public_key = public_key(key).ok_or(PasskeyProblem::UnsupportedKey)?;
        Ok((Self { id, public_key }, rest))
    }
}

/// The one form that an ES256 key has in canonical COSE.
fn public_key(cose: &[u8]) -> Option<PublicKey> {
    let (x, rest) = cose.strip_prefix(&KEY_TO_X)?.split_first_chunk::<32>()?;
    let y: &[u8; 32] = rest.strip_prefix(&KEY_TO_Y)?.try_into().ok()?;
    PublicKey::parse(&[&[4], x.as_slice(), y].concat()).ok()
}

/// How deep extension data is nested at the most.
const DEPTH_MAX: u8 = 4;

/// What follows a CBOR map.
fn after_map(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.first()? >> 5 == 5 { after_item(bytes, DEPTH_MAX) } else { None }
}

/// What follows one CBOR item (RFC 8949 section 3) of definite length, without tags and floats.
fn after_item(bytes: &[u8], depth: u8) -> Option<&[u8]> {
    let (head, rest) = bytes.split_first()?;
    let (kind, info) = (head >> 5, head & 0x1f);
    let length_bytes = match info {
        0..=23 => 0,
        24 => 1,
        25 => 2,
        26 => 4,
        _ => return None,
    };
    let (length, mut rest) = rest.split_at_checked(length_bytes)?;
    let number = length.iter().fold(0, |number: usize, byte| number << 8 | usize::from(*byte));
    let number = if length_bytes == 0 { usize::from(info) } else { number };
    let items = match kind {
        0 | 1 => return Some(rest),
        2 | 3 => return rest.split_at_checked(number).map(|(_, rest)| rest),
        4 => number,
        5 => number.checked_mul(2)?,
        7 if (20..=22).contains(&info) => return Some(rest),
        _ => return None,
    };
    // Each item takes a byte at the least, so that the loop ends with the bytes.
    for _ in 0..items {
        rest = after_item(rest, depth.checked_sub(1)?)?;
    }
    Some(rest)
}
