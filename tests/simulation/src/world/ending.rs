//! The end of a history: the faults stop, and the HSM must go on.

use super::{Checked, World, liveness};
use crate::clients::{self, Ask, TENANTS};
use crate::history::{Condition, Event};
use crate::weather::Weather;
use countersign_plugin::store::nvram::Nvram;
use countersign_wire::client::{Act, Answer, Mechanism, Outcome, Reply, Request, TotpParameters};
use countersign_wire::names::AccountName;
use serde_bytes::ByteArray;

/// What is under way comes to rest within so many steps.
const SETTLING_STEPS_MAX: u64 = 20_000;

/// How often a start is tried before it must have come about.
const STARTS_MAX: usize = 3;

/// Longer than any lock, and than what a clock may have jumped ahead.
const LONG_SECS: u64 = 2 * 24 * 3600;

impl World {
    /// The faults stop. All is answered, a right code signs, everything acknowledged is there, and the trail is whole.
    pub(super) fn end(&mut self) -> Checked {
        self.weather = Weather::default();
        self.disk.full = false;
        self.settle()?;
        if !self.halted && self.ready {
            self.note(Event::Settled)?;
        }
        let floor_secs = self
            .nvram
            .as_ref()
            .and_then(|nvram| Nvram::decode(nvram).ok())
            .map(|nvram| nvram.unix_floor_secs);
        self.clock.unix_secs = self.clock.unix_secs.max(floor_secs.unwrap_or_default() + 60);
        self.start_again()?;
        // While it runs: what a crash takes of elapsed time only makes delays longer.
        self.clock.advance(LONG_SECS);
        self.a_newcomer_signs()?;
        self.clock.advance(60);
        let mut users: Vec<_> = self.clients.confirmed().cloned().collect();
        self.rng.shuffle(&mut users);
        for user in users.iter().filter(|user| user.signs_digests()).take(2) {
            self.clock.advance(60);
            let act = user.sign_now([self.rng.u8(..); 32], self.clock.unix_secs);
            self.must(user.tenant, act, "a right code signs")?;
        }
        self.owners_sign()?;
        self.start_again()?;
        for user in &users {
            self.must(user.tenant, Act::ShowAccount(user.name.clone()), "a confirmed account is shown")?;
        }
        self.note(Event::Settled)?;
        for tenant in TENANTS {
            self.must(tenant, Act::LogCheckpoint, "a log is told")?;
        }
        self.finish()
    }

    fn finish(&mut self) -> Checked {
        let nvram = self.nvram.clone().ok_or_else(|| liveness("nothing was ever written"))?;
        let ends = Nvram::decode(&nvram).map_err(|why| liveness(format!("NVRAM cannot be read: {why:?}")))?;
        let log = self.disk.log.written(ends.tail.length_bytes(), ends.head.length_bytes());
        let log = log.ok_or_else(|| liveness("the log is not there"))?.to_vec();
        let archive = self.disk.archive.written(0, ends.archive.length_bytes());
        let archive = archive.ok_or_else(|| liveness("the archive is not there"))?.to_vec();
        self.note(Event::End { archive, log, nvram })
    }

    /// Does all that is under way.
    pub(super) fn settle(&mut self) -> Checked {
        for _ in 0..SETTLING_STEPS_MAX {
            if self.halted {
                return Ok(());
            }
            self.step += 100;
            if let Some(plugin) = &mut self.plugin {
                for output in plugin.turn() {
                    self.take(output)?;
                }
            }
            if self.calls.is_empty() {
                return Ok(());
            }
            self.work()?;
        }
        Err(liveness("it never comes to rest"))
    }

    /// Starts the HSM on the good disk.
    pub(super) fn start_again(&mut self) -> Checked {
        for _ in 0..STARTS_MAX {
            self.crash(false)?;
            self.settle()?;
            if self.ready && !self.halted && self.condition() == Condition::Whole {
                return Ok(());
            }
            self.restore()?;
        }
        Err(liveness("the HSM does not start again on its good disk"))
    }

    /// One request that must be granted.
    pub(super) fn must(&mut self, tenant: &'static str, act: Act, what: &str) -> Checked<Answer> {
        let id = ByteArray::new(self.rng.unguessable().to_be_bytes());
        let request = Request { id, api_key: Some(clients::api_key(tenant)), act };
        self.must_be_done(&Ask { tenant: Some(tenant), request: Some(request), owner: None }, what)
    }

    fn must_be_done(&mut self, ask: &Ask, what: &str) -> Checked<Answer> {
        self.send(ask)?;
        self.settle()?;
        match self.last_reply.take() {
            Some((ticket, Reply { outcome: Outcome::Done(answer), .. })) if ticket == self.last_ticket => {
                Ok(answer)
            }
            Some((_, Reply { outcome: Outcome::Refused(refusal), .. })) => {
                Err(liveness(format!("{what}: refused, {}", refusal.reason.word())))
            }
            _ => Err(liveness(format!("{what}: no answer"))),
        }
    }

    /// Each whose device can approve does so once, from staging to the signature.
    fn owners_sign(&mut self) -> Checked {
        let Some(owners) = &self.owners else { return Ok(()) };
        for at in owners.able().collect::<Vec<_>>() {
            self.clock.advance(60);
            for what in ["something is staged", "it is shown", "it is approved", "it is signed"] {
                let id = ByteArray::new(self.rng.unguessable().to_be_bytes());
                let now = self.clock.unix_secs;
                let owners = self.owners.as_mut().ok_or_else(|| liveness("nobody has a device"))?;
                if what == "something is staged" {
                    owners.begin_anew(at);
                }
                let ask = owners.next_step(at, &mut self.rng, now, id);
                self.must_be_done(&ask, what)?;
            }
            self.coverage.count("an owner signs at the end");
        }
        Ok(())
    }

    fn a_newcomer_signs(&mut self) -> Checked {
        self.newcomer("newcomer", &[Mechanism::Digest])?;
        let user = self.clients.user("a", "newcomer").cloned().ok_or_else(|| liveness("nobody is new"))?;
        let act = user.sign_now([1; 32], self.clock.unix_secs);
        self.must("a", act, "a newcomer signs").map(drop)
    }

    /// Enrols and confirms somebody; a minute passes.
    pub(super) fn newcomer(&mut self, name: &str, mechanisms: &[Mechanism]) -> Checked {
        let name = AccountName::parse(name).expect("the caller gives a name");
        let enroll = clients::enroll(name.clone(), TotpParameters::default(), mechanisms.to_vec());
        self.must("a", enroll, "somebody new enrols")?;
        let user = self.clients.user("a", name.as_str()).cloned().ok_or_else(|| liveness("nobody is new"))?;
        self.must("a", user.confirm_now(self.clock.unix_secs), "somebody new confirms")?;
        self.clock.advance(60);
        Ok(())
    }
}
