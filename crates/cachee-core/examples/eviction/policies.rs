//! The candidates, by name.

use cachee_core::{KeyedHash, Shard};

use crate::simulated::{Lru, S3Fifo, Sieve};
use crate::tiny_lfu::WTinyLfu;

/// A cache of keys that weigh 1 each.
pub trait Policy {
    /// Asks for a key and stores it on a miss; whether it was a hit.
    fn access(&mut self, key: u64) -> bool;
}

/// One column of the table.
pub struct Candidate {
    pub name: &'static str,
    pub description: &'static str,
    pub build: fn(usize) -> Box<dyn Policy>,
}

/// All columns, our own first.
pub const POLICIES: [Candidate; 8] = [
    Candidate {
        name: "cachee",
        description: "cachee_core::Shard itself",
        build: |capacity| Box::new(OwnShard::new(capacity)),
    },
    Candidate {
        name: "lru",
        description: "least recently used, exact",
        build: |capacity| Box::new(Lru::new(capacity)),
    },
    Candidate {
        name: "sieve",
        description: "SIEVE, exact",
        build: |capacity| Box::new(Sieve::new(capacity)),
    },
    Candidate {
        name: "s3-fifo",
        description: "S3-FIFO as published, exact",
        build: |capacity| Box::new(S3Fifo::new(capacity)),
    },
    Candidate {
        name: "wtlfu-1%",
        description: "W-TinyLFU, window fixed at 1 %",
        build: |capacity| Box::new(WTinyLfu::fixed(capacity)),
    },
    Candidate {
        name: "wtlfu-hc",
        description: "W-TinyLFU, window by the classic hill climber",
        build: |capacity| Box::new(WTinyLfu::adaptive(capacity)),
    },
    Candidate {
        name: "quick",
        description: "crate quick_cache 0.7, unsync",
        build: |capacity| Box::new(quick_cache::unsync::Cache::<u64, ()>::new(capacity)),
    },
    Candidate {
        name: "moka",
        description: "crate moka 0.12, sync, maintenance run after every insertion",
        build: |capacity| Box::new(moka::sync::Cache::<u64, ()>::new(capacity as u64)),
    },
];

struct OwnShard {
    shard: Shard<u64, ()>,
    hash: KeyedHash,
}

impl OwnShard {
    fn new(capacity: usize) -> Self {
        Self { shard: Shard::weighted(capacity), hash: KeyedHash::new(42) }
    }
}

impl Policy for OwnShard {
    fn access(&mut self, key: u64) -> bool {
        let hash = self.hash.number(key);
        let is_same = |other: &u64| *other == key;
        if self.shard.get(hash, 0, is_same).is_some() {
            return true;
        }
        self.shard.insert(hash, key, (), 1, u64::MAX, &[], is_same);
        self.shard.take_dropped();
        false
    }
}

impl Policy for quick_cache::unsync::Cache<u64, ()> {
    fn access(&mut self, key: u64) -> bool {
        let is_hit = self.get(&key).is_some();
        if !is_hit {
            self.insert(key, ());
        }
        is_hit
    }
}

impl Policy for moka::sync::Cache<u64, ()> {
    fn access(&mut self, key: u64) -> bool {
        let is_hit = self.get(&key).is_some();
        if !is_hit {
            self.insert(key, ());
            self.run_pending_tasks();
        }
        is_hit
    }
}
