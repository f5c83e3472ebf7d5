//! Keeping a folder up to date with a tenant's log. What the HSM gives lies aside, under no name that a reader of the log knows,
//! until all of it proved to make up the tree that the HSM signed; only then is anything of the log itself touched. The
//! checkpoint comes last.

use super::folder::{Folder, Locked, Tree};
use super::{LogFault, SignedCheckpoint};
use crate::client::Client;
use countersign_tlog::proof;
use countersign_tlog::tile::{Content, TILE_WIDTH, Tile, bundle, subtree_root, unbundle};
use countersign_tlog::tree::{Frontier, Hash, leaf_hash};
use countersign_tlog::{Checkpoint, VerifierKey};
use countersign_wire::client::{Act, Answer};
use countersign_wire::log::{LOG_PAGE_MAX_ENTRIES, LogCheckpoint, LogCursor, LogPage, LogQuery, LogStart};
use countersign_wire::names::ApiKey;
use countersign_wire::reason::{Reason, Refusal};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// Where a log is to be had.
pub trait LogSource {
    /// How it is now.
    fn checkpoint(&self) -> Result<LogCheckpoint, Refusal>;
    /// Entries of it.
    fn page(&self, query: LogQuery) -> Result<LogPage, Refusal>;
}

/// The log of the tenant of an API key.
pub struct TenantLog<'a> {
    /// Asks the HSM.
    pub client: &'a Client,
    /// The tenant's.
    pub api_key: &'a ApiKey,
}

impl LogSource for TenantLog<'_> {
    fn checkpoint(&self) -> Result<LogCheckpoint, Refusal> {
        match self.client.call(Some(self.api_key), Act::LogCheckpoint)? {
            Answer::LogCheckpoint(checkpoint) => Ok(checkpoint),
            _ => Err(Reason::HsmUnreachable.into()),
        }
    }

    fn page(&self, query: LogQuery) -> Result<LogPage, Refusal> {
        match self.client.call(Some(self.api_key), Act::ReadLog(query))? {
            Answer::LogPage(page) => Ok(page),
            _ => Err(Reason::HsmUnreachable.into()),
        }
    }
}

/// Where an export stands, beside it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The log's key, as the HSM told it at the first export.
    vkey: String,
    /// Entries that the folder holds.
    size: u64,
    /// Where the HSM goes on: 48 bytes, hexadecimal.
    next: Option<String>,
}

const STATE: &str = "export.json";

/// The most pages without an entry, one after the other, before the HSM is not believed to have more.
const EMPTY_PAGES_MAX: u32 = 1_000_000;

/// A folder that is brought up to date.
pub struct Export {
    folder: Folder,
    /// Nobody else exports into it meanwhile.
    _alone: Locked,
    state: State,
    key: VerifierKey,
    frontier: Frontier,
    /// The entries of the last bundle that is not full.
    entries: Vec<Vec<u8>>,
    /// The hashes of the last tile of each level that is not full.
    levels: Vec<Vec<Hash>>,
    /// What was filled since, and lies aside.
    staged: Vec<Tile>,
}

/// What an export did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The checkpoint that the folder holds now.
    pub checkpoint: Checkpoint,
    /// How many entries are new.
    pub new: u64,
    /// The log's key.
    pub vkey: String,
}

