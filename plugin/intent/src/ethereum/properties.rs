//! What must hold of everything that is read, whoever made it. Each function takes any bytes, panics when a property is
//! breached, and says whether the bytes were read; tests and fuzzers call them. Never part of an image.
//!
//! The other opinion is that of `alloy`, which shares no code with the readers (but the RLP headers).

use super::{Message, Transaction, TypedData, calldata, keccak256, transaction::Signed};
use crate::model::{Amount, Asset, Chain, Intent, Kind, Move, Warning};
use crate::summary;
use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_dyn_abi::eip712::TypedData as OtherTypedData;
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address as Bytes20, Bytes, U256};
use alloy_sol_types::sol_data::{Address, Array, Bool, Bytes as DynamicBytes, FixedBytes, Uint};
use alloy_sol_types::{Result as Decoding, SolType};

/// A transaction that is read means the same to `alloy`: the same digest and hash, the same fields, the same bytes again.
pub fn check_transaction(bytes: &[u8]) -> bool {
    let Ok(transaction) = Transaction::read(bytes) else { return false };
    assert_eq!(transaction.digest(), keccak256(bytes));
    let intent = transaction.intent();
    check_intent(&intent);
    // Leading zeros of r and s are not written.
    let mut signature = [0x11; 64];
    (signature[0], signature[32], signature[33]) = (0, 0, 0);
    for y_parity in [0, 1] {
        let signed = transaction.with_signature(&signature, y_parity).expect("0 and 1 are parities");
        check_signed(&signed, &transaction, &intent);
    }
    true
}

fn check_signed(signed: &Signed, transaction: &Transaction, intent: &Intent) {
    let other = TxEnvelope::decode_2718_exact(&signed.raw).expect("alloy reads what is released");
    assert_eq!(other.encoded_2718(), signed.raw);
    assert_eq!(other.signature_hash().0, transaction.digest());
    assert_eq!(other.hash().0, signed.hash);
    assert_eq!(intent.chain, other.chain_id().map(Chain::Ethereum));
    assert_eq!(intent.nonce, Some(other.nonce()));
    let blob_gas = U256::from(other.blob_gas_used().unwrap_or(0));
    let blob_fee = U256::from(other.max_fee_per_blob_gas().unwrap_or(0)) * blob_gas;
    let fee = U256::from(other.max_fee_per_gas()) * U256::from(other.gas_limit()) + blob_fee;
    assert_eq!(intent.fee_most, Some(fee));
    assert_eq!(intent.sum(&Asset::Native), fee.checked_add(other.value()), "every coin is counted, once");
    match other.to() {
        Some(to) if intent.moves.iter().any(|sent| sent.asset == Asset::Native) => {
            assert!(intent.moves.iter().any(|sent| sent.to.as_str() == to.to_string()));
        }
        Some(_) => assert!(other.value().is_zero() && !other.input().is_empty()),
        None => assert_eq!(intent.kind, Kind::Creation),
    }
    let is_set_code = other.authorization_list().is_some();
    assert_eq!(is_set_code, intent.kind == Kind::Delegation);
    if other.blob_versioned_hashes().is_some() {
        assert!(intent.opaque, "blobs are opaque");
    }
    if let (Some(to), false, false) = (other.to(), intent.opaque, other.input().is_empty()) {
        let call = calldata::read(&to.into_array(), other.input());
        assert!(
            call.is_some_and(|call| !call.opaque && intent.moves.starts_with(&call.moves)),
            "else it is opaque"
        );
        check_calldata(other.input());
    }
}

/// A call that is understood decodes to the same in `alloy`, and encoding it again gives the same bytes. And the other way:
/// what is canonical to `alloy` and within the bounds is understood.
pub fn check_calldata(data: &[u8]) -> bool {
    let read = calldata::read(&[0x35; 20], data);
    let Some((selector, arguments)) = data.split_first_chunk::<4>() else {
        assert_eq!(read, None);
        return false;
    };
    let signature =
        calldata::Function::ALL.iter().find(|(_, known, ..)| known == selector).map(|(_, _, text, _)| *text);
    let other = signature.and_then(|signature| other_reading(signature, arguments));
    assert_eq!(read.as_ref().map(|read| told(&read.moves)), other);
    if let Some(read) = &read {
        assert!(matches!(read.kind, Kind::Transfer | Kind::Allowance));
        assert_eq!(
            signature.is_some_and(|text| text.contains("pprov") || text.starts_with("permit")),
            read.kind == Kind::Allowance
        );
    }
    read.is_some()
}

/// From, to and amount of each move, as text.
type Told = Vec<(Option<String>, String, Amount)>;

fn told(moves: &[Move]) -> Told {
    let from = |sent: &Move| sent.from.as_ref().map(|from| from.as_str().to_owned());
    moves.iter().map(|sent| (from(sent), sent.to.as_str().to_owned(), sent.amount)).collect()
}

fn one(from: Option<Bytes20>, to: Bytes20, amount: U256) -> Told {
    vec![(from.map(|from| from.to_string()), to.to_string(), amount)]
}

/// Decodes with validation, and takes only what encodes to the same bytes again.
fn canonical<T>(arguments: &[u8]) -> Option<T::RustType>
where
    T: SolType,
    for<'a> T: SolType<Token<'a>: alloy_sol_types::abi::TokenSeq<'a>>,
{
    let decoded: Decoding<T::RustType> = T::abi_decode_params_validate(arguments);
    decoded.ok().filter(|values| T::abi_encode_params(values) == arguments)
}

