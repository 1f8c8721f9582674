//! Name, socket, options, TLS: within one deadline.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

use super::Transport;
use super::tls::TlsSession;
use crate::clock;
use crate::config::{Endpoint, TlsConfig};
use crate::error::NetError;

const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Connects, and shakes hands for TLS if asked; every address of a name is tried in turn. Name
/// lookup blocks as long as the system lets it.
pub(crate) fn connect(
    endpoint: &Endpoint,
    tls: Option<&TlsConfig>,
    timeout_ms: u64,
) -> Result<(Transport, u64), NetError> {
    connect_to(&resolve(endpoint)?, endpoint.host(), tls, timeout_ms)
}

/// The same where the addresses are known; `host` is whose certificate is expected.
pub(crate) fn connect_to(
    addresses: &[SockAddr],
    host: &str,
    tls: Option<&TlsConfig>,
    timeout_ms: u64,
) -> Result<(Transport, u64), NetError> {
    let deadline_ms = clock::now_ms() + timeout_ms;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match connect_socket(address, deadline_ms) {
            Ok(socket) => {
                let session = match tls {
                    Some(config) => {
                        Some(Mutex::new(TlsSession::open(config, host, &socket, deadline_ms)?))
                    }
                    None => None,
                };
                return Ok((Transport { socket, tls: session }, deadline_ms));
            }
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

/// The addresses of an endpoint. Blocks as long as the system's name lookup does.
pub(crate) fn resolve(endpoint: &Endpoint) -> io::Result<Vec<SockAddr>> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let found = (host.as_str(), *port).to_socket_addrs()?;
            Ok(found.map(|address: SocketAddr| SockAddr::from(address)).collect())
        }
        Endpoint::Unix { path } => Ok(vec![SockAddr::unix(path)?]),
    }
}

/// Begins to connect and returns at once: the socket becomes writable when it has ended, and
/// `take_error` tells how.
pub(crate) fn begin_connect(
    address: &SockAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
) -> Result<Transport, NetError> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    socket.set_nonblocking(true)?;
    set_options(&socket, address)?;
    match socket.connect(address) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            return Err(error.into());
        }
        _ => {}
    }
    let tls = tls.map(|(config, name)| TlsSession::client(config, name)).transpose()?;
    Ok(Transport { socket, tls: tls.map(Mutex::new) })
}

fn set_options(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    if address.domain() != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
        let keepalive =
            TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

fn connect_socket(address: &SockAddr, deadline_ms: u64) -> io::Result<Socket> {
    let left_ms = deadline_ms.saturating_sub(clock::now_ms());
    if left_ms == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    socket.connect_timeout(address, Duration::from_millis(left_ms))?;
    socket.set_nonblocking(true)?;
    set_options(&socket, address)?;
    Ok(socket)
}
