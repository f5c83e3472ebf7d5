//! The tables: on the terminal in short, in `docs/attacks.md` in full. Nothing in them differs from run to run.

use crate::attack::{Attack, Family, Tries};
use crate::play::{Against, Outcome};
use countersign_edits::Guard;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What came of all attacks.
pub(crate) struct Report {
    rows: Vec<Row>,
    guards: Vec<Guard>,
    with_twins: bool,
}

struct Row {
    family: &'static Family,
    attack: &'static Attack,
    outcomes: Vec<Outcome>,
}

impl Report {
    pub(crate) fn of(
        chosen: &[(&'static Family, &'static Attack)],
        guards: &[Guard],
        outcomes: Vec<Outcome>,
        with_twins: bool,
    ) -> Self {
        let mut rows: Vec<Row> =
            chosen.iter().map(|(family, attack)| Row { family, attack, outcomes: Vec::new() }).collect();
        for outcome in outcomes {
            let row = rows.iter_mut().find(|row| std::ptr::eq(row.attack, outcome.job.attack));
            row.expect("what was played was chosen").outcomes.push(outcome);
        }
        Self { rows, guards: guards.to_vec(), with_twins }
    }

    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.rows.iter().flat_map(|row| &row.outcomes)
    }

    /// Every attack got nothing, and something where its guard was off.
    pub(crate) fn is_good(&self) -> bool {
        self.outcomes().all(Outcome::is_good)
    }

    /// Every guard is aimed at, and every attack aims at one.
    pub(crate) fn covers_all_guards(&self) -> bool {
        let used: BTreeSet<&str> = self
            .rows
            .iter()
            .flat_map(|row| row.attack.guards.iter().chain(row.attack.faults))
            .copied()
            .collect();
        let known: BTreeSet<&str> = self.guards.iter().map(|guard| guard.name.as_str()).collect();
        let aimless = self.rows.iter().filter(|row| row.attack.guards.is_empty());
        let aimless: Vec<_> = aimless.map(|row| format!("{}/{}", row.family.name, row.attack.name)).collect();
        let unused: Vec<_> = known.symmetric_difference(&used).collect();
        if !unused.is_empty() || !aimless.is_empty() {
            println!(
                "guards that no attack aims at, or that are not there: {unused:?}; attacks that aim at none: {aimless:?}"
            );
        }
        unused.is_empty() && aimless.is_empty()
    }

    fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.outcomes().filter(|outcome| wanted(outcome)).count()
    }

    fn families(&self) -> usize {
        self.rows.iter().map(|row| row.family.name).collect::<BTreeSet<_>>().len()
    }

    /// In short.
    pub(crate) fn summary(&self) -> String {
        let (real, twins) = (self.count(is_real), self.count(is_twin));
        let breached = self.count(|outcome| !is_twin(outcome) && !outcome.is_good());
        let blunt = self.count(|outcome| is_twin(outcome) && !outcome.is_good());
        let tries: u64 = self.outcomes().filter(|outcome| is_real(outcome)).map(tries_of).sum();
        let mut text = format!(
            "\n{} attacks in {} families, played {real} times: {tries} tries refused, {breached} breached or not played.\n",
            self.rows.len(),
            self.families(),
        );
        if self.with_twins {
            writeln!(
                text,
                "Without their guards, played {twins} times: {} bite, {blunt} do not.",
                twins - blunt
            )
            .expect("strings take everything");
        }
        for outcome in self.outcomes().filter(|outcome| !outcome.is_good()) {
            let Outcome { job, .. } = outcome;
            writeln!(
                text,
                "NOT AS IT MUST BE: {}/{} against {:?}",
                job.family.name, job.attack.name, job.against
            )
            .expect("strings take everything");
        }
        text
    }

    /// `docs/attacks.md`.
    fn document(&self) -> String {
        let mut text = String::from(INTRODUCTION);
        let (attacks, families) = (self.rows.len(), self.families());
        let got = self.count(|outcome| !is_twin(outcome) && !outcome.is_good());
        let (twins, bite) =
            (self.count(is_twin), self.count(|outcome| is_twin(outcome) && outcome.is_good()));
        writeln!(
            text,
            "\n**{attacks} attacks in {families} families, of which {got} got a signature, a key or a secret.** Played {twins} times where the guard was off\nthat they aim at, they got something {bite} times."
        )
        .expect("strings take everything");
        let mut family = "";
        for row in &self.rows {
            if row.family.name != family {
                family = row.family.name;
                write!(
                    text,
                    "\n## {}\n{}. In the way: {}.\n\n",
                    row.family.name,
                    row.family.title,
                    row.family.invariants.join(", ")
                )
                .expect("strings take everything");
                text.push_str("| attack | the attacker had | what he did | outcome | refused with | without the guard he got |\n");
                text.push_str("| --- | --- | --- | --- | --- | --- |\n");
            }
            text.push_str(&row.line());
        }
        text.push_str("\n## Guards\nWhat is switched off in the test build, one at a time, to see that the attacks would notice. *Faults* are\nswitched on, in the real run as well.\n\n| name | what is then different |\n| --- | --- |\n");
        for guard in &self.guards {
            writeln!(text, "| `{}` | {} |", guard.name, guard.off).expect("strings take everything");
        }
        text
    }

    /// Records the tables.
    pub(crate) fn write(&self, file: &Path) -> Result<(), String> {
        fs::write(file, self.document()).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Fails unless the tables are the recorded ones.
    pub(crate) fn compare(&self, file: &Path) -> Result<(), String> {
        let recorded = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let now = self.document();
        let Some((at, (before, after))) =
            recorded.lines().zip(now.lines()).enumerate().find(|(_, (before, after))| before != after)
        else {
            return if recorded.len() == now.len() {
                Ok(())
            } else {
                Err(format!(
                    "{} is longer or shorter than what was found; `cargo xtask attack` writes it",
                    file.display()
                ))
            };
        };
        let line = at + 1;
        Err(format!(
            "{}:{line} is not what was found; `cargo xtask attack` writes it\n- {before}\n+ {after}",
            file.display()
        ))
    }
}

