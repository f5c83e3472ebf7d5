//! Derivation paths: `m/84h/0h/0h/1/7`.

use core::fmt;
use core::str::FromStr;

/// The first hardened child's number: 2^31.
pub const HARDENED: u32 = 1 << 31;

/// The longest path that is read. Wallets use five steps.
pub const PATH_MAX_DEPTH: usize = 10;

/// The number of a child, hardened from 2^31 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildNumber(u32);

impl ChildNumber {
    /// A normal child; `None` from 2^31 on.
    pub const fn normal(index: u32) -> Option<Self> {
        if index < HARDENED { Some(Self(index)) } else { None }
    }

    /// A hardened child; `None` from 2^31 on.
    pub const fn hardened(index: u32) -> Option<Self> {
        if index < HARDENED { Some(Self(index | HARDENED)) } else { None }
    }

    /// As it is serialised.
    pub const fn of_u32(number: u32) -> Self {
        Self(number)
    }

    /// As it is serialised.
    pub const fn to_u32(self) -> u32 {
        self.0
    }

    /// Whether deriving it takes the private key.
    pub const fn is_hardened(self) -> bool {
        self.0 >= HARDENED
    }
}

impl fmt::Display for ChildNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_hardened() { "h" } else { "" };
        write!(f, "{}{mark}", self.0 & !HARDENED)
    }
}

/// A path from a master key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(Vec<ChildNumber>);

/// The text is not a derivation path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPath;

impl Path {
    /// Of its steps, at most [`PATH_MAX_DEPTH`].
    pub fn of_steps(steps: Vec<ChildNumber>) -> Result<Self, NotAPath> {
        if steps.len() > PATH_MAX_DEPTH { Err(NotAPath) } else { Ok(Self(steps)) }
    }

    /// Its steps from the master key on.
    pub fn steps(&self) -> &[ChildNumber] {
        &self.0
    }
}

impl FromStr for Path {
    type Err = NotAPath;

    /// `m`, then for each step `/`, a decimal number below 2^31 without leading zeros, and `h` or `'` if it is
    /// hardened.
    fn from_str(text: &str) -> Result<Self, NotAPath> {
        let mut parts = text.split('/');
        if parts.next() != Some("m") {
            return Err(NotAPath);
        }
        let mut steps = Vec::new();
        for part in parts {
            if steps.len() == PATH_MAX_DEPTH {
                return Err(NotAPath);
            }
            steps.push(step(part)?);
        }
        Ok(Self(steps))
    }
}

fn step(text: &str) -> Result<ChildNumber, NotAPath> {
    let plain = text.strip_suffix(['h', '\'']);
    let digits = plain.unwrap_or(text);
    let canonical = digits == "0" || !digits.starts_with('0');
    if !canonical || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAPath);
    }
    let index = digits.parse().map_err(|_| NotAPath)?;
    let number = if plain.is_some() { ChildNumber::hardened(index) } else { ChildNumber::normal(index) };
    number.ok_or(NotAPath)
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|number| write!(f, "/{number}"))
    }
}
