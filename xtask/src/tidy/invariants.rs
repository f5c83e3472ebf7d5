//! Each invariant of SECURITY.md is shown by at least one test of what is let through, and by one of what is refused; and
//! each attack that the page names is one of docs/attacks.md.

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
            let prefix = format!("i{number}_");
            for name in named.iter().filter(|name| !tests.contains(**name) || !name.starts_with(&prefix)) {
                findings
                    .push(page.finding(line, format!("I{number}: there is no test {name} of its number")));
            }
        }
    }
    findings.extend(unknown_attacks(sources, page));
    findings
}

/// The page of all attacks.
const ATTACKS: &str = "docs/attacks.md";

/// Attacks that SECURITY.md names as `FAMILY/ATTACK`, and families in the last column of the invariants, that are not there.
fn unknown_attacks(sources: &[Source], page: &Source) -> Vec<Finding> {
    let Some(attacks) = sources.iter().find(|source| source.path == ATTACKS) else { return Vec::new() };
    let known = known_attacks(attacks);
    let mut findings = Vec::new();
    for (line, text) in (1..).zip(page.text.lines()) {
        let families =
            text.starts_with("| I").then(|| text.trim_end_matches(" |").rsplit(" | ").next()).flatten();
        let families = families.into_iter().flat_map(|cell| cell.split(", ")).map(text_of_link);
        let is_attack = |word: &&str| {
            let is_name = |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            word.split_once('/').is_some_and(|(family, attack)| {
                known.contains(family) && !attack.is_empty() && is_name(attack)
            })
        };
        let attacks = text.split('`').skip(1).step_by(2).filter(is_attack);
        for named in families.chain(attacks).filter(|named| !known.contains(*named)) {
            findings.push(page.finding(line, format!("there is no attack {named}")));
        }
    }
    findings
}

/// What a link is called; a word that is none is itself.
fn text_of_link(word: &str) -> &str {
    word.strip_prefix('[').and_then(|rest| rest.split_once("](")).map_or(word, |(text, _)| text)
}

/// The names of families, and of attacks as `FAMILY/ATTACK`.
fn known_attacks(page: &Source) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut family = "";
    for line in page.text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            family = heading;
            known.insert(family.to_owned());
        } else if let Some(name) = line.strip_prefix("| `").and_then(|row| row.split('`').next()) {
            known.insert(format!("{family}/{name}"));
        }
    }
    known
}

/// Macros that make tests of the functions that they name.
const MAKES_TESTS: &[&str] = &["on_both_keystores!(", "on_embedded!("];

/// The functions that are run as tests: those under `#[test]`, and those that a macro makes tests of.
fn names_of_tests(sources: &[Source]) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let mut under_test = false;
        for line in source.text.lines().map(str::trim_start) {
            if let Some(function) = line.strip_prefix("fn ") {
                let name = function.split(['(', '<']).next().filter(|_| under_test);
                names.extend(name);
            }
            under_test =
                line == "#[test]" || under_test && (line.starts_with("#[") || line.starts_with("//"));
        }
        for of_macro in MAKES_TESTS.iter().flat_map(|start| source.text.split(start).skip(1)) {
            let list = of_macro.split(')').next().unwrap_or_default();
            names.extend(list.split(',').map(str::trim).filter(|name| !name.is_empty()));
        }
    }
    names
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
        let of_one = |number: usize| {
            format!(
                "on_both_keystores!(\n    i{number}_no,\n);\n#[test]\nfn i{number}_yes() {{}}\nfn i{number}_no(keystore: Keystore) {{}}\nfn i{number}_helps() {{}}\n"
            )
        };
        let tests: String = (1..=INVARIANTS).map(of_one).collect();
        let found = |page: Source| untested(&[page, source("tests/it/a.rs", &tests)]);
        let row = |number: usize| format!("| I{number} | words | `i{number}_yes` | `i{number}_no` |");
        assert_eq!(found(rows(row)), []);
        for other in [
            "| I3 | words | `i3_yes` | |",
            "| I3 | words | `i3_yes` | `i3_nobody` |",
            "| I3 | words | `i3_yes` | `i3_helps` |",
            "| I3 | words | `i3_yes` | `i4_no` |",
            "| I3 | words |",
            "",
        ] {
            let lacking = rows(|number| if number == 3 { other.to_owned() } else { row(number) });
            let found = found(lacking);
            assert_eq!(found.len(), 1, "{other}: {found:?}");
        }
    }

    #[test]
    fn an_attack_that_is_not_there_is_found() {
        let attacks = source(ATTACKS, "## store\n| `cut` | x |\n");
        let found = |text: &str| {
            let page = source(PAGE, text);
            let attacks = source(ATTACKS, &attacks.text);
            unknown_attacks(&[attacks], &page).len()
        };
        assert_eq!(found("`store/cut` and `tests/it`, the folder `store/`, `store/log.rs`"), 0);
        assert_eq!(found("`store/cut`, `tests/it`\n| I6 | words | `a` | `b` | `i6_…` | store |"), 0);
        assert_eq!(found("| I6 | words | `a` | `b` | `i6_…` | [store](docs/attacks.md#store) |"), 0);
        assert_eq!(found("| I6 | words | `a` | `b` | `i6_…` | [time](docs/attacks.md#time) |"), 1);
        assert_eq!(found("`store/mixed`"), 1);
        assert_eq!(found("| I6 | words | `a` | `b` | `i6_…` | store, time |"), 1);
    }

    #[test]
    fn every_invariant_is_shown() {
        let found: Vec<String> =
            untested(&super::super::sources().unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(found, Vec::<String>::new());
    }
}
