//! The values of typed data: read from JSON by their types, encoded, and shown.
//!
//! Each type takes the JSON that can only mean it: a `string` a string, a `bool` a truth value, integers a JSON integer, a
//! string of decimal digits, or (unsigned) a string of hex digits; bytes `0x` and exactly as many hex digits as they have.
//! A struct has exactly its members. Nothing is filled in, cut off, padded or converted.

use super::super::json::Json;
use super::types::{Type, Types};
use crate::ethereum::{address, hex, keccak256};
use crate::model::Amount;
use data_encoding::HEXLOWER_PERMISSIVE;

/// How many values a document may have, at every depth: all are shown to people.
pub(super) const VALUES_MAX: usize = 256;

/// A value that fits its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Address([u8; 20]),
    Uint(Amount),
    /// In two's complement.
    Int(Amount),
    /// `bytes1` to `bytes32`.
    FixedBytes(Vec<u8>),
    Bytes(Vec<u8>),
    Text(String),
    /// The struct's place among the types, and its members in their order.
    Struct(usize, Vec<Value>),
    List(Vec<Value>),
}

/// Reads values and counts them.
pub(super) struct Reader<'a> {
    types: &'a Types,
    left: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn of(types: &'a Types) -> Self {
        Self { types, left: VALUES_MAX }
    }

    pub(super) fn read(&mut self, kind: &Type, json: &Json) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        match (kind, json) {
            (Type::Bool, Json::Bool(value)) => Some(Value::Bool(*value)),
            (Type::Address, Json::Text(text)) => read_address(text).map(Value::Address),
            (Type::Uint(bits), json) => unsigned(*bits, json).map(Value::Uint),
            (Type::Int(bits), json) => signed(*bits, json).map(Value::Int),
            (Type::FixedBytes(length), Json::Text(text)) => {
                read_bytes(text).filter(|bytes| bytes.len() == *length).map(Value::FixedBytes)
            }
            (Type::Bytes, Json::Text(text)) => read_bytes(text).map(Value::Bytes),
            (Type::Text, Json::Text(text)) => Some(Value::Text(text.clone())),
            (Type::Struct(at), json) => self.read_struct(*at, json),
            (Type::Array(element, length), Json::List(items)) => {
                if length.is_some_and(|length| length != items.len()) {
                    return None;
                }
                let values = items.iter().map(|item| self.read(element, item)).collect::<Option<_>>()?;
                Some(Value::List(values))
            }
            _ => None,
        }
    }

    /// A struct from an object with exactly its members.
    pub(super) fn read_struct(&mut self, at: usize, json: &Json) -> Option<Value> {
        let members = &self.types.get(at)?.members;
        let given = json.members().filter(|given| given.len() == members.len())?;
        let mut values = Vec::with_capacity(members.len());
        for member in members {
            let (_, value) = given.iter().find(|(name, _)| *name == member.name)?;
            values.push(self.read(&member.kind, value)?);
        }
        Some(Value::Struct(at, values))
    }
}

impl Value {
    /// `hashStruct` of EIP-712: `keccak256(typeHash ‖ encodeData(s))`; for atomic and dynamic values what `encodeData` says.
    pub(super) fn encode(&self, types: &Types) -> Option<[u8; 32]> {
        match self {
            Value::Bool(value) => Some(Amount::from(u8::from(*value)).to_be_bytes()),
            Value::Address(bytes) => Some(right_aligned(bytes)),
            Value::Uint(value) | Value::Int(value) => Some(value.to_be_bytes()),
            Value::FixedBytes(bytes) => {
                let mut word = [0; 32];
                word.get_mut(..bytes.len())?.copy_from_slice(bytes);
                Some(word)
            }
            Value::Bytes(bytes) => Some(keccak256(bytes)),
            Value::Text(text) => Some(keccak256(text.as_bytes())),
            Value::Struct(at, members) => {
                let mut all = types.get(*at)?.hash.to_vec();
                all.extend(concatenated(members, types)?);
                Some(keccak256(&all))
            }
            Value::List(items) => Some(keccak256(&concatenated(items, types)?)),
        }
    }

