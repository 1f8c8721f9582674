//! Reads sent ahead of the application: the foresight is told of what was asked for and shown what
//! was answered, and what it predicts is read as if somebody had asked.
//!
//! What is predicted comes from rules, from the order of the last time, and from changes of what
//! was hit often. A read ahead is a flight without an owner: the same lease, the same pushes, the
//! same deadline, the same identity. Who asks meanwhile joins it. What has come and nobody has
//! asked for is not served by a hit: the first to ask comes here, which is how the rules learn that
//! they were right, at no cost to any hit.
//!
//! It is the least important thing there is: it is dropped when the link has much to do, and what
//! goes wrong with it is nobody's error.

use cachee_core::{
    Access, Ahead, EntryRef, Fields, Foresight, ForesightConfig, ForesightStats, Hot, Learned,
    Origin, REFETCH_HITS, RuleView, Store, Token, Weigh,
};

use super::flight::Flight;
use super::renewal::Renewals;
use super::state::{Context, State};
use super::{Link, LinkValue, Request};
use crate::cacheable::decode_words;
use crate::config::LinkConfig;
use crate::fields::add_fields;

/// Commands on their way when nothing more is sent ahead: a part of `max_in_flight`.
const IN_FLIGHT_PART: usize = 8;
/// Bytes that wait for the socket when nothing more is sent ahead.
const OUT_BYTES_MAX: usize = 256 << 10;
/// The part of the capacity that the tables of the rules take, and the most that is of use.
const RULES_PART: usize = 64;
const RULES_BYTES_MAX: usize = 1 << 20;
/// Memory is taken and given back in steps of so small a part of the capacity.
const STEPS_OF_MEMORY: usize = 1024;
/// Accesses between two looks at how many entries there are.
const ENTRIES_PERIOD: u64 = 4096;

/// What a link begins with, and the bytes of the store's capacity that it takes; None where nothing
/// is read ahead or nothing is left to learn in.
pub(super) fn foresight_for<V: Weigh>(
    config: &LinkConfig,
    store: &Store<V>,
) -> Option<(Box<Foresight>, usize)> {
    let reads_an_event = config.ahead.as_ref()?.reads_a_miss;
    let total_bytes = store.capacity_bytes();
    let rules_bytes = (total_bytes / RULES_PART).min(RULES_BYTES_MAX);
    if !store.reserve(rules_bytes) {
        return None;
    }
    if reads_an_event > 0.0 {
        store.tell_written();
    }
    let config = ForesightConfig { total_bytes, rules_bytes, reads_an_event };
    Some((Box::new(Foresight::new(config, store.hash().clone())), rules_bytes))
}

/// A reply that is to be shown, once it is here.
pub(super) struct Shown {
    pub(super) origin: Origin,
    key_hash: u64,
    key: Box<[u8]>,
    args: Box<[u8]>,
}

impl Shown {
    pub(super) fn new(request: &Request<'_>, origin: Origin) -> Box<Self> {
        let Request { key_hash, key, args, .. } = *request;
        Box::new(Self { origin, key_hash, key: key.into(), args: args.into() })
    }
}

