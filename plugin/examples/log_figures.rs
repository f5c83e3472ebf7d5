//! What the audit log costs inside, at a million entries: `cargo run --release -p countersign-plugin --example log_figures`.

use countersign_plugin::store::trail::{Event, Reader, Signs, Used, What};
use countersign_tlog::note::{KeyType, SigningKey};
use countersign_tlog::tree::leaf_hash;
use countersign_tlog::{Checkpoint, Frontier, Note};
use countersign_wire::client::ApprovalKind;
use countersign_wire::hal::LogNames;
use serde_bytes::ByteArray;
use std::hint::black_box;
use std::time::Instant;

const ENTRIES: u32 = 1_000_000;

/// What a signature leaves behind: that its code was counted, and that it was granted.
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
        summary: "sign: transfer on Ethereum (eip155:1)\nsend: 0.1 ETH\n  to: 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\n\
                  fee: at most 0.00042 ETH\nin all: at most 0.10042 ETH\nnonce: 7\n"
            .to_owned(),
        summary_sha256: ByteArray::new([8; 32]),
        rule: "any-transfer".to_owned(),
    };
    let key = ByteArray::new([1; 16]);
    let granted = What::Granted { key, used: Used::Step(58_000_000), kind: ApprovalKind::Code, signs };
    [event(What::CodeCounted), event(granted)]
}

fn main() {
    let reader = Reader::new(&[1; 32], [2; 16]);
    for names in [LogNames::Plain, LogNames::Hashed] {
        let (events, mut tree, mut bytes) = (events(names), Frontier::default(), 0);
        let began = Instant::now();
        for event in events.iter().cycle().take(ENTRIES as usize) {
            let leaf = reader.leaf(black_box(event));
            bytes += leaf.len();
            tree.append(leaf_hash(&leaf));
        }
        let each = began.elapsed() / ENTRIES;
        black_box(tree.root());
        let mean = bytes / ENTRIES as usize;
        println!(
            "{} names: an entry of {mean} bytes written, hashed and appended: {each:?}; of a signature: {:?}",
            names.word(),
            each * 2
        );
    }
    let mut tree = Frontier::default();
    let began = Instant::now();
    (0..ENTRIES).for_each(|number| tree.append([u8::try_from(number % 251).expect("below 256"); 32]));
    println!("of that, appended: {:?}", began.elapsed() / ENTRIES);
    let began = Instant::now();
    for _ in 0..1000 {
        let key = SigningKey::new("countersign/00/default", KeyType::Log, &[3; 32]).expect("a name");
        let (origin, root) = (key.verifier().name().to_owned(), black_box(&tree).root());
        let text = Checkpoint { origin, size: tree.size(), root, extension: Vec::new() }.to_text();
        let signature = key.sign(&text);
        black_box(Note::new(text, vec![signature]).to_text());
    }
    println!("a checkpoint over {ENTRIES} entries: {:?}", began.elapsed() / 1000);
}
