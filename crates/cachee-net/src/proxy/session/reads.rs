//! Reads that the L1 may answer: looked up, asked of the link, or passed on.

use std::sync::Arc;

use cachee_core::EntryRef;

use super::answers::{Expected, Note, Slot};
use super::{Command, Core, FEED_RETRY_MS};
use crate::cacheable::{Cacheable, Resp2Shape, cacheable, encode_args};
use crate::link::{BypassReason, Outcome, Read, Request};
use crate::proxy::config::Mode;
use crate::proxy::host::{Context, Feed};
use crate::proxy::output::Output;
use crate::proxy::resp2::write_resp2;
use crate::resp::{Reader, Scan, Scanner, encode_command};

/// A read the L1 could not answer, to be handed to the link.
pub(super) struct Wanted {
    pub(super) sequence: u64,
    pub(super) part: u32,
    pub(super) shape: u32,
    pub(super) key_hash: u64,
    /// Name, key, other arguments.
    pub(super) words: Box<[Box<[u8]>]>,
}

impl Wanted {
    fn new(sequence: u64, part: u32, shape: u32, key_hash: u64, words: &[&[u8]]) -> Self {
        let words = words.iter().map(|&word| word.into()).collect();
        Self { sequence, part, shape, key_hash, words }
    }
}

/// The sequence of no slot.
const NOBODY: u64 = u64::MAX;

/// How a client wants replies.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) is_resp3: bool,
    pub(super) found: Cacheable,
    /// Of the command, its name included.
    pub(super) arg_count: usize,
}

impl Form {
    /// Appends the reply as this client would have been sent it; false when that is not known.
    #[inline]
    pub(super) fn write(self, frame: &Arc<[u8]>, out: &mut Output) -> bool {
        let is_same = self.is_resp3 || matches!(frame[0], b'$' | b':' | b'+');
        if is_same {
            out.extend_shared(frame);
            return true;
        }
        out.append(|out| write_resp2(frame, self.found, self.arg_count, out))
    }
}

/// One read, asked of the link.
pub(super) struct ReadSlot {
    pub(super) form: Form,
    pub(super) key_hash: u64,
    /// The command, should the client's own connection have to carry it after all.
    pub(super) command: Vec<u8>,
}

/// A read of many keys, some of them asked of the link.
pub(super) struct KeysSlot {
    pub(super) parts: Vec<Option<Arc<[u8]>>>,
    /// Parts that the link has yet to answer.
    pub(super) left: usize,
    pub(super) is_resp3: bool,
    pub(super) key_hashes: Box<[u64]>,
    pub(super) command: Vec<u8>,
}

/// A read of many keys of which the client's own connection is asked for some.
#[derive(Debug)]
pub(super) struct Parts {
    parts: Vec<Option<Arc<[u8]>>>,
    is_resp3: bool,
    /// Of those that are not here.
    pub(super) key_hashes: Box<[u64]>,
}

impl Parts {
    /// The whole reply, with the others out of `frame`; an error is the reply to the whole.
    pub(super) fn write(&self, frame: &[u8], out: &mut Output) {
        let missing = self.parts.iter().filter(|part| part.is_none()).count();
        let head = format!("*{missing}\r\n");
        match frame.strip_prefix(head.as_bytes()) {
            Some(others) => write_parts(&self.parts, others, self.is_resp3, out),
            None => out.extend(frame),
        }
    }
}

impl Core {
    /// A cacheable read in plain state.
    #[inline]
    pub(super) fn read_one(
        &mut self,
        context: &Context<'_>,
        command: &Command<'_>,
        found: Cacheable,
    ) {
        if context.recorder.is_some() {
            self.record(context, command.words, found);
        }
        let words = command.words;
        let key = words[1];
        let store = context.host.store();
        let key_hash = store.key_hash(key);
        let form = Form { is_resp3: self.state.is_resp3, found, arg_count: words.len() };
        if !self.may_serve(context, key, form) {
            return self.bypass(context, command, key_hash);
        }
        let mut args = std::mem::take(&mut self.scratch);
        args.clear();
        encode_args(words, &mut args);
        let scope = self.feed.as_ref().and_then(|feed| feed.scope_of(key, context.now_ms));
        let mut is_hit = false;
        if let Some(scope) = scope {
            let id = EntryRef { scope, shape: found.shape, key, args: &args, key_hash };
            is_hit = self.look_up(context, &id, form);
        }
        self.scratch = args;
        if is_hit {
            return;
        }
        if context.mode == Mode::Observe {
            // Loaded all the same, for nobody.
            self.wanted.push(Wanted::new(NOBODY, 0, found.shape, key_hash, words));
            return self.bypass(context, command, key_hash);
        }
        let mut encoded = Vec::new();
        command.write(&mut encoded);
        let slot = ReadSlot { form, key_hash, command: encoded };
        let sequence = self.push(Slot::Read(Box::new(slot)));
        self.reading.add(&[key_hash]);
        self.wanted.push(Wanted::new(sequence, 0, found.shape, key_hash, words));
    }

