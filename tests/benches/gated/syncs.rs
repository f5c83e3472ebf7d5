//! What a lone request waits for on the disk, and nothing else.

use crate::gated::key_label;
use crate::in_process::{Commits, InProcess};
use crate::population::Population;
use crate::rounds::{Contender, Round, Work, measure};
use countersign_simulator::nvram::STATE_SLOT_BYTES;
use countersign_tests::backend::{digest, sign_act};
use countersign_wire::client::{Outcome, Reply, Request};
use countersign_wire::{decode, encode};
use serde_bytes::ByteArray;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Two files on the same disk as the HSMs', written as they write theirs.
pub(crate) struct Syncs {
    store: File,
    nvram: File,
    end: AtomicU64,
    /// What one signature waits for.
    commits: Commits,
    signatures: usize,
}

impl Syncs {
    pub(crate) fn new(folder: &Path, commits: Commits, signatures: usize) -> Self {
        let create = |name: &str| File::create(folder.join(name)).expect("a file can be made");
        let nvram = create("nvram");
        nvram.write_all_at(&[0; 2 * STATE_SLOT_BYTES], 0).expect("a file can be written");
        Self { store: create("store"), nvram, end: AtomicU64::new(0), commits, signatures }
    }
}

impl Work for Syncs {
    fn sign(&self, _thread: usize, _number: usize) {
        let appended_bytes = self.commits.appended_bytes / self.commits.count;
        for _ in 0..self.commits.count {
            let end = self.end.fetch_add(appended_bytes as u64, Ordering::Relaxed);
            self.store.write_all_at(&vec![1; appended_bytes], end).expect("the disk takes it");
            self.store.sync_data().expect("the disk syncs");
            self.nvram.write_all_at(&[1; STATE_SLOT_BYTES], 0).expect("the disk takes it");
            self.nvram.sync_data().expect("the disk syncs");
        }
    }
}

impl Contender for Syncs {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn threads(&self) -> usize {
        1
    }

    fn round(&self) -> Round {
        measure(1, self.signatures, &[], self)
    }
}

/// What the figures are called.
pub(crate) const NAME: &str = "syncs/1";

/// The commits that one native signature waits for, counted in process on an HSM that does not run.
pub(crate) fn commits_of_a_signature(population: &Population) -> Commits {
    let hsm = &population.hsm;
    let mut plugin = InProcess::start(&hsm.home());
    let code = population.phone(0).code(plugin.now().unix_secs);
    let act = sign_act(&key_label(0), digest(7), Some(&code));
    let request = Request { id: ByteArray::new([1; 16]), api_key: Some(hsm.api_key().clone()), act };
    let before = plugin.commits();
    plugin.request(0, encode(&request));
    let reply = loop {
        if let Some((_, reply)) = plugin.turn().pop() {
            break reply;
        }
    };
    let after = plugin.commits();
    let reply: Reply = decode(&reply).expect("the plugin answers in its own language");
    assert!(matches!(reply.outcome, Outcome::Done(_)), "{:?}", reply.outcome);
    plugin.stop();
    Commits {
        count: after.count - before.count,
        appended_bytes: after.appended_bytes - before.appended_bytes,
    }
}
