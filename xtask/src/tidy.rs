//! `cargo xtask tidy`: what the house asks of its files and no compiler asks: lengths, calls that have no place, leftovers,
//! documentation, the words of refusals, and for each invariant the tests that show it.
//!
//! Functions are kept short by clippy (`too_many_lines`), `unwrap` and `todo!` by the workspace's lints; what they see is not
//! looked at here again.

mod invariants;
mod words;

use crate::workspace::{output, root, say};
use anyhow::{Context, Result};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The most lines of a file.
const FILE_LINES_MAX: usize = 650;

/// What a file of the repository is.
pub(crate) struct Source {
    /// Its path from the root.
    path: String,
    /// Its text.
    text: String,
}

/// Something to mend.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl Source {
    fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }

    fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    fn has_extension(&self, wanted: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == wanted)
    }

    /// Whether it is of tests alone.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// Its lines with their numbers, up to the tests at its end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        // Not the first `cfg(test)` of any kind: one may stand over an import, with all of the code after it.
        let tests = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..tests].lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// Looks at every file that git knows.
pub(crate) fn run() -> Result<ExitCode> {
    let sources = sources()?;
    let mut findings: Vec<Finding> = sources.iter().flat_map(of_one_file).collect();
    findings.extend(words::undocumented(&sources));
    findings.extend(invariants::untested(&sources));
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        say(&format!("{} files are tidy", sources.len()));
        Ok(ExitCode::SUCCESS)
    } else {
        say(&format!("{} findings in {} files", findings.len(), sources.len()));
        Ok(ExitCode::FAILURE)
    }
}

/// The texts of the repository: what is committed or about to be.
fn sources() -> Result<Vec<Source>> {
    let mut list = Command::new("git");
    list.current_dir(root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut sources = Vec::new();
    for path in output(&mut list)?.split('\0').filter(|path| !path.is_empty()) {
        let file = root().join(path);
        // Deleted, and not committed yet.
        if !file.is_file() {
            continue;
        }
        let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
        // Corpora are bytes.
        if let (Ok(text), false) = (String::from_utf8(bytes), path.starts_with("tests/fuzz/corpus/")) {
            sources.push(Source { path: path.to_owned(), text });
        }
    }
    Ok(sources)
}

fn of_one_file(source: &Source) -> Vec<Finding> {
    let rules: [fn(&Source) -> Vec<Finding>; 4] = [length, leftovers, documentation, calls];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

fn length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if source.is_rust() && lines > FILE_LINES_MAX {
        vec![source.finding(FILE_LINES_MAX, format!("{lines} lines; a file has at most {FILE_LINES_MAX}"))]
    } else {
        Vec::new()
    }
}

/// What is written to be taken out again. Each is put together, so that this file has none of them.
fn leftover_words() -> Vec<String> {
    let halves = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("HA", "CK"),
        ("XX", "X"),
        ("<<<<", "<<<"),
        (">>>>", ">>>"),
        ("dbg", "!("),
    ];
    halves.iter().map(|(first, second)| format!("{first}{second}")).collect()
}

/// What no file of the project says: where and by whom it was written.
fn foreign_words() -> Vec<String> {
    [("/wo", "rk/"), ("/ro", "ot/"), ("subag", "ent"), ("as an AI", " "), ("the iss", "ue tracker")]
        .iter()
        .map(|(first, second)| format!("{first}{second}"))
        .collect()
}

fn leftovers(source: &Source) -> Vec<Finding> {
    if source.has_extension("lock") || source.path.ends_with("package-lock.json") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let words: Vec<String> = leftover_words().into_iter().chain(foreign_words()).collect();
    for (line, text) in (1..).zip(source.text.split('\n')) {
        let said = words.iter().filter(|word| text.contains(word.as_str()));
        findings.extend(said.map(|word| source.finding(line, format!("`{word}` is a leftover"))));
        if text.ends_with([' ', '\t']) {
            findings.push(source.finding(line, "blanks at the end of the line"));
        }
        if source.is_rust() && text.trim_start_matches(' ').starts_with('\t') {
            findings.push(source.finding(line, "a tab"));
        }
        if text.contains('\r') {
            findings.push(source.finding(line, "a carriage return"));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        findings.push(source.finding(source.text.lines().count(), "no line's end at the end of the file"));
    }
    findings
}

/// Each file of Rust says what it is, but for a module's own tests, and for the fuzzer's targets, which are one line each.
fn documentation(source: &Source) -> Vec<Finding> {
    let says = source.text.starts_with("//!") || source.text.lines().any(|line| line.starts_with("//! "));
    let needs_none = source.path.ends_with("/tests.rs") || source.path.starts_with("tests/fuzz/targets/");
    let is_module_of_tests = source.path.contains("/tests/") && !source.path.starts_with("tests/");
    if source.is_rust() && !says && !needs_none && !is_module_of_tests {
        return vec![source.finding(1, "no `//!` says what this file is")];
    }
    Vec::new()
}

/// A call that has no place below a folder.
struct Banned {
    below: &'static [&'static str],
    call: &'static str,
    why: &'static str,
    /// Files that may, because they have nobody else to ask.
    but: &'static [&'static str],
}

