//! A hash table that a changed copy shares all but the changed parts with.
//!
//! A snapshot is never changed; the next one differs from it by a key or two among 100,000. Copying one table of them
//! all takes 50 ms, and so does freeing the old one. This one is cut into parts by hash: a copy takes the parts as
//! they are, and a change copies the one part that it falls into. A lookup is still one hash lookup, after one more
//! hash to choose the part.
//!
//! Rejected: a persistent map (HAMT) of a crate, which costs each request a walk of several steps to spare loads,
//! which are rare, a few hundred copied entries.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::ops::Index;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// So many that one holds some hundreds of 100,000 entries, so few that copying their list costs nothing.
const PARTS: usize = 256;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Table<K, V> {
    /// [`PARTS`] of them.
    parts: Box<[Arc<HashMap<K, V, RandomState>>]>,
    /// Chooses the part.
    hasher: RandomState,
    len: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        // All the same at first: an empty table is one allocation.
        let empty = Arc::new(HashMap::default());
        Self {
            parts: (0..PARTS).map(|_| Arc::clone(&empty)).collect(),
            hasher: RandomState::default(),
            len: 0,
        }
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.parts[self.part(key)].get(key)
    }

    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.parts.iter().flat_map(|part| part.values())
    }

    fn part<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // The remainder is below PARTS.
        usize::try_from(self.hasher.hash_one(key) % PARTS as u64).unwrap_or(0)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Table<K, V> {
    /// An empty one with room for `capacity` entries.
    pub fn with_capacity(capacity: usize) -> Self {
        // Parts are not filled evenly: by the square root more, most are large enough.
        let mean = capacity / PARTS;
        let each = mean + mean.isqrt() * 2;
        let part = || {
            Arc::new(HashMap::with_capacity_and_hasher(
                each,
                RandomState::default(),
            ))
        };
        Self {
            parts: (0..PARTS).map(|_| part()).collect(),
            ..Self::default()
        }
    }

    /// Puts `value` at `key`, and gives what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let part = self.part(&key);
        let before = Arc::make_mut(&mut self.parts[part]).insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes out what is at `key`. Where nothing is, nothing is copied.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let part = self.part(key);
        if !self.parts[part].contains_key(key) {
            return None;
        }
        self.len -= 1;
        Arc::make_mut(&mut self.parts[part]).remove(key)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut table = Self::default();
        for (key, value) in entries {
            table.insert(key, value);
        }
        table
    }
}

impl<K: Hash + Eq + Borrow<Q>, V, Q: Hash + Eq + ?Sized> Index<&Q> for Table<K, V> {
    type Output = V;

    /// Panics where nothing is at `key`, as a map does.
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry of this key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_all_parts_but_the_changed_ones() {
        let table: Table<u32, String> = (0..5000).map(|at| (at, at.to_string())).collect();
        let mut copy = table.clone();
        assert_eq!(copy.insert(5000, "new".into()), None);
        assert_eq!(copy.insert(7, "seven".into()), Some("7".into()));
        assert_eq!(copy.remove(&8), Some("8".into()));
        assert_eq!(copy.remove(&6000), None);
        let shared = table.parts.iter().zip(&copy.parts);
        let copied = shared.filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert!((1..=3).contains(&copied), "{copied}");
        assert_eq!((table.len(), copy.len()), (5000, 5000));
        assert_eq!((&*table[&7], &*copy[&7]), ("7", "seven"));
        assert!(table.contains_key(&8) && !copy.contains_key(&8));
        assert_eq!(copy.values().count(), copy.len());
    }
}
