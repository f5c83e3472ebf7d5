//! What the objects look like: every attribute of a key's two halves and of its certificate.

use crate::certificate;
use crate::mechanism;
use countersign_wire::client::{KeyInfo, Mechanism, Network};
use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_BBOOL, CK_CERTIFICATE_CATEGORY_UNSPECIFIED, CK_FALSE, CK_MECHANISM_TYPE,
    CK_OBJECT_CLASS, CK_TRUE, CK_ULONG, CKA_ALLOWED_MECHANISMS, CKA_ALWAYS_AUTHENTICATE,
    CKA_ALWAYS_SENSITIVE, CKA_CERTIFICATE_CATEGORY, CKA_CERTIFICATE_TYPE, CKA_CLASS, CKA_COPYABLE,
    CKA_DECRYPT, CKA_DERIVE, CKA_DESTROYABLE, CKA_EC_PARAMS, CKA_EC_POINT, CKA_ENCRYPT, CKA_END_DATE,
    CKA_EXTRACTABLE, CKA_ID, CKA_ISSUER, CKA_KEY_GEN_MECHANISM, CKA_KEY_TYPE, CKA_LABEL, CKA_LOCAL,
    CKA_MODIFIABLE, CKA_NEVER_EXTRACTABLE, CKA_PRIVATE, CKA_PUBLIC_KEY_INFO, CKA_SENSITIVE,
    CKA_SERIAL_NUMBER, CKA_SIGN, CKA_SIGN_RECOVER, CKA_START_DATE, CKA_SUBJECT, CKA_TOKEN, CKA_TRUSTED,
    CKA_UNIQUE_ID, CKA_UNWRAP, CKA_VALUE, CKA_VENDOR_DEFINED, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP,
    CKA_WRAP_WITH_TRUSTED, CKC_X_509, CKK_EC, CKM_EC_KEY_PAIR_GEN, CKO_CERTIFICATE, CKO_PRIVATE_KEY,
    CKO_PUBLIC_KEY,
};
use std::borrow::Cow;
use std::fmt::Write;

/// The key's Ethereum address: `0x` and 40 hex digits with the checksum of EIP-55. On both halves of a key.
pub const CKA_COUNTERSIGN_ETHEREUM_ADDRESS: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4353_0001;

/// Where the key lies in the account's wallet: `m/84h/0h/0h`. Only keys that were made from one have it.
pub const CKA_COUNTERSIGN_PATH: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4353_0002;

/// The network of a Bitcoin key: `main`, `test`, `signet` or `regtest`. No other key has it.
pub const CKA_COUNTERSIGN_NETWORK: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4353_0003;

/// The extended public key of a Bitcoin wallet account (BIP-32). No other key has it.
pub const CKA_COUNTERSIGN_XPUB: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4353_0004;

/// The output descriptor of a Bitcoin wallet account (BIP-380). No other key has it.
pub const CKA_COUNTERSIGN_DESCRIPTOR: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4353_0005;

/// The weakest approval that the key takes: `code`, `sealed-code` or `passkey`. On both halves of a key.
pub const CKA_COUNTERSIGN_FLOOR: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4353_0006;

/// DER of the object identifier of secp256k1, 1.3.132.0.10 (SEC 2 appendix A.2.1).
pub(crate) const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// DER in front of the 65 bytes of a point: OCTET STRING.
const POINT_PREFIX: &[u8] = &[0x04, 0x41];

/// Which of a key's objects it is: one of its halves, or its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Private,
    Public,
    Certificate,
}

impl Part {
    /// All three, in the order in which they are found.
    pub(crate) const ALL: [Part; 3] = [Part::Private, Part::Public, Part::Certificate];

    const fn class(self) -> CK_OBJECT_CLASS {
        match self {
            Part::Private => CKO_PRIVATE_KEY,
            Part::Public => CKO_PUBLIC_KEY,
            Part::Certificate => CKO_CERTIFICATE,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Part::Private => "private",
            Part::Public => "public",
            Part::Certificate => "certificate",
        }
    }
}

/// An attribute of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// It has this value.
    Is(Cow<'a, [u8]>),
    /// It has a value that never leaves the HSM.
    Sensitive,
    /// Objects of this kind have no such attribute.
    Missing,
}

/// One attribute as the application gave it, in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) kind: CK_ATTRIBUTE_TYPE,
    pub(crate) value: Vec<u8>,
}

