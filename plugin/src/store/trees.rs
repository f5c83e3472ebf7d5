//! The trees of the tenants' audit logs. A tenant's log is, from its `log-opened` on, every event of the tenant and every one
//! of the HSM as a whole, in the order of the store; its tree follows from them and from nothing else, so what protects the
//! store protects it.
//!
//! In memory a tree is its right edge. So that a start need not read all that ever happened, the edges are written down now
//! and then, in *rounds*: each tree's record ([`TreeRecord`]) says which tree it was before the entry at `at`. The records of
//! a round go into the commits that are made anyway, a few with each; at a start the newest of each tree is taken up, and
//! the events from there on are read again. A round begins when the log has grown by [`ROUND_BYTES`] since the last, and by
//! many times what the records take; and when the front of the log, which a record is still needed for, is to go.

use super::log::{Chain, Kind, split_first};
use super::opening::at_start;
use super::regions;
use super::seal::{Name, Sealer};
use super::{RecordId, State, StoreError};
use crate::audit::leaf::LogNamer;
use crate::audit::{Event, What};
use crate::hal::Hal;
use crate::record::FORMAT;
use countersign_tlog::tree::leaf_hash;
use countersign_tlog::{Frontier, Hash};
use countersign_wire::names::TenantName;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use std::collections::{BTreeMap, VecDeque};

/// The log grows by this much, at the least, between two rounds.
const ROUND_BYTES: u64 = 1024 * 1024;

/// And by so many times what a round writes.
const ROUND_SHARE: u64 = 16;

/// What one commit carries of a round, at the most, besides one record more.
const ROUND_PART_BYTES: usize = 16 * 1024;

/// A tree's record without its hashes, about: header, seal, names.
const RECORD_REST_BYTES: u64 = 256;

/// An empty tree's record at the most, with two names of 64 bytes.
const OPENED_BYTES: usize = 512;

/// Where in the store a tree stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The offset in the log: of the first entry that is not in the tree.
    pub at: u64,
    /// That entry's number.
    pub sequence: u64,
    /// How many leaves the tree had.
    pub size: u64,
}

/// A tree as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeRecord {
    /// [`FORMAT`].
    pub format: u8,
    /// Whose log it is of.
    pub tenant: TenantName,
    /// Where it stood.
    pub place: Place,
    /// The roots of its full subtrees, largest first.
    pub peaks: Vec<ByteArray<32>>,
    /// The head of the store's chain after the entry with its last leaf; all zero before the first.
    pub head: ByteArray<32>,
}

/// One tenant's tree.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) frontier: Frontier,
    /// The head of the store's chain after the entry with its last leaf.
    pub(crate) head: [u8; 32],
    /// Where it stood at the last round, and at the one before.
    pub(super) last: Place,
    pub(super) before: Option<Place>,
}

impl Tree {
    fn begin(place: Place) -> Self {
        Self { frontier: Frontier::default(), head: [0; 32], last: place, before: None }
    }

    fn record(&self, tenant: &TenantName, place: Place) -> TreeRecord {
        TreeRecord {
            format: FORMAT,
            tenant: tenant.clone(),
            place,
            peaks: self.frontier.peaks().iter().map(|peak| ByteArray::new(*peak)).collect(),
            head: ByteArray::new(self.head),
        }
    }

    fn read(record: TreeRecord) -> Option<(TenantName, Self)> {
        let peaks = record.peaks.into_iter().map(ByteArray::into_array).collect();
        let frontier = Frontier::from_parts(record.place.size, peaks)?;
        let tree = Self { frontier, head: record.head.into_array(), last: record.place, before: None };
        Some((record.tenant, tree))
    }
}

/// A leaf on its way into the trees.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// Whose it is; `None`: everybody's.
    tenant: Option<TenantName>,
    opens: bool,
    hash: Hash,
}

impl Leaf {
    pub(crate) fn of(event: &Event, namer: &LogNamer) -> Self {
        Self {
            tenant: event.tenant.clone(),
            opens: matches!(event.what, What::LogOpened { .. }),
            hash: leaf_hash(&namer.leaf(event)),
        }
    }

