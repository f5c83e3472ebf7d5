//! Permits, recognised by exact types and domains; what only looks like one stays opaque.

use super::*;
use crate::ethereum::keccak256;
use crate::ethereum::typed_data::permits as known;
use crate::model::{Amount, Asset, Intent, Move};

const SPENDER: &str = "0x2222222222222222222222222222222222222222";
const TOKEN: &str = "0x3333333333333333333333333333333333333333";

fn token_domain() -> Any {
    json!({ "name": "Some Token", "version": "1", "chainId": 1, "verifyingContract": TOKEN })
}

/// EIP-2612, "Specification".
fn eip_2612() -> Any {
    json!({
        "types": {
            "EIP712Domain": domain_type(),
            "Permit": members(&[
                "address owner", "address spender", "uint256 value", "uint256 nonce", "uint256 deadline",
            ]),
        },
        "primaryType": "Permit",
        "domain": token_domain(),
        "message": {
            "owner": "0x1111111111111111111111111111111111111111",
            "spender": SPENDER, "value": 5, "nonce": 0, "deadline": 1_893_456_000,
        },
    })
}

fn dai() -> Any {
    json!({
        "types": {
            "EIP712Domain": domain_type(),
            "Permit": members(&[
                "address holder", "address spender", "uint256 nonce", "uint256 expiry", "bool allowed",
            ]),
        },
        "primaryType": "Permit",
        "domain": token_domain(),
        "message": {
            "holder": "0x1111111111111111111111111111111111111111",
            "spender": SPENDER, "nonce": 0, "expiry": 1_893_456_000, "allowed": true,
        },
    })
}

/// ERC-3009, "Use with web3 providers", and its example of a domain.
fn erc_3009(primary: &str) -> Any {
    json!({
        "types": {
            "EIP712Domain": domain_type(),
            primary: members(&[
                "address from", "address to", "uint256 value", "uint256 validAfter", "uint256 validBefore", "bytes32 nonce",
            ]),
        },
        "primaryType": primary,
        "domain": {
            "name": "USD Coin", "version": "2", "chainId": 1,
            "verifyingContract": "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
        },
        "message": {
            "from": "0x1111111111111111111111111111111111111111",
            "to": SPENDER, "value": "5", "validAfter": 0, "validBefore": 1_893_456_000,
            "nonce": format!("0x{}", "ab".repeat(32)),
        },
    })
}

/// Permit2's types, in the form of Uniswap/permit2-sdk, with its domain.
fn permit2(primary: &str, message: &Any) -> Any {
    let transfer = |one: &str| members(&[one, "address spender", "uint256 nonce", "uint256 deadline"]);
    let witness = |one: &str| {
        let kinds = [one, "address spender", "uint256 nonce", "uint256 deadline", "MockWitness witness"];
        members(&kinds)
    };
    let (name, kinds) = match primary {
        "PermitSingle" => {
            ("PermitDetails", members(&["PermitDetails details", "address spender", "uint256 sigDeadline"]))
        }
        "PermitBatch" => {
            ("PermitDetails", members(&["PermitDetails[] details", "address spender", "uint256 sigDeadline"]))
        }
        "PermitTransferFrom" => ("TokenPermissions", transfer("TokenPermissions permitted")),
        "PermitBatchTransferFrom" => ("TokenPermissions", transfer("TokenPermissions[] permitted")),
        "PermitWitnessTransferFrom" => ("TokenPermissions", witness("TokenPermissions permitted")),
        _ => ("TokenPermissions", witness("TokenPermissions[] permitted")),
    };
    let mut types =
        json!({ "EIP712Domain": members(&["string name", "uint256 chainId", "address verifyingContract"]) });
    types[primary] = kinds;
    types[name] = match name {
        "PermitDetails" => members(&["address token", "uint160 amount", "uint48 expiration", "uint48 nonce"]),
        _ => members(&["address token", "uint256 amount"]),
    };
    if primary.contains("Witness") {
        types["MockWitness"] = members(&["uint256 mock"]);
    }
    json!({
        "types": types,
        "primaryType": primary,
        "domain": { "name": "Permit2", "chainId": 1, "verifyingContract": "0x000000000022D473030F116dDEE9F6B43aC78BA3" },
        "message": message,
    })
}

fn details(amount: u64) -> Any {
    json!({ "token": TOKEN, "amount": amount, "expiration": 1_893_456_000, "nonce": 3 })
}

fn permissions(amount: u64) -> Any {
    json!({ "token": TOKEN, "amount": amount })
}

