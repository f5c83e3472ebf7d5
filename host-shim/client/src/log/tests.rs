//! Exports, verified by libraries that share no code with ours; and everything that can be done to one, each found by name.

mod export;
mod witness;

use super::*;
use countersign_tlog::note::SigningKey;
use countersign_tlog::proof::InclusionProof;
use countersign_tlog::tile::{Content, Tile, bundle, unbundle};
use countersign_tlog::tree::{Frontier, leaf_hash};
use countersign_wire::log::{LogCheckpoint, LogCursor, LogPage, LogQuery, LogStart};
use countersign_wire::reason::{Reason, Refusal};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use tlog_tiles::{HashReader, TileHashReader, TileReader, check_record, prove_record, record_hash};

const ORIGIN: &str = "countersign/07/default";

/// A log in memory, as an HSM gives it.
struct Source {
    key: SigningKey,
    entries: Vec<Vec<u8>>,
    /// How many are signed for.
    size: Cell<u64>,
    /// What a page holds at the most.
    page: usize,
}

impl Source {
    fn of(size: u64) -> Self {
        let entries = (0..size).map(|number| format!("{{\"entry\":{number}}}").into_bytes()).collect();
        let key = SigningKey::new(ORIGIN, KeyType::Log, &[1; 32]).unwrap();
        Self { key, entries, size: Cell::new(size), page: 100 }
    }

    fn signed(&self) -> Note {
        let mut tree = Frontier::default();
        let signed = self.entries.iter().take(usize::try_from(self.size.get()).unwrap());
        signed.for_each(|entry| tree.append(leaf_hash(entry)));
        let origin = ORIGIN.to_owned();
        let text =
            Checkpoint { origin, size: tree.size(), root: tree.root(), extension: vec!["x y".to_owned()] };
        let text = text.to_text();
        Note::new(text.clone(), vec![self.key.sign(&text)])
    }
}

impl LogSource for Source {
    fn checkpoint(&self) -> Result<LogCheckpoint, Refusal> {
        Ok(LogCheckpoint { note: self.signed().to_text(), vkey: self.key.verifier().to_text() })
    }

    fn page(&self, query: LogQuery) -> Result<LogPage, Refusal> {
        let place = |at: usize| {
            let mut cursor = [0; 48];
            cursor[..8].copy_from_slice(&(at as u64).to_be_bytes());
            LogCursor::new(cursor)
        };
        let at = match query.from {
            LogStart::Beginning => 0,
            LogStart::Recent => self.entries.len().saturating_sub(150),
            LogStart::After(cursor) => {
                usize::try_from(u64::from_be_bytes(*cursor.first_chunk().unwrap())).unwrap()
            }
        };
        let most = usize::from(query.entries_max).min(self.page);
        let entries: Vec<_> = self.entries.iter().skip(at).take(most).cloned().map(Into::into).collect();
        let next = at + entries.len();
        let index = (query.from == LogStart::Recent).then_some(at as u64);
        Ok(LogPage { index, entries, next: place(next), more: next < self.entries.len() })
    }
}

/// A folder with a log of so many entries.
struct Place {
    _temporary: TempDir,
    path: PathBuf,
    source: Source,
}

impl Place {
    fn of(size: u64) -> Self {
        Self::with(Source::of(size))
    }

    fn with(source: Source) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let place = Self { path: temporary.path().join("log"), _temporary: temporary, source };
        place.export().unwrap();
        place
    }

    fn folder(&self) -> Folder {
        Folder::at(&self.path)
    }

    fn export(&self) -> Result<Exported, LogFault> {
        Export::open(self.folder(), None, &self.source)?.update(&self.source)
    }

    fn key(&self) -> VerifierKey {
        self.source.key.verifier().clone()
    }

    fn verify(&self) -> Result<Verified, LogFault> {
        verify(&self.folder(), &Trusted { key: self.key(), witnesses: vec![], seen: None })
    }

    fn verify_seen(&self) -> Result<Verified, LogFault> {
        let seen = Some(self.path.with_file_name("seen"));
        verify(&self.folder(), &Trusted { key: self.key(), witnesses: vec![], seen })
    }

    /// Changes the entries of one bundle.
    fn rewrite(&self, index: u64, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let tile = Tile::of_level(Content::Entries, index * 256, self.source.size.get()).next().unwrap();
        let path = self.path.join(tile.path());
        let mut entries: Vec<_> =
            unbundle(&fs::read(&path).unwrap()).unwrap().into_iter().map(<[u8]>::to_vec).collect();
        change(&mut entries);
        fs::write(path, bundle(entries.iter().map(Vec::as_slice)).unwrap()).unwrap();
    }
}

