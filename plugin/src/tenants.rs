//! The tenants: who an API key belongs to, and each tenant's failure budget.

use crate::clock::Moment;
use crate::limits::{BucketSize, TenantBudget, UnderWay};
use crate::machine::IN_FLIGHT_MAX;
use crate::record::{PolicyMark, TenantState};
use crate::refusals::DeviceRefusals;
use core::cell::RefCell;
use countersign_policy::{Booking, FitsNoMore, Ledger, Policy};
use countersign_wire::hal::{ACCOUNTS_MAX_DEFAULT, LogNames, Tenant};
use countersign_wire::names::{ApiKey, TenantName};
use countersign_wire::reason::{Reason, Refusal};
use futures_channel::oneshot;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::rc::Rc;
use subtle::ConstantTimeEq;

/// Failures an hour that every tenant may have, however small.
const BUDGET_LEAST: usize = 100;

/// Requests of one tenant under way at the most, so that none fills the plugin alone.
pub(crate) const REQUESTS_MAX: usize = IN_FLIGHT_MAX / 4 * 3;

/// Requests of one tenant's devices under way at the most: anybody may send them.
const DEVICE_REQUESTS_MAX: usize = 64;

/// The same of all tenants together.
const ALL_DEVICE_REQUESTS_MAX: usize = 192;

/// Freezes of a tenant's accounts under way at the most, beside those.
const FREEZES_MAX: usize = 16;

struct Slot {
    settings: Tenant,
    /// As it was read at the start; budget and ledger are newer.
    state: TenantState,
    policy: Rc<Policy>,
    ledger: Ledger,
    budget: TenantBudget,
    /// Requests under way.
    requests_under_way: usize,
    /// Those of its users' devices.
    devices_under_way: usize,
    /// Freezes, which have places of their own.
    freezes_under_way: usize,
    device_refusals: DeviceRefusals,
    waiting: Vec<oneshot::Sender<()>>,
}

/// All tenants of this HSM.
#[derive(Clone)]
pub(crate) struct Tenants(Rc<RefCell<BTreeMap<TenantName, Slot>>>);

/// Whether this is the hash of the API key. Compares in constant time, also for a tenant that does not exist.
pub(crate) fn is_key(key: &ApiKey, sha256: Option<&[u8; 32]>) -> bool {
    let hash: [u8; 32] = Sha256::digest(key.expose().as_bytes()).into();
    bool::from(hash.ct_eq(sha256.unwrap_or(&[0; 32])))
}

/// A check that is counted as a failure of the tenant until it succeeds. Dropping it leaves the failure counted.
pub(crate) struct Attempt {
    tenants: Tenants,
    tenant: TenantName,
    check: Option<UnderWay>,
}

impl Tenants {
    pub(crate) fn new(tenants: Vec<(Tenant, TenantState, Rc<Policy>)>) -> Self {
        let slot = |(mut settings, state, policy): (Tenant, TenantState, Rc<Policy>)| {
            settings.policy = None;
            let slot = Slot {
                budget: TenantBudget::new(state.failures),
                ledger: state.ledger.clone(),
                policy,
                requests_under_way: 0,
                devices_under_way: 0,
                freezes_under_way: 0,
                device_refusals: DeviceRefusals::default(),
                waiting: Vec::new(),
                settings,
                state,
            };
            (slot.settings.name.clone(), slot)
        };
        Self(Rc::new(RefCell::new(tenants.into_iter().map(slot).collect())))
    }

    /// The tenant whose API key this is.
    pub(crate) fn authenticate(&self, key: &ApiKey) -> Option<TenantName> {
        let claimed = key.claimed_tenant();
        let tenants = self.0.borrow();
        let expected = tenants.get(&claimed).map(|slot| slot.settings.api_key_sha256.into_array());
        is_key(key, expected.as_ref()).then_some(claimed)
    }

    /// Whether the tenant lets the backend see TOTP secrets at enrolment.
    pub(crate) fn allows_plain_enrolment(&self, tenant: &TenantName) -> bool {
        self.0.borrow().get(tenant).is_some_and(|slot| slot.settings.plain_enrolment)
    }

