//! Sealing: AES-256-GCM (NIST SP 800-38D), one key for each boot, one counter for each record sealed in it.
//!
//! * The key of boot *b* is `HKDF-SHA256(sealing key, info = "countersign records v2" ‖ hsm id ‖ b)`. The boot count is
//!   raised in NVRAM before the first append of a boot, so a key is never used by two boots, and the counter never
//!   repeats within one: no nonce repeats, not even after a crash discarded what was written last.
//! * The associated data binds kind, name, version, boot and counter. The table remembers these for each record's newest
//!   version, so an older version, or another record, does not open in its place.

use super::RecordId;
use super::log::Kind;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt};
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Where a record's nonce stands: the boot in the upper 24 bits, the counter within it in the lower 40.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(u64);

const COUNTER_BITS: u32 = 40;
const LAST_COUNTER: u64 = (1 << COUNTER_BITS) - 1;

/// The last boot that a position can name.
pub(crate) const LAST_BOOT: u64 = (1 << (64 - COUNTER_BITS)) - 1;

impl Position {
    fn new(boot: u64, counter: u64) -> Self {
        Self((boot << COUNTER_BITS) | counter)
    }

    /// The boot under whose key the record was sealed.
    pub(crate) fn boot(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The record's number within the boot.
    pub(crate) fn counter(self) -> u64 {
        self.0 & LAST_COUNTER
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }
}

/// This boot has sealed as many records as its key may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// What a record is, whose, and which version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) id: RecordId,
    pub(crate) version: u64,
}

/// Keys of earlier boots that are kept derived.
const KEYS_MAX: usize = 32;

/// Seals and opens records, and names them.
pub(crate) struct Sealer {
    root: Hkdf<Sha256>,
    names: Zeroizing<[u8; 32]>,
    hsm_id: [u8; 16],
    boot: u64,
    last_counter: u64,
    keys: BTreeMap<u64, Aes256Gcm>,
}

impl Sealer {
    /// `boot` is at most [`LAST_BOOT`].
    pub(crate) fn new(sealing_key: &[u8], hsm_id: [u8; 16], boot: u64) -> Self {
        let root = Hkdf::<Sha256>::new(Some(b"countersign sealing v1"), sealing_key);
        let names = derive(&root, &[b"countersign names v1", &hsm_id]);
        Self { root, names, hsm_id, boot, last_counter: 0, keys: BTreeMap::new() }
    }

    /// Seals a record of this boot.
    pub(crate) fn seal(&mut self, name: Name, plain: &[u8]) -> Result<(Position, Vec<u8>), Exhausted> {
        if self.last_counter == LAST_COUNTER {
            return Err(Exhausted);
        }
        self.last_counter += 1;
        let position = Position::new(self.boot, self.last_counter);
        let aad = self.associated_data(name, position);
        let sealed = self
            .key(position.boot())
            .encrypt(&nonce(position).into(), Payload { msg: plain, aad: &aad })
            .expect("records are far shorter than AES-GCM's limit of 64 GiB");
        Ok((position, sealed))
    }

    /// Opens a record that lies at this position, and no other.
    pub(crate) fn open(
        &mut self,
        name: Name,
        position: Position,
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let aad = self.associated_data(name, position);
        let payload = Payload { msg: sealed, aad: &aad };
        self.key(position.boot()).decrypt(&nonce(position).into(), payload).ok().map(Zeroizing::new)
    }

    /// The head of an empty log under this sealing key.
    pub(crate) fn first_head(&self) -> [u8; 32] {
        *derive(&self.root, &[b"countersign log v2", &self.hsm_id])
    }

    /// Tells whether the sealing key is still the same.
    pub(crate) fn key_check(&self) -> [u8; 16] {
        let check = derive(&self.root, &[b"countersign key check v2", &self.hsm_id]);
        *check.first_chunk().expect("32 bytes hold 16")
    }

    /// The head of an empty archive under this sealing key.
    pub(crate) fn first_archive_head(&self) -> [u8; 32] {
        *derive(&self.root, &[b"countersign archive v2", &self.hsm_id])
    }

