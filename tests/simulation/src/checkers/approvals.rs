//! Grants and signatures.

use super::{Ask, Checker, Facts, Seen, Who};
use crate::history::Event;
use crate::{keystore, money};
use countersign_plugin::ecdsa;
use countersign_plugin::record::Account;
use countersign_plugin::store::nvram::Nvram;
use countersign_plugin::store::trail::{Signs, Used, What};
use countersign_wire::client::{Act, Answer, Outcome};
use countersign_wire::encode;
use countersign_wire::hal::Op;
use std::collections::{BTreeMap, BTreeSet};

/// A code that was durably spent.
struct Spend {
    who: Who,
    step: u64,
    key: [u8; 16],
    digest: Option<[u8; 32]>,
}

/// The codes that an entry spends for a signature or a login.
fn spends(seen: &Seen<'_>) -> Vec<Spend> {
    let spend = |event: &countersign_plugin::store::trail::Event| {
        let (step, key, digest) = match &event.what {
            What::Granted { key, used: Used::Step(step), signs, .. } => {
                (*step, key.into_array(), Some(the_one(signs)))
            }
            What::LoggedIn { key, used: Used::Step(step) } => (*step, key.into_array(), None),
            _ => return None,
        };
        Some(Spend { who: seen.who(event, Some(&key))?, step, key, digest })
    };
    seen.durable_events().filter_map(spend).collect()
}

/// The steps that an entry spends by codes that were sealed on a device.
fn sealed(seen: &Seen<'_>) -> Vec<(Who, [u8; 16], u64)> {
    let one = |event: &countersign_plugin::store::trail::Event| match &event.what {
        What::Approved { intent, used: Used::Step(step), .. } => {
            Some((seen.who(event, None)?, intent.into_array(), *step))
        }
        _ => None,
    };
    seen.durable_events().filter_map(one).collect()
}

/// The steps that an entry spends by two codes together.
fn pairs(seen: &Seen<'_>) -> Vec<(Who, u64)> {
    let two = |event: &countersign_plugin::store::trail::Event| {
        let who = matches!(event.what, What::Confirmed | What::Unlocked).then(|| seen.who(event, None))??;
        let account = seen.durable_accounts().find(|(_, account)| is(account, &who))?.1;
        Some((who, account.totp.highest_used_step))
    };
    seen.durable_events().filter_map(two).collect()
}

pub(super) fn is(account: &Account, who: &Who) -> bool {
    account.tenant.as_str() == who.0 && account.name.as_str() == who.1
}

fn code_of(account: &Account, step: u64) -> Option<String> {
    let secret = keystore::unwrap(&account.totp.wrapped).ok()?;
    Some(keystore::code(secret, account.totp.parameters.hash, account.totp.parameters.digits, step))
}

/// Every digest of an intent.
pub(super) fn digests(signs: &Signs) -> Vec<[u8; 32]> {
    signs.digests.iter().map(|digest| digest.into_array()).collect()
}

/// The digest of an intent that signs one: the clients here ask for no other.
fn the_one(signs: &Signs) -> [u8; 32] {
    match signs.digests.as_slice() {
        [digest] => digest.into_array(),
        others => panic!("{} digests in one intent", others.len()),
    }
}

/// The request that a spend answers to: of this account, for this key and digest, with this step's code.
fn asked_for<'a>(facts: &'a Facts, spend: &Spend, code: &str) -> impl Iterator<Item = (u64, &'a Ask)> {
    let named = facts.keys.get(&spend.key).map(|key| key.key.name.clone());
    let (who, key, digest, code) = (spend.who.clone(), spend.key, spend.digest, code.to_owned());
    let fits = move |ask: &Ask| {
        ask.code() == Some(code.as_str())
            && ask.who(facts).as_ref() == Some(&who)
            && match (&ask.request.act, digest) {
                (Act::Sign(sign), Some(digest)) => {
                    named.as_ref() == Some(&sign.key.key) && money::digest(&sign.payload) == digest
                }
                (Act::ContextLogin(login), None) => *login.operation.key == key,
                _ => false,
            }
    };
    facts.asks.iter().map(|(ticket, ask)| (*ticket, ask)).filter(move |(_, ask)| fits(ask))
}

/// I2: one step of one account's factor gives at most one grant, over everything that ever became durable; and each
/// grant is somebody's request that carried the step's code.
#[derive(Clone, Default)]
pub(crate) struct OneGrantPerApproval {
    spent: BTreeSet<(Vec<u8>, u64)>,
    granted: BTreeSet<u64>,
}

impl OneGrantPerApproval {
    fn spend(&mut self, seen: &Seen<'_>, who: &Who, step: u64) -> Result<(), String> {
        let newest =
            seen.durable_accounts().find(|(_, account)| is(account, who)).map(|(_, account)| account);
        let account = newest
            .ok_or_else(|| format!("step {step} of {who:?} was spent, and its record was not written"))?;
        if self.spent.insert((account.totp.wrapped.to_vec(), step)) {
            Ok(())
        } else {
            Err(format!("step {step} of {who:?} was spent twice"))
        }
    }
}

