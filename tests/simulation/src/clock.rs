//! The HSM's two clocks, and the one that nobody in the simulation can see but the checkers: how long it has been on.

use crate::choices::Choices;
use countersign_wire::hal::Time;

/// Where simulated time begins.
pub const START_UNIX_SECS: u64 = 1_800_000_000;

/// The clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What the HSM's real-time clock shows; may jump.
    pub unix_secs: u64,
    running_secs: u64,
    /// How long the HSM has been running over its whole life.
    pub powered_secs: u64,
}

impl Clock {
    /// At the start.
    pub fn new() -> Self {
        Self { unix_secs: START_UNIX_SECS, running_secs: 0, powered_secs: 0 }
    }

    /// What a delivery says.
    pub fn now(&self) -> Time {
        Time { unix_secs: self.unix_secs, running_secs: self.running_secs }
    }

    /// Time passes while the HSM runs.
    pub fn advance(&mut self, secs: u64) {
        self.unix_secs += secs;
        self.running_secs += secs;
        self.powered_secs += secs;
    }

    /// The real-time clock jumps.
    pub fn jump(&mut self, secs: i64) {
        self.unix_secs = self.unix_secs.saturating_add_signed(secs);
    }

    /// The firmware starts: the running clock begins anywhere, and some time has passed without power.
    pub fn restart(&mut self, rng: &mut Choices) {
        self.running_secs = rng.u64(..1_000_000);
        self.unix_secs += rng.u64(..20);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
