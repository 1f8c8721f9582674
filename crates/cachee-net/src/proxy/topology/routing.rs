//! Where one command goes.
//!
//! By the server's own description wherever it says anything: key specifications for the node,
//! request policy for how many nodes, response policy for the one reply. The lists here are of
//! what no description says, each with its reason.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::scan::Cursor;
use super::slots::{SLOTS, slot};
use crate::commands::{CommandTable, Described, RequestPolicy, ResponsePolicy};

/// Where a command goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// To the node that serves the slot.
    Slot(u16),
    /// To any node that is there: the same one for a client as long as it is, so that its state is
    /// in one place. In a transaction: to the node of the transaction.
    Any,
    /// On every connection that the client has upstream, and again first on each opened later: it
    /// changes the connection. The answer of any is the client's.
    Connection,
    /// Taken apart, each part to the node of its slot.
    Split { parts: Vec<Part<'a>>, join: Join },
    /// To many nodes as it is.
    Every { which: Nodes, join: Join },
    /// To one shard with its own cursor in place of the first argument.
    Scan(Cursor),
    /// Nowhere: one endpoint cannot do it truthfully. The text of the error.
    Refuse(&'static str),
}

/// Which nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nodes {
    /// Those that serve slots.
    Primaries,
    /// Replicas too.
    All,
}

/// How many replies become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// Elements by the position of their keys.
    Positions,
    /// Elements one after the other.
    Concat,
    Sum,
    Min,
    Max,
    /// True where all are.
    And,
    /// True where one is.
    Or,
    /// The first, unless one is an error.
    AllSucceeded,
    /// The first that is not an error.
    OneSucceeded,
    /// One that is not null.
    OneOf,
}

/// The part of a command whose keys are in one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) slot: u16,
    /// A whole command.
    pub(crate) words: Vec<&'a [u8]>,
    /// Which of the whole command's keys are its own, in the same order.
    pub(crate) positions: Vec<u32>,
}

/// Whether commands are executed as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Plain,
    /// Between `MULTI` and `EXEC`: everything goes to one node.
    Transaction,
}

const EVERY_IN_TRANSACTION: &str =
    "ERR this command asks every node of the cluster and cannot be part of a transaction";
const ONE_NODE: &str =
    "ERR this command is meant for one node of the cluster, ask that node without the proxy";

/// Decides by the words of a command, the name first.
pub(crate) fn route<'a>(args: &[&'a [u8]], table: &CommandTable, state: State) -> Route<'a> {
    // Unknown to the description: the server answers, with `MOVED` if the command has keys.
    let Some(command) = table.describe(args) else { return Route::Any };
    let route = by_name(&command, args).or_else(|| by_policy(&command, args));
    match (state, route) {
        (State::Plain, Some(route)) | (_, Some(route @ (Route::Slot(_) | Route::Refuse(_)))) => {
            route
        }
        (State::Transaction, Some(Route::Every { .. } | Route::Scan(_))) => {
            Route::Refuse(EVERY_IN_TRANSACTION)
        }
        (State::Transaction, Some(_)) | (_, None) => by_first_key(&command, args),
    }
}

/// What no description says.
fn by_name(command: &Described<'_>, args: &[&[u8]]) -> Option<Route<'static>> {
    Some(match command.name() {
        // State of a connection.
        b"auth" | b"hello" | b"select" | b"reset" | b"client|setname" | b"client|setinfo"
        | b"client|no-evict" | b"client|no-touch" | b"client|capa" => Route::Connection,
        // Described as for all shards. Clients ask it to learn whether their connection is alive,
        // and one slow shard must not make that look dead.
        b"ping" => Route::Any,
        // Of one slot, which is no key.
        b"cluster|countkeysinslot" | b"cluster|getkeysinslot" => slot_argument(args)?,
        // What one node would do to itself or to its view of the cluster.
        b"shutdown" => Route::Refuse(ONE_NODE),
        name if name.starts_with(b"cluster|") && command.is_admin() => Route::Refuse(ONE_NODE),
        _ => return None,
    })
}

/// By the policies; `None` when the keys decide.
fn by_policy<'a>(command: &Described<'_>, args: &[&'a [u8]]) -> Option<Route<'a>> {
    match command.request() {
        RequestPolicy::Default => None,
        RequestPolicy::AllShards => every(Nodes::Primaries, command),
        RequestPolicy::AllNodes => every(Nodes::All, command),
        RequestPolicy::MultiShard => split(command, args),
        RequestPolicy::Special => match (command.name(), args.get(1)) {
            (b"scan", Some(cursor)) => Cursor::parse(cursor).map(Route::Scan),
            _ => None,
        },
    }
}

fn every(which: Nodes, command: &Described<'_>) -> Option<Route<'static>> {
    let join = match command.response() {
        ResponsePolicy::Default => Join::Concat,
        ResponsePolicy::Special if command.name() == b"randomkey" => Join::OneOf,
        // `INFO`, `MEMORY STATS`: texts about one server, and one server's they stay.
        policy => join_of(policy)?,
    };
    Some(Route::Every { which, join })
}

fn join_of(policy: ResponsePolicy) -> Option<Join> {
    Some(match policy {
        ResponsePolicy::OneSucceeded => Join::OneSucceeded,
        ResponsePolicy::AllSucceeded => Join::AllSucceeded,
        ResponsePolicy::LogicalAnd => Join::And,
        ResponsePolicy::LogicalOr => Join::Or,
        ResponsePolicy::Min => Join::Min,
        ResponsePolicy::Max => Join::Max,
        ResponsePolicy::Sum => Join::Sum,
        ResponsePolicy::Default | ResponsePolicy::Special => return None,
    })
}

/// One part a slot, in the order in which the slots come; `None` when one is enough, or when the
/// command is not whole and the server shall say so.
fn split<'a>(command: &Described<'_>, args: &[&'a [u8]]) -> Option<Route<'a>> {
    let join = match command.response() {
        ResponsePolicy::Default => Join::Positions,
        ResponsePolicy::Sum => Join::Sum,
        ResponsePolicy::AllSucceeded => Join::AllSucceeded,
        // All keys or none (`MSETNX` of some versions): no part may happen without the others.
        _ => return None,
    };
    let size = command.group_size(args)?;
    let mut parts: Vec<Part<'a>> = Vec::new();
    let mut part_of_slot = HashMap::with_hasher(FixedState::default());
    for (position, group) in args[1..].chunks(size).enumerate() {
        let slot = slot(group[0]);
        let part = *part_of_slot.entry(slot).or_insert_with(|| {
            parts.push(Part { slot, words: vec![args[0]], positions: Vec::new() });
            parts.len() - 1
        });
        parts[part].words.extend_from_slice(group);
        parts[part].positions.push(u32::try_from(position).ok()?);
    }
    (parts.len() > 1).then_some(Route::Split { parts, join })
}

/// To the node of the first key, which answers `CROSSSLOT` if another has another slot.
fn by_first_key(command: &Described<'_>, args: &[&[u8]]) -> Route<'static> {
    command.routed_by(args).map_or(Route::Any, |key| Route::Slot(slot(key)))
}

fn slot_argument(args: &[&[u8]]) -> Option<Route<'static>> {
    let slot = std::str::from_utf8(args.get(2)?).ok()?.parse().ok().filter(|&slot| slot < SLOTS)?;
    Some(Route::Slot(slot))
}

#[cfg(test)]
pub(super) mod tests;
