//! What is asked for next, so that it can be loaded before.
//!
//! # Problem
//!
//! Eviction alone is nearly exhausted: the best policy saves a few per cent of LRU's misses. But
//! what is asked for often comes in an order that was seen before: an API's request reads the same
//! chain of keys each time, a job walks its table again. Whoever remembers the order can have the
//! next keys loaded while the first is being used. To remember costs memory that a cache could use,
//! and to guess wrong costs the server reads: both have to be proven to pay, all the time.
//!
//! # Idea
//!
//! - Fed by what the cache did not have (misses, and the first hits of what was loaded ahead); a
//!   plain hit is not told, so it costs nothing.
//! - [`rules`]: which key is asked for after which, by their templates: the only ones that know keys
//!   nobody has asked for yet.
//! - [`Streams`]: which of those keys followed which. When a key comes again, what followed it the
//!   last time is predicted, the further ahead the longer that keeps coming true.
//! - [`Trust`]: counts which predictions of the streams come true, whether they were acted on or
//!   not. Too few, and nothing is asked for any more, while the counting goes on.
//! - [`Share`]: how much of the memory they deserve: as much as makes the last part of theirs worth
//!   what the last part of the cache's is.
//! - [`Foresight`]: all of it for one link, and what became of what each has sent.
//!
//! A key is a *code* here, 8 bytes that stand for it: the table holds nothing else, 13 bytes a key
//! with its link and its age. That is what makes it pay: keys in full and several successors of
//! each take five times as much for the same hits.
//!
//! # Limits
//!
//! Where many share one flow (a connection that all requests come by) the streams' windows sort out
//! a few. Keys that nobody has asked for yet are for the rules.
//!
//! # Sources
//!
//! Temporal streaming (Wenisch et al., ISCA 2005; STMS, HPCA 2009); training on misses alone:
//! MITHRIL (Yang et al., SoCC 2017).

mod chains;
mod foresight;
mod names;
mod rules;
mod share;
mod streams;
mod trust;

pub use foresight::{
    Foresight, ForesightConfig, ForesightStats, NOT_WANTED, REFETCH_HITS, SentStats,
};
pub use rules::{Ahead, Fields, Learned, Origin, RuleStats, RuleView, Target};
use share::{Seen, Share, Standing};
use streams::Streams;
use trust::Trust;

/// With less in all there is no room for a log that is of use.
const TOTAL_BYTES_MIN: usize = 256 << 10;
/// Reads that may be asked for ahead of events, at most: one an event comes back.
const TOKENS: u32 = 64;