fn signature(permitted: &Any) -> Any {
    json!({ "permitted": permitted, "spender": SPENDER, "nonce": 3, "deadline": 1_893_456_000 })
}

fn with_witness(permitted: &Any) -> Any {
    let mut message = signature(permitted);
    message["witness"] = json!({ "mock": 9 });
    message
}

/// Every permit that is known, and the amounts that it allows.
pub(super) fn every_permit() -> Vec<(Any, Vec<u64>)> {
    let allowance = |what: Any| json!({ "details": what, "spender": SPENDER, "sigDeadline": 1_893_456_000 });
    vec![
        (eip_2612(), vec![5]),
        (permit2("PermitSingle", &allowance(details(5))), vec![5]),
        (permit2("PermitBatch", &allowance(json!([details(5), details(6)]))), vec![5, 6]),
        (permit2("PermitTransferFrom", &signature(&permissions(5))), vec![5]),
        (
            permit2("PermitBatchTransferFrom", &signature(&json!([permissions(5), permissions(6)]))),
            vec![5, 6],
        ),
        (permit2("PermitWitnessTransferFrom", &with_witness(&permissions(5))), vec![5]),
        (
            permit2(
                "PermitBatchWitnessTransferFrom",
                &with_witness(&json!([permissions(5), permissions(6)])),
            ),
            vec![5, 6],
        ),
    ]
}

fn intent(document: &Any) -> Intent {
    accepted(document).intent()
}

fn allowed(moved: &Move) -> (&str, String, Amount) {
    (moved.to.as_str(), moved.asset.to_string(), moved.amount)
}

#[test]
fn every_permit_is_an_allowance_with_its_moves() {
    for (document, amounts) in every_permit() {
        let intent = intent(&document);
        assert_eq!(intent.kind, Kind::Allowance, "{document}");
        let expected: Vec<_> =
            amounts.iter().map(|amount| (SPENDER, format!("erc20:{TOKEN}"), Amount::from(*amount))).collect();
        assert_eq!(intent.moves.iter().map(allowed).collect::<Vec<_>>(), expected, "{document}");
        let is_witness = document["primaryType"].as_str().unwrap().contains("Witness");
        assert_eq!(intent.opaque, is_witness, "what a witness says is for another contract");
        assert!(intent.details.iter().any(|line| line.text == "2030-01-01 00:00:00 UTC (1893456000)"));
    }
}

#[test]
fn the_owner_that_a_permit_names_is_told() {
    let told = intent(&eip_2612());
    assert_eq!(told.moves[0].from.as_ref().unwrap().as_str(), "0x1111111111111111111111111111111111111111");
    assert_eq!(intent(&every_permit()[1].0).moves[0].from, None);
    assert_eq!(
        summary::render(&told),
        "sign: allowance on Ethereum (eip155:1)\n\
         allow: 5 base units of token 0x3333333333333333333333333333333333333333\n  \
         from: 0x1111111111111111111111111111111111111111\n  to: 0x2222222222222222222222222222222222222222\n\
         domain name: Some Token\ndomain version: 1\ndomain contract: 0x3333333333333333333333333333333333333333\n\
         permit's nonce: 0\nsignature valid until: 2030-01-01 00:00:00 UTC (1893456000)\n"
    );
}

#[test]
fn a_permit_of_dai_allows_all_or_nothing() {
    let all = intent(&dai());
    assert_eq!((all.kind, all.opaque, all.moves[0].amount), (Kind::Allowance, false, Amount::MAX));
    assert_eq!(all.warnings, [Warning::UnlimitedAllowance]);
    let mut nothing = dai();
    nothing["message"]["allowed"] = json!(false);
    assert_eq!(intent(&nothing).moves[0].amount, Amount::ZERO);
    let mut forever = dai();
    forever["message"]["expiry"] = json!(0);
    assert_eq!(intent(&forever).warnings, [Warning::UnlimitedAllowance, Warning::NoExpiry]);
}

