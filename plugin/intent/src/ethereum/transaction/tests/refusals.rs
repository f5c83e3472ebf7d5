//! What is not read, one test for each rule.

use super::*;

fn refused(bytes: &[u8]) -> Reason {
    Transaction::read(bytes).unwrap_err()
}

fn malformed(what: &str, bytes: &[u8]) {
    assert_eq!(refused(bytes), Reason::MalformedTransaction, "{what}");
}

#[test]
fn refuses_transactions_from_before_eip_155_and_without_a_chain() {
    let fields = [vec![9], integer(1), integer(2), string(&[0x35; 20]), integer(3), string(&[])];
    assert_eq!(refused(&list(&fields)), Reason::ChainIdMissing);
    let zero = [&fields[..], &[integer(0), integer(0), integer(0)]].concat();
    assert_eq!(refused(&list(&zero)), Reason::ChainIdMissing);
    for number in 1..=4 {
        let bytes = typed(number, |fields| {
            fields[0] = integer(0);
            if number == 4 {
                fields[9] = list(&[authorization(0)]);
            }
        });
        assert_eq!(refused(&bytes), Reason::ChainIdMissing, "type {number}");
    }
}

/// EIP-7702 authorizations begin with 0x05, `personal_sign` and typed data with 0x19.
#[test]
fn refuses_unknown_types_and_whatever_else_is_signed() {
    for number in [0, 5, 0x19, 0x7f] {
        let mut bytes = typed(2, |_| {});
        bytes[0] = number;
        assert_eq!(refused(&bytes), Reason::UnsupportedTransaction, "type {number}");
    }
    let authorization = [vec![5], list(&[integer(1), string(&[0xc0; 20]), integer(3)])].concat();
    assert_eq!(refused(&authorization), Reason::UnsupportedTransaction);
    assert_eq!(refused(b"\x19Ethereum Signed Message:\n0"), Reason::UnsupportedTransaction);
    malformed("nothing", &[]);
    malformed("neither a type nor a list", &[0x80]);
}

#[test]
fn refuses_whatever_is_not_canonical_in_every_type() {
    for number in 1..=4 {
        let shift = usize::from(number > 1);
        let cases = [
            ("leading zero", typed(number, |fields| fields[1] = string(&[0, 7]))),
            ("zero as 00", typed(number, |fields| fields[1] = vec![0])),
            ("single byte with a header", typed(number, |fields| fields[1] = vec![0x81, 7])),
            ("long length for a short string", typed(number, |fields| fields[1] = vec![0xb8, 1, 7])),
            ("chain id above 64 bits", typed(number, |fields| fields[0] = string(&[1; 9]))),
            ("largest nonce (EIP-2681)", typed(number, |fields| fields[1] = string(&[0xff; 8]))),
            ("price above 128 bits", typed(number, |fields| fields[2 + shift] = string(&[1; 17]))),
            ("gas limit above 64 bits", typed(number, |fields| fields[3 + shift] = string(&[1; 9]))),
            ("address of 19 bytes", typed(number, |fields| fields[4 + shift] = string(&[0x35; 19]))),
            ("value above 256 bits", typed(number, |fields| fields[5 + shift] = string(&[1; 33]))),
            ("data as a list", typed(number, |fields| fields[6 + shift] = list(&[]))),
            ("access list as a string", typed(number, |fields| fields[7 + shift] = string(&[]))),
            ("a field too many", typed(number, |fields| fields.push(string(&[])))),
            ("a field too few", typed(number, |fields| drop(fields.pop()))),
        ];
        for (what, bytes) in cases {
            malformed(&format!("type {number}: {what}"), &bytes);
        }
        let mut trailing = typed(number, |_| {});
        trailing.push(0x80);
        malformed("trailing byte", &trailing);
    }
}

