//! Approvals: count first, check, spend. The only maker of [`Spent`], and so of every grant.

use crate::audit::What;
use crate::clock::Moment;
use crate::limits::Guard;
use crate::machine::Core;
use crate::record::{Account, Enrolment};
use crate::store::{Change, CommitError};
use crate::tenants::Attempt;
use crate::totp::{self, Code, Match};
use countersign_policy::Booking;
use countersign_policy::payees::NotListed;
use countersign_wire::client::Approval;
use countersign_wire::hal::Secret;
use countersign_wire::names::TypedCode;
use countersign_wire::reason::{Reason, Refusal};
use serde_bytes::ByteArray;

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

/// Refuses an account whose user has not shown two codes yet.
pub(crate) fn require_confirmed(account: &Account, elapsed_secs: u64) -> Result<(), Reason> {
    match account.enrolment {
        Enrolment::Confirmed => Ok(()),
        Enrolment::Open { .. } if account.is_void(elapsed_secs) => Err(Reason::EnrolmentExpired),
        Enrolment::Open { .. } => Err(Reason::NotConfirmed),
    }
}

/// Spends an approval for one use of `key`. The caller holds the account's turn and has just loaded `account`;
/// afterwards `account` is as it was made durable last.
///
/// `booking` is what the policy's limits are to count of it, in the same change. `record` says what the audit log holds of
/// the spend, given the step.
pub(crate) async fn spend(
    core: &Core,
    account: &mut Account,
    key: ByteArray<16>,
    approval: &Approval,
    booking: Option<Booking>,
    record: impl FnOnce(u64) -> What,
) -> Result<Spent, Stop> {
    let (counted, step) = check(core, account, approval).await?;

    // Spend: one change marks the step used, takes the count back, books the amounts and records the spend.
    counted.take_back(account);
    if let Some(booking) = booking
        && core.tenants.book(&account.tenant, booking, &mut account.ledger, core.now().elapsed_secs).is_err()
    {
        // Meanwhile others used the limit up. The code was right and is good for another time.
        commit(core, account, true, What::CountTakenBack).await?;
        return Err(Reason::LimitExceeded.into());
    }
    account.totp.highest_used_step = step;
    commit(core, account, true, record(step)).await?;
    Ok(Spent { key })
}

/// Spends an approval on a payee: the address is one that the account is known to pay, or no longer.
pub(crate) async fn spend_on_payee(
    core: &Core,
    account: &mut Account,
    approval: &Approval,
    address: &str,
    known: bool,
) -> Result<(), Stop> {
    // Another form of an address would never be what an intent pays.
    if !countersign_intent::is_address(address) {
        return Err(Reason::MalformedAddress.into());
    }
    // On a copy first: what cannot be listed costs no code.
    let mut payees = account.payees.clone();
    if known {
        payees.add(address, core.now().elapsed_secs).map_err(|not_listed| match not_listed {
            NotListed::Full => Reason::TooManyPayees,
            NotListed::BadAddress => Reason::MalformedAddress,
        })?;
    } else {
        payees.remove(address);
    }
    let (counted, step) = check(core, account, approval).await?;
    counted.take_back(account);
    account.totp.highest_used_step = step;
    account.payees = payees;
    commit(core, account, true, What::PayeeSet { address: address.to_owned(), known, step }).await
}

/// Counts an attempt and checks the approval: gives the step that it is good for, which is not spent yet.
async fn check(core: &Core, account: &mut Account, approval: &Approval) -> Result<(Counted, u64), Stop> {
    let Approval::Code(typed) = approval;
    require_confirmed(account, core.now().elapsed_secs)?;
    let offered = parse(account, typed)?;

    // Count first: the attempt stands as a failure, durably, before anything is compared. Meanwhile the keystore works
    // out what to compare with.
    let (counted, candidates) = count_failure(core, account, totp::window).await?;

    // Check: against every step in the window, in constant time.
    let Candidates { steps, macs } = candidates.await?.still_in_time(core, account, totp::window)?;
    let factor = &account.totp;
    let matched = totp::check(&offered, &steps, &macs, factor.parameters.digits, factor.highest_used_step);
    fresh(core, account, matched).map(|step| (counted, step))
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
async fn commit(core: &Core, account: &mut Account, tenant: bool, what: What) -> Result<(), Stop> {
    account.version += 1;
    let event = core.event(Some(&account.tenant), Some(&account.name), what);
    let tenant = tenant.then(|| account.tenant.clone());
    core.store.commit(Change { account: Some(account.clone()), tenant, event }).await.map_err(Stop::from)
}
