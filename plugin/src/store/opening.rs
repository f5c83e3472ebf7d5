//! Opening the store: every byte between the tail and the head that NVRAM remembers is read and checked, and what lies
//! beyond is discarded.

use super::cleaning::Marks;
use super::log::{self, ENTRY_HEADER_BYTES, Foreign, Owner};
use super::nvram::{Nvram, Seal, Unreadable};
use super::seal::{LAST_BOOT, Sealer};
use super::table::Table;
use super::{Cache, Cleaning, Staged, State, Store, StoreError, Watermarks};
use crate::hal::{Hal, HalError};
use core::cell::RefCell;
use core::pin::Pin;
use countersign_wire::hal::{Boot, Extent, Op, READ_MAX_BYTES};
use std::collections::VecDeque;

impl Store {
    /// Opens the store that NVRAM remembers, and raises the boot count in NVRAM before anything is appended.
    pub(crate) async fn open(hal: &Hal, boot: &Boot) -> Result<(Self, Watermarks), StoreError> {
        let hsm_id = boot.hsm_id.into_array();
        let seal = Seal {
            clock: boot.clock,
            key_check: Sealer::new(boot.sealing_key.expose(), hsm_id, 0).key_check(),
        };
        let before = remembered(boot, seal)?;
        let owner = Owner { hsm: *hsm_id.first_chunk().expect("16 bytes hold 8"), clock: boot.clock };
        look(hal, boot.store, &before, owner).await?;
        if boot.archive_bytes < before.archive.length_bytes() {
            return Err(StoreError::ArchiveShort);
        }
        let mut state = State {
            owner,
            seal,
            boot_count: before.boot_count + 1,
            sequence: before.sequence,
            tail: before.tail.clone(),
            head: before.tail.clone(),
            marks: Marks::default(),
            archive: before.archive.clone(),
            archive_blocks: before.archive_blocks,
            table: Table::default(),
            cache: Cache::default(),
            staged: Staged::default(),
            commit_under_way: false,
            cleaning: Cleaning::Idle { not_before: 0 },
            broken: None,
        };
        state.read_log(hal, before.head.length_bytes()).await?;
        if state.head != before.head {
            return Err(StoreError::HeadMismatch);
        }
        let (end, archive_bytes) = (before.head.length_bytes(), before.archive.length_bytes());
        if boot.store.end > end || boot.archive_bytes > archive_bytes {
            hal.call(Op::CutStore { end, archive_bytes }).await?;
        }
        let watermarks =
            Watermarks { unix_floor_secs: before.unix_floor_secs, elapsed_secs: before.elapsed_secs };
        let (nvram, append) = (state.nvram(watermarks).encode().into(), Vec::new().into());
        let discard_before = before.tail.length_bytes();
        hal.call(Op::Commit { offset: end, append, nvram, discard_before }).await?;
        let sealer = Sealer::new(boot.sealing_key.expose(), hsm_id, state.boot_count);
        Ok((Self { sealer: RefCell::new(sealer), state: RefCell::new(state) }, watermarks))
    }
}

/// What NVRAM remembers; for an HSM that never ran, an empty store.
fn remembered(boot: &Boot, seal: Seal) -> Result<Nvram, StoreError> {
    let nvram = match &boot.nvram {
        Some(bytes) => Nvram::decode(bytes).map_err(|unreadable| match unreadable {
            Unreadable::OtherVersion => StoreError::NvramOfOtherVersion,
            Unreadable::Garbage => StoreError::NvramUnreadable,
        })?,
        None if boot.store == Extent::default() && boot.archive_bytes == 0 => {
            let sealer = Sealer::new(boot.sealing_key.expose(), boot.hsm_id.into_array(), 0);
            Nvram::first(seal, sealer.first_head(), sealer.first_archive_head())
        }
        None => return Err(StoreError::Foreign),
    };
    let in_order = nvram.tail.length_bytes() <= nvram.head.length_bytes();
    match nvram.boot_count {
        _ if !in_order => Err(StoreError::NvramUnreadable),
        _ if nvram.seal.clock != seal.clock => Err(StoreError::OtherClock),
        _ if nvram.seal.key_check != seal.key_check => Err(StoreError::OtherKey),
        LAST_BOOT.. => Err(StoreError::TooManyBoots),
        _ => Ok(nvram),
    }
}

/// Says what is wrong with a store that can be told at a glance. What passes is not trusted for it.
async fn look(hal: &Hal, store: Extent, nvram: &Nvram, owner: Owner) -> Result<(), StoreError> {
    let (tail, end) = (nvram.tail.length_bytes(), nvram.head.length_bytes());
    if tail == end {
        return Ok(());
    }
    let there = store.end.saturating_sub(store.begin);
    if there == 0 {
        return Err(StoreError::Empty);
    }
    if there < u64::from(ENTRY_HEADER_BYTES) {
        return Err(StoreError::Short);
    }
    let beginning = hal.read_store(store.begin, ENTRY_HEADER_BYTES).await?;
    log::look_at(&beginning, owner).map_err(|foreign| match foreign {
        Foreign::NotALog => StoreError::NotALog,
        Foreign::OtherVersion => StoreError::OtherVersion,
        Foreign::OtherHsm => StoreError::OtherHsm,
        Foreign::OtherClock => StoreError::OtherClock,
    })?;
    if store.begin > tail {
        return Err(StoreError::FrontMissing);
    }
    if store.end < end { Err(StoreError::Short) } else { Ok(()) }
}

impl State {
    /// Takes every entry up to `end` into chain, marks and table.
    async fn read_log(&mut self, hal: &Hal, end: u64) -> Result<(), StoreError> {
        let (mut buffer, mut used) = (Vec::new(), 0);
        let mut reads = ReadAhead::new(self.tail.length_bytes(), end);
        while self.head.length_bytes() < end {
            if let Some(entry) = log::split_first(&buffer[used..]).map_err(|_| StoreError::NotALog)? {
                let offset = self.head.length_bytes();
                self.head.append(entry.bytes);
                self.marks.note(&self.tail, &self.head);
                used += entry.bytes.len();
                for (name, placed) in entry.records {
                    self.table.place(name, placed, offset).map_err(|_| StoreError::NotALog)?;
                }
                self.sequence = entry.sequence;
            } else {
                buffer.drain(..core::mem::take(&mut used));
                // Where nothing is left to read, the head lies inside an entry: these are not the bytes it was made of.
                let chunk = reads.next(hal).await?.ok_or(StoreError::HeadMismatch)?;
                buffer.extend_from_slice(&chunk);
            }
        }
        Ok(())
    }
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
