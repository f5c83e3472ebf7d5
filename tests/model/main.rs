//! Spend, commit and release as a model, checked over all interleavings with the `stateright` crate.
//!
//! **Modelled**: one account with its version, highest used step and failures; native requests and PKCS#11 logins
//! with signatures, each sent again under its id; the plugin's memory; the store as an append-only log; NVRAM with
//! the log's head; one commit under way at a time, which takes all that is staged (group commit): written, store
//! synced, NVRAM synced, acknowledged; loss of power between any two steps, with the write that was not synced kept,
//! lost or torn; an attacker who puts any store there that there ever was before a start.
//!
//! **Abstracted**: cryptography (a hash is a hash, sealed records are not edited: an edit is one more store whose
//! head is another), time (all codes stay within the window), locks, budgets and policy, torn NVRAM (two slots make
//! it the old or the new one), the audit of a repeated reply. The account's turn is left out on purpose: here
//! requests on one account overlap as they like, and compare-and-set alone has to keep them apart.
//!
//! **Bounds**: each [`Story`] says which requests there are, how often each is begun (again after a refusal, a
//! conflict, a crash or a lost reply) and how often power is lost. Versions, steps and the log follow from that.
//!
//! `world.rs` is what there is, `protocol.rs` what happens, this file what must hold: I1 to I4 of the design, that
//! nothing acknowledged is lost, and that the model reaches what it is about. Every [`Break`] takes one rule away,
//! and the checker must find what that breaks. The nodes are a list so that there can be more than one.

mod protocol;
mod world;

use protocol::Step;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::BTreeSet;
use world::{Record, Request, Seen, World, newest};

/// One rule of the protocol, taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    SpendAfterSign,
    GrantKept,
    NvramBeforeStore,
    AcknowledgeBeforeNvram,
    HeadNotChecked,
    UsedStepAccepted,
    OlderStepAccepted,
    NoVersionCheck,
    CountAfterCompare,
}

/// What is asked, and how often each request is begun and power is lost at the most.
#[derive(Clone, Copy, Debug)]
struct Story {
    requests: &'static [(Request, u8)],
    crashes: u8,
}

/// One code natively and through PKCS#11, beside a guess.
const ONE_STEP: Story = Story {
    requests: &[(Request::Native(Some(1)), 2), (Request::Pkcs11(1), 1), (Request::Native(None), 1)],
    crashes: 1,
};

/// The codes of two steps, the later one natively, beside a guess.
const TWO_STEPS: Story = Story {
    requests: &[(Request::Native(Some(2)), 2), (Request::Pkcs11(1), 1), (Request::Native(None), 1)],
    crashes: 1,
};

/// One code natively and through PKCS#11, each sent twice, while power is lost twice.
const TWO_CRASHES: Story =
    Story { requests: &[(Request::Native(Some(1)), 2), (Request::Pkcs11(1), 2)], crashes: 2 };

const I1: &str = "I1: no signature without a durable grant, spent for it alone";
const I2: &str = "I2: one step yields at most one grant";
const I3: &str = "I3: used steps only rise";
const I4: &str = "I4: a failed check is durable before its outcome can be observed";
const KEPT: &str = "nothing acknowledged is lost";

struct Protocol {
    story: Story,
    broken: Option<Break>,
}

impl Model for Protocol {
    type State = World;
    type Action = (usize, Step);

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.story.requests.len())]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Self::Action>) {
        for (index, node) in world.nodes.iter().enumerate() {
            actions.extend(node.steps(&self.story, &world.history).into_iter().map(|step| (index, step)));
        }
    }

    fn next_state(&self, world: &World, (node, step): Self::Action) -> Option<World> {
        let mut next = world.clone();
        next.history.seen = Seen::default();
        next.nodes[node].take(step, &self.story, &mut next.history, self.broken);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let seen = Property::<Self>::sometimes;
        vec![
            Property::always(I1, Self::every_signature_has_its_grant),
            Property::always(I2, Self::no_step_is_granted_twice),
            Property::always(I3, Self::steps_only_rise),
            Property::always(I4, Self::misses_are_durable),
            Property::always(KEPT, Self::nothing_is_lost),
            seen("a native signature is released", |_, world| world.history.seen.native_signature),
            seen("a PKCS#11 signature is released", |_, world| world.history.seen.pkcs11_signature),
            seen("power is lost between store and NVRAM", |_, world| world.history.seen.crash_between_syncs),
            seen("an earlier store is refused", |_, world| world.history.seen.copy_refused),
            seen("a retry gets its signature again", |_, world| world.history.seen.repeated),
            seen("requests conflict", |_, world| world.history.seen.conflict),
            seen("one commit carries several changes", |_, world| world.history.seen.group),
        ]
    }
}

