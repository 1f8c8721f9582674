//! What the sessions of a simulation share: the real store, the real links without sockets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cachee_core::{Hot, Store};
use parking_lot::Mutex;

use super::mutation::Mutation;
use crate::config::{AheadConfig, Endpoint, LinkConfig};
use crate::link::model::ModelLink;
use crate::link::{Outcome, Read, Request, Waiter};
use crate::proxy::host::{Feed, Host, Identity, Ticket};
use crate::proxy::reply::Reply;

/// Ends of reads on their way to their worker.
pub(super) type Ends = Arc<Mutex<VecDeque<(Ticket, Outcome)>>>;

pub(super) struct ModelFeed {
    pub(super) link: ModelLink<Reply>,
    pub(super) identity: Identity,
    clock: Arc<AtomicU64>,
    ends: Ends,
    mutation: Option<Mutation>,
}

impl Feed for ModelFeed {
    fn open_scope(&self, now_ms: u64) -> Option<u32> {
        if self.mutation == Some(Mutation::ProofsForEver) {
            return Some(self.link.gate().scope());
        }
        self.link.gate().open_scope(now_ms)
    }

    fn read_many(&self, requests: &[Request<'_>], tickets: &[Ticket]) -> Vec<Read> {
        let waiter = |ticket: &Ticket| -> Waiter {
            let (ends, ticket) = (Arc::clone(&self.ends), *ticket);
            Box::new(move |end: Outcome| ends.lock().push_back((ticket, end)))
        };
        let waiters = tickets.iter().map(waiter).collect();
        self.link.read_many(requests, waiters, self.clock.load(Ordering::Relaxed))
    }
}

pub(super) struct ModelHost {
    pub(super) store: Arc<Store<Reply>>,
    pub(super) feeds: Mutex<Vec<Arc<ModelFeed>>>,
    pub(super) clock: Arc<AtomicU64>,
    pub(super) ends: Ends,
    pub(super) config: LinkConfig,
    pub(super) mutation: Option<Mutation>,
}

impl ModelHost {
    pub(super) fn new(
        store: Arc<Store<Reply>>,
        staleness_ms: u64,
        max_age_ms: u64,
        mutation: Option<Mutation>,
    ) -> Self {
        let config = LinkConfig {
            max_staleness_ms: staleness_ms,
            reply_timeout_ms: staleness_ms / 2,
            max_age_ms,
            max_value_bytes: 64 << 10,
            ahead: Some(AheadConfig { reads_a_miss: 1.0, admission: Arc::default() }),
            ..LinkConfig::new(Endpoint::Unix { path: "/model".into() })
        };
        let (clock, ends) = (Arc::default(), Arc::default());
        Self { store, feeds: Mutex::default(), clock, ends, config, mutation }
    }
}

impl Host for ModelHost {
    fn store(&self) -> &Store<Reply> {
        &self.store
    }

    fn feed(&self, identity: &Identity) -> Option<Arc<dyn Feed>> {
        let mut identity = identity.clone();
        match self.mutation {
            Some(Mutation::DbIgnored) => identity.db = 0,
            Some(Mutation::UserIgnored) => identity.login = None,
            _ => {}
        }
        let mut feeds = self.feeds.lock();
        if let Some(known) = feeds.iter().find(|feed| feed.identity == identity) {
            return Some(Arc::clone(known) as Arc<dyn Feed>);
        }
        let feed = Arc::new(ModelFeed {
            link: ModelLink::new(self.config.clone(), Arc::clone(&self.store)),
            identity,
            clock: Arc::clone(&self.clock),
            ends: Arc::clone(&self.ends),
            mutation: self.mutation,
        });
        feeds.push(Arc::clone(&feed));
        Some(feed)
    }

    fn written(&self, hot: &[Hot]) {
        let now_ms = self.clock.load(Ordering::Relaxed);
        self.feeds.lock().iter().for_each(|feed| feed.link.written(hot, now_ms));
    }

    fn barrier(&self) {
        if self.mutation != Some(Mutation::NoBarrier) {
            self.feeds.lock().iter().for_each(|feed| feed.link.barrier());
        }
    }

    fn rights_changed(&self) {
        let feeds = std::mem::take(&mut *self.feeds.lock());
        feeds.iter().for_each(|feed| feed.link.lose(crate::link::BypassReason::Closed));
        self.store.clear();
    }

    fn is_open(&self) -> bool {
        true
    }

    fn is_closed(&self) -> bool {
        !self.is_open()
    }

    fn info(&self) -> String {
        "# cachee\r\n".to_owned()
    }
}
