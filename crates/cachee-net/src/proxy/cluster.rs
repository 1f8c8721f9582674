//! The cluster as every worker sees it: who serves which slot, and one L1 over one link a node.
//!
//! A key is served from the link of the node that owns its slot, and from no other. What the
//! invalidations of a node cannot tell is that a slot has left it: of a key that was not there, no
//! message comes. So whenever a node is known to have lost a slot, or to be giving one away, all of
//! its links are closed before anything of it is served again (`View::closing`), and keys of slots
//! on their way are not served at all (`View::migrating`). All of this is known as of when the nodes
//! were asked last: once that is longer ago than `max_staleness`, nothing is served.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use super::host::{Feed, Identity, Ticket};
use super::names::Names;
use super::shared::{LinkFeed, Shared};
use super::topology::Address;
use super::topology::slots::{SlotMap, slot};
use crate::link::{BypassReason, Read, Request};

/// What is known of the cluster at one moment.
pub(crate) struct View {
    pub(crate) map: SlotMap,
    /// Nodes whose links are to be closed before they are served from.
    closing: Vec<Address>,
    /// Slots that are being given away, sorted.
    migrating: Vec<u16>,
}

/// The view in force, and how to ask for a newer one.
pub(crate) struct Cluster {
    view: RwLock<Arc<View>>,
    version: AtomicU64,
    /// When the nodes were asked what is known now.
    asked_ms: AtomicU64,
    is_wanted: AtomicBool,
    lock: Mutex<()>,
    wanted: Condvar,
    pub(crate) names: Names,
}

impl Cluster {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        let map = SlotMap::empty();
        let view = View { map, closing: Vec::new(), migrating: Vec::new() };
        Self {
            view: RwLock::new(Arc::new(view)),
            version: AtomicU64::new(1),
            asked_ms: AtomicU64::new(0),
            is_wanted: AtomicBool::new(false),
            lock: Mutex::default(),
            wanted: Condvar::new(),
            names: Names::default(),
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read())
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A node says that another has the slot; false when that one is not known.
    pub(crate) fn moved(&self, slot: u16, address: &Address) -> bool {
        self.refresh();
        let mut view = self.view.write();
        if view.map.primary(slot) == Some(address) {
            return true;
        }
        if !view.map.knows(address) {
            return false;
        }
        let mut map = view.map.clone();
        if map.assign(slot, address).is_none() {
            return false;
        }
        let mut closing = view.closing.clone();
        closing.extend(view.map.primary(slot).cloned());
        *view = Arc::new(View { map, closing, migrating: view.migrating.clone() });
        self.version.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// What the nodes say, asked at `asked_ms`. Links of nodes that `to_close` names afterwards are
    /// to be closed.
    pub(crate) fn publish(&self, mut map: SlotMap, migrating: Vec<u16>, asked_ms: u64) {
        self.asked_ms.store(asked_ms, Ordering::Release);
        let mut view = self.view.write();
        map.inherit(&view.map);
        let left = map.moved_since(&view.map);
        let given = migrating.iter().copied().filter(|slot| !view.is_migrating(*slot));
        let mut closing = view.closing.clone();
        for slot in left.chain(given) {
            if let Some(old) = view.map.primary(slot)
                && !closing.contains(old)
            {
                closing.push(old.clone());
            }
        }
        if map == view.map && migrating == view.migrating && closing == view.closing {
            return;
        }
        *view = Arc::new(View { map, closing, migrating });
        self.version.fetch_add(1, Ordering::AcqRel);
        self.names.look();
    }

    /// Nodes whose links are to be closed.
    pub(crate) fn to_close(&self) -> Vec<Address> {
        self.view.read().closing.clone()
    }

    /// They are closed.
    pub(crate) fn closed(&self, closed: &[Address]) {
        let mut view = self.view.write();
        let mut closing = view.closing.clone();
        closing.retain(|address| !closed.contains(address));
        let (map, migrating) = (view.map.clone(), view.migrating.clone());
        *view = Arc::new(View { map, closing, migrating });
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the view is at most this old: an older one proves nothing.
    fn is_fresh(&self, now_ms: u64, max_staleness_ms: u64) -> bool {
        now_ms <= self.asked_ms.load(Ordering::Acquire).saturating_add(max_staleness_ms)
    }

    /// Something does not fit the view: a newer one is wanted at once.
    pub(crate) fn refresh(&self) {
        if !self.is_wanted.swap(true, Ordering::AcqRel) {
            let _held = self.lock.lock();
            self.wanted.notify_all();
        }
    }

    /// Waits until a newer view is wanted, or for `time`; true when it is.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut held = self.lock.lock();
        if !self.is_wanted.load(Ordering::Acquire) {
            self.wanted.wait_for(&mut held, time);
        }
        self.is_wanted.swap(false, Ordering::AcqRel)
    }
}

impl View {
    fn is_migrating(&self, slot: u16) -> bool {
        self.migrating.binary_search(&slot).is_ok()
    }
}

/// One client's way to the links of its identity.
pub(crate) struct ClusterFeed {
    identity: Identity,
    shared: Weak<Shared>,
    cluster: Arc<Cluster>,
    max_staleness_ms: u64,
    known: Mutex<Known>,
}

/// Kept between two changes of the view.
struct Known {
    version: u64,
    view: Arc<View>,
    /// By the shard's number.
    links: Vec<Option<Arc<LinkFeed>>>,
}

impl ClusterFeed {
    pub(crate) fn new(
        identity: Identity,
        shared: Weak<Shared>,
        cluster: Arc<Cluster>,
        max_staleness_ms: u64,
    ) -> Self {
        let known = Known { version: 0, view: cluster.view(), links: Vec::new() };
        Self { identity, shared, cluster, max_staleness_ms, known: Mutex::new(known) }
    }

