//! Opening the store: every byte between the tail and the head that NVRAM remembers is read and checked, and what lies
//! beyond is discarded.

use super::log::{self, Chain, ENTRY_HEADER_BYTES, Foreign, Owner};
use super::nvram::{Nvram, Seal, Unreadable};
use super::regions::{self, Marks, ReadAhead};
use super::seal::{LAST_BOOT, Sealer};
use super::table::Table;
use super::trees::Trees;
use super::{Cache, Cleaning, Staged, State, Store, StoreError, Watermarks};
use crate::audit::leaf::LogNamer;
use crate::hal::Hal;
use core::cell::RefCell;
use countersign_wire::hal::{Boot, Extent, Op};

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
            trees: Trees::default(),
            broken: None,
        };
        state.follow_chain(hal, before.head.length_bytes()).await?;
        if state.head != before.head {
            return Err(StoreError::HeadMismatch);
        }
        state.fill_table(hal).await?;
        let mut reader = Sealer::new(boot.sealing_key.expose(), hsm_id, 0);
        let namer = LogNamer::new(reader.log_names_key());
        state.grow_trees(hal, &mut reader, &namer).await?;
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
        Ok((Self { sealer: RefCell::new(sealer), namer, state: RefCell::new(state) }, watermarks))
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

/// What it means at a start that a region is not what the chain says.
pub(super) fn at_start(error: StoreError) -> StoreError {
    match error {
        StoreError::Changed => StoreError::HeadMismatch,
        other => other,
    }
}

impl State {
    /// Follows the chain from the tail to `end`, and notes where it stands at the boundaries of regions.
    ///
    /// Nothing else is kept of bytes that are not proved yet: they come from whoever has the disk, and what they could be
    /// made to fill memory with is in no proportion to what they are.
    async fn follow_chain(&mut self, hal: &Hal, end: u64) -> Result<(), StoreError> {
        let (mut buffer, mut used) = (Vec::new(), 0);
        let mut reads = ReadAhead::new(self.tail.length_bytes(), end);
        while self.head.length_bytes() < end {
            if let Some(entry) = log::split_first(&buffer[used..]).map_err(|_| StoreError::NotALog)? {
                self.head.append(entry.bytes);
                self.marks.note(&self.tail, &self.head);
                used += entry.bytes.len();
            } else {
                buffer.drain(..core::mem::take(&mut used));
                // Where nothing is left to read, the head lies inside an entry: these are not the bytes it was made of.
                let chunk = reads.next(hal).await?.ok_or(StoreError::HeadMismatch)?;
                buffer.extend_from_slice(&chunk);
            }
        }
        Ok(())
    }

    /// Reads the log again, region by region, and takes each into the table once it proved to be what it was.
    async fn fill_table(&mut self, hal: &Hal) -> Result<(), StoreError> {
        let mut from = self.tail.clone();
        let untils: Vec<Chain> = self.marks.all().chain([&self.head]).cloned().collect();
        for until in untils {
            let found = regions::read(hal, &from, &until).await.map_err(at_start)?;
            for (name, placed) in found.records {
                self.table.place(name, placed, from.length_bytes()).map_err(|_| StoreError::Record)?;
            }
            from = until;
        }
        Ok(())
    }
}
