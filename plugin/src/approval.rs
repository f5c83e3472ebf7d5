//! Approvals: count first, check, spend. The only maker of [`Spent`], and so of every grant.

use crate::audit::{Used, What};
use crate::clock::Moment;
use crate::limits::Guard;
use crate::machine::Core;
use crate::record::{Account, ApprovedBy, Enrolment, Prior};
use crate::store::{Change, CommitError};
use crate::tenants::Attempt;
use crate::totp::{self, Code, Match};
use countersign_policy::Booking;
use countersign_policy::Payees;
use countersign_policy::payees::NotListed;
use countersign_wire::client::ApprovalKind;
use countersign_wire::hal::Secret;
use countersign_wire::names::TypedCode;
use countersign_wire::reason::{Reason, Refusal};
use serde_bytes::{ByteArray, ByteBuf};

/// Holding one proves that one approval of the account's user was checked and spent, durably, for one use of one
/// key. Not `Clone`; only this module makes one.
#[derive(Debug)]
pub(crate) struct Spent {
    key: ByteArray<16>,
}

impl Spent {
    /// Spends nothing: for tests of what a spent approval is good for.
    #[cfg(test)]
    pub(crate) fn for_test(key: ByteArray<16>) -> Self {
        Self { key }
    }

    /// The key it was spent for.
    pub(crate) fn into_key(self) -> ByteArray<16> {
        self.key
    }
}

/// Why a spend did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Refused.
    Refused(Refusal),
    /// The account changed meanwhile: load it and start again.
    Conflict,
}

impl<R: Into<Refusal>> From<R> for Stop {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<CommitError> for Stop {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::Conflict,
            CommitError::Full | CommitError::Failed => Reason::from(error).into(),
        }
    }
}

/// Refuses an account whose user has not shown two codes yet, or froze it.
pub(crate) fn require_open(account: &Account, elapsed_secs: u64) -> Result<(), Reason> {
    match account.enrolment {
        Enrolment::Confirmed if account.frozen.is_some() => Err(Reason::AccountFrozen),
        Enrolment::Confirmed => Ok(()),
        Enrolment::Open { .. } if account.is_void(elapsed_secs) => Err(Reason::EnrolmentExpired),
        Enrolment::Open { .. } => Err(Reason::NotConfirmed),
    }
}

/// What is offered as an approval, as far as it can be told before anything is counted: a code still has to be compared.
pub(crate) enum Offer {
    /// A code, typed in the clear or opened from a seal whose device signed it.
    Code {
        /// Plain or sealed.
        kind: ApprovalKind,
        /// The code.
        typed: TypedCode,
    },
    /// A passkey's assertion, whose signature was verified.
    Passkey {
        /// Which of the account's.
        credential_id: ByteBuf,
        /// Its counter.
        sign_count: u32,
        /// Whether it was copied to other devices by now.
        backed_up: bool,
    },
}

impl Offer {
    /// A code as it was typed.
    pub(crate) fn plain(typed: &TypedCode) -> Self {
        Self::Code { kind: ApprovalKind::Code, typed: typed.clone() }
    }

    /// What policy is told.
    pub(crate) fn by(&self) -> ApprovedBy {
        match self {
            Self::Code { kind, .. } => ApprovedBy { kind: *kind, backed_up: false },
            Self::Passkey { backed_up, .. } => {
                ApprovedBy { kind: ApprovalKind::Passkey, backed_up: *backed_up }
            }
        }
    }
}

/// What a spend does beside using the approval up, in the same durable change.
pub(crate) struct Spending<A, R> {
    /// What the policy's limits are to count of it.
    pub(crate) booking: Option<Booking>,
    /// What else changes about the account.
    pub(crate) apply: A,
    /// What the audit log holds of it, given what was used up.
    pub(crate) record: R,
}

/// Spends an approval for one use of `key`. The caller holds the account's turn and has just loaded `account`;
/// afterwards `account` is as it was made durable last.
pub(crate) async fn spend(
    core: &Core,
    account: &mut Account,
    key: ByteArray<16>,
    offer: &Offer,
    spending: Spending<impl FnOnce(&mut Account), impl FnOnce(Used) -> What>,
) -> Result<Spent, Stop> {
    let passed = check(core, account, offer).await?;

    // Spend: one change marks the approval used, takes the count back, books the amounts and records the spend.
    if let Some(booking) = spending.booking
        && core.tenants.book(&account.tenant, booking, &mut account.ledger, core.now().elapsed_secs).is_err()
    {
        // Meanwhile others used the limit up. The approval was right and is good for another time.
        if passed.take_back(account) {
            commit(core, account, true, What::CountTakenBack).await?;
        }
        return Err(Reason::LimitExceeded.into());
    }
    let used = passed.use_up(account);
    (spending.apply)(account);
    commit(core, account, true, (spending.record)(used)).await?;
    Ok(Spent { key })
}

