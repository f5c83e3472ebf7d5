use super::*;
use crate::ethereum::keccak256;
use crate::ethereum::properties::check_calldata;
use crate::ethereum::tests::unhex;
use proptest::prelude::*;

const CONTRACT: [u8; 20] = [0x35; 20];

fn word(value: u64) -> [u8; 32] {
    Amount::from(value).to_be_bytes()
}

fn account(byte: u8) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].fill(byte);
    word
}

/// The calldata of a function, from its words.
fn call(signature: &str, words: &[[u8; 32]]) -> Vec<u8> {
    let selector = keccak256(signature.as_bytes());
    [&selector[..4], &words.concat()].concat()
}

fn told(data: &[u8]) -> Decoded {
    check_calldata(data);
    read(&CONTRACT, data).unwrap()
}

fn is_opaque(what: &str, data: &[u8]) {
    check_calldata(data);
    assert_eq!(read(&CONTRACT, data), None, "{what}");
}

fn contract() -> Address {
    address(&CONTRACT)
}

#[test]
fn selectors_are_those_of_their_signatures() {
    for (_, selector, signature, count) in Function::ALL {
        assert_eq!(selector[..], keccak256(signature.as_bytes())[..4], "{signature}");
        assert_eq!(signature.split(',').count(), *count, "{signature}");
    }
}

#[test]
fn erc_20_transfer_moves_an_amount() {
    let sent = told(&call("transfer(address,uint256)", &[account(1), word(5)]));
    assert_eq!(
        sent,
        Decoded::of(Kind::Transfer, vec![moved(None, [1; 20], Asset::Erc20(contract()), Amount::from(5))])
    );
}

/// The number is an amount or a token, and only the contract knows: both are told.
#[test]
fn transfer_from_and_approve_are_told_in_either_reading() {
    let transfer = told(&call("transferFrom(address,address,uint256)", &[account(1), account(2), word(5)]));
    let approve = told(&call("approve(address,uint256)", &[account(2), word(5)]));
    for (read, from, kind) in
        [(transfer, Some(address(&[1; 20])), Kind::Transfer), (approve, None, Kind::Allowance)]
    {
        assert_eq!((read.kind, read.opaque), (kind, false));
        assert_eq!(read.moves, [moved(from, [2; 20], Asset::Erc20(contract()), Amount::from(5))]);
        assert_eq!(read.warnings, [Warning::EitherReading]);
        assert_eq!(read.details[0].label, "or");
        assert!(read.details[0].text.ends_with("its one token number 5"), "{}", read.details[0].text);
    }
}

#[test]
fn an_allowance_without_a_practical_limit_has_a_warning_and_a_smaller_one_has_not() {
    for (amount, unlimited) in [(Amount::MAX, true), (UNLIMITED, true), (UNLIMITED - Amount::ONE, false)] {
        let read = told(&call("approve(address,uint256)", &[account(2), amount.to_be_bytes()]));
        assert_eq!(read.warnings.contains(&Warning::UnlimitedAllowance), unlimited, "{amount}");
    }
}

#[test]
fn eip_2612_permit_is_an_allowance_of_its_owner() {
    let permit = |until: Amount| {
        let words = [account(1), account(2), word(5), until.to_be_bytes(), word(27), [7; 32], [8; 32]];
        told(&call("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", &words))
    };
    let read = permit(Amount::from(1_893_456_000_u64));
    assert_eq!(read.kind, Kind::Allowance);
    assert_eq!(
        read.moves,
        [moved(Some(address(&[1; 20])), [2; 20], Asset::Erc20(contract()), Amount::from(5))]
    );
    assert_eq!(read.details[0].text, "2030-01-01 00:00:00 UTC (1893456000)");
    assert!(read.warnings.is_empty());
    assert_eq!(permit(Amount::MAX).warnings, [Warning::NoExpiry]);
}

