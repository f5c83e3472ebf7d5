use super::*;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload: Vec<u8> = items.concat();
    let mut out = Vec::new();
    Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend(payload);
    out
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes.encode(&mut out);
    out
}

/// The example of EIP-155: nonce 9, gas price 20 gwei, gas 21000, 1 ether, chain 1, key 0x4646…46.
const EIP_155_PAYLOAD: &str =
    "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080";
const EIP_155_HASH: &str = "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53";
const EIP_155_R: &str = "28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276";
const EIP_155_S: &str = "67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83";
const EIP_155_SIGNED: &str = "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83";

#[test]
fn eip_155_example() {
    let payload = hex(EIP_155_PAYLOAD);
    let transaction = Transaction::read(&payload).unwrap();
    assert_eq!(HEXLOWER.encode(&keccak256(&payload)), EIP_155_HASH);
    assert_eq!((transaction.chain_id, transaction.nonce), (1, 9));
    assert_eq!(transaction.to, Some([0x35; 20]));
    assert_eq!(transaction.value_wei, Amount::from(1_000_000_000_000_000_000u64));
    assert_eq!(transaction.max_fee_wei, Amount::from(21_000u64 * 20_000_000_000));
    assert!(!transaction.opaque);
    let signature: [u8; 64] = hex(&format!("{EIP_155_R}{EIP_155_S}")).try_into().unwrap();
    assert_eq!(HEXLOWER.encode(&transaction.with_signature(&signature, 0)), EIP_155_SIGNED);
}

/// The addresses of EIP-55, recomputed from their own lower-case form through the same checksum.
#[test]
fn eip_55_checksum_of_the_key_of_eip_155() {
    // The private key 0x4646…46 of EIP-155 has the address 0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F.
    let key = k256::ecdsa::SigningKey::from_slice(&[0x46; 32]).unwrap();
    let point: [u8; 65] = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
    assert_eq!(address_of(&ByteArray::new(point)).as_str(), "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F");
}

fn type_2(edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut fields = vec![
        text(&[1]),
        text(&[7]),
        text(&hex("77359400")),
        text(&hex("04a817c800")),
        text(&hex("5208")),
        text(&[0x35; 20]),
        text(&hex("0de0b6b3a7640000")),
        text(&[]),
        list(&[]),
    ];
    edit(&mut fields);
    let mut out = vec![2];
    out.extend(list(&fields));
    out
}

fn refused(bytes: &[u8]) -> Reason {
    Transaction::read(bytes).unwrap_err()
}

#[test]
fn eip_1559_fields_are_read_and_fees_counted_at_their_maximum() {
    let transaction = Transaction::read(&type_2(|_| {})).unwrap();
    assert_eq!((transaction.chain_id, transaction.nonce, transaction.opaque), (1, 7, false));
    assert_eq!(transaction.max_fee_wei, Amount::from(21_000u64 * 20_000_000_000));
    let with_list = type_2(|fields| {
        fields[8] = list(&[list(&[text(&[1; 20]), list(&[text(&[2; 32]), text(&[3; 32])])])]);
    });
    assert!(Transaction::read(&with_list).is_ok());
}

#[test]
fn i15_calldata_and_creation_are_opaque() {
    assert!(Transaction::read(&type_2(|fields| fields[7] = text(&[0xa9]))).unwrap().opaque);
    assert!(Transaction::read(&type_2(|fields| fields[5] = text(&[]))).unwrap().opaque);
}

#[test]
fn refuses_transactions_from_before_eip_155_and_unknown_types() {
    let fields = [vec![9], text(&[1]), text(&[2]), text(&[0x35; 20]), text(&[3]), text(&[])];
    assert_eq!(refused(&list(&fields)), Reason::ChainIdMissing);
    assert_eq!(refused(&type_2(|fields| fields[0] = text(&[]))), Reason::ChainIdMissing);
    for kind in [0u8, 1, 3, 4, 5, 0x7f] {
        let mut bytes = type_2(|_| {});
        bytes[0] = kind;
        assert_eq!(refused(&bytes), Reason::UnsupportedTransaction, "type {kind}");
    }
    assert_eq!(refused(&[]), Reason::MalformedTransaction);
    assert_eq!(refused(&[0x80]), Reason::MalformedTransaction);
}

