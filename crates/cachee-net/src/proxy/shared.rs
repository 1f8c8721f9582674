//! What the workers share: the L1, the links, the upstream's addresses and commands.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use cachee_core::{Hot, Store, StoreConfig};
use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockAddr;

use super::cluster::{Cluster, ClusterFeed};
use super::config::{Limits, Login, Mode, ProxyConfig, Topology};
use super::counters::Counters;
use super::host::{Feed, Host, Identity, Ticket};
use super::inbox::{Inbox, Message};
use super::pause::Stop;
use super::proofs::Proofs;
use super::questions::{ask, log_in};
use super::reply::Reply;
use super::topology::Address;
use super::warm::Waiting;
use crate::admission::Admission;
use crate::commands::CommandTable;
use crate::config::{Credentials, Endpoint, LinkConfig};
use crate::error::NetError;
use crate::link::{Link, LinkStatus, Outcome, Read, Request, Waiter};
use crate::record::{RecordStatistics, Recorder};
use crate::resp::{Node, Reader};
use crate::transport::{self, Transport};

/// Links at a time; one more identity passes through.
const LINKS_MAX: usize = 64;
/// Segments of the L1 a worker.
const SHARDS_A_WORKER: usize = 8;
const SHARDS_MAX: usize = 256;
/// A smaller segment could not hold a value of ordinary size.
const SHARD_BYTES_MIN: usize = 1 << 20;

/// What is known of clients that do not authenticate. While it is not known they have no L1, and
/// the ceilings of those who are let in.
const UNKNOWN: u8 = 0;
const OPEN: u8 = 1;
const CLOSED: u8 = 2;

/// Everything behind the workers.
pub(crate) struct Shared {
    pub(crate) config: ProxyConfig,
    pub(crate) admission: Admission,
    pub(crate) store: Arc<Store<Reply>>,
    pub(crate) counters: Vec<Counters>,
    inboxes: RwLock<Arc<[Arc<Inbox>]>>,
    limits: RwLock<Arc<Limits>>,
    links: RwLock<HashMap<Identity, Arc<LinkFeed>, RandomState>>,
    table: RwLock<Option<Arc<CommandTable>>>,
    /// Counts changes of what workers keep copies of.
    version: AtomicU64,
    addresses: RwLock<Arc<[SockAddr]>>,
    link_config: RwLock<LinkConfig>,
    upstream_tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Are clients let in that do not authenticate?
    lets_in: AtomicU8,
    /// Rights have changed since the watch has looked.
    pub(crate) must_look: AtomicBool,
    /// The proxy's own login (or the default user) may ask about the rights of others.
    pub(crate) may_ask_rights: AtomicBool,
    pub(crate) watch: Arc<Stop>,
    pub(crate) proofs: Proofs,
    /// Where the upstream is one.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// Itself, for the feeds of a cluster.
    own: OnceLock<Weak<Self>>,
    pub(crate) is_ready: AtomicBool,
    /// Why it is not.
    pub(crate) problem: Mutex<String>,
    pub(crate) clients: AtomicUsize,
    /// Clients turned away because there were too many.
    pub(crate) refused: AtomicU64,
    max_staleness_ms: u64,
    /// What an earlier proxy knew, for links that are not open yet.
    pub(crate) remembered: Mutex<Waiting>,
    pub(crate) recorder: Option<Recorder>,
}

/// The login of a client, as the link asks for it.
struct ClientLogin {
    login: Login,
    shared: Weak<Shared>,
    endpoint: Endpoint,
}

impl Credentials for ClientLogin {
    fn get(&self) -> Result<Option<(Option<String>, Vec<u8>)>, NetError> {
        if let Some(shared) = self.shared.upgrade() {
            shared.check_tracking(&self.login, &self.endpoint)?;
        }
        Ok(Some((self.login.user.clone(), self.login.password.clone())))
    }
}

