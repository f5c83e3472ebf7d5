//! What is printed: numbered steps in plain words, each closed with ✔ or ✘.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

/// Prints the story and counts what went otherwise than promised.
pub(super) struct Narrator {
    colour: bool,
    step: u32,
    kept: u32,
    broken: u32,
}

impl Narrator {
    /// Colour only on a terminal, and not where `NO_COLOR` asks for none.
    pub(super) fn new() -> Self {
        let colour =
            stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour, step: 0, kept: 0, broken: 0 }
    }

    /// The title.
    pub(super) fn title(&self, text: &str) {
        println!("\n{}", self.paint("1", text));
    }

    /// Begins a step.
    pub(super) fn step(&mut self, text: &str) {
        self.step += 1;
        println!("\n{}", self.paint("1", &format!("{}. {text}", self.step)));
    }

    /// What is being done.
    #[expect(clippy::unused_self, reason = "the narrator is the one who speaks")]
    pub(super) fn tell(&self, text: &str) {
        for line in text.lines() {
            println!("{}", format!("   {line}").trim_end());
        }
    }

    /// Long technical detail.
    pub(super) fn detail(&self, name: &str, value: &str) {
        println!("   {} {value}", self.paint("2", &format!("{name:<12}")));
    }

    /// A promise, and whether it was kept: `what` says what was promised, `seen` what happened.
    pub(super) fn check(&mut self, kept: bool, what: &str, seen: &str) {
        let (sign, colour) = if kept { ("✔", "32") } else { ("✘", "31") };
        *(if kept { &mut self.kept } else { &mut self.broken }) += 1;
        let seen = if seen.is_empty() { String::new() } else { self.paint("2", &format!("  ({seen})")) };
        println!("   {} {what}{seen}", self.paint(colour, sign));
    }

    /// The story could not go on.
    pub(super) fn broke(&mut self, error: &anyhow::Error) {
        self.check(false, &format!("the demo could not go on: {error:#}"), "");
    }

    /// The last line, and the exit code.
    pub(super) fn finish(&self) -> ExitCode {
        if self.broken == 0 && self.kept > 0 {
            println!("\n{}\n", self.paint("1;32", &format!("All {} checks went as promised.", self.kept)));
            ExitCode::SUCCESS
        } else {
            let text = format!("{} of {} checks went otherwise.", self.broken, self.broken + self.kept);
            println!("\n{}\n", self.paint("1;31", &text));
            ExitCode::FAILURE
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrator() -> Narrator {
        Narrator { colour: false, step: 0, kept: 0, broken: 0 }
    }

    #[test]
    fn one_broken_promise_fails_the_demo_and_so_does_an_empty_one() {
        assert_eq!(narrator().finish(), ExitCode::FAILURE);
        let mut good = narrator();
        good.check(true, "kept", "");
        assert_eq!(good.finish(), ExitCode::SUCCESS);
        good.check(false, "broken", "");
        assert_eq!(good.finish(), ExitCode::FAILURE);
        let mut halted = narrator();
        halted.check(true, "kept", "");
        halted.broke(&anyhow::anyhow!("halted"));
        assert_eq!(halted.finish(), ExitCode::FAILURE);
    }
}