    /// Answers from the L1, in its turn.
    #[inline]
    fn look_up(&mut self, context: &Context<'_>, id: &EntryRef<'_>, form: Form) -> bool {
        let store = context.host.store();
        if context.mode == Mode::Observe {
            let is_there = store.with_hit(id, context.now_ms, |_, _| ()).is_some();
            context.counters.would_hit.add(u64::from(is_there));
            return false;
        }
        let served = if self.slots.is_empty() {
            let out = &mut self.out;
            store.with_hit(id, context.now_ms, |reply, _| form.write(&reply.0, out))
        } else {
            let mut aside = Output::default();
            let served =
                store.with_hit(id, context.now_ms, |reply, _| form.write(&reply.0, &mut aside));
            if served == Some(true) {
                self.push(Slot::Output(aside));
            }
            served
        };
        let is_hit = served == Some(true);
        context.counters.hits.add(u64::from(is_hit));
        is_hit
    }

    /// `MGET`: key by key, so that one write does not cost a hundred keys.
    pub(super) fn read_keys(&mut self, context: &Context<'_>, command: &Command<'_>) {
        if context.recorder.is_some() {
            self.record_keys(context, command.words);
        }
        let keys = &command.words[1..];
        let store = context.host.store();
        let key_hashes: Box<[u64]> = keys.iter().map(|key| store.key_hash(key)).collect();
        let get: [&[u8]; 2] = [b"GET", b""];
        let Some(found) = cacheable(&get) else { unreachable!("GET is cacheable") };
        let form = Form { is_resp3: self.state.is_resp3, found, arg_count: 2 };
        let is_served: Vec<bool> =
            keys.iter().map(|key| self.may_serve(context, key, form)).collect();
        if context.mode == Mode::Observe || !is_served.contains(&true) {
            return self.bypass_keys(context, command, key_hashes);
        }
        let feed = self.feed.as_ref();
        let common = feed.and_then(|feed| feed.open_scope(context.now_ms));
        let find = |(at, key): (usize, &&[u8])| {
            let scope = common.or_else(|| feed.and_then(|feed| feed.scope_of(key, context.now_ms)));
            let scope = scope.filter(|_| is_served[at])?;
            let key_hash = key_hashes[at];
            let id = EntryRef { scope, shape: found.shape, key, args: &[], key_hash };
            store.with_hit(&id, context.now_ms, |reply, _| Arc::clone(&reply.0))
        };
        let parts: Vec<Option<Arc<[u8]>>> = keys.iter().enumerate().map(find).collect();
        let is_resp3 = self.state.is_resp3;
        let missing = parts.iter().filter(|part| part.is_none()).count();
        context.counters.hits.add((parts.len() - missing) as u64);
        if missing == 0 {
            let mut aside = Output::default();
            let out = if self.slots.is_empty() { &mut self.out } else { &mut aside };
            write_parts(&parts, &[], is_resp3, out);
            if !aside.is_empty() {
                self.push(Slot::Output(aside));
            }
            return;
        }
        let wanted: Vec<usize> =
            (0..parts.len()).filter(|&at| parts[at].is_none() && is_served[at]).collect();
        let mut encoded = Vec::new();
        command.write(&mut encoded);
        // All of them: those that the link does not answer are read later.
        self.reading.add(&key_hashes);
        let hashes = key_hashes.clone();
        let slot = KeysSlot { parts, left: wanted.len(), is_resp3, key_hashes, command: encoded };
        let sequence = self.push(Slot::Keys(Box::new(slot)));
        if wanted.is_empty() {
            self.end_keys(context, self.slots.len() - 1);
        }
        for at in wanted {
            let words: [&[u8]; 2] = [b"GET", keys[at]];
            let part = Wanted::new(sequence, at as u32, found.shape, hashes[at], &words);
            self.wanted.push(part);
        }
    }

    /// May this read be answered by anything but the client's own connection?
    #[inline]
    fn may_serve(&mut self, context: &Context<'_>, key: &[u8], form: Form) -> bool {
        if context.mode == Mode::Off
            || (form.found.resp2 == Resp2Shape::Unknown && !form.is_resp3)
            || !context.admission.admits(key)
            || self.is_passing(context, key)
        {
            return false;
        }
        let may_ask = context.now_ms >= self.feed_asked_ms + FEED_RETRY_MS;
        if self.feed.is_none() && may_ask && self.is_accepted(context) {
            self.feed_asked_ms = context.now_ms;
            self.feed = context.host.feed(&self.identity());
        }
        self.feed.is_some()
    }

