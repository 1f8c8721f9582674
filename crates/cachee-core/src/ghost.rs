//! The keys that were evicted lately, as fingerprints.
//!
//! Problem: a key that comes back soon after its eviction should be admitted as known, so the
//! policy must remember about as many evicted keys as it holds entries, at a few bytes each.
//!
//! Idea: a table of eight-way buckets, one cache line each, of (fingerprint, sequence number). A
//! fingerprint counts while fewer than `limit` others came after it; a new one takes the place of
//! the oldest in its bucket. Nothing is ever walked, unlinked or compared in full.
//!
//! Cost: 8 bytes a remembered key at 4/5 full. A bucket that happens to be crowded forgets a
//! little early; a false recognition (about 1 in 2^29 a bucket entry) admits a stranger.
//!
//! Rejected: keeping the evicted keys (their memory is what was to be freed), a Bloom filter
//! pair (forgets half at once).

const WAYS: usize = 8;
/// Fewer buckets than this fill too unevenly.
const MIN_BUCKETS: usize = 8;

/// Fingerprints of what was evicted lately.
pub(crate) struct Ghost {
    slots: Vec<u64>,
    sequence: u32,
    limit: u32,
}

impl Ghost {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), sequence: 0, limit: 0 }
    }

    /// How many evictions a key is remembered for.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = u32::try_from(limit).unwrap_or(u32::MAX >> 1);
    }

    /// Grows by a quarter, so that no single eviction has to make room for the whole table.
    #[cold]
    fn grow(&mut self) {
        let wanted = (self.slots.len() * 5 / 4 + 1).next_multiple_of(WAYS).max(MIN_BUCKETS * WAYS);
        let old = std::mem::replace(&mut self.slots, vec![0; wanted]);
        for slot in old {
            if self.is_remembered(slot) {
                self.put(slot);
            }
        }
    }

    fn bucket(&mut self, tag: u32) -> &mut [u64] {
        let buckets = (self.slots.len() / WAYS) as u64;
        let at = ((u64::from(tag) * buckets) >> 32) as usize * WAYS;
        &mut self.slots[at..at + WAYS]
    }

    fn age(&self, slot: u64) -> u32 {
        self.sequence.wrapping_sub(slot as u32)
    }

    fn is_remembered(&self, slot: u64) -> bool {
        slot != 0 && self.age(slot) < self.limit
    }

    /// A new one would take the place of one that is remembered.
    fn is_crowded(&mut self, tag: u32) -> bool {
        let (sequence, limit) = (self.sequence, self.limit);
        let is_remembered = |slot: &u64| *slot != 0 && sequence.wrapping_sub(*slot as u32) < limit;
        self.bucket(tag).iter().all(is_remembered)
    }

    fn put(&mut self, slot: u64) {
        let sequence = self.sequence;
        let bucket = self.bucket((slot >> 32) as u32);
        let oldest = (0..WAYS)
            .max_by_key(|&way| {
                if bucket[way] == 0 { u32::MAX } else { sequence.wrapping_sub(bucket[way] as u32) }
            })
            .expect("a bucket has ways");
        bucket[oldest] = slot;
    }

    /// Remembers an evicted key; the table grows with use up to the limit, never shrinks.
    pub(crate) fn insert(&mut self, tag: u32) {
        if self.limit == 0 {
            return;
        }
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let has_outgrown = self.limit.min(self.sequence) as usize * 5 > self.slots.len() * 4;
        if has_outgrown && (self.slots.is_empty() || self.is_crowded(tag)) {
            self.grow();
        }
        let sequence = self.sequence;
        self.put(u64::from(tag) << 32 | u64::from(sequence));
    }

    /// Everything remembered becomes older by one.
    pub(crate) fn age_all(&mut self) {
        self.sequence = self.sequence.wrapping_add(1).max(1);
    }

    /// Whether it is remembered.
    pub(crate) fn contains(&mut self, tag: u32) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let (sequence, limit) = (self.sequence, self.limit);
        let is_it = |slot: &u64| *slot != 0 && (*slot >> 32) as u32 == tag;
        let is_new = |slot: &u64| sequence.wrapping_sub(*slot as u32) < limit;
        self.bucket(tag).iter().any(|slot| is_it(slot) && is_new(slot))
    }

    /// Whether the key was evicted lately; it is forgotten by being asked.
    pub(crate) fn take(&mut self, tag: u32) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let (sequence, limit) = (self.sequence, self.limit);
        for slot in self.bucket(tag) {
            let is_same = *slot != 0 && (*slot >> 32) as u32 == tag;
            if is_same {
                let is_remembered = sequence.wrapping_sub(*slot as u32) < limit;
                *slot = 0;
                return is_remembered;
            }
        }
        false
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.slots.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u32) -> u32 {
        number.wrapping_mul(0x9e37_79b9)
    }

    #[test]
    fn remembers_about_as_many_as_asked() {
        let mut ghost = Ghost::new();
        ghost.set_limit(1000);
        for number in 0..5000 {
            ghost.insert(tag(number));
        }
        let recent = (4000..5000).filter(|&number| ghost.take(tag(number))).count();
        let old = (0..4000).filter(|&number| ghost.take(tag(number))).count();
        assert!(recent > 900, "{recent} of 1000 remembered");
        assert_eq!(old, 0);
    }

    #[test]
    fn asking_forgets() {
        let mut ghost = Ghost::new();
        ghost.set_limit(8);
        ghost.insert(0);
        assert!(ghost.take(0));
        assert!(!ghost.take(0));
    }

    #[test]
    fn grows_with_use_and_keeps_what_it_remembers() {
        let mut ghost = Ghost::new();
        ghost.set_limit(100_000);
        for number in 0..100 {
            ghost.insert(tag(number));
        }
        assert!(ghost.bytes() <= 200 * 8, "{} bytes", ghost.bytes());
        let remembered = (0..100).filter(|&number| ghost.take(tag(number))).count();
        assert!(remembered >= 95, "{remembered} of 100");
    }

    #[test]
    fn without_a_limit_it_owns_nothing() {
        let mut ghost = Ghost::new();
        ghost.insert(1);
        assert!(!ghost.take(1));
        assert_eq!(ghost.bytes(), 0);
    }
}
