//! One unsynchronised segment of the cache.
//!
//! Ties the parts together: [`Slab`] holds the entries, [`Index`] finds them, [`Policy`] says
//! which one goes for room, [`Dependencies`] which ones go for a change. Keys and values are
//! opaque: equality comes in as a closure, and whatever is dropped is parked in `dropped` for the
//! owner to destroy after unlocking, because destroying a value may run foreign code or take long.
//!
//! The budget counts what the process grows by: the caller's weight of each entry (its key's and
//! value's own heap) plus the bytes of slab, index, ghost and dependency arrays as they stand.
//! Room is made before memory is taken, the coming growth of those arrays included.

mod discard;
mod read;
mod write;

use crate::dependencies::Dependencies;
use crate::index::Index;
use crate::policy::Policy;
use crate::slab::{Queue, Slab};
use crate::statistics::Stats;

/// One entry's place, valid until its value is dropped; a later value in the same slot differs.
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

/// Why an entry is dropped: one word, one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Evict,
    Expire,
    Invalidate,
    /// It may be older than what somebody has seen.
    Doubt,
    Remove,
}

/// What an invalidation dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Invalidated {
    pub(crate) entries: usize,
    pub(crate) hits: u64,
}

/// One row about an entry, for inspection.
pub(crate) struct Row<'a, K> {
    pub(crate) key: &'a K,
    pub(crate) deadline_ms: u64,
    pub(crate) hits: u32,
    pub(crate) weight_bytes: usize,
    pub(crate) is_ahead: bool,
}

/// One unsynchronised segment: entries, index, dependencies, eviction, expiry.
pub struct Shard<K, V> {
    index: Index,
    slab: Slab<K, V>,
    policy: Policy,
    dependencies: Dependencies,
    dropped: Vec<(K, V)>,
    stats: Stats,
    capacity: usize,
    /// False where weights alone are counted.
    counts_structure: bool,
    /// The latest time any caller named: what eviction calls now.
    latest_ms: u64,
}

impl<K, V> Shard<K, V> {
    /// Bytes one entry takes in the slab, before index, dependencies and its own heap.
    pub const ENTRY_BYTES: usize = Slab::<K, V>::ENTRY_BYTES;

    /// A shard bounded by the bytes it makes the process grow.
    pub fn new(capacity_bytes: usize) -> Self {
        Self {
            index: Index::new(),
            slab: Slab::new(),
            policy: Policy::new(),
            dependencies: Dependencies::new(),
            dropped: Vec::new(),
            stats: Stats::default(),
            capacity: capacity_bytes,
            counts_structure: true,
            latest_ms: 0,
        }
    }

    /// A shard bounded by the sum of its entries' weights alone, whatever unit they are in.
    pub fn weighted(capacity: usize) -> Self {
        Self { counts_structure: false, ..Self::new(capacity) }
    }

    /// Another bound from now on; what is over it goes when the next entry comes.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Entries held, expired ones included.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn structure_bytes(&self) -> usize {
        if !self.counts_structure {
            return 0;
        }
        let lists = self.policy.bytes() + self.dependencies.bytes();
        self.slab.bytes() + self.index.bytes() + lists
    }

    /// Bytes held now, or the sum of weights where only they count.
    pub fn weight_bytes(&self) -> usize {
        self.policy.weight() + self.structure_bytes()
    }

    /// The counters and sizes.
    pub fn stats(&self) -> Stats {
        Stats {
            entries: self.len() as u64,
            weight_bytes: self.weight_bytes() as u64,
            capacity_bytes: self.capacity as u64,
            ..self.stats
        }
    }

    pub(crate) fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// Panics unless every structural invariant holds.
    pub fn validate(&self) {
        self.slab.validate();
        self.policy.validate(&self.slab);
        self.index.validate(|slot| self.slab.hot[slot as usize].tag);
        assert_eq!(self.index.len(), self.slab.len(), "every entry is in the index");
        let is_held = |slot: u32| self.slab.cold[slot as usize].queue != Queue::Free;
        self.dependencies.validate(is_held);
        let without_ghost =
            self.weight_bytes() - if self.counts_structure { self.policy.bytes() } else { 0 };
        assert!(without_ghost <= self.capacity || self.is_empty(), "over the capacity");
    }
}
