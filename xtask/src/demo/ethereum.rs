//! The transaction, as a wallet library would make it; written here so that the plugin's own decoder and hash are
//! checked against something else than themselves.

use alloy_rlp::{Encodable, Header};
use anyhow::{Context, Result};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest, Keccak256};

/// Ethereum's test network Sepolia.
const SEPOLIA: u64 = 11_155_111;

/// The type byte of EIP-1559.
const EIP_1559: u8 = 2;

/// A transfer as an EIP-1559 transaction.
pub(super) struct Transfer {
    pub(super) nonce: u64,
    pub(super) to: [u8; 20],
    pub(super) value_wei: u128,
}

impl Transfer {
    /// What is signed: `0x02 ‖ rlp([chain_id, nonce, max_priority_fee_per_gas, max_fee_per_gas, gas_limit,
    /// destination, amount, data, access_list])`.
    pub(super) fn unsigned(&self) -> Vec<u8> {
        self.encode(&[])
    }

    /// What is broadcast: the same list with y parity, r and s at its end.
    pub(super) fn signed(&self, signed: &Recovered) -> Vec<u8> {
        let (r, s) = signed.signature.split_at(32);
        let mut tail = Vec::new();
        u64::from(signed.y_parity).encode(&mut tail);
        without_leading_zeros(r).encode(&mut tail);
        without_leading_zeros(s).encode(&mut tail);
        self.encode(&tail)
    }

    fn encode(&self, tail: &[u8]) -> Vec<u8> {
        let gwei = 1_000_000_000_u64;
        let mut fields = Vec::new();
        for field in [SEPOLIA, self.nonce, gwei, 30 * gwei, 21_000] {
            field.encode(&mut fields);
        }
        self.to.encode(&mut fields);
        self.value_wei.encode(&mut fields);
        let no_data: &[u8] = &[];
        no_data.encode(&mut fields);
        let no_access = Header { list: true, payload_length: 0 };
        no_access.encode(&mut fields);
        fields.extend_from_slice(tail);
        let mut whole = vec![EIP_1559];
        Header { list: true, payload_length: fields.len() }.encode(&mut whole);
        whole.extend_from_slice(&fields);
        whole
    }
}

/// RLP integers have no leading zeros (Yellow Paper, appendix B).
fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// A signature with what recovery finds in it.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) signature: Vec<u8>,
    pub(super) y_parity: bool,
}

/// Finds the y parity with which a signature r‖s over an unsigned transaction belongs to `address`. `None`: it is
/// not its signature at all.
pub(super) fn recover(unsigned: &[u8], signature: &[u8], address: [u8; 20]) -> Option<Recovered> {
    let parsed = Signature::from_slice(signature).ok()?;
    let hash = keccak256(unsigned);
    [false, true].into_iter().find_map(|y_parity| {
        let id = RecoveryId::new(y_parity, false);
        let signer = VerifyingKey::recover_from_prehash(&hash, &parsed, id).ok()?;
        (address_of(&signer) == address).then(|| Recovered { signature: signature.to_vec(), y_parity })
    })
}

/// Whether s is in the lower half of the group order (EIP-2).
pub(super) fn is_low_s(signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|parsed| parsed.normalize_s() == parsed)
}

/// The last 20 bytes of the hash of the public key (Yellow Paper, appendix F).
fn address_of(key: &VerifyingKey) -> [u8; 20] {
    let hash = keccak256(&key.to_sec1_point(false).as_bytes()[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    address
}

pub(super) fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// Reads `0x` and 40 hex digits.
pub(super) fn parse_address(text: &str) -> Result<[u8; 20]> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.strip_prefix("0x").unwrap_or(text).as_bytes());
    bytes.ok().and_then(|bytes| bytes.try_into().ok()).with_context(|| format!("{text} is not an address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k256::ecdsa::SigningKey;

    fn transfer() -> Transfer {
        Transfer { nonce: 0, to: [0x11; 20], value_wei: 250_000_000_000_000_000 }
    }

    #[test]
    fn recovers_the_signer_and_nobody_else() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let unsigned = transfer().unsigned();
        let (signature, id) = key.sign_prehash_recoverable(&keccak256(&unsigned));
        let address = address_of(key.verifying_key());
        let found = recover(&unsigned, &signature.to_bytes(), address).unwrap();
        assert_eq!(found.y_parity, id.is_y_odd());
        assert!(is_low_s(&found.signature));
        assert!(recover(&unsigned, &signature.to_bytes(), [0x11; 20]).is_none());
        let other = Transfer { nonce: 1, ..transfer() }.unsigned();
        assert!(recover(&other, &signature.to_bytes(), address).is_none());
    }

    #[test]
    fn the_encoding_is_that_of_eip_1559() {
        let unsigned = transfer().unsigned();
        let expected = "02f383aa36a780843b9aca008506fc23ac00825208\
                        94111111111111111111111111111111111111111188\
                        03782dace9d9000080c0";
        assert_eq!(data_encoding::HEXLOWER.encode(&unsigned), expected);
    }

    #[test]
    fn the_address_is_that_of_the_well_known_first_key() {
        let mut one = [0; 32];
        one[31] = 1;
        let key = SigningKey::from_slice(&one).unwrap();
        let expected = parse_address("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf").unwrap();
        assert_eq!(address_of(key.verifying_key()), expected);
    }
}
