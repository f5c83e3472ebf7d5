//! Words and numbers as they are typed.

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use countersign_wire::client::{ApprovalKind, Mechanism, Network, RequestId, TotpHash};
use serde_bytes::ByteArray;
use std::net::SocketAddr;

/// [`TotpHash`] as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum HashWord {
    Sha1,
    Sha256,
    Sha512,
}

impl From<HashWord> for TotpHash {
    fn from(word: HashWord) -> Self {
        match word {
            HashWord::Sha1 => Self::Sha1,
            HashWord::Sha256 => Self::Sha256,
            HashWord::Sha512 => Self::Sha512,
        }
    }
}

/// [`Mechanism`] as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MechanismWord {
    /// A 32-byte digest, signed blind.
    Digest,
    /// An Ethereum transaction, decoded and hashed by the HSM.
    Ethereum,
    /// EIP-712 typed data, decoded and hashed by the HSM.
    TypedData,
    /// An EIP-191 personal message.
    Message,
    /// A Bitcoin transaction as a PSBT. Stands alone, with a network.
    Bitcoin,
}

impl From<MechanismWord> for Mechanism {
    fn from(word: MechanismWord) -> Self {
        match word {
            MechanismWord::Digest => Self::Digest,
            MechanismWord::Ethereum => Self::Ethereum,
            MechanismWord::TypedData => Self::TypedData,
            MechanismWord::Message => Self::Message,
            MechanismWord::Bitcoin => Self::Bitcoin,
        }
    }
}

/// [`Network`] as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NetworkWord {
    Main,
    Test,
    Signet,
    Regtest,
}

impl From<NetworkWord> for Network {
    fn from(word: NetworkWord) -> Self {
        match word {
            NetworkWord::Main => Self::Main,
            NetworkWord::Test => Self::Test,
            NetworkWord::Signet => Self::Signet,
            NetworkWord::Regtest => Self::Regtest,
        }
    }
}

pub(super) fn number_among<const N: usize>(words: [&'static str; N]) -> impl TypedValueParser<Value = u8> {
    PossibleValuesParser::new(words).try_map(|word| word.parse::<u8>())
}

pub(super) fn approval(word: &str) -> Result<ApprovalKind, String> {
    ApprovalKind::of_word(word).ok_or_else(|| "write code, sealed-code or passkey".to_owned())
}

pub(super) fn duration_secs(text: &str) -> Result<u64, String> {
    let (number, unit_secs) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let secs = if digits { number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_secs)) } else { None };
    secs.ok_or_else(|| "write a number of seconds, or a number with s, m, h or d".to_owned())
}

pub(super) fn hex_bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| format!("write {} hex digits", 2 * N))
}

pub(super) fn request_id(text: &str) -> Result<RequestId, String> {
    hex_bytes(text).map(ByteArray::new)
}

/// A limit of the relay: one or more.
pub(super) fn at_least_one(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "write a whole number from 1 on".to_owned())
}

/// An origin as browsers write it (RFC 6454 section 6.2): scheme, host, and the port where it is not the usual one.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]".contains(&b);
    match host {
        Some(host) if !host.is_empty() && host.bytes().all(plain) => Ok(text.to_owned()),
        _ => {
            Err("write an origin: https://host or https://host:port, in small letters, without a path"
                .to_owned())
        }
    }
}

/// An address of this machine alone.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .ok()
        .filter(|address: &SocketAddr| address.ip().is_loopback())
        .ok_or_else(|| "write a loopback address and a port: 127.0.0.1:9465 or [::1]:9465".to_owned())
}

/// A page that links lead to: its address without what follows `#`.
pub(super) fn page(text: &str) -> Result<String, String> {
    let good = text.starts_with("https://")
        || text.starts_with("http://localhost")
        || text.starts_with("http://127.");
    if good && !text.contains(['#', ' ']) {
        return Ok(text.to_owned());
    }
    Err("write the page's address, https://…, without '#'; http only for localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_in_every_unit_and_refuses_the_rest() {
        for (text, secs) in [("45", 45), ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("0", 0)] {
            assert_eq!(duration_secs(text), Ok(secs), "{text}");
        }
        for bad in
            ["", "s", "-1", "+1", "1.5h", "1w", " 1", "1h30m", "99999999999999999999", "999999999999999999d"]
        {
            assert!(duration_secs(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for good in
            ["https://wallet.example", "https://wallet.example:8443", "http://localhost:5173", "http://[::1]"]
        {
            assert!(origin(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "wallet.example",
            "https://",
            "https://Wallet.example",
            "https://a.example/",
            "https://*.a",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metrics_are_served_on_this_machine_alone() {
        for good in ["127.0.0.1:0", "127.1.2.3:9465", "[::1]:9465"] {
            assert!(loopback(good).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:9465", "[::]:9465", "192.0.2.1:9465", "localhost:9465", "9465", ""] {
            assert!(loopback(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hex_has_exactly_its_length() {
        assert_eq!(hex_bytes::<2>("0xaBcd"), Ok([0xab, 0xcd]));
        for bad in ["", "0x", "abc", "abcdef", "zzzz", "0x0xabcd"] {
            assert!(hex_bytes::<2>(bad).is_err(), "{bad:?}");
        }
    }
}