#[test]
fn erc_721_safe_transfers_move_one_token() {
    let number = Amount::from(5);
    let plain = told(&call("safeTransferFrom(address,address,uint256)", &[account(1), account(2), word(5)]));
    let one = moved(Some(address(&[1; 20])), [2; 20], Asset::Erc721(contract(), number), Amount::ONE);
    assert_eq!(plain, Decoded::of(Kind::Transfer, vec![one.clone()]));
    let signature = "safeTransferFrom(address,address,uint256,bytes)";
    let empty = told(&call(signature, &[account(1), account(2), word(5), word(128), word(0)]));
    assert_eq!((empty.moves, empty.opaque), (vec![one.clone()], false));
    let words = [
        account(1),
        account(2),
        word(5),
        word(128),
        word(1),
        [[0xab; 1].as_slice(), &[0; 31]].concat().try_into().unwrap(),
    ];
    let with = told(&call(signature, &words));
    assert_eq!((with.moves, with.opaque), (vec![one], true), "the recipient's code may act on the data");
}

#[test]
fn erc_1155_moves_some_of_a_token_and_batches_move_several() {
    let one = call(
        "safeTransferFrom(address,address,uint256,uint256,bytes)",
        &[account(1), account(2), word(9), word(5), word(160), word(0)],
    );
    let read = told(&one);
    let sent = |id: u64, amount: u64| {
        let asset = Asset::Erc1155(contract(), Amount::from(id));
        moved(Some(address(&[1; 20])), [2; 20], asset, Amount::from(amount))
    };
    assert_eq!((read.moves, read.opaque), (vec![sent(9, 5)], false));
    let read = told(&batch_of(&[9, 10], &[5, 6]));
    assert_eq!((read.moves, read.opaque), (vec![sent(9, 5), sent(10, 6)], false));
}

fn batch_of(ids: &[u64], amounts: &[u64]) -> Vec<u8> {
    let ids_at = 160;
    let amounts_at = ids_at + 32 * (1 + ids.len() as u64);
    let data_at = amounts_at + 32 * (1 + amounts.len() as u64);
    let mut words = vec![account(1), account(2), word(ids_at), word(amounts_at), word(data_at)];
    words.push(word(ids.len() as u64));
    words.extend(ids.iter().map(|id| word(*id)));
    words.push(word(amounts.len() as u64));
    words.extend(amounts.iter().map(|amount| word(*amount)));
    words.push(word(0));
    call("safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", &words)
}

#[test]
fn batches_that_are_empty_uneven_or_too_long_are_opaque() {
    is_opaque("empty", &batch_of(&[], &[]));
    is_opaque("uneven", &batch_of(&[1, 2], &[1]));
    assert_eq!(told(&batch_of(&[1; BATCH_MAX], &[1; BATCH_MAX])).moves.len(), BATCH_MAX);
    is_opaque("too long", &batch_of(&[1; BATCH_MAX + 1], &[1; BATCH_MAX + 1]));
}

#[test]
fn set_approval_for_all_allows_every_token_and_its_end_allows_none() {
    let read = told(&call("setApprovalForAll(address,bool)", &[account(2), word(1)]));
    assert_eq!(read.kind, Kind::Allowance);
    assert_eq!(read.moves, [moved(None, [2; 20], Asset::Collection(contract()), Amount::MAX)]);
    assert_eq!(read.warnings, [Warning::UnlimitedAllowance, Warning::WholeCollection]);
    let end = told(&call("setApprovalForAll(address,bool)", &[account(2), word(0)]));
    assert_eq!((end.moves[0].amount, end.warnings), (Amount::ZERO, vec![]));
}

