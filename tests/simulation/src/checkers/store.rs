//! What is written, and when it opens.

use super::{Checker, Seen};
use crate::history::{BootFacts, Condition, Event};
use countersign_plugin::store::nvram::Nvram;
use countersign_plugin::store::trail::Reader;
use countersign_wire::encode_packed;
use countersign_wire::hal::{Fault, Op};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

fn hash(bytes: &[u8]) -> [u8; 16] {
    let hash = Sha256::digest(bytes);
    *hash.first_chunk().expect("32 bytes hold 16")
}

/// I6: no nonce seals two things, over everything that was ever handed to the disk.
#[derive(Clone, Default)]
pub(crate) struct NoNonceRepeats {
    sealed: BTreeMap<u64, [u8; 16]>,
}

impl Checker for NoNonceRepeats {
    const INVARIANT: &'static str = "no-nonce-repeats";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        if !matches!(seen.event, Event::Called { op: Op::Commit { .. } | Op::Archive { .. }, .. }) {
            return Ok(());
        }
        for record in seen.records {
            let what = hash(&record.sealed);
            if *self.sealed.entry(record.position).or_insert(what) != what {
                return Err(format!("position {:#x} seals two things", record.position));
            }
        }
        Ok(())
    }
}

/// I6: the plugin opens a disk that holds every byte that NVRAM names, and no other; and a disk on which nothing was
/// done but crashes is such a one.
#[derive(Clone, Default)]
pub(crate) struct OpensExactlyWhenWhole {
    boot: Option<BootFacts>,
    /// The keystore failed since, which is asked to endorse the plugin's keys.
    keystore_failed: bool,
}

impl Checker for OpensExactlyWhenWhole {
    const INVARIANT: &'static str = "opens-exactly-when-whole";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen.event {
            Event::Boot(facts) => {
                (self.boot, self.keystore_failed) = (Some(*facts), false);
                if facts.disk == Condition::Broken && !facts.tampered {
                    return Err("NVRAM names what a disk that only crashed does not hold".to_owned());
                }
            }
            Event::Finished { result: Err(Fault::Keystore), .. } => self.keystore_failed = true,
            Event::Ready => {
                let boot = self.boot.take().ok_or("ready twice")?;
                if boot.disk == Condition::Broken || boot.foreign {
                    return Err(format!("the plugin opened a store that it must refuse: {boot:?}"));
                }
            }
            Event::Halted { why } => {
                if let Some(boot) = self.boot.take()
                    && boot.disk == Condition::Whole
                    && !boot.foreign
                    && !boot.faulty
                    && !self.keystore_failed
                {
                    return Err(format!("the plugin refused a good store: {why}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Compare and set: each version of an account is made once, each from the one before it.
#[derive(Clone, Default)]
pub(crate) struct EachVersionIsMadeOnce;

impl Checker for EachVersionIsMadeOnce {
    const INVARIANT: &'static str = "each-version-is-made-once";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        for (position, account) in seen.durable_accounts() {
            let who = (account.tenant.as_str().to_owned(), account.name.as_str().to_owned());
            let before = seen.facts.accounts.get(&who);
            let (was_at, was) = before.map_or((0, 0), |(position, account)| (*position, account.version));
            // Cleaning writes the newest version again as it is.
            let moved = position == was_at && account.version == was;
            if !moved && account.version != was + 1 {
                return Err(format!(
                    "version {} of {who:?} was written after version {was}",
                    account.version
                ));
            }
        }
        Ok(())
    }
}

/// I13: the audit trail holds every event that ever became durable, in order, over archive and log.
#[derive(Clone, Default)]
pub(crate) struct TrailIsComplete {
    events: Vec<[u8; 16]>,
}

impl TrailIsComplete {
    /// Reads the trail and compares.
    pub(crate) fn compare(
        &self,
        reader: &mut Reader,
        nvram: &[u8],
        archive: &[u8],
        log: &[u8],
    ) -> Result<(), String> {
        let nvram = Nvram::decode(nvram).map_err(|why| format!("NVRAM cannot be read: {why:?}"))?;
        let trail =
            reader.trail(&nvram, archive, log).map_err(|why| format!("the trail cannot be read: {why:?}"))?;
        let found = trail.iter().map(|event| hash(&encode_packed(event)));
        if found.eq(self.events.iter().copied()) {
            Ok(())
        } else {
            Err(format!(
                "the trail has {} events that are not the {} that happened",
                trail.len(),
                self.events.len()
            ))
        }
    }
}

impl Checker for TrailIsComplete {
    const INVARIANT: &'static str = "audit-trail-is-complete";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        self.events.extend(seen.durable_events().map(|event| hash(&encode_packed(event))));
        Ok(())
    }
}
