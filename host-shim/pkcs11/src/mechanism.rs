//! The token's mechanisms.

use countersign_wire::client::Mechanism;
use countersign_wire::client::{MESSAGE_MAX_BYTES, TYPED_DATA_MAX_BYTES};
use cryptoki_sys::{
    CK_FLAGS, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_ULONG, CKF_EC_F_P, CKF_EC_NAMEDCURVE,
    CKF_EC_UNCOMPRESS, CKF_GENERATE_KEY_PAIR, CKF_HW, CKF_SIGN, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA,
    CKM_VENDOR_DEFINED,
};

/// Signs one Ethereum transaction. The data is the unsigned transaction, the bytes whose Keccak-256 is signed; the
/// HSM decodes and hashes it itself. The signature is r‖s, as with `CKM_ECDSA`. No parameter.
pub const CKM_COUNTERSIGN_ETHEREUM: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4353_0001;

/// Signs EIP-712 typed data. The data is the JSON of `eth_signTypedData_v4` as UTF-8. The signature is r‖s. No parameter.
pub const CKM_COUNTERSIGN_TYPED_DATA: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4353_0002;

/// Signs an EIP-191 personal message. The data is the message alone: the HSM puts the prefix before it. The signature is
/// r‖s. No parameter.
pub const CKM_COUNTERSIGN_MESSAGE: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4353_0003;

/// Signs a Bitcoin transaction. The data is a PSBT in binary form; the signature is that PSBT with the signatures of all
/// inputs that the key spends. No parameter.
pub const CKM_COUNTERSIGN_PSBT: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4353_0004;

/// Bytes of a signature: r‖s.
pub const SIGNATURE_BYTES: usize = 64;

/// What signing adds to a PSBT at the most: a public key and a DER signature with their lengths and types, for each of the
/// inputs that one transaction may have.
pub const PSBT_ADDED_MAX_BYTES: usize = 108 * PSBT_INPUTS_MAX;

/// The most inputs of a PSBT.
pub const PSBT_INPUTS_MAX: usize = 256;

/// Bytes of the data of `CKM_ECDSA`: one digest.
pub const DIGEST_BYTES: usize = 32;

/// The longest transaction or PSBT that is taken: 128 KiB, which is also what Ethereum's nodes pass on.
pub const TRANSACTION_MAX_BYTES: usize = 128 * 1024;

/// Bits of the one kind of key there is, secp256k1.
const KEY_BITS: CK_ULONG = 256;

const CURVE: CK_FLAGS = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;

/// Everything that [`info`] knows, in the order in which `C_GetMechanismList` gives it.
pub const ALL: [CK_MECHANISM_TYPE; 6] = [
    CKM_ECDSA,
    CKM_EC_KEY_PAIR_GEN,
    CKM_COUNTERSIGN_ETHEREUM,
    CKM_COUNTERSIGN_TYPED_DATA,
    CKM_COUNTERSIGN_MESSAGE,
    CKM_COUNTERSIGN_PSBT,
];

/// What `C_GetMechanismInfo` says of a mechanism; `None`: the token does not have it.
pub fn info(mechanism: CK_MECHANISM_TYPE) -> Option<CK_MECHANISM_INFO> {
    let does = match mechanism {
        CKM_EC_KEY_PAIR_GEN => CKF_GENERATE_KEY_PAIR,
        other if signs(other).is_some() => CKF_SIGN,
        _ => return None,
    };
    Some(CK_MECHANISM_INFO { ulMinKeySize: KEY_BITS, ulMaxKeySize: KEY_BITS, flags: CKF_HW | CURVE | does })
}

/// What a key must have been made for to sign with this mechanism; `None`: it is no signing mechanism.
pub const fn signs(mechanism: CK_MECHANISM_TYPE) -> Option<Mechanism> {
    match mechanism {
        CKM_ECDSA => Some(Mechanism::Digest),
        CKM_COUNTERSIGN_ETHEREUM => Some(Mechanism::Ethereum),
        CKM_COUNTERSIGN_TYPED_DATA => Some(Mechanism::TypedData),
        CKM_COUNTERSIGN_MESSAGE => Some(Mechanism::Message),
        CKM_COUNTERSIGN_PSBT => Some(Mechanism::Bitcoin),
        _ => None,
    }
}

/// The mechanism type of what a key was made for.
pub const fn type_of(mechanism: Mechanism) -> CK_MECHANISM_TYPE {
    match mechanism {
        Mechanism::Digest => CKM_ECDSA,
        Mechanism::Ethereum => CKM_COUNTERSIGN_ETHEREUM,
        Mechanism::TypedData => CKM_COUNTERSIGN_TYPED_DATA,
        Mechanism::Message => CKM_COUNTERSIGN_MESSAGE,
        Mechanism::Bitcoin => CKM_COUNTERSIGN_PSBT,
    }
}

/// The most bytes of data that one signature with this mechanism takes.
pub const fn data_max_bytes(mechanism: Mechanism) -> usize {
    match mechanism {
        Mechanism::Digest => DIGEST_BYTES,
        Mechanism::Ethereum | Mechanism::Bitcoin => TRANSACTION_MAX_BYTES,
        Mechanism::TypedData => TYPED_DATA_MAX_BYTES,
        Mechanism::Message => MESSAGE_MAX_BYTES,
    }
}

/// The most bytes that a signature over so much data has. Exact, except for a PSBT.
pub const fn signature_max_bytes(mechanism: Mechanism, data_bytes: usize) -> usize {
    match mechanism {
        Mechanism::Bitcoin => data_bytes + PSBT_ADDED_MAX_BYTES,
        _ => SIGNATURE_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mechanism_has_info_and_signing_ones_map_both_ways() {
        for mechanism in ALL {
            let info = info(mechanism).expect("listed mechanisms are known");
            assert_eq!((info.ulMinKeySize, info.ulMaxKeySize), (256, 256));
            assert_eq!(info.flags & CKF_SIGN != 0, signs(mechanism).is_some());
        }
        for &mechanism in Mechanism::ALL {
            assert!(ALL.contains(&type_of(mechanism)));
            assert_eq!(signs(type_of(mechanism)), Some(mechanism));
        }
        assert!(info(0).is_none());
    }
}
