use super::*;
use crate::tests::{bytes, hex};

fn unsigned(bytes: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = reader.unsigned()?;
    reader.end().map(|()| value)
}

/// RFC 8949 appendix A, "Examples of Encoded CBOR Data Items".
#[test]
fn integers_are_as_in_rfc_8949_appendix_a() {
    for (value, encoded) in [
        (0, "00"),
        (1, "01"),
        (10, "0a"),
        (23, "17"),
        (24, "1818"),
        (25, "1819"),
        (100, "1864"),
        (1000, "1903e8"),
        (1_000_000, "1a000f4240"),
        (1_000_000_000_000, "1b000000e8d4a51000"),
        (u64::MAX, "1bffffffffffffffff"),
    ] {
        let mut writer = Writer::new();
        writer.unsigned(value);
        assert_eq!(hex(writer.finish()), encoded);
        assert_eq!(unsigned(&bytes(encoded)), Ok(value));
    }
}

#[test]
fn heads_change_their_length_where_ciborium_changes_it() {
    let edges = [0, 23, 24, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
    for value in edges {
        let mut other = Vec::new();
        ciborium::into_writer(&value, &mut other).unwrap();
        let mut writer = Writer::new();
        writer.unsigned(value);
        assert_eq!(writer.finish(), other);
        assert_eq!(unsigned(&other), Ok(value));
    }
}

#[test]
fn refuses_what_has_a_shorter_form() {
    for longer in ["1800", "1817", "190018", "1900ff", "1a0000ffff", "1a00000000", "1b00000000ffffffff"] {
        assert_eq!(unsigned(&bytes(longer)), Err(Malformed), "{longer}");
    }
}

#[test]
fn refuses_other_types_reserved_heads_and_what_is_cut_off() {
    for other in [
        "", "20", "40", "60", "80", "a0", "c001", "f4", "f6", "f7", "f90000", "1c", "1d", "1e", "1f", "18",
        "1901", "0000",
    ] {
        assert_eq!(unsigned(&bytes(other)), Err(Malformed), "{other}");
    }
}

#[test]
fn refuses_indefinite_lengths() {
    assert_eq!(Reader::new(&bytes("5f4101ff")).bytes(9), Err(Malformed));
    assert_eq!(Reader::new(&bytes("7f6161ff")).text(9), Err(Malformed));
    assert_eq!(Reader::new(&bytes("9f01ff")).array_up_to(9), Err(Malformed));
}

#[test]
fn i14_lengths_and_counts_are_bounded_before_anything_is_read() {
    assert_eq!(Reader::new(&bytes("420102")).bytes(2), Ok(&[1, 2][..]));
    assert_eq!(Reader::new(&bytes("420102")).bytes(1), Err(Malformed));
    assert_eq!(Reader::new(&bytes("4201")).bytes(2), Err(Malformed), "cut off");
    assert_eq!(Reader::new(&bytes("5bffffffffffffffff")).bytes(usize::MAX), Err(Malformed));
    assert_eq!(Reader::new(&bytes("626162")).text(2), Ok("ab"));
    assert_eq!(Reader::new(&bytes("626162")).text(1), Err(Malformed));
    assert_eq!(Reader::new(&bytes("61ff")).text(1), Err(Malformed), "not UTF-8");
    assert_eq!(Reader::new(&bytes("82")).array_up_to(2), Ok(2));
    assert_eq!(Reader::new(&bytes("83")).array_up_to(2), Err(Malformed));
    assert_eq!(Reader::new(&bytes("83")).array(4), Err(Malformed));
    assert_eq!(Reader::new(&bytes("84")).array(4), Ok(()));
    assert_eq!(Reader::new(&bytes("420102")).fixed::<2>(), Ok([1, 2]));
    assert_eq!(Reader::new(&bytes("4101")).fixed::<2>(), Err(Malformed));
}

#[test]
fn truth_is_one_of_two_bytes() {
    assert_eq!(Reader::new(&bytes("f4")).truth(), Ok(false));
    assert_eq!(Reader::new(&bytes("f5")).truth(), Ok(true));
    for other in ["", "00", "01", "f6", "f814", "f815"] {
        assert_eq!(Reader::new(&bytes(other)).truth(), Err(Malformed), "{other}");
    }
}
