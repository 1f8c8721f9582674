//! Slots, and what the upstream sends for them.

use super::beginning::Beginning;
use super::effects::Change;
use super::reads::{KeysSlot, Parts, ReadSlot};
use super::state::{Confirmation, Kind, is_message};
use super::{Core, Ending};
use crate::proxy::host::Context;
use crate::proxy::output::Output;
use crate::resp::{Node, Reader, Scan, Scanner};

/// A reply larger than this is passed on while it comes.
const STREAM_BYTES_MIN: usize = 32 << 10;

/// The place of one reply.
pub(super) enum Slot {
    /// Known.
    Output(Output),
    /// Small and known.
    Ready(Box<[u8]>),
    /// The upstream connection's; here when it came before those in front of it were answered.
    Upstream { note: Note, reply: Option<Output> },
    /// A read under way in the link.
    Read(Box<ReadSlot>),
    /// Several.
    Keys(Box<KeysSlot>),
}

impl Slot {
    /// Bytes of a reply that waits here.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Output(output) => output.len(),
            Self::Ready(bytes) => bytes.len(),
            Self::Upstream { .. } | Self::Read(_) | Self::Keys(_) => 0,
        }
    }
}

/// What is to be done before a reply may be passed on.
#[derive(Debug)]
pub(super) enum Note {
    /// Nothing.
    None,
    /// A read of this key may have seen more than the L1.
    Read(u64),
    /// Of these keys.
    Reads(Box<[u64]>),
    /// Of some of a command's keys; the others were answered.
    Parts(Box<Parts>),
    /// The write of this key ends.
    Write(u64),
    /// Of these keys.
    Writes(Box<[u64]>),
    /// It waited for somebody (`BLPOP`, `WAIT`); these keys may have changed.
    Waited(Box<[u64]>),
    /// Anything may have changed.
    Opaque { flushes: bool },
    /// Passwords or rights, and hence anything.
    Rights,
    /// A command inside `MULTI`.
    Queued,
    /// The connection itself is another one afterwards.
    Change(Box<Change>),
    /// So many confirmations; for `UNSUBSCRIBE` without arguments, as many as there are.
    Confirmations { kind: Kind, is_subscribe: bool, left: Option<u64> },
    /// `INFO`, to which a section is added.
    Info,
    /// `QUIT`.
    Quit,
}

impl Note {
    /// Nothing behind it may be answered by the L1.
    pub(super) fn is_opaque(&self) -> bool {
        matches!(
            self,
            Self::Waited(_)
                | Self::Opaque { .. }
                | Self::Rights
                | Self::Change(_)
                | Self::Confirmations { .. }
                | Self::Quit
        )
    }

    /// The keys that it reads.
    pub(super) fn reads(&self) -> &[u64] {
        match self {
            Self::Read(key_hash) => std::slice::from_ref(key_hash),
            Self::Reads(key_hashes) => key_hashes,
            Self::Parts(parts) => &parts.key_hashes,
            _ => &[],
        }
    }

    /// The reply has to be seen whole before it is passed on.
    fn needs_whole(&self) -> bool {
        matches!(self, Self::Confirmations { .. } | Self::Info | Self::Parts(_) | Self::Queued)
    }
}

/// For whom the next reply of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The slot of this sequence.
    Slot(u64),
    /// The proxy's own login or database.
    Preamble,
}

impl Core {
    /// Bytes of the upstream connection have come.
    pub(crate) fn take_upstream_bytes(&mut self, context: &Context<'_>, bytes: &[u8]) {
        if self.state.is_pipe {
            return self.take_piped_bytes(context, bytes);
        }
        if self.upstream.inbound.is_empty() {
            let taken = self.apply(context, bytes);
            let rest = &bytes[taken.min(bytes.len())..];
            self.upstream.inbound.extend_from_slice(rest);
        } else {
            let mut buffer = std::mem::take(&mut self.upstream.inbound);
            buffer.extend_from_slice(bytes);
            let taken = self.apply(context, &buffer);
            if taken < buffer.len() {
                buffer.drain(..taken);
                self.upstream.inbound = buffer;
            }
        }
        self.advance();
    }

    /// Applies the whole frames of `buffer`; how many bytes are done with.
    fn apply(&mut self, context: &Context<'_>, buffer: &[u8]) -> usize {
        let mut at = 0;
        let mut scanner = std::mem::take(&mut self.upstream.scanner);
        while at < buffer.len() && self.ending != Ending::AfterOutput {
            match scanner.scan(&buffer[at..]) {
                Ok(Scan::Complete(length)) => {
                    let frame = &buffer[at..at + length];
                    if self.upstream.is_streaming {
                        self.stream(frame);
                        self.end_stream();
                    } else {
                        self.take_frame(context, frame);
                    }
                    // A push that follows must not overtake what is known by now.
                    self.advance();
                    at += length;
                }
                Ok(Scan::Incomplete) => {
                    at += self.stream_part(context, &buffer[at..], &mut scanner);
                    break;
                }
                Err(_) => {
                    context.counters.protocol_errors.add(1);
                    self.ending = Ending::AfterOutput;
                }
            }
        }
        self.upstream.scanner = scanner;
        at
    }

