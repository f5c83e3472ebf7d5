//! How fields stand in arrays: one codec a type, bounds included, and the macros that make statements of fields.

use crate::cbor::{Malformed, Reader, Writer};
use crate::es256::PublicKey;

/// How values of one type are written and read.
pub(super) trait Codec {
    type Value;
    fn write(value: &Self::Value, writer: &mut Writer);
    fn read(reader: &mut Reader<'_>) -> Result<Self::Value, Malformed>;
}

/// Text of at most this many bytes.
pub(super) struct Text<const MAX_BYTES: usize>;

/// A byte string of at most this many bytes.
pub(super) struct Bytes<const MAX_BYTES: usize>;

/// At most this many elements.
pub(super) struct List<C, const MAX: usize>(core::marker::PhantomData<C>);

impl<const MAX_BYTES: usize> Codec for Text<MAX_BYTES> {
    type Value = String;

    fn write(value: &String, writer: &mut Writer) {
        writer.text(value);
    }

    fn read(reader: &mut Reader<'_>) -> Result<String, Malformed> {
        reader.text(MAX_BYTES).map(str::to_owned)
    }
}

impl<const MAX_BYTES: usize> Codec for Bytes<MAX_BYTES> {
    type Value = Vec<u8>;

    fn write(value: &Vec<u8>, writer: &mut Writer) {
        writer.bytes(value);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
        reader.bytes(MAX_BYTES).map(<[u8]>::to_vec)
    }
}

impl<C: Codec, const MAX: usize> Codec for List<C, MAX> {
    type Value = Vec<C::Value>;

    fn write(value: &Self::Value, writer: &mut Writer) {
        writer.array(value.len());
        for element in value {
            C::write(element, writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self::Value, Malformed> {
        let count = reader.array_up_to(MAX)?;
        (0..count).map(|_| C::read(reader)).collect()
    }
}

impl<const N: usize> Codec for [u8; N] {
    type Value = Self;

    fn write(value: &Self, writer: &mut Writer) {
        writer.bytes(value);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.fixed()
    }
}

impl Codec for u64 {
    type Value = Self;

    fn write(value: &Self, writer: &mut Writer) {
        writer.unsigned(*value);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.unsigned()
    }
}

impl Codec for bool {
    type Value = Self;

    fn write(value: &Self, writer: &mut Writer) {
        writer.truth(*value);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.truth()
    }
}

impl Codec for PublicKey {
    type Value = Self;

    fn write(value: &Self, writer: &mut Writer) {
        writer.bytes(value.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::parse(reader.bytes(65)?).map_err(|_| Malformed)
    }
}

/// A choice between words, each a text.
macro_rules! words {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// How it stands in statements.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// The one of this word, if there is one.
            pub fn of_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }

        impl $crate::statement::codec::Codec for $name {
            type Value = Self;

            fn write(value: &Self, writer: &mut $crate::cbor::Writer) {
                writer.text(value.word());
            }

            fn read(reader: &mut $crate::cbor::Reader<'_>) -> Result<Self, $crate::Malformed> {
                Self::of_word(reader.text($crate::statement::WORD_MAX_BYTES)?).ok_or($crate::Malformed)
            }
        }
    };
}

/// A struct whose fields stand in an array, in their order. `field: Type as Codec` where the type alone has no bound.
macro_rules! entry {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty $(as $codec:ty)?,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            const FIELDS: usize = [$(stringify!($field)),*].len();

            fn write_fields(&self, writer: &mut $crate::cbor::Writer) {
                use $crate::statement::codec::{Codec, codec};
                $(<codec!($type $(, $codec)?) as Codec>::write(&self.$field, writer);)*
            }

            fn read_fields(reader: &mut $crate::cbor::Reader<'_>) -> Result<Self, $crate::Malformed> {
                use $crate::statement::codec::{Codec, codec};
                Ok(Self { $($field: <codec!($type $(, $codec)?) as Codec>::read(reader)?,)* })
            }
        }

        impl $crate::statement::codec::Codec for $name {
            type Value = Self;

            fn write(value: &Self, writer: &mut $crate::cbor::Writer) {
                writer.array(Self::FIELDS);
                value.write_fields(writer);
            }

            fn read(reader: &mut $crate::cbor::Reader<'_>) -> Result<Self, $crate::Malformed> {
                reader.array(Self::FIELDS)?;
                Self::read_fields(reader)
            }
        }
    };
}

/// A struct that is a statement: its fields stand after its name, and together they pass a check.
macro_rules! statement {
    ($kind:literal, $sound:expr, $(#[$doc:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        $crate::statement::codec::entry! { $(#[$doc])* pub struct $name { $($fields)* } }

        impl $crate::statement::Statement for $name {
            const KIND: &'static str = $kind;

            fn to_bytes(&self) -> Vec<u8> {
                let mut writer = $crate::cbor::Writer::new();
                writer.array(1 + Self::FIELDS);
                writer.text($kind);
                self.write_fields(&mut writer);
                writer.finish()
            }

            fn parse(bytes: &[u8]) -> Result<Self, $crate::statement::BadStatement> {
                use $crate::statement::BadStatement;
                let mut reader = $crate::statement::codec::named(bytes, $kind, 1 + Self::FIELDS)?;
                let statement = Self::read_fields(&mut reader)?;
                reader.end()?;
                let sound: fn(&Self) -> bool = $sound;
                // The reader knows one encoding only; that it is the writer's is asked all the same.
                if sound(&statement) && statement.to_bytes() == bytes {
                    Ok(statement)
                } else {
                    Err(BadStatement::Malformed)
                }
            }
        }
    };
}

/// The codec of a field.
macro_rules! codec {
    ($type:ty) => {
        $type
    };
    ($type:ty, $codec:ty) => {
        $codec
    };
}

pub(super) use {codec, entry, statement, words};

/// A reader that stands behind the name of a statement.
pub(super) fn named<'a>(
    bytes: &'a [u8],
    kind: &str,
    elements: usize,
) -> Result<Reader<'a>, super::BadStatement> {
    if bytes.len() > super::STATEMENT_MAX_BYTES {
        return Err(super::BadStatement::Malformed);
    }
    let mut reader = Reader::new(bytes);
    let found = reader.array_up_to(usize::from(u8::MAX))?;
    if reader.text(super::WORD_MAX_BYTES)? != kind {
        return Err(super::BadStatement::AnotherKind);
    }
    if found == elements { Ok(reader) } else { Err(super::BadStatement::Malformed) }
}

impl Codec for crate::digest::Purpose {
    type Value = Self;

    fn write(value: &Self, writer: &mut Writer) {
        writer.text(value.word());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::of_word(reader.text(super::WORD_MAX_BYTES)?).ok_or(Malformed)
    }
}
