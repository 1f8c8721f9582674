//! The session in a world made of nothing: no socket, no clock, no thread, and a seed for every
//! run.
//!
//! Some sessions and their clients, the real store, the real state machine of the links, and a
//! small server that keeps every value a key has ever had and every reply it has given. Streams
//! deliver any number of bytes at any time; links, connections and clients break; time jumps. What
//! a client is told is held to what it asked:
//!
//! - A command that only the server may answer is answered by the server's own bytes, in order.
//! - A read that anybody may answer shows a value that the key of that database had, in the
//!   protocol agreed; not one before what the client has seen, any client had written and been
//!   told so, or any client of the same user had been told; none that was replaced longer ago than
//!   the staleness bound, and none that had expired.
//! - When all is over nothing is left begun, and nobody is told anything but the newest.
//!
//! That the judge sees something is shown by mistakes made on purpose (`mutation`), each of which
//! some seed has to find. [`run_session`] is another matter: any bytes from both sides, for the
//! fuzz target, held to ceilings and to not panicking.

#[cfg(test)]
mod client;
mod fuzzing;
#[cfg(test)]
mod host;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod random;
pub(super) mod rig;
#[cfg(test)]
mod server;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests;

pub use fuzzing::run_session;
