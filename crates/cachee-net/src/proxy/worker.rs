//! One event loop: its clients, their upstream connections, and nothing shared on the way of a hit
//! but the L1.
//!
//! Readiness is edge-triggered: an event is remembered (`is_readable`) until a read comes back
//! short, or empty where the event told of an end as well. So nothing is lost when a client has to
//! wait for its own replies, and no system call is spent on a socket that is known to be empty. A
//! turn reads at most `TURN_BYTES` of one client, so that one with a full pipe does not keep the
//! others waiting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};
use slab::Slab;

use super::config::Limits;
use super::host::{Context, Ticket};
use super::inbox::{Inbox, Message};
use super::nodes::Nodes;
use super::output::Pool;
use super::poller::{register, unregister};
use super::session::{Ending, Session};
use super::shared::Shared;
use crate::clock;
use crate::commands::CommandTable;
use crate::transport::Transport;

/// What one read can bring.
const READ_BYTES: usize = 64 << 10;
/// What is read of one connection before the others have their turn.
const TURN_BYTES: usize = 256 << 10;
const EVENTS: usize = 512;
/// How often clients are looked at for timeouts.
const TICK_MS: u64 = 1_000;
/// The same while something is to be tried again.
const RETRY_TICK_MS: u64 = 10;

/// A token has the client's place above these bits, and in them which of its sockets.
const CONNECTION_BITS: usize = 8;
/// Behind the client's own socket and its one upstream's.
const NODE_MIN: usize = 2;

pub(crate) const WAKE: Token = Token(usize::MAX);

/// A client and its two sockets.
struct Client {
    session: Session,
    transport: Transport,
    upstream: Upstream,
    /// In front of a cluster: instead of that one.
    nodes: Option<Box<Nodes>>,
    is_readable: bool,
    is_upstream_readable: bool,
    /// The other side has closed: its end or an error follows what is still to be read, and no
    /// event will tell of it again.
    is_hung_up: bool,
    is_upstream_hung_up: bool,
    /// Until when TLS has to be agreed upon with it, while that has not been seen.
    handshake_ms: Option<u64>,
    /// The client will send no more.
    has_ended: bool,
    /// Bytes came or went.
    active_ms: u64,
    /// Since when replies have waited for a socket that takes nothing.
    blocked_ms: Option<u64>,
    /// In the list of clients with something left to do.
    is_due: bool,
}

/// One event loop.
pub(crate) struct Worker {
    number: usize,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    poll: Poll,
    /// Boxed: what many clients have taken is given back when they are gone.
    clients: Slab<Box<Client>>,
    /// Clients with work left over from their turn.
    due: Vec<usize>,
    /// When which client has something to try again.
    later: Vec<(u64, usize)>,
    serial: u64,
    pool: Pool,
    buffer: Vec<u8>,
    limits: Arc<Limits>,
    table: Option<Arc<CommandTable>>,
    version: u64,
    ticked_ms: u64,
    is_draining: bool,
}

/// What a token stands for.
fn token(client: usize, is_upstream: bool) -> Token {
    Token(client << CONNECTION_BITS | usize::from(is_upstream))
}

macro_rules! context {
    ($worker:ident) => {
        Context {
            host: &*$worker.shared,
            table: $worker.table.as_deref(),
            limits: &$worker.limits,
            mode: $worker.shared.config.mode,
            admission: &$worker.shared.admission,
            counters: &$worker.shared.counters[$worker.number],
            login: $worker.shared.config.login.as_ref(),
            db: $worker.shared.config.link.db,
            recorder: $worker.shared.recorder.as_ref(),
            now_ms: clock::coarse_ms(),
        }
    };
}

mod nodes;
mod upstream;

use upstream::Upstream;

