//! What was hot in an earlier run, read ahead: names come in, values only from the server. And what
//! was learned there of which key leads to which: rules travel as names of a command that no server
//! has.
//!
//! The problem: a new proxy sends every first read to the server, just when all clients reconnect.
//! The idea: a thread asks the links for the names that were hot, as if a client had asked, so that
//! the rules of every read hold for these as well; a client that asks meanwhile joins the flight.
//! Names belong to a user. Only the proxy's own user has a link before anybody has logged in, the
//! names of the others wait for theirs, for a while.
//!
//! The cost is bounded three ways: so many a second, so many on their way (a client's miss queues
//! behind them), and nothing once the L1 is nearly full, where they would displace each other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cachee_core::Learned;
use parking_lot::Mutex;

use super::config::{Login, Mode};
use super::host::{Host, Identity};
use super::pause::Stop;
use super::shared::{LinkFeed, Shared};
use crate::cacheable::{cacheable, command_name, decode_words, encode_args, shape_named};
use crate::link::{LinkStatus, Outcome, Read, Request, Waiter};

/// Reads in one write.
const BATCH: usize = 64;
/// From one batch to the next: 10 000 reads a second.
const BATCH_INTERVAL: Duration = Duration::from_micros(6_400);
/// While no link can be asked.
const LINK_INTERVAL: Duration = Duration::from_millis(50);
/// Reads on their way when another batch may follow.
const IN_FLIGHT_MAX: usize = BATCH;
/// How long names wait for their user.
const PATIENCE: Duration = Duration::from_secs(600);
/// Names that wait at a time.
const WAITING_MAX: usize = 10_000;
/// Links opened for the proxy's own user before a client asks, one a database.
const OWN_LINKS_MAX: usize = 16;
/// Rules kept of one link.
const RULES_MAX: usize = 128;
/// In the place of a command.
const RULE: &[u8] = b"RULE";
/// Links whose rules wait for them.
const LEARNED_MAX: usize = 256;
/// Longer names are not worth keeping.
const NAME_BYTES_MAX: usize = 16 << 10;

/// A read that was answered often: whose, where, and its words. No credentials, no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// The user; empty for who never authenticates.
    pub user: String,
    /// The database.
    pub db: u32,
    /// Name, key, other arguments.
    pub words: Vec<Vec<u8>>,
}

type Words = Vec<Vec<u8>>;

/// Names still to be read, hottest first, by user and database.
#[derive(Default)]
struct Waiting {
    names: HashMap<(String, u32), VecDeque<Words>>,
    until: Option<Instant>,
    is_running: bool,
}

enum Step {
    Read(Arc<LinkFeed>, Vec<Words>),
    Wait(Duration),
    Over,
}