    /// The client's own connection answers, and whoever reads next does not read backwards.
    fn bypass(&mut self, context: &Context<'_>, command: &Command<'_>, key_hash: u64) {
        context.counters.bypassed.add(1);
        self.forward(context, command, Note::Read(key_hash));
    }

    fn bypass_keys(
        &mut self,
        context: &Context<'_>,
        command: &Command<'_>,
        key_hashes: Box<[u64]>,
    ) {
        context.counters.bypassed.add(key_hashes.len() as u64);
        self.forward(context, command, Note::Reads(key_hashes));
    }

    /// Hands the turn's misses to the link, in one write.
    pub(super) fn submit(&mut self, context: &Context<'_>) {
        if self.wanted.is_empty() {
            return;
        }
        let wanted = std::mem::take(&mut self.wanted);
        let Some(feed) = self.feed.clone() else {
            let refused = Outcome::Bypass(BypassReason::Closed);
            for read in &wanted {
                context.counters.misses.add(u64::from(read.sequence != NOBODY));
                self.end_read(context, read.sequence, read.part, refused.clone());
            }
            return;
        };
        let reads = self.read_many(&wanted, &feed);
        for (read, wanted) in reads.into_iter().zip(wanted) {
            let is_asked = u64::from(wanted.sequence != NOBODY);
            match read {
                Read::Submitted => context.counters.misses.add(is_asked),
                Read::Present => {
                    let end = self.look_again(context, &wanted, &feed);
                    let is_hit = matches!(end, Outcome::Reply(_));
                    let counted =
                        if is_hit { &context.counters.hits } else { &context.counters.misses };
                    counted.add(is_asked);
                    self.end_read(context, wanted.sequence, wanted.part, end);
                }
                Read::Bypass(reason) => {
                    if matches!(
                        reason,
                        BypassReason::Closed
                            | BypassReason::Unsupported
                            | BypassReason::LinkDown
                            | BypassReason::Connecting
                    ) {
                        self.feed = None;
                        self.feed_asked_ms = context.now_ms;
                    }
                    context.counters.misses.add(is_asked);
                    let end = Outcome::Bypass(reason);
                    self.end_read(context, wanted.sequence, wanted.part, end);
                }
            }
        }
    }

    fn read_many(&self, wanted: &[Wanted], feed: &Arc<dyn Feed>) -> Vec<Read> {
        let commands: Vec<Vec<&[u8]>> =
            wanted.iter().map(|read| read.words.iter().map(|word| &**word).collect()).collect();
        let args: Vec<Vec<u8>> = commands
            .iter()
            .map(|words| {
                let mut args = Vec::new();
                encode_args(words, &mut args);
                args
            })
            .collect();
        let flow = (self.place.worker as u64) << 48 | self.place.serial;
        let requests: Vec<Request<'_>> = wanted
            .iter()
            .zip(&commands)
            .zip(&args)
            .map(|((read, command), args)| Request {
                shape: read.shape,
                key: command[1],
                key_hash: read.key_hash,
                args,
                command,
                flow: Some(flow),
            })
            .collect();
        let tickets: Vec<_> =
            wanted.iter().map(|read| self.ticket(read.sequence, read.part)).collect();
        feed.read_many(&requests, &tickets)
    }

    /// An entry has appeared between looking and asking.
    fn look_again(&self, context: &Context<'_>, wanted: &Wanted, feed: &Arc<dyn Feed>) -> Outcome {
        let words: Vec<&[u8]> = wanted.words.iter().map(|word| &**word).collect();
        let mut args = Vec::new();
        encode_args(&words, &mut args);
        let found = feed.scope_of(words[1], context.now_ms).and_then(|scope| {
            let (shape, key_hash) = (wanted.shape, wanted.key_hash);
            let id = EntryRef { scope, shape, key: words[1], args: &args, key_hash };
            let store = context.host.store();
            store.with_hit(&id, context.now_ms, |reply, _| Arc::clone(&reply.0))
        });
        match found {
            Some(frame) => Outcome::Reply(frame),
            None => Outcome::Bypass(BypassReason::Expired),
        }
    }

