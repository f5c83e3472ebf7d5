//! What is wrong with a document, where, and what to do about it.

use core::fmt;

/// Where in a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The document as a whole.
    Document,
    /// A field, by its path: `limit daily-eth: most`.
    Field(String),
    /// A place in a text.
    At {
        /// Which text: `rules`, `policy.toml`, `cases.toml`.
        text: &'static str,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1, in characters.
        column: usize,
    },
}

/// One reason why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// Of the document as a whole.
    pub(crate) fn document(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: Place::Document, what: what.into(), remedy: remedy.into() }
    }

    /// Of one field.
    pub(crate) fn field(
        field: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { place: Place::Field(field.into()), what: what.into(), remedy: remedy.into() }
    }

    /// At a byte of the rules' text.
    pub(crate) fn rules(
        text: &str,
        offset: usize,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::at("rules", text, offset, what, remedy)
    }

    /// At a byte of a text.
    pub(crate) fn at(
        name: &'static str,
        text: &str,
        offset: usize,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let before = text.get(..offset.min(text.len())).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { place: Place::At { text: name, line, column }, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Document => f.write_str("document"),
            Place::Field(field) => f.write_str(field),
            Place::At { text, line, column } => write!(f, "{text} {line}:{column}"),
        }
    }
}

impl fmt::Display for Problem {
    /// `PLACE: what is wrong (what to do)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.place, self.what, self.remedy)
    }
}

impl std::error::Error for Problem {}
