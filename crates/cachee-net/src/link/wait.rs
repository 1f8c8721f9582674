//! Callers that block until their reads have ended.

use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::flight::Waiting;
use super::outcome::{BypassReason, Outcome, Read};
use super::slot::Slot;
use super::{Link, LinkValue, Request};
use crate::clock;

/// How often a blocked caller is asked whether it was interrupted.
const INTERRUPT_MS: u64 = 50;

impl<V: LinkValue> Link<V> {
    /// Sends a read and waits for its end. The waiting thread reads the socket itself when nobody
    /// else does. `interrupted` is asked about every 50 ms, holding nothing; true gives up.
    pub fn read_wait(
        &self,
        request: &Request<'_>,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Outcome {
        let mut outcomes = self.read_many_wait(std::slice::from_ref(request), interrupted);
        outcomes.pop().unwrap_or(Outcome::Bypass(BypassReason::LinkLost))
    }

    /// As `read_wait` for many in one round trip; one end for each, in order.
    pub fn read_many_wait(
        &self,
        requests: &[Request<'_>],
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Vec<Outcome> {
        if self.is_abandoned() {
            return vec![Outcome::Bypass(BypassReason::Closed); requests.len()];
        }
        let slot = Slot::new(requests.len());
        let mut state = self.state.lock();
        let now_ms = clock::now_ms();
        let context = self.context();
        for (place, request) in requests.iter().enumerate() {
            let waiting = Waiting::Slot(Arc::clone(&slot), place);
            match state.submit(&context, request, waiting, now_ms) {
                Read::Submitted => {}
                Read::Present => slot.fill(place, Outcome::Present),
                Read::Bypass(reason) => slot.fill(place, Outcome::Bypass(reason)),
            }
        }
        let connection = state.connection.clone();
        self.write_out(state);
        match connection {
            Some(connection) => self.wait(&slot, &connection, interrupted),
            None => slot.take(&Outcome::Bypass(BypassReason::LinkLost)),
        }
    }

    fn wait(
        &self,
        slot: &Slot,
        connection: &Connection,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Vec<Outcome> {
        let mut otherwise = Outcome::Bypass(BypassReason::LinkLost);
        while !slot.is_done() {
            let is_done = match self.lead(slot, connection) {
                Some(is_done) => is_done,
                None => slot.wait(Duration::from_millis(INTERRUPT_MS)),
            };
            if !is_done && interrupted() {
                otherwise = Outcome::Bypass(BypassReason::Interrupted);
                self.state.lock().count_bypasses(BypassReason::Interrupted, 1);
                break;
            }
        }
        slot.take(&otherwise)
    }

    /// Reads for everybody until this caller's ends are here or it is time to ask it about
    /// interruptions. `None`: somebody else reads, or this connection is over.
    fn lead(&self, slot: &Slot, connection: &Connection) -> Option<bool> {
        let mut leader = connection.try_lead()?;
        let leave_ms = clock::now_ms() + INTERRUPT_MS;
        while !slot.is_done() {
            let now_ms = clock::now_ms();
            if now_ms >= leave_ms {
                return Some(false);
            }
            let inbound = leader.inbound()?;
            match connection.transport.wait_readable(leave_ms - now_ms) {
                Ok(true) if !self.pump(connection, inbound) => return None,
                // A signal may concern the caller.
                Ok(false) => return Some(slot.is_done()),
                Ok(true) => {}
                Err(error) => {
                    self.lose(connection.generation, &error.to_string());
                    return None;
                }
            }
        }
        Some(true)
    }
}