const BANNED: &[Banned] = &[
    Banned { below: INSIDE, call: "std::fs", why: "the plugin opens no file", but: &[] },
    Banned { below: INSIDE, call: "std::net", why: "the plugin opens no socket", but: &[] },
    Banned { below: INSIDE, call: "std::time", why: "the plugin's time comes from the firmware", but: &[] },
    Banned { below: INSIDE, call: "std::env", why: "the plugin has no environment", but: &[] },
    Banned { below: INSIDE, call: "std::process", why: "the plugin starts nothing", but: &[] },
    Banned { below: INSIDE, call: "std::thread", why: "the plugin is one thread", but: &[] },
    Banned { below: INSIDE, call: "println!", why: "the plugin says nothing but replies", but: &[] },
    Banned { below: INSIDE, call: "thread_rng", why: "randomness comes from the firmware", but: &[] },
    Banned { below: INSIDE, call: "getrandom", why: "randomness comes from the firmware", but: &[] },
    Banned {
        below: &["plugin/", "policy/", "simulator/", "host-shim/", "tests/"],
        call: "thread::sleep",
        why: "nothing waits by the clock; what waits for another process says so where it stands",
        but: &[
            "host-shim/cli/src/device/approve.rs",
            "host-shim/cli/src/log.rs",
            "simulator/src/guest/main.rs",
            "simulator/src/home.rs",
            "simulator/src/listener.rs",
            "simulator/src/observe/endpoint.rs",
            "simulator/src/vm/qemu.rs",
            "tests/it/escape.rs",
        ],
    },
    Banned {
        below: &[""],
        call: "#[ignore",
        why: "a test that is not run shows nothing",
        but: &["xtask/src/tidy.rs"],
    },
];

/// The folders whose code is in the image.
const INSIDE: &[&str] = &[
    "plugin/src/",
    "plugin/wire/src/",
    "plugin/intent/src/",
    "plugin/approvals/src/",
    "plugin/tlog/src/",
    "policy/src/",
];

/// Files below these folders that are not in the image: tools for tests and for people.
const OUTSIDE: &[&str] = &["policy/src/tool/", "policy/src/tool.rs"];

fn calls(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for banned in BANNED {
        let is_below = banned.below.iter().any(|folder| source.path.starts_with(folder));
        let is_outside = OUTSIDE.iter().any(|folder| source.path.starts_with(folder));
        let is_inside_rule = std::ptr::eq(banned.below, INSIDE);
        if !is_below
            || banned.but.contains(&source.path.as_str())
            || (is_inside_rule && (source.is_test() || is_outside))
        {
            continue;
        }
        for (line, text) in source.code() {
            if text.contains(banned.call) {
                findings.push(source.finding(line, format!("`{}`: {}", banned.call, banned.why)));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    fn whats(path: &str, text: &str) -> Vec<String> {
        of_one_file(&source(path, text)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn the_house_is_tidy() {
        let sources = sources().unwrap();
        assert!(sources.len() > 300, "{}", sources.len());
        let findings: Vec<String> =
            sources.iter().flat_map(of_one_file).map(|finding| finding.to_string()).collect();
        assert_eq!(findings, Vec::<String>::new());
    }

    #[test]
    fn long_files_are_found() {
        let text = |lines: usize| format!("//! A file.\n{}", "//\n".repeat(lines - 1));
        assert!(whats("policy/src/a.rs", &text(FILE_LINES_MAX)).is_empty());
        assert_eq!(whats("policy/src/a.rs", &text(FILE_LINES_MAX + 1)).len(), 1);
    }

    #[test]
    fn leftovers_are_found() {
        for word in leftover_words().into_iter().chain(foreign_words()) {
            assert_eq!(whats("docs/a.md", &format!("one\n{word} two\n")).len(), 1, "{word}");
        }
        for text in ["blank \n", "no end", "a\r\n"] {
            assert_eq!(whats("docs/a.md", text).len(), 1, "{text:?}");
        }
        assert_eq!(whats("policy/src/a.rs", "//! A file.\n\tlet a = 1;\n").len(), 1);
    }

    #[test]
    fn files_say_what_they_are() {
        assert_eq!(whats("simulator/src/a.rs", "fn a() {}\n").len(), 1);
        assert!(whats("simulator/src/a/tests.rs", "fn a() {}\n").is_empty());
        assert!(whats("simulator/src/a.rs", "//! A file.\nfn a() {}\n").is_empty());
    }

    #[test]
    fn calls_are_found_where_they_have_no_place() {
        for banned in BANNED {
            let text = format!("//! A file.\nfn a() {{ {} }}\n", banned.call);
            for folder in banned.below {
                let path = format!("{folder}a.rs");
                assert_eq!(whats(&path, &text).len(), 1, "{path}: {}", banned.call);
            }
            for path in banned.but {
                assert!(root().join(path).is_file(), "{path} is gone");
            }
        }
        let of_tests = "//! A file.\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert!(whats("plugin/src/a.rs", of_tests).is_empty(), "tests may");
        assert!(whats("plugin/src/a.rs", "//! A file.\n// std::fs\n").is_empty(), "a comment may");
    }
}