    /// What the tenant's audit log calls accounts from now on.
    pub(crate) fn log_names(&self, tenant: &TenantName) -> LogNames {
        self.0.borrow().get(tenant).map(|slot| slot.settings.log_names).unwrap_or_default()
    }

    /// Whether the tenant may have one more account than it has.
    pub(crate) fn has_room(&self, tenant: &TenantName, accounts: usize) -> bool {
        self.0.borrow().get(tenant).is_some_and(|slot| {
            let most = slot.settings.accounts_max.unwrap_or(ACCOUNTS_MAX_DEFAULT);
            u32::try_from(accounts).is_ok_and(|accounts| accounts < most)
        })
    }

    /// A place among the requests of this tenant that may be under way; given back when it is dropped.
    pub(crate) fn place(&self, tenant: &TenantName) -> Option<Place> {
        let mut tenants = self.0.borrow_mut();
        let slot = tenants.get_mut(tenant).filter(|slot| slot.requests_under_way < REQUESTS_MAX)?;
        slot.requests_under_way += 1;
        Some(Place { tenants: self.clone(), tenant: tenant.clone() })
    }

    /// A place among the requests of this tenant's devices that may be under way: few, and apart from its backend's. Freezes have some
    /// of their own; a forged one waits for nobody, so it has its place for a moment.
    pub(crate) fn place_of_device(&self, tenant: &TenantName, asks: DeviceAsks) -> Option<DevicePlace> {
        let mut tenants = self.0.borrow_mut();
        let all: usize = tenants.values().map(|slot| slot.devices_under_way).sum();
        let slot = tenants.get_mut(tenant)?;
        let has_room = match asks {
            DeviceAsks::ToFreeze => slot.freezes_under_way < FREEZES_MAX,
            DeviceAsks::Else => slot.devices_under_way < DEVICE_REQUESTS_MAX && all < ALL_DEVICE_REQUESTS_MAX,
        };
        *slot.under_way(asks) += usize::from(has_room);
        has_room.then(|| DevicePlace { tenants: self.clone(), tenant: tenant.clone(), asks })
    }

    /// Works on what is known of the refusals of a tenant's devices.
    pub(crate) fn device_refusals<T>(
        &self,
        tenant: &TenantName,
        work: impl FnOnce(&mut DeviceRefusals) -> T,
    ) -> Option<T> {
        self.0.borrow_mut().get_mut(tenant).map(|slot| work(&mut slot.device_refusals))
    }

    /// The tenant's state as it is sealed next.
    pub(crate) fn state(&self, tenant: &TenantName) -> Option<TenantState> {
        let tenants = self.0.borrow();
        let slot = tenants.get(tenant)?;
        Some(TenantState {
            failures: slot.budget.if_all_fail(),
            ledger: slot.ledger.clone(),
            ..slot.state.clone()
        })
    }

    /// The policy in force, and what the tenant's accounts have spent together.
    pub(crate) fn policy(&self, tenant: &TenantName) -> Option<(Rc<Policy>, Ledger)> {
        let tenants = self.0.borrow();
        tenants.get(tenant).map(|slot| (Rc::clone(&slot.policy), slot.ledger.clone()))
    }

    /// Which policy document is in force, if the tenant was given one.
    pub(crate) fn policy_mark(&self, tenant: &TenantName) -> Option<PolicyMark> {
        self.0.borrow().get(tenant)?.state.policy
    }