    /// Passes on what is there of a large reply, if it is one that may go in pieces.
    fn stream_part(&mut self, context: &Context<'_>, rest: &[u8], scanner: &mut Scanner) -> usize {
        if !self.upstream.is_streaming {
            let is_large =
                rest.len() >= STREAM_BYTES_MIN || scanner.known_length() >= STREAM_BYTES_MIN;
            if !is_large || rest[0] == b'>' || (self.state.is_subscribed() && !self.state.is_resp3)
            {
                return 0;
            }
            let Some(&Expected::Slot(sequence)) = self.upstream.expected.front() else { return 0 };
            let at = (sequence - self.first) as usize;
            let Some(Slot::Upstream { note, .. }) = self.slots.get(at) else { return 0 };
            if at != 0 || note.needs_whole() {
                return 0;
            }
            self.upstream.is_streaming = true;
            self.settle_front(context, rest);
        }
        let dropped = scanner.drop_front(rest.len());
        self.stream(&rest[..dropped]);
        dropped
    }

    fn stream(&mut self, bytes: &[u8]) {
        self.out.extend(bytes);
    }

    fn end_stream(&mut self) {
        self.upstream.is_streaming = false;
        self.upstream.expected.pop_front();
        self.slots.pop_front();
        self.first += 1;
    }

    /// Does what the front slot's note says.
    fn settle_front(&mut self, context: &Context<'_>, frame: &[u8]) {
        if let Some(Slot::Upstream { note, .. }) = self.slots.front_mut() {
            let note = std::mem::replace(note, Note::None);
            self.settle(context, note, self.first, frame);
        }
    }

    /// One whole frame of the upstream connection.
    pub(super) fn take_frame(&mut self, context: &Context<'_>, frame: &[u8]) {
        let is_subscribed_resp2 = !self.state.is_resp3 && self.state.is_subscribed();
        if frame[0] == b'>' || (is_subscribed_resp2 && is_message(frame)) {
            return self.take_push(context, frame);
        }
        match self.upstream.expected.front().copied() {
            Some(Expected::Preamble) => {
                let upstream = &mut self.upstream;
                upstream.expected.pop_front();
                if frame[0] == b'-' {
                    return self.refuse(context, frame);
                }
                upstream.beginning.answered(&mut upstream.out);
            }
            Some(Expected::Slot(sequence)) => self.take_reply(context, sequence, frame),
            // Nobody asked: what it is about cannot be known (a server that is full says so), but
            // it must not be taken for the answer to a read that the link has yet to end.
            None => {
                if self.slots.is_empty() || frame[0] == b'-' {
                    self.out.extend(frame);
                }
                self.ending = Ending::AfterOutput;
            }
        }
    }

    fn take_reply(&mut self, context: &Context<'_>, sequence: u64, frame: &[u8]) {
        let at = (sequence - self.first) as usize;
        let Some(Slot::Upstream { note, reply }) = self.slots.get_mut(at) else { return };
        if let Note::Confirmations { .. } = note
            && frame[0] != b'-'
        {
            return self.confirm(context, at, frame);
        }
        let note = std::mem::replace(note, Note::None);
        let mut whole = reply.take().unwrap_or_default();
        self.upstream.expected.pop_front();
        let is_front = at == 0;
        let is_info = matches!(note, Note::Info);
        let parts = self.settle(context, note, sequence, frame);
        let out = if is_front && whole.is_empty() { &mut self.out } else { &mut whole };
        match parts {
            Some(parts) => parts.write(frame, out),
            None if is_info => out.append(|out| with_section(frame, &context.host.info(), out)),
            None => out.extend(frame),
        }
        if is_front {
            self.out.extend_output(whole);
            self.slots.pop_front();
            self.first += 1;
        } else {
            self.fill(at, whole);
        }
    }

    /// A push: out of band, unless it confirms what a slot waits for.
    pub(super) fn take_push(&mut self, context: &Context<'_>, frame: &[u8]) {
        if let Some(confirmation) = Confirmation::read(frame)
            && let Some(&Expected::Slot(sequence)) = self.upstream.expected.front()
        {
            let at = (sequence - self.first) as usize;
            if let Some(Slot::Upstream {
                note: Note::Confirmations { kind, is_subscribe, .. }, ..
            }) = self.slots.get(at)
                && (*kind, *is_subscribe) == (confirmation.kind, confirmation.is_subscribe)
            {
                return self.confirm(context, at, frame);
            }
        }
        if let Some(confirmation) = Confirmation::read(frame) {
            confirmation.apply(&mut self.state);
        }
        self.out.extend(frame);
    }

