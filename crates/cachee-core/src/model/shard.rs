//! A shard beside a map from key to value, deadline and dependencies.

use std::collections::BTreeMap;

use crate::model::split;
use crate::shard::{Inserted, Shard, SlotId};
use crate::statistics::Stats;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Get { key: u8 },
    Insert { key: u8, weight: usize, ttl_ms: u64, deps: u8 },
    Reweigh { key: u8, weight: usize },
    Remove { key: u8 },
    Invalidate { dep: u8 },
    Sweep { odd_keys: bool },
    Advance { ms: u64 },
    Clear,
}

impl Operation {
    fn from_bytes([kind, a, b, c]: [u8; 4]) -> Self {
        let key = a % 48;
        // Mostly small; now and then one that cannot fit.
        let weight = if b == 255 { 1 << 20 } else { usize::from(b) * 2 };
        match kind % 32 {
            0..12 => Self::Get { key },
            12..23 => Self::Insert { key, weight, ttl_ms: u64::from(c % 16) * 16, deps: c },
            23..25 => Self::Reweigh { key, weight },
            25..27 => Self::Remove { key },
            27..29 => Self::Invalidate { dep: a % 6 },
            29 => Self::Sweep { odd_keys: a % 2 == 0 },
            30 => Self::Advance { ms: u64::from(a) },
            _ if a < 32 => Self::Clear,
            _ => Self::Advance { ms: 1 },
        }
    }
}

#[derive(Clone, Debug)]
struct Held {
    value: u64,
    deadline_ms: u64,
    deps: Vec<u64>,
}

struct Run {
    shard: Shard<u8, u64>,
    model: BTreeMap<u8, Held>,
    /// Weights below this always fit.
    reliable: usize,
    now_ms: u64,
    /// Every value is new, so that an old one in its place shows.
    last_value: u64,
    /// Places of former values, and what was there.
    ids: Vec<(SlotId, u64)>,
}

/// How many places are remembered.
const IDS: usize = 16;

