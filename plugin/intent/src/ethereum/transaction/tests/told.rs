//! What people and policies are told.

use super::*;

fn intent(bytes: &[u8]) -> Intent {
    read(bytes).intent()
}

/// ERC-20 `transfer` of 5 to 0x0101…01.
fn token_transfer() -> Vec<u8> {
    let mut data = unhex("a9059cbb000000000000000000000000");
    data.extend([1; 20]);
    data.extend([0; 31]);
    data.push(5);
    data
}

#[test]
fn a_transfer_is_told_with_all_that_it_can_cost() {
    assert_eq!(
        summary::render(&intent(&typed(2, |_| {}))),
        "sign: transfer on Ethereum (eip155:1)\n\
         send: 1 ETH\n  to: 0x3535353535353535353535353535353535353535\n\
         fee: at most 0.00042 ETH\nin all: at most 1.00042 ETH\nnonce: 7\n\
         gas: 21000 at most, at most 20000000000 wei each, of it at most 2000000000 as a tip (transaction type 2)\n"
    );
}

#[test]
fn i15_data_that_is_not_understood_is_opaque_and_shown_by_its_hash() {
    let call = intent(&typed(2, |fields| fields[7] = string(&[0xa9, 0x05, 0x9c, 0xbb, 0])));
    assert_eq!((call.kind, call.opaque, &call.warnings[..]), (Kind::Call, true, &[Warning::Opaque][..]));
    assert_eq!(call.moves.len(), 1);
    assert_eq!((call.details[0].label, call.details[0].text.as_str()), ("function", "0xa9059cbb"));
    assert!(call.details[1].text.starts_with("5 bytes, keccak-256 0x"));
    let short = intent(&typed(2, |fields| fields[7] = string(&[0xa9])));
    assert_eq!((short.kind, short.details[0].text.as_str()), (Kind::Call, "none"));
}

#[test]
fn i15_creation_is_opaque_and_its_endowment_counts() {
    let creation = intent(&typed(2, |fields| (fields[5], fields[7]) = (string(&[]), string(&[0x60]))));
    assert_eq!((creation.kind, creation.opaque), (Kind::Creation, true));
    assert_eq!(creation.moves[0].amount, Amount::from(1_000_000_000_000_000_000_u64));
    let poor = intent(&typed(2, |fields| (fields[5], fields[6]) = (string(&[]), integer(0))));
    assert_eq!((poor.kind, poor.moves.len()), (Kind::Creation, 0));
}

#[test]
fn coins_that_go_along_with_a_token_call_are_a_second_move() {
    let with = intent(&typed(2, |fields| fields[7] = string(&token_transfer())));
    assert_eq!((with.kind, with.opaque, with.moves.len()), (Kind::Transfer, false, 2));
    assert_eq!(with.moves[1].asset, Asset::Native);
    assert_eq!(with.sum(&Asset::Native), Some(Amount::from(1_000_420_000_000_000_000_u64)));
    let without =
        intent(&typed(2, |fields| (fields[6], fields[7]) = (integer(0), string(&token_transfer()))));
    assert_eq!(without.moves.len(), 1);
    assert!(matches!(without.moves[0].asset, Asset::Erc20(_)));
}

#[test]
fn coins_that_go_along_with_an_allowance_are_sent_and_not_allowed() {
    let mut approve = token_transfer();
    approve[..4].copy_from_slice(&[0x09, 0x5e, 0xa7, 0xb3]);
    let text = summary::render(&intent(&typed(2, |fields| fields[7] = string(&approve))));
    assert!(
        text.contains("allow: 5 base units of token 0x3535353535353535353535353535353535353535\n"),
        "{text}"
    );
    assert!(text.contains("send: 1 ETH\n"), "{text}");
}

#[test]
fn an_allowance_for_a_whole_collection_and_its_end_are_told_as_that() {
    let mut data = unhex("a22cb465000000000000000000000000");
    data.extend([0xaa; 20]);
    data.extend([0; 31]);
    for (approved, shown) in
        [(1, "allow: every token of collection 0x35"), (0, "allow: no longer any token of collection 0x35")]
    {
        let call = [&data[..], &[approved]].concat();
        let told = intent(&typed(2, |fields| (fields[6], fields[7]) = (integer(0), string(&call))));
        assert_eq!(told.moves[0].asset.to_string(), "collection:0x3535353535353535353535353535353535353535");
        let text = summary::render(&told);
        assert!(text.contains(shown), "{text}");
    }
}

#[test]
fn i15_blobs_are_opaque_whatever_goes_with_them() {
    let plain = intent(&typed(3, |_| {}));
    assert_eq!((plain.kind, plain.opaque), (Kind::Call, true));
    let fee = 21_000_u64 * 20_000_000_000 + 2 * 131_072 * 5;
    assert_eq!(plain.fee_most, Some(Amount::from(fee)));
    let token = intent(&typed(3, |fields| fields[7] = string(&token_transfer())));
    assert_eq!((token.kind, token.opaque, token.moves.len()), (Kind::Transfer, true, 2));
}