#[test]
fn an_authorization_of_erc_3009_is_a_transfer() {
    for primary in ["TransferWithAuthorization", "ReceiveWithAuthorization"] {
        let told = intent(&erc_3009(primary));
        assert_eq!((told.kind, told.opaque, told.warnings.len()), (Kind::Transfer, false, 0));
        let usdc = "erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48".to_owned();
        assert_eq!(told.moves.iter().map(allowed).collect::<Vec<_>>(), [(SPENDER, usdc, Amount::from(5))]);
        assert_eq!(
            told.moves[0].from.as_ref().unwrap().as_str(),
            "0x1111111111111111111111111111111111111111"
        );
        assert!(every_change_counts(&erc_3009(primary)) > 5);
        let by = if primary.starts_with('T') { "anybody" } else { "the recipient alone" };
        assert!(told.details.iter().any(|line| line.text == by), "{primary}");
        let mut forever = erc_3009(primary);
        forever["message"]["validBefore"] = json!(Amount::MAX.to_string());
        assert_eq!(intent(&forever).warnings, [Warning::NoExpiry]);
        let mut elsewhere = erc_3009(primary);
        elsewhere["types"]["EIP712Domain"] =
            members(&["string name", "uint256 chainId", "address verifyingContract"]);
        elsewhere["domain"].as_object_mut().unwrap().remove("version");
        let told = intent(&elsewhere);
        assert_eq!((told.kind, told.opaque, told.moves.len()), (Kind::Transfer, true, 1));
    }
}

#[test]
fn allowances_without_limit_or_end_have_their_warnings() {
    let max_160: Amount = (Amount::ONE << 160) - Amount::ONE;
    let max_160 = max_160.to_string();
    let mut single = every_permit().remove(1).0;
    single["message"]["details"]["amount"] = json!(max_160);
    single["message"]["details"]["expiration"] = json!((1_u64 << 48) - 1);
    assert_eq!(intent(&single).warnings, [Warning::UnlimitedAllowance, Warning::NoExpiry]);
    let mut permit = eip_2612();
    permit["message"]["deadline"] = json!(Amount::MAX.to_string());
    assert_eq!(intent(&permit).warnings, [Warning::NoExpiry]);
}

/// The constants of the contracts: UniswapV2ERC20.sol, dai.sol; ERC-3009, "Event"; and of Permit2 the text of PermitHash.sol.
#[test]
fn the_types_of_permits_are_those_that_the_contracts_hash() {
    for (encoding, hash) in [
        (known::PERMIT, "0x6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9"),
        (known::PERMIT_DAI, "0xea2aa0a1be11a07ed86d755c93467f4f82362b452371d1ba94d1715123511acb"),
        (
            known::TRANSFER_WITH_AUTHORIZATION,
            "0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267",
        ),
        (
            known::RECEIVE_WITH_AUTHORIZATION,
            "0xd099cc98ef71107a616c4f0f941f04c322d8e254fe26b3c6668db87aae413de8",
        ),
    ] {
        assert_eq!(hex(&keccak256(encoding.as_bytes())), hash);
    }
    assert_eq!(
        known::PERMIT_BATCH_TRANSFER_FROM,
        "PermitBatchTransferFrom(TokenPermissions[] permitted,address spender,uint256 nonce,uint256 deadline)TokenPermissions(address token,uint256 amount)"
    );
    assert_eq!(
        known::PERMIT_SINGLE,
        "PermitSingle(PermitDetails details,address spender,uint256 sigDeadline)PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)"
    );
}

/// Uniswap/permit2-sdk, src/allowanceTransfer.test.ts and src/signatureTransfer.test.ts: all zero, for a contract at 0.
#[test]
fn permit2_sdk_test_cases_have_their_digest_and_at_another_contract_are_no_permits() {
    let zero = "0x0000000000000000000000000000000000000000";
    let details = json!({ "token": zero, "amount": 0, "expiration": 0, "nonce": 0 });
    let allowance = |what: &Any| json!({ "details": what, "spender": zero, "sigDeadline": 0 });
    let one = json!({ "token": zero, "amount": 0 });
    let signature = |what: &Any| json!({ "permitted": what, "spender": zero, "nonce": 0, "deadline": 0 });
    let witness = |what: &Any| {
        let mut message = signature(what);
        message["witness"] = json!({ "mock": format!("0x{}", "00".repeat(32)) });
        message
    };
    for (primary, message, expected) in [
        (
            "PermitSingle",
            allowance(&details),
            "0xd47437bffdbc4d123a2165feb6ca646b8700c038622ce304f84e9048bc744f36",
        ),
        (
            "PermitBatch",
            allowance(&json!([details])),
            "0x49642ada5f77eb9458f8265eb01fed2684c2f25d50534fea3efdf2cf395deb2f",
        ),
        (
            "PermitTransferFrom",
            signature(&one),
            "0xb9bf9813799d7f0de28d2142b0bc80ec289d4a6a5b9f41834149df4188804dc5",
        ),
        (
            "PermitWitnessTransferFrom",
            witness(&one),
            "0x4236a4a7b3e8e65dbb4cc758ef10dc4887e2959853fb615140d0f5e0ae7be7c9",
        ),
        (
            "PermitBatchTransferFrom",
            signature(&json!([one])),
            "0x5ba40c5ba725fec181e4a862c717adf91682b012ad01ea99a978189106d66923",
        ),
        (
            "PermitBatchWitnessTransferFrom",
            witness(&json!([one])),
            "0xb45d605b0a4d4f16930a4f48294d94c78f34411278fd3133626cc190273e3ccf",
        ),
    ] {
        let mut document = permit2(primary, &message);
        document["domain"]["verifyingContract"] = json!(zero);
        assert_eq!(digest(&document), expected, "{primary}");
        let intent = intent(&document);
        assert_eq!((intent.kind, intent.opaque, intent.moves.len()), (Kind::TypedData, true, 0), "{primary}");
    }
}

