//! Handles and attributes of objects (PKCS#11 v2.40 section 5.7).
//!
//! The token's objects are the two halves and the certificate of each key that the API key's tenant has. Nothing can
//! create, change, copy or destroy one from here.

use crate::attributes::{self, Part};
use crate::boundary::memory::AttributeSlots;
use crate::failure::Result;
use crate::module::{Login, Module, fresh_handle};
use countersign_wire::client::{KeyId, KeyInfo};
use cryptoki_sys::{
    CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKR_ACTION_PROHIBITED, CKR_KEY_HANDLE_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// The handles of at least this many keys stay valid: those used last.
pub(crate) const KEYS_KEPT: usize = 65_536;

/// One object of a key.
pub(crate) struct Object {
    pub(crate) key: Arc<KeyInfo>,
    pub(crate) part: Part,
}

/// The handles of one key's objects.
#[derive(Clone, Copy)]
pub(crate) struct KeyHandles {
    pub(crate) private: CK_OBJECT_HANDLE,
    pub(crate) public: CK_OBJECT_HANDLE,
    pub(crate) certificate: CK_OBJECT_HANDLE,
}

impl KeyHandles {
    pub(crate) fn of(self, part: Part) -> CK_OBJECT_HANDLE {
        match part {
            Part::Private => self.private,
            Part::Public => self.public,
            Part::Certificate => self.certificate,
        }
    }

    fn each(self) -> [CK_OBJECT_HANDLE; 3] {
        Part::ALL.map(|part| self.of(part))
    }
}

/// Which handle is which key's, under one login. A key that is found again has its old handles.
///
/// Bounded by two generations: keys that are used move to the recent one; when that is full it becomes the older
/// one, and what was left in the older one is forgotten.
#[derive(Default)]
pub(crate) struct Handles {
    recent: Generation,
    older: Generation,
}

#[derive(Default)]
struct Generation {
    keys: HashMap<KeyId, (KeyHandles, Arc<KeyInfo>)>,
    ids: HashMap<CK_OBJECT_HANDLE, KeyId>,
}

impl Handles {
    /// The handles of `key`.
    fn give(&mut self, key: KeyInfo) -> Result<KeyHandles> {
        if let Some((handles, _)) = self.touch(&key.id) {
            return Ok(handles);
        }
        let handles =
            KeyHandles { private: fresh_handle()?, public: fresh_handle()?, certificate: fresh_handle()? };
        self.insert(handles, Arc::new(key));
        Ok(handles)
    }

    /// The object that `handle` was given out for.
    fn find(&mut self, handle: CK_OBJECT_HANDLE) -> Option<Object> {
        let id = *self.recent.ids.get(&handle).or_else(|| self.older.ids.get(&handle))?;
        let (handles, key) = self.touch(&id)?;
        let part = Part::ALL.into_iter().find(|part| handles.of(*part) == handle)?;
        Some(Object { key, part })
    }

    /// A known key, which from here on counts as recent.
    fn touch(&mut self, id: &KeyId) -> Option<(KeyHandles, Arc<KeyInfo>)> {
        if let Some((handles, key)) = self.recent.keys.get(id) {
            return Some((*handles, Arc::clone(key)));
        }
        let (handles, key) = self.older.keys.remove(id)?;
        for handle in handles.each() {
            self.older.ids.remove(&handle);
        }
        self.insert(handles, Arc::clone(&key));
        Some((handles, key))
    }

    fn insert(&mut self, handles: KeyHandles, key: Arc<KeyInfo>) {
        if self.recent.keys.len() >= KEYS_KEPT {
            self.older = core::mem::take(&mut self.recent);
        }
        for handle in handles.each() {
            self.recent.ids.insert(handle, key.id);
        }
        self.recent.keys.insert(key.id, (handles, key));
    }
}

impl Login {
    /// The handles of `key` under this login.
    pub(crate) fn give_handles(&self, key: KeyInfo) -> Result<KeyHandles> {
        // A panic in between could lose a handle, never mix two keys up.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).give(key)
    }
}

/// The object of that handle. Without a login there are no objects.
pub(crate) fn find(module: &Module, handle: CK_OBJECT_HANDLE) -> Option<Object> {
    let login = module.login()?;
    login.handles.lock().unwrap_or_else(PoisonError::into_inner).find(handle)
}

/// The key's half of that handle. A certificate is no key.
pub(crate) fn find_key(module: &Module, handle: CK_OBJECT_HANDLE) -> Result<Object> {
    let object = find(module, handle).filter(|object| object.part != Part::Certificate);
    Ok(object.ok_or(CKR_KEY_HANDLE_INVALID)?)
}

/// `C_GetAttributeValue`. Goes through the whole template whatever it meets (PKCS#11 v2.40 section 5.7); where
/// several things are wrong, the first one is the return value.
pub(crate) fn get_attribute_value(
    module: &Module,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: &mut AttributeSlots,
) -> Result {
    module.session(session)?;
    let object = find(module, object).ok_or(CKR_OBJECT_HANDLE_INVALID)?;
    let mut outcome = Ok(());
    for at in 0..template.count() {
        let value = attributes::value(&object.key, object.part, template.kind(at));
        outcome = outcome.and(template.answer(at, &value));
    }
    outcome
}

/// `C_SetAttributeValue`, `C_CopyObject` and `C_DestroyObject`: what a key is, and that it is, cannot be changed
/// with an API key.
pub(crate) fn refuse_change(module: &Module, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result {
    module.session(session)?;
    find(module, object).ok_or(CKR_OBJECT_HANDLE_INVALID)?;
    Err(CKR_ACTION_PROHIBITED.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::client::{KeyPlan, Mechanism};
    use serde_bytes::ByteArray;

    fn key(number: usize) -> KeyInfo {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        KeyInfo {
            label: "alice/digest".parse().unwrap(),
            id: ByteArray::new(id),
            public_key: ByteArray::new([4; 65]),
            ethereum_address: String::new(),
            plan: KeyPlan::of(vec![Mechanism::Digest]),
            watch: None,
        }
    }

    #[test]
    fn a_key_found_again_has_its_old_handles() {
        let mut handles = Handles::default();
        let first = handles.give(key(1)).unwrap();
        let other = handles.give(key(2)).unwrap();
        let again = handles.give(key(1)).unwrap();
        assert_eq!((first.private, first.public), (again.private, again.public));
        assert_eq!(first.certificate, again.certificate);
        assert_ne!(first.private, other.private);
        for part in Part::ALL {
            assert_eq!(handles.find(first.of(part)).unwrap().part, part);
        }
        assert_eq!(handles.find(other.private).unwrap().key.id, key(2).id);
        assert!(handles.find(0).is_none());
    }

    #[test]
    fn forgets_the_keys_that_were_not_used_for_longest_and_keeps_the_bound() {
        let mut handles = Handles::default();
        let kept = handles.give(key(0)).unwrap();
        let forgotten = handles.give(key(1)).unwrap();
        for number in 2..3 * KEYS_KEPT {
            handles.give(key(number)).unwrap();
            if number % 1000 == 0 {
                assert!(handles.find(kept.private).is_some(), "in use at {number}");
            }
        }
        assert!(handles.find(forgotten.private).is_none());
        assert!(handles.recent.keys.len() + handles.older.keys.len() <= 2 * KEYS_KEPT);
        assert_eq!(handles.recent.ids.len(), 3 * handles.recent.keys.len());
        assert_eq!(handles.older.ids.len(), 3 * handles.older.keys.len());
    }
}