impl Export {
    /// Goes on with a folder, or begins one. Of a folder that is there, its key is held on to: another one is refused. `key`: the
    /// one that is trusted, where it is known from somewhere else than the HSM.
    pub fn open(
        folder: Folder,
        key: Option<&VerifierKey>,
        source: &impl LogSource,
    ) -> Result<Self, LogFault> {
        let alone = Locked::take(&folder.path(STATE))?;
        let state = match folder.read(STATE)? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| LogFault::MalformedState(folder.path(STATE)))?
            }
            None => State { vkey: source.checkpoint()?.vkey, size: 0, next: None },
        };
        let pinned = VerifierKey::parse(&state.vkey).ok_or(LogFault::WrongSignature)?;
        if key.is_some_and(|key| *key != pinned) {
            return Err(LogFault::OtherKey);
        }
        let (entries, levels) = last_files(&folder, state.size)?;
        let mut peaks = Vec::new();
        for level in (0..64).rev().filter(|level| state.size >> level & 1 == 1) {
            let index = (state.size >> level) - 1;
            peaks.push(proof::Hashes::subtree(&Tree::new(&folder, state.size), level, index)?);
        }
        let frontier = Frontier::from_parts(state.size, peaks).expect("one for each bit of the size");
        Ok(Self { folder, _alone: alone, state, key: pinned, frontier, entries, levels, staged: Vec::new() })
    }

    /// Takes over all that the HSM has signed by now; where it gives anything else, the log in the folder stays as it was.
    pub fn update(mut self, source: &impl LogSource) -> Result<Exported, LogFault> {
        // What an export that was interrupted, or refused, left aside.
        self.folder.forget_staged()?;
        let exported = self.take_over(source);
        if exported.is_err() {
            self.folder.forget_staged()?;
        }
        exported
    }

    fn take_over(&mut self, source: &impl LogSource) -> Result<Exported, LogFault> {
        let told = source.checkpoint()?;
        let now = SignedCheckpoint::verify(&told.note, &self.key)?;
        let before = self.state.size;
        if now.checkpoint.size < before {
            return Err(LogFault::RolledBack { seen: before, now: now.checkpoint.size });
        }
        self.take(source, now.checkpoint.size)?;
        if self.frontier.root() != now.checkpoint.root {
            // With nothing new it is what was exported before that differs.
            let same = self.state.size == before;
            return Err(if same { LogFault::Forked { seen: before } } else { LogFault::NotAsSigned });
        }
        self.unstage()?;
        self.write_partial()?;
        // Cosignatures of the same checkpoint stay.
        let held = self.folder.checkpoint().ok();
        let held = held.and_then(|note| SignedCheckpoint::verify(&note, &self.key).ok());
        if held.is_none_or(|held| held.checkpoint != now.checkpoint) {
            self.folder.write("checkpoint", told.note.as_bytes())?;
        }
        let state = serde_json::to_vec(&self.state).expect("it has only strings and numbers");
        self.folder.write(STATE, &state)?;
        Ok(Exported {
            checkpoint: now.checkpoint,
            new: self.state.size - before,
            vkey: self.state.vkey.clone(),
        })
    }

    /// Reads entries until there are so many.
    fn take(&mut self, source: &impl LogSource, size: u64) -> Result<(), LogFault> {
        let mut empty = 0;
        while self.state.size < size {
            let from = match &self.state.next {
                None => LogStart::Beginning,
                Some(cursor) => LogStart::After(cursor_of(cursor).ok_or_else(|| self.malformed())?),
            };
            let most = (size - self.state.size).min(LOG_PAGE_MAX_ENTRIES.into());
            let entries_max = u16::try_from(most).unwrap_or(LOG_PAGE_MAX_ENTRIES);
            let page = source.page(LogQuery { from, entries_max })?;
            empty = if page.entries.is_empty() { empty + 1 } else { 0 };
            if empty > EMPTY_PAGES_MAX || page.entries.is_empty() && !page.more {
                return Err(LogFault::NotAsSigned);
            }
            for entry in page.entries {
                self.append(entry.into_vec())?;
            }
            self.state.next = Some(HEXLOWER.encode(page.next.as_slice()));
        }
        Ok(())
    }

    fn malformed(&self) -> LogFault {
        LogFault::MalformedState(self.folder.path(STATE))
    }

    fn append(&mut self, entry: Vec<u8>) -> Result<(), LogFault> {
        let leaf = leaf_hash(&entry);
        self.entries.push(entry);
        self.frontier.append(leaf);
        self.state.size += 1;
        if self.entries.len() as u64 == TILE_WIDTH {
            let index = self.state.size / TILE_WIDTH - 1;
            let entries = core::mem::take(&mut self.entries);
            self.stage(Tile { content: Content::Entries, index, width: 256 }, &bundled(&entries)?)?;
        }
        self.push(0, leaf)
    }

    /// Puts a hash on a level; a tile that it fills gives the next level one.
    fn push(&mut self, level: usize, hash: Hash) -> Result<(), LogFault> {
        if self.levels.len() <= level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(hash);
        if (self.levels[level].len() as u64) < TILE_WIDTH {
            return Ok(());
        }
        let hashes = core::mem::take(&mut self.levels[level]);
        let content = Content::Hashes(u8::try_from(level).expect("a tree of 2^64 leaves has 8 levels"));
        let index = (self.state.size >> (8 * (level + 1))) - 1;
        self.stage(Tile { content, index, width: 256 }, hashes.as_flattened())?;
        self.push(level + 1, subtree_root(&hashes).expect("256 is a power of two"))
    }

    /// Lays a full file aside: what it holds is not proved yet.
    fn stage(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), LogFault> {
        self.folder.stage(tile, bytes)?;
        self.staged.push(tile);
        Ok(())
    }

    /// Puts the full files in their places. Whoever reads by an older checkpoint finds in them what he is looking for.
    fn unstage(&mut self) -> Result<(), LogFault> {
        for tile in core::mem::take(&mut self.staged) {
            self.folder.unstage(tile)?;
            self.folder.forget_partial(tile)?;
        }
        self.folder.forget_staged()
    }

    /// Writes the files that are not full.
    fn write_partial(&self) -> Result<(), LogFault> {
        let partial = |content, count: u64, held: usize| {
            let width = u16::try_from(held).expect("below 256");
            (held > 0).then_some(Tile { content, index: count / TILE_WIDTH, width })
        };
        if let Some(tile) = partial(Content::Entries, self.state.size, self.entries.len()) {
            self.folder.write(&tile.path(), &bundled(&self.entries)?)?;
        }
        for (level, hashes) in (0_u8..).zip(&self.levels) {
            let count = self.state.size >> (8 * u32::from(level));
            if let Some(tile) = partial(Content::Hashes(level), count, hashes.len()) {
                self.folder.write(&tile.path(), hashes.as_flattened())?;
            }
        }
        Ok(())
    }
}

