//! A client's sockets to the nodes of a cluster; what is sent over them is its router's.

use std::io;

use mio::{Poll, Token};
use socket2::SockAddr;

use super::host::Context;
use super::output::Pool;
use super::poller::{register, unregister};
use super::session::{Ending, Session};
use super::shared::Shared;
use crate::transport::{self, Transport};

/// The socket to one node.
enum Node {
    None,
    Connecting { transport: Transport, attempt: usize, deadline_ms: u64 },
    Open(Transport),
}

struct Socket {
    node: Node,
    is_readable: bool,
    /// The other side has closed: its end follows what is still to be read.
    is_hung_up: bool,
}

impl From<Node> for Socket {
    fn from(node: Node) -> Self {
        Self { node, is_readable: false, is_hung_up: false }
    }
}

/// In the order of the router's connections.
#[derive(Default)]
pub(crate) struct Nodes {
    sockets: Vec<Socket>,
}

/// What an event loop gives for a turn.
pub(crate) struct Turn<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) poll: &'a Poll,
    pub(crate) context: &'a Context<'a>,
    /// Of the client's nodes by their number.
    pub(crate) token: &'a dyn Fn(usize) -> Token,
}

impl Nodes {
    /// Something has happened at a socket.
    pub(crate) fn event(
        &mut self,
        turn: &Turn<'_>,
        session: &mut Session,
        number: usize,
        is_readable: bool,
        is_hung_up: bool,
    ) {
        let Some(socket) = self.sockets.get_mut(number) else { return };
        socket.is_readable |= is_readable;
        socket.is_hung_up |= is_hung_up;
        let node = &mut socket.node;
        if !matches!(node, Node::Connecting { .. }) {
            return;
        }
        let Node::Connecting { transport, attempt, .. } = std::mem::replace(node, Node::None)
        else {
            return;
        };
        match transport.take_error() {
            Ok(()) => {
                turn.context.counters.upstream_connects.add(1);
                *node = Node::Open(transport);
            }
            Err(error) => {
                unregister(turn.poll, transport.raw_fd());
                self.connect(turn, session, number, attempt + 1, Some(error));
            }
        }
    }

    /// Connects what is wanted, sends, receives; true when bytes came.
    pub(crate) fn work(
        &mut self,
        turn: &Turn<'_>,
        session: &mut Session,
        pool: &mut Pool,
        buffer: &mut [u8],
        budget: &mut usize,
    ) -> bool {
        let context = turn.context;
        let before = *budget;
        session.core.take_routed(context);
        for number in 0.. {
            let Some(router) = &session.core.router else { break };
            let Some(connection) = router.connections.get(number) else { break };
            if self.sockets.len() <= number {
                self.sockets.push(Node::None.into());
            }
            if connection.is_wanted && matches!(self.sockets[number].node, Node::None) {
                self.connect(turn, session, number, 0, None);
            }
            self.read(turn, session, number, buffer, budget);
        }
        // Behind all reading: what one node answers may send something to any other.
        for number in 0..self.sockets.len() {
            self.flush(session, number, pool);
        }
        before != *budget
    }

    fn read(
        &mut self,
        turn: &Turn<'_>,
        session: &mut Session,
        number: usize,
        buffer: &mut [u8],
        budget: &mut usize,
    ) {
        let context = turn.context;
        while self.sockets[number].is_readable
            && *budget > 0
            && session.core.ending != Ending::AfterOutput
            && !session.core.is_output_full(context)
        {
            let Socket { node: Node::Open(transport), is_readable, is_hung_up } =
                &mut self.sockets[number]
            else {
                return;
            };
            let error = match transport.read(buffer) {
                Ok(bytes) if bytes > 0 => {
                    *budget = budget.saturating_sub(bytes);
                    *is_readable =
                        bytes == buffer.len() || transport.buffers_above_socket() || *is_hung_up;
                    session.core.take_node_bytes(context, number, &buffer[..bytes]);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *is_readable = false;
                    return;
                }
                Ok(_) => io::Error::from(io::ErrorKind::ConnectionReset),
                Err(error) => error,
            };
            self.lose(turn, session, number, &error);
        }
    }