impl State {
    /// A read that no hit answered; true when its reply is to be shown.
    pub(super) fn told<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        request: &Request<'_>,
        access: Access,
        now_ms: u64,
    ) -> bool {
        let (Some(foresight), Some(flow)) = (&mut self.foresight, request.flow) else {
            return false;
        };
        let scope = self.scope;
        let id = request.id(scope);
        let wants_value = foresight.asked(&id, flow, access, now_ms, |id| {
            context.store.is_here(&EntryRef { scope, ..*id }, now_ms)
        });
        self.settle_memory(context);
        wants_value
    }

    /// What was learned grows and shrinks; the entries have the rest of the capacity.
    fn settle_memory<V: LinkValue>(&mut self, context: &Context<'_, V>) {
        let Some(foresight) = &mut self.foresight else { return };
        self.accesses_told += 1;
        if self.accesses_told % ENTRIES_PERIOD == 1 {
            foresight.set_entries(context.store.stats().entries as usize);
        }
        let step = (context.store.capacity_bytes() / STEPS_OF_MEMORY).max(1);
        let queued = self.renewals.as_ref().map_or(0, Renewals::bytes);
        let wanted = (foresight.bytes() + queued).next_multiple_of(step);
        let has = self.reserved_bytes;
        if wanted > has {
            if self.accesses_told < self.refused_until {
                return;
            }
            if context.store.reserve(wanted - has) {
                self.reserved_bytes = wanted;
                foresight.set_limit(usize::MAX);
            } else {
                foresight.set_limit(has.saturating_sub(queued));
                self.refused_until = self.accesses_told + ENTRIES_PERIOD;
            }
        } else if has - wanted > step {
            context.store.give_back(has - wanted);
            self.reserved_bytes = wanted;
        }
    }

    /// A key has changed: what was hit of it is asked for again.
    pub(super) fn changed<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        key: &[u8],
        key_hash: u64,
    ) {
        let Some(foresight) = &mut self.foresight else { return };
        let scope = self.scope;
        let id = EntryRef { scope, shape: 0, key, args: b"", key_hash };
        for (shape, args, hits) in context.store.hit_rows(&id, REFETCH_HITS) {
            foresight.changed(&EntryRef { shape, args: &args, ..id }, hits);
        }
    }

    /// These were hit before a write of ours, which is over.
    pub(super) fn written<V: LinkValue>(&mut self, context: &Context<'_, V>, hot: &[Hot]) {
        let Some(foresight) = &mut self.foresight else { return };
        for each in hot.iter().filter(|each| each.scope == self.scope) {
            let Hot { shape, key, args, .. } = each;
            let key_hash = context.store.key_hash(key);
            let id = EntryRef { scope: self.scope, shape: *shape, key, args, key_hash };
            foresight.changed(&id, each.hits);
        }
    }

    /// A reply has come.
    pub(super) fn show<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        shown: &Shown,
        shape: u32,
        frame: &[u8],
        now_ms: u64,
    ) {
        let Some(foresight) = &mut self.foresight else { return };
        let scope = self.scope;
        let Shown { origin, key_hash, key, args } = shown;
        let id = EntryRef { scope, shape, key, args, key_hash: *key_hash };
        let mut fields = Fields::default();
        add_fields(frame, &mut fields);
        foresight.answered(&id, *origin, &fields, now_ms, |id| {
            context.store.is_here(&EntryRef { scope, ..*id }, now_ms)
        });
    }

    /// Sends what was predicted since the last time, and reads again what is about to end or was
    /// hot before.
    pub(super) fn send_ahead<V: LinkValue>(&mut self, context: &Context<'_, V>, now_ms: u64) {
        let predicted = self.foresight.as_mut().map_or(Vec::new(), |it| it.take_ahead());
        for ahead in predicted {
            let is_sent = self.send_one_ahead(context, &ahead, now_ms);
            if let Some(foresight) = &mut self.foresight {
                foresight.was_sent(&ahead, is_sent, now_ms);
            }
        }
        self.renew(context, now_ms);
        self.warm(context, now_ms);
    }

    /// Whether `send_ahead` may have something to send.
    pub(super) fn sends_ahead(&self) -> bool {
        self.foresight.is_some() || self.warm.is_waiting()
    }

    fn send_one_ahead<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        ahead: &Ahead,
        now_ms: u64,
    ) -> bool {
        let Ahead { shape, key, args, key_hash, hops, target, .. } = ahead;
        let config = context.config.ahead.as_ref();
        let is_admitted = config.is_some_and(|config| config.admission.admits(key));
        let Some(command) = decode_words(*shape, key, args).filter(|_| is_admitted) else {
            return false;
        };
        let (shape, key_hash) = (*shape, *key_hash);
        let request = Request { shape, key, key_hash, args, command: &command, flow: None };
        let Some((_, flight)) = self.read_ahead(context, &request, now_ms) else { return false };
        flight.target = *target;
        flight.shown = Some(Shown::new(&request, Origin::Ahead(*hops)));
        true
    }

    /// There is other work to do.
    pub(super) fn is_busy(&self, config: &LinkConfig) -> bool {
        self.pending.len() > config.max_in_flight / IN_FLIGHT_PART
            || self.out.bytes.len() > OUT_BYTES_MAX
    }

    /// Sends a read for nobody, unless its value is here, on its way, being written or there is
    /// other work to do.
    pub(super) fn read_ahead<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        request: &Request<'_>,
        now_ms: u64,
    ) -> Option<(Token, &mut Flight)> {
        if self.is_busy(context.config)
            || self.may_submit(context.config, request.key, now_ms).is_err()
        {
            return None;
        }
        let token = context.store.begin_ahead(&request.id(self.scope), now_ms)?;
        let flight = self.launch(context, request, token, None, now_ms);
        flight.is_ahead = true;
        Some((token, flight))
    }

    /// Somebody asks for what is on its way ahead, in this flow.
    pub(super) fn joined_ahead<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        request: &Request<'_>,
        token: Token,
        now_ms: u64,
    ) {
        let wants = self.told(context, request, Access::Late, now_ms);
        let Some(flight) = self.flights.get_mut(&token) else { return };
        // Unless it is here already, and only its lifetime is still to come.
        if flight.shown.is_some() {
            let origin = request.flow.filter(|_| wants).map(Origin::Flow);
            flight.shown = origin.map(|origin| Shown::new(request, origin));
        }
    }
}

