//! The coherent link: one tracked RESP3 connection that every cacheable miss of the process
//! shares, and the only thing that puts server data into the L1.
//!
//! # Problem
//!
//! A value may be stored only if no invalidation of it can be missed, and must vanish when one
//! comes, while many threads read, write and lose connections. Clients that hand the reply to the
//! caller and let the caller store it all serve stale data sooner or later.
//!
//! # Idea
//!
//! Reads and invalidations travel on one stream, and one reader at a time applies both to the L1
//! in wire order, under the link's lock (`state`). Whoever asks is only told afterwards. Leases
//! from the store settle what happens besides the stream (own writes, other feeds). A proof with
//! every answer says up to when the L1 may be trusted (`Gate`).
//!
//! # Parts
//!
//! - `state`, `answers`: the state machine, sans I/O; the races and their arguments are there.
//! - `ahead`: reads that nobody has asked for yet; `renewal`: entries that are about to end;
//!   `warm`: what was hot before a restart or a lost connection.
//! - `connection`: who reads the socket, and why nothing is left unread.
//! - `thread`: connecting, timeouts, signs of life, and reading when nobody waits.
//! - `wait`: blocking callers.
//! - `inbound`, `flight`, `slot`, `ttl`, `backoff`: what their names say.
//!
//! A link is one (node, user, database); several links may share a store, as Cluster and Sentinel
//! will need. Whatever fails ends in `Bypass`: the caller asks through its own connection.
//!
//! # Cost
//!
//! A read is two commands in one write; the lock is held for the bookkeeping only, never during a
//! system call. Rejected: a connection per thread (the server pays for each tracker), `MULTI`
//! around the read and `PTTL` (doubles the server's work; the push between the two replies says
//! the same), an async runtime (a thread switch for every miss, and a dependency in every wheel).

mod ahead;
mod answers;
mod backoff;
mod connection;
mod flight;
pub(crate) mod inbound;
#[cfg(test)]
pub(crate) mod model;
mod outcome;
mod renewal;
mod slot;
mod state;
mod thread;
mod ttl;
mod wait;
mod warm;

use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use cachee_core::{EntryRef, Gate, Store, Weigh};
use parking_lot::{Condvar, Mutex, MutexGuard};
use polling::Poller;

use crate::clock;
use crate::commands::CommandTable;
use crate::config::LinkConfig;
use connection::Connection;
use flight::{Completions, Waiting};
use inbound::Inbound;
pub use outcome::{BypassReason, Outcome, Read};
use state::{Context, State};
pub(crate) use warm::{NAME_BYTES_MAX, NAMES_MAX};

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
    /// Which request of the application, task or connection asks; None: nobody who is to be learned
    /// from.
    pub flow: Option<u64>,
}

impl<'a> Request<'a> {
    /// The entry it is answered from.
    fn id(&self, scope: u32) -> EntryRef<'a> {
        let Self { shape, key, args, key_hash, .. } = *self;
        EntryRef { scope, shape, key, args, key_hash }
    }
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
    /// What was hot before and has been read again.
    pub warmed: u64,
    /// Reads given back, by reason, in the order of `BypassReason::ALL`.
    pub bypassed: [u64; BypassReason::ALL.len()],
}

/// One RESP3 connection a (server, user, database).
pub struct Link<V> {
    gate: Gate,
    store: Arc<Store<V>>,
    config: LinkConfig,
    state: Mutex<State>,
    /// The status changed, or the thread ended.
    changed: Condvar,
    poller: Arc<Poller>,
    is_closing: AtomicBool,
    has_ended: AtomicBool,
    /// In a forked child: locks may be held by threads that do not exist here.
    is_abandoned: AtomicBool,
    /// The connected socket, for a forked child that may take no lock; −1 when there is none.
    socket_fd: AtomicI32,
}

/// How long `close` waits for the thread, which may be inside a name lookup.
const CLOSE_WAIT: Duration = Duration::from_millis(250);

impl<V> Drop for Link<V> {
    fn drop(&mut self) {
        let reserved_bytes = self.state.get_mut().reserved_bytes;
        if reserved_bytes > 0 {
            self.store.give_back(reserved_bytes);
        }
    }
}