fn is_real(outcome: &Outcome) -> bool {
    matches!(outcome.job.against, Against::Real(_))
}

fn is_twin(outcome: &Outcome) -> bool {
    matches!(outcome.job.against, Against::Twin(_))
}

fn tries_of(outcome: &Outcome) -> u64 {
    outcome.tries.as_ref().map_or(0, |tries| tries.refused.values().sum())
}

impl Row {
    fn line(&self) -> String {
        let tries = |real: bool| {
            self.outcomes
                .iter()
                .filter(move |outcome| matches!(outcome.job.against, Against::Real(_)) == real)
                .filter_map(|outcome| outcome.tries.as_ref().ok())
        };
        let words: BTreeSet<&str> =
            tries(true).flat_map(|tries: &Tries| tries.refused.keys()).map(String::as_str).collect();
        let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
        let notes: BTreeSet<&str> = tries(true).flat_map(|tries| &tries.notes).map(String::as_str).collect();
        let notes: Vec<_> = notes.into_iter().collect();
        let without: Vec<_> = self
            .outcomes
            .iter()
            .filter_map(|outcome| match (outcome.job.against, &outcome.tries) {
                (Against::Twin(guard), Ok(tries)) => Some(format!("`{guard}`: {}", tries.got.first()?)),
                _ => None,
            })
            .collect();
        let evidence =
            words.into_iter().chain(notes.into_iter().map(ToOwned::to_owned)).collect::<Vec<_>>().join(", ");
        let keystores: Vec<_> = self.attack.on.keystores().iter().map(|keystore| keystore.word()).collect();
        format!(
            "| `{}` | {} | {} | nothing ({}) | {evidence} | {} |\n",
            self.attack.name,
            self.attack.had,
            self.attack.does,
            keystores.join(", "),
            without.join("; "),
        )
    }
}

const INTRODUCTION: &str = "# Attacks
`cargo xtask attack` plays these against a real HSM process and writes this page; `cargo xtask test` plays them too, and
fails if the page says anything else than what was found.

The attacker has the backend with its API key, the network between it and the HSM, and the HSM's disk. What he had beside
that stands in the table. *Outcome* is what he got from the HSM as it ships, on each keystore that takes part; where it is
made to fail, from the test build with the fault and all guards in place. The last column is what the same attack gets from a test build in which one guard is switched off (the table at the end says how):
an attack that got nothing there would show nothing.
";
