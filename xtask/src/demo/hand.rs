//! Who holds a phone: totp-rs plays it, or a person reads it.

use super::narrator::Narrator;
use crate::hsm::status;
use crate::phone::Phone;
use anyhow::{Context, Result, bail};
use countersign_client::{Client, HostConfig, advance_clock};
use std::io::{Write, stdin, stdout};

/// The length of a time step.
const STEP_SECS: u64 = 30;

/// The hand that holds a phone.
pub(super) enum Hand {
    /// The phone is played, and a manual clock is moved on when it is to show its next code.
    Played(Phone),
    /// A person scanned the QR code.
    Person,
}

/// What a hand needs to know the HSM's time.
pub(super) struct Time<'a> {
    pub(super) client: &'a Client,
    pub(super) config: &'a HostConfig,
}

impl Time<'_> {
    /// The HSM's time.
    pub(super) fn now(&self) -> Result<u64> {
        Ok(status(self.client)?.unix_time_secs)
    }

    /// Moves a manual clock on.
    pub(super) fn advance(&self, secs: u64) -> Result<()> {
        advance_clock(self.config, secs).context("the manual clock did not move")?;
        Ok(())
    }
}

impl Hand {
    /// Two codes in a row, to confirm an enrolment.
    pub(super) fn two_codes(&self, time: &Time<'_>, narrator: &Narrator) -> Result<(String, String)> {
        match self {
            Self::Played(phone) => {
                let status = status(time.client)?;
                Ok(phone.last_two_codes(phone.wait_for_steady_codes(status.clock, status.unix_time_secs)))
            }
            Self::Person => {
                narrator
                    .tell("Scan it, then type the code that the phone shows, and the one that follows it.");
                Ok((ask("first code")?, ask("next code")?))
            }
        }
    }

    /// A code that was never shown before.
    pub(super) fn next_code(&self, time: &Time<'_>, narrator: &Narrator) -> Result<String> {
        match self {
            Self::Played(phone) => {
                time.advance(STEP_SECS)?;
                Ok(phone.code_at(time.now()?))
            }
            Self::Person => {
                narrator.tell("Wait until the phone shows a code that you have not typed yet.");
                ask("code")
            }
        }
    }
}

/// Reads one line from the terminal.
fn ask(what: &str) -> Result<String> {
    print!("   {what}: ");
    stdout().flush()?;
    let mut line = String::new();
    if stdin().read_line(&mut line)? == 0 {
        bail!("the terminal was closed");
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