/// Several keys share each hash, so that the full comparison is what tells them apart.
fn hash(key: u8) -> u64 {
    u64::from(key % 16).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn dep(number: u8) -> u64 {
    u64::from(number % 6 + 1).wrapping_mul(0xd1b5_4a32_d192_ed03)
}

/// None, one, two or three dependencies, possibly the same one twice.
fn deps(code: u8) -> Vec<u64> {
    (0..code >> 6).map(|nth| dep((code >> (2 * nth)) & 7)).collect()
}

/// Runs the operations `bytes` encode; panics at the first difference.
pub fn run_shard(bytes: &[u8]) {
    let (setup, operations) = split(bytes);
    let capacity = 1 << (9 + setup % 6);
    let is_weighted = setup & 64 != 0;
    let shard = if is_weighted { Shard::weighted(capacity) } else { Shard::new(capacity) };
    // The structure of 48 entries takes up to 8 KiB of its own.
    let reliable = if is_weighted { capacity } else { capacity.saturating_sub(8192) };
    let mut run =
        Run { shard, model: BTreeMap::new(), reliable, now_ms: 1, last_value: 0, ids: Vec::new() };
    for bytes in operations {
        run.step(Operation::from_bytes(bytes));
    }
}

impl Run {
    fn step(&mut self, operation: Operation) {
        let before = self.shard.stats();
        let expected = self.model.clone();
        let refused = self.apply(operation, &expected);
        let gone = self.take_gone(refused);
        self.check_counts(operation, &before, &gone);
        self.check_contents();
        self.shard.validate();
    }

    /// Runs one operation on the shard and checks its answer; the value refused, if one was.
    fn apply(&mut self, operation: Operation, expected: &BTreeMap<u8, Held>) -> Option<u64> {
        let now_ms = self.now_ms;
        match operation {
            Operation::Get { key } => {
                let live = expected.get(&key).filter(|held| now_ms < held.deadline_ms);
                let got = self.shard.get(hash(key), now_ms, |other| *other == key).copied();
                assert_eq!(got, live.map(|held| held.value), "get {key}");
            }
            Operation::Insert { key, weight, ttl_ms, deps: code } => {
                return self.insert(key, weight, ttl_ms, deps(code), expected);
            }
            Operation::Reweigh { key, weight } => {
                if let Some(slot) = self.shard.find(hash(key), |other| *other == key) {
                    self.shard.reweigh(slot, weight);
                    let still_fits = self.shard.slot(slot).is_some();
                    assert!(still_fits || weight >= self.reliable, "reweigh {key} to {weight}");
                }
            }
            Operation::Remove { key } => {
                let was_held = self.shard.remove(hash(key), |other| *other == key);
                assert_eq!(was_held, expected.contains_key(&key), "remove {key}");
            }
            Operation::Invalidate { dep: number } => {
                let hit = expected.values().filter(|held| held.deps.contains(&dep(number)));
                assert_eq!(self.shard.invalidate(dep(number)), hit.count(), "invalidate {number}");
            }
            Operation::Sweep { odd_keys } => {
                let mut cursor = Some(0);
                while let Some(at) = cursor {
                    cursor = self.shard.sweep(at, 5, now_ms, |key| odd_keys && key % 2 == 1);
                }
                let is_left = |(key, held): (&u8, &Held)| {
                    held.deadline_ms > now_ms && !(odd_keys && key % 2 == 1)
                };
                let left = expected.iter().filter(|&(key, held)| is_left((key, held))).count();
                assert_eq!(self.shard.len(), left, "sweep");
            }
            Operation::Advance { ms } => self.now_ms += ms,
            Operation::Clear => self.shard.clear(),
        }
        None
    }

    fn insert(
        &mut self,
        key: u8,
        weight: usize,
        ttl_ms: u64,
        deps: Vec<u64>,
        expected: &BTreeMap<u8, Held>,
    ) -> Option<u64> {
        self.last_value += 1;
        let value = self.last_value;
        let deadline_ms = if ttl_ms == 0 { u64::MAX } else { self.now_ms + ttl_ms };
        let is_same = |other: &u8| *other == key;
        let done = self.shard.insert(hash(key), key, value, weight, deadline_ms, &deps, is_same);
        match done {
            Inserted::TooLarge => {
                assert!(weight >= self.reliable, "{weight} does not fit");
                return Some(value);
            }
            Inserted::Stored => assert!(!expected.contains_key(&key), "stored {key} twice"),
            Inserted::Replaced => assert!(expected.contains_key(&key), "replaced nothing"),
        }
        let id = self.shard.find(hash(key), is_same).expect("just inserted");
        assert_eq!(self.shard.slot(id), Some((&key, &value)), "insert {key}");
        self.ids.truncate(IDS - 1);
        self.ids.insert(0, (id, value));
        let replaced = self.model.insert(key, Held { value, deadline_ms, deps });
        // What `take_gone` is to see of it: the old value, under any key.
        if let Some(old) = replaced {
            self.model.insert(key | 128, old);
        }
        None
    }

    /// Takes everything the shard dropped out of the model.
    fn take_gone(&mut self, refused: Option<u64>) -> Vec<Held> {
        let mut gone = Vec::new();
        for (key, value) in self.shard.take_dropped() {
            if refused == Some(value) {
                continue;
            }
            let place = [key, key | 128]
                .into_iter()
                .find(|place| self.model.get(place).is_some_and(|held| held.value == value));
            let place = place.unwrap_or_else(|| panic!("dropped {key}={value}, never held"));
            gone.extend(self.model.remove(&place));
        }
        gone
    }

    /// Every entry that is gone is counted once, under a cause this operation may have.
    fn check_counts(&self, operation: Operation, before: &Stats, gone: &[Held]) {
        let after = self.shard.stats();
        let evicted = after.evicted - before.evicted;
        let expired = after.expired - before.expired;
        let invalidated = after.invalidated - before.invalidated;
        let removed = after.removed - before.removed;
        let replaced = after.replaced - before.replaced;
        let counted = evicted + expired + invalidated + removed + replaced;
        assert_eq!(counted, gone.len() as u64, "{operation:?}: causes of what is gone");
        let is_over = |held: &&Held| held.deadline_ms <= self.now_ms;
        assert!(expired <= gone.iter().filter(is_over).count() as u64, "{operation:?}: expired");
        let makes_room = matches!(operation, Operation::Insert { .. } | Operation::Reweigh { .. });
        assert!(evicted == 0 || makes_room, "{operation:?} evicted {evicted}");
        let is_invalidation = matches!(operation, Operation::Invalidate { .. });
        assert!(invalidated == 0 || is_invalidation, "{operation:?} invalidated");
        assert_eq!(after.entries, self.model.len() as u64, "{operation:?}: entries");
        let reads = after.hits + after.misses - before.hits - before.misses;
        assert_eq!(reads, u64::from(matches!(operation, Operation::Get { .. })));
    }

    fn check_contents(&self) {
        let held: BTreeMap<u8, u64> =
            self.shard.iter().map(|(_, key, value)| (*key, *value)).collect();
        let expected: BTreeMap<u8, u64> =
            self.model.iter().map(|(key, held)| (*key, held.value)).collect();
        assert_eq!(held, expected, "contents");
        for (id, value) in &self.ids {
            let found = self.shard.slot(*id).map(|(_, found)| found);
            assert!(found.is_none_or(|found| found == value), "{id:?} is another value now");
        }
    }
}
