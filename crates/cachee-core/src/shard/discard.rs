//! Dropping entries: for room, for time, for a change, or because the caller says so.

use super::{Cause, Invalidated, Shard, SlotId};
use crate::dependencies::Dependencies;
use crate::index::Index;
use crate::policy::Policy;

impl<K, V> Shard<K, V> {
    /// Takes an entry out of every structure and parks it.
    pub(super) fn discard(&mut self, slot: u32, cause: Cause) {
        let tag = self.slab.hot[slot as usize].tag;
        self.index.remove(tag, slot);
        self.dependencies.detach(slot);
        self.policy.take(&mut self.slab, slot);
        let is_known = self.slab.hot[slot as usize].hits() > 0;
        if self.slab.hot[slot as usize].is_ahead() {
            self.stats.ahead_unused += 1;
            self.stats.ahead_unused_bytes += u64::from(self.slab.cold[slot as usize].weight);
        }
        match cause {
            Cause::Evict => self.stats.evicted += 1,
            Cause::Expire => self.stats.expired += 1,
            Cause::Invalidate => self.stats.invalidated += 1,
            Cause::Doubt | Cause::Remove => self.stats.removed += 1,
        }
        if is_known && matches!(cause, Cause::Invalidate | Cause::Expire | Cause::Doubt) {
            self.policy.remember(tag, self.slab.hot.len());
        }
        let pair = self.slab.remove(slot);
        self.dropped.push(pair);
    }

    #[cold]
    pub(super) fn expire(&mut self, slot: u32, now_ms: u64) {
        self.latest_ms = self.latest_ms.max(now_ms);
        self.discard(slot, Cause::Expire);
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
        self.discard_dependents(dep, Cause::Invalidate)
    }

    /// The same where nothing is known to have changed.
    pub(crate) fn doubt(&mut self, dep: u64) -> Invalidated {
        self.discard_dependents(dep, Cause::Doubt)
    }

    fn discard_dependents(&mut self, dep: u64, cause: Cause) -> Invalidated {
        let mut dropped = Invalidated::default();
        while let Some(slot) = self.dependencies.any(dep) {
            dropped.entries += 1;
            dropped.hits += u64::from(self.slab.hot[slot as usize].hits());
            self.discard(slot, cause);
        }
        dropped
    }

    /// Drops every entry and gives the memory of the structures back.
    pub fn clear(&mut self) {
        self.stats.removed += self.slab.len() as u64;
        for weight in self.slab.waiting() {
            self.stats.ahead_unused += 1;
            self.stats.ahead_unused_bytes += u64::from(weight);
        }
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
}
