//! What an export takes over, and what it refuses.

use super::*;

/// Gives other entries than were signed.
struct Lying<'a>(&'a Source, String);
impl LogSource for Lying<'_> {
    fn checkpoint(&self) -> Result<LogCheckpoint, Refusal> {
        Ok(LogCheckpoint { note: self.1.clone(), ..self.0.checkpoint()? })
    }

    fn page(&self, query: LogQuery) -> Result<LogPage, Refusal> {
        let mut page = self.0.page(query)?;
        page.entries.iter_mut().for_each(|entry| entry.push(b'!'));
        Ok(page)
    }
}

#[test]
fn an_export_refuses_what_was_not_signed_another_key_and_an_older_log() {
    let mut place = Place::of(100);
    let export = |place: &Place| place.export().map(|_| ()).unwrap_err().word();
    place.source.size.set(90);
    assert_eq!(export(&place), "rolled-back");
    place.source.size.set(100);
    place.source.entries.push(b"more".to_vec());
    place.source.size.set(101);
    let honest = place.source.signed().to_text();
    let lying = Lying(&place.source, honest);
    let fault = Export::open(place.folder(), None, &lying).unwrap().update(&lying).unwrap_err();
    assert_eq!(fault.word(), "not-as-signed");
    assert_eq!(place.verify().unwrap().checkpoint.size, 100, "what was there is there");
    place.export().unwrap();
    // Fewer entries than were signed for.
    place.source.size.set(103);
    place.source.entries.extend([b"a".to_vec(), b"b".to_vec()]);
    let note = place.source.signed().to_text();
    place.source.entries.truncate(101);
    let short = Lying(&place.source, note);
    let fault = Export::open(place.folder(), None, &short).unwrap().update(&short).unwrap_err();
    assert_eq!(fault.word(), "not-as-signed");
    place.source.size.set(101);
    place.source.key = SigningKey::new(ORIGIN, KeyType::Log, &[9; 32]).unwrap();
    assert_eq!(export(&place), "wrong-signature");
    let other = place.key();
    let fault = Export::open(place.folder(), Some(&other), &place.source).err().unwrap();
    assert_eq!(fault.word(), "other-key", "not the key that was pinned");
    let temporary = tempfile::tempdir().unwrap();
    let served = Folder::at(temporary.path());
    let honest = SigningKey::new(ORIGIN, KeyType::Log, &[1; 32]).unwrap();
    let fault = Export::open(served, Some(honest.verifier()), &place.source).err().unwrap();
    assert_eq!(fault.word(), "other-key", "not the key that is trusted, at the first export");
    place.source.entries[0] = b"another".to_vec();
    place.source.key = SigningKey::new(ORIGIN, KeyType::Log, &[1; 32]).unwrap();
    assert_eq!(export(&place), "forked");
}

/// Every file of a folder, by its path in it; the locks, which hold nothing, aside.
fn files(folder: &std::path::Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() != Some("lock".as_ref()) {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn entries_that_were_not_signed_never_reach_the_folder() {
    // Enough of them for full bundles and tiles, in place of a partial file that was verified.
    let mut place = Place::of(100);
    let before = files(&place.path);
    let more = (100..700).map(|number| format!("{{\"entry\":{number}}}").into_bytes());
    place.source.entries.extend(more);
    place.source.size.set(700);
    let lying = Lying(&place.source, place.source.signed().to_text());
    let fault = Export::open(place.folder(), None, &lying).unwrap().update(&lying).unwrap_err();
    assert_eq!(fault.word(), "not-as-signed");
    assert_eq!(files(&place.path), before);
    assert!(fs::read_dir(&place.path).unwrap().all(|file| file.unwrap().file_name() != ".staged"));
    assert_eq!(place.verify().unwrap().checkpoint.size, 100);
    // What an export left aside that was killed is not taken for anything.
    fs::create_dir_all(place.path.join(".staged/tile/entries")).unwrap();
    fs::write(place.path.join(".staged/tile/entries/000"), b"left").unwrap();
    assert_eq!(place.export().unwrap().new, 600);
    assert_eq!(place.verify().unwrap().checkpoint.size, 700);
    assert!(!place.path.join(".staged").exists() && !place.path.join("tile/entries/000.p").exists());
    // And of a log that is begun by a liar nothing is left at all.
    let temporary = tempfile::tempdir().unwrap();
    let fault = Export::open(Folder::at(temporary.path()), None, &lying).unwrap().update(&lying).unwrap_err();
    assert_eq!((fault.word(), files(temporary.path())), ("not-as-signed", BTreeMap::new()));
}
