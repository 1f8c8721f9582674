//! One read on its way: who waits for it, and what is known of its reply and lifetime so far.

use std::sync::Arc;

use cachee_core::{Target, Token};

use super::Waiter;
use super::ahead::Shown;
use super::outcome::Outcome;
use super::slot::Slot;

/// Who is told.
pub(super) enum Waiting {
    /// A callback, run on the reading thread.
    Call(Waiter),
    /// A place in a blocked caller's slot.
    Slot(Arc<Slot>, usize),
}

impl Waiting {
    pub(super) fn tell(self, outcome: Outcome) {
        match self {
            Self::Call(waiter) => waiter(outcome),
            Self::Slot(slot, place) => slot.fill(place, outcome),
        }
    }
}

/// Ends to be told once the link's lock is released.
pub(super) type Completions = Vec<(Waiting, Outcome)>;

/// A command on the wire whose answer is to come; answers come in the same order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// Before the command was handed to the socket.
    pub(super) sent_ms: u64,
    /// Barriers asked for by then.
    pub(super) barrier: u64,
    pub(super) answers: Answers,
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// The read itself.
    Read(Token),
    /// Its key's `PTTL`.
    Ttl(Token),
    /// Its fields' `HPTTL`.
    FieldTtl(Token),
    /// `CLIENT CACHING YES`.
    Caching,
    /// `PING`.
    Ping,
}

/// One read on its way.
pub(super) struct Flight {
    /// Who asked first: before the command was sent.
    pub(super) owner: Option<Waiting>,
    /// Who asked while it was on its way.
    pub(super) joined: Vec<Waiting>,
    pub(super) shape: u32,
    pub(super) sent_ms: u64,
    pub(super) barrier: u64,
    /// The learner's prefix of the key.
    pub(super) prefix: u64,
    /// Kept only where a second question about the key's fields may follow.
    pub(super) key: Option<Box<[u8]>>,
    pub(super) reply: Option<Arc<[u8]>>,
    /// The most the entry may live, lowered by every answer.
    pub(super) deadline_ms: u64,
    /// Nobody has asked for it.
    pub(super) is_ahead: bool,
    /// The rule's target that it was sent for.
    pub(super) target: Option<Target>,
    /// Its entry is served meanwhile.
    pub(super) is_renewal: bool,
    /// The reply is to be shown to the rules.
    pub(super) shown: Option<Box<Shown>>,
    /// Answers still to come.
    pub(super) answers_left: u32,
    /// A second question followed the reply, and its answer is the last.
    pub(super) asks_again: bool,
    /// The reply may be stored, as far as this link knows; the store may know better.
    pub(super) may_store: bool,
}
