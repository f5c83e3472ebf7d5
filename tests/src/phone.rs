//! The user's authenticator app, played by `totp-rs`.

use totp_rs::Totp;

/// Seconds of a time step of the factors that the tests enrol.
pub const STEP_SECS: u64 = 30;

/// One enrolled authenticator.
#[derive(Clone, Debug)]
pub struct Phone {
    totp: Totp,
    otpauth: String,
}

impl Phone {
    /// Scans the QR code's content.
    pub fn scan(otpauth: &str) -> Self {
        let totp =
            Totp::from_url(otpauth).expect("the HSM's otpauth URI is one that authenticator apps read");
        Self { totp, otpauth: otpauth.to_owned() }
    }

    /// The authenticator of a factor with the default parameters whose secret is known.
    pub fn of_secret(secret: &[u8]) -> Self {
        let secret = data_encoding::BASE32_NOPAD.encode(secret);
        Self::scan(&format!("otpauth://totp/Countersign:user?secret={secret}&issuer=Countersign"))
    }

    /// What was scanned.
    pub fn otpauth(&self) -> &str {
        &self.otpauth
    }

    /// What the phone shows at that time.
    pub fn code(&self, unix_secs: u64) -> String {
        self.totp.generate(unix_secs).to_string()
    }

    /// What it shows `steps` time steps later (or earlier) than that time.
    pub fn code_steps_off(&self, unix_secs: u64, steps: i64) -> String {
        let step_secs = i64::try_from(self.totp.step()).expect("a step is 30 or 60 seconds");
        self.code(unix_secs.checked_add_signed(steps * step_secs).expect("tests stay near the present"))
    }

    /// Digits of the right number that the phone shows at no time near `unix_secs`.
    pub fn wrong_code(&self, unix_secs: u64) -> String {
        let near: Vec<String> = (-40..=40).map(|steps| self.code_steps_off(unix_secs, steps)).collect();
        let digits = usize::from(self.totp.digits());
        (0..200u32)
            .map(|guess| format!("{guess:0digits$}"))
            .find(|guess| !near.contains(guess))
            .expect("81 codes do not cover 200 guesses")
    }

    /// The secret itself, to look for where it must not be.
    pub fn secret(&self) -> &[u8] {
        self.totp.secret().as_bytes()
    }
}
