//! Plain sockets for the load and the relay: connecting, and the two calls they live on.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Endpoint;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BACKLOG: i32 = 1_024;

/// A connected socket that never blocks.
pub(super) fn connect(endpoint: &Endpoint) -> io::Result<Socket> {
    let address = address_of(endpoint)?;
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    socket.connect_timeout(&address, CONNECT_TIMEOUT)?;
    prepare(&socket, address.domain())?;
    Ok(socket)
}

/// A listening socket that never blocks.
pub(super) fn listen(endpoint: &Endpoint) -> io::Result<Socket> {
    let address = address_of(endpoint)?;
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    if address.domain() != Domain::UNIX {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Options every connection has: no blocking, no waiting for more to send.
pub(super) fn prepare(socket: &Socket, domain: Domain) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    if domain != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(())
}

/// Reads what is there: `WouldBlock` when nothing is, 0 at the end of the stream.
pub(super) fn receive(socket: &Socket, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::net::recv(socket, &mut *into, RecvFlags::empty()) {
            Ok((read, _)) => return Ok(read),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Writes what the socket takes: `WouldBlock` when it takes nothing.
pub(super) fn send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(socket, bytes, NO_SIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

fn address_of(endpoint: &Endpoint) -> io::Result<SockAddr> {
    match endpoint {
        Endpoint::Unix { path } => SockAddr::unix(path),
        Endpoint::Tcp { host, port } => {
            let mut found = (host.as_str(), *port).to_socket_addrs()?;
            let first: Option<SocketAddr> = found.next();
            first.map(SockAddr::from).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
        }
    }
}
