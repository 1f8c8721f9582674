//! What a cache of some size would have had of a recorded trace.
//!
//! Each client asks for one key after the other: a hit costs nothing, a miss a round trip, and
//! between two requests it thinks. Several clients each have their own part of the trace and share
//! the cache, so that their requests come between each other. The shard and the prediction are the
//! real ones, time is counted. Values all weigh the same; nothing expires or changes. Beside them
//! stand LRU, the best that any policy without prediction could do (Belady), and the first requests
//! of all keys, which no such policy can have.

mod policies;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use foldhash::fast::FixedState;

use crate::hash::KeyedHash;
use crate::prediction::{Access, PredictionStats, Predictor};
use crate::shard::Shard;
pub use policies::{belady_hits, lru_hits};

/// What an entry takes beside its value: key, index, queues.
pub const ENTRY_OVERHEAD_BYTES: usize = 160;
/// How large the cache is compared to the predictions that have time to come true.
const HORIZON_PART: usize = 4;

/// A cache, and the server behind it.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Cache and prediction together.
    pub capacity_bytes: usize,
    /// Of each value.
    pub value_bytes: usize,
    /// Keys are predicted.
    pub has_prediction: bool,
    /// A read at the server.
    pub round_trip_us: u64,
    /// Between an answer and the next request.
    pub think_us: u64,
    /// That ask at the same time, each for its part of the trace.
    pub clients: usize,
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of the trace.
    pub requests: u64,
    /// Answered at once.
    pub hits: u64,
    /// Loaded ahead, and still on its way when asked for.
    pub joined: u64,
    /// The server was asked.
    pub misses: u64,
    /// Keys loaded ahead.
    pub issued: u64,
    /// Of those, asked for while they were kept or on their way.
    pub used: u64,
    /// What the prediction had of the capacity at the end, in bytes.
    pub prediction_bytes: usize,
    /// What the clients have waited for.
    pub waited_us: u64,
    /// Misses of what the cache without prediction had: the price of its memory, and of what it
    /// loaded in vain. Of `compare` only.
    pub lost: u64,
    /// Misses of what had to go for a key loaded ahead that nobody had asked for until then.
    pub polluted: u64,
    /// Accesses that the prediction was told of.
    pub events: u64,
}

/// How many different keys.
pub fn distinct(trace: &[u64]) -> usize {
    trace.iter().collect::<HashSet<_, FixedState>>().len()
}

/// The requests of one key in so many. A cache that is smaller by as much has about the hit rate
/// that the whole one has of all (SHARDS; Waldspurger et al., FAST 2015).
pub fn sample(trace: &[u64], one_in: u64) -> Vec<u64> {
    let hash = KeyedHash::new(2);
    let is_in = |key: &u64| hash.number(*key).rotate_left(20).is_multiple_of(one_in.max(1));
    trace.iter().copied().filter(is_in).collect()
}

/// Entries that fit.
fn entries(capacity_bytes: usize, value_bytes: usize) -> usize {
    capacity_bytes / (value_bytes + ENTRY_OVERHEAD_BYTES)
}

/// Plays a trace through the shard.
pub fn simulate(trace: &[u64], setup: &Setup) -> Outcome {
    play(trace, setup, |_, _| {})
}

/// Plays it twice, without and with prediction.
pub fn compare(trace: &[u64], setup: &Setup) -> (Outcome, Outcome) {
    let mut was_missed = vec![false; trace.len()];
    let plain = play(trace, &Setup { has_prediction: false, ..*setup }, |at, is_miss| {
        was_missed[at] = is_miss;
    });
    let mut lost = 0;
    let predicted = play(trace, &Setup { has_prediction: true, ..*setup }, |at, is_miss| {
        lost += u64::from(is_miss && !was_missed[at]);
    });
    (plain, Outcome { lost, ..predicted })
}

/// `told` hears of each request, and whether it was a miss.
fn play(trace: &[u64], setup: &Setup, mut told: impl FnMut(usize, bool)) -> Outcome {
    let mut run = Run::new(setup);
    let clients = setup.clients.max(1);
    let start_of = |client: usize| client * trace.len() / clients;
    // Who is next, and with which request.
    let mut next: BinaryHeap<Reverse<(u64, usize, usize)>> =
        (0..clients).map(|client| Reverse((setup.think_us, client, start_of(client)))).collect();
    while let Some(Reverse((now_us, client, at))) = next.pop() {
        if at == start_of(client + 1) {
            continue;
        }
        let before = run.outcome.misses;
        let waited_us = run.request(trace[at], client as u64, now_us);
        told(at, run.outcome.misses > before);
        next.push(Reverse((now_us + waited_us + setup.think_us, client, at + 1)));
    }
    if let Some(predictor) = &run.predictor {
        let PredictionStats { issued, used, events, .. } = predictor.stats();
        let prediction_bytes = predictor.bytes();
        run.outcome = Outcome { issued, used, events, prediction_bytes, ..run.outcome };
    }
    run.outcome
}

