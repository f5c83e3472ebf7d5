//! Countersign broken on purpose, to show that a test would notice: edits in a copy of the sources.
//!
//! The sources themselves hold no switch. Two kinds of edits are made in copies:
//! * *breaks* of the simulation, one at a time, each built by itself;
//! * *guards* of the attacks, all at once: each edit asks [`switch`] whether its guard is off, and a program that was
//!   built from the copy is told so in its bytes.

#![forbid(unsafe_code)]

pub mod switch;

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One change of a source file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, from the root of the repository.
    pub file: String,
    /// What stands there exactly once.
    pub find: String,
    /// What stands there instead.
    pub replace: String,
}

/// Something that can be switched off in programs that were built from an edited copy, or a fault that can be switched on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The word that switches it.
    pub name: String,
    /// What is then not done any more, or done wrong.
    pub off: String,
    /// How the sources are changed.
    pub edit: Vec<Edit>,
}

/// The guards that a table lists. Names are told apart.
pub fn guards(table: &str) -> Result<Vec<Guard>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        guard: Vec<Guard>,
    }
    let Table { guard } = toml::from_str(table).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    match guard.iter().find(|guard| !names.insert(&guard.name)) {
        Some(twice) => Err(format!("{} is listed twice", twice.name)),
        None => Ok(guard),
    }
}

/// A file's text with the edit made; the error says how often its `find` stands there.
pub fn edited(text: &str, edit: &Edit) -> Result<String, String> {
    match text.matches(edit.find.as_str()).count() {
        1 => Ok(text.replacen(&edit.find, &edit.replace, 1)),
        count => Err(format!("{}: stands {count} times, not once: {:?}", edit.file, edit.find)),
    }
}

/// Makes an edit in a copy of the sources.
pub fn make(copy: &Path, edit: &Edit) -> Result<(), String> {
    let path = copy.join(&edit.file);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", edit.file))?;
    fs::write(path, edited(&text, edit)?).map_err(|error| format!("{}: {error}", edit.file))
}

/// Folders of the repository that are no sources.
const NO_SOURCES: &[&str] = &["target", ".git", "node_modules"];

/// What stands in a copy instead of, or beside, the files of the repository; by their paths from its root.
pub type Other = BTreeMap<PathBuf, Vec<u8>>;

/// Copies the sources at `from`, with the `other` files in place of theirs. What did not change is not written again, so
/// that it is not built again; what is gone there goes here too.
pub fn mirror(from: &Path, to: &Path, other: &Other) -> io::Result<()> {
    mirror_folder(from, to, Path::new(""), other)?;
    other.iter().try_for_each(|(path, content)| write_if_other(&to.join(path), content))
}

fn mirror_folder(from: &Path, to: &Path, folder: &Path, other: &Other) -> io::Result<()> {
    fs::create_dir_all(to.join(folder))?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from.join(folder))? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let path = folder.join(&name);
        if NO_SOURCES.iter().any(|no| name == *no) {
            continue;
        }
        if kind.is_dir() {
            mirror_folder(from, to, &path, other)?;
        } else if kind.is_file() && !other.contains_key(&path) {
            write_if_other(&to.join(&path), &fs::read(entry.path())?)?;
        }
        names.insert(name);
    }
    for entry in fs::read_dir(to.join(folder))? {
        let (name, kind, path) =
            entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?, entry.path())))?;
        let stays = names.contains(&name) || NO_SOURCES.iter().any(|no| name == *no);
        if stays || other.contains_key(&folder.join(&name)) {
            continue;
        }
        if kind.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

/// Writes a file unless it holds just that.
fn write_if_other(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).ok().as_deref() == Some(content) { Ok(()) } else { fs::write(path, content) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn an_edit_is_made_only_where_its_place_is_plain() {
        let edit = |find: &str| Edit { file: "a.rs".into(), find: find.into(), replace: "three".into() };
        assert_eq!(edited("one two", &edit("two")).unwrap(), "one three");
        assert!(edited("one two two", &edit("two")).unwrap_err().contains("2 times"));
        assert!(edited("one", &edit("two")).unwrap_err().contains("0 times"));
    }

    #[test]
    fn guards_have_names_of_their_own() {
        let one = "[[guard]]\nname = \"a\"\noff = \"x\"\nedit = []\n";
        assert_eq!(guards(one).unwrap().len(), 1);
        assert!(guards(&one.repeat(2)).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_mirror_follows_what_comes_and_goes_and_leaves_the_rest_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("src")).unwrap();
        fs::create_dir_all(from.join("target")).unwrap();
        fs::write(from.join("src/a"), "1").unwrap();
        fs::write(from.join("target/b"), "2").unwrap();
        mirror(&from, &to, &Other::new()).unwrap();
        assert!(!to.join("target").exists());
        let before = fs::metadata(to.join("src/a")).unwrap().modified().unwrap();
        fs::write(from.join("c"), "3").unwrap();
        mirror(&from, &to, &Other::new()).unwrap();
        assert_eq!(fs::metadata(to.join("src/a")).unwrap().modified().unwrap(), before);
        let other = Other::from([("src/a".into(), b"4".into()), ("src/d".into(), b"5".into())]);
        mirror(&from, &to, &other).unwrap();
        let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!((read("src/a"), read("src/d"), read("c")), ("4".into(), "5".into(), "3".into()));
        fs::remove_file(from.join("src/a")).unwrap();
        mirror(&from, &to, &Other::new()).unwrap();
        assert!(!to.join("src/a").exists() && !to.join("src/d").exists() && to.join("c").exists());
    }
}