#[test]
fn i15_whatever_is_not_canonical_is_opaque() {
    let transfer = call("transfer(address,uint256)", &[account(1), word(5)]);
    is_opaque("no arguments", &transfer[..4]);
    is_opaque("three bytes", &transfer[..3]);
    is_opaque("a byte too few", &transfer[..transfer.len() - 1]);
    is_opaque("a byte behind the end", &[&transfer[..], &[0]].concat());
    is_opaque("a word behind the end", &[&transfer[..], &[0; 32]].concat());
    let mut dirty = transfer.clone();
    dirty[4] = 1;
    is_opaque("dirty padding of an address", &dirty);
    is_opaque("a truth value of 2", &call("setApprovalForAll(address,bool)", &[account(2), word(2)]));
    let permit = "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)";
    let words = [account(1), account(2), word(5), word(6), word(256), [7; 32], [8; 32]];
    is_opaque("a v of 9 bits", &call(permit, &words));
}

#[test]
fn i15_tails_anywhere_but_in_their_one_place_are_opaque() {
    let signature = "safeTransferFrom(address,address,uint256,bytes)";
    let heads = |offset: [u8; 32]| vec![account(1), account(2), word(5), offset];
    let opaque = |what: &str, offset: [u8; 32], tail: &[[u8; 32]]| {
        is_opaque(what, &call(signature, &[&heads(offset)[..], tail].concat()));
    };
    opaque("offset one word on", word(160), &[word(0), word(0)]);
    opaque("offset into the heads", word(96), &[word(0)]);
    opaque("offset beyond the end", word(1 << 40), &[word(0)]);
    opaque("offset of 256 bits", [0xff; 32], &[word(0)]);
    opaque("length beyond the end", word(128), &[word(33), [0; 32]]);
    opaque("length of 256 bits", word(128), &[[0xff; 32]]);
    opaque("length that overflows with its padding", word(128), &[Amount::from(usize::MAX).to_be_bytes()]);
    opaque("dirty padding", word(128), &[word(1), [1; 32]]);
    opaque("no length", word(128), &[]);
    opaque("a word behind the end", word(128), &[word(0), word(0)]);
    let mut shared = batch_of(&[7], &[7]);
    shared[4 + 3 * 32 + 31] = 160;
    is_opaque("two arrays in one place", &shared);
}

#[test]
fn i15_calls_that_are_not_listed_are_opaque() {
    for signature in ["increaseAllowance(address,uint256)", "mint(address,uint256)", "multicall(bytes[])"] {
        is_opaque(signature, &call(signature, &[account(1), word(5)]));
    }
    is_opaque("nothing", &[]);
    is_opaque("random", &unhex("deadbeef00"));
}

/// Any word of any call, and any function.
fn words() -> impl Strategy<Value = Vec<[u8; 32]>> {
    let small = (0_u64..320).prop_map(word);
    let any = prop_oneof![small, any::<u8>().prop_map(account), any::<[u8; 32]>()];
    prop::collection::vec(any, 0..16)
}

proptest! {
    #[test]
    fn calldata_is_understood_exactly_as_others_do(which in 0..Function::ALL.len(), words in words(), extra: Vec<u8>) {
        let selector = Function::ALL[which].1;
        check_calldata(&[&selector[..], &words.concat()].concat());
        check_calldata(&[&selector[..], &words.concat(), &extra].concat());
    }

    #[test]
    fn i14_one_changed_byte_is_read_the_same_by_others(at: prop::sample::Index, value: u8, which in 0..6_usize) {
        let mut data = [
            batch_of(&[9, 10], &[5, 6]),
            call("transferFrom(address,address,uint256)", &[account(1), account(2), word(5)]),
            call("safeTransferFrom(address,address,uint256,bytes)", &[account(1), account(2), word(5), word(128), word(3), [0; 32]]),
            call("setApprovalForAll(address,bool)", &[account(2), word(1)]),
            call("safeTransferFrom(address,address,uint256,uint256,bytes)", &[account(1), account(2), word(9), word(5), word(160), word(0)]),
            call("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", &[account(1), account(2), word(5), word(6), word(27), [7; 32], [8; 32]]),
        ][which].clone();
        let at = at.index(data.len());
        let before = read(&CONTRACT, &data);
        let changed = data[at] != value;
        data[at] = value;
        check_calldata(&data);
        prop_assert_eq!(changed, read(&CONTRACT, &data) != before);
    }
}
