//! What a witness signs, and what it never does.

use super::*;

#[test]
fn a_witness_signs_what_goes_on_and_nothing_else() {
    let place = Place::of(100);
    let secret = SigningKey::new("witness.example/w", KeyType::Witness, &[5; 32]).unwrap();
    let key = secret.verifier().clone();
    let witness = Witness::new(secret, &place.path.with_file_name("memory"));
    let asked = |keys: Vec<VerifierKey>| {
        verify(&place.folder(), &Trusted { key: place.key(), witnesses: keys, seen: None })
    };
    assert_eq!(found(asked(vec![key.clone()])).0, "witness-missing");
    let signed = witness.cosign(&place.folder(), &place.key(), 1_700_000_000).unwrap();
    assert_eq!((signed.before, signed.checkpoint.size), (0, 100));
    assert_eq!(
        asked(vec![key.clone()]).unwrap().witnesses,
        [("witness.example/w".to_owned(), 1_700_000_000)]
    );
    place.export().unwrap();
    assert!(asked(vec![key.clone()]).is_ok(), "an export of the same size keeps it");
    assert_eq!(witness.cosign(&place.folder(), &place.key(), 1_700_000_001).unwrap().before, 100);
    let note = fs::read_to_string(place.path.join("checkpoint")).unwrap();
    assert_eq!(note.matches("witness.example/w").count(), 1);
    let other = SigningKey::new("witness.example/w", KeyType::Witness, &[6; 32]).unwrap();
    assert_eq!(found(asked(vec![key.clone(), other.verifier().clone()])).0, "witness-missing");
    // A second history, an older state, another log.
    let mut forked = Source::of(120);
    forked.entries[99] = b"another".to_vec();
    let fault = |place: &Place, source: &Source| {
        fs::remove_dir_all(&place.path).unwrap();
        Export::open(place.folder(), None, source).unwrap().update(source).unwrap();
        witness.cosign(&place.folder(), &place.key(), 1).unwrap_err().word()
    };
    assert_eq!(fault(&place, &forked), "forked");
    assert_eq!(fault(&place, &Source::of(99)), "rolled-back");
    forked.entries.truncate(100);
    forked.size.set(100);
    assert_eq!(fault(&place, &forked), "forked");
    fs::remove_dir_all(&place.path).unwrap();
    let grown = Source::of(150);
    Export::open(place.folder(), None, &grown).unwrap().update(&grown).unwrap();
    assert_eq!(witness.cosign(&place.folder(), &place.key(), 2).unwrap().before, 100);
    let stranger = SigningKey::new(ORIGIN, KeyType::Log, &[7; 32]).unwrap();
    let fault = witness.cosign(&place.folder(), stranger.verifier(), 3).unwrap_err();
    assert_eq!(fault.word(), "wrong-signature");
}

/// A witness is asked twice at the same moment, each time for another history of the same log: how often it signs.
fn cosigned_at_once(forks: &[Place; 2], memory: &std::path::Path) -> usize {
    let together = std::sync::Barrier::new(forks.len());
    let cosign = |place: &Place| {
        let secret = SigningKey::new("witness.example/w", KeyType::Witness, &[5; 32]).unwrap();
        let (folder, key) = (place.folder(), place.key());
        let (witness, together) = (Witness::new(secret, memory), &together);
        move || {
            together.wait();
            witness.cosign(&folder, &key, 1_700_000_000)
        }
    };
    std::thread::scope(|scope| {
        let asked = forks.each_ref().map(|place| scope.spawn(cosign(place)));
        let ended = asked.map(|thread| thread.join().unwrap());
        for fault in ended.iter().filter_map(|ended| ended.as_ref().err()) {
            assert_eq!(fault.word(), "forked");
        }
        ended.iter().filter(|ended| ended.is_ok()).count()
    })
}

#[test]
fn a_witness_that_is_asked_to_sign_two_forks_at_once_signs_one() {
    let mut forked = Source::of(120);
    forked.entries[99] = b"another".to_vec();
    let forks = [Place::of(120), Place::with(forked)];
    for turn in 0..40 {
        let memory = forks[0].path.with_file_name(format!("memory-{turn}"));
        assert_eq!(cosigned_at_once(&forks, &memory), 1, "turn {turn}");
        let left = fs::read_dir(memory.parent().unwrap()).unwrap();
        let left = left.filter(|file| file.as_ref().unwrap().path().extension() == Some("new".as_ref()));
        assert_eq!(left.count(), 0, "nothing is left lying about");
    }
}
