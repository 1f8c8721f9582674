//! What lets any client use the L1: the wire between it and the server.

pub mod admission;
pub mod request;
pub mod resp2;