    /// The key under which audit logs hash the names of accounts.
    pub(crate) fn log_names_key(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.root, &[b"countersign log names v1", &self.hsm_id])
    }

    /// A keyed hash of a name: what stands on the disk instead of it.
    pub(crate) fn fingerprint(&self, what: &[u8], tenant: &str, name: &str) -> [u8; 8] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.names.as_slice()).expect("HMAC takes keys of any length");
        for part in [what, tenant.as_bytes(), name.as_bytes()] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        *tag.first_chunk().expect("32 bytes hold 8")
    }

    /// `fingerprint ‖ random` under the tenant's block cipher.
    pub(crate) fn hide_key_id(&self, account: RecordId, random: [u8; 8]) -> [u8; 16] {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&account.account);
        block[8..].copy_from_slice(&random);
        let mut block = block.into();
        self.key_id_cipher(account.tenant).encrypt_block(&mut block);
        block.into()
    }

    /// The account's fingerprint in a key id, if the id is of this tenant; else any.
    pub(crate) fn reveal_key_id(&self, tenant: [u8; 8], key_id: &[u8; 16]) -> [u8; 8] {
        let mut block = (*key_id).into();
        self.key_id_cipher(tenant).decrypt_block(&mut block);
        let block: [u8; 16] = block.into();
        *block.first_chunk().expect("16 bytes hold 8")
    }

    /// Seals a reader's place in a tenant's log: deterministic authenticated encryption (RFC 5297's construction, with
    /// HMAC-SHA-256 in both roles), so that a place means nothing to anybody else and no other can be made up. What is hidden
    /// would tell how much the whole HSM wrote.
    pub(crate) fn seal_place(&self, tenant: [u8; 8], place: &[u8; 32]) -> [u8; 48] {
        let tag = self.place_mac(b"tag", tenant, place);
        let pad = self.place_mac(b"pad", tenant, &tag[..16]);
        let mut sealed = [0; 48];
        sealed[..16].copy_from_slice(&tag[..16]);
        for (out, (byte, pad)) in sealed[16..].iter_mut().zip(place.iter().zip(pad)) {
            *out = byte ^ pad;
        }
        sealed
    }

    /// Opens what was sealed for this tenant.
    pub(crate) fn open_place(&self, tenant: [u8; 8], sealed: &[u8; 48]) -> Option<[u8; 32]> {
        let (tag, hidden) = sealed.split_at(16);
        let pad = self.place_mac(b"pad", tenant, tag);
        let mut place = [0; 32];
        for (out, (byte, pad)) in place.iter_mut().zip(hidden.iter().zip(pad)) {
            *out = byte ^ pad;
        }
        let expected = self.place_mac(b"tag", tenant, &place);
        bool::from(expected[..16].ct_eq(tag)).then_some(place)
    }

    fn place_mac(&self, role: &[u8], tenant: [u8; 8], text: &[u8]) -> [u8; 32] {
        let key = derive(&self.root, &[b"countersign log places v1 ", role, &self.hsm_id, &tenant]);
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("HMAC takes keys of any length");
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    fn key_id_cipher(&self, tenant: [u8; 8]) -> aes::Aes256 {
        let key = derive(&self.root, &[b"countersign key ids v1", &self.hsm_id, &tenant]);
        aes::Aes256::new(&(*key).into())
    }

    fn key(&mut self, boot: u64) -> &Aes256Gcm {
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&boot) {
            self.keys.retain(|kept, _| *kept == self.boot);
        }
        let (root, hsm_id) = (&self.root, &self.hsm_id);
        self.keys.entry(boot).or_insert_with(|| {
            let key = derive(root, &[b"countersign records v2", hsm_id, &boot.to_be_bytes()]);
            Aes256Gcm::new(&(*key).into())
        })
    }

    fn associated_data(&self, name: Name, position: Position) -> Vec<u8> {
        let mut data = Vec::with_capacity(80);
        data.extend_from_slice(b"countersign record v2");
        data.extend_from_slice(&self.hsm_id);
        data.push(name.kind as u8);
        data.extend_from_slice(&name.id.tenant);
        data.extend_from_slice(&name.id.account);
        data.extend_from_slice(&name.version.to_be_bytes());
        data.extend_from_slice(&position.to_bytes());
        data
    }
}

