//! What a cluster-aware client is told: a cluster of one node, the proxy, that serves all slots.
//!
//! It asked the proxy where to connect, and the truthful answer is the address it has just reached
//! the proxy at: nodes behind it may not be reachable from where the client is, and would not
//! answer from the L1. Replies have the shape of Valkey 8.1's own. What is about the data or the
//! real cluster (`CLUSTER INFO`, `KEYSLOT`, `COUNTKEYSINSLOT`) is not answered here.

use std::fmt::Write;
use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use super::Address;
use super::slots::SLOTS;

/// Which RESP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

/// The one node.
#[derive(Clone, Debug)]
pub(crate) struct Facade {
    /// As the client reached it; `None` over a Unix socket, where every node is "the one asked".
    address: Option<Address>,
    is_tls: bool,
    /// The same for the same address, in every reply and after a restart.
    id: String,
    shard_id: String,
}

impl Facade {
    /// For connections that reached the proxy at `address`; over TLS the port is one of TLS.
    pub(crate) fn new(address: Option<Address>, is_tls: bool) -> Self {
        let name = address.as_ref().map_or(String::new(), |at| format!("{} {}", at.host, at.port));
        Self { is_tls, id: identity("node", &name), shard_id: identity("shard", &name), address }
    }

    /// The answer to `args`, the name first, if it is one to be given here: whole, with the right
    /// number of arguments. Everything else the server answers. To be asked in plain state only,
    /// once the server has accepted the client.
    pub(crate) fn answer(&self, args: &[&[u8]], protocol: Protocol) -> Option<Vec<u8>> {
        let is = |at: usize, word: &str| args[at].eq_ignore_ascii_case(word.as_bytes());
        match args.len() {
            // Every node that a command is sent to is a primary, and no slot is ever on its way.
            1 if is(0, "READONLY") || is(0, "READWRITE") || is(0, "ASKING") => {
                Some(b"+OK\r\n".to_vec())
            }
            2 if is(0, "CLUSTER") => {
                let mut out = Reply { bytes: Vec::new(), protocol };
                match args[1].to_ascii_lowercase().as_slice() {
                    b"slots" => self.slots(&mut out),
                    b"shards" => self.shards(&mut out),
                    b"nodes" => out.text(&self.nodes()),
                    b"myid" => out.bulk(&self.id),
                    b"myshardid" => out.bulk(&self.shard_id),
                    _ => return None,
                }
                Some(out.bytes)
            }
            3 if is(0, "CLUSTER") && (is(1, "REPLICAS") || is(1, "SLAVES")) => {
                (args[2] == self.id.as_bytes()).then(|| b"*0\r\n".to_vec())
            }
            _ => None,
        }
    }

    fn slots(&self, out: &mut Reply) {
        out.header(b'*', 1);
        out.header(b'*', 3);
        out.integer(0);
        out.integer(SLOTS - 1);
        out.header(b'*', 4);
        match &self.address {
            Some(address) => out.bulk(&address.host),
            None => out.null(),
        }
        out.integer(self.port());
        out.bulk(&self.id);
        out.map(0);
    }

    fn shards(&self, out: &mut Reply) {
        out.header(b'*', 1);
        out.map(2);
        out.bulk("slots");
        out.header(b'*', 2);
        out.integer(0);
        out.integer(SLOTS - 1);
        out.bulk("nodes");
        out.header(b'*', 1);
        out.map(7);
        out.pair("id", &self.id);
        out.bulk(if self.is_tls { "tls-port" } else { "port" });
        out.integer(self.port());
        out.pair("ip", self.host());
        out.pair("endpoint", self.host());
        out.pair("role", "master");
        out.bulk("replication-offset");
        out.integer(0);
        out.pair("health", "online");
    }

    /// The port of the bus is 0: there is none.
    fn nodes(&self) -> String {
        let (id, host, port, last) = (&self.id, self.host(), self.port(), SLOTS - 1);
        format!("{id} {host}:{port}@0 myself,master - 0 0 1 connected 0-{last}\n")
    }

    fn host(&self) -> &str {
        self.address.as_ref().map_or("", |address| &address.host)
    }

    fn port(&self) -> u16 {
        self.address.as_ref().map_or(0, |address| address.port)
    }
}

/// Forty hexadecimal digits, as nodes have them.
fn identity(kind: &str, name: &str) -> String {
    let mut text = String::with_capacity(48);
    for part in 0..3_u64 {
        let hash = FixedState::with_seed(part).hash_one((kind, name));
        let _ = write!(text, "{hash:016x}");
    }
    text.truncate(40);
    text
}

/// A reply being written.
struct Reply {
    bytes: Vec<u8>,
    protocol: Protocol,
}

impl Reply {
    fn header(&mut self, kind: u8, count: usize) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(format!("{count}\r\n").as_bytes());
    }

    fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', pairs * 2),
            Protocol::Resp3 => self.header(b'%', pairs),
        }
    }

    fn integer(&mut self, value: u16) {
        self.header(b':', usize::from(value));
    }

    fn bulk(&mut self, text: &str) {
        self.header(b'$', text.len());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.bulk(name);
        self.bulk(value);
    }

    fn null(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Text for people, which RESP3 marks as such.
    fn text(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.header(b'=', text.len() + 4);
                self.bytes.extend_from_slice(format!("txt:{text}\r\n").as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests;
