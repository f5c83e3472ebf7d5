//! The calls of token contracts that are understood: ERC-20 with permits (EIP-2612), ERC-721, ERC-1155.
//!
//! A call is understood if its selector is one of these and its parameters are in canonical form (`abi`). Everything else is
//! opaque: what a contract does with it cannot be seen from here. Nor can be seen that a contract keeps to a standard: the
//! asset names the contract, and a policy that names the contract says that it does.
//!
//! ERC-20 and ERC-721 share two selectors, `transferFrom(address,address,uint256)` and `approve(address,uint256)`: the number
//! is an amount of the one and the name of a single token of the other, and only the contract knows which. Both are told as
//! ERC-20, with [`Warning::EitherReading`] and the other reading in words. So there is one move for one asset: a policy that
//! names the contract decides knowing which it is; one that names no contract can see the warning. Two moves would book twice
//! against limits and make the common case, ERC-20, need a permission for collections. (`transfer` is ERC-20's alone: ERC-721
//! as it became final has none.)
//!
//! An allowance by `approve` or `setApprovalForAll` has no end in its nature; [`Warning::NoExpiry`] is for those that could
//! have named one.

use super::abi::Parameters;
use super::{UNLIMITED, address, deadline, fingerprint, hex};
use crate::model::{Address, Amount, Asset, Detail, Kind, Move, Warning};

/// How many tokens one batch may move. ERC-1155 sets no limit; somebody has to read them all.
const BATCH_MAX: usize = 32;

/// What a call does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) kind: Kind,
    pub(super) moves: Vec<Move>,
    /// Not all of it is understood.
    pub(super) opaque: bool,
    pub(super) warnings: Vec<Warning>,
    pub(super) details: Vec<Detail>,
}

impl Decoded {
    pub(super) fn of(kind: Kind, moves: Vec<Move>) -> Self {
        Self { kind, moves, opaque: false, warnings: Vec::new(), details: Vec::new() }
    }
}

/// The functions that are understood. A selector is the first four bytes of the Keccak-256 of the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Transfer,
    TransferFrom,
    Approve,
    Permit,
    SafeTransferFrom721,
    SafeTransferFromData721,
    SafeTransferFrom1155,
    SafeBatchTransferFrom,
    SetApprovalForAll,
}

impl Function {
    /// Every function with its selector, its signature, and the number of its parameters.
    pub(super) const ALL: &[(Function, [u8; 4], &str, usize)] = &[
        (Function::Transfer, [0xa9, 0x05, 0x9c, 0xbb], "transfer(address,uint256)", 2),
        (Function::TransferFrom, [0x23, 0xb8, 0x72, 0xdd], "transferFrom(address,address,uint256)", 3),
        (Function::Approve, [0x09, 0x5e, 0xa7, 0xb3], "approve(address,uint256)", 2),
        (
            Function::Permit,
            [0xd5, 0x05, 0xac, 0xcf],
            "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
            7,
        ),
        (
            Function::SafeTransferFrom721,
            [0x42, 0x84, 0x2e, 0x0e],
            "safeTransferFrom(address,address,uint256)",
            3,
        ),
        (
            Function::SafeTransferFromData721,
            [0xb8, 0x8d, 0x4f, 0xde],
            "safeTransferFrom(address,address,uint256,bytes)",
            4,
        ),
        (
            Function::SafeTransferFrom1155,
            [0xf2, 0x42, 0x43, 0x2a],
            "safeTransferFrom(address,address,uint256,uint256,bytes)",
            5,
        ),
        (
            Function::SafeBatchTransferFrom,
            [0x2e, 0xb2, 0xc2, 0xd6],
            "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)",
            5,
        ),
        (Function::SetApprovalForAll, [0xa2, 0x2c, 0xb4, 0x65], "setApprovalForAll(address,bool)", 2),
    ];
}

/// Reads a call of a contract; `None` if it is not understood.
pub(super) fn read(contract: &[u8; 20], data: &[u8]) -> Option<Decoded> {
    let (selector, arguments) = data.split_first_chunk::<4>()?;
    let (function, _, _, count) = Function::ALL.iter().find(|(_, known, ..)| known == selector)?;
    let mut parameters = Parameters::of(arguments, *count)?;
    let contract = address(contract);
    let read = match function {
        Function::Transfer => transfer(contract, &mut parameters),
        Function::TransferFrom => transfer_from(&contract, &mut parameters),
        Function::Approve => approve(&contract, &mut parameters),
        Function::Permit => permit(contract, &mut parameters),
        Function::SafeTransferFrom721 => one_of_a_collection(contract, &mut parameters, false),
        Function::SafeTransferFromData721 => one_of_a_collection(contract, &mut parameters, true),
        Function::SafeTransferFrom1155 => some_of_a_token(contract, &mut parameters),
        Function::SafeBatchTransferFrom => batch(&contract, &mut parameters),
        Function::SetApprovalForAll => whole_collection(contract, &mut parameters),
    }?;
    parameters.end()?;
    Some(read)
}

fn moved(from: Option<Address>, to: [u8; 20], asset: Asset, amount: Amount) -> Move {
    Move { from, to: address(&to), asset, amount, own: false }
}

/// ERC-20 `transfer(address _to, uint256 _value)`.
fn transfer(contract: Address, parameters: &mut Parameters<'_>) -> Option<Decoded> {
    let (to, amount) = (parameters.address()?, parameters.uint()?);
    Some(Decoded::of(Kind::Transfer, vec![moved(None, to, Asset::Erc20(contract), amount)]))
}

