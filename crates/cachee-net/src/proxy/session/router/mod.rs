//! A cluster as one server: commands in, replies out in the order of the commands.
//!
//! # Problem
//!
//! A session knows one upstream that answers in order. A cluster is many, each with a connection,
//! which answer in orders of their own, send commands on to each other, and move slots meanwhile.
//!
//! # Idea
//!
//! The router is that one upstream. Each command takes a *place*; it has one *part* for every node
//! that is asked. Parts are answered in the order of their connections, places are passed on in
//! the order of the commands. The session above is the same as in front of one server.
//!
//! # Order
//!
//! What a client sends is executed in its order wherever it could tell:
//!
//! - Commands of one slot wait while one of that slot is unanswered at another node, or has been
//!   sent on: the later one could come first otherwise.
//! - Everything waits behind a command that blocks, and behind one that is to be tried again.
//!
//! Not promised: a slot that leaves a node and comes back while commands of one pipeline are on
//! their way. No client of a cluster could, short of sending one at a time.
//!
//! # State
//!
//! What changes a connection (`AUTH`, `CLIENT SETNAME`) goes to each and is repeated on those
//! opened later. A transaction is at one node: the watched one, or that of its first key; `MULTI`
//! is sent there alone, then its first command, and the rest when that is queued: until then the
//! transaction can begin anew where the slot has gone. Later nothing inside is sent on.
//!
//! A node that is lost costs what was asked of it, as an error; the connection of the client ends
//! only when something of its state was there (a transaction, a watched key, a subscription).

mod connection;
mod dispatch;
mod redirect;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::state::{Confirmation, Kind, is_message};
use crate::proxy::cluster::Cluster;
use crate::proxy::host::Context;
use crate::proxy::topology::facade::Facade;
use crate::proxy::topology::join::{Reply, join};
use crate::proxy::topology::routing::Join;
use crate::proxy::topology::scan::Cursor;
use crate::resp::Scan;
pub(crate) use connection::Connection;
use connection::{Awaited, Record};

/// Bytes of commands not answered beyond which no more are taken from the client.
const BYTES_MAX: usize = 1 << 20;

/// What the router hands to its session.
pub(super) enum Ready {
    /// The next reply, or one of its frames.
    Reply(Vec<u8>),
    /// Out of band.
    Push(Vec<u8>),
}

/// Why a client cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// With a last word.
    Refused(String),
    /// Without.
    Lost,
}

/// How the parts' replies become the command's.
#[derive(Clone, Debug)]
enum How {
    One,
    Join(Join),
    Scan(Cursor),
    /// The number of the record.
    Connection(u64),
    /// A transaction's, with its slot: not sent on.
    Pinned(Option<u16>),
    /// So many confirmations of a subscription.
    Frames {
        kind: Kind,
        is_subscribe: bool,
        left: u64,
    },
}

/// What one node is asked for one command.
struct Part {
    bytes: Vec<u8>,
    slot: Option<u16>,
    positions: Vec<u32>,
    reply: Option<Vec<u8>>,
    redirects: u8,
    begun_ms: u64,
    /// When it is to be tried again.
    retry_ms: Option<u64>,
}

/// One command that is not passed on yet.
struct Place {
    parts: Vec<Part>,
    left: usize,
    how: How,
    is_blocking: bool,
    /// Frames of the answer.
    answer: Option<Vec<Vec<u8>>>,
    frames: Vec<Vec<u8>>,
}

/// Between `MULTI` and its end.
#[derive(Default)]
struct Transaction {
    connection: Option<usize>,
    slot: Option<u16>,
    /// Its first command, until that is queued: it may still begin at another node.
    first: Option<u64>,
    has_begun: bool,
    restarts: u8,
    /// Something in it was refused here.
    is_dirty: bool,
    /// The node's refusal of `MULTI`.
    refusal: Option<Vec<u8>>,
}

/// A command that is kept.
type Words = Box<[Box<[u8]>]>;

/// Commands of one slot on their way.
struct Way {
    connection: usize,
    count: u32,
    /// One of them was sent on.
    is_mixed: bool,
}

