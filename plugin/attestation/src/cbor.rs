//! The one encoding: deterministic CBOR (RFC 8949 section 4.2.1) of maps with integer keys, written and read.

use crate::Refused;
use ciborium::Value;

/// Bytes of one value.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    ciborium::into_writer(value, &mut bytes).expect("a vector takes every byte");
    bytes
}

/// A map with these keys, in the order of their encodings.
pub(crate) fn map(entries: Vec<(i64, Value)>) -> Value {
    let mut entries: Vec<(Vec<u8>, Value, Value)> = entries
        .into_iter()
        .map(|(key, value)| (encode(&Value::from(key)), Value::from(key), value))
        .collect();
    entries.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    Value::Map(entries.into_iter().map(|(_, key, value)| (key, value)).collect())
}

/// Reads a map of which every key must be asked for, once.
pub(crate) struct Map(Vec<(i64, Value)>);

impl Map {
    /// The map in these bytes, which are nothing else and have no other form.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let value: Value = ciborium::from_reader(bytes).map_err(|_| Refused::Malformed)?;
        // Not the shortest form, or bytes behind it: all of that shows here.
        if encode(&value) != bytes {
            return Err(Refused::Malformed);
        }
        Self::of(value)
    }

    /// The map that a value is, its keys in the one order and none twice.
    pub(crate) fn of(value: Value) -> Result<Self, Refused> {
        let entries = value.into_map().map_err(|_| Refused::Malformed)?;
        if !entries.iter().map(|(key, _)| encode(key)).is_sorted_by(|one, next| one < next) {
            return Err(Refused::Malformed);
        }
        let keyed = entries.into_iter().map(|(key, value)| {
            let key = key.as_integer().and_then(|key| i64::try_from(key).ok());
            key.map(|key| (key, value)).ok_or(Refused::Malformed)
        });
        Ok(Self(keyed.collect::<Result<_, _>>()?))
    }

    /// The value of a key.
    pub(crate) fn take(&mut self, key: i64) -> Result<Value, Refused> {
        let at = self.0.iter().position(|(found, _)| *found == key).ok_or(Refused::Malformed)?;
        Ok(self.0.remove(at).1)
    }

    pub(crate) fn bytes<const N: usize>(&mut self, key: i64) -> Result<[u8; N], Refused> {
        bytes(self.take(key)?)
    }

    pub(crate) fn number(&mut self, key: i64) -> Result<u64, Refused> {
        number(&self.take(key)?)
    }

    pub(crate) fn text(&mut self, key: i64) -> Result<String, Refused> {
        text(self.take(key)?)
    }

    pub(crate) fn flag(&mut self, key: i64) -> Result<bool, Refused> {
        self.take(key)?.into_bool().map_err(|_| Refused::Malformed)
    }

    /// Nothing is left that was not asked for.
    pub(crate) fn end(self) -> Result<(), Refused> {
        if self.0.is_empty() { Ok(()) } else { Err(Refused::Malformed) }
    }
}

/// Exactly so many bytes.
pub(crate) fn bytes<const N: usize>(value: Value) -> Result<[u8; N], Refused> {
    let bytes = value.into_bytes().map_err(|_| Refused::Malformed)?;
    bytes.try_into().map_err(|_| Refused::Malformed)
}

/// An unsigned integer.
pub(crate) fn number(value: &Value) -> Result<u64, Refused> {
    value.as_integer().and_then(|number| u64::try_from(number).ok()).ok_or(Refused::Malformed)
}

/// The longest text of a claim, in bytes.
const TEXT_MAX_BYTES: usize = 128;

/// A text of bounded length, without what could steer a terminal.
pub(crate) fn text(value: Value) -> Result<String, Refused> {
    let text = value.into_text().map_err(|_| Refused::Malformed)?;
    let plain = text.len() <= TEXT_MAX_BYTES && !text.chars().any(char::is_control);
    if plain { Ok(text) } else { Err(Refused::Malformed) }
}

/// An array of exactly so many values.
pub(crate) fn array<const N: usize>(value: Value) -> Result<[Value; N], Refused> {
    let values = value.into_array().map_err(|_| Refused::Malformed)?;
    values.try_into().map_err(|_| Refused::Malformed)
}

/// The most words in one list.
const WORDS_MAX: usize = 16;

/// A list of texts.
pub(crate) fn words(value: Value) -> Result<Vec<String>, Refused> {
    let values = value.into_array().map_err(|_| Refused::Malformed)?;
    if values.len() > WORDS_MAX {
        return Err(Refused::Malformed);
    }
    values.into_iter().map(text).collect()
}
