//! What the rules' text may be before Cedar's parser sees it.
//!
//! Cedar walks its syntax trees by recursion, and the plugin's stack is small. So a scanner of its own bounds first
//! whatever makes a tree deep:
//!
//! * brackets in brackets, and `if` in `if`: [`DEPTH_MAX`];
//! * chains, which become trees as deep as they are long: `a && b && …`, `a.b.c…`, `!!…`, and the conditions of a rule, which
//!   are joined by `&&`. All operators of a rule are counted together: [`STEPS_MAX`];
//! * strings, which patterns are matched with: [`STRING_MAX_BYTES`];
//! * the number of rules and bytes.
//!
//! The scanner knows comments and strings as Cedar's lexer does. Where the two could differ, the text is refused: it
//! is ASCII but for letters in comments, has no control characters but line feeds and tabs, and no line feed in a string.

use crate::document::check_ethereum_address;
use crate::problem::Problem;

/// The longest text, in bytes.
pub const RULES_MAX_BYTES: usize = 48 * 1024;

/// The most rules.
pub const RULES_MAX: usize = 128;

/// How deep brackets and `if` nest in a rule.
pub const DEPTH_MAX: usize = 12;

/// How many operators a rule has.
pub const STEPS_MAX: usize = 64;

/// The longest string between quotes, in bytes. Matching a pattern takes as many steps as text and pattern multiplied.
pub const STRING_MAX_BYTES: usize = 256;

/// Words that make a syntax tree deeper, as operators do.
const DEEPENING: &[&str] = &["if", "then", "else", "has", "like", "is", "in", "when", "unless"];

/// Operators of two characters.
const PAIRS: &[&[u8]] = &[b"&&", b"||", b"==", b"!=", b"<=", b">="];

/// Constructors of Cedar's extension types. Nothing in the schema has such a type: who writes one means something else,
/// an amount perhaps, and would not get it.
const EXTENSIONS: &[&str] = &["ip", "decimal", "datetime", "duration"];

/// Refuses text that Cedar's parser should not see. Says where each rule begins.
pub(crate) fn check(text: &str) -> Result<Vec<usize>, Problem> {
    if text.len() > RULES_MAX_BYTES {
        return Err(Problem::rules(
            text,
            RULES_MAX_BYTES,
            "the rules are too long",
            format!("at most {RULES_MAX_BYTES} bytes"),
        ));
    }
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        starts: Vec::new(),
        in_rule: false,
        depth: 0,
        ifs: 0,
        steps: 0,
    };
    scanner.scan()?;
    Ok(scanner.starts)
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Where each rule begins.
    starts: Vec<usize>,
    in_rule: bool,
    /// Open brackets.
    depth: usize,
    /// `if`s of this rule.
    ifs: usize,
    /// Operators of this rule.
    steps: usize,
}

