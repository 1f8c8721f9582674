//! Sockets at a poller: told of both directions, once each time something changes.

use std::io;
use std::os::fd::RawFd;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

pub(crate) fn register(poll: &Poll, fd: RawFd, token: Token) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&fd), token, BOTH)
}

pub(crate) fn unregister(poll: &Poll, fd: RawFd) {
    // Fails only for a descriptor that is not registered, which is what is wanted.
    let _ = poll.registry().deregister(&mut SourceFd(&fd));
}
