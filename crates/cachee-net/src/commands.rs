//! What a command changes, by the server's own description of its commands.
//!
//! A hand-written list of which argument is a key is how caches and proxies go wrong (and how
//! ACLs did: CVE-2023-41053). The server describes every command it has, modules included, in its
//! reply to `COMMAND`: where its keys are and what it does to each. Where that description says of
//! itself that it is incomplete, or there is none, the effect is `Unknown`, which costs one round
//! trip of hits (the barrier) and is always right.
//!
//! Lists remain only for what no description says: commands that change everything at once, and
//! `EXEC`, which runs what was queued before.

mod described;
mod parse;
mod policy;
mod spec;

use std::collections::HashMap;

use foldhash::fast::FixedState;

pub(crate) use described::Described;
pub(crate) use policy::{RequestPolicy, ResponsePolicy};
use spec::{Access, BeginSearch, FindKeys, KeySpec};

/// What a command leaves to be done in the L1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Reads keys, changes none.
    ReadOnly,
    /// Changes at most these keys.
    Writes(Vec<&'a [u8]>),
    /// May change any key: needs the barrier.
    Unknown,
    /// Changes everything at once, and not every server says so.
    FlushAll,
    /// Touches no key.
    None,
}

/// The commands of one server.
#[derive(Debug, Default)]
pub struct CommandTable {
    commands: HashMap<Box<[u8]>, Command, FixedState>,
}

/// One command or subcommand (`xgroup|create`).
#[derive(Debug, Default)]
struct Command {
    is_write: bool,
    is_read_only: bool,
    is_blocking: bool,
    is_admin: bool,
    has_subcommands: bool,
    /// Its first argument is the one key it changes, and it waits for nobody.
    is_plain_write: bool,
    request: RequestPolicy,
    response: ResponsePolicy,
    keys: Vec<KeySpec>,
}

impl Command {
    fn written<'a>(&self, args: &[&'a [u8]], access: Access) -> Effect<'a> {
        let mut keys = Vec::new();
        for spec in self.keys.iter().filter(|spec| spec.access == access) {
            if spec.find(args, &mut keys).is_none() {
                return Effect::Unknown;
            }
        }
        Effect::Writes(keys)
    }

    fn is_plain_write(&self) -> bool {
        let is_first = |spec: &KeySpec| {
            spec.access == Access::Write
                && !spec.is_incomplete
                && spec.begin == BeginSearch::Index(1)
                && matches!(spec.find, FindKeys::Range { last_key: 0, step: 1.., .. })
        };
        self.is_write
            && !self.is_blocking
            && !self.has_subcommands
            && matches!(&self.keys[..], [spec] if is_first(spec))
    }
}

/// The longest name a server has, subcommand included, is under 40 bytes.
const NAME_BYTES_MAX: usize = 64;

impl CommandTable {
    /// From the reply to `COMMAND`, one whole frame.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        parse::table(frame)
    }

    /// How many commands are described.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// None is described.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// What `args` (the name first, in any case) changes.
    pub fn effect<'a>(&self, args: &[&'a [u8]]) -> Effect<'a> {
        let mut name = [0_u8; NAME_BYTES_MAX];
        let Some(command) = self.find(args, &mut name) else {
            // Clients ask at every connect for what newer servers have; no `CLIENT` changes a key.
            let is_client = args.first().is_some_and(|word| word.eq_ignore_ascii_case(b"CLIENT"));
            return if is_client { Effect::None } else { Effect::Unknown };
        };
        match name_without_padding(&name) {
            b"debug" if args.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"SLEEP")) => {
                return Effect::None;
            }
            b"flushall" | b"flushdb" | b"swapdb" | b"debug" | b"replicaof" | b"slaveof" => {
                return Effect::FlushAll;
            }
            b"exec" => return Effect::Unknown,
            _ => {}
        }
        let writes_keys = command.keys.iter().any(|spec| spec.access == Access::Write);
        match (command.is_write, command.is_read_only) {
            (true, _) if writes_keys => command.written(args, Access::Write),
            // `XREADGROUP` by its description only reads its keys; believed less than its flag.
            (true, _) if !command.keys.is_empty() => command.written(args, Access::Read),
            // A write that names no key.
            (true, _) => Effect::Unknown,
            // `PFCOUNT` may rewrite what it reads.
            (false, true) if writes_keys => command.written(args, Access::Write),
            (false, true) => Effect::ReadOnly,
            // What runs scripts: neither read-only nor a write, with keys that may be written.
            (false, false) if writes_keys => Effect::Unknown,
            (false, false) => Effect::None,
        }
    }

    /// The key, when changing that one is all that `args` may do: most writes, found in one step.
    #[inline]
    pub fn written_key<'a>(&self, args: &[&'a [u8]]) -> Option<&'a [u8]> {
        let command = self.find(args, &mut [0_u8; NAME_BYTES_MAX])?;
        if command.is_plain_write { args.get(1).copied() } else { None }
    }

    /// May `args` wait for others before it is answered?
    pub fn is_blocking(&self, args: &[&[u8]]) -> bool {
        let mut name = [0_u8; NAME_BYTES_MAX];
        let Some(command) = self.find(args, &mut name) else { return false };
        // Streams are waited for by an option.
        let needs_option = matches!(name_without_padding(&name), b"xread" | b"xreadgroup");
        let has_option = || args.iter().any(|word| word.eq_ignore_ascii_case(b"BLOCK"));
        command.is_blocking && (!needs_option || has_option())
    }

    /// What the server says of the command `args`; `None` for one it does not know.
    pub(crate) fn describe(&self, args: &[&[u8]]) -> Option<Described<'_>> {
        let mut name = [0_u8; NAME_BYTES_MAX];
        let command = self.find(args, &mut name)?;
        Some(Described { name, command })
    }

    /// The command of `args`; its lower-case name is left in `name`.
    fn find(&self, args: &[&[u8]], name: &mut [u8; NAME_BYTES_MAX]) -> Option<&Command> {
        let first = args.first()?;
        let end = write_lower(name, 0, first)?;
        let command = self.commands.get(&name[..end])?;
        if !command.has_subcommands {
            return Some(command);
        }
        let at = write_lower(name, end, b"|")?;
        let end = write_lower(name, at, args.get(1)?)?;
        self.commands.get(&name[..end])
    }
}

fn write_lower(name: &mut [u8; NAME_BYTES_MAX], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    let place = name.get_mut(at..end)?;
    place.copy_from_slice(word);
    place.make_ascii_lowercase();
    Some(end)
}

fn name_without_padding(name: &[u8; NAME_BYTES_MAX]) -> &[u8] {
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES_MAX);
    &name[..end]
}

#[cfg(test)]
mod tests;
