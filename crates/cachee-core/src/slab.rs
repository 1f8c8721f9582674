//! Where entries live: a hot array a hit touches, and a cold one it does not.
//!
//! ```text
//! hot   tag generation | ahead deadline hits frequency | key value   one cache line or less
//! cold  previous next | weight | queue                            16 bytes
//! ```
//!
//! A hit reads the hot entry and writes its one `meta` word. Queue links, weights and everything
//! else eviction needs are kept apart, so that a hit on a large cache costs one line, not two.
//! Slots are reused through a free list; a generation tells the values of one slot apart.
//!
//! An entry that was loaded ahead is not to be had by a hit until somebody has asked for it: the
//! sign bit of its deadline is set, so the one comparison of a hit finds it over already.

use crate::index::tag;
use crate::shard::SlotId;

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

const FREQUENCY_BITS: u32 = 2;
const FREQUENCY_MASK: u64 = (1 << FREQUENCY_BITS) - 1;
const HITS_BITS: u32 = 18;
const HITS_MASK: u64 = (1 << HITS_BITS) - 1;
const DEADLINE_SHIFT: u32 = FREQUENCY_BITS + HITS_BITS;
/// Loaded ahead, and not asked for yet.
const AHEAD: u64 = 1 << 63;
/// The latest deadline there is, 278 years on; every later one is cut to it.
const DEADLINE_MAX_MS: u64 = !AHEAD >> DEADLINE_SHIFT;

/// The half a hit touches.
pub(crate) struct Entry<K, V> {
    pub(crate) tag: u32,
    generation: u32,
    meta: u64,
    pair: Option<(K, V)>,
}

impl<K, V> Entry<K, V> {
    #[inline]
    pub(crate) fn key(&self) -> Option<&K> {
        self.pair.as_ref().map(|pair| &pair.0)
    }

    #[inline]
    pub(crate) fn value_mut(&mut self) -> Option<&mut V> {
        self.pair.as_mut().map(|pair| &mut pair.1)
    }

    #[inline]
    pub(crate) fn pair(&self) -> Option<(&K, &V)> {
        self.pair.as_ref().map(|pair| (&pair.0, &pair.1))
    }

    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    #[inline]
    pub(crate) fn deadline_ms(&self) -> u64 {
        (self.meta & !AHEAD) >> DEADLINE_SHIFT
    }

    /// Not over, and not waiting to be asked for.
    #[inline]
    pub(crate) fn is_servable(&self, now_ms: u64) -> bool {
        // Signed: what waits has a deadline before all times.
        (now_ms as i64) < self.meta as i64 >> DEADLINE_SHIFT
    }

    #[inline]
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        now_ms >= self.deadline_ms()
    }

    /// Loaded ahead, and not asked for yet.
    #[inline]
    pub(crate) fn is_ahead(&self) -> bool {
        self.meta & AHEAD != 0
    }

    pub(crate) fn set_ahead(&mut self, is_ahead: bool) {
        self.meta = self.meta & !AHEAD | if is_ahead { AHEAD } else { 0 };
    }

    pub(crate) fn hits(&self) -> u32 {
        (self.meta >> FREQUENCY_BITS & HITS_MASK) as u32
    }

    pub(crate) fn frequency(&self) -> u32 {
        (self.meta & FREQUENCY_MASK) as u32
    }

    pub(crate) fn set_frequency(&mut self, frequency: u32) {
        self.meta = self.meta & !FREQUENCY_MASK | u64::from(frequency);
    }

    /// One hit: both counters up, each to its ceiling.
    #[inline]
    pub(crate) fn touch(&mut self) {
        let meta = self.meta;
        let frequency = u64::from(meta & FREQUENCY_MASK != FREQUENCY_MASK);
        let hit = u64::from(meta >> FREQUENCY_BITS & HITS_MASK != HITS_MASK) << FREQUENCY_BITS;
        self.meta = meta + frequency + hit;
    }
}

/// Which list a slot is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Free,
    Small,
    Main,
}

