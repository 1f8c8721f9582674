//! What is hit often is read again before its time is over.
//!
//! An entry whose key has no TTL ends after `max_age`, and the next reader would wait for a read
//! that changes nothing. So the link remembers when each such entry was stored; they end in the
//! order in which they began, so that is a queue: two, because most entries are cold. After an
//! eighth of its life an entry that nobody has hit is forgotten; an eighth before the end one that
//! was hit is read again, served all the while, and replaced when the answer is here. Whether that
//! pays is counted: a renewed entry that nobody hits was renewed in vain.
//!
//! What was loaded at once is due at once. So there is a pace: twice as fast as the queue would
//! have to go to be through within the eighth.
//!
//! XFetch (Vattani et al., VLDB 2015) draws the moment at random, because many caches of one key
//! would come together. Here one link asks for all of a process, and a change of the key drops the
//! entry whenever it comes.

use std::collections::VecDeque;

use cachee_core::{EntryRef, HitToken, NOT_WANTED, SentStats};

use super::state::{Context, State};
use super::{LinkValue, Request};
use crate::cacheable::decode_words;
use crate::config::LinkConfig;

/// The part of its life after which an entry is looked at, and that is left when it is renewed.
const MARGIN_PART: u64 = 8;
/// The link's thread comes by so often within `max_staleness`.
const LOOKS_A_STALENESS: u64 = 3;
/// Hits since it was stored that make it worth renewing.
const HITS_MIN: u32 = 2;
/// Of those renewed, the part that has to be hit again; else only one in so many is renewed.
const FLOOR: f32 = 0.3;
const WEIGHT: f32 = 1.0 / 64.0;
const PERIOD: u64 = 16;
/// The part of the capacity that the queues may take.
const CAPACITY_PART: usize = 256;
/// On their way at a time.
const UNDER_WAY_MAX: usize = 64;

#[derive(Clone, Copy)]
struct Stored {
    at: HitToken,
    due_ms: u64,
    was_renewed: bool,
}

fn pop_due(queue: &mut VecDeque<Stored>, now_ms: u64) -> Option<Stored> {
    let is_due = queue.front().is_some_and(|stored| stored.due_ms <= now_ms);
    if is_due { queue.pop_front() } else { None }
}

/// Entries in the order in which they end.
pub(super) struct Renewals {
    /// Nobody knows yet whether they are hit.
    young: VecDeque<Stored>,
    hit: VecDeque<Stored>,
    limit: usize,
    max_age_ms: u64,
    margin_ms: u64,
    under_way: usize,
    /// What may be sent by now, and since when that is counted.
    allowance: f64,
    counted_ms: u64,
    precision: f32,
    looked_at: u64,
    stats: SentStats,
}

impl Renewals {
    /// None where entries live too shortly for anybody to come by in time.
    pub(super) fn new(config: &LinkConfig, capacity_bytes: usize) -> Option<Self> {
        let step_ms = config.max_staleness_ms / LOOKS_A_STALENESS;
        let margin_ms = (config.max_age_ms / MARGIN_PART).max(2 * step_ms);
        let may_send = config.ahead.as_ref().is_some_and(|ahead| ahead.reads_a_miss > 0.0);
        (may_send && margin_ms <= config.max_age_ms / 2).then(|| Self {
            young: VecDeque::new(),
            hit: VecDeque::new(),
            limit: capacity_bytes / CAPACITY_PART / size_of::<Stored>(),
            max_age_ms: config.max_age_ms,
            margin_ms,
            under_way: 0,
            allowance: 0.0,
            counted_ms: 0,
            precision: 1.0,
            looked_at: 0,
            stats: SentStats::default(),
        })
    }

    /// An entry that lives as long as any may. Where there is no room it is not renewed.
    pub(super) fn stored(&mut self, at: HitToken, ends_ms: u64, was_renewed: bool) {
        if self.young.len() + self.hit.len() < self.limit {
            let due_ms = (ends_ms + self.margin_ms).saturating_sub(self.max_age_ms);
            self.young.push_back(Stored { at, due_ms, was_renewed });
        }
    }