    /// The end of a read that the link was asked for.
    pub(crate) fn end_read(
        &mut self,
        context: &Context<'_>,
        sequence: u64,
        part: u32,
        end: Outcome,
    ) {
        let Some(at) = sequence.checked_sub(self.first) else { return };
        let at = at as usize;
        match self.slots.get_mut(at) {
            Some(Slot::Read(_)) => self.end_one(context, at, end),
            Some(Slot::Keys(_)) => self.end_part(context, at, part as usize, end),
            _ => {}
        }
    }

    fn end_one(&mut self, context: &Context<'_>, at: usize, end: Outcome) {
        let Slot::Read(slot) =
            std::mem::replace(&mut self.slots[at], Slot::Output(Output::default()))
        else {
            return;
        };
        self.reading.remove(&[slot.key_hash]);
        let mut aside = Output::default();
        if let Outcome::Reply(frame) = &end
            && slot.form.write(frame, &mut aside)
        {
            return self.fill(at, aside);
        }
        self.carry(context, at, slot.command, Note::Read(slot.key_hash));
    }

    fn end_part(&mut self, context: &Context<'_>, at: usize, part: usize, end: Outcome) {
        let Some(Slot::Keys(slot)) = self.slots.get_mut(at) else { return };
        slot.left -= 1;
        if let Outcome::Reply(frame) = end {
            slot.parts[part] = Some(frame);
        }
        if slot.left == 0 {
            self.end_keys(context, at);
        }
    }

    /// The link has answered what it will: the client's own connection is asked for the others
    /// (of another type, written just now, never cached), and for them alone, since what it
    /// answers is dropped from the L1.
    fn end_keys(&mut self, context: &Context<'_>, at: usize) {
        let Slot::Keys(slot) =
            std::mem::replace(&mut self.slots[at], Slot::Output(Output::default()))
        else {
            return;
        };
        let KeysSlot { parts, is_resp3, key_hashes, command, .. } = *slot;
        self.reading.remove(&key_hashes);
        let missing: Vec<usize> = (0..parts.len()).filter(|&at| parts[at].is_none()).collect();
        if missing.is_empty() {
            let mut aside = Output::default();
            write_parts(&parts, &[], is_resp3, &mut aside);
            return self.fill(at, aside);
        }
        if missing.len() == parts.len() {
            return self.carry(context, at, command, Note::Reads(key_hashes));
        }
        let mut reader = Reader::new(&command);
        let count = reader.elements().unwrap_or(0);
        let words: Vec<&[u8]> = (0..count).map_while(|_| reader.string()).collect();
        let mut rest: Vec<&[u8]> = vec![words[0]];
        rest.extend(missing.iter().map(|&at| words[at + 1]));
        let mut encoded = Vec::new();
        encode_command(&rest, &mut encoded);
        let key_hashes = missing.iter().map(|&at| key_hashes[at]).collect();
        let note = Note::Parts(Box::new(Parts { parts, is_resp3, key_hashes }));
        self.carry(context, at, encoded, note);
    }

    /// A read that the link gave back goes to the client's own connection after all.
    fn carry(&mut self, context: &Context<'_>, at: usize, command: Vec<u8>, note: Note) {
        context.counters.bypassed.add(1);
        let sequence = self.first + at as u64;
        self.passing.add(note.reads());
        self.slots[at] = Slot::Upstream { note, reply: None };
        let expected = Expected::Slot(sequence);
        if self.route_bytes(context, &command, expected) {
            return;
        }
        self.open_upstream(context);
        context.counters.forwarded.add(1);
        self.upstream.expected.push_back(expected);
        self.upstream.commands().extend_owned(command);
    }

    /// A read of one of these keys is under way in the link.
    #[inline]
    pub(super) fn is_reading(&self, context: &Context<'_>, keys: &[&[u8]]) -> bool {
        let store = context.host.store();
        !self.reading.is_empty()
            && keys.iter().any(|key| self.reading.contains(store.key_hash(key)))
    }

    /// A read of this key is under way on the client's own connection.
    #[inline]
    fn is_passing(&self, context: &Context<'_>, key: &[u8]) -> bool {
        !self.passing.is_empty() && self.passing.contains(context.host.store().key_hash(key))
    }
}

/// An array of replies to `GET`; those that are not here are the `others`, in their order.
fn write_parts(parts: &[Option<Arc<[u8]>>], mut others: &[u8], is_resp3: bool, out: &mut Output) {
    out.append(|out| out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes()));
    for part in parts {
        match part {
            Some(frame) if frame[0] == b'_' && !is_resp3 => out.extend(b"$-1\r\n"),
            Some(frame) => out.extend_shared(frame),
            None => {
                let Ok(Scan::Complete(length)) = Scanner::for_pipe().scan(others) else { return };
                out.extend(&others[..length]);
                others = &others[length..];
            }
        }
    }
}