impl Protocol {
    fn every_signature_has_its_grant(&self, world: &World) -> bool {
        let log = self.durable(world);
        let has = |record| log.iter().flatten().any(|found| *found == record);
        let signatures = &world.history.signatures;
        signatures.iter().enumerate().all(|(nth, &(request, step))| {
            has(Record::Granted { request, step })
                && (has(Record::Bound { request, step })
                    || matches!(self.story.requests[request].0, Request::Native(_)))
                && !signatures[..nth].contains(&(request, step))
        })
    }

    fn no_step_is_granted_twice(_: &Self, world: &World) -> bool {
        let granted = &world.history.granted;
        granted.iter().collect::<BTreeSet<_>>().len() == granted.len()
    }

    fn steps_only_rise(&self, world: &World) -> bool {
        let highest = newest(&self.durable(world)).highest_used_step;
        let granted = &world.history.granted;
        granted.is_sorted() && granted.iter().all(|step| *step <= highest)
    }

    fn misses_are_durable(&self, world: &World) -> bool {
        newest(&self.durable(world)).failures >= world.history.misses
    }

    fn nothing_is_lost(&self, world: &World) -> bool {
        let opens = world.nodes.iter().all(|node| node.durable(self.broken).is_some());
        opens && self.durable(world).starts_with(&world.history.acknowledged)
    }

    /// What the one node would know if it lost power now.
    fn durable(&self, world: &World) -> Vec<world::Entry> {
        world.nodes[0].durable(self.broken).unwrap_or_default()
    }
}

fn holds(story: Story) {
    let checker = Protocol { story, broken: None }.checker().threads(2).spawn_bfs().join();
    eprintln!("{story:?}: {} states, up to {} steps", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

#[test]
fn i1_i2_i3_i4_hold_for_one_code_sent_two_ways() {
    holds(ONE_STEP);
}

#[test]
fn i1_i2_i3_i4_hold_for_codes_of_two_steps() {
    holds(TWO_STEPS);
}

#[test]
fn i1_i2_i3_i4_hold_when_power_is_lost_twice() {
    holds(TWO_CRASHES);
}

#[test]
fn every_rule_is_needed() {
    for (broken, story, property) in [
        (Break::SpendAfterSign, ONE_STEP, I1),
        (Break::GrantKept, ONE_STEP, I1),
        (Break::NvramBeforeStore, ONE_STEP, KEPT),
        (Break::AcknowledgeBeforeNvram, ONE_STEP, KEPT),
        (Break::AcknowledgeBeforeNvram, ONE_STEP, I1),
        (Break::HeadNotChecked, ONE_STEP, I2),
        (Break::HeadNotChecked, ONE_STEP, KEPT),
        (Break::UsedStepAccepted, ONE_STEP, I2),
        (Break::OlderStepAccepted, TWO_STEPS, I3),
        (Break::NoVersionCheck, ONE_STEP, I2),
        (Break::NoVersionCheck, ONE_STEP, I4),
        (Break::CountAfterCompare, ONE_STEP, I4),
    ] {
        let enough = HasDiscoveries::AllOf(BTreeSet::from([property]));
        let broken_protocol = Protocol { story, broken: Some(broken) };
        let checker = broken_protocol.checker().threads(2).finish_when(enough).spawn_bfs().join();
        let Some(found) = checker.discovery(property) else {
            panic!("{broken:?} does not break {property:?}")
        };
        eprintln!("{broken:?} breaks {property:?} after {} steps", found.into_actions().len());
    }
}
