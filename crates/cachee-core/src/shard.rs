//! One unsynchronised segment of the cache.

use std::marker::PhantomData;

use crate::statistics::Stats;

/// One entry's place, valid until the entry is dropped; a later entry in the same slot differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// A new entry.
    Stored,
    /// An entry of the same key was overwritten.
    Replaced,
    /// The value exceeds the capacity; an entry of the same key is gone all the same.
    TooLarge,
}

/// One unsynchronised segment: entries, index, dependencies, eviction, expiry.
pub struct Shard<K, V> {
    entries: PhantomData<(K, V)>,
}

// Signatures first: two crates are written against them.
#[allow(unused_variables, unused_mut)] // bodies follow
impl<K, V> Shard<K, V> {
    /// Bytes one entry takes in the slabs, before its key's and value's own heap.
    pub const ENTRY_BYTES: usize = size_of::<(u64, u64, K, V)>() + 24;

    /// A shard bounded by the bytes it makes the process grow.
    pub fn new(capacity_bytes: usize) -> Self {
        unimplemented!()
    }
    /// Looks an entry up, counting a hit or a miss; an expired one is dropped on the way.
    #[inline]
    pub fn get(&mut self, hash: u64, now_ms: u64, eq: impl FnMut(&K) -> bool) -> Option<&mut V> {
        unimplemented!()
    }
    /// The slot of an entry, counting nothing and looking at no deadline.
    pub fn find(&self, hash: u64, eq: impl FnMut(&K) -> bool) -> Option<SlotId> {
        unimplemented!()
    }
    /// Every slot whose key may have this hash, for callers whose comparison runs foreign code.
    pub fn candidates(&self, hash: u64) -> impl Iterator<Item = SlotId> {
        std::iter::empty()
    }
    /// The key and value of a slot, unless the entry is gone.
    pub fn slot(&self, id: SlotId) -> Option<(&K, &V)> {
        unimplemented!()
    }
    /// Counts a hit on a slot found with `candidates`; expired or gone: nothing, not counted.
    pub fn hit(&mut self, id: SlotId, now_ms: u64) -> Option<&mut V> {
        unimplemented!()
    }
    /// Counts a miss found with `candidates`.
    pub fn miss(&mut self) {
        unimplemented!()
    }
    /// Stores a value until `deadline_ms`, evicting for room first.
    #[allow(clippy::too_many_arguments)] // an entry is these seven things
    pub fn insert(
        &mut self,
        hash: u64,
        key: K,
        value: V,
        weight_bytes: usize,
        deadline_ms: u64,
        deps: &[u64],
        eq: impl FnMut(&K) -> bool,
    ) -> Inserted {
        unimplemented!()
    }
    /// The entry's heap bytes changed (a value was swapped in place).
    pub fn reweigh(&mut self, id: SlotId, weight_bytes: usize) {
        unimplemented!()
    }
    /// Drops the entry of a key.
    pub fn remove(&mut self, hash: u64, eq: impl FnMut(&K) -> bool) -> bool {
        unimplemented!()
    }
    /// Drops the entry of a slot.
    pub fn remove_slot(&mut self, id: SlotId) -> bool {
        unimplemented!()
    }
    /// Drops every entry that depends on `dep`.
    pub fn invalidate(&mut self, dep: u64) -> usize {
        unimplemented!()
    }
    /// Drops every entry.
    pub fn clear(&mut self) {
        unimplemented!()
    }
    /// Nothing waits in `take_dropped`.
    #[inline]
    pub fn is_dropped_empty(&self) -> bool {
        unimplemented!()
    }
    /// What was evicted, expired, invalidated, removed or replaced: to be dropped after unlocking.
    pub fn take_dropped(&mut self) -> Vec<(K, V)> {
        unimplemented!()
    }
    /// Every entry's key and value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &K, &V)> {
        std::iter::empty()
    }
    /// Entries held, expired ones included.
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
    /// The counters and sizes.
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }
    /// Panics unless every structural invariant holds.
    pub fn validate(&self) {
        unimplemented!()
    }
}
