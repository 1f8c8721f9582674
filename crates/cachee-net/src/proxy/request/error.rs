//! What a server says to bytes that are not a command.

use std::fmt;

/// Why bytes are not a command, in the servers' own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The number of arguments is not a number, or too large.
    Count,
    /// The length of an argument is not a number, negative or too large.
    Length,
    /// Something other than an argument; its first byte.
    Kind(u8),
    /// A header or an argument not followed by CR LF.
    LineEnd,
    /// The line with the number of arguments does not end.
    BigCount,
    /// The line with the length of an argument does not end.
    BigLength,
    /// An inline command does not end.
    BigInline,
    /// A quote without its counterpart, or with something right behind it.
    Quotes,
    /// More arguments than a client may send before it has authenticated.
    UnauthenticatedCount,
    /// A longer argument than a client may send before it has authenticated.
    UnauthenticatedLength,
}

impl RequestError {
    /// The error reply a server sends before it closes the connection.
    pub fn write_reply(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR Protocol error: ");
        out.extend_from_slice(self.text().as_bytes());
        if let Self::Kind(byte) = self {
            out.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
            out.push(b'\'');
        }
        out.extend_from_slice(b"\r\n");
    }

    fn text(self) -> &'static str {
        match self {
            Self::Count => "invalid multibulk length",
            Self::Length => "invalid bulk length",
            Self::Kind(_) => "expected '$', got '",
            Self::LineEnd => "invalid CRLF in request",
            Self::BigCount => "too big mbulk count string",
            Self::BigLength => "too big bulk count string",
            Self::BigInline => "too big inline request",
            Self::Quotes => "unbalanced quotes in request",
            Self::UnauthenticatedCount => "unauthenticated multibulk length",
            Self::UnauthenticatedLength => "unauthenticated bulk length",
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Self::Kind(byte) => write!(f, "{}'", byte.escape_ascii()),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for RequestError {}
