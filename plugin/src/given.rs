//! What a signature is approved with: something offered now, a grant of this boot, or what the user approved before.

use crate::approval::{self, Offer, Spending, Spent, Stop};
use crate::audit::{Used, What};
use crate::clock::Moment;
use crate::evidence;
use crate::intent::Intent;
use crate::machine::Core;
use crate::receipts;
use crate::record::{Account, ApprovedBy, Key, Prior};
use crate::staging;
use countersign_policy::Booking;
use countersign_wire::client::{Approval, ApprovalKind};
use countersign_wire::device::{IntentId, IntentState};
use countersign_wire::reason::Reason;

/// What approves an intent, verified as far as that counts nothing. Nothing of it is spent yet, but for a grant.
pub(crate) enum Given {
    /// A code, or what a device or a passkey made for this very intent.
    Offered { offer: Offer, intent: Option<IntentId> },
    /// What the user approved before.
    Prior(Prior),
    /// A code that a context login of this boot spent.
    Bound(Spent),
}

/// What waits for its signature with this key.
pub(crate) fn prior_of<'a>(
    account: &'a Account,
    key: &'a Key,
    now: Moment,
) -> impl Iterator<Item = &'a Prior> {
    account.prior.iter().filter(move |prior| prior.key == key.id && prior.is_good(now))
}

impl Given {
    /// What the request brings along. An approval below the key's floor, or for anything else, is refused unchecked.
    pub(crate) fn of(
        core: &Core,
        account: &Account,
        key: &Key,
        intent: &Intent,
        approval: &Approval,
    ) -> Result<Self, Reason> {
        let approval = match approval {
            Approval::Code(typed) => {
                let offer = Offer::plain(typed);
                require_floor(key, offer.by().kind)?;
                return Ok(Self::Offered { offer, intent: None });
            }
            Approval::Prior => return Self::prior(core, account, key, intent),
            Approval::Intent(approval) => approval,
        };
        let held = staging::open(core, &account.tenant, &account.name, &approval.intent)?;
        let is_its_key = held.key.as_ref().is_some_and(|staged| staged.id == key.id.into_array());
        if !is_its_key || held.hash != intent.signing().hash {
            return Err(Reason::ApprovalForOther);
        }
        require_floor(key, evidence::kind(&approval.evidence))?;
        let digest = held.digest(core, held.purpose());
        let offer = evidence::open(core, account, &approval.evidence, &digest)?;
        staging::try_once(core, &approval.intent, &approval.evidence)?;
        Ok(Self::Offered { offer, intent: Some(approval.intent) })
    }

    /// What the user approved before for exactly this intent and this key.
    pub(crate) fn prior(core: &Core, account: &Account, key: &Key, intent: &Intent) -> Result<Self, Reason> {
        let hash = intent.signing().hash;
        let mut waiting = prior_of(account, key, core.now());
        let prior = waiting.find(|prior| prior.intent_hash.into_array() == hash);
        let prior = prior.ok_or(Reason::ApprovalMissing)?.clone();
        require_floor(key, prior.by.kind)?;
        Ok(Self::Prior(prior))
    }

    /// What policy is told.
    pub(crate) fn by(&self) -> ApprovedBy {
        match self {
            Self::Offered { offer, .. } => offer.by(),
            Self::Prior(prior) => prior.by,
            Self::Bound(_) => ApprovedBy::CODE,
        }
    }

    /// The staged intent that it is for.
    pub(crate) fn intent(&self) -> Option<IntentId> {
        match self {
            Self::Offered { intent, .. } => *intent,
            Self::Prior(prior) => Some(prior.intent),
            Self::Bound(_) => None,
        }
    }

    /// Uses it up for this intent, in one durable change that also books the amounts and writes the history.
    pub(crate) async fn spend(
        &self,
        core: &Core,
        account: &mut Account,
        key: &Key,
        intent: &Intent,
        booking: Booking,
        record: impl FnOnce(Used) -> What,
    ) -> Result<Spent, Stop> {
        let spending = spending(core, key, intent, self.by(), booking, record);
        match self {
            Self::Offered { offer, .. } => approval::spend(core, account, key.id, offer, spending).await,
            Self::Prior(prior) => approval::spend_prior(core, account, prior, spending).await,
            // A grant is taken, not lent.
            Self::Bound(_) => Err(Reason::InternalError.into()),
        }
    }

    /// As [`Self::spend`], of what a PKCS#11 operation has.
    pub(crate) async fn into_spent(
        self,
        core: &Core,
        account: &mut Account,
        key: &Key,
        intent: &Intent,
        booking: Booking,
        record: impl FnOnce(Used) -> What,
    ) -> Result<Spent, Stop> {
        match self {
            Self::Bound(spent) => {
                let spending = spending(core, key, intent, ApprovedBy::CODE, booking, record);
                approval::bind(core, account, spent, spending).await
            }
            other => other.spend(core, account, key, intent, booking, record).await,
        }
    }

    /// It was used up, durably: whatever becomes of the signature, the same evidence makes no second grant.
    pub(crate) fn was_spent(&self, core: &Core) {
        if let Self::Offered { offer, intent: Some(id) } = self {
            let (kind, elapsed_secs) = (Some(offer.by().kind), core.now().elapsed_secs);
            core.staged.borrow_mut().become_of(id, IntentState::Approved, kind, None, elapsed_secs);
        }
    }

    /// The staged intent, if it was one, has its signature.
    pub(crate) fn was_signed(&self, core: &Core, account: &Account, key: &Key, intent: &Intent) {
        was_signed(core, self.intent(), account, key, intent);
    }
}

/// The staged intent has its signature, and its device the receipt.
pub(crate) fn was_signed(core: &Core, id: Option<IntentId>, account: &Account, key: &Key, intent: &Intent) {
    let (Some(id), Some(entry)) = (id, account.history.last()) else { return };
    let receipt = receipts::statement(core, account, key, intent, entry);
    let elapsed_secs = core.now().elapsed_secs;
    let kind = Some(entry.kind);
    core.staged.borrow_mut().become_of(&id, IntentState::Signed, kind, Some(receipt), elapsed_secs);
}

fn require_floor(key: &Key, kind: ApprovalKind) -> Result<(), Reason> {
    if kind < key.floor { Err(Reason::BelowFloor) } else { Ok(()) }
}

fn spending<R: FnOnce(Used) -> What>(
    core: &Core,
    key: &Key,
    intent: &Intent,
    by: ApprovedBy,
    booking: Booking,
    record: R,
) -> Spending<impl FnOnce(&mut Account) + use<R>, R> {
    let (name, signing, unix_secs) = (key.name.clone(), intent.signing(), core.now().unix_secs);
    let apply = move |account: &mut Account| account.remember(&name, &signing, by.kind, unix_secs);
    Spending { booking: Some(booking), apply, record }
}
