//! `docs/cli.md` says what is so.

use crate::place::Place;
use countersign_wire::reason::{Blame, Reason};
use std::path::Path;

fn documentation() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_table_of_reasons_lists_exactly_the_reasons_there_are() {
    let text = documentation();
    let (_, section) = text.split_once("\n## Reasons\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), Reason::ALL.len());
    for (row, reason) in rows.iter().zip(Reason::ALL) {
        let blame = match reason.blame() {
            Blame::Caller => "caller",
            Blame::Device => "device",
        };
        let [word, found_blame, meaning, sentence] = row[..] else { panic!("{row:?}") };
        assert_eq!((word, found_blame), (format!("`{reason}`").as_str(), blame));
        assert_eq!(sentence, reason.sentence(), "{reason}");
        assert!(meaning.len() > 10, "{reason}");
    }
}

#[test]
fn every_command_and_every_option_is_documented() {
    let (place, text) = (Place::new(), documentation());
    let commands: &[&[&str]] = &[
        &["status"],
        &["clock", "show"],
        &["clock", "advance"],
        &["account", "enroll"],
        &["account", "confirm"],
        &["account", "unlock"],
        &["account", "show"],
        &["account", "trust"],
        &["address"],
        &["wallet", "show"],
        &["policy", "check"],
        &["policy", "pack"],
        &["policy", "test"],
        &["policy", "explain"],
        &["policy", "fmt"],
        &["key", "create"],
        &["key", "list"],
        &["sign"],
        &["account", "invite"],
        &["intent", "stage"],
        &["intent", "payee"],
        &["intent", "show"],
        &["receipt", "find"],
        &["receipt", "verify"],
        &["identity"],
        &["device", "enroll"],
        &["device", "confirm"],
        &["device", "approve"],
        &["device", "decline"],
        &["device", "history"],
        &["device", "freeze"],
        &["device", "unlock"],
        &["device", "cancel-recovery"],
        &["device", "show"],
        &["log", "export"],
        &["log", "tail"],
        &["log", "verify"],
        &["log", "prove"],
        &["log", "cosign"],
        &["log", "witness-key"],
        &["relay"],
        &["image", "build"],
        &["image", "inspect"],
        &["image", "sign"],
        &["image", "verify"],
        &["image", "compare"],
        &[],
    ];
    for command in commands {
        assert!(text.contains(&format!("countersign {}", command.join(" "))), "{command:?}");
        let help = place.run(&[*command, &["--help"]].concat()).stdout;
        let options = help.split_whitespace().filter(|word| {
            word.strip_prefix("--")
                .is_some_and(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        });
        for option in options.filter(|option| !["--help", "--version"].contains(option)) {
            assert!(text.contains(option), "{command:?} {option}");
        }
    }
}
