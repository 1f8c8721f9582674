//! One client's connection: what its commands become, and in which order it is answered.
//!
//! # Problem
//!
//! The proxy has to be a byte pipe for every command there is or will be, and yet answer some
//! reads itself, in the middle of a pipeline, without the client being able to tell.
//!
//! # Idea
//!
//! Sans I/O: bytes of the client and of its upstream connections in, bytes out, ends of the
//! link's reads in. Every command that gets a reply takes a *slot*; slots are answered from the
//! front, whoever fills them: the L1 at once, the link later, the client's own upstream
//! connection in its own order. What has to be done before a reply may be passed on (an own write
//! ends, a barrier, a change of state) is the slot's *note*.
//!
//! # When the L1 may answer
//!
//! In plain state only (no `MULTI`, `WATCH`, subscription, tracking by the client, …), as the
//! identity whose credentials the upstream has accepted, and while no command is unanswered whose
//! effects are not known or that waits for others (`opaque`): behind such a command reads take the
//! client's own connection, as they would without us. Behind a write with known keys the L1 may
//! answer: those keys are held by `begin_write` until the reply, so a read of one of them goes
//! the same way as the write and comes after it.
//!
//! A read that was sent to the link is older than whatever the client sends next. A command that
//! may change its key therefore waits until the read has ended (`must_wait`): two streams have no
//! order otherwise, and the client could read its own future.
//!
//! A read that took the client's own connection may have seen more than the L1 holds: its key is
//! dropped before the reply is passed on, so that nobody reads backwards. For the same reason a
//! read behind an unanswered one of its key goes where that one went: to the client's own
//! connection (`passing`), or, while it is not known which way the link's read will end, nowhere
//! yet (`reading`).
//!
//! # What ends a connection
//!
//! A protocol error of the client is answered in the server's words, after the replies before it.
//! Whatever breaks on the upstream's side (closed, reset, a reply nobody asked for) closes the
//! client: nothing is sent twice, no reply is passed on that might be another's.

mod answers;
mod beginning;
mod effects;
mod gets;
mod keys;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod pipe;
mod reads;
mod recorded;
mod routed;
pub(crate) mod router;
mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use super::config::Login;
use super::host::{Context, Feed, Identity, Ticket};
use super::output::Output;
use super::request::{Limits as RequestLimits, Parsed, RequestParser, UnauthenticatedLimits};
use crate::cacheable::cacheable;
use crate::resp::{Scanner, encode_command};
use answers::{Expected, Note, Slot};
use beginning::Beginning;
use keys::Keys;
use reads::Wanted;
use router::Router;
use state::{State, special};

/// Bytes of commands waiting for the upstream beyond which no more are taken from the client.
const UPSTREAM_BYTES_MAX: usize = 1 << 20;
/// A command from here on is passed on in the buffer it came in.
const PART_BYTES_MIN: usize = 256 << 10;
/// Places for unanswered commands that are kept when there are none.
const KEPT_SLOTS: usize = 64;
/// An argument list up to this length needs no allocation.
const WORDS_ON_STACK: usize = 16;
/// How long after a refusal the L1 is asked for a link again.
const FEED_RETRY_MS: u64 = 20;

/// One of the client's own connections to the upstream.
pub(crate) struct Private {
    pub(crate) out: Output,
    beginning: Beginning,
    /// Bytes of a reply that is not whole yet.
    inbound: Vec<u8>,
    scanner: Scanner,
    /// For whom the next replies are.
    expected: VecDeque<Expected>,
    /// The reply being received is passed on piece by piece.
    is_streaming: bool,
    /// Opened, or to be opened.
    pub(crate) is_wanted: bool,
}

impl Private {
    fn new() -> Self {
        Self {
            out: Output::default(),
            beginning: Beginning::default(),
            inbound: Vec::new(),
            scanner: Scanner::for_pipe(),
            expected: VecDeque::new(),
            is_streaming: false,
            is_wanted: false,
        }
    }

