//! A message with one of its fields changed: what somebody on the way can make of it.

use ciborium::Value;
use countersign_wire::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many ways there are to change a leaf.
pub const WAYS: usize = 4;

/// A message with its leaf of this number changed, where that gives another message of the same kind.
pub fn changed<T>(message: &T, leaf: usize, way: usize) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let mut value = read(message);
    alter(leaf_of(&mut value, &mut leaf.clone())?, way);
    let mut bytes = Vec::new();
    ciborium::into_writer(&value, &mut bytes).expect("a Vec takes every write");
    decode::<T>(&bytes).ok().filter(|other| other != message)
}

/// How many leaves a message has.
pub fn leaves<T: Serialize>(message: &T) -> usize {
    let mut left = usize::MAX;
    assert!(leaf_of(&mut read(message), &mut left).is_none(), "no message has so many");
    usize::MAX - left
}

fn read<T: Serialize>(message: &T) -> Value {
    ciborium::from_reader(&encode(message)[..]).expect("messages are CBOR")
}

/// The leaf of this number, from which those before it are taken away.
fn leaf_of<'a>(value: &'a mut Value, number: &mut usize) -> Option<&'a mut Value> {
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| leaf_of(item, number)),
        Value::Map(pairs) => pairs.iter_mut().find_map(|(_, item)| leaf_of(item, number)),
        leaf if *number == 0 => Some(leaf),
        _ => {
            *number -= 1;
            None
        }
    }
}

fn alter(leaf: &mut Value, way: usize) {
    match leaf {
        Value::Bytes(bytes) if !bytes.is_empty() => {
            let end = bytes.len() - 1;
            match way {
                0 => bytes[0] ^= 1,
                1 => bytes[end / 2] ^= 0x80,
                2 => bytes[end] ^= 1,
                _ => bytes.truncate(end),
            }
        }
        Value::Text(text) => *text = format!("{text}{}", ["x", "0", "-", ""][way]),
        Value::Integer(number) => {
            let number_now = i128::from(*number);
            let other = number_now + [1, -1, 600, 100_000][way];
            *leaf = Value::Integer(ciborium::value::Integer::try_from(other.max(0)).expect("it is small"));
        }
        Value::Bool(truth) => *truth = !*truth,
        Value::Null => *leaf = Value::Bytes(vec![0; 64]),
        _ => {}
    }
}
