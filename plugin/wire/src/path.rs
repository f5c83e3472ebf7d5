//! Derivation paths of BIP-32 in their one text form, and which of them a key may have.
//!
//! | path | key |
//! | --- | --- |
//! | `m/44'/60'/A'/0/I` | one Ethereum key (BIP-44, SLIP-44 coin type 60) |
//! | `m/44'/C'/A'` | a Bitcoin wallet account, pay to public key hash (BIP-44) |
//! | `m/49'/C'/A'` | a Bitcoin wallet account, pay to witness public key hash in script hash (BIP-49) |
//! | `m/84'/C'/A'` | a Bitcoin wallet account, pay to witness public key hash (BIP-84) |
//!
//! `C` is 0 on the main network and 1 on every test network. A wallet account signs for all addresses below it, `0/I` to receive
//! and `1/I` for change.

use crate::client::Network;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What is added to the number of a hardened step (BIP-32).
pub const HARDENED: u32 = 1 << 31;

/// The deepest path that is read.
const DEPTH_MAX: usize = 10;

/// A path from a wallet's root: `m/44'/60'/0'/0/0`. Hardened steps are written with `'`, numbers without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DerivationPath(Vec<u32>);

/// A text that is not a path in its one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPath;

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a derivation path is m, then up to 10 steps /N or /N' with N below 2147483648: m/84'/0'/0'",
        )
    }
}

impl std::error::Error for BadPath {}

/// What a key at a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One Ethereum key.
    Ethereum,
    /// A Bitcoin wallet account.
    Bitcoin(ScriptType),
}

/// How the outputs of a Bitcoin wallet account are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptType {
    /// Pay to public key hash (BIP-44).
    Legacy,
    /// Pay to witness public key hash, in pay to script hash (BIP-49).
    NestedSegwit,
    /// Pay to witness public key hash (BIP-84).
    Segwit,
}

impl DerivationPath {
    /// The steps, hardened ones with [`HARDENED`] added.
    pub fn steps(&self) -> &[u32] {
        &self.0
    }

    /// What a key at this path is for on this network; `None`: no key may lie here.
    pub fn purpose(&self, network: Option<Network>) -> Option<Purpose> {
        let hardened = |step: &u32| *step >= HARDENED;
        match (self.0.as_slice(), network) {
            ([purpose, coin, account, 0, index], None)
                if *purpose == 44 + HARDENED
                    && *coin == 60 + HARDENED
                    && hardened(account)
                    && !hardened(index) =>
            {
                Some(Purpose::Ethereum)
            }
            ([purpose, coin, account], Some(network)) if hardened(account) => {
                let of_network = if network == Network::Main { 0 } else { 1 };
                let script = match purpose.checked_sub(HARDENED)? {
                    44 => ScriptType::Legacy,
                    49 => ScriptType::NestedSegwit,
                    84 => ScriptType::Segwit,
                    _ => return None,
                };
                (*coin == of_network + HARDENED).then_some(Purpose::Bitcoin(script))
            }
            _ => None,
        }
    }

    /// Whether one lies at or below the other: then they share keys.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, other)| one == other)
    }
}

impl core::str::FromStr for DerivationPath {
    type Err = BadPath;
    fn from_str(text: &str) -> Result<Self, BadPath> {
        let steps = text.strip_prefix("m/").ok_or(BadPath)?;
        let steps = steps.split('/').map(step).collect::<Result<Vec<_>, _>>()?;
        if steps.len() > DEPTH_MAX { Err(BadPath) } else { Ok(Self(steps)) }
    }
}

fn step(text: &str) -> Result<u32, BadPath> {
    let (digits, hardened) = text.strip_suffix('\'').map_or((text, 0), |digits| (digits, HARDENED));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || digits.len() > 10 || (digits.starts_with('0') && digits != "0") {
        return Err(BadPath);
    }
    let number: u32 = digits.parse().map_err(|_| BadPath)?;
    if number >= HARDENED { Err(BadPath) } else { Ok(number + hardened) }
}

impl TryFrom<String> for DerivationPath {
    type Error = BadPath;
    fn try_from(text: String) -> Result<Self, BadPath> {
        text.parse()
    }
}

impl From<DerivationPath> for String {
    fn from(path: DerivationPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        for step in &self.0 {
            match step.checked_sub(HARDENED) {
                Some(number) => write!(f, "/{number}'")?,
                None => write!(f, "/{step}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DerivationPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_has_one_form() {
        for good in ["m/0", "m/44'/60'/0'/0/0", "m/2147483647'/1", "m/84'/1'/7'"] {
            assert_eq!(path(good).to_string(), good);
        }
        for bad in [
            "",
            "m",
            "m/",
            "44'/60'",
            "m/44h",
            "m/044",
            "m/-1",
            "m/+1",
            "m/2147483648",
            "m/1''",
            "m//1",
            "m/1/",
            "M/1",
            "m/'",
        ] {
            assert_eq!(bad.parse::<DerivationPath>(), Err(BadPath), "{bad}");
        }
        assert_eq!(format!("m{}", "/1".repeat(11)).parse::<DerivationPath>(), Err(BadPath));
    }

    #[test]
    fn each_purpose_has_its_paths_and_no_other() {
        let main = Some(Network::Main);
        let test = Some(Network::Regtest);
        for (text, network, purpose) in [
            ("m/44'/60'/0'/0/0", None, Some(Purpose::Ethereum)),
            ("m/44'/60'/3'/0/17", None, Some(Purpose::Ethereum)),
            ("m/44'/60'/0'/1/0", None, None),
            ("m/44'/60'/0'/0/0'", None, None),
            ("m/44'/60'/0/0/0", None, None),
            ("m/44'/60'/0'", None, None),
            ("m/44'/60'/0'/0/0", main, None),
            ("m/44'/0'/0'", main, Some(Purpose::Bitcoin(ScriptType::Legacy))),
            ("m/49'/0'/0'", main, Some(Purpose::Bitcoin(ScriptType::NestedSegwit))),
            ("m/84'/0'/2'", main, Some(Purpose::Bitcoin(ScriptType::Segwit))),
            ("m/84'/1'/0'", test, Some(Purpose::Bitcoin(ScriptType::Segwit))),
            ("m/84'/1'/0'", main, None),
            ("m/84'/0'/0'", test, None),
            ("m/84'/0'/0'", None, None),
            ("m/84/0'/0'", main, None),
            ("m/84'/0'/0", main, None),
            ("m/86'/0'/0'", main, None),
            ("m/84'/0'/0'/0/0", main, None),
        ] {
            assert_eq!(path(text).purpose(network), purpose, "{text} {network:?}");
        }
    }

    #[test]
    fn paths_overlap_where_one_lies_below_the_other() {
        assert!(path("m/84'/0'/0'").overlaps(&path("m/84'/0'/0'")));
        assert!(path("m/84'/0'/0'").overlaps(&path("m/84'/0'/0'/0/5")));
        assert!(path("m/84'/0'/0'/0/5").overlaps(&path("m/84'/0'/0'")));
        assert!(!path("m/84'/0'/0'").overlaps(&path("m/84'/0'/1'")));
        assert!(!path("m/44'/60'/0'/0/0").overlaps(&path("m/44'/60'/0'/0/1")));
    }
}