    /// What is written with it, where it opens a log, in bytes.
    pub(super) fn opened_bytes(&self) -> usize {
        if self.opens { OPENED_BYTES } else { 0 }
    }
}

/// The records of a round that are not written yet.
struct Round {
    at: u64,
    left: VecDeque<TreeRecord>,
}

/// All trees.
#[derive(Default)]
pub(super) struct Trees {
    by_tenant: BTreeMap<TenantName, Tree>,
    /// Every tree's record is of here or of later.
    complete_at: u64,
    round: Option<Round>,
}

impl Trees {
    pub(super) fn get(&self, tenant: &TenantName) -> Option<&Tree> {
        self.by_tenant.get(tenant)
    }

    /// Takes in the leaves of an entry that is durable: it begins at `place.at`, and after it the chain has this head.
    pub(super) fn take_in(&mut self, place: Place, head: [u8; 32], leaves: &[Leaf]) {
        for leaf in leaves {
            match &leaf.tenant {
                Some(tenant) if leaf.opens => {
                    let tree = self.by_tenant.entry(tenant.clone());
                    append(tree.or_insert_with(|| Tree::begin(Place { size: 0, ..place })), leaf, head);
                }
                Some(tenant) => {
                    if let Some(tree) = self.by_tenant.get_mut(tenant) {
                        append(tree, leaf, head);
                    }
                }
                None => self.by_tenant.values_mut().for_each(|tree| append(tree, leaf, head)),
            }
        }
    }

    /// What a round writes, about, in bytes.
    fn records_bytes(&self) -> u64 {
        let of_one = |tree: &Tree| RECORD_REST_BYTES + 34 * tree.frontier.peaks().len() as u64;
        self.by_tenant.values().map(of_one).sum()
    }

    /// Begins a round where one is due, or where the log before `needed_from` is to go. No commit is under way.
    pub(super) fn begin_round(&mut self, at: u64, sequence: u64, needed_from: u64) {
        let grown = at.saturating_sub(self.complete_at);
        let due = grown >= ROUND_BYTES.saturating_add(ROUND_SHARE.saturating_mul(self.records_bytes()));
        if self.round.is_some() || !due && self.covers(needed_from) {
            return;
        }
        let mut left = VecDeque::with_capacity(self.by_tenant.len());
        for (tenant, tree) in &mut self.by_tenant {
            let place = Place { at, sequence, size: tree.frontier.size() };
            left.push_back(tree.record(tenant, place));
            tree.before = Some(core::mem::replace(&mut tree.last, place));
        }
        self.round = Some(Round { at, left });
    }

    /// Whether the log before this offset is not needed for any tree.
    pub(super) fn covers(&self, offset: u64) -> bool {
        self.by_tenant.is_empty() || self.complete_at >= offset
    }

    /// The records that the next commit carries: some of the round, and an empty tree for each log that it opens.
    pub(super) fn take_to_write(
        &mut self,
        place: Place,
        leaves: &[Leaf],
    ) -> (Vec<TreeRecord>, Vec<TreeRecord>) {
        let opened = leaves.iter().filter(|leaf| leaf.opens).filter_map(|leaf| leaf.tenant.as_ref());
        let opened = opened.filter(|tenant| !self.by_tenant.contains_key(*tenant));
        let opened =
            opened.map(|tenant| Tree::begin(place).record(tenant, Place { size: 0, ..place })).collect();
        let (mut of_round, mut bytes) = (Vec::new(), 0);
        while bytes < ROUND_PART_BYTES
            && let Some(record) = self.round.as_mut().and_then(|round| round.left.pop_front())
        {
            bytes += 34 * record.peaks.len() + 256;
            of_round.push(record);
        }
        (of_round, opened)
    }

    /// They were not written after all.
    pub(super) fn put_back(&mut self, of_round: Vec<TreeRecord>) {
        if let Some(round) = &mut self.round {
            for record in of_round.into_iter().rev() {
                round.left.push_front(record);
            }
        }
    }

