//! SIGINT and SIGTERM, as events instead of sudden death.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::thread;

/// From here on SIGINT and SIGTERM no longer end this process; each calls `then` with its number, on a thread of
/// its own.
pub(crate) fn on_stop_signal(mut then: impl FnMut(i32) + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for signals")?;
    thread::spawn(move || {
        for signal in signals.forever() {
            then(signal);
        }
    });
    Ok(())
}