/// The other reading of a call that ERC-20 and ERC-721 share.
fn either(mut read: Decoded, contract: &Address, number: Amount) -> Decoded {
    read.warnings.push(Warning::EitherReading);
    let text = format!("if {contract} is a collection (ERC-721), its one token number {number}");
    read.details.push(Detail { label: "or", text });
    read
}

/// ERC-20 `transferFrom(address _from, address _to, uint256 _value)`, or that of ERC-721.
fn transfer_from(contract: &Address, parameters: &mut Parameters<'_>) -> Option<Decoded> {
    let (from, to, amount) = (parameters.address()?, parameters.address()?, parameters.uint()?);
    let sent = moved(Some(address(&from)), to, Asset::Erc20(contract.clone()), amount);
    Some(either(Decoded::of(Kind::Transfer, vec![sent]), contract, amount))
}

/// ERC-20 `approve(address _spender, uint256 _value)`, or that of ERC-721.
fn approve(contract: &Address, parameters: &mut Parameters<'_>) -> Option<Decoded> {
    let (spender, amount) = (parameters.address()?, parameters.uint()?);
    let allowed = moved(None, spender, Asset::Erc20(contract.clone()), amount);
    let mut read = Decoded::of(Kind::Allowance, vec![allowed]);
    if amount >= UNLIMITED {
        read.warnings.push(Warning::UnlimitedAllowance);
    }
    Some(either(read, contract, amount))
}

/// EIP-2612 `permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)`: brings
/// somebody's signed permit to the contract.
fn permit(contract: Address, parameters: &mut Parameters<'_>) -> Option<Decoded> {
    let (owner, spender, amount) = (parameters.address()?, parameters.address()?, parameters.uint()?);
    let until = parameters.uint()?;
    let (v, r, s) = (parameters.uint8()?, parameters.word()?, parameters.word()?);
    let allowed = moved(Some(address(&owner)), spender, Asset::Erc20(contract), amount);
    let mut read = Decoded::of(Kind::Allowance, vec![allowed]);
    if amount >= UNLIMITED {
        read.warnings.push(Warning::UnlimitedAllowance);
    }
    if deadline::is_never(until) {
        read.warnings.push(Warning::NoExpiry);
    }
    read.details.push(Detail { label: "signature valid until", text: deadline::text(until) });
    read.details.push(Detail { label: "permit's signature", text: hex(&[&r[..], &s[..], &[v]].concat()) });
    Some(read)
}

/// ERC-721 `safeTransferFrom(address _from, address _to, uint256 _tokenId[, bytes data])`.
fn one_of_a_collection(
    contract: Address,
    parameters: &mut Parameters<'_>,
    with_data: bool,
) -> Option<Decoded> {
    let (from, to, number) = (parameters.address()?, parameters.address()?, parameters.uint()?);
    let sent = moved(Some(address(&from)), to, Asset::Erc721(contract, number), Amount::ONE);
    let read = Decoded::of(Kind::Transfer, vec![sent]);
    if with_data { Some(for_the_recipient(read, parameters.bytes()?)) } else { Some(read) }
}

/// ERC-1155 `safeTransferFrom(address _from, address _to, uint256 _id, uint256 _value, bytes _data)`.
fn some_of_a_token(contract: Address, parameters: &mut Parameters<'_>) -> Option<Decoded> {
    let (from, to) = (parameters.address()?, parameters.address()?);
    let (id, amount) = (parameters.uint()?, parameters.uint()?);
    let sent = moved(Some(address(&from)), to, Asset::Erc1155(contract, id), amount);
    Some(for_the_recipient(Decoded::of(Kind::Transfer, vec![sent]), parameters.bytes()?))
}

/// ERC-1155 `safeBatchTransferFrom(address _from, address _to, uint256[] _ids, uint256[] _values, bytes _data)`.
fn batch(contract: &Address, parameters: &mut Parameters<'_>) -> Option<Decoded> {
    let (from, to) = (parameters.address()?, parameters.address()?);
    let (ids, amounts) = (parameters.uints(BATCH_MAX)?, parameters.uints(BATCH_MAX)?);
    if ids.is_empty() || ids.len() != amounts.len() {
        return None;
    }
    let sent = |(id, amount): (&Amount, &Amount)| {
        moved(Some(address(&from)), to, Asset::Erc1155(contract.clone(), *id), *amount)
    };
    let moves = ids.iter().zip(&amounts).map(sent).collect();
    Some(for_the_recipient(Decoded::of(Kind::Transfer, moves), parameters.bytes()?))
}

/// ERC-721 and ERC-1155 `setApprovalForAll(address _operator, bool _approved)`.
fn whole_collection(contract: Address, parameters: &mut Parameters<'_>) -> Option<Decoded> {
    let (operator, approved) = (parameters.address()?, parameters.boolean()?);
    let amount = if approved { Amount::MAX } else { Amount::ZERO };
    let allowed = moved(None, operator, Asset::Collection(contract), amount);
    let mut read = Decoded::of(Kind::Allowance, vec![allowed]);
    if approved {
        read.warnings.extend([Warning::UnlimitedAllowance, Warning::WholeCollection]);
    }
    Some(read)
}

/// Data that a token's contract hands to the recipient: code there may act on it, so unless empty it is opaque.
fn for_the_recipient(mut read: Decoded, data: &[u8]) -> Decoded {
    read.opaque = !data.is_empty();
    let text = if data.is_empty() { "none".to_owned() } else { fingerprint(data) };
    read.details.push(Detail { label: "data", text });
    read
}

#[cfg(test)]
mod tests;
