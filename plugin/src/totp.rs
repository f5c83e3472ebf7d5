//! Time-based one-time codes: RFC 6238 over RFC 4226, compared in constant time.
//!
//! The MACs come from the keystore, one for each candidate step; this module truncates and compares them.

use countersign_wire::client::{TotpHash, TotpParameters};
use countersign_wire::hal::Secret;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeLess};
use zeroize::Zeroize;

/// Steps accepted on each side of the current one (RFC 6238 section 5.2 recommends at most one).
pub const WINDOW_STEPS: u64 = 1;

/// Whether a factor may have these parameters: SHA-1, SHA-256 or SHA-512; 6 or 8 digits; 30 or 60 seconds.
pub fn is_supported(totp: &TotpParameters) -> bool {
    matches!(totp.digits, 6 | 8) && matches!(totp.period_secs, 30 | 60)
}

/// The time step that `unix_secs` lies in (RFC 6238 section 4.2, T0 = 0).
pub fn step_at(unix_secs: u64, totp: &TotpParameters) -> u64 {
    unix_secs / u64::from(totp.period_secs.max(1))
}

/// The steps whose codes are accepted when `current` is the current step, ascending.
pub fn window(current: u64) -> Vec<u64> {
    (current.saturating_sub(WINDOW_STEPS)..=current.saturating_add(WINDOW_STEPS)).collect()
}

/// Exactly the digits that a factor's codes have: holding one proves the form. Zeroized on drop, never printed.
#[derive(Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Code {
    value: u32,
}

/// Not exactly as many ASCII digits as the factor's codes have. Nothing is trimmed or normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedCode;

impl Code {
    /// The one constructor.
    pub fn parse(text: &str, digits: u8) -> Result<Self, MalformedCode> {
        if text.len() != usize::from(digits) || digits > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MalformedCode);
        }
        text.parse().map(|value| Self { value }).map_err(|_| MalformedCode)
    }
}

/// Dynamic truncation (RFC 4226 section 5.3): the low-order digits of 31 bits chosen by the MAC's last nibble.
/// A MAC too short to be one (none shorter than 20 bytes exists here) gives `None`, which matches no code.
pub(crate) fn truncate(mac: &[u8], digits: u8) -> Option<u32> {
    let offset = usize::from(mac.last()? & 0x0f);
    let word: [u8; 4] = mac.get(offset..offset + 4)?.try_into().ok()?;
    Some((u32::from_be_bytes(word) & 0x7fff_ffff) % 10u32.checked_pow(u32::from(digits))?)
}

/// What a code matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The highest step in the window that it matched, above every used one.
    Fresh(u64),
    /// Only steps at or below the highest used one.
    Used,
    /// Nothing.
    None,
}

/// Compares `code` with the code of every step. Takes the same time whatever matches.
///
/// `macs` holds one MAC for each of `steps`. A step at or below `highest_used_step` never matches (RFC 6238
/// section 5.2: "The verifier MUST NOT accept the second attempt of the OTP").
pub fn check(code: &Code, steps: &[u64], macs: &[Secret], digits: u8, highest_used_step: u64) -> Match {
    let mut tally = Tally::default();
    for (step, mac) in steps.iter().zip(macs) {
        tally.note(equals(code, mac, digits), highest_used_step.ct_lt(step), *step);
    }
    tally.outcome()
}

/// What was matched so far, without a branch on it. Steps come in ascending order, so the last fresh one is the highest.
struct Tally {
    fresh: Choice,
    used: Choice,
    highest: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { fresh: Choice::from(0), used: Choice::from(0), highest: 0 }
    }
}

impl Tally {
    fn note(&mut self, equal: Choice, unused: Choice, step: u64) {
        self.highest.conditional_assign(&step, equal & unused);
        self.fresh |= equal & unused;
        self.used |= equal & !unused;
    }

    fn outcome(self) -> Match {
        match (bool::from(self.fresh), bool::from(self.used)) {
            (true, _) => Match::Fresh(self.highest),
            (false, true) => Match::Used,
            (false, false) => Match::None,
        }
    }
}

/// The steps whose MACs [`check_pair`] needs: one more than the window, since the first code is one step older.
pub fn pair_window(current: u64) -> Vec<u64> {
    (current.saturating_sub(WINDOW_STEPS + 1)..=current.saturating_add(WINDOW_STEPS)).collect()
}

/// Two codes of consecutive steps, the second inside the window: the second's step, if both steps are unused.
/// Takes the same time whatever matches.
pub fn check_pair(
    codes: [&Code; 2],
    steps: &[u64],
    macs: &[Secret],
    digits: u8,
    highest_used_step: u64,
) -> Match {
    let mut tally = Tally::default();
    for (pair, macs) in steps.windows(2).zip(macs.windows(2)) {
        let ([first_step, second_step], [first_mac, second_mac]) = (pair, macs) else { continue };
        let equal = equals(codes[0], first_mac, digits) & equals(codes[1], second_mac, digits);
        tally.note(equal, highest_used_step.ct_lt(first_step), *second_step);
    }
    tally.outcome()
}

fn equals(code: &Code, mac: &Secret, digits: u8) -> Choice {
    // Truncation branches on nothing but lengths, which are public.
    truncate(mac.expose(), digits).map_or(Choice::from(0), |expected| code.value.ct_eq(&expected))
}

/// The URI that authenticator apps read (Key Uri Format): `otpauth://totp/Countersign:ACCOUNT?secret=…`.
pub fn otpauth_uri(account: &str, secret: &Secret, totp: &TotpParameters) -> String {
    let hash = match totp.hash {
        TotpHash::Sha1 => "SHA1",
        TotpHash::Sha256 => "SHA256",
        TotpHash::Sha512 => "SHA512",
    };
    let mut base32 = data_encoding::BASE32_NOPAD.encode(secret.expose());
    // Of the characters that a name can have, only '@' needs escaping (RFC 3986 section 3.3).
    let label = account.replace('@', "%40");
    // One allocation of the full size, so that no shorter copy of the secret is left behind by growth.
    let mut uri = String::with_capacity(160 + label.len() + base32.len());
    for part in
        ["otpauth://totp/Countersign:", &label, "?secret=", &base32, "&issuer=Countersign&algorithm=", hash]
    {
        uri.push_str(part);
    }
    for part in ["&digits=", if totp.digits == 8 { "8" } else { "6" }, "&period="] {
        uri.push_str(part);
    }
    uri.push_str(if totp.period_secs == 60 { "60" } else { "30" });
    base32.zeroize();
    uri
}

#[cfg(test)]
mod tests;
