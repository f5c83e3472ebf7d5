//! RLP, field by field. `alloy-rlp` accepts only the shortest form of every header; here integers must have no leading
//! zeros, a list must span what holds it, and every field must have its type.

use crate::model::Amount;
use alloy_rlp::Header;
use countersign_wire::reason::Reason;

/// Reads the fields of one RLP list, one after the other.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// A list that spans the whole input.
    pub(super) fn of_list(mut bytes: &'a [u8]) -> Result<Self, Reason> {
        let rest = Header::decode_bytes(&mut bytes, true).map_err(|_| Reason::MalformedTransaction)?;
        if bytes.is_empty() { Ok(Self { rest }) } else { Err(Reason::MalformedTransaction) }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn end(&self) -> Result<(), Reason> {
        if self.is_empty() { Ok(()) } else { Err(Reason::MalformedTransaction) }
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Reason> {
        Header::decode_bytes(&mut self.rest, false).map_err(|_| Reason::MalformedTransaction)
    }

    pub(super) fn list(&mut self) -> Result<Self, Reason> {
        let rest = Header::decode_bytes(&mut self.rest, true).map_err(|_| Reason::MalformedTransaction)?;
        Ok(Self { rest })
    }

    /// A string of exactly so many bytes.
    pub(super) fn exactly<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        self.string()?.try_into().map_err(|_| Reason::MalformedTransaction)
    }

    /// A positive integer: big-endian without leading zeros, zero as the empty string (Yellow Paper appendix B).
    fn integer<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let bytes = self.string()?;
        if bytes.len() > N || bytes.first() == Some(&0) {
            return Err(Reason::MalformedTransaction);
        }
        let mut integer = [0; N];
        integer[N - bytes.len()..].copy_from_slice(bytes);
        Ok(integer)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Reason> {
        self.integer().map(u64::from_be_bytes)
    }

    /// EIP-2681: a nonce is below 2^64-1.
    pub(super) fn nonce(&mut self) -> Result<u64, Reason> {
        self.u64()
            .and_then(|nonce| if nonce == u64::MAX { Err(Reason::MalformedTransaction) } else { Ok(nonce) })
    }

    /// Gas prices fit 128 bits by far; a larger one is refused rather than computed with.
    pub(super) fn u128(&mut self) -> Result<u128, Reason> {
        self.integer().map(u128::from_be_bytes)
    }

    pub(super) fn u256(&mut self) -> Result<Amount, Reason> {
        self.integer().map(Amount::from_be_bytes::<32>)
    }

    /// 20 bytes; none of them where a contract is created.
    pub(super) fn recipient(&mut self) -> Result<Option<[u8; 20]>, Reason> {
        match self.string()? {
            [] => Ok(None),
            bytes => bytes.try_into().map(Some).map_err(|_| Reason::MalformedTransaction),
        }
    }
}
