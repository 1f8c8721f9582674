//! The link's own thread: connects, reads while nobody waits, gives up on slow answers, asks for
//! signs of life while entries are being served, and sweeps what lost connections left behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use polling::Events;

use super::backoff::Backoff;
use super::connection::Connection;
use super::flight::Completions;
use super::state::{State, patience_ms};
use super::{Link, LinkStatus, LinkValue, tell, warm};
use crate::clock;
use crate::commands::CommandTable;
use crate::error::NetError;
use crate::handshake::{Greeting, shake_hands};
use crate::link::inbound::Inbound;
use crate::transport;

/// Sweeping goes in steps this far apart, so that a lost link does not add load to the outage.
const SWEEP_PAUSE_MS: u64 = 5;
/// Signs of life asked for within `max_staleness` of an entry being served.
const PINGS_A_STALENESS: u64 = 3;
/// A server silent for this many times `max_staleness` is connected to anew.
const STALLED_STALENESSES: u64 = 2;

/// The last look at whether entries are being served.
struct Looked {
    at_ms: u64,
    hits: u64,
}

pub(super) fn run<V: LinkValue>(link: &Arc<Link<V>>) {
    let mut backoff = Backoff::new();
    let mut generation = super::state::NO_CONNECTION;
    while !link.is_closing() {
        let started_ms = clock::now_ms();
        generation += 1;
        let is_lasting = match link.connect(generation) {
            Ok(connection) => {
                backoff.succeeded();
                link.serve(&connection);
                link.recall();
                connection.unregister();
                link.socket_fd.store(-1, Ordering::Release);
                false
            }
            Err(error) => link.refused(&error),
        };
        let pause_ms = backoff.pause_ms(started_ms, is_lasting);
        link.pause_until(started_ms + pause_ms);
    }
    link.has_ended.store(true, Ordering::Release);
    let _state = link.state.lock();
    link.changed.notify_all();
}

impl<V: LinkValue> Link<V> {
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    fn connect(&self, generation: u64) -> Result<Arc<Connection>, NetError> {
        let config = &self.config;
        let (transport, deadline_ms) =
            transport::connect(&config.endpoint, config.tls.as_ref(), config.connect_timeout_ms)?;
        self.socket_fd.store(transport.raw_fd(), Ordering::Release);
        let known = self.state.lock().commands.as_ref().map(|(server, _)| server.clone());
        let shaken = shake_hands(&transport, config, known.as_deref(), deadline_ms);
        let (greeting, inbound) = shaken.inspect_err(|_| {
            self.socket_fd.store(-1, Ordering::Release);
        })?;
        self.install(transport, inbound, greeting, generation)
    }

    fn install(
        &self,
        transport: transport::Transport,
        inbound: Inbound,
        greeting: Greeting,
        generation: u64,
    ) -> Result<Arc<Connection>, NetError> {
        let table = greeting.commands.as_deref().and_then(CommandTable::parse).map(Arc::new);
        let poller = Arc::clone(&self.poller);
        let connection = Arc::new(Connection::register(transport, inbound, generation, poller)?);
        let now_ms = clock::now_ms();
        let mut state = self.state.lock();
        if self.is_closing() {
            drop(state);
            connection.unregister();
            return Err(NetError::Closed);
        }
        if let Some(table) = table {
            let server = format!("{} {}", greeting.server, greeting.version);
            state.commands = Some((server, table));
        }
        state.knows_field_ttl = greeting.knows_field_ttl();
        state.install(Arc::clone(&connection), now_ms);
        state.status = LinkStatus::Ready {
            server: greeting.server,
            version: greeting.version,
            since_ms: now_ms,
        };
        self.changed.notify_all();
        drop(state);
        Ok(connection)
    }

    /// Notes why there is no connection; true when trying again soon is no use.
    fn refused(&self, error: &NetError) -> bool {
        let reason = error.to_string();
        let mut state = self.state.lock();
        if state.status != LinkStatus::Closed {
            state.status = if error.is_lasting() {
                LinkStatus::Unsupported { reason }
            } else {
                LinkStatus::Down { reason }
            };
            self.changed.notify_all();
        }
        error.is_lasting()
    }

    fn pause_until(&self, until_ms: u64) {
        let mut events = Events::new();
        while !self.is_closing() {
            let now_ms = clock::now_ms();
            let left_ms = until_ms.saturating_sub(now_ms);
            if left_ms == 0 {
                return;
            }
            let sweeps = self.store.sweep_step(now_ms);
            let wait_ms = if sweeps { left_ms.min(SWEEP_PAUSE_MS) } else { left_ms };
            events.clear();
            // Only a poller that does not work at all fails; then this is a plain pause.
            if self.poller.wait(&mut events, Some(Duration::from_millis(wait_ms))).is_err() {
                std::thread::sleep(Duration::from_millis(wait_ms));
            }
        }
    }

