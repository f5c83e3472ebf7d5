//! The protocol: what can happen next, and what it does.

use crate::world::{
    Account, Change, Commit, Entry, Head, History, Node, Phase, Plugin, Record, Request, newest,
};
use crate::{Break, Story};

/// What becomes of a write that was not synced when power is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Kept,
    Lost,
    Torn,
}

/// One step of one node. The numbers are those of the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The account is loaded and the failure staged.
    Begin(usize),
    /// A commit begins with all that is staged, this request's change first.
    Commit(usize),
    /// The commit goes on: store synced, NVRAM synced, acknowledged.
    GoOn,
    Compare(usize),
    /// Through PKCS#11: the data comes.
    Bind(usize),
    Sign(usize),
    Release(usize),
    Crash(Tail),
    /// The HSM is started on a store that the attacker puts there.
    Start(Vec<Entry>),
}

impl Node {
    /// What can happen next.
    pub(crate) fn steps(&self, story: &Story, history: &History) -> Vec<Step> {
        let Some(plugin) = &self.plugin else {
            // Any store that there ever was: earlier ones are prefixes, since the log only grows.
            let stores = self.copies.iter().chain([&self.disk]);
            return stores
                .flat_map(|log| (0..=log.len()).map(|entries| Step::Start(log[..entries].to_vec())))
                .collect();
        };
        let mut steps = Vec::new();
        for (request, phase) in plugin.phases.iter().enumerate() {
            match phase {
                Phase::Idle if history.passes[request] < story.requests[request].1 => {
                    steps.push(Step::Begin(request));
                }
                Phase::Staged(_) if plugin.commit == Commit::Nothing => steps.push(Step::Commit(request)),
                Phase::Idle | Phase::Staged(_) | Phase::Committing(_) => {}
                Phase::Counted(_) => steps.push(Step::Compare(request)),
                Phase::Granted(_) if matches!(story.requests[request].0, Request::Pkcs11(_)) => {
                    steps.push(Step::Bind(request));
                }
                Phase::Granted(_) | Phase::Bound(_) => steps.push(Step::Sign(request)),
                Phase::Signed(_) => steps.push(Step::Release(request)),
            }
        }
        if plugin.commit != Commit::Nothing {
            steps.push(Step::GoOn);
        }
        if history.crashes < story.crashes {
            steps.push(Step::Crash(Tail::Kept));
            if self.synced < self.disk.len() {
                steps.extend([Step::Crash(Tail::Lost), Step::Crash(Tail::Torn)]);
            }
        }
        steps
    }

    /// Does one step.
    pub(crate) fn take(&mut self, step: Step, story: &Story, history: &mut History, broken: Option<Break>) {
        match (step, &mut self.plugin) {
            (Step::Start(found), _) => self.start(&found, story.requests.len(), history, broken),
            (Step::Crash(tail), _) => self.crash(tail, history),
            (Step::GoOn, _) => self.go_on(history, broken),
            (Step::Commit(first), Some(plugin)) => {
                let entry = plugin.group(first, history, broken);
                if !entry.is_empty() {
                    plugin.commit = Commit::Written;
                    self.disk.push(entry);
                }
            }
            (Step::Begin(request), Some(plugin)) => plugin.begin(request, history, broken),
            (Step::Compare(request), Some(plugin)) => {
                plugin.compare(request, story.requests[request].0, history, broken);
            }
            (Step::Bind(request), Some(plugin)) => plugin.bind(request),
            (Step::Sign(request), Some(plugin)) => plugin.sign(request, history, broken),
            (Step::Release(request), Some(plugin)) => {
                plugin.release(request, story.requests[request].0, history, broken);
            }
            (step, None) => unreachable!("{step:?} needs a plugin that runs"),
        }
    }

    /// The log that is believed when the HSM is started on this store; `None`: it is refused.
    fn open(&self, store: &[Entry], broken: Option<Break>) -> Option<Vec<Entry>> {
        if broken == Some(Break::HeadNotChecked) {
            return Some(store.iter().filter(|entry| **entry != [Record::Torn]).cloned().collect());
        }
        // What lies beyond the head is discarded: it was never acknowledged.
        let log = store.get(..self.head.entries)?;
        (Head::of(log) == self.head).then(|| log.to_vec())
    }