struct Run {
    setup: Setup,
    hash: KeyedHash,
    /// The value: loaded ahead, and not asked for yet.
    shard: Shard<u64, bool>,
    predictor: Option<Predictor>,
    prediction_bytes: usize,
    /// Keys on their way, and when they arrive.
    flights: HashMap<u64, u64, FixedState>,
    arrivals: VecDeque<(u64, u64)>,
    /// Keys loaded ahead that nobody has asked for since.
    unasked: HashSet<u64, FixedState>,
    /// What was evicted, and the key loaded ahead that it went for.
    displaced: HashMap<u64, u64, FixedState>,
    now_us: u64,
    outcome: Outcome,
}

impl Run {
    fn new(setup: &Setup) -> Self {
        let Setup { capacity_bytes, value_bytes, has_prediction, .. } = *setup;
        let horizon = entries(capacity_bytes, value_bytes) / HORIZON_PART;
        let mut run = Self {
            setup: *setup,
            hash: KeyedHash::new(1),
            shard: Shard::weighted(0),
            predictor: has_prediction.then(|| Predictor::new(capacity_bytes, horizon)),
            prediction_bytes: usize::MAX,
            flights: HashMap::default(),
            arrivals: VecDeque::new(),
            unasked: HashSet::default(),
            displaced: HashMap::default(),
            now_us: 0,
            outcome: Outcome::default(),
        };
        run.share();
        run
    }

    /// The cache has what the prediction does not.
    fn share(&mut self) {
        let bytes = self.predictor.as_ref().map_or(0, Predictor::bytes);
        if bytes != self.prediction_bytes {
            self.prediction_bytes = bytes;
            let left = self.setup.capacity_bytes.saturating_sub(bytes);
            self.shard.set_capacity(entries(left, self.setup.value_bytes));
        }
    }

    /// One request at a time that is never earlier than the last; how long it takes.
    fn request(&mut self, key: u64, client: u64, now_us: u64) -> u64 {
        self.now_us = now_us;
        self.land();
        self.outcome.requests += 1;
        let hash = self.hash.number(key);
        let access = match self.shard.get(hash, 0, |held| *held == key) {
            Some(is_ahead) => {
                self.outcome.hits += 1;
                if !std::mem::replace(is_ahead, false) {
                    return 0;
                }
                self.unasked.remove(&key);
                (Access::Prefetched, 0)
            }
            None => self.fetch(key),
        };
        self.predict(key, client, access.0);
        access.1
    }

    /// Waits for a key that is not there.
    fn fetch(&mut self, key: u64) -> (Access, u64) {
        let arrival_us = self.flights.remove(&key);
        let ready_us = arrival_us.unwrap_or(self.now_us + self.setup.round_trip_us);
        let waited_us = ready_us.saturating_sub(self.now_us);
        self.outcome.waited_us += waited_us;
        // Others who ask meanwhile would join; they are counted as if it were here.
        self.store(key, false);
        if arrival_us.is_some() {
            self.outcome.joined += 1;
            return (Access::Late, waited_us);
        }
        self.outcome.misses += 1;
        let went_for = self.displaced.remove(&key);
        self.outcome.polluted +=
            u64::from(went_for.is_some_and(|ahead| self.unasked.contains(&ahead)));
        (Access::Miss, waited_us)
    }

    fn predict(&mut self, key: u64, client: u64, access: Access) {
        let Self { predictor, shard, hash, flights, arrivals, .. } = self;
        let Some(predictor) = predictor else { return };
        let is_held = |next: u64| {
            let is_there = shard.find(hash.number(next), |held| *held == next).is_some();
            is_there || flights.contains_key(&next)
        };
        let ahead = predictor.observe(key, client, access, is_held);
        let arrival_us = self.now_us + self.setup.round_trip_us;
        flights.extend(ahead.iter().map(|&next| (next, arrival_us)));
        arrivals.extend(ahead.iter().map(|&next| (arrival_us, next)));
        self.share();
    }