/// A link as sessions see it.
pub(crate) struct LinkFeed {
    pub(crate) link: Arc<Link<Reply>>,
    inboxes: Arc<[Arc<Inbox>]>,
}

impl LinkFeed {
    /// No reads are taken any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.link.is_closing()
    }
}

impl Feed for LinkFeed {
    #[inline]
    fn open_scope(&self, now_ms: u64) -> Option<u32> {
        self.link.gate().open_scope(now_ms)
    }

    fn read_many(&self, requests: &[Request<'_>], tickets: &[Ticket]) -> Vec<Read> {
        let waiter = |ticket: &Ticket| -> Waiter {
            let inbox = Arc::clone(&self.inboxes[ticket.worker]);
            let ticket = *ticket;
            Box::new(move |end: Outcome| inbox.push(Message::End(ticket, end)))
        };
        self.link.read_many(requests, tickets.iter().map(waiter).collect())
    }
}

impl Shared {
    pub(crate) fn new(config: ProxyConfig, seed: u64) -> Result<Self, NetError> {
        let most = (config.max_memory_bytes / SHARD_BYTES_MIN).max(1);
        let shards = (config.threads * SHARDS_A_WORKER).min(SHARDS_MAX).min(most);
        let store = StoreConfig { capacity_bytes: config.max_memory_bytes, shards, seed };
        let mut link_config = config.link.clone();
        // A value that would fill a good part of its shard displaces everything else in it.
        let fitting = (config.max_memory_bytes / shards / 2).max(1);
        link_config.max_value_bytes = link_config.max_value_bytes.min(fitting);
        let upstream_tls = match &config.link.tls {
            None => None,
            Some(tls) => {
                let name = transport::server_name(tls, config.link.endpoint.host())?;
                Some((Arc::new(transport::client_config(tls)?), name))
            }
        };
        let recorder = config.record.as_ref().filter(|_| config.mode != Mode::Off);
        let recorder = recorder.map(Recorder::open).transpose();
        Ok(Self {
            recorder: recorder
                .map_err(|error| NetError::Refused(format!("nothing can be recorded: {error}")))?,
            admission: Admission::new(&config.include, &config.exclude, &config.overrides),
            store: Arc::new(Store::new(store)),
            counters: (0..config.threads).map(|_| Counters::default()).collect(),
            inboxes: RwLock::new(Arc::new([])),
            limits: RwLock::new(Arc::new(config.limits.clone())),
            links: RwLock::default(),
            table: RwLock::default(),
            version: AtomicU64::new(1),
            addresses: RwLock::new(Arc::new([])),
            lets_in: AtomicU8::new(if config.login.is_some() { OPEN } else { UNKNOWN }),
            must_look: AtomicBool::new(false),
            may_ask_rights: AtomicBool::new(false),
            watch: Arc::default(),
            proofs: Proofs::default(),
            cluster: matches!(config.topology, Topology::Cluster { .. })
                .then(|| Arc::new(Cluster::new())),
            own: OnceLock::new(),
            is_ready: AtomicBool::new(false),
            problem: Mutex::new("not tried yet".to_owned()),
            clients: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            max_staleness_ms: config.link.max_staleness_ms,
            remembered: Mutex::default(),
            link_config: RwLock::new(link_config),
            upstream_tls,
            config,
        })
    }

    pub(crate) fn set_inboxes(&self, inboxes: Vec<Arc<Inbox>>) {
        *self.inboxes.write() = inboxes.into();
    }

    pub(crate) fn inboxes(&self) -> Arc<[Arc<Inbox>]> {
        Arc::clone(&self.inboxes.read())
    }

    /// Tells every worker.
    pub(crate) fn tell_all(&self, message: impl Fn() -> Message) {
        self.inboxes().iter().for_each(|inbox| inbox.push(message()));
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read())
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.write() = Arc::new(limits);
        self.changed();
    }

    pub(crate) fn table(&self) -> Option<Arc<CommandTable>> {
        self.table.read().clone()
    }

