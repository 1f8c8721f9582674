//! The link's state machine: no socket, no clock, no thread. Everything here runs under the
//! link's one lock, and every effect on the L1 happens here, in the order of the wire.
//!
//! # The races, and why each is harmless
//!
//! Leases are taken and flights registered under one lock, and flights end (publish or abandon)
//! under the same lock, so a `Join` always finds its flight. The store's rule for a push is: the
//! entry dies, and a lease of this scope dies only if its own reply was parsed already.
//!
//! - *push, reply*: the push was queued before the read ran on the server, so the read saw the
//!   write. The lease is unread, the push leaves it alone, the value is stored.
//! - *reply, push, PTTL*: the value is older than the write. The lease is read, the push kills it,
//!   the value goes to those who asked before the push and is not stored.
//! - *PTTL, push*: the entry is stored and then dropped, both here.
//! - *two answers, one read by a slow thread*: cannot be; answers and pushes are applied by
//!   whoever holds the reader, one at a time.
//! - *an old connection's bytes*: applied only if the connection is still the present one, asked
//!   under this lock. A lost connection moves the gate to a fresh scope first.
//! - *own write during the read*: the writer killed the lease (`begin_write`), so `publish` stores
//!   nothing; who waited asked before the write began, or joined before it.
//! - *a reader after a barrier*: does not join a flight sent before it, does not take an entry
//!   while the gate is closed.
//!
//! # Liveness
//!
//! An answer to a command sent at `t` proves that every push queued before that command ran has
//! been applied, so the L1 is right as of `t`: the gate opens until `t + max_staleness`. If a
//! barrier was asked for after `t` the answer proves nothing about the write behind the barrier
//! and does not open the gate.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cachee_core::{Begin, EntryRef, Gate, Store, Token};
use foldhash::fast::FixedState;

use super::connection::Connection;
use super::flight::{Answers, Completions, Flight, Pending, Waiting};
use super::inbound::Frame;
use super::outcome::{BypassReason, Outcome, Read};
use super::ttl::{TtlLearner, least_field_ttl_ms};
use super::{LinkStatistics, LinkStatus, LinkValue, Request};
use crate::cacheable::{Fields, spec};
use crate::commands::CommandTable;
use crate::config::{LinkConfig, Tracking};
use crate::resp::{Node, ProtocolError, Reader, encode_command};

/// Bytes waiting for the socket, at most; beyond it reads are left to the callers.
const OUT_BYTES_MAX: usize = 8 << 20;
/// How long a value over the limit is not tried again.
const TOO_LARGE_BYPASS_MS: u64 = 60_000;
/// Hashes with more fields are not asked for each field's TTL.
const FIELDS_ASKED_MAX: usize = 256;
/// Commands one read takes at most: `CACHING`, the read, `PTTL`, `HPTTL`.
const COMMANDS_A_READ: usize = 4;
/// The generation while there is no connection; connections count from 1.
pub(super) const NO_CONNECTION: u64 = 0;

/// What the state machine works on besides itself.
pub(super) struct Context<'a, V> {
    pub(super) store: &'a Store<V>,
    pub(super) gate: &'a Gate,
    pub(super) config: &'a LinkConfig,
}

/// Commands on their way to the socket.
#[derive(Default)]
pub(super) struct Outbound {
    pub(super) bytes: Vec<u8>,
    /// Somebody is writing, and will look here again before leaving.
    pub(super) is_writing: bool,
    /// The socket takes no more; the link's thread goes on when it does.
    pub(super) is_blocked: bool,
}

/// Everything behind the link's lock.
pub(super) struct State {
    pub(super) status: LinkStatus,
    pub(super) connection: Option<Arc<Connection>>,
    /// Of the present connection, or `NO_CONNECTION`.
    pub(super) generation: u64,
    pub(super) commands: Option<(String, Arc<CommandTable>)>,
    pub(super) knows_field_ttl: bool,
    pub(super) out: Outbound,
    pub(super) statistics: LinkStatistics,
    /// The thread sleeps without a time limit.
    pub(super) is_thread_idle: bool,
    /// When bytes last came.
    pub(super) heard_ms: u64,
    pub(super) last_sent_ms: u64,
    scope: u32,
    barrier: u64,
    pending: VecDeque<Pending>,
    flights: HashMap<Token, Flight, FixedState>,
    learner: TtlLearner,
}

