//! All predictors of one link, and what became of what each had sent.
//!
//! The rules ([`Rules`]) know keys that nobody has asked for yet. The streams
//! ([`Predictor`]) know what followed a key the last time, whatever it is called. And a key that
//! was hit often and has just changed is asked for again before anybody misses it. Whoever asks
//! first for a key is its sender; the others find it on its way.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::names::Names;
use super::rules::{
    Ahead, Fields, Learned, Origin, RuleStats, RuleView, Rules, RulesConfig, Target,
};
use super::{Access, Predictor};
use crate::hash::KeyedHash;
use crate::hottest::Hot;
use crate::store::EntryRef;

/// Reads of one sender that may be out and not asked for; older ones were in vain.
const SENT_MAX: usize = 4096;
const SENT_MS: u64 = 30_000;
/// Set in the code of a key whose name is kept.
const NAMED: u64 = 1 << 63;
/// Hits since it was read that make a key worth asking for again when it changes.
pub const REFETCH_HITS: u32 = 2;
/// Of those asked for again, so many have to be asked for by the application; of the last so many.
const REFETCH_FLOOR: f32 = 0.3;
/// The same of what the streams have sent: right they may be, and nothing of it left.
const STREAMS_FLOOR: f32 = 0.2;
const WEIGHT: f32 = 1.0 / 64.0;
/// Too few are asked for: one in so many is sent all the same, to see whether that changes.
const PERIOD: u64 = 16;

/// Who has sent a read ahead, other than a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Streams,
    Refetch,
}

/// What one predictor has sent, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentStats {
    /// Reads sent ahead.
    pub issued: u64,
    /// Of those, asked for once they were here.
    pub used: u64,
    /// Of those, asked for while they were on their way.
    pub late: u64,
    /// Of those, not asked for in time, or lost before.
    pub unused: u64,
    /// Why it sends nothing at present but now and then; empty while it does.
    pub doubt: &'static str,
}

/// What is sent turns out not to be wanted.
pub const NOT_WANTED: &str = "too little of what it sent was asked for";

/// Everything counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForesightStats {
    /// By templates.
    pub rules: RuleStats,
    /// By the order of the last time.
    pub streams: SentStats,
    /// Of keys that had just changed.
    pub refetch: SentStats,
    /// Of entries whose time was nearly over.
    pub renewal: SentStats,
    /// What all of it takes.
    pub bytes: u64,
}

/// What is done with predictions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForesightConfig {
    /// What cache and prediction have together.
    pub total_bytes: usize,
    /// Of that, for the tables of the rules.
    pub rules_bytes: usize,
    /// Reads sent ahead per access that was told, at most; 0: nothing is sent, all is scored.
    pub reads_an_event: f64,
}

#[derive(Default)]
struct Sent {
    open: HashMap<u64, (Sender, u64), FixedState>,
    order: VecDeque<(u64, u64, u64)>,
    last: u64,
}

/// Predicts what is asked for next on one link.
pub struct Foresight {
    config: ForesightConfig,
    rules: Rules,
    streams: Predictor,
    names: Names,
    sent: Sent,
    refetch_precision: f32,
    streams_precision: f32,
    stream_events: u64,
    /// Of keys that had been hit.
    changes: u64,
    stats: ForesightStats,
    ahead: Vec<Ahead>,
}

impl Foresight {
    /// `hash` is the store's.
    pub fn new(config: ForesightConfig, hash: KeyedHash) -> Self {
        let ForesightConfig { total_bytes, rules_bytes, reads_an_event } = config;
        let rules = RulesConfig { bytes: rules_bytes, reads_an_event };
        Self {
            config,
            rules: Rules::new(rules, hash),
            streams: Predictor::new(total_bytes, 0),
            names: Names::default(),
            sent: Sent::default(),
            refetch_precision: 1.0,
            streams_precision: 1.0,
            stream_events: 0,
            changes: 0,
            stats: ForesightStats::default(),
            ahead: Vec::new(),
        }
    }

