//! Derivation paths of BIP-32 as text, and which of them a key may have.
//!
//! | path | key |
//! | --- | --- |
//! | `m/44h/60h/Ah/0/I` | one Ethereum key (BIP-44, SLIP-44 coin type 60) |
//! | `m/44h/Ch/Ah` | a Bitcoin wallet account, pay to public key hash (BIP-44) |
//! | `m/49h/Ch/Ah` | a Bitcoin wallet account, pay to witness public key hash in script hash (BIP-49) |
//! | `m/84h/Ch/Ah` | a Bitcoin wallet account, pay to witness public key hash (BIP-84) |
//!
//! `C` is 0 on the main network and 1 on every test network. A wallet account signs for all addresses below it, `0/I` to receive
//! and `1/I` for change.

use crate::client::Network;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DerivationPath(Vec<ChildNumber>);

/// The text is not a derivation path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPath;

impl DerivationPath {
    /// Of its steps, at most [`PATH_MAX_DEPTH`].
    pub fn of_steps(steps: Vec<ChildNumber>) -> Result<Self, NotAPath> {
        if steps.len() > PATH_MAX_DEPTH { Err(NotAPath) } else { Ok(Self(steps)) }
    }

    /// Its steps from the master key on.
    pub fn steps(&self) -> &[ChildNumber] {
        &self.0
    }
}

impl FromStr for DerivationPath {
    type Err = NotAPath;

    /// `m`, then for each step `/`, a decimal number below 2^31 without leading zeros, and `h` or `'` if it is hardened.
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

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|number| write!(f, "/{number}"))
    }
}

/// What a key at a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One Ethereum key.
    Ethereum,
    /// A Bitcoin wallet account.
    BitcoinAccount {
        /// 44, 49 or 84: the number of the BIP that says how its outputs are locked.
        bip: u32,
        /// The number of the account.
        account: u32,
    },
}

impl DerivationPath {
    /// What a key at this path is for on this network; `None`: no key may lie here.
    pub fn purpose(&self, network: Option<Network>) -> Option<Purpose> {
        let hardened = |number: &ChildNumber| number.to_u32().checked_sub(HARDENED);
        match (self.0.as_slice(), network) {
            ([purpose, coin, account, chain, index], None) => {
                let is_ethereum = hardened(purpose) == Some(44) && hardened(coin) == Some(60);
                let is_leaf = account.is_hardened() && chain.to_u32() == 0 && !index.is_hardened();
                (is_ethereum && is_leaf).then_some(Purpose::Ethereum)
            }
            ([purpose, coin, account], Some(network)) => {
                let bip = hardened(purpose).filter(|bip| [44, 49, 84].contains(bip))?;
                let account = hardened(account)?;
                let of_network = u32::from(network != Network::Main);
                (hardened(coin) == Some(of_network)).then_some(Purpose::BitcoinAccount { bip, account })
            }
            _ => None,
        }
    }

    /// Whether one lies at or below the other: then they share keys.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, other)| one == other)
    }
}

impl TryFrom<String> for DerivationPath {
    type Error = NotAPath;
    fn try_from(text: String) -> Result<Self, NotAPath> {
        // On the wire a path has one form.
        let path: Self = text.parse()?;
        if path.to_string() == text { Ok(path) } else { Err(NotAPath) }
    }
}

impl From<DerivationPath> for String {
    fn from(path: DerivationPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for NotAPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a derivation path is m, then steps /N or /Nh, N below 2147483648 without leading zeros: m/84h/0h/0h")
    }
}

impl std::error::Error for NotAPath {}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DerivationPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_is_read_in_both_notations_and_travels_in_one() {
        for (typed, canonical) in
            [("m/44'/60'/0'/0/0", "m/44h/60h/0h/0/0"), ("m/84h/1'/7h", "m/84h/1h/7h"), ("m/0", "m/0")]
        {
            assert_eq!(path(typed).to_string(), canonical);
            assert_eq!(crate::decode(&crate::encode(&path(typed))), Ok(path(canonical)));
        }
        assert_eq!(
            crate::decode::<DerivationPath>(&crate::encode(&"m/84'/0'/0'".to_owned())),
            Err(crate::Malformed)
        );
        for bad in [
            "",
            "m/",
            "44h/60h",
            "m/044",
            "m/-1",
            "m/+1",
            "m/2147483648",
            "m/1hh",
            "m//1",
            "m/1/",
            "M/1",
            "m/h",
        ] {
            assert_eq!(bad.parse::<DerivationPath>(), Err(NotAPath), "{bad}");
        }
        assert_eq!(format!("m{}", "/1".repeat(11)).parse::<DerivationPath>(), Err(NotAPath));
    }

    #[test]
    fn each_purpose_has_its_paths_and_no_other() {
        let (main, test) = (Some(Network::Main), Some(Network::Regtest));
        let account = |bip, account| Some(Purpose::BitcoinAccount { bip, account });
        for (text, network, purpose) in [
            ("m/44h/60h/0h/0/0", None, Some(Purpose::Ethereum)),
            ("m/44h/60h/3h/0/17", None, Some(Purpose::Ethereum)),
            ("m/44h/60h/0h/1/0", None, None),
            ("m/44h/60h/0h/0/0h", None, None),
            ("m/44h/60h/0/0/0", None, None),
            ("m/44h/60h/0h", None, None),
            ("m/44h/60h/0h/0/0", main, None),
            ("m/44h/0h/0h", main, account(44, 0)),
            ("m/49h/0h/0h", main, account(49, 0)),
            ("m/84h/0h/2h", main, account(84, 2)),
            ("m/84h/1h/0h", test, account(84, 0)),
            ("m/84h/1h/0h", main, None),
            ("m/84h/0h/0h", test, None),
            ("m/84h/0h/0h", None, None),
            ("m/84/0h/0h", main, None),
            ("m/84h/0h/0", main, None),
            ("m/86h/0h/0h", main, None),
            ("m/84h/0h/0h/0/0", main, None),
        ] {
            assert_eq!(path(text).purpose(network), purpose, "{text} {network:?}");
        }
    }

    #[test]
    fn paths_overlap_where_one_lies_below_the_other() {
        assert!(path("m/84h/0h/0h").overlaps(&path("m/84h/0h/0h")));
        assert!(path("m/84h/0h/0h").overlaps(&path("m/84h/0h/0h/0/5")));
        assert!(path("m/84h/0h/0h/0/5").overlaps(&path("m/84h/0h/0h")));
        assert!(!path("m/84h/0h/0h").overlaps(&path("m/84h/0h/1h")));
        assert!(!path("m/44h/60h/0h/0/0").overlaps(&path("m/44h/60h/0h/0/1")));
    }
}
