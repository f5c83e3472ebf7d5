//! JSON whose members keep their order.

use core::fmt::Write;

pub(crate) enum Json {
    Text(String),
    Number(u64),
    Truth(bool),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

pub(crate) fn text(text: impl Into<String>) -> Json {
    Json::Text(text.into())
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> Json {
    Json::Text(data_encoding::HEXLOWER.encode(bytes.as_ref()))
}

impl Json {
    /// One line each, but lists and objects of plain values within statements on one line.
    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out.push('\n');
        out
    }

    fn write(&self, out: &mut String, depth: usize) {
        let (open, close, items): (char, char, Vec<(Option<&str>, &Json)>) = match self {
            Self::Text(text) => return out.push_str(&serde_json::to_string(text).unwrap()),
            Self::Number(number) => return write!(out, "{number}").unwrap(),
            Self::Truth(truth) => return write!(out, "{truth}").unwrap(),
            Self::List(items) => ('[', ']', items.iter().map(|item| (None, item)).collect()),
            Self::Object(items) => ('{', '}', items.iter().map(|(name, item)| (Some(*name), item)).collect()),
        };
        let lines = depth < 4 && !items.is_empty();
        out.push(open);
        for (index, (name, item)) in items.iter().enumerate() {
            if index > 0 {
                out.push_str(if lines { "," } else { ", " });
            }
            if lines {
                write!(out, "\n{}", "  ".repeat(depth + 1)).unwrap();
            }
            if let Some(name) = name {
                write!(out, "\"{name}\": ").unwrap();
            }
            item.write(out, depth + 1);
        }
        if lines {
            write!(out, "\n{}", "  ".repeat(depth)).unwrap();
        }
        out.push(close);
    }
}
