//! The coherent link between the L1 and a Redis or Valkey server.
//!
//! - [`resp`]: RESP3 frames, found incrementally and read without copying.
//! - [`Link`]: one RESP3 connection a (server, user, database) that all cacheable misses of the
//!   process share, and whose reader applies replies and invalidations in wire order.
//! - [`mod@cacheable`]: which commands may be answered from the L1.
//! - [`admission`]: which keys.
//! - [`CommandTable`]: what every other command changes, by the server's own description of it.
//! - [`mod@remembered`]: what outlives a process.
//! - [`proxy`]: what lets any client use the L1.
//! - [`record`]: what was asked for, as a file.
//! - [`load`]: a load generator for RESP servers, and the relay that is the floor of any proxy.
//! - [`clock`]: the process-wide monotonic milliseconds everything above is timed by.

pub mod admission;
pub mod cacheable;
pub mod clock;
mod commands;
mod config;
mod error;
mod fields;
mod handshake;
mod link;
pub mod load;
mod prefetch;
pub mod proxy;
pub mod record;
pub mod remembered;
pub mod resp;
mod transport;

pub use cacheable::{Cacheable, Resp2Shape, cacheable};
pub use commands::{CommandTable, Effect};
pub use config::{AheadConfig, Credentials, Endpoint, LinkConfig, TlsConfig, Tracking, Verify};
pub use error::NetError;
pub use link::{
    BypassReason, Link, LinkStatistics, LinkStatus, LinkValue, Outcome, Read, Request, Waiter,
};
pub use prefetch::prefetch;