    /// None of it is served any more.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.hit.clear();
        self.under_way = 0;
    }

    pub(super) fn came_back(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    pub(super) fn bytes(&self) -> usize {
        (self.young.capacity() + self.hit.capacity()) * size_of::<Stored>()
    }

    /// Those of the young that are hit go on; the others are forgotten.
    fn sort_out(&mut self, now_ms: u64, hits_of: impl Fn(HitToken) -> Option<u32>) {
        // From an eighth of the life to an eighth before its end.
        let wait_ms = self.max_age_ms - 2 * self.margin_ms;
        while let Some(stored) = pop_due(&mut self.young, now_ms) {
            if hits_of(stored.at).is_some_and(|hits| hits > 0 || stored.was_renewed) {
                self.hit.push_back(Stored { due_ms: stored.due_ms + wait_ms, ..stored });
            }
        }
    }

    /// The next that is due, if the pace allows it.
    fn next(&mut self, now_ms: u64) -> Option<Stored> {
        let rate = 2.0 * (self.hit.len() as f64 / self.margin_ms as f64) + 1.0;
        let passed_ms = now_ms.saturating_sub(self.counted_ms) as f64;
        self.counted_ms = now_ms;
        // What was not needed is not saved up.
        self.allowance =
            (self.allowance + passed_ms * rate).min(self.margin_ms as f64 * rate / 8.0);
        if self.allowance < 1.0 || self.under_way >= UNDER_WAY_MAX {
            return None;
        }
        let due = pop_due(&mut self.hit, now_ms);
        self.allowance -= f64::from(u8::from(due.is_some()));
        due
    }

    fn is_worth_it(&mut self) -> bool {
        self.looked_at += 1;
        self.precision >= FLOOR || self.looked_at.is_multiple_of(PERIOD)
    }

    pub(super) fn stats(&self) -> SentStats {
        let doubt = if self.precision >= FLOOR { "" } else { NOT_WANTED };
        SentStats { doubt, ..self.stats }
    }

    fn ended(&mut self, was_hit: bool) {
        let counted = if was_hit { &mut self.stats.used } else { &mut self.stats.unused };
        *counted += 1;
        self.precision += WEIGHT * (if was_hit { 1.0 } else { 0.0 } - self.precision);
    }
}

impl State {
    /// Reads again what is due.
    pub(super) fn renew<V: LinkValue>(&mut self, context: &Context<'_, V>, now_ms: u64) {
        if let Some(renewals) = &mut self.renewals {
            let hits_of = |at| context.store.lived(at, u32::MAX).map(|lived| lived.0);
            renewals.sort_out(now_ms, hits_of);
        }
        while !self.is_busy(context.config)
            && let Some(renewals) = &mut self.renewals
            && let Some(Stored { at, was_renewed, .. }) = renewals.next(now_ms)
        {
            let Some((hits, hot)) = context.store.lived(at, HITS_MIN) else { continue };
            if was_renewed {
                renewals.ended(hits > 0);
            }
            let Some(hot) = hot.filter(|hot| hot.scope == self.scope) else { continue };
            let Some(command) = decode_words(hot.shape, &hot.key, &hot.args) else { continue };
            if !renewals.is_worth_it() {
                continue;
            }
            let key_hash = context.store.key_hash(&hot.key);
            let id = EntryRef {
                scope: hot.scope,
                shape: hot.shape,
                key: &hot.key,
                args: &hot.args,
                key_hash,
            };
            // Where the link cannot ask now the entry ends as any other.
            if self.may_submit(context.config, &hot.key, now_ms).is_err() {
                return;
            }
            let Some(token) = context.store.begin_renewal(&id, now_ms) else { continue };
            let request = Request {
                shape: hot.shape,
                key: &hot.key,
                key_hash,
                args: &hot.args,
                command: &command,
                flow: None,
            };
            self.launch(context, &request, token, None, now_ms).is_renewal = true;
            if let Some(renewals) = &mut self.renewals {
                renewals.stats.issued += 1;
                renewals.under_way += 1;
            }
        }
    }
}
