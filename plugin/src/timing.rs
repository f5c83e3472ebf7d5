//! The comparisons and lookups that must take the same time whatever is asked, for a meter to run. Never part of an image.

use crate::store::RecordId;
use crate::store::log::{Kind, Placed};
use crate::store::seal::{Name, Position, Sealer};
use crate::store::table::Table;
use crate::tenants;
use crate::totp::{self, Code, Match};
use countersign_wire::hal::Secret;
use countersign_wire::names::{ApiKey, TenantName};
use sha2::{Digest, Sha256};

/// A factor whose codes of three steps are compared with what a client sends.
pub struct Factor {
    steps: Vec<u64>,
    macs: Vec<Secret>,
    digits: u8,
}

impl Factor {
    /// One with these numbers for the MACs of its keystore, and codes of so many digits.
    pub fn of(seed: u8, digits: u8) -> Self {
        let steps = totp::window(60_000_000);
        let mac = |step: &u64| {
            let digest = Sha256::digest([&[seed][..], &step.to_be_bytes()].concat());
            Secret::new(digest[..20].to_vec())
        };
        Self { macs: steps.iter().map(mac).collect(), steps, digits }
    }

    /// The code of the step at this place of the window.
    pub fn code(&self, at: usize) -> String {
        let width = usize::from(self.digits);
        let code = totp::truncate(self.macs[at].expose(), self.digits).expect("a whole MAC");
        format!("{code:0width$}")
    }

    /// Reads a code and compares it, as for every approval.
    #[inline(never)]
    pub fn takes(&self, typed: &str) -> bool {
        let Ok(code) = Code::parse(typed, self.digits) else { return false };
        matches!(totp::check(&code, &self.steps, &self.macs, self.digits, 0), Match::Fresh(_))
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

/// The accounts of a tenant, in which another tenant looks for what is not its own.
pub struct Lookup {
    sealer: Sealer,
    table: Table,
}

/// The tenant that looks.
const LOOKING: &str = "looking";

/// The tenant that has accounts.
const OTHER: &str = "other";

impl Lookup {
    /// So many accounts of the other tenant; the one that looks has one.
    pub fn among(accounts: u32) -> Self {
        let mut lookup = Self { sealer: Sealer::new(&[7; 32], [1; 16], 1), table: Table::default() };
        for number in 0..accounts {
            lookup.place(lookup.id(OTHER, &Self::name(number)));
        }
        // It comes before all others, so that no way through the tree depends on chance.
        lookup.place(RecordId { account: [0; 8], ..lookup.id(LOOKING, "") });
        lookup
    }

    fn place(&mut self, id: RecordId) {
        let placed =
            Placed { offset: 0, sealed_bytes: 100, position: Position::from_bytes([0, 0, 1, 0, 0, 0, 0, 1]) };
        self.table.place(Name { kind: Kind::Account, id, version: 1 }, placed, 0).expect("it is short");
    }

    fn id(&self, tenant: &str, account: &str) -> RecordId {
        RecordId {
            tenant: self.sealer.fingerprint(b"tenant", tenant, ""),
            account: self.sealer.fingerprint(b"account", tenant, account),
        }
    }

    /// The name of an account of the other tenant, if its number is lower than that of all; all are equally long.
    pub fn name(number: u32) -> String {
        format!("account-{number:010}")
    }

    /// The id of a key of the other tenant's account.
    pub fn key_of(&self, number: u32) -> [u8; 16] {
        self.sealer.hide_key_id(self.id(OTHER, &Self::name(number)), u64::from(number).to_be_bytes())
    }

    /// Looks for an account of this name, as for every request.
    #[inline(never)]
    pub fn finds_name(&self, account: &str) -> bool {
        self.table.row(Kind::Account, self.id(LOOKING, account)).is_some()
    }

    /// Looks for the account of the key with this id.
    #[inline(never)]
    pub fn finds_key(&self, key_id: &[u8; 16]) -> bool {
        let tenant = self.sealer.fingerprint(b"tenant", LOOKING, "");
        let account = self.sealer.reveal_key_id(tenant, key_id);
        self.table.row(Kind::Account, RecordId { tenant, account }).is_some()
    }
}