impl State {
    pub(super) fn new(scope: u32, learn_ttl: bool) -> Self {
        Self {
            status: LinkStatus::Connecting,
            connection: None,
            generation: NO_CONNECTION,
            commands: None,
            knows_field_ttl: false,
            out: Outbound::default(),
            statistics: LinkStatistics::default(),
            is_thread_idle: false,
            heard_ms: 0,
            last_sent_ms: 0,
            scope,
            barrier: 0,
            pending: VecDeque::new(),
            flights: HashMap::default(),
            learner: TtlLearner::new(learn_ttl),
        }
    }

    /// Commands sent and not yet answered.
    pub(super) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// When the oldest unanswered command was sent.
    pub(super) fn oldest_sent_ms(&self) -> Option<u64> {
        self.pending.front().map(|pending| pending.sent_ms)
    }

    /// Begins a read, or says why not.
    pub(super) fn submit<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        request: &Request<'_>,
        waiting: Waiting,
        now_ms: u64,
    ) -> Read {
        let read = match self.try_submit(context, request, waiting, now_ms) {
            Ok(read) => read,
            Err(reason) => Read::Bypass(reason),
        };
        if let Read::Bypass(reason) = read {
            self.count_bypass(reason);
        }
        read
    }

    fn try_submit<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        request: &Request<'_>,
        waiting: Waiting,
        now_ms: u64,
    ) -> Result<Read, BypassReason> {
        self.may_submit(context.config, request.key, now_ms)?;
        let id = EntryRef {
            scope: self.scope,
            shape: request.shape,
            key: request.key,
            args: request.args,
            key_hash: request.key_hash,
        };
        let is_open = context.gate.open_scope(now_ms).is_some();
        let mut begin = context.store.begin(&id, now_ms, false);
        if let Begin::Join(token) = begin {
            match self.flights.get_mut(&token) {
                Some(flight) if flight.barrier == self.barrier => {
                    flight.waiting.push(waiting);
                    self.statistics.joined += 1;
                    return Ok(Read::Submitted);
                }
                _ => begin = context.store.begin(&id, now_ms, true),
            }
        } else if begin == Begin::Present && !is_open {
            begin = context.store.begin(&id, now_ms, true);
        }
        match begin {
            Begin::Lease(token) => {
                self.launch(context, request, token, waiting, now_ms);
                Ok(Read::Submitted)
            }
            Begin::Present => Ok(Read::Present),
            // A fresh begin does not join.
            Begin::Join(_) => Err(BypassReason::Overloaded),
            Begin::Bypass(bypass) => Err(bypass.into()),
        }
    }

    fn may_submit(&self, config: &LinkConfig, key: &[u8], now_ms: u64) -> Result<(), BypassReason> {
        if self.connection.is_none() {
            return Err(match self.status {
                LinkStatus::Connecting => BypassReason::Connecting,
                LinkStatus::Unsupported { .. } => BypassReason::Unsupported,
                LinkStatus::Closed => BypassReason::Closed,
                LinkStatus::Down { .. } | LinkStatus::Ready { .. } => BypassReason::LinkDown,
            });
        }
        let is_slow = self
            .oldest_sent_ms()
            .is_some_and(|oldest_ms| now_ms.saturating_sub(oldest_ms) >= patience_ms(config));
        if is_slow {
            return Err(BypassReason::SlowServer);
        }
        if self.pending.len() + COMMANDS_A_READ > config.max_in_flight
            || self.out.bytes.len() > OUT_BYTES_MAX
        {
            return Err(BypassReason::Overloaded);
        }
        match &config.tracking {
            Tracking::Broadcast(prefixes)
                if !prefixes.is_empty()
                    && !prefixes.iter().any(|prefix| key.starts_with(prefix)) =>
            {
                Err(BypassReason::NotTracked)
            }
            _ => Ok(()),
        }
    }

    fn launch<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        request: &Request<'_>,
        token: Token,
        waiting: Waiting,
        now_ms: u64,
    ) {
        let fields = spec(request.shape).map_or(Fields::None, |spec| spec.fields);
        let prefix = self.learner.prefix(request.key, |prefix| context.store.key_hash(prefix));
        let skips_ttl = self.learner.skips(prefix, request.key_hash);
        let config = context.config;
        let life_ms = if skips_ttl { config.max_staleness_ms } else { config.max_age_ms };
        let mut flight = Flight {
            waiting: vec![waiting],
            shape: request.shape,
            sent_ms: now_ms,
            barrier: self.barrier,
            prefix,
            key: None,
            reply: None,
            deadline_ms: now_ms + life_ms.min(config.max_age_ms),
            answers_left: 1,
            asks_again: false,
            may_store: true,
        };
        if config.tracking == Tracking::OptIn {
            self.send(&[b"CLIENT", b"CACHING", b"YES"], Answers::Caching, now_ms);
        }
        self.send(request.command, Answers::Read(token), now_ms);
        if !skips_ttl {
            self.send(&[b"PTTL", request.key], Answers::Ttl(token), now_ms);
            flight.answers_left += 1;
        }
        match fields {
            Fields::Named(first) if self.knows_field_ttl => {
                self.send_field_ttl(request.key, &request.command[first..], token, now_ms);
                flight.answers_left += 1;
            }
            Fields::Whole if self.knows_field_ttl => flight.key = Some(request.key.into()),
            _ => {}
        }
        self.statistics.fetched += 1;
        self.flights.insert(token, flight);
    }

    fn send(&mut self, command: &[&[u8]], answers: Answers, now_ms: u64) {
        encode_command(command, &mut self.out.bytes);
        self.last_sent_ms = now_ms;
        self.pending.push_back(Pending { sent_ms: now_ms, barrier: self.barrier, answers });
    }

    fn send_field_ttl(&mut self, key: &[u8], fields: &[&[u8]], token: Token, now_ms: u64) {
        let count = fields.len().to_string();
        let mut command: Vec<&[u8]> = vec![b"HPTTL", key, b"FIELDS", count.as_bytes()];
        command.extend_from_slice(fields);
        self.send(&command, Answers::FieldTtl(token), now_ms);
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self, now_ms: u64) {
        self.send(&[b"PING"], Answers::Ping, now_ms);
    }

    /// Takes the next frame in.
    pub(super) fn apply<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        frame: &Frame<'_>,
        now_ms: u64,
        completions: &mut Completions,
    ) -> Result<(), ProtocolError> {
        match *frame {
            Frame::Whole(bytes) if bytes[0] == b'>' => self.apply_push(context, bytes),
            Frame::Whole(bytes) => self.apply_answer(context, bytes, now_ms, completions)?,
            // Its keys are not going to be read: everything may have changed.
            Frame::Oversize { is_push: true } => self.flush(context),
            Frame::Oversize { is_push: false } => {
                self.give_up_oversize(context, completions, now_ms)?;
            }
            Frame::OversizeEnd { is_push: true } => {}
            Frame::OversizeEnd { is_push: false } => {
                let pending = self.take_answered(context)?;
                if let Answers::Read(token) = pending.answers {
                    self.answered(context, token, now_ms, completions);
                }
            }
        }
        Ok(())
    }

    fn apply_push<V: LinkValue>(&mut self, context: &Context<'_, V>, frame: &[u8]) {
        let mut reader = Reader::new(frame);
        // Other kinds (messages, maintenance notices) concern nobody here.
        if reader.elements() != Some(2) || reader.string() != Some(b"invalidate") {
            return;
        }
        let mut keys = reader.clone();
        match keys.next() {
            Some(Node::Array(count)) => {
                for _ in 0..count {
                    let Some(key) = keys.string() else { return self.flush(context) };
                    let dep = context.store.key_hash(key);
                    context.store.invalidate_pushed(dep, self.scope);
                    self.statistics.invalidations += 1;
                }
            }
            _ => self.flush(context),
        }
    }

    /// Everything of this server may have changed; the connection itself is sound. The store kills
    /// the leases of the scope left behind, so what is in the air is handed out and not stored.
    fn flush<V: LinkValue>(&mut self, context: &Context<'_, V>) {
        self.move_scope(context);
        self.statistics.flushes += 1;
    }

    fn move_scope<V: LinkValue>(&mut self, context: &Context<'_, V>) {
        let retired = std::mem::replace(&mut self.scope, context.store.new_scope());
        context.gate.reset(self.scope);
        context.store.retire_scope(retired);
    }

    /// Takes the oldest command as answered, which is a sign of life.
    fn take_answered<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
    ) -> Result<Pending, ProtocolError> {
        let pending = self.pending.pop_front().ok_or(ProtocolError::Unexpected)?;
        if pending.barrier == self.barrier {
            context.gate.prove(pending.sent_ms + context.config.max_staleness_ms);
        }
        Ok(pending)
    }

    fn apply_answer<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        frame: &[u8],
        now_ms: u64,
        completions: &mut Completions,
    ) -> Result<(), ProtocolError> {
        let pending = self.take_answered(context)?;
        let is_error = is_error(frame);
        let token = match pending.answers {
            Answers::Ping => return Ok(()),
            // Untracked reads must not be stored, and which ones they are is no longer certain.
            Answers::Caching if is_error => return Err(ProtocolError::Unexpected),
            Answers::Caching => return Ok(()),
            Answers::Read(token) => {
                self.apply_reply(context, token, frame, now_ms, completions);
                token
            }
            Answers::Ttl(token) => {
                self.apply_ttl(token, frame);
                token
            }
            Answers::FieldTtl(token) => {
                if let Some(flight) = self.flights.get_mut(&token) {
                    let most_ms = match least_field_ttl_ms(frame) {
                        Some(least_ms) => least_ms.unwrap_or(u64::MAX),
                        None => context.config.max_staleness_ms,
                    };
                    flight.deadline_ms =
                        flight.deadline_ms.min(flight.sent_ms.saturating_add(most_ms));
                }
                token
            }
        };
        self.answered(context, token, now_ms, completions);
        Ok(())
    }

    fn apply_reply<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        token: Token,
        frame: &[u8],
        now_ms: u64,
        completions: &mut Completions,
    ) {
        let Some(flight) = self.flights.get_mut(&token) else { return };
        if is_error(frame) {
            if std::mem::take(&mut flight.may_store) {
                context.store.abandon(token);
            }
            return self.give_back(token, BypassReason::ErrorReply, completions);
        }
        flight.reply = Some(frame.into());
        context.store.mark_read(token);
        if let Some(key) = flight.key.take() {
            self.bound_whole_hash(context, token, &key, frame, now_ms);
        }
    }

    /// A reply that speaks of all fields of a hash, on a server where fields expire: either each
    /// field's lifetime is asked for, or the entry is trusted no longer than the feed.
    fn bound_whole_hash<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        token: Token,
        key: &[u8],
        frame: &[u8],
        now_ms: u64,
    ) {
        let fields = field_names(frame, self.flights.get(&token).map_or(0, |flight| flight.shape));
        let has_room = self.pending.len() < context.config.max_in_flight;
        match fields {
            Some(fields) if fields.is_empty() => {}
            Some(fields) if fields.len() <= FIELDS_ASKED_MAX && has_room => {
                self.send_field_ttl(key, &fields, token, now_ms);
                if let Some(flight) = self.flights.get_mut(&token) {
                    flight.answers_left += 1;
                    flight.asks_again = true;
                }
            }
            _ => {
                if let Some(flight) = self.flights.get_mut(&token) {
                    let capped_ms = flight.sent_ms + context.config.max_staleness_ms;
                    flight.deadline_ms = flight.deadline_ms.min(capped_ms);
                }
            }
        }
    }

    fn apply_ttl(&mut self, token: Token, frame: &[u8]) {
        let Some(flight) = self.flights.get_mut(&token) else { return };
        match Reader::new(frame).integer() {
            Some(-1) => self.learner.learn(flight.prefix, false),
            // The key is gone. What was read of it stands only if it is what its absence answers.
            Some(-2) => {
                let is_absent = flight.reply.as_ref().is_some_and(|reply| {
                    spec(flight.shape).is_some_and(|spec| spec.answers_missing(reply))
                });
                if !is_absent {
                    flight.deadline_ms = 0;
                }
            }
            Some(ttl_ms @ 0..) => {
                let ends_ms = flight.sent_ms.saturating_add(ttl_ms as u64);
                flight.deadline_ms = flight.deadline_ms.min(ends_ms);
                self.learner.learn(flight.prefix, true);
            }
            // An error (no permission for PTTL), or nonsense: the lifetime is not known.
            _ => flight.deadline_ms = 0,
        }
    }

    /// One of the flight's answers is in. With the last one the reply is stored or not. Callers
    /// are told then too, except that they do not wait for a second round trip about fields.
    fn answered<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        token: Token,
        now_ms: u64,
        completions: &mut Completions,
    ) {
        let Some(flight) = self.flights.get_mut(&token) else { return };
        flight.answers_left -= 1;
        let is_known = flight.answers_left == 0 || (flight.answers_left == 1 && flight.asks_again);
        if is_known && let Some(reply) = &flight.reply {
            let ends = flight.waiting.drain(..);
            completions.extend(ends.map(|end| (end, Outcome::Reply(reply.clone()))));
        }
        if flight.answers_left > 0 {
            return;
        }
        let Some(flight) = self.flights.remove(&token) else { return };
        match flight.reply {
            Some(reply) if flight.may_store && flight.deadline_ms > now_ms => {
                context.store.publish(token, V::from_reply(reply), flight.deadline_ms, now_ms);
            }
            _ if flight.may_store => context.store.abandon(token),
            _ => {}
        }
    }

    fn give_up_oversize<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        completions: &mut Completions,
        now_ms: u64,
    ) -> Result<(), ProtocolError> {
        let Some(&Pending { answers: Answers::Read(token), .. }) = self.pending.front() else {
            return Err(ProtocolError::Unexpected);
        };
        let Some(flight) = self.flights.get_mut(&token) else { return Ok(()) };
        if std::mem::take(&mut flight.may_store) {
            context.store.too_large(token, now_ms + TOO_LARGE_BYPASS_MS);
        }
        self.give_back(token, BypassReason::TooLarge, completions);
        Ok(())
    }

    /// Gives the callers of one flight back to their own connections.
    fn give_back(&mut self, token: Token, reason: BypassReason, completions: &mut Completions) {
        let Some(flight) = self.flights.get_mut(&token) else { return };
        let ends = std::mem::take(&mut flight.waiting);
        self.count_bypasses(reason, ends.len());
        completions.extend(ends.into_iter().map(|end| (end, Outcome::Bypass(reason))));
    }

    /// Gives back whatever has waited longer than `reply_timeout_ms`. The answers may still come,
    /// and are then passed over.
    pub(super) fn time_out<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        now_ms: u64,
        completions: &mut Completions,
    ) {
        let patience_ms = patience_ms(context.config);
        let overdue: Vec<Token> = self
            .pending
            .iter()
            .take_while(|pending| now_ms.saturating_sub(pending.sent_ms) >= patience_ms)
            .filter_map(|pending| match pending.answers {
                Answers::Read(token) | Answers::Ttl(token) | Answers::FieldTtl(token) => {
                    Some(token)
                }
                Answers::Caching | Answers::Ping => None,
            })
            .collect();
        for token in overdue {
            let Some(flight) = self.flights.get_mut(&token) else { continue };
            if std::mem::take(&mut flight.may_store) {
                context.store.abandon(token);
            }
            self.give_back(token, BypassReason::SlowServer, completions);
        }
    }

    /// A write with unknown keys was answered elsewhere.
    pub(super) fn barrier(&mut self, gate: &Gate) {
        self.barrier += 1;
        gate.close();
    }

    /// The connection is gone: hits stop first, then every flight is given back.
    pub(super) fn lose<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        reason: BypassReason,
        completions: &mut Completions,
    ) {
        self.move_scope(context);
        self.generation = NO_CONNECTION;
        self.connection = None;
        self.pending.clear();
        self.out = Outbound::default();
        let tokens: Vec<Token> = self.flights.keys().copied().collect();
        for token in tokens {
            if self.flights.get(&token).is_some_and(|flight| flight.may_store) {
                context.store.abandon(token);
            }
            self.give_back(token, reason, completions);
        }
        self.flights.clear();
    }

    /// A new connection is tracked. The scope is already a fresh one.
    pub(super) fn install(&mut self, connection: Arc<Connection>, now_ms: u64) {
        self.generation = connection.generation;
        self.connection = Some(connection);
        self.heard_ms = now_ms;
        self.last_sent_ms = now_ms;
        self.statistics.connects += 1;
    }

    fn count_bypass(&mut self, reason: BypassReason) {
        self.count_bypasses(reason, 1);
    }

    pub(super) fn count_bypasses(&mut self, reason: BypassReason, count: usize) {
        self.statistics.bypassed[reason as usize] += count as u64;
    }
}

/// How long an answer may take: never longer than an entry is trusted, because a reader who joins
/// a flight is handed what was read when it was sent.
pub(super) fn patience_ms(config: &LinkConfig) -> u64 {
    config.reply_timeout_ms.min(config.max_staleness_ms)
}

/// An error, attributes before it or not.
fn is_error(frame: &[u8]) -> bool {
    match frame[0] {
        b'-' | b'!' => true,
        b'|' => matches!(Reader::new(frame).next(), Some(Node::Error(_))),
        _ => false,
    }
}

/// The field names in a reply to `HGETALL` or `HKEYS`; `None` for commands that do not tell them.
fn field_names(frame: &[u8], shape: u32) -> Option<Vec<&[u8]>> {
    let step = match spec(shape)?.name {
        "HGETALL" => 2,
        "HKEYS" => 1,
        _ => return None,
    };
    let mut reader = Reader::new(frame);
    let count = match reader.next()? {
        Node::Map(pairs) => pairs,
        Node::Array(count) | Node::Set(count) => count / step,
        _ => return None,
    };
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(reader.string()?);
        if step == 2 {
            reader.skip()?;
        }
    }
    Some(names)
}
