//! The entries of a tenant's audit log, page by page: first those in the archive, block by block, then those in the log.
//!
//! A reader's place is a commit and an event of it, with two hints where to look: an offset in the archive at or before the
//! block that has the commit, or will have it, and the offset of its entry in the log. What was in the log when a page ended
//! may be in the archive when the next one begins; then the first hint leads there.
//!
//! What is read back is opened as what it is and for its tenant alone. Whether it is all, and in order, is not asked here: that is
//! what the tree is for, and the reader holds its checkpoint.

use super::log::{ENTRY_HEADER_BYTES, Kind, entry_length, split_first};
use super::seal::Name;
use super::trees::events_of;
use super::{RecordId, Store};
use crate::audit::{Event, What};
use crate::hal::{Hal, HalError};
use countersign_wire::hal::READ_MAX_BYTES;
use countersign_wire::log::{LOG_PAGE_MAX_BYTES, LogCursor, LogPage, LogStart};
use countersign_wire::names::TenantName;
use countersign_wire::reason::Reason;

/// Pieces of log or archive that one page is looked for in.
const PIECES_MAX: usize = 4;

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// At or before the block of the archive that has the commit, or will have it.
    archive: u64,
    /// Of the commit's entry in the log.
    log: u64,
    /// The commit.
    sequence: u64,
    /// The event within it.
    event: u32,
    /// Whether the log's first entry was met.
    opened: bool,
}

impl Reading {
    const BEGINNING: Self = Self { archive: 0, log: 0, sequence: 1, event: 0, opened: false };

    /// ```text
    /// offset  size  what
    /// 0       8     offset in the archive
    /// 8       8     offset in the log
    /// 16      8     commit
    /// 24      4     event of the commit
    /// 28      1     1: the log's first entry was met
    /// 29      3     0
    /// ```
    fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (at, number) in [(0, self.archive), (8, self.log), (16, self.sequence)] {
            bytes[at..at + 8].copy_from_slice(&number.to_be_bytes());
        }
        bytes[24..28].copy_from_slice(&self.event.to_be_bytes());
        bytes[28] = self.opened.into();
        bytes
    }

    fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        let event = u32::from_be_bytes(bytes.get(24..28)?.try_into().ok()?);
        let reading = Self {
            archive: number(0)?,
            log: number(8)?,
            sequence: number(16)?,
            event,
            opened: bytes[28] == 1,
        };
        (reading.to_bytes() == *bytes).then_some(reading)
    }
}

/// A page that is being filled.
struct Page<'a> {
    tenant: &'a TenantName,
    entries_max: usize,
    entries: Vec<Vec<u8>>,
    bytes: usize,
}

impl Page<'_> {
    /// Takes the events of one commit, from the reader's place on. `false`: the page is full, and the place is where.
    fn take(&mut self, store: &Store, at: &mut Reading, events: &[Event]) -> bool {
        let first = usize::try_from(at.event).unwrap_or(usize::MAX);
        for event in events.iter().skip(first) {
            let is_ours = event.tenant.as_ref().is_none_or(|tenant| tenant == self.tenant);
            let opens = event.tenant.is_some() && matches!(event.what, What::LogOpened { .. });
            if is_ours && (at.opened || opens) {
                let leaf = store.namer.leaf(event);
                let has_room = self.entries.is_empty() || self.bytes + leaf.len() <= LOG_PAGE_MAX_BYTES;
                if self.entries.len() >= self.entries_max || !has_room {
                    return false;
                }
                self.bytes += leaf.len();
                self.entries.push(leaf);
                at.opened = true;
            }
            at.event += 1;
        }
        (at.sequence, at.event) = (at.sequence + 1, 0);
        true
    }
}

/// Why nothing was read.
enum Missed {
    /// What was to be read is somewhere else by now.
    Moved,
    Refused(Reason),
}

impl From<HalError> for Missed {
    fn from(error: HalError) -> Self {
        Self::Refused(error.into())
    }
}

impl Store {
    /// Entries of a tenant's log, at most so many. `Err(MalformedRequest)`: no page of this tenant's ended there.
    pub(crate) async fn log_page(
        &self,
        hal: &Hal,
        tenant: &TenantName,
        from: LogStart,
        entries_max: usize,
    ) -> Result<LogPage, Reason> {
        let (mut at, index) = self.place_of(tenant, from)?;
        let mut page = Page { tenant, entries_max, entries: Vec::new(), bytes: 0 };
        let mut more = true;
        for _ in 0..PIECES_MAX {
            let piece = if self.is_at_end(&mut at)? {
                more = false;
                break;
            } else if at.log >= self.state.borrow().tail.length_bytes() {
                self.page_of_log(hal, &mut page, &mut at).await
            } else {
                self.page_of_archive(hal, &mut page, &mut at).await
            };
            match piece {
                Ok(goes_on) if !goes_on => break,
                Err(Missed::Moved) if !page.entries.is_empty() => break,
                Ok(_) | Err(Missed::Moved) => {}
                Err(Missed::Refused(reason)) => return Err(reason),
            }
        }
        let more = more && !self.is_at_end(&mut at)?;
        let next = self.sealer.borrow().seal_place(self.tenant_id(tenant), &at.to_bytes());
        let entries = page.entries.into_iter().map(Into::into).collect();
        Ok(LogPage { index, entries, next: LogCursor::new(next), more })
    }

