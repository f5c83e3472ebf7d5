use super::*;
use crate::ethereum::tests::{integer, list, string, unhex, unsigned};
use crate::model::{Asset, Intent, Kind, Warning};
use crate::summary;
use alloy_consensus::TxEnvelope;
use alloy_consensus::transaction::SignerRecoverable;
use alloy_eips::eip2718::Decodable2718;
use proptest::prelude::*;

mod refusals;
mod told;

/// The example of EIP-155: nonce 9, gas price 20 gwei, gas 21000, 1 ether, chain 1, key 0x4646…46.
const EIP_155_PAYLOAD: &str =
    "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080";
const EIP_155_HASH: &str = "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53";
const EIP_155_SIGNED: &str = "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83";

/// The fields of a transaction of type 1 to 4 that moves 1 ether, for the tests to spoil one.
fn fields(number: u8) -> Vec<Vec<u8>> {
    let mut fields = vec![integer(1), integer(7)];
    if number > 1 {
        fields.push(integer(2_000_000_000));
    }
    fields.extend([
        integer(20_000_000_000),
        integer(21_000),
        string(&[0x35; 20]),
        integer(1_000_000_000_000_000_000),
        string(&[]),
        list(&[]),
    ]);
    match number {
        3 => fields.extend([integer(5), list(&[versioned_hash(1), versioned_hash(2)])]),
        4 => fields.push(list(&[authorization(1)])),
        _ => {}
    }
    fields
}

fn versioned_hash(last: u8) -> Vec<u8> {
    let mut hash = [0; 32];
    (hash[0], hash[31]) = (1, last);
    string(&hash)
}

fn authorization(chain_id: u128) -> Vec<u8> {
    list(&[
        integer(chain_id),
        string(&[0xc0; 20]),
        integer(3),
        integer(1),
        string(&[9; 32]),
        string(&[8; 32]),
    ])
}

/// A transaction of a type, with its fields edited.
fn typed(number: u8, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut fields = fields(number);
    edit(&mut fields);
    [vec![number], list(&fields)].concat()
}

fn read(bytes: &[u8]) -> Transaction {
    Transaction::read(bytes).unwrap()
}

/// A transaction that a network has accepted: read without its signature, it gets it back.
fn is_a_vector(raw: &str, hash: &str, sender: Option<&str>) -> Intent {
    let raw = unhex(raw);
    let (payload, signature, v) = unsigned(&raw);
    let transaction = read(&payload);
    let y_parity = if raw[0] < 0x80 { v } else { (v - 35) % 2 };
    let signed = transaction.with_signature(&signature, u8::try_from(y_parity).unwrap()).unwrap();
    assert_eq!(signed, Signed { hash: unhex(hash).try_into().unwrap(), v, raw: raw.clone() });
    let oracle = TxEnvelope::decode_2718_exact(&raw).unwrap();
    assert_eq!(transaction.digest(), oracle.signature_hash().0);
    if let Some(sender) = sender {
        assert_eq!(oracle.recover_signer().unwrap().to_string().to_lowercase(), sender);
    }
    transaction.intent()
}

#[test]
fn eip_155_example() {
    let payload = unhex(EIP_155_PAYLOAD);
    let transaction = read(&payload);
    assert_eq!(transaction.digest().to_vec(), unhex(EIP_155_HASH));
    let (unsigned_again, signature, v) = unsigned(&unhex(EIP_155_SIGNED));
    assert_eq!((unsigned_again, v), (payload, 37));
    let signed = transaction.with_signature(&signature, 0).unwrap();
    assert_eq!((signed.raw, signed.v), (unhex(EIP_155_SIGNED), 37));
    let intent = transaction.intent();
    assert_eq!((intent.kind, intent.opaque, intent.nonce), (Kind::Transfer, false, Some(9)));
    assert_eq!(intent.moves[0].amount, Amount::from(1_000_000_000_000_000_000_u64));
    assert_eq!(intent.fee_most, Some(Amount::from(21_000_u64 * 20_000_000_000)));
}

/// ethereum/execution-apis, tests/eth_sendRawTransaction/send-legacy-transaction.io.
#[test]
fn eip_155_transaction_of_execution_apis() {
    let raw = "0xf86c808401a2084b8261a894aa000000000000000000000000000000000000000a8255448718e5bb3abd10a0a01f58022a8a818ebd02e2f10fec94d76830154e8d40115060bd1899d51158a732a0516a77d195fddef41adb8b3325bc3b976bb65537bee788349d738ccd7c67843d";
    let intent = is_a_vector(raw, "0x3522bfdee1a8db4fe11bf683767801266b0aeae640017148eed8c55148c24fb9", None);
    assert_eq!((intent.kind, intent.opaque), (Kind::Call, true));
}

