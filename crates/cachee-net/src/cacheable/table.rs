//! The list itself, sorted by name; a command's place in it is its shape.

use super::Resp2Shape::{self, Generic, Pairs, Unknown};
use crate::resp::{Node, Reader};

/// Which fields of a hash a reply speaks of. On servers with expiring fields the key's own TTL
/// does not bound it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// Not a hash command.
    None,
    /// The fields from this argument on.
    Named(usize),
    /// Every field.
    Whole,
}

/// What is known of one cacheable command.
#[derive(Debug)]
pub struct Spec {
    /// Upper case.
    pub name: &'static str,
    /// Fewest arguments after the name.
    pub least: usize,
    /// Most arguments after the name.
    pub most: usize,
    /// The RESP2 form of the reply.
    pub resp2: Resp2Shape,
    /// Which hash fields it reads.
    pub fields: Fields,
}

impl Spec {
    /// Is this reply what a missing key answers? Then it stays true when the key has just gone.
    /// Null and empty aggregates always are. Zeros are, except where 0 counts something else
    /// (`ZRANK` of the first member); an empty string only where a key that holds one and a
    /// missing key answer the same.
    pub fn answers_missing(&self, frame: &[u8]) -> bool {
        let zero = !matches!(self.name, "BITPOS" | "LPOS" | "ZRANK" | "ZREVRANK")
            && !self.name.starts_with("JSON.");
        let empty = matches!(self.name, "GETRANGE" | "SUBSTR");
        let scalar = |node: Node<'_>| match node {
            Node::Null => true,
            Node::Integer(0) => zero,
            Node::Bulk(b"") => empty,
            Node::Simple(text) => text == b"none",
            _ => false,
        };
        let mut reader = Reader::new(frame);
        match reader.next() {
            Some(Node::Map(0) | Node::Set(0)) => true,
            Some(Node::Array(count)) => (0..count).all(|_| reader.next().is_some_and(scalar)),
            Some(node) => scalar(node),
            None => false,
        }
    }

    /// Is a null in the reply to this many arguments (the name included) RESP2's null array?
    /// Anywhere else it is a null bulk string.
    pub fn has_null_arrays(&self, arg_count: usize) -> bool {
        match self.name {
            // A member that is not there; `COUNT 0`.
            "GEOPOS" | "XRANGE" | "XREVRANGE" => true,
            // `WITHSCORE`.
            "ZRANK" | "ZREVRANK" => arg_count > 3,
            _ => false,
        }
    }
}

pub(super) const NAME_BYTES_MAX: usize = 24;
const ANY: usize = usize::MAX;

const fn row(
    name: &'static str,
    least: usize,
    most: usize,
    resp2: Resp2Shape,
    fields: Fields,
) -> Spec {
    Spec { name, least, most, resp2, fields }
}

/// The command of an upper-case name, with its shape.
pub(super) fn spec_of(upper: &[u8]) -> Option<(u32, &'static Spec)> {
    let at = COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(upper)).ok()?;
    Some((at as u32, &COMMANDS[at]))
}

pub(super) static COMMANDS: &[Spec] = &[
    row("BITCOUNT", 1, 4, Generic, Fields::None),
    row("BITFIELD_RO", 1, ANY, Generic, Fields::None),
    row("BITPOS", 2, 5, Generic, Fields::None),
    row("EXISTS", 1, 1, Generic, Fields::None),
    row("GEODIST", 3, 4, Generic, Fields::None),
    row("GEOHASH", 1, ANY, Generic, Fields::None),
    row("GEOPOS", 1, ANY, Generic, Fields::None),
    row("GEORADIUSBYMEMBER_RO", 4, ANY, Generic, Fields::None),
    row("GEORADIUS_RO", 5, ANY, Generic, Fields::None),
    row("GEOSEARCH", 4, ANY, Generic, Fields::None),
    row("GET", 1, 1, Generic, Fields::None),
    row("GETBIT", 2, 2, Generic, Fields::None),
    row("GETRANGE", 3, 3, Generic, Fields::None),
    row("HEXISTS", 2, 2, Generic, Fields::Named(2)),
    row("HGET", 2, 2, Generic, Fields::Named(2)),
    row("HGETALL", 1, 1, Generic, Fields::Whole),
    row("HKEYS", 1, 1, Generic, Fields::Whole),
    row("HLEN", 1, 1, Generic, Fields::Whole),
    row("HMGET", 2, ANY, Generic, Fields::Named(2)),
    row("HSTRLEN", 2, 2, Generic, Fields::Named(2)),
    row("HVALS", 1, 1, Generic, Fields::Whole),
    row("JSON.ARRINDEX", 3, 5, Unknown, Fields::None),
    row("JSON.ARRLEN", 1, 2, Unknown, Fields::None),
    row("JSON.GET", 1, ANY, Generic, Fields::None),
    row("JSON.OBJKEYS", 1, 2, Unknown, Fields::None),
    row("JSON.OBJLEN", 1, 2, Unknown, Fields::None),
    row("JSON.STRLEN", 1, 2, Unknown, Fields::None),
    row("JSON.TYPE", 1, 2, Unknown, Fields::None),
    row("LINDEX", 2, 2, Generic, Fields::None),
    row("LLEN", 1, 1, Generic, Fields::None),
    row("LPOS", 2, 8, Generic, Fields::None),
    row("LRANGE", 3, 3, Generic, Fields::None),
    row("SCARD", 1, 1, Generic, Fields::None),
    row("SISMEMBER", 2, 2, Generic, Fields::None),
    row("SMEMBERS", 1, 1, Generic, Fields::None),
    row("SMISMEMBER", 2, ANY, Generic, Fields::None),
    row("STRLEN", 1, 1, Generic, Fields::None),
    row("SUBSTR", 3, 3, Generic, Fields::None),
    row("TYPE", 1, 1, Generic, Fields::None),
    row("XLEN", 1, 1, Generic, Fields::None),
    row("XRANGE", 3, 5, Generic, Fields::None),
    row("XREVRANGE", 3, 5, Generic, Fields::None),
    row("ZCARD", 1, 1, Generic, Fields::None),
    row("ZCOUNT", 3, 3, Generic, Fields::None),
    row("ZLEXCOUNT", 3, 3, Generic, Fields::None),
    row("ZMSCORE", 2, ANY, Generic, Fields::None),
    row("ZRANGE", 3, ANY, Pairs, Fields::None),
    row("ZRANGEBYLEX", 3, 6, Generic, Fields::None),
    row("ZRANGEBYSCORE", 3, ANY, Pairs, Fields::None),
    row("ZRANK", 2, 3, Generic, Fields::None),
    row("ZREVRANGE", 3, 4, Pairs, Fields::None),
    row("ZREVRANGEBYLEX", 3, 6, Generic, Fields::None),
    row("ZREVRANGEBYSCORE", 3, ANY, Pairs, Fields::None),
    row("ZREVRANK", 2, 3, Generic, Fields::None),
    row("ZSCORE", 2, 2, Generic, Fields::None),
];
