//! What libFuzzer said of a run, as one line of a table, and a finding as what a person does next.

use std::fmt::Write;
use std::path::Path;

/// What came of one target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) target: String,
    executions: u64,
    executions_per_sec: u64,
    /// Edges that were reached.
    edges: u64,
    /// Inputs that reach something that no other one does.
    inputs: u64,
    seed: String,
    /// Why it ended before its time.
    pub(crate) finding: Option<Finding>,
}

/// A breach, a hang, or too much memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The input, if libFuzzer wrote one.
    file: Option<String>,
    /// What was said last before the end.
    why: String,
    log: String,
}

impl Report {
    pub(crate) fn of(target: &str, succeeded: bool, said: &str, log: &Path) -> Self {
        let statistic = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
            line.and_then(|line| line.trim_start_matches(':').trim().parse().ok()).unwrap_or(0)
        };
        // "#123	DONE   cov: 45 ft: 67 corp: 8/90b …"
        let last =
            said.lines().rev().find(|line| line.starts_with('#') && line.contains(" cov: ")).unwrap_or("");
        let after = |word: &str| {
            let number = last.split(word).nth(1).unwrap_or("").split([' ', '/']).next().unwrap_or("");
            number.parse().unwrap_or(0)
        };
        let seed = said.lines().find_map(|line| line.strip_prefix("INFO: Seed: ")).unwrap_or("?");
        let finding = || Finding {
            file: said.lines().find_map(|line| line.split("Test unit written to ").nth(1)).map(str::to_owned),
            why: why(said),
            log: log.display().to_string(),
        };
        Self {
            target: target.to_owned(),
            executions: statistic("number_of_executed_units"),
            executions_per_sec: statistic("average_exec_per_sec"),
            edges: after(" cov: "),
            inputs: after(" corp: "),
            seed: seed.to_owned(),
            finding: (!succeeded).then(finding),
        }
    }

    /// What was found and how it is replayed.
    pub(crate) fn finding_text(&self) -> String {
        let Some(finding) = &self.finding else { return String::new() };
        let (target, why, log, seed) = (&self.target, &finding.why, &finding.log, &self.seed);
        let replay = match &finding.file {
            Some(file) => {
                format!("the input:  {file}\nto replay:  cargo xtask fuzz {target} --replay {file}")
            }
            None => "it wrote no input".to_owned(),
        };
        format!("{target} found something (seed {seed})\n{why}\n{replay}\nthe log:    {log}")
    }
}

/// The panic, or libFuzzer's own words.
fn why(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    let panic: Vec<_> = lines.by_ref().take(4).take_while(|line| !line.starts_with("note:")).collect();
    let error = || said.lines().find(|line| line.contains("ERROR: libFuzzer") || line.contains("overflowed"));
    if panic.is_empty() { error().unwrap_or("it ended without a word").to_owned() } else { panic.join("\n") }
}

/// One line a target.
pub(crate) fn table(reports: &[Report]) -> String {
    let mut text = String::from("target                  executions  per second   edges  inputs  found\n");
    for report in reports {
        let Report { target, executions, executions_per_sec, edges, inputs, .. } = report;
        let found = if report.finding.is_some() { "YES" } else { "-" };
        writeln!(
            text,
            "{target:22} {executions:>11} {executions_per_sec:>11} {edges:>7} {inputs:>7}  {found}"
        )
        .expect("a String takes every write");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: &str = "INFO: Seed: 7\n#2\tINITED cov: 3 ft: 4 corp: 1/1b\n#9\tDONE   cov: 45 ft: 67 corp: 8/90b\n\
        stat::number_of_executed_units: 1234\nstat::average_exec_per_sec:     123\n";

    #[test]
    fn a_run_without_a_finding_is_one_line_of_numbers() {
        let report = Report::of("wire_hal", true, DONE, Path::new("log"));
        assert_eq!(report.finding, None);
        let line = table(&[report])
            .lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        assert_eq!(line, ["wire_hal", "1234", "123", "45", "8", "-"]);
    }

    #[test]
    fn a_finding_says_why_and_how_to_replay_it() {
        let said = format!(
            "{DONE}thread 'main' panicked at src/x.rs:1:2:\nno such thing\nnote: run with\n\
            artifact_prefix='f/'; Test unit written to f/crash-12\n"
        );
        let report = Report::of("wire_hal", false, &said, Path::new("log"));
        assert!(table(std::slice::from_ref(&report)).contains("YES"));
        let text = report.finding_text();
        for part in
            ["seed 7", "src/x.rs:1:2:\nno such thing\n", "cargo xtask fuzz wire_hal --replay f/crash-12"]
        {
            assert!(text.contains(part), "{text}");
        }
        let killed =
            Report::of("wire_hal", false, "==1== ERROR: libFuzzer: timeout after 10 s", Path::new("log"));
        assert!(killed.finding_text().contains("timeout") && killed.finding_text().contains("no input"));
    }
}
