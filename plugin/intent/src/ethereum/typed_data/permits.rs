//! Permits: typed data that moves tokens, or lets somebody take them. Recognised by the exact types and the exact domain that
//! the contracts compute with, for these decide what a signature is worth; names of documents or origins decide nothing.
//!
//! | permit | source |
//! | --- | --- |
//! | `TransferWithAuthorization`, `ReceiveWithAuthorization` of a token: a transfer | ERC-3009 |
//! | `Permit` of a token | EIP-2612 |
//! | `Permit` of DAI, which allows all or nothing | EIP-2612, "Backwards Compatibility"; makerdao/dss `dai.sol` |
//! | `PermitSingle`, `PermitBatch` | Uniswap/permit2 `PermitHash.sol`, `AllowanceTransfer.sol` |
//! | `PermitTransferFrom`, `PermitBatchTransferFrom` | the same, `SignatureTransfer.sol` |
//! | `PermitWitnessTransferFrom`, `PermitBatchWitnessTransferFrom` | the same; the witness is for another contract: opaque |

use super::super::calldata::Decoded;
use super::super::{UNLIMITED, deadline, hex};
use super::types::Types;
use super::values::Value;
use super::{Domain, address};
use crate::model::{Amount, Asset, Detail, Kind, Move, Warning};

const TOKEN_DOMAIN: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
pub(super) const PERMIT: &str =
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";
pub(super) const PERMIT_DAI: &str =
    "Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)";

pub(super) const TRANSFER_WITH_AUTHORIZATION: &str = "TransferWithAuthorization(address from,address to,uint256 value,\
    uint256 validAfter,uint256 validBefore,bytes32 nonce)";
/// The same, but only the recipient may bring it to the contract.
pub(super) const RECEIVE_WITH_AUTHORIZATION: &str = "ReceiveWithAuthorization(address from,address to,uint256 value,\
    uint256 validAfter,uint256 validBefore,bytes32 nonce)";

/// Where Permit2 lies on almost every chain, 0x000000000022D473030F116dDEE9F6B43aC78BA3 (Uniswap/permit2, README).
const PERMIT2: [u8; 20] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x22, 0xd4, 0x73, 0x03, 0x0f, 0x11, 0x6d, 0xde, 0xe9, 0xf6, 0xb4, 0x3a,
    0xc7, 0x8b, 0xa3,
];
const PERMIT2_DOMAIN: &str = "EIP712Domain(string name,uint256 chainId,address verifyingContract)";
pub(super) const PERMIT_SINGLE: &str = "PermitSingle(PermitDetails details,address spender,uint256 sigDeadline)\
    PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)";
const PERMIT_BATCH: &str = "PermitBatch(PermitDetails[] details,address spender,uint256 sigDeadline)\
    PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)";
const PERMIT_TRANSFER_FROM: &str = "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)\
    TokenPermissions(address token,uint256 amount)";
pub(super) const PERMIT_BATCH_TRANSFER_FROM: &str = "PermitBatchTransferFrom(TokenPermissions[] permitted,\
    address spender,uint256 nonce,uint256 deadline)TokenPermissions(address token,uint256 amount)";
/// What follows these is up to whoever asks for the signature.
const PERMIT_WITNESS: &str =
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";
const PERMIT_BATCH_WITNESS: &str = "PermitBatchWitnessTransferFrom(TokenPermissions[] permitted,\
    address spender,uint256 nonce,uint256 deadline,";
const TOKEN_PERMISSIONS: &str = "TokenPermissions(address token,uint256 amount)";

/// Reads a message whose type is encoded so; `None` if it is no permit that is known.
pub(super) fn read(types: &Types, encoding: &str, message: &Value, domain: &Domain) -> Option<Decoded> {
    let Value::Struct(_, members) = message else { return None };
    match encoding {
        PERMIT => Some(domain.known(of_token(members, domain.contract?)?)),
        PERMIT_DAI => Some(domain.known(of_dai(members, domain.contract?)?)),
        TRANSFER_WITH_AUTHORIZATION => {
            Some(domain.known(authorization(members, &domain.contract?, "anybody")?))
        }
        RECEIVE_WITH_AUTHORIZATION => {
            Some(domain.known(authorization(members, &domain.contract?, "the recipient alone")?))
        }
        _ if domain.is_permit2() => match encoding {
            PERMIT_SINGLE | PERMIT_BATCH => allowance_transfer(members),
            PERMIT_TRANSFER_FROM | PERMIT_BATCH_TRANSFER_FROM => signature_transfer(types, members),
            _ if encoding.starts_with(PERMIT_WITNESS) || encoding.starts_with(PERMIT_BATCH_WITNESS) => {
                // The contract hashes one word for the witness, so there is exactly one member more than
                // the four that are read here.
                let (_witness, known) = members.split_last()?;
                Some(Decoded { opaque: true, ..signature_transfer(types, known)? })
            }
            _ => None,
        },
        _ => None,
    }
}

impl Domain {
    /// A permit that has the form of a token's: under another domain than most tokens have it is told as what it looks like,
    /// and nobody here knows that contract.
    fn known(&self, told: Decoded) -> Decoded {
        Decoded { opaque: told.opaque || self.encoding != TOKEN_DOMAIN, ..told }
    }

    fn is_permit2(&self) -> bool {
        self.encoding == PERMIT2_DOMAIN
            && self.name.as_deref() == Some("Permit2")
            && self.contract == Some(PERMIT2)
    }
}

/// Adds what is allowed and the warnings that go with it.
struct Permit {
    told: Decoded,
}

