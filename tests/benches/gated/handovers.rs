//! What it costs a lone request to go from thread to thread, and nothing else.
//!
//! Client, connection, plugin, and then three times a worker and the plugin (count, spend, sign), a worker and the
//! client: each is asleep until the one before it writes to its socket.

use crate::rounds::{Contender, Round, Work, measure};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Hand-overs of one native request.
pub(crate) const COUNT: usize = 10;

/// What the figures are called.
pub(crate) const NAME: &str = "hand-overs/1";

/// A ring of two threads that hand a byte to each other.
pub(crate) struct Handovers {
    here: UnixStream,
    signatures: usize,
}

impl Handovers {
    /// The other thread ends with this.
    pub(crate) fn new(signatures: usize) -> Self {
        let (here, mut there) = UnixStream::pair().expect("a pair of sockets");
        std::thread::spawn(move || {
            let mut byte = [0];
            while there.read_exact(&mut byte).is_ok() && there.write_all(&byte).is_ok() {}
        });
        Self { here, signatures }
    }
}

impl Work for Handovers {
    fn sign(&self, _thread: usize, _number: usize) {
        let mut here = &self.here;
        for _ in 0..COUNT / 2 {
            here.write_all(&[1]).expect("the other thread listens");
            here.read_exact(&mut [0]).expect("the other thread answers");
        }
    }
}

impl Contender for Handovers {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn threads(&self) -> usize {
        1
    }

    fn round(&self) -> Round {
        measure(1, self.signatures, &[], self)
    }
}