#[test]
fn refuses_whatever_is_not_canonical() {
    let cases: [(&str, Vec<u8>); 12] = [
        ("leading zero", type_2(|fields| fields[1] = text(&[0, 7]))),
        ("zero as 00", type_2(|fields| fields[1] = vec![0])),
        ("single byte with a header", type_2(|fields| fields[1] = vec![0x81, 7])),
        ("long length for a short string", type_2(|fields| fields[1] = vec![0xb8, 1, 7])),
        ("chain id above 64 bits", type_2(|fields| fields[0] = text(&[1; 9]))),
        ("largest nonce", type_2(|fields| fields[1] = text(&[0xff; 8]))),
        ("address of 19 bytes", type_2(|fields| fields[5] = text(&[0x35; 19]))),
        ("priority fee above the fee", type_2(|fields| fields[2] = text(&hex("04a817c801")))),
        ("value above 256 bits", type_2(|fields| fields[6] = text(&[1; 33]))),
        ("a field too many", type_2(|fields| fields.push(text(&[])))),
        ("a field too few", type_2(|fields| drop(fields.pop()))),
        ("access list as a string", type_2(|fields| fields[8] = text(&[]))),
    ];
    for (what, bytes) in cases {
        assert_eq!(refused(&bytes), Reason::MalformedTransaction, "{what}");
    }
    let mut trailing = type_2(|_| {});
    trailing.push(0x80);
    assert_eq!(refused(&trailing), Reason::MalformedTransaction, "trailing byte");
    assert_eq!(refused(&hex(EIP_155_SIGNED)), Reason::MalformedTransaction, "signed already");
    let overflow = type_2(|fields| {
        fields[3] = text(&[0xff; 16]);
        fields[6] = text(&[0xff; 32]);
    });
    assert_eq!(refused(&overflow), Reason::MalformedTransaction, "value and fee overflow");
    let huge = type_2(|fields| fields[7] = text(&vec![1; TRANSACTION_MAX_BYTES]));
    assert_eq!(refused(&huge), Reason::MalformedTransaction, "too large");
}

#[test]
fn bad_access_lists_are_refused() {
    let entries = [
        list(&[list(&[text(&[1; 19]), list(&[])])]),
        list(&[list(&[text(&[1; 20]), list(&[text(&[2; 31])])])]),
        list(&[list(&[text(&[1; 20])])]),
        list(&[list(&[text(&[1; 20]), list(&[]), text(&[])])]),
        list(&[text(&[1; 20])]),
    ];
    for entry in entries {
        let bytes = type_2(|fields| fields[8] = entry.clone());
        assert_eq!(refused(&bytes), Reason::MalformedTransaction, "{entry:02x?}");
    }
}

#[test]
fn the_largest_chain_id_gives_a_v_of_64_bits_and_a_larger_one_is_refused() {
    let with_chain_id = |chain_id: u64| {
        list(&[
            vec![9],
            text(&[1]),
            text(&[2]),
            text(&[0x35; 20]),
            text(&[3]),
            text(&[]),
            text(&chain_id.to_be_bytes()),
            text(&[]),
            text(&[]),
        ])
    };
    let transaction = Transaction::read(&with_chain_id(CHAIN_ID_MAX_LEGACY)).unwrap();
    let raw = transaction.with_signature(&[1; 64], 1);
    // 2 * (2^63 - 37) + 35 + 1 = 2^64 - 38.
    let v = text(&(u64::MAX - 37).to_be_bytes());
    assert!(raw.windows(v.len()).any(|window| window == v));
    assert_eq!(refused(&with_chain_id(CHAIN_ID_MAX_LEGACY + 1)), Reason::MalformedTransaction);
}

proptest! {
    #[test]
    fn i14_no_bytes_can_panic_the_reader(bytes: Vec<u8>, at: usize, value: u8) {
        let _ = Transaction::read(&bytes);
        for mut valid in [hex(EIP_155_PAYLOAD), type_2(|_| {})] {
            let at = at % valid.len();
            valid[at] = value;
            if let Ok(transaction) = Transaction::read(&valid) {
                let _ = transaction.with_signature(&[0; 64], 1);
            }
        }
    }
}
