//! Proofs, against the published ones, and against two libraries: what they prove is verified here, and the other way.

use super::trees::{ROOTS, reference};
use super::{Whole, entry};
use crate::note::{KeyType, SigningKey};
use crate::proof::{InclusionProof, consistency, inclusion, is_consistent, is_included, root};
use crate::tile::{Content, Tile, bundle, subtree_root, unbundle};
use crate::tree::{Hash, empty_hash};
use crate::{Checkpoint, Note};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use data_encoding::HEXLOWER;
use proptest::prelude::*;
use sha2::Sha256;
use tlog_tiles::{Hash as OtherHash, check_record, check_tree};

/// Proofs in the reference tree (google/certificate-transparency, `merkletree/merkle_verifier_test.cc`).
const INCLUDED: [(u64, u64, &[&str]); 3] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
];

const CONSISTENT: [(u64, u64, &[&str]); 4] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn hashes(hex: &[&str]) -> Vec<Hash> {
    hex.iter().map(|hash| HEXLOWER.decode(hash.as_bytes()).unwrap().try_into().unwrap()).collect()
}

fn included(tree: &Whole, index: u64, size: u64) -> Option<Vec<Hash>> {
    let Ok(path) = inclusion(tree, index, size);
    path
}

fn consistent(tree: &Whole, old: u64, new: u64) -> Option<Vec<Hash>> {
    let Ok(path) = consistency(tree, old, new);
    path
}

fn root_of(tree: &Whole, size: u64) -> Hash {
    let Ok(root) = root(tree, size);
    root
}

#[test]
fn the_published_proofs_are_made_and_verified() {
    let tree = reference();
    let at = |size: u64| hashes(&ROOTS)[usize::try_from(size - 1).unwrap()];
    for (index, size, expected) in INCLUDED {
        let path = included(&tree, index, size).unwrap();
        assert_eq!(path, hashes(expected));
        let leaf = &tree.0[usize::try_from(index).unwrap()];
        assert!(is_included(leaf, index, size, &path, &at(size)));
    }
    for (old, new, expected) in CONSISTENT {
        let path = consistent(&tree, old, new).unwrap();
        assert_eq!(path, hashes(expected));
        assert!(is_consistent((old, &at(old)), (new, &at(new)), &path));
    }
}

#[test]
fn every_proof_in_every_small_tree_is_good_and_the_same_as_two_other_libraries_take() {
    let tree = Whole::of(70);
    let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for size in 1..=70 {
        other.push(entry(size - 1));
        let root = root_of(&tree, size);
        for index in 0..size {
            let path = included(&tree, index, size).unwrap();
            let leaf = tree.0[usize::try_from(index).unwrap()];
            assert!(is_included(&leaf, index, size, &path, &root), "{index} of {size}");
            assert_eq!(
                path.as_flattened(),
                other.prove_inclusion(usize::try_from(index).unwrap()).as_bytes()
            );
            let theirs = path.iter().map(|hash| OtherHash(*hash)).collect();
            assert!(check_record(&theirs, size, OtherHash(root), index, OtherHash(leaf)).is_ok());
        }
        for old in 1..=size {
            let path = consistent(&tree, old, size).unwrap();
            let old_root = root_of(&tree, old);
            assert!(is_consistent((old, &old_root), (size, &root), &path), "{old} to {size}");
            let theirs = path.iter().map(|hash| OtherHash(*hash)).collect();
            assert!(check_tree(&theirs, size, OtherHash(root), old, OtherHash(old_root)).is_ok());
        }
        assert_eq!(included(&tree, size, size), None);
        assert_eq!(consistent(&tree, size + 1, size), None);
        assert_eq!(consistent(&tree, 0, size), None, "nothing needs no proof");
        assert!(is_consistent((0, &empty_hash()), (size, &root), &[]));
        assert!(!is_consistent((0, &root), (size, &root), &[]));
    }
}

