//! Storing entries and making room for them, room first.

use super::{Cause, Inserted, Shard, SlotId};
use crate::index::tag;

impl<K, V> Shard<K, V> {
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
}
