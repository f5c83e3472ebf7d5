//! Accounts and enrolments.

use super::{KeyShown, Show, duration, headline, line};
use countersign_wire::client::{AccountInfo, Enrolled, TotpHash, TotpParameters};
use serde::Serialize;
use std::fmt::Write;
use zeroize::Zeroizing;

/// `account show`, `confirm` and `unlock`.
#[derive(Serialize)]
pub(crate) struct AccountShown {
    account: String,
    confirmed: bool,
    totp: TotpParameters,
    locked_for_secs: u64,
    consecutive_failures: u16,
    failures_left: u16,
    keys: Vec<KeyShown>,
    payees: Vec<String>,
    devices: u8,
    passkeys: u8,
    /// Which freeze holds it.
    frozen: Option<u64>,
    signatures: u64,
    /// What the audit log calls it.
    log_name: String,
}

impl From<AccountInfo> for AccountShown {
    fn from(account: AccountInfo) -> Self {
        Self {
            account: account.account.to_string(),
            confirmed: account.confirmed,
            totp: account.totp,
            locked_for_secs: account.locked_for_secs,
            consecutive_failures: account.consecutive_failures,
            failures_left: account.failures_left,
            keys: account.keys.iter().map(KeyShown::from).collect(),
            payees: account.payees,
            devices: account.devices,
            passkeys: account.passkeys,
            frozen: account.frozen,
            signatures: account.signatures,
            log_name: account.log_name,
        }
    }
}

impl Show for AccountShown {
    fn for_people(&self, out: &mut String) {
        line(out, "Account", &self.account);
        line(out, "  state", &self.state());
        line(out, "  factor", &factor(self.totp));
        line(out, "  devices", &format!("{}, and {} passkeys", self.devices, self.passkeys));
        line(out, "  signed", &self.signatures.to_string());
        line(out, "  in the log", &self.log_name);
        let failures = format!("{} in a row; {} more allowed", self.consecutive_failures, self.failures_left);
        line(out, "  failures", &failures);
        for payee in &self.payees {
            line(out, "  pays", payee);
        }
        for key in &self.keys {
            key.for_people(out);
        }
    }
}

impl AccountShown {
    fn state(&self) -> String {
        if let Some(freeze) = self.frozen {
            return format!("FROZEN by its user (freeze {freeze}); the HSM's operator can lift it");
        }
        match (self.confirmed, self.locked_for_secs) {
            (false, _) => "waiting for two codes (account confirm)".to_owned(),
            (true, 0) => "confirmed".to_owned(),
            (true, secs) => format!("locked for {}", duration(secs)),
        }
    }
}

fn factor(totp: TotpParameters) -> String {
    let hash = match totp.hash {
        TotpHash::Sha1 => "SHA-1",
        TotpHash::Sha256 => "SHA-256",
        TotpHash::Sha512 => "SHA-512",
    };
    format!("one-time code: {hash}, {} digits, every {} seconds", totp.digits, totp.period_secs)
}

/// `account enroll`. Borrows the secret, which its owner wipes.
#[derive(Serialize)]
pub(crate) struct EnrolledShown<'a> {
    account: &'a str,
    otpauth: &'a str,
    key: KeyShown,
    confirm_within_secs: u64,
    /// Where the QR code was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) qr_file: Option<String>,
    /// The QR code to be printed.
    #[serde(skip)]
    pub(crate) qr: Option<Zeroizing<String>>,
}

impl<'a> EnrolledShown<'a> {
    pub(crate) fn new(account: &'a str, enrolled: &'a Enrolled) -> Self {
        Self {
            account,
            otpauth: &enrolled.otpauth,
            key: KeyShown::from(&enrolled.key),
            confirm_within_secs: enrolled.confirm_within_secs,
            qr_file: None,
            qr: None,
        }
    }
}

impl Show for EnrolledShown<'_> {
    fn for_people(&self, out: &mut String) {
        headline(out, &format!("Enrolled {}.", self.account));
        if let Some(qr) = &self.qr {
            out.push('\n');
            out.push_str(qr);
            out.push_str("\nScan this with an authenticator app. It is shown only this once.\n");
        }
        out.push('\n');
        if let Some(secret) = secret_in(self.otpauth) {
            line(out, "Secret", secret);
        }
        line(out, "Link", self.otpauth);
        if let Some(file) = &self.qr_file {
            line(out, "QR code", &format!("{file} (holds the secret: delete it once it is scanned)"));
        }
        self.key.for_people(out);
        let _ = writeln!(
            out,
            "\nNext, within {}: give two codes of the app, the one right after the other:\n  \
             countersign account confirm {} --code FIRST --code SECOND",
            duration(self.confirm_within_secs),
            self.account,
        );
    }
}

/// The secret alone, in Base32: what is typed into an authenticator app by those who cannot scan.
pub(crate) fn secret_in(otpauth: &str) -> Option<&str> {
    let (_, parameters) = otpauth.split_once('?')?;
    parameters.split('&').find_map(|parameter| parameter.strip_prefix("secret="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_found_wherever_it_stands_in_the_link() {
        assert_eq!(secret_in("otpauth://totp/A:b?secret=GEZDGNBV&issuer=A"), Some("GEZDGNBV"));
        assert_eq!(secret_in("otpauth://totp/A:b?issuer=A&secret=GEZDGNBV"), Some("GEZDGNBV"));
        assert_eq!(secret_in("otpauth://totp/secret=A?issuer=A"), None);
    }
}
