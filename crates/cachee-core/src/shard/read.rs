//! Looking entries up. The hit path is here: keep it to one probe, one comparison, one write.

use super::{Row, Shard, SlotId};
use crate::index::tag;

impl<K, V> Shard<K, V> {
    /// The slot of an entry, by hash and key.
    #[inline]
    pub(super) fn locate(&self, hash: u64, mut eq: impl FnMut(&K) -> bool) -> Option<u32> {
        self.index.find(tag(hash), |slot| self.slab.hot[slot as usize].key().is_some_and(&mut eq))
    }

    /// Looks an entry up, counting a hit or a miss; an expired one is dropped on the way.
    #[inline]
    pub fn get(&mut self, hash: u64, now_ms: u64, eq: impl FnMut(&K) -> bool) -> Option<&mut V> {
        let Some(slot) = self.locate(hash, eq) else {
            self.stats.misses += 1;
            return None;
        };
        if !self.is_servable(slot, now_ms) {
            self.turn_away(slot, now_ms);
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
        if !self.is_servable(slot, now_ms) {
            self.turn_away(slot, now_ms);
            return None;
        }
        self.touch(slot)
    }

    #[inline]
    fn is_servable(&self, slot: u32, now_ms: u64) -> bool {
        self.slab.hot[slot as usize].is_servable(now_ms)
    }

    /// What is over goes; what was loaded ahead waits for whoever asks by `reveal`.
    #[cold]
    fn turn_away(&mut self, slot: u32, now_ms: u64) {
        if self.slab.hot[slot as usize].is_expired(now_ms) {
            self.expire(slot, now_ms);
        }
    }

    /// The entry that was stored last, whose hash this is.
    pub(crate) fn newest(&self, hash: u64) -> Option<SlotId> {
        self.candidates(hash).find(|id| id.generation == self.slab.newest())
    }

    /// The key of a slot, and how often it was hit since it was stored.
    pub(crate) fn lived(&self, id: SlotId) -> Option<(&K, u32)> {
        let entry = self.slab.held(id)?;
        Some((entry.key()?, entry.hits()))
    }

    /// Has an entry wait until it is asked for: no hit finds it.
    pub(crate) fn hide(&mut self, id: SlotId) {
        if self.slab.held(id).is_some() {
            self.slab.hot[id.index as usize].set_ahead(true);
        }
    }

    /// It waits to be asked for.
    pub(crate) fn is_ahead(&self, id: SlotId) -> bool {
        self.slab.held(id).is_some_and(|entry| entry.is_ahead())
    }

    /// Somebody asks for an entry; when it ends, if it was waiting for that.
    pub(crate) fn reveal(&mut self, id: SlotId) -> Option<u64> {
        let ends_ms = self.slab.held(id).filter(|entry| entry.is_ahead())?.deadline_ms();
        self.slab.hot[id.index as usize].set_ahead(false);
        self.stats.ahead_used += 1;
        Some(ends_ms)
    }

    #[inline]
    fn touch(&mut self, slot: u32) -> Option<(&mut V, SlotId)> {
        self.stats.hits += 1;
        let entry = &mut self.slab.hot[slot as usize];
        entry.touch();
        let id = SlotId { index: slot, generation: entry.generation() };
        entry.value_mut().map(|value| (value, id))
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
        if !self.slab.held(id)?.is_servable(now_ms) {
            self.turn_away(id.index, now_ms);
            return None;
        }
        self.touch(id.index).map(|(value, _)| value)
    }

    /// Counts a miss, for callers that looked with `candidates`.
    pub fn miss(&mut self) {
        self.stats.misses += 1;
    }

    /// Every entry's place, key and value, in no order; expired ones included.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &K, &V)> {
        self.slab.hot.iter().enumerate().filter_map(|(slot, entry)| {
            let (key, value) = entry.pair()?;
            Some((self.slab.id(slot as u32), key, value))
        })
    }

    /// Shows the key and the hits of what up to `steps` slots from `cursor` on hold; the next
    /// cursor, or none at the end. Counts nothing.
    pub(crate) fn visit(&self, cursor: u32, steps: u32, mut f: impl FnMut(&K, u32)) -> Option<u32> {
        let slots = self.slab.hot.len() as u32;
        let end = cursor.saturating_add(steps).min(slots);
        // Another call may have cleared the shard since the cursor was given.
        for entry in &self.slab.hot[cursor.min(end) as usize..end as usize] {
            // What nobody has asked for yet is not hot.
            if let Some(key) = entry.key().filter(|_| !entry.is_ahead()) {
                f(key, entry.hits());
            }
        }
        (end < slots).then_some(end)
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
                is_ahead: entry.is_ahead(),
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

    /// Whether a slot's value is there and not over; counts nothing.
    pub fn is_live(&self, id: SlotId, now_ms: u64) -> bool {
        self.slab.held(id).is_some_and(|entry| !entry.is_expired(now_ms))
    }
}
