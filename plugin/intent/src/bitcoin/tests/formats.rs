//! Fields that are not in their format, beside those that are.

use super::super::psbt::Version;
use super::super::*;
use super::draft::*;
use crate::bip32::{ExtendedPrivateKey, Path};
use crate::model::Network;
use countersign_wire::reason::Reason;

fn key() -> [u8; 33] {
    public_of(&[9; 32])
}

fn x_only() -> [u8; 32] {
    key()[1..].try_into().unwrap()
}

fn read(edit: impl FnOnce(&mut Draft)) -> Result<(), Reason> {
    let mut draft = payment(&Wallet::new(Purpose::Bip84), Version::V0);
    edit(&mut draft);
    Psbt::read(&draft.bytes()).map(|_| ())
}

fn in_global(wanted: (Vec<u8>, Vec<u8>)) -> Result<(), Reason> {
    read(|draft| draft.global.push(wanted))
}

fn in_input(wanted: (Vec<u8>, Vec<u8>)) -> Result<(), Reason> {
    read(|draft| draft.inputs[0].fields.push(wanted))
}

fn in_output(wanted: (Vec<u8>, Vec<u8>)) -> Result<(), Reason> {
    read(|draft| draft.outputs[0].fields.push(wanted))
}

const WRONG: Result<(), Reason> = Err(Reason::MalformedPsbt);

#[test]
fn refuses_input_fields_that_are_not_in_their_format() {
    let signature = signature::with_sighash_all(&[0x41; 64]).unwrap();
    for wrong in [
        field(1, &[], &[0; 8]),
        field(2, &key(), &[0x30, 1]),
        field(2, &key(), &signature[..signature.len() - 1]),
        field(2, &[&[5][..], &x_only()].concat(), &signature),
        field(6, &[&[5][..], &x_only()].concat(), &[1, 2, 3, 4]),
        field(3, &[], &[1]),
        field(6, &key(), &[1, 2, 3]),
        field(6, &key(), &[1, 2, 3, 4, 5]),
        field(6, &[0; 33], &[1, 2, 3, 4]),
        field(8, &[], &[2, 1, 7]),
        field(8, &[], &[1, 1, 7, 0]),
        field(9, &[], &[0xff]),
        field(0x0a, &[1; 20], b"x"),
        field(0x0b, &[1; 32], b"x"),
        field(0x0c, &[1; 20], b"x"),
        field(0x0d, &[1; 32], b"x"),
        field(0xfc, &[5], b""),
        field(0xfc, &[1, b'x'], b""),
        field(0xfd, &[0xfc], b""),
    ] {
        assert_eq!(in_input(wrong.clone()), WRONG, "{wrong:?}");
    }
    for right in [
        field(2, &key(), &signature),
        field(3, &[], &[1, 0, 0, 0]),
        field(8, &[], &[2, 1, 7, 0]),
        field(9, &[], "é".as_bytes()),
        field(0x0b, &sha256(b"x"), b"x"),
        field(0x0c, &hash160(b"x"), b"x"),
        field(0x0d, &sha256d(b"x"), b"x"),
        field(0xfc, &[1, b'x', 0], b""),
        field(0xfd, &[0xfd, 0], b""),
    ] {
        assert_eq!(in_input(right.clone()), Ok(()), "{right:?}");
    }
}

#[test]
fn refuses_taproot_fields_of_inputs_that_are_not_in_their_format() {
    let x = x_only();
    for wrong in [
        field(0x13, &[], &[1; 63]),
        field(0x13, &[], &[0; 65]),
        field(0x14, &[&x[..], &[1; 31]].concat(), &[1; 64]),
        field(0x15, &[&[0xc0][..], &x, &[1; 31]].concat(), &[0x51, 0xc0]),
        field(0x15, &[&[0xc0][..], &x].concat(), &[0x51, 0xc1]),
        field(0x15, &[&[0x50][..], &x].concat(), &[0x51, 0xc0]),
        field(0x15, &[&[0xc0][..], &x, &[1; 32 * 129]].concat(), &[0x51, 0xc0]),
        field(0x16, &x, &[1, 1, 2, 3, 4]),
        field(0x17, &[], &[0xff; 32]),
        field(0x18, &[], &[1; 31]),
    ] {
        assert_eq!(in_input(wrong.clone()), WRONG, "{wrong:?}");
    }
    for right in [
        field(0x13, &[], &[1; 64]),
        field(0x14, &[&x[..], &[1; 32]].concat(), &[1; 65]),
        field(0x15, &[&[0xc1][..], &x, &[1; 32 * 128]].concat(), &[0x51, 0xc0]),
        field(0x16, &x, &[&[1][..], &[7; 32], &[1, 2, 3, 4]].concat()),
        field(0x17, &[], &x),
        field(0x18, &[], &[1; 32]),
    ] {
        assert_eq!(in_input(right.clone()), Ok(()), "{right:?}");
    }
}

/// A tree with one leaf at each depth, and two at the last.
fn tree(depth: u8) -> Vec<u8> {
    (1..=depth).chain([depth]).flat_map(|depth| [depth, 0xc0, 0]).collect()
}

#[test]
fn refuses_output_fields_that_are_not_in_their_format() {
    let x = x_only();
    for wrong in [
        field(2, &key(), &[]),
        field(3, &[], &[0; 8]),
        field(5, &[], &[0xff; 32]),
        field(6, &[], &[]),
        field(6, &[], &[1, 0xc0, 0]),
        field(6, &[], &[0, 0xc0, 0, 0, 0xc0, 0]),
        field(6, &[], &[1, 0xc0, 0, 0, 0xc0, 0]),
        field(6, &[], &[1, 0xc1, 0, 1, 0xc0, 0]),
        field(6, &[], &tree(129)),
        field(7, &x, &[0]),
    ] {
        assert_eq!(in_output(wrong.clone()), WRONG, "{wrong:?}");
    }
    for right in [
        field(2, &key(), &[1, 2, 3, 4]),
        field(5, &[], &x),
        field(6, &[], &[0, 0xc0, 0]),
        field(6, &[], &[2, 0xc0, 0, 2, 0xc0, 1, 0x51, 1, 0xc2, 0]),
        field(6, &[], &tree(128)),
        field(7, &x, &[0, 1, 2, 3, 4]),
    ] {
        assert_eq!(in_output(right.clone()), Ok(()), "{right:?}");
    }
}

#[test]
fn refuses_global_fields_that_are_not_in_their_format() {
    let master = ExtendedPrivateKey::of_seed(&[7; 32]).unwrap();
    let path: Path = "m/84h/1h".parse().unwrap();
    let extended = master.public_at(&path).unwrap().to_bytes(Network::Test);
    let origin = [7; 12];
    assert_eq!(in_global(field(1, &extended, &origin)), Ok(()));
    assert_eq!(in_global(field(0xfb, &[], &[0; 4])), Ok(()));
    for wrong in [
        // As many steps as the key is deep.
        field(1, &extended, &origin[..8]),
        field(1, &extended, &[7; 16]),
        field(1, &extended, &origin[..11]),
        field(1, &extended[..77], &origin),
        field(1, &[0; 78], &origin),
        field(0xfb, &[], &[1, 0, 0, 0]),
        field(0xfb, &[], &[3, 0, 0, 0]),
        field(0xfb, &[], &[0]),
        field(0xfb, &[1], &[0; 4]),
    ] {
        assert_eq!(in_global(wrong.clone()), WRONG, "{wrong:?}");
    }
}
