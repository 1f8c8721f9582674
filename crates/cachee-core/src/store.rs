//! The L1 of the drop-in and of the proxy: segments behind locks.
//!
//! Problem: many threads look up the same few thousand keys, one socket reader stores and drops
//! entries in wire order, application threads announce their own writes, and none of the
//! interleavings may leave an old value in place.
//!
//! Idea: a segment is chosen by the hash of the Redis key alone, so whatever concerns a key (its
//! entries of every command, loads, writes under way, its record of wasted loads) is decided
//! under one lock. The hash is the key's dependency too: a push names a key, the key's hash names
//! segment and entries, and nothing else is looked at.
//!
//! What may be stored when (the rules a lease stands for):
//!
//! ```text
//!                      entries of the key   loads of the key
//! invalidate, remove    dropped              all die         another stream: order unknown
//! invalidate_pushed     dropped              die if read     same stream: an unread reply is newer
//! begin_write           dropped              all die         and none starts until
//! end_write             dropped              all die         ... the last write has ended
//! begin(fresh)          that entry dropped   that load dies  and a new one starts
//! ```
//!
//! Cost: a hit is one keyed hash, one uncontended lock, one probe and one comparison. Values are
//! destroyed outside the lock.
//!
//! Rejected: a lock-free read path (epochs cost more than the uncontended lock at these sizes,
//! and a reader must take a reference count on the value either way), one lock for all (the
//! socket reader would stall every thread), segments by entry hash (a push would visit all).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::hash::KeyedHash;
use crate::hottest::{Hot, Hottest};
use crate::leases::LeaseId;
use crate::segment::{HOT_ROWS_MAX, Segment, weight_bytes};
use crate::shard::SlotId;
use crate::statistics::Stats;
use crate::weigh::Weigh;

/// Slots one `sweep_step`, or one step of `hottest`, looks at.
const SWEEP_SLOTS: u32 = 256;
/// The part of the capacity that what is learned may take.
const LEARNING_PART: usize = 4;

/// How a store is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Bytes the store may make the process grow by.
    pub capacity_bytes: usize,
    /// Locks and segments; rounded up to a power of two.
    pub shards: usize,
    /// The hash seed: random, and never shown outside the process.
    pub seed: u64,
}

/// What identifies an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The generation of one link's connection; entries of another scope are never found.
    pub scope: u32,
    /// Which command, and how its reply is shaped.
    pub shape: u32,
    /// The Redis key.
    pub key: &'a [u8],
    /// Every other argument, in one unambiguous form.
    pub args: &'a [u8],
    /// `store.key_hash(key)`.
    pub key_hash: u64,
}

/// One load under way. Dead as soon as what it would store could be stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    segment: u32,
    slot: u32,
    generation: u32,
}

impl Token {
    fn lease(self) -> LeaseId {
        (self.slot, self.generation)
    }
}

/// The very entry a hit was served from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HitToken {
    segment: u32,
    slot: SlotId,
}

/// What a reader that found nothing must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// An entry is there after all: look again.
    Present,
    /// An entry is there that was loaded ahead: `reveal` it, then look again.
    Ahead,
    /// Load, then `publish` or `abandon`.
    Lease(Token),
    /// Someone else is loading: wait for that load.
    Join(Token),
    /// Ask the server without the L1.
    Bypass(Bypass),
}

/// Why the L1 stays out of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// A write of this process to the key is under way.
    WriteInFlight,
    /// The key changes more often than it is read.
    WriteHot,
    /// The value is known not to fit.
    TooLarge,
}

/// What the store knows of one key: one row an entry or load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The scope it was loaded in.
    pub scope: u32,
    /// Which command, and how its reply is shaped.
    pub shape: u32,
    /// The other arguments.
    pub args: Vec<u8>,
    /// When it ends; 0 for a load.
    pub deadline_ms: u64,
    /// Hits so far, up to a ceiling of some hundred thousand.
    pub hits: u32,
    /// Its own bytes, structure excluded.
    pub weight_bytes: usize,
    /// What this row is.
    pub state: InspectedState,
}

/// What a row of `inspect` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InspectedState {
    /// An entry that is held.
    Held,
    /// An entry that was loaded ahead: served once somebody asks.
    Ahead,
    /// A load under way.
    Loading,
    /// The whole key: this process is writing it.
    WriteInFlight,
    /// The whole key: bypassed until `deadline_ms` because it changes too often.
    WriteHot,
}

