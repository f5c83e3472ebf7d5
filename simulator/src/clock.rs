//! The HSM's clock: the machine's, or one that stands still until it is advanced.

use crate::HsmError;
use crate::nvram::{CLOCK_SLOT_BYTES, Slots};
use countersign_wire::client::ClockMode;
use countersign_wire::hal::Time;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The furthest that one request may advance a manual clock: ten years.
pub const ADVANCE_MAX_SECS: u64 = 10 * 365 * 24 * 60 * 60;

/// Why a clock was not advanced.
#[derive(Debug)]
pub enum AdvanceError {
    /// The clock follows the machine.
    NotManual,
    /// More than [`ADVANCE_MAX_SECS`], or past what the clock can show.
    TooFar,
    /// The new value could not be made durable, so the clock still shows the old one.
    Io(std::io::Error),
}

impl core::fmt::Display for AdvanceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            AdvanceError::NotManual => {
                f.write_str("this HSM's clock follows its machine and cannot be advanced")
            }
            AdvanceError::TooFar => {
                write!(f, "a clock is advanced by at most {ADVANCE_MAX_SECS} seconds at once")
            }
            AdvanceError::Io(error) => write!(f, "the clock's new value could not be kept: {error}"),
        }
    }
}

impl std::error::Error for AdvanceError {}

/// The clock.
#[derive(Debug)]
pub struct Clock(Kind);

#[derive(Debug)]
enum Kind {
    System { started: Instant },
    Manual { slots: Mutex<Slots>, now_unix_secs: AtomicU64, started_unix_secs: u64 },
}

impl Clock {
    /// Keeps the present as the value of a manual clock.
    pub fn create_manual(path: &Path) -> Result<(), HsmError> {
        Slots::create(path, CLOCK_SLOT_BYTES, &machine_unix_secs().to_be_bytes())
    }

    /// Opens the clock; `path` is where a manual one keeps its value.
    pub fn open(mode: ClockMode, path: &Path) -> Result<Self, HsmError> {
        if mode == ClockMode::System {
            return Ok(Self(Kind::System { started: Instant::now() }));
        }
        let slots = Slots::open(path, CLOCK_SLOT_BYTES)?;
        let Ok(bytes) = <[u8; 8]>::try_from(slots.content()) else {
            return Err(HsmError::StoreRefused(format!("{} does not hold a clock", path.display())));
        };
        let unix_secs = u64::from_be_bytes(bytes);
        Ok(Self(Kind::Manual {
            slots: Mutex::new(slots),
            now_unix_secs: AtomicU64::new(unix_secs),
            started_unix_secs: unix_secs,
        }))
    }

    /// Where time comes from.
    pub fn mode(&self) -> ClockMode {
        match self.0 {
            Kind::System { .. } => ClockMode::System,
            Kind::Manual { .. } => ClockMode::Manual,
        }
    }

    /// The present. A manual clock's running time moves with it, so that delays pass when it is advanced.
    pub fn now(&self) -> Time {
        match &self.0 {
            Kind::System { started } => {
                Time { unix_secs: machine_unix_secs(), running_secs: started.elapsed().as_secs() }
            }
            Kind::Manual { now_unix_secs, started_unix_secs, .. } => {
                let unix_secs = now_unix_secs.load(Ordering::Acquire);
                Time { unix_secs, running_secs: unix_secs - started_unix_secs }
            }
        }
    }

    /// Advances a manual clock, durably, and returns the new time in seconds since 1970.
    pub fn advance(&self, secs: u64) -> Result<u64, AdvanceError> {
        let Kind::Manual { slots, now_unix_secs, .. } = &self.0 else { return Err(AdvanceError::NotManual) };
        if secs > ADVANCE_MAX_SECS {
            return Err(AdvanceError::TooFar);
        }
        let mut slots = slots.lock().expect("nothing panics while it holds the clock");
        let now = now_unix_secs.load(Ordering::Acquire).checked_add(secs).ok_or(AdvanceError::TooFar)?;
        slots.write(&now.to_be_bytes()).map_err(AdvanceError::Io)?;
        now_unix_secs.store(now, Ordering::Release);
        Ok(now)
    }
}

/// A machine clock set before 1970 shows 1970: the plugin then finds it behind and refuses codes.
fn machine_unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_is_advanced_durably_and_never_falls() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        Clock::create_manual(&path).unwrap();
        let clock = Clock::open(ClockMode::Manual, &path).unwrap();
        let start = clock.now();
        assert!(start.unix_secs > 1_700_000_000);
        assert_eq!(start.running_secs, 0);
        assert_eq!(clock.advance(30).unwrap(), start.unix_secs + 30);
        assert_eq!(clock.now(), Time { unix_secs: start.unix_secs + 30, running_secs: 30 });
        assert!(matches!(clock.advance(ADVANCE_MAX_SECS + 1), Err(AdvanceError::TooFar)));
        drop(clock);
        let reopened = Clock::open(ClockMode::Manual, &path).unwrap();
        assert_eq!(reopened.now(), Time { unix_secs: start.unix_secs + 30, running_secs: 0 });
    }

    #[test]
    fn refuses_to_advance_a_system_clock() {
        let clock = Clock::open(ClockMode::System, Path::new("/nonexistent")).unwrap();
        assert!(matches!(clock.advance(30), Err(AdvanceError::NotManual)));
    }
}
