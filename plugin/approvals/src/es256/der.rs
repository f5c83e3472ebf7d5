//! ECDSA signatures as authenticators send them: `SEQUENCE { r INTEGER, s INTEGER }` in DER (RFC 3279 section 2.2.3,
//! X.690 sections 8.3 and 10.1), to and from r‖s.

use super::{BadSignature, RawSignature, read_raw};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// Reads the one valid form: short lengths, integers positive and without a needless leading zero, nothing after them,
/// both from 1 to n − 1, s in the lower half.
pub fn der_to_raw(der: &[u8]) -> Result<RawSignature, BadSignature> {
    let (body, rest) = element(SEQUENCE, der)?;
    let (r, body) = element(INTEGER, body)?;
    let (s, body) = element(INTEGER, body)?;
    if !rest.is_empty() || !body.is_empty() {
        return Err(BadSignature::Malformed);
    }
    let mut raw = [0; 64];
    let (r_place, s_place) = raw.split_at_mut(32);
    positive(r, r_place)?;
    positive(s, s_place)?;
    read_raw(&raw)?;
    Ok(raw)
}

/// Writes r‖s in DER: 8 to 72 bytes.
pub fn raw_to_der(raw: &RawSignature) -> Vec<u8> {
    let mut body = Vec::with_capacity(70);
    let (r, s) = raw.split_at(32);
    for number in [r, s] {
        let digits = number.iter().position(|byte| *byte != 0).map_or(&[0][..], |first| &number[first..]);
        let sign = usize::from(digits[0] >= 0x80);
        body.push(INTEGER);
        body.extend_from_slice(&short(digits.len() + sign));
        body.extend_from_slice(&[0][..sign]);
        body.extend_from_slice(digits);
    }
    let mut der = vec![SEQUENCE];
    der.extend_from_slice(&short(body.len()));
    der.extend_from_slice(&body);
    der
}

/// The contents of the element at the front, and what follows it. A signature over P-256 has at most 72 bytes, so a length is one
/// byte; from 128 on, where the long form begins, it is longer than what the caller can use, whatever it was meant to be.
fn element(tag: u8, bytes: &[u8]) -> Result<(&[u8], &[u8]), BadSignature> {
    let [found, length, rest @ ..] = bytes else { return Err(BadSignature::Malformed) };
    if *found != tag {
        return Err(BadSignature::Malformed);
    }
    rest.split_at_checked(usize::from(*length)).ok_or(BadSignature::Malformed)
}

/// Puts a positive integer into 32 bytes.
fn positive(digits: &[u8], place: &mut [u8]) -> Result<(), BadSignature> {
    let digits = match digits {
        [] | [0x80..=0xff, ..] | [0, 0..0x80, ..] => return Err(BadSignature::Malformed),
        [0, rest @ ..] => rest,
        all => all,
    };
    let unused = place.len().checked_sub(digits.len()).ok_or(BadSignature::Malformed)?;
    place[unused..].copy_from_slice(digits);
    Ok(())
}

/// A length of one byte.
fn short(length: usize) -> [u8; 1] {
    [u8::try_from(length).expect("two integers of 33 bytes fit in 72")]
}
