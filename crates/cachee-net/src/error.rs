//! What can go wrong between us and the server.

use std::{fmt, io};

use crate::resp::ProtocolError;

/// Why a connection could not be made or was given up.
#[derive(Debug)]
pub enum NetError {
    /// The socket, or the name lookup before it.
    Io(io::Error),
    /// TLS setup or handshake.
    Tls(String),
    /// What came is not RESP3.
    Protocol(ProtocolError),
    /// The application's credential provider failed.
    Credentials(String),
    /// The server answered, and the answer may be different soon (loading, failing over).
    Refused(String),
    /// The server answered, and asking again soon is no use: too old, wrong password, no tracking.
    Unsupported(String),
    /// The time for this step is over.
    TimedOut(&'static str),
    /// The link was closed meanwhile.
    Closed,
}

impl NetError {
    /// Asking again soon is no use.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Unsupported(_))
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(source) => write!(f, "{source}"),
            Self::Tls(text) => write!(f, "TLS: {text}"),
            Self::Protocol(source) => write!(f, "not RESP3: {source}"),
            Self::Credentials(text) => write!(f, "credential provider: {text}"),
            Self::Refused(text) | Self::Unsupported(text) => f.write_str(text),
            Self::TimedOut(step) => write!(f, "timed out: {step}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            Self::Protocol(source) => Some(source),
            _ => None,
        }
    }
}

impl From<io::Error> for NetError {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

impl From<ProtocolError> for NetError {
    fn from(source: ProtocolError) -> Self {
        Self::Protocol(source)
    }
}
