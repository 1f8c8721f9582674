//! Answers that send a command elsewhere, and commands that are tried again.

use super::connection::Awaited;
use super::{How, Router, Transaction, Words};
use crate::proxy::host::Context;
use crate::proxy::topology::Address;
use crate::proxy::topology::redirection::Redirection;
use crate::resp::Reader;

/// How often one command is sent on: nodes that disagree will not for long.
const REDIRECTS_MAX: u8 = 16;
/// How often one transaction begins anew.
const RESTARTS_MAX: u8 = 8;
/// How soon it is tried again.
const RETRY_MS: u64 = 20;
/// For how long.
const RETRIES_MS: u64 = 5_000;

const CROSS_SLOT: &[u8] = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n";
const MOVED_AWAY: &[u8] =
    b"-TRYAGAIN the slot of this transaction is moving to another node of the cluster\r\n";

impl Router {
    /// A node's reply to a part.
    pub(super) fn take_part(
        &mut self,
        context: &Context<'_>,
        number: usize,
        sequence: u64,
        part: usize,
        frame: &[u8],
    ) {
        let host = &self.connections[number].address.host;
        let Some(redirection) = Redirection::parse(frame, host) else {
            return self.complete(sequence, part, Some(frame.to_vec()));
        };
        let how = self.place(sequence).map(|place| place.how.clone());
        if let Some(How::Pinned(own)) = how {
            return self.take_pinned(sequence, number, own, redirection, frame);
        }
        match redirection {
            Redirection::Moved { slot, address } => {
                self.name_slot(sequence, part, slot, number);
                let known = address.filter(|address| self.cluster.moved(slot, address));
                match known {
                    Some(address) => {
                        self.send_on(context, sequence, part, &address, false, frame);
                    }
                    None => self.retry_later(context, sequence, part, frame),
                }
            }
            Redirection::Ask { slot, address } => {
                self.name_slot(sequence, part, slot, number);
                let view = self.cluster.view();
                match address.filter(|address| view.map.knows(address)) {
                    Some(address) => {
                        self.send_on(context, sequence, part, &address, true, frame);
                    }
                    None => {
                        self.cluster.refresh();
                        self.retry_later(context, sequence, part, frame);
                    }
                }
            }
            Redirection::TryAgain => self.retry_later(context, sequence, part, frame),
            Redirection::ClusterDown => {
                self.cluster.refresh();
                self.complete(sequence, part, Some(frame.to_vec()));
            }
        }
    }

    /// A command of a transaction is not for this node: the first begins it anew elsewhere.
    fn take_pinned(
        &mut self,
        sequence: u64,
        number: usize,
        own: Option<u16>,
        redirection: Redirection,
        frame: &[u8],
    ) {
        let (slot, address) = match redirection {
            Redirection::Moved { slot, address } => (slot, address),
            Redirection::Ask { slot, .. } => (slot, None),
            _ => return self.complete(sequence, 0, Some(frame.to_vec())),
        };
        self.cluster.refresh();
        let is_known = address.is_some_and(|address| self.cluster.moved(slot, &address));
        let is_watching = self.watching.is_some();
        if let Some(transaction) = &mut self.transaction
            && transaction.first == Some(sequence)
            && transaction.restarts < RESTARTS_MAX
            && is_known
            && !is_watching
        {
            let restarts = transaction.restarts + 1;
            *transaction = Transaction { restarts, ..Transaction::default() };
            self.is_beginning = false;
            self.connections[number].send(&[b"DISCARD"], Awaited::Nothing);
            return self.take_back(sequence);
        }
        let error = if own == Some(slot) { MOVED_AWAY } else { CROSS_SLOT };
        self.complete(sequence, 0, Some(error.to_vec()));
    }

    /// The place is as if its command had not been sent.
    fn take_back(&mut self, sequence: u64) {
        let Some(place) = self.place(sequence) else { return };
        place.left = 0;
        let Some(part) = place.parts.pop() else { return };
        let mut reader = Reader::new(&part.bytes);
        let count = reader.elements().unwrap_or(0);
        let words: Words = (0..count).map_while(|_| Some(reader.string()?.into())).collect();
        self.bytes -= part.bytes.len();
        self.bytes += words.iter().map(|word| word.len()).sum::<usize>();
        self.held.push_front((sequence, words));
    }

