//! Files and folders that are on the disk when a call returns, and readable by their owner alone.
//!
//! A new file is durable only when both its content and the folder that names it are synced.

use crate::HsmError;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Makes a folder (mode 0700) and syncs the folder it stands in.
pub fn create_folder(path: &Path) -> Result<(), HsmError> {
    let what = || format!("create the folder {}", path.display());
    DirBuilder::new().mode(FOLDER_MODE).create(path).map_err(HsmError::io(what()))?;
    sync_parent(path)
}

/// Makes a new file (mode 0600) with this content, and syncs it and its folder. Never overwrites.
pub fn create_file(path: &Path, content: &[u8]) -> Result<File, HsmError> {
    let what = || format!("create {}", path.display());
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(HsmError::io(what()))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(HsmError::io(what()))?;
    sync_parent(path)?;
    Ok(file)
}

/// Replaces a file's content in one step: after a crash it holds the old or the new content, whole.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), HsmError> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(HsmError::io(format!("remove {}", beside.display()))(error));
        }
        _ => {}
    }
    create_file(&beside, content)?;
    std::fs::rename(&beside, path).map_err(HsmError::io(format!("replace {}", path.display())))?;
    sync_parent(path)
}

/// Syncs the folder that `path` stands in.
pub fn sync_parent(path: &Path) -> Result<(), HsmError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    sync_folder(parent)
}

/// Syncs a folder, so that the names in it are durable.
pub fn sync_folder(path: &Path) -> Result<(), HsmError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(HsmError::io(format!("sync the folder {}", path.display())))
}

/// Copies a folder with all in it, files mode 0600, folders 0700, and syncs everything that was written.
pub fn copy_folder(from: &Path, to: &Path) -> Result<(), HsmError> {
    create_folder(to)?;
    let list = || HsmError::io(format!("list {}", from.display()));
    for entry in std::fs::read_dir(from).map_err(list())? {
        let entry = entry.map_err(list())?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(list())?.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            let content =
                std::fs::read(&source).map_err(HsmError::io(format!("read {}", source.display())))?;
            create_file(&target, &content)?;
        }
    }
    sync_folder(to)
}

/// Syncs every file and folder below `path`, and `path` itself.
pub fn sync_all_below(path: &Path) -> Result<(), HsmError> {
    let failed = || HsmError::io(format!("sync {}", path.display()));
    for entry in std::fs::read_dir(path).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if entry.file_type().map_err(failed())?.is_dir() {
            sync_all_below(&entry.path())?;
        } else {
            File::open(entry.path()).and_then(|file| file.sync_all()).map_err(failed())?;
        }
    }
    sync_folder(path)
}

/// Removes a folder and all in it, if it is there.
pub fn remove_folder(path: &Path) -> Result<(), HsmError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HsmError::io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn everything_is_for_its_owner_alone_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        create_folder(&inner).unwrap();
        let file = inner.join("secret");
        create_file(&file, b"one").unwrap();
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
        assert!(create_file(&file, b"two").is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"one");
    }

    #[test]
    fn replacing_survives_what_an_interrupted_replacement_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tenants.toml");
        create_file(&file, b"one").unwrap();
        std::fs::write(folder.path().join("tenants.new"), b"torn").unwrap();
        replace_file(&file, b"two").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(mode(&file), 0o600);
        assert!(!folder.path().join("tenants.new").exists());
    }
}
