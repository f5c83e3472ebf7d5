//! What is staged for users to approve, and who was invited to enrol. In memory alone: it lives minutes, and whoever staged it
//! can do so again. What was approved is durable; see [`crate::record::Prior`].

use crate::machine::Core;
use countersign_approvals::digest::{Approved, Purpose};
use countersign_wire::client::{ApprovalKind, Enroll, Subject};
use countersign_wire::device::{IntentId, IntentState};
use countersign_wire::names::{AccountName, KeyLabel, TenantName};
use countersign_wire::reason::Reason;
use std::collections::BTreeMap;

/// How long a staged intent waits for its approval.
pub(crate) const OPEN_SECS: u64 = 600;

/// How long an approval waits for its signature.
pub(crate) const APPROVED_SECS: u64 = 300;

/// How long it is remembered what became of an intent.
const REMEMBERED_SECS: u64 = 600;

/// How long an invitation is good.
pub(crate) const INVITED_SECS: u64 = 1800;

/// The most intents of an account that wait for their approval or their signature.
const ACCOUNT_MAX: usize = 4;

/// How many sealed messages are tried for one intent. Locks come long before.
const TRIED_MAX: usize = 16;

/// What all intents may take in memory, about, in bytes. Each tenant has its share.
const INTENTS_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The most invitations that are open. Each tenant has its share.
const INVITATIONS_MAX: usize = 4096;

/// The key that a staged intent is for.
#[derive(Clone, Debug)]
pub(crate) struct StagedKey {
    pub(crate) label: KeyLabel,
    pub(crate) id: [u8; 16],
}

/// One staged intent.
#[derive(Clone, Debug)]
pub(crate) struct StagedIntent {
    pub(crate) tenant: TenantName,
    pub(crate) account: AccountName,
    pub(crate) subject: Subject,
    /// `None`: it is about a payee.
    pub(crate) key: Option<StagedKey>,
    /// The weakest approval that it takes.
    pub(crate) floor: ApprovalKind,
    /// How it is signed; `payee` for one.
    pub(crate) mechanism: &'static str,
    pub(crate) digests: Vec<[u8; 32]>,
    pub(crate) summary: String,
    pub(crate) hash: [u8; 32],
    pub(crate) nonce: [u8; 32],
    /// Part of what is approved.
    pub(crate) expires_unix_secs: u64,
    pub(crate) state: IntentState,
    pub(crate) by: Option<ApprovalKind>,
    /// Once it was signed, the statement of its receipt.
    pub(crate) receipt: Option<Vec<u8>>,
    /// Until when the state lasts.
    pub(crate) until_elapsed_secs: u64,
}

impl StagedIntent {
    /// What its approval is for.
    pub(crate) fn purpose(&self) -> Purpose {
        if self.key.is_some() { Purpose::Sign } else { Purpose::Payee }
    }

    /// What somebody approves, or declines.
    pub(crate) fn digest(&self, core: &Core, purpose: Purpose) -> [u8; 32] {
        let key_id: &[u8] = self.key.as_ref().map_or(&[], |key| key.id.as_slice());
        let approved = Approved {
            purpose,
            hsm: &core.boot.hsm_id.into_array(),
            tenant: self.tenant.as_str(),
            account: self.account.as_str(),
            key_id,
            intent_hash: &self.hash,
            expires_unix_secs: self.expires_unix_secs,
            nonce: &self.nonce,
        };
        approved.digest()
    }

    fn waits(&self) -> bool {
        matches!(self.state, IntentState::Open | IntentState::Approved)
    }

    fn memory_bytes(&self) -> usize {
        let payload = match &self.subject {
            Subject::Sign(sign) => countersign_wire::encode(&sign.payload).len(),
            Subject::Payee(payee) => payee.address.len(),
        };
        size_of::<Self>() + 256 + payload + 2 * self.summary.len() + 64 * self.digests.len()
    }
}

/// An account that a device may enrol.
#[derive(Clone, Debug)]
pub(crate) struct Invitation {
    pub(crate) tenant: TenantName,
    pub(crate) enroll: Enroll,
    until_elapsed_secs: u64,
}

