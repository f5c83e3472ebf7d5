//! The messages of Countersign, in two modules for two levels of trust.
//!
//! * [`client`]: between the untrusted host side and the plugin. Every byte the plugin receives here is hostile.
//! * [`device`]: what users' devices say, through that side.
//! * [`log`]: the audit log, as the host reads it.
//! * [`hal`]: between the plugin and the firmware of the HSM that runs it. Both ends are inside the boundary.
//! * [`frame`]: how either kind of message is cut out of a byte stream.
//! * [`names`]: the untrusted values that have exactly one constructor each: names, codes, API keys.
//! * [`path`]: derivation paths, and which of them a key may have.
//! * [`reason`]: why something was refused: stable words for programs and one sentence for a person.
//!
//! Messages are CBOR (RFC 8949). [`decode`] is the only way in: it accepts a value only in the one encoding
//! that [`encode`] produces, so that no two byte strings mean the same message.

#![forbid(unsafe_code)]

pub mod client;
pub mod device;
pub mod frame;
pub mod hal;
pub mod log;
pub mod names;
pub mod path;
#[cfg(any(test, feature = "properties"))]
pub mod properties;
pub mod reason;

use serde::{Serialize, de::DeserializeOwned};

/// The bytes are not the one valid encoding of the expected message.
///
/// It says nothing more on purpose: what exactly was wrong with a hostile message helps only its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not the canonical encoding of the expected message")
    }
}

impl std::error::Error for Malformed {}

/// Room that is reserved before encoding.
const RESERVED_BYTES: usize = 1024;

/// Encodes a message as CBOR, struct fields and variants by name.
///
/// Most messages fit the room that is reserved, so that growing leaves no copy of a secret behind.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RESERVED_BYTES);
    serde_cbor::to_writer(&mut bytes, message)
        .expect("message types hold only what CBOR can carry, and a Vec takes every write");
    bytes
}

/// Decodes a message strictly: unknown fields, duplicate keys and trailing bytes are refused, and the value must
/// encode back to the very same bytes (so: shortest integers, definite lengths, no tags, fields in order).
///
/// Depth is bounded by the message types, none of which is recursive, and by the decoder's limit of 128; size is
/// bounded by the frame.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    let message: T = serde_cbor::from_slice(bytes).map_err(|_| Malformed)?;
    let again = zeroize::Zeroizing::new(encode(&message));
    if again.as_slice() == bytes { Ok(message) } else { Err(Malformed) }
}

/// Encodes for the trusted channel between plugin and firmware, where fields go by number.
pub fn encode_packed<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RESERVED_BYTES);
    message
        .serialize(
            &mut serde_cbor::Serializer::new(serde_cbor::ser::IoWrite::new(&mut bytes)).packed_format(),
        )
        .expect("message types hold only what CBOR can carry, and a Vec takes every write");
    bytes
}

/// Decodes what [`encode_packed`] wrote: a message from within the boundary, or a record whose seal was checked. Unknown
/// fields, duplicate keys and trailing bytes are refused; it is not asked whether the encoding is the only one, since
/// nobody else could have written it.
pub fn decode_packed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    serde_cbor::from_slice(bytes).map_err(|_| Malformed)
}