/// Uses up what the user approved before, on a device, for this key and this intent. The caller holds the account's turn.
pub(crate) async fn spend_prior(
    core: &Core,
    account: &mut Account,
    prior: &Prior,
    spending: Spending<impl FnOnce(&mut Account), impl FnOnce(Used) -> What>,
) -> Result<Spent, Stop> {
    let now = core.now();
    let elapsed_secs = now.elapsed_secs;
    require_open(account, elapsed_secs)?;
    let held = account.prior.iter().position(|held| held == prior && held.is_good(now));
    let Prior { key, intent, .. } = account.prior.remove(held.ok_or(Reason::ApprovalMissing)?);
    if let Some(booking) = spending.booking {
        core.tenants
            .book(&account.tenant, booking, &mut account.ledger, elapsed_secs)
            .map_err(|_| Reason::LimitExceeded)?;
    }
    (spending.apply)(account);
    commit(core, account, true, (spending.record)(Used::Prior(intent))).await?;
    Ok(Spent { key })
}

/// Binds what a context login spent to its intent: in one durable change with the booking.
pub(crate) async fn bind(
    core: &Core,
    account: &mut Account,
    spent: Spent,
    spending: Spending<impl FnOnce(&mut Account), impl FnOnce(Used) -> What>,
) -> Result<Spent, Stop> {
    let touches_tenant = spending.booking.as_ref().is_some_and(Booking::touches_tenant);
    if let Some(booking) = spending.booking {
        core.tenants
            .book(&account.tenant, booking, &mut account.ledger, core.now().elapsed_secs)
            .map_err(|_| Reason::LimitExceeded)?;
    }
    (spending.apply)(account);
    commit(core, account, touches_tenant, (spending.record)(Used::Login)).await?;
    Ok(spent)
}

/// Spends an approval on a payee: the address is one that the account is known to pay, or no longer.
pub(crate) async fn spend_on_payee(
    core: &Core,
    account: &mut Account,
    offer: &Offer,
    address: &str,
    known: bool,
) -> Result<(), Stop> {
    if offer.by().kind < payee_floor(account) {
        return Err(Reason::BelowFloor.into());
    }
    let payees = with_payee(core, account, address, known)?;
    let passed = check(core, account, offer).await?;
    let used = passed.use_up(account);
    account.payees = payees;
    let kind = offer.by().kind;
    commit(core, account, true, What::PayeeSet { address: address.to_owned(), known, used, kind }).await
}

/// What it takes to set a payee: the strictest of the account's keys says so, since rules may ask less of payments to known ones.
pub(crate) fn payee_floor(account: &Account) -> ApprovalKind {
    account.keys.iter().map(|key| key.floor).max().unwrap_or_default()
}

/// The account's payees with one more or one less. What cannot be listed costs no approval.
pub(crate) fn with_payee(
    core: &Core,
    account: &Account,
    address: &str,
    known: bool,
) -> Result<Payees, Reason> {
    // Another form of an address would never be what an intent pays.
    if !countersign_intent::is_address(address) {
        return Err(Reason::MalformedAddress);
    }
    let mut payees = account.payees.clone();
    if known {
        payees.add(address, core.now().elapsed_secs).map_err(|not_listed| match not_listed {
            NotListed::Full => Reason::TooManyPayees,
            NotListed::BadAddress => Reason::MalformedAddress,
        })?;
    } else {
        payees.remove(address);
    }
    Ok(payees)
}

/// An approval that was checked and is not used up yet.
enum Passed {
    Code { counted: Counted, step: u64 },
    Passkey { credential_id: ByteBuf, sign_count: u32 },
}

impl Passed {
    /// It is not used after all. Whether anything changed by that.
    fn take_back(self, account: &mut Account) -> bool {
        match self {
            Self::Code { counted, .. } => {
                counted.take_back(account);
                true
            }
            Self::Passkey { .. } => false,
        }
    }

