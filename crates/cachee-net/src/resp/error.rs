//! Why bytes are not RESP3.

use std::fmt;

/// The first thing found wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A type byte that RESP3 does not have, or that servers never send (streamed types).
    Type(u8),
    /// A length or count that is not a number in range.
    Length,
    /// A header or simple string longer than any server sends.
    LineTooLong,
    /// Aggregates nested deeper than any reply.
    TooDeep,
    /// A bulk string not followed by CR LF, or a line ended by LF alone.
    LineEnd,
    /// A number, boolean or null that is not one.
    Value,
    /// A reply nobody asked for.
    Unexpected,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(byte) => write!(f, "unknown type byte 0x{byte:02x}"),
            Self::Length => f.write_str("bad length"),
            Self::LineTooLong => f.write_str("line too long"),
            Self::TooDeep => f.write_str("nested too deeply"),
            Self::LineEnd => f.write_str("missing line end"),
            Self::Value => f.write_str("bad scalar"),
            Self::Unexpected => f.write_str("a reply nobody asked for"),
        }
    }
}

impl std::error::Error for ProtocolError {}