/// All of them.
#[derive(Default)]
pub(crate) struct StagedIntents {
    intents: BTreeMap<[u8; 16], (StagedIntent, usize)>,
    /// What was tried for them.
    tried: BTreeMap<[u8; 16], Vec<[u8; 32]>>,
    invitations: BTreeMap<[u8; 16], Invitation>,
}

impl StagedIntents {
    /// Keeps a new intent, if there is room for it.
    pub(crate) fn put(
        &mut self,
        id: [u8; 16],
        intent: StagedIntent,
        elapsed_secs: u64,
        tenants: usize,
    ) -> Result<(), Reason> {
        self.intents.retain(|_, (held, _)| held.until_elapsed_secs > elapsed_secs);
        self.tried.retain(|id, _| self.intents.contains_key(id));
        let bytes = intent.memory_bytes();
        let held = || self.intents.values();
        let of_tenant = || held().filter(|(held, _)| held.tenant == intent.tenant);
        let waiting = of_tenant().filter(|(held, _)| held.account == intent.account && held.waits()).count();
        if waiting >= ACCOUNT_MAX {
            return Err(Reason::TooManyIntents);
        }
        if sum(of_tenant()) + bytes > INTENTS_MAX_BYTES / tenants.max(1) {
            return Err(Reason::Busy);
        }
        self.intents.insert(id, (intent, bytes));
        Ok(())
    }

    /// The intent of this id of this account. Foreign and unknown ones are the same miss.
    pub(crate) fn get(
        &self,
        tenant: &TenantName,
        account: &AccountName,
        id: &IntentId,
        elapsed_secs: u64,
    ) -> Result<&StagedIntent, Reason> {
        let held = self.of_tenant(tenant, id, elapsed_secs)?;
        if held.account == *account { Ok(held) } else { Err(Reason::UnknownIntent) }
    }

    /// The intent of this id, whoever's it is in this tenant.
    pub(crate) fn of_tenant(
        &self,
        tenant: &TenantName,
        id: &IntentId,
        elapsed_secs: u64,
    ) -> Result<&StagedIntent, Reason> {
        let held = self.intents.get(&id.into_array()).map(|(held, _)| held);
        held.filter(|held| held.tenant == *tenant && held.until_elapsed_secs > elapsed_secs)
            .ok_or(Reason::UnknownIntent)
    }

    /// Those of an account that are remembered.
    pub(crate) fn of_account(
        &self,
        tenant: &TenantName,
        account: &AccountName,
        elapsed_secs: u64,
    ) -> impl Iterator<Item = ([u8; 16], &StagedIntent)> {
        let of_account = move |held: &StagedIntent| {
            held.tenant == *tenant && held.account == *account && held.until_elapsed_secs > elapsed_secs
        };
        self.intents.iter().map(|(id, (held, _))| (*id, held)).filter(move |(_, held)| of_account(held))
    }

    /// What became of an intent.
    pub(crate) fn become_of(
        &mut self,
        id: &IntentId,
        state: IntentState,
        by: Option<ApprovalKind>,
        receipt: Option<Vec<u8>>,
        elapsed_secs: u64,
    ) {
        let Some((held, _)) = self.intents.get_mut(&id.into_array()) else { return };
        held.state = state;
        held.by = by.or(held.by);
        held.receipt = receipt.or(held.receipt.take());
        let lasts = if state == IntentState::Approved { APPROVED_SECS } else { REMEMBERED_SECS };
        held.until_elapsed_secs = elapsed_secs.saturating_add(lasts);
    }

    /// Takes one out again.
    pub(crate) fn remove(&mut self, id: &IntentId) {
        self.intents.remove(&id.into_array());
    }

    /// Whether this sealed message is tried for the first time, as far as there is room to know.
    pub(crate) fn try_once(&mut self, id: &IntentId, sealed: [u8; 32]) -> bool {
        let tried = self.tried.entry(id.into_array()).or_default();
        let is_new = tried.len() < TRIED_MAX && !tried.contains(&sealed);
        if is_new {
            tried.push(sealed);
        }
        is_new
    }

