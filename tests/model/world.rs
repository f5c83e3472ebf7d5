//! The world that the protocol runs in: what a node keeps where, and what an onlooker wrote down.

use std::hash::{DefaultHasher, Hash, Hasher};

/// What a client asks for. A request keeps its id and its code whenever it is sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// Code and data together. `None` is a wrong code.
    Native(Option<u8>),
    /// A context login with the code of this step, the data afterwards.
    Pkcs11(u8),
}

/// The account's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Account {
    pub(crate) version: u8,
    pub(crate) highest_used_step: u8,
    pub(crate) failures: u8,
}

/// One record in an entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Record {
    Account(Account),
    Granted {
        request: usize,
        step: u8,
    },
    Bound {
        request: usize,
        step: u8,
    },
    /// What a write leaves that a loss of power tore.
    Torn,
}

/// The records that one commit makes durable together.
pub(crate) type Entry = Vec<Record>;

/// What NVRAM remembers of the log: its length, and a stand-in for its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Head {
    pub(crate) entries: usize,
    hash: u64,
}

impl Head {
    pub(crate) fn of(log: &[Entry]) -> Self {
        let mut hasher = DefaultHasher::new();
        log.hash(&mut hasher);
        Self { entries: log.len(), hash: hasher.finish() }
    }
}

/// A change that a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    Count(Account),
    Spend(Account, u8),
    Bind(u8),
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Idle,
    Staged(Change),
    Committing(Change),
    /// The failure is counted; the account as it was made durable with that.
    Counted(Account),
    /// The code is spent; through PKCS#11 the data is still to come.
    Granted(u8),
    /// The grant is bound to the data.
    Bound(u8),
    Signed(u8),
}

/// How far the one commit under way has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Commit {
    Nothing,
    Written,
    StoreSynced,
    NvramSynced,
}

/// The plugin's memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Plugin {
    pub(crate) account: Account,
    pub(crate) phases: Vec<Phase>,
    pub(crate) commit: Commit,
    /// Native requests whose signature is kept, for whoever sends the same request again.
    pub(crate) kept: Vec<usize>,
}

/// One HSM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    /// NVRAM.
    pub(crate) head: Head,
    /// The store as an onlooker sees it, and how many of its entries survive any loss of power.
    pub(crate) disk: Vec<Entry>,
    pub(crate) synced: usize,
    /// Stores that were on the disk and are no longer, nor are they prefixes of it: the attacker copied them.
    pub(crate) copies: Vec<Vec<Entry>>,
    /// `None`: it does not run.
    pub(crate) plugin: Option<Plugin>,
}

/// What an onlooker wrote down who sees everything. No step of the protocol depends on it, except for the bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// How often each request was begun, and how often power was lost.
    pub(crate) passes: Vec<u8>,
    pub(crate) crashes: u8,
    /// The steps that grants were made of, and the signatures that were made (request and step), in order.
    pub(crate) granted: Vec<u8>,
    pub(crate) signatures: Vec<(usize, u8)>,
    /// Comparisons that refused the code.
    pub(crate) misses: u8,
    /// The log at the last acknowledgement.
    pub(crate) acknowledged: Vec<Entry>,
    pub(crate) seen: Seen,
}

/// What the last step showed: that the model reaches what it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that happened or not")]
pub(crate) struct Seen {
    pub(crate) native_signature: bool,
    pub(crate) pkcs11_signature: bool,
    pub(crate) crash_between_syncs: bool,
    pub(crate) copy_refused: bool,
    pub(crate) repeated: bool,
    pub(crate) conflict: bool,
    pub(crate) group: bool,
}

/// The whole. There is one node; what is beside the nodes is shared by all that there may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) history: History,
}

impl World {
    /// One node with an empty store and an enrolled account, not started yet.
    pub(crate) fn new(requests: usize) -> Self {
        let (disk, copies) = (Vec::new(), Vec::new());
        let node = Node { head: Head::of(&disk), disk, synced: 0, copies, plugin: None };
        Self { nodes: vec![node], history: History { passes: vec![0; requests], ..History::default() } }
    }
}

/// The account as the newest of its records says.
pub(crate) fn newest(log: &[Entry]) -> Account {
    let mut records = log.iter().flatten().rev();
    let account = records.find_map(|record| match record {
        Record::Account(account) => Some(*account),
        _ => None,
    });
    account.unwrap_or_default()
}
