//! What a session needs of the rest of the proxy, as traits: the real ones are in `shared`, those
//! of the simulation in the tests. A session itself opens no socket and reads no clock.

use std::sync::Arc;

use cachee_core::{Hot, Store};

use super::config::{Limits, Login, Mode};
use super::reply::Reply;
use super::topology::Address;
use crate::commands::CommandTable;
use crate::link::{Read, Request};
use crate::record::Recorder;

/// Whose entries: nobody is served what another user or database was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// None: never authenticated.
    pub(crate) login: Option<Login>,
    pub(crate) db: u32,
    /// Of a cluster: the node whose keys they are.
    pub(crate) node: Option<Address>,
}

/// Where the end of a link's read is to be handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Which worker.
    pub(crate) worker: usize,
    /// The client's place in it.
    pub(crate) client: usize,
    /// Tells it from who had the place before.
    pub(crate) serial: u64,
    /// Which of its commands.
    pub(crate) sequence: u64,
    /// Which part of that command.
    pub(crate) part: u32,
}

/// One identity's coherent link, as a session sees it.
pub(crate) trait Feed: Send + Sync {
    /// The scope that may be served at `now_ms`.
    fn open_scope(&self, now_ms: u64) -> Option<u32>;

    /// The same for one key, where not all keys are in one scope.
    #[inline]
    fn scope_of(&self, _key: &[u8], now_ms: u64) -> Option<u32> {
        self.open_scope(now_ms)
    }

    /// Sends reads; the end of each that is `Submitted` comes to its ticket.
    fn read_many(&self, requests: &[Request<'_>], tickets: &[Ticket]) -> Vec<Read>;
}

/// What all sessions share.
pub(crate) trait Host: Send + Sync {
    fn store(&self) -> &Store<Reply>;

    /// The link of an identity that the upstream has accepted; None while it may have none.
    fn feed(&self, identity: &Identity) -> Option<Arc<dyn Feed>>;

    /// A write is over that these had to go for.
    fn written(&self, hot: &[Hot]);

    /// A command with unknown keys was answered: no link serves before it has caught up.
    fn barrier(&self);

    /// Rights or passwords may have changed: what was read under the old ones goes.
    fn rights_changed(&self);

    /// The upstream is known to let clients in that do not authenticate, or the proxy does it for
    /// them.
    fn is_open(&self) -> bool;

    /// It is known not to.
    fn is_closed(&self) -> bool;

    /// The `# cachee` section of `INFO`.
    fn info(&self) -> String;
}

/// What a session works with during one turn of its worker.
pub(crate) struct Context<'a> {
    pub(crate) host: &'a dyn Host,
    pub(crate) table: Option<&'a CommandTable>,
    pub(crate) limits: &'a Limits,
    pub(crate) mode: Mode,
    pub(crate) admission: &'a crate::admission::Admission,
    pub(crate) counters: &'a super::counters::Counters,
    pub(crate) login: Option<&'a Login>,
    pub(crate) db: u32,
    /// Whoever wants to know what is asked for.
    pub(crate) recorder: Option<&'a Recorder>,
    /// Never behind the precise clock.
    pub(crate) now_ms: u64,
}
