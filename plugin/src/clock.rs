//! Time as the plugin uses it.
//!
//! Two clocks, for two needs. *Unix time* is what codes are checked against; it may jump, so a floor in NVRAM says
//! how late it has been, and below the floor codes are refused. *Elapsed time* is what delays are measured with: the
//! seconds that this HSM has been running over its whole life, carried from boot to boot in NVRAM. A jump of unix
//! time does not move it, so no jump can end a lock early.

use countersign_wire::hal::Time;

/// How far unix time may fall behind the floor before it counts as unsure, in seconds. Within this the floor itself
/// is used, so time never runs back.
const JITTER_SECS: u64 = 2;

/// How far unix time may run ahead of running time within a boot, or lag behind it, in seconds: enough for the corrections of
/// a time service. A larger jump is not believed, and not remembered as a floor either. The floor alone would not tell of a
/// clock that was set back to what was seen last, after nothing was seen for a while.
const JUMP_MAX_SECS: u64 = 600;

/// The present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970; never below the floor.
    pub unix_secs: u64,
    /// Whether unix time can be trusted for checking codes.
    pub sure: bool,
    /// Seconds that this HSM has been running over its whole life.
    pub elapsed_secs: u64,
}

/// The floor and the count of elapsed time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Moment,
    /// The time of the first delivery, or the floor if that was later.
    first: Time,
    last_running_secs: u64,
}

impl Clock {
    /// Starts from what NVRAM remembers and the time of the first delivery.
    pub fn start(floor_unix_secs: u64, elapsed_secs: u64, time: Time) -> Self {
        let mut clock = Self {
            now: Moment { unix_secs: floor_unix_secs, sure: false, elapsed_secs },
            first: Time { unix_secs: time.unix_secs.max(floor_unix_secs), ..time },
            last_running_secs: time.running_secs,
        };
        clock.observe(time);
        clock
    }

    /// Takes note of the time of a delivery.
    pub fn observe(&mut self, time: Time) {
        let floor = self.now.unix_secs;
        let shown_secs = time.unix_secs.saturating_sub(self.first.unix_secs);
        let ran_secs = time.running_secs.saturating_sub(self.first.running_secs);
        let behind = time.unix_secs.saturating_add(JITTER_SECS) < floor;
        self.now.sure = !behind && shown_secs.abs_diff(ran_secs) <= JUMP_MAX_SECS;
        if self.now.sure {
            self.now.unix_secs = floor.max(time.unix_secs);
        }
        let ran = time.running_secs.saturating_sub(self.last_running_secs);
        self.last_running_secs = self.last_running_secs.max(time.running_secs);
        self.now.elapsed_secs = self.now.elapsed_secs.saturating_add(ran);
    }

    /// The present.
    pub fn now(&self) -> Moment {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_secs: u64, running_secs: u64) -> Time {
        Time { unix_secs, running_secs }
    }

    #[test]
    fn i11_a_clock_behind_the_floor_is_unsure_until_it_catches_up() {
        let mut clock = Clock::start(1000, 50, at(900, 7));
        assert_eq!(clock.now(), Moment { unix_secs: 1000, sure: false, elapsed_secs: 50 });
        clock.observe(at(999, 8));
        assert_eq!(clock.now(), Moment { unix_secs: 1000, sure: true, elapsed_secs: 51 });
        clock.observe(at(1200, 9));
        clock.observe(at(1100, 10));
        assert_eq!(clock.now(), Moment { unix_secs: 1200, sure: false, elapsed_secs: 53 });
    }

    #[test]
    fn i11_a_jump_ahead_is_not_believed_and_not_remembered() {
        let mut clock = Clock::start(0, 0, at(10_000, 0));
        clock.observe(at(10_700, 100));
        assert_eq!(clock.now(), Moment { unix_secs: 10_700, sure: true, elapsed_secs: 100 });
        clock.observe(at(10_711, 110));
        assert_eq!(clock.now(), Moment { unix_secs: 10_700, sure: false, elapsed_secs: 110 });
        clock.observe(at(10_720, 120));
        assert_eq!(clock.now(), Moment { unix_secs: 10_720, sure: true, elapsed_secs: 120 });
    }

    #[test]
    fn i11_a_clock_that_was_set_back_while_nothing_was_seen_is_not_believed() {
        let mut clock = Clock::start(0, 0, at(10_000, 0));
        // A day without a delivery, and then the time that was seen last once more.
        clock.observe(at(10_000, 86_400));
        assert_eq!(clock.now(), Moment { unix_secs: 10_000, sure: false, elapsed_secs: 86_400 });
        clock.observe(at(10_000 + 86_400 - 600, 86_400));
        assert!(clock.now().sure, "a correction is believed");
        clock.observe(at(10_000 + 86_400 - 601, 86_401));
        assert!(!clock.now().sure);
    }

    #[test]
    fn i11_what_is_behind_by_no_more_than_the_jitter_is_believed() {
        let mut clock = Clock::start(1000, 0, at(1000, 0));
        clock.observe(at(1000 - JITTER_SECS, 1));
        assert_eq!(clock.now(), Moment { unix_secs: 1000, sure: true, elapsed_secs: 1 });
        clock.observe(at(1000 - JITTER_SECS - 1, 2));
        assert!(!clock.now().sure);
    }

    #[test]
    fn a_jump_of_unix_time_moves_no_delay() {
        let mut clock = Clock::start(0, 0, at(1000, 0));
        clock.observe(at(1_000_000, 1));
        assert_eq!(clock.now().elapsed_secs, 1);
    }
}