/// A lock on its own cache lines, so that neighbours do not slow each other down.
#[repr(align(128))]
struct Padded<T>(Mutex<T>);

/// Where the sweep of retired scopes stands.
#[derive(Default)]
struct Sweep {
    scopes: Vec<u32>,
    /// How many of `scopes` were there when the present round began.
    of_this_round: usize,
    segment: usize,
    cursor: u32,
}

/// Unlocks, then destroys what was dropped under the lock.
fn destroy_dropped<V: Weigh>(mut guard: MutexGuard<'_, Segment<V>>) {
    if !guard.shard.is_dropped_empty() {
        let dropped = guard.shard.take_dropped();
        drop(guard);
        drop(dropped);
    }
}

/// Segments behind locks, chosen by key hash.
pub struct Store<V> {
    segments: Box<[Padded<Segment<V>>]>,
    hash: KeyedHash,
    last_scope: AtomicU32,
    sweep: Mutex<Sweep>,
    capacity_bytes: usize,
    /// Bytes of the capacity that others have.
    reserved_bytes: Mutex<usize>,
    /// Somebody reads again what has to go for a write.
    wants_written: AtomicBool,
}

impl<V> Store<V> {
    /// Gives back what `reserve` gave.
    pub fn give_back(&self, bytes: usize) {
        let mut reserved = self.reserved_bytes.lock();
        *reserved -= bytes;
        self.share_out(*reserved);
    }

    fn share_out(&self, reserved: usize) {
        let each = (self.capacity_bytes - reserved) / self.segments.len();
        for segment in &self.segments {
            segment.0.lock().shard.set_capacity(each);
        }
    }
}

impl<V: Weigh> Store<V> {
    /// An empty store.
    pub fn new(config: StoreConfig) -> Self {
        let segments = config.shards.max(1).next_power_of_two();
        let capacity_bytes = config.capacity_bytes / segments;
        let segment = |_| Padded(Mutex::new(Segment::new(capacity_bytes)));
        Self {
            segments: (0..segments).map(segment).collect(),
            hash: KeyedHash::new(config.seed),
            last_scope: AtomicU32::new(0),
            sweep: Mutex::default(),
            capacity_bytes: config.capacity_bytes,
            reserved_bytes: Mutex::default(),
            wants_written: AtomicBool::new(false),
        }
    }

    /// From now on `end_write` tells what had been hit.
    pub fn tell_written(&self) {
        self.wants_written.store(true, Ordering::Relaxed);
    }

    /// Little is left of what entries may have.
    pub fn is_nearly_full(&self) -> bool {
        let held = self.stats().weight_bytes as usize;
        let limit = self.capacity_bytes - *self.reserved_bytes.lock();
        held >= limit / 10 * 9
    }

    /// Entries of retired scopes are still being removed.
    pub fn is_sweeping(&self) -> bool {
        !self.sweep.lock().scopes.is_empty()
    }

    /// The keyed hash of a Redis key, which is also its dependency.
    #[inline]
    pub fn key_hash(&self, key: &[u8]) -> u64 {
        self.hash.bytes(key)
    }

    /// Takes bytes of the capacity for what is learned; false, and nothing taken, when more than a
    /// quarter would be gone.
    pub fn reserve(&self, bytes: usize) -> bool {
        let mut reserved = self.reserved_bytes.lock();
        if *reserved + bytes > self.capacity_bytes / LEARNING_PART {
            return false;
        }
        *reserved += bytes;
        self.share_out(*reserved);
        true
    }