    /// The log that a start finds if power is lost now, no write outlives it that was not synced, and nobody touches
    /// the store.
    pub(crate) fn durable(&self, broken: Option<Break>) -> Option<Vec<Entry>> {
        self.open(&self.disk[..self.synced], broken)
    }

    fn start(&mut self, store: &[Entry], requests: usize, history: &mut History, broken: Option<Break>) {
        let Some(log) = self.open(store, broken) else {
            history.seen.copy_refused = true;
            return;
        };
        self.keep_copy();
        (self.head, self.synced, self.disk) = (Head::of(&log), log.len(), log);
        let (account, phases) = (newest(&self.disk), vec![Phase::Idle; requests]);
        self.plugin = Some(Plugin { account, phases, commit: Commit::Nothing, kept: Vec::new() });
    }

    fn crash(&mut self, tail: Tail, history: &mut History) {
        let plugin = self.plugin.take();
        history.crashes += 1;
        history.seen.crash_between_syncs |= plugin.is_some_and(|plugin| plugin.commit == Commit::StoreSynced);
        if tail != Tail::Kept {
            self.keep_copy();
            self.disk.truncate(self.synced);
            self.disk.extend((tail == Tail::Torn).then(|| vec![Record::Torn]));
        }
        self.synced = self.disk.len();
    }

    /// Before the end of the log changes: the attacker has copied it.
    fn keep_copy(&mut self) {
        if !self.copies.contains(&self.disk) {
            self.copies.push(self.disk.clone());
        }
    }

    fn go_on(&mut self, history: &mut History, broken: Option<Break>) {
        let plugin = self.plugin.as_mut().expect("a commit is of a plugin that runs");
        let order = match broken {
            Some(Break::NvramBeforeStore) => [Commit::NvramSynced, Commit::StoreSynced],
            _ => [Commit::StoreSynced, Commit::NvramSynced],
        };
        plugin.commit = match plugin.commit {
            Commit::Written => order[0],
            half if half == order[0] => order[1],
            _ => Commit::Nothing,
        };
        match plugin.commit {
            Commit::StoreSynced => self.synced = self.disk.len(),
            Commit::NvramSynced => self.head = Head::of(&self.disk),
            Commit::Nothing | Commit::Written => {}
        }
        let early = broken == Some(Break::AcknowledgeBeforeNvram) && plugin.commit == Commit::StoreSynced;
        if early || plugin.commit == Commit::Nothing {
            plugin.account = newest(&self.disk);
            plugin.acknowledge(history, broken);
            history.acknowledged.clone_from(&self.disk);
        }
    }
}

impl Plugin {
    fn begin(&mut self, request: usize, history: &mut History, broken: Option<Break>) {
        history.passes[request] += 1;
        if self.kept.contains(&request) {
            // The same signature again. That this is audited is left out: it changes nothing else.
            history.seen.repeated = true;
        } else if broken == Some(Break::CountAfterCompare) {
            self.phases[request] = Phase::Counted(self.account);
        } else {
            self.phases[request] = Phase::Staged(Change::Count(self.account.failed()));
        }
    }

    /// The entry of all that is staged. Compare and set: of the changes of one account one at most is made, and only
    /// on the version it was made from; the others conflict and begin again.
    fn group(&mut self, first: usize, history: &mut History, broken: Option<Break>) -> Entry {
        let (mut entry, mut changes) = (Entry::new(), 0);
        // What the next change of the account has to be made from; nothing, once one is in the group.
        let mut from = Some(self.account.version);
        let others = (0..self.phases.len()).filter(|request| *request != first);
        for request in std::iter::once(first).chain(others) {
            let Phase::Staged(change) = self.phases[request] else { continue };
            let of_account = match change {
                Change::Count(account) | Change::Spend(account, _) => Some(account),
                Change::Bind(_) => None,
            };
            if let Some(account) = of_account {
                if from.is_none_or(|from| account.version != from + 1)
                    && broken != Some(Break::NoVersionCheck)
                {
                    self.phases[request] = Phase::Idle;
                    history.seen.conflict = true;
                    continue;
                }
                from = None;
                entry.push(Record::Account(account));
            }
            match change {
                Change::Spend(_, step) => entry.push(Record::Granted { request, step }),
                Change::Bind(step) => entry.push(Record::Bound { request, step }),
                Change::Count(_) => {}
            }
            self.phases[request] = Phase::Committing(change);
            changes += 1;
        }
        history.seen.group |= changes > 1;
        entry
    }

