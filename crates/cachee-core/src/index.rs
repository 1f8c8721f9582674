//! Open-addressing index from a hash to a slot number.
//!
//! Problem: find one of a million entries touching as few cache lines as possible, in a table
//! that grows without doubling the memory and without asking the entries for their hashes.
//!
//! Idea: 8-byte buckets, a 32-bit tag beside a 32-bit slot, linear probing.
//!
//! ```text
//! bucket  [ tag = high half of the hash | slot + 1 ]      0 = empty
//! home    tag * buckets >> 32             (any number of buckets, order kept)
//! ```
//!
//! The tag alone gives the home, so growing and shifting never touch an entry. Removal shifts the
//! run back, which leaves no tombstones and keeps misses short after years of churn. Growth is by
//! half, so a bucket is 10.7 to 16 bytes an entry, mean 13 (a power of two would be up to 21).
//!
//! Cost: at the fullest (3/4) a hit probes 2.5 buckets on average and a miss 8.5, all within one
//! or two lines. Tags of two keys agree once in 2^32 per pair within a run; the owner compares
//! keys in full anyway.
//!
//! Rejected: hashbrown's raw table (needs a rehash callback that reads every entry to grow, two
//! lines a probe), storing entries in the table itself (moves 50-byte entries on every shift).

const EMPTY: u64 = 0;
const MIN_BUCKETS: usize = 16;

/// Maps tags to slots; several slots may share a tag.
pub(crate) struct Index {
    buckets: Vec<u64>,
    len: usize,
}

/// The part of a hash the index keeps.
#[inline]
pub(crate) fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[inline]
fn bucket(tag: u32, slot: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(slot + 1)
}

#[inline]
fn tag_of(bucket: u64) -> u32 {
    (bucket >> 32) as u32
}

#[inline]
fn slot_of(bucket: u64) -> u32 {
    (bucket as u32).wrapping_sub(1)
}

impl Index {
    /// An empty index that owns no memory.
    pub(crate) fn new() -> Self {
        Self { buckets: Vec::new(), len: 0 }
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    /// The first slot under `tag` that `matches`.
    #[inline]
    pub(crate) fn find(&self, tag: u32, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.buckets.is_empty() {
            return None;
        }
        let mut at = self.home(tag);
        loop {
            let bucket = self.buckets[at];
            if bucket == EMPTY {
                return None;
            }
            if tag_of(bucket) == tag && matches(slot_of(bucket)) {
                return Some(slot_of(bucket));
            }
            at = self.after(at);
        }
    }

    /// The address of a tag's home.
    #[inline]
    pub(crate) fn address(&self, tag: u32) -> *const u8 {
        self.buckets.as_ptr().wrapping_add(self.home(tag)).cast()
    }

    /// Every slot under `tag`.
    pub(crate) fn candidates(&self, tag: u32) -> impl Iterator<Item = u32> + '_ {
        let mut at = if self.buckets.is_empty() { None } else { Some(self.home(tag)) };
        std::iter::from_fn(move || {
            loop {
                let bucket = self.buckets[at?];
                if bucket == EMPTY {
                    return None;
                }
                at = Some(self.after(at?));
                if tag_of(bucket) == tag {
                    return Some(slot_of(bucket));
                }
            }
        })
    }

    /// Adds a slot, growing first when the table is three quarters full.
    pub(crate) fn insert(&mut self, tag: u32, slot: u32) {
        if self.is_full() {
            self.grow();
        }
        self.place(bucket(tag, slot));
        self.len += 1;
    }

    fn place(&mut self, bucket: u64) {
        let mut at = self.home(tag_of(bucket));
        while self.buckets[at] != EMPTY {
            at = self.after(at);
        }
        self.buckets[at] = bucket;
    }

    fn position(&self, tag: u32, slot: u32) -> usize {
        let wanted = bucket(tag, slot);
        let mut at = self.home(tag);
        while self.buckets[at] != wanted {
            assert!(self.buckets[at] != EMPTY, "slot {slot} is not in the index");
            at = self.after(at);
        }
        at
    }

    /// Makes the bucket of `slot` point to `replacement`.
    pub(crate) fn replace(&mut self, tag: u32, slot: u32, replacement: u32) {
        let at = self.position(tag, slot);
        self.buckets[at] = bucket(tag, replacement);
    }

    /// Takes a slot out and shifts the rest of its run back.
    pub(crate) fn remove(&mut self, tag: u32, slot: u32) {
        let mut hole = self.position(tag, slot);
        let buckets = self.buckets.len();
        let mut at = self.after(hole);
        while self.buckets[at] != EMPTY {
            let home = self.home(tag_of(self.buckets[at]));
            let distance = |to: usize| if to >= home { to - home } else { to + buckets - home };
            if distance(hole) < distance(at) {
                self.buckets[hole] = self.buckets[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.buckets[hole] = EMPTY;
        self.len -= 1;
    }

    #[inline]
    fn is_full(&self) -> bool {
        (self.len + 1) * 4 > self.buckets.len() * 3
    }

    fn grown(&self) -> usize {
        (self.buckets.len() + self.buckets.len() / 2).max(MIN_BUCKETS)
    }

    #[cold]
    fn grow(&mut self) {
        let buckets = vec![EMPTY; self.grown()];
        let old = std::mem::replace(&mut self.buckets, buckets);
        for bucket in old {
            if bucket != EMPTY {
                self.place(bucket);
            }
        }
    }

    /// Slots held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the table.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.buckets.as_slice())
    }

    /// Bytes the next `insert` would add.
    pub(crate) fn growth_bytes(&self) -> usize {
        if self.is_full() { (self.grown() - self.buckets.len()) * size_of::<u64>() } else { 0 }
    }

    /// Panics unless every bucket is reachable from its home and counted.
    pub(crate) fn validate(&self, mut tag_of_slot: impl FnMut(u32) -> u32) {
        let held = self.buckets.iter().filter(|bucket| **bucket != EMPTY).count();
        assert_eq!(held, self.len, "index length");
        for (at, &bucket) in self.buckets.iter().enumerate() {
            if bucket == EMPTY {
                continue;
            }
            let (tag, slot) = (tag_of(bucket), slot_of(bucket));
            assert_eq!(tag_of_slot(slot), tag, "tag of slot {slot}");
            assert_eq!(self.position(tag, slot), at, "slot {slot} twice in the index");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Few distinct tags, so that runs are long, wrap around and share tags.
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((0u32..12, any::<bool>()), 0..400)) {
            let mut index = Index::new();
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            for (number, (step, add)) in steps.into_iter().enumerate() {
                let tag = step.wrapping_mul(0x1555_5555).wrapping_sub(step & 1);
                if add {
                    index.insert(tag, number as u32);
                    model.insert(number as u32, tag);
                } else if let Some((&slot, &tag)) = model.iter().nth(step as usize) {
                    index.remove(tag, slot);
                    model.remove(&slot);
                }
                index.validate(|slot| model[&slot]);
                prop_assert_eq!(index.len(), model.len());
            }
            for (&slot, &tag) in &model {
                prop_assert_eq!(index.find(tag, |other| other == slot), Some(slot));
                prop_assert!(index.candidates(tag).any(|other| other == slot));
            }
        }
    }

    #[test]
    fn growth_is_foretold() {
        let mut index = Index::new();
        for slot in 0..10_000u32 {
            let expected = index.bytes() + index.growth_bytes();
            index.insert(slot.wrapping_mul(0x9e37_79b9), slot);
            assert_eq!(index.bytes(), expected);
        }
        assert!(index.bytes() <= 10_000 * 16);
    }
}
