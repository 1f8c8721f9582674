//! A store beside a plain account of what may be held, loaded and written.

use std::collections::BTreeMap;

use crate::model::split;
use crate::statistics::Stats;
use crate::store::{Begin, Bypass, EntryRef, HitToken, InspectedState, Store, StoreConfig, Token};
use crate::weigh::Weigh;

const KEYS: [&[u8]; 6] = [b"", b"a", b"user:1", b"user:12", b"session:0123456789abcdef", b"\0\xff"];
const ARGS: [&[u8]; 3] = [b"", b"name", b"0\0-1"];
const WASTED_LOADS: u32 = 8;

/// A value that is told apart by its number and weighs what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value {
    number: u64,
    weight_bytes: usize,
}

impl Weigh for Value {
    fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    scope: u32,
    shape: u32,
    key: usize,
    args: usize,
}

fn is_entry(state: InspectedState) -> bool {
    matches!(state, InspectedState::Held | InspectedState::Ahead)
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Hit { id: Id },
    Begin { id: Id, fresh: bool },
    MarkRead { nth: usize },
    BeginAhead { id: Id },
    BeginRenewal { id: Id },
    Publish { nth: usize, ttl_ms: u64, weight_bytes: usize, is_ahead: bool },
    Abandon { nth: usize },
    TooLarge { nth: usize, ms: u64 },
    Update { weight_bytes: usize },
    Invalidate { key: usize },
    Remove { key: usize },
    Pushed { key: usize, scope: u32 },
    BeginWrite { keys: [usize; 2] },
    EndWrite,
    Reconnect { link: usize },
    Sweep,
    Clear,
    Advance { ms: u64 },
}

