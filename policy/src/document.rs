//! The policy document: what officers sign and the plugin loads.
//!
//! It is CBOR (RFC 8949) in its one canonical encoding (`countersign_wire::encode`), so one policy has one hash. People
//! write it as two files, `policy.toml` and `policy.cedar`; `tool::pack` makes the document of them, outside.
//!
//! Everything that a rule or a limit names is declared here: an asset with its chain, a limit with its asset. A chain is
//! known when its own coin is declared.

use crate::problem::Problem;
use countersign_intent::{Amount, Chain, Network, ethereum};
use serde::{Deserialize, Serialize};

/// The form of document that this version reads.
pub const FORMAT: u8 = 1;

/// The largest document, in bytes.
pub const DOCUMENT_MAX_BYTES: usize = 64 * 1024;

/// The most assets that are declared.
pub const ASSETS_MAX: usize = 64;

/// The most limits that are declared.
pub const LIMITS_MAX: usize = 32;

/// The most limits with a window that count for each account: they bound the account's record.
pub const ACCOUNT_LIMITS_MAX: usize = 8;

/// The longest name of a policy, an asset, a limit or a rule, in bytes.
pub const NAME_MAX_BYTES: usize = 40;

/// The shortest window, in seconds.
pub const WINDOW_MIN_SECS: u64 = 60;

/// The longest window, in seconds: a leap year.
pub const WINDOW_MAX_SECS: u64 = 366 * 86_400;

/// The longest delay before an address counts as known, in seconds.
pub const PAYEE_DELAY_MAX_SECS: u64 = 366 * 86_400;

/// The choices that every list of names has beside those that are declared.
pub(crate) const RESERVED: [&str; 2] = ["none", "other"];

/// One policy, as it is signed and loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`FORMAT`].
    pub format: u8,
    /// What the custodian calls it.
    pub name: String,
    /// Rises with every change. Who loads it refuses a lower one.
    pub version: u64,
    /// What becomes of chains and assets that are not declared.
    pub undeclared: Undeclared,
    /// How long an address must have been on the account's list before it counts as known, in seconds.
    pub payee_delay_secs: u64,
    /// What the rules and the limits may name.
    pub assets: Vec<DeclaredAsset>,
    /// How much.
    pub limits: Vec<DeclaredLimit>,
    /// The rules, in Cedar.
    pub rules: String,
}

/// What becomes of an intent on a chain, or with an asset, that is not declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undeclared {
    /// It is refused, whatever the rules say.
    Refuse,
    /// The rules decide: they see it as `Chain::"other"` and `Asset::"other"`, and no limit counts it.
    AskRules,
}

/// An asset and the name that rules and limits use for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredAsset {
    /// Its name here.
    pub name: String,
    /// `eip155:1`, `bitcoin:main`, …
    pub chain: String,
    /// `native`, `erc20:0x…`, or a whole collection: `erc721:0x…`, `erc1155:0x…`.
    pub asset: String,
    /// How many decimals people write it with. It is used for showing amounts and for reading `policy.toml` alone: a
    /// limit is in base units.
    pub decimals: u8,
}

/// A limit on how much of an asset leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredLimit {
    /// Its name here.
    pub name: String,
    /// The declared asset that it counts.
    pub asset: String,
    /// Whose spending is counted together.
    pub per: Per,
    /// What is counted.
    pub counts: Counts,
    /// The length of the rolling window in seconds of elapsed time; 0 for [`Per::Transaction`].
    pub window_secs: u64,
    /// The most, in base units, decimal.
    pub most: String,
    /// Whether what does not fit is refused whatever the rules say.
    pub hard: bool,
}

/// Whose spending is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Each intent by itself.
    Transaction,
    /// All that one account signs.
    Account,
    /// All that the tenant's accounts sign together.
    Tenant,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// All that leaves, fees included, allowances at their maximum; for collections the number of tokens.
    Sum,
    /// The fee alone, at its maximum.
    Fee,
}

impl Document {
    /// Reads the canonical bytes. Only the form is checked: what it says is checked by [`crate::Policy`].
    pub fn read(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.len() > DOCUMENT_MAX_BYTES {
            return Err(too_large());
        }
        countersign_wire::decode(bytes).map_err(|_| {
            Problem::document(
                "not a policy document in its canonical encoding",
                "pack policy.toml and policy.cedar",
            )
        })
    }

    /// The canonical bytes: what is signed and loaded.
    pub fn to_bytes(&self) -> Vec<u8> {
        countersign_wire::encode(self)
    }

