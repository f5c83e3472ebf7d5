//! The vectors.

mod passkeys;
mod seals;
mod statements;

use crate::json::{Json, hex, text};

/// What a vector says of itself.
pub(crate) struct Vector {
    name: String,
    kind: &'static str,
    fields: Vec<(&'static str, Json)>,
    more: Vec<(&'static str, Json)>,
    reason: Option<&'static str>,
}

impl Vector {
    fn new(name: impl Into<String>, kind: &'static str, fields: Vec<(&'static str, Json)>) -> Self {
        Self { name: name.into(), kind, fields, more: Vec::new(), reason: None }
    }

    fn with(mut self, name: &'static str, value: Json) -> Self {
        self.more.push((name, value));
        self
    }

    fn refused(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    fn json(self) -> Json {
        let mut members =
            vec![("name", text(self.name)), ("kind", text(self.kind)), ("fields", Json::Object(self.fields))];
        members.extend(self.more);
        match self.reason {
            None => members.push(("must", text("accept"))),
            Some(reason) => members.extend([("must", text("refuse")), ("reason", text(reason))]),
        }
        Json::Object(members)
    }
}

fn bytes(vector: Vector, bytes: &[u8]) -> Vector {
    vector.with("bytes", hex(bytes))
}

pub(crate) fn vectors() -> Vec<Json> {
    let all = [statements::vectors(), seals::vectors(), passkeys::vectors()];
    all.into_iter().flatten().map(Vector::json).collect()
}