type Ids = Array<Uint<256>>;

/// What a call does, read by `alloy`.
fn other_reading(signature: &str, arguments: &[u8]) -> Option<Told> {
    match signature {
        "transfer(address,uint256)" | "approve(address,uint256)" => {
            let (to, amount) = canonical::<(Address, Uint<256>)>(arguments)?;
            Some(one(None, to, amount))
        }
        "transferFrom(address,address,uint256)" => {
            let (from, to, amount) = canonical::<(Address, Address, Uint<256>)>(arguments)?;
            Some(one(Some(from), to, amount))
        }
        "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)" => {
            type Permit = (Address, Address, Uint<256>, Uint<256>, Uint<8>, FixedBytes<32>, FixedBytes<32>);
            let (owner, spender, amount, ..) = canonical::<Permit>(arguments)?;
            Some(one(Some(owner), spender, amount))
        }
        "safeTransferFrom(address,address,uint256)" => {
            let (from, to, _) = canonical::<(Address, Address, Uint<256>)>(arguments)?;
            Some(one(Some(from), to, U256::ONE))
        }
        "safeTransferFrom(address,address,uint256,bytes)" => {
            let (from, to, ..) = canonical::<(Address, Address, Uint<256>, DynamicBytes)>(arguments)?;
            Some(one(Some(from), to, U256::ONE))
        }
        "safeTransferFrom(address,address,uint256,uint256,bytes)" => {
            type Transfer = (Address, Address, Uint<256>, Uint<256>, DynamicBytes);
            let (from, to, _, amount, _): (_, _, _, _, Bytes) = canonical::<Transfer>(arguments)?;
            Some(one(Some(from), to, amount))
        }
        "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)" => {
            let (from, to, ids, amounts, _) =
                canonical::<(Address, Address, Ids, Ids, DynamicBytes)>(arguments)?;
            let within = !ids.is_empty() && ids.len() == amounts.len() && ids.len() <= 32;
            within.then(|| amounts.into_iter().flat_map(|amount| one(Some(from), to, amount)).collect())
        }
        "setApprovalForAll(address,bool)" => {
            let (operator, approved) = canonical::<(Address, Bool)>(arguments)?;
            Some(one(None, operator, if approved { U256::MAX } else { U256::ZERO }))
        }
        _ => panic!("{signature} is not known to the other reader"),
    }
}

/// Typed data that is read has the digest that `alloy` computes from the same JSON.
pub fn check_typed_data(bytes: &[u8]) -> bool {
    let Ok(read) = TypedData::read(bytes) else { return false };
    let intent = read.intent();
    check_intent(&intent);
    assert!(matches!(intent.kind, Kind::TypedData | Kind::Allowance | Kind::Transfer));
    assert_eq!(intent.kind == Kind::TypedData, intent.moves.is_empty());
    assert!(intent.kind != Kind::TypedData || intent.opaque, "what is not recognised is opaque");
    assert_eq!(intent.chain.is_none(), intent.warnings.contains(&Warning::AnyChain));
    let document: serde_json::Value = serde_json::from_slice(bytes).expect("it was read as JSON");
    let hash_struct = |primary: &serde_json::Value, message: &serde_json::Value| {
        // The domain goes through the message, too: `alloy` has an order of its own for it, and the document decides.
        let part = serde_json::json!({
            "types": document["types"], "primaryType": primary, "domain": {}, "message": message,
        });
        let other: OtherTypedData = serde_json::from_value(part).expect("alloy reads the document");
        other.hash_struct().expect("alloy encodes the document").0
    };
    let domain = hash_struct(&"EIP712Domain".into(), &document["domain"]);
    let message = hash_struct(&document["primaryType"], &document["message"]);
    assert_eq!(read.digest(), keccak256(&[&b"\x19\x01"[..], &domain, &message].concat()));
    true
}

/// A message that is read has the digest that `alloy` computes.
pub fn check_message(bytes: &[u8]) -> bool {
    let Ok(read) = Message::read(bytes) else { return false };
    check_intent(&read.intent());
    assert_eq!(read.digest(), alloy_primitives::eip191_hash_message(bytes).0);
    true
}

/// What every intent promises.
fn check_intent(intent: &Intent) {
    assert!(intent.warnings.is_sorted_by(|one, next| one < next), "ascending, without repeats");
    assert_eq!(intent.opaque, intent.warnings.contains(&Warning::Opaque), "opaque is said first");
    let text = summary::render(intent);
    assert!(text.ends_with('\n') && text.lines().all(|line| line.contains(": ")), "one fact a line: {text}");
    let moves = intent.moves.iter().map(|sent| 2 + usize::from(sent.from.is_some())).sum::<usize>();
    let fee = intent.fee_most.map_or(0, |_| 1 + usize::from(intent.sum(&Asset::Native).is_some()));
    let facts =
        intent.warnings.len() + 1 + moves + fee + usize::from(intent.nonce.is_some()) + intent.details.len();
    assert_eq!(text.lines().count(), facts, "nothing begins a line of its own: {text}");
}

#[cfg(test)]
mod tests;
