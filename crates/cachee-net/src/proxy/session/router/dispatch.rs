//! Where a command goes, now or when others are answered.

use super::super::state::{Kind, Special, special};
use super::connection::Awaited;
use super::{Connection, How, Part, Router, Transaction, Way, confirmations, subscribed};
use crate::proxy::host::Context;
use crate::proxy::topology::Address;
use crate::proxy::topology::routing::{Join, Route, State, route};
use crate::proxy::topology::scan::Cursor;
use crate::resp::command_bytes;

/// Connections of one client: what a token has room for.
pub(crate) const CONNECTIONS_MAX: usize = 250;

const NO_NODE: &[u8] = b"-CLUSTERDOWN cachee: no node of the cluster is known yet\r\n";
const NO_OWNER: &[u8] = b"-CLUSTERDOWN Hash slot not served\r\n";
const CROSS_SLOT: &[u8] = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n";
const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
const NOT_HERE: &str = "ERR one endpoint of a cluster cannot do this, ask a node without the proxy";
const NOT_QUEUED: &str = "ERR in front of a cluster this command cannot be part of a transaction";

impl Router {
    /// Sends a command, or answers it; false when it has to wait.
    pub(super) fn dispatch(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        words: &[&[u8]],
    ) -> bool {
        if self.is_beginning || self.blocking > 0 || self.retries > 0 {
            return false;
        }
        let special = special(words);
        if self.transaction.is_some() {
            return self.dispatch_queued(context, sequence, words, special);
        }
        match special {
            Some(Special::Multi) if words.len() == 1 => {
                self.transaction = Some(Transaction::default());
                self.finish(sequence, b"+OK\r\n")
            }
            Some(Special::Watch) if words.len() > 1 => self.watch(context, sequence, words),
            Some(Special::Unwatch) if words.len() == 1 => match self.watching.take() {
                Some(number) => self.send_one(context, sequence, words, number, None),
                None => self.finish(sequence, b"+OK\r\n"),
            },
            Some(Special::Subscribe(kind)) => {
                self.subscription(context, sequence, words, kind, true)
            }
            Some(Special::Unsubscribe(kind)) => {
                self.subscription(context, sequence, words, kind, false)
            }
            Some(Special::Reset) => self.reset(context, sequence, words),
            Some(Special::Pipe) => self.refuse_command(sequence, NOT_HERE),
            Some(Special::Tracking)
                if !words.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"OFF")) =>
            {
                self.refuse_command(sequence, NOT_HERE)
            }
            _ => self.dispatch_plain(context, sequence, words),
        }
    }

    fn dispatch_plain(&mut self, context: &Context<'_>, sequence: u64, words: &[&[u8]]) -> bool {
        let Some(table) = context.table else { return self.finish(sequence, NO_NODE) };
        // In RESP2 a subscribed connection takes little else, which is that node's to say.
        let subscribed = |each: &Connection| each.subscriptions.is_subscribed();
        if !self.is_resp3
            && let Some(number) = self.connections.iter().position(subscribed)
        {
            return self.send_one(context, sequence, words, number, None);
        }
        match route(words, table, State::Plain) {
            Route::Slot(slot) => self.send_to_slot(context, sequence, words, slot, How::One),
            Route::Any => match self.any(context) {
                Some(number) => self.send_one(context, sequence, words, number, None),
                None => self.finish(sequence, NO_NODE),
            },
            Route::Connection => self.send_to_all(context, sequence, words),
            Route::Split { parts, join } => {
                let ready = parts.iter().all(|part| self.is_free(context, part.slot));
                if !ready {
                    return false;
                }
                let parts = parts
                    .into_iter()
                    .map(|part| (command_bytes(&part.words), Some(part.slot), part.positions));
                let parts: Vec<_> = parts.collect();
                self.send_parts(context, sequence, parts, How::Join(join))
            }
            Route::Every { join, .. } => self.send_to_every(context, sequence, words, join),
            Route::Scan(cursor) => self.scan(context, sequence, words, cursor),
            Route::Refuse(text) => self.refuse_command(sequence, text),
        }
    }

    fn refuse_command(&mut self, sequence: u64, text: &str) -> bool {
        if let Some(transaction) = &mut self.transaction {
            transaction.is_dirty = true;
        }
        self.finish(sequence, format!("-{text}\r\n").as_bytes())
    }

    /// A command of a transaction.
    fn dispatch_queued(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        words: &[&[u8]],
        special: Option<Special>,
    ) -> bool {
        match special {
            Some(Special::Exec | Special::Discard) if words.len() == 1 => {
                return self.end(context, sequence, words, special == Some(Special::Exec));
            }
            Some(Special::Reset) => return self.reset(context, sequence, words),
            None
            | Some(
                Special::Exec
                | Special::Discard
                | Special::Multi
                | Special::Watch
                | Special::Unwatch
                | Special::Info
                | Special::Quit
                | Special::Select,
            ) => {}
            Some(_) => return self.refuse_command(sequence, NOT_QUEUED),
        }
        let Some(table) = context.table else { return self.finish(sequence, NO_NODE) };
        let slot = match route(words, table, State::Transaction) {
            Route::Refuse(text) => return self.refuse_command(sequence, text),
            Route::Slot(slot) => Some(slot),
            _ => None,
        };
        let Some(transaction) = &self.transaction else { return true };
        if let Some(refusal) = transaction.refusal.clone() {
            return self.finish(sequence, &refusal);
        }
        if let Some(number) = transaction.connection {
            let mut own = None;
            if let Some(transaction) = &mut self.transaction {
                transaction.slot = transaction.slot.or(slot);
                own = transaction.slot;
                if !transaction.has_begun {
                    transaction.has_begun = true;
                    transaction.first = Some(sequence);
                    self.is_beginning = true;
                }
            }
            return self.send_pinned(context, sequence, words, number, own);
        }
        if slot.is_some_and(|slot| !self.is_free(context, slot)) {
            return false;
        }
        let view = self.cluster.view();
        let owner = slot.map(|slot| view.map.primary(slot).cloned());
        let number = match (self.watching, owner) {
            (Some(number), _) => Some(number),
            (None, Some(None)) => {
                self.cluster.refresh();
                if let Some(transaction) = &mut self.transaction {
                    transaction.is_dirty = true;
                }
                return self.finish(sequence, NO_OWNER);
            }
            (None, Some(Some(address))) => self.connection_to(context, &address),
            (None, None) => self.any(context),
        };
        let Some(number) = number else {
            return self.refuse_command(sequence, "CLUSTERDOWN cachee: no node");
        };
        self.begin(context, number, slot);
        false
    }

    /// Sends `MULTI`, alone.
    fn begin(&mut self, context: &Context<'_>, number: usize, slot: Option<u16>) {
        self.open(context, number);
        self.connections[number].send(&[b"MULTI"], Awaited::Begin);
        self.is_beginning = true;
        if let Some(transaction) = &mut self.transaction {
            transaction.connection = Some(number);
            transaction.slot = slot;
        }
    }

    /// `EXEC` or `DISCARD`.
    fn end(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        words: &[&[u8]],
        is_exec: bool,
    ) -> bool {
        let Some(transaction) = self.transaction.take() else { return true };
        let watching = self.watching.take();
        let is_dirty = transaction.is_dirty || transaction.refusal.is_some();
        match (transaction.connection, watching) {
            (Some(number), _) if is_exec && is_dirty => {
                self.connections[number].send(&[b"DISCARD"], Awaited::Nothing);
                self.finish(sequence, ABORTED)
            }
            (Some(number), _) => {
                self.send_pinned(context, sequence, words, number, transaction.slot)
            }
            // Nothing was queued, but whether the watched keys have changed is the answer.
            (None, Some(number)) if is_exec && !is_dirty => {
                self.connections[number].send(&[b"MULTI"], Awaited::Nothing);
                self.send_pinned(context, sequence, words, number, None)
            }
            (None, watching) => {
                if let Some(number) = watching {
                    self.connections[number].send(&[b"UNWATCH"], Awaited::Nothing);
                }
                let answer: &[u8] = match (is_exec, is_dirty) {
                    (true, true) => ABORTED,
                    (true, false) => b"*0\r\n",
                    (false, _) => b"+OK\r\n",
                };
                self.finish(sequence, answer)
            }
        }
    }

    fn watch(&mut self, context: &Context<'_>, sequence: u64, words: &[&[u8]]) -> bool {
        let slot = crate::proxy::topology::slots::slot(words[1]);
        if !self.is_free(context, slot) {
            return false;
        }
        let view = self.cluster.view();
        let Some(address) = view.map.primary(slot) else { return self.finish(sequence, NO_OWNER) };
        let Some(number) = self.connection_to(context, address) else {
            return self.finish(sequence, NO_NODE);
        };
        if self.watching.is_some_and(|watching| watching != number) {
            return self.finish(sequence, CROSS_SLOT);
        }
        self.watching = Some(number);
        self.send_to_slot(context, sequence, words, slot, How::One)
    }

    fn subscription(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        words: &[&[u8]],
        kind: Kind,
        is_subscribe: bool,
    ) -> bool {
        // Messages are out of band: none may overtake what is before the subscription, and how
        // many there are is known when it is its turn.
        if sequence != self.first {
            return false;
        }
        let slot = match (kind, words.get(1)) {
            (Kind::Shard, Some(channel)) => Some(crate::proxy::topology::slots::slot(channel)),
            _ => None,
        };
        let view = self.cluster.view();
        let owner = slot.and_then(|slot| view.map.primary(slot));
        let number = match (slot, owner) {
            (Some(_), None) => return self.finish(sequence, NO_OWNER),
            (Some(_), Some(address)) => self.connection_to(context, address),
            (None, _) => {
                let held = [Kind::Channel, Kind::Pattern, Kind::Shard];
                let own = |kind: &Kind| subscribed(&self.connections, *kind);
                let known = match kind {
                    Kind::Shard => own(&Kind::Shard),
                    _ => held[..2].iter().find_map(own),
                };
                known.or_else(|| self.any(context))
            }
        };
        let Some(number) = number else { return self.finish(sequence, NO_NODE) };
        let subscriptions = self.connections[number].subscriptions.subscriptions(kind);
        let left = confirmations(words, subscriptions, is_subscribe);
        let how = How::Frames { kind, is_subscribe, left };
        let part = (command_bytes(words), slot, Vec::new());
        self.open(context, number);
        self.put(context, sequence, 0, number, part, how);
        true
    }

    fn reset(&mut self, context: &Context<'_>, sequence: u64, words: &[&[u8]]) -> bool {
        if self.is_unsettled() {
            // What is held back must not run as whoever the reset makes of it.
            return false;
        }
        self.transaction = None;
        self.watching = None;
        self.records.clear();
        if !self.send_to_all(context, sequence, words) {
            return false;
        }
        self.records.clear();
        for connection in self.connections.iter_mut().filter(|each| each.is_wanted) {
            connection.log_in(context.login);
            connection.subscriptions = super::super::state::State::default();
        }
        true
    }

    fn scan(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        words: &[&[u8]],
        cursor: Cursor,
    ) -> bool {
        let view = self.cluster.view();
        let Some(cursor) = cursor.at(&view.map) else {
            let mut over = Vec::new();
            Cursor::over(&mut over);
            return self.finish(sequence, &over);
        };
        let Some(shard) = view.map.shard(cursor.shard) else {
            return self.finish(sequence, NO_NODE);
        };
        let Some(number) = self.connection_to(context, &shard.address) else {
            return self.finish(sequence, NO_NODE);
        };
        let inner = cursor.inner.to_string();
        let mut own = words.to_vec();
        own[1] = inner.as_bytes();
        let part = (command_bytes(&own), None, Vec::new());
        self.put(context, sequence, 0, number, part, How::Scan(cursor));
        true
    }

    fn send_to_slot(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        words: &[&[u8]],
        slot: u16,
        how: How,
    ) -> bool {
        if !self.is_free(context, slot) {
            return false;
        }
        let is_blocking = context.table.is_some_and(|table| table.is_blocking(words));
        let parts = vec![(command_bytes(words), Some(slot), Vec::new())];
        self.send_parts(context, sequence, parts, how);
        if is_blocking
            && let Some(place) = self.place(sequence)
            && place.answer.is_none()
        {
            place.is_blocking = true;
            self.blocking += 1;
        }
        true
    }

    /// Each to the node of its slot.
    fn send_parts(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        parts: Vec<(Vec<u8>, Option<u16>, Vec<u32>)>,
        how: How,
    ) -> bool {
        let view = self.cluster.view();
        let owner = |slot: Option<u16>| slot.and_then(|slot| view.map.primary(slot));
        let mut numbers = Vec::with_capacity(parts.len());
        for (_, slot, _) in &parts {
            let Some(address) = owner(*slot) else {
                self.cluster.refresh();
                return self.finish(sequence, NO_OWNER);
            };
            let Some(number) = self.connection_to(context, address) else {
                return self.finish(sequence, NO_NODE);
            };
            numbers.push(number);
        }
        for (at, (part, number)) in parts.into_iter().zip(numbers).enumerate() {
            self.put(context, sequence, at, number, part, how.clone());
        }
        true
    }

    fn send_one(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        words: &[&[u8]],
        number: usize,
        slot: Option<u16>,
    ) -> bool {
        self.put(context, sequence, 0, number, (command_bytes(words), slot, Vec::new()), How::One);
        true
    }

    fn send_pinned(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        words: &[&[u8]],
        number: usize,
        own: Option<u16>,
    ) -> bool {
        let part = (command_bytes(words), None, Vec::new());
        self.put(context, sequence, 0, number, part, How::Pinned(own));
        true
    }

    /// On every connection there is, and one at least.
    fn send_to_all(&mut self, context: &Context<'_>, sequence: u64, words: &[&[u8]]) -> bool {
        let Some(any) = self.any(context) else { return self.finish(sequence, NO_NODE) };
        self.open(context, any);
        let bytes = command_bytes(words);
        let numbers: Vec<usize> =
            (0..self.connections.len()).filter(|&at| self.connections[at].is_wanted).collect();
        // Recorded behind the opening, so that nobody is sent it twice.
        let id = self.record(words, &bytes);
        for (at, number) in numbers.into_iter().enumerate() {
            let part = (bytes.clone(), None, Vec::new());
            self.put(context, sequence, at, number, part, How::Connection(id));
        }
        true
    }

    fn send_to_every(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        words: &[&[u8]],
        join: Join,
    ) -> bool {
        let view = self.cluster.view();
        let shards = view.map.serving_from(0).filter_map(|number| view.map.shard(number));
        let mut numbers = Vec::new();
        for shard in shards {
            let Some(number) = self.connection_to(context, &shard.address) else {
                return self.finish(sequence, NO_NODE);
            };
            numbers.push(number);
        }
        if numbers.is_empty() {
            return self.finish(sequence, NO_NODE);
        }
        let bytes = command_bytes(words);
        for (at, number) in numbers.into_iter().enumerate() {
            let part = (bytes.clone(), None, Vec::new());
            self.put(context, sequence, at, number, part, How::Join(join));
        }
        true
    }

    /// One part on its way.
    fn put(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        at: usize,
        number: usize,
        (bytes, slot, positions): (Vec<u8>, Option<u16>, Vec<u32>),
        how: How,
    ) {
        self.open(context, number);
        let connection = &mut self.connections[number];
        connection.commands().extend(&bytes);
        connection.expected.push_back(match how {
            How::Frames { kind, is_subscribe, left } => {
                Awaited::Frames { sequence, kind, is_subscribe, left }
            }
            _ => Awaited::Part { sequence, part: at },
        });
        self.bytes += bytes.len();
        if let Some(slot) = slot {
            self.count(slot, number);
        }
        let Some(place) = self.place(sequence) else { return };
        place.how = how;
        place.left += 1;
        place.parts.push(Part {
            bytes,
            slot,
            positions,
            reply: None,
            redirects: 0,
            begun_ms: context.now_ms,
            retry_ms: None,
        });
    }

    pub(super) fn count(&mut self, slot: u16, number: usize) {
        let way =
            self.ways.entry(slot).or_insert(Way { connection: number, count: 0, is_mixed: false });
        way.connection = number;
        way.count += 1;
    }

    /// Would a command of this slot come behind all of that slot before it?
    fn is_free(&self, _context: &Context<'_>, slot: u16) -> bool {
        let Some(way) = self.ways.get(&slot) else { return true };
        let view = self.cluster.view();
        let is_same = view.map.primary(slot) == Some(&self.connections[way.connection].address);
        is_same && !way.is_mixed
    }

    /// The connection to a node, opened if need be.
    pub(super) fn connection_to(
        &mut self,
        context: &Context<'_>,
        address: &Address,
    ) -> Option<usize> {
        let known = self.connections.iter().position(|each| each.address == *address);
        let number = match known {
            Some(number) => number,
            None if self.connections.len() < CONNECTIONS_MAX => {
                self.connections.push(Connection::new(address.clone()));
                self.connections.len() - 1
            }
            None => return None,
        };
        self.open(context, number);
        Some(number)
    }

    fn open(&mut self, context: &Context<'_>, number: usize) {
        let connection = &mut self.connections[number];
        if !connection.is_wanted {
            connection.open(context.login, &self.records);
        }
    }

    /// A node that any command may be sent to: the same one as long as it serves.
    fn any(&mut self, context: &Context<'_>) -> Option<usize> {
        let view = self.cluster.view();
        let serving: Vec<&Address> = view
            .map
            .serving_from(0)
            .filter_map(|number| Some(&view.map.shard(number)?.address))
            .collect();
        let known = self
            .connections
            .iter()
            .position(|each| each.is_wanted && serving.contains(&&each.address));
        if let Some(number) = known {
            return Some(number);
        }
        let chosen = (*serving.get(self.spread % serving.len().max(1))?).clone();
        // Another one the next time, should this one be down.
        self.spread = self.spread.wrapping_add(1);
        self.connection_to(context, &chosen)
    }
}