impl Permit {
    fn new() -> Self {
        Self { told: Decoded::of(Kind::Allowance, Vec::new()) }
    }

    fn allow(&mut self, owner: Option<&[u8; 20]>, spender: &[u8; 20], token: &[u8; 20], amount: Amount) {
        let asset = Asset::Erc20(address(token));
        let allowed = Move { from: owner.map(address), to: address(spender), asset, amount, own: false };
        self.told.moves.push(allowed);
        if amount >= UNLIMITED {
            self.told.warnings.push(Warning::UnlimitedAllowance);
        }
    }

    fn until(&mut self, label: &'static str, secs: Amount) {
        self.told.details.push(Detail { label, text: deadline::text(secs) });
        if deadline::is_never(secs) {
            self.told.warnings.push(Warning::NoExpiry);
        }
    }

    fn nonce(&mut self, nonce: Amount) {
        self.told.details.push(Detail { label: "permit's nonce", text: nonce.to_string() });
    }
}

/// The allowance itself has no end: what ends is the time in which the permit can be brought to the contract.
const SIGNATURE_UNTIL: &str = "signature valid until";

fn of_token(members: &[Value], token: [u8; 20]) -> Option<Decoded> {
    let [
        Value::Address(owner),
        Value::Address(spender),
        Value::Uint(amount),
        Value::Uint(nonce),
        Value::Uint(until),
    ] = members
    else {
        return None;
    };
    let mut permit = Permit::new();
    permit.allow(Some(owner), spender, &token, *amount);
    permit.nonce(*nonce);
    permit.until(SIGNATURE_UNTIL, *until);
    Some(permit.told)
}

/// "require(expiry == 0 || now <= expiry)": 0 is never.
fn of_dai(members: &[Value], token: [u8; 20]) -> Option<Decoded> {
    let [
        Value::Address(holder),
        Value::Address(spender),
        Value::Uint(nonce),
        Value::Uint(expiry),
        Value::Bool(allowed),
    ] = members
    else {
        return None;
    };
    let mut permit = Permit::new();
    permit.allow(Some(holder), spender, &token, if *allowed { Amount::MAX } else { Amount::ZERO });
    permit.nonce(*nonce);
    if expiry.is_zero() {
        permit.told.details.push(Detail { label: SIGNATURE_UNTIL, text: "never (0)".to_owned() });
        permit.told.warnings.push(Warning::NoExpiry);
    } else {
        permit.until(SIGNATURE_UNTIL, *expiry);
    }
    Some(permit.told)
}

/// ERC-3009: a transfer that waits to be brought to the contract.
fn authorization(members: &[Value], token: &[u8; 20], by: &str) -> Option<Decoded> {
    let [
        Value::Address(from),
        Value::Address(to),
        Value::Uint(amount),
        Value::Uint(after),
        Value::Uint(before),
        Value::FixedBytes(nonce),
    ] = members
    else {
        return None;
    };
    let asset = Asset::Erc20(address(token));
    let sent = Move { from: Some(address(from)), to: address(to), asset, amount: *amount, own: false };
    let mut permit = Permit { told: Decoded::of(Kind::Transfer, vec![sent]) };
    permit.told.details.push(Detail { label: "may be brought to the token by", text: by.to_owned() });
    permit.told.details.push(Detail { label: "permit's nonce", text: hex(nonce) });
    permit.told.details.push(Detail { label: "signature valid from", text: deadline::text(*after) });
    permit.until(SIGNATURE_UNTIL, *before);
    Some(permit.told)
}

/// One or several of a struct; none is no permit.
fn one_or_several(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Struct(..) => Some(core::slice::from_ref(value)),
        Value::List(items) if !items.is_empty() => Some(items),
        _ => None,
    }
}

/// Permit2's standing allowances. Whose tokens they are follows from the signature.
fn allowance_transfer(members: &[Value]) -> Option<Decoded> {
    let [details, Value::Address(spender), Value::Uint(until)] = members else { return None };
    let mut permit = Permit::new();
    for one in one_or_several(details)? {
        let Value::Struct(_, fields) = one else { return None };
        let [Value::Address(token), Value::Uint(amount), Value::Uint(expiration), Value::Uint(nonce)] =
            &fields[..]
        else {
            return None;
        };
        permit.allow(None, spender, token, *amount);
        if expiration.is_zero() {
            // Permit2 writes the time of the block for it (Allowance.sol, BLOCK_TIMESTAMP_EXPIRATION).
            let text = "the end of the block in which it is brought to the contract (0)".to_owned();
            permit.told.details.push(Detail { label: "allowed until", text });
        } else {
            permit.until("allowed until", *expiration);
        }
        permit.nonce(*nonce);
    }
    permit.until(SIGNATURE_UNTIL, *until);
    Some(permit.told)
}

/// Permit2's single transfers: the spender says to whom.
fn signature_transfer(types: &Types, members: &[Value]) -> Option<Decoded> {
    let [permitted, Value::Address(spender), Value::Uint(nonce), Value::Uint(until)] = members else {
        return None;
    };
    let mut permit = Permit::new();
    for one in one_or_several(permitted)? {
        let Value::Struct(at, fields) = one else { return None };
        let [Value::Address(token), Value::Uint(amount)] = &fields[..] else { return None };
        if types.get(*at)?.encoding != TOKEN_PERMISSIONS {
            return None;
        }
        permit.allow(None, spender, token, *amount);
    }
    permit.nonce(*nonce);
    permit.until(SIGNATURE_UNTIL, *until);
    Some(permit.told)
}