    /// Commands sent and not answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.expected.len()
    }

    /// One of the proxy's own commands, which come before the client's.
    fn begin(&mut self, words: &[&[u8]]) {
        self.out.append(|out| encode_command(words, out));
        self.expected.push_back(Expected::Preamble);
        self.beginning.add();
    }

    /// Where the client's commands go.
    #[inline]
    fn commands(&mut self) -> &mut Output {
        self.beginning.target(&mut self.out)
    }

    /// Bytes of commands that are not written yet.
    fn waiting(&self) -> usize {
        self.out.len() + self.beginning.held()
    }
}

/// The first slot's sequence, and the reads under way in the link.
type Progress = (u64, usize);

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not at all.
    Open,
    /// When what is in the output has been written; nothing more is taken from either side.
    AfterOutput,
    /// When every command taken so far is answered; no more are taken.
    AfterReplies,
}

/// One client.
pub(crate) struct Session {
    parser: RequestParser,
    /// Bytes of commands not taken yet.
    inbound: Vec<u8>,
    /// The last of them is not whole.
    lacks_bytes: bool,
    /// How far the answers were when the first of them had to wait for one.
    stalled_at: Option<Progress>,
    pub(crate) core: Core,
}

/// A client without its request parser.
pub(crate) struct Core {
    /// To which ends of reads come, with sequence and part to be filled in.
    place: Ticket,
    /// Replies.
    pub(crate) out: Output,
    pub(crate) upstream: Private,
    /// In front of a cluster: what the upstream connection is there.
    pub(crate) router: Option<Box<Router>>,
    slots: VecDeque<Slot>,
    /// The sequence of the first slot.
    first: u64,
    /// Bytes of replies that wait in slots for those before them.
    held: usize,
    state: State,
    /// The transaction being queued.
    multi: Option<Box<effects::Transaction>>,
    feed: Option<Arc<dyn Feed>>,
    feed_asked_ms: u64,
    /// Reads to be handed to the link at the end of this turn.
    wanted: Vec<Wanted>,
    /// Keys of reads that the link has not ended.
    reading: Keys,
    /// Keys of reads that the client's own connection has not answered.
    passing: Keys,
    /// Unanswered commands behind which the L1 does not answer.
    opaque: usize,
    /// After the answer to `RESET` the proxy's own login comes first.
    is_resetting: bool,
    /// A pipe that has written: every byte of its upstream may acknowledge it.
    has_piped_write: bool,
    /// When it has last flushed or exchanged databases.
    piped_flush_ms: Option<u64>,
    /// It has named a change of rights, perhaps inside a transaction, and when that may have been.
    has_piped_rights: bool,
    piped_rights_ms: Option<u64>,
    pub(crate) ending: Ending,
    scratch: Vec<u8>,
}

impl Session {
    /// A client that has just been accepted.
    pub(crate) fn new(place: Ticket, login: Option<&Login>, db: u32) -> Self {
        Self {
            parser: RequestParser::new(),
            inbound: Vec::new(),
            lacks_bytes: true,
            stalled_at: None,
            core: Core {
                place,
                out: Output::default(),
                upstream: Private::new(),
                router: None,
                slots: VecDeque::new(),
                first: 0,
                held: 0,
                state: State { login: login.cloned(), db, ..State::default() },
                multi: None,
                feed: None,
                feed_asked_ms: 0,
                wanted: Vec::new(),
                reading: Keys::default(),
                passing: Keys::default(),
                opaque: 0,
                is_resetting: false,
                has_piped_write: false,
                piped_flush_ms: None,
                has_piped_rights: false,
                piped_rights_ms: None,
                ending: Ending::Open,
                scratch: Vec::new(),
            },
        }
    }

    /// Should more bytes be read from the client?
    pub(crate) fn wants_bytes(&self, context: &Context<'_>) -> bool {
        self.core.may_take(context) && (self.inbound.is_empty() || self.lacks_bytes)
    }

    /// Bytes of the client have come.
    pub(crate) fn take_bytes(&mut self, context: &Context<'_>, bytes: &[u8]) {
        context.counters.bytes_in.add(bytes.len() as u64);
        if self.inbound.is_empty() {
            let taken = self.run(context, bytes, None);
            self.inbound.extend_from_slice(&bytes[taken..]);
        } else {
            self.inbound.extend_from_slice(bytes);
            self.resume(context);
        }
        self.check_query_buffer(context);
    }

