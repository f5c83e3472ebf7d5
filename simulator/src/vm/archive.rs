//! The archive that a kernel unpacks as its first root: cpio in the "newc" form (Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`).
//! Owners, times and inode numbers are all zero or counted, so the same files give the same bytes.

/// Length of an entry's header in bytes.
const HEADER_FIELDS: usize = 13;

/// A regular file that everybody may read and run, and its owner write.
const FILE_MODE: u32 = 0o100_755;

/// A folder.
const FOLDER_MODE: u32 = 0o040_755;

/// What ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive that is being written.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a folder.
    pub fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER_MODE, b"");
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, FILE_MODE, content);
    }

    /// The archive. Another one may follow it: a kernel unpacks both.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, b"");
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).expect("names and files are far below 4 GiB");
        let (inode, links) = (self.entries, 1);
        let (size, name_size) = (length(content.len()), length(name.len() + 1));
        let fields: [u32; HEADER_FIELDS] = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn the_same_files_give_the_same_bytes_and_every_part_is_aligned() {
        let archive = || {
            let mut archive = Archive::default();
            archive.folder("dev");
            archive.file("init", b"12345");
            archive.finish()
        };
        assert_eq!(archive(), archive());
        assert_eq!(archive().len() % 4, 0);
    }

    #[test]
    fn cpio_reads_it() {
        let mut archive = Archive::default();
        archive.folder("modules");
        archive.file("modules/a", b"first");
        archive.file("init", &[7; 1001]);
        let folder = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("cpio");
        cpio.args(["--extract", "--quiet"]).current_dir(folder.path()).stdin(Stdio::piped());
        let mut cpio = cpio.spawn().unwrap();
        cpio.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        assert!(cpio.wait().unwrap().success());
        assert_eq!(std::fs::read(folder.path().join("modules/a")).unwrap(), b"first");
        assert_eq!(std::fs::read(folder.path().join("init")).unwrap(), [7; 1001]);
    }
}
