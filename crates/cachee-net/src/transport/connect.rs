//! Name, socket, options, TLS: within one deadline.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use parking_lot::Mutex;
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
    let mut addresses: Vec<SockAddr> = Vec::new();
    let mut host = "";
    match endpoint {
        Endpoint::Tcp { host: name, port } => {
            host = name;
            let found = (name.as_str(), *port).to_socket_addrs()?;
            addresses.extend(found.map(|address: SocketAddr| SockAddr::from(address)));
        }
        Endpoint::Unix { path } => addresses.push(SockAddr::unix(path)?),
    }
    let deadline_ms = clock::now_ms() + timeout_ms;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match connect_socket(&address, deadline_ms) {
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
    if address.domain() != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
        let keepalive =
            TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(socket)
}
