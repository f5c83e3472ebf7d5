//! The idle connections.

use crate::connection::Connection;
use std::sync::{Mutex, TryLockError};

/// The most idle connections that are kept.
pub(crate) const IDLE_MAX: usize = 64;

/// Up to [`IDLE_MAX`] idle connections, one to a slot.
///
/// No operation ever waits for a lock. A slot that another thread is looking at counts as taken, so a thread that a
/// `fork` did not carry over into the child can at worst cost the child that one slot, and never hang it.
pub(crate) struct Pool {
    slots: [Mutex<Option<Connection>>; IDLE_MAX],
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self { slots: [const { Mutex::new(None) }; IDLE_MAX] }
    }

    /// An idle connection that can be used; those that cannot are closed on the way.
    pub(crate) fn take(&self) -> Option<Connection> {
        self.slots.iter().filter_map(take_from).find(Connection::is_fresh)
    }

    /// Keeps a connection on which nothing is under way; closes it when the pool is full.
    pub(crate) fn put(&self, connection: Connection) {
        for slot in &self.slots {
            let mut held = match slot.try_lock() {
                Ok(held) => held,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            if held.is_none() {
                *held = Some(connection);
                return;
            }
        }
    }

    /// Closes every idle connection of this process without a word to the other side.
    pub(crate) fn clear(&self) {
        self.slots.iter().filter_map(take_from).for_each(drop);
    }
}

fn take_from(slot: &Mutex<Option<Connection>>) -> Option<Connection> {
    match slot.try_lock() {
        Ok(mut held) => held.take(),
        // Nothing can panic while a slot is held, and an `Option` is whole at every moment.
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
        Err(TryLockError::WouldBlock) => None,
    }
}