    /// Bytes that entries and what is learned have together.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
    }

    /// Some entries of one key and scope that were hit so often since they were stored: shape, the
    /// other arguments, hits.
    pub fn hit_rows(&self, id: &EntryRef<'_>, least: u32) -> Vec<(u32, Box<[u8]>, u32)> {
        let segment = self.segments[self.segment_of(id.key_hash)].0.lock();
        let rows = segment.shard.rows(id.key_hash).filter(|row| row.hits >= least);
        let rows = rows.filter(|row| row.key.scope() == id.scope && row.key.key() == id.key);
        rows.map(|row| (row.key.shape(), row.key.args().into(), row.hits))
            .take(HOT_ROWS_MAX)
            .collect()
    }

    /// The hash that keys are told apart by.
    pub fn hash(&self) -> &KeyedHash {
        &self.hash
    }

    #[inline]
    fn entry_hash(&self, id: &EntryRef<'_>) -> u64 {
        self.hash.entry(id.key_hash, id.scope, id.shape, id.args)
    }

    /// The low bits choose the segment; the index uses the high ones.
    #[inline]
    fn segment_of(&self, dep: u64) -> usize {
        dep as usize & (self.segments.len() - 1)
    }

    /// Runs `f` under a segment's lock and destroys what it dropped after unlocking.
    fn within<R>(&self, segment: usize, f: impl FnOnce(&mut Segment<V>) -> R) -> R {
        let mut guard = self.segments[segment].0.lock();
        let result = f(&mut guard);
        destroy_dropped(guard);
        result
    }

    /// Runs `f` on a live entry under the segment's lock; `f` must not call the store. Nothing
    /// found is not counted here: `begin` does.
    #[inline]
    pub fn with_hit<R>(
        &self,
        id: &EntryRef<'_>,
        now_ms: u64,
        f: impl FnOnce(&mut V, HitToken) -> R,
    ) -> Option<R> {
        let hash = self.entry_hash(id);
        let segment = self.segment_of(id.key_hash);
        let mut guard = self.segments[segment].0.lock();
        if let Some((value, slot)) = guard.shard.lookup(hash, now_ms, |key| key.matches(id)) {
            return Some(f(value, HitToken { segment: segment as u32, slot }));
        }
        destroy_dropped(guard);
        None
    }

    /// Where a lookup of this entry will begin: an address to prefetch.
    #[inline]
    pub fn bucket_address(&self, id: &EntryRef<'_>) -> *const u8 {
        let hash = self.entry_hash(id);
        self.segments[self.segment_of(id.key_hash)].0.lock().shard.bucket_address(hash)
    }

    /// Where it will go on, once the first address is in the cache.
    #[inline]
    pub fn entry_address(&self, id: &EntryRef<'_>) -> *const u8 {
        let hash = self.entry_hash(id);
        self.segments[self.segment_of(id.key_hash)].0.lock().shard.entry_address(hash)
    }

    /// Where its key and its value are, the latter by `of`, once the second is in the cache.
    #[inline]
    pub fn content_addresses(
        &self,
        id: &EntryRef<'_>,
        of: impl FnOnce(&V) -> *const u8,
    ) -> Option<[*const u8; 2]> {
        let hash = self.entry_hash(id);
        let segment = self.segments[self.segment_of(id.key_hash)].0.lock();
        let (key, value) = segment.shard.first_candidate(hash)?;
        Some([key.address(), of(value)])
    }

    /// Changes the value a hit came from, if it is still that entry, and weighs it anew.
    pub fn update(&self, token: HitToken, f: impl FnOnce(&mut V)) -> bool {
        self.within(token.segment as usize, |segment| {
            let Some(value) = segment.shard.value_mut(token.slot) else { return false };
            f(value);
            if let Some((key, value)) = segment.shard.slot(token.slot) {
                let weight = weight_bytes(key, value);
                segment.shard.reweigh(token.slot, weight);
            }
            true
        })
    }

    /// The miss path: says what the reader must do. `fresh` distrusts whatever is older than now:
    /// an entry is dropped, a load under way is detached (it still answers who waits for it).
    pub fn begin(&self, id: &EntryRef<'_>, now_ms: u64, fresh: bool) -> Begin {
        let hash = self.entry_hash(id);
        let segment = self.segment_of(id.key_hash);
        let started = self.within(segment, |held| held.begin(hash, id, now_ms, fresh));
        let segment = segment as u32;
        started.begin(|(slot, generation)| Token { segment, slot, generation })
    }

    /// Somebody asks for an entry that was loaded ahead: from now on hits find it. Where it is, and
    /// when it ends; none when it is gone, or was asked for before.
    pub fn reveal(&self, id: &EntryRef<'_>) -> Option<(HitToken, u64)> {
        let hash = self.entry_hash(id);
        let segment = self.segment_of(id.key_hash);
        let (slot, ends_ms) = self.within(segment, |held| held.reveal(hash, id))?;
        Some((HitToken { segment: segment as u32, slot }, ends_ms))
    }

    /// The reply of the read itself was parsed; later pushes for the key void the load.
    pub fn mark_read(&self, token: Token) {
        self.within(token.segment as usize, |segment| segment.leases.mark_read(token.lease()));
    }

    /// Stores a loaded value; false when the load was voided meanwhile, the value does not fit or
    /// is over already.
    pub fn publish(&self, token: Token, value: V, deadline_ms: u64, now_ms: u64) -> bool {
        self.publish_as(token, value, deadline_ms, now_ms, false).is_some()
    }

    /// As `publish`, telling where it is.
    pub fn publish_placed(
        &self,
        token: Token,
        value: V,
        deadline_ms: u64,
        now_ms: u64,
    ) -> Option<HitToken> {
        self.publish_as(token, value, deadline_ms, now_ms, false)
    }

    /// As `publish`, of a value nobody has asked for: no hit finds it until it is revealed.
    pub fn publish_ahead(&self, token: Token, value: V, deadline_ms: u64, now_ms: u64) -> bool {
        self.publish_as(token, value, deadline_ms, now_ms, true).is_some()
    }

    fn publish_as(
        &self,
        token: Token,
        value: V,
        deadline_ms: u64,
        now_ms: u64,
        is_ahead: bool,
    ) -> Option<HitToken> {
        let published = self.within(token.segment as usize, |segment| {
            segment.publish(token.lease(), value, deadline_ms, now_ms, is_ahead)
        });
        let slot = published.ok().flatten()?;
        Some(HitToken { segment: token.segment, slot })
    }

    /// The right to read an entry again that goes on being served meanwhile, until it is replaced;
    /// none when it is not held, on its way, being written or better left out.
    pub fn begin_renewal(&self, id: &EntryRef<'_>, now_ms: u64) -> Option<Token> {
        let hash = self.entry_hash(id);
        let segment = self.segment_of(id.key_hash);
        let lease = self.within(segment, |held| held.begin_renewal(hash, id, now_ms));
        lease.map(|(slot, generation)| Token { segment: segment as u32, slot, generation })
    }

    /// How often an entry was hit since it was stored; its name if that is at least so often. None
    /// when it is gone.
    pub fn lived(&self, at: HitToken, least: u32) -> Option<(u32, Option<Hot>)> {
        let segment = self.segments[at.segment as usize].0.lock();
        let (key, hits) = segment.shard.lived(at.slot)?;
        Some((hits, (hits >= least).then(|| Hot::new(key, hits))))
    }

    /// The right to load what nobody has asked for; none when it is held, on its way, being
    /// written or better left out. A `begin` that comes meanwhile joins the load.
    pub fn begin_ahead(&self, id: &EntryRef<'_>, now_ms: u64) -> Option<Token> {
        let hash = self.entry_hash(id);
        let segment = self.segment_of(id.key_hash);
        let lease = self.within(segment, |held| held.begin_ahead(hash, id, now_ms));
        lease.map(|(slot, generation)| Token { segment: segment as u32, slot, generation })
    }

    /// Whether an entry is held or on its way; counts nothing.
    pub fn is_here(&self, id: &EntryRef<'_>, now_ms: u64) -> bool {
        let hash = self.entry_hash(id);
        self.segments[self.segment_of(id.key_hash)].0.lock().is_here(hash, id, now_ms)
    }

    /// Gives a load up.
    pub fn abandon(&self, token: Token) {
        self.within(token.segment as usize, |segment| segment.leases.end(token.lease()));
    }

    /// Gives a load up because its value is too large; the entry is bypassed until then.
    pub fn too_large(&self, token: Token, until_ms: u64) {
        self.within(token.segment as usize, |segment| {
            segment.too_large(token.lease(), until_ms);
        });
    }

    /// Out of band: entries and every load of `dep` die. Returns how many entries.
    pub fn invalidate(&self, dep: u64) -> usize {
        self.within(self.segment_of(dep), |segment| segment.invalidate(dep))
    }

    /// As `invalidate`, of a key that has not changed: somebody has read past the L1 and may have
    /// seen more than it holds. It does not count towards the key's being write-hot.
    pub fn remove(&self, dep: u64) -> usize {
        self.within(self.segment_of(dep), |segment| segment.remove(dep))
    }

    /// In wire order on `scope`'s stream: entries of all scopes die, and loads of `scope` whose
    /// read was answered before the push. Returns how many entries.
    pub fn invalidate_pushed(&self, dep: u64, scope: u32) -> usize {
        self.within(self.segment_of(dep), |segment| segment.invalidate_pushed(dep, scope))
    }

    /// A write to these keys is about to leave: until `end_write` nothing of them is held.
    pub fn begin_write(&self, deps: &[u64]) {
        for &dep in deps {
            let tells = self.wants_written.load(Ordering::Relaxed);
            self.within(self.segment_of(dep), |segment| segment.begin_write(dep, tells));
        }
    }

    /// That write was answered, failed or timed out. Returns what had been hit before it and is gone
    /// for it, once no other write of the key is under way: worth reading again, where somebody does
    /// (`tell_written`).
    pub fn end_write(&self, deps: &[u64]) -> Vec<Hot> {
        let mut hot = Vec::new();
        for &dep in deps {
            hot.append(&mut self.within(self.segment_of(dep), |segment| segment.end_write(dep)));
        }
        hot
    }

    /// A scope no entry was ever stored in; moving to it is a flush at no cost.
    pub fn new_scope(&self) -> u32 {
        self.last_scope.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Nothing of this scope will be asked again: its loads die, its entries go step by step.
    pub fn retire_scope(&self, scope: u32) {
        for segment in 0..self.segments.len() {
            self.within(segment, |segment| segment.leases.kill_scope(scope));
        }
        self.sweep.lock().scopes.push(scope);
    }

    /// One bounded step of sweeping retired scopes, and what has expired on the way; false when
    /// nothing is left to sweep.
    pub fn sweep_step(&self, now_ms: u64) -> bool {
        let mut sweep = self.sweep.lock();
        if sweep.segment == 0 && sweep.cursor == 0 {
            sweep.of_this_round = sweep.scopes.len();
        }
        if sweep.of_this_round == 0 {
            return false;
        }
        let next = self.within(sweep.segment, |segment| {
            let is_retired = |key: &crate::key::EntryKey| sweep.scopes.contains(&key.scope());
            segment.shard.sweep(sweep.cursor, SWEEP_SLOTS, now_ms, is_retired)
        });
        sweep.cursor = next.unwrap_or(0);
        if next.is_none() {
            sweep.segment += 1;
        }
        if sweep.segment == self.segments.len() {
            sweep.segment = 0;
            let swept = sweep.of_this_round;
            sweep.scopes.drain(..swept);
        }
        !sweep.scopes.is_empty()
    }

    /// Drops every entry and voids every load.
    pub fn clear(&self) {
        for segment in 0..self.segments.len() {
            self.within(segment, Segment::clear);
        }
    }

    /// The counters and sizes, summed over the segments.
    pub fn stats(&self) -> Stats {
        let mut total = Stats::default();
        for segment in &self.segments {
            total.add(&segment.0.lock().snapshot());
        }
        Stats { capacity_bytes: self.capacity_bytes as u64, ..total }
    }

    /// Everything known of one key.
    pub fn inspect(&self, key: &[u8], now_ms: u64) -> Vec<Inspected> {
        let key_hash = self.key_hash(key);
        let segment = &self.segments[self.segment_of(key_hash)];
        segment.0.lock().inspect(key, key_hash, now_ms)
    }

    /// The names most hit among the scopes that are wanted, most first, at most `count`; those
    /// longer than `name_bytes_max` are passed over. It counts nothing and drops nothing. The
    /// store may change meanwhile: what is stored anew on the way may be given twice or not at all.
    pub fn hottest(
        &self,
        count: usize,
        name_bytes_max: usize,
        is_wanted: impl Fn(u32) -> bool,
    ) -> Vec<Hot> {
        let mut hottest = Hottest::new(count);
        for segment in &self.segments {
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                cursor = segment.0.lock().shard.visit(from, SWEEP_SLOTS, |key, hits| {
                    if key.name_bytes() <= name_bytes_max && is_wanted(key.scope()) {
                        hottest.offer(key, hits);
                    }
                });
            }
        }
        hottest.into_sorted()
    }

    /// Panics unless every structural invariant holds.
    pub fn validate(&self) {
        for segment in &self.segments {
            segment.0.lock().validate();
        }
    }
}
