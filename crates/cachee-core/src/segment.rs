//! What one lock of the store protects: a shard, its leases, the writes and bypasses of its keys.
//!
//! Everything about one Redis key lives in one segment, whatever scope, shape or arguments, so
//! every rule below is applied whole under one lock and no order between locks is needed.

use foldhash::fast::FixedState;
use std::collections::HashMap;

use crate::bypass::Bypasses;
use crate::hottest::Hot;
use crate::key::EntryKey;
use crate::leases::{Lease, LeaseId, Leases};
use crate::prediction::REFETCH_HITS;
use crate::shard::{Inserted, Shard, SlotId};
use crate::statistics::Stats;
use crate::store::{Begin, Bypass, EntryRef, Inspected, InspectedState};
use crate::weigh::Weigh;

/// Entries of one key that are read again when it changes, at most.
pub(crate) const HOT_ROWS_MAX: usize = 16;
/// How long an entry whose value turned out not to fit is bypassed.
const TOO_LARGE_MS: u64 = 10_000;

/// What a segment answers to a miss; the store adds which segment it was.
pub(crate) enum Started {
    Present,
    Ahead,
    Lease(LeaseId),
    Join(LeaseId),
    Bypass(Bypass),
}

impl Started {
    pub(crate) fn begin(self, token: impl Fn(LeaseId) -> crate::store::Token) -> Begin {
        match self {
            Started::Present => Begin::Present,
            Started::Ahead => Begin::Ahead,
            Started::Lease(id) => Begin::Lease(token(id)),
            Started::Join(id) => Begin::Join(token(id)),
            Started::Bypass(reason) => Begin::Bypass(reason),
        }
    }
}

/// The content of one lock.
pub(crate) struct Segment<V> {
    pub(crate) shard: Shard<EntryKey, V>,
    pub(crate) leases: Leases,
    bypasses: Bypasses,
    /// Writes under way, by dependency. Already keyed hashes, so the map needs no secret.
    writes: HashMap<u64, Writing, FixedState>,
}

/// Writes of one key under way.
#[derive(Default)]
struct Writing {
    count: u32,
    /// What had been hit when the first of them left.
    hot: Vec<Hot>,
}

/// What an entry's key and value own on the heap.
pub(crate) fn weight_bytes<V: Weigh>(key: &EntryKey, value: &V) -> usize {
    key.heap_bytes().saturating_add(value.weight_bytes())
}