fn nonce(position: Position) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&position.counter().to_be_bytes());
    nonce
}

fn derive(root: &Hkdf<Sha256>, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    root.expand_multi_info(info, key.as_mut_slice()).expect("32 bytes are within HKDF's limit of 8,160");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RecordId = RecordId { tenant: [1; 8], account: [2; 8] };
    const NAME: Name = Name { kind: Kind::Account, id: ID, version: 3 };

    fn sealer(boot: u64) -> Sealer {
        Sealer::new(&[7; 32], [8; 16], boot)
    }

    #[test]
    fn i6_a_record_opens_only_as_what_it_is_and_where_it_lies() {
        let (position, sealed) = sealer(5).seal(NAME, b"alice").unwrap();
        let mut later = sealer(6);
        assert_eq!(later.open(NAME, position, &sealed).unwrap().as_slice(), b"alice");
        assert!(later.open(Name { kind: Kind::Tenant, ..NAME }, position, &sealed).is_none());
        assert!(
            later.open(Name { id: RecordId { account: [3; 8], ..ID }, ..NAME }, position, &sealed).is_none()
        );
        assert!(later.open(Name { version: 2, ..NAME }, position, &sealed).is_none());
        assert!(later.open(NAME, Position::new(5, 2), &sealed).is_none());
        assert!(later.open(NAME, Position::new(6, 1), &sealed).is_none());
        assert!(Sealer::new(&[7; 32], [9; 16], 6).open(NAME, position, &sealed).is_none());
        assert!(Sealer::new(&[6; 32], [8; 16], 6).open(NAME, position, &sealed).is_none());
    }

    #[test]
    fn i6_the_same_counter_in_another_boot_is_another_key() {
        let (first, a) = sealer(1).seal(NAME, b"same").unwrap();
        let (second, b) = sealer(2).seal(NAME, b"same").unwrap();
        assert_eq!(first.counter(), second.counter());
        assert_ne!(a, b);
        assert_ne!(a[..4], b[..4], "the keystreams differ");
    }

    #[test]
    fn i9_a_key_id_leads_to_its_account_in_its_own_tenant_only() {
        let sealer = sealer(1);
        let id = sealer.hide_key_id(ID, [9; 8]);
        assert_eq!(sealer.reveal_key_id(ID.tenant, &id), ID.account);
        assert_ne!(sealer.reveal_key_id([0; 8], &id), ID.account);
    }

    #[test]
    fn i9_a_place_in_a_log_opens_for_its_tenant_alone_and_only_as_it_was_sealed() {
        let sealer = sealer(1);
        let place = sealer.seal_place([1; 8], &[7; 32]);
        assert_eq!(sealer.open_place([1; 8], &place), Some([7; 32]));
        assert_eq!(sealer.open_place([2; 8], &place), None);
        assert_eq!(Sealer::new(&[6; 32], [8; 16], 1).open_place([1; 8], &place), None);
        for at in 0..48 {
            let mut other = place;
            other[at] ^= 1;
            assert_eq!(sealer.open_place([1; 8], &other), None, "byte {at}");
        }
        assert_ne!(sealer.seal_place([1; 8], &[8; 32])[16..], place[16..]);
    }

    #[test]
    fn a_boot_seals_no_more_than_its_counter_can_tell_apart() {
        let mut sealer = sealer(LAST_BOOT);
        sealer.last_counter = LAST_COUNTER - 1;
        let (position, _) = sealer.seal(NAME, b"last").unwrap();
        assert_eq!((position.boot(), position.counter()), (LAST_BOOT, LAST_COUNTER));
        assert_eq!(Position::from_bytes(position.to_bytes()), position);
        assert_eq!(sealer.seal(NAME, b"one too many"), Err(Exhausted));
    }

    #[test]
    fn old_keys_are_derived_again_when_needed() {
        let mut sealed = Vec::new();
        for boot in 1..=100 {
            sealed.push(sealer(boot).seal(NAME, b"x").unwrap());
        }
        let mut reader = sealer(101);
        for (position, bytes) in &sealed {
            assert!(reader.open(NAME, *position, bytes).is_some());
        }
    }
}
