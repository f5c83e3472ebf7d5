//! Ethereum transactions, and an independent reading (`alloy`) of what was signed.

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, address};
use countersign_wire::client::{Payload, Signed};

/// Whom the tests pay.
pub const RECIPIENT: Address = address!("d8dA6BF26964aF9D7eEd9e03E53415D37aA96045");

/// A plain EIP-1559 transfer; `nonce` tells one from another.
pub fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 30_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(RECIPIENT),
        value: U256::from(1_000_000_000_000_000_000u64),
        ..TxEip1559::default()
    }
}

/// A plain EIP-1559 transfer of so many wei.
pub fn transfer_of(wei: u128) -> TxEip1559 {
    TxEip1559 { value: U256::from(wei), ..transfer(0) }
}

/// A plain legacy transfer with (EIP-155) or without a chain id.
pub fn legacy_transfer(chain_id: Option<u64>) -> TxLegacy {
    TxLegacy {
        chain_id,
        nonce: 9,
        gas_price: 20_000_000_000,
        gas_limit: 21_000,
        to: TxKind::Call(RECIPIENT),
        value: U256::from(1_000_000_000_000_000_000u64),
        input: Bytes::new(),
    }
}

/// A plain transfer with an access list that is empty (EIP-2930).
pub fn access_list_transfer() -> TxEip2930 {
    TxEip2930 { chain_id: 1, gas_limit: 21_000, to: TxKind::Call(RECIPIENT), ..TxEip2930::default() }
}

/// The bytes whose Keccak-256 is signed.
pub fn unsigned<T: SignableTransaction<Signature>>(transaction: &T) -> Vec<u8> {
    transaction.encoded_for_signing()
}

/// The same as a payload.
pub fn payload<T: SignableTransaction<Signature>>(transaction: &T) -> Payload {
    Payload::Ethereum(unsigned(transaction).into())
}

/// Fails unless `raw` is `transaction`, signed by `signer`, and `hash` its hash.
#[track_caller]
pub fn assert_broadcastable<T>(raw: &[u8], hash: &[u8], transaction: &T, signer: Address)
where
    T: SignableTransaction<Signature>,
{
    let envelope = TxEnvelope::decode_2718_exact(raw).expect("alloy reads the raw transaction");
    assert_eq!(envelope.signature_hash(), transaction.signature_hash(), "what was signed is what was sent");
    assert_eq!(envelope.recover_signer().expect("a valid low-S signature"), signer);
    assert_eq!(envelope.hash().as_slice(), hash);
}

/// The same for a signature with its transaction, as the HSM answers natively.
#[track_caller]
pub fn assert_signed_transaction<T>(answer: &Signed, transaction: &T, signer: Address)
where
    T: SignableTransaction<Signature>,
{
    let raw = answer.raw_transaction.as_ref().expect("a transaction's signature comes with the transaction");
    let hash = answer.transaction_hash.as_ref().expect("and with its hash");
    assert_broadcastable(raw, &hash[..], transaction, signer);
    assert_eq!(answer.digest[..], transaction.signature_hash()[..]);
    assert_eq!(recover(&answer.signature[..], answer.y_parity == 1, transaction), signer);
}

/// Who signed `transaction`, from r‖s and the parity of R.
#[track_caller]
pub fn recover<T: SignableTransaction<Signature>>(
    signature: &[u8],
    y_parity: bool,
    transaction: &T,
) -> Address {
    let signature = Signature::from_bytes_and_parity(signature, y_parity);
    signature.recover_address_from_prehash(&transaction.signature_hash()).expect("the signature recovers")
}

/// Whether r‖s over `transaction` is of `signer`, whatever the parity: for PKCS#11, which does not tell it.
#[track_caller]
pub fn is_signer<T>(signature: &[u8], transaction: &T, signer: Address) -> bool
where
    T: SignableTransaction<Signature>,
{
    [false, true].into_iter().any(|parity| recover(signature, parity, transaction) == signer)
}
