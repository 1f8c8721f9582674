//! How other threads hand something to a worker.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::Waker;
use parking_lot::Mutex;

use super::host::Ticket;
use crate::link::Outcome;
use crate::transport::Transport;

/// What is handed in.
pub(crate) enum Message {
    /// A client that was accepted.
    Client(Box<Transport>),
    /// The end of a read.
    End(Ticket, Outcome),
    /// Take no more commands; end each client when it has its answers.
    Drain,
    /// The upstream is another server now: connections to the old one end.
    Moved,
    /// End at once.
    Stop,
}

/// A worker's inbox.
pub(crate) struct Inbox {
    messages: Mutex<Vec<Message>>,
    /// The worker will look here before it sleeps.
    is_awake: AtomicBool,
    waker: Waker,
}

impl Inbox {
    pub(crate) fn new(poll: &mio::Poll, token: mio::Token) -> io::Result<Self> {
        Ok(Self {
            messages: Mutex::default(),
            is_awake: AtomicBool::new(false),
            waker: Waker::new(poll.registry(), token)?,
        })
    }

    /// Never blocks for long: the lock is held for a push or a swap.
    pub(crate) fn push(&self, message: Message) {
        let mut messages = self.messages.lock();
        messages.push(message);
        let is_first = messages.len() == 1;
        drop(messages);
        if is_first && !self.is_awake.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Fails only without descriptors or memory; the worker looks once a second anyway.
    fn wake(&self) {
        let _ = self.waker.wake();
    }

    /// Takes everything out, into an empty `into`.
    pub(crate) fn take(&self, into: &mut Vec<Message>) {
        std::mem::swap(&mut *self.messages.lock(), into);
    }

    /// The worker works, and will look here before it sleeps.
    pub(crate) fn begin_turn(&self) {
        self.is_awake.store(true, Ordering::SeqCst);
    }

    /// The worker is about to sleep; false when something has come meanwhile. Whoever pushes
    /// after this sees it and wakes; whoever pushed before is seen here: both sides write first
    /// and look second, in one total order.
    pub(crate) fn end_turn(&self) -> bool {
        self.is_awake.store(false, Ordering::SeqCst);
        self.messages.lock().is_empty()
    }
}
