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
//! Departures from the paper: one hit in small promotes (the paper's two lost on every trace
//! measured); queue sizes are in weight, not objects; small never holds less than a few
//! entries, so tiny caches do not forget a key before it can be asked again; an expired entry
//! goes when met, whatever its count; an entry dropped because its dependency changed is put on
//! the ghost list if it had been hit, so a hot key reloaded after a write is hot at once.
//!
//! Cost: a hit writes the frequency in a word it has loaded anyway. An eviction looks at a few
//! entries on average; at most [`SCAN_LIMIT`], then the next one goes regardless of its count.
//!
//! Rejected, by measurement (`examples/eviction.rs`, figures in DESIGN.md): LRU, SIEVE, W-TinyLFU.

use crate::ghost::Ghost;
use crate::slab::{NONE, Queue, Slab};

/// Small's share of the budget.
const SMALL_SHARE: f64 = 0.1;
/// Small's least size, in entries of mean weight, as long as that is under half the budget.
const SMALL_MIN_ENTRIES: usize = 10;
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

    /// Remembers a key that is being dropped, so that its return is no surprise.
    pub(crate) fn remember(&mut self, tag: u32) {
        self.ghost.set_limit((self.small.len + self.main.len) * 9 / 10);
        self.ghost.insert(tag);
    }

    fn small_target(&self, budget: usize) -> usize {
        let share = (budget as f64 * SMALL_SHARE) as usize;
        let entries = self.small.len + self.main.len;
        let mean = (self.small.weight + self.main.weight) / entries.max(1);
        share.max((mean * SMALL_MIN_ENTRIES).min(budget / 2))
    }

    /// The entry to drop next, still queued; `budget` is what all entries together may weigh.
    pub(crate) fn victim<K, V>(
        &mut self,
        slab: &mut Slab<K, V>,
        budget: usize,
        now_ms: u64,
    ) -> Option<u32> {
        let small_target = self.small_target(budget);
        for step in 0.. {
            let is_small = self.small.weight > small_target || self.main.len == 0;
            let slot = if is_small { self.small.tail } else { self.main.tail };
            if slot == NONE {
                return None;
            }
            let entry = &mut slab.hot[slot as usize];
            let (tag, frequency) = (entry.tag, entry.frequency());
            if entry.is_expired(now_ms) {
                return Some(slot);
            }
            let stays = frequency >= if is_small { PROMOTION_HITS } else { 1 };
            if !stays || step >= SCAN_LIMIT {
                if is_small {
                    self.remember(tag);
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
