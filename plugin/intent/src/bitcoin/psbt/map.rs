//! One map of a PSBT: `(<key length> <key type> <key data> <value length> <value>)* 0x00` (BIP-174,
//! "Specification").

use super::super::reader::{MALFORMED, Reader, write_string};
use countersign_wire::reason::Reason;

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The key's type.
    kind: u64,
    /// The whole key, type included.
    key: Vec<u8>,
    /// Where the key's data begins.
    data_at: usize,
    pub(crate) value: Vec<u8>,
}

impl Field {
    fn read(key: &[u8], value: &[u8]) -> Result<Self, Reason> {
        let mut reader = Reader::new(key);
        let kind = reader.compact_size()?;
        let data_at = key.len() - reader.rest().len();
        Ok(Self { kind, key: key.to_vec(), data_at, value: value.to_vec() })
    }

    pub(crate) fn kind(&self) -> u64 {
        self.kind
    }

    /// What stands behind the key's type.
    pub(crate) fn data(&self) -> &[u8] {
        self.key.get(self.data_at..).unwrap_or_default()
    }
}

/// A map whose keys are unique, in the order in which it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    fields: Vec<Field>,
}

impl Map {
    /// Reads one map, and takes its fields off those that may still come.
    pub(crate) fn read(reader: &mut Reader<'_>, left: &mut usize) -> Result<Self, Reason> {
        let mut fields = Vec::new();
        loop {
            let key = reader.string()?;
            if key.is_empty() {
                break;
            }
            *left = left.checked_sub(1).ok_or(MALFORMED)?;
            fields.push(Field::read(key, reader.string()?)?);
        }
        let mut keys: Vec<&[u8]> = fields.iter().map(|field| field.key.as_slice()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(MALFORMED);
        }
        Ok(Self { fields })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for field in &self.fields {
            write_string(out, &field.key);
            write_string(out, &field.value);
        }
        out.push(0);
    }

    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The value of a field whose key has no data.
    pub(crate) fn get(&self, kind: u64) -> Option<&[u8]> {
        self.all(kind).find(|field| field.data().is_empty()).map(|field| field.value.as_slice())
    }

    /// The fields of one type.
    pub(crate) fn all(&self, kind: u64) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.kind == kind)
    }

    /// A field of four bytes, little endian.
    pub(crate) fn u32(&self, kind: u64) -> Result<Option<u32>, Reason> {
        let value = self.get(kind).map(<[u8; 4]>::try_from).transpose().map_err(|_| MALFORMED)?;
        Ok(value.map(u32::from_le_bytes))
    }

    /// Puts a field in, in the place of one with the same key, else before the first that has a greater key: a map
    /// that was in ascending order, as most wallets write it, stays so.
    pub(crate) fn put(&mut self, kind: u8, data: &[u8], value: Vec<u8>) {
        let key = [&[kind][..], data].concat();
        if let Some(field) = self.fields.iter_mut().find(|field| field.key == key) {
            field.value = value;
            return;
        }
        let place = self.fields.iter().position(|field| field.key > key).unwrap_or(self.fields.len());
        self.fields.insert(place, Field { kind: kind.into(), key, data_at: 1, value });
    }

    /// The value of a field, to be changed in place.
    pub(crate) fn value_mut(&mut self, kind: u64) -> Option<&mut Vec<u8>> {
        let found =
            self.fields.iter_mut().find(|field| field.kind == kind && field.data_at == field.key.len());
        found.map(|field| &mut field.value)
    }
}