impl Scanner<'_> {
    fn scan(&mut self) -> Result<(), Problem> {
        while let Some(&byte) = self.bytes.get(self.at) {
            let comment = byte == b'/' && self.bytes.get(self.at + 1) == Some(&b'/');
            if !comment && !byte.is_ascii_whitespace() {
                self.begin_rule()?;
            }
            match byte {
                b'/' if comment => self.comment()?,
                b'"' => self.string()?,
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word()?,
                b'(' | b'[' | b'{' => self.open()?,
                b')' | b']' | b'}' => self.close()?,
                b';' => self.end_of_rule()?,
                b'0'..=b'9' | b' ' | b'\n' | b'\t' | b',' | b':' | b'@' | b'?' => self.at += 1,
                b'&' | b'|' | b'=' | b'<' | b'>' | b'!' | b'+' | b'-' | b'*' | b'/' | b'%' | b'.' => {
                    self.step()?;
                    let pair = self.bytes.get(self.at..self.at + 2).unwrap_or_default();
                    self.at += if PAIRS.contains(&pair) { 2 } else { 1 };
                }
                _ => {
                    return Err(self.no(
                        self.at,
                        "a character that rules do not have",
                        "ASCII, line feeds, tabs",
                    ));
                }
            }
        }
        if self.depth > 0 {
            return Err(self.no(self.at, "a bracket is not closed", "close it"));
        }
        Ok(())
    }

    fn no(&self, at: usize, what: &str, remedy: impl Into<String>) -> Problem {
        Problem::rules(self.text, at, what, remedy)
    }

    /// Up to the end of the line. Letters of any script, so that people can write in their own language; nothing that hides.
    fn comment(&mut self) -> Result<(), Problem> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for (offset, character) in rest.char_indices() {
            match character {
                '\n' => {
                    self.at += offset;
                    return Ok(());
                }
                ' '..='~' | '\t' => {}
                letter if letter.is_alphanumeric() => {}
                _ => return Err(self.no(self.at + offset, "a hidden character in a comment", "take it out")),
            }
        }
        self.at = self.bytes.len();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Problem> {
        let start = self.at;
        let mut at = start + 1;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') if matches!(self.bytes.get(at + 1), Some(b' '..=b'~')) => at += 2,
                Some(b' '..=b'[' | b']'..=b'~') => at += 1,
                Some(_) => {
                    return Err(self.no(at, "a character that strings do not have", "printable ASCII"));
                }
                None => return Err(self.no(start, "a string is not closed", "close it with a quote")),
            }
        }
        self.at = at + 1;
        if at - start > STRING_MAX_BYTES {
            let remedy = format!("at most {STRING_MAX_BYTES} characters");
            return Err(self.no(start, "a string is too long", remedy));
        }
        let inner = self.text.get(start + 1..at).unwrap_or_default();
        check_address(inner).map_err(|remedy| {
            self.no(start, "an address that is not in its canonical form would never match", remedy)
        })
    }

    fn word(&mut self) -> Result<(), Problem> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        self.at += length;
        let word = self.text.get(start..self.at).unwrap_or_default();
        if word == "if" {
            self.ifs += 1;
            self.check_depth(start)?;
        }
        if DEEPENING.contains(&word) {
            self.step()?;
        }
        if EXTENSIONS.contains(&word) {
            return Err(self.no(
                start,
                "Cedar's extension types are not used here",
                "amounts are compared by limits, times by hour_utc and weekday_utc",
            ));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Problem> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            let remedy = format!("at most {STEPS_MAX} operators; write several rules");
            return Err(self.no(self.at, "the rule is too long", remedy));
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), Problem> {
        self.depth += 1;
        self.check_depth(self.at)?;
        self.at += 1;
        Ok(())
    }

    fn check_depth(&self, at: usize) -> Result<(), Problem> {
        if self.depth + self.ifs > DEPTH_MAX {
            let remedy = format!("at most {DEPTH_MAX} levels; write several rules");
            return Err(self.no(at, "brackets or ifs nest too deep", remedy));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        self.depth = self
            .depth
            .checked_sub(1)
            .ok_or_else(|| self.no(self.at, "a bracket closes that was not opened", "take it out"))?;
        self.at += 1;
        Ok(())
    }

    fn begin_rule(&mut self) -> Result<(), Problem> {
        if !self.in_rule {
            self.in_rule = true;
            self.starts.push(self.at);
        }
        if self.starts.len() > RULES_MAX {
            return Err(self.no(self.at, "too many rules", format!("at most {RULES_MAX}")));
        }
        Ok(())
    }

    fn end_of_rule(&mut self) -> Result<(), Problem> {
        if self.depth > 0 {
            return Err(self.no(self.at, "a rule ends inside brackets", "close them first"));
        }
        (self.in_rule, self.ifs, self.steps) = (false, 0, 0);
        self.at += 1;
        Ok(())
    }
}

/// An address in a string must be in the form that intents have it in.
fn check_address(inner: &str) -> Result<(), String> {
    let lower = inner.to_ascii_lowercase();
    if lower.starts_with("0x") {
        return check_ethereum_address(inner);
    }
    let bech32 = ["bc1", "tb1", "bcrt1"].iter().any(|prefix| lower.starts_with(prefix));
    if bech32 && lower != inner { Err(format!("in lower case it is {lower}")) } else { Ok(()) }
}