#[track_caller]
fn found(result: Result<Verified, LogFault>) -> (&'static str, Option<u64>) {
    let fault = result.expect_err("it is found out");
    (fault.word(), fault.index())
}

/// Reads tiles as another library asks for them.
struct OtherReader(PathBuf);

impl TileReader for OtherReader {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // It calls a tile of height 8 "tile/8/…": the specification leaves the height out.
        let path = |tile: &tlog_tiles::Tile| self.0.join(tile.path().replacen("tile/8/", "tile/", 1));
        Ok(tiles.iter().map(|tile| fs::read(path(tile)).unwrap()).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

/// Verifies a folder with `signed_note` and `tlog_tiles` alone: the checkpoint's signature, every tile that a reader of every
/// entry needs, every entry.
fn verify_with_others(folder: &std::path::Path, vkey: &str) -> u64 {
    let note = signed_note::Note::from_bytes(&fs::read(folder.join("checkpoint")).unwrap()).unwrap();
    let verifier = signed_note::StandardVerifier::new(vkey).unwrap();
    let verifiers = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    assert_eq!(note.verify(&verifiers).unwrap().0.len(), 1);
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    let tiles = OtherReader(folder.to_owned());
    let hashes = TileHashReader::new(checkpoint.size(), *checkpoint.hash(), &tiles);
    let mut at = 0;
    for tile in Tile::of_level(Content::Entries, 0, checkpoint.size()) {
        let mut rest = fs::read(folder.join(tile.path())).unwrap();
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let leaf = record_hash(&rest[2..2 + length]);
            assert_eq!(
                hashes.read_hashes(&[tlog_tiles::stored_hash_index(0, at)]).unwrap(),
                [leaf],
                "entry {at}"
            );
            if at % 97 == 0 {
                let proof = prove_record(checkpoint.size(), at, &hashes).unwrap();
                check_record(&proof, checkpoint.size(), *checkpoint.hash(), at, leaf).unwrap();
            }
            rest.drain(..2 + length);
            at += 1;
        }
    }
    assert_eq!(at, checkpoint.size());
    at
}

#[test]
fn an_export_of_any_size_verifies_with_libraries_that_share_no_code_with_ours() {
    for size in [1, 2, 255, 256, 257, 600] {
        let place = Place::of(size);
        assert_eq!(verify_with_others(&place.path, &place.key().to_text()), size);
        assert_eq!(place.verify().unwrap().checkpoint.size, size);
    }
    // Two levels above the leaves'.
    let place = Place::of(66_000);
    assert_eq!(place.verify().unwrap().checkpoint.size, 66_000);
    for index in [0, 65_535, 65_536, 65_999] {
        let (entry, proof) = prove_inclusion(&place.folder(), &place.key(), index).unwrap();
        assert_eq!(entry, place.source.entries[usize::try_from(index).unwrap()]);
        let theirs = proof.path.iter().map(|hash| tlog_tiles::Hash(*hash)).collect();
        let root = tlog_tiles::Hash(place.verify().unwrap().checkpoint.root);
        assert!(check_record(&theirs, 66_000, root, index, record_hash(&entry)).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn an_export_that_is_brought_up_to_date_in_any_steps_is_the_one_made_at_once(
        steps in proptest::collection::vec(0_u64..300, 1..6), page in 1_usize..400,
    ) {
        let whole = Place::of(steps.iter().sum::<u64>() + 1);
        let temporary = tempfile::tempdir().unwrap();
        let source = Source { page, ..Source::of(whole.source.size.get()) };
        let place = Place { path: temporary.path().join("log"), _temporary: temporary, source };
        let mut size = 1;
        for step in std::iter::once(0).chain(steps) {
            size += step;
            place.source.size.set(size);
            let exported = place.export().unwrap();
            prop_assert_eq!((exported.checkpoint.size, exported.new), (size, if step == 0 { u64::from(size == 1) * exported.new } else { step }));
            prop_assert_eq!(place.verify_seen().unwrap().checkpoint.size, size);
            for old in [1, size / 2 + 1, size] {
                prop_assert!(prove_consistency(&place.folder(), &place.key(), old).is_ok());
            }
        }
        for tile in Tile::all(size) {
            let [one, other] = [&place, &whole].map(|place| fs::read(place.path.join(tile.path())).unwrap());
            prop_assert_eq!(one, other, "{}", tile.path());
        }
    }
}

#[test]
fn what_is_done_to_entries_is_found_and_named() {
    let done = |size: u64, bundle: u64, change: fn(&mut Vec<Vec<u8>>)| {
        let place = Place::of(size);
        place.rewrite(bundle, change);
        found(place.verify())
    };
    assert_eq!(done(700, 1, |entries| drop(entries.remove(10))), ("deleted", Some(266)));
    assert_eq!(done(700, 1, |entries| drop(entries.drain(10..20))), ("deleted", Some(266)));
    assert_eq!(done(700, 0, |entries| entries.swap(3, 4)), ("reordered", Some(3)));
    assert_eq!(done(700, 2, |entries| entries.reverse()), ("reordered", Some(512)));
    assert_eq!(done(700, 1, |entries| entries[7][2] ^= 1), ("edited", Some(263)));
    assert_eq!(done(700, 1, |entries| entries[7].push(b' ')), ("edited", Some(263)));
    // A bundle of 257 is none: what it held is told by its first entry.
    assert_eq!(done(700, 1, |entries| entries.insert(7, b"new".to_vec())), ("edited", Some(256)));
    assert_eq!(done(700, 2, |entries| entries.insert(7, b"new".to_vec())), ("inserted", Some(519)));
    assert_eq!(done(700, 2, |entries| entries.push(entries[0].clone())), ("inserted", Some(700)));
    assert_eq!(done(700, 2, |entries| entries.truncate(100)), ("truncated", Some(612)));
    assert_eq!(done(1, 0, |entries| entries[0].clear()), ("edited", Some(0)));
}

#[test]
fn a_missing_file_is_named() {
    let gone = |path: &str| {
        let place = Place::of(700);
        fs::remove_file(place.path.join(path)).unwrap();
        found(place.verify())
    };
    assert_eq!(gone("tile/entries/000"), ("deleted", Some(0)));
    assert_eq!(gone("tile/entries/001"), ("deleted", Some(256)));
    assert_eq!(gone("tile/entries/002.p/188"), ("truncated", Some(512)));
    for tile in ["tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2"] {
        assert_eq!(gone(tile), ("tile-damaged", None), "{tile}");
    }
    assert_eq!(gone("checkpoint").0, "malformed-checkpoint");
}

#[test]
fn every_bit_of_an_export_counts() {
    let place = Place::of(260);
    let files = [
        "checkpoint",
        "tile/entries/000",
        "tile/entries/001.p/4",
        "tile/0/000",
        "tile/0/001.p/4",
        "tile/1/000.p/1",
    ];
    for file in files {
        let path = place.path.join(file);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(if good.len() > 1000 { 61 } else { 1 }) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let (word, _) = found(place.verify());
            let expected: &[&str] = match file {
                "checkpoint" => &["malformed-checkpoint", "other-log", "wrong-signature"],
                "tile/entries/000" | "tile/entries/001.p/4" => &["edited", "inserted"],
                _ => &["tile-damaged"],
            };
            assert!(expected.contains(&word), "{file}, byte {at}: {word}");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        found(place.verify());
        fs::write(&path, good).unwrap();
    }
    place.verify().unwrap();
}

/// Who owns the folder makes every file fit his own entries; the checkpoint he cannot make.
#[test]
fn tiles_that_were_made_to_fit_do_not_help() {
    for (change, expected) in [
        ((|entries: &mut Vec<Vec<u8>>| drop(entries.pop())) as fn(&mut Vec<Vec<u8>>), "truncated"),
        (|entries| drop(entries.remove(5)), "truncated"),
        (|entries| entries[5][2] ^= 1, "edited"),
        (|entries| entries.swap(5, 6), "edited"),
    ] {
        let place = Place::of(300);
        let checkpoint = fs::read(place.path.join("checkpoint")).unwrap();
        let mut other = Source::of(300);
        change(&mut other.entries);
        other.size.set(other.entries.len() as u64);
        fs::remove_dir_all(&place.path).unwrap();
        Export::open(place.folder(), None, &other).unwrap().update(&other).unwrap();
        fs::write(place.path.join("checkpoint"), checkpoint).unwrap();
        assert_eq!(found(place.verify()).0, expected);
    }
}

#[test]
fn an_older_log_and_a_second_history_are_named_by_whoever_saw_the_first() {
    let place = Place::of(300);
    assert_eq!(place.verify_seen().unwrap().seen_before, None);
    assert_eq!(place.verify_seen().unwrap().seen_before, Some(300));
    // The same key signs another history: of the same size, a longer one, a shorter one.
    let history = |size: u64, change: usize| {
        let mut other = Source::of(size);
        other.entries[change] = b"another".to_vec();
        fs::remove_dir_all(&place.path).unwrap();
        Export::open(place.folder(), None, &other).unwrap().update(&other).unwrap();
        assert!(place.verify().is_ok(), "by itself it is a good log");
        found(place.verify_seen()).0
    };
    assert_eq!(history(300, 299), "forked");
    assert_eq!(history(500, 0), "forked");
    assert_eq!(history(299, 0), "rolled-back");
    fs::remove_dir_all(&place.path).unwrap();
    place.source.size.set(200);
    place.export().unwrap();
    assert_eq!(found(place.verify_seen()).0, "rolled-back");
    place.source.size.set(300);
    place.export().unwrap();
    place.verify_seen().unwrap();
    let seen = place.path.with_file_name("seen");
    fs::write(&seen, fs::read_to_string(&seen).unwrap().replace("300", "100")).unwrap();
    assert_eq!(found(place.verify_seen()).0, "malformed-state");
}

#[test]
fn a_checkpoint_of_another_key_log_or_kind_is_named() {
    let place = Place::of(3);
    let with = |key: SigningKey| {
        let trusted = Trusted { key: key.verifier().clone(), witnesses: vec![], seen: None };
        found(verify(&place.folder(), &trusted)).0
    };
    assert_eq!(with(SigningKey::new(ORIGIN, KeyType::Log, &[2; 32]).unwrap()), "wrong-signature");
    assert_eq!(with(SigningKey::new("another", KeyType::Log, &[1; 32]).unwrap()), "other-log");
    assert_eq!(with(SigningKey::new(ORIGIN, KeyType::Witness, &[1; 32]).unwrap()), "not-a-log-key");
}

#[test]
fn the_key_of_an_attested_hsm_is_that_of_its_tenants_log() {
    let attested = SigningKey::new("any", KeyType::Log, &[1; 32]).unwrap().verifier().public_key();
    let key = attested_key(&[7; 16], "default", &attested).unwrap();
    assert_eq!(key.name(), format!("countersign/{}/default", "07".repeat(16)));
    assert_eq!((key.kind(), key.public_key()), (KeyType::Log, attested));
    assert_eq!(attested_key(&[7; 16], "default", &[0; 32]).unwrap_err().word(), "not-a-log-key");
}

#[test]
fn proofs_are_given_only_where_they_are_good() {
    let place = Place::of(300);
    let (entry, proof) = prove_inclusion(&place.folder(), &place.key(), 299).unwrap();
    assert_eq!(entry, place.source.entries[299]);
    assert_eq!(InclusionProof::parse(&proof.to_text()), Some(proof));
    let refused = |index| prove_inclusion(&place.folder(), &place.key(), index).unwrap_err().word();
    assert_eq!(refused(300), "no-such-entry");
    assert_eq!(prove_consistency(&place.folder(), &place.key(), 0).unwrap_err().word(), "no-such-entry");
    assert_eq!(prove_consistency(&place.folder(), &place.key(), 301).unwrap_err().word(), "no-such-entry");
    place.rewrite(0, |entries| entries[7][2] ^= 1);
    assert_eq!(refused(7), "edited");
    assert!(prove_inclusion(&place.folder(), &place.key(), 8).is_ok());
}

#[test]
fn the_newest_entries_come_with_their_numbers() {
    let source = Source::of(400);
    let Recent { entries, index, .. } = read_recent(&source, 20).unwrap();
    assert_eq!((entries.len(), entries[0].0, index), (20, 380, 400));
    assert_eq!(entries[19].1, source.entries[399]);
    let all = read_recent(&source, 1000).unwrap().entries;
    assert_eq!((all.len(), all[0].0), (150, 250), "what the HSM has at hand");
}

/// Gives nothing.
struct Refusing;
impl LogSource for Refusing {
    fn checkpoint(&self) -> Result<LogCheckpoint, Refusal> {
        Err(Reason::WrongApiKey.into())
    }

    fn page(&self, _: LogQuery) -> Result<LogPage, Refusal> {
        Err(Reason::WrongApiKey.into())
    }
}

#[test]
fn a_refusal_of_the_hsm_is_passed_on() {
    let temporary = tempfile::tempdir().unwrap();
    let fault = Export::open(Folder::at(temporary.path()), None, &Refusing).err().unwrap();
    assert_eq!(fault.word(), "wrong-api-key");
}
