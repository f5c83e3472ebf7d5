//! What must hold of everything that is read, whoever made it. Each function takes any bytes, panics when a property is
//! breached, and says whether the bytes were read; tests and fuzzers call them. Never part of an image.
//!
//! The other opinion on CBOR is that of `ciborium`, which shares no code with the reader.

use crate::client::{Reply, Request};
use crate::frame::{self, CLIENT_MAX_BYTES, HEADER_BYTES};
use crate::hal::{Delivery, Output, Started, WritableMemory};
use crate::names::{AccountName, ApiKey, KeyLabel, KeyName, NAME_MAX_BYTES, TenantName, TypedCode};
use crate::path::{DerivationPath, PATH_MAX_DEPTH};
use core::fmt::Debug;
use serde::{Serialize, de::DeserializeOwned};

/// A request or a reply that is read encodes to the same bytes, and another reader of CBOR reads the same. And the other
/// way: what is canonical to the other one is read.
pub fn check_client(bytes: &[u8]) -> bool {
    let request = check_strict::<Request>(bytes);
    let reply = check_strict::<Reply>(bytes);
    assert!(!(request && reply), "no bytes are both a request and a reply");
    request || reply
}

fn check_strict<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let other = || ciborium::from_reader::<T, _>(bytes).ok();
    let Ok(message) = crate::decode::<T>(bytes) else {
        let canonical = other().filter(|message| {
            let mut again = Vec::new();
            ciborium::into_writer(message, &mut again).is_ok() && again == bytes
        });
        assert_eq!(canonical, None, "it is canonical to the other one");
        return false;
    };
    assert_eq!(crate::encode(&message), bytes, "one message, one encoding");
    assert_eq!(other().as_ref(), Some(&message), "the other one reads the same");
    true
}

/// A message between plugin and firmware that is read is written and read again as the same.
pub fn check_hal(bytes: &[u8]) -> bool {
    let read = [
        check_packed::<Output>(bytes),
        check_packed::<Delivery>(bytes),
        check_packed::<WritableMemory>(bytes),
        check_packed::<Started>(bytes),
    ];
    read.contains(&true)
}

/// What [`crate::decode_packed`] reads is written and read again as the same, from then on in the same bytes.
pub fn check_packed<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let Ok(message) = crate::decode_packed::<T>(bytes) else { return false };
    let again = crate::encode_packed(&message);
    let second = crate::decode_packed::<T>(&again).expect("what was written is read");
    assert_eq!(second, message);
    assert_eq!(crate::encode_packed(&second), again);
    true
}

/// A stream gives the same frames however it arrives: the first byte says in which pieces, the rest is the stream. The
/// frames that came out, written again, are the bytes that they took; what stops the stream is a length out of bounds.
pub fn check_frames(bytes: &[u8]) -> bool {
    let Some((piece, stream)) = bytes.split_first() else { return false };
    let piece = usize::from(*piece).max(1);
    let whole = [16, CLIENT_MAX_BYTES].map(|max_bytes| {
        let whole = frames(stream, max_bytes);
        let mut buffer = Vec::new();
        let (mut at, mut payloads, mut stopped) = (0, Vec::new(), false);
        for more in stream.chunks(piece) {
            buffer.extend_from_slice(more);
            let (mut next, taken, bad) = frames(&buffer[at..], max_bytes);
            payloads.append(&mut next);
            at += taken;
            stopped |= bad;
        }
        assert_eq!((payloads, at, stopped), whole, "in pieces of {piece} bytes");
        whole
    });
    whole.iter().any(|(payloads, ..)| !payloads.is_empty())
}

/// The payloads at the front of a stream, how many bytes they took with their headers, and whether a bad length follows.
fn frames(stream: &[u8], max_bytes: usize) -> (Vec<Vec<u8>>, usize, bool) {
    let (mut payloads, mut again, mut bad) = (Vec::new(), Vec::new(), false);
    loop {
        let rest = &stream[again.len()..];
        // Big-endian, digit by digit: not how the reader does it.
        let said = rest.get(..HEADER_BYTES);
        let said = said.map(|header| header.iter().fold(0, |sum, byte| sum * 256 + u64::from(*byte)));
        let in_bounds = said.is_none_or(|said| said > 0 && said <= max_bytes as u64);
        match frame::split_first(rest, max_bytes) {
            Ok(Some((payload, taken))) => {
                assert!(in_bounds && taken == HEADER_BYTES + payload.len());
                assert_eq!(said, Some(payload.len() as u64));
                frame::append(&mut again, payload);
                payloads.push(payload.to_vec());
            }
            Ok(None) => {
                assert!(in_bounds && said.is_none_or(|said| said > (rest.len() - HEADER_BYTES) as u64));
                break;
            }
            Err(_) => {
                assert!(!in_bounds, "only a length out of bounds stops a stream");
                bad = true;
                break;
            }
        }
    }
    assert!(stream.starts_with(&again), "what came out is what went in");
    (payloads, again.len(), bad)
}

/// Names, labels, API keys, codes and paths from any text: what is read is the text itself, in its one form.
pub fn check_texts(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    let account = AccountName::parse(text).map(|name| assert_eq!(name.as_str(), text)).is_ok();
    let key = KeyName::parse(text).map(|name| assert_eq!(name.as_str(), text)).is_ok();
    let tenant = TenantName::parse(text).map(|name| assert_eq!(name.as_str(), text)).is_ok();
    let is_name = |extra: &str| {
        let first = text.chars().next().is_some_and(|c| matches!(c, 'a'..='z' | '0'..='9'));
        let all =
            text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-') || extra.contains(c));
        first && all && text.len() <= NAME_MAX_BYTES
    };
    assert_eq!((account, key, tenant), (is_name("@"), is_name(""), is_name("")));
    let label = text.parse::<KeyLabel>();
    if let Ok(label) = &label {
        assert_eq!(label.to_string(), text);
    }
    let code = TypedCode::new(text);
    assert_eq!(code.is_ok(), text.len() <= TypedCode::MAX_BYTES);
    let api_key = check_api_key(text);
    let path = check_path(text);
    account || label.is_ok() || api_key || path
}

fn check_api_key(text: &str) -> bool {
    let Ok(key) = ApiKey::parse(text) else { return false };
    assert_eq!(key.expose(), text);
    assert_eq!(format!("{key:?}"), "ApiKey(redacted)");
    assert!(text.len() > TypedCode::MAX_BYTES, "an API key is never taken for a code");
    let (secret, tenant) = text["cs1_".len()..].split_at(64);
    assert!(secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(tenant, format!("_{}", key.claimed_tenant()));
    true
}

fn check_path(text: &str) -> bool {
    let Ok(path) = text.parse::<DerivationPath>() else { return false };
    assert_eq!(path.to_string(), text.replace('\'', "h"), "one form but for the mark");
    assert!(path.steps().len() <= PATH_MAX_DEPTH);
    assert_eq!(crate::decode(&crate::encode(&path)), Ok(path.clone()));
    assert_eq!(crate::decode::<DerivationPath>(&crate::encode(&text)).is_ok(), !text.contains('\''));
    assert!(path.overlaps(&path));
    true
}
