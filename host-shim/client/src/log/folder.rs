//! A log in a folder, as [c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles) serves it: `checkpoint`, `tile/…`. A file appears
//! whole or not at all.

use super::LogFault;
use countersign_tlog::Hash;
use countersign_tlog::proof::Hashes;
use countersign_tlog::tile::{Content, TILE_HEIGHT, TILE_WIDTH, Tile, subtree_root};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The longest file that is read: a full bundle of the longest entries.
const FILE_MAX_BYTES: u64 = TILE_WIDTH * (2 + u16::MAX as u64);

/// A folder with a log in it.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// This one, whether it is there or not.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where a file of it lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What a file holds; `None` where there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, LogFault> {
        read(&self.path(name))
    }

    /// Its checkpoint, as it stands there.
    pub fn checkpoint(&self) -> Result<String, LogFault> {
        let bytes = self.read("checkpoint")?.ok_or(LogFault::MalformedCheckpoint)?;
        String::from_utf8(bytes).map_err(|_| LogFault::MalformedCheckpoint)
    }

    /// Writes a file, durably.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), LogFault> {
        write(&self.path(name), bytes)
    }

    /// The partial files of a tile that is full now are not needed any more.
    pub(super) fn forget_partial(&self, full: Tile) -> Result<(), LogFault> {
        let path = self.path(&format!("{}.p", full.path()));
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(LogFault::File { path, error }),
            _ => Ok(()),
        }
    }

    /// The content of a tile of a tree: where the partial one is gone, the beginning of the full one.
    pub(super) fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, LogFault> {
        if let Some(bytes) = self.read(&tile.path())? {
            return Ok(Some(bytes));
        }
        let full = Tile { width: 256, ..tile };
        self.read(&full.path())
    }

    /// The hashes of a tile; `None`: it is missing, or shorter than it should be.
    pub(super) fn hashes(&self, tile: Tile) -> Result<Option<Vec<Hash>>, LogFault> {
        let (bytes, held) = match self.read(&tile.path())? {
            Some(bytes) => (bytes, tile.width),
            None => (self.tile(tile)?.unwrap_or_default(), 256),
        };
        let (hashes, rest) = bytes.as_chunks::<32>();
        let is_whole = rest.is_empty() && hashes.len() == usize::from(held);
        Ok(is_whole.then(|| hashes[..usize::from(tile.width)].to_vec()))
    }
}

pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, LogFault> {
    let failed = |error| LogFault::File { path: path.to_owned(), error };
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !found.is_file() || found.len() > FILE_MAX_BYTES {
        return Err(failed(std::io::Error::other("it is not a file of a log")));
    }
    fs::read(path).map(Some).map_err(failed)
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), LogFault> {
    let failed = |error| LogFault::File { path: path.to_owned(), error };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    });
    written.and_then(|()| fs::rename(&new, path)).map_err(failed)
}

/// The hashes of one tree in a folder. Nothing is believed of them: what is made of them is checked.
pub(super) struct Tree<'a> {
    folder: &'a Folder,
    size: u64,
    read: RefCell<BTreeMap<(u8, u64), Vec<Hash>>>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(folder: &'a Folder, size: u64) -> Self {
        Self { folder, size, read: RefCell::default() }
    }

    fn tile(&self, level: u8, index: u64) -> Result<Vec<Hash>, LogFault> {
        if let Some(hashes) = self.read.borrow().get(&(level, index)) {
            return Ok(hashes.clone());
        }
        let count = self.size >> (TILE_HEIGHT * u32::from(level));
        let width = count.saturating_sub(index * TILE_WIDTH).min(TILE_WIDTH);
        let content = Content::Hashes(level);
        let tile = Tile { content, index, width: u16::try_from(width).expect("at most 256") };
        let hashes = self.folder.hashes(tile)?.ok_or_else(|| LogFault::TileDamaged(tile.path()))?;
        self.read.borrow_mut().insert((level, index), hashes.clone());
        Ok(hashes)
    }
}

impl Hashes for Tree<'_> {
    type Error = LogFault;

    fn subtree(&self, level: u32, index: u64) -> Result<Hash, LogFault> {
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << height;
        let content = u8::try_from(tile_level).map_err(|_| LogFault::NoSuchEntry)?;
        let hashes = self.tile(content, first / TILE_WIDTH)?;
        let begin = usize::try_from(first % TILE_WIDTH).expect("below 256");
        let range = hashes.get(begin..begin + (1 << height));
        range.and_then(subtree_root).ok_or(LogFault::NoSuchEntry)
    }
}