/// Spreads a code over all bits.
fn mix(code: u64) -> u64 {
    let product = u128::from(code ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    let folded = (product >> 64) as u64 ^ product as u64;
    folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (folded >> 29)
}

/// What an access means to the prediction. Others are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It was not there.
    Miss,
    /// The first hit of what was loaded ahead.
    Prefetched,
    /// It was on its way, loaded ahead: in time for half of the waiting.
    Late,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PredictionStats {
    /// Accesses told.
    pub events: u64,
    /// Keys predicted that were not there.
    pub predicted: u64,
    /// Of those, asked for.
    pub issued: u64,
    /// Of those, asked for by the application while they were kept or on their way.
    pub used: u64,
}

/// Predicts keys from the order in which they are missed.
pub struct Predictor {
    is_on: bool,
    streams: Streams,
    trust: Trust,
    share: Share,
    tokens: u32,
    /// Events that a prediction has to come true.
    horizon: usize,
    /// What the names of keys take, where codes have some.
    names_bytes: usize,
    stats: PredictionStats,
    ahead: Vec<u64>,
}

impl Predictor {
    /// `total_bytes` is what cache and prediction have together, `horizon` how many events a
    /// prediction has to come true: a quarter of the entries that are held.
    pub fn new(total_bytes: usize, horizon: usize) -> Self {
        let share = Share::new(total_bytes);
        Self {
            is_on: total_bytes >= TOTAL_BYTES_MIN,
            streams: Streams::new(share.bytes()),
            trust: Trust::new(horizon),
            share,
            tokens: TOKENS,
            horizon,
            names_bytes: 0,
            stats: PredictionStats::default(),
            ahead: Vec::new(),
        }
    }

    /// An access of a flow; the keys to load now. `is_held` says whether a key is there or on its
    /// way.
    pub fn observe(
        &mut self,
        code: u64,
        flow: u64,
        access: Access,
        mut is_held: impl FnMut(u64) -> bool,
    ) -> &[u64] {
        self.stats.events += 1;
        self.ahead.clear();
        if !self.is_on || self.is_still_asleep() {
            return &self.ahead;
        }
        let Self { streams, trust, share, tokens, stats, ahead, .. } = self;
        stats.used += u64::from(access != Access::Miss);
        *tokens = (*tokens + 1).min(TOKENS);
        let is_true = trust.seen(code);
        let is_old = is_true && streams.is_old(code);
        let predicted_before = stats.predicted;
        streams.observe(code, flow, access == Access::Late, |next| {
            if is_held(next) {
                return;
            }
            stats.predicted += 1;
            trust.predicted(next);
            if trust.is_given() && *tokens > 0 && !ahead.contains(&next) {
                *tokens -= 1;
                ahead.push(next);
            }
        });
        stats.issued += ahead.len() as u64;
        let drawn = streams.draw(stats.events);
        if stats.predicted > predicted_before
            && let Some((placebo, _)) = drawn.filter(|&(code, _)| !is_held(code))
        {
            trust.drawn(placebo);
        }
        let is_drawn_old = drawn.map(|(_, is_old)| is_old);
        if share.is_due(Seen { is_true, is_old, is_drawn_old, is_believed: trust.is_given() }) {
            self.review();
        }
        &self.ahead
    }

    #[cold]
    fn review(&mut self) {
        let Self { streams, trust, share, .. } = self;
        let is_other = share.review(Standing {
            trials: trust.trials(),
            is_far_from_belief: trust.is_far(),
            is_full: streams.is_full(),
            table_bytes: streams.table_bytes(),
            other_bytes: streams.other_bytes() + trust.bytes(),
        });
        if share.is_asleep() {
            (self.streams, self.trust) = (Streams::new(0), Trust::new(0));
        } else if is_other {
            self.limit_streams();
        }
        if self.share.takes_new_trial() {
            self.trust = Trust::new(self.horizon);
        }
    }

    /// Sleeps for one more event, and says whether it does; it wakes up with nothing in mind.
    fn is_still_asleep(&mut self) -> bool {
        if !self.share.is_asleep() || !self.share.wakes() {
            return self.share.is_asleep();
        }
        (self.streams, self.trust) = (Streams::new(self.share.bytes()), Trust::new(self.horizon));
        self.limit_streams();
        false
    }

    /// Keys and what followed them more than once, at most `count`.
    pub(crate) fn pairs(&self, count: usize) -> Vec<[u64; 2]> {
        self.streams.pairs(count)
    }

    /// One key is known to follow another; that is yet to be proven here.
    pub(crate) fn learn(&mut self, pair: [u64; 2]) {
        if self.is_on && !self.share.is_asleep() {
            self.streams.learn(pair);
        }
    }

    /// How many events a prediction has to come true from now on.
    pub(crate) fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
        self.trust.set_horizon(horizon);
    }

    /// What the names of its keys take; they are part of its share.
    pub(crate) fn set_names_bytes(&mut self, bytes: usize) {
        self.names_bytes = bytes;
    }

    /// What they may take.
    pub(crate) fn names_limit(&self) -> usize {
        if self.share.is_asleep() { 0 } else { self.share.bytes() * 3 / 4 }
    }

    /// Names and all, it may have no more than this for now.
    pub(crate) fn set_most(&mut self, bytes: usize) {
        self.share.set_most(bytes.saturating_sub(self.trust.bytes()));
        self.limit_streams();
    }

    fn limit_streams(&mut self) {
        self.streams.set_limit(self.share.bytes() - self.names_bytes.min(self.names_limit()));
    }

    /// Why nothing is asked for; None when something may be.
    pub(crate) fn doubt(&self) -> Option<&'static str> {
        if self.is_on { self.trust.doubt() } else { Some("there is too little memory") }
    }

    /// What the prediction has of the total, in bytes; the rest is the cache's.
    pub fn bytes(&self) -> usize {
        let has_memory = self.is_on && !self.share.is_asleep();
        if has_memory { self.streams.bytes() + self.trust.bytes() } else { 0 }
    }

    /// The counters.
    pub fn stats(&self) -> PredictionStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop over more keys than are held: everything is a miss, in the same order each time.
    fn walk(predictor: &mut Predictor, keys: u64, rounds: u64) -> u64 {
        let mut held = std::collections::HashSet::new();
        let mut misses = 0;
        for round in 0..rounds {
            for key in 0..keys {
                let access = if held.remove(&key) { Access::Prefetched } else { Access::Miss };
                misses += u64::from(round + 1 == rounds && access == Access::Miss);
                let ahead = predictor.observe(key, 1, access, |next| held.contains(&next)).to_vec();
                held.extend(ahead);
            }
        }
        misses
    }

    #[test]
    fn what_repeats_is_there_before_it_is_asked_for() {
        let mut predictor = Predictor::new(1 << 20, 100);
        assert_eq!(walk(&mut predictor, 500, 4), 0);
        let stats = predictor.stats();
        assert!(stats.used * 10 > stats.issued * 9, "{stats:?}");
        assert!(predictor.trust.precision() > 0.9);
    }

    #[test]
    fn what_does_not_repeat_is_not_asked_for() {
        let mut predictor = Predictor::new(1 << 20, 100);
        let mut number = 1u64;
        for _ in 0..100_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            predictor.observe(number >> 50, 1, Access::Miss, |_| false);
        }
        let stats = predictor.stats();
        assert!(stats.predicted > 500, "{stats:?}");
        assert!(stats.issued * 50 < stats.events, "{stats:?}");
        assert!(predictor.bytes() < (1 << 20) / 40, "it has given its memory back");
    }

    #[test]
    fn who_stops_repeating_is_not_believed_for_long() {
        let mut predictor = Predictor::new(4 << 20, 100);
        walk(&mut predictor, 500, 4);
        let before = predictor.stats();
        let mut number = 1u64;
        for _ in 0..20_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            predictor.observe(number >> 50, 1, Access::Miss, |_| false);
        }
        let after = predictor.stats();
        assert!(after.issued - before.issued < 2_000, "{after:?}");
        assert_eq!(walk(&mut predictor, 500, 20), 0, "and believed again");
    }
}