    fn use_up(self, account: &mut Account) -> Used {
        match self {
            Self::Code { counted, step } => {
                counted.take_back(account);
                account.totp.highest_used_step = step;
                Used::Step(step)
            }
            Self::Passkey { credential_id, sign_count } => {
                let used = account.passkeys.iter_mut().find(|one| one.credential_id == credential_id);
                if let Some(passkey) = used {
                    passkey.sign_count = passkey.sign_count.max(sign_count);
                }
                Used::Passkey(credential_id)
            }
        }
    }
}

/// Counts an attempt at a code and checks it: gives the step that it is good for, which is not spent yet. A passkey is no
/// guess, and was verified before.
async fn check(core: &Core, account: &mut Account, offer: &Offer) -> Result<Passed, Stop> {
    require_open(account, core.now().elapsed_secs)?;
    let typed = match offer {
        Offer::Code { typed, .. } => typed,
        Offer::Passkey { credential_id, sign_count, .. } => {
            sure_time(core)?;
            return Ok(Passed::Passkey { credential_id: credential_id.clone(), sign_count: *sign_count });
        }
    };
    let offered = parse(account, typed)?;

    // Count first: the attempt stands as a failure, durably, before anything is compared. Meanwhile the keystore works
    // out what to compare with.
    let (counted, candidates) = count_failure(core, account, totp::window).await?;

    // Check: against every step in the window, in constant time.
    let Candidates { steps, macs } = candidates.await?.still_in_time(core, account, totp::window)?;
    let factor = &account.totp;
    let matched = totp::check(&offered, &steps, &macs, factor.parameters.digits, factor.highest_used_step);
    fresh(core, account, matched).map(|step| Passed::Code { counted, step })
}

/// Finishes an enrolment: checks and spends the codes of two consecutive steps. Counted like a single code, since
/// the account has nothing yet to be unlocked with.
pub(crate) async fn spend_to_confirm(
    core: &Core,
    account: &mut Account,
    typed: [&TypedCode; 2],
) -> Result<(), Stop> {
    let offered = [parse(account, typed[0])?, parse(account, typed[1])?];
    let (counted, candidates) = count_failure(core, account, totp::pair_window).await?;
    let candidates = candidates.await?.still_in_time(core, account, totp::pair_window)?;
    account.totp.highest_used_step = check_pair(core, account, &offered, candidates)?;
    account.enrolment = Enrolment::Confirmed;
    counted.take_back(account);
    commit(core, account, true, What::Confirmed).await
}

/// Reopens a locked account: checks and spends the codes of two consecutive steps. It has a rate limit of its own.
pub(crate) async fn spend_to_unlock(
    core: &Core,
    account: &mut Account,
    typed: [&TypedCode; 2],
) -> Result<(), Stop> {
    let offered = [parse(account, typed[0])?, parse(account, typed[1])?];
    let now = sure_time(core)?;
    account.guard.admit_pair(now.elapsed_secs)?;
    account.guard.count_pair(now.elapsed_secs);
    let candidates = candidates(core, account, now, totp::pair_window);
    if let Err(stop) = commit(core, account, false, What::CodeCounted).await {
        return Err(after(core, candidates, stop).await);
    }
    let candidates = candidates.await?.still_in_time(core, account, totp::pair_window)?;
    account.totp.highest_used_step = check_pair(core, account, &offered, candidates)?;
    account.guard.vouch(core.now().elapsed_secs);
    commit(core, account, false, What::Unlocked).await
}

/// A failure that was counted in advance, durably, for the account and its tenant. Dropping it leaves it counted.
struct Counted {
    attempt: Attempt,
    before: Guard,
}

impl Counted {
    /// The check succeeded.
    fn take_back(self, account: &mut Account) {
        account.guard.succeed(self.before);
        self.attempt.succeed();
    }
}