    /// Whether it may take the place of another one: versions only rise, so that nobody brings back what officers replaced.
    pub fn check_replaces(&self, current: &Document) -> Result<(), Problem> {
        if self.version > current.version {
            return Ok(());
        }
        Err(Problem::field(
            "version",
            format!("version {} does not come after version {}", self.version, current.version),
            format!("give it version {} or a higher one", current.version.saturating_add(1)),
        ))
    }

    /// What is wrong with it, but for the rules' text.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.format != FORMAT {
            problems.push(Problem::field(
                "format",
                format!("format {} is not known", self.format),
                format!("this version reads format {FORMAT}"),
            ));
        }
        if self.to_bytes().len() > DOCUMENT_MAX_BYTES {
            problems.push(too_large());
        }
        problems.extend(check_name("name", &self.name, &[]));
        if self.payee_delay_secs > PAYEE_DELAY_MAX_SECS {
            problems.push(Problem::field(
                "payee_delay_secs",
                "longer than a year",
                format!("at most {PAYEE_DELAY_MAX_SECS}"),
            ));
        }
        problems.extend(self.assets_problems());
        problems.extend(self.limits_problems());
        problems
    }

    fn assets_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.assets.len() > ASSETS_MAX {
            problems.push(Problem::field("assets", "too many assets", format!("at most {ASSETS_MAX}")));
        }
        for (at, declared) in self.assets.iter().enumerate() {
            let field = |part: &str| format!("asset {}: {part}", shown(&declared.name));
            let earlier = self.assets.get(..at).unwrap_or_default();
            problems.extend(check_name(&field("name"), &declared.name, &RESERVED));
            if earlier.iter().any(|other| other.name == declared.name) {
                problems.push(Problem::field(field("name"), "two assets have this name", "rename one"));
            }
            if earlier.iter().any(|other| other.chain == declared.chain && other.asset == declared.asset) {
                problems.push(Problem::field(field("asset"), "declared twice", "keep one"));
            }
            if let Err(remedy) = check_asset(&declared.chain, &declared.asset) {
                problems.push(Problem::field(field("asset"), "not a chain and an asset on it", remedy));
            }
            let own_coin = |other: &DeclaredAsset| other.chain == declared.chain && other.asset == "native";
            if !self.assets.iter().any(own_coin) {
                problems.push(Problem::field(
                    field("chain"),
                    "the chain's own coin is not declared",
                    "declare it too (asset = \"native\"): fees are paid in it",
                ));
            }
            if declared.decimals > 77 {
                problems.push(Problem::field(
                    field("decimals"),
                    "more than 77",
                    "a 256-bit amount has no more digits",
                ));
            }
        }
        problems
    }

    fn limits_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.limits.len() > LIMITS_MAX {
            problems.push(Problem::field("limits", "too many limits", format!("at most {LIMITS_MAX}")));
        }
        let of_accounts = self.limits.iter().filter(|limit| limit.per == Per::Account).count();
        if of_accounts > ACCOUNT_LIMITS_MAX {
            problems.push(Problem::field(
                "limits",
                "too many limits per account",
                format!("at most {ACCOUNT_LIMITS_MAX}: they are part of every account's record"),
            ));
        }
        for (at, limit) in self.limits.iter().enumerate() {
            let earlier = self.limits.get(..at).unwrap_or_default();
            if earlier.iter().any(|other| other.name == limit.name) {
                let field = format!("limit {}: name", shown(&limit.name));
                problems.push(Problem::field(field, "two limits have this name", "rename one"));
            }
            problems.extend(self.limit_problems(limit));
        }
        problems
    }

    fn limit_problems(&self, limit: &DeclaredLimit) -> Vec<Problem> {
        let field = |part: &str| format!("limit {}: {part}", shown(&limit.name));
        let mut problems: Vec<_> = check_name(&field("name"), &limit.name, &RESERVED).into_iter().collect();
        match self.asset(&limit.asset) {
            None => problems.push(Problem::field(
                field("asset"),
                "not a declared asset",
                "name one of the assets, or declare it",
            )),
            Some(asset) if limit.counts == Counts::Fee && asset.asset != "native" => problems.push(
                Problem::field(field("counts"), "fees are paid in the chain's own coin", "name that coin"),
            ),
            Some(_) => {}
        }
        let fits = match limit.per {
            Per::Transaction => limit.window_secs == 0,
            Per::Account | Per::Tenant => (WINDOW_MIN_SECS..=WINDOW_MAX_SECS).contains(&limit.window_secs),
        };
        if !fits {
            problems.push(Problem::field(
                field("window_secs"),
                "not a window",
                format!("{WINDOW_MIN_SECS} to {WINDOW_MAX_SECS}, and 0 for a limit on each transaction"),
            ));
        }
        if read_amount(&limit.most).is_none() {
            problems.push(Problem::field(
                field("most"),
                "not an amount",
                "base units in decimal digits, without leading zeros, below 2^256",
            ));
        }
        problems
    }

    /// The declared asset of this name.
    pub fn asset(&self, name: &str) -> Option<&DeclaredAsset> {
        self.assets.iter().find(|asset| asset.name == name)
    }
}