    /// The link of the slot's owner; none while nothing of it may be served.
    fn link_of(&self, slot: u16) -> Option<Arc<LinkFeed>> {
        let mut known = self.known.lock();
        let version = self.cluster.version();
        if known.version != version {
            *known = Known { version, view: self.cluster.view(), links: Vec::new() };
        }
        let number = usize::from(known.view.map.owner(slot)?);
        if let Some(Some(feed)) = known.links.get(number)
            && !feed.is_closed()
        {
            return (!known.view.is_migrating(slot)).then(|| Arc::clone(feed));
        }
        let address = known.view.map.primary(slot)?.clone();
        if known.view.closing.contains(&address) || known.view.is_migrating(slot) {
            return None;
        }
        let identity = Identity { node: Some(address), ..self.identity.clone() };
        let feed = self.shared.upgrade()?.link(&identity)?;
        if known.links.len() <= number {
            known.links.resize_with(number + 1, || None);
        }
        known.links[number] = Some(Arc::clone(&feed));
        Some(feed)
    }
}

impl Feed for ClusterFeed {
    /// There is no scope for all keys.
    fn open_scope(&self, _now_ms: u64) -> Option<u32> {
        None
    }

    fn scope_of(&self, key: &[u8], now_ms: u64) -> Option<u32> {
        if !self.cluster.is_fresh(now_ms, self.max_staleness_ms) {
            return None;
        }
        self.link_of(slot(key))?.open_scope(now_ms)
    }

    fn read_many(&self, requests: &[Request<'_>], tickets: &[Ticket]) -> Vec<Read> {
        // A node that is not there is no reason to do without the others: the client's own
        // connection tells.
        let mut ends: Vec<Read> =
            requests.iter().map(|_| Read::Bypass(BypassReason::ErrorReply)).collect();
        let feeds: Vec<_> = requests.iter().map(|read| self.link_of(slot(read.key))).collect();
        let mut is_asked = vec![false; requests.len()];
        for at in 0..requests.len() {
            let (Some(feed), false) = (&feeds[at], is_asked[at]) else { continue };
            let same = |other: &usize| {
                feeds[*other].as_ref().is_some_and(|other| Arc::ptr_eq(other, feed))
            };
            let group: Vec<usize> = (at..requests.len()).filter(same).collect();
            let reads: Vec<Request<'_>> = group.iter().map(|&at| requests[at]).collect();
            let places: Vec<Ticket> = group.iter().map(|&at| tickets[at]).collect();
            for (&at, end) in group.iter().zip(feed.read_many(&reads, &places)) {
                is_asked[at] = true;
                ends[at] = match end {
                    Read::Bypass(_) => Read::Bypass(BypassReason::ErrorReply),
                    end => end,
                };
            }
        }
        ends
    }
}