/// go-ethereum, `core/types/transaction_test.go`: `TestEIP2718TransactionSigHash`, `TestEIP2718TransactionEncode`.
#[test]
fn eip_2718_and_eip_2930_transaction_of_go_ethereum() {
    let raw = unhex(
        "01f8630103018261a894b94f5374fce5edbc8e2a8697c15331677e6ebf0b0a825544c001a0c9519f4f2b30335884581971573fadf60c6204f59a911df35ee8a540456b2660a032f1e8e2c5dd761f9e4f88f41c8310aeaba26a8bfcdacfedfa12ec3862d37521",
    );
    let (payload, signature, v) = unsigned(&raw);
    let transaction = read(&payload);
    let digest = unhex("49b486f0ec0a60dfbbca2d30cb07c9e8ffb2a2ff41f29a1ab6737475f6ff69f3");
    assert_eq!(transaction.digest().to_vec(), digest);
    assert_eq!((v, transaction.with_signature(&signature, 1).unwrap().raw), (1, raw));
}

/// ethereum/execution-apis, tests/eth_sendRawTransaction/send-access-list-transaction.io.
#[test]
fn eip_2930_transaction_of_execution_apis() {
    let raw = "0x01f8cc870c72dd9d5e883e0284044105e683015f90947dcd17433742f4c0ca53122ab541d0ba67fc27df8083010203f85bf859947dcd17433742f4c0ca53122ab541d0ba67fc27dff842a00000000000000000000000000000000000000000000000000000000000000000a0010000000000000000000000000000000000000000000000000000000000000001a0f80409b3b493d286ac64576ef565c1fea10f3d23257f13fb4e537bde396c8c6aa01b0d6f26f3ca4f0939bc65e5ec69249e308e03ce18104f44412427d7f4ee0737";
    is_a_vector(raw, "0x4a56863b8cd807a1ff7cd1dc6f8a24978f05f64e3c2da30fedc0faab9ad35e1d", None);
}

/// ethereum/tests, TransactionTests/ttEIP2930/accessListStorage32Bytes.json.
#[test]
fn eip_2930_transaction_of_ethereum_tests() {
    let raw = "0x01f89a018001826a4094095e7baea6a6c7c4c2dfeb977efac326af552d878080f838f794a95e7baea6a6c7c4c2dfeb977efac326af552d87e1a0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff80a05cbd172231fc0735e0fb994dd5b1a4939170a260b36f0427a8a80866b063b948a07c230f7f578dd61785c93361b9871c0706ebfa6d06e3f4491dc9558c5202ed36";
    let intent = is_a_vector(
        raw,
        "0xb4f8b14a7aaf85ec2f76be9fbe4155deae1f87b2da95af73be3c27ed8d4c8cb7",
        Some("0xebe76799923fd62804659fb00b4f0f1a94c0eb1e"),
    );
    assert_eq!(intent.kind, Kind::Transfer);
}

/// ethereum/execution-apis, tests/eth_sendRawTransaction/send-dynamic-fee-access-list-transaction.io.
#[test]
fn eip_1559_transaction_of_execution_apis() {
    let raw = "0x02f8d0870c72dd9d5e883e038201f484044105e683013880947dcd17433742f4c0ca53122ab541d0ba67fc27df808401020304f85bf859947dcd17433742f4c0ca53122ab541d0ba67fc27dff842a00000000000000000000000000000000000000000000000000000000000000000a0010000000000000000000000000000000000000000000000000000000000000001a0aa1aee42f3598c855334c126868f3ee35fb7330dd4ef4e91b9f236749a5d0c10a016909df719f8478651ac65f0276dfb902a3695fb59ccab89de066ab32b76bebb";
    let hash = "0xdb31cf1e265200075f663530c491653ac9a8613079756de1d71fd9aa0ba1ea92";
    is_a_vector(raw, hash, None);
}

/// ethereum/execution-apis, tests/eth_sendRawTransaction/send-dynamic-fee-transaction.io.
#[test]
fn eip_1559_creation_of_execution_apis() {
    let raw = "0x02f892870c72dd9d5e883e018201f484044105e682ea60802ab73d602d80600a3d3981f3363d3d373d3d3d363d734d11c446473105a02b5c1ab9ebe9b03f33902a295af43d82803e903d91602b57fd5bf3c001a018abc2e874f7e7d4bb3ee687a080a6599b55fa502b43bc102dc850d35769491fa06604215052fdd8af1256cfc7d645b1a83889d085ff939b1f0431db61f8036fe8";
    let intent = is_a_vector(raw, "0xe3f31d5aeeadc122865c5e666d6c540c93066d58e46761a71f5d1fb3ce6be93f", None);
    assert_eq!((intent.kind, intent.opaque), (Kind::Creation, true));
    assert_eq!(intent.moves[0].to.as_str(), "new-contract");
    assert_eq!(intent.moves[0].amount, Amount::from(42_u64));
}