    pub(crate) fn addresses(&self) -> Arc<[SockAddr]> {
        Arc::clone(&self.addresses.read())
    }

    /// Where the upstream is; true when that is somewhere else than before.
    pub(crate) fn set_addresses(&self, addresses: Vec<SockAddr>) -> bool {
        let mut known = self.addresses.write();
        let has_moved = !known.is_empty() && !known.iter().any(|known| addresses.contains(known));
        *known = addresses.into();
        has_moved
    }

    /// Where an endpoint is. In front of a cluster what was found last is as good; otherwise this
    /// takes as long as the system's lookup.
    pub(crate) fn resolve(&self, endpoint: &Endpoint) -> io::Result<Vec<SockAddr>> {
        match (&self.cluster, endpoint) {
            (Some(cluster), Endpoint::Tcp { host, port }) => {
                cluster.names.find(&Address::new(host, *port))
            }
            _ => transport::resolve(endpoint),
        }
    }

    /// A connection of the proxy's own.
    pub(crate) fn connect(
        &self,
        endpoint: &Endpoint,
        timeout_ms: u64,
    ) -> Result<Transport, NetError> {
        let (addresses, tls) = (self.resolve(endpoint)?, self.config.link.tls.as_ref());
        Ok(transport::connect_to(&addresses, endpoint.host(), tls, timeout_ms)?.0)
    }

