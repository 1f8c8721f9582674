//! What a worker does for clients in front of a cluster.

use mio::{Poll, Token};

use super::{CONNECTION_BITS, Client, NODE_MIN, Worker};
use crate::clock;
use crate::proxy::host::{Context, Ticket};
use crate::proxy::nodes::{Nodes, Turn};
use crate::proxy::output::Pool;
use crate::proxy::session::Session;
use crate::proxy::session::router::Router;
use crate::proxy::shared::Shared;
use crate::proxy::topology::Address;
use crate::proxy::topology::facade::Facade;
use crate::transport::Transport;

/// The token of a client's connection to one node of a cluster.
fn node_token(client: usize, number: usize) -> Token {
    Token(client << CONNECTION_BITS | (NODE_MIN + number))
}

/// Makes a session one in front of a cluster, if that is what the upstream is.
pub(super) fn nodes_of(
    shared: &Shared,
    session: &mut Session,
    transport: &Transport,
    place: Ticket,
) -> Option<Box<Nodes>> {
    let cluster = shared.cluster.clone()?;
    let reached = transport.local_address();
    let reached = reached.map(|at| Address::new(&at.ip().to_string(), at.port()));
    let facade = Facade::new(reached, transport.is_tls());
    session.core.set_router(Router::new(cluster, facade, place.serial as usize));
    Some(Box::default())
}

impl Client {
    /// Talks to the nodes; when something is to be tried again.
    pub(super) fn work_nodes(
        &mut self,
        client: usize,
        (shared, poll): (&Shared, &Poll),
        context: &Context<'_>,
        (pool, buffer, budget): (&mut Pool, &mut [u8], &mut usize),
    ) -> Option<u64> {
        let Self { session, nodes: Some(nodes), active_ms, .. } = self else { return None };
        let token = |number| node_token(client, number);
        let turn = Turn { shared, poll, context, token: &token };
        if nodes.work(&turn, session, pool, buffer, budget) {
            *active_ms = context.now_ms;
        }
        session.core.router.as_ref()?.retry_ms()
    }
}

impl Worker {
    /// Something has happened at a client's connection to a node of a cluster.
    pub(super) fn node_event(
        &mut self,
        client: usize,
        number: usize,
        is_readable: bool,
        is_hung_up: bool,
    ) {
        let context = context!(self);
        let Some(held) = self.clients.get_mut(client) else { return };
        let (Client { session, nodes: Some(nodes), .. }, shared, poll) =
            (&mut **held, &*self.shared, &self.poll)
        else {
            return;
        };
        let token = |number| node_token(client, number);
        let turn = Turn { shared, poll, context: &context, token: &token };
        nodes.event(&turn, session, number, is_readable, is_hung_up);
    }

    pub(super) fn tick_nodes(&mut self, client: usize) {
        let context = context!(self);
        let held = &mut *self.clients[client];
        if let Client { session, nodes: Some(nodes), .. } = held {
            let token = |number| node_token(client, number);
            let (shared, poll) = (&*self.shared, &self.poll);
            nodes.tick(&Turn { shared, poll, context: &context, token: &token }, session);
        }
        self.make_due(client);
    }

    /// Commands to nodes of a cluster that are to be tried again.
    pub(super) fn retry(&mut self) {
        if self.later.is_empty() {
            return;
        }
        let context = context!(self);
        let now_ms = context.now_ms;
        let mut due = Vec::new();
        for (_, client) in self.later.extract_if(.., |(at_ms, _)| *at_ms <= now_ms) {
            if let Some(held) = self.clients.get_mut(client) {
                held.session.core.retry(&context);
                due.push(client);
            }
        }
        due.into_iter().for_each(|client| self.make_due(client));
    }
}
