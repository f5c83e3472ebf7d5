//! ECDSA over secp256k1 as it leaves the boundary: verified with the public key, low-S, with the parity of R.
//!
//! The keystore signs; this module trusts nothing it answers. A fault in the keystore, by accident or by attack,
//! never leaves: a faulty signature can give the private key away.

use k256::ecdsa::Signature;
use k256::elliptic_curve::ops::{MulByGeneratorVartime, Reduce};
use k256::elliptic_curve::point::AffineCoordinates;
use k256::elliptic_curve::sec1::ToSec1Point;
use k256::{AffinePoint, FieldBytes, ProjectivePoint, PublicKey, Scalar, U256};

/// A signature that verifies. Low-S (s at most half the group order), with the parity of R's y coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// r‖s, big-endian.
    pub signature: [u8; 64],
    /// 0 or 1: what recovers the public key (SEC 1 section 4.1.6).
    pub y_parity: u8,
}

/// The keystore's answer is no signature of this digest under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faulty;

/// Checks that a point is a valid public key: uncompressed, on the curve, not the identity.
pub fn is_public_key(public_key: &[u8; 65]) -> bool {
    PublicKey::from_sec1_bytes(public_key).is_ok_and(|key| key.to_sec1_point(false).as_bytes() == public_key)
}

/// Verifies r‖s (SEC 1 section 4.1.4) and brings it into the one form that is released.
///
/// One double multiplication gives R = (z/s)·G + (r/s)·Q; its x coordinate must be r, and its y coordinate has the
/// parity. All inputs are public, so variable time is safe.
pub fn verify(public_key: &[u8; 65], digest: &[u8; 32], signature: &[u8; 64]) -> Result<Verified, Faulty> {
    let key = PublicKey::from_sec1_bytes(public_key).map_err(|_| Faulty)?;
    // Refuses r or s that are zero or not below the group order.
    let signature = Signature::from_slice(signature).map_err(|_| Faulty)?;
    let (r, s) = (signature.r(), signature.s());
    let z = <Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(*digest));
    let s_inverse = Option::<Scalar>::from(s.invert_vartime()).ok_or(Faulty)?;
    let point = ProjectivePoint::mul_by_generator_and_mul_add_vartime(
        &(z * s_inverse),
        &(*r * s_inverse),
        &key.to_projective(),
    );
    if point == ProjectivePoint::IDENTITY {
        return Err(Faulty);
    }
    let point = AffinePoint::from(point);
    let x = point.x();
    // x may be r plus the group order, for one signature in 2^128. Such a one could not be told by one parity bit.
    if U256::from_be_slice(&x) != U256::from_be_slice(&r.to_bytes()) {
        return Err(Faulty);
    }
    let low = signature.normalize_s();
    let flipped = low.s() != signature.s();
    let is_odd: bool = point.y_is_odd().into();
    let bytes: [u8; 64] = low.to_bytes().into();
    Ok(Verified { signature: bytes, y_parity: u8::from(is_odd != flipped) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
    use k256::ecdsa::{RecoveryId, SigningKey, VerifyingKey};
    use proptest::prelude::*;

    fn key(seed: [u8; 32]) -> Option<(SigningKey, [u8; 65])> {
        let key = SigningKey::from_slice(&seed).ok()?;
        let point = key.verifying_key().to_sec1_point(false);
        Some((key, point.as_bytes().try_into().ok()?))
    }

    fn high_s(signature: &Signature) -> [u8; 64] {
        let (r, s) = (signature.r().to_bytes(), (-signature.s()).to_bytes());
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        bytes
    }

    proptest! {
        #[test]
        fn agrees_with_k256_on_verification_low_s_and_recovery(seed: [u8; 32], digest: [u8; 32]) {
            let Some((key, public_key)) = key(seed) else { return Ok(()) };
            let signature: Signature = key.sign_prehash(&digest).unwrap();
            let low = signature.normalize_s();
            for form in [low.to_bytes().into(), high_s(&low)] {
                let verified = verify(&public_key, &digest, &form).unwrap();
                let released = Signature::from_slice(&verified.signature).unwrap();
                prop_assert_eq!(released, low);
                prop_assert!(key.verifying_key().verify_prehash(&digest, &released).is_ok());
                let recovery = RecoveryId::from_byte(verified.y_parity).unwrap();
                let recovered = VerifyingKey::recover_from_prehash(&digest, &released, recovery).unwrap();
                prop_assert_eq!(&recovered, key.verifying_key());
            }
        }

        #[test]
        fn a_flipped_bit_never_leaves(seed: [u8; 32], digest: [u8; 32], bit in 0usize..512) {
            let Some((key, public_key)) = key(seed) else { return Ok(()) };
            let signature: Signature = key.sign_prehash(&digest).unwrap();
            let mut bytes: [u8; 64] = signature.to_bytes().into();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(verify(&public_key, &digest, &bytes), Err(Faulty));
        }
    }

    #[test]
    fn refuses_points_that_are_no_keys() {
        let (_, good) = key([1; 32]).unwrap();
        assert!(is_public_key(&good));
        let mut off_curve = good;
        off_curve[64] ^= 1;
        assert!(!is_public_key(&off_curve));
        assert!(!is_public_key(&[0; 65]));
        assert_eq!(verify(&off_curve, &[1; 32], &[1; 64]), Err(Faulty));
        assert_eq!(verify(&good, &[1; 32], &[0; 64]), Err(Faulty));
        assert_eq!(verify(&good, &[1; 32], &[0xff; 64]), Err(Faulty));
    }
}
