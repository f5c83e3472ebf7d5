//! The places for connections, shared fairly among the users of the machine who connect.
//!
//! Whoever takes many places makes room for others first: with a connection that its client has closed, or else with the one that has
//! been idle longest or began a frame before all others and did not end it. An honest one is neither for long when places are short. A
//! request under way is never given up, and nobody makes room for a user who has more.

use crate::listener::Connection;
use crate::observe::Observer;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// The most connections at once.
pub const CONNECTIONS_MAX: usize = 512;

/// The most connections of one user: the rest is for others, whatever he does.
pub const CONNECTIONS_OF_ONE_MAX: usize = 448;

const _: () = assert!(CONNECTIONS_OF_ONE_MAX < CONNECTIONS_MAX, "a place is left for somebody else");

/// The connections that are open.
#[derive(Default)]
pub(crate) struct Places {
    open: Mutex<Open>,
    freed: Condvar,
    observer: Arc<Observer>,
}

#[derive(Default)]
struct Open {
    last_number: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
}

/// The place of a connection, for as long as it is served.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    /// Who has it.
    pub(crate) connection: Arc<Connection>,
}

impl Places {
    /// All are free, and `observer` is told when one becomes free again.
    pub(crate) fn watched_by(observer: Arc<Observer>) -> Arc<Self> {
        Arc::new(Self { observer, ..Self::default() })
    }

    /// Gives a connection of this user a place, if need be that of another one.
    pub(crate) fn admit(self: &Arc<Self>, stream: UnixStream, uid: u32) -> Option<Place> {
        let mut open = self.open();
        if !open.has_room_for(uid) {
            if !open.end_one_for(uid) {
                return None;
            }
            // The thread of a connection that was ended there waits for nothing else.
            while !open.has_room_for(uid) {
                open = self.freed.wait(open).expect("nothing panics while it holds the places");
            }
        }
        open.last_number += 1;
        let (number, connection) = (open.last_number, Connection::new(stream, uid));
        open.connections.insert(number, Arc::clone(&connection));
        Some(Place { places: Arc::clone(self), number, connection })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it holds the places")
    }
}

