//! The user's side: an authenticator app.

use anyhow::{Context, Result};
use countersign_wire::client::ClockMode;
use std::thread;
use std::time::Duration;
use totp_rs::Totp;

/// Codes are not used when their step ends this soon.
const MARGIN_SECS: u64 = 2;

/// An authenticator app that has scanned one QR code.
pub(crate) struct Phone(Totp);

impl Phone {
    /// Scans the QR code of an otpauth URI.
    pub(crate) fn scan(otpauth: &str) -> Result<Self> {
        // The error of `Totp` may repeat parts of the URI, which holds a secret.
        Totp::from_url(otpauth).ok().map(Self).context("the otpauth URI cannot be read by totp-rs")
    }

    /// What it shows at a time.
    pub(crate) fn code_at(&self, unix_secs: u64) -> String {
        self.0.generate(unix_secs).to_string()
    }

    /// What it showed one step ago and what it shows at a time: two consecutive codes of which neither lies ahead,
    /// so that the next step's code is still unused.
    pub(crate) fn last_two_codes(&self, unix_secs: u64) -> (String, String) {
        (self.code_at(unix_secs.saturating_sub(self.0.step())), self.code_at(unix_secs))
    }

    /// What it showed in the two steps before: two consecutive codes that the HSM still takes, so that what it shows now is
    /// unused, too.
    pub(crate) fn two_codes_before(&self, unix_secs: u64) -> (String, String) {
        self.last_two_codes(unix_secs.saturating_sub(self.0.step()))
    }

    /// A time at which the codes stay as they are for a moment, so that they do not change on their way to the HSM:
    /// `unix_secs`, or on a running clock the beginning of the next step, after having waited for it.
    pub(crate) fn wait_for_steady_codes(&self, clock: ClockMode, unix_secs: u64) -> u64 {
        let left_secs = self.0.step() - unix_secs % self.0.step();
        if clock == ClockMode::Manual || left_secs > MARGIN_SECS {
            return unix_secs;
        }
        thread::sleep(Duration::from_secs(left_secs));
        unix_secs + left_secs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6238, appendix B: SHA-1, the ASCII secret "12345678901234567890", 8 digits.
    const URI: &str = "otpauth://totp/Countersign:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Countersign&algorithm=SHA1&digits=8&period=30";

    #[test]
    fn shows_the_codes_of_rfc_6238() {
        let phone = Phone::scan(URI).unwrap();
        assert_eq!(phone.code_at(59), "94287082");
        assert_eq!(phone.code_at(1_111_111_109), "07081804");
        assert_eq!(phone.last_two_codes(1_111_111_111), ("07081804".to_owned(), "14050471".to_owned()));
        assert_eq!(phone.two_codes_before(1_111_111_141), ("07081804".to_owned(), "14050471".to_owned()));
        assert_eq!(phone.wait_for_steady_codes(ClockMode::System, 60), 60);
        assert_eq!(phone.wait_for_steady_codes(ClockMode::Manual, 59), 59);
    }

    #[test]
    fn an_unreadable_uri_is_not_repeated() {
        let error = Phone::scan("otpauth://totp/x?secret=hunter2!").err().unwrap();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
