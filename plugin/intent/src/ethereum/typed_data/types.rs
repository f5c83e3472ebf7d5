//! The types of typed data (EIP-712, "Definition of typed structured data"), and their encoding.

use super::super::json::{Json, MEMBERS_MAX};
use crate::ethereum::keccak256;

/// How many types a document may define.
const TYPES_MAX: usize = 32;

/// How long a name may be, in bytes.
const NAME_MAX_BYTES: usize = 64;

/// How many dimensions an array may have.
const DIMENSIONS_MAX: usize = 4;

/// The type of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Address,
    /// `uint8` to `uint256`: the number of bits.
    Uint(usize),
    /// `int8` to `int256`: the number of bits.
    Int(usize),
    /// `bytes1` to `bytes32`: the number of bytes.
    FixedBytes(usize),
    Bytes,
    Text,
    /// A struct, by its place among the types.
    Struct(usize),
    /// So many elements of a type; any number where there is none.
    Array(Box<Type>, Option<usize>),
}

/// One member of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) kind: Type,
    spelling: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Struct {
    name: String,
    pub(super) members: Vec<Member>,
    /// `encodeType` of EIP-712, and its hash; empty until the struct is used.
    pub(super) encoding: String,
    pub(super) hash: [u8; 32],
}

/// All types of a document. Holding one proves that every name is an identifier, that every member's type is known, and
/// that no type contains itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Types {
    structs: Vec<Struct>,
}

impl Types {
    /// Of the document's member `types`.
    pub(super) fn read(types: &Json) -> Option<Self> {
        let defined = types.members().filter(|defined| defined.len() <= TYPES_MAX)?;
        let names: Vec<&str> = defined.iter().map(|(name, _)| name.as_str()).collect();
        let mut structs = Vec::with_capacity(defined.len());
        for (name, members) in defined {
            // A struct that is named like an atomic type would take its place.
            if !is_identifier(name) || is_like_elementary(name) {
                return None;
            }
            let members = read_members(members.list()?, &names)?;
            structs.push(Struct { name: name.clone(), members, encoding: String::new(), hash: [0; 32] });
        }
        let mut types = Self { structs };
        for at in 0..types.structs.len() {
            let encoding = types.encode(at)?;
            if let Some(known) = types.structs.get_mut(at) {
                known.hash = keccak256(encoding.as_bytes());
                known.encoding = encoding;
            }
        }
        Some(types)
    }

    /// The place of a struct.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.structs.iter().position(|known| known.name == name)
    }

    pub(super) fn get(&self, at: usize) -> Option<&Struct> {
        self.structs.get(at)
    }

    /// `encodeType`: the struct itself, then all that it refers to, sorted by name. `None` if a struct contains itself:
    /// EIP-712 has recursive types, but nothing that people sign needs them.
    fn encode(&self, at: usize) -> Option<String> {
        let mut found = Vec::new();
        self.collect(at, &mut Vec::new(), &mut found)?;
        found.retain(|known| *known != at);
        let mut others: Vec<&Struct> = found.iter().filter_map(|known| self.get(*known)).collect();
        others.sort_by(|one, other| one.name.cmp(&other.name));
        let mut text = self.get(at)?.definition();
        for other in others {
            text.push_str(&other.definition());
        }
        Some(text)
    }

    /// Walks all structs that one refers to; `path` is where the walk stands, `found` where it has been.
    fn collect(&self, at: usize, path: &mut Vec<usize>, found: &mut Vec<usize>) -> Option<()> {
        if path.contains(&at) {
            return None;
        }
        if found.contains(&at) {
            return Some(());
        }
        path.push(at);
        for member in &self.get(at)?.members {
            if let Type::Struct(other) = member.kind.innermost() {
                self.collect(*other, path, found)?;
            }
        }
        path.pop();
        found.push(at);
        Some(())
    }
}

impl Struct {
    /// `name ‖ "(" ‖ member₁ ‖ "," ‖ member₂ ‖ "," ‖ … ‖ memberₙ ")"`.
    fn definition(&self) -> String {
        let members: Vec<String> =
            self.members.iter().map(|member| format!("{} {}", member.spelling, member.name)).collect();
        format!("{}({})", self.name, members.join(","))
    }
}

impl Type {
    fn innermost(&self) -> &Type {
        if let Type::Array(element, _) = self { element.innermost() } else { self }
    }

    fn read(spelling: &str, structs: &[&str]) -> Option<Self> {
        let (base, dimensions) = spelling.split_at(spelling.find('[').unwrap_or(spelling.len()));
        let element =
            elementary(base).or_else(|| structs.iter().position(|known| *known == base).map(Type::Struct))?;
        let mut kind = element;
        let mut rest = dimensions;
        for _ in 0..DIMENSIONS_MAX {
            let Some(inside) = rest.strip_prefix('[') else { break };
            let (size, after) = inside.split_once(']')?;
            let size = if size.is_empty() { None } else { Some(number(size)?) };
            (kind, rest) = (Type::Array(Box::new(kind), size), after);
        }
        rest.is_empty().then_some(kind)
    }
}

fn read_members(members: &[Json], structs: &[&str]) -> Option<Vec<Member>> {
    if members.len() > MEMBERS_MAX {
        return None;
    }
    let mut read: Vec<Member> = Vec::with_capacity(members.len());
    for member in members {
        let [name, spelling] = member.exactly(["name", "type"])?;
        let (name, spelling) = (name.text()?, spelling.text()?);
        if !is_identifier(name) || read.iter().any(|known| known.name == name) {
            return None;
        }
        let kind = Type::read(spelling, structs)?;
        read.push(Member { name: name.to_owned(), kind, spelling: spelling.to_owned() });
    }
    Some(read)
}

/// The atomic and dynamic types. "Note that there are no aliases `uint` and `int`."
fn elementary(name: &str) -> Option<Type> {
    match name {
        "bool" => Some(Type::Bool),
        "address" => Some(Type::Address),
        "bytes" => Some(Type::Bytes),
        "string" => Some(Type::Text),
        _ => {
            let bits = |text| number(text).filter(|bits| bits % 8 == 0 && (8..=256).contains(bits));
            if let Some(rest) = name.strip_prefix("uint") {
                bits(rest).map(Type::Uint)
            } else if let Some(rest) = name.strip_prefix("int") {
                bits(rest).map(Type::Int)
            } else {
                let length = number(name.strip_prefix("bytes")?)?;
                (length <= 32).then_some(Type::FixedBytes(length))
            }
        }
    }
}

/// A positive decimal number of at most four digits, without leading zeros.
fn number(text: &str) -> Option<usize> {
    let digits = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if digits { text.parse().ok() } else { None }
}

/// Names that are, or look like, types that Solidity brings along.
fn is_like_elementary(name: &str) -> bool {
    let families = ["uint", "int", "bytes", "fixed", "ufixed"];
    let is_sized = |family: &str| {
        name.strip_prefix(family)
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x'))
    };
    ["bool", "address", "string", "function", "byte"].contains(&name) || families.into_iter().any(is_sized)
}

/// A Solidity identifier.
fn is_identifier(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
    name.len() <= NAME_MAX_BYTES
        && name.bytes().all(is_part)
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}