fn too_large() -> Problem {
    Problem::document("the document is too large", format!("at most {DOCUMENT_MAX_BYTES} bytes"))
}

/// A name from the document, short enough for a message.
fn shown(name: &str) -> String {
    countersign_intent::summary::visible(&name.chars().take(NAME_MAX_BYTES).collect::<String>())
}

/// Whether this is a name: `a-z`, `0-9`, `-`, beginning with a letter, at most [`NAME_MAX_BYTES`].
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX_BYTES
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn check_name(field: &str, name: &str, reserved: &[&str]) -> Option<Problem> {
    if !is_name(name) {
        let form = format!("1 to {NAME_MAX_BYTES} of a-z, 0-9 and '-', beginning with a letter");
        return Some(Problem::field(field, "not a name", form));
    }
    reserved.contains(&name).then(|| Problem::field(field, "this name is taken", "take another"))
}

/// An amount in base units: decimal digits in their one form.
pub(crate) fn read_amount(text: &str) -> Option<Amount> {
    let digits = !text.is_empty() && text.len() <= 78 && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    canonical.then(|| Amount::from_str_radix(text, 10).ok()).flatten()
}

/// A chain from its one canonical text.
pub(crate) fn read_chain(text: &str) -> Option<Chain> {
    if let Some(id) = text.strip_prefix("eip155:") {
        let canonical = id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0');
        return canonical.then(|| id.parse().ok().map(Chain::Ethereum)).flatten();
    }
    let word = text.strip_prefix("bitcoin:")?;
    Network::ALL.iter().find(|network| network.word() == word).map(|network| Chain::Bitcoin(*network))
}

/// What to do about a chain and an asset that do not go together.
fn check_asset(chain: &str, asset: &str) -> Result<(), String> {
    let chain = read_chain(chain)
        .ok_or("a chain is eip155:ID (a decimal chain id, not 0) or bitcoin:main, test, signet or regtest")?;
    if asset == "native" {
        return Ok(());
    }
    let (standard, contract) = asset.split_once(':').unwrap_or_default();
    match chain {
        Chain::Ethereum(_) if ["erc20", "erc721", "erc1155"].contains(&standard) => {
            check_ethereum_address(contract)
        }
        Chain::Ethereum(_) => {
            Err("an asset is native, erc20:ADDRESS, erc721:ADDRESS or erc1155:ADDRESS".to_owned())
        }
        Chain::Bitcoin(_) => Err("on Bitcoin, the asset is native".to_owned()),
    }
}

/// An address with the checksum of EIP-55, which is the one form that is compared with.
pub(crate) fn check_ethereum_address(text: &str) -> Result<(), String> {
    let hex =
        text.strip_prefix("0x").filter(|hex| hex.len() == 40).ok_or("an address is 0x and 40 hex digits")?;
    let mut bytes = [0; 20];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let pair = core::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        *byte = pair
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or("an address is 0x and 40 hex digits")?;
    }
    let canonical = ethereum::address(&bytes);
    if canonical.as_str() == text {
        Ok(())
    } else {
        Err(format!("with its checksum (EIP-55) this address is written {canonical}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_has_one_form() {
        assert_eq!(read_amount("0"), Some(Amount::ZERO));
        assert_eq!(read_amount(&Amount::MAX.to_string()), Some(Amount::MAX));
        let above = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        for bad in ["", "00", "01", "+1", "-1", "1.5", "1e3", " 1", "1_000", "0x10", above] {
            assert_eq!(read_amount(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_chain_has_one_form() {
        assert_eq!(read_chain("eip155:1"), Some(Chain::Ethereum(1)));
        assert_eq!(read_chain("bitcoin:signet"), Some(Chain::Bitcoin(Network::Signet)));
        for bad in
            ["", "eip155:", "eip155:0", "eip155:01", "eip155:+1", "eip155:18446744073709551616", "bitcoin:"]
        {
            assert_eq!(read_chain(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn eip55_an_address_is_written_with_its_checksum() {
        // EIP-55, test cases.
        assert_eq!(check_ethereum_address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), Ok(()));
        let remedy = check_ethereum_address("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed").unwrap_err();
        assert!(remedy.ends_with("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), "{remedy}");
        for bad in [
            "",
            "0x",
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeA+1",
        ] {
            assert!(check_ethereum_address(bad).is_err(), "{bad:?}");
        }
    }
}