/// An attribute of one of `key`'s objects.
pub(crate) fn value(key: &KeyInfo, part: Part, kind: CK_ATTRIBUTE_TYPE) -> Value<'_> {
    if let Some(fixed) = fixed(part, kind) {
        return Value::Is(Cow::Owned(fixed));
    }
    let owned = |bytes| Value::Is(Cow::Owned(bytes));
    match (kind, part) {
        (CKA_LABEL, _) => owned(key.label.to_string().into_bytes()),
        (CKA_ID, _) => Value::Is(Cow::Borrowed(key.id.as_slice())),
        (CKA_UNIQUE_ID, _) => owned(unique_id(key, part).into_bytes()),
        (CKA_PUBLIC_KEY_INFO, _) => owned(certificate::public_key_info(key)),
        (_, Part::Certificate) => certificate_value(key, kind),
        (CKA_EC_POINT, _) => owned([POINT_PREFIX, key.public_key.as_slice()].concat()),
        (CKA_ALLOWED_MECHANISMS, _) => owned(allowed_mechanisms(&key.plan.mechanisms)),
        (CKA_COUNTERSIGN_ETHEREUM_ADDRESS, _) => {
            word(Some(key.ethereum_address.as_str()).filter(|address| !address.is_empty()))
        }
        (CKA_COUNTERSIGN_PATH, _) => {
            key.plan.path.as_ref().map_or(Value::Missing, |path| owned(path.to_string().into_bytes()))
        }
        (CKA_COUNTERSIGN_NETWORK, _) => word(key.plan.network.map(Network::word)),
        (CKA_COUNTERSIGN_FLOOR, _) => word(Some(key.plan.floor.word())),
        (CKA_COUNTERSIGN_XPUB, _) => word(key.watch.as_ref().map(|watch| watch.xpub.as_str())),
        (CKA_COUNTERSIGN_DESCRIPTOR, _) => word(key.watch.as_ref().map(|watch| watch.descriptor.as_str())),
        (CKA_VALUE, Part::Private) => Value::Sensitive,
        _ => Value::Missing,
    }
}

/// What a certificate has and a key has not.
fn certificate_value(key: &KeyInfo, kind: CK_ATTRIBUTE_TYPE) -> Value<'_> {
    Value::Is(Cow::Owned(match kind {
        CKA_VALUE => certificate::certificate(key),
        CKA_SUBJECT => certificate::subject(&key.label),
        CKA_ISSUER => certificate::issuer(),
        CKA_SERIAL_NUMBER => certificate::serial_number(key),
        _ => return Value::Missing,
    }))
}

fn word(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Missing, |text| Value::Is(Cow::Borrowed(text.as_bytes())))
}

/// An attribute that is the same for this object of every key.
pub(crate) fn fixed(part: Part, kind: CK_ATTRIBUTE_TYPE) -> Option<Vec<u8>> {
    Some(match (kind, part) {
        (CKA_CLASS, _) => ulong(part.class()),
        // Objects that need no secret need a login too: only the API key's tenant is told what keys there are.
        (CKA_TOKEN | CKA_PRIVATE, _) => flag(CK_TRUE),
        (CKA_MODIFIABLE | CKA_COPYABLE | CKA_DESTROYABLE, _)
        | (CKA_TRUSTED, Part::Public | Part::Certificate) => flag(CK_FALSE),
        (CKA_START_DATE | CKA_END_DATE, _) => Vec::new(),
        (CKA_CERTIFICATE_TYPE, Part::Certificate) => ulong(CKC_X_509),
        (CKA_CERTIFICATE_CATEGORY, Part::Certificate) => ulong(CK_CERTIFICATE_CATEGORY_UNSPECIFIED),
        (_, Part::Certificate) => return None,
        (CKA_KEY_TYPE, _) => ulong(CKK_EC),
        (CKA_KEY_GEN_MECHANISM, _) => ulong(CKM_EC_KEY_PAIR_GEN),
        (CKA_EC_PARAMS, _) => SECP256K1.to_vec(),
        (CKA_LOCAL, _)
        | (
            CKA_SIGN | CKA_SENSITIVE | CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE | CKA_ALWAYS_AUTHENTICATE,
            Part::Private,
        ) => flag(CK_TRUE),
        (CKA_DERIVE, _)
        | (
            CKA_EXTRACTABLE | CKA_DECRYPT | CKA_SIGN_RECOVER | CKA_UNWRAP | CKA_WRAP_WITH_TRUSTED,
            Part::Private,
        )
        | (CKA_ENCRYPT | CKA_VERIFY | CKA_VERIFY_RECOVER | CKA_WRAP, Part::Public) => flag(CK_FALSE),
        (CKA_SUBJECT, _) => Vec::new(),
        _ => return None,
    })
}

/// Whether one of `key`'s objects has every attribute of the template, with that value.
pub(crate) fn matches(key: &KeyInfo, part: Part, template: &[Attribute]) -> bool {
    template.iter().all(|wanted| match value(key, part, wanted.kind) {
        Value::Is(value) => *value == *wanted.value,
        Value::Sensitive | Value::Missing => false,
    })
}

/// The bytes of a `CK_ULONG`.
pub(crate) fn ulong(value: CK_ULONG) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