impl Checker for OneGrantPerApproval {
    const INVARIANT: &'static str = "one-grant-per-approval";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        if seen.is_boot() {
            self.granted.clear();
        }
        for spend in spends(seen) {
            self.spend(seen, &spend.who, spend.step)?;
            let code =
                seen.facts.accounts.get(&spend.who).and_then(|(_, account)| code_of(account, spend.step));
            let code = code.ok_or_else(|| format!("{:?} has no factor", spend.who))?;
            let ask = asked_for(seen.facts, &spend, &code).find(|(ticket, _)| !self.granted.contains(ticket));
            let (ticket, _) = ask.ok_or_else(|| {
                format!("nobody asked for the grant of step {} of {:?}", spend.step, spend.who)
            })?;
            self.granted.insert(ticket);
        }
        for (who, step) in pairs(seen) {
            self.spend(seen, &who, step)?;
        }
        for (who, _, step) in sealed(seen) {
            self.spend(seen, &who, step)?;
        }
        Ok(())
    }
}

/// I3: the highest used step of a factor never falls, and no step at or below it is spent.
#[derive(Clone, Default)]
pub(crate) struct StepsOnlyRise;

impl Checker for StepsOnlyRise {
    const INVARIANT: &'static str = "steps-only-rise";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let before = |who: &Who| seen.facts.accounts.get(who).map(|(_, account)| account);
        for (_, account) in seen.durable_accounts() {
            let who = (account.tenant.as_str().to_owned(), account.name.as_str().to_owned());
            if let Some(old) = before(&who).filter(|old| old.totp.wrapped == account.totp.wrapped) {
                let (was, is) = (old.totp.highest_used_step, account.totp.highest_used_step);
                if is < was {
                    return Err(format!("the highest used step of {who:?} fell from {was} to {is}"));
                }
            }
        }
        let typed = spends(seen).into_iter().map(|spend| (spend.who, spend.step));
        for (who, step) in typed.chain(sealed(seen).into_iter().map(|(who, _, step)| (who, step))) {
            let highest = before(&who).map_or(0, |account| account.totp.highest_used_step);
            if step <= highest {
                return Err(format!("step {step} of {who:?} was accepted after {highest}"));
            }
        }
        Ok(())
    }
}

/// I1: the keystore is asked for a signature only after a durable spend that names the key and the digest, once for
/// each; and a login is bound to one digest at most.
#[derive(Clone, Default)]
pub(crate) struct NoGrantNoSignature {
    granted: BTreeMap<([u8; 16], [u8; 32]), u64>,
    logged_in: BTreeMap<[u8; 16], u64>,
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) -> bool {
    counts.get_mut(key).filter(|count| **count > 0).map(|count| *count -= 1).is_some()
}

impl Checker for NoGrantNoSignature {
    const INVARIANT: &'static str = "no-grant-no-signature";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        if seen.is_boot() {
            (self.granted, self.logged_in) = Default::default();
        }
        for event in seen.durable_events() {
            match &event.what {
                What::Granted { key, signs, .. } => {
                    *self.granted.entry((key.into_array(), the_one(signs))).or_default() += 1;
                }
                What::LoggedIn { key, .. } => *self.logged_in.entry(key.into_array()).or_default() += 1,
                What::Bound { key, signs } => {
                    if !take_one(&mut self.logged_in, &key.into_array()) {
                        return Err(format!("a digest was bound to key {key:?}, which has no login left"));
                    }
                    *self.granted.entry((key.into_array(), the_one(signs))).or_default() += 1;
                }
                _ => {}
            }
        }
        if let Event::Called { op: Op::SignDigest { wrapped, digest }, .. } = seen.event {
            let key = seen.facts.wrapped.get(wrapped.as_slice()).ok_or("a key that was never made signs")?;
            if !take_one(&mut self.granted, &(*key, digest.into_array())) {
                return Err(format!("key {key:?} signs {digest:?} without a durable grant"));
            }
        }
        Ok(())
    }
}

/// The request that got a grant's signature, if one did.
type Claim = Option<Vec<u8>>;

/// A released signature verifies, is low-S and over the digest that was asked for; and one grant releases one, to one
/// request, however often that is repeated.
#[derive(Clone, Default)]
pub(crate) struct OneSignaturePerGrant {
    /// For each grant of this boot, the request that got its signature.
    grants: BTreeMap<([u8; 16], [u8; 32]), Vec<Claim>>,
}