/// The half only eviction, insertion and removal touch.
pub(crate) struct Cold {
    pub(crate) previous: u32,
    pub(crate) next: u32,
    pub(crate) weight: u32,
    pub(crate) queue: Queue,
}

/// Both halves and the free list.
pub(crate) struct Slab<K, V> {
    pub(crate) hot: Vec<Entry<K, V>>,
    pub(crate) cold: Vec<Cold>,
    free: u32,
    free_len: usize,
    /// The generation of the latest value; no two values of a slab share one.
    generation: u32,
}

/// Grows a vector by a quarter instead of doubling it.
pub(crate) fn reserve_step<T>(vector: &mut Vec<T>) {
    if vector.len() == vector.capacity() {
        vector.reserve_exact((vector.len() / 4).max(16));
    }
}

impl<K, V> Slab<K, V> {
    pub(crate) const ENTRY_BYTES: usize = size_of::<Entry<K, V>>() + size_of::<Cold>();

    pub(crate) fn new() -> Self {
        Self { hot: Vec::new(), cold: Vec::new(), free: NONE, free_len: 0, generation: 0 }
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// Takes a slot for a new entry. Its queue is the caller's to set.
    pub(crate) fn insert(&mut self, hash: u64, key: K, value: V, weight: u32) -> u32 {
        let pair = Some((key, value));
        let generation = self.next_generation();
        if self.free != NONE {
            let slot = self.free;
            let cold = &mut self.cold[slot as usize];
            self.free = cold.next;
            self.free_len -= 1;
            cold.weight = weight;
            let entry = &mut self.hot[slot as usize];
            entry.tag = tag(hash);
            entry.generation = generation;
            entry.meta = 0;
            entry.pair = pair;
            return slot;
        }
        let slot = self.hot.len() as u32;
        assert!(slot < NONE >> 1, "a shard holds at most 2^31 entries");
        reserve_step(&mut self.hot);
        reserve_step(&mut self.cold);
        self.hot.push(Entry { tag: tag(hash), generation, meta: 0, pair });
        self.cold.push(Cold { previous: NONE, next: NONE, weight, queue: Queue::Free });
        slot
    }

    /// Gives a slot back; nothing that remembers it will find it again.
    pub(crate) fn remove(&mut self, slot: u32) -> (K, V) {
        let entry = &mut self.hot[slot as usize];
        let pair = entry.pair.take().expect("a held slot");
        let cold = &mut self.cold[slot as usize];
        *cold = Cold { previous: NONE, next: self.free, weight: 0, queue: Queue::Free };
        self.free = slot;
        self.free_len += 1;
        pair
    }

    /// Starts the life of a new value: deadline set, hits forgotten, frequency given.
    pub(crate) fn start(&mut self, slot: u32, deadline_ms: u64, frequency: u32) {
        let deadline_ms = deadline_ms.min(DEADLINE_MAX_MS);
        self.hot[slot as usize].meta = deadline_ms << DEADLINE_SHIFT | u64::from(frequency);
    }

    /// Puts another value under the same key; returns the old one. Old ids of the slot end.
    pub(crate) fn replace_value(&mut self, slot: u32, value: V) -> V {
        let generation = self.next_generation();
        let entry = &mut self.hot[slot as usize];
        entry.generation = generation;
        std::mem::replace(entry.value_mut().expect("a held slot"), value)
    }

    /// Takes everything out and gives the memory back; old ids stay ended.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        let emptied = Self { generation: self.generation, ..Self::new() };
        std::mem::replace(self, emptied).hot.into_iter().filter_map(|entry| entry.pair)
    }

    /// The generation of the latest value.
    pub(crate) fn newest(&self) -> u32 {
        self.generation
    }

    #[inline]
    pub(crate) fn id(&self, slot: u32) -> SlotId {
        SlotId { index: slot, generation: self.hot[slot as usize].generation }
    }

