//! The words that programs and people meet in refusals: each stands in the page that explains it.

use super::{Finding, Source};
use std::collections::BTreeSet;

/// Where words are defined, and the page that says what each means.
const DEFINED: &[(&str, &str)] = &[
    ("plugin/wire/src/reason.rs", "docs/cli.md"),
    ("plugin/release/src/refusal.rs", "docs/release.md"),
    ("host-shim/client/src/device/trust.rs", "docs/cli.md"),
    ("host-shim/client/src/log/fault.rs", "docs/log.md"),
];

/// Words that no page explains, and lists that were not found.
pub(super) fn undocumented(sources: &[Source]) -> Vec<Finding> {
    let find = |path: &str| sources.iter().find(|source| source.path == path);
    let mut findings = Vec::new();
    for (defined, page) in DEFINED {
        let missing = |path: &str| Finding { path: path.to_owned(), line: 1, what: "is not there".into() };
        let (Some(source), Some(explained)) = (find(defined), find(page)) else {
            findings.push(missing(if find(defined).is_none() { defined } else { page }));
            continue;
        };
        let words = words_of(source);
        if words.is_empty() {
            findings.push(source.finding(1, "defines no words"));
        }
        for (line, word) in words {
            if !explained.text.contains(&format!("`{word}`")) {
                findings.push(source.finding(line, format!("`{word}` is not explained in {page}")));
            }
        }
    }
    findings
}

/// The kebab-case words among a file's strings, each where it stands first.
fn words_of(source: &Source) -> Vec<(usize, String)> {
    let mut seen = BTreeSet::new();
    let mut words = Vec::new();
    for (line, text) in source.code() {
        for word in text.split('"').skip(1).step_by(2) {
            let is_word =
                word.contains('-') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if is_word && !word.starts_with('-') && !word.ends_with('-') && seen.insert(word.to_owned()) {
                words.push((line, word.to_owned()));
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::tests::source;
    use super::*;

    #[test]
    fn a_word_that_no_page_explains_is_found() {
        let mut sources: Vec<Source> = DEFINED
            .iter()
            .flat_map(|(defined, page)| {
                [source(defined, "A, \"wrong-code\", Caller,\n"), source(page, "`wrong-code`\n")]
            })
            .collect();
        assert_eq!(undocumented(&sources), []);
        sources[0].text.push_str("B, \"code-used\", Caller, \"A sentence - with a dash.\",\n");
        let found = undocumented(&sources);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].what.contains("`code-used`")), (2, true));
        assert!(undocumented(&[]).iter().all(|finding| finding.what == "is not there"));
    }

    #[test]
    fn every_word_of_the_project_is_explained() {
        let found: Vec<String> =
            undocumented(&super::super::sources().unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(found, Vec::<String>::new());
    }
}