    /// Whatever waits in an account is refused: its user froze it.
    pub(crate) fn decline_all(&mut self, tenant: &TenantName, account: &AccountName, elapsed_secs: u64) {
        for (held, _) in self.intents.values_mut() {
            if held.tenant == *tenant && held.account == *account && held.waits() {
                held.state = IntentState::Declined;
                held.until_elapsed_secs = elapsed_secs.saturating_add(REMEMBERED_SECS);
            }
        }
    }

    /// Keeps an invitation, if there is room for it.
    pub(crate) fn invite(
        &mut self,
        id: [u8; 16],
        tenant: &TenantName,
        enroll: &Enroll,
        elapsed_secs: u64,
        tenants: usize,
    ) -> Result<(), Reason> {
        self.invitations.retain(|_, held| held.until_elapsed_secs > elapsed_secs);
        let of_tenant = self.invitations.values().filter(|held| held.tenant == *tenant).count();
        if of_tenant >= INVITATIONS_MAX / tenants.max(1) {
            return Err(Reason::Busy);
        }
        let until_elapsed_secs = elapsed_secs.saturating_add(INVITED_SECS);
        let invitation = Invitation { tenant: tenant.clone(), enroll: enroll.clone(), until_elapsed_secs };
        self.invitations.insert(id, invitation);
        Ok(())
    }

    /// The invitation of this id to this account.
    pub(crate) fn invitation(
        &self,
        tenant: &TenantName,
        account: &AccountName,
        id: &IntentId,
        elapsed_secs: u64,
    ) -> Result<&Invitation, Reason> {
        let is_it = |held: &&Invitation| {
            held.tenant == *tenant
                && held.enroll.account == *account
                && held.until_elapsed_secs > elapsed_secs
        };
        self.invitations.get(&id.into_array()).filter(is_it).ok_or(Reason::UnknownInvitation)
    }

    /// It was used.
    pub(crate) fn use_invitation(&mut self, id: &IntentId) {
        self.invitations.remove(&id.into_array());
    }
}