    /// Something was answered or written: takes the commands that had to wait.
    pub(crate) fn resume(&mut self, context: &Context<'_>) {
        if self.inbound.is_empty() {
            return;
        }
        let mut buffer = std::mem::take(&mut self.inbound);
        let taken = if buffer.len() < PART_BYTES_MIN {
            self.run(context, &buffer, None)
        } else {
            let shared = Arc::new(buffer);
            let taken = self.run(context, &shared, Some(&shared));
            match Arc::try_unwrap(shared) {
                Ok(whole) => buffer = whole,
                Err(shared) => return self.inbound.extend_from_slice(&shared[taken..]),
            }
            taken
        };
        if taken < buffer.len() {
            buffer.drain(..taken);
            self.inbound = buffer;
        }
    }

    /// Takes as many commands as there are and may be taken; how many bytes they had. `shared` is
    /// the same buffer, if parts of it may be kept.
    fn run(
        &mut self,
        context: &Context<'_>,
        buffer: &[u8],
        shared: Option<&Arc<Vec<u8>>>,
    ) -> usize {
        let limits = self.core.request_limits(context);
        let mut at = 0;
        self.lacks_bytes = false;
        self.stalled_at = None;
        while self.core.may_take(context) {
            if self.parser.is_at_start() {
                at += self.core.take_gets(context, &buffer[at..]);
            }
            match self.parser.parse(&buffer[at..], &limits) {
                Parsed::Incomplete => {
                    self.lacks_bytes = true;
                    break;
                }
                Parsed::Nothing { consumed } => at += consumed,
                Parsed::Command { consumed } => {
                    // One that has to wait is found again by the next parse.
                    let bytes = &buffer[at..at + consumed];
                    let source = shared.map(|shared| (shared, at));
                    if !self.core.command(context, &self.parser, bytes, source) {
                        self.stalled_at = Some(self.core.progress());
                        break;
                    }
                    at += consumed;
                }
                Parsed::Error(error) => {
                    context.counters.protocol_errors.add(1);
                    let mut reply = Vec::new();
                    error.write_reply(&mut reply);
                    self.core.expel(context, &reply);
                }
            }
        }
        self.core.submit(context);
        self.core.take_routed(context);
        at
    }

    /// A command that does not fit is no command: the server, too, closes without a word.
    fn check_query_buffer(&mut self, context: &Context<'_>) {
        let most = if self.core.is_stranger(context) {
            context.limits.query_buffer_unauthenticated_bytes
        } else {
            context.limits.query_buffer_bytes
        };
        if self.lacks_bytes && self.inbound.len() > most {
            context.counters.clients_expelled.add(1);
            self.core.ending = Ending::AfterOutput;
        }
    }

    /// Commands are here that may be taken without anything else happening before. What the first
    /// of them waits for may have come in the very turn that found it waiting: a read that was to
    /// be handed to the link, say, and was in the L1 by then.
    pub(crate) fn has_commands(&self) -> bool {
        !self.inbound.is_empty()
            && !self.lacks_bytes
            && self.stalled_at != Some(self.core.progress())
    }

    /// No more commands are taken; those taken are answered.
    pub(crate) fn drain(&mut self) {
        if self.core.ending == Ending::Open {
            self.core.ending = Ending::AfterReplies;
        }
    }
}

impl Core {
    /// Tells this client from who had its place before.
    pub(crate) fn serial(&self) -> u64 {
        self.place.serial
    }

    /// Waits for others, perhaps for ever: it must be gone upstream as soon as it is gone here.
    pub(crate) fn is_waiting(&self) -> bool {
        self.state.is_pipe || self.state.is_subscribed() || self.is_blocked()
    }

    /// Waits for others with a reply to come, so that its end may come first.
    pub(crate) fn is_blocked(&self) -> bool {
        let waits = |slot: &Slot| matches!(slot, Slot::Upstream { note: Note::Waited(_), .. });
        self.slots.iter().any(waits)
    }

    /// Every command taken so far is on its way to the server.
    pub(crate) fn is_sent(&self) -> bool {
        let is_sent = |router: &Router| router.connections.iter().all(|each| each.is_sent());
        self.upstream.out.is_empty()
            && self.upstream.beginning.held() == 0
            && self.router.as_ref().is_none_or(|router| is_sent(router))
    }

