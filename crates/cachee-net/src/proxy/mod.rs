//! The L1 for every client that speaks RESP: a byte pipe that answers what it provably may.
//!
//! # Problem
//!
//! Programs in other languages cannot have the L1 in their own memory, but they can connect to it:
//! one loopback round trip instead of the network's. Nobody changes a program for that, so the
//! proxy has to be what the server is, for every command, state and protocol version.
//!
//! # Idea
//!
//! A client has an upstream connection of its own, opened when first needed; everything goes
//! through it in order, unknown commands included. Only a cacheable read of a connection in plain
//! state may be answered without it, from the L1 that the coherent links fill and invalidate.
//!
//! ```text
//! listen ── worker ── session ──┬── L1 (hit)
//!            event     slots,   ├── link of the identity (miss, one flight a key)
//!            loop      state    └── the client's own upstream connection (all else)
//! ```
//!
//! # Parts
//!
//! - [`request`]: commands in bytes; [`resp2`]: cached replies for RESP2.
//! - `session`: one client's state machine, sans I/O. What may be answered when is argued there.
//! - `worker`, `inbox`, `listen`, `output`, `poller`: event loops and sockets.
//! - `topology`: Cluster and Sentinel, where a command goes and what its replies become.
//! - `primary`, `survey`: asking sentinels and nodes; `cluster`: what is known of one, and its feeds;
//!   `session::router`: a cluster as one upstream; `nodes`: its sockets.
//! - `shared`, `watch`, `proofs`: links by identity, the upstream's addresses, rights and commands;
//!   `questions`, `pause`: how a thread asks a server, and rests.
//! - `warm`: names of hot keys out, and in again at the next start.
//!
//! # Threads
//!
//! One event loop every two cores, clients spread over them in turn and never moved. A hit touches the L1's
//! segment lock and two atomics of the gate, nothing else that is shared. A link has a thread of its
//! own; it hands ends to the worker's inbox.
//!
//! # Rejected
//!
//! tokio (a task switch between socket and L1; with one client a socket there is nothing to await
//! but readiness), multiplexing clients on shared upstream connections (one client's broken reply
//! becomes another's answer), `SO_REUSEPORT` (few clients land on one loop).

mod cluster;
pub mod config;
mod counters;
mod host;
mod inbox;
mod listen;
mod names;
mod nodes;
mod output;
mod pause;
mod poller;
mod primary;
mod proofs;
mod questions;
mod reply;
pub mod request;
pub mod resp2;
mod session;
mod shared;
mod survey;
pub(crate) mod topology;
mod warm;
mod watch;
mod worker;

#[cfg(any(test, feature = "model"))]
pub use session::model;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cachee_core::{ForesightStats, RuleView, Stats};
use parking_lot::Mutex;

use crate::error::NetError;
use crate::link::{LinkStatistics, LinkStatus};
use crate::record::Recorder;
use crate::transport;
use config::{Limits, ListenAddress, ProxyConfig};
use host::Identity;
use inbox::Message;
use listen::{Acceptor, AcceptorHandle, Listener};
use pause::Stop;
use shared::Shared;
pub use warm::HotKey;
use warm::user_of;
use watch::Watch;
use worker::Worker;

/// How long the start waits for the upstream, so that the first client finds a link.
const SETTLE: Duration = Duration::from_millis(500);
/// How often a drain looks whether everybody is gone.
const DRAIN_STEP: Duration = Duration::from_millis(5);
/// Rules a report shows of one link.
const RULES_SHOWN: usize = 20;

/// A running proxy. Dropping it ends it.
pub struct Proxy {
    shared: Arc<Shared>,
    addresses: Vec<ListenAddress>,
    acceptor: AcceptorHandle,
    watch: Arc<Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One link, for statistics.
#[derive(Clone, Debug)]
pub struct LinkReport {
    /// The user; empty for who never authenticates.
    pub user: String,
    /// The database.
    pub db: u32,
    /// Where it is in its life.
    pub status: LinkStatus,
    /// What it has counted.
    pub statistics: LinkStatistics,
    /// It may be served now.
    pub is_serving: bool,
    /// What was read ahead; None where nothing is.
    pub ahead: Option<ForesightStats>,
    /// The rules of most use.
    pub rules: Vec<RuleView>,
}

/// What a proxy has done so far.
#[derive(Clone, Debug)]
pub struct ProxyReport {
    /// Connections now.
    pub clients: u64,
    /// The counters by name, summed over the workers.
    pub counters: Vec<(&'static str, u64)>,
    /// The L1's own.
    pub store: Stats,
    /// Its links.
    pub links: Vec<LinkReport>,
    /// The upstream answers.
    pub is_ready: bool,
    /// Why it does not.
    pub problem: String,
}

impl Proxy {
    /// Binds, starts the threads, and waits a moment for the upstream. `seed` is random and not
    /// shown outside the process.
    pub fn start(config: ProxyConfig, seed: u64) -> Result<Self, NetError> {
        let tls = config.listen_tls.as_ref().map(transport::server_config).transpose()?;
        let tls = tls.map(Arc::new);
        let mut listeners = Vec::new();
        for address in &config.listen {
            if address.tls && tls.is_none() {
                return Err(NetError::Tls(format!("{address} needs a certificate")));
            }
            let tls = tls.clone().filter(|_| address.tls);
            listeners.push(Listener::bind(address, tls).map_err(|error| at(address, &error))?);
        }
        let addresses = listeners.iter().map(|listener| listener.address.clone()).collect();
        let threads = config.threads.max(1);
        let shared = Arc::new(Shared::new(ProxyConfig { threads, ..config }, seed)?);

        shared.know_itself();

        let mut workers = Vec::new();
        for number in 0..threads {
            workers.push(Worker::new(number, Arc::clone(&shared))?);
        }
        shared.set_inboxes(workers.iter().map(Worker::inbox).collect());
        let (mut watch, stop) = Watch::new(Arc::clone(&shared));
        Self::settle(&shared, &mut watch);
        let (mut acceptor, handle) = Acceptor::new(Arc::clone(&shared), listeners)?;

        let mut handles = Vec::new();
        for mut worker in workers {
            handles.push(spawn("cachee-worker", move || worker.run())?);
        }
        handles.push(spawn("cachee-watch", move || watch.run())?);
        // These two are not waited for at the end: they may be inside a lookup.
        let proving = Arc::clone(&shared);
        spawn("cachee-proofs", move || proving.proofs.run(&proving))?;
        if let Some(cluster) = shared.cluster.clone() {
            spawn("cachee-names", move || cluster.names.run(&cluster))?;
        }
        handles.push(spawn("cachee-accept", move || acceptor.run())?);
        let threads = Mutex::new(handles);
        Ok(Self { shared, addresses, acceptor: handle, watch: stop, threads })
    }

