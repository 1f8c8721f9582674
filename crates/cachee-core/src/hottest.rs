//! The names most asked for, out of a store that stays in use meanwhile.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::key::EntryKey;

/// The name of an entry, and how often it was hit. Never its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hot {
    /// Hits so far, up to a ceiling of some hundred thousand.
    pub hits: u32,
    /// The scope it was loaded in.
    pub scope: u32,
    /// Which command, and how its reply is shaped.
    pub shape: u32,
    /// The Redis key.
    pub key: Vec<u8>,
    /// The other arguments.
    pub args: Vec<u8>,
}

impl Hot {
    pub(crate) fn new(key: &EntryKey, hits: u32) -> Self {
        Self {
            hits,
            scope: key.scope(),
            shape: key.shape(),
            key: key.key().to_vec(),
            args: key.args().to_vec(),
        }
    }
}

/// The best offered so far: a heap with the least of them on top, so that an entry which is not
/// kept costs one comparison and no allocation.
pub(crate) struct Hottest {
    kept: BinaryHeap<Reverse<Hot>>,
    count: usize,
}

impl Hottest {
    pub(crate) fn new(count: usize) -> Self {
        Self { kept: BinaryHeap::new(), count }
    }

    pub(crate) fn offer(&mut self, key: &EntryKey, hits: u32) {
        if self.kept.len() >= self.count {
            match self.kept.peek() {
                Some(Reverse(least)) if hits > least.hits => self.kept.pop(),
                _ => return,
            };
        }
        self.kept.push(Reverse(Hot::new(key, hits)));
    }

    /// Most hits first.
    pub(crate) fn into_sorted(self) -> Vec<Hot> {
        self.kept.into_sorted_vec().into_iter().map(|Reverse(hot)| hot).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::store::{Begin, EntryRef, Store, StoreConfig};

    fn store() -> Store<u64> {
        Store::new(StoreConfig { capacity_bytes: 4 << 20, shards: 4, seed: 3 })
    }

    /// Stores an entry and hits it.
    fn fill(store: &Store<u64>, scope: u32, key: &[u8], hits: u32) {
        let key_hash = store.key_hash(key);
        let id = EntryRef { scope, shape: 7, key, args: b"args", key_hash };
        let Begin::Lease(token) = store.begin(&id, 1, false) else { panic!("held already") };
        assert!(store.publish(token, 1, 1_000, 1));
        for _ in 0..hits {
            store.with_hit(&id, 1, |_, _| ()).expect("held");
        }
    }

    #[test]
    fn the_most_hit_come_first_with_their_whole_names() {
        let store = store();
        // More than one step of each segment.
        for number in 0..3_000_u32 {
            fill(&store, 1, format!("k{number}").as_bytes(), u32::from(number % 1_000 == 7));
        }
        fill(&store, 1, b"hot", 3);
        let hottest = store.hottest(4, 64, |scope| scope == 1);
        let names: Vec<_> = hottest.iter().map(|hot| (hot.hits, &hot.key[..])).collect();
        assert_eq!(names[0], (3, &b"hot"[..]));
        assert!(names[1..].iter().all(|(hits, key)| *hits == 1 && key.ends_with(b"7")));
        assert_eq!(
            (hottest[0].scope, hottest[0].shape, &hottest[0].args[..]),
            (1, 7, &b"args"[..])
        );
        assert_eq!(store.hottest(9_999, 64, |_| true).len(), 3_001);
        assert!(store.hottest(0, 64, |_| true).is_empty());
    }

    #[test]
    fn other_scopes_and_long_names_take_no_place() {
        let store = store();
        fill(&store, 1, b"ours", 1);
        fill(&store, 2, b"theirs", 9);
        fill(&store, 1, &[b'x'; 100], 9);
        let hottest = store.hottest(1, 64, |scope| scope == 1);
        assert_eq!(hottest.iter().map(|hot| &hot.key[..]).collect::<Vec<_>>(), [b"ours"]);
    }

    #[test]
    fn looking_counts_as_nothing() {
        let store = store();
        fill(&store, 1, b"k", 2);
        let before = store.stats();
        store.hottest(10, 64, |_| true);
        assert_eq!(store.stats(), before);
        assert_eq!(store.hottest(10, 64, |_| true)[0].hits, 2);
    }
}
