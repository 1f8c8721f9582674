//! Bytes to and from one server, never blocking.