    /// A read that no hit answered. `is_here` says whether an entry is held or on its way. True
    /// when its value should be shown by `answered`.
    pub fn asked(
        &mut self,
        id: &EntryRef<'_>,
        flow: u64,
        access: Access,
        now_ms: u64,
        mut is_here: impl FnMut(&EntryRef<'_>) -> bool,
    ) -> bool {
        let asked = self.rules.asked(id, flow, access, now_ms, &mut is_here);
        self.end_old(now_ms);
        let code = self.rules.code(id);
        let sender = self.ended(code, Some(access));
        // The streams grow by their own merit.
        let of_streams = if sender == Some(Sender::Streams) { access } else { Access::Miss };
        let code = self.code_of_streams(id, code, asked.number);
        let Self { streams, names, rules, .. } = self;
        let name_of = |code: u64| name_of(code, names, rules);
        let predicted = streams.observe(code, flow, of_streams, |code| {
            // What has no name any more cannot be asked for.
            name_of(code).is_none_or(|ahead| is_here(&ahead.id(0)))
        });
        self.stream_events += u64::from(!predicted.is_empty());
        let is_worth_it =
            self.streams_precision >= STREAMS_FLOOR || self.stream_events.is_multiple_of(PERIOD);
        if self.config.reads_an_event > 0.0 && is_worth_it {
            self.ahead.extend(predicted.iter().filter_map(|&code| name_of(code)));
        }
        self.streams.set_names_bytes(self.names.bytes());
        self.names.shrink(self.streams.names_limit());
        asked.wants_value
    }

    /// The code of a key in the streams; where it is no number its name is kept.
    fn code_of_streams(&mut self, id: &EntryRef<'_>, code: u64, number: Option<u64>) -> u64 {
        number.unwrap_or_else(|| {
            self.names.keep(code | NAMED, id, self.streams.names_limit());
            code | NAMED
        })
    }

    /// The value of a read that was asked for, or sent ahead.
    pub fn answered(
        &mut self,
        id: &EntryRef<'_>,
        from: Origin,
        fields: &Fields,
        now_ms: u64,
        is_here: impl FnMut(&EntryRef<'_>) -> bool,
    ) {
        self.rules.answered(id, from, fields, now_ms, is_here);
    }

    /// An entry that had been hit since it was read has changed.
    pub fn changed(&mut self, id: &EntryRef<'_>, hits: u32) {
        if hits < REFETCH_HITS || self.config.reads_an_event <= 0.0 {
            return;
        }
        self.changes += 1;
        if !self.refetch_is_worth_it() && !self.changes.is_multiple_of(PERIOD) {
            return;
        }
        let (key, args) = (id.key.to_vec(), id.args.to_vec());
        self.ahead.push(self.rules.ahead_of(id.shape, key, args, REFETCH));
    }

    fn refetch_is_worth_it(&self) -> bool {
        self.refetch_precision >= REFETCH_FLOOR
    }

    /// What was sent ahead and asked for meanwhile has come and is kept; or it was not kept.
    pub fn arrived(&mut self, target: Target, is_kept: bool) {
        self.rules.arrived(target, is_kept);
    }

    /// What to send ahead since the last call.
    pub fn take_ahead(&mut self) -> Vec<Ahead> {
        let mut all = self.rules.take_ahead();
        all.append(&mut self.ahead);
        all
    }

    /// It was sent, or was not after all.
    pub fn was_sent(&mut self, ahead: &Ahead, is_sent: bool, now_ms: u64) {
        let sender = match ahead.hops {
            STREAMS => Sender::Streams,
            REFETCH => Sender::Refetch,
            _ => return self.rules.was_sent(ahead, is_sent),
        };
        if !is_sent {
            return;
        }
        self.ended(ahead.code, None);
        self.counted(sender).issued += 1;
        self.sent.last += 1;
        self.sent.open.insert(ahead.code, (sender, self.sent.last));
        self.sent.order.push_back((ahead.code, self.sent.last, now_ms));
    }

    /// What was sent long ago was sent in vain.
    fn end_old(&mut self, now_ms: u64) {
        while let Some(&(code, number, sent_ms)) = self.sent.order.front() {
            let is_old = now_ms.saturating_sub(sent_ms) > SENT_MS;
            if !is_old && self.sent.order.len() <= SENT_MAX {
                return;
            }
            self.sent.order.pop_front();
            if self.sent.open.get(&code).is_some_and(|open| open.1 == number) {
                self.ended(code, None);
            }
        }
    }

    /// One that was sent has been asked for, or will not be.
    fn ended(&mut self, code: u64, access: Option<Access>) -> Option<Sender> {
        let (sender, _) = self.sent.open.remove(&code)?;
        let counted = self.counted(sender);
        let is_right = match access {
            Some(Access::Prefetched) => {
                counted.used += 1;
                true
            }
            Some(Access::Late) => {
                counted.late += 1;
                true
            }
            Some(Access::Miss) | None => {
                counted.unused += 1;
                false
            }
        };
        let precision = match sender {
            Sender::Streams => &mut self.streams_precision,
            Sender::Refetch => &mut self.refetch_precision,
        };
        *precision += WEIGHT * (if is_right { 1.0 } else { 0.0 } - *precision);
        Some(sender)
    }

    fn counted(&mut self, sender: Sender) -> &mut SentStats {
        match sender {
            Sender::Streams => &mut self.stats.streams,
            Sender::Refetch => &mut self.stats.refetch,
        }
    }

    /// Entries held now: predictions have a part of that in events to come true.
    pub fn set_entries(&mut self, entries: usize) {
        self.streams.set_horizon(entries / HORIZON_PART);
    }

    /// It may have no more than this now.
    pub fn set_limit(&mut self, bytes: usize) {
        self.streams.set_most(bytes.saturating_sub(self.config.rules_bytes));
        self.names.shrink(self.streams.names_limit());
    }

    /// What it has of the total, in bytes, the tables of the rules as if they were full.
    pub fn bytes(&self) -> usize {
        self.config.rules_bytes + self.streams.bytes() + self.names.bytes()
    }

    /// The counters.
    pub fn stats(&self) -> ForesightStats {
        let rules = self.rules.stats();
        let bytes = rules.bytes + (self.streams.bytes() + self.names.bytes()) as u64;
        let mut stats = ForesightStats { rules, bytes, ..self.stats };
        let is_wanted = self.streams_precision >= STREAMS_FLOOR;
        let wanted = if is_wanted { "" } else { NOT_WANTED };
        stats.streams.doubt = self.streams.doubt().unwrap_or(wanted);
        stats.refetch.doubt = if self.refetch_is_worth_it() { "" } else { NOT_WANTED };
        if self.config.reads_an_event == 0.0 {
            stats.streams.doubt = OBSERVING;
            stats.refetch.doubt = OBSERVING;
        }
        stats
    }

    /// What is worth keeping for the next process.
    pub fn learned(&self, count: usize) -> Vec<Learned> {
        self.rules.learned(count)
    }

    /// Takes over what an earlier process has learned.
    pub fn learn_again(&mut self, learned: &[Learned]) {
        self.rules.learn_again(learned);
    }

    /// Which key followed which, more than once, as far as their names are known; at most `count`.
    pub fn order(&self, count: usize) -> Vec<[Hot; 2]> {
        let name = |code| {
            let Ahead { shape, key, args, .. } = name_of(code, &self.names, &self.rules)?;
            Some(Hot { hits: 0, scope: 0, shape, key, args })
        };
        let pairs = self.streams.pairs(count).into_iter();
        pairs.filter_map(|[before, next]| Some([name(before)?, name(next)?])).collect()
    }

    /// Takes such an order over from an earlier process; it is yet to prove itself here.
    pub fn learn_order(&mut self, order: &[[Hot; 2]]) {
        // The first are to be the youngest.
        for pair in order.iter().rev() {
            let pair = [0, 1].map(|nth| {
                let Hot { shape, key, args, .. } = &pair[nth];
                let key_hash = self.rules.key_hash(key);
                let id = EntryRef { scope: 0, shape: *shape, key, args, key_hash };
                let (code, number) = (self.rules.code(&id), self.rules.number(&id));
                self.code_of_streams(&id, code, number)
            });
            self.streams.learn(pair);
        }
        self.streams.set_names_bytes(self.names.bytes());
    }

    /// The rules of most use, at most `count`.
    pub fn views(&self, count: usize) -> Vec<RuleView> {
        self.rules.views(count)
    }
}

const OBSERVING: &str = "prefetch is observe: it only keeps score";
/// In `Ahead::hops`: not by a rule.
const STREAMS: u8 = u8::MAX;
const REFETCH: u8 = u8::MAX - 1;
/// How large the cache is compared to the predictions that have time to come true.
const HORIZON_PART: usize = 4;

fn name_of(code: u64, names: &Names, rules: &Rules) -> Option<Ahead> {
    let (shape, key, args) = if code & NAMED == 0 {
        rules.name_of_number(code)?
    } else {
        let (shape, key, args) = names.get(code)?;
        (shape, key.to_vec(), args.to_vec())
    };
    Some(rules.ahead_of(shape, key, args, STREAMS))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn hash() -> KeyedHash {
        KeyedHash::new(3)
    }

    fn foresight() -> Foresight {
        let config =
            ForesightConfig { total_bytes: 4 << 20, rules_bytes: 64 << 10, reads_an_event: 1.0 };
        let mut made = Foresight::new(config, hash());
        made.set_entries(4_000);
        made
    }

    /// Asks for keys in their order, none of which stays; how many had been sent ahead.
    fn walk(foresight: &mut Foresight, keys: &[String]) -> usize {
        let mut here: HashSet<Vec<u8>> = HashSet::new();
        let mut found = 0;
        for key in keys {
            let key = key.as_bytes();
            let is_ahead = here.remove(key);
            found += usize::from(is_ahead);
            let key_hash = hash().bytes(key);
            let id = EntryRef { scope: 0, shape: 1, key, args: b"", key_hash };
            let access = if is_ahead { Access::Prefetched } else { Access::Miss };
            foresight.asked(&id, 1, access, 0, |id| here.contains(id.key));
            for ahead in foresight.take_ahead() {
                foresight.was_sent(&ahead, true, 0);
                here.insert(ahead.key);
            }
        }
        found
    }

    fn shuffled(keys: impl Iterator<Item = String>) -> Vec<String> {
        let mut keys: Vec<String> = keys.collect();
        let mut number = 7u64;
        for at in (1..keys.len()).rev() {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            keys.swap(at, (number >> 33) as usize % (at + 1));
        }
        keys
    }

    #[test]
    fn an_order_outlives_the_process() {
        for keys in [
            shuffled((0..500).map(|number| format!("item:{}", number * 3))),
            shuffled((0..500).map(|number| format!("w{number}x:{:x}z", number * 977))),
        ] {
            let mut first = foresight();
            for _ in 0..3 {
                walk(&mut first, &keys);
            }
            let order = first.order(10_000);
            assert!(order.len() > 450, "{} pairs", order.len());
            assert_eq!(first.order(7).len(), 7);
            let mut next = foresight();
            assert_eq!(walk(&mut next, &keys), 0, "it knows nothing");
            let mut next = foresight();
            next.learn_order(&order);
            let found = walk(&mut next, &keys);
            // The first ones are trials.
            assert!(found > 350, "{found} of {}", keys.len());
        }
    }

    #[test]
    fn an_order_that_comes_again_is_known_by_any_name() {
        for keys in [
            shuffled((0..500).map(|number| format!("item:{}", number * 3))),
            shuffled((0..500).map(|number| format!("w{number}x:{:x}z", number * 977))),
        ] {
            let mut foresight = foresight();
            for _ in 0..3 {
                walk(&mut foresight, &keys);
            }
            let found = walk(&mut foresight, &keys);
            assert!(found > 480, "{found} of 500: {:?}", foresight.stats());
            let streams = foresight.stats().streams;
            assert!(streams.used * 10 > streams.issued * 9, "{streams:?}");
        }
    }

    #[test]
    fn a_number_in_a_template_costs_no_name() {
        let mut foresight = foresight();
        let keys = shuffled((0..500).map(|number| format!("item:{}:price", number * 3)));
        walk(&mut foresight, &keys);
        assert_eq!(foresight.names.bytes(), 0);
        walk(&mut foresight, &["flags".to_owned(), "a7b:9c:1d".to_owned()]);
        assert!(foresight.names.bytes() > 0);
    }

    #[test]
    fn what_has_changed_is_asked_for_again_as_long_as_that_is_of_use() {
        let mut foresight = foresight();
        let key_hash = hash().bytes(b"flags");
        let id = EntryRef { scope: 0, shape: 1, key: b"flags", args: b"", key_hash };
        foresight.changed(&id, REFETCH_HITS - 1);
        assert_eq!(foresight.take_ahead(), []);
        foresight.changed(&id, REFETCH_HITS);
        let ahead = foresight.take_ahead();
        assert_eq!(ahead[0].key, b"flags");
        foresight.was_sent(&ahead[0], true, 0);
        foresight.asked(&id, 1, Access::Prefetched, 0, |_| false);
        let refetch = foresight.stats().refetch;
        assert_eq!((refetch.issued, refetch.used), (1, 1));
        // From now on nobody ever asks: a miss tells that it was lost.
        let mut sent = 0;
        for _ in 0..1_000 {
            foresight.changed(&id, REFETCH_HITS);
            for ahead in foresight.take_ahead() {
                sent += 1;
                foresight.was_sent(&ahead, true, 0);
                foresight.asked(&id, 1, Access::Miss, 0, |_| false);
                foresight.take_ahead();
            }
        }
        assert!(sent < 300, "{sent} of 1000 sent in vain");
    }

    #[test]
    fn the_merit_of_others_is_not_the_streams() {
        let mut foresight = foresight();
        for number in 0..200_000u64 {
            let key = format!("user:{number}");
            let key_hash = hash().bytes(key.as_bytes());
            let id = EntryRef { scope: 0, shape: 1, key: key.as_bytes(), args: b"", key_hash };
            foresight.asked(&id, 1, Access::Prefetched, 0, |_| true);
        }
        assert!(foresight.bytes() < (4 << 20) / 16, "{} bytes", foresight.bytes());
    }

    #[test]
    fn it_keeps_to_its_limit() {
        let mut foresight = foresight();
        for round in 0..3 {
            walk(&mut foresight, &shuffled((0..20_000).map(|at| format!("k{at}:x{round}y{at}"))));
        }
        assert!(foresight.bytes() < (4 << 20) / 4, "{} bytes", foresight.bytes());
        foresight.set_limit(64 << 10);
        assert!(foresight.bytes() < 84 << 10, "{} bytes", foresight.bytes());
    }
}
