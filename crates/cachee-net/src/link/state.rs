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

use cachee_core::{Access, Begin, Foresight, Gate, Origin, Store, Token};
use foldhash::fast::FixedState;

use super::ahead::{Shown, foresight_for};
use super::connection::Connection;
use super::flight::{Answers, Completions, Flight, Pending, Waiting};
use super::outcome::{BypassReason, Outcome, Read};
use super::renewal::Renewals;
use super::ttl::TtlLearner;
use super::warm::Warm;
use super::{LinkStatistics, LinkStatus, LinkValue, Request};
use crate::cacheable::{Fields, spec};
use crate::commands::CommandTable;
use crate::config::{LinkConfig, Tracking};
use crate::resp::encode_command;

/// Bytes waiting for the socket, at most; beyond it reads are left to the callers.
const OUT_BYTES_MAX: usize = 8 << 20;
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
    pub(super) scope: u32,
    /// Barriers asked for so far.
    pub(super) barrier: u64,
    pub(super) pending: VecDeque<Pending>,
    pub(super) flights: HashMap<Token, Flight, FixedState>,
    pub(super) learner: TtlLearner,
    /// What is read ahead; None: nothing.
    pub(super) foresight: Option<Box<Foresight>>,
    /// What it has of the store's capacity.
    pub(super) reserved_bytes: usize,
    pub(super) accesses_told: u64,
    /// There was no more memory; it is asked for again from then on.
    pub(super) refused_until: u64,
    /// What is read again before it ends; None: nothing.
    pub(super) renewals: Option<Renewals>,
    /// What was hot before, to be read again.
    pub(super) warm: Warm,
    /// Whose entries went with the last connection; None once they were looked at.
    pub(super) dropped_scope: Option<u32>,
}

impl State {
    pub(super) fn new<V: LinkValue>(scope: u32, config: &LinkConfig, store: &Store<V>) -> Self {
        let (foresight, reserved_bytes) = foresight_for(config, store).unzip();
        let renewals =
            foresight.as_ref().and_then(|_| Renewals::new(config, store.capacity_bytes()));
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
            learner: TtlLearner::new(config.learn_ttl),
            foresight,
            reserved_bytes: reserved_bytes.unwrap_or(0),
            accesses_told: 0,
            refused_until: 0,
            renewals,
            warm: Warm::default(),
            dropped_scope: None,
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
        let id = request.id(self.scope);
        let is_open = context.gate.open_scope(now_ms).is_some();
        let mut begin = context.store.begin(&id, now_ms, false);
        if let Begin::Join(token) = begin {
            match self.flights.get_mut(&token) {
                Some(flight) if flight.barrier == self.barrier => {
                    flight.joined.push(waiting);
                    self.statistics.joined += 1;
                    if std::mem::take(&mut flight.is_ahead) {
                        self.joined_ahead(context, request, token, now_ms);
                    }
                    return Ok(Read::Submitted);
                }
                _ => begin = context.store.begin(&id, now_ms, true),
            }
        } else if matches!(begin, Begin::Present | Begin::Ahead) && !is_open {
            begin = context.store.begin(&id, now_ms, true);
        }
        match begin {
            Begin::Lease(token) => {
                self.launch(context, request, token, Some(waiting), now_ms);
                if self.told(context, request, Access::Miss, now_ms)
                    && let (Some(flow), Some(flight)) = (request.flow, self.flights.get_mut(&token))
                {
                    flight.shown = Some(Shown::new(request, Origin::Flow(flow)));
                }
                Ok(Read::Submitted)
            }
            Begin::Present => Ok(Read::Present),
            Begin::Ahead => {
                if let Some((at, ends_ms)) = context.store.reveal(&id) {
                    if let Some(renewals) = &mut self.renewals {
                        renewals.stored(at, ends_ms, false);
                    }
                    self.told(context, request, Access::Prefetched, now_ms);
                }
                Ok(Read::Present)
            }
            // A fresh begin does not join.
            Begin::Join(_) => Err(BypassReason::Overloaded),
            Begin::Bypass(bypass) => Err(bypass.into()),
        }
    }

    pub(super) fn may_submit(
        &self,
        config: &LinkConfig,
        key: &[u8],
        now_ms: u64,
    ) -> Result<(), BypassReason> {
        if self.generation == NO_CONNECTION {
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

    /// Sends a read whose lease was taken.
    pub(super) fn launch<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        request: &Request<'_>,
        token: Token,
        owner: Option<Waiting>,
        now_ms: u64,
    ) -> &mut Flight {
        let fields = spec(request.shape).map_or(Fields::None, |spec| spec.fields);
        let prefix = self.learner.prefix(request.key, |prefix| context.store.key_hash(prefix));
        let skips_ttl = self.learner.skips(prefix, request.key_hash);
        let config = context.config;
        let life_ms = if skips_ttl { config.max_staleness_ms } else { config.max_age_ms };
        let mut flight = Flight {
            owner,
            joined: Vec::new(),
            shape: request.shape,
            sent_ms: now_ms,
            barrier: self.barrier,
            prefix,
            key: None,
            reply: None,
            deadline_ms: now_ms + life_ms.min(config.max_age_ms),
            is_ahead: false,
            is_renewal: false,
            target: None,
            shown: None,
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
        self.flights.entry(token).insert_entry(flight).into_mut()
    }

    fn send(&mut self, command: &[&[u8]], answers: Answers, now_ms: u64) {
        encode_command(command, &mut self.out.bytes);
        self.last_sent_ms = now_ms;
        self.pending.push_back(Pending { sent_ms: now_ms, barrier: self.barrier, answers });
    }

    pub(super) fn send_field_ttl(
        &mut self,
        key: &[u8],
        fields: &[&[u8]],
        token: Token,
        now_ms: u64,
    ) {
        let count = fields.len().to_string();
        let mut command: Vec<&[u8]> = vec![b"HPTTL", key, b"FIELDS", count.as_bytes()];
        command.extend_from_slice(fields);
        self.send(&command, Answers::FieldTtl(token), now_ms);
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self, now_ms: u64) {
        self.send(&[b"PING"], Answers::Ping, now_ms);
    }

    pub(super) fn move_scope<V: LinkValue>(&mut self, context: &Context<'_, V>) {
        let retired = std::mem::replace(&mut self.scope, context.store.new_scope());
        self.renewals.iter_mut().for_each(Renewals::clear);
        context.gate.reset(self.scope);
        context.store.retire_scope(retired);
    }

    /// Gives the callers of one flight back to their own connections.
    pub(super) fn give_back(
        &mut self,
        token: Token,
        reason: BypassReason,
        completions: &mut Completions,
    ) {
        let Some(flight) = self.flights.get_mut(&token) else { return };
        let before = completions.len();
        let ends = flight.owner.take().into_iter().chain(flight.joined.drain(..));
        completions.extend(ends.map(|end| (end, Outcome::Bypass(reason))));
        self.count_bypasses(reason, completions.len() - before);
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
        self.dropped_scope.get_or_insert(self.scope);
        self.move_scope(context);
        self.warm.lost();
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