impl<V: LinkValue> Link<V> {
    /// What was sent ahead and came of it; None where nothing is predicted.
    pub fn ahead_stats(&self) -> Option<ForesightStats> {
        if self.is_abandoned() {
            return None;
        }
        let state = self.state.lock();
        let stats = state.foresight.as_ref()?.stats();
        let Some(renewals) = &state.renewals else { return Some(stats) };
        let bytes = stats.bytes + renewals.bytes() as u64;
        Some(ForesightStats { renewal: renewals.stats(), bytes, ..stats })
    }

    /// What is worth keeping for the next process, at most `count` rules.
    pub fn learned(&self, count: usize) -> Vec<Learned> {
        if self.is_abandoned() {
            return Vec::new();
        }
        let state = self.state.lock();
        state.foresight.as_ref().map_or(Vec::new(), |foresight| foresight.learned(count))
    }

    /// Which key followed which, as far as their names are known, at most `count` pairs.
    pub fn order(&self, count: usize) -> Vec<[Hot; 2]> {
        if self.is_abandoned() {
            return Vec::new();
        }
        let state = self.state.lock();
        state.foresight.as_ref().map_or(Vec::new(), |foresight| foresight.order(count))
    }

    /// Takes such an order over from an earlier process.
    pub fn learn_order(&self, order: &[[Hot; 2]]) {
        if !self.is_abandoned()
            && let Some(foresight) = &mut self.state.lock().foresight
        {
            foresight.learn_order(order);
        }
    }

    /// Takes over what an earlier process has learned.
    pub fn learn_again(&self, learned: &[Learned]) {
        if !self.is_abandoned()
            && let Some(foresight) = &mut self.state.lock().foresight
        {
            foresight.learn_again(learned);
        }
    }

    /// A write of ours is over that these had to go for (`Store::end_write`): they are read again,
    /// as after a change by others. Of other links' entries nothing happens.
    pub fn written(&self, hot: &[Hot]) {
        let scope = self.gate.scope();
        if self.is_abandoned() || !hot.iter().any(|each| each.scope == scope) {
            return;
        }
        self.state.lock().written(&self.context(), hot);
        // It sends; whoever has written has other things to do.
        self.wake_thread();
    }

    /// The rules of most use, at most `count`.
    pub fn rules(&self, count: usize) -> Vec<RuleView> {
        if self.is_abandoned() {
            return Vec::new();
        }
        let state = self.state.lock();
        state.foresight.as_ref().map_or(Vec::new(), |foresight| foresight.views(count))
    }
}