/// The one upstream that a cluster is to a session.
pub(crate) struct Router {
    cluster: Arc<Cluster>,
    pub(crate) facade: Facade,
    pub(crate) connections: Vec<Connection>,
    places: VecDeque<Place>,
    first: u64,
    /// Commands that wait to be sent, with their places.
    held: VecDeque<(u64, Words)>,
    pub(super) ready: VecDeque<Ready>,
    transaction: Option<Transaction>,
    /// `MULTI` is sent and not answered.
    is_beginning: bool,
    /// Where keys are watched.
    watching: Option<usize>,
    records: Vec<Record>,
    next_record: u64,
    ways: HashMap<u16, Way, RandomState>,
    /// Blocking commands unanswered.
    blocking: usize,
    /// Parts to be tried again.
    retries: usize,
    bytes: usize,
    /// Which node a command that any can answer begins with.
    spread: usize,
    /// The client speaks RESP3.
    pub(super) is_resp3: bool,
    pub(super) failure: Option<Failure>,
}

impl Router {
    pub(crate) fn new(cluster: Arc<Cluster>, facade: Facade, spread: usize) -> Self {
        Self {
            cluster,
            facade,
            connections: Vec::new(),
            places: VecDeque::new(),
            first: 0,
            held: VecDeque::new(),
            ready: VecDeque::new(),
            transaction: None,
            is_beginning: false,
            watching: None,
            records: Vec::new(),
            next_record: 0,
            ways: HashMap::default(),
            blocking: 0,
            retries: 0,
            bytes: 0,
            spread,
            is_resp3: false,
            failure: None,
        }
    }

    /// May more commands be taken?
    pub(super) fn may_take(&self) -> bool {
        self.bytes < BYTES_MAX
    }

    /// Takes a command; its reply comes in its turn.
    pub(super) fn submit(&mut self, context: &Context<'_>, words: &[&[u8]]) {
        let sequence = self.first + self.places.len() as u64;
        self.places.push_back(Place::new());
        if !self.held.is_empty() || !self.dispatch(context, sequence, words) {
            self.bytes += words.iter().map(|word| word.len()).sum::<usize>();
            let words: Words = words.iter().map(|&word| word.into()).collect();
            self.held.push_back((sequence, words));
        }
        self.advance();
    }

    /// Sends what had to wait and needs to no longer.
    fn pump(&mut self, context: &Context<'_>) {
        self.advance();
        while self.failure.is_none()
            && let Some((sequence, words)) = self.held.pop_front()
        {
            let borrowed: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
            if !self.dispatch(context, sequence, &borrowed) {
                self.held.push_front((sequence, words));
                break;
            }
            self.bytes -= words.iter().map(|word| word.len()).sum::<usize>();
            // What comes next may wait for being the first.
            self.advance();
        }
    }

