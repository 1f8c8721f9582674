//! One session by itself, whose link and upstream say what they are told to say.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use cachee_core::{Begin, EntryRef, Hot, Store, StoreConfig};
use parking_lot::Mutex;

use super::super::Session;
use crate::admission::Admission;
use crate::cacheable::cacheable;
use crate::commands::CommandTable;
use crate::link::{Outcome, Read, Request};
use crate::proxy::config::{Limits, Login, Mode};
use crate::proxy::counters::Counters;
use crate::proxy::host::{Context, Feed, Host, Identity, Ticket};
use crate::proxy::reply::Reply;
use crate::record::Recorder;

const SCOPE: u32 = 1;
const NOW_MS: u64 = 1_000;

/// The description of a real server's commands, taken apart once.
pub(super) fn table() -> &'static CommandTable {
    static TABLE: OnceLock<CommandTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        let frame = include_bytes!("../../../../tests/data/command-valkey-8.1.8.resp");
        CommandTable::parse(frame).expect("a real server's answer")
    })
}

/// A link that never answers by itself.
#[derive(Default)]
pub(in super::super) struct RigFeed {
    /// Reads that were asked and not ended.
    pub(in super::super) asked: Mutex<Vec<(Ticket, Vec<u8>)>>,
    /// Another client's read is always quicker, and its entry gone at once.
    pub(in super::super) is_slow: AtomicBool,
}

impl Feed for RigFeed {
    fn open_scope(&self, _now_ms: u64) -> Option<u32> {
        Some(SCOPE)
    }

    fn read_many(&self, requests: &[Request<'_>], tickets: &[Ticket]) -> Vec<Read> {
        if self.is_slow.load(Ordering::Relaxed) {
            return vec![Read::Present; requests.len()];
        }
        let asked = requests.iter().zip(tickets);
        self.asked.lock().extend(asked.map(|(request, ticket)| (*ticket, request.key.to_vec())));
        vec![Read::Submitted; requests.len()]
    }
}

pub(in super::super) struct RigHost {
    pub(in super::super) store: Store<Reply>,
    pub(in super::super) feed: Arc<RigFeed>,
    pub(in super::super) barriers: AtomicUsize,
    /// Who last asked for a link.
    pub(in super::super) identity: Mutex<Option<Identity>>,
}

impl Host for RigHost {
    fn store(&self) -> &Store<Reply> {
        &self.store
    }

    fn feed(&self, identity: &Identity) -> Option<Arc<dyn Feed>> {
        *self.identity.lock() = Some(identity.clone());
        Some(Arc::clone(&self.feed) as Arc<dyn Feed>)
    }

    /// Its feed reads nothing ahead.
    fn written(&self, _: &[Hot]) {}

    fn barrier(&self) {
        self.barriers.fetch_add(1, Ordering::Relaxed);
    }

    fn rights_changed(&self) {
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

/// The session and everything around it.
pub(in super::super) struct Rig {
    pub(in super::super) session: Session,
    pub(in super::super) host: RigHost,
    pub(in super::super) limits: Limits,
    admission: Admission,
    counters: Counters,
    login: Option<Login>,
    db: u32,
    pub(in super::super) recorder: Option<Recorder>,
}

macro_rules! context {
    ($rig:ident) => {
        Context {
            host: &$rig.host,
            table: Some(table()),
            limits: &$rig.limits,
            mode: Mode::On,
            admission: &$rig.admission,
            counters: &$rig.counters,
            login: $rig.login.as_ref(),
            db: $rig.db,
            recorder: $rig.recorder.as_ref(),
            now_ms: NOW_MS,
        }
    };
}

impl Rig {
    pub(in super::super) fn new(login: Option<Login>, db: u32, limits: Limits) -> Self {
        let place = Ticket { worker: 0, client: 0, serial: 1, sequence: 0, part: 0 };
        let store = Store::new(StoreConfig { capacity_bytes: 1 << 20, shards: 1, seed: 1 });
        Self {
            session: Session::new(place, login.as_ref(), db),
            host: RigHost {
                store,
                feed: Arc::default(),
                barriers: AtomicUsize::new(0),
                identity: Mutex::default(),
            },
            limits,
            admission: Admission::new(&["*"], &[] as &[&str], &[] as &[(&str, bool)]),
            counters: Counters::default(),
            login,
            db,
            recorder: None,
        }
    }

    /// Has the L1 hold the reply to `GET key`.
    pub(in super::super) fn hold(&self, key: &[u8], frame: &[u8]) {
        let store = &self.host.store;
        let key_hash = store.key_hash(key);
        let shape = cacheable(&[b"GET", key]).map_or(0, |found| found.shape);
        let id = EntryRef { scope: SCOPE, shape, key, args: &[], key_hash };
        if let Begin::Lease(token) = store.begin(&id, NOW_MS, true) {
            store.publish(token, Reply(frame.into()), u64::MAX, NOW_MS);
        }
    }

    pub(in super::super) fn wants_bytes(&self) -> bool {
        let context = context!(self);
        self.session.wants_bytes(&context)
    }

    pub(in super::super) fn take_bytes(&mut self, bytes: &[u8]) {
        let context = context!(self);
        self.session.core.advance();
        self.session.resume(&context);
        self.session.take_bytes(&context, bytes);
        while self.session.has_commands() && self.session.core.may_take(&context) {
            self.session.resume(&context);
        }
    }

    pub(in super::super) fn is_output_full(&self) -> bool {
        let context = context!(self);
        self.session.core.is_output_full(&context)
    }

    pub(in super::super) fn take_upstream_bytes(&mut self, bytes: &[u8]) {
        let context = context!(self);
        self.session.core.take_upstream_bytes(&context, bytes);
        self.worked();
    }

    /// The end of the `at`th read that was asked.
    pub(in super::super) fn end_read(&mut self, at: usize, end: Outcome) {
        let (ticket, _) = self.host.feed.asked.lock().remove(at);
        let context = context!(self);
        self.session.core.end_read(&context, ticket.sequence, ticket.part, end);
        self.worked();
    }

    #[cfg(test)]
    pub(in super::super) fn fail(&mut self, reason: &str) {
        let context = context!(self);
        self.session.core.fail(&context, reason);
    }

    pub(in super::super) fn lose_upstream(&mut self) {
        let context = context!(self);
        self.session.core.lose_upstream(&context);
        self.worked();
    }

    /// The client is gone.
    pub(in super::super) fn close(&mut self) {
        let context = context!(self);
        self.session.core.settle_all(&context);
    }

    /// As a worker goes on after any event.
    fn worked(&mut self) {
        self.take_bytes(b"");
    }
}
