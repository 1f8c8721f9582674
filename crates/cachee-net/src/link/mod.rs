//! The coherent link.

mod outcome;

use std::sync::Arc;
use std::time::Duration;

use cachee_core::{Gate, Store, Weigh};

use crate::commands::CommandTable;
use crate::config::LinkConfig;
pub use outcome::{BypassReason, Outcome, Read};

/// What the L1 keeps of a reply.
pub trait LinkValue: Weigh + Send + 'static {
    /// `frame` is one whole RESP3 reply as it came, never an error.
    fn from_reply(frame: Arc<[u8]>) -> Self;
}

/// Called once with the end of a submitted read: on whichever thread reads the socket, so it must
/// be quick, take no lock that is held while calling the link, and not call the link.
pub type Waiter = Box<dyn FnOnce(Outcome) + Send>;

/// One cacheable read.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `Cacheable::shape`.
    pub shape: u32,
    /// The key.
    pub key: &'a [u8],
    /// `store.key_hash(key)`.
    pub key_hash: u64,
    /// The other arguments as `cacheable::encode_args` writes them.
    pub args: &'a [u8],
    /// The whole command, name first.
    pub command: &'a [&'a [u8]],
}

/// Where a link is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// The first connection is being made.
    Connecting,
    /// Tracked and in use.
    Ready {
        /// `redis` or `valkey`, as the server calls itself.
        server: String,
        /// Its version.
        version: String,
        /// When this connection became ready.
        since_ms: u64,
    },
    /// No connection; being tried again.
    Down {
        /// Of the last attempt or loss.
        reason: String,
    },
    /// The server answered and cannot or will not do what a link needs; tried again seldom.
    Unsupported {
        /// What it refused.
        reason: String,
    },
    /// Closed by us.
    Closed,
}

/// Counters of one link since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatistics {
    /// Commands sent and not yet answered.
    pub in_flight: usize,
    /// Connections that became ready.
    pub connects: u64,
    /// Reads sent upstream.
    pub fetched: u64,
    /// Reads that joined another's flight.
    pub joined: u64,
    /// Keys the server invalidated.
    pub invalidations: u64,
    /// Invalidations of everything.
    pub flushes: u64,
    /// Reads given back, by reason, in the order of `BypassReason::ALL`.
    pub bypassed: [u64; BypassReason::ALL.len()],
}

/// One RESP3 connection a (server, user, database).
pub struct Link<V> {
    gate: Gate,
    store: Arc<Store<V>>,
}

// Signatures first: another crate is written against them.
#[allow(unused_variables)] // bodies follow
impl<V: LinkValue> Link<V> {
    /// Returns at once; the link connects on a thread of its own.
    pub fn open(config: LinkConfig, store: Arc<Store<V>>) -> Arc<Self> {
        unimplemented!()
    }

    /// May what this link loaded be served now?
    #[inline]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The store this link fills.
    pub fn store(&self) -> &Arc<Store<V>> {
        &self.store
    }

    /// Where the link is in its life.
    pub fn status(&self) -> LinkStatus {
        unimplemented!()
    }

    /// Waits until the first connection has been made or refused.
    pub fn wait_settled(&self, timeout: Duration) -> LinkStatus {
        unimplemented!()
    }

    /// The counters.
    pub fn statistics(&self) -> LinkStatistics {
        unimplemented!()
    }

    /// Sends a read that the L1 could not answer.
    pub fn read(&self, request: &Request<'_>, waiter: Waiter) -> Read {
        unimplemented!()
    }

    /// Sends many in one write; one answer for each, in order.
    pub fn read_many(&self, requests: &[Request<'_>], waiters: Vec<Waiter>) -> Vec<Read> {
        unimplemented!()
    }

    /// Sends a read and waits for its end. The waiting thread reads the socket itself when nobody
    /// else does. `interrupted` is asked about every 50 ms, holding nothing; true gives up.
    pub fn read_wait(
        &self,
        request: &Request<'_>,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Outcome {
        unimplemented!()
    }

    /// As `read_wait` for many in one round trip; one end for each, in order.
    pub fn read_many_wait(
        &self,
        requests: &[Request<'_>],
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Vec<Outcome> {
        unimplemented!()
    }

    /// A write with unknown keys was answered on another connection: nothing is served until the
    /// server has answered something sent after now, by when its invalidations are here.
    pub fn barrier(&self) {
        unimplemented!()
    }

    /// The server's own description of its commands, once connected and if it gives one.
    pub fn commands(&self) -> Option<Arc<CommandTable>> {
        unimplemented!()
    }

    /// Stops serving, gives every read back, ends the thread.
    pub fn close(&self) {
        unimplemented!()
    }

    /// In a forked child: gives up the inherited descriptors, leaks the rest, takes no lock and
    /// talks to nobody. The parent's connection is not disturbed.
    pub fn abandon_after_fork(self: Arc<Self>) {
        unimplemented!()
    }
}