    /// One of the confirmations that a slot waits for.
    fn confirm(&mut self, context: &Context<'_>, at: usize, frame: &[u8]) {
        let Some(Slot::Upstream { note, reply }) = self.slots.get_mut(at) else { return };
        let Note::Confirmations { kind, left, .. } = note else { return };
        let remaining = left.unwrap_or_else(|| self.state.subscriptions(*kind).max(1)) - 1;
        *left = Some(remaining);
        match Confirmation::read(frame) {
            Some(confirmation) => confirmation.apply(&mut self.state),
            // Not what such a command is answered with: the stream cannot be followed any more.
            None => {
                context.counters.protocol_errors.add(1);
                self.ending = Ending::AfterOutput;
            }
        }
        if at == 0 {
            self.out.extend(frame);
        } else {
            reply.get_or_insert_default().extend(frame);
        }
        if remaining > 0 {
            return;
        }
        self.upstream.expected.pop_front();
        self.opaque -= 1;
        let whole = reply.take().unwrap_or_default();
        self.fill(at, whole);
    }

    /// The reply of a slot is known.
    pub(super) fn fill(&mut self, at: usize, reply: Output) {
        self.held += reply.len();
        self.slots[at] = Slot::Output(reply);
    }

    /// The upstream does not accept the proxy's own login or database.
    fn refuse(&mut self, context: &Context<'_>, frame: &[u8]) {
        context.counters.upstream_refused.add(1);
        let text = String::from_utf8_lossy(&frame[1..frame.len() - 2]).into_owned();
        self.fail(context, &format!("the upstream refuses the proxy's own login: {text}"));
    }

    /// No upstream: what waits for it is answered with an error, then the connection ends. The
    /// word `MASTERDOWN` is the server's own for a link that is down, which clients know.
    pub(crate) fn fail(&mut self, context: &Context<'_>, reason: &str) {
        self.settle_all(context);
        if self.ending == Ending::Open || !self.slots.is_empty() {
            let reason = reason.replace(['\r', '\n'], " ");
            self.out.append(|out| {
                out.extend_from_slice(b"-MASTERDOWN cachee: ");
                out.extend_from_slice(reason.as_bytes());
                out.extend_from_slice(b"\r\n");
            });
        }
        self.drop_slots();
        self.ending = Ending::AfterOutput;
    }

    /// The upstream connection has ended: the client's ends, too, once it has what came.
    pub(crate) fn lose_upstream(&mut self, context: &Context<'_>) {
        if self.slots.iter().any(|slot| matches!(slot, Slot::Upstream { .. })) {
            context.counters.upstream_lost.add(1);
        }
        self.settle_all(context);
        self.drop_slots();
        self.ending = Ending::AfterOutput;
    }

    /// Nothing this client began stays begun.
    pub(crate) fn settle_all(&mut self, context: &Context<'_>) {
        for at in 0..self.slots.len() {
            if let Slot::Upstream { note, .. } = &mut self.slots[at] {
                let note = std::mem::replace(note, Note::None);
                self.settle_lost(context, note);
            }
        }
    }

    fn drop_slots(&mut self) {
        self.first += self.slots.len() as u64;
        self.slots.clear();
        self.held = 0;
        self.reading.clear();
        self.passing.clear();
        self.wanted.clear();
        self.opaque = 0;
        self.upstream.expected.clear();
        // Nothing is sent after its client has heard that it failed.
        self.upstream.out = Output::default();
        self.upstream.beginning = Beginning::default();
        self.upstream.is_wanted = false;
        if let Some(router) = &mut self.router {
            router.abandon();
        }
    }

    /// Passes on what the front slots hold.
    pub(crate) fn advance(&mut self) {
        while let Some(front) = self.slots.front_mut() {
            self.held -= front.held();
            match front {
                Slot::Output(output) => {
                    let output = std::mem::take(output);
                    self.out.extend_output(output);
                }
                Slot::Ready(bytes) => self.out.extend(bytes),
                Slot::Upstream { .. } | Slot::Read(_) | Slot::Keys(_) => break,
            }
            self.slots.pop_front();
            self.first += 1;
        }
        if self.ending == Ending::AfterReplies && self.slots.is_empty() {
            self.ending = Ending::AfterOutput;
        }
    }
}

/// The reply to `INFO` with a section more; any other reply (an error) as it is.
fn with_section(frame: &[u8], section: &str, out: &mut Vec<u8>) {
    let (kind, prefix, text) = match Reader::new(frame).next() {
        Some(Node::Bulk(text)) => ('$', "", text),
        Some(Node::Verbatim { text, .. }) => ('=', "txt:", text),
        _ => return out.extend_from_slice(frame),
    };
    let gap = if text.is_empty() { "" } else { "\r\n" };
    let length = prefix.len() + text.len() + gap.len() + section.len();
    out.extend_from_slice(format!("{kind}{length}\r\n{prefix}").as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(gap.as_bytes());
    out.extend_from_slice(section.as_bytes());
    out.extend_from_slice(b"\r\n");
}
