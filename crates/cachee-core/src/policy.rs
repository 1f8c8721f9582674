//! Which entry goes when room is needed: S3-FIFO, by weight.
//!
//! Problem: most keys are asked once. A policy must let them through quickly without giving up
//! what is asked again, at no more cost per hit than one counter.
//!
//! Idea (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): three FIFO
//! queues.
//!
//! ```text
//! new ──► small (10 %) ──hit meanwhile──► main (90 %) ◄──┐ hit meanwhile: once more round,
//!           │ not hit                       │ └──────────┘ one count less
//!           ▼                               ▼ not hit
//!        ghost (fingerprints) ──asked again──► main, next time
//! ```
//!
//! Departures from the paper: one hit in small promotes (the paper's two cost 2.7 points on the
//! trace nearest to an application, and gained at most 0.7 elsewhere); queue sizes are in weight,
//! not objects, and tiny caches need no floor on small (floors of 2 to 10 entries, and LRU, lost
//! on average from 5 entries up); an expired entry goes when met, whatever its count; an entry
//! dropped because its dependency changed is put on the ghost list if it had been hit, so a hot
//! key reloaded after a write is hot at once.
//!
//! Cost: a hit writes the frequency in a word it has loaded anyway. An eviction looks at a few
//! entries on average; at most [`SCAN_LIMIT`], then the next one goes regardless of its count.
//!
//! Rejected, by measurement (`examples/eviction.rs`, figures in DESIGN.md): LRU, SIEVE, W-TinyLFU.

use crate::ghost::Ghost;
use crate::slab::{NONE, Queue, Slab};

/// Small's share of the budget: one part in this many.
const SMALL_SHARE: usize = 10;
/// Hits in small that earn a place in main.
const PROMOTION_HITS: u32 = 1;
/// Entries looked at before the next one is evicted regardless.
const SCAN_LIMIT: usize = 1024;

/// One FIFO, linked through the slab's cold half: in at the head, out at the tail.
struct Fifo {
    head: u32,
    tail: u32,
    weight: usize,
    len: usize,
}

impl Fifo {
    const EMPTY: Self = Self { head: NONE, tail: NONE, weight: 0, len: 0 };

    fn push<K, V>(&mut self, slab: &mut Slab<K, V>, slot: u32, queue: Queue) {
        let cold = &mut slab.cold[slot as usize];
        cold.previous = NONE;
        cold.next = self.head;
        cold.queue = queue;
        self.weight += cold.weight as usize;
        self.len += 1;
        match self.head {
            NONE => self.tail = slot,
            head => slab.cold[head as usize].previous = slot,
        }
        self.head = slot;
    }

    fn unlink<K, V>(&mut self, slab: &mut Slab<K, V>, slot: u32) {
        let cold = &slab.cold[slot as usize];
        let (previous, next) = (cold.previous, cold.next);
        self.weight -= cold.weight as usize;
        self.len -= 1;
        match previous {
            NONE => self.head = next,
            previous => slab.cold[previous as usize].next = next,
        }
        match next {
            NONE => self.tail = previous,
            next => slab.cold[next as usize].previous = previous,
        }
    }

    fn validate<K, V>(&self, slab: &Slab<K, V>, queue: Queue) {
        let (mut at, mut previous, mut weight, mut len) = (self.head, NONE, 0, 0);
        while at != NONE {
            let cold = &slab.cold[at as usize];
            assert_eq!(cold.previous, previous, "back link of slot {at}");
            assert_eq!(cold.queue, queue, "queue of slot {at}");
            assert!(slab.hot[at as usize].key().is_some(), "queued slot {at} is empty");
            weight += cold.weight as usize;
            len += 1;
            previous = at;
            at = cold.next;
        }
        assert_eq!(self.tail, previous, "tail");
        assert_eq!((self.weight, self.len), (weight, len), "weight and length");
    }
}

/// The queues of one shard.
pub(crate) struct Policy {
    small: Fifo,
    main: Fifo,
    ghost: Ghost,
}

impl Policy {
    pub(crate) fn new() -> Self {
        Self { small: Fifo::EMPTY, main: Fifo::EMPTY, ghost: Ghost::new() }
    }

    /// Queues a new entry: main if it was evicted lately, else small.
    pub(crate) fn admit<K, V>(&mut self, slab: &mut Slab<K, V>, slot: u32) {
        let is_known = self.ghost.take(slab.hot[slot as usize].tag);
        self.put(slab, slot, if is_known { Queue::Main } else { Queue::Small });
    }

    /// Queues an entry where told.
    pub(crate) fn put<K, V>(&mut self, slab: &mut Slab<K, V>, slot: u32, queue: Queue) {
        self.fifo(queue).push(slab, slot, queue);
    }

    /// Takes an entry off its queue.
    pub(crate) fn take<K, V>(&mut self, slab: &mut Slab<K, V>, slot: u32) -> Queue {
        let queue = slab.cold[slot as usize].queue;
        self.fifo(queue).unlink(slab, slot);
        queue
    }