    fn flush(&mut self, session: &mut Session, number: usize, pool: &mut Pool) {
        let Socket { node: Node::Open(transport), is_readable, .. } = &mut self.sockets[number]
        else {
            return;
        };
        let Some(router) = &mut session.core.router else { return };
        let Some(connection) = router.connections.get_mut(number) else { return };
        let mut written = 0;
        if connection.out.flush(transport, pool, &mut written).is_err() {
            // What the node has said before it went is still to be read, then its end.
            *is_readable = true;
            connection.out = super::output::Output::default();
        }
        connection.out.relax(pool);
    }

    /// Begins to connect, with the `attempt`th of the node's addresses or one behind it.
    fn connect(
        &mut self,
        turn: &Turn<'_>,
        session: &mut Session,
        number: usize,
        attempt: usize,
        error: Option<io::Error>,
    ) {
        let Some(router) = &session.core.router else { return };
        let Some(connection) = router.connections.get(number) else { return };
        let node = connection.address.clone();
        let Some(cluster) = &turn.shared.cluster else { return };
        let begin = |address: &SockAddr| {
            let begun = transport::begin_connect(address, None);
            let transport = begun.map_err(|error| io::Error::other(error.to_string()))?;
            register(turn.poll, transport.raw_fd(), (turn.token)(number))?;
            Ok(transport)
        };
        let addresses = cluster.names.known(&node).unwrap_or_default();
        let mut last = error.unwrap_or_else(|| io::Error::other("its name leads nowhere"));
        for (attempt, address) in addresses.iter().enumerate().skip(attempt) {
            match begin(address) {
                Ok(transport) => {
                    let timeout_ms = turn.shared.config.link.connect_timeout_ms;
                    let deadline_ms = turn.context.now_ms + timeout_ms;
                    let connecting = Node::Connecting { transport, attempt, deadline_ms };
                    self.sockets[number] = connecting.into();
                    return;
                }
                Err(error) => last = error,
            }
        }
        if node.literal().is_none() {
            cluster.names.look();
        }
        turn.context.counters.upstream_refused.add(1);
        self.lose(turn, session, number, &last);
    }

    fn lose(&mut self, turn: &Turn<'_>, session: &mut Session, number: usize, error: &io::Error) {
        let node = std::mem::replace(&mut self.sockets[number], Node::None.into()).node;
        let what = match &node {
            Node::Open(_) => "the connection is lost to",
            Node::None | Node::Connecting { .. } => "no connection to",
        };
        close(turn.poll, &node);
        let Some(router) = &session.core.router else { return };
        let endpoint = router.connections[number].address.endpoint();
        session.core.lose_node(turn.context, number, &format!("{what} {endpoint}: {error}"));
    }

    /// Attempts to connect that take too long end.
    pub(crate) fn tick(&mut self, turn: &Turn<'_>, session: &mut Session) {
        for number in 0..self.sockets.len() {
            if let Node::Connecting { deadline_ms, attempt, .. } = self.sockets[number].node
                && turn.context.now_ms >= deadline_ms
            {
                let overdue = std::mem::replace(&mut self.sockets[number], Node::None.into());
                close(turn.poll, &overdue.node);
                let error = io::ErrorKind::TimedOut.into();
                self.connect(turn, session, number, attempt + 1, Some(error));
            }
        }
    }

    /// Something can be read at once.
    pub(crate) fn has_more(&self, session: &Session) -> bool {
        let is_missing = |number: usize| {
            self.sockets.get(number).is_none_or(|socket| matches!(socket.node, Node::None))
        };
        let router = session.core.router.as_ref();
        let mut wanted = router.iter().flat_map(|router| router.connections.iter().enumerate());
        wanted.any(|(number, each)| each.is_wanted && is_missing(number))
            || self
                .sockets
                .iter()
                .any(|socket| socket.is_readable && matches!(socket.node, Node::Open(_)))
    }

    pub(crate) fn close(&self, poll: &Poll) {
        self.sockets.iter().for_each(|socket| close(poll, &socket.node));
    }
}

fn close(poll: &Poll, node: &Node) {
    if let Node::Connecting { transport, .. } | Node::Open(transport) = node {
        unregister(poll, transport.raw_fd());
    }
}