    pub(crate) fn upstream_tls(&self) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        self.upstream_tls.clone()
    }

    /// The end of a look at the upstream; true when it is there.
    pub(crate) fn looked(&self, end: Result<(), NetError>) -> bool {
        let is_ready = end.is_ok();
        *self.problem.lock() = end.err().map_or_else(String::new, |error| error.to_string());
        self.is_ready.store(is_ready, Ordering::Release);
        is_ready
    }

    pub(crate) fn set_open(&self, is_open: bool) {
        self.lets_in.store(if is_open { OPEN } else { CLOSED }, Ordering::Release);
    }

    /// How links connect from now on.
    pub(crate) fn link_config(&self) -> LinkConfig {
        self.link_config.read().clone()
    }

    /// Keeps the commands of the server that links have talked to last; true when there are any.
    pub(crate) fn learn_commands(&self) -> bool {
        let links: Vec<_> = self.links.read().values().cloned().collect();
        let Some(found) = links.iter().find_map(|feed| feed.link.commands()) else {
            return self.table.read().is_some();
        };
        let mut table = self.table.write();
        if !table.as_ref().is_some_and(|known| Arc::ptr_eq(known, &found)) {
            *table = Some(found);
            drop(table);
            self.changed();
        }
        true
    }

    /// Every link with its identity.
    pub(crate) fn links(&self) -> Vec<(Identity, Arc<LinkFeed>)> {
        self.links.read().iter().map(|(who, feed)| (who.clone(), Arc::clone(feed))).collect()
    }

    /// Closes every link; sessions ask for new ones.
    pub(crate) fn close_links(&self) {
        let links = std::mem::take(&mut *self.links.write());
        links.into_values().for_each(|feed| feed.link.close());
    }

    /// Closes one link; whoever used it asks for itself until it is accepted again.
    pub(crate) fn close_link(&self, identity: &Identity) {
        let closed = self.links.write().remove(identity);
        if let Some(feed) = closed {
            feed.link.close();
        }
    }

    /// Moves everything to another server.
    pub(crate) fn move_to(&self, endpoint: Endpoint, addresses: Vec<SockAddr>) {
        self.link_config.write().endpoint = endpoint;
        self.set_addresses(addresses);
        self.close_links();
        self.tell_all(|| Message::Moved);
    }

    /// Which node of a cluster is asked about rights and roles.
    pub(crate) fn ask_at(&self, endpoint: Endpoint) {
        self.link_config.write().endpoint = endpoint;
    }

    /// Ends everything that leads to the server there was; `move_to` tells of another.
    pub(crate) fn leave(&self) {
        self.set_addresses(Vec::new());
        self.close_links();
        self.tell_all(|| Message::Moved);
    }

    fn open_link(&self, identity: &Identity) -> Option<Arc<LinkFeed>> {
        let mut links = self.links.write();
        if let Some(feed) = links.get(identity) {
            return Some(Arc::clone(feed));
        }
        // Nobody knows where the upstream is.
        if self.addresses.read().is_empty() {
            return None;
        }
        if links.len() >= LINKS_MAX {
            let unused = links.iter().find(|(_, feed)| Arc::strong_count(feed) == 1);
            let unused = unused.map(|(who, _)| who.clone())?;
            // Its end is waited for elsewhere: every event loop comes by here.
            if let Some(feed) = links.remove(&unused) {
                let closing = Arc::clone(&feed);
                let closer = std::thread::Builder::new().name("cachee-close".to_owned());
                if closer.spawn(move || closing.link.close()).is_err() {
                    feed.link.close();
                }
            }
        }
        let known = self.link_config();
        let node = identity.node.as_ref();
        let endpoint = node.map_or_else(|| known.endpoint.clone(), Address::endpoint);
        let config = LinkConfig {
            db: identity.db,
            credentials: identity.login.clone().map(|login| {
                let shared = self.own.get().cloned().unwrap_or_default();
                let endpoint = endpoint.clone();
                Arc::new(ClientLogin { login, shared, endpoint }) as Arc<dyn Credentials>
            }),
            // One node's link cannot read another's keys, and a request's keys are on all of them.
            ahead: known.ahead.clone().filter(|_| node.is_none()),
            endpoint,
            panic_ends_process: true,
            ..known
        };
        // It fails without descriptors or threads: then there is no L1 for this identity.
        let link = Link::open(config, Arc::clone(&self.store)).ok()?;
        let feed = Arc::new(LinkFeed { link, inboxes: self.inboxes() });
        self.hand_over(identity, &feed);
        links.insert(identity.clone(), Arc::clone(&feed));
        Some(feed)
    }

    /// A user that may not track has no link. To try is a refusal that the server's `ACL LOG` tells
    /// of each time, so whoever may ask about it does so first.
    fn check_tracking(&self, login: &Login, endpoint: &Endpoint) -> Result<(), NetError> {
        let own = self.config.login.as_ref();
        if own == Some(login) || !self.may_ask_rights.load(Ordering::Acquire) {
            return Ok(());
        }
        // What cannot be asked is tried.
        let Ok(transport) = self.connect(endpoint, self.config.link.connect_timeout_ms) else {
            return Ok(());
        };
        if own.is_some_and(|own| log_in(&transport, own).is_err()) {
            return Ok(());
        }
        let user = login.user.as_deref().unwrap_or("default").as_bytes();
        for command in [&[&b"CLIENT"[..], b"TRACKING", b"ON"][..], &[b"CLIENT", b"TRACKINGINFO"]] {
            let question = [&[&b"ACL"[..], b"DRYRUN", user], command].concat();
            if let Ok(answer) = ask(&transport, &question)
                && let Some(Node::Bulk(reason)) = Reader::new(&answer).next()
            {
                return Err(NetError::Unsupported(String::from_utf8_lossy(reason).into_owned()));
            }
        }
        Ok(())
    }

    /// The link of an identity, opened if need be.
    pub(crate) fn link(&self, identity: &Identity) -> Option<Arc<LinkFeed>> {
        let known = self.links.read().get(identity).cloned();
        known.or_else(|| self.open_link(identity))
    }

    /// So that feeds find the way back.
    pub(crate) fn know_itself(self: &Arc<Self>) {
        // Set once, at the start.
        let _ = self.own.set(Arc::downgrade(self));
    }

    /// Closes the links to nodes of a cluster.
    pub(crate) fn close_links_to(&self, nodes: &[Address]) {
        let is_theirs = |who: &Identity| who.node.as_ref().is_some_and(|node| nodes.contains(node));
        let closed: Vec<_> = self.links.write().extract_if(|who, _| is_theirs(who)).collect();
        closed.into_iter().for_each(|(_, feed)| feed.link.close());
    }

    /// Keeps the commands that the server itself has described.
    pub(crate) fn set_table(&self, table: CommandTable) {
        *self.table.write() = Some(Arc::new(table));
        self.changed();
    }

    /// Waits, for a moment, until an identity's link is there.
    pub(crate) fn settle(&self, identity: &Identity, timeout: Duration) -> Option<LinkStatus> {
        Some(self.open_link(identity)?.link.wait_settled(timeout))
    }

    /// What was written down; all zeros when nothing is.
    pub(crate) fn recorded(&self) -> RecordStatistics {
        self.recorder.as_ref().map_or_else(RecordStatistics::default, Recorder::statistics)
    }

    /// One counter, summed over the workers.
    pub(crate) fn totals(&self) -> Vec<(&'static str, u64)> {
        let mut totals: Vec<(&'static str, u64)> = Vec::new();
        for counters in &self.counters {
            for (place, (name, count)) in counters.each().enumerate() {
                match totals.get_mut(place) {
                    Some((_, total)) => *total += count,
                    None => totals.push((name, count)),
                }
            }
        }
        totals
    }
}

