//! What a record says inside is believed only where it is what its place says.

use super::*;
use countersign_wire::client::ClockMode;

const OWNER: Owner = Owner { hsm: [7; 8], clock: ClockMode::Manual };

fn name(text: &str) -> TenantName {
    text.parse().expect("a name")
}

#[test]
fn i6_a_tenant_of_another_format_or_name_is_not_taken() {
    let state = TenantState::new(name("acme"));
    let read = |state: &TenantState| read_tenant(&countersign_wire::encode_packed(state), &name("acme"));
    assert!(read(&state).is_ok_and(|read| read.tenant == name("acme")));
    assert_eq!(read(&TenantState { format: FORMAT + 1, ..state.clone() }).err(), Some(StoreError::Record));
    assert_eq!(read(&TenantState { tenant: name("other"), ..state }).err(), Some(StoreError::Record));
    assert_eq!(read_tenant(b"no record", &name("acme")).err(), Some(StoreError::Record));
}

/// A record of this version, as it lies on the disk, and its row.
fn record(sealer: &mut Sealer, name: Name, plain: &[u8]) -> (Vec<u8>, Row) {
    let mut entry = EntryBuilder::new(OWNER, 1, 1);
    let placed = seal_into(&mut entry, sealer, name, plain).expect("sealed");
    let length_bytes = log::RECORD_HEADER_BYTES + placed.sealed_bytes;
    let begin = usize::try_from(placed.offset).expect("short");
    let bytes = entry.finish()[begin..][..length_bytes as usize].to_vec();
    let version = table::low_version(name.version);
    (bytes, Row { offset: placed.offset, length_bytes, position: placed.position, version })
}

/// Each of them opens by itself: what refuses it is that another one was placed there.
#[test]
fn i6_no_record_is_taken_for_another_kind_owner_version_or_sealing() {
    let mut sealer = Sealer::new(&[9; 32], [7; 16], 1);
    let id = |number: u8| RecordId { tenant: [1; 8], account: [number; 8] };
    let name = |kind, number, version| Name { kind, id: id(number), version };
    let (good, row) = record(&mut sealer, name(Kind::Account, 1, 5), b"content");
    let mut open = |bytes: &[u8], row: Row| {
        open_record(&mut sealer, bytes, Kind::Account, id(1), row)
            .map(|(version, plain)| (version, plain.to_vec()))
    };
    assert_eq!(open(&good, row), Ok((5, b"content".to_vec())));
    for (other, what) in [
        (name(Kind::Tree, 1, 5), "another kind"),
        (name(Kind::Account, 2, 5), "another account"),
        (name(Kind::Account, 1, 4), "an older version"),
        (name(Kind::Account, 1, 5), "the same, sealed once more"),
    ] {
        let mut sealer = Sealer::new(&[9; 32], [7; 16], 1);
        let sealings = if what.starts_with("the same") { 2 } else { 1 };
        let last = (0..sealings).map(|_| record(&mut sealer, other, b"content")).last();
        let (bytes, its_row) = last.expect("one");
        assert_eq!(open(&bytes, row), Err(StoreError::Record), "{what}");
        let opened = open_record(&mut sealer, &bytes, other.kind, other.id, its_row);
        assert!(
            opened.is_ok_and(|(version, plain)| version == other.version && **plain == *b"content"),
            "{what}"
        );
    }
}

/// The table has 16 bits for the length of a sealed record, the audit log's events have none there.
#[test]
fn i14_a_record_that_the_table_could_not_hold_is_not_sealed_and_events_are() {
    let mut sealer = Sealer::new(&[9; 32], [7; 16], 1);
    let mut seal = |kind, length| {
        let mut entry = EntryBuilder::new(OWNER, 1, 1);
        let name = Name { kind, id: RecordId::AUDIT, version: 1 };
        seal_into(&mut entry, &mut sealer, name, &vec![0; length]).map(|placed| placed.sealed_bytes)
    };
    let around = seal(Kind::Account, 0).expect("sealed");
    let most = 0xffff - around as usize;
    assert_eq!(seal(Kind::Account, most), Ok(0xffff));
    assert_eq!(seal(Kind::Account, most + 1), Err(StoreError::Record));
    assert_eq!(seal(Kind::Audit, most + 1), Ok(0x1_0000));
}
