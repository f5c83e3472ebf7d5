//! Typed data (EIP-712), from the JSON of `eth_signTypedData`.
//!
//! What is signed is `keccak256("\x19\x01" ‖ hashStruct(domain) ‖ hashStruct(message))`. All of it is computed here from the
//! types, the domain and the message; there is no place where a hash could be handed in.
//!
//! The reader is stricter than the standard: the document has its four members and no other; the domain has only the five
//! fields that the standard names; every struct has exactly its members; no struct contains itself; `primaryType` is not the
//! domain. So libraries can read a document in one way alone, this one.
//!
//! Permits, which move tokens or let somebody take them, are recognised by their exact types and domain (`permits`). All
//! other typed data is shown in full and counts as opaque: what a contract does with it cannot be seen from here.
//!
//! It is encoded here and not by `alloy-dyn-abi`, which converts what it is given (numbers from strings of any form, missing
//! values, `uint` to `uint256`) and brings 25 crates with a second Keccak; the tests compare with it.

use super::calldata::Decoded;
use super::{address, ascending, hex, json, keccak256};
use crate::model::{Chain, Detail, Intent, Kind, Warning};
use countersign_wire::reason::Reason;

mod permits;
mod types;
mod values;

use types::{Type, Types};
use values::{Reader, Value};

pub use countersign_wire::client::TYPED_DATA_MAX_BYTES;

/// Typed data that was read strictly. Holding one proves that its digest is that of what its intent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedData {
    digest: [u8; 32],
    intent: Intent,
}

impl TypedData {
    /// The one constructor: reads a JSON document, or refuses it.
    pub fn read(bytes: &[u8]) -> Result<Self, Reason> {
        Self::read_document(bytes).ok_or(Reason::MalformedTypedData)
    }

    fn read_document(bytes: &[u8]) -> Option<Self> {
        let document = json::read(bytes, TYPED_DATA_MAX_BYTES)?;
        let [types, primary, domain, message] =
            document.exactly(["types", "primaryType", "domain", "message"])?;
        let types = Types::read(types)?;
        let mut reader = Reader::of(&types);
        let domain = Domain::read(&types, &mut reader, domain)?;
        let primary = types.find(primary.text()?).filter(|at| *at != domain.at)?;
        let message = reader.read_struct(primary, message)?;
        let digest = keccak256(&[&b"\x19\x01"[..], &domain.hash, &message.encode(&types)?].concat());
        Some(Self { digest, intent: intent(&types, domain, primary, &message)? })
    }

    /// What is signed.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What people and policies are told of it.
    pub fn intent(&self) -> Intent {
        self.intent.clone()
    }
}

/// The domain, which says for which contract, chain and purpose a message is.
struct Domain {
    /// Its place among the types.
    at: usize,
    /// `encodeType` of it.
    encoding: String,
    hash: [u8; 32],
    chain: Option<Chain>,
    name: Option<String>,
    contract: Option<[u8; 20]>,
    details: Vec<Detail>,
}

impl Domain {
    const TYPE: &str = "EIP712Domain";

    /// "One or more of the below fields", in any order; `chainId` is a chain's, so it is not 0 and fits 64 bits.
    fn read(types: &Types, reader: &mut Reader<'_>, given: &json::Json) -> Option<Self> {
        let at = types.find(Self::TYPE)?;
        let known = types.get(at).filter(|known| !known.members.is_empty())?;
        let value = reader.read_struct(at, given)?;
        let Value::Struct(_, values) = &value else { return None };
        let (encoding, hash) = (known.encoding.clone(), value.encode(types)?);
        let mut domain =
            Self { at, encoding, hash, chain: None, name: None, contract: None, details: Vec::new() };
        for (member, value) in known.members.iter().zip(values) {
            domain.add(&member.name, &member.kind, value)?;
        }
        Some(domain)
    }

    fn add(&mut self, name: &str, kind: &Type, value: &Value) -> Option<()> {
        let shown = match (name, kind, value) {
            ("name", _, Value::Text(text)) => {
                self.name = Some(text.clone());
                Detail { label: "domain name", text: text.clone() }
            }
            ("version", _, Value::Text(text)) => Detail { label: "domain version", text: text.clone() },
            ("chainId", Type::Uint(256), Value::Uint(id)) => {
                let id = u64::try_from(*id).ok().filter(|id| *id != 0)?;
                self.chain = Some(Chain::Ethereum(id));
                return Some(());
            }
            ("verifyingContract", _, Value::Address(bytes)) => {
                self.contract = Some(*bytes);
                Detail { label: "domain contract", text: address(bytes).as_str().to_owned() }
            }
            ("salt", Type::FixedBytes(32), Value::FixedBytes(bytes)) => {
                Detail { label: "domain salt", text: hex(bytes) }
            }
            _ => return None,
        };
        self.details.push(shown);
        Some(())
    }
}

fn intent(types: &Types, domain: Domain, primary: usize, message: &Value) -> Option<Intent> {
    let encoding = &types.get(primary)?.encoding;
    let mut told = permits::read(types, encoding, message, &domain)
        .unwrap_or_else(|| Decoded { opaque: true, ..Decoded::of(Kind::TypedData, Vec::new()) });
    let mut details = domain.details;
    details.append(&mut told.details);
    if told.opaque {
        told.warnings.push(Warning::Opaque);
        details.push(Detail { label: "domain type", text: domain.encoding });
        details.push(Detail { label: "data type", text: encoding.clone() });
        let mut lines = Vec::new();
        message.show(types, "", &mut lines);
        details.extend(lines.into_iter().map(|text| Detail { label: "data", text }));
    }
    if domain.chain.is_none() {
        told.warnings.push(Warning::AnyChain);
    }
    Some(Intent {
        kind: told.kind,
        chain: domain.chain,
        moves: told.moves,
        fee_most: None,
        nonce: None,
        opaque: told.opaque,
        warnings: ascending(told.warnings),
        details,
    })
}

#[cfg(test)]
mod tests;
