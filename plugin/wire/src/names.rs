//! Untrusted values that have exactly one constructor each. Holding one proves that it has the right form.

use core::fmt;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The longest account, key or tenant name, in bytes.
pub const NAME_MAX_BYTES: usize = 64;

/// A name that is not 1 to 64 characters of `a-z`, `0-9`, `.`, `_`, `-` (accounts also `@`), starting with a
/// letter or digit. No case, no Unicode, no `/`: two names that look alike are the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a name is 1 to 64 characters of a-z, 0-9, '.', '_', '-' (accounts also '@'), and starts with a letter or digit",
        )
    }
}

impl std::error::Error for BadName {}

fn is_name(text: &str, extra: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= NAME_MAX_BYTES
        && bytes.first().is_some_and(plain)
        && bytes.iter().all(|b| plain(b) || b"._-".contains(b) || extra.contains(b))
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $extra:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The one constructor: checks the form, changes nothing.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                if is_name(text, $extra) { Ok(Self(text.to_owned())) } else { Err(BadName) }
            }

            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl core::str::FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name_type!(
    /// One user of a tenant.
    AccountName,
    b"@"
);
name_type!(
    /// One key of an account.
    KeyName,
    b""
);
name_type!(
    /// One custodian's share of an HSM.
    TenantName,
    b""
);

/// `ACCOUNT/KEY`: a key's full name within its tenant, and its `CKA_LABEL`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLabel {
    /// The account that owns the key.
    pub account: AccountName,
    /// The key's name within the account.
    pub key: KeyName,
}

impl core::str::FromStr for KeyLabel {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let (account, key) = text.split_once('/').ok_or(BadName)?;
        Ok(Self { account: AccountName::parse(account)?, key: KeyName::parse(key)? })
    }
}

impl fmt::Display for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.key)
    }
}

/// A tenant's API key: `cs1_`, 64 lowercase hex digits (256 random bits), `_`, the tenant's name.
/// It can never be taken for a one-time code. Zeroized on drop, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Deserialize)]
#[serde(try_from = "String")]
pub struct ApiKey(String);

/// A text that does not have the form of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadApiKey;

impl fmt::Display for BadApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an API key is cs1_, 64 lowercase hex digits, _ and the tenant's name")
    }
}

impl std::error::Error for BadApiKey {}

impl ApiKey {
    /// Makes the key of `tenant` from 32 random bytes.
    pub fn from_random(random: &[u8; 32], tenant: &TenantName) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(4 + 64 + 1 + NAME_MAX_BYTES);
        text.push_str("cs1_");
        for byte in random {
            write!(text, "{byte:02x}").expect("a String takes every write");
        }
        text.push('_');
        text.push_str(tenant.as_str());
        Self(text)
    }

    /// The one constructor from text.
    pub fn parse(text: &str) -> Result<Self, BadApiKey> {
        let rest = text.strip_prefix("cs1_").ok_or(BadApiKey)?;
        let (secret, tenant) = rest.split_once('_').ok_or(BadApiKey)?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if secret.len() != 64 || !secret.bytes().all(hex) || TenantName::parse(tenant).is_err() {
            return Err(BadApiKey);
        }
        Ok(Self(text.to_owned()))
    }

    /// The tenant that this key claims to belong to. A claim only, until the plugin has checked the key.
    pub fn claimed_tenant(&self) -> TenantName {
        let (_, tenant) = self.0["cs1_".len()..].split_once('_').expect("the constructor checked the form");
        TenantName::parse(tenant).expect("the constructor checked the form")
    }

    /// The whole key: what is hashed, and what goes over the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ApiKey {
    type Error = BadApiKey;
    fn try_from(text: String) -> Result<Self, BadApiKey> {
        Self::parse(&Zeroizing::new(text))
    }
}

impl Serialize for ApiKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// What someone typed as a code, unparsed and at most 64 bytes long. Zeroized on drop, never printed.
///
/// Whether it has the form of a code depends on the account's factor, so only the plugin decides.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Deserialize)]
#[serde(try_from = "String")]
pub struct TypedCode(String);

/// More than 64 bytes were offered as a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeTooLong;

impl fmt::Display for CodeTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a code is at most 64 bytes long")
    }
}

impl std::error::Error for CodeTooLong {}

impl TypedCode {
    /// The longest text that is carried, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The one constructor: bounds the length, changes nothing.
    pub fn new(text: &str) -> Result<Self, CodeTooLong> {
        if text.len() <= Self::MAX_BYTES { Ok(Self(text.to_owned())) } else { Err(CodeTooLong) }
    }

    /// The text as it was typed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TypedCode {
    type Error = CodeTooLong;
    fn try_from(text: String) -> Result<Self, CodeTooLong> {
        Self::new(&Zeroizing::new(text))
    }
}

impl Serialize for TypedCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for TypedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedCode(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_could_be_confused() {
        for bad in
            ["", "Alice", "alice/eth", "alice\0", "аlice", "alice ", ".alice", "-a", "@a", &"a".repeat(65)]
        {
            assert_eq!(AccountName::parse(bad), Err(BadName), "{bad:?}");
        }
        for good in ["alice", "user-0000", "a.b_c@d", "0", &"a".repeat(64)] {
            assert!(AccountName::parse(good).is_ok(), "{good:?}");
        }
        assert_eq!(KeyName::parse("a@b"), Err(BadName));
    }

    #[test]
    fn a_label_has_exactly_one_slash() {
        assert!("alice/ethereum".parse::<KeyLabel>().is_ok());
        for bad in ["alice", "alice/", "/eth", "a/b/c", "alice//eth"] {
            assert_eq!(bad.parse::<KeyLabel>(), Err(BadName), "{bad:?}");
        }
    }

    #[test]
    fn an_api_key_never_looks_like_a_code_and_is_never_printed() {
        let tenant = TenantName::parse("default").unwrap();
        let key = ApiKey::from_random(&[0xab; 32], &tenant);
        assert_eq!(ApiKey::parse(key.expose()), Ok(key.clone()));
        assert_eq!(key.claimed_tenant(), tenant);
        assert_eq!(format!("{key:?}"), "ApiKey(redacted)");
        for bad in ["", "123456", "12345678", "cs1_", "cs1_ab_default", &key.expose().to_uppercase()] {
            assert_eq!(ApiKey::parse(bad), Err(BadApiKey), "{bad:?}");
        }
    }

    #[test]
    fn a_code_is_never_printed() {
        assert_eq!(format!("{:?}", TypedCode::new("123456").unwrap()), "TypedCode(redacted)");
        assert!(TypedCode::new(&"1".repeat(65)).is_err());
    }
}
