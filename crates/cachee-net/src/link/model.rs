//! A link without socket, thread and clock: the real state machine and inbound buffer, driven by
//! whoever simulates the network around it.

use std::sync::Arc;

use cachee_core::{Gate, Hot, Store};
use parking_lot::{Mutex, MutexGuard};

use super::flight::{Completions, Waiting};
use super::inbound::Inbound;
use super::outcome::{BypassReason, Read};
use super::state::{Context, NO_CONNECTION, State, patience_ms};
use super::{LinkStatus, LinkValue, Request, Waiter, tell};
use crate::config::LinkConfig;

/// As the link's thread does.
const PINGS_A_STALENESS: u64 = 3;
const STALLED_STALENESSES: u64 = 2;

/// One link of a simulation.
pub(crate) struct ModelLink<V> {
    gate: Gate,
    store: Arc<Store<V>>,
    config: LinkConfig,
    driven: Mutex<Driven>,
}

struct Driven {
    state: State,
    inbound: Inbound,
    connections: u64,
}

impl<V: LinkValue> ModelLink<V> {
    pub(crate) fn new(config: LinkConfig, store: Arc<Store<V>>) -> Self {
        let scope = store.new_scope();
        let driven = Driven {
            state: State::new(scope, &config, &store),
            inbound: Inbound::new(config.max_value_bytes),
            connections: NO_CONNECTION,
        };
        Self { gate: Gate::new(scope), store, config, driven: Mutex::new(driven) }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    fn context(&self) -> Context<'_, V> {
        Context { store: &self.store, gate: &self.gate, config: &self.config }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.driven.lock().state.generation != NO_CONNECTION
    }

    /// Commands sent and not yet answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.driven.lock().state.in_flight()
    }

    /// The handshake is over: what is written from now on is tracked.
    pub(crate) fn connect(&self, now_ms: u64) {
        let driven = &mut *self.driven.lock();
        driven.connections += 1;
        driven.inbound = Inbound::new(self.config.max_value_bytes);
        let state = &mut driven.state;
        state.generation = driven.connections;
        state.heard_ms = now_ms;
        state.last_sent_ms = now_ms;
        let (server, version) = ("model".to_owned(), "0".to_owned());
        state.status = LinkStatus::Ready { server, version, since_ms: now_ms };
    }

    pub(crate) fn read_many(
        &self,
        requests: &[Request<'_>],
        waiters: Vec<Waiter>,
        now_ms: u64,
    ) -> Vec<Read> {
        let state = &mut self.driven.lock().state;
        let context = self.context();
        let submit = |(request, waiter): (&Request<'_>, Waiter)| {
            state.submit(&context, request, Waiting::Call(waiter), now_ms)
        };
        let reads = requests.iter().zip(waiters).map(submit).collect();
        state.send_ahead(&context, now_ms);
        reads
    }

    /// As if it had been predicted.
    pub(crate) fn read_ahead(&self, request: &Request<'_>, now_ms: u64) {
        self.driven.lock().state.read_ahead(&self.context(), request, now_ms);
    }

    pub(crate) fn written(&self, hot: &[Hot], now_ms: u64) {
        let state = &mut self.driven.lock().state;
        state.written(&self.context(), hot);
        state.send_ahead(&self.context(), now_ms);
    }

    pub(crate) fn barrier(&self) {
        self.driven.lock().state.barrier(&self.gate);
    }

    /// Bytes for the server.
    pub(crate) fn take_out(&self) -> Vec<u8> {
        std::mem::take(&mut self.driven.lock().state.out.bytes)
    }

    /// Bytes of the server; false when they broke the connection.
    pub(crate) fn take_bytes(&self, mut bytes: &[u8], now_ms: u64) -> bool {
        let mut completions = Completions::new();
        let mut held = self.driven.lock();
        let Driven { state, inbound, .. } = &mut *held;
        if state.generation == NO_CONNECTION {
            return false;
        }
        state.heard_ms = now_ms;
        let mut is_sound = true;
        while is_sound && !bytes.is_empty() {
            let space = inbound.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            inbound.filled(count);
            bytes = &bytes[count..];
            loop {
                let frame = match inbound.next() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(_) => {
                        is_sound = false;
                        break;
                    }
                };
                if state.apply(&self.context(), &frame, now_ms, &mut completions).is_err() {
                    is_sound = false;
                    break;
                }
            }
        }
        held.state.send_ahead(&self.context(), now_ms);
        drop(held);
        tell(completions);
        if !is_sound {
            self.lose(BypassReason::LinkLost);
        }
        is_sound
    }

    /// What the link's thread does in time; false when the connection was given up.
    pub(crate) fn tick(&self, now_ms: u64, is_used: bool) -> bool {
        let mut completions = Completions::new();
        let mut held = self.driven.lock();
        let state = &mut held.state;
        if state.generation == NO_CONNECTION {
            return false;
        }
        state.time_out(&self.context(), now_ms, &mut completions);
        let patience_ms = patience_ms(&self.config);
        let is_stalled = state.oldest_sent_ms().is_some_and(|oldest_ms| {
            now_ms.saturating_sub(oldest_ms.max(state.heard_ms))
                >= STALLED_STALENESSES * self.config.max_staleness_ms.max(patience_ms)
        });
        let step_ms = (self.config.max_staleness_ms / PINGS_A_STALENESS).max(1);
        if is_used && state.in_flight() == 0 && now_ms - state.last_sent_ms >= step_ms {
            state.ping(now_ms);
        }
        state.send_ahead(&self.context(), now_ms);
        drop(held);
        tell(completions);
        if is_stalled {
            self.lose(BypassReason::LinkLost);
        }
        !is_stalled
    }

    /// The connection is gone.
    pub(crate) fn lose(&self, reason: BypassReason) {
        let mut completions = Completions::new();
        let mut held = self.driven.lock();
        held.state.lose(&self.context(), reason, &mut completions);
        held.state.status = LinkStatus::Down { reason: "lost".to_owned() };
        Self::end(held, completions);
    }

    /// As `lose`, with the mistake of keeping what the lost connection had covered.
    pub(crate) fn lose_keeping_entries(&self) {
        let mut completions = Completions::new();
        let mut held = self.driven.lock();
        let state = &mut held.state;
        let tokens: Vec<_> = state.flights.keys().copied().collect();
        for token in tokens {
            if state.flights.get(&token).is_some_and(|flight| flight.may_store) {
                self.store.abandon(token);
            }
            state.give_back(token, BypassReason::LinkLost, &mut completions);
        }
        state.flights.clear();
        state.pending.clear();
        state.out.bytes.clear();
        state.generation = NO_CONNECTION;
        Self::end(held, completions);
    }

    fn end(held: MutexGuard<'_, Driven>, completions: Completions) {
        drop(held);
        tell(completions);
    }
}
