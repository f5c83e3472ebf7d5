//! `clientDataJSON` (WebAuthn level 3 section 5.8.1): what the browser says was asked for, and by whom.
//!
//! `serde_json` does the grammar (RFC 8259): it refuses what is not UTF-8, lone surrogates and trailing bytes, and it
//! resolves escapes, so that a key is the same key however it is spelled. Size, depth and counts are bounded here, and a
//! key that stands twice in any object is refused. Unknown members may stand there: browsers add some.

use super::{CLIENT_DATA_MAX_BYTES, PasskeyProblem};
use core::cell::Cell;
use data_encoding::BASE64URL_NOPAD;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How deep objects and lists may nest.
const DEPTH_MAX: usize = 4;

/// How many members an object may have.
const MEMBERS_MAX: usize = 32;

/// What is read of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientData {
    kind: String,
    challenge: String,
    pub(super) origin: String,
    cross_origin: bool,
}

impl ClientData {
    /// Reads it strictly. `crossOrigin` may be absent; that it has a `topOrigin` says that it is cross-origin, too.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PasskeyProblem> {
        let Json::Object(mut members) = read(bytes)? else { return Err(PasskeyProblem::Malformed) };
        let mut take = |name: &str| {
            let at = members.iter().position(|(known, _)| known == name)?;
            Some(members.swap_remove(at).1)
        };
        let mut text = |name: &str| match take(name) {
            Some(Json::Text(text)) => Ok(text),
            _ => Err(PasskeyProblem::Malformed),
        };
        let (kind, challenge, origin) = (text("type")?, text("challenge")?, text("origin")?);
        let cross_origin = match take("crossOrigin") {
            None => false,
            Some(Json::Bool(value)) => value,
            Some(_) => return Err(PasskeyProblem::Malformed),
        };
        let cross_origin = cross_origin || take("topOrigin").is_some();
        Ok(Self { kind, challenge, origin, cross_origin })
    }

    /// That it was this ceremony, over this challenge, and not asked for from within another page.
    pub(super) fn check_ceremony(&self, kind: &str, challenge: &[u8; 32]) -> Result<(), PasskeyProblem> {
        if self.kind != kind {
            return Err(PasskeyProblem::WrongType);
        }
        if self.challenge != BASE64URL_NOPAD.encode(challenge) {
            return Err(PasskeyProblem::WrongChallenge);
        }
        if self.cross_origin { Err(PasskeyProblem::CrossOrigin) } else { Ok(()) }
    }
}

#[cfg(any(test, feature = "properties"))]
impl ClientData {
    /// `type` and `challenge`.
    pub(super) fn texts(&self) -> (&String, &String) {
        (&self.kind, &self.challenge)
    }

    pub(super) fn crosses(&self) -> bool {
        self.cross_origin
    }
}

/// A value, as far as anybody here wants to know it.
#[derive(Debug, PartialEq, Eq)]
enum Json {
    Text(String),
    Bool(bool),
    Object(Vec<(String, Json)>),
    /// An integer, a list or nothing. What could only be read as a float is refused.
    Other,
}

/// Reads one value that spans the whole input.
fn read(bytes: &[u8]) -> Result<Json, PasskeyProblem> {
    if bytes.len() > CLIENT_DATA_MAX_BYTES || depth(bytes) > DEPTH_MAX {
        return Err(PasskeyProblem::Malformed);
    }
    let twice = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read =
        Reader { twice: &twice }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let problem = if twice.get() { PasskeyProblem::DuplicateKey } else { PasskeyProblem::Malformed };
    read.map_err(|_| problem)
}

/// How deep brackets nest outside of strings. Of what is not JSON it may say anything; the reader refuses that later.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Reads values, and notes a key that stands twice.
#[derive(Clone, Copy)]
struct Reader<'a> {
    twice: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(Json::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(name) = entries.next_key::<String>()? {
            if members.iter().any(|(known, _)| *known == name) {
                self.twice.set(true);
                return Err(A::Error::custom("a key that stands twice"));
            }
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom("too many members"));
            }
            members.push((name, entries.next_value_seed(self)?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests;
