//! A bounded cache of keys that are open in the keystore, so that opening a blob (about a millisecond in
//! SoftHSM) is paid once and not for each signature.
//!
//! A key may be in use while it is put out of the cache. So the cache hands out shared handles, and whoever lets
//! go of the last one gets the key back to destroy it: exactly one of cache and users.

use super::KeyKind;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// The word of the kind, and the blob.
type Name = (&'static str, Box<[u8]>);

/// The cache. `K` is the open key.
#[derive(Debug)]
pub struct OpenKeys<K> {
    most: usize,
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    /// Each open key with the tick of its last use.
    keys: HashMap<Name, (Arc<K>, u64)>,
    /// The same keys in the order of their last use.
    by_use: BTreeMap<u64, Name>,
    tick: u64,
}

impl<K> OpenKeys<K> {
    /// A cache of at most this many keys.
    pub fn new(most: usize) -> Self {
        let inner = Inner { keys: HashMap::new(), by_use: BTreeMap::new(), tick: 0 };
        Self { most, inner: Mutex::new(inner) }
    }

    /// The key that this blob opened to, if it is open.
    pub fn get(&self, kind: KeyKind, blob: &[u8]) -> Option<Arc<K>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let name = (kind.word(), Box::from(blob));
        let (key, used) = inner.keys.get_mut(&name)?;
        inner.tick += 1;
        inner.by_use.remove(used);
        inner.by_use.insert(inner.tick, name);
        *used = inner.tick;
        Some(Arc::clone(key))
    }

    /// Keeps an open key. Returns handles that the cache let go of: the caller releases them.
    #[must_use = "what the cache lets go of must be released"]
    pub fn keep(&self, kind: KeyKind, blob: &[u8], key: Arc<K>) -> Vec<Arc<K>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let name: Name = (kind.word(), Box::from(blob));
        inner.tick += 1;
        let mut gone = Vec::new();
        if let Some((before, used)) = inner.keys.insert(name.clone(), (key, inner.tick)) {
            inner.by_use.remove(&used);
            gone.push(before);
        }
        inner.by_use.insert(inner.tick, name);
        while inner.keys.len() > self.most {
            let Some((_, oldest)) = inner.by_use.pop_first() else { break };
            gone.extend(inner.keys.remove(&oldest).map(|(key, _)| key));
        }
        gone
    }

    /// Lets go of one key. Returns the cache's handle, if it had one: the caller releases it.
    #[must_use = "what the cache lets go of must be released"]
    pub fn forget(&self, kind: KeyKind, blob: &[u8]) -> Option<Arc<K>> {
        let mut inner = self.lock();
        let (key, used) = inner.keys.remove(&(kind.word(), Box::from(blob)))?;
        inner.by_use.remove(&used);
        Some(key)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().expect("nothing panics while it holds the cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: KeyKind = KeyKind::Signing;

    #[test]
    fn the_least_recently_used_key_goes_first() {
        let cache = OpenKeys::new(2);
        assert!(cache.keep(KIND, b"a", Arc::new(1)).is_empty());
        assert!(cache.keep(KIND, b"b", Arc::new(2)).is_empty());
        assert_eq!(cache.get(KIND, b"a").as_deref(), Some(&1));
        let gone = cache.keep(KIND, b"c", Arc::new(3));
        assert_eq!(gone.iter().map(|key| **key).collect::<Vec<_>>(), [2]);
        assert!(cache.get(KIND, b"b").is_none());
        assert!(cache.get(KIND, b"a").is_some() && cache.get(KIND, b"c").is_some());
    }

    #[test]
    fn a_blob_is_open_only_as_the_kind_it_was_opened_as() {
        let cache = OpenKeys::new(2);
        assert!(cache.keep(KIND, b"a", Arc::new(1)).is_empty());
        assert!(cache.get(KeyKind::ALL[1], b"a").is_none());
    }

    #[test]
    fn a_key_in_use_is_given_back_to_whoever_lets_go_last() {
        let cache = OpenKeys::new(1);
        let key = Arc::new(1);
        assert!(cache.keep(KIND, b"a", Arc::clone(&key)).is_empty());
        let gone = cache.keep(KIND, b"b", Arc::new(2));
        assert!(gone.into_iter().all(|key| Arc::into_inner(key).is_none()), "still in use");
        assert_eq!(Arc::into_inner(key), Some(1));
        assert_eq!(cache.forget(KIND, b"b").and_then(Arc::into_inner), Some(2));
        assert!(cache.forget(KIND, b"b").is_none());
    }

    #[test]
    fn keeping_a_blob_twice_gives_the_first_key_back() {
        let cache = OpenKeys::new(1);
        assert!(cache.keep(KIND, b"a", Arc::new(1)).is_empty());
        let gone = cache.keep(KIND, b"a", Arc::new(2));
        assert_eq!(gone.iter().map(|key| **key).collect::<Vec<_>>(), [1]);
        assert_eq!(cache.get(KIND, b"a").as_deref(), Some(&2));
    }
}
