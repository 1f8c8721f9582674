//! What was hot and is not here any more, read again by its name.
//!
//! The problem: a process that has just started, or a connection that was lost, leaves an empty L1,
//! and every first read waits for the server just when all of them come. The idea: names outlive
//! values. Those of a file (`read_again`) and those of the entries that were hit before the
//! connection was lost (`recall`) wait in a queue, hottest first, and are read ahead of whoever
//! asks: the same lease, pushes, deadline and user as any read, so nothing about it is new to the
//! races argued in `state`.
//!
//! The cost is bounded four ways: so many a second, so many on their way, nothing while the link
//! has other work, and nothing once the L1 is nearly full, where they would displace each other.

use std::collections::{HashMap, VecDeque};

use cachee_core::{Hot, Token};
use foldhash::fast::FixedState;

use super::state::{Context, State};
use super::{BypassReason, Link, LinkValue, Request};
use crate::cacheable::decode_words;

/// Reads a millisecond, and how many of what was not needed are saved up.
const READS_A_MS: u64 = 10;
const BURST: u64 = 64;
/// On their way at a time.
const UNDER_WAY_MAX: usize = 64;
/// Names that wait, at most; longer ones are not worth keeping.
pub(crate) const NAMES_MAX: usize = 10_000;
/// What those that wait may have altogether.
const BYTES_MAX: usize = 4 << 20;
/// Bytes of a name with its arguments.
pub(crate) const NAME_BYTES_MAX: usize = 16 << 10;
/// Hits before everything was dropped that make an entry worth reading again.
const HITS_MIN: u32 = 2;
/// The link's thread comes by so often while names wait.
pub(super) const INTERVAL_MS: u64 = 6;

/// Names that wait to be read, and the pace.
#[derive(Default)]
pub(super) struct Warm {
    names: VecDeque<Hot>,
    /// Of the names that wait.
    bytes: usize,
    /// On their way.
    under_way: HashMap<Token, Hot, FixedState>,
    allowance: u64,
    counted_ms: u64,
}

impl Warm {
    pub(super) fn is_waiting(&self) -> bool {
        !self.names.is_empty()
    }

    /// The connection is gone, and what was on its way with it: that waits again.
    pub(super) fn lost(&mut self) {
        for (_, hot) in std::mem::take(&mut self.under_way) {
            self.bytes += bytes_of(&hot);
            self.names.push_front(hot);
        }
    }

    /// A read has ended; true when it was one of these.
    pub(super) fn came_back(&mut self, token: Token) -> bool {
        self.under_way.remove(&token).is_some()
    }

    fn add(&mut self, names: impl IntoIterator<Item = Hot>) {
        for hot in names {
            let bytes = bytes_of(&hot);
            if self.names.len() >= NAMES_MAX || self.bytes + bytes > BYTES_MAX {
                return;
            }
            self.bytes += bytes;
            self.names.push_back(hot);
        }
    }

    fn next(&mut self) -> Option<Hot> {
        let hot = self.names.pop_front()?;
        self.bytes -= bytes_of(&hot);
        Some(hot)
    }

    /// How many may be sent now.
    fn allowed(&mut self, now_ms: u64) -> usize {
        let passed_ms = now_ms.saturating_sub(self.counted_ms);
        self.counted_ms = now_ms;
        self.allowance = self.allowance.saturating_add(passed_ms * READS_A_MS).min(BURST);
        (self.allowance as usize).min(UNDER_WAY_MAX.saturating_sub(self.under_way.len()))
    }
}

fn bytes_of(hot: &Hot) -> usize {
    size_of::<Hot>() + hot.key.len() + hot.args.len()
}

impl State {
    /// Reads the next names, as many as may be.
    pub(super) fn warm<V: LinkValue>(&mut self, context: &Context<'_, V>, now_ms: u64) {
        if !self.warm.is_waiting() || self.connection.is_none() {
            return;
        }
        let allowed = self.warm.allowed(now_ms);
        if allowed > 0 && context.store.is_nearly_full() {
            // What was dropped with the last connection still counts until it is swept.
            if !context.store.is_sweeping() {
                (self.warm.names, self.warm.bytes) = (VecDeque::new(), 0);
            }
            return;
        }
        for _ in 0..allowed {
            let Some(next) = self.warm.names.front() else { return };
            // A link that cannot ask now can later; only what it never may is passed over.
            let refused = self.may_submit(context.config, &next.key, now_ms).err();
            if self.is_busy(context.config)
                || refused.is_some_and(|reason| reason != BypassReason::NotTracked)
            {
                return;
            }
            let Some(hot) = self.warm.next() else { return };
            self.warm.allowance -= 1;
            let Some(command) = decode_words(hot.shape, &hot.key, &hot.args) else { continue };
            let request = Request {
                shape: hot.shape,
                key: &hot.key,
                key_hash: context.store.key_hash(&hot.key),
                args: &hot.args,
                command: &command,
                flow: None,
            };
            if let Some((token, flight)) = self.read_ahead(context, &request, now_ms) {
                // Somebody has asked for it, in an earlier life: any hit finds it.
                flight.is_ahead = false;
                self.warm.under_way.insert(token, hot);
            }
        }
    }
}

impl<V: LinkValue> Link<V> {
    /// Reads these in the background, hottest first, as soon as there is a connection; those that
    /// do not fit beside what waits already are passed over. Which may be cached at all the caller
    /// has seen to.
    pub fn read_again(&self, names: impl IntoIterator<Item = Hot>) {
        if self.is_abandoned() {
            return;
        }
        let mut state = self.state.lock();
        state.warm.add(names);
        self.write_out(state);
        self.wake_thread();
    }

    /// Names that still wait to be read, or are on their way.
    pub fn waiting_names(&self) -> Vec<Hot> {
        if self.is_abandoned() {
            return Vec::new();
        }
        let state = self.state.lock();
        state.warm.under_way.values().chain(&state.warm.names).cloned().collect()
    }

    /// After a connection was lost, where anything is read ahead: what was hit of its entries is
    /// read again, as far as it has not been swept yet. On the link's thread, which alone has the
    /// time to look at all entries.
    pub(super) fn recall(&self) {
        let Some(dropped) = self.state.lock().dropped_scope.take() else { return };
        let ahead = self.config.ahead.as_ref().filter(|ahead| ahead.reads_a_miss > 0.0);
        let Some(ahead) = ahead else { return };
        let hottest = self.store.hottest(NAMES_MAX, NAME_BYTES_MAX, |scope| scope == dropped);
        let is_worth_it = |hot: &Hot| hot.hits >= HITS_MIN && ahead.admission.admits(&hot.key);
        self.state.lock().warm.add(hottest.into_iter().filter(is_worth_it));
    }
}
