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
        assert!(shown.contains(&text(line)), "{line} is not in:\n{summary}");
    }
}
