//! A log in a folder, as [c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles) serves it: `checkpoint`, `tile/…`. A file appears
//! whole or not at all.

use super::LogFault;
use countersign_tlog::Hash;
use countersign_tlog::proof::Hashes;
use countersign_tlog::tile::{Content, TILE_HEIGHT, TILE_WIDTH, Tile, subtree_root};
use data_encoding::HEXLOWER;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The longest file that is read: a full bundle of the longest entries.
const FILE_MAX_BYTES: u64 = TILE_WIDTH * (2 + u16::MAX as u64);

/// Where files lie that do not belong to the log yet. No reader of the log asks for any of it.
const STAGED: &str = ".staged";

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

    /// Lays a file aside that does not belong to the log yet.
    pub(super) fn stage(&self, tile: Tile, bytes: &[u8]) -> Result<(), LogFault> {
        write(&self.path(STAGED).join(tile.path()), bytes)
    }

    /// Puts a file that lies aside in its place.
    pub(super) fn unstage(&self, tile: Tile) -> Result<(), LogFault> {
        rename(&self.path(STAGED).join(tile.path()), &self.path(&tile.path()))
    }

    /// Throws away what lies aside.
    pub(super) fn forget_staged(&self) -> Result<(), LogFault> {
        forget(self.path(STAGED))
    }

    /// The partial files of a tile that is full now are not needed any more.
    pub(super) fn forget_partial(&self, full: Tile) -> Result<(), LogFault> {
        forget(self.path(&format!("{}.p", full.path())))
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

/// Removes a folder, if there is one, with all that it holds.
fn forget(path: PathBuf) -> Result<(), LogFault> {
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(LogFault::File { path, error }),
        _ => Ok(()),
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

/// Writes a file, durably: whole or not at all, whoever else writes it meanwhile.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), LogFault> {
    let failed = |error| LogFault::File { path: path.to_owned(), error };
    fs::create_dir_all(folder_of(path)).map_err(failed)?;
    let new = unique_beside(path).map_err(failed)?;
    let written = File::options().write(true).create_new(true).open(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let put = written.map_err(failed).and_then(|()| rename(&new, path));
    if put.is_err() {
        // What is left of it is in nobody's way.
        let _ = fs::remove_file(&new);
    }
    put
}

/// Gives a file another name, durably: the folder is synced as well.
fn rename(from: &Path, to: &Path) -> Result<(), LogFault> {
    let failed = |error| LogFault::File { path: to.to_owned(), error };
    let folder = folder_of(to);
    fs::create_dir_all(folder).and_then(|()| fs::rename(from, to)).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn folder_of(path: &Path) -> &Path {
    // The parent of a name alone is empty.
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// A name beside a file that nobody else takes.
fn unique_beside(path: &Path) -> std::io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    Ok(suffixed(path, &format!(".{}.new", HEXLOWER.encode(&random))))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Held: nobody else who asks for it holds the lock of this file, in this process or another of the machine. It lies beside the
/// file (`.lock`), since the file itself is replaced, and stays there.
pub(super) struct Locked {
    _file: File,
}

impl Locked {
    /// Waits for it.
    pub(super) fn take(path: &Path) -> Result<Self, LogFault> {
        let path = suffixed(path, ".lock");
        let failed = |error| LogFault::File { path: path.clone(), error };
        fs::create_dir_all(folder_of(&path)).map_err(failed)?;
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(Self { _file: file })
    }
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