impl Host for Shared {
    #[inline]
    fn store(&self) -> &Store<Reply> {
        &self.store
    }

    fn feed(&self, identity: &Identity) -> Option<Arc<dyn Feed>> {
        if let Some(cluster) = &self.cluster {
            let own = self.own.get()?.clone();
            let feed =
                ClusterFeed::new(identity.clone(), own, Arc::clone(cluster), self.max_staleness_ms);
            return Some(Arc::new(feed));
        }
        let feed = self.link(identity)?;
        // A lasting refusal is no link: asking it for every read would cost more than it saves.
        if matches!(feed.link.status(), LinkStatus::Unsupported { .. }) {
            return None;
        }
        Some(feed)
    }

    fn written(&self, hot: &[Hot]) {
        self.links.read().values().for_each(|feed| feed.link.written(hot));
    }

    fn barrier(&self) {
        self.links.read().values().for_each(|feed| feed.link.barrier());
    }

    /// The server holds open connections to the new rules at once, links included. Whether it lets
    /// in who connects from now on is for the watch to find out; until then nobody new is served.
    fn rights_changed(&self) {
        self.store.clear();
        if self.config.login.is_none() {
            self.lets_in.store(UNKNOWN, Ordering::Release);
        }
        self.must_look.store(true, Ordering::Release);
        self.watch.nudge();
        self.proofs.ask();
    }

    fn is_open(&self) -> bool {
        self.lets_in.load(Ordering::Acquire) == OPEN
    }

    fn is_closed(&self) -> bool {
        self.lets_in.load(Ordering::Acquire) == CLOSED
    }

    fn info(&self) -> String {
        let stats = self.store.stats();
        let mut text = String::from("# cachee\r\n");
        let mut line =
            |name: &str, value: u64| text.push_str(&format!("cachee_{name}:{value}\r\n"));
        line("connected_clients", self.clients.load(Ordering::Relaxed) as u64);
        for (name, count) in self.totals() {
            line(name, count);
        }
        line("entries", stats.entries);
        line("memory", stats.weight_bytes);
        line("max_memory", stats.capacity_bytes);
        line("evicted", stats.evicted);
        line("expired", stats.expired);
        line("invalidated", stats.invalidated);
        let RecordStatistics { recorded, dropped } = self.recorded();
        line("recorded", recorded);
        line("record_dropped", dropped);
        line("max_staleness_ms", self.max_staleness_ms);
        text
    }
}
