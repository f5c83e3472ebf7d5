//! What the audit log costs beside a gated signature: the text of its entries, their hashes, and their way into a tree of a million.
//!
//! What a signature of a digest leaves behind is two entries: that its code was counted, and that it was granted. The trail itself,
//! the sealed record of both, is not in the figure: it is the same without a tree.

use crate::report::Table;
use crate::results::Section;
use crate::rounds::{Contender, LONE_TURNS, Round, Work, measure};
use crate::{approvals, intents};
use countersign_plugin::store::trail::{Event, Reader, Signs, Used, What};
use countersign_tlog::Frontier;
use countersign_tlog::note::{KeyType, SigningKey};
use countersign_tlog::tree::leaf_hash;
use countersign_tlog::{Checkpoint, Note};
use countersign_wire::client::ApprovalKind;
use countersign_wire::hal::LogNames;
use serde_bytes::ByteArray;
use std::hint::black_box;
use std::sync::Mutex;

/// Figures of this part begin so.
const PREFIX: &str = "log/";

/// What is bounded: the entries of one signature.
pub(crate) const SIGNATURE: &str = "log/signature";
const HASHED: &str = "log/signature-hashed-name";
const CHECKPOINT: &str = "log/checkpoint";

/// How large the trees are.
const ENTRIES: u64 = 1_000_000;

/// One kind of work on a log, over and over.
pub(crate) struct Logging {
    name: &'static str,
    kind: Kind,
    times: usize,
}

enum Kind {
    Signature { reader: Box<Reader>, events: Box<[Event; 2]>, tree: Mutex<Frontier> },
    Checkpoint { key: Box<SigningKey>, tree: Frontier },
}

/// Every kind, each so often in a round of all turns.
pub(crate) fn kinds(times: usize) -> Vec<Logging> {
    let times = (times / LONE_TURNS).max(1);
    let signature = |names| Kind::Signature {
        reader: Box::new(Reader::new(&[1; 32], [2; 16])),
        events: Box::new(events(names)),
        tree: Mutex::new(a_million()),
    };
    let key = SigningKey::new("countersign/00/default", KeyType::Log, &[3; 32]).expect("a name");
    let checkpoint = Kind::Checkpoint { key: Box::new(key), tree: a_million() };
    let kinds = [
        (SIGNATURE, signature(LogNames::Plain)),
        (HASHED, signature(LogNames::Hashed)),
        (CHECKPOINT, checkpoint),
    ];
    kinds.into_iter().map(|(name, kind)| Logging { name, kind, times }).collect()
}

fn a_million() -> Frontier {
    let mut tree = Frontier::default();
    for number in 0..ENTRIES {
        tree.append(leaf_hash(&number.to_be_bytes()));
    }
    tree
}

/// What a signature of a digest leaves behind.
fn events(names: LogNames) -> [Event; 2] {
    let event = |what| Event {
        unix_secs: 1_800_000_000,
        tenant: Some("default".parse().expect("a name")),
        account: Some("user-0000".parse().expect("a name")),
        names,
        what,
    };
    let signs = Signs {
        digests: vec![ByteArray::new([7; 32])],
        summary: format!("kind: digest\ndigest: 0x{}\n", "07".repeat(32)),
        summary_sha256: ByteArray::new([8; 32]),
        rule: "any-digest".to_owned(),
    };
    let key = ByteArray::new([1; 16]);
    let granted = What::Granted { key, used: Used::Step(58_000_000), kind: ApprovalKind::Code, signs };
    [event(What::CodeCounted), event(granted)]
}

impl Work for Logging {
    fn sign(&self, _thread: usize, _number: usize) {
        match &self.kind {
            Kind::Signature { reader, events, tree } => {
                let mut tree = tree.lock().expect("nobody panicked");
                for event in events.iter() {
                    tree.append(leaf_hash(&reader.leaf(black_box(event))));
                }
            }
            Kind::Checkpoint { key, tree } => {
                let text = Checkpoint {
                    origin: key.verifier().name().to_owned(),
                    size: tree.size(),
                    root: black_box(tree).root(),
                    extension: Vec::new(),
                }
                .to_text();
                let signature = key.sign(&text);
                black_box(Note::new(text, vec![signature]).to_text());
            }
        }
    }
}

impl Contender for Logging {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn threads(&self) -> usize {
        1
    }

    fn round(&self) -> Round {
        measure(1, self.times, &[], self)
    }
}

/// The table for people.
pub(crate) fn table(section: &Section) -> Option<(Table, String)> {
    let mut table = Table::new(&["", "µs", "% of a gated signature"]);
    for name in [SIGNATURE, HASHED, CHECKPOINT] {
        table.row(vec![
            format!("`{}`", name.trim_start_matches(PREFIX)),
            format!("{:.1}", approvals::us(section, name)?),
            format!("{:.1}", intents::share_percent(section, name)?),
        ]);
    }
    let prose = "The audit log at a million entries: the two entries that a signature leaves behind, written, hashed and appended to the \
                 tree, with plain and with hashed account names, and a signed checkpoint, which costs when somebody asks for it. Medians \
                 on one thread, beside the same gated signature as above. The sealed trail is not in it, which is there without a tree."
        .to_owned();
    Some((table, prose))
}
