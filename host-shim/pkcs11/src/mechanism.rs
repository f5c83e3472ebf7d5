//! The token's mechanisms.

use countersign_wire::client::Mechanism;
use cryptoki_sys::{
    CK_FLAGS, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_ULONG, CKF_EC_F_P, CKF_EC_NAMEDCURVE,
    CKF_EC_UNCOMPRESS, CKF_GENERATE_KEY_PAIR, CKF_HW, CKF_SIGN, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA,
    CKM_VENDOR_DEFINED,
};

/// Signs one Ethereum transaction. The data is the unsigned transaction, the bytes whose Keccak-256 is signed; the
/// HSM decodes and hashes it itself. The signature is r‖s, as with `CKM_ECDSA`. No parameter.
pub const CKM_COUNTERSIGN_ETHEREUM: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4353_0001;

/// Bytes of a signature: r‖s.
pub const SIGNATURE_BYTES: usize = 64;

/// Bytes of the data of `CKM_ECDSA`: one digest.
pub const DIGEST_BYTES: usize = 32;

/// The longest transaction that is taken: 128 KiB, which is also what Ethereum's nodes pass on.
pub const TRANSACTION_MAX_BYTES: usize = 128 * 1024;

/// Bits of the one kind of key there is, secp256k1.
const KEY_BITS: CK_ULONG = 256;

const CURVE: CK_FLAGS = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;

/// Everything that [`info`] knows, in the order in which `C_GetMechanismList` gives it.
pub const ALL: [CK_MECHANISM_TYPE; 3] = [CKM_ECDSA, CKM_EC_KEY_PAIR_GEN, CKM_COUNTERSIGN_ETHEREUM];

/// What `C_GetMechanismInfo` says of a mechanism; `None`: the token does not have it.
pub fn info(mechanism: CK_MECHANISM_TYPE) -> Option<CK_MECHANISM_INFO> {
    let does = match mechanism {
        CKM_ECDSA | CKM_COUNTERSIGN_ETHEREUM => CKF_SIGN,
        CKM_EC_KEY_PAIR_GEN => CKF_GENERATE_KEY_PAIR,
        _ => return None,
    };
    Some(CK_MECHANISM_INFO { ulMinKeySize: KEY_BITS, ulMaxKeySize: KEY_BITS, flags: CKF_HW | CURVE | does })
}

/// What a key must have been made for to sign with this mechanism; `None`: it is no signing mechanism.
pub const fn signs(mechanism: CK_MECHANISM_TYPE) -> Option<Mechanism> {
    match mechanism {
        CKM_ECDSA => Some(Mechanism::Digest),
        CKM_COUNTERSIGN_ETHEREUM => Some(Mechanism::Ethereum),
        _ => None,
    }
}

/// The mechanism type of what a key was made for.
pub const fn type_of(mechanism: Mechanism) -> CK_MECHANISM_TYPE {
    match mechanism {
        Mechanism::Digest => CKM_ECDSA,
        Mechanism::Ethereum => CKM_COUNTERSIGN_ETHEREUM,
    }
}

/// The most bytes of data that one signature with this mechanism takes.
pub const fn data_max_bytes(mechanism: Mechanism) -> usize {
    match mechanism {
        Mechanism::Digest => DIGEST_BYTES,
        Mechanism::Ethereum => TRANSACTION_MAX_BYTES,
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