#[test]
fn refuses_what_is_signed_already() {
    malformed("type 0", &unhex(EIP_155_SIGNED));
    let fields = [integer(9), integer(1), integer(2), string(&[0x35; 20]), integer(3), string(&[])];
    let with_tail = |tail: &[Vec<u8>]| list(&[&fields[..], tail].concat());
    assert!(Transaction::read(&with_tail(&[integer(1), integer(0), integer(0)])).is_ok());
    malformed("only r", &with_tail(&[integer(1), integer(1), integer(0)]));
    malformed("only s", &with_tail(&[integer(1), integer(0), integer(1)]));
    malformed("a field too many", &with_tail(&[integer(1), integer(0), integer(0), integer(0)]));
    malformed("a field too few", &with_tail(&[integer(1), integer(0)]));
    for number in 1..=4 {
        let bytes = typed(number, |fields| fields.extend([integer(1), string(&[1; 32]), string(&[1; 32])]));
        malformed("typed", &bytes);
    }
}

#[test]
fn refuses_what_is_too_large_and_sums_beyond_256_bits() {
    let huge = typed(2, |fields| fields[7] = string(&vec![1; TRANSACTION_MAX_BYTES]));
    malformed("too large", &huge);
    let mut sums = Vec::new();
    for (gas, value) in [([0xff; 8], [0xff; 32]), ([1; 8], [0xff; 32])] {
        sums.push(typed(2, |fields| {
            (fields[3], fields[4], fields[6]) = (string(&[0xff; 16]), string(&gas), string(&value));
        }));
    }
    sums.push(typed(3, |fields| (fields[9], fields[6]) = (integer(u128::MAX), string(&[0xff; 32]))));
    for sum in &sums {
        malformed("value and fee overflow", sum);
    }
}

/// EIP-1559: `max_fee_per_gas >= max_priority_fee_per_gas`.
#[test]
fn refuses_a_tip_above_the_price_from_type_2_on() {
    for number in 2..=4 {
        let equal = typed(number, |fields| fields[2] = integer(20_000_000_000));
        assert!(Transaction::read(&equal).is_ok());
        malformed("tip", &typed(number, |fields| fields[2] = integer(20_000_000_001)));
    }
}

#[test]
fn refuses_bad_access_lists() {
    let entries = [
        list(&[list(&[string(&[1; 19]), list(&[])])]),
        list(&[list(&[string(&[1; 20]), list(&[string(&[2; 31])])])]),
        list(&[list(&[string(&[1; 20])])]),
        list(&[list(&[string(&[1; 20]), list(&[]), string(&[])])]),
        list(&[string(&[1; 20])]),
    ];
    for entry in entries {
        for (number, at) in [(1, 7), (2, 8), (3, 8), (4, 8)] {
            malformed("access list", &typed(number, |fields| fields[at] = entry.clone()));
        }
    }
}

/// ethereum/tests, TransactionTests/ttEIP2930 (`TooShort`) and ttEIP1559 (`LeadingZeros`, `PriorityFeeGreaterThanBaseFee`).
#[test]
fn refuses_what_ethereum_tests_say_is_invalid() {
    let signature = "a05cbd172231fc0735e0fb994dd5b1a4939170a260b36f0427a8a80866b063b948a07c230f7f578dd61785c93361b9871c0706ebfa6d06e3f4491dc9558c5202ed36";
    for raw in [
        "01f87b018001826a4094095e7baea6a6c7c4c2dfeb977efac326af552d878080dad994a95e7baea6a6c7c4c2dfeb977efac326af552d87c382000180",
        "01f8bc018001826a4094095e7baea6a6c7c4c2dfeb977efac326af552d878080f85af858939e7baea6a6c7c4c2dfeb977efac326af552d87f842a00000000000000000000000000000000000000000000000000000000000000000a0000000000000000000000000000000000000000000000000000000000000000180",
        "02f8870180a100ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff84b2d05e0082520894095e7baea6a6c7c4c2dfeb977efac326af552d878080c080",
        "02f8860180a0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff84b2d05e0082520894095e7baea6a6c7c4c2dfeb977efac326af552d878080c080",
    ] {
        malformed(raw, &unsigned(&unhex(&format!("{raw}{signature}"))).0);
    }
}

