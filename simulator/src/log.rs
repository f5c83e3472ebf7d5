//! The firmware's log: one line for each event on standard error, for people or for programs. No secrets, no request
//! bodies, no account names. `docs/observability.md` lists the events.

use core::fmt::Display;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use serde_json::{Map, Value};
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What every line for people begins with.
pub const PREFIX: &str = "countersign-hsm: ";

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A sentence for people.
    #[default]
    Text,
    /// One JSON object: `time`, `level`, `event`, `message`, and the fields of the event.
    Json,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All is as it should be.
    Info,
    /// It goes on, but somebody should know.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// The word in the log.
    pub const fn word(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident, $word:literal, $level:ident;)*) => {
        /// What happened. The words are stable: programs may match on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $variant,)*
        }

        impl Event {
            /// Every event there is, in the order of the documentation.
            pub const ALL: &[Event] = &[$(Event::$variant),*];

            /// The stable kebab-case word.
            pub const fn word(self) -> &'static str {
                match self { $(Event::$variant => $word),* }
            }

            /// How much it matters.
            pub const fn level(self) -> Level {
                match self { $(Event::$variant => Level::$level),* }
            }
        }
    };
}

events! {
    /// The plugin serves.
    PluginReady, "plugin-ready", Info;
    /// The plugin's process ended.
    PluginEnded, "plugin-ended", Info;
    /// Metrics can be read.
    MetricsServed, "metrics-served", Info;
    /// Something without a word of its own.
    Note, "note", Info;
    /// The plugin is started again.
    PluginRestarted, "plugin-restarted", Warn;
    /// The plugin is gone without a word.
    PluginGone, "plugin-gone", Warn;
    /// The plugin wrote to its standard error.
    PluginSaid, "plugin-said", Warn;
    /// A layer of the sandbox is not available.
    LayerMissing, "sandbox-layer-missing", Warn;
    /// The firmware's memory may reach swap.
    MemoryNotLocked, "memory-not-locked", Warn;
    /// A tenant has the policy for development.
    PolicyMissing, "policy-missing", Warn;
    /// A process of a user who is not admitted connected.
    Stranger, "stranger-refused", Warn;
    /// All places for connections are taken.
    ConnectionsFull, "connections-full", Warn;
    /// A connection could not be accepted or served.
    ConnectionFailed, "connection-failed", Warn;
    /// An outdated file of the store stays.
    StoreFileStays, "store-file-stays", Warn;
    /// Traces cannot be written.
    TracesFailed, "traces-failed", Warn;
    /// The disk of the store is full.
    StoreFull, "store-full", Error;
    /// The disk of the store does not give what it was asked for.
    StoreUnreadable, "store-unreadable", Error;
    /// A write to the store failed, or a file of it changed.
    StoreFailed, "store-failed", Error;
    /// A write to NVRAM failed.
    NvramFailed, "nvram-failed", Error;
    /// The random number generator failed.
    RngFailed, "rng-failed", Error;
    /// The keystore refused something.
    KeystoreFailed, "keystore-failed", Error;
    /// The plugin refuses to go on.
    PluginHalted, "plugin-halted", Error;
    /// A command, or the HSM, ended with an error.
    Failed, "failed", Error;
    /// A fault of the program itself.
    InternalFault, "internal-fault", Error;
}

static AS_JSON: AtomicBool = AtomicBool::new(false);
static COUNTS: [AtomicU64; Event::ALL.len()] = [const { AtomicU64::new(0) }; Event::ALL.len()];

/// From here on lines are written in this format.
pub fn set_format(format: Format) {
    AS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// How often each event happened, in the order of [`Event::ALL`].
pub fn counts() -> impl Iterator<Item = (Event, u64)> {
    Event::ALL.iter().zip(&COUNTS).map(|(event, count)| (*event, count.load(Ordering::Relaxed)))
}

/// Writes a line about something that has no word of its own.
pub fn line(text: impl Display) {
    say(Event::Note, text);
}

/// Writes one line.
pub fn say(event: Event, message: impl Display) {
    say_with(event, &[], message);
}

/// Writes one line, with what programs may want to know of it. A log that cannot be written stops nothing.
pub fn say_with(event: Event, fields: &[(&str, Value)], message: impl Display) {
    COUNTS[event as usize].fetch_add(1, Ordering::Relaxed);
    let line = if AS_JSON.load(Ordering::Relaxed) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        json(event, fields, &message.to_string(), since)
    } else {
        format!("{PREFIX}{message}")
    };
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn json(event: Event, fields: &[(&str, Value)], message: &str, since_1970: Duration) -> String {
    let mut object = Map::new();
    object.insert("time".into(), utc(since_1970).into());
    object.insert("level".into(), event.level().word().into());
    object.insert("event".into(), event.word().into());
    object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    object.insert("message".into(), message.into());
    Value::Object(object).to_string()
}

/// RFC 3339, in UTC, to the millisecond.
fn utc(since_1970: Duration) -> String {
    let secs = since_1970.as_secs();
    let (days, second) = (secs / 86_400, secs % 86_400);
    let (mut year, mut day) = (1970, days);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since_1970.subsec_millis();
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // As `date -u -d @N +%FT%TZ` tells them.
        for (secs, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (978_307_199, "2000-12-31T23:59:59"),
            (1_767_225_600, "2026-01-01T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(utc(Duration::from_secs(secs)), format!("{text}.000Z"));
        }
        assert_eq!(utc(Duration::from_millis(1_007)), "1970-01-01T00:00:01.007Z");
    }

    #[test]
    fn a_line_for_programs_is_one_object_on_one_line_whatever_it_says() {
        let line =
            json(Event::PluginSaid, &[("exit_code", 4.into())], "two\nlines \"quoted\"", Duration::ZERO);
        assert!(!line.contains('\n'));
        let object: Map<String, Value> = serde_json::from_str(&line).unwrap();
        assert_eq!(object["event"], "plugin-said");
        assert_eq!((&object["level"], &object["exit_code"]), (&"warn".into(), &4.into()));
        assert_eq!(object["message"], "two\nlines \"quoted\"");
    }

    #[test]
    fn words_of_events_are_unique() {
        let words: std::collections::BTreeSet<_> = Event::ALL.iter().map(|event| event.word()).collect();
        assert_eq!(words.len(), Event::ALL.len());
        // Counts are found by the order of the events.
        assert!(Event::ALL.iter().enumerate().all(|(at, event)| *event as usize == at));
    }
}
