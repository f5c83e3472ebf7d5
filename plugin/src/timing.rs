//! The comparisons that must take the same time whatever is compared, for a meter to run. Never part of an image.

use crate::tenants;
use crate::totp::{self, Code, Match};
use countersign_wire::hal::Secret;
use countersign_wire::names::{ApiKey, TenantName};
use sha2::{Digest, Sha256};

/// Digits of the codes.
const DIGITS: u8 = 6;

/// A factor whose codes of three steps are compared with what a client sends.
pub struct Factor {
    steps: Vec<u64>,
    macs: Vec<Secret>,
}

impl Factor {
    /// One with these numbers for the MACs of its keystore.
    pub fn of(seed: u8) -> Self {
        let steps = totp::window(60_000_000);
        let mac = |step: &u64| {
            let digest = Sha256::digest([&[seed][..], &step.to_be_bytes()].concat());
            Secret::new(digest[..20].to_vec())
        };
        Self { macs: steps.iter().map(mac).collect(), steps }
    }

    /// The code of the step at this place of the window.
    pub fn code(&self, at: usize) -> String {
        totp::truncate(self.macs[at].expose(), DIGITS).map(|code| format!("{code:06}")).expect("a whole MAC")
    }

    /// Reads a code and compares it, as for every approval.
    #[inline(never)]
    pub fn takes(&self, typed: &str) -> bool {
        let Ok(code) = Code::parse(typed, DIGITS) else { return false };
        matches!(totp::check(&code, &self.steps, &self.macs, DIGITS, 0), Match::Fresh(_))
    }
}

/// A tenant whose API key is compared with what a client sends.
pub struct Tenant {
    hash: [u8; 32],
}

impl Tenant {
    /// The one with this key.
    pub fn of(key: &ApiKey) -> Self {
        Self { hash: Sha256::digest(key.expose().as_bytes()).into() }
    }

    /// A key with these random bytes.
    pub fn key(random: [u8; 32]) -> ApiKey {
        ApiKey::from_random(&random, &TenantName::parse("default").expect("a name"))
    }

    /// How many leading bytes of what is compared are the same.
    pub fn shared_bytes(&self, key: &ApiKey) -> usize {
        let hash = Sha256::digest(key.expose().as_bytes());
        hash.iter().zip(&self.hash).take_while(|(one, other)| one == other).count()
    }

    /// Compares a key, as for every request.
    #[inline(never)]
    pub fn takes(&self, key: &ApiKey) -> bool {
        tenants::is_key(key, Some(&self.hash))
    }
}
