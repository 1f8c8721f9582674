//! Keys the L1 had better stay out of for a while.
//!
//! Problem: a key that is written more often than it is read costs a load, an entry and a push
//! each time and saves nothing; a value that does not fit is loaded whole only to be thrown away.
//! Both must be noticed without remembering every key.
//!
//! Idea: one small direct-mapped table. A key whose loads are dropped unread
//! [`WASTED_LOADS`] times in a row is bypassed for [`WRITE_HOT_MS`]; one useful load forgets its
//! record. A value too large is bypassed until the caller's moment. When two keys fall on one
//! place the weaker record gives way, so the worst a collision does is to delay a bypass.
//!
//! Cost: nothing until the first record, then 6 KiB a segment and one look-up a miss.

use crate::store::Bypass;

/// Loads of a key dropped without one hit, in a row, that make it write-hot.
pub(crate) const WASTED_LOADS: u8 = 8;
/// How long a write-hot key is bypassed.
pub(crate) const WRITE_HOT_MS: u64 = 10_000;

const PLACES: usize = 256;

#[derive(Clone, Copy, Default)]
struct Record {
    id: u64,
    wasted: u8,
    is_too_large: bool,
    until_ms: u64,
}

/// The records of one segment.
pub(crate) struct Bypasses {
    records: Vec<Record>,
}

impl Bypasses {
    pub(crate) fn new() -> Self {
        Self { records: Vec::new() }
    }

    fn place(id: u64) -> usize {
        (id >> 48) as usize % PLACES
    }

    fn find(&mut self, id: u64) -> Option<&mut Record> {
        let record = self.records.get_mut(Self::place(id))?;
        (record.id == id).then_some(record)
    }

    /// The record of `id`, taking the place of a weaker one; none while a stronger one holds it.
    fn claim(&mut self, id: u64) -> Option<&mut Record> {
        if self.records.is_empty() {
            self.records = vec![Record::default(); PLACES];
        }
        let record = &mut self.records[Self::place(id)];
        if record.id != id {
            if record.wasted > 0 {
                record.wasted -= 1;
                return None;
            }
            *record = Record { id, ..Record::default() };
        }
        Some(record)
    }

    /// A load of `dep` was dropped unread.
    pub(crate) fn wasted(&mut self, dep: u64) {
        if let Some(record) = self.claim(dep) {
            record.wasted = (record.wasted + 1).min(WASTED_LOADS);
        }
    }

    /// A load of `dep` was worth it.
    pub(crate) fn useful(&mut self, dep: u64) {
        if let Some(record) = self.find(dep) {
            record.wasted = 0;
        }
    }

    /// The value of the entry `hash` does not fit.
    pub(crate) fn too_large(&mut self, hash: u64, until_ms: u64) {
        if let Some(record) = self.claim(hash) {
            *record = Record { id: hash, wasted: WASTED_LOADS, is_too_large: true, until_ms };
        }
    }

    /// Whether a read of the entry `hash` of the key `dep` is to be bypassed now.
    pub(crate) fn reason(&mut self, dep: u64, hash: u64, now_ms: u64) -> Option<Bypass> {
        if self.records.is_empty() {
            return None;
        }
        if let Some(record) = self.find(hash)
            && record.is_too_large
        {
            if now_ms < record.until_ms {
                return Some(Bypass::TooLarge);
            }
            *record = Record::default();
        }
        let record = self.find(dep)?;
        if record.is_too_large || record.wasted < WASTED_LOADS {
            return None;
        }
        if record.until_ms == 0 {
            record.until_ms = now_ms.saturating_add(WRITE_HOT_MS);
        }
        if now_ms < record.until_ms {
            return Some(Bypass::WriteHot);
        }
        *record = Record::default();
        None
    }

    /// Until when the key is bypassed as write-hot, if it is.
    pub(crate) fn write_hot_until_ms(&self, dep: u64, now_ms: u64) -> Option<u64> {
        let record = self.records.get(Self::place(dep))?;
        let is_hot = record.id == dep && !record.is_too_large && now_ms < record.until_ms;
        is_hot.then_some(record.until_ms)
    }

    pub(crate) fn clear(&mut self) {
        self.records = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Begin, EntryRef, Store, StoreConfig};

    const DEP: u64 = 1 << 48;
    const HASH: u64 = 2 << 48;

    #[test]
    fn eight_wasted_loads_in_a_row_bypass_for_a_while() {
        let mut bypasses = Bypasses::new();
        for _ in 0..WASTED_LOADS {
            assert_eq!(bypasses.reason(DEP, HASH, 0), None);
            bypasses.wasted(DEP);
        }
        assert_eq!(bypasses.reason(DEP, HASH, 5), Some(Bypass::WriteHot));
        assert_eq!(bypasses.reason(DEP, HASH, 5 + WRITE_HOT_MS - 1), Some(Bypass::WriteHot));
        assert_eq!(bypasses.reason(DEP, HASH, 5 + WRITE_HOT_MS), None);
        assert_eq!(bypasses.reason(DEP, HASH, 5 + WRITE_HOT_MS), None);
    }

    #[test]
    fn one_useful_load_forgets_the_record() {
        let mut bypasses = Bypasses::new();
        for round in 0..100 {
            bypasses.wasted(DEP);
            if round % 7 == 6 {
                bypasses.useful(DEP);
            }
            assert_eq!(bypasses.reason(DEP, HASH, round), None);
        }
    }

    #[test]
    fn too_large_holds_for_its_entry_until_the_moment_given() {
        let mut bypasses = Bypasses::new();
        bypasses.too_large(HASH, 100);
        assert_eq!(bypasses.reason(DEP, HASH, 99), Some(Bypass::TooLarge));
        assert_eq!(bypasses.reason(DEP, HASH + 1, 99), None);
        assert_eq!(bypasses.reason(DEP, HASH, 100), None);
    }

    #[test]
    fn a_second_key_on_the_same_place_gets_its_turn() {
        let mut bypasses = Bypasses::new();
        let rival = DEP + 1;
        bypasses.wasted(DEP);
        for _ in 0..=WASTED_LOADS {
            bypasses.wasted(rival);
        }
        assert_eq!(bypasses.reason(rival, HASH, 0), Some(Bypass::WriteHot));
    }

    #[test]
    fn a_read_past_the_l1_wastes_no_load_and_leaves_a_useful_one_useful() {
        let store = Store::new(StoreConfig { capacity_bytes: 1 << 20, shards: 1, seed: 1 });
        let key_hash = store.key_hash(b"k");
        let id = EntryRef { scope: 0, shape: 0, key: b"k", args: b"", key_hash };
        let load = || match store.begin(&id, 0, false) {
            Begin::Lease(token) => assert!(store.publish(token, vec![0u8; 8], u64::MAX, 0)),
            other => panic!("not loaded: {other:?}"),
        };
        for _ in 0..3 * u32::from(WASTED_LOADS) {
            load();
            assert!(store.with_hit(&id, 0, |_, _| ()).is_some());
            store.remove(key_hash);
            load();
            store.invalidate(key_hash);
            load();
            store.remove(key_hash);
        }
    }
}