impl Open {
    fn of(&self, uid: u32) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.values().filter(move |one| one.uid() == uid)
    }

    fn has_room_for(&self, uid: u32) -> bool {
        self.connections.len() < CONNECTIONS_MAX && self.of(uid).count() < CONNECTIONS_OF_ONE_MAX
    }

    /// Ends a connection in favour of this user; false if nobody has one to give up.
    fn end_one_for(&self, uid: u32) -> bool {
        let own = self.of(uid).count();
        if own >= CONNECTIONS_OF_ONE_MAX {
            return self.end_one_of(uid);
        }
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for connection in self.connections.values() {
            *counts.entry(connection.uid()).or_default() += 1;
        }
        let mut users: Vec<_> = counts.into_iter().filter(|(_, count)| *count >= own).collect();
        users.sort_by_key(|(_, count)| Reverse(*count));
        users.into_iter().any(|(one, _)| self.end_one_of(one))
    }

    /// Ends the connection of a user that nobody is at the other end of any more, or else the one that has been spare longest.
    fn end_one_of(&self, uid: u32) -> bool {
        let mut spare: Vec<_> = self.of(uid).filter_map(|one| Some((one.spare_since()?, one))).collect();
        // A busy machine may not yet have come to end those that their clients closed.
        spare.sort_by_cached_key(|(since, one)| (!one.is_left(), *since));
        // It may have come to have a request under way since it was looked at; then it is the next one's turn.
        spare.into_iter().any(|(_, connection)| connection.end_if_spare())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.observer.disconnected();
        self.places.open().connections.remove(&self.number);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Switchboard;
    use std::io::{Read, Write};

    const BACKEND: u32 = 1000;
    const OTHER: u32 = 1001;

    type Client = (Option<Place>, UnixStream);

    /// A connection of this user that has a place, and the client's end of it.
    fn admitted(places: &Arc<Places>, uid: u32) -> Option<(Place, UnixStream)> {
        let (client, server) = UnixStream::pair().unwrap();
        places.admit(server, uid).map(|place| (place, client))
    }

    /// One that is served by a thread, as all are outside of tests: it can be ended.
    fn served(places: &Arc<Places>, uid: u32) -> Client {
        let (place, client) = admitted(places, uid).unwrap();
        serve(place);
        (None, client)
    }

    fn serve(place: Place) {
        std::thread::spawn(move || place.connection.read_requests(&Switchboard::default()));
    }

    fn is_closed(client: &mut UnixStream) -> bool {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        rest.is_empty()
    }

    /// As many of a user as he may have, each with a request under way.
    fn at_work(places: &Arc<Places>, uid: u32) -> Vec<(Place, UnixStream)> {
        let taken: Vec<_> =
            (0..CONNECTIONS_OF_ONE_MAX).map_while(|_| admitted(places, uid).inspect(work)).collect();
        assert!(taken.len() == CONNECTIONS_OF_ONE_MAX || places.open().connections.len() == CONNECTIONS_MAX);
        taken
    }

    fn work((place, _): &(Place, UnixStream)) {
        assert!(place.connection.take_turn(), "a request is under way");
    }

    #[test]
    fn one_user_cannot_take_the_places_of_others() {
        let places = Arc::new(Places::default());
        let mut taken = at_work(&places, BACKEND);
        assert_eq!(taken.len(), CONNECTIONS_OF_ONE_MAX);
        assert!(admitted(&places, BACKEND).is_none());
        let others: Vec<_> = (0..CONNECTIONS_MAX - CONNECTIONS_OF_ONE_MAX)
            .map(|_| admitted(&places, OTHER).unwrap())
            .collect();
        others.iter().for_each(work);
        assert!(admitted(&places, OTHER).is_none(), "none has one to give up");
        taken.pop();
        assert!(admitted(&places, BACKEND).is_some());
    }

    #[test]
    fn only_the_connection_that_is_spare_longest_makes_room() {
        let places = Arc::new(Places::default());
        let mut clients: Vec<Client> = Vec::new();
        for at in 0..CONNECTIONS_OF_ONE_MAX {
            if at == 1 {
                clients.push(served(&places, BACKEND));
                continue;
            }
            let (place, client) = admitted(&places, BACKEND).unwrap();
            match at {
                0 => assert!(place.connection.take_turn(), "a request is under way"),
                2 => place.connection.note_reading(true),
                _ => {}
            }
            clients.push((Some(place), client));
        }
        assert!(admitted(&places, BACKEND).is_some());
        assert!(is_closed(&mut clients[1].1));
        let mut others = clients.iter().filter_map(|(place, _)| place.as_ref());
        assert!(others.all(|place| !place.connection.is_dropped()));
    }

    #[test]
    fn a_connection_that_its_client_closed_makes_room_before_one_that_is_idle() {
        let places = Arc::new(Places::default());
        let (_, mut idle) = served(&places, BACKEND);
        let (place, client) = admitted(&places, BACKEND).unwrap();
        drop(client);
        let others: Vec<_> =
            (2..CONNECTIONS_OF_ONE_MAX).map(|_| admitted(&places, BACKEND).unwrap()).collect();
        others.iter().for_each(work);
        // Its thread comes to see that only now.
        std::thread::spawn(move || {
            while !place.connection.is_dropped() {
                std::thread::yield_now();
            }
            serve(place);
        });
        assert!(admitted(&places, BACKEND).is_some());
        idle.set_nonblocking(true).unwrap();
        let still_open = idle.read(&mut [0]).unwrap_err();
        assert_eq!(still_open.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_client_that_has_asked_and_writes_no_more_has_not_left() {
        let places = Arc::new(Places::default());
        let (place, mut client) = admitted(&places, BACKEND).unwrap();
        assert!(!place.connection.is_left());
        client.write_all(&[0]).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!place.connection.is_left(), "what it asked is still to be read");
        let (gone, client) = admitted(&places, BACKEND).unwrap();
        drop(client);
        assert!(gone.connection.is_left());
        let (gone, client) = admitted(&places, BACKEND).unwrap();
        gone.connection.answer(b"which it never reads");
        assert!(!gone.connection.is_left());
        drop(client);
        assert!(gone.connection.is_left());
        gone.connection.note_reading(true);
        assert!(!gone.connection.is_left(), "what was read of it is still to be handed on");
    }

    #[test]
    fn a_frame_that_was_begun_and_not_ended_makes_room() {
        let places = Arc::new(Places::default());
        let (place, mut client) = admitted(&places, BACKEND).unwrap();
        let connection = Arc::clone(&place.connection);
        client.write_all(&[0, 0, 0, 9, 1]).unwrap();
        serve(place);
        while !connection.is_reading() {
            std::thread::yield_now();
        }
        let others: Vec<_> =
            (1..CONNECTIONS_OF_ONE_MAX).map(|_| admitted(&places, BACKEND).unwrap()).collect();
        others.iter().for_each(work);
        assert!(admitted(&places, BACKEND).is_some());
        assert!(is_closed(&mut client));
    }

    #[test]
    fn whoever_has_most_makes_room_and_nobody_for_a_user_who_has_more() {
        let places = Arc::new(Places::default());
        let (mut idle_of_other, mut idle) = (served(&places, OTHER), served(&places, BACKEND));
        let mut taken = vec![];
        while places.open().of(BACKEND).count() < 300 {
            taken.push(admitted(&places, BACKEND).inspect(work).unwrap());
        }
        while places.open().connections.len() < CONNECTIONS_MAX {
            taken.push(admitted(&places, OTHER).inspect(work).unwrap());
        }
        assert!(admitted(&places, OTHER).inspect(work).is_some());
        assert!(is_closed(&mut idle.1), "the one who had most, although the other's is idle longer");
        assert!(places.open().of(OTHER).all(|one| !one.is_dropped()));
        // The place is free again, and the user with most takes it; a further one he does not get of the other.
        taken.push(admitted(&places, BACKEND).inspect(work).unwrap());
        assert!(admitted(&places, BACKEND).is_none());
        assert!(admitted(&places, OTHER).is_some(), "his own idle one");
        assert!(is_closed(&mut idle_of_other.1));
    }
}
