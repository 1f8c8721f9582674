//! More than one server behind one endpoint: Cluster and Sentinel.
//!
//! **Problem.** A plain client behind the proxy knows one server. A cluster is many, each with a
//! part of the keys; Sentinel's primary moves. Guessing where a command belongs, or what one answer
//! of many replies is, goes wrong silently.
//!
//! **Idea.** Everything here is a function of bytes: no socket, clock or thread.
//!
//! - [`slots`]: which node serves which slot, by the servers' own `CLUSTER SLOTS`.
//! - [`redirection`]: what a node answers when another is to be asked.
//! - [`routing`]: where one command goes, by the server's own description of it (key
//!   specifications, request policy). What cannot be known from it goes to any node, which answers
//!   with `MOVED` if it is not its own.
//! - [`join`]: the nodes' replies made into one, by the response policy.
//! - [`scan`]: one cursor over the nodes' cursors.
//! - [`facade`]: what a cluster-aware client is told: one node, the proxy, with all slots.
//! - [`sentinel`]: who the primary is, by those who watch it.
//!
//! **What a single endpoint costs.** A command taken apart (`MGET`, `MSET`, `DEL` over several
//! slots) is not atomic, and when one part fails the others have happened: its error is answered.
//! In a transaction nothing is taken apart or sent to several nodes. Errors about slots are the
//! server's own (`CROSSSLOT`): the command is sent to the node of its first key, which checks
//! arity, rights and slots in its own order. Keyspace notifications come from the one node that a
//! client's subscriptions are on, as they do for a client that asks one node.
//!
//! **Coherence.** When a slot's owner changes, entries of its keys that the old owner covered must
//! go: of a key that was not there, moving the slot sends no invalidation
//! ([`slots::SlotMap::moved_since`]).

pub(crate) mod facade;
pub(crate) mod join;
pub(crate) mod redirection;
pub(crate) mod routing;
pub(crate) mod scan;
pub(crate) mod sentinel;
pub(crate) mod slots;

#[cfg(test)]
mod model;

use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

use crate::config::Endpoint;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    /// A name or an address; IPv6 without brackets.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

impl Address {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// What it means without a lookup, unless it is a name.
    pub(crate) fn literal(&self) -> Option<SockAddr> {
        let host: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(host, self.port).into())
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp { host: self.host.to_string(), port: self.port }
    }
}