    fn place_of(&self, tenant: &TenantName, from: LogStart) -> Result<(Reading, Option<u64>), Reason> {
        match from {
            LogStart::Beginning => Ok((Reading::BEGINNING, None)),
            LogStart::After(cursor) => {
                let place = self.sealer.borrow().open_place(self.tenant_id(tenant), &cursor);
                let reading = place.and_then(|place| Reading::from_bytes(&place));
                Ok((reading.ok_or(Reason::MalformedRequest)?, None))
            }
            LogStart::Recent => {
                let state = self.state.borrow();
                let tree = state.trees.get(tenant).ok_or(Reason::HsmNotReady)?;
                let is_there = |place: &super::Place| place.at >= state.tail.length_bytes();
                let place = tree.before.filter(is_there).unwrap_or(tree.last);
                let reading = Reading {
                    archive: state.archive.length_bytes(),
                    log: place.at,
                    sequence: place.sequence,
                    event: 0,
                    opened: place.size > 0,
                };
                Ok((reading, Some(place.size)))
            }
        }
    }

    /// Whether nothing follows that is durable. Where the commit is in the log, it will be archived, if ever, after what is.
    fn is_at_end(&self, at: &mut Reading) -> Result<bool, Reason> {
        let state = self.state.borrow();
        if state.broken.is_some() {
            return Err(Reason::StoreRefused);
        }
        let (tail, archive) = (state.tail.length_bytes(), state.archive.length_bytes());
        if at.log < tail && at.archive >= archive {
            // All of the archive was read, so this is the first commit that is still in the log.
            at.log = tail;
        }
        if at.log >= tail {
            at.archive = archive;
        }
        Ok(at.log >= state.head.length_bytes())
    }

    /// Goes through the entries in one piece of the log.
    async fn page_of_log(&self, hal: &Hal, page: &mut Page<'_>, at: &mut Reading) -> Result<bool, Missed> {
        let refused = || Missed::Refused(Reason::StoreRefused);
        let left = self.state.borrow().head.length_bytes().saturating_sub(at.log);
        let mut bytes = self.read_log(hal, at.log, at.log, left.min(READ_MAX_BYTES.into())).await?;
        let first = entry_length(&bytes).filter(|first| *first as u64 <= left).ok_or_else(refused)?;
        while let Some(missing) = first.checked_sub(bytes.len()).filter(|missing| *missing > 0) {
            let most = (missing as u64).min(READ_MAX_BYTES.into());
            bytes.append(&mut self.read_log(hal, at.log, at.log + bytes.len() as u64, most).await?);
        }
        let mut rest = bytes.as_slice();
        while let Some(entry) = split_first(rest).map_err(|_| refused())? {
            let events = events_of(&mut self.sealer.borrow_mut(), &entry.records, entry.bytes);
            let events = events.filter(|_| entry.sequence == at.sequence);
            if !page.take(self, at, &events.ok_or_else(refused)?) {
                return Ok(false);
            }
            at.log += entry.bytes.len() as u64;
            rest = rest.get(entry.bytes.len()..).unwrap_or_default();
        }
        if rest.len() < bytes.len() { Ok(true) } else { Err(refused()) }
    }

    /// Reads from the log, unless what `needed` points to went to the archive meanwhile.
    async fn read_log(&self, hal: &Hal, needed: u64, offset: u64, length: u64) -> Result<Vec<u8>, Missed> {
        let read = hal.read_store(offset, u32::try_from(length).unwrap_or(READ_MAX_BYTES)).await;
        if needed < self.state.borrow().tail.length_bytes() {
            return Err(Missed::Moved);
        }
        Ok(read?)
    }

    /// Goes through one block of the archive.
    async fn page_of_archive(
        &self,
        hal: &Hal,
        page: &mut Page<'_>,
        at: &mut Reading,
    ) -> Result<bool, Missed> {
        let refused = || Missed::Refused(Reason::StoreRefused);
        let header = hal.read_archive(at.archive, ENTRY_HEADER_BYTES).await?;
        let length = entry_length(&header).ok_or_else(refused)?;
        let mut bytes = header;
        while bytes.len() < length {
            let most = u32::try_from(length - bytes.len()).unwrap_or(u32::MAX).min(READ_MAX_BYTES);
            bytes.extend_from_slice(&hal.read_archive(at.archive + bytes.len() as u64, most).await?);
        }
        let block = split_first(&bytes).ok().flatten().ok_or_else(refused)?;
        for record in &block.records {
            let (Name { kind, id, version }, _) = record;
            if *kind != Kind::Audit || *id != RecordId::AUDIT {
                return Err(refused());
            }
            if *version < at.sequence {
                continue;
            }
            let one = core::slice::from_ref(record);
            let events = events_of(&mut self.sealer.borrow_mut(), one, block.bytes);
            let events = events.filter(|_| *version == at.sequence);
            if !page.take(self, at, &events.ok_or_else(refused)?) {
                return Ok(false);
            }
        }
        at.archive += block.bytes.len() as u64;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_out_as_it_went_in_and_in_no_other_form() {
        let reading = Reading { archive: 1, log: 2, sequence: 3, event: 4, opened: true };
        let bytes = reading.to_bytes();
        assert_eq!(Reading::from_bytes(&bytes), Some(reading));
        for at in 28..32 {
            let mut other = bytes;
            other[at] = 2;
            assert_eq!(Reading::from_bytes(&other), None, "byte {at}");
        }
    }
}
