//! Listeners, and the thread that accepts for all workers.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConfig;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

use super::config::ListenAddress;
use super::inbox::Message;
use super::shared::Shared;
use crate::config::Endpoint;
use crate::error::NetError;
use crate::transport::{Transport, resolve};

const BACKLOG: i32 = 1_024;
const WAKE: Token = Token(usize::MAX);
/// The server's own default.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(300);
/// Without descriptors nothing can be accepted; the next try waits this long.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// In the server's own words.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

/// A bound address.
pub(crate) struct Listener {
    socket: Socket,
    /// With the port the system chose.
    pub(crate) address: ListenAddress,
    tls: Option<Arc<ServerConfig>>,
    /// A Unix socket's file, to be removed at the end.
    path: Option<PathBuf>,
}

impl Listener {
    pub(crate) fn bind(
        address: &ListenAddress,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self, NetError> {
        match &address.endpoint {
            Endpoint::Unix { path } => Self::bind_unix(address, path),
            Endpoint::Tcp { host, .. } => Self::bind_tcp(address, host, tls),
        }
    }

    fn bind_unix(address: &ListenAddress, path: &Path) -> Result<Self, NetError> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let place = SockAddr::unix(path)?;
        if let Err(error) = socket.bind(&place) {
            // A socket that nobody listens on is what a killed process leaves behind.
            let is_socket =
                std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
            let is_left = is_socket
                && error.kind() == io::ErrorKind::AddrInUse
                && Socket::new(Domain::UNIX, Type::STREAM, None)?
                    .connect(&place)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !is_left {
                return Err(error.into());
            }
            std::fs::remove_file(path)?;
            socket.bind(&place)?;
        }
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address: address.clone(), tls: None, path: Some(path.to_owned()) })
    }

    fn bind_tcp(
        address: &ListenAddress,
        host: &str,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self, NetError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for place in resolve(&address.endpoint)? {
            let bound = Socket::new(place.domain(), Type::STREAM, None).and_then(|socket| {
                socket.set_reuse_address(true)?;
                socket.bind(&place)?;
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            });
            match bound {
                Ok(socket) => {
                    let port = socket.local_addr()?.as_socket().map_or(0, |local| local.port());
                    let endpoint = Endpoint::Tcp { host: host.to_owned(), port };
                    let address = ListenAddress { endpoint, tls: address.tls };
                    return Ok(Self { socket, address, tls, path: None });
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn accept(&self) -> io::Result<Socket> {
        let (socket, _) = self.socket.accept()?;
        if self.path.is_none() {
            socket.set_tcp_nodelay(true)?;
            // A peer that has vanished without a word gives its place back, as at the server.
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE))?;
        }
        Ok(socket)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It may have been removed already; then there is nothing to do.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Accepts for all workers, in turn.
pub(crate) struct Acceptor {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    poll: Poll,
    stops: Arc<AtomicBool>,
    next: usize,
}

/// Ends an acceptor.
pub(crate) struct AcceptorHandle {
    stops: Arc<AtomicBool>,
    waker: Waker,
}

impl AcceptorHandle {
    /// Closes the listeners.
    pub(crate) fn stop(&self) {
        self.stops.store(true, Ordering::Release);
        // Fails only without memory; the acceptor looks again within a second.
        let _ = self.waker.wake();
    }
}

impl Acceptor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        listeners: Vec<Listener>,
    ) -> io::Result<(Self, AcceptorHandle)> {
        let poll = Poll::new()?;
        for (number, listener) in listeners.iter().enumerate() {
            let source = &mut SourceFd(&listener.fd());
            poll.registry().register(source, Token(number), Interest::READABLE)?;
        }
        let stops = Arc::new(AtomicBool::new(false));
        let waker = Waker::new(poll.registry(), WAKE)?;
        let handle = AcceptorHandle { stops: Arc::clone(&stops), waker };
        Ok((Self { shared, listeners, poll, stops, next: 0 }, handle))
    }

    pub(crate) fn run(&mut self) {
        let mut events = Events::with_capacity(16);
        let mut is_exhausted = false;
        while !self.stops.load(Ordering::Acquire) {
            let wait = if is_exhausted { EXHAUSTED_PAUSE } else { Duration::from_secs(1) };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return;
            }
            is_exhausted = false;
            for number in 0..self.listeners.len() {
                is_exhausted |= !self.accept_all(number);
            }
        }
    }

    /// Accepts what waits; false when the process has no more descriptors.
    fn accept_all(&mut self, number: usize) -> bool {
        while !self.stops.load(Ordering::Acquire) {
            match self.listeners[number].accept() {
                Ok(socket) => self.hand_over(socket, number),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => {
                    let errno = rustix::io::Errno::from_io_error(&error);
                    let is_exhausted = matches!(
                        errno,
                        Some(
                            rustix::io::Errno::MFILE
                                | rustix::io::Errno::NFILE
                                | rustix::io::Errno::NOBUFS
                                | rustix::io::Errno::NOMEM
                        )
                    );
                    if is_exhausted {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn hand_over(&mut self, socket: Socket, number: usize) {
        let limits = self.shared.limits();
        if self.shared.clients.fetch_add(1, Ordering::Relaxed) >= limits.clients {
            self.shared.clients.fetch_sub(1, Ordering::Relaxed);
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            // To a plain client only; whether it still listens is its own affair.
            if self.listeners[number].tls.is_none() {
                let _ = socket.send(TOO_MANY);
            }
            return;
        }
        let inboxes = self.shared.inboxes();
        match Transport::accepted(socket, self.listeners[number].tls.clone()) {
            Ok(transport) => {
                self.next = (self.next + 1) % inboxes.len().max(1);
                inboxes[self.next].push(Message::Client(Box::new(transport)));
            }
            Err(_) => {
                self.shared.clients.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}
