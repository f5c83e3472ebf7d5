//! Cleaning: the front of the log is moved to its end piece by piece, so that the log stays about as long as what it
//! holds.
//!
//! When more than a third of the log is outdated, the oldest region of it is read back and checked against the chain.
//! Its audit events go to the archive; what is still the newest version of a record is appended again, as it is, a
//! little with each commit that is made anyway. Once that is durable, the same NVRAM write that names the new head
//! names the new tail, and the firmware may forget what lies before it.
//!
//! There is no moment at which a crash costs anything: until NVRAM names the new tail, everything is still where it
//! was, and what was archived too early is cut off at the next start. Nothing waits for cleaning: a commit carries at
//! most [`MOVED_MAX_BYTES`] of it, and without commits there is nothing to clean.

use super::log::{Chain, EntryBuilder, Kind, Owner, Placed, RECORD_HEADER_BYTES};
use super::regions::{self, Found, REGION_BYTES};
use super::seal::Name;
use super::table::Table;
use super::{EVENTS_MAX_BYTES, StoreError};
use crate::hal::Hal;
use countersign_wire::hal::{APPEND_MAX_BYTES, Fault, Op};
use std::collections::VecDeque;

// A region ends with the first entry that reaches over its length, so its events are those of so many bytes and of one
// more entry.
const _: () =
    assert!(REGION_BYTES as usize + EVENTS_MAX_BYTES + 4096 < APPEND_MAX_BYTES, "one block holds them");

/// Outdated bytes that are not worth cleaning.
const SLACK_BYTES: u64 = 1024 * 1024;

/// The most that one commit moves besides what it is made for.
const MOVED_MAX_BYTES: usize = 64 * 1024;

/// What every commit may move, however small it is.
const MOVED_LEAST_BYTES: usize = 4 * 1024;

/// Whether so much of the log is outdated that cleaning is worth it.
pub(crate) fn is_due(log_bytes: u64, live_bytes: u64) -> bool {
    log_bytes > live_bytes + live_bytes / 2 + SLACK_BYTES
}

/// How much a commit may move that writes this much of its own. Twice as much, so that cleaning gets ahead of what it
/// cleans up after even where everything at the front is still in use.
pub(crate) fn allowance(own_bytes: usize) -> usize {
    own_bytes.saturating_mul(2).clamp(MOVED_LEAST_BYTES, MOVED_MAX_BYTES)
}

/// A region whose audit events are archived and whose records are being moved.
pub(crate) struct Region {
    bytes: Vec<u8>,
    begin: u64,
    records: VecDeque<(Name, Placed)>,
    /// The tail, once everything is moved.
    pub(crate) tail: Chain,
    /// The archive's chain with this region's events.
    pub(crate) archive: Chain,
    /// And its length in blocks.
    pub(crate) archive_blocks: u64,
}

/// A record that goes from one place in the log to another, as it is.
#[derive(Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) name: Name,
    /// Where it lies in the region.
    from: Placed,
}

impl Region {
    /// The next record that must be moved; outdated ones are skipped.
    pub(crate) fn next(&mut self, table: &Table) -> Option<Moved> {
        while let Some((name, from)) = self.records.pop_front() {
            if table.is_newest(name, self.begin + from.offset) {
                return Some(Moved { name, from });
            }
        }
        None
    }

    /// Puts back what was not moved after all.
    pub(crate) fn put_back(&mut self, moved: Moved) {
        self.records.push_front((moved.name, moved.from));
    }

    /// Puts the record into an entry.
    pub(crate) fn push_into(&self, entry: &mut EntryBuilder, moved: &Moved) -> Placed {
        let begin = usize::try_from(moved.from.offset)
            .unwrap_or(usize::MAX)
            .saturating_add(RECORD_HEADER_BYTES as usize);
        let sealed = self.bytes.get(begin..).and_then(|rest| rest.get(..moved.from.sealed_bytes as usize));
        entry.push(moved.name, moved.from.position, sealed.expect("the record was found in these bytes"))
    }

    /// Whether nothing of it needs to be moved any more.
    pub(crate) fn is_done(&self) -> bool {
        self.records.is_empty()
    }
}

/// What cleaning starts from.
pub(crate) struct Start {
    pub(crate) owner: Owner,
    pub(crate) boot_count: u64,
    pub(crate) tail: Chain,
    pub(crate) until: Chain,
    pub(crate) archive: Chain,
    pub(crate) archive_blocks: u64,
}

impl Start {
    /// Reads the region, checks it and archives its audit events.
    pub(crate) async fn take(self, hal: &Hal) -> Result<Region, StoreError> {
        let Found { bytes, records } = regions::read(hal, &self.tail, &self.until).await?;
        let (events, records): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|(name, _)| name.kind == Kind::Audit);
        let mut region = Region {
            bytes,
            begin: self.tail.length_bytes(),
            records: records.into(),
            tail: self.until,
            archive: self.archive,
            archive_blocks: self.archive_blocks + 1,
        };
        let block = region.archived(self.owner, self.boot_count, events);
        let offset = region.archive.length_bytes();
        region.archive.append(&block);
        hal.call(Op::Archive { offset, append: block.into() }).await?;
        Ok(region)
    }
}

impl Region {
    /// The audit events as one block of the archive: an entry of a chain of its own.
    fn archived(&self, owner: Owner, boot_count: u64, events: Vec<(Name, Placed)>) -> Vec<u8> {
        let mut block = EntryBuilder::new(owner, boot_count, self.archive_blocks);
        for (name, from) in events {
            self.push_into(&mut block, &Moved { name, from });
        }
        block.finish()
    }
}

/// Whether cleaning can be tried again later after this.
pub(crate) fn is_passing(error: StoreError) -> bool {
    matches!(error, StoreError::Hal(Fault::StoreFull | Fault::StoreUnreadable))
}
