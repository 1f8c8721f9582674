//! Bytes to and from one server, never blocking.
//!
//! A plain socket is read and written by different threads at once. TLS has one state for both
//! directions, so there a lock is held for the length of one non-blocking call.

mod connect;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use socket2::Socket;

use crate::clock;
use crate::error::NetError;
pub(crate) use connect::{begin_connect, connect, connect_to, resolve};
use tls::TlsSession;
pub(crate) use tls::{client_config, server_config, server_name};

/// What a write got done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes taken over.
    pub(crate) bytes: usize,
    /// Bytes, taken over or not, wait for the socket to become writable.
    pub(crate) is_blocked: bool,
}

/// One connected socket, with TLS or without.
pub(crate) struct Transport {
    socket: Socket,
    tls: Option<Mutex<TlsSession>>,
}

impl Transport {
    /// An accepted connection; with TLS, hands are shaken as bytes are read and written.
    pub(crate) fn accepted(
        socket: Socket,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<Self, NetError> {
        socket.set_nonblocking(true)?;
        let tls = tls.map(TlsSession::server).transpose()?.map(Mutex::new);
        Ok(Self { socket, tls })
    }

    /// Where the other side has reached us; none over a Unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// TLS is spoken.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What went wrong on the socket since the last look: how a connect ended.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }

    /// Reads what is there: `WouldBlock` when nothing is, `Ok(0)` at the end of the stream.
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match &self.tls {
            Some(session) => session.lock().read(&self.socket, into),
            None => receive(&self.socket, into),
        }
    }

    /// Writes as much as the socket takes.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<Written> {
        if let Some(session) = &self.tls {
            return session.lock().write(&self.socket, bytes);
        }
        let mut done = 0;
        while done < bytes.len() {
            match transmit(&self.socket, &bytes[done..]) {
                Ok(sent) => done += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written { bytes: done, is_blocked: true });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Written { bytes: done, is_blocked: false })
    }

    /// TLS has yet to be agreed upon.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|session| session.lock().is_handshaking())
    }

    /// Bytes may be held above the socket, where no poll sees them: read until `WouldBlock`.
    pub(crate) fn buffers_above_socket(&self) -> bool {
        self.tls.is_some()
    }

    /// Waits for something to read; false when the time is over.
    pub(crate) fn wait_readable(&self, timeout_ms: u64) -> io::Result<bool> {
        wait(&self.socket, PollFlags::IN, timeout_ms)
    }

    /// Blocks until all is written or `deadline_ms` has come; for the handshake.
    pub(crate) fn write_all(&self, mut bytes: &[u8], deadline_ms: u64) -> io::Result<()> {
        loop {
            let written = self.write(bytes)?;
            bytes = &bytes[written.bytes..];
            if bytes.is_empty() && !written.is_blocked {
                return Ok(());
            }
            wait_until(&self.socket, PollFlags::OUT, deadline_ms)?;
        }
    }

    /// Blocks until something is read or `deadline_ms` has come; for the handshake.
    pub(crate) fn read_some(&self, into: &mut [u8], deadline_ms: u64) -> io::Result<usize> {
        loop {
            match self.read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            wait_until(&self.socket, PollFlags::IN, deadline_ms)?;
        }
    }

    /// Ends both directions, so that whoever waits on the socket returns.
    pub(crate) fn shut_down(&self) {
        // It may be gone already; nothing is left to be done about that.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// True when one of `flags` came, false when the time is over or a signal came.
fn wait(socket: &Socket, flags: PollFlags, timeout_ms: u64) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: (timeout_ms / 1_000) as i64,
        tv_nsec: (timeout_ms % 1_000) as i64 * 1_000_000,
    };
    match poll(&mut [PollFd::new(socket, flags)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn wait_until(socket: &Socket, flags: PollFlags, deadline_ms: u64) -> io::Result<()> {
    let now_ms = clock::now_ms();
    if now_ms >= deadline_ms {
        return Err(io::ErrorKind::TimedOut.into());
    }
    wait(socket, flags, deadline_ms - now_ms).map(|_| ())
}

fn receive(socket: &Socket, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *into, RecvFlags::empty()) {
            Ok((read, _)) => return Ok(read),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn transmit(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match send(socket, bytes, NO_SIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A closed connection is an error here, never a signal to the process. macOS has a socket option
/// instead, set in `connect`.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();
