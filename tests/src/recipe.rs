//! What the documentation tells its readers to do: the files and the shell's lines of a section, so that tests do just that.
//!
//! A code block after a line that ends with `` `NAME`: `` is the file of that name; a block of `sh` is lines to be run.

use crate::artefacts;
use std::fs;
use std::path::Path;

/// A section's files and lines.
pub struct Recipe {
    /// Each file's name and text.
    pub files: Vec<(String, String)>,
    /// The lines of the shell, in their order; one that goes on after a backslash is one line.
    pub lines: Vec<String>,
}

/// The text of a section of a page, up to the next heading of its level or above. `page` is its path in the repository, `heading`
/// the whole line.
pub fn section(page: &str, heading: &str) -> String {
    let document = fs::read_to_string(artefacts::workspace().join(page)).expect("the page is there");
    let level = heading.find(' ').expect("a heading is some # and its words");
    let mut lines = document.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "{page} has no section {heading}");
    let is_heading =
        |line: &str| line.find("# ").is_some_and(|at| at < level && line[..at].chars().all(|c| c == '#'));
    let mut is_code = false;
    let mut text = String::new();
    for line in lines {
        is_code ^= line.starts_with("```");
        if !is_code && is_heading(line) {
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

impl Recipe {
    /// What a section of a page says; see [`section`].
    pub fn of(page: &str, heading: &str) -> Self {
        let text = section(page, heading);
        let (mut files, mut lines) = (Vec::new(), Vec::new());
        let mut rest = text.as_str();
        while let Some((before, block)) = rest.split_once("\n```") {
            let (language, block) = block.split_once('\n').expect("a block has lines");
            let (code, after) = block.split_once("```\n").expect("a block ends");
            if language == "sh" {
                lines.extend(code.replace("\\\n", " ").lines().map(str::to_owned));
            } else if let Some(name) = file_named(before) {
                files.push((name.to_owned(), code.to_owned()));
            }
            rest = after;
        }
        Self { files, lines }
    }

    /// Writes the files into a folder.
    pub fn write_to(&self, folder: &Path) {
        for (name, text) in &self.files {
            fs::write(folder.join(name), text).expect("a file can be written");
        }
    }

    /// The only line with these words.
    #[track_caller]
    pub fn line(&self, words: &str) -> &str {
        let found: Vec<_> = self.lines.iter().filter(|line| line.contains(words)).collect();
        let [line] = found[..] else { panic!("not one line with {words:?}: {found:?}") };
        line
    }
}

/// The name at the end of what stands before a block.
fn file_named(before: &str) -> Option<&str> {
    let (_, name) = before.trim_end().strip_suffix("`:")?.rsplit_once('`')?;
    Some(name)
}
