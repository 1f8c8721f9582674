//! One connection, and who reads it.
//!
//! # Leader and follower
//!
//! A thread that waits for its reply and finds nobody reading reads the socket itself (it leads):
//! one thread switch less than being told by the link's thread, which is most of a loopback round
//! trip. It applies whatever comes, for everybody, and leaves when its own reply is there. While
//! it leads, the link's thread is not woken by the socket.
//!
//! Nothing is left unread when a leader leaves. The rule is: *whoever held the reader lock arms
//! the poller after releasing it* (the leader by `leave`, the link's thread by `rearm`; both call
//! `modify`). Arming is level-triggered, so bytes that are already there fire at once. Suppose
//! bytes lie unread and nobody holds the lock. The last holder released it and then armed, or is
//! about to; arming is only undone by a leader that has taken the lock (`enter`), and that one
//! will release and arm again. So at the latest arming the bytes are there and nobody has them:
//! the link's thread wakes, and either takes the lock and reads, or finds a holder, for whom the
//! rule holds again. The count of leaders (not a flag) keeps a late `leave` of one from arming
//! under the next. A frame that is half here stays in the buffer behind the lock; a transport that
//! buffers above the socket (TLS) is always read until it would block, so the poller sees all
//! there is.

use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use polling::{Event, Poller};

use super::inbound::Inbound;
use crate::transport::Transport;

/// The only source besides the poller's own notification.
const SOCKET_KEY: usize = 0;

/// One tracked connection.
pub(super) struct Connection {
    pub(super) transport: Transport,
    /// Tells this connection from every other one of the link.
    pub(super) generation: u64,
    poller: Arc<Poller>,
    reader: Mutex<Inbound>,
    interest: Mutex<Interest>,
}

#[derive(Default)]
struct Interest {
    leaders: u32,
    wants_write: bool,
}

impl Connection {
    /// Registers with the poller, armed for reading.
    pub(super) fn register(
        transport: Transport,
        inbound: Inbound,
        generation: u64,
        poller: Arc<Poller>,
    ) -> io::Result<Self> {
        // SAFETY: `unregister` runs before the last owner lets go of the connection: the link's
        // thread keeps one until then.
        unsafe { poller.add(transport.raw_fd(), Event::readable(SOCKET_KEY))? };
        Ok(Self {
            transport,
            generation,
            poller,
            reader: Mutex::new(inbound),
            interest: Mutex::default(),
        })
    }

    /// Takes the socket from the poller.
    pub(super) fn unregister(&self) {
        // It can only fail for a descriptor that is not there, which is what is wanted.
        let _ = self.poller.delete(&self.transport);
    }

    /// The reader for the link's thread, which calls `rearm` after every event.
    pub(super) fn try_read(&self) -> Option<MutexGuard<'_, Inbound>> {
        self.reader.try_lock()
    }

    /// The reader for a waiting caller, if nobody else reads.
    pub(super) fn try_lead(&self) -> Option<Leader<'_>> {
        let inbound = self.reader.try_lock()?;
        self.change(|interest| interest.leaders += 1);
        Some(Leader { inbound: Some(inbound), connection: self })
    }

    /// Arms the poller for what is wanted now; events are one-shot.
    pub(super) fn rearm(&self) {
        self.arm(&self.interest.lock());
    }

    /// The socket is full, or no longer.
    pub(super) fn want_write(&self, wants_write: bool) {
        self.change(|interest| interest.wants_write = wants_write);
    }

    fn change(&self, change: impl FnOnce(&mut Interest)) {
        let mut interest = self.interest.lock();
        let before = (interest.leaders == 0, interest.wants_write);
        change(&mut interest);
        if before != (interest.leaders == 0, interest.wants_write) {
            self.arm(&interest);
        }
    }

    fn arm(&self, interest: &Interest) {
        let event = Event::new(SOCKET_KEY, interest.leaders == 0, interest.wants_write);
        // Fails only once the connection is given up and unregistered.
        let _ = self.poller.modify(&self.transport, event);
    }
}

/// A caller that reads the socket for everybody until its own reply is here.
pub(super) struct Leader<'a> {
    inbound: Option<MutexGuard<'a, Inbound>>,
    connection: &'a Connection,
}

impl Leader<'_> {
    pub(super) fn inbound(&mut self) -> Option<&mut Inbound> {
        self.inbound.as_deref_mut()
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        // The order is the rule above: release, then arm.
        drop(self.inbound.take());
        self.connection.change(|interest| interest.leaders -= 1);
    }
}