impl Operation {
    fn from_bytes([kind, a, b, c]: [u8; 4], scopes: [u32; 2]) -> Self {
        let (a, b, c) = (usize::from(a), usize::from(b), usize::from(c));
        let scope = scopes[b % 2];
        let id = Id { scope, shape: (b / 2 % 2) as u32, key: a % 6, args: c % 3 };
        let ttl_ms = (b % 32 * 8) as u64;
        match kind % 64 {
            0..16 => Self::Hit { id },
            16..28 => Self::Begin { id, fresh: c > 220 },
            28 => Self::BeginAhead { id },
            29 => Self::BeginRenewal { id },
            30..34 => Self::MarkRead { nth: a },
            34..44 => {
                Self::Publish { nth: a, ttl_ms, weight_bytes: c * 4, is_ahead: kind % 64 > 40 }
            }
            44 => Self::Abandon { nth: a },
            45 => Self::TooLarge { nth: a, ms: ttl_ms },
            46..48 => Self::Update { weight_bytes: c * 8 },
            48..52 if b < 64 => Self::Remove { key: a % 6 },
            48..52 => Self::Invalidate { key: a % 6 },
            52..56 => Self::Pushed { key: a % 6, scope },
            56 => Self::BeginWrite { keys: [a % 6, b % 6] },
            57..59 => Self::EndWrite,
            59 => Self::Reconnect { link: a % 2 },
            60 => Self::Sweep,
            61 if a < 32 => Self::Clear,
            _ => Self::Advance { ms: (a * c / 64) as u64 },
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    token: Token,
    id: Id,
    is_alive: bool,
    is_read: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    value: Value,
    deadline_ms: u64,
    hits: u64,
    /// Waits to be asked for.
    is_ahead: bool,
}

struct Run {
    store: Store<Value>,
    entries: BTreeMap<Id, Held>,
    leases: Vec<Lease>,
    writes: Vec<[usize; 2]>,
    /// Per key, loads dropped unread in a row.
    wasted: [u32; 6],
    /// Per entry, until when it is known not to fit.
    too_large: BTreeMap<Id, u64>,
    last_hit: Option<(Id, HitToken, u64)>,
    /// The present scope of each of two links.
    scopes: [u32; 2],
    now_ms: u64,
    last_number: u64,
}

/// Runs the operations `bytes` encode; panics at the first difference.
pub fn run_store(bytes: &[u8]) {
    let (setup, operations) = split(bytes);
    let capacity_bytes = if setup & 128 == 0 { 1 << 20 } else { 4096 << (setup % 3) };
    let config = StoreConfig { capacity_bytes, shards: 1 << (setup % 2), seed: u64::from(setup) };
    let store = Store::new(config);
    let scopes = [store.new_scope(), store.new_scope()];
    let mut run = Run {
        store,
        entries: BTreeMap::new(),
        leases: Vec::new(),
        writes: Vec::new(),
        wasted: [0; 6],
        too_large: BTreeMap::new(),
        last_hit: None,
        scopes,
        now_ms: 1,
        last_number: 0,
    };
    for bytes in operations {
        run.step(Operation::from_bytes(bytes, run.scopes));
    }
    run.finish();
}

impl Run {
    fn entry_ref(&self, id: Id) -> EntryRef<'static> {
        let Id { scope, shape, key, args } = id;
        let (key, args) = (KEYS[key], ARGS[args]);
        EntryRef { scope, shape, key, args, key_hash: self.store.key_hash(key) }
    }

    fn dep(&self, key: usize) -> u64 {
        self.store.key_hash(KEYS[key])
    }

    fn step(&mut self, operation: Operation) {
        let before = self.store.stats();
        self.apply(operation);
        self.store.validate();
        self.forget_evicted(operation, &before);
        let stats = self.store.stats();
        assert_eq!(stats.entries, self.entries.len() as u64, "{operation:?}: entries");
        let alive = self.leases.iter().filter(|lease| lease.is_alive).count();
        assert_eq!(stats.leases, alive as u64, "{operation:?}: loads");
        // Dead tokens are kept for a while, to be tried again.
        let is_crowded = self.leases.len() >= 32;
        self.leases.retain(|lease| lease.is_alive || !is_crowded);
    }

    /// Takes entries that room or time took out of the account too; counted, never in silence.
    fn forget_evicted(&mut self, operation: Operation, before: &Stats) {
        let after = self.store.stats();
        let is_held = |id: &Id| {
            let rows = self.store.inspect(KEYS[id.key], self.now_ms);
            rows.iter().any(|row| {
                let is_same = (row.scope, row.shape) == (id.scope, id.shape);
                is_same && row.args == ARGS[id.args] && is_entry(row.state)
            })
        };
        let gone: Vec<Id> = self.entries.keys().filter(|id| !is_held(id)).copied().collect();
        let is_sweep = matches!(operation, Operation::Sweep);
        let removed = if is_sweep { after.removed - before.removed } else { 0 };
        let counted = after.evicted + after.expired + removed - before.evicted - before.expired;
        assert_eq!(gone.len() as u64, counted, "{operation:?}: gone without a cause");
        for id in gone {
            self.entries.remove(&id);
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Hit { id } => self.hit(id),
            Operation::Begin { id, fresh } => self.begin(id, fresh),
            Operation::MarkRead { nth } => {
                if let Some(lease) = self.nth_lease(nth) {
                    self.store.mark_read(lease.token);
                    self.each_lease(|other| other.is_read |= other.token == lease.token);
                }
            }
            Operation::BeginAhead { id } => self.begin_ahead(id),
            Operation::BeginRenewal { id } => self.begin_renewal(id),
            Operation::Publish { nth, ttl_ms, weight_bytes, is_ahead } => {
                self.publish(nth, ttl_ms, weight_bytes, is_ahead);
            }
            Operation::Abandon { nth } => {
                if let Some(lease) = self.nth_lease(nth) {
                    self.store.abandon(lease.token);
                    self.kill(|other| other.token == lease.token);
                }
            }
            Operation::TooLarge { nth, ms } => {
                if let Some(lease) = self.nth_lease(nth) {
                    self.store.too_large(lease.token, self.now_ms + ms);
                    if lease.is_alive {
                        self.too_large.insert(lease.id, self.now_ms + ms);
                    }
                    self.kill(|other| other.token == lease.token);
                }
            }
            Operation::Update { weight_bytes } => self.update(weight_bytes),
            Operation::Invalidate { key } => {
                let dropped = self.store.invalidate(self.dep(key));
                assert_eq!(dropped, self.change(key, |_| true), "invalidate");
            }
            Operation::Remove { key } => {
                let dropped = self.store.remove(self.dep(key));
                let wasted = self.wasted[key];
                assert_eq!(dropped, self.change(key, |_| true), "remove");
                // What was useful stays so; what was not has done nothing wrong.
                self.wasted[key] = self.wasted[key].min(wasted);
            }
            Operation::Pushed { key, scope } => {
                let dropped = self.store.invalidate_pushed(self.dep(key), scope);
                let is_older = |lease: &Lease| lease.is_read && lease.id.scope == scope;
                assert_eq!(dropped, self.change(key, is_older), "push");
            }
            Operation::BeginWrite { keys } => {
                self.store.begin_write(&keys.map(|key| self.dep(key)));
                self.writes.push(keys);
                for key in keys {
                    self.change(key, |_| true);
                }
            }
            Operation::EndWrite => self.end_write(),
            Operation::Reconnect { link } => {
                let old = std::mem::replace(&mut self.scopes[link], self.store.new_scope());
                self.store.retire_scope(old);
                self.kill(|lease| lease.id.scope == old);
            }
            Operation::Sweep => self.sweep(),
            Operation::Clear => {
                self.store.clear();
                self.entries.clear();
                self.too_large.clear();
                self.wasted = [0; 6];
                self.kill(|_| true);
            }
            Operation::Advance { ms } => self.now_ms += ms,
        }
    }

    /// Sweeps to the end; nothing of a retired scope may be left.
    fn sweep(&mut self) {
        while self.store.sweep_step(self.now_ms) {}
        for key in KEYS {
            for row in self.store.inspect(key, self.now_ms) {
                let is_held = is_entry(row.state);
                assert!(!is_held || self.scopes.contains(&row.scope), "{row:?} outlives the sweep");
            }
        }
    }

    fn hit(&mut self, id: Id) {
        let is_served = |held: &&Held| self.now_ms < held.deadline_ms && !held.is_ahead;
        let number = self.entries.get(&id).filter(is_served);
        let number = number.map(|held| held.value.number);
        let seen = self
            .store
            .with_hit(&self.entry_ref(id), self.now_ms, |value, token| (value.number, token));
        assert_eq!(seen.map(|(number, _)| number), number, "hit {id:?}");
        if let Some((number, token)) = seen {
            self.last_hit = Some((id, token, number));
            self.entries.get_mut(&id).expect("held").hits += 1;
        }
    }

    fn begin(&mut self, id: Id, fresh: bool) {
        let is_written = self.writes.iter().flatten().any(|&key| key == id.key);
        let is_held = self.entries.get(&id).is_some_and(|held| self.now_ms < held.deadline_ms);
        let mut joined = self.leases.iter().find(|lease| lease.is_alive && lease.id == id);
        let begun = self.store.begin(&self.entry_ref(id), self.now_ms, fresh);
        if is_written {
            assert_eq!(begun, Begin::Bypass(Bypass::WriteInFlight));
            return;
        }
        if is_held && !fresh {
            let held = self.entries.get_mut(&id).expect("held");
            assert_eq!(begun, if held.is_ahead { Begin::Ahead } else { Begin::Present });
            // Who is behind a barrier does not take it.
            if id.args > 0 {
                let was_ahead = std::mem::take(&mut held.is_ahead);
                assert_eq!(self.store.reveal(&self.entry_ref(id)).is_some(), was_ahead);
            }
            return;
        }
        if is_held {
            self.entries.remove(&id);
        }
        if let Some(lease) = joined.take_if(|_| !fresh) {
            assert_eq!(begun, Begin::Join(lease.token));
            return;
        }
        self.kill(|lease| lease.id == id);
        match begun {
            Begin::Lease(token) => {
                // A collision in the table may have cost either record, or some of it; never made one.
                self.wasted[id.key] = self.wasted[id.key].min(WASTED_LOADS - 1);
                self.too_large.remove(&id);
                self.leases.push(Lease { token, id, is_alive: true, is_read: false });
            }
            Begin::Bypass(Bypass::WriteHot) => {
                assert!(self.wasted[id.key] >= WASTED_LOADS, "write-hot for no reason");
            }
            Begin::Bypass(Bypass::TooLarge) => {
                let until_ms = self.too_large.get(&id).copied().unwrap_or(0);
                assert!(self.now_ms < until_ms, "too large for no reason");
            }
            other => panic!("{other:?} to the first reader of {id:?}"),
        }
    }

    fn begin_renewal(&mut self, id: Id) {
        let is_held = self.entries.get(&id).is_some_and(|held| self.now_ms < held.deadline_ms);
        let is_loading = self.leases.iter().any(|lease| lease.is_alive && lease.id == id);
        match self.store.begin_renewal(&self.entry_ref(id), self.now_ms) {
            Some(token) => {
                assert!(is_held && !is_loading, "renewed out of nothing: {id:?}");
                self.leases.push(Lease { token, id, is_alive: true, is_read: false });
            }
            None => {
                let is_hot = self.wasted[id.key] >= WASTED_LOADS;
                let is_bypassed = is_hot || self.too_large.contains_key(&id);
                assert!(!is_held || is_loading || is_bypassed, "not renewed: {id:?}");
            }
        }
    }

    fn begin_ahead(&mut self, id: Id) {
        let is_written = self.writes.iter().flatten().any(|&key| key == id.key);
        let is_held = self.entries.get(&id).is_some_and(|held| self.now_ms < held.deadline_ms);
        let is_loading = self.leases.iter().any(|lease| lease.is_alive && lease.id == id);
        let entry = self.entry_ref(id);
        assert_eq!(self.store.is_here(&entry, self.now_ms), is_held || is_loading);
        match self.store.begin_ahead(&entry, self.now_ms) {
            Some(token) => {
                assert!(!is_written && !is_held && !is_loading, "ahead of itself: {id:?}");
                self.leases.push(Lease { token, id, is_alive: true, is_read: false });
            }
            None => {
                let is_hot = self.wasted[id.key] >= WASTED_LOADS;
                let is_bypassed = is_hot || self.too_large.contains_key(&id);
                assert!(is_written || is_held || is_loading || is_bypassed, "refused: {id:?}");
            }
        }
    }

    fn publish(&mut self, nth: usize, ttl_ms: u64, weight_bytes: usize, is_ahead: bool) {
        let Some(lease) = self.nth_lease(nth) else { return };
        self.last_number += 1;
        let value = Value { number: self.last_number, weight_bytes };
        let deadline_ms = self.now_ms + ttl_ms;
        let published = if is_ahead {
            self.store.publish_ahead(lease.token, value, deadline_ms, self.now_ms)
        } else {
            self.store.publish(lease.token, value, deadline_ms, self.now_ms)
        };
        assert!(!published || lease.is_alive, "published through a dead token");
        assert!(!published || ttl_ms > 0, "published a value that is over");
        if published {
            self.entries.insert(lease.id, Held { value, deadline_ms, hits: 0, is_ahead });
        } else if lease.is_alive && ttl_ms > 0 {
            assert!(self.store.stats().capacity_bytes < 1 << 20, "{weight_bytes} bytes do not fit");
            self.too_large.insert(lease.id, self.now_ms + 10_000);
        }
        self.kill(|other| other.token == lease.token);
    }

    fn update(&mut self, weight_bytes: usize) {
        let Some((id, token, number)) = self.last_hit else { return };
        let is_same = self.entries.get(&id).is_some_and(|held| held.value.number == number);
        let updated = self.store.update(token, |value| {
            assert_eq!(value.number, number, "another entry than the one hit");
            value.weight_bytes = weight_bytes;
        });
        assert_eq!(updated, is_same, "update {id:?}");
    }

    fn end_write(&mut self) {
        // An end without a beginning is an invalidation.
        let keys = if self.writes.is_empty() { [1, 2] } else { self.writes.remove(0) };
        self.store.end_write(&keys.map(|key| self.dep(key)));
        for key in keys {
            self.change(key, |_| true);
        }
    }

    /// A key changed: its entries go, and its loads for which `dies` holds. Returns the entries.
    fn change(&mut self, key: usize, dies: impl Fn(&Lease) -> bool) -> usize {
        let is_doomed = |lease: &Lease| lease.is_alive && lease.id.key == key && dies(lease);
        let killed = self.leases.iter().filter(|lease| is_doomed(lease)).count();
        self.kill(|lease| lease.id.key == key && dies(lease));
        let held = self.entries.iter().filter(|(id, _)| id.key == key);
        let hits: Vec<u64> = held.map(|(_, held)| held.hits).collect();
        self.entries.retain(|id, _| id.key != key);
        if hits.iter().sum::<u64>() > 0 {
            self.wasted[key] = 0;
        } else if hits.len() + killed > 0 {
            self.wasted[key] = (self.wasted[key] + 1).min(WASTED_LOADS);
        }
        hits.len()
    }

    fn nth_lease(&self, nth: usize) -> Option<Lease> {
        self.leases.get(nth.checked_rem(self.leases.len())?).copied()
    }

    fn each_lease(&mut self, f: impl FnMut(&mut Lease)) {
        self.leases.iter_mut().for_each(f);
    }

    fn kill(&mut self, dies: impl Fn(&Lease) -> bool) {
        self.each_lease(|lease| lease.is_alive &= !dies(lease));
    }

    /// The most hit of one scope, for every count, are those of the model, by their hits.
    fn compare_hottest(&self) {
        let scope = self.scopes[0];
        let ours = self.entries.iter().filter(|(id, held)| id.scope == scope && !held.is_ahead);
        let mut hits: Vec<u64> = ours.map(|(_, held)| held.hits).collect();
        hits.sort_unstable_by(|a, b| b.cmp(a));
        for count in [0, 1, 3, usize::MAX] {
            let hottest = self.store.hottest(count, usize::MAX, |wanted| wanted == scope);
            let seen: Vec<u64> = hottest.iter().map(|hot| u64::from(hot.hits)).collect();
            assert_eq!(seen, hits[..count.min(hits.len())], "the {count} hottest");
            for hot in hottest {
                let is_it = |id: &Id| KEYS[id.key] == hot.key && ARGS[id.args] == hot.args;
                let held = self
                    .entries
                    .iter()
                    .find(|(id, _)| (id.scope, id.shape) == (hot.scope, hot.shape) && is_it(id));
                assert_eq!(held.map(|(_, held)| held.hits), Some(u64::from(hot.hits)), "{hot:?}");
            }
        }
    }

    /// Nothing is left behind once every load and write has ended.
    fn finish(mut self) {
        self.compare_hottest();
        while !self.writes.is_empty() {
            self.end_write();
        }
        for lease in std::mem::take(&mut self.leases) {
            self.store.abandon(lease.token);
        }
        self.store.clear();
        self.store.validate();
        let stats = self.store.stats();
        assert_eq!((stats.entries, stats.leases, stats.weight_bytes), (0, 0, 0), "left behind");
        for key in KEYS {
            assert_eq!(self.store.inspect(key, self.now_ms), [], "of {key:?}");
        }
    }
}
