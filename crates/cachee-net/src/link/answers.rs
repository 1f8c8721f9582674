//! What the stream says: answers and pushes, applied in wire order. The races are argued in
//! `state`.

use cachee_core::{Target, Token};

use super::LinkValue;
use super::flight::{Answers, Completions, Flight, Pending};
use super::inbound::Frame;
use super::outcome::{BypassReason, Outcome};
use super::state::{Context, State};
use super::ttl::FieldTtls;
use crate::cacheable::spec;
use crate::resp::{Node, ProtocolError, Reader};

/// How long a value over the limit is not tried again.
const TOO_LARGE_BYPASS_MS: u64 = 60_000;
/// Hashes with more fields are not asked for each field's TTL.
const FIELDS_ASKED_MAX: usize = 256;

impl State {
    /// Takes the next frame in.
    pub(super) fn apply<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        frame: &Frame<'_>,
        now_ms: u64,
        completions: &mut Completions,
    ) -> Result<(), ProtocolError> {
        match *frame {
            Frame::Whole(bytes) if bytes[0] == b'>' => self.apply_push(context, bytes),
            Frame::Whole(bytes) => self.apply_answer(context, bytes, now_ms, completions)?,
            // Its keys are not going to be read: everything may have changed.
            Frame::Oversize { is_push: true } => self.flush(context),
            Frame::Oversize { is_push: false } => {
                self.give_up_oversize(context, completions, now_ms)?;
            }
            Frame::OversizeEnd { is_push: true } => {}
            Frame::OversizeEnd { is_push: false } => {
                let pending = self.take_answered(context)?;
                if let Answers::Read(token) = pending.answers {
                    self.answered(context, token, now_ms, completions);
                }
            }
        }
        Ok(())
    }

    fn apply_push<V: LinkValue>(&mut self, context: &Context<'_, V>, frame: &[u8]) {
        let mut reader = Reader::new(frame);
        // Other kinds (messages, maintenance notices) concern nobody here.
        if reader.elements() != Some(2) || reader.string() != Some(b"invalidate") {
            return;
        }
        let mut keys = reader.clone();
        match keys.next() {
            Some(Node::Array(count)) => {
                for _ in 0..count {
                    let Some(key) = keys.string() else { return self.flush(context) };
                    let dep = context.store.key_hash(key);
                    self.changed(context, key, dep);
                    context.store.invalidate_pushed(dep, self.scope);
                    self.statistics.invalidations += 1;
                }
            }
            _ => self.flush(context),
        }
    }

    /// Everything of this server may have changed; the connection itself is sound. The store kills
    /// the leases of the scope left behind, so what is in the air is handed out and not stored.
    fn flush<V: LinkValue>(&mut self, context: &Context<'_, V>) {
        self.move_scope(context);
        self.statistics.flushes += 1;
    }

    /// Takes the oldest command as answered, which is a sign of life.
    fn take_answered<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
    ) -> Result<Pending, ProtocolError> {
        let pending = self.pending.pop_front().ok_or(ProtocolError::Unexpected)?;
        if pending.barrier == self.barrier {
            context.gate.prove(pending.sent_ms + context.config.max_staleness_ms);
        }
        Ok(pending)
    }

    fn apply_answer<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        frame: &[u8],
        now_ms: u64,
        completions: &mut Completions,
    ) -> Result<(), ProtocolError> {
        let pending = self.take_answered(context)?;
        let is_error = is_error(frame);
        let token = match pending.answers {
            Answers::Ping => return expect(is_error || frame[0] == b'+'),
            // Untracked reads must not be stored, and which ones they are is no longer certain.
            Answers::Caching => return expect(frame[0] == b'+'),
            Answers::Read(token) => {
                self.apply_reply(context, token, frame, now_ms, completions);
                token
            }
            Answers::Ttl(token) => {
                expect(is_error || frame[0] == b':')?;
                self.apply_ttl(token, frame);
                token
            }
            Answers::FieldTtl(token) => {
                expect(is_error || frame[0] == b'*')?;
                let unknown_ms = context.config.max_staleness_ms;
                if let Some(flight) = self.flights.get_mut(&token) {
                    bound_by_fields(flight, frame, unknown_ms);
                }
                token
            }
        };
        self.answered(context, token, now_ms, completions);
        Ok(())
    }

    fn apply_reply<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        token: Token,
        frame: &[u8],
        now_ms: u64,
        completions: &mut Completions,
    ) {
        let Some(flight) = self.flights.get_mut(&token) else { return };
        if is_error(frame) {
            if std::mem::take(&mut flight.may_store) {
                context.store.abandon(token);
            }
            return self.give_back(token, BypassReason::ErrorReply, completions);
        }
        flight.reply = Some(frame.into());
        context.store.mark_read(token);
        if let Some(shown) = flight.shown.take() {
            let shape = flight.shape;
            self.show(context, &shown, shape, frame, now_ms);
        }
        let Some(flight) = self.flights.get_mut(&token) else { return };
        if let Some(key) = flight.key.take() {
            self.bound_whole_hash(context, token, &key, frame, now_ms);
        }
    }

    /// A reply that speaks of all fields of a hash, on a server where fields expire: either each
    /// field's lifetime is asked for, or the entry is trusted no longer than the feed.
    fn bound_whole_hash<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        token: Token,
        key: &[u8],
        frame: &[u8],
        now_ms: u64,
    ) {
        let fields = field_names(frame, self.flights.get(&token).map_or(0, |flight| flight.shape));
        let has_room = self.pending.len() < context.config.max_in_flight;
        match fields {
            Some(fields) if fields.is_empty() => {}
            Some(fields) if fields.len() <= FIELDS_ASKED_MAX && has_room => {
                self.send_field_ttl(key, &fields, token, now_ms);
                if let Some(flight) = self.flights.get_mut(&token) {
                    flight.answers_left += 1;
                    flight.asks_again = true;
                }
            }
            _ => {
                if let Some(flight) = self.flights.get_mut(&token) {
                    let capped_ms = flight.sent_ms + context.config.max_staleness_ms;
                    flight.deadline_ms = flight.deadline_ms.min(capped_ms);
                }
            }
        }
    }

    fn apply_ttl(&mut self, token: Token, frame: &[u8]) {
        let Some(flight) = self.flights.get_mut(&token) else { return };
        match Reader::new(frame).integer() {
            Some(-1) => self.learner.learn(flight.prefix, false),
            // The key is gone. What was read of it stands only if it is what its absence answers.
            Some(-2) => {
                let is_absent = flight.reply.as_ref().is_some_and(|reply| {
                    spec(flight.shape).is_some_and(|spec| spec.answers_missing(reply))
                });
                if !is_absent {
                    flight.deadline_ms = 0;
                }
            }
            Some(ttl_ms @ 0..) => {
                let ends_ms = flight.sent_ms.saturating_add(ttl_ms as u64);
                flight.deadline_ms = flight.deadline_ms.min(ends_ms);
                self.learner.learn(flight.prefix, true);
            }
            // An error (no permission for PTTL), or nonsense: the lifetime is not known.
            _ => flight.deadline_ms = 0,
        }
    }

    /// One of the flight's answers is in. With the last one the reply is stored or not, and who
    /// asked is told; the first caller does not wait for a second round trip about fields.
    ///
    /// The first caller asked before the read ran and gets what it found, whatever has happened
    /// since. One who joined may have asked after the value's end, if the answer was slow.
    fn answered<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        token: Token,
        now_ms: u64,
        completions: &mut Completions,
    ) {
        let Some(flight) = self.flights.get_mut(&token) else { return };
        flight.answers_left -= 1;
        let is_known = flight.answers_left == 0 || (flight.answers_left == 1 && flight.asks_again);
        if is_known && let Some(reply) = &flight.reply {
            let owner = flight.owner.take();
            completions.extend(owner.map(|end| (end, Outcome::Reply(reply.clone()))));
        }
        if flight.answers_left > 0 {
            return;
        }
        if flight.deadline_ms <= now_ms {
            self.give_back(token, BypassReason::Expired, completions);
        } else if let Some(reply) = &flight.reply {
            let ends = flight.joined.drain(..);
            completions.extend(ends.map(|end| (end, Outcome::Reply(reply.clone()))));
        }
        let Some(flight) = self.flights.remove(&token) else { return };
        if flight.is_renewal
            && let Some(renewals) = &mut self.renewals
        {
            renewals.came_back();
        }
        if self.warm.came_back(token) {
            self.statistics.warmed += u64::from(flight.reply.is_some());
        }
        match flight.reply {
            Some(reply) if flight.may_store && flight.deadline_ms > now_ms => {
                let (value, ends_ms) = (V::from_reply(reply), flight.deadline_ms);
                if flight.is_ahead {
                    let is_kept = context.store.publish_ahead(token, value, ends_ms, now_ms);
                    return self.kept(flight.target.filter(|_| !is_kept), false);
                }
                let placed = context.store.publish_placed(token, value, ends_ms, now_ms);
                if let (Some(at), Some(renewals)) = (placed, &mut self.renewals)
                    && ends_ms == flight.sent_ms + context.config.max_age_ms
                {
                    renewals.stored(at, ends_ms, flight.is_renewal);
                }
                self.kept(flight.target, placed.is_some());
            }
            _ => {
                if flight.may_store {
                    context.store.abandon(token);
                }
                self.kept(flight.target, false);
            }
        }
    }

    /// What became of a read sent ahead for this target.
    fn kept(&mut self, target: Option<Target>, is_kept: bool) {
        if let (Some(target), Some(foresight)) = (target, &mut self.foresight) {
            foresight.arrived(target, is_kept);
        }
    }

    fn give_up_oversize<V: LinkValue>(
        &mut self,
        context: &Context<'_, V>,
        completions: &mut Completions,
        now_ms: u64,
    ) -> Result<(), ProtocolError> {
        let Some(&Pending { answers: Answers::Read(token), .. }) = self.pending.front() else {
            return Err(ProtocolError::Unexpected);
        };
        let Some(flight) = self.flights.get_mut(&token) else { return Ok(()) };
        if std::mem::take(&mut flight.may_store) {
            context.store.too_large(token, now_ms + TOO_LARGE_BYPASS_MS);
        }
        self.give_back(token, BypassReason::TooLarge, completions);
        Ok(())
    }
}