impl Worker {
    pub(crate) fn new(number: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let inbox = Arc::new(Inbox::new(&poll, WAKE)?);
        Ok(Self {
            number,
            inbox,
            poll,
            clients: Slab::new(),
            due: Vec::new(),
            later: Vec::new(),
            serial: 0,
            pool: Pool::default(),
            buffer: vec![0; READ_BYTES],
            limits: shared.limits(),
            table: None,
            version: 0,
            ticked_ms: 0,
            is_draining: false,
            shared,
        })
    }

    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Until told to stop, or, while draining, until the last client is gone.
    pub(crate) fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut messages = Vec::new();
        loop {
            let may_sleep = self.inbox.end_turn() && self.due.is_empty();
            let most_ms = if self.later.is_empty() { TICK_MS } else { RETRY_TICK_MS };
            let wait = if may_sleep { Duration::from_millis(most_ms) } else { Duration::ZERO };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                // The poller itself is broken: without it no client can be served.
                return;
            }
            self.inbox.begin_turn();
            self.refresh();
            self.inbox.take(&mut messages);
            for message in messages.drain(..) {
                if !self.take_message(message) {
                    return;
                }
            }
            for event in &events {
                self.take_event(event);
            }
            for client in std::mem::take(&mut self.due) {
                if let Some(held) = self.clients.get_mut(client) {
                    held.is_due = false;
                    self.work(client);
                }
            }
            self.retry();
            self.tick();
            if self.is_draining && self.clients.is_empty() {
                return;
            }
        }
    }

    fn refresh(&mut self) {
        let version = self.shared.version();
        if version != self.version {
            self.version = version;
            self.limits = self.shared.limits();
            self.table = self.shared.table();
        }
    }

    /// False when the loop is to end.
    fn take_message(&mut self, message: Message) -> bool {
        match message {
            Message::Client(transport) => self.accept(*transport),
            Message::End(ticket, end) => {
                let context = context!(self);
                if let Some(client) = self.clients.get_mut(ticket.client)
                    && client.session.core.serial() == ticket.serial
                {
                    client.session.core.end_read(&context, ticket.sequence, ticket.part, end);
                    self.make_due(ticket.client);
                }
            }
            Message::Drain => {
                self.is_draining = true;
                for client in 0..self.clients.capacity() {
                    if let Some(held) = self.clients.get_mut(client) {
                        held.session.drain();
                        self.make_due(client);
                    }
                }
            }
            Message::Moved => {
                for client in 0..self.clients.capacity() {
                    if let Some(held) = self.clients.get(client)
                        && !matches!(held.upstream, Upstream::None)
                    {
                        self.close(client);
                    }
                }
            }
            Message::Stop => return false,
        }
        true
    }

    fn make_due(&mut self, client: usize) {
        let held = &mut self.clients[client];
        if !std::mem::replace(&mut held.is_due, true) {
            self.due.push(client);
        }
    }

    fn accept(&mut self, transport: Transport) {
        self.serial += 1;
        let entry = self.clients.vacant_entry();
        let client = entry.key();
        let fd = transport.raw_fd();
        if register(&self.poll, fd, token(client, false)).is_err() {
            self.shared.clients.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (worker, serial) = (self.number, self.serial);
        let place = Ticket { worker, client, serial, sequence: 0, part: 0 };
        let config = &self.shared.config;
        let mut session = Session::new(place, config.login.as_ref(), config.link.db);
        let nodes = nodes::nodes_of(&self.shared, &mut session, &transport, place);
        entry.insert(Box::new(Client {
            session,
            transport,
            upstream: Upstream::None,
            nodes,
            is_readable: true,
            is_upstream_readable: false,
            is_hung_up: false,
            is_upstream_hung_up: false,
            handshake_ms: None,
            has_ended: false,
            active_ms: clock::coarse_ms(),
            blocked_ms: None,
            is_due: false,
        }));
        self.shared.counters[self.number].clients_accepted.add(1);
        self.make_due(client);
    }

    fn take_event(&mut self, event: &mio::event::Event) {
        if event.token() == WAKE {
            return;
        }
        let client = event.token().0 >> CONNECTION_BITS;
        let which = event.token().0 & ((1 << CONNECTION_BITS) - 1);
        let is_upstream = which == 1;
        let is_hung_up = event.is_read_closed() || event.is_error();
        let is_readable = event.is_readable() || is_hung_up;
        if which >= NODE_MIN {
            self.node_event(client, which - NODE_MIN, is_readable, is_hung_up);
            return self.work(client);
        }
        let Some(held) = self.clients.get_mut(client) else { return };
        if is_upstream {
            held.is_upstream_readable |= is_readable;
            held.is_upstream_hung_up |= is_hung_up;
            if matches!(held.upstream, Upstream::Connecting { .. })
                && (event.is_writable() || is_readable)
            {
                self.connected(client);
            }
        } else {
            held.is_readable |= is_readable;
            held.is_hung_up |= is_hung_up;
        }
        self.work(client);
    }

    /// Everything that can be done for one client now.
    fn work(&mut self, client: usize) {
        let context = context!(self);
        let Some(held) = self.clients.get_mut(client) else { return };
        held.session.core.out.prepare(&mut self.pool);
        held.session.core.advance();
        let mut budget = TURN_BYTES;
        let mut is_over = false;
        loop {
            held.read_upstream(&context, &self.shared, &mut self.buffer, &mut budget);
            held.session.resume(&context);
            is_over |= !held.read_client(&context, &mut self.buffer, &mut budget);
            let core = &held.session.core;
            if core.upstream.is_wanted
                && core.ending != Ending::AfterOutput
                && matches!(held.upstream, Upstream::None)
            {
                held.connect(client, 0, &self.shared, &self.poll, &context);
            }
            held.flush_upstream(&mut self.pool);
            if held.nodes.is_some() {
                let place = (&*self.shared, &self.poll);
                let means = (&mut self.pool, &mut self.buffer[..], &mut budget);
                let retry_ms = held.work_nodes(client, place, &context, means);
                self.later.extend(retry_ms.map(|at_ms| (at_ms, client)));
            }
            is_over |= !held.flush_client(&context, &mut self.pool);
            if is_over || budget == 0 || !held.has_more(&context) {
                break;
            }
        }
        held.session.core.relax();
        held.session.core.out.relax(&mut self.pool);
        held.session.core.upstream.out.relax(&mut self.pool);
        if is_over || held.is_finished(self.is_draining) {
            return self.close(client);
        }
        if held.has_more(&context) {
            self.make_due(client);
        }
    }

    /// The attempt to connect has ended, one way or the other.
    fn connected(&mut self, client: usize) {
        let context = context!(self);
        let held = &mut self.clients[client];
        let Upstream::Connecting { transport, attempt, deadline_ms } =
            std::mem::replace(&mut held.upstream, Upstream::None)
        else {
            return;
        };
        match transport.take_error() {
            Ok(()) => {
                context.counters.upstream_connects.add(1);
                held.handshake_ms = transport.is_tls().then_some(deadline_ms);
                held.upstream = Upstream::Open(transport);
            }
            Err(error) => {
                unregister(&self.poll, transport.raw_fd());
                held.connect_failed(client, attempt, &error, &self.shared, &self.poll, &context);
            }
        }
    }

    fn close(&mut self, client: usize) {
        let context = context!(self);
        let Some(mut held) = self.clients.try_remove(client) else { return };
        held.session.core.settle_all(&context);
        unregister(&self.poll, held.transport.raw_fd());
        if let Upstream::Connecting { transport, .. } | Upstream::Open(transport) = &held.upstream {
            unregister(&self.poll, transport.raw_fd());
        }
        if let Some(nodes) = &held.nodes {
            nodes.close(&self.poll);
        }
        context.counters.clients_closed.add(1);
        self.shared.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// Once a second: who has been silent or has taken nothing for too long.
    fn tick(&mut self) {
        let now_ms = clock::coarse_ms();
        if now_ms < self.ticked_ms + TICK_MS {
            return;
        }
        self.ticked_ms = now_ms;
        let limits = Arc::clone(&self.limits);
        for client in 0..self.clients.capacity() {
            let Some(held) = self.clients.get_mut(client) else { continue };
            if let Upstream::Connecting { deadline_ms, .. } = held.upstream
                && now_ms >= deadline_ms
            {
                self.connect_timed_out(client);
                continue;
            }
            if held.handshake_ms.is_some_and(|deadline_ms| now_ms >= deadline_ms) {
                held.handshake_ms = None;
                if held.upstream.is_handshaking() {
                    let context = context!(self);
                    held.lose_upstream(&context, &self.shared, &io::ErrorKind::TimedOut.into());
                    self.make_due(client);
                    continue;
                }
            }
            if held.nodes.is_some() {
                self.tick_nodes(client);
            }
            let Some(held) = self.clients.get_mut(client) else { continue };
            if held.is_overdue(now_ms, &limits) {
                self.shared.counters[self.number].clients_expelled.add(1);
                self.close(client);
            }
        }
    }

    fn connect_timed_out(&mut self, client: usize) {
        let context = context!(self);
        let held = &mut self.clients[client];
        if let Upstream::Connecting { transport, attempt, .. } =
            std::mem::replace(&mut held.upstream, Upstream::None)
        {
            unregister(&self.poll, transport.raw_fd());
            let error = io::Error::from(io::ErrorKind::TimedOut);
            held.connect_failed(client, attempt, &error, &self.shared, &self.poll, &context);
        }
        self.work(client);
    }
}

impl Client {
    /// Reads of the client while it may be answered; false when the connection is broken.
    fn read_client(
        &mut self,
        context: &Context<'_>,
        buffer: &mut [u8],
        budget: &mut usize,
    ) -> bool {
        while self.is_readable && *budget > 0 && self.session.wants_bytes(context) {
            match self.transport.read(buffer) {
                Ok(0) => {
                    self.is_readable = false;
                    self.has_ended = true;
                }
                Ok(bytes) => {
                    self.active_ms = context.now_ms;
                    *budget = budget.saturating_sub(bytes);
                    // A short read has emptied the socket; TLS may hold more above it.
                    let is_short = bytes < buffer.len() && !self.transport.buffers_above_socket();
                    self.is_readable = !is_short || self.is_hung_up;
                    self.session.take_bytes(context, &buffer[..bytes]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_readable = false,
                Err(_) => return false,
            }
        }
        true
    }

    fn flush_client(&mut self, context: &Context<'_>, pool: &mut Pool) -> bool {
        let mut written = 0;
        let flushed = self.session.core.out.flush(&self.transport, pool, &mut written);
        context.counters.bytes_out.add(written);
        match flushed {
            Ok(true) => {
                self.blocked_ms = None;
                true
            }
            Ok(false) => {
                if written > 0 || self.blocked_ms.is_none() {
                    self.blocked_ms = Some(context.now_ms);
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Something could be done at once, without an event.
    fn has_more(&self, context: &Context<'_>) -> bool {
        let core = &self.session.core;
        if core.ending == Ending::AfterOutput {
            return false;
        }
        (self.is_readable && self.session.wants_bytes(context))
            || (self.is_upstream_readable
                && matches!(self.upstream, Upstream::Open(_))
                && !core.is_output_full(context))
            || (self.session.has_commands() && core.may_take(context))
            || (self.nodes.as_ref().is_some_and(|nodes| nodes.has_more(&self.session))
                && !core.is_output_full(context))
    }

    /// Nothing is left to be said.
    fn is_finished(&self, is_draining: bool) -> bool {
        let core = &self.session.core;
        if core.ending == Ending::AfterOutput && core.out.is_empty() {
            return true;
        }
        // The server frees a blocked client that is gone, whatever it has sent behind. What was
        // sent is executed.
        let is_connecting = matches!(self.upstream, Upstream::Connecting { .. });
        let is_sent = core.is_sent() && !is_connecting;
        let is_over = self.has_ended || is_draining;
        is_sent
            && ((self.is_hung_up && core.is_blocked())
                || (is_over && (core.is_waiting() || core.is_answered())))
    }

    fn is_overdue(&self, now_ms: u64, limits: &Limits) -> bool {
        let is_idle = limits.idle_timeout_ms > 0
            && now_ms >= self.active_ms + limits.idle_timeout_ms
            && !self.session.core.is_waiting()
            && self.session.core.is_answered();
        let is_stuck =
            self.blocked_ms.is_some_and(|since_ms| now_ms >= since_ms + limits.write_timeout_ms);
        let is_left = self.has_ended && now_ms >= self.active_ms + limits.write_timeout_ms;
        is_idle || is_stuck || is_left
    }
}