#[test]
fn i15_what_only_looks_like_a_permit_is_opaque() {
    let looks = |what: &str, document: &Any| {
        let intent = intent(document);
        assert_eq!((intent.kind, intent.opaque, intent.moves.len()), (Kind::TypedData, true, 0), "{what}");
    };
    let mut renamed = eip_2612();
    renamed["types"]["Permit"][2] = json!({ "name": "amount", "type": "uint256" });
    let value = renamed["message"].as_object_mut().unwrap().remove("value").unwrap();
    renamed["message"]["amount"] = value;
    looks("another name", &renamed);
    let mut narrower = eip_2612();
    narrower["types"]["Permit"][2] = json!({ "name": "value", "type": "uint128" });
    looks("another type", &narrower);
    for mut no_version in [eip_2612(), dai()] {
        no_version["types"]["EIP712Domain"] =
            members(&["string name", "uint256 chainId", "address verifyingContract"]);
        no_version["domain"].as_object_mut().unwrap().remove("version");
        // Some tokens have such a domain: it is told as what it is there, and as opaque.
        let told = intent(&no_version);
        assert_eq!((told.kind, told.opaque, told.moves.len()), (Kind::Allowance, true, 1));
    }
    for (document, _) in every_permit().drain(1..) {
        let mut named = document.clone();
        named["domain"]["name"] = json!("Permit3");
        looks("another name of Permit2", &named);
        let mut version = document.clone();
        version["types"]["EIP712Domain"] = domain_type();
        version["domain"]["version"] = json!("1");
        looks("another domain of Permit2", &version);
        let mut elsewhere = document;
        elsewhere["domain"]["verifyingContract"] =
            json!("0x000000000022D473030F116dDEE9F6B43aC78BA4".to_lowercase());
        looks("another contract", &elsewhere);
    }
}

#[test]
fn i15_permits_of_nothing_and_witnesses_of_several_words_are_opaque() {
    let empty = permit2("PermitBatchTransferFrom", &signature(&json!([])));
    assert_eq!(intent(&empty).kind, Kind::TypedData);
    let mut two = permit2("PermitWitnessTransferFrom", &with_witness(&permissions(5)));
    two["types"]["PermitWitnessTransferFrom"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "more", "type": "bool" }));
    two["message"]["more"] = json!(true);
    assert_eq!(intent(&two).kind, Kind::TypedData);
    let mut swapped = permit2("PermitWitnessTransferFrom", &with_witness(&permissions(5)));
    swapped["types"]["TokenPermissions"] = members(&["address token", "uint160 amount"]);
    assert_eq!(intent(&swapped).kind, Kind::TypedData);
}

#[test]
fn a_witness_is_shown_in_full() {
    let told = intent(&permit2("PermitWitnessTransferFrom", &with_witness(&permissions(5))));
    assert!(matches!(&told.moves[0].asset, Asset::Erc20(_)));
    assert_eq!(told.warnings, [Warning::Opaque]);
    assert_eq!(told.details.last().unwrap().text, "witness.mock: 9");
}

#[test]
fn an_allowance_until_second_0_ends_with_its_block_and_is_not_told_as_long_expired() {
    let mut one = details(5);
    one["expiration"] = json!(0);
    let message = json!({ "details": one, "spender": SPENDER, "sigDeadline": 1_893_456_000 });
    let told = intent(&permit2("PermitSingle", &message));
    let until = told.details.iter().find(|line| line.label == "allowed until").unwrap();
    assert_eq!(until.text, "the end of the block in which it is brought to the contract (0)");
    one["expiration"] = json!(1);
    let message = json!({ "details": one, "spender": SPENDER, "sigDeadline": 1_893_456_000 });
    let told = intent(&permit2("PermitSingle", &message));
    let until = told.details.iter().find(|line| line.label == "allowed until").unwrap();
    assert_eq!(until.text, "1970-01-01 00:00:01 UTC (1)");
}