fn flag(value: CK_BBOOL) -> Vec<u8> {
    vec![value]
}

/// `CKA_ALLOWED_MECHANISMS`: an array of `CK_MECHANISM_TYPE`.
fn allowed_mechanisms(mechanisms: &[Mechanism]) -> Vec<u8> {
    mechanisms.iter().flat_map(|&made_for| mechanism::type_of(made_for).to_ne_bytes()).collect()
}

/// `CKA_ALLOWED_MECHANISMS`, read back; `None`: not a whole number of them.
pub(crate) fn mechanism_types(value: &[u8]) -> Option<Vec<CK_MECHANISM_TYPE>> {
    let (types, rest) = value.as_chunks();
    rest.is_empty().then(|| types.iter().map(|bytes| CK_MECHANISM_TYPE::from_ne_bytes(*bytes)).collect())
}

fn unique_id(key: &KeyInfo, part: Part) -> String {
    let mut text = String::with_capacity(40);
    for byte in key.id.as_slice() {
        write!(text, "{byte:02x}").expect("a String takes every write");
    }
    text.push('-');
    text.push_str(part.word());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::client::KeyPlan;
    use serde_bytes::ByteArray;

    fn key() -> KeyInfo {
        KeyInfo {
            label: "alice/ethereum".parse().unwrap(),
            id: ByteArray::new([0xab; 16]),
            public_key: ByteArray::new([4; 65]),
            ethereum_address: "0xabc".into(),
            plan: KeyPlan::of(vec![Mechanism::Digest, Mechanism::Ethereum]),
            watch: None,
        }
    }

    fn is(key: &KeyInfo, part: Part, kind: CK_ATTRIBUTE_TYPE) -> Vec<u8> {
        match value(key, part, kind) {
            Value::Is(value) => value.into_owned(),
            other => panic!("attribute 0x{kind:x} of {part:?} is {other:?}"),
        }
    }

    #[test]
    fn a_private_key_never_leaves_and_asks_for_a_code_each_time() {
        let key = key();
        for kind in [
            CKA_TOKEN,
            CKA_PRIVATE,
            CKA_SENSITIVE,
            CKA_ALWAYS_SENSITIVE,
            CKA_NEVER_EXTRACTABLE,
            CKA_LOCAL,
            CKA_ALWAYS_AUTHENTICATE,
            CKA_SIGN,
        ] {
            assert_eq!(is(&key, Part::Private, kind), [CK_TRUE], "0x{kind:x}");
        }
        for kind in [
            CKA_EXTRACTABLE,
            CKA_MODIFIABLE,
            CKA_COPYABLE,
            CKA_DESTROYABLE,
            CKA_DECRYPT,
            CKA_SIGN_RECOVER,
            CKA_UNWRAP,
            CKA_DERIVE,
            CKA_WRAP_WITH_TRUSTED,
        ] {
            assert_eq!(is(&key, Part::Private, kind), [CK_FALSE], "0x{kind:x}");
        }
        assert_eq!(value(&key, Part::Private, CKA_VALUE), Value::Sensitive);
        assert_eq!(value(&key, Part::Public, CKA_VALUE), Value::Missing);
    }

    #[test]
    fn the_point_is_wrapped_in_der() {
        let point = is(&key(), Part::Public, CKA_EC_POINT);
        assert_eq!((point.len(), &point[..2]), (67, &[0x04, 0x41][..]));
        let info = is(&key(), Part::Public, CKA_PUBLIC_KEY_INFO);
        assert_eq!(info.len(), usize::from(info[1]) + 2, "the DER length is that of the rest");
        assert!(info.ends_with(&point[2..]));
    }

    #[test]
    fn allowed_mechanisms_read_back_and_half_ones_do_not() {
        let value = is(&key(), Part::Private, CKA_ALLOWED_MECHANISMS);
        let types = mechanism_types(&value).unwrap();
        assert_eq!(types, [cryptoki_sys::CKM_ECDSA, mechanism::CKM_COUNTERSIGN_ETHEREUM]);
        assert_eq!(mechanism_types(&value[1..]), None);
    }

    #[test]
    fn a_template_matches_only_with_every_value_and_never_by_a_secret() {
        let key = key();
        let wanted = |kind, value: &[u8]| Attribute { kind, value: value.to_vec() };
        let label = wanted(CKA_LABEL, b"alice/ethereum");
        assert!(matches(&key, Part::Private, &[]));
        assert!(matches(&key, Part::Private, std::slice::from_ref(&label)));
        assert!(!matches(&key, Part::Private, &[label, wanted(CKA_CLASS, &ulong(CKO_PUBLIC_KEY))]));
        assert!(!matches(&key, Part::Private, &[wanted(CKA_VALUE, b"")]));
        assert!(!matches(&key, Part::Private, &[wanted(CKA_LABEL, b"alice")]));
    }
}