    /// An upstream that is not there yet is no reason not to start.
    fn settle(shared: &Shared, watch: &mut Watch) {
        use host::Host;
        let end = watch.look();
        if shared.looked(end)
            && shared.cluster.is_none()
            && shared.is_open()
            && shared.config.mode != config::Mode::Off
        {
            let (login, db) = (shared.config.login.clone(), shared.config.link.db);
            shared.settle(&Identity { login, db, node: None }, SETTLE);
            shared.learn_commands();
        }
    }

    /// Where clients may connect, with the ports the system chose.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// The upstream answers.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready.load(Ordering::Acquire)
    }

    /// The ceilings in force.
    pub fn limits(&self) -> Limits {
        (*self.shared.limits()).clone()
    }

    /// New ceilings, for clients that are there as well.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.set_limits(limits);
    }

    /// What has been done so far.
    pub fn report(&self) -> ProxyReport {
        let mut counters = self.shared.totals();
        counters.push(("clients_refused", self.shared.refused.load(Ordering::Relaxed)));
        let recorded = self.shared.recorded();
        counters.push(("recorded", recorded.recorded));
        counters.push(("record_dropped", recorded.dropped));
        let now_ms = crate::clock::coarse_ms();
        let link = |(identity, feed): (Identity, Arc<shared::LinkFeed>)| LinkReport {
            user: user_of(identity.login.as_ref()),
            db: identity.db,
            status: feed.link.status(),
            statistics: feed.link.statistics(),
            ahead: feed.link.ahead_stats(),
            rules: feed.link.rules(RULES_SHOWN),
            is_serving: feed.link.gate().open_scope(now_ms).is_some(),
        };
        let links: Vec<LinkReport> = self.shared.links().into_iter().map(link).collect();
        counters.push(("warmed", links.iter().map(|link| link.statistics.warmed).sum()));
        ProxyReport {
            clients: self.shared.clients.load(Ordering::Relaxed) as u64,
            counters,
            store: self.shared.store.stats(),
            links,
            is_ready: self.is_ready(),
            problem: self.shared.problem.lock().clone(),
        }
    }

    /// The reads that were answered most, at most `count`: names of the present links' users, for
    /// another proxy to `warm`.
    pub fn hot_keys(&self, count: usize) -> Vec<HotKey> {
        warm::hot_keys(&self.shared, count)
    }

    /// Reads these in the background, hottest first, at a bounded rate. Those of users that have
    /// not logged in yet wait for them.
    pub fn warm(&self, hot_keys: Vec<HotKey>) {
        warm::warm(&self.shared, hot_keys);
    }

    /// Accepts no more, answers what has been asked, then ends each client; true when all are
    /// gone in time.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.acceptor.stop();
        self.shared.tell_all(|| Message::Drain);
        let deadline = Instant::now() + timeout;
        while self.shared.clients.load(Ordering::Acquire) > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(DRAIN_STEP);
        }
        true
    }

    /// Ends everything at once.
    pub fn close(&self) {
        self.acceptor.stop();
        self.watch.tell();
        self.shared.proofs.stop();
        self.shared.cluster.iter().for_each(|cluster| cluster.names.stop());
        self.shared.tell_all(|| Message::Stop);
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // None of them panics.
            let _ = thread.join();
        }
        self.shared.close_links();
        self.shared.recorder.iter().for_each(Recorder::close);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

/// A thread of the proxy. One that panics has said so, and ends the process: its clients would wait
/// for ever, and what it was changing in the L1 may be half changed. Whoever supervises the proxy
/// starts it again.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, NetError> {
    let guarded = || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            std::process::abort();
        }
    };
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(guarded)?)
}

fn at(address: &ListenAddress, error: &NetError) -> NetError {
    let NetError::Io(source) = error else {
        return NetError::Refused(format!("{address}: {error}"));
    };
    NetError::Io(std::io::Error::new(source.kind(), format!("{address}: {source}")))
}
