//! What lets any client use the L1: the wire between it and the server.

pub mod request;
pub mod resp2;
