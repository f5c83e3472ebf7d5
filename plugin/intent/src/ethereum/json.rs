//! JSON, read strictly: numbers are integers without loss, no name stands twice, nothing is null, and size, depth and counts
//! are bounded before anything is built.
//!
//! `serde_json` does the grammar (RFC 8259) and refuses what is not UTF-8, lone surrogates and trailing bytes. Numbers that
//! it could only read as floats (fractions, exponents, -0, beyond 64 bits) are refused: such values travel as strings.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How deep objects and lists may nest.
const DEPTH_MAX: usize = 16;

/// How many members an object may have.
pub(super) const MEMBERS_MAX: usize = 64;

/// A value. Objects keep their members in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Bool(bool),
    /// From 0 on.
    Positive(u64),
    /// Below 0.
    Negative(i64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Reads one value that spans the whole input.
pub(super) fn read(bytes: &[u8], bytes_max: usize) -> Option<Json> {
    if bytes.len() > bytes_max || depth(bytes) > DEPTH_MAX {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

impl Json {
    /// The members of an object, if it is one.
    pub(super) fn members(&self) -> Option<&[(String, Json)]> {
        if let Json::Object(members) = self { Some(members) } else { None }
    }

    /// The values of an object that has exactly these names, in this order.
    pub(super) fn exactly<const N: usize>(&self, names: [&str; N]) -> Option<[&Json; N]> {
        let members = self.members().filter(|members| members.len() == N)?;
        let mut values = [self; N];
        for (value, name) in values.iter_mut().zip(names) {
            *value = members.iter().find_map(|(known, value)| (known == name).then_some(value))?;
        }
        Some(values)
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn list(&self) -> Option<&[Json]> {
        if let Json::List(list) = self { Some(list) } else { None }
    }
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

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// The largest integer that JavaScript reads as it is written (ECMA-262, `Number.MAX_SAFE_INTEGER`): a wallet that shows the
/// same document would show another number. Larger ones are written as text.
const SAFE_MAX: u64 = (1 << 53) - 1;

/// Whatever it has no method for (floats, null) is refused by serde.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a truth value, an integer, a string, a list or an object")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        if value > SAFE_MAX {
            return Err(E::custom("an integer that others would round"));
        }
        Ok(Json::Positive(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        if value.unsigned_abs() > SAFE_MAX {
            return Err(E::custom("an integer that others would round"));
        }
        Ok(u64::try_from(value).map_or(Json::Negative(value), Json::Positive))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some((name, value)) = entries.next_entry::<String, Json>()? {
            if members.len() == MEMBERS_MAX || members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("too many names, or one that stands twice"));
            }
            members.push((name, value));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<Json> {
        read(text.as_bytes(), 1024)
    }

    #[test]
    fn values_are_read_without_loss() {
        let largest = r#"[9007199254740991, -9007199254740991, 0, true, "\u00e9\n"]"#;
        let read = [
            Json::Positive(SAFE_MAX),
            Json::Negative(-9_007_199_254_740_991),
            Json::Positive(0),
            Json::Bool(true),
            Json::Text("\u{e9}\n".to_owned()),
        ];
        assert_eq!(json(largest), Some(Json::List(read.to_vec())));
    }

    #[test]
    fn refuses_numbers_that_would_lose_something() {
        for number in [
            "1.0",
            "1e3",
            "-0",
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551616",
            "0.1",
            "01",
            "+1",
            "NaN",
        ] {
            assert_eq!(json(number), None, "{number}");
        }
    }

    #[test]
    fn refuses_a_name_that_stands_twice_however_it_is_spelled() {
        assert_eq!(json(r#"{"a":1,"a":1}"#), None);
        assert_eq!(json(r#"{"a":1,"\u0061":2}"#), None);
        assert_eq!(json(r#"[{"b":{"a":1,"c":2,"a":3}}]"#), None);
        assert!(json(r#"{"a":1,"A":1}"#).is_some());
    }

    #[test]
    fn refuses_null_trailing_bytes_and_what_is_not_json() {
        for text in
            ["null", r#"{"a":null}"#, "1 1", "{}x", "", "'a'", "[1,]", r#"{"a":1,}"#, r#""\ud800""#, "\"\n\""]
        {
            assert_eq!(json(text), None, "{text}");
        }
        assert_eq!(read(b"\"\xff\"", 10), None);
        assert_eq!(read(b"\xef\xbb\xbf1", 10), None, "byte order mark");
    }

    #[test]
    fn i14_size_depth_and_members_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(json(&nested(DEPTH_MAX)).is_some());
        assert_eq!(json(&nested(DEPTH_MAX + 1)), None);
        assert_eq!(read("[".repeat(1 << 20).as_bytes(), usize::MAX), None, "a million open brackets");
        assert!(json(r#"["[[[[[[[[[[[[[[[[[[[[\"[[[["]"#).is_some(), "brackets in a string");
        assert_eq!(read(b"12345", 4), None);
        let members = |count: usize| {
            let all: Vec<String> = (0..count).map(|name| format!("\"{name}\":1")).collect();
            format!("{{{}}}", all.join(","))
        };
        assert!(json(&members(MEMBERS_MAX)).is_some());
        assert_eq!(json(&members(MEMBERS_MAX + 1)), None);
    }

    #[test]
    fn an_object_has_exactly_the_names_that_are_asked_for() {
        let object = json(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!(object.exactly(["a", "b"]), Some([&Json::Positive(1), &Json::Positive(2)]));
        assert_eq!(object.exactly(["a"]), None, "one too many");
        assert_eq!(object.exactly(["a", "b", "c"]), None, "one too few");
        assert_eq!(object.exactly(["a", "c"]), None, "another");
    }
}
