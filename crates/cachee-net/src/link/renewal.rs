//! What is hit often is read again before its time is over.
//!
//! An entry whose key has no TTL ends after `max_age`, and the next reader would wait for a read
//! that changes nothing. So the link remembers when each such entry was stored; they end in the
//! order in which they began, so that is a queue. Shortly before the end an entry that was hit since
//! is read again, served all the while, and replaced when the answer is here. Whether that pays is
//! counted: a renewed entry that nobody hits was renewed in vain.
//!
//! XFetch (Vattani et al., VLDB 2015) draws the moment at random, because many caches of one key
//! would come together. Here one link asks for all of a process, and a change of the key drops the
//! entry whenever it comes.

use std::collections::VecDeque;

use cachee_core::{EntryRef, HitToken, SentStats};

use super::state::{Context, State};
use super::{LinkValue, Request};
use crate::cacheable::decode_words;
use crate::config::LinkConfig;

/// The part of its life that is left when an entry is renewed.
const MARGIN_PART: u64 = 8;
/// The link's thread comes by so often within `max_staleness`.
const LOOKS_A_STALENESS: u64 = 3;
/// Hits since it was stored that make it worth renewing.
const HITS_MIN: u32 = 2;
/// Of those renewed, the part that has to be hit again; else only one in so many is renewed.
const FLOOR: f32 = 0.3;
const WEIGHT: f32 = 1.0 / 64.0;
const PERIOD: u64 = 16;
/// The part of the capacity that the queue may take.
const CAPACITY_PART: usize = 256;

struct Stored {
    at: HitToken,
    due_ms: u64,
    was_renewed: bool,
}

/// Entries in the order in which they end.
pub(super) struct Renewals {
    queue: VecDeque<Stored>,
    limit: usize,
    margin_ms: u64,
    precision: f32,
    looked_at: u64,
    pub(super) stats: SentStats,
}

impl Renewals {
    /// None where entries live too shortly for anybody to come by in time.
    pub(super) fn new(config: &LinkConfig, capacity_bytes: usize) -> Option<Self> {
        let step_ms = config.max_staleness_ms / LOOKS_A_STALENESS;
        let margin_ms = (config.max_age_ms / MARGIN_PART).max(2 * step_ms);
        let may_send = config.ahead.as_ref().is_some_and(|ahead| ahead.reads_a_miss > 0.0);
        (may_send && margin_ms <= config.max_age_ms / 2).then(|| Self {
            queue: VecDeque::new(),
            limit: capacity_bytes / CAPACITY_PART / size_of::<Stored>(),
            margin_ms,
            precision: 1.0,
            looked_at: 0,
            stats: SentStats::default(),
        })
    }

    /// An entry that lives as long as any may. Where there is no room it is not renewed.
    pub(super) fn stored(&mut self, at: HitToken, ends_ms: u64, was_renewed: bool) {
        if self.queue.len() < self.limit {
            let due_ms = ends_ms.saturating_sub(self.margin_ms);
            self.queue.push_back(Stored { at, due_ms, was_renewed });
        }
    }

    pub(super) fn has_due(&self, now_ms: u64) -> bool {
        self.queue.front().is_some_and(|stored| stored.due_ms <= now_ms)
    }

    pub(super) fn bytes(&self) -> usize {
        self.queue.capacity() * size_of::<Stored>()
    }

    fn is_worth_it(&self) -> bool {
        self.precision >= FLOOR || self.looked_at.is_multiple_of(PERIOD)
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
        while self.renewals.as_ref().is_some_and(|renewals| renewals.has_due(now_ms))
            && !self.is_busy(context.config)
        {
            let Some(renewals) = &mut self.renewals else { return };
            let Some(Stored { at, was_renewed, .. }) = renewals.queue.pop_front() else { return };
            let Some((hits, hot)) = context.store.lived(at, HITS_MIN) else { continue };
            if was_renewed {
                renewals.ended(hits > 0);
            }
            let Some(hot) = hot.filter(|hot| hot.scope == self.scope) else { continue };
            renewals.looked_at += 1;
            if !renewals.is_worth_it() {
                continue;
            }
            let Some(command) = decode_words(hot.shape, &hot.key, &hot.args) else { continue };
            let key_hash = context.store.key_hash(&hot.key);
            let id = EntryRef {
                scope: hot.scope,
                shape: hot.shape,
                key: &hot.key,
                args: &hot.args,
                key_hash,
            };
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
            }
        }
    }
}