    fn fifo(&mut self, queue: Queue) -> &mut Fifo {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
            Queue::Free => unreachable!("a free slot is on no queue"),
        }
    }

    /// Remembers a key that is being dropped, so that its return is no surprise. `slots` is the
    /// most entries there have been: what main may come to hold.
    pub(crate) fn remember(&mut self, tag: u32, slots: usize) {
        self.ghost.set_limit(slots * 9 / 10);
        self.ghost.insert(tag);
    }

    /// The entry to drop next, still queued; `budget` is what all entries together may weigh.
    pub(crate) fn victim<K, V>(
        &mut self,
        slab: &mut Slab<K, V>,
        budget: usize,
        now_ms: u64,
    ) -> Option<u32> {
        let main_share = budget - budget / SMALL_SHARE;
        for step in 0.. {
            let is_small = self.small.len > 0 && self.main.weight <= main_share;
            let slot = if is_small { self.small.tail } else { self.main.tail };
            if slot == NONE {
                return None;
            }
            let entry = &mut slab.hot[slot as usize];
            let (tag, frequency, is_ahead) = (entry.tag, entry.frequency(), entry.is_ahead());
            if entry.is_expired(now_ms) {
                return Some(slot);
            }
            let stays = frequency >= if is_small { PROMOTION_HITS } else { 1 };
            if !stays || step >= SCAN_LIMIT {
                // Nobody has asked for what was loaded ahead in vain: its return means nothing.
                if is_small && !is_ahead {
                    self.remember(tag, slab.hot.len());
                }
                return Some(slot);
            }
            entry.set_frequency(if is_small { 0 } else { frequency - 1 });
            self.take(slab, slot);
            self.put(slab, slot, Queue::Main);
        }
        None
    }

    pub(crate) fn weight(&self) -> usize {
        self.small.weight + self.main.weight
    }

    pub(crate) fn bytes(&self) -> usize {
        self.ghost.bytes()
    }

    pub(crate) fn validate<K, V>(&self, slab: &Slab<K, V>) {
        self.small.validate(slab, Queue::Small);
        self.main.validate(slab, Queue::Main);
        assert_eq!(self.small.len + self.main.len, slab.len(), "every entry is on one queue");
    }
}

#[cfg(test)]
mod tests {
    use crate::hash::KeyedHash;
    use crate::shard::Shard;

    struct Cache {
        shard: Shard<u64, ()>,
        hash: KeyedHash,
    }

    impl Cache {
        fn new(capacity: usize) -> Self {
            Self { shard: Shard::weighted(capacity), hash: KeyedHash::new(1) }
        }

        /// Asks for a key and stores it on a miss; whether it was a hit.
        fn access(&mut self, key: u64) -> bool {
            let hash = self.hash.number(key);
            let is_same = |other: &u64| *other == key;
            let is_hit = self.shard.get(hash, 0, is_same).is_some();
            if !is_hit {
                self.shard.insert(hash, key, (), 1, u64::MAX, &[7], is_same);
                self.shard.take_dropped();
            }
            is_hit
        }

        fn access_all(&mut self, keys: std::ops::Range<u64>) {
            for key in keys {
                self.access(key);
            }
        }
    }

    #[test]
    fn a_scan_of_strangers_leaves_what_is_asked_again() {
        let mut cache = Cache::new(100);
        for _ in 0..3 {
            cache.access_all(0..50);
        }
        cache.access_all(1_000..11_000);
        let kept = (0..50).filter(|&key| cache.access(key)).count();
        assert_eq!(kept, 50);
    }

    #[test]
    fn the_smallest_caches_still_hit() {
        for capacity in 2..40 {
            let mut cache = Cache::new(capacity);
            let hot = capacity as u64 / 2;
            // Half the requests to keys that fit, half to strangers.
            let hits = (0..4_000u64)
                .filter(|&n| cache.access(if n % 2 == 0 { n / 2 % hot.max(1) } else { 1_000 + n }))
                .count();
            assert!(hits > 1_800, "{hits} of 2000 at {capacity} entries");
        }
    }

    #[test]
    fn what_was_hot_before_a_write_is_hot_after_its_reload() {
        let mut cache = Cache::new(100);
        cache.access_all(0..100);
        assert!((0..20).all(|key| cache.access(key)));
        cache.shard.invalidate(7);
        cache.access_all(0..20);
        cache.access_all(1_000..1_300);
        let kept = (0..20).filter(|&key| cache.access(key)).count();
        assert_eq!(kept, 20);
    }

    #[test]
    fn an_eviction_looks_at_a_bounded_number_of_entries() {
        let mut cache = Cache::new(20_000);
        for _ in 0..4 {
            cache.access_all(0..20_000);
        }
        cache.access(u64::MAX);
        assert_eq!(cache.shard.stats().evicted, 1);
        cache.shard.validate();
    }
}