/// EIP-2930, "Definitions": "the following is a valid access list".
#[test]
fn eip_2930_example_of_an_access_list_is_read_and_told() {
    let mut keys = [[0; 32]; 2];
    (keys[0][31], keys[1][31]) = (3, 7);
    let example = list(&[
        list(&[
            string(&unhex("de0b295669a9fd93d5f28d9ec85e40f4cb697bae")),
            list(&keys.map(|key| string(&key))),
        ]),
        list(&[string(&unhex("bb9bc244d798123fde783fcc1c72d3bb8c189413")), list(&[])]),
    ]);
    let told = intent(&typed(1, |fields| fields[7] = example));
    assert_eq!((told.kind, told.details[0].label), (Kind::Transfer, "access list"));
    assert!(told.details[0].text.starts_with("2 addresses, 2 storage keys, "), "{:?}", told.details);
}

#[test]
fn a_delegation_is_told_with_the_code_that_gets_control() {
    let one = intent(&typed(4, |_| {}));
    assert_eq!(
        (one.kind, one.opaque, &one.warnings[..]),
        (Kind::Delegation, true, &[Warning::Opaque, Warning::Delegation][..])
    );
    assert!(
        one.details[0].text.starts_with("to 0xC0C0c0c0C0C0c0c0c0C0c0C0C0C0C0C0C0C0c0c0, on this chain, "),
        "{:?}",
        one.details
    );
    let anywhere = intent(&typed(4, |fields| fields[9] = list(&[authorization(1), authorization(0)])));
    assert_eq!(anywhere.warnings, [Warning::Opaque, Warning::Delegation, Warning::AnyChain]);
    assert!(anywhere.details[1].text.contains("on every chain"));
}

/// The code at a token's address may be set by the very transaction that calls it.
#[test]
fn i15_calldata_beside_a_delegation_is_not_decoded() {
    let call = intent(&typed(4, |fields| fields[7] = string(&token_transfer())));
    assert_eq!((call.kind, call.opaque, call.moves.len()), (Kind::Delegation, true, 1));
    assert_eq!(call.moves[0].asset, Asset::Native);
}

#[test]
fn an_end_of_a_delegation_is_told_as_that() {
    let nobody = list(&[integer(1), string(&[0; 20]), integer(3), integer(1), integer(9), integer(8)]);
    let end = intent(&typed(4, |fields| fields[9] = list(&[nobody])));
    assert!(end.details[0].text.starts_with("to nobody: an earlier delegation ends"), "{:?}", end.details);
}

/// Every field of every type, changed to something else that is valid: the digest and the summary both change.
#[test]
fn a_change_of_any_field_changes_the_digest_and_the_summary() {
    let access = list(&[list(&[string(&[1; 20]), list(&[string(&[2; 32])])])]);
    for number in 1..=4_u8 {
        let shift = usize::from(number > 1);
        let original = read(&typed(number, |_| {}));
        let mut changes: Vec<(usize, Vec<u8>)> = vec![
            (1, integer(8)),
            (2 + shift, integer(20_000_000_001)),
            (3 + shift, integer(21_001)),
            (4 + shift, string(&[0x36; 20])),
            (5 + shift, integer(1)),
            (6 + shift, string(&[0])),
            (6 + shift, string(&token_transfer())),
            (7 + shift, access.clone()),
        ];
        if number > 1 {
            changes.push((2, integer(2_000_000_001)));
        }
        match number {
            3 => changes.extend([
                (9, integer(6)),
                (10, list(&[versioned_hash(1), versioned_hash(3)])),
                (10, list(&[versioned_hash(2), versioned_hash(1)])),
            ]),
            4 => changes.extend([
                (9, list(&[authorization(0)])),
                (9, list(&[authorization(1), authorization(1)])),
                (
                    9,
                    list(&[list(&[
                        integer(1),
                        string(&[0xc0; 20]),
                        integer(3),
                        integer(1),
                        string(&[9; 32]),
                        string(&[7; 32]),
                    ])]),
                ),
            ]),
            _ => changes.push((0, integer(2))),
        }
        for (at, value) in changes {
            let edited = read(&typed(number, |fields| fields[at] = value));
            assert_ne!(edited.digest(), original.digest(), "type {number}, field {at}");
            let (one, other) = (summary::render(&edited.intent()), summary::render(&original.intent()));
            assert_ne!(one, other, "type {number}, field {at}");
        }
    }
}

/// The same fields as another type are told as that.
#[test]
fn the_type_itself_is_part_of_the_summary() {
    let legacy = list(&[&fields(1)[1..7], &[integer(1), integer(0), integer(0)]].concat());
    let (one, other) = (read(&legacy).intent(), read(&typed(1, |_| {})).intent());
    assert_eq!(one.moves, other.moves);
    assert_ne!(summary::render(&one), summary::render(&other));
}