impl<V: Weigh> Segment<V> {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        Self {
            shard: Shard::new(capacity_bytes),
            leases: Leases::new(),
            bypasses: Bypasses::new(),
            writes: HashMap::default(),
        }
    }

    fn stats(&mut self) -> &mut Stats {
        self.shard.stats_mut()
    }

    fn bypass(&mut self, reason: Bypass) -> Started {
        let stats = self.stats();
        match reason {
            Bypass::WriteInFlight => stats.bypass_write_in_flight += 1,
            Bypass::WriteHot => stats.bypass_write_hot += 1,
            Bypass::TooLarge => stats.bypass_too_large += 1,
        }
        Started::Bypass(reason)
    }

    pub(crate) fn begin(
        &mut self,
        hash: u64,
        id: &EntryRef<'_>,
        now_ms: u64,
        fresh: bool,
    ) -> Started {
        if !self.writes.is_empty() && self.writes.contains_key(&id.key_hash) {
            return self.bypass(Bypass::WriteInFlight);
        }
        if let Some(slot) = self.shard.find(hash, |key| key.matches(id)) {
            let is_live = self.shard.is_live(slot, now_ms);
            if is_live && !fresh {
                let is_ahead = self.shard.is_ahead(slot);
                return if is_ahead { Started::Ahead } else { Started::Present };
            }
            if is_live {
                self.shard.remove_slot(slot);
            } else {
                self.shard.expire_slot(slot, now_ms);
            }
        }
        if let Some(lease) = self.leases.find(hash, id) {
            if !fresh {
                self.stats().coalesced += 1;
                return Started::Join(lease);
            }
            self.leases.end(lease);
        }
        if let Some(reason) = self.bypasses.reason(id.key_hash, hash, now_ms) {
            return self.bypass(reason);
        }
        self.stats().misses += 1;
        Started::Lease(self.leases.take(hash, id))
    }

    /// The right to load what nobody has asked for, unless it is here, on its way or bypassed.
    pub(crate) fn begin_ahead(
        &mut self,
        hash: u64,
        id: &EntryRef<'_>,
        now_ms: u64,
    ) -> Option<LeaseId> {
        let may = !self.writes.contains_key(&id.key_hash)
            && !self.is_here(hash, id, now_ms)
            && self.bypasses.reason(id.key_hash, hash, now_ms).is_none();
        if !may {
            return None;
        }
        if let Some(slot) = self.shard.find(hash, |key| key.matches(id)) {
            self.shard.expire_slot(slot, now_ms);
        }
        Some(self.leases.take(hash, id))
    }

    /// An entry that was loaded ahead is asked for: where it is, and when it ends; none when it is
    /// gone, or was asked for before.
    pub(crate) fn reveal(&mut self, hash: u64, id: &EntryRef<'_>) -> Option<(SlotId, u64)> {
        let slot = self.shard.find(hash, |key| key.matches(id))?;
        self.shard.reveal(slot).map(|ends_ms| (slot, ends_ms))
    }

    /// The right to read an entry again that goes on being served meanwhile.
    pub(crate) fn begin_renewal(
        &mut self,
        hash: u64,
        id: &EntryRef<'_>,
        now_ms: u64,
    ) -> Option<LeaseId> {
        let held = self.shard.find(hash, |key| key.matches(id))?;
        let may = self.shard.is_live(held, now_ms)
            && self.leases.find(hash, id).is_none()
            && self.bypasses.reason(id.key_hash, hash, now_ms).is_none();
        may.then(|| self.leases.take(hash, id))
    }

    /// Held, waiting to be asked for, or on its way.
    pub(crate) fn is_here(&self, hash: u64, id: &EntryRef<'_>, now_ms: u64) -> bool {
        let held = self.shard.find(hash, |key| key.matches(id));
        held.is_some_and(|slot| self.shard.is_live(slot, now_ms))
            || self.leases.find(hash, id).is_some()
    }

    /// Stores what a load brought. A value refused comes back, to be destroyed after unlocking.
    pub(crate) fn publish(
        &mut self,
        id: LeaseId,
        value: V,
        deadline_ms: u64,
        now_ms: u64,
        is_ahead: bool,
    ) -> Result<Option<SlotId>, Option<V>> {
        let Some(lease) = self.leases.end(id) else {
            self.stats().voided += 1;
            return Err(Some(value));
        };
        if deadline_ms <= now_ms {
            return Err(Some(value));
        }
        let Lease { key, hash, key_hash, .. } = lease;
        let weight = weight_bytes(&key, &value);
        // Only what is being renewed is here already.
        let held = self.shard.find(hash, |other| other.is(&key)).map(|_| key.copy());
        let is_same = |other: &EntryKey| held.as_ref().is_some_and(|held| held.is(other));
        match self.shard.insert(hash, key, value, weight, deadline_ms, &[key_hash], is_same) {
            Inserted::TooLarge => {
                self.bypasses.too_large(hash, now_ms.saturating_add(TOO_LARGE_MS));
                Err(None)
            }
            Inserted::Stored | Inserted::Replaced => {
                let slot = self.shard.newest(hash);
                if is_ahead && let Some(slot) = slot {
                    self.shard.hide(slot);
                }
                Ok(slot)
            }
        }
    }

    pub(crate) fn too_large(&mut self, id: LeaseId, until_ms: u64) {
        if let Some(lease) = self.leases.end(id) {
            self.bypasses.too_large(lease.hash, until_ms);
            self.stats().too_large += 1;
        }
    }

    /// Drops the entries of `dep`, and keeps the record of loads that were for nothing.
    fn drop_entries(&mut self, dep: u64, killed_leases: usize) -> usize {
        let invalidated = self.shard.invalidate_observed(dep);
        if invalidated.hits > 0 {
            self.bypasses.useful(dep);
        } else if invalidated.entries + killed_leases > 0 {
            self.bypasses.wasted(dep);
        }
        invalidated.entries
    }

    pub(crate) fn invalidate(&mut self, dep: u64) -> usize {
        let killed = self.leases.kill_all(dep);
        self.drop_entries(dep, killed)
    }

    pub(crate) fn invalidate_pushed(&mut self, dep: u64, scope: u32) -> usize {
        let killed = self.leases.kill_read(dep, scope);
        self.drop_entries(dep, killed)
    }

    /// No change, so no record: a load that was for nothing this once would not be next time.
    pub(crate) fn remove(&mut self, dep: u64) -> usize {
        self.leases.kill_all(dep);
        let dropped = self.shard.doubt(dep);
        if dropped.hits > 0 {
            self.bypasses.useful(dep);
        }
        dropped.entries
    }

    /// `tells`: somebody reads again what had been hit.
    pub(crate) fn begin_write(&mut self, dep: u64, tells: bool) {
        let hit = self.shard.rows(dep).filter(|row| row.hits >= REFETCH_HITS);
        let hit = hit.map(|row| Hot::new(row.key, row.hits));
        let hot: Vec<Hot> = hit.take(if tells { HOT_ROWS_MAX } else { 0 }).collect();
        let writing = self.writes.entry(dep).or_default();
        writing.count += 1;
        writing.hot.extend(hot);
        self.invalidate(dep);
    }

    /// Finds nothing to drop unless the write was never begun, and is right even then. With the last
    /// one of a key comes what had been hit before.
    pub(crate) fn end_write(&mut self, dep: u64) -> Vec<Hot> {
        self.invalidate(dep);
        let Some(writing) = self.writes.get_mut(&dep) else { return Vec::new() };
        writing.count -= 1;
        if writing.count > 0 {
            return Vec::new();
        }
        self.writes.remove(&dep).map_or(Vec::new(), |writing| writing.hot)
    }

    pub(crate) fn clear(&mut self) {
        self.shard.clear();
        self.leases.clear();
        self.bypasses.clear();
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats { leases: self.leases.len() as u64, ..self.shard.stats() }
    }

    pub(crate) fn inspect(&self, key: &[u8], key_hash: u64, now_ms: u64) -> Vec<Inspected> {
        let row = |key: &EntryKey, state| Inspected {
            scope: key.scope(),
            shape: key.shape(),
            args: key.args().to_vec(),
            deadline_ms: 0,
            hits: 0,
            weight_bytes: 0,
            state,
        };
        let held = self.shard.rows(key_hash).filter(|held| held.key.key() == key);
        let held = held.map(|held| Inspected {
            deadline_ms: held.deadline_ms,
            hits: held.hits,
            weight_bytes: held.weight_bytes,
            ..row(
                held.key,
                if held.is_ahead { InspectedState::Ahead } else { InspectedState::Held },
            )
        });
        let loading = self.leases.of_key(key_hash).filter(|lease| lease.key.key() == key);
        let loading = loading.map(|lease| row(&lease.key, InspectedState::Loading));
        let mut rows: Vec<Inspected> = held.chain(loading).collect();
        let whole = |state, deadline_ms| Inspected {
            scope: 0,
            shape: 0,
            args: Vec::new(),
            deadline_ms,
            hits: 0,
            weight_bytes: 0,
            state,
        };
        if self.writes.contains_key(&key_hash) {
            rows.push(whole(InspectedState::WriteInFlight, 0));
        }
        if let Some(until_ms) = self.bypasses.write_hot_until_ms(key_hash, now_ms) {
            rows.push(whole(InspectedState::WriteHot, until_ms));
        }
        rows
    }

    pub(crate) fn validate(&self) {
        self.shard.validate();
        self.leases.validate();
        for &dep in self.writes.keys() {
            assert_eq!(self.shard.rows(dep).count(), 0, "an entry of a key being written");
            assert_eq!(self.leases.of_key(dep).count(), 0, "a load of a key being written");
        }
    }
}
