//! Where each record's newest version lies: all that is kept in memory of every account.
//!
//! A row takes 30 bytes with its key, and a tree of them about 45 for each account, so a million accounts take
//! some 45 MB. Finding, placing and going through them in order takes O(log n).

use super::RecordId;
use super::log::{Kind, Placed, RECORD_HEADER_BYTES};
use super::seal::{Name, Position};
use std::collections::BTreeMap;

/// Where a record's newest version lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Of the record's first byte in the log.
    pub(crate) offset: u64,
    /// The whole record's length.
    pub(crate) length_bytes: u32,
    /// Tells this sealing apart from every other.
    pub(crate) position: Position,
    /// The lower half of the version: enough to tell it from any that could be confused with it.
    pub(crate) version: u32,
}

/// A row without padding.
#[derive(Clone, Copy)]
struct Packed {
    offset: [u8; 8],
    position: [u8; 8],
    version: [u8; 4],
    sealed_bytes: [u8; 2],
}

const _: () = assert!(size_of::<Packed>() == 22, "a million of these are kept in memory");

impl Packed {
    fn row(self) -> Row {
        Row {
            offset: u64::from_be_bytes(self.offset),
            length_bytes: self.length_bytes(),
            position: Position::from_bytes(self.position),
            version: u32::from_be_bytes(self.version),
        }
    }

    fn length_bytes(self) -> u32 {
        RECORD_HEADER_BYTES + u32::from(u16::from_be_bytes(self.sealed_bytes))
    }
}

/// A record is longer than any record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The rows of all accounts, tenants and trees of audit logs.
#[derive(Default)]
pub(crate) struct Table {
    accounts: BTreeMap<[u8; 8], BTreeMap<[u8; 8], Packed>>,
    tenants: BTreeMap<[u8; 8], Packed>,
    trees: BTreeMap<[u8; 8], Packed>,
    live_bytes: u64,
}

/// The lower half of a version.
pub(crate) fn low_version(version: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = version.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl Table {
    /// Notes where a record's newest version lies. Audit events have no row.
    pub(crate) fn place(&mut self, name: Name, placed: Placed, entry_offset: u64) -> Result<(), TooLong> {
        let packed = Packed {
            offset: (entry_offset + placed.offset).to_be_bytes(),
            position: placed.position.to_bytes(),
            version: low_version(name.version).to_be_bytes(),
            sealed_bytes: u16::try_from(placed.sealed_bytes).map_err(|_| TooLong)?.to_be_bytes(),
        };
        let before = match name.kind {
            Kind::Account => self.accounts.entry(name.id.tenant).or_default().insert(name.id.account, packed),
            Kind::Tenant => self.tenants.insert(name.id.tenant, packed),
            Kind::Tree => self.trees.insert(name.id.tenant, packed),
            Kind::Audit => return Ok(()),
        };
        self.live_bytes += u64::from(packed.length_bytes());
        self.live_bytes -= before.map_or(0, |before| u64::from(before.length_bytes()));
        Ok(())
    }

    /// The row of a record.
    pub(crate) fn row(&self, kind: Kind, id: RecordId) -> Option<Row> {
        match kind {
            Kind::Account => self.accounts.get(&id.tenant)?.get(&id.account).copied().map(Packed::row),
            Kind::Tenant => self.tenants.get(&id.tenant).copied().map(Packed::row),
            Kind::Tree => self.trees.get(&id.tenant).copied().map(Packed::row),
            Kind::Audit => None,
        }
    }

    /// Whether the record that lies at this offset is the newest of its name.
    pub(crate) fn is_newest(&self, name: Name, offset: u64) -> bool {
        self.row(name.kind, name.id).is_some_and(|row| row.offset == offset)
    }

    /// The tenants whose audit logs have a tree.
    pub(crate) fn trees(&self) -> Vec<[u8; 8]> {
        self.trees.keys().copied().collect()
    }

    /// How many accounts a tenant has.
    pub(crate) fn account_count(&self, tenant: [u8; 8]) -> usize {
        self.accounts.get(&tenant).map_or(0, BTreeMap::len)
    }

    /// The next accounts of a tenant after a cursor, in the order of their fingerprints.
    pub(crate) fn accounts_after(
        &self,
        tenant: [u8; 8],
        after: Option<[u8; 8]>,
        most: usize,
    ) -> Vec<RecordId> {
        use core::ops::Bound::{Excluded, Unbounded};
        let Some(rows) = self.accounts.get(&tenant) else { return Vec::new() };
        let from = after.map_or(Unbounded, Excluded);
        let accounts = rows.range((from, Unbounded)).take(most);
        accounts.map(|(account, _)| RecordId { tenant, account: *account }).collect()
    }

    /// Length of all newest versions together.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(kind: Kind, account: u64, version: u64) -> Name {
        Name { kind, id: RecordId { tenant: [1; 8], account: account.to_be_bytes() }, version }
    }

    fn placed(offset: u64, sealed_bytes: u32) -> Placed {
        Placed { offset, sealed_bytes, position: Position::from_bytes(offset.to_be_bytes()) }
    }

    #[test]
    fn the_newest_version_has_the_row_and_live_bytes_follow() {
        let mut table = Table::default();
        table.place(name(Kind::Account, 1, 1), placed(10, 100), 1000).unwrap();
        table.place(name(Kind::Account, 1, 1 << 32 | 2), placed(20, 50), 2000).unwrap();
        table.place(name(Kind::Tenant, 0, 9), placed(30, 7), 2000).unwrap();
        table.place(name(Kind::Audit, 0, 9), placed(40, 900), 2000).unwrap();
        let row = table.row(Kind::Account, name(Kind::Account, 1, 0).id).unwrap();
        assert_eq!((row.offset, row.length_bytes, row.version), (2020, 37 + 50, 2));
        assert!(table.is_newest(name(Kind::Account, 1, 0), 2020));
        assert!(!table.is_newest(name(Kind::Account, 1, 0), 1010));
        assert!(!table.is_newest(name(Kind::Audit, 0, 9), 2040));
        assert_eq!(table.live_bytes(), 37 + 50 + 37 + 7);
        assert_eq!(table.place(name(Kind::Account, 1, 3), placed(0, 1 << 16), 0), Err(TooLong));
    }
}
