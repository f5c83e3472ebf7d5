//! The main job as backends in JavaScript have it, without a node of any chain: viem and bitcoinjs-lib make what is to be
//! signed, a real HSM signs it under the user's code, and the same libraries read and check what came out. For each
//! signature that holds there is the same one over something else, which must not.

mod bitcoinjs;
mod viem;

use countersign_tests::node::{list, text};
use serde_json::Value;

/// The HSM showed each of these lines.
#[track_caller]
fn assert_shown(lines: &Value, summary: &str) {
    let shown: Vec<&str> = summary.lines().collect();
    for line in list(lines) {
        // A chain may take a fee beyond what the transaction says, which the same line then tells.
        let line = text(line);
        let told = shown
            .iter()
            .any(|one| *one == line || one.strip_prefix(line).is_some_and(|rest| rest.starts_with(", ")));
        assert!(told, "{line} is not in:\n{summary}");
    }
}
