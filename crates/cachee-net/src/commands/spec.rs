//! Key specifications: where a command's keys are among its arguments.
//!
//! The rules are those of the server's `getKeysUsingKeySpecs`.

use std::iter::StepBy;
use std::ops::Range;

/// What a command does to the keys of one specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads, or does not touch a key at all.
    Read,
    /// Writes, replaces or removes.
    Write,
    /// Not a key (a sharded channel), but a cluster finds its node by it as by a key.
    Channel,
}

/// Where the first key is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BeginSearch {
    Index(usize),
    Keyword { keyword: Box<[u8]>, start_from: i64 },
    Unknown,
}

/// How the keys go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FindKeys {
    Range { last_key: i64, step: usize, limit: usize },
    KeyCount { count_at: usize, first_key: usize, step: usize },
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeySpec {
    pub(super) access: Access,
    /// The server says there may be more keys than this finds.
    pub(super) is_incomplete: bool,
    pub(super) begin: BeginSearch,
    pub(super) find: FindKeys,
}

impl KeySpec {
    /// Appends the keys found in `args`; `None` when they cannot be known.
    pub(super) fn find<'a>(&self, args: &[&'a [u8]], keys: &mut Vec<&'a [u8]>) -> Option<()> {
        if self.is_incomplete {
            return None;
        }
        keys.extend(self.positions(args)?.map(|at| args[at]));
        Some(())
    }

    /// Where in `args` the keys are; all of them unless the specification is incomplete.
    pub(super) fn positions(&self, args: &[&[u8]]) -> Option<StepBy<Range<usize>>> {
        let first = match &self.begin {
            BeginSearch::Index(index) => *index,
            BeginSearch::Keyword { keyword, start_from } => {
                match keyword_at(args, keyword, *start_from) {
                    Some(at) => at + 1,
                    // An optional part of the command that is not there.
                    None => return Some((0..0).step_by(1)),
                }
            }
            BeginSearch::Unknown => return None,
        };
        let (first, end, step) = match self.find {
            FindKeys::Range { last_key, step, limit } => {
                (first, range_end(args.len(), first, last_key, limit)?, step)
            }
            FindKeys::KeyCount { count_at, first_key, step } => {
                let count = args.get(first.checked_add(count_at)?)?;
                let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
                let first = first.checked_add(first_key)?;
                (first, first.checked_add(count.checked_mul(step)?)?.min(args.len()), step)
            }
            FindKeys::Unknown => return None,
        };
        // Fewer arguments than described: the server will refuse the command.
        (step > 0).then(|| (first..end).step_by(step))
    }

    /// How many arguments belong to each key: two where a value follows it.
    pub(super) fn step(&self) -> usize {
        match self.find {
            FindKeys::Range { step, .. } | FindKeys::KeyCount { step, .. } => step,
            FindKeys::Unknown => 0,
        }
    }
}

/// One past the last key.
fn range_end(count: usize, first: usize, last_key: i64, limit: usize) -> Option<usize> {
    let end = if let Ok(last_key) = usize::try_from(last_key) {
        first.checked_add(last_key)? + 1
    } else if limit > 1 {
        // The keys are the first part of what is left: `STREAMS key key id id`.
        first + count.saturating_sub(first) / limit
    } else {
        let back = usize::try_from(last_key.checked_neg()?).ok()?;
        (count + 1).saturating_sub(back)
    };
    Some(end.min(count))
}

fn keyword_at(args: &[&[u8]], keyword: &[u8], start_from: i64) -> Option<usize> {
    let is_it = |at: &usize| args[*at].eq_ignore_ascii_case(keyword);
    if let Ok(start) = usize::try_from(start_from) {
        return (start..args.len()).find(is_it);
    }
    let back = usize::try_from(start_from.checked_neg()?).ok()?;
    (1..=args.len().checked_sub(back)?).rev().filter(|at| *at < args.len()).find(is_it)
}