    /// What has arrived by now is stored.
    fn land(&mut self) {
        while let Some(&(arrival_us, key)) = self.arrivals.front()
            && arrival_us <= self.now_us
        {
            self.arrivals.pop_front();
            if self.flights.remove(&key).is_some() {
                self.store(key, true);
            }
        }
    }

    fn store(&mut self, key: u64, is_ahead: bool) {
        let hash = self.hash.number(key);
        self.shard.insert(hash, key, is_ahead, 1, u64::MAX, &[], |held| *held == key);
        let dropped = self.shard.take_dropped();
        if is_ahead {
            self.unasked.insert(key);
            let asked = dropped.iter().filter(|(_, was_ahead)| !was_ahead);
            self.displaced.extend(asked.map(|(gone, _)| (*gone, key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: Setup = Setup {
        capacity_bytes: 1000 * (1000 + ENTRY_OVERHEAD_BYTES),
        value_bytes: 1000,
        has_prediction: false,
        round_trip_us: 1000,
        think_us: 100,
        clients: 1,
    };

    /// A walk over more keys than fit, again and again.
    fn walk() -> Vec<u64> {
        (0..100).flat_map(|_| 0..1400).collect()
    }

    #[test]
    fn every_request_ends_in_one_way() {
        for has_prediction in [false, true] {
            let outcome = simulate(&walk(), &Setup { has_prediction, ..SETUP });
            assert_eq!(outcome.requests, 140_000);
            assert_eq!(outcome.hits + outcome.joined + outcome.misses, outcome.requests);
            assert!(outcome.used <= outcome.issued);
            assert_eq!(outcome.issued > 0, has_prediction);
            assert!(outcome.polluted <= outcome.misses.min(outcome.issued));
            assert!(outcome.waited_us <= (outcome.misses + outcome.joined) * 1000);
        }
    }

    #[test]
    fn a_walk_over_more_than_fits_is_known_before_it_is_asked_for() {
        let (plain, ahead) = (
            simulate(&walk(), &SETUP),
            simulate(&walk(), &Setup { has_prediction: true, ..SETUP }),
        );
        assert!(plain.hits * 10 < plain.requests * 6, "{plain:?}");
        assert!((ahead.hits + ahead.joined) * 10 > ahead.requests * 9, "{ahead:?}");
        assert!(ahead.waited_us * 4 < plain.waited_us, "{ahead:?} {plain:?}");
        assert!(ahead.prediction_bytes <= SETUP.capacity_bytes / 4, "{ahead:?}");
    }

    #[test]
    fn what_goes_for_an_unasked_key_is_pollution() {
        for (is_asked, polluted) in [(false, 1), (true, 0)] {
            let mut run = Run::new(&Setup { capacity_bytes: 2 * 1160, ..SETUP });
            run.request(1, 0, 1);
            run.request(2, 0, 2);
            run.store(3, true);
            let (&gone, _) = run.displaced.iter().next().expect("one of two had to go");
            if is_asked {
                run.request(3, 0, 3);
            }
            run.request(gone, 0, 4);
            assert_eq!((run.outcome.misses, run.outcome.polluted), (3, polluted));
        }
    }

    #[test]
    fn clients_that_come_between_each_other_are_told_apart() {
        let mut trace = Vec::new();
        for client in 0..8 {
            (0..40).for_each(|_| trace.extend((0..160).map(|key| client * 10_000 + key)));
        }
        let setup = Setup { clients: 8, ..SETUP };
        let (plain, ahead) = compare(&trace, &setup);
        assert_eq!(plain.requests, trace.len() as u64);
        assert!(ahead.hits + ahead.joined > plain.hits + 500, "{ahead:?} {plain:?}");
        assert!(ahead.lost * 20 < ahead.requests, "{ahead:?}");
        assert_eq!(simulate(&trace, &setup), plain);
    }

    #[test]
    fn without_an_order_little_is_lost() {
        let mut number = 1u64;
        let requests = std::iter::repeat_with(|| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let part = (number >> 33) as f64 / f64::from(1u32 << 31);
            (part * part * part * 20_000.0) as u64
        });
        let trace: Vec<u64> = requests.take(300_000).collect();
        let (plain, ahead) =
            (simulate(&trace, &SETUP), simulate(&trace, &Setup { has_prediction: true, ..SETUP }));
        let lost = plain.hits as f64 - (ahead.hits + ahead.joined) as f64;
        assert!(lost / 300_000.0 < 0.005, "{plain:?} {ahead:?}");
        assert!(ahead.issued * 20 < ahead.misses, "{ahead:?}");
    }
}