    /// Every command taken so far is answered and the answers are written.
    pub(crate) fn is_answered(&self) -> bool {
        self.slots.is_empty() && self.out.is_empty()
    }

    /// Commands not answered yet.
    #[cfg(any(test, feature = "model"))]
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// How far the answers are: a command that has to wait need not be looked at before it changes.
    fn progress(&self) -> Progress {
        (self.first, self.reading.len())
    }

    /// Gives back what a long pipeline has taken.
    pub(crate) fn relax(&mut self) {
        if self.slots.is_empty() && self.slots.capacity() > KEPT_SLOTS {
            self.slots = VecDeque::new();
        }
        let expected = &mut self.upstream.expected;
        if expected.is_empty() && expected.capacity() > KEPT_SLOTS {
            *expected = VecDeque::new();
        }
    }

    /// No room for replies: nothing more is to be read from the upstream, unless what comes next
    /// is what the others wait for.
    pub(crate) fn is_output_full(&self, context: &Context<'_>) -> bool {
        let most = context.limits.output_buffer_bytes;
        let is_next = matches!(self.slots.front(), Some(Slot::Upstream { .. }));
        self.out.len() >= most || (self.held >= most && !is_next)
    }

    /// May more commands be taken?
    pub(crate) fn may_take(&self, context: &Context<'_>) -> bool {
        self.ending == Ending::Open
            && self.slots.len() < context.limits.pipeline
            && self.out.len() + self.held < context.limits.output_buffer_bytes
            && self.upstream.waiting() < UPSTREAM_BYTES_MAX
            && self.router.as_ref().is_none_or(|router| router.may_take())
    }

    /// The upstream has accepted this client, or lets everybody in.
    fn is_accepted(&self, context: &Context<'_>) -> bool {
        self.state.login.is_some() || context.host.is_open()
    }

    /// The upstream has yet to accept this client.
    fn is_stranger(&self, context: &Context<'_>) -> bool {
        self.state.login.is_none() && context.host.is_closed()
    }

    fn request_limits(&self, context: &Context<'_>) -> RequestLimits {
        let unauthenticated = self.is_stranger(context).then_some(UnauthenticatedLimits {
            max_bulk: context.limits.bulk_unauthenticated_bytes,
            max_args: context.limits.args_unauthenticated,
        });
        RequestLimits {
            max_bulk: context.limits.bulk_bytes,
            max_args: context.limits.args,
            unauthenticated,
            ..RequestLimits::default()
        }
    }

    /// Takes one command; false when it has to wait for others.
    #[inline]
    fn command(
        &mut self,
        context: &Context<'_>,
        parser: &RequestParser,
        bytes: &[u8],
        source: Option<(&Arc<Vec<u8>>, usize)>,
    ) -> bool {
        let count = parser.arg_count();
        if count <= WORDS_ON_STACK {
            let mut words: [&[u8]; WORDS_ON_STACK] = [&[]; WORDS_ON_STACK];
            for (word, arg) in words.iter_mut().zip(parser.args(bytes)) {
                *word = arg;
            }
            self.take(context, &Command { words: &words[..count], bytes, parser, source })
        } else {
            let words: Vec<&[u8]> = parser.args(bytes).collect();
            self.take(context, &Command { words: &words, bytes, parser, source })
        }
    }

    fn take(&mut self, context: &Context<'_>, command: &Command<'_>) -> bool {
        let words = command.words;
        if self.is_resetting {
            return false;
        }
        if self.state.is_pipe {
            context.counters.commands.add(1);
            self.pipe(context, command);
            return true;
        }
        if let Some(key) = self.written_key(context, words) {
            let key_hash = context.host.store().key_hash(key);
            let is_taken = !self.reading.contains(key_hash);
            if is_taken {
                context.counters.commands.add(1);
                self.write_one(context, command, key_hash);
            }
            return is_taken;
        }
        if self.multi.is_none() && self.opaque == 0 && self.state.is_plain() {
            if let Some(found) = cacheable(words) {
                if self.is_reading(context, &words[1..2]) {
                    return false;
                }
                context.counters.commands.add(1);
                self.read_one(context, command, found);
                return true;
            }
            if words.len() > 1 && words[0].eq_ignore_ascii_case(b"MGET") {
                if self.is_reading(context, &words[1..]) {
                    return false;
                }
                context.counters.commands.add(1);
                self.read_keys(context, command);
                return true;
            }
        }
        if self.answer_as_cluster(context, command) {
            context.counters.commands.add(1);
            return true;
        }
        let is_taken = match special(words) {
            Some(special) => self.take_special(context, command, special),
            None => self.take_other(context, command),
        };
        context.counters.commands.add(u64::from(is_taken));
        is_taken
    }

