//! Loads under way, and the right to store what they bring.
//!
//! Problem: a value read before a change must never be stored after it, however the two messages
//! interleave, and a hundred readers of one cold key must cause one load.
//!
//! Idea (memcache's leases): whoever is to load gets a token; later readers of the same entry
//! join it. A change of the key kills every token of it. Storing needs the token alive, so a
//! killed load can still answer those who waited for it but leaves nothing behind. A killed
//! lease is freed at once: its token names a slot and a generation, and simply fits nothing.
//!
//! Cost: a small slab, one index by entry hash and the dependency lists, all bounded by the
//! loads in flight; taking, killing and redeeming are O(1) a lease.

use crate::dependencies::Dependencies;
use crate::index::{Index, tag};
use crate::key::EntryKey;
use crate::slab::NONE;
use crate::store::EntryRef;

/// One load under way.
pub(crate) struct Lease {
    pub(crate) key: EntryKey,
    pub(crate) hash: u64,
    pub(crate) key_hash: u64,
    is_read: bool,
}

struct Slot {
    generation: u32,
    next_free: u32,
    lease: Option<Lease>,
}

/// The leases of one segment.
pub(crate) struct Leases {
    slots: Vec<Slot>,
    free: u32,
    len: usize,
    index: Index,
    by_key: Dependencies,
}

/// A slot and its generation.
pub(crate) type LeaseId = (u32, u32);

impl Leases {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            len: 0,
            index: Index::new(),
            by_key: Dependencies::new(),
        }
    }

    fn get(&self, slot: u32) -> Option<&Lease> {
        self.slots[slot as usize].lease.as_ref()
    }

    /// The load of an entry, if one is under way.
    pub(crate) fn find(&self, hash: u64, id: &EntryRef<'_>) -> Option<LeaseId> {
        let matches = |slot| self.get(slot).is_some_and(|lease| lease.key.matches(id));
        let slot = self.index.find(tag(hash), matches)?;
        Some((slot, self.slots[slot as usize].generation))
    }

    /// Starts a load of an entry that has none.
    pub(crate) fn take(&mut self, hash: u64, id: &EntryRef<'_>) -> LeaseId {
        let lease = Lease { key: EntryKey::new(id), hash, key_hash: id.key_hash, is_read: false };
        let slot = if self.free == NONE {
            self.slots.push(Slot { generation: 0, next_free: NONE, lease: Some(lease) });
            self.slots.len() as u32 - 1
        } else {
            let slot = self.free;
            self.free = self.slots[slot as usize].next_free;
            self.slots[slot as usize].lease = Some(lease);
            slot
        };
        self.len += 1;
        self.index.insert(tag(hash), slot);
        self.by_key.attach(slot, &[id.key_hash]);
        (slot, self.slots[slot as usize].generation)
    }

    fn is_alive(&self, (slot, generation): LeaseId) -> bool {
        self.slots
            .get(slot as usize)
            .is_some_and(|held| held.generation == generation && held.lease.is_some())
    }

    /// The read itself was answered: what comes later on the stream is newer than it.
    pub(crate) fn mark_read(&mut self, id: LeaseId) {
        if self.is_alive(id)
            && let Some(lease) = &mut self.slots[id.0 as usize].lease
        {
            lease.is_read = true;
        }
    }

    /// Ends a load: the lease, if it was still alive.
    pub(crate) fn end(&mut self, id: LeaseId) -> Option<Lease> {
        self.is_alive(id).then(|| self.free(id.0))
    }

    fn free(&mut self, slot: u32) -> Lease {
        let held = &mut self.slots[slot as usize];
        let lease = held.lease.take().expect("a lease under way");
        held.generation = held.generation.wrapping_add(1);
        held.next_free = self.free;
        self.free = slot;
        self.len -= 1;
        self.index.remove(tag(lease.hash), slot);
        self.by_key.detach(slot);
        lease
    }

    fn kill(&mut self, doomed: Vec<u32>) -> usize {
        let killed = doomed.len();
        for slot in doomed {
            self.free(slot);
        }
        killed
    }

    /// Kills every load of a key; how many.
    pub(crate) fn kill_all(&mut self, key_hash: u64) -> usize {
        let mut killed = 0;
        while let Some(slot) = self.by_key.any(key_hash) {
            self.free(slot);
            killed += 1;
        }
        killed
    }

    /// Kills the loads of a key that `scope` has already answered; how many.
    pub(crate) fn kill_read(&mut self, key_hash: u64, scope: u32) -> usize {
        let is_doomed = |slot: &u32| {
            self.get(*slot).is_some_and(|lease| lease.is_read && lease.key.scope() == scope)
        };
        let doomed = self.by_key.all(key_hash).filter(is_doomed).collect();
        self.kill(doomed)
    }

    /// Kills every load of a scope; how many.
    pub(crate) fn kill_scope(&mut self, scope: u32) -> usize {
        let is_doomed =
            |slot: &u32| self.get(*slot).is_some_and(|lease| lease.key.scope() == scope);
        let doomed = (0..self.slots.len() as u32).filter(is_doomed).collect();
        self.kill(doomed)
    }

    /// Kills every load; how many.
    pub(crate) fn clear(&mut self) -> usize {
        let doomed = (0..self.slots.len() as u32).filter(|&slot| self.get(slot).is_some());
        let doomed = doomed.collect();
        self.kill(doomed)
    }

    /// The loads of a key.
    pub(crate) fn of_key(&self, key_hash: u64) -> impl Iterator<Item = &Lease> {
        self.by_key.all(key_hash).filter_map(|slot| self.get(slot))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn validate(&self) {
        let held = self.slots.iter().filter(|slot| slot.lease.is_some()).count();
        assert_eq!(held, self.len, "leases under way");
        assert_eq!(self.index.len(), self.len, "every lease is in the index");
        self.index.validate(|slot| tag(self.get(slot).expect("an indexed lease").hash));
        self.by_key.validate(|slot| self.get(slot).is_some());
    }
}
