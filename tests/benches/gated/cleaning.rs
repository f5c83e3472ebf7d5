//! Whether anybody is held up while the log is cleaned: the plugin is one thread, so whatever cleaning costs inside is
//! in the time of one of its turns.

use crate::gated::key_label;
use crate::in_process::InProcess;
use crate::population::Population;
use countersign_tests::backend::{digest, sign_act};
use countersign_wire::client::{Outcome, Reply, Request};
use countersign_wire::{decode, encode};
use std::time::Duration;

/// Requests under way at once.
const AT_ONCE: usize = 32;

/// Regions that must have been cleaned before the longest turn is believed.
const REGIONS: usize = 20;

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cleaned {
    pub(crate) regions: usize,
    pub(crate) signatures: usize,
    /// The longest time that the plugin took to take in what had come, work on it and say what is next.
    pub(crate) longest_turn: Duration,
}

/// Signs, round after round for the same users, until enough of the log was cleaned.
pub(crate) fn watch(population: &Population) -> Cleaned {
    let hsm = &population.hsm;
    let mut plugin = InProcess::start(&hsm.home());
    plugin.forget_turns();
    let (mut signatures, mut ticket) = (0, 0);
    while plugin.archived() < REGIONS {
        plugin.advance(30);
        let now = plugin.now().unix_secs;
        for first in (0..population.len()).step_by(AT_ONCE) {
            let users = first..population.len().min(first + AT_ONCE);
            let mut unanswered = users.len();
            for user in users {
                ticket += 1;
                let code = population.phone(user).code(now);
                let act = sign_act(&key_label(user), digest(7), Some(&code));
                let id = u128::from(ticket).to_be_bytes().into();
                plugin.request(ticket, encode(&Request { id, api_key: Some(hsm.api_key().clone()), act }));
            }
            while unanswered > 0 {
                for (_, reply) in plugin.turn() {
                    let reply: Reply = decode(&reply).expect("the plugin answers in its own language");
                    assert!(matches!(reply.outcome, Outcome::Done(_)), "{:?}", reply.outcome);
                    unanswered -= 1;
                    signatures += 1;
                }
            }
        }
    }
    let cleaned = Cleaned { regions: plugin.archived(), signatures, longest_turn: plugin.longest_turn() };
    plugin.stop();
    cleaned
}
