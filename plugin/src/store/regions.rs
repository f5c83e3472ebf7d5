//! The log in regions: where the chain stood at their boundaries is remembered, so that each can be read back and
//! checked by itself.

use super::StoreError;
use super::log::{Chain, Placed, split_first};
use super::seal::Name;
use crate::hal::{Hal, HalError};
use core::pin::Pin;
use countersign_wire::hal::READ_MAX_BYTES;
use std::collections::VecDeque;

/// The chain is remembered about every so many bytes: a region lies between two such marks.
pub(super) const REGION_BYTES: u32 = 256 * 1024;

/// The chain at the boundaries of regions.
#[derive(Default)]
pub(super) struct Marks(VecDeque<Chain>);

impl Marks {
    /// Notes where the chain stands after an entry, if it is far enough from the mark before.
    pub(super) fn note(&mut self, tail: &Chain, chain: &Chain) {
        let last = self.0.back().unwrap_or(tail).length_bytes();
        if chain.length_bytes() - last >= u64::from(REGION_BYTES) {
            self.0.push_back(chain.clone());
        }
    }

    /// Where the first region ends, if there is one.
    pub(super) fn first(&self) -> Option<&Chain> {
        self.0.front()
    }

    /// The ends of all regions, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Chain> {
        self.0.iter()
    }

    /// The first region is gone.
    pub(super) fn forget_first(&mut self) {
        self.0.pop_front();
    }
}

/// A region as it was read back: it is what the chain was made of.
pub(super) struct Found {
    pub(super) bytes: Vec<u8>,
    /// Its records, with their places in it.
    pub(super) records: Vec<(Name, Placed)>,
}

/// Reads what lies between two points of the chain. [`StoreError::Changed`]: it is not what lay there.
pub(super) async fn read(hal: &Hal, from: &Chain, until: &Chain) -> Result<Found, StoreError> {
    let (begin, end) = (from.length_bytes(), until.length_bytes());
    let mut bytes = Vec::with_capacity(usize::try_from(end - begin).unwrap_or_default());
    let mut reads = ReadAhead::new(begin, end);
    while let Some(chunk) = reads.next(hal).await? {
        bytes.extend_from_slice(&chunk);
    }
    let (mut chain, mut used, mut records) = (from.clone(), 0, Vec::new());
    while used < bytes.len() {
        let entry = split_first(&bytes[used..]).ok().flatten().ok_or(StoreError::Changed)?;
        chain.append(entry.bytes);
        let placed = entry.records.into_iter();
        records.extend(placed.map(|(name, at)| (name, Placed { offset: at.offset + used as u64, ..at })));
        used += entry.bytes.len();
    }
    if chain == *until { Ok(Found { bytes, records }) } else { Err(StoreError::Changed) }
}

type Read = Pin<Box<dyn Future<Output = Result<Vec<u8>, HalError>>>>;

/// Reads that are under way at once.
const READS_AT_ONCE: usize = 4;

/// Reads a range of the log in order, some chunks ahead.
pub(super) struct ReadAhead {
    next: u64,
    end: u64,
    reads: VecDeque<Read>,
}

impl ReadAhead {
    pub(super) fn new(begin: u64, end: u64) -> Self {
        Self { next: begin, end, reads: VecDeque::new() }
    }

    /// The next chunk; `None` at the end.
    pub(super) async fn next(&mut self, hal: &Hal) -> Result<Option<Vec<u8>>, HalError> {
        while self.reads.len() < READS_AT_ONCE && self.next < self.end {
            let most = u64::from(READ_MAX_BYTES).min(self.end - self.next);
            let length_bytes = u32::try_from(most).unwrap_or(READ_MAX_BYTES);
            self.reads.push_back(Box::pin(hal.read_store(self.next, length_bytes)));
            self.next += most;
        }
        match self.reads.pop_front() {
            Some(read) => read.await.map(Some),
            None => Ok(None),
        }
    }
}