    /// Serves one connection until it is over.
    fn serve(&self, connection: &Arc<Connection>) {
        // The handshake's last read may have brought more than the handshake.
        if let Some(mut inbound) = connection.try_read() {
            self.apply(connection.generation, &mut inbound);
        }
        let mut events = Events::new();
        let mut looked = Looked { at_ms: clock::now_ms(), hits: 0 };
        while let Some(timeout) = self.tick(connection, &mut looked) {
            events.clear();
            if let Err(error) = self.poller.wait(&mut events, timeout) {
                return self.lose(connection.generation, &error.to_string());
            }
            let is_readable = events.iter().any(|event| event.readable);
            let is_writable = events.iter().any(|event| event.writable);
            if is_readable && let Some(mut inbound) = connection.try_read() {
                self.pump(connection, &mut inbound);
            }
            if is_writable {
                self.unblock(connection);
            }
            // After the lock is free, see `connection`: events are one-shot.
            if is_readable || is_writable {
                connection.rearm();
            }
        }
    }

    fn unblock(&self, connection: &Connection) {
        connection.want_write(false);
        let mut state = self.state.lock();
        if state.generation == connection.generation {
            state.out.is_blocked = false;
            self.write_out(state);
        }
    }

    /// What is due by time. The outer `None`: this connection is over; the inner one: nothing is
    /// due until somebody reads.
    #[allow(clippy::option_option)] // the second is the poller's own type for "no time limit"
    fn tick(&self, connection: &Connection, looked: &mut Looked) -> Option<Option<Duration>> {
        // What a lost connection leaves behind is looked at before it is swept.
        if self.state.lock().generation != connection.generation {
            return None;
        }
        let sweeps = self.store.sweep_step(clock::now_ms());
        let mut completions = Completions::new();
        let mut state = self.state.lock();
        if state.generation != connection.generation {
            return None;
        }
        // Awake: whoever submits need not wake it, and least of all this thread itself.
        state.is_thread_idle = false;
        let now_ms = clock::now_ms();
        state.time_out(&self.context(), now_ms, &mut completions);
        let is_stalled = self.is_stalled(&state, now_ms);
        let step_ms = (self.config.max_staleness_ms / PINGS_A_STALENESS).max(1);
        if !is_stalled && now_ms - looked.at_ms >= step_ms {
            let hits = self.store.stats().hits;
            let is_used = hits != looked.hits;
            *looked = Looked { at_ms: now_ms, hits };
            // Any answer is a sign of life; with commands on the way one is coming.
            if is_used && state.in_flight() == 0 && now_ms - state.last_sent_ms >= step_ms {
                state.ping(now_ms);
            }
        }
        let wait_ms =
            if sweeps { Some(SWEEP_PAUSE_MS) } else { self.due_ms(&state, now_ms, step_ms) };
        self.write_out(state);
        tell(completions);
        if is_stalled {
            self.lose(connection.generation, "the server does not answer");
            return None;
        }
        if wait_ms.is_none() && !self.may_sleep(connection) {
            return Some(Some(Duration::ZERO));
        }
        Some(wait_ms.map(Duration::from_millis))
    }

    fn is_stalled(&self, state: &State, now_ms: u64) -> bool {
        let Some(oldest_ms) = state.oldest_sent_ms() else { return false };
        let silent_ms = now_ms.saturating_sub(oldest_ms.max(state.heard_ms));
        silent_ms
            >= STALLED_STALENESSES * self.config.max_staleness_ms.max(patience_ms(&self.config))
    }

    /// When to look again: often enough that no timeout is late and no name waits for long, not at
    /// all when nothing is on the way and nothing may be served.
    fn due_ms(&self, state: &State, now_ms: u64, step_ms: u64) -> Option<u64> {
        let step_ms =
            if state.warm.is_waiting() { step_ms.min(warm::INTERVAL_MS) } else { step_ms };
        let patience_ms = patience_ms(&self.config);
        let step_ms = step_ms.min(patience_ms / 2).max(1);
        if let Some(oldest_ms) = state.oldest_sent_ms() {
            let left_ms = (oldest_ms + patience_ms).saturating_sub(now_ms);
            return Some(if left_ms == 0 { step_ms } else { step_ms.min(left_ms) });
        }
        let is_due = state.warm.is_waiting() || now_ms < self.gate.serve_until_ms();
        is_due.then_some(step_ms)
    }

    /// Announces the sleep, unless somebody has submitted since the last look: who submits after
    /// this wakes the thread.
    fn may_sleep(&self, connection: &Connection) -> bool {
        let mut state = self.state.lock();
        let is_quiet = state.generation == connection.generation
            && state.in_flight() == 0
            && !state.warm.is_waiting()
            && clock::now_ms() >= self.gate.serve_until_ms();
        state.is_thread_idle = is_quiet;
        is_quiet
    }
}
