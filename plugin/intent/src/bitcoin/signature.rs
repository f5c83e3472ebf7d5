//! ECDSA signatures as Bitcoin writes them: strict DER (BIP-66) and one byte for the sighash type.

use super::sighash::SIGHASH_ALL;
use k256::ecdsa::Signature;

/// The DER form of r‖s, with `SIGHASH_ALL` behind it; `None` if r or s is 0.
pub(crate) fn with_sighash_all(signature: &[u8; 64]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at(32);
    let body = [integer(r)?, integer(s)?].concat();
    let length = u8::try_from(body.len()).ok()?;
    Some([&[0x30, length][..], &body, &[SIGHASH_ALL]].concat())
}

/// `0x02 length value`: no leading zeros, but one before a first bit that is set.
fn integer(bytes: &[u8]) -> Option<Vec<u8>> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let value = bytes.get(zeros..).filter(|value| !value.is_empty())?;
    let sign: &[u8] = if value[0] >= 0x80 { &[0] } else { &[] };
    let length = u8::try_from(sign.len() + value.len()).ok()?;
    Some([&[0x02, length][..], sign, value].concat())
}

/// Whether the bytes are a signature in strict DER (BIP-66), r and s in range, and one of the six sighash types.
pub(crate) fn is_signature_with_sighash(bytes: &[u8]) -> bool {
    let Some((sighash, der)) = bytes.split_last() else { return false };
    let signature = || Signature::from_der(der).is_ok_and(|signature| signature.to_der().as_bytes() == der);
    matches!(sighash, 1..=3 | 0x81..=0x83) && signature()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn der_is_what_k256_writes(r: [u8; 32], s: [u8; 32], zeros in 0usize..8) {
            let mut bytes = [r, s].concat();
            bytes[..zeros].fill(0);
            if let Ok(signature) = Signature::from_slice(&bytes) {
                let der = with_sighash_all(&bytes.try_into().unwrap()).unwrap();
                let theirs = signature.to_der();
                prop_assert_eq!(&der[..der.len() - 1], theirs.as_bytes());
                prop_assert!(is_signature_with_sighash(&der));
                prop_assert!(!is_signature_with_sighash(&der[..der.len() - 1]));
            }
        }

        #[test]
        fn what_is_taken_for_a_signature_is_one_for_others(byte in 0usize..71, value: u8) {
            let mut der = with_sighash_all(&[0x41; 64]).unwrap();
            der[byte] = value;
            if is_signature_with_sighash(&der) {
                prop_assert!(bitcoin::ecdsa::Signature::from_slice(&der).is_ok());
            }
        }
    }

    #[test]
    fn refuses_what_bip_66_refuses() {
        assert_eq!(with_sighash_all(&[0; 64]), None);
        let good = with_sighash_all(&[0x41; 64]).unwrap();
        assert!(is_signature_with_sighash(&good));
        for (at, value) in [
            (0, 0x31),
            (1, 0),
            (2, 3),
            (3, 0),
            (3, 33),
            (4, 0x80),
            (4, 0),
            (36, 3),
            (38, 0x80),
            (70, 0),
            (70, 4),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(!is_signature_with_sighash(&bad), "{at}");
        }
        assert!(!is_signature_with_sighash(&[]));
        assert!(!is_signature_with_sighash(&[good, vec![1]].concat()));
    }
}