impl Checker for OneSignaturePerGrant {
    const INVARIANT: &'static str = "one-signature-per-grant";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        if seen.is_boot() {
            self.grants.clear();
        }
        for event in seen.durable_events() {
            if let What::Granted { key, signs, .. } | What::Bound { key, signs } = &event.what {
                self.grants.entry((key.into_array(), the_one(signs))).or_default().push(None);
            }
        }
        let Some((ask, reply)) = seen.answered else { return Ok(()) };
        let Outcome::Done(Answer::Signed(signed)) = &reply.outcome else { return Ok(()) };
        let (payload, key) = match &ask.request.act {
            Act::Sign(sign) => {
                let account = ask.who(seen.facts).and_then(|who| seen.facts.accounts.get(&who));
                let key = account.and_then(|(_, account)| account.key_named(&sign.key.key));
                (&sign.payload, key.map(|key| key.id.into_array()))
            }
            Act::ContextSign(sign) => (&sign.payload, Some(sign.operation.key.into_array())),
            _ => return Err("a signature answers what asked for none".to_owned()),
        };
        let key = key.ok_or("a key that was never made has signed")?;
        let fact = seen.facts.keys.get(&key).ok_or("a key that was never made has signed")?;
        if money::digest(payload) != signed.digest.into_array() {
            return Err("the signature is over another digest than was asked for".to_owned());
        }
        let verified = ecdsa::verify(&fact.key.public_key, &signed.digest, &signed.signature);
        if verified.map(|verified| verified.signature) != Ok(signed.signature.into_array()) {
            return Err("a signature was released that does not verify or is not low-S".to_owned());
        }
        let request = encode(&ask.request);
        let grants = self.grants.entry((key, signed.digest.into_array())).or_default();
        let native = matches!(ask.request.act, Act::Sign(_));
        if native && grants.iter().flatten().any(|before| *before == request) {
            return Ok(());
        }
        let free = grants.iter_mut().find(|grant| grant.is_none());
        *free.ok_or("a signature was released that no grant was left for")? = Some(request);
        Ok(())
    }
}

/// I11: an accepted code is of a step around what the real-time clock showed while the request was under way; and none
/// is accepted while the clock is behind what it has shown before, or far from how long the HSM has been running.
#[derive(Clone, Default)]
pub(crate) struct CodesAreOfThePresent {
    /// The latest time that NVRAM remembers.
    floor_secs: u64,
    /// Real time and running time when the HSM was started.
    started: (u64, u64),
}

/// The plugin's allowance for a clock that falls behind a little.
const JITTER_SECS: u64 = 2;

/// The plugin's allowance for a clock that is corrected while the HSM runs.
const JUMP_MAX_SECS: u64 = 600;

impl CodesAreOfThePresent {
    /// Whether the clock could be believed at some time while this was under way.
    fn is_sure(&self, ask: &Ask, powered_secs: u64) -> bool {
        let (earliest, latest) = ask.unix_secs;
        let expected = self.started.0 + powered_secs.saturating_sub(self.started.1);
        latest + JITTER_SECS >= self.floor_secs
            && earliest <= expected + JUMP_MAX_SECS
            && latest + JUMP_MAX_SECS >= expected
    }

    fn check(&self, seen: &Seen<'_>, spend: &Spend) -> Result<(), String> {
        let Some((_, account)) = seen.facts.accounts.get(&spend.who) else { return Ok(()) };
        let Some(code) = code_of(account, spend.step) else { return Ok(()) };
        let asks: Vec<&Ask> = asked_for(seen.facts, spend, &code).map(|(_, ask)| ask).collect();
        self.check_asks(seen, &spend.who, spend.step, &asks)
    }

    fn check_asks(&self, seen: &Seen<'_>, who: &Who, step: u64, asks: &[&Ask]) -> Result<(), String> {
        let Some((_, account)) = seen.facts.accounts.get(who) else { return Ok(()) };
        let period = u64::from(account.totp.parameters.period_secs);
        let begins = step * period;
        let near = |ask: &&Ask| {
            let (earliest, latest) = ask.unix_secs;
            begins + 2 * period > earliest && begins <= latest + JITTER_SECS + period
        };
        if !asks.iter().any(near) {
            return Err(format!("step {step} of {who:?} was accepted when it was not near"));
        }
        if !asks.iter().any(|ask| self.is_sure(ask, seen.moment.powered_secs)) {
            return Err(format!("a code of {who:?} was accepted while time was unsure"));
        }
        Ok(())
    }
}

impl Checker for CodesAreOfThePresent {
    const INVARIANT: &'static str = "codes-are-of-the-present";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        for spend in spends(seen) {
            self.check(seen, &spend)?;
        }
        for (who, intent, step) in sealed(seen) {
            let is_it = |ask: &&Ask| matches!(&ask.request.act, Act::Approve(ask) if *ask.intent == intent);
            let asks: Vec<&Ask> = seen.facts.device_asks.values().filter(is_it).collect();
            self.check_asks(seen, &who, step, &asks)?;
        }
        match seen.event {
            Event::Boot(_) => {
                self.started = (seen.moment.unix_secs.max(self.floor_secs), seen.moment.powered_secs);
            }
            Event::Durable { nvram, .. } => {
                self.floor_secs = Nvram::decode(nvram).map_or(self.floor_secs, |nvram| nvram.unix_floor_secs);
            }
            _ => {}
        }
        Ok(())
    }
}