    /// How many there are.
    pub(crate) fn how_many(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there is such a tenant.
    pub(crate) fn is_known(&self, tenant: &TenantName) -> bool {
        self.0.borrow().contains_key(tenant)
    }

    /// Books what policy permitted against the limits of account and tenant, if it still fits: others may have booked since.
    /// The caller stages the change that makes it durable before anything else runs. Should that fail, the tenant's part stays
    /// booked, and may become durable with a later change: more is counted than was spent, never less.
    pub(crate) fn book(
        &self,
        tenant: &TenantName,
        booking: Booking,
        account: &mut Ledger,
        elapsed_secs: u64,
    ) -> Result<(), FitsNoMore> {
        let mut tenants = self.0.borrow_mut();
        let slot = tenants.get_mut(tenant).ok_or(FitsNoMore)?;
        booking.apply(account, &mut slot.ledger, elapsed_secs)
    }

    /// Counts a check as failed before it is made, if the budget has room for it, or the account is vouched for.
    ///
    /// Checks under way may still succeed; while they fill the budget this waits for them rather than refuse.
    pub(crate) async fn count(
        &self,
        tenant: &TenantName,
        accounts: usize,
        vouched: bool,
        now: impl Fn() -> Moment,
    ) -> Result<Attempt, Refusal> {
        loop {
            let wait = {
                let mut tenants = self.0.borrow_mut();
                let slot = tenants.get_mut(tenant).ok_or(Reason::WrongApiKey)?;
                let size = slot.size(accounts);
                let elapsed_secs = now().elapsed_secs;
                let wait_secs = slot.budget.wait_secs(size, elapsed_secs);
                if wait_secs == 0 || vouched {
                    let check = Some(slot.budget.begin(size, elapsed_secs));
                    return Ok(Attempt { tenants: self.clone(), tenant: tenant.clone(), check });
                }
                if !slot.budget.has_under_way() {
                    return Err(Refusal {
                        reason: Reason::TenantOverBudget,
                        retry_after_secs: Some(wait_secs),
                    });
                }
                let (wake, wait) = oneshot::channel();
                slot.waiting.push(wake);
                wait
            };
            // Woken or dropped: look again.
            let _ = wait.await;
        }
    }
}

impl Slot {
    fn size(&self, accounts: usize) -> BucketSize {
        let default = u32::try_from(BUDGET_LEAST.max(accounts / 100)).unwrap_or(u32::MAX);
        BucketSize::per_hour(self.settings.failures_per_hour.unwrap_or(default))
    }

    fn under_way(&mut self, asks: DeviceAsks) -> &mut usize {
        match asks {
            DeviceAsks::ToFreeze => &mut self.freezes_under_way,
            DeviceAsks::Else => &mut self.devices_under_way,
        }
    }
}

/// One of a tenant's requests under way.
pub(crate) struct Place {
    tenants: Tenants,
    tenant: TenantName,
}

/// One of the requests of a tenant's devices under way.
pub(crate) struct DevicePlace {
    tenants: Tenants,
    tenant: TenantName,
    asks: DeviceAsks,
}

/// What a device asks, as far as places go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceAsks {
    /// To freeze its account.
    ToFreeze,
    /// Anything else.
    Else,
}

