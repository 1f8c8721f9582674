//! The L1 of the drop-in and of the proxy: shards behind locks.

use std::marker::PhantomData;

use crate::statistics::Stats;
use crate::weigh::Weigh;

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
    pub(crate) shard: u32,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// The very entry a hit was served from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HitToken {
    pub(crate) shard: u32,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What a reader that found nothing must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// An entry is there after all: look again.
    Present,
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
    /// A load under way.
    Loading,
    /// The whole key: this process is writing it.
    WriteInFlight,
    /// The whole key: bypassed until `deadline_ms` because it changes too often.
    WriteHot,
}

/// Shards behind locks, chosen by key hash.
pub struct Store<V> {
    values: PhantomData<V>,
}

// Signatures first: two crates are written against them.
#[allow(unused_variables)] // bodies follow
impl<V: Weigh> Store<V> {
    /// An empty store.
    pub fn new(config: StoreConfig) -> Self {
        unimplemented!()
    }
    /// The keyed hash of a Redis key, which is also its dependency.
    #[inline]
    pub fn key_hash(&self, key: &[u8]) -> u64 {
        unimplemented!()
    }
    /// Runs `f` on a live entry under the shard's lock; `f` must not call the store. Nothing
    /// found is not counted here: `begin` does.
    #[inline]
    pub fn with_hit<R>(
        &self,
        id: &EntryRef<'_>,
        now_ms: u64,
        f: impl FnOnce(&mut V, HitToken) -> R,
    ) -> Option<R> {
        unimplemented!()
    }
    /// Changes the value a hit came from, if it is still that entry, and weighs it anew.
    pub fn update(&self, token: HitToken, f: impl FnOnce(&mut V)) -> bool {
        unimplemented!()
    }
    /// The miss path: says what the reader must do. `fresh` distrusts whatever is older than now.
    pub fn begin(&self, id: &EntryRef<'_>, now_ms: u64, fresh: bool) -> Begin {
        unimplemented!()
    }
    /// The reply of the read itself was parsed; later pushes for the key void the load.
    pub fn mark_read(&self, token: Token) {
        unimplemented!()
    }
    /// Stores a loaded value; false when the load was voided meanwhile or does not fit.
    pub fn publish(&self, token: Token, value: V, deadline_ms: u64, now_ms: u64) -> bool {
        unimplemented!()
    }
    /// Gives a load up.
    pub fn abandon(&self, token: Token) {
        unimplemented!()
    }
    /// Gives a load up because its value is too large; the entry is bypassed until then.
    pub fn too_large(&self, token: Token, until_ms: u64) {
        unimplemented!()
    }
    /// Out of band: entries and every load of `dep` die. Returns how many entries.
    pub fn invalidate(&self, dep: u64) -> usize {
        unimplemented!()
    }
    /// In wire order on `scope`'s stream: entries of all scopes die, and loads of `scope` whose
    /// read was answered before the push. Returns how many entries.
    pub fn invalidate_pushed(&self, dep: u64, scope: u32) -> usize {
        unimplemented!()
    }
    /// A write to these keys is about to leave.
    pub fn begin_write(&self, deps: &[u64]) {
        unimplemented!()
    }
    /// That write was answered, failed or timed out.
    pub fn end_write(&self, deps: &[u64]) {
        unimplemented!()
    }
    /// A scope no entry was ever stored in.
    pub fn new_scope(&self) -> u32 {
        unimplemented!()
    }
    /// Nothing of this scope will be asked again: its loads die, its entries go step by step.
    pub fn retire_scope(&self, scope: u32) {
        unimplemented!()
    }
    /// One bounded step of sweeping retired scopes; false when nothing is left to sweep.
    pub fn sweep_step(&self) -> bool {
        unimplemented!()
    }
    /// Drops every entry and voids every load.
    pub fn clear(&self) {
        unimplemented!()
    }
    /// The counters and sizes, summed over the shards.
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }
    /// Everything known of one key.
    pub fn inspect(&self, key: &[u8], now_ms: u64) -> Vec<Inspected> {
        unimplemented!()
    }
    /// Panics unless every structural invariant holds.
    pub fn validate(&self) {
        unimplemented!()
    }
}
