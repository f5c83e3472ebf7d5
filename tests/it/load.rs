//! I14 over time: work that is allowed, and much of it, does not exhaust the plugin.

use countersign_tests::backend::digest;
use countersign_tests::{Hsm, Keystore, User, on_embedded};
use countersign_wire::client::Mechanism::Digest;

on_embedded!(i14_ten_minutes_of_many_users_signatures_do_not_exhaust_the_plugin);

const THREADS: usize = 16;
const USERS: usize = 512;

/// Time steps of 30 seconds in which each user signs: for ten minutes the plugin remembers each signature, in case the
/// same request comes again.
const STEPS: usize = 20;

fn i14_ten_minutes_of_many_users_signatures_do_not_exhaust_the_plugin(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let boots = hsm.status().boot_count;
    let numbers: Vec<usize> = (0..USERS).collect();
    let users: Vec<User> = on_threads(&numbers, |number| hsm.user(&format!("user-{number}"), &[Digest]));
    for _ in 0..STEPS {
        let now = hsm.advance(30);
        on_threads(&users, |user| {
            hsm.sign(user, digest(1), &user.phone.code(now)).expect("a right code signs");
        });
    }
    let status = hsm.status();
    assert_eq!(status.boot_count, boots, "the plugin had to be started again; log:\n{}", hsm.log());
}

fn on_threads<T: Sync, R: Send>(items: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let act = &act;
        let workers: Vec<_> = items
            .chunks(items.len().div_ceil(THREADS))
            .map(|items| scope.spawn(move || items.iter().map(act).collect::<Vec<R>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("every request succeeds")).collect()
    })
}