    /// Bytes of a node have come.
    pub(super) fn take_bytes(
        &mut self,
        context: &Context<'_>,
        number: usize,
        bytes: &[u8],
        is_resp3: bool,
    ) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        let mut buffer = std::mem::take(&mut connection.inbound);
        let mut scanner = std::mem::take(&mut connection.scanner);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        while at < buffer.len() && self.failure.is_none() {
            match scanner.scan(&buffer[at..]) {
                Ok(Scan::Complete(length)) => {
                    self.take_frame(context, number, &buffer[at..at + length], is_resp3);
                    at += length;
                }
                Ok(Scan::Incomplete) => break,
                Err(_) => {
                    context.counters.protocol_errors.add(1);
                    self.failure = Some(Failure::Lost);
                }
            }
        }
        buffer.drain(..at);
        let connection = &mut self.connections[number];
        connection.inbound = buffer;
        connection.scanner = scanner;
        self.pump(context);
    }

    fn take_frame(&mut self, context: &Context<'_>, number: usize, frame: &[u8], is_resp3: bool) {
        let connection = &mut self.connections[number];
        let is_push = frame[0] == b'>';
        let is_subscribed = connection.subscriptions.is_subscribed();
        if let Some(&Awaited::Frames { kind, is_subscribe, .. }) = connection.expected.front()
            && frame[0] != b'-'
        {
            let found = Confirmation::read(frame);
            if found.is_some_and(|found| (found.kind, found.is_subscribe) == (kind, is_subscribe)) {
                return self.confirm(number, frame);
            }
        }
        if is_push || (!is_resp3 && is_subscribed && is_message(frame)) {
            if let Some(confirmation) = Confirmation::read(frame) {
                confirmation.apply(&mut connection.subscriptions);
            }
            // Not before the confirmation that came in front of it.
            self.advance();
            self.ready.push_back(Ready::Push(frame.to_vec()));
            return;
        }
        let is_error = matches!(frame[0], b'-' | b'!');
        match connection.expected.pop_front() {
            Some(Awaited::Part { sequence, part }) => {
                self.take_part(context, number, sequence, part, frame);
            }
            Some(Awaited::Frames { sequence, .. }) => {
                self.take_part(context, number, sequence, 0, frame);
            }
            Some(Awaited::Nothing) => {}
            Some(Awaited::Begin) => self.begun(is_error.then_some(frame)),
            Some(Awaited::Login) if is_error => {
                self.refuse("refuses the proxy's own login", frame);
            }
            Some(Awaited::Replay(id)) => self.take_replay(number, id, is_error),
            Some(Awaited::Login) => connection.begun(),
            // Nobody asked: a node that is full says so.
            None => self.refuse("says", frame),
        }
    }

    fn disagree(&mut self) {
        let text = "the nodes of the cluster do not agree about the connection";
        self.failure = Some(Failure::Refused(text.to_owned()));
    }

    fn refuse(&mut self, what: &str, frame: &[u8]) {
        let text = String::from_utf8_lossy(&frame[1..]).trim_end().to_owned();
        self.failure = Some(Failure::Refused(format!("a node of the cluster {what}: {text}")));
    }

    /// The node's answer to `MULTI`.
    fn begun(&mut self, refusal: Option<&[u8]>) {
        self.is_beginning = false;
        if let (Some(refusal), Some(transaction)) = (refusal, &mut self.transaction) {
            transaction.connection = None;
            transaction.refusal = Some(refusal.to_vec());
        }
    }

    /// One of the confirmations that a place waits for.
    fn confirm(&mut self, number: usize, frame: &[u8]) {
        let connection = &mut self.connections[number];
        if let Some(confirmation) = Confirmation::read(frame) {
            confirmation.apply(&mut connection.subscriptions);
        }
        let Some(Awaited::Frames { sequence, left, .. }) = connection.expected.front_mut() else {
            return;
        };
        let sequence = *sequence;
        *left -= 1;
        let is_over = *left == 0;
        if is_over {
            connection.expected.pop_front();
        }
        if let Some(place) = self.place(sequence) {
            place.frames.push(frame.to_vec());
        }
        if is_over {
            self.complete(sequence, 0, None);
        }
    }

    fn place(&mut self, sequence: u64) -> Option<&mut Place> {
        self.places.get_mut(sequence.checked_sub(self.first)? as usize)
    }

    /// The place is answered without asking anybody.
    fn finish(&mut self, sequence: u64, frame: &[u8]) -> bool {
        if let Some(place) = self.place(sequence) {
            place.answer = Some(vec![frame.to_vec()]);
        }
        true
    }

    /// A part is answered; `None`: by what is in `frames`.
    fn complete(&mut self, sequence: u64, part: usize, frame: Option<Vec<u8>>) {
        let Some(place) = self.place(sequence) else { return };
        let Some(held) = place.parts.get_mut(part) else { return };
        held.reply = frame;
        let (bytes, slot) = (held.bytes.len(), held.slot);
        place.left -= 1;
        let is_over = place.left == 0;
        self.bytes -= bytes;
        if let Some(transaction) = &mut self.transaction
            && transaction.first == Some(sequence)
        {
            transaction.first = None;
            self.is_beginning = false;
        }
        if let Some(slot) = slot
            && let Some(way) = self.ways.get_mut(&slot)
        {
            way.count -= 1;
            if way.count == 0 {
                self.ways.remove(&slot);
            }
        }
        if is_over {
            self.answer(sequence);
        }
    }

    /// Every part of a place is answered.
    fn answer(&mut self, sequence: u64) {
        let view = self.cluster.view();
        let Some(place) = self.place(sequence) else { return };
        let how = place.how.clone();
        let is_blocking = place.is_blocking;
        let replies: Vec<Reply<'_>> = place
            .parts
            .iter()
            .filter_map(|part| {
                let frame = part.reply.as_deref()?;
                Some(Reply { positions: &part.positions, frame })
            })
            .collect();
        let is_error = |reply: &Reply<'_>| matches!(reply.frame[0], b'-' | b'!');
        let mut out = Vec::new();
        let mut settled = None;
        match (&how, replies.first()) {
            (How::Join(how), _) => join(*how, &replies, &mut out),
            (How::Scan(cursor), Some(reply)) => cursor.answer(reply.frame, &view.map, &mut out),
            (How::Connection(id), Some(first)) => {
                out.extend_from_slice(first.frame);
                let is_refused = is_error(first);
                let agree = replies.iter().all(|reply| is_error(reply) == is_refused);
                settled = Some((*id, is_refused, agree));
            }
            (_, Some(reply)) => out.extend_from_slice(reply.frame),
            (_, None) => {}
        }
        let frames = match how {
            How::Frames { .. } if out.is_empty() => std::mem::take(&mut place.frames),
            _ => vec![out],
        };
        place.answer = Some(frames);
        self.blocking -= usize::from(is_blocking);
        if let Some((id, is_refused, agree)) = settled {
            if !agree {
                return self.disagree();
            }
            self.settle_record(id, is_refused);
        }
    }

    /// Passes on what the front places hold.
    fn advance(&mut self) {
        while let Some(front) = self.places.front_mut()
            && let Some(frames) = front.answer.take()
        {
            self.ready.extend(frames.into_iter().map(Ready::Reply));
            self.places.pop_front();
            self.first += 1;
        }
    }

    /// The connection to a node is lost, or could not be made.
    pub(super) fn lose(&mut self, context: &Context<'_>, number: usize, reason: &str) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        self.cluster.refresh();
        let has_state = connection.subscriptions.is_subscribed()
            || self.watching == Some(number)
            || self.is_transaction_at(number);
        let connection = &mut self.connections[number];
        let awaited = connection.close();
        for record in &mut self.records {
            record.replayed.retain(|(replayed, _)| *replayed != number);
        }
        if has_state {
            self.failure = Some(Failure::Lost);
            return;
        }
        let error = format!("-CLUSTERDOWN cachee: {}\r\n", reason.replace(['\r', '\n'], " "));
        for each in awaited {
            match each {
                Awaited::Part { sequence, part } => {
                    self.complete(sequence, part, Some(error.clone().into_bytes()));
                }
                Awaited::Frames { sequence, .. } => {
                    self.complete(sequence, 0, Some(error.clone().into_bytes()));
                }
                Awaited::Replay(id) => self.forget_refused(id),
                Awaited::Nothing | Awaited::Begin | Awaited::Login => {}
            }
        }
        self.pump(context);
    }

    /// Nothing is sent any more.
    pub(super) fn abandon(&mut self) {
        self.held.clear();
        self.places.clear();
        self.retries = 0;
        self.connections.iter_mut().for_each(|connection| drop(connection.close()));
    }

    fn is_transaction_at(&self, number: usize) -> bool {
        self.transaction.as_ref().is_some_and(|held| held.connection == Some(number))
    }
}

impl Place {
    fn new() -> Self {
        Self {
            parts: Vec::new(),
            left: 0,
            how: How::One,
            is_blocking: false,
            answer: None,
            frames: Vec::new(),
        }
    }
}

/// How many confirmations a command of the subscription protocol is answered with.
fn confirmations(words: &[&[u8]], subscribed: u64, is_subscribe: bool) -> u64 {
    let named = words.len() as u64 - 1;
    if is_subscribe || named > 0 { named.max(1) } else { subscribed.max(1) }
}

/// Which connection's own subscriptions a command without a channel is about.
fn subscribed(connections: &[Connection], kind: Kind) -> Option<usize> {
    connections.iter().position(|each| each.subscriptions.subscriptions(kind) > 0)
}