impl<V: LinkValue> Link<V> {
    /// Returns at once; the link connects on a thread of its own. Fails only when the system has
    /// no more descriptors or threads.
    pub fn open(config: LinkConfig, store: Arc<Store<V>>) -> std::io::Result<Arc<Self>> {
        let poller = Arc::new(Poller::new()?);
        let scope = store.new_scope();
        let link = Arc::new(Self {
            gate: Gate::new(scope),
            state: Mutex::new(State::new(scope, &config, &store)),
            store,
            config,
            changed: Condvar::new(),
            poller,
            is_closing: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            socket_fd: AtomicI32::new(-1),
        });
        let of_thread = Arc::clone(&link);
        std::thread::Builder::new().name("cachee-link".to_owned()).spawn(move || {
            // A panic has said so. Nobody is to wait for a thread that is gone, and nothing is
            // to be served of what it may have left half done.
            if catch_unwind(AssertUnwindSafe(|| thread::run(&of_thread))).is_err() {
                if of_thread.config.panic_ends_process {
                    std::process::abort();
                }
                of_thread.has_ended.store(true, Ordering::Release);
                of_thread.close();
            }
        })?;
        Ok(link)
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

    /// What the link was opened with.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Where the link is in its life.
    pub fn status(&self) -> LinkStatus {
        if self.is_abandoned() {
            return LinkStatus::Closed;
        }
        self.state.lock().status.clone()
    }

    /// Waits until the first connection has been made or refused.
    pub fn wait_settled(&self, timeout: Duration) -> LinkStatus {
        if self.is_abandoned() {
            return LinkStatus::Closed;
        }
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        while state.status == LinkStatus::Connecting {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.status.clone()
    }

    /// The counters.
    pub fn statistics(&self) -> LinkStatistics {
        if self.is_abandoned() {
            return LinkStatistics::default();
        }
        let state = self.state.lock();
        LinkStatistics { in_flight: state.in_flight(), ..state.statistics.clone() }
    }

    /// Sends a read that the L1 could not answer.
    pub fn read(&self, request: &Request<'_>, waiter: Waiter) -> Read {
        if self.is_abandoned() {
            return Read::Bypass(BypassReason::Closed);
        }
        let mut state = self.state.lock();
        let read = state.submit(&self.context(), request, Waiting::Call(waiter), clock::now_ms());
        self.write_out(state);
        read
    }

    /// Sends many in one write; one answer for each, in order.
    pub fn read_many(&self, requests: &[Request<'_>], waiters: Vec<Waiter>) -> Vec<Read> {
        if self.is_abandoned() {
            return vec![Read::Bypass(BypassReason::Closed); requests.len()];
        }
        let mut state = self.state.lock();
        let now_ms = clock::now_ms();
        let reads = requests
            .iter()
            .zip(waiters)
            .map(|(request, waiter)| {
                state.submit(&self.context(), request, Waiting::Call(waiter), now_ms)
            })
            .collect();
        self.write_out(state);
        reads
    }

    /// A write with unknown keys was answered on another connection: nothing is served until the
    /// server has answered something sent after now, by when its invalidations are here.
    pub fn barrier(&self) {
        if !self.is_abandoned() {
            self.state.lock().barrier(&self.gate);
        }
    }

    /// The server's own description of its commands, once connected and if it gives one.
    pub fn commands(&self) -> Option<Arc<CommandTable>> {
        if self.is_abandoned() {
            return None;
        }
        self.state.lock().commands.as_ref().map(|(_, table)| Arc::clone(table))
    }

    /// Stops serving, gives every read back, ends the thread.
    pub fn close(&self) {
        if self.is_abandoned() {
            return;
        }
        self.is_closing.store(true, Ordering::Release);
        let mut completions = Completions::new();
        let mut state = self.state.lock();
        let connection = state.connection.clone();
        state.lose(&self.context(), BypassReason::Closed, &mut completions);
        state.status = LinkStatus::Closed;
        self.changed.notify_all();
        drop(state);
        if let Some(connection) = connection {
            connection.transport.shut_down();
        }
        self.wake_thread();
        tell(completions);
        let deadline = Instant::now() + CLOSE_WAIT;
        let mut state = self.state.lock();
        while !self.has_ended.load(Ordering::Acquire) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
    }

    /// In a forked child: gives up the inherited descriptors, leaks the rest, takes no lock and
    /// talks to nobody. The parent's connection is not disturbed. Other owners of this link in
    /// the child find it closed.
    pub fn abandon_after_fork(self: Arc<Self>) {
        self.gate.close();
        if self.is_abandoned.swap(true, Ordering::AcqRel) {
            return;
        }
        let descriptors = [self.socket_fd.swap(-1, Ordering::AcqRel), self.poller.as_raw_fd()];
        // The thread that owns them does not exist here, and a lock may be held by a thread that
        // does not either: so no destructor may run.
        std::mem::forget(self);
        for descriptor in descriptors {
            if descriptor >= 0 {
                // SAFETY: both belonged to the link leaked above, whose destructor never runs, and
                // nothing else in the child uses them.
                unsafe { rustix::io::close(descriptor) };
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    fn context(&self) -> Context<'_, V> {
        Context { store: &self.store, gate: &self.gate, config: &self.config }
    }

    fn wake_thread(&self) {
        // It can only fail when the poller is gone, and then there is no thread to wake.
        let _ = self.poller.notify();
    }

    /// Writes what was submitted. Who finds a writer at work leaves it its bytes: under load one
    /// system call carries the commands of many callers.
    fn write_out<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.sends_ahead() {
            state.send_ahead(&self.context(), clock::now_ms());
        }
        let wakes_thread = std::mem::take(&mut state.is_thread_idle);
        if !state.out.is_writing && !state.out.is_blocked {
            self.write_until_empty(state);
        } else {
            drop(state);
        }
        if wakes_thread {
            self.wake_thread();
        }
    }

    fn write_until_empty<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        let Some(connection) = state.connection.clone() else { return };
        state.out.is_writing = true;
        let mut spare = Vec::new();
        // At least once: TLS may hold bytes that a full socket did not take.
        loop {
            let bytes = std::mem::replace(&mut state.out.bytes, spare);
            drop(state);
            let written = connection.transport.write(&bytes);
            state = self.state.lock();
            if state.generation != connection.generation {
                return;
            }
            match written {
                Ok(written) if !written.is_blocked => {
                    spare = bytes;
                    spare.clear();
                }
                Ok(written) => {
                    state.out.bytes.splice(0..0, bytes[written.bytes..].iter().copied());
                    state.out.is_blocked = true;
                    state.out.is_writing = false;
                    connection.want_write(true);
                    return;
                }
                Err(error) => {
                    state.out.is_writing = false;
                    drop(state);
                    return self.lose(connection.generation, &error.to_string());
                }
            }
            if state.out.bytes.is_empty() {
                break;
            }
        }
        state.out.is_writing = false;
        if state.out.bytes.capacity() < spare.capacity() && spare.capacity() <= SPARE_BYTES_MAX {
            state.out.bytes = spare;
        }
    }

    /// Reads and applies what is there, a bounded amount at a time where the poller will tell of
    /// the rest. False when this connection is over.
    fn pump(&self, connection: &Connection, inbound: &mut Inbound) -> bool {
        for turn in 1.. {
            let space = inbound.space();
            let room = space.len();
            let bytes = match connection.transport.read(space) {
                Ok(0) => {
                    self.lose(connection.generation, "closed by the server");
                    return false;
                }
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                Err(error) => {
                    self.lose(connection.generation, &error.to_string());
                    return false;
                }
            };
            inbound.filled(bytes);
            if !self.apply(connection.generation, inbound) {
                return false;
            }
            let may_leave = !connection.transport.buffers_above_socket();
            if may_leave && (bytes < room || turn >= READS_A_TURN) {
                return true;
            }
        }
        true
    }

    /// Applies every whole frame in wire order; whoever waited is told after the lock is free.
    fn apply(&self, generation: u64, inbound: &mut Inbound) -> bool {
        let mut completions = Completions::new();
        let context = self.context();
        let mut failure = None;
        let mut state = self.state.lock();
        // The connection was given up while these bytes were read: they mean nothing any more.
        if state.generation != generation {
            return false;
        }
        let now_ms = clock::now_ms();
        state.heard_ms = now_ms;
        while failure.is_none() {
            failure = match inbound.next() {
                Ok(Some(frame)) => state.apply(&context, &frame, now_ms, &mut completions).err(),
                Ok(None) => break,
                Err(error) => Some(error),
            };
        }
        // A reply may have led to another question.
        self.write_out(state);
        tell(completions);
        if let Some(error) = failure {
            self.lose(generation, &error.to_string());
        }
        failure.is_none()
    }

    /// Gives a connection up, once.
    fn lose(&self, generation: u64, reason: &str) {
        let mut completions = Completions::new();
        let mut state = self.state.lock();
        if state.generation != generation {
            return;
        }
        let connection = state.connection.clone();
        state.lose(&self.context(), BypassReason::LinkLost, &mut completions);
        state.status = LinkStatus::Down { reason: reason.to_owned() };
        self.changed.notify_all();
        drop(state);
        if let Some(connection) = connection {
            connection.transport.shut_down();
        }
        self.wake_thread();
        tell(completions);
    }
}

/// Reads before the thread looks at what is due by time.
const READS_A_TURN: u32 = 64;
/// A larger write buffer is not kept for the next time.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Runs what waits for ends, holding nothing. A waiter that panics loses its own end only.
fn tell(completions: Completions) {
    for (waiting, outcome) in completions {
        let _ = catch_unwind(AssertUnwindSafe(|| waiting.tell(outcome)));
    }
}

#[cfg(test)]
mod tests {
    use cachee_core::StoreConfig;

    use super::*;
    use crate::config::Endpoint;

    struct Raw;

    impl Weigh for Raw {
        fn weight_bytes(&self) -> usize {
            0
        }
    }

    impl LinkValue for Raw {
        fn from_reply(_frame: Arc<[u8]>) -> Self {
            Self
        }
    }

    #[test]
    fn bytes_of_a_connection_that_was_given_up_mean_nothing() {
        let config = StoreConfig { capacity_bytes: 1 << 20, shards: 1, seed: 1 };
        let nowhere = Endpoint::Unix { path: "/nonexistent/cachee".into() };
        let link = Link::<Raw>::open(LinkConfig::new(nowhere), Arc::new(Store::new(config)))
            .expect("descriptors and a thread");
        let scope = link.gate().scope();
        let mut inbound = Inbound::new(1_000);
        let late = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
        inbound.space()[..late.len()].copy_from_slice(late);
        inbound.filled(late.len());
        assert!(!link.apply(7, &mut inbound));
        assert_eq!(link.statistics().flushes, 0);
        assert_eq!(link.gate().scope(), scope);
        link.close();
    }
}