/// Counts an attempt as failed before it is made, if time is sure, the account is open and the budgets have room. Gives
/// what the attempt is to be compared with: the keystore begins to work it out while the count becomes durable.
async fn count_failure(
    core: &Core,
    account: &mut Account,
    steps_around: fn(u64) -> Vec<u64>,
) -> Result<(Counted, impl Future<Output = Result<Candidates, Stop>> + use<>), Stop> {
    account.guard.admit(sure_time(core)?.elapsed_secs)?;
    let accounts = core.store.account_count(&account.tenant);
    let vouched = account.guard.is_vouched();
    let attempt = core.tenants.count(&account.tenant, accounts, vouched, || core.now()).await?;
    let now = match sure_time(core) {
        Ok(now) => now,
        Err(unsure) => {
            // It waited for its tenant's budget, and time became unsure: nothing will be compared.
            attempt.succeed();
            return Err(unsure.into());
        }
    };
    let before = account.guard;
    account.guard.count_failure(now.elapsed_secs);
    let candidates = candidates(core, account, now, steps_around);
    match commit(core, account, true, What::CodeCounted).await {
        Ok(()) => Ok((Counted { attempt, before }, candidates)),
        Err(stop) => {
            // It could not be counted, so nothing will be compared.
            attempt.succeed();
            Err(after(core, candidates, stop).await)
        }
    }
}

/// Waits for what the keystore was asked for, though nobody needs it: no more is asked of it than there are requests under
/// way. Where the store is broken the plugin is about to stop, and whoever waits is to be told before that.
async fn after(core: &Core, candidates: impl Future<Output = Result<Candidates, Stop>>, stop: Stop) -> Stop {
    if core.store.broken().is_none() {
        let _ = candidates.await;
    }
    stop
}

/// The steps that may match, and their MACs from the keystore.
struct Candidates {
    steps: Vec<u64>,
    macs: Vec<Secret>,
}

impl Candidates {
    /// Those that may still match: while the count became durable, time went on, or became unsure.
    fn still_in_time(
        mut self,
        core: &Core,
        account: &Account,
        steps_around: fn(u64) -> Vec<u64>,
    ) -> Result<Self, Stop> {
        let now = steps_around(totp::step_at(sure_time(core)?.unix_secs, &account.totp.parameters));
        let mut in_time = self.steps.iter().map(|step| now.contains(step)).collect::<Vec<_>>().into_iter();
        self.macs.retain(|_| in_time.next().unwrap_or(false));
        self.steps.retain(|step| now.contains(step));
        Ok(self)
    }
}

/// Asks the keystore for the MACs of the steps that may match now; the call is begun at once.
fn candidates(
    core: &Core,
    account: &Account,
    now: Moment,
    steps_around: fn(u64) -> Vec<u64>,
) -> impl Future<Output = Result<Candidates, Stop>> + use<> {
    let factor = &account.totp;
    let steps = steps_around(totp::step_at(now.unix_secs, &factor.parameters));
    let macs = core.hal.mac(&factor.wrapped, factor.parameters.hash, steps.clone());
    async move { Ok(Candidates { steps, macs: macs.await.map_err(Reason::from)? }) }
}

/// The later step of two consecutive ones that the codes match, both unused.
fn check_pair(
    core: &Core,
    account: &Account,
    offered: &[Code; 2],
    candidates: Candidates,
) -> Result<u64, Stop> {
    let Candidates { steps, macs } = candidates;
    let factor = &account.totp;
    let matched = totp::check_pair(
        offered.each_ref(),
        &steps,
        &macs,
        factor.parameters.digits,
        factor.highest_used_step,
    );
    fresh(core, account, matched)
}

/// The step, or the refusal of a failed check; says how long that locked the account, if it did.
fn fresh(core: &Core, account: &Account, matched: Match) -> Result<u64, Stop> {
    let reason = match matched {
        Match::Fresh(step) => return Ok(step),
        Match::Used => Reason::CodeUsed,
        Match::None => Reason::WrongCode,
    };
    let locked_for = account.guard.locked_for_secs(core.now().elapsed_secs);
    Err(Refusal { reason, retry_after_secs: (locked_for > 0).then_some(locked_for) }.into())
}

/// The present, if codes may be checked against it.
fn sure_time(core: &Core) -> Result<Moment, Reason> {
    let now = core.now();
    if now.sure { Ok(now) } else { Err(Reason::ClockUnsure) }
}

fn parse(account: &Account, typed: &TypedCode) -> Result<Code, Reason> {
    Code::parse(typed.expose(), account.totp.parameters.digits).map_err(|_| Reason::MalformedCode)
}

/// Makes the account's change durable, as its next version.
pub(crate) async fn commit(core: &Core, account: &mut Account, tenant: bool, what: What) -> Result<(), Stop> {
    account.version += 1;
    let event = core.event(Some(&account.tenant), Some(&account.name), what);
    let tenant = tenant.then(|| account.tenant.clone());
    core.store.commit(Change { account: Some(account.clone()), tenant, event }).await.map_err(Stop::from)
}
