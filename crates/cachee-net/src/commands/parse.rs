//! From the reply to `COMMAND` to the table.

use super::policy::{RequestPolicy, ResponsePolicy};
use super::spec::{Access, BeginSearch, FindKeys, KeySpec};
use super::{Command, CommandTable};
use crate::resp::{Node, Reader};

pub(super) fn table(frame: &[u8]) -> Option<CommandTable> {
    let mut reader = Reader::new(frame);
    let mut table = CommandTable::default();
    commands(&mut reader, &mut table)?;
    (!table.is_empty()).then_some(table)
}

/// An array of commands; returns how many.
fn commands(reader: &mut Reader<'_>, table: &mut CommandTable) -> Option<usize> {
    let count = reader.elements()?;
    for _ in 0..count {
        command(reader, table)?;
    }
    Some(count)
}

/// Name, arity, flags, first, last, step, ACL categories, tips, key specifications, subcommands;
/// a later server may add more.
fn command(reader: &mut Reader<'_>, table: &mut CommandTable) -> Option<()> {
    let parts = reader.elements()?;
    if parts < 10 {
        // Older than key specifications: the handshake refuses such servers.
        return None;
    }
    let mut command = Command::default();
    let name = reader.string()?.to_ascii_lowercase();
    reader.skip()?;
    for _ in 0..reader.elements()? {
        match reader.string()? {
            b"write" => command.is_write = true,
            b"readonly" => command.is_read_only = true,
            b"blocking" => command.is_blocking = true,
            b"admin" => command.is_admin = true,
            _ => {}
        }
    }
    let legacy = [reader.integer()?, reader.integer()?, reader.integer()?];
    reader.skip()?;
    for _ in 0..reader.elements()? {
        let tip = reader.string()?;
        if let Some(policy) = tip.strip_prefix(b"request_policy:") {
            command.request = RequestPolicy::parse(policy);
        } else if let Some(policy) = tip.strip_prefix(b"response_policy:") {
            command.response = ResponsePolicy::parse(policy);
        }
    }
    for _ in 0..reader.elements()? {
        command.keys.push(key_spec(reader)?);
    }
    if command.keys.is_empty() {
        command.keys.extend(legacy_spec(legacy, command.is_write));
    }
    command.has_subcommands = commands(reader, table)? > 0;
    command.is_plain_write = command.is_plain_write();
    for _ in 10..parts {
        reader.skip()?;
    }
    table.commands.insert(name.into(), command);
    Some(())
}

/// A module that only told first, last and step.
fn legacy_spec([first, last, step]: [i64; 3], is_write: bool) -> Option<KeySpec> {
    let first = usize::try_from(first).ok().filter(|&first| first > 0)?;
    let last_key = if last >= 0 { last - first as i64 } else { last };
    Some(KeySpec {
        access: if is_write { Access::Write } else { Access::Read },
        is_incomplete: false,
        begin: BeginSearch::Index(first),
        find: FindKeys::Range { last_key, step: usize::try_from(step).ok()?, limit: 0 },
    })
}

fn key_spec(reader: &mut Reader<'_>) -> Option<KeySpec> {
    let Node::Map(pairs) = reader.next()? else { return None };
    let mut spec = KeySpec {
        access: Access::Read,
        is_incomplete: false,
        begin: BeginSearch::Unknown,
        find: FindKeys::Unknown,
    };
    for _ in 0..pairs {
        match reader.string()? {
            b"flags" => {
                for _ in 0..reader.elements()? {
                    match reader.string()? {
                        b"RW" | b"OW" | b"RM" => spec.access = Access::Write,
                        b"incomplete" => spec.is_incomplete = true,
                        b"not_key" => spec.access = Access::Channel,
                        _ => {}
                    }
                }
            }
            b"begin_search" => spec.begin = begin_search(&Fields::read(reader)?),
            b"find_keys" => spec.find = find_keys(&Fields::read(reader)?),
            _ => reader.skip()?,
        }
    }
    Some(spec)
}

/// `{type, spec: {…}}`, flat: every known member of `spec` is an integer but the keyword.
#[derive(Default)]
struct Fields<'a> {
    kind: &'a [u8],
    keyword: &'a [u8],
    numbers: Vec<(&'a [u8], i64)>,
}

impl<'a> Fields<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut fields = Self::default();
        let Node::Map(pairs) = reader.next()? else { return None };
        for _ in 0..pairs {
            match reader.string()? {
                b"type" => fields.kind = reader.string()?,
                b"spec" => fields.read_spec(reader)?,
                _ => reader.skip()?,
            }
        }
        Some(fields)
    }

    fn read_spec(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        let Node::Map(pairs) = reader.next()? else { return None };
        for _ in 0..pairs {
            let name = reader.string()?;
            if name == b"keyword" {
                self.keyword = reader.string()?;
            } else {
                if let Some(number) = reader.clone().integer() {
                    self.numbers.push((name, number));
                }
                reader.skip()?;
            }
        }
        Some(())
    }

    fn number(&self, name: &[u8]) -> Option<i64> {
        self.numbers.iter().find(|(known, _)| *known == name).map(|&(_, number)| number)
    }

    fn size(&self, name: &[u8]) -> Option<usize> {
        usize::try_from(self.number(name)?).ok()
    }
}

fn begin_search(fields: &Fields<'_>) -> BeginSearch {
    let found = match fields.kind {
        b"index" => fields.size(b"index").map(BeginSearch::Index),
        b"keyword" => fields
            .number(b"startfrom")
            .map(|start_from| BeginSearch::Keyword { keyword: fields.keyword.into(), start_from }),
        _ => None,
    };
    found.unwrap_or(BeginSearch::Unknown)
}

fn find_keys(fields: &Fields<'_>) -> FindKeys {
    let found = || match fields.kind {
        b"range" => Some(FindKeys::Range {
            last_key: fields.number(b"lastkey")?,
            step: fields.size(b"keystep")?,
            limit: fields.size(b"limit")?,
        }),
        b"keynum" => Some(FindKeys::KeyCount {
            count_at: fields.size(b"keynumidx")?,
            first_key: fields.size(b"firstkey")?,
            step: fields.size(b"keystep")?,
        }),
        _ => None,
    };
    found().unwrap_or(FindKeys::Unknown)
}
