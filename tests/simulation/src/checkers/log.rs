//! The tenants' audit logs: what is signed of them, and what can be read.

use super::{Checker, Seen};
use crate::history::Event;
use crate::world::{HSM_ID, SEALING_KEY};
use countersign_plugin::store::trail::{Reader, What};
use countersign_tlog::note::VerifierKey;
use countersign_tlog::tree::leaf_hash;
use countersign_tlog::{Checkpoint, Frontier, Hash, Note};
use countersign_wire::client::{Act, Answer, Outcome};
use countersign_wire::log::{LogCheckpoint, LogStart};
use std::collections::BTreeMap;

/// One tenant's log, as it follows from what became durable.
#[derive(Clone, Default)]
struct Log {
    tree: Frontier,
    /// The root at each size from 1 on.
    roots: Vec<Hash>,
    leaves: Vec<Hash>,
    /// What was told last: a size, and the note for it.
    told: Option<(u64, String)>,
}

/// I13: every checkpoint is signed, of a tree that is exactly the durable events of its tenant and of the HSM, in order; one
/// size has one; what is read from the beginning is what was hashed. At the end the checkpoint is over everything.
#[derive(Clone, Default)]
pub(crate) struct LogsAreTheTrail {
    logs: BTreeMap<String, Log>,
    /// Somebody had the disk before this start: what lies in the archive is read as it is, and only the checkpoint shows it.
    tampered: bool,
}

impl LogsAreTheTrail {
    fn grow(&mut self, seen: &Seen<'_>) {
        let mut reader = None;
        for event in seen.durable_events() {
            let reader = reader.get_or_insert_with(|| Reader::new(&SEALING_KEY, HSM_ID));
            let hash = leaf_hash(&reader.leaf(event));
            let tenant = event.tenant.as_ref().map(|tenant| tenant.as_str().to_owned());
            if let (Some(tenant), What::LogOpened { .. }) = (&tenant, &event.what) {
                self.logs.entry(tenant.clone()).or_default();
            }
            let of_it = self
                .logs
                .iter_mut()
                .filter(|(whose, _)| tenant.as_ref().is_none_or(|tenant| tenant == *whose));
            for (_, log) in of_it {
                log.tree.append(hash);
                log.roots.push(log.tree.root());
                log.leaves.push(hash);
            }
        }
    }

    fn compare(&mut self, tenant: &str, told: &LogCheckpoint) -> Result<(), String> {
        let (note, key) = (Note::parse(&told.note), VerifierKey::parse(&told.vkey));
        let (note, key) = note.zip(key).ok_or("a checkpoint that is no note")?;
        note.verify(&key).ok_or("a checkpoint that is not signed")?;
        let checkpoint = Checkpoint::parse(note.text()).ok_or("a note that is no checkpoint")?;
        let log = self.logs.get_mut(tenant).ok_or("a log of nobody")?;
        let root = usize::try_from(checkpoint.size).ok().and_then(|size| log.roots.get(size.checked_sub(1)?));
        if root != Some(&checkpoint.root) || checkpoint.origin != key.name() {
            return Err(format!("{tenant}'s log of {} entries is told with another root", checkpoint.size));
        }
        match &log.told {
            Some((size, _)) if *size > checkpoint.size => {
                Err(format!("{tenant}'s log shrank from {size} entries"))
            }
            Some((size, note)) if *size == checkpoint.size && *note != told.note => {
                Err(format!("two checkpoints of {tenant}'s log of {size} entries"))
            }
            _ => {
                log.told = Some((checkpoint.size, told.note.clone()));
                Ok(())
            }
        }
    }
}

impl Checker for LogsAreTheTrail {
    const INVARIANT: &'static str = "logs-are-the-trail";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        self.grow(seen);
        if let Event::Boot(facts) = seen.event {
            self.tampered = facts.tampered;
        }
        if let Event::End { .. } = seen.event {
            let behind = |log: &&Log| log.told.as_ref().is_none_or(|(size, _)| *size != log.tree.size());
            return match self.logs.values().find(behind) {
                Some(log) => Err(format!("a log of {} entries, told as {:?}", log.tree.size(), log.told)),
                None => Ok(()),
            };
        }
        let Some((ask, reply)) = seen.answered else { return Ok(()) };
        match (&reply.outcome, &ask.request.act) {
            (Outcome::Done(Answer::LogCheckpoint(told)), _) => self.compare(ask.tenant, told),
            (Outcome::Done(Answer::LogPage(page)), Act::ReadLog(query))
                if query.from == LogStart::Beginning =>
            {
                let log = self.logs.get(ask.tenant).ok_or("a log of nobody")?;
                let read = page.entries.iter().map(|entry| leaf_hash(entry));
                let is_it = self.tampered || read.eq(log.leaves.iter().take(page.entries.len()).copied());
                if is_it { Ok(()) } else { Err(format!("{} reads what never happened", ask.tenant)) }
            }
            _ => Ok(()),
        }
    }
}