/// The reading ahead of one proxy.
pub(crate) struct Warmer {
    shared: Arc<Shared>,
    waiting: Mutex<Waiting>,
    in_flight: Arc<AtomicUsize>,
    /// Names that have been answered.
    warmed: Arc<AtomicU64>,
    stop: Stop,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Who a login is, by the name the server knows; empty for nobody.
pub(crate) fn user_of(login: Option<&Login>) -> String {
    let name = |login: &Login| login.user.clone().unwrap_or_else(|| "default".to_owned());
    login.map_or(String::new(), name)
}

impl Warmer {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            waiting: Mutex::default(),
            in_flight: Arc::default(),
            warmed: Arc::default(),
            stop: Stop::default(),
            thread: Mutex::default(),
        })
    }

    pub(crate) fn warmed(&self) -> u64 {
        self.warmed.load(Ordering::Relaxed)
    }

    /// What was learned, the names most hit, then those that still wait to be read, at most `count`.
    pub(crate) fn hot_keys(&self, count: usize) -> Vec<HotKey> {
        let links = self.shared.links();
        let learned = links.iter().flat_map(|(identity, feed)| {
            let (user, db) = (user_of(identity.login.as_ref()), identity.db);
            let rules = feed.link.learned(RULES_MAX).into_iter();
            rules.map(move |rule| HotKey { user: user.clone(), db, words: words_of(rule) })
        });
        let learned: Vec<HotKey> = learned.take(count).collect();
        let count = count - learned.len();
        let scopes: HashMap<u32, Identity> = links
            .into_iter()
            .map(|(identity, feed)| (feed.link.gate().scope(), identity))
            .collect();
        let is_known = |scope: u32| scopes.contains_key(&scope);
        let hottest = self.shared.store.hottest(count, NAME_BYTES_MAX, is_known);
        let named = hottest.iter().filter_map(|hot| {
            let identity = scopes.get(&hot.scope)?;
            let words = decode_words(hot.shape, &hot.key, &hot.args)?;
            Some(HotKey {
                user: user_of(identity.login.as_ref()),
                db: identity.db,
                words: words.into_iter().map(<[u8]>::to_vec).collect(),
            })
        });
        let mut hot_keys: Vec<HotKey> = learned;
        let learned = hot_keys.len();
        hot_keys.extend(named);
        let waiting = self.waiting.lock();
        let left = waiting.names.iter().flat_map(|((user, db), names)| {
            names.iter().map(|words| HotKey { user: user.clone(), db: *db, words: words.clone() })
        });
        let names = hot_keys.len() - learned;
        hot_keys.extend(left.take(count - names.min(count)));
        hot_keys
    }

    /// Reads these in the background. What could not be answered from the L1 is passed over, and
    /// all of them when the system has no more threads: a cold start is no failure.
    pub(crate) fn warm(self: &Arc<Self>, hot_keys: Vec<HotKey>) {
        let mut thread = self.thread.lock();
        // Of a cluster a name would have to be read at its own node.
        let is_cluster = self.shared.cluster.is_some();
        if self.stop.is_told() || self.shared.config.mode == Mode::Off || is_cluster {
            return;
        }
        let (rules, hot_keys): (Vec<_>, Vec<_>) =
            hot_keys.into_iter().partition(|hot| hot.words.first().is_some_and(|it| it == RULE));
        self.learn_again(rules);
        let mut waiting = self.waiting.lock();
        let room = WAITING_MAX.saturating_sub(waiting.names.values().map(VecDeque::len).sum());
        for HotKey { user, db, words } in hot_keys.into_iter().take(room) {
            let refs: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            if cacheable(&refs).is_some() && self.shared.admission.admits(refs[1]) {
                waiting.names.entry((user, db)).or_default().push_back(words);
            }
        }
        waiting.until = Some(Instant::now() + PATIENCE);
        if !waiting.is_running {
            let warmer = Arc::clone(self);
            match super::spawn("cachee-warm", move || warmer.run()) {
                Ok(started) => *thread = Some(started),
                Err(_) => return *waiting = Waiting::default(),
            }
            waiting.is_running = true;
        }
    }

    /// Links that are open are told at once, others when they are opened.
    fn learn_again(&self, rules: Vec<HotKey>) {
        let mut learned: HashMap<(String, u32), Vec<Learned>> = HashMap::new();
        for HotKey { user, db, words } in rules {
            if let Some(rule) = rule_of(words) {
                learned.entry((user, db)).or_default().push(rule);
            }
        }
        for (identity, feed) in self.shared.links() {
            let of_user = (user_of(identity.login.as_ref()), identity.db);
            if let Some(rules) = learned.remove(&of_user) {
                feed.link.learn_again(&rules);
            }
        }
        self.shared.learned.lock().extend(learned.into_iter().take(LEARNED_MAX));
    }

    /// Reads nothing more.
    pub(crate) fn stop(&self) {
        self.stop.tell();
    }

    /// Waits for the thread of a warmer that was stopped.
    pub(crate) fn join(&self) {
        if let Some(thread) = self.thread.lock().take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }

    fn run(&self) {
        while !self.stop.is_told() {
            let pause = match self.step() {
                Step::Read(feed, names) => {
                    self.read(&feed, &names);
                    BATCH_INTERVAL
                }
                Step::Wait(pause) => pause,
                Step::Over => return,
            };
            self.stop.pause(pause);
        }
    }

    fn step(&self) -> Step {
        let mut waiting = self.waiting.lock();
        let is_late = waiting.until.is_some_and(|until| Instant::now() >= until);
        if waiting.names.is_empty() || is_late || self.is_nearly_full() {
            *waiting = Waiting::default();
            return Step::Over;
        }
        if self.in_flight.load(Ordering::Acquire) > IN_FLIGHT_MAX {
            return Step::Wait(BATCH_INTERVAL);
        }
        for (identity, feed) in self.shared.links() {
            let of_user = (user_of(identity.login.as_ref()), identity.db);
            let Some(names) = waiting.names.get_mut(&of_user) else { continue };
            if matches!(feed.link.status(), LinkStatus::Ready { .. }) {
                let batch = names.drain(..BATCH.min(names.len())).collect();
                if names.is_empty() {
                    waiting.names.remove(&of_user);
                }
                return Step::Read(feed, batch);
            }
        }
        self.open_own_links(&waiting);
        Step::Wait(LINK_INTERVAL)
    }

    /// Room is wanted for what clients ask.
    fn is_nearly_full(&self) -> bool {
        let stats = self.shared.store.stats();
        stats.weight_bytes >= stats.capacity_bytes / 10 * 9
    }

    /// What a client that does not log in would be given, had one asked.
    fn open_own_links(&self, waiting: &Waiting) {
        if !self.shared.is_ready.load(Ordering::Acquire) || !self.shared.is_open() {
            return;
        }
        let login = &self.shared.config.login;
        let own = user_of(login.as_ref());
        let databases = waiting.names.keys().filter(|(user, _)| *user == own);
        for (_, db) in databases.take(OWN_LINKS_MAX) {
            self.shared.feed(&Identity { login: login.clone(), db: *db, node: None });
        }
    }

    fn read(&self, feed: &LinkFeed, names: &[Words]) {
        let commands: Vec<Vec<&[u8]>> =
            names.iter().map(|words| words.iter().map(Vec::as_slice).collect()).collect();
        let encoded = |words: &Vec<&[u8]>| {
            let mut args = Vec::new();
            encode_args(words, &mut args);
            args
        };
        let args: Vec<Vec<u8>> = commands.iter().map(encoded).collect();
        let requests: Vec<Request<'_>> = commands
            .iter()
            .zip(&args)
            .filter_map(|(words, args)| request_of(&self.shared, words, args))
            .collect();
        let waiters = requests.iter().map(|_| self.waiter()).collect();
        self.in_flight.fetch_add(requests.len(), Ordering::AcqRel);
        let reads = feed.link.read_many(&requests, waiters);
        let dropped = reads.iter().filter(|read| **read != Read::Submitted).count();
        self.in_flight.fetch_sub(dropped, Ordering::AcqRel);
    }

    fn waiter(&self) -> Waiter {
        let (in_flight, warmed) = (Arc::clone(&self.in_flight), Arc::clone(&self.warmed));
        Box::new(move |end| {
            in_flight.fetch_sub(1, Ordering::AcqRel);
            warmed.fetch_add(u64::from(matches!(end, Outcome::Reply(_))), Ordering::Relaxed);
        })
    }
}

/// A rule as the words of a command.
fn words_of(rule: Learned) -> Words {
    let Learned { shapes, templates: [source, target], bindings, precision } = rule;
    let [from, to] = shapes.map(|shape| command_name(shape).as_bytes().to_vec());
    let mut words = vec![RULE.to_vec(), from, source, to, target];
    words.push(format!("{precision:.2}").into_bytes());
    words.extend(bindings);
    words
}

fn rule_of(words: Words) -> Option<Learned> {
    let mut words = words.into_iter();
    let mut next = || words.next();
    let (_, from, source, to, target, precision) =
        (next()?, next()?, next()?, next()?, next()?, next()?);
    Some(Learned {
        shapes: [shape_named(&from)?, shape_named(&to)?],
        templates: [source, target],
        bindings: words.collect(),
        precision: std::str::from_utf8(&precision).ok()?.parse().ok()?,
    })
}

fn request_of<'a>(shared: &Shared, words: &'a [&'a [u8]], args: &'a [u8]) -> Option<Request<'a>> {
    let shape = cacheable(words)?.shape;
    let key = words[1];
    Some(Request {
        shape,
        key,
        key_hash: shared.store.key_hash(key),
        args,
        command: words,
        flow: None,
    })
}
