//! A burst of clients cannot spend more than a limit allows, not by one wei.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign_tests::backend::{User, operation, reason};
use countersign_tests::{Hsm, Keystore, cli, on_both_keystores, race, transactions};
use countersign_wire::client::Mechanism::Ethereum;
use countersign_wire::reason::Reason;
use std::path::Path;

on_both_keystores!(thirty_two_racing_clients_never_exceed_a_limit_by_one_unit);

const CLIENTS: usize = 32;

/// What the policy beside this file allows all accounts together in a day, in wei.
const LIMIT: u128 = 20_000_000_000_000_000_007;

/// What a transfer costs at most, in wei.
const FEE: u128 = 21_000 * 30_000_000_000;

/// Asks for a transfer of so much with the user's present code: in one request, or by a login and a signature.
fn send(hsm: &Hsm, user: &User, wei: u128, in_one: bool, now: u64) -> Result<u128, Reason> {
    let payload = || transactions::payload(&transactions::transfer_of(wei));
    let code = user.phone.code(now);
    let signed = if in_one {
        hsm.sign(user, payload(), &code)
    } else {
        let operation = operation(&user.key, Ethereum);
        hsm.context_login(user, &operation, &code)
            .and_then(|()| hsm.context_sign(user, &operation, payload()))
    };
    signed.map(|_| wei + FEE).map_err(|refusal| refusal.reason)
}

fn thirty_two_racing_clients_never_exceed_a_limit_by_one_unit(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    cli::set_policy(&mut hsm, &Path::new(env!("CARGO_MANIFEST_DIR")).join("it/intents/shared"));
    hsm.run();
    let users: Vec<User> = (0..CLIENTS).map(|one| hsm.user(&format!("user-{one}"), &[Ethereum])).collect();
    for round in 0..3 {
        // Longer than the window: nothing of the last round counts.
        let now = hsm.advance(3 * 86_400);
        let wei = |client: usize| 100_000_000_000_000_000 * (client as u128 + 1) + client as u128;
        let outcomes =
            race(CLIENTS, |client| send(&hsm, &users[client], wei(client), (client + round) % 2 == 0, now));
        let spent: u128 = outcomes.iter().flatten().sum();
        assert!(spent <= LIMIT, "{spent} in round {round}");
        for (client, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(_) => {}
                Err(Reason::LimitExceeded) => {
                    assert!(wei(client) + FEE > LIMIT - spent, "{client} would fit");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        // What is left can be spent to the last wei, and not one more; the refusal costs no code.
        let now = hsm.advance(30);
        let left = LIMIT - spent - FEE;
        assert_eq!(send(&hsm, &users[0], left + 1, true, now), Err(Reason::LimitExceeded));
        assert_eq!(send(&hsm, &users[0], left, true, now), Ok(left + FEE));
        let now = hsm.advance(30);
        let nothing = transactions::payload(&transactions::transfer_of(0));
        let refused = reason(hsm.sign(&users[1], nothing, &users[1].phone.code(now)));
        assert_eq!(refused, Reason::LimitExceeded, "not even its fee fits");
    }
}
