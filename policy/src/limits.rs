//! Limits in force, and what an intent counts against each of them.

use crate::document::{Counts, DeclaredLimit, Document, Per, read_amount};
use crate::facts::Facts;
use countersign_intent::Amount;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::{Digest, Sha256};

/// One limit in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub(crate) id: LimitId,
    pub(crate) name: String,
    pub(crate) chain: String,
    pub(crate) asset: String,
    pub(crate) per: Per,
    pub(crate) counts: Counts,
    pub(crate) window_secs: u64,
    pub(crate) most: Amount,
    pub(crate) hard: bool,
}

/// What a ledger knows a limit by: its name, what it counts, and for whom. A new version of a policy that keeps these
/// keeps what was booked, whatever becomes of the window and the most; a limit that changes one of them begins empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LimitId(ByteArray<16>);

impl LimitId {
    /// The first half of SHA-256 over the parts, each behind its length.
    fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"countersign limit v1");
        for part in parts {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let hash: [u8; 32] = hash.finalize().into();
        Self(ByteArray::new(*hash.first_chunk().expect("32 bytes hold 16")))
    }
}

/// What an intent counts against one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// How much; `None` if 256 bits cannot say it, which fits no limit.
    pub(crate) amount: Option<Amount>,
    /// Whether the limit's asset itself goes to somebody, and not only a fee is paid in it. Rules see such limits alone:
    /// that the fee of a token transfer is within the limit on coins says nothing about the tokens.
    pub(crate) moves: bool,
}

impl Limit {
    /// The limits of a document that has no problems.
    pub(crate) fn all(document: &Document) -> Vec<Self> {
        document.limits.iter().filter_map(|declared| Self::of(document, declared)).collect()
    }

    fn of(document: &Document, declared: &DeclaredLimit) -> Option<Self> {
        let asset = document.asset(&declared.asset)?;
        let per = match declared.per {
            Per::Transaction => "transaction",
            Per::Account => "account",
            Per::Tenant => "tenant",
        };
        let counts = match declared.counts {
            Counts::Sum => "sum",
            Counts::Fee => "fee",
        };
        Some(Self {
            id: LimitId::of(&[&declared.name, &asset.chain, &asset.asset, per, counts]),
            name: declared.name.clone(),
            chain: asset.chain.clone(),
            asset: asset.asset.clone(),
            per: declared.per,
            counts: declared.counts,
            window_secs: declared.window_secs,
            most: read_amount(&declared.most)?,
            hard: declared.hard,
        })
    }

    /// The limit's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose spending it counts together.
    pub fn per(&self) -> Per {
        self.per
    }

    /// The length of its window in seconds of elapsed time; 0 for [`Per::Transaction`].
    pub fn window_secs(&self) -> u64 {
        self.window_secs
    }

    /// The most, in base units.
    pub fn most(&self) -> Amount {
        self.most
    }

    /// Whether it counts all that leaves of this asset.
    pub(crate) fn counts_sum_of(&self, chain: &str, asset: &str) -> bool {
        self.counts == Counts::Sum && self.chain == chain && self.asset == asset
    }

    /// Whether it counts fees on this chain, alone or with all else that leaves of its coin.
    pub(crate) fn counts_fee_on(&self, chain: &str) -> bool {
        self.chain == chain && self.asset == "native"
    }

    /// What these facts count against this limit; `None` if it does not concern them.
    pub(crate) fn charge(&self, facts: &Facts) -> Option<Charge> {
        if facts.chain != self.chain {
            return None;
        }
        let fee = facts.fee_most.filter(|_| self.asset == "native");
        if self.counts == Counts::Fee {
            return fee.map(|amount| Charge { amount: Some(amount), moves: true });
        }
        let mut leaving = facts.leaving().filter(|moved| moved.asset == self.asset).peekable();
        let moves = leaving.peek().is_some();
        if !moves && fee.is_none() {
            return None;
        }
        let amount = leaving.map(|moved| moved.amount).try_fold(fee.unwrap_or_default(), Amount::checked_add);
        Some(Charge { amount, moves })
    }
}