proptest! {
    #[test]
    fn no_proof_with_anything_changed_is_good(
        size in 2_u64..300, index in any::<prop::sample::Index>(), old in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(), bit in 0_usize..256,
    ) {
        let tree = Whole::of(size);
        let (index, old) = (index.index(usize::try_from(size).unwrap()) as u64, 1 + old.index(usize::try_from(size - 1).unwrap()) as u64);
        let (root, old_root) = (root_of(&tree, size), root_of(&tree, old));
        let leaf = tree.0[usize::try_from(index).unwrap()];
        let flipped = |path: &[Hash]| {
            let mut path = path.to_vec();
            let at = place.index(path.len());
            path[at][bit / 8] ^= 1 << (bit % 8);
            path
        };
        let path = included(&tree, index, size).unwrap();
        prop_assert!(is_included(&leaf, index, size, &path, &root));
        prop_assert!(!is_included(&leaf, index, size, &flipped(&path), &root));
        prop_assert!(!is_included(&leaf, index, size, &path[1..], &root));
        prop_assert!(!is_included(&leaf, index, size, &[path.clone(), vec![leaf]].concat(), &root));
        prop_assert!(!is_included(&leaf, (index + 1) % size, size, &path, &root));
        prop_assert!(!is_included(&root, index, size, &path, &root));
        let path = consistent(&tree, old, size).unwrap();
        prop_assert!(is_consistent((old, &old_root), (size, &root), &path));
        prop_assert!(!is_consistent((old, &old_root), (size, &root), &flipped(&path)));
        prop_assert!(!is_consistent((old, &old_root), (size, &root), &path[1..]));
        prop_assert!(!is_consistent((old, &leaf), (size, &root), &path) || leaf == old_root);
        prop_assert!(!is_consistent((old, &old_root), (size, &leaf), &path));
        prop_assert!(!is_consistent((size, &root), (old, &old_root), &path));
    }

    #[test]
    fn i14_no_path_can_panic_the_verifier(index: u64, size: u64, path: Vec<[u8; 32]>, old: u64) {
        let _ = is_included(&[0; 32], index, size, &path, &[1; 32]);
        let _ = is_consistent((old, &[0; 32]), (size, &[1; 32]), &path);
    }
}

#[test]
fn files_are_called_what_two_descriptions_of_them_say() {
    // The example of the specification: a tree of 70,000 entries.
    let all: Vec<_> = Tile::all(70_000).collect();
    let of = |content| all.iter().filter(|tile| tile.content == content).copied().collect::<Vec<_>>();
    let shape = |tiles: &[Tile]| {
        (tiles.iter().filter(|tile| tile.width == 256).count(), tiles.last().map(|tile| tile.width))
    };
    assert_eq!(shape(&of(Content::Entries)), (273, Some(112)));
    assert_eq!(shape(&of(Content::Hashes(0))), (273, Some(112)));
    assert_eq!(shape(&of(Content::Hashes(1))), (1, Some(17)));
    assert_eq!(shape(&of(Content::Hashes(2))), (0, Some(1)));
    assert!(of(Content::Hashes(3)).is_empty());
    let tile = Tile { content: Content::Hashes(3), index: 1_234_067, width: 256 };
    assert_eq!(tile.path(), "tile/3/x001/x234/067");
    assert_eq!(Tile { width: 8, ..tile }.path(), "tile/3/x001/x234/067.p/8");
    for tile in [tile, Tile { width: 8, ..tile }, Tile { index: 0, ..tile }, Tile { index: 1000, ..tile }] {
        let other = tlog_tiles::Tile::new(8, 3, tile.index, tile.width.into(), false);
        assert!(other.path().ends_with(&tile.path()[5..]), "{} {}", other.path(), tile.path());
    }
}

#[test]
fn a_bundle_comes_out_as_it_went_in_and_only_whole() {
    let entries = [&b"one"[..], b"", b"three"];
    let bytes = bundle(entries).unwrap();
    assert_eq!(bytes, b"\0\x03one\0\0\0\x05three");
    assert_eq!(unbundle(&bytes).unwrap(), entries);
    for cut in 1..bytes.len() {
        let whole = [5, 7].contains(&cut);
        assert_eq!(unbundle(&bytes[..cut]).is_some(), whole, "cut at {cut}");
    }
    assert_eq!(bundle([vec![0; 65_536].as_slice()]), None);
    assert!(bundle([vec![0; 65_535].as_slice()]).is_some());
    assert_eq!(unbundle(&vec![0; 2 * 257]), None, "a bundle has 256 entries");
    assert_eq!(subtree_root(&Whole::of(3).0), None);
}

#[test]
fn a_proofs_text_is_the_specifications_and_reads_back_as_itself() {
    let tree = Whole::of(7);
    let key = SigningKey::new("example.com/log", KeyType::Log, &[1; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "example.com/log".to_owned(),
        size: 7,
        root: root_of(&tree, 7),
        extension: vec![],
    };
    let text = checkpoint.to_text();
    let note = Note::new(text.clone(), vec![key.sign(&text)]);
    let proof = InclusionProof { index: 4, path: included(&tree, 4, 7).unwrap(), note };
    let text = proof.to_text();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 4\n"));
    assert_eq!(text.lines().position(str::is_empty), Some(2 + proof.path.len()));
    assert!(text.ends_with(&proof.note.to_text()));
    assert_eq!(InclusionProof::parse(&text), Some(proof.clone()));
    let alone = InclusionProof { index: 0, path: Vec::new(), note: proof.note };
    assert_eq!(InclusionProof::parse(&alone.to_text()), Some(alone), "a log of one entry");
    for wrong in [
        text.replace("@v1", "@v2"),
        text.replace("index 4", "index 04"),
        text.replace("index 4\n", "index 4\n\n"),
        text[..text.len() - 1].to_owned(),
    ] {
        assert_eq!(InclusionProof::parse(&wrong), None, "{wrong}");
    }
}
