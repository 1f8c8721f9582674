//! The one statistics snapshot; every rendering elsewhere reads this struct.

/// Counters since creation and the present sizes, of one shard or summed over all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Reads answered from an entry.
    pub hits: u64,
    /// Reads that found nothing and were told to load.
    pub misses: u64,
    /// Reads that joined a load already under way.
    pub coalesced: u64,
    /// Entries stored.
    pub stored: u64,
    /// Entries overwritten by a newer value; counted in `stored` too.
    pub replaced: u64,
    /// Entries the policy gave up for room.
    pub evicted: u64,
    /// Entries dropped because their deadline passed.
    pub expired: u64,
    /// Entries dropped because their dependency changed.
    pub invalidated: u64,
    /// Entries the caller dropped.
    pub removed: u64,
    /// Loads whose lease was dead by the time the value came: given out once, not stored.
    pub voided: u64,
    /// Reads sent past the L1 because a write to the key was under way.
    pub bypass_write_in_flight: u64,
    /// Reads sent past the L1 because the key changes more often than it is read.
    pub bypass_write_hot: u64,
    /// Reads sent past the L1 because the value is known to be too large.
    pub bypass_too_large: u64,
    /// Values that were not stored because they exceed the capacity.
    pub too_large: u64,
    /// Entries loaded ahead that were asked for.
    pub ahead_used: u64,
    /// Entries loaded ahead that were dropped before anybody asked.
    pub ahead_unused: u64,
    /// Of those, the bytes of the values and their names.
    pub ahead_unused_bytes: u64,
    /// Entries held now.
    pub entries: u64,
    /// Loads under way now.
    pub leases: u64,
    /// Bytes held now, the structure's own included.
    pub weight_bytes: u64,
    /// The bound on `weight_bytes`.
    pub capacity_bytes: u64,
}

impl Stats {
    /// Adds another shard's figures to these.
    pub fn add(&mut self, other: &Stats) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.coalesced += other.coalesced;
        self.stored += other.stored;
        self.replaced += other.replaced;
        self.evicted += other.evicted;
        self.expired += other.expired;
        self.invalidated += other.invalidated;
        self.removed += other.removed;
        self.voided += other.voided;
        self.bypass_write_in_flight += other.bypass_write_in_flight;
        self.bypass_write_hot += other.bypass_write_hot;
        self.bypass_too_large += other.bypass_too_large;
        self.too_large += other.too_large;
        self.ahead_used += other.ahead_used;
        self.ahead_unused += other.ahead_unused;
        self.ahead_unused_bytes += other.ahead_unused_bytes;
        self.entries += other.entries;
        self.leases += other.leases;
        self.weight_bytes += other.weight_bytes;
        self.capacity_bytes += other.capacity_bytes;
    }
}