    /// The slot of a command whose keys were not known.
    fn name_slot(&mut self, sequence: u64, part: usize, slot: u16, number: usize) {
        let Some(place) = self.place(sequence) else { return };
        let held = &mut place.parts[part];
        if held.slot.is_none() {
            held.slot = Some(slot);
            self.count(slot, number);
        }
        if let Some(way) = self.ways.get_mut(&slot) {
            way.is_mixed = true;
        }
    }

    fn send_on(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        part: usize,
        address: &Address,
        asking: bool,
        frame: &[u8],
    ) {
        let Some(number) = self.connection_to(context, address) else {
            return self.complete(sequence, part, Some(frame.to_vec()));
        };
        let Some(place) = self.place(sequence) else { return };
        let awaited = match place.how {
            How::Frames { kind, is_subscribe, left } => {
                Awaited::Frames { sequence, kind, is_subscribe, left }
            }
            _ => Awaited::Part { sequence, part },
        };
        let held = &mut place.parts[part];
        held.redirects += 1;
        if held.redirects > REDIRECTS_MAX {
            return self.complete(sequence, part, Some(frame.to_vec()));
        }
        let bytes = held.bytes.clone();
        // A `WATCH` that is sent on is watched there.
        if self.watching.is_some() && is_watch(&bytes) {
            self.watching = Some(number);
        }
        let connection = &mut self.connections[number];
        if asking {
            connection.send(&[b"ASKING"], Awaited::Nothing);
        }
        connection.commands().extend(&bytes);
        connection.expected.push_back(awaited);
    }

    /// Tried again a little later, unless others of its slot would come before it.
    fn retry_later(&mut self, context: &Context<'_>, sequence: u64, part: usize, frame: &[u8]) {
        let Some(place) = self.place(sequence) else { return };
        let held = &mut place.parts[part];
        let is_alone = held.slot;
        let is_late = context.now_ms >= held.begun_ms + RETRIES_MS;
        let is_alone =
            is_alone.is_none_or(|slot| self.ways.get(&slot).is_none_or(|w| w.count == 1));
        if is_late || !is_alone {
            return self.complete(sequence, part, Some(frame.to_vec()));
        }
        let Some(place) = self.place(sequence) else { return };
        place.parts[part].retry_ms = Some(context.now_ms + RETRY_MS);
        self.retries += 1;
    }

    /// When something is to be tried again.
    pub(crate) fn retry_ms(&self) -> Option<u64> {
        if self.retries == 0 {
            return None;
        }
        self.places.iter().flat_map(|place| &place.parts).filter_map(|part| part.retry_ms).min()
    }

    /// Tries again what is due.
    pub(crate) fn retry(&mut self, context: &Context<'_>) {
        if self.retries == 0 {
            return;
        }
        for at in 0..self.places.len() {
            for part in 0..self.places[at].parts.len() {
                let held = &mut self.places[at].parts[part];
                if held.retry_ms.is_none_or(|due_ms| due_ms > context.now_ms) {
                    continue;
                }
                held.retry_ms = None;
                held.redirects = 0;
                self.retries -= 1;
                let (slot, sequence) = (held.slot, self.first + at as u64);
                let view = self.cluster.view();
                let owner = slot.and_then(|slot| view.map.primary(slot));
                match owner.cloned() {
                    Some(address) => {
                        let error = b"-CLUSTERDOWN cachee: the slot has no node\r\n";
                        self.send_on(context, sequence, part, &address, false, error);
                    }
                    None => {
                        let error = b"-CLUSTERDOWN Hash slot not served\r\n".to_vec();
                        self.complete(sequence, part, Some(error));
                    }
                }
            }
        }
        self.pump(context);
    }
}

fn is_watch(bytes: &[u8]) -> bool {
    bytes
        .splitn(4, |&byte| byte == b'\n')
        .nth(2)
        .is_some_and(|name| name.trim_ascii_end().eq_ignore_ascii_case(b"WATCH"))
}
