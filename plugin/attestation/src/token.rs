//! The token: `COSE_Sign1` over the claims, and in its header the root's word for the key that signed.

use crate::cbor::{self, Map};
use crate::claims::{Claims, number, read_ueid, ueid};
use crate::{ATTESTATION_MAX_BYTES, Refused};
use ciborium::Value;
use coset::iana::{Algorithm, CoapContentFormat, EnumI64, HeaderParameter};
use coset::{
    AsCborValue, CborSerializable, CoseSign1, CoseSign1Builder, Header, HeaderBuilder, Label,
    RegisteredLabel, RegisteredLabelWithPrivate, TaggedCborSerializable,
};
use countersign_approvals::es256::{self, PublicKey, SigningKey};

/// The tag of a `COSE_Sign1` (RFC 9052 section 2).
const SIGN1_TAG: u64 = 18;

/// An attestation that was verified: the root of this fingerprint stands behind what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// What it says.
    pub claims: Claims,
    /// The root's public key.
    pub root: PublicKey,
    /// The key that signed.
    pub attestation_key: PublicKey,
}

/// Makes an attestation: `key` signs the claims, and `root` signs that `key` is this HSM's.
pub fn issue(claims: &Claims, key: &SigningKey, root: &SigningKey) -> Vec<u8> {
    let endorsement = signed(endorsement(&claims.hsm_id, key, root), HeaderBuilder::new(), root);
    let header = HeaderBuilder::new()
        .content_format(CoapContentFormat::EatCwt)
        .value(HeaderParameter::KeyCwt.to_i64(), tagged(endorsement));
    let token = signed(claims.to_bytes(), header, key);
    token.to_tagged_vec().expect("a vector takes every byte")
}

fn signed(payload: Vec<u8>, header: HeaderBuilder, key: &SigningKey) -> CoseSign1 {
    CoseSign1Builder::new()
        .protected(header.algorithm(Algorithm::ES256).build())
        .payload(payload)
        .create_signature(b"", |message| key.sign(message).to_vec())
        .build()
}

fn tagged(token: CoseSign1) -> Value {
    let value = token.to_cbor_value().expect("it was built from values");
    Value::Tag(SIGN1_TAG, Box::new(value))
}

/// A CWT with the attestation key in its `cnf` claim (RFC 8747 section 3.2).
fn endorsement(hsm_id: &[u8; 16], key: &SigningKey, root: &SigningKey) -> Vec<u8> {
    cbor::encode(&cbor::map(vec![
        (number::CONFIRMATION, cbor::map(vec![(COSE_KEY, cose_key(&key.public_key()))])),
        (number::UEID, ueid(hsm_id)),
        (number::ROOT_KEY, Value::Bytes(root.public_key().as_bytes().to_vec())),
    ]))
}

/// `COSE_Key` in a `cnf` claim.
const COSE_KEY: i64 = 1;
/// `kty`, and EC2 (RFC 9053 section 7.1).
const KEY_TYPE: (i64, u64) = (1, 2);
/// `crv`, and P-256.
const CURVE: (i64, u64) = (-1, 1);
/// The coordinates, 32 bytes each.
const X: i64 = -2;
const Y: i64 = -3;

fn cose_key(key: &PublicKey) -> Value {
    let [_, point @ ..] = key.as_bytes();
    let (x, y) = point.split_at(32);
    cbor::map(vec![
        (KEY_TYPE.0, KEY_TYPE.1.into()),
        (CURVE.0, CURVE.1.into()),
        (X, Value::Bytes(x.to_vec())),
        (Y, Value::Bytes(y.to_vec())),
    ])
}

fn read_cose_key(value: Value) -> Result<PublicKey, Refused> {
    let mut map = Map::of(value)?;
    for (label, expected) in [KEY_TYPE, CURVE] {
        if map.number(label)? != expected {
            return Err(Refused::Malformed);
        }
    }
    let (x, y): ([u8; 32], [u8; 32]) = (map.bytes(X)?, map.bytes(Y)?);
    map.end()?;
    PublicKey::parse(&[&[4], x.as_slice(), y.as_slice()].concat()).map_err(|_| Refused::Malformed)
}