/// An error, attributes before it or not.
fn is_error(frame: &[u8]) -> bool {
    match frame[0] {
        b'-' | b'!' => true,
        b'|' => matches!(Reader::new(frame).next(), Some(Node::Error(_))),
        _ => false,
    }
}

/// The field names in a reply to `HGETALL` or `HKEYS`; `None` for commands that do not tell them.
fn field_names(frame: &[u8], shape: u32) -> Option<Vec<&[u8]>> {
    let step = match spec(shape)?.name {
        "HGETALL" => 2,
        "HKEYS" => 1,
        _ => return None,
    };
    let mut reader = Reader::new(frame);
    let count = match reader.next()? {
        Node::Map(pairs) => pairs,
        Node::Array(count) | Node::Set(count) => count / step,
        _ => return None,
    };
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(reader.string()?);
        if step == 2 {
            reader.skip()?;
        }
    }
    Some(names)
}

/// An answer of a kind that the command cannot have means that the stream has shifted: some reply
/// was one too many or too few, and no value after it is the one that was asked for.
fn expect(is_possible: bool) -> Result<(), ProtocolError> {
    if is_possible { Ok(()) } else { Err(ProtocolError::Unexpected) }
}

/// Lowers the flight's deadline by what `HPTTL` said of its fields, which is not to be stored at
/// all when a field that was read has ended since.
fn bound_by_fields(flight: &mut Flight, frame: &[u8], unknown_ms: u64) {
    let most_ms = match FieldTtls::read(frame) {
        None => unknown_ms,
        Some(ttls) => {
            let has_ended = flight.reply.as_deref().is_none_or(|reply| {
                ttls.missing.iter().any(|&place| !was_missing(flight, reply, place))
            });
            if has_ended { 0 } else { ttls.least_ms.unwrap_or(u64::MAX) }
        }
    };
    flight.deadline_ms = flight.deadline_ms.min(flight.sent_ms.saturating_add(most_ms));
}

/// Did the reply already show no field in this place? A second question names only fields seen.
fn was_missing(flight: &Flight, reply: &[u8], place: usize) -> bool {
    if flight.asks_again {
        return false;
    }
    let mut reader = Reader::new(reply);
    match reader.next() {
        Some(Node::Array(_)) => {
            for _ in 0..place {
                if reader.skip().is_none() {
                    return false;
                }
            }
            reader.next() == Some(Node::Null)
        }
        _ => spec(flight.shape).is_some_and(|spec| spec.answers_missing(reply)),
    }
}