impl Drop for DevicePlace {
    fn drop(&mut self) {
        if let Some(slot) = self.tenants.0.borrow_mut().get_mut(&self.tenant) {
            let under_way = slot.under_way(self.asks);
            *under_way = under_way.saturating_sub(1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slot) = self.tenants.0.borrow_mut().get_mut(&self.tenant) {
            slot.requests_under_way = slot.requests_under_way.saturating_sub(1);
        }
    }
}

impl Attempt {
    /// The check succeeded: the failure is taken back.
    pub(crate) fn succeed(mut self) {
        if let (Some(slot), Some(check)) =
            (self.tenants.0.borrow_mut().get_mut(&self.tenant), self.check.take())
        {
            slot.budget.succeed(check);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(slot) = self.tenants.0.borrow_mut().get_mut(&self.tenant) {
            if let Some(check) = self.check.take() {
                slot.budget.fail(check);
            }
            for wake in slot.waiting.drain(..) {
                // Whoever is gone needs no waking.
                let _ = wake.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tenant: &str) -> TenantName {
        tenant.parse().unwrap()
    }

    fn settings(tenant: &str) -> Tenant {
        Tenant {
            name: name(tenant),
            api_key_sha256: [1; 32].into(),
            plain_enrolment: true,
            failures_per_hour: None,
            accounts_max: None,
            policy: None,
            lifted: Vec::new(),
            log_names: LogNames::Plain,
        }
    }

    fn tenants(all: Vec<Tenant>) -> Tenants {
        let policy = Rc::new(Policy::development());
        let with_state = |settings: Tenant| {
            let state = TenantState::new(settings.name.clone());
            (settings, state, Rc::clone(&policy))
        };
        Tenants::new(all.into_iter().map(with_state).collect())
    }

    #[test]
    fn a_tenant_has_room_for_as_many_accounts_as_its_operator_says() {
        let tenants = tenants(vec![Tenant { accounts_max: Some(3), ..settings("a") }, settings("b")]);
        let most = usize::try_from(ACCOUNTS_MAX_DEFAULT).unwrap();
        for (tenant, accounts, room) in [
            ("a", 0, true),
            ("a", 2, true),
            ("a", 3, false),
            ("a", 4, false),
            ("a", usize::MAX, false),
            ("b", most - 1, true),
            ("b", most, false),
            ("c", 0, false),
        ] {
            assert_eq!(tenants.has_room(&name(tenant), accounts), room, "{tenant}: {accounts}");
        }
        assert_eq!(tenants.how_many(), 2);
    }

    #[test]
    fn a_tenants_operator_forbids_plain_enrolment() {
        let tenants = tenants(vec![settings("a"), Tenant { plain_enrolment: false, ..settings("b") }]);
        let allows = |tenant| tenants.allows_plain_enrolment(&name(tenant));
        assert_eq!([allows("a"), allows("b"), allows("c")], [true, false, false]);
    }

    #[test]
    fn i9_three_quarters_of_all_places_are_the_most_for_one_tenant() {
        let tenants = tenants(vec![settings("a"), settings("b")]);
        let mut places: Vec<Place> = (0..768).map(|_| tenants.place(&name("a")).unwrap()).collect();
        assert!(tenants.place(&name("a")).is_none());
        assert!(tenants.place(&name("b")).is_some());
        assert!(tenants.place(&name("c")).is_none());
        places.pop();
        assert!(tenants.place(&name("a")).is_some(), "a place was given back");
    }

    #[test]
    fn i9_devices_have_few_places_and_freezes_some_of_their_own() {
        let tenants = tenants(["a", "b", "c", "d"].map(settings).to_vec());
        let ask = |tenant: &str, asks| tenants.place_of_device(&name(tenant), asks);
        let (freeze, other) = (DeviceAsks::ToFreeze, DeviceAsks::Else);
        let mut held = Vec::new();
        for tenant in ["a", "b", "c"] {
            held.extend((0..64).map(|_| ask(tenant, other).unwrap()));
            assert!(ask(tenant, other).is_none(), "{tenant} has all of its own");
        }
        assert!(ask("d", other).is_none(), "all together have no more");
        for tenant in ["a", "d"] {
            let freezes: Vec<_> = (0..16).map(|_| ask(tenant, freeze).unwrap()).collect();
            assert!(ask(tenant, freeze).is_none());
            drop(freezes);
            assert!(ask(tenant, freeze).is_some());
        }
        assert!(ask("e", freeze).is_none() && ask("e", other).is_none());
        held.pop();
        assert!(ask("d", other).is_some(), "a place was given back");
    }

    #[test]
    fn i4_what_is_sealed_of_a_tenant_counts_checks_under_way_as_failed() {
        let tenants = tenants(vec![settings("a"), settings("b")]);
        let sealed = |tenant: &str| tenants.state(&name(tenant)).unwrap().failures;
        let none = sealed("a");
        let attempt = {
            let mut all = tenants.0.borrow_mut();
            let slot = all.get_mut(&name("a")).unwrap();
            let check = Some(slot.budget.begin(slot.size(1), 0));
            Attempt { tenants: tenants.clone(), tenant: name("a"), check }
        };
        let failed = sealed("a");
        assert_ne!(failed, none, "under way");
        drop(attempt);
        assert_eq!(sealed("a"), failed, "it failed");
        assert_eq!(sealed("b"), none);
        assert_eq!(tenants.state(&name("c")), None);
    }

    #[test]
    fn a_tenants_failures_an_hour_grow_with_its_accounts_unless_its_operator_says_otherwise() {
        let tenants = tenants(vec![settings("a"), Tenant { failures_per_hour: Some(5), ..settings("b") }]);
        let all = tenants.0.borrow();
        let size = |tenant: &str, accounts| all[&name(tenant)].size(accounts);
        for (accounts, failures) in [(0, 100), (10_000, 100), (10_100, 101), (1_000_000, 10_000)] {
            assert_eq!(size("a", accounts), BucketSize::per_hour(failures), "{accounts}");
            assert_eq!(size("b", accounts), BucketSize::per_hour(5));
        }
    }
}
