//! Keys: finding all of them.

use super::*;
use std::collections::BTreeSet;

/// Accounts on one page.
const PAGE: usize = 4;

fn pages(device: &mut Device) -> Vec<Vec<KeyInfo>> {
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let Answer::Keys(page) = device.ask(Act::FindKeys(KeyQuery::All(after))).unwrap() else {
            panic!("no keys")
        };
        pages.push(page.keys);
        after = page.next;
        if after.is_none() {
            return pages;
        }
    }
}

#[test]
fn all_keys_are_found_page_by_page_and_each_once() {
    let mut device = Device::ready();
    let mut made = BTreeSet::new();
    for (accounts, expected) in [(3, vec![3]), (PAGE, vec![PAGE, 0]), (PAGE + 2, vec![PAGE, 2])] {
        for number in made.len()..accounts {
            let label = format!("user-{number}");
            device.ask(enroll_act(&label, &[Mechanism::Digest])).unwrap();
            made.insert(format!("{label}/main"));
        }
        let pages = pages(&mut device);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        let found: BTreeSet<String> = pages.concat().iter().map(|key| key.label.to_string()).collect();
        assert_eq!(found, made);
    }
}