    /// The entry of an id, unless the slot has moved on.
    #[inline]
    pub(crate) fn held(&self, id: SlotId) -> Option<&Entry<K, V>> {
        let entry = self.hot.get(id.index as usize)?;
        (entry.generation == id.generation && entry.pair.is_some()).then_some(entry)
    }

    /// Entries that nobody has asked for.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u32> {
        let slots = self.hot.iter().zip(&self.cold);
        let waiting = slots.filter(|(entry, _)| entry.pair.is_some() && entry.is_ahead());
        waiting.map(|(_, cold)| cold.weight)
    }

    pub(crate) fn len(&self) -> usize {
        self.hot.len() - self.free_len
    }

    /// Bytes ever touched; memory reserved beyond that is not resident.
    pub(crate) fn bytes(&self) -> usize {
        self.hot.len() * Self::ENTRY_BYTES
    }

    /// Bytes the next `insert` would add.
    pub(crate) fn growth_bytes(&self) -> usize {
        if self.free == NONE { Self::ENTRY_BYTES } else { 0 }
    }

    pub(crate) fn validate(&self) {
        assert_eq!(self.hot.len(), self.cold.len(), "halves of the slab");
        let mut free = self.free;
        for _ in 0..self.free_len {
            assert!(self.hot[free as usize].pair.is_none(), "free slot {free} holds an entry");
            assert_eq!(self.cold[free as usize].queue, Queue::Free, "free slot {free} is queued");
            free = self.cold[free as usize].next;
        }
        assert_eq!(free, NONE, "free list length");
        let held = self.hot.iter().filter(|entry| entry.pair.is_some()).count();
        assert_eq!(held, self.len(), "held slots");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stop_at_their_ceilings_and_leave_the_deadline_alone() {
        let mut slab = Slab::new();
        let slot = slab.insert(1 << 32, 1u64, (), 0);
        slab.start(slot, 12_345, 0);
        let entry = &mut slab.hot[slot as usize];
        for _ in 0..(1 << HITS_BITS) + 10 {
            entry.touch();
        }
        assert_eq!((entry.frequency(), entry.hits()), (3, (1 << HITS_BITS) - 1));
        assert_eq!(entry.deadline_ms(), 12_345);
        assert!(entry.is_expired(12_345) && !entry.is_expired(12_344));
    }

    #[test]
    fn what_was_loaded_ahead_is_not_served_until_it_is_asked_for() {
        let mut slab = Slab::new();
        let slot = slab.insert(0, 1u64, (), 0);
        slab.start(slot, 1_000, 0);
        let entry = &mut slab.hot[slot as usize];
        entry.set_ahead(true);
        assert!(entry.is_ahead() && !entry.is_servable(0));
        assert_eq!(entry.deadline_ms(), 1_000);
        assert!(!entry.is_expired(999) && entry.is_expired(1_000));
        entry.set_ahead(false);
        assert!(!entry.is_ahead() && entry.is_servable(999) && !entry.is_servable(1_000));
    }

    #[test]
    fn a_deadline_beyond_the_latest_is_cut_to_it() {
        let mut slab = Slab::new();
        let slot = slab.insert(0, 1u64, (), 0);
        slab.start(slot, u64::MAX, 0);
        assert!(!slab.hot[slot as usize].is_expired(DEADLINE_MAX_MS - 1));
        assert!(slab.hot[slot as usize].is_servable(DEADLINE_MAX_MS - 1));
    }

    #[test]
    fn a_reused_slot_is_told_apart() {
        let mut slab = Slab::new();
        let slot = slab.insert(0, 1u64, "one", 0);
        let first = slab.id(slot);
        slab.remove(slot);
        assert_eq!(slab.insert(0, 2u64, "two", 0), slot);
        assert!(slab.held(first).is_none());
        assert!(slab.held(slab.id(slot)).is_some());
        slab.validate();
    }

    #[test]
    fn an_entry_with_a_boxed_key_and_a_fat_value_fits_a_cache_line() {
        assert!(size_of::<Entry<Box<[u8]>, [u64; 3]>>() <= 64);
        assert_eq!(size_of::<Cold>(), 16);
    }
}
