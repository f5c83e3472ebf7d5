//! Trees, against the vectors of Certificate Transparency's own implementations and against `ct-merkle`.

use super::{Whole, entry};
use crate::tree::{Frontier, empty_hash, leaf_hash};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use data_encoding::HEXLOWER;
use proptest::prelude::*;
use sha2::Sha256;

/// The leaves of the reference tree (google/certificate-transparency, `merkletree/merkle_tree_test.cc`; the same in
/// transparency-dev/merkle, `testonly/constants.go`).
pub(super) const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

/// Its roots at the sizes 1 to 8, from the same.
pub(super) const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

pub(super) fn reference() -> Whole {
    Whole(LEAVES.iter().map(|leaf| leaf_hash(&HEXLOWER.decode(leaf.as_bytes()).unwrap())).collect())
}

#[test]
fn the_reference_tree_has_the_reference_roots() {
    let mut tree = Frontier::default();
    assert_eq!(
        HEXLOWER.encode(&tree.root()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    for (leaf, root) in reference().0.into_iter().zip(ROOTS) {
        tree.append(leaf);
        assert_eq!(HEXLOWER.encode(&tree.root()), root);
    }
}

#[test]
fn the_right_edge_grows_like_the_whole_tree_and_like_another_librarys() {
    let (mut edge, mut other) = (Frontier::default(), MemoryBackedTree::<Sha256, Vec<u8>>::new());
    assert_eq!(edge.root(), empty_hash());
    let whole = Whole::of(600);
    for number in 0..600 {
        edge.append(whole.0[usize::try_from(number).unwrap()]);
        other.push(entry(number));
        let so_far = &whole.0[..=usize::try_from(number).unwrap()];
        assert_eq!(edge.root(), Whole::root(so_far), "size {}", number + 1);
        assert_eq!(edge.root().as_slice(), other.root().as_bytes().as_slice());
        assert_eq!(edge.size(), number + 1);
    }
}

#[test]
fn an_edge_has_one_root_for_each_bit_of_its_size() {
    let mut edge = Frontier::default();
    for leaf in Whole::of(13).0 {
        edge.append(leaf);
    }
    let peaks = edge.peaks().to_vec();
    assert_eq!(peaks.len(), 3);
    assert_eq!(Frontier::from_parts(13, peaks.clone()), Some(edge));
    assert_eq!(Frontier::from_parts(12, peaks.clone()), None);
    assert_eq!(Frontier::from_parts(0, peaks), None);
}

proptest! {
    #[test]
    fn an_edge_that_was_written_down_goes_on_as_if_it_had_not_been(leaves: Vec<[u8; 4]>, at: prop::sample::Index) {
        let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let at = at.index(hashes.len() + 1);
        let mut edge = Frontier::default();
        hashes[..at].iter().for_each(|leaf| edge.append(*leaf));
        let mut again = Frontier::from_parts(edge.size(), edge.peaks().to_vec()).unwrap();
        hashes[at..].iter().for_each(|leaf| again.append(*leaf));
        prop_assert_eq!(again.root(), Whole::root(&hashes));
    }
}
