//! The way to the plugin: one socket that many threads write frames to.
//!
//! Whoever finds the socket free writes what has gathered, its own frame and those of others, in one call; whoever
//! finds it taken leaves its frame and goes on. A plugin that does not read fills the buffer, and then writers wait.
//! The thread that reads from the plugin never writes here, so that the two sides cannot wait for each other.

use crate::ops::Hardware;
use countersign_wire::hal::{Delivery, Event};
use countersign_wire::{encode_packed, frame};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use zeroize::{Zeroize, Zeroizing};

/// Writers wait when this much has gathered.
const GATHERED_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A buffer that grew beyond this is given back after use.
const KEPT_BYTES: usize = 256 * 1024;

/// The plugin is gone, and the event went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginGone;

/// The way to one running plugin.
pub struct PluginLink {
    hardware: Arc<Hardware>,
    socket: UnixStream,
    outbox: Mutex<Outbox>,
    room: Condvar,
}

#[derive(Default)]
struct Outbox {
    gathered: Vec<u8>,
    spare: Vec<u8>,
    writing: bool,
    closed: bool,
}

/// Wipes a request, which has an API key and perhaps a code. What else is secret wipes itself.
fn wipe(event: &mut Event) {
    if let Event::Request { payload, .. } = event {
        payload.as_mut_slice().zeroize();
    }
}

impl Outbox {
    /// Wipes what nobody will read any more: requests with API keys and codes, and results of the keystore.
    fn forget(&mut self) {
        self.gathered.as_mut_slice().zeroize();
        self.gathered.clear();
    }
}

impl PluginLink {
    /// The way to the plugin at the other end of `socket`.
    pub fn new(hardware: Arc<Hardware>, socket: UnixStream) -> Self {
        Self { hardware, socket, outbox: Mutex::default(), room: Condvar::new() }
    }

    /// Sends an event with the present time. Returns when it is on its way; waits only for room.
    pub fn deliver(&self, mut event: Event) -> Result<(), PluginGone> {
        let mut outbox = self.lock();
        while outbox.gathered.len() >= GATHERED_MAX_BYTES && !outbox.closed {
            outbox = self.wait(outbox);
        }
        if outbox.closed {
            wipe(&mut event);
            return Err(PluginGone);
        }
        // The clock is read here, under the lock, so that time never falls from one delivery to the next.
        let mut delivery = Delivery { time: self.hardware.now(), event };
        let encoded = Zeroizing::new(encode_packed(&delivery));
        wipe(&mut delivery.event);
        frame::append(&mut outbox.gathered, &encoded);
        if outbox.writing { Ok(()) } else { self.write_out(outbox) }
    }

    fn write_out<'a>(&'a self, mut outbox: MutexGuard<'a, Outbox>) -> Result<(), PluginGone> {
        outbox.writing = true;
        while !outbox.gathered.is_empty() && !outbox.closed {
            let spare = std::mem::take(&mut outbox.spare);
            let mut batch = std::mem::replace(&mut outbox.gathered, spare);
            drop(outbox);
            let written = (&self.socket).write_all(&batch);
            batch.as_mut_slice().zeroize();
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            outbox = self.lock();
            outbox.spare = batch;
            outbox.closed |= written.is_err();
            self.room.notify_all();
        }
        outbox.writing = false;
        if outbox.closed {
            outbox.forget();
            Err(PluginGone)
        } else {
            Ok(())
        }
    }

    /// Whether events still reach the plugin.
    pub fn is_open(&self) -> bool {
        !self.lock().closed
    }

    /// Ends the link: both directions, for every thread.
    pub fn close(&self) {
        let mut outbox = self.lock();
        outbox.closed = true;
        outbox.forget();
        drop(outbox);
        self.room.notify_all();
        // It fails only when the other end is gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// The end that the plugin's messages are read from.
    pub fn reader(&self) -> &UnixStream {
        &self.socket
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().expect("encoding and clocks do not panic while they hold the outbox")
    }

    fn wait<'a>(&self, outbox: MutexGuard<'a, Outbox>) -> MutexGuard<'a, Outbox> {
        self.room.wait(outbox).expect("encoding and clocks do not panic while they hold the outbox")
    }
}