/// Verifies an attestation down from the root with this fingerprint: SHA-256 of its public key, uncompressed.
///
/// Whether it answers one's own question, and whether one likes what it says, is another matter: see [`crate::Expected`].
pub fn verify(token: &[u8], root_fingerprint: &[u8; 32]) -> Result<Attestation, Refused> {
    if token.len() > ATTESTATION_MAX_BYTES {
        return Err(Refused::Malformed);
    }
    let token = read(token)?;
    let endorsement = endorsement_of(&token.protected.header)?;
    let mut said = Map::read(payload(&endorsement)?)?;
    let root = PublicKey::parse(&said.bytes::<65>(number::ROOT_KEY)?).map_err(|_| Refused::Malformed)?;
    if root.fingerprint() != *root_fingerprint {
        return Err(Refused::WrongRoot);
    }
    check(&endorsement, &root).map_err(|()| Refused::BadChain)?;
    let mut confirmation = Map::of(said.take(number::CONFIRMATION)?)?;
    let attestation_key = read_cose_key(confirmation.take(COSE_KEY)?)?;
    confirmation.end()?;
    let hsm_id = read_ueid(said.take(number::UEID)?)?;
    said.end()?;
    check(&token, &attestation_key).map_err(|()| Refused::WrongSignature)?;
    let claims = Claims::parse(payload(&token)?)?;
    if claims.hsm_id == hsm_id {
        Ok(Attestation { claims, root, attestation_key })
    } else {
        Err(Refused::AnotherHsm)
    }
}

/// A tagged `COSE_Sign1` in the one form that [`issue`] writes.
fn read(bytes: &[u8]) -> Result<CoseSign1, Refused> {
    let token = CoseSign1::from_tagged_slice(bytes).map_err(|_| Refused::Malformed)?;
    let same = token.clone().to_tagged_vec().is_ok_and(|again| again == bytes);
    if same && is_plain(&token)? { Ok(token) } else { Err(Refused::Malformed) }
}

/// Nothing stands outside the signature, the algorithm is ES256, and the protected header is in its one form.
fn is_plain(token: &CoseSign1) -> Result<bool, Refused> {
    let header = &token.protected.header;
    let es256 = Some(RegisteredLabelWithPrivate::Assigned(Algorithm::ES256));
    let encoded = header.clone().to_vec().map_err(|_| Refused::Malformed)?;
    Ok(token.unprotected.is_empty()
        && header.alg == es256
        && token.protected.original_data.as_ref().is_some_and(|original| *original == encoded))
}

/// The header of an attestation says what it is and carries the endorsement, and nothing else.
fn endorsement_of(header: &Header) -> Result<CoseSign1, Refused> {
    let is_eat = header.content_type == Some(RegisteredLabel::Assigned(CoapContentFormat::EatCwt));
    let label = Label::Int(HeaderParameter::KeyCwt.to_i64());
    let [(found, value)] = header.rest.as_slice() else { return Err(Refused::Malformed) };
    let alone =
        Header { alg: header.alg.clone(), content_type: header.content_type.clone(), ..Header::default() };
    if !is_eat || *found != label || (Header { rest: header.rest.clone(), ..alone }) != *header {
        return Err(Refused::Malformed);
    }
    let endorsement = read(&cbor::encode(value))?;
    let plain = Header { alg: endorsement.protected.header.alg.clone(), ..Header::default() };
    if endorsement.protected.header == plain { Ok(endorsement) } else { Err(Refused::Malformed) }
}

fn payload(token: &CoseSign1) -> Result<&[u8], Refused> {
    token.payload.as_deref().ok_or(Refused::Malformed)
}

fn check(token: &CoseSign1, key: &PublicKey) -> Result<(), ()> {
    token.verify_signature(b"", |signature, message| {
        let signature = signature.try_into().map_err(|_| ())?;
        es256::verify(key, message, signature).map_err(|_| ())
    })
}