fn sum<'a>(intents: impl Iterator<Item = &'a (StagedIntent, usize)>) -> usize {
    intents.map(|(_, bytes)| bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::client::{Payload, StagePayee, StageSign};

    const MIB: usize = 1024 * 1024;

    fn intent(tenant: &str, account: &str, payload_bytes: usize) -> StagedIntent {
        let label: KeyLabel = format!("{account}/main").parse().unwrap();
        let payload = Payload::Message(vec![b'x'; payload_bytes].into());
        StagedIntent {
            tenant: tenant.parse().unwrap(),
            account: account.parse().unwrap(),
            subject: Subject::Sign(StageSign { key: label.clone(), payload }),
            key: Some(StagedKey { label, id: [1; 16] }),
            floor: ApprovalKind::Code,
            mechanism: "message",
            digests: Vec::new(),
            summary: String::new(),
            hash: [2; 32],
            nonce: [3; 32],
            expires_unix_secs: 600,
            state: IntentState::Open,
            by: None,
            receipt: None,
            until_elapsed_secs: 600,
        }
    }

    #[test]
    fn i14_an_intent_counts_for_all_that_it_holds() {
        let plain = || intent("a", "alice", 100);
        let least = plain().memory_bytes();
        assert!(
            (size_of::<StagedIntent>() + 356..size_of::<StagedIntent>() + 456).contains(&least),
            "{least}"
        );
        let longer = intent("a", "alice", 10_100).memory_bytes();
        assert!((least + 10_000..least + 10_010).contains(&longer));
        // Kept, and once more in what is signed of it.
        let told = StagedIntent { summary: "x".repeat(1_000), ..plain() };
        assert_eq!(told.memory_bytes(), least + 2_000);
        let many = StagedIntent { digests: vec![[1; 32]; 10], ..plain() };
        assert_eq!(many.memory_bytes(), least + 640);
        let payee = |address: &str| {
            let address = address.to_owned();
            Subject::Payee(StagePayee { account: "alice".parse().unwrap(), address, known: true })
        };
        let bytes = |address| StagedIntent { subject: payee(address), ..plain() }.memory_bytes();
        assert_eq!(bytes("0x12345"), bytes("") + 7);
    }

    #[test]
    fn i14_each_tenant_has_its_share_of_eight_mebibytes_for_as_long_as_its_intents_last() {
        for (tenants, share) in [(1, 8 * MIB), (2, 4 * MIB), (4, 2 * MIB)] {
            let mut staged = StagedIntents::default();
            let mut number = 0_u64;
            let mut put = |staged: &mut StagedIntents, tenant: &str, now: u64| {
                number += 1;
                let mut id = [0; 16];
                id[..8].copy_from_slice(&number.to_be_bytes());
                let account = format!("user-{}", number / 4);
                let held = StagedIntent { until_elapsed_secs: now + 600, ..intent(tenant, &account, 16_000) };
                let bytes = held.memory_bytes();
                staged.put(id, held, now, tenants).map(|()| bytes)
            };
            let mut held = 0;
            let full = (0..1_000).find_map(|_| match put(&mut staged, "a", 0) {
                Ok(bytes) => {
                    held += bytes;
                    None
                }
                Err(reason) => Some(reason),
            });
            assert_eq!(full, Some(Reason::Busy));
            assert!(held <= share, "{held} of {share} for one of {tenants}");
            assert!(held + 20_000 > share, "{held} of {share} for one of {tenants}");
            assert!(put(&mut staged, "b", 599).is_ok(), "another tenant's share is its own");
            assert_eq!(put(&mut staged, "a", 599), Err(Reason::Busy));
            assert!(put(&mut staged, "a", 600).is_ok(), "those before have ended");
        }
    }

    #[test]
    fn i9_an_intent_is_found_by_its_tenant_and_its_account_until_its_end() {
        let mut staged = StagedIntents::default();
        for (id, tenant, account) in [(1, "a", "alice"), (2, "a", "bob"), (3, "b", "alice")] {
            assert_eq!(staged.put([id; 16], intent(tenant, account, 1), 0, 2), Ok(()));
        }
        let tenant = |name: &str| name.parse::<TenantName>().unwrap();
        let account = |name: &str| name.parse::<AccountName>().unwrap();
        for (id, whose, name, now, found) in [
            (1, "a", "alice", 599, true),
            (1, "a", "alice", 600, false),
            (1, "a", "bob", 0, false),
            (1, "b", "alice", 0, false),
            (3, "b", "alice", 0, true),
        ] {
            let got = staged.get(&tenant(whose), &account(name), &IntentId::new([id; 16]), now);
            assert_eq!(got.is_ok(), found, "{id} of {whose}/{name} at {now}");
        }
        assert!(staged.of_tenant(&tenant("a"), &IntentId::new([2; 16]), 599).is_ok());
        assert!(staged.of_tenant(&tenant("a"), &IntentId::new([2; 16]), 600).is_err());
        assert!(staged.of_tenant(&tenant("b"), &IntentId::new([2; 16]), 0).is_err());
        for (whose, name, now, expected) in
            [("a", "alice", 599, vec![[1; 16]]), ("a", "alice", 600, vec![]), ("b", "bob", 0, vec![])]
        {
            let (tenant, account) = (tenant(whose), account(name));
            let found: Vec<_> = staged.of_account(&tenant, &account, now).map(|(id, _)| id).collect();
            assert_eq!(found, expected, "{whose}/{name} at {now}");
        }
    }

    #[test]
    fn what_was_approved_waits_five_minutes_and_what_became_of_the_rest_is_known_for_ten() {
        let (tenant, account) = ("a".parse().unwrap(), "alice".parse().unwrap());
        for (state, secs) in
            [(IntentState::Approved, 300), (IntentState::Signed, 600), (IntentState::Declined, 600)]
        {
            let (mut staged, id) = (StagedIntents::default(), IntentId::new([1; 16]));
            assert_eq!(staged.put([1; 16], intent("a", "alice", 1), 0, 1), Ok(()));
            staged.become_of(&id, state, None, None, 100);
            let found = |now| staged.get(&tenant, &account, &id, now).map(|held| held.state);
            assert_eq!(found(100 + secs - 1), Ok(state));
            assert_eq!(found(100 + secs), Err(Reason::UnknownIntent));
        }
    }

    #[test]
    fn i4_sixteen_sealed_messages_are_tried_for_an_intent_and_each_once() {
        let (mut staged, id) = (StagedIntents::default(), IntentId::new([1; 16]));
        for message in 0..16 {
            assert!(staged.try_once(&id, [message; 32]));
            assert!(!staged.try_once(&id, [message; 32]));
        }
        assert!(!staged.try_once(&id, [16; 32]));
        assert!(staged.try_once(&IntentId::new([2; 16]), [16; 32]), "another one has its own");
    }

    #[test]
    fn a_freeze_refuses_what_waits_in_that_account_and_nothing_else() {
        let mut staged = StagedIntents::default();
        for (id, tenant, account) in
            [(1, "a", "alice"), (2, "a", "alice"), (3, "a", "bob"), (4, "b", "alice")]
        {
            assert_eq!(staged.put([id; 16], intent(tenant, account, 1), 0, 2), Ok(()));
        }
        staged.become_of(&IntentId::new([2; 16]), IntentState::Signed, None, None, 0);
        staged.decline_all(&"a".parse().unwrap(), &"alice".parse().unwrap(), 0);
        let state = |tenant: &str, id| {
            staged.of_tenant(&tenant.parse().unwrap(), &IntentId::new([id; 16]), 0).unwrap().state
        };
        let states = [state("a", 1), state("a", 2), state("a", 3), state("b", 4)];
        let expected = [IntentState::Declined, IntentState::Signed, IntentState::Open, IntentState::Open];
        assert_eq!(states, expected);
    }

    #[test]
    fn i14_exactly_its_share_is_a_tenants_and_not_a_byte_more() {
        let exact = (0..2_000).find(|length| intent("a", "alice", *length).memory_bytes() == 2_048).unwrap();
        let put = |length| StagedIntents::default().put([1; 16], intent("a", "alice", length), 0, 4 * 1_024);
        assert_eq!((put(exact), put(exact + 1)), (Ok(()), Err(Reason::Busy)));
    }

    #[test]
    fn i14_each_tenant_has_its_share_of_invitations_for_half_an_hour_each() {
        let (ours, other): (TenantName, TenantName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let enroll = Enroll {
            account: "alice".parse().unwrap(),
            totp: countersign_wire::client::TotpParameters::default(),
            key: "main".parse().unwrap(),
            plan: countersign_wire::client::KeyPlan::of(Vec::new()),
        };
        let mut staged = StagedIntents::default();
        let mut number = 0_u128;
        let mut invite = |staged: &mut StagedIntents, tenant: &TenantName, now: u64| {
            number += 1;
            staged.invite(number.to_be_bytes(), tenant, &enroll, now, 2)
        };
        for _ in 0..2048 {
            assert_eq!(invite(&mut staged, &ours, 0), Ok(()));
        }
        assert_eq!(invite(&mut staged, &ours, 0), Err(Reason::Busy));
        assert_eq!(invite(&mut staged, &other, 0), Ok(()));
        let first = || IntentId::new(1_u128.to_be_bytes());
        let (alice, bob): (AccountName, AccountName) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        assert!(staged.invitation(&ours, &alice, &first(), 1_799).is_ok());
        for (tenant, account, id, now) in [
            (&ours, &alice, first(), 1_800),
            (&other, &alice, first(), 0),
            (&ours, &bob, first(), 0),
            (&ours, &alice, IntentId::new([9; 16]), 0),
        ] {
            let missed = staged.invitation(tenant, account, &id, now);
            assert_eq!(missed.err(), Some(Reason::UnknownInvitation));
        }
        assert_eq!(invite(&mut staged, &ours, 1_799), Err(Reason::Busy));
        assert_eq!(invite(&mut staged, &ours, 1_800), Ok(()), "those before have ended");
        staged.use_invitation(&IntentId::new(number.to_be_bytes()));
        let used = staged.invitation(&ours, &alice, &IntentId::new(number.to_be_bytes()), 1_800);
        assert_eq!(used.err(), Some(Reason::UnknownInvitation));
    }
}
