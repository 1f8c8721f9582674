//! Which sockets are ready: level-triggered, one system call a look.
//!
//! `polling`, which the link uses, makes five system calls a look on Linux (timer, its interest,
//! the wait, its own wake-up and that one's interest). For a thread that looks a hundred thousand
//! times a second that is most of its work, so here it is the kernel's epoll and nothing else;
//! elsewhere `polling` does it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What a socket is ready for; a socket in error is ready for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) key: usize,
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
}

/// What is waited for on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) reads: bool,
    pub(super) writes: bool,
}

impl Interest {
    pub(super) const READ: Self = Self { reads: true, writes: false };
}

const EVENTS_MAX: usize = 256;

#[cfg(target_os = "linux")]
mod system {
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
    use rustix::io::Errno;

    use super::*;

    /// An epoll instance.
    pub(in super::super) struct Sockets {
        epoll: OwnedFd,
    }

    impl Sockets {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
        }

        pub(in super::super) fn add(
            &self,
            socket: BorrowedFd<'_>,
            key: usize,
            interest: Interest,
        ) -> io::Result<()> {
            let data = epoll::EventData::new_u64(key as u64);
            Ok(epoll::add(&self.epoll, socket, data, flags(interest))?)
        }

        pub(in super::super) fn modify(
            &self,
            socket: BorrowedFd<'_>,
            key: usize,
            interest: Interest,
        ) -> io::Result<()> {
            let data = epoll::EventData::new_u64(key as u64);
            Ok(epoll::modify(&self.epoll, socket, data, flags(interest))?)
        }

        pub(in super::super) fn remove(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
            Ok(epoll::delete(&self.epoll, socket)?)
        }

        /// Waits, at most `limit`, until sockets are ready and tells which.
        pub(in super::super) fn wait(
            &mut self,
            limit: Duration,
            ready: &mut Vec<Ready>,
        ) -> io::Result<()> {
            ready.clear();
            let mut wait = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
            if limit.subsec_micros().is_multiple_of(1_000) {
                wait.tv_nsec = i64::from(limit.subsec_millis()) * 1_000_000;
            } else {
                // epoll_wait knows whole milliseconds only; ppoll on its descriptor does better.
                let exact = Timespec { tv_nsec: i64::from(limit.subsec_nanos()), ..wait };
                let mut descriptors = [PollFd::from_borrowed_fd(self.epoll.as_fd(), PollFlags::IN)];
                match poll(&mut descriptors, Some(&exact)) {
                    Ok(0) | Err(Errno::INTR) => return Ok(()),
                    Ok(_) => wait.tv_sec = 0,
                    Err(errno) => return Err(errno.into()),
                }
            }
            let mut space = [MaybeUninit::uninit(); EVENTS_MAX];
            let events = match epoll::wait(&self.epoll, &mut space, Some(&wait)) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            };
            ready.extend(events.iter().map(|event| {
                // The fields of a packed structure are copied before they are used.
                let (flags, data) = (event.flags, event.data);
                let is_broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
                Ready {
                    key: data.u64() as usize,
                    is_readable: is_broken || flags.contains(epoll::EventFlags::IN),
                    is_writable: is_broken || flags.contains(epoll::EventFlags::OUT),
                }
            }));
            Ok(())
        }
    }

    fn flags(interest: Interest) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, interest.reads);
        flags.set(epoll::EventFlags::OUT, interest.writes);
        flags
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::num::NonZeroUsize;

    use polling::{Event, Events, PollMode, Poller};

    use super::*;

    /// A poller.
    pub(in super::super) struct Sockets {
        poller: Poller,
        events: Events,
    }

    impl Sockets {
        pub(in super::super) fn new() -> io::Result<Self> {
            let capacity = NonZeroUsize::new(EVENTS_MAX).unwrap_or(NonZeroUsize::MIN);
            Ok(Self { poller: Poller::new()?, events: Events::with_capacity(capacity) })
        }

        pub(in super::super) fn add(
            &self,
            socket: BorrowedFd<'_>,
            key: usize,
            interest: Interest,
        ) -> io::Result<()> {
            let event = Event::new(key, interest.reads, interest.writes);
            // SAFETY: whoever adds a socket removes it before closing it.
            unsafe { self.poller.add_with_mode(&socket, event, PollMode::Level) }
        }

        pub(in super::super) fn modify(
            &self,
            socket: BorrowedFd<'_>,
            key: usize,
            interest: Interest,
        ) -> io::Result<()> {
            let event = Event::new(key, interest.reads, interest.writes);
            self.poller.modify_with_mode(socket, event, PollMode::Level)
        }

        pub(in super::super) fn remove(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
            self.poller.delete(socket)
        }

        /// Waits, at most `limit`, until sockets are ready and tells which.
        pub(in super::super) fn wait(
            &mut self,
            limit: Duration,
            ready: &mut Vec<Ready>,
        ) -> io::Result<()> {
            ready.clear();
            self.events.clear();
            self.poller.wait(&mut self.events, Some(limit))?;
            ready.extend(self.events.iter().map(|event| Ready {
                key: event.key,
                is_readable: event.readable,
                is_writable: event.writable,
            }));
            Ok(())
        }
    }
}

pub(super) use system::Sockets;
