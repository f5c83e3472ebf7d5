use super::*;
use crate::ethereum::tests::{integer, list, string};
use proptest::prelude::*;
use proptest::sample::Index;

/// A field of RLP: often an integer, sometimes anything.
fn scalar(bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    let small = (0..=u128::from(u64::MAX)).prop_map(integer);
    let any = prop::collection::vec(any::<u8>(), 0..=bytes).prop_map(|bytes| string(&bytes));
    let max = Just(string(&vec![0xff; bytes]));
    prop_oneof![4 => small, 1 => any, 1 => max]
}

fn to() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => any::<[u8; 20]>().prop_map(|to| string(&to)), 1 => Just(string(&[]))]
}

/// Nothing, a known call with words behind it, or anything.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let words =
        prop::collection::vec(prop_oneof![Just([0; 32]), (0..200_u8).prop_map(low), any::<[u8; 32]>()], 0..8);
    let call = (any::<Index>(), words).prop_map(|(which, words)| {
        let selector = which.get(calldata::Function::ALL).1;
        string(&[&selector[..], &words.concat()].concat())
    });
    let any = prop::collection::vec(any::<u8>(), 0..80).prop_map(|data| string(&data));
    prop_oneof![2 => Just(string(&[])), 3 => call, 1 => any]
}

fn low(value: u8) -> [u8; 32] {
    let mut word = [0; 32];
    word[31] = value;
    word
}

fn access_list() -> impl Strategy<Value = Vec<u8>> {
    let entry =
        (any::<[u8; 20]>(), prop::collection::vec(any::<[u8; 32]>(), 0..3)).prop_map(|(address, keys)| {
            let keys: Vec<_> = keys.iter().map(|key| string(key)).collect();
            list(&[string(&address), list(&keys)])
        });
    prop::collection::vec(entry, 0..3).prop_map(|entries| list(&entries))
}

fn versioned_hashes() -> impl Strategy<Value = Vec<u8>> {
    let hash = (prop_oneof![9 => Just(1_u8), 1 => any::<u8>()], any::<[u8; 31]>())
        .prop_map(|(version, rest)| string(&[&[version][..], &rest].concat()));
    prop::collection::vec(hash, 0..8).prop_map(|hashes| list(&hashes))
}

fn authorizations() -> impl Strategy<Value = Vec<u8>> {
    let tuple = (0..3_u128, to(), scalar(8), 0..3_u128, scalar(32), scalar(32)).prop_map(
        |(chain, code, nonce, parity, r, s)| list(&[integer(chain), code, nonce, integer(parity), r, s]),
    );
    prop::collection::vec(tuple, 0..3).prop_map(|tuples| list(&tuples))
}

/// A payload of any type: most are read, some are refused.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let numbers = (0..5_u8, 0..3_u128, scalar(8), scalar(16), scalar(16), scalar(8));
    let rest = (to(), scalar(32), data(), access_list(), scalar(16), versioned_hashes(), authorizations());
    (numbers, rest).prop_map(
        |(
            (number, chain, nonce, tip, price, limit),
            (to, value, data, access, blob_price, hashes, tuples),
        )| {
            let chain = integer(chain);
            let mut fields = vec![chain.clone(), nonce];
            if number > 1 {
                fields.push(tip);
            }
            fields.extend([price, limit, to, value, data]);
            match number {
                0 => {
                    fields.remove(0);
                    fields.extend([chain, integer(0), integer(0)]);
                    return list(&fields);
                }
                3 => fields.extend([access, blob_price, hashes]),
                4 => fields.extend([access, tuples]),
                _ => fields.push(access),
            }
            [vec![number], list(&fields)].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1024)))]

    #[test]
    fn transactions_mean_the_same_to_others(bytes in payload()) {
        check_transaction(&bytes);
    }

    /// One byte changed is another digest and another summary, or a refusal.
    #[test]
    fn a_changed_byte_is_never_the_same_transaction(bytes in payload(), at: Index, value: u8) {
        let mut changed = bytes.clone();
        let at = at.index(bytes.len());
        changed[at] = value;
        check_transaction(&changed);
        if let (Ok(one), Ok(other)) = (Transaction::read(&bytes), Transaction::read(&changed)) {
            let same = changed == bytes;
            prop_assert_eq!(same, one.digest() == other.digest());
            prop_assert_eq!(same, summary::render(&one.intent()) == summary::render(&other.intent()));
        }
    }
}

/// The strategy is worth something only if it makes what is read, of every type and kind.
#[test]
fn the_generated_transactions_cover_every_type_and_kind() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut types, mut kinds) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for _ in 0..4000 {
        let bytes = payload().new_tree(&mut runner).unwrap().current();
        if let Ok(read) = Transaction::read(&bytes) {
            types.insert(if bytes[0] >= 0xc0 { 0 } else { bytes[0] });
            kinds.insert((read.intent().kind.word(), read.intent().opaque));
        }
    }
    assert_eq!(types.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    for kind in
        [("transfer", false), ("allowance", false), ("call", true), ("creation", true), ("delegation", true)]
    {
        assert!(kinds.contains(&kind), "{kind:?} of {kinds:?}");
    }
}
