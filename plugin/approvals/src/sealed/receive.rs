//! The receiver's half of HPKE's base mode (RFC 9180 section 5.1), for the one suite that is used here.
//!
//! Opening is on the path of signatures. The library works the receiver's public key out from the private one each time
//! (section 4.1, `Decap`), a seventh of what an approval by a sealed code costs; here it is known. Everything else about HPKE stays
//! the library's, whose sender the tests check this against, beside the RFC's own vectors.

use super::Unsealed;
use crate::es256::PublicKey;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use p256::SecretKey;
use p256::ecdh::diffie_hellman;
use p256::elliptic_curve::sec1::FromSec1Point;
use sha2::Sha256;
use zeroize::Zeroizing;

/// `"KEM" ‖ I2OSP(0x0010, 2)`: DHKEM(P-256, HKDF-SHA256) (section 4.1, table 2).
const KEM_SUITE: &[u8] = b"KEM\x00\x10";

/// `"HPKE" ‖ KEM ‖ KDF ‖ AEAD`: with HKDF-SHA256 (1) and AES-256-GCM (2) (section 5.1, tables 3 and 5).
const HPKE_SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x02";

/// `mode_base` (section 5.0, table 1).
const MODE_BASE: u8 = 0;

/// `LabeledExtract` (section 4).
fn labeled_extract(
    suite: &[u8],
    salt: &[u8],
    label: &[u8],
    material: &[u8],
) -> (Zeroizing<[u8; 32]>, Hkdf<Sha256>) {
    let labeled = Zeroizing::new([b"HPKE-v1", suite, label, material].concat());
    let (extracted, hkdf) = Hkdf::<Sha256>::extract(Some(salt), &labeled);
    (Zeroizing::new(extracted.into()), hkdf)
}

/// `LabeledExpand` (section 4) of as many bytes as there is room for.
fn labeled_expand(hkdf: &Hkdf<Sha256>, suite: &[u8], label: &[u8], info: &[&[u8]], room: &mut [u8]) {
    let length = u16::try_from(room.len()).expect("keys and nonces have at most 32 bytes").to_be_bytes();
    let head: [&[u8]; 4] = [&length, b"HPKE-v1", suite, label];
    let parts: Vec<&[u8]> = head.into_iter().chain(info.iter().copied()).collect();
    hkdf.expand_multi_info(&parts, room).expect("at most 32 bytes are within HKDF's limit");
}

/// `OpenBase` (section 6.1) for the private key of `public`.
pub(super) fn open(
    (private, public): (&SecretKey, &PublicKey),
    info: &[u8],
    associated: &[u8],
    encapsulated: &[u8; 65],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unsealed> {
    let shared = decapsulate(private, public, encapsulated)?;
    // KeySchedule, with the empty `psk` and `psk_id` of the base mode.
    let (psk_id_hash, _) = labeled_extract(HPKE_SUITE, b"", b"psk_id_hash", b"");
    let (info_hash, _) = labeled_extract(HPKE_SUITE, b"", b"info_hash", info);
    let (_, secret) = labeled_extract(HPKE_SUITE, shared.as_slice(), b"secret", b"");
    let context: [&[u8]; 3] = [&[MODE_BASE], psk_id_hash.as_slice(), info_hash.as_slice()];
    let (mut key, mut nonce) = (Zeroizing::new([0; 32]), [0; 12]);
    labeled_expand(&secret, HPKE_SUITE, b"key", &context, key.as_mut_slice());
    // The first message's sequence number is 0, so its nonce is the base nonce.
    labeled_expand(&secret, HPKE_SUITE, b"base_nonce", &context, &mut nonce);
    let message = Payload { msg: ciphertext, aad: associated };
    let opened = Aes256Gcm::new(&(*key).into()).decrypt(&nonce.into(), message);
    opened.map(Zeroizing::new).map_err(|_| Unsealed)
}

/// `Decap` (section 4.1). The point is validated as it is read (section 7.1.4), and no product of it with a scalar from 1 to
/// n − 1 is the identity.
fn decapsulate(
    private: &SecretKey,
    public: &PublicKey,
    encapsulated: &[u8; 65],
) -> Result<Zeroizing<[u8; 32]>, Unsealed> {
    let point = p256::Sec1Point::from_bytes(encapsulated).map_err(|_| Unsealed)?;
    let sender: Option<p256::PublicKey> = p256::PublicKey::from_sec1_point(&point).into();
    let dh = diffie_hellman(private.to_nonzero_scalar(), sender.ok_or(Unsealed)?.as_affine());
    let (_, hkdf) = labeled_extract(KEM_SUITE, b"", b"eae_prk", dh.raw_secret_bytes());
    let mut shared = Zeroizing::new([0; 32]);
    let context: [&[u8]; 2] = [encapsulated, public.as_bytes()];
    labeled_expand(&hkdf, KEM_SUITE, b"shared_secret", &context, shared.as_mut_slice());
    Ok(shared)
}
