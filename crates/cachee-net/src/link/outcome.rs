//! What a reader is told.

use std::sync::Arc;

use cachee_core::Bypass;

/// The end of a read that went upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server's reply, one whole RESP3 frame, never an error.
    Reply(Arc<[u8]>),
    /// An entry has appeared meanwhile: look again. Only from the waiting calls.
    Present,
    /// Ask through your own connection.
    Bypass(BypassReason),
}

/// The start of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The waiter will be called, once.
    Submitted,
    /// An entry has appeared meanwhile: look again. The waiter is dropped.
    Present,
    /// Ask through your own connection. The waiter is dropped.
    Bypass(BypassReason),
}

/// Why a read was left to the caller's own connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BypassReason {
    /// The first connection is not up yet.
    Connecting,
    /// There is no connection at present.
    LinkDown,
    /// The connection was lost before the reply came.
    LinkLost,
    /// The server cannot track, or refuses us.
    Unsupported,
    /// The link was closed.
    Closed,
    /// The server has not answered for `reply_timeout_ms`.
    SlowServer,
    /// `max_in_flight` is reached.
    Overloaded,
    /// The server answered with an error; the caller's own connection will show it.
    ErrorReply,
    /// The value exceeds `max_value_bytes`, or did lately.
    TooLarge,
    /// A write of this process to the key is under way.
    WriteInFlight,
    /// The key changes more often than it is read.
    WriteHot,
    /// The value ended on its way, perhaps before this caller asked.
    Expired,
    /// The key is outside the broadcast prefixes.
    NotTracked,
    /// The caller's own interruption (a signal).
    Interrupted,
}

impl BypassReason {
    /// Every reason, in the order of `index`.
    pub const ALL: [Self; 14] = [
        Self::Connecting,
        Self::LinkDown,
        Self::LinkLost,
        Self::Unsupported,
        Self::Closed,
        Self::SlowServer,
        Self::Overloaded,
        Self::ErrorReply,
        Self::TooLarge,
        Self::WriteInFlight,
        Self::WriteHot,
        Self::Expired,
        Self::NotTracked,
        Self::Interrupted,
    ];

    /// The word used in statistics and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::LinkDown => "link_down",
            Self::LinkLost => "link_lost",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
            Self::SlowServer => "slow_server",
            Self::Overloaded => "overloaded",
            Self::ErrorReply => "error_reply",
            Self::TooLarge => "too_large",
            Self::WriteInFlight => "write_in_flight",
            Self::WriteHot => "write_hot",
            Self::Expired => "expired",
            Self::NotTracked => "not_tracked",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Bypass> for BypassReason {
    fn from(bypass: Bypass) -> Self {
        match bypass {
            Bypass::WriteInFlight => Self::WriteInFlight,
            Bypass::WriteHot => Self::WriteHot,
            Bypass::TooLarge => Self::TooLarge,
        }
    }
}