    /// One line for each value, `where.it[0].stands: value`, in the order of the type.
    pub(super) fn show(&self, types: &Types, path: &str, lines: &mut Vec<String>) {
        match self {
            Value::Struct(at, members) => {
                let Some(known) = types.get(*at) else { return };
                if members.is_empty() {
                    lines.push(format!("{path}: no members"));
                }
                for (member, value) in known.members.iter().zip(members) {
                    let dot = if path.is_empty() { "" } else { "." };
                    value.show(types, &format!("{path}{dot}{}", member.name), lines);
                }
            }
            Value::List(items) => {
                if items.is_empty() {
                    lines.push(format!("{path}: no elements"));
                }
                for (at, item) in items.iter().enumerate() {
                    item.show(types, &format!("{path}[{at}]"), lines);
                }
            }
            Value::Bool(value) => lines.push(format!("{path}: {value}")),
            Value::Address(bytes) => lines.push(format!("{path}: {}", address(bytes))),
            Value::Uint(value) => lines.push(format!("{path}: {value}")),
            Value::Int(value) => lines.push(format!("{path}: {}", signed_text(*value))),
            Value::FixedBytes(bytes) | Value::Bytes(bytes) => lines.push(format!("{path}: {}", hex(bytes))),
            Value::Text(text) => lines.push(format!("{path}: {text}")),
        }
    }
}

fn concatenated(values: &[Value], types: &Types) -> Option<Vec<u8>> {
    let words: Option<Vec<[u8; 32]>> = values.iter().map(|value| value.encode(types)).collect();
    Some(words?.concat())
}

fn right_aligned(bytes: &[u8; 20]) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].copy_from_slice(bytes);
    word
}

/// `0x` and 40 hex digits: all in lower case, all in upper case, or with the checksum of EIP-55.
fn read_address(text: &str) -> Option<[u8; 20]> {
    let bytes: [u8; 20] = read_bytes(text)?.try_into().ok()?;
    let digits = text.strip_prefix("0x")?;
    let is_plain = digits == digits.to_ascii_lowercase() || digits == digits.to_ascii_uppercase();
    (is_plain || address(&bytes).as_str() == text).then_some(bytes)
}

/// `0x` and an even number of hex digits.
fn read_bytes(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.strip_prefix("0x")?.as_bytes()).ok()
}

fn unsigned(bits: usize, json: &Json) -> Option<Amount> {
    let value = match json {
        Json::Positive(value) => Amount::from(*value),
        Json::Text(text) => match text.strip_prefix("0x") {
            Some(digits) => hex_digits(digits)?,
            None => decimal(text)?,
        },
        _ => return None,
    };
    (value.bit_len() <= bits).then_some(value)
}

/// An integer of so many bits, in two's complement of 256 bits.
fn signed(bits: usize, json: &Json) -> Option<Amount> {
    let (negative, magnitude) = match json {
        Json::Positive(value) => (false, Amount::from(*value)),
        Json::Negative(value) => (true, Amount::from(value.unsigned_abs())),
        Json::Text(text) => match text.strip_prefix('-') {
            Some(digits) => (true, decimal(digits).filter(|value| !value.is_zero())?),
            None => (false, decimal(text)?),
        },
        _ => return None,
    };
    let half = Amount::ONE.checked_shl(bits.checked_sub(1)?)?;
    let fits = if negative { magnitude <= half } else { magnitude < half };
    fits.then(|| if negative { magnitude.wrapping_neg() } else { magnitude })
}

/// Decimal digits without leading zeros.
fn decimal(text: &str) -> Option<Amount> {
    let is_canonical = text == "0" || !text.starts_with('0');
    let is_number = !text.is_empty() && text.len() <= 78 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_canonical && is_number { Amount::from_str_radix(text, 10).ok() } else { None }
}

/// 1 to 64 hex digits.
fn hex_digits(text: &str) -> Option<Amount> {
    let is_number = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number { Amount::from_str_radix(text, 16).ok() } else { None }
}

fn signed_text(value: Amount) -> String {
    if value.bit(255) { format!("-{}", value.wrapping_neg()) } else { value.to_string() }
}