/// Sepolia 0x9a22ccb0…: its five blobs are in nobody's hands here.
#[test]
fn eip_4844_transaction_of_sepolia() {
    let raw = "0x03f9011d83aa36a7820fa28477359400852e90edd0008252089411e9ca82a3a762b4b5bd264d4173a242e7a770648080c08504a817c800f8a5a0012ec3d6f66766bedb002a190126b3549fce0047de0d4c25cffce0dc1c57921aa00152d8e24762ff22b1cfd9f8c0683786a7ca63ba49973818b3d1e9512cd2cec4a0013b98c6c83e066d5b14af2b85199e3d4fc7d1e778dd53130d180f5077e2d1c7a001148b495d6e859114e670ca54fb6e2657f0cbae5b08063605093a4b3dc9f8f1a0011ac212f13c5dff2b2c6b600a79635103d6f580a4221079951181b25c7e654901a0c8de4cced43169f9aa3d36506363b2d2c44f6c49fc1fd91ea114c86f3757077ea01e11fdd0d1934eda0492606ee0bb80a7bf8f35cc5f86ec60fe5031ba48bfd544";
    let intent = is_a_vector(
        raw,
        "0x9a22ccb0029bc8b0ddd073be1a1d923b7ae2b2ea52100bae0db4424f9107e9c0",
        Some("0xa83c816d4f9b2783761a22ba6fadb0eb0606d7b2"),
    );
    assert_eq!((intent.kind, intent.opaque), (Kind::Call, true));
    // 200 gwei for 21000 gas, and 20 gwei for 5 times 131072 blob gas.
    let fee = 21_000_u64 * 200_000_000_000 + 5 * 131_072 * 20_000_000_000;
    assert_eq!(intent.fee_most, Some(Amount::from(fee)));
}

/// ethereum/execution-apis, tests/eth_sendRawTransaction/send-authorization-list-tx.io.
#[test]
fn eip_7702_transaction_of_execution_apis() {
    let raw = "0x04f90131870c72dd9d5e883e808201f48404419d3e83013880947dcd17433742f4c0ca53122ab541d0ba67fc27df8080f85bf859947dcd17433742f4c0ca53122ab541d0ba67fc27dff842a00000000000000000000000000000000000000000000000000000000000000000a00100000000000000000000000000000000000000000000000000000000000000f863f861870c72dd9d5e883e947dcd17433742f4c0ca53122ab541d0ba67fc27df8080a08074cb63170a7bd4df6c3a6d9a16c11fab4fa036c9ae75d3b66b1d91672f9757a00dcf14df506fe8e636266602e0f95be6c61f52b316d7c4ebece6ddc25079d56e80a0b60ff0cda09fd67894d4f9923badc8a8efa82a3d0f09c8fb954b70d5d2de614ea04cf7436b81a664533d3c912c54d2300dbb9d326716302a382068a62af1244ad3";
    let intent = is_a_vector(raw, "0x69b856be7b1ee3c82820bf8b8f98a1d69b5b1d9574c87995091cc7d755464504", None);
    assert_eq!(
        (intent.kind, intent.warnings),
        (Kind::Delegation, vec![Warning::Opaque, Warning::Delegation])
    );
    let delegation = &intent.details[0];
    assert_eq!(delegation.label, "delegation");
    assert!(
        delegation
            .text
            .to_lowercase()
            .starts_with("to 0x7dcd17433742f4c0ca53122ab541d0ba67fc27df, on this chain")
    );
}

#[test]
fn a_y_parity_is_0_or_1_and_stands_in_v() {
    for (bytes, odd) in [(unhex(EIP_155_PAYLOAD), 38), (typed(1, |_| {}), 1), (typed(4, |_| {}), 1)] {
        let transaction = read(&bytes);
        assert_eq!(transaction.with_signature(&[1; 64], 1).unwrap().v, odd);
        assert_eq!(transaction.with_signature(&[1; 64], 0).unwrap().v, odd - 1);
        assert_eq!(transaction.with_signature(&[1; 64], 2), Err(Reason::InternalError));
    }
}

#[test]
fn the_largest_chain_id_gives_a_v_of_64_bits_and_a_larger_one_is_refused() {
    let with_chain_id = |chain_id: u64| {
        let value = [integer(9), integer(1), integer(2), string(&[0x35; 20]), integer(3), string(&[])];
        list(&[&value[..], &[integer(u128::from(chain_id)), integer(0), integer(0)]].concat())
    };
    let signed = read(&with_chain_id(CHAIN_ID_MAX_LEGACY)).with_signature(&[1; 64], 1).unwrap();
    // 2 * (2^63 - 37) + 35 + 1 = 2^64 - 38.
    assert_eq!(signed.v, u64::MAX - 37);
    let above = Transaction::read(&with_chain_id(CHAIN_ID_MAX_LEGACY + 1));
    assert_eq!(above, Err(Reason::MalformedTransaction));
}

proptest! {
    #[test]
    fn i14_no_bytes_can_panic_the_reader(bytes: Vec<u8>, at: usize, value: u8) {
        let _ = Transaction::read(&bytes);
        for mut valid in [unhex(EIP_155_PAYLOAD), typed(1, |_| {}), typed(2, |_| {}), typed(3, |_| {}), typed(4, |_| {})] {
            let at = at % valid.len();
            valid[at] = value;
            if let Ok(transaction) = Transaction::read(&valid) {
                prop_assert!(transaction.with_signature(&[0; 64], 1).is_ok());
                prop_assert!(!summary::render(&transaction.intent()).is_empty());
            }
        }
    }
}
