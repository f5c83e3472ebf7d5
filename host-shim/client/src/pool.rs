//! The idle connections.

use crate::connection::Connection;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// The most idle connections that are kept.
pub(crate) const IDLE_MAX: usize = 64;

/// The longest that a connection is kept without being used.
const IDLE_AGE_MAX: Duration = Duration::from_secs(30);

/// A connection on which nothing is under way.
struct Idle {
    connection: Connection,
    since: Instant,
}

/// Up to [`IDLE_MAX`] idle connections, one to a slot.
///
/// No operation ever waits for a lock. A slot that another thread is looking at counts as taken, so a thread that a
/// `fork` did not carry over into the child can at worst cost the child that one slot, and never hang it.
///
/// A pool makes no thread of its own, so connections that were idle for too long are closed when one is taken or
/// put back.
pub(crate) struct Pool {
    slots: [Mutex<Option<Idle>>; IDLE_MAX],
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self { slots: [const { Mutex::new(None) }; IDLE_MAX] }
    }

    /// An idle connection that can be used; those that cannot are closed on the way.
    pub(crate) fn take(&self, now: Instant) -> Option<Connection> {
        self.close_old(now);
        self.slots
            .iter()
            .filter_map(|slot| look_into(slot)?.take())
            .map(|idle| idle.connection)
            .find(Connection::is_fresh)
    }

    /// Keeps a connection on which nothing is under way; closes it when the pool is full.
    pub(crate) fn put(&self, connection: Connection, now: Instant) {
        self.close_old(now);
        for slot in &self.slots {
            if let Some(mut held) = look_into(slot)
                && held.is_none()
            {
                *held = Some(Idle { connection, since: now });
                return;
            }
        }
    }

    /// Closes every idle connection of this process without a word to the other side.
    pub(crate) fn clear(&self) {
        self.slots.iter().filter_map(|slot| look_into(slot)?.take()).for_each(drop);
    }

    fn close_old(&self, now: Instant) {
        let is_old = |idle: &mut Idle| now.saturating_duration_since(idle.since) > IDLE_AGE_MAX;
        self.slots.iter().filter_map(|slot| look_into(slot)?.take_if(is_old)).for_each(drop);
    }
}

/// What is in a slot, unless another thread is looking at it.
fn look_into(slot: &Mutex<Option<Idle>>) -> Option<MutexGuard<'_, Option<Idle>>> {
    match slot.try_lock() {
        Ok(held) => Some(held),
        // Nothing can panic while a slot is held, and an `Option` is whole at every moment.
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Server;
    use crate::fake_hsm::{FakeHsm, Reaction};
    use std::path::Path;

    fn connection(socket: &Path) -> Connection {
        Connection::open(socket, Server::OwnOrRoot, Duration::from_secs(2)).unwrap()
    }

    fn kept(pool: &Pool) -> usize {
        pool.slots.iter().filter(|slot| slot.lock().unwrap().is_some()).count()
    }

    #[test]
    fn connections_that_were_idle_for_too_long_are_closed_whichever_way_the_pool_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("hsm.sock");
        let _hsm = FakeHsm::serve(&socket, |_| Reaction::Hold);
        let (pool, start) = (Pool::new(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        pool.put(connection(&socket), at(0));
        pool.put(connection(&socket), at(1));
        pool.put(connection(&socket), at(30));
        assert_eq!(kept(&pool), 3);
        pool.put(connection(&socket), at(31));
        assert_eq!(kept(&pool), 3, "the first went, its place was taken");
        assert!(pool.take(at(60)).is_some());
        assert_eq!(kept(&pool), 1, "the second went");
        assert!(pool.take(at(1000)).is_none());
        assert_eq!(kept(&pool), 0);
    }

    #[test]
    fn no_more_are_kept_than_there_are_slots() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("hsm.sock");
        let _hsm = FakeHsm::serve(&socket, |_| Reaction::Hold);
        let (pool, now) = (Pool::new(), Instant::now());
        for _ in 0..=IDLE_MAX {
            pool.put(connection(&socket), now);
        }
        assert_eq!(kept(&pool), IDLE_MAX);
    }
}
