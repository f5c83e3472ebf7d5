//! One question as the rules see it: what Cedar calls principal, action, resource and context.

use crate::decide::{Approval, KeyUse};
use cedar_policy::{Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use core::str::FromStr;
use countersign_intent::Kind;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Who gets what is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayeeState {
    /// Only addresses that have been on the account's list for long enough.
    Known,
    /// At least one other.
    New,
    /// Nobody but the wallet itself.
    None,
}

impl PayeeState {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            PayeeState::Known => "known",
            PayeeState::New => "new",
            PayeeState::None => "none",
        }
    }
}

/// What the schema's `Facts` hold, and about whom.
#[derive(Clone, Debug)]
pub(crate) struct Picture<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) account: &'a str,
    pub(crate) key: KeyUse<'a>,
    pub(crate) kind: Kind,
    pub(crate) approval: Approval,
    pub(crate) backed_up: bool,
    /// Declared names, or "other".
    pub(crate) assets: BTreeSet<&'a str>,
    /// A declared chain, "none" or "other".
    pub(crate) chain: &'a str,
    pub(crate) family: &'static str,
    pub(crate) unix_secs: u64,
    pub(crate) limited: bool,
    pub(crate) move_count: usize,
    pub(crate) opaque: bool,
    pub(crate) payees: PayeeState,
    pub(crate) recipients: BTreeSet<&'a str>,
    pub(crate) warnings: &'a [&'static str],
    pub(crate) within: BTreeSet<&'a str>,
}

impl Picture<'_> {
    /// Principal, action and resource, and the entities behind them. `None` only if the schema's own names were wrong.
    pub(crate) fn entities(&self) -> Option<([EntityUid; 3], Vec<Entity>)> {
        let account = uid("Account", &format!("{}/{}", self.tenant, self.account))?;
        let tenant = uid("Tenant", self.tenant)?;
        let action = uid("Action", self.kind.word())?;
        let key = uid("Key", &format!("{}/{}", self.tenant, self.account))?;
        let attributes = HashMap::from([
            ("mechanisms".to_owned(), texts(self.key.mechanisms.iter().copied())),
            ("network".to_owned(), text(self.key.network.map_or("", |network| network.word()))),
        ]);
        let entities = vec![
            Entity::new_no_attrs(account.clone(), HashSet::from([tenant.clone()])),
            Entity::new_no_attrs(tenant, HashSet::new()),
            Entity::new(key.clone(), attributes, HashSet::new()).ok()?,
        ];
        Some(([account, action, key], entities))
    }

    /// The context.
    pub(crate) fn context(&self) -> Option<Context> {
        let approvals = Approval::ALL.iter().filter(|kind| **kind <= self.approval).map(|kind| kind.word());
        let pairs = [
            ("approved_at_least", names("Approval", approvals)?),
            ("assets", names("Asset", self.assets.iter().copied())?),
            ("chain", name("Chain", self.chain)?),
            ("family", name("Family", self.family)?),
            ("hour_utc", long(self.unix_secs / 3600 % 24)?),
            ("limited", RestrictedExpression::new_bool(self.limited)),
            ("move_count", long(u64::try_from(self.move_count).ok()?)?),
            ("opaque", RestrictedExpression::new_bool(self.opaque)),
            ("passkey_backed_up", RestrictedExpression::new_bool(self.backed_up)),
            ("payees", name("Payees", self.payees.word())?),
            ("recipient_count", long(u64::try_from(self.recipients.len()).ok()?)?),
            ("recipients", texts(self.recipients.iter().copied())),
            ("warnings", names("Warning", self.warnings.iter().copied())?),
            ("weekday_utc", long(weekday(self.unix_secs))?),
            ("within", names("Limit", self.within.iter().copied())?),
        ];
        Context::from_pairs(pairs.map(|(key, value)| (key.to_owned(), value))).ok()
    }
}

/// 1970-01-01 was a Thursday; Monday is 1.
fn weekday(unix_secs: u64) -> u64 {
    (unix_secs / 86_400 + 3) % 7 + 1
}

fn uid(entity_type: &str, id: &str) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(EntityTypeName::from_str(entity_type).ok()?, EntityId::new(id)))
}

fn name(entity_type: &str, id: &str) -> Option<RestrictedExpression> {
    uid(entity_type, id).map(RestrictedExpression::new_entity_uid)
}

fn names<'a>(entity_type: &str, ids: impl Iterator<Item = &'a str>) -> Option<RestrictedExpression> {
    let ids: Option<Vec<_>> = ids.map(|id| name(entity_type, id)).collect();
    ids.map(RestrictedExpression::new_set)
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn texts<'a>(all: impl Iterator<Item = &'a str>) -> RestrictedExpression {
    RestrictedExpression::new_set(all.map(text))
}

fn long(number: u64) -> Option<RestrictedExpression> {
    i64::try_from(number).ok().map(RestrictedExpression::new_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weekdays_are_those_of_the_calendar() {
        // 1970-01-01 Thursday, 1970-01-04 Sunday, 1970-01-05 Monday, 2024-02-29 Thursday.
        for (day, number) in [(0, 4), (3, 7), (4, 1), (19_782, 4)] {
            assert_eq!(weekday(day * 86_400), number);
            assert_eq!(weekday(day * 86_400 + 86_399), number);
        }
    }
}