    /// Whoever waited for the commit goes on.
    fn acknowledge(&mut self, history: &mut History, broken: Option<Break>) {
        for phase in &mut self.phases {
            let Phase::Committing(change) = *phase else { continue };
            *phase = match change {
                Change::Count(_) if broken == Some(Break::CountAfterCompare) => Phase::Idle,
                Change::Count(account) => Phase::Counted(account),
                Change::Spend(_, step) => {
                    history.granted.push(step);
                    if broken == Some(Break::SpendAfterSign) {
                        Phase::Signed(step)
                    } else {
                        Phase::Granted(step)
                    }
                }
                Change::Bind(step) => Phase::Bound(step),
            };
        }
    }

    fn compare(&mut self, request: usize, what: Request, history: &mut History, broken: Option<Break>) {
        let Phase::Counted(account) = self.phases[request] else { unreachable!("a step of this phase") };
        let highest = account.highest_used_step;
        let fresh = |step: u8| match broken {
            Some(Break::UsedStepAccepted) => step >= highest,
            Some(Break::OlderStepAccepted) => step != highest,
            _ => step > highest,
        };
        let code = match what {
            Request::Native(Some(code)) | Request::Pkcs11(code) if fresh(code) => code,
            _ => return self.miss(request, history, broken),
        };
        self.phases[request] = match broken {
            Some(Break::SpendAfterSign) => Phase::Granted(code),
            // There is no count to take back.
            Some(Break::CountAfterCompare) => {
                let failures = account.failures + 1;
                Phase::Staged(Change::Spend(Account { failures, ..account }.used(code), code))
            }
            _ => Phase::Staged(Change::Spend(account.used(code), code)),
        };
    }

    fn miss(&mut self, request: usize, history: &mut History, broken: Option<Break>) {
        history.misses += 1;
        self.phases[request] = match broken {
            Some(Break::CountAfterCompare) => Phase::Staged(Change::Count(self.account.failed())),
            _ => Phase::Idle,
        };
    }

    fn bind(&mut self, request: usize) {
        let Phase::Granted(step) = self.phases[request] else { unreachable!("a step of this phase") };
        self.phases[request] = Phase::Staged(Change::Bind(step));
    }

    fn sign(&mut self, request: usize, history: &mut History, broken: Option<Break>) {
        let (Phase::Granted(step) | Phase::Bound(step)) = self.phases[request] else {
            unreachable!("a step of these phases")
        };
        history.signatures.push((request, step));
        self.phases[request] = match broken {
            Some(Break::SpendAfterSign) => Phase::Staged(Change::Spend(self.account.used(step), step)),
            _ => Phase::Signed(step),
        };
    }

    fn release(&mut self, request: usize, what: Request, history: &mut History, broken: Option<Break>) {
        let Phase::Signed(step) = self.phases[request] else { unreachable!("a step of this phase") };
        self.phases[request] = Phase::Idle;
        match what {
            Request::Native(_) => {
                history.seen.native_signature = true;
                self.kept.push(request);
            }
            Request::Pkcs11(_) => {
                history.seen.pkcs11_signature = true;
                if broken == Some(Break::GrantKept) {
                    self.phases[request] = Phase::Granted(step);
                }
            }
        }
    }
}

impl Account {
    /// The next version, with one failure more.
    fn failed(self) -> Self {
        Self { version: self.version + 1, failures: self.failures + 1, ..self }
    }

    /// The next version, with this step used and the failure that was counted for it taken back.
    fn used(self, step: u8) -> Self {
        let failures = self.failures.saturating_sub(1);
        Self { version: self.version + 1, highest_used_step: step, failures }
    }
}
