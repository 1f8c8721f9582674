//! What one worker has counted; the snapshot adds the workers up.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Written by one worker, read by whoever asks.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counters { $($(#[$doc])* pub(crate) $name: Counter,)* }

        impl Counters {
            /// Every counter by name.
            pub(crate) fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections accepted.
    clients_accepted,
    /// Connections that have ended.
    clients_closed,
    /// Connections closed for breaking a ceiling or the protocol.
    clients_expelled,
    /// Commands taken from clients.
    commands,
    /// Cacheable reads answered from the L1; a read of many keys counts each key.
    hits,
    /// Cacheable reads asked of the upstream through a link, or of which the L1 had nothing.
    misses,
    /// Cacheable reads passed to the client's own upstream connection.
    bypassed,
    /// Reads that would have been served, in observe mode.
    would_hit,
    /// Commands forwarded.
    forwarded,
    /// Writes whose keys were known.
    writes,
    /// Commands that may have changed anything.
    opaque_writes,
    /// Bytes from clients.
    bytes_in,
    /// Bytes to clients.
    bytes_out,
    /// Upstream connections made for clients.
    upstream_connects,
    /// Upstream connections that could not be made.
    upstream_refused,
    /// Upstream connections lost with commands unanswered.
    upstream_lost,
    /// Streams that broke the protocol, clients' and upstreams'.
    protocol_errors,
}

/// A number only its worker changes: no locked instruction is needed.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