/// What an export goes on from: the entries of the last bundle that is not full, and the hashes of each level's last tile.
type LastFiles = (Vec<Vec<u8>>, Vec<Vec<Hash>>);

/// The last files of a folder with so many entries. What is missing was damaged: verifying says more.
fn last_files(folder: &Folder, size: u64) -> Result<LastFiles, LogFault> {
    let damaged = |tile: Tile| LogFault::TileDamaged(tile.path());
    let (mut entries, mut levels) = (Vec::new(), Vec::new());
    for level in 0..8_u8 {
        let count = size >> (8 * u32::from(level));
        let width = u16::try_from(count % TILE_WIDTH).expect("below 256");
        let at = |content| Tile { content, index: count / TILE_WIDTH, width };
        let tile = at(Content::Hashes(level));
        let hashes = if width == 0 { Some(Vec::new()) } else { folder.hashes(tile)? };
        levels.push(hashes.ok_or_else(|| damaged(tile))?);
        if level == 0 && width > 0 {
            let tile = at(Content::Entries);
            let bytes = folder.tile(tile)?.ok_or_else(|| damaged(tile))?;
            let found = unbundle(&bytes).filter(|found| found.len() >= width.into());
            let found = found.ok_or_else(|| damaged(tile))?;
            entries = found.into_iter().take(width.into()).map(<[u8]>::to_vec).collect();
        }
    }
    Ok((entries, levels))
}

/// Entries as a bundle. An entry that no bundle can hold is none that was signed.
fn bundled(entries: &[Vec<u8>]) -> Result<Vec<u8>, LogFault> {
    bundle(entries.iter().map(Vec::as_slice)).ok_or(LogFault::NotAsSigned)
}

fn cursor_of(hex: &str) -> Option<LogCursor> {
    let bytes: [u8; 48] = HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()?;
    Some(LogCursor::new(bytes))
}

/// The key that was pinned when the folder was first exported into. It lies beside the log: whoever can write to the folder
/// can replace it.
pub fn pinned_key(folder: &Folder) -> Result<VerifierKey, LogFault> {
    let malformed = || LogFault::MalformedState(folder.path(STATE));
    let bytes = folder.read(STATE)?.ok_or_else(malformed)?;
    let state: State = serde_json::from_slice(&bytes).map_err(|_| malformed())?;
    VerifierKey::parse(&state.vkey).ok_or_else(malformed)
}

/// The newest entries of a log.
#[derive(Clone, Debug)]
pub struct Recent {
    /// With their numbers.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// The number of the next one.
    pub index: u64,
    /// Where to go on.
    pub next: LogCursor,
}

/// The newest entries of a log, at most so many, as the HSM tells them: nothing is verified.
pub fn read_recent(source: &impl LogSource, most: usize) -> Result<Recent, LogFault> {
    let (mut from, mut index, mut entries) = (LogStart::Recent, 0, Vec::new());
    loop {
        let page = source.page(LogQuery { from, entries_max: LOG_PAGE_MAX_ENTRIES })?;
        index = page.index.unwrap_or(index);
        for entry in page.entries {
            entries.push((index, entry.into_vec()));
            index += 1;
        }
        let outdated = entries.len().saturating_sub(most);
        entries.drain(..outdated);
        if !page.more {
            return Ok(Recent { entries, index, next: page.next });
        }
        from = LogStart::After(page.next);
    }
}
