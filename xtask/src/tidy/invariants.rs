//! Each invariant of SECURITY.md is shown by at least one test of what is let through, and by one of what is refused.

use super::{Finding, Source};
use std::collections::BTreeSet;

/// How many invariants there are.
const INVARIANTS: usize = 15;

const PAGE: &str = "SECURITY.md";

/// Invariants whose row names no such test, or one that is not there.
pub(super) fn untested(sources: &[Source]) -> Vec<Finding> {
    let Some(page) = sources.iter().find(|source| source.path == PAGE) else {
        return vec![Finding { path: PAGE.into(), line: 1, what: "is not there".into() }];
    };
    let tests = names_of_tests(sources);
    let mut findings = Vec::new();
    for number in 1..=INVARIANTS {
        let mark = format!("| I{number} | ");
        let Some((line, row)) = (1..).zip(page.text.lines()).find(|(_, line)| line.starts_with(&mark)) else {
            findings.push(page.finding(1, format!("no row for I{number}")));
            continue;
        };
        let cells: Vec<&str> = row.split(" | ").collect();
        let [_, _, lets, refuses, ..] = cells.as_slice() else {
            findings.push(page.finding(line, format!("I{number}: the row has too few cells")));
            continue;
        };
        for (kind, cell) in [("lets through", lets), ("refuses", refuses)] {
            let named: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            if named.is_empty() {
                findings.push(page.finding(line, format!("I{number}: no test of what it {kind}")));
            }
            for name in named.iter().filter(|name| !tests.contains(**name)) {
                findings.push(page.finding(line, format!("I{number}: there is no test {name}")));
            }
        }
    }
    findings
}

/// The functions of files with tests; macros make tests of some of them.
fn names_of_tests(sources: &[Source]) -> BTreeSet<&str> {
    let with_tests =
        |source: &&Source| source.is_rust() && (source.is_test() || source.text.contains("#[cfg(test)]"));
    let lines = sources.iter().filter(with_tests).flat_map(|source| source.text.lines());
    lines.filter_map(|line| line.trim_start().strip_prefix("fn ")?.split(['(', '<']).next()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::source;
    use super::*;

    fn rows(of: impl Fn(usize) -> String) -> Source {
        let text: Vec<String> = (1..=INVARIANTS).map(of).collect();
        source(PAGE, &text.join("\n"))
    }

    #[test]
    fn a_row_without_tests_or_with_one_that_is_not_there_is_found() {
        let tests = source("tests/it/a.rs", "fn lets() {}\nfn refuses(keystore: Keystore) {}\n");
        let whole = rows(|number| format!("| I{number} | words | `lets` | `refuses` |"));
        assert_eq!(untested(&[whole, source("tests/it/a.rs", &tests.text)]), []);
        for row in ["| I3 | words | `lets` | |", "| I3 | words | `lets` | `nobody` |", "| I3 | words |", ""] {
            let lacking = rows(|number| match number {
                3 => row.to_owned(),
                _ => format!("| I{number} | words | `lets` | `refuses` |"),
            });
            let found = untested(&[lacking, source("tests/it/a.rs", &tests.text)]);
            assert_eq!(found.len(), 1, "{row}: {found:?}");
        }
    }

    #[test]
    fn every_invariant_is_shown() {
        let found: Vec<String> =
            untested(&super::super::sources().unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(found, Vec::<String>::new());
    }
}
