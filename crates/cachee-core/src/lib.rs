//! The L1 of cachee: entries, dependencies, leases, eviction, expiry, statistics.
//!
//! The crate is passive. It opens no socket, starts no thread, reads no clock and draws no random
//! number: time is a `now_ms` argument, the hash seed comes from outside, and whoever is told to
//! load a value does so elsewhere and hands it back through its lease.
//!
//! - [`Shard`]: one unsynchronised segment, generic over its keys and values.
//! - [`Store`]: shards behind locks, keyed by Redis key, with leases against stale publishes.
//! - [`Gate`]: may what one upstream link loaded be served right now?

#![forbid(unsafe_code)]

mod bypass;
mod dependencies;
mod gate;
mod ghost;
mod hash;
mod index;
mod key;
mod leases;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod policy;
mod segment;
mod shard;
mod slab;
mod statistics;
mod store;
mod sync;
mod weigh;

pub use gate::Gate;
pub use hash::KeyedHash;
pub use shard::{Inserted, Shard, SlotId};
pub use statistics::Stats;
pub use store::{
    Begin, Bypass, EntryRef, HitToken, Inspected, InspectedState, Store, StoreConfig, Token,
};
pub use weigh::{Weigh, heap_bytes};
