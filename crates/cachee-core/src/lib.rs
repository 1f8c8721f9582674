//! The L1 of cachee: entries, dependencies, leases, eviction, expiry, statistics.
//!
//! The crate is passive. It opens no socket, starts no thread, reads no clock and draws no random
//! number: time is a `now_ms` argument, the hash seed comes from outside, and whoever is told to
//! load a value does so elsewhere and hands it back through its lease.
//!
//! - [`Shard`]: one unsynchronised segment, generic over its keys and values.
//! - [`Store`]: shards behind locks, keyed by Redis key, with leases against stale publishes.
//! - [`Predictor`]: what is asked for next; [`simulation`]: all of it on a recorded trace.
//! - [`Gate`]: may what one upstream link loaded be served right now?
//!
//! ```
//! use cachee_core::{Begin, EntryRef, Store, StoreConfig};
//!
//! let store = Store::new(StoreConfig { capacity_bytes: 1 << 20, shards: 4, seed: 42 });
//! let key_hash = store.key_hash(b"user:1");
//! let id = EntryRef { scope: 1, shape: 1, key: b"user:1", args: b"", key_hash };
//! let now_ms = 0;
//!
//! // The first reader is told to load; what it brings is stored while its lease lives.
//! let Begin::Lease(token) = store.begin(&id, now_ms, false) else { unreachable!() };
//! assert!(store.publish(token, b"Ada".to_vec(), 60_000, now_ms));
//! assert_eq!(store.with_hit(&id, now_ms, |value, _| value.len()), Some(3));
//!
//! // A change drops the entry, and voids a load that was under way.
//! let Begin::Present = store.begin(&id, now_ms, false) else { unreachable!() };
//! assert_eq!(store.invalidate(key_hash), 1);
//! let Begin::Lease(token) = store.begin(&id, now_ms, false) else { unreachable!() };
//! store.invalidate(key_hash);
//! assert!(!store.publish(token, b"old".to_vec(), 60_000, now_ms));
//! ```

#![forbid(unsafe_code)]

mod bypass;
mod dependencies;
mod gate;
mod ghost;
mod hash;
mod hottest;
mod index;
mod key;
mod leases;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod policy;
mod prediction;
mod segment;
mod shard;
pub mod simulation;
mod slab;
mod statistics;
mod store;
mod sync;
mod weigh;

pub use gate::Gate;
pub use hash::KeyedHash;
pub use hottest::Hot;
pub use prediction::{
    Access, Ahead, Fields, Foresight, ForesightConfig, ForesightStats, Learned, NOT_WANTED, Origin,
    PredictionStats, Predictor, REFETCH_HITS, RuleStats, RuleView, SentStats, Target,
};
pub use shard::{Inserted, Shard, SlotId};
pub use statistics::Stats;
pub use store::{
    Begin, Bypass, EntryRef, HitToken, Inspected, InspectedState, Store, StoreConfig, Token,
};
pub use weigh::{Weigh, heap_bytes};
