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

use crate::dependencies::Dependencies;
use crate::index::{Index, tag};
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

    /// The slot of an entry, by hash and key.
    #[inline]
    fn locate(&self, hash: u64, mut eq: impl FnMut(&K) -> bool) -> Option<u32> {
        self.index.find(tag(hash), |slot| self.slab.hot[slot as usize].key().is_some_and(&mut eq))
    }

    /// Looks an entry up, counting a hit or a miss; an expired one is dropped on the way.
    #[inline]
    pub fn get(&mut self, hash: u64, now_ms: u64, eq: impl FnMut(&K) -> bool) -> Option<&mut V> {
        let Some(slot) = self.locate(hash, eq) else {
            self.stats.misses += 1;
            return None;
        };
        if self.is_over(slot, now_ms) {
            self.expire(slot, now_ms);
            self.stats.misses += 1;
            return None;
        }
        self.touch(slot).map(|(value, _)| value)
    }

    /// Looks an entry up, counting a hit but not a miss; an expired one is dropped on the way.
    #[inline]
    pub(crate) fn lookup(
        &mut self,
        hash: u64,
        now_ms: u64,
        eq: impl FnMut(&K) -> bool,
    ) -> Option<(&mut V, SlotId)> {
        let slot = self.locate(hash, eq)?;
        if self.is_over(slot, now_ms) {
            self.expire(slot, now_ms);
            return None;
        }
        self.touch(slot)
    }

    #[inline]
    fn is_over(&self, slot: u32, now_ms: u64) -> bool {
        self.slab.hot[slot as usize].is_expired(now_ms)
    }

    #[inline]
    fn touch(&mut self, slot: u32) -> Option<(&mut V, SlotId)> {
        self.stats.hits += 1;
        let entry = &mut self.slab.hot[slot as usize];
        entry.touch();
        let id = SlotId { index: slot, generation: entry.generation() };
        entry.value_mut().map(|value| (value, id))
    }

    #[cold]
    fn expire(&mut self, slot: u32, now_ms: u64) {
        self.latest_ms = self.latest_ms.max(now_ms);
        self.discard(slot, Cause::Expire);
    }

    /// The slot of an entry, counting nothing and looking at no deadline.
    pub fn find(&self, hash: u64, eq: impl FnMut(&K) -> bool) -> Option<SlotId> {
        self.locate(hash, eq).map(|slot| self.slab.id(slot))
    }

    /// Every slot whose key may have this hash, for callers whose comparison runs foreign code.
    pub fn candidates(&self, hash: u64) -> impl Iterator<Item = SlotId> {
        self.index.candidates(tag(hash)).map(|slot| self.slab.id(slot))
    }

    /// The key and value of a slot, unless they are gone.
    #[inline]
    pub fn slot(&self, id: SlotId) -> Option<(&K, &V)> {
        self.slab.held(id)?.pair()
    }

    /// The value of a slot, unless it is gone; counts nothing.
    #[inline]
    pub fn value_mut(&mut self, id: SlotId) -> Option<&mut V> {
        self.slab.held(id)?;
        self.slab.hot[id.index as usize].value_mut()
    }

    /// Counts a hit on a slot; expired or gone: nothing, and the caller counts the miss.
    #[inline]
    pub fn hit(&mut self, id: SlotId, now_ms: u64) -> Option<&mut V> {
        if self.slab.held(id)?.is_expired(now_ms) {
            self.expire(id.index, now_ms);
            return None;
        }
        self.touch(id.index).map(|(value, _)| value)
    }

    /// Counts a miss, for callers that looked with `candidates`.
    pub fn miss(&mut self) {
        self.stats.misses += 1;
    }

    /// Stores a value until `deadline_ms`, making room first. `weight_bytes` is what key and value
    /// own on the heap.
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
        let existing = self.locate(hash, eq);
        if !self.could_hold(weight_bytes, deps.len()) {
            if let Some(slot) = existing {
                self.discard(slot, Cause::Remove);
            }
            return self.refuse(key, value);
        }
        if let Some(slot) = existing {
            self.overwrite(slot, key, value, weight_bytes as u32, deadline_ms, deps);
            return Inserted::Replaced;
        }
        if !self.make_room(weight_bytes, deps.len()) {
            return self.refuse(key, value);
        }
        let slot = self.slab.insert(hash, key, value, weight_bytes as u32);
        self.slab.start(slot, deadline_ms, 0);
        self.index.insert(tag(hash), slot);
        self.dependencies.attach(slot, deps);
        self.policy.admit(&mut self.slab, slot);
        self.stats.stored += 1;
        Inserted::Stored
    }

    fn refuse(&mut self, key: K, value: V) -> Inserted {
        self.dropped.push((key, value));
        self.stats.too_large += 1;
        Inserted::TooLarge
    }

    /// Whether an entry would fit if nothing else were held.
    fn could_hold(&self, weight: usize, deps: usize) -> bool {
        let slots = self.slab.hot.len().max(1);
        let mut fixed = self.structure_bytes();
        if self.counts_structure {
            fixed += self.dependencies.growth_bytes(slots, deps);
            if self.slab.hot.is_empty() {
                fixed += self.slab.growth_bytes() + self.index.growth_bytes();
            }
        }
        u32::try_from(weight).is_ok() && fixed.saturating_add(weight) <= self.capacity
    }

    /// The new value takes the old one's slot, place in the policy and frequency.
    fn overwrite(
        &mut self,
        slot: u32,
        key: K,
        value: V,
        weight: u32,
        deadline_ms: u64,
        deps: &[u64],
    ) {
        let queue = self.policy.take(&mut self.slab, slot);
        self.dependencies.detach(slot);
        let frequency = self.slab.hot[slot as usize].frequency();
        let old = self.slab.replace_value(slot, value);
        self.slab.cold[slot as usize].weight = 0;
        self.dropped.push((key, old));
        // Off its queue the slot cannot be a victim; with everything else gone it fits.
        self.make_room_beside(weight as usize, deps.len());
        self.slab.cold[slot as usize].weight = weight;
        self.slab.start(slot, deadline_ms, frequency);
        self.dependencies.attach(slot, deps);
        self.policy.put(&mut self.slab, slot, queue);
        self.stats.replaced += 1;
        self.stats.stored += 1;
    }

    /// Evicts until a new entry of `weight` fits; false if it never will.
    fn make_room(&mut self, weight: usize, deps: usize) -> bool {
        loop {
            let new_slot = self.slab.growth_bytes();
            let slots = self.slab.hot.len() + usize::from(new_slot > 0);
            let links = self.dependencies.growth_bytes(slots, deps);
            let growth = new_slot + self.index.growth_bytes() + links;
            if self.fits(weight, growth) {
                return true;
            }
            if !self.evict() {
                return false;
            }
        }
    }

    /// Evicts until `weight` more fits beside the entries queued.
    fn make_room_beside(&mut self, weight: usize, deps: usize) {
        loop {
            let growth = self.dependencies.growth_bytes(self.slab.hot.len(), deps);
            if self.fits(weight, growth) || !self.evict() {
                return;
            }
        }
    }

    fn fits(&self, weight: usize, growth: usize) -> bool {
        let growth = if self.counts_structure { growth } else { 0 };
        self.weight_bytes().saturating_add(weight).saturating_add(growth) <= self.capacity
    }

    fn evict(&mut self) -> bool {
        let budget = self.capacity.saturating_sub(self.structure_bytes());
        let Some(slot) = self.policy.victim(&mut self.slab, budget, self.latest_ms) else {
            return false;
        };
        let is_expired = self.slab.hot[slot as usize].is_expired(self.latest_ms);
        self.discard(slot, if is_expired { Cause::Expire } else { Cause::Evict });
        true
    }

    /// Takes an entry out of every structure and parks it.
    fn discard(&mut self, slot: u32, cause: Cause) {
        let tag = self.slab.hot[slot as usize].tag;
        self.index.remove(tag, slot);
        self.dependencies.detach(slot);
        self.policy.take(&mut self.slab, slot);
        let is_known = self.slab.hot[slot as usize].hits() > 0;
        match cause {
            Cause::Evict => self.stats.evicted += 1,
            Cause::Expire => self.stats.expired += 1,
            Cause::Invalidate => self.stats.invalidated += 1,
            Cause::Remove => self.stats.removed += 1,
        }
        if is_known && matches!(cause, Cause::Invalidate | Cause::Expire) {
            self.policy.remember(tag, self.slab.hot.len());
        }
        let pair = self.slab.remove(slot);
        self.dropped.push(pair);
    }

    /// The entry's heap bytes changed (a value was swapped in place).
    pub fn reweigh(&mut self, id: SlotId, weight_bytes: usize) {
        if self.slab.held(id).is_none() {
            return;
        }
        let slot = id.index;
        if !self.could_hold(weight_bytes, 0) {
            self.discard(slot, Cause::Evict);
            return;
        }
        let queue = self.policy.take(&mut self.slab, slot);
        self.slab.cold[slot as usize].weight = 0;
        self.make_room_beside(weight_bytes, 0);
        self.slab.cold[slot as usize].weight = weight_bytes as u32;
        self.policy.put(&mut self.slab, slot, queue);
    }

    /// Drops the entry of a key.
    pub fn remove(&mut self, hash: u64, eq: impl FnMut(&K) -> bool) -> bool {
        let slot = self.locate(hash, eq);
        if let Some(slot) = slot {
            self.discard(slot, Cause::Remove);
        }
        slot.is_some()
    }

    /// Drops the entry of a slot.
    pub fn remove_slot(&mut self, id: SlotId) -> bool {
        let is_held = self.slab.held(id).is_some();
        if is_held {
            self.discard(id.index, Cause::Remove);
        }
        is_held
    }

    /// Drops the entry of a slot because its time is over.
    pub(crate) fn expire_slot(&mut self, id: SlotId, now_ms: u64) {
        if self.slab.held(id).is_some() {
            self.expire(id.index, now_ms);
        }
    }

    /// Drops every entry that depends on `dep`.
    pub fn invalidate(&mut self, dep: u64) -> usize {
        self.invalidate_observed(dep).entries
    }

    /// As `invalidate`, telling also how often the dropped entries had been hit.
    pub(crate) fn invalidate_observed(&mut self, dep: u64) -> Invalidated {
        let mut invalidated = Invalidated::default();
        while let Some(slot) = self.dependencies.any(dep) {
            invalidated.entries += 1;
            invalidated.hits += u64::from(self.slab.hot[slot as usize].hits());
            self.discard(slot, Cause::Invalidate);
        }
        invalidated
    }

    /// Drops every entry and gives the memory of the structures back.
    pub fn clear(&mut self) {
        self.stats.removed += self.slab.len() as u64;
        self.dropped.extend(self.slab.drain());
        self.index = Index::new();
        self.policy = Policy::new();
        self.dependencies = Dependencies::new();
    }

    /// Nothing waits in `take_dropped`.
    #[inline]
    pub fn is_dropped_empty(&self) -> bool {
        self.dropped.is_empty()
    }

    /// What was evicted, expired, invalidated, removed, replaced or refused since the last call:
    /// to be destroyed after unlocking. Of a replaced entry the new key comes with the old value.
    pub fn take_dropped(&mut self) -> Vec<(K, V)> {
        std::mem::take(&mut self.dropped)
    }

    /// Looks at up to `steps` slots from `cursor` on and removes the expired ones and those whose
    /// key is unwanted; the next cursor, or none at the end.
    pub fn sweep(
        &mut self,
        cursor: u32,
        steps: u32,
        now_ms: u64,
        mut is_unwanted: impl FnMut(&K) -> bool,
    ) -> Option<u32> {
        let slots = self.slab.hot.len() as u32;
        let end = cursor.saturating_add(steps).min(slots);
        for slot in cursor..end {
            let entry = &self.slab.hot[slot as usize];
            let Some(key) = entry.key() else { continue };
            if entry.is_expired(now_ms) {
                self.expire(slot, now_ms);
            } else if is_unwanted(key) {
                self.discard(slot, Cause::Remove);
            }
        }
        (end < slots).then_some(end)
    }

    /// Every entry's place, key and value, in no order; expired ones included.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &K, &V)> {
        self.slab.hot.iter().enumerate().filter_map(|(slot, entry)| {
            let (key, value) = entry.pair()?;
            Some((self.slab.id(slot as u32), key, value))
        })
    }

    /// What is known of each entry that depends on `dep`.
    pub(crate) fn rows(&self, dep: u64) -> impl Iterator<Item = Row<'_, K>> {
        self.dependencies.all(dep).filter_map(|slot| {
            let entry = &self.slab.hot[slot as usize];
            Some(Row {
                key: entry.key()?,
                deadline_ms: entry.deadline_ms(),
                hits: entry.hits(),
                weight_bytes: self.slab.cold[slot as usize].weight as usize + Self::ENTRY_BYTES,
            })
        })
    }

    /// Where the index is probed first for a hash: an address to prefetch.
    #[inline]
    pub fn bucket_address(&self, hash: u64) -> *const u8 {
        self.index.address(tag(hash))
    }

    /// The first entry whose tag fits a hash: an address to prefetch; reads the index only.
    #[inline]
    pub fn entry_address(&self, hash: u64) -> *const u8 {
        let slot = self.index.find(tag(hash), |_| true).unwrap_or(0);
        self.slab.hot.as_ptr().wrapping_add(slot as usize).cast()
    }

    /// The first key and value whose tag fits a hash; counts nothing.
    #[inline]
    pub fn first_candidate(&self, hash: u64) -> Option<(&K, &V)> {
        let slot = self.index.find(tag(hash), |_| true)?;
        self.slab.hot[slot as usize].pair()
    }

    /// Entries held, expired ones included.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a slot's value is there and not over; counts nothing.
    pub fn is_live(&self, id: SlotId, now_ms: u64) -> bool {
        self.slab.held(id).is_some_and(|entry| !entry.is_expired(now_ms))
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