    /// Sends a command to the client's own upstream connection, its reply to come in its turn.
    fn forward(&mut self, context: &Context<'_>, command: &Command<'_>, note: Note) {
        let sequence = self.push(Slot::Upstream { note, reply: None });
        self.send(context, command, Expected::Slot(sequence));
    }

    fn send(&mut self, context: &Context<'_>, command: &Command<'_>, expected: Expected) {
        if self.route(context, command.words, expected) {
            return;
        }
        self.open_upstream(context);
        context.counters.forwarded.add(1);
        self.upstream.expected.push_back(expected);
        command.pass_on(self.upstream.commands());
    }

    /// Asks for the connection, which begins with the proxy's own login and database.
    fn open_upstream(&mut self, context: &Context<'_>) {
        if !std::mem::replace(&mut self.upstream.is_wanted, true) {
            self.send_preamble(context);
        }
    }

    fn send_preamble(&mut self, context: &Context<'_>) {
        // Every connection of a router begins with its own.
        if self.router.is_some() {
            return;
        }
        let upstream = &mut self.upstream;
        if let Some(login) = context.login {
            let user = login.user.as_deref().unwrap_or("default").as_bytes();
            let words: [&[u8]; 3] = [b"AUTH", user, &login.password];
            upstream.begin(&words);
        }
        if context.db != 0 {
            let db = context.db.to_string();
            upstream.begin(&[b"SELECT", db.as_bytes()]);
        }
    }

    fn push(&mut self, slot: Slot) -> u64 {
        self.held += slot.held();
        if let Slot::Upstream { note, .. } = &slot {
            self.opaque += usize::from(note.is_opaque());
            self.passing.add(note.reads());
        }
        let sequence = self.next_sequence();
        self.slots.push_back(slot);
        sequence
    }

    /// Of the next slot.
    fn next_sequence(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// A reply of our own, in its turn.
    fn answer(&mut self, bytes: &[u8]) {
        if self.slots.is_empty() {
            self.out.extend(bytes);
        } else {
            self.push(Slot::Ready(bytes.into()));
        }
    }

    /// A last reply in its turn, then the end.
    fn expel(&mut self, context: &Context<'_>, bytes: &[u8]) {
        context.counters.clients_expelled.add(1);
        self.answer(bytes);
        self.ending = Ending::AfterReplies;
    }

    fn identity(&self) -> Identity {
        Identity { login: self.state.login.clone(), db: self.state.db, node: None }
    }

    fn ticket(&self, sequence: u64, part: u32) -> Ticket {
        Ticket { sequence, part, ..self.place }
    }
}

/// One command of a client.
pub(crate) struct Command<'a> {
    /// Name first.
    words: &'a [&'a [u8]],
    /// As it was sent.
    bytes: &'a [u8],
    parser: &'a RequestParser,
    /// The buffer they are in, and where, if it may be kept.
    source: Option<(&'a Arc<Vec<u8>>, usize)>,
}

impl Command<'_> {
    /// Encoded anew unless that gives the very same bytes: what the parser took for one command
    /// must be one for the upstream as well.
    fn write(&self, out: &mut Vec<u8>) {
        if self.parser.is_inline() {
            encode_command(self.words, out);
        } else {
            out.extend_from_slice(self.bytes);
        }
    }

    /// The same, a large one without copying.
    fn pass_on(&self, out: &mut Output) {
        match self.source {
            Some((buffer, at))
                if self.bytes.len() >= PART_BYTES_MIN && !self.parser.is_inline() =>
            {
                out.extend_part(buffer, at..at + self.bytes.len());
            }
            _ => out.append(|out| self.write(out)),
        }
    }
}