/// EIP-4844: "there must be at least one blob", `VERSIONED_HASH_VERSION_KZG`; EIP-7594: at most 6.
#[test]
fn refuses_blobs_that_the_standards_do_not_allow() {
    let hashes = |count: u8| list(&(0..count).map(versioned_hash).collect::<Vec<_>>());
    for count in [1, 6] {
        assert!(Transaction::read(&typed(3, |fields| fields[10] = hashes(count))).is_ok());
    }
    for count in [0, 7] {
        malformed("count", &typed(3, |fields| fields[10] = hashes(count)));
    }
    for (at, byte) in [(0, 0), (0, 2)] {
        let mut hash = [1; 32];
        hash[at] = byte;
        malformed("version", &typed(3, |fields| fields[10] = list(&[string(&hash)])));
    }
    malformed("31 bytes", &typed(3, |fields| fields[10] = list(&[string(&[1; 31])])));
    malformed("price above 128 bits", &typed(3, |fields| fields[9] = string(&[1; 17])));
}

/// EIP-4844 and EIP-7702: "a null destination is not valid".
#[test]
fn refuses_creation_by_types_3_and_4() {
    for number in 3..=4 {
        malformed("creation", &typed(number, |fields| fields[5] = string(&[])));
    }
    assert!(Transaction::read(&typed(2, |fields| fields[5] = string(&[]))).is_ok());
}

#[test]
fn refuses_authorizations_that_eip_7702_does_not_allow_or_that_are_for_another_chain() {
    let tuple = |edit: fn(&mut Vec<Vec<u8>>)| {
        let mut fields =
            vec![integer(1), string(&[0xc0; 20]), integer(3), integer(1), string(&[9; 32]), string(&[8; 32])];
        edit(&mut fields);
        typed(4, |outer| outer[9] = list(&[list(&fields)]))
    };
    assert!(Transaction::read(&tuple(|_| {})).is_ok());
    assert!(Transaction::read(&tuple(|fields| fields[0] = integer(0))).is_ok());
    malformed("another chain", &tuple(|fields| fields[0] = integer(10)));
    malformed("chain id of 256 bits", &tuple(|fields| fields[0] = string(&[0xff; 32])));
    malformed("address of 19 bytes", &tuple(|fields| fields[1] = string(&[0xc0; 19])));
    malformed("largest nonce", &tuple(|fields| fields[2] = string(&[0xff; 8])));
    malformed("y parity", &tuple(|fields| fields[3] = integer(2)));
    malformed("r above 256 bits", &tuple(|fields| fields[4] = string(&[1; 33])));
    malformed("s with a leading zero", &tuple(|fields| fields[5] = string(&[0, 1])));
    malformed("a field too many", &tuple(|fields| fields.push(integer(1))));
    malformed("a field too few", &tuple(|fields| drop(fields.pop())));
    malformed("none", &typed(4, |outer| outer[9] = list(&[])));
    let many = |count: usize| typed(4, |outer| outer[9] = list(&vec![authorization(1); count]));
    assert!(Transaction::read(&many(64)).is_ok());
    malformed("too many", &many(65));
}

/// wevm/viem, serializeTransaction.test.ts, "eip7702 > default": its second authorization is for chain 10.
#[test]
fn refuses_an_authorization_for_another_chain_than_the_transaction() {
    malformed(
        "chain 10",
        &unhex(
            "0x04f8e3018203118080809470997970c51812dc3a010c7d01b50e0d17dc79c8880de0b6b3a764000080c0f8baf85c0194fba3912ca04dd458c843e2ee08967fc04f3579c28201a480a060fdd29ff912ce880cd3edaf9f932dc61d3dae823ea77e0323f94adb9f6a72fea060fdd29ff912ce880cd3edaf9f932dc61d3dae823ea77e0323f94adb9f6a72fef85a0a9400000000000000000000000000000000000000004501a060fdd29ff912ce880cd3edaf9f932dc61d3dae823ea77e0323f94adb9f6a72fea060fdd29ff912ce880cd3edaf9f932dc61d3dae823ea77e0323f94adb9f6a72fe",
        ),
    );
}