    /// They were written.
    pub(super) fn written(&mut self) {
        if let Some(round) = self.round.take_if(|round| round.left.is_empty()) {
            self.complete_at = round.at;
        }
    }
}

fn append(tree: &mut Tree, leaf: &Leaf, head: [u8; 32]) {
    tree.frontier.append(leaf.hash);
    tree.head = head;
}

impl State {
    /// Takes up the trees as they were last written down, and reads the events since.
    pub(super) async fn grow_trees(
        &mut self,
        hal: &Hal,
        sealer: &mut Sealer,
        namer: &LogNamer,
    ) -> Result<(), StoreError> {
        for tenant in self.table.trees() {
            let id = RecordId { tenant, account: [0; 8] };
            let row = self.table.row(Kind::Tree, id).ok_or(StoreError::Record)?;
            let bytes = hal.read_store(row.offset, row.length_bytes).await?;
            let (_, plain) = super::open_record(sealer, &bytes, Kind::Tree, id, row)?;
            let record = countersign_wire::decode_packed(&plain)
                .ok()
                .filter(|record: &TreeRecord| record.format == FORMAT)
                .and_then(Tree::read);
            let (tenant, tree) = record.ok_or(StoreError::Record)?;
            self.trees.by_tenant.insert(tenant, tree);
        }
        let Some(from) = self.trees.by_tenant.values().map(|tree| tree.last.at).min() else { return Ok(()) };
        if from < self.tail.length_bytes() || from > self.head.length_bytes() {
            return Err(StoreError::Record);
        }
        self.trees.complete_at = from;
        let mut begin = self.tail.clone();
        let untils: Vec<Chain> = self.marks.all().chain([&self.head]).cloned().collect();
        for until in untils {
            if until.length_bytes() > from {
                let found = regions::read(hal, &begin, &until).await.map_err(at_start)?;
                self.grow_by(sealer, namer, begin, &found.bytes)?;
            }
            begin = until;
        }
        Ok(())
    }

    /// Takes in the events of a region that proved to be what it was.
    fn grow_by(
        &mut self,
        sealer: &mut Sealer,
        namer: &LogNamer,
        mut chain: Chain,
        mut bytes: &[u8],
    ) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let entry = split_first(bytes).ok().flatten().ok_or(StoreError::Record)?;
            let place = Place { at: chain.length_bytes(), sequence: entry.sequence, size: 0 };
            chain.append(entry.bytes);
            if place.at >= self.trees.complete_at {
                let events = events_of(sealer, &entry.records, entry.bytes).ok_or(StoreError::Record)?;
                for event in &events {
                    self.trees.take_in_again(place, chain.head(), &Leaf::of(event, namer));
                }
            }
            bytes = bytes.get(entry.bytes.len()..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Trees {
    /// A leaf that may be in some trees already: they were written down after it. An empty tree takes nothing before its
    /// `log-opened`.
    fn take_in_again(&mut self, place: Place, head: [u8; 32], leaf: &Leaf) {
        let is_new = |tree: &&mut Tree| tree.last.at <= place.at && (leaf.opens || tree.frontier.size() > 0);
        match &leaf.tenant {
            Some(tenant) => {
                self.by_tenant
                    .get_mut(tenant)
                    .filter(is_new)
                    .into_iter()
                    .for_each(|tree| append(tree, leaf, head));
            }
            None => self.by_tenant.values_mut().filter(is_new).for_each(|tree| append(tree, leaf, head)),
        }
    }
}

/// The audit events of an entry, or of a block of the archive's records, in order.
pub(super) fn events_of(
    sealer: &mut Sealer,
    records: &[(Name, super::log::Placed)],
    bytes: &[u8],
) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    for (name, placed) in records.iter().filter(|(name, _)| name.kind == Kind::Audit) {
        let ciphertext = super::log::sealed_at(bytes, *placed)?;
        let plain = sealer.open(*name, placed.position, ciphertext)?;
        events.append(&mut countersign_wire::decode_packed(&plain).ok()?);
    }
    Some(events)
}
