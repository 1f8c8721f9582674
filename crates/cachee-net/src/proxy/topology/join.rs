//! The nodes' replies made into the one reply of the command, in either protocol.
//!
//! Replies are whole frames and are joined as bytes: elements are copied, not decoded. An error of
//! any part is the answer, in the order of the parts, except where one success is enough. Replies
//! that do not fit together (a node of another version) are an error as well, never a wrong reply.

use super::routing::Join;
use crate::resp::{Node, Reader};

/// What is answered when replies do not fit together.
pub(crate) const MISFIT: &[u8] = b"-ERR the replies of the cluster's nodes do not fit together\r\n";

/// One node's reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    /// Which of the command's keys it is about, in the order of their replies; empty for commands
    /// that were not taken apart.
    pub(crate) positions: &'a [u32],
    /// The whole frame.
    pub(crate) frame: &'a [u8],
}

/// Appends the one reply to `out`.
pub(crate) fn join(how: Join, replies: &[Reply<'_>], out: &mut Vec<u8>) {
    let mut failed = replies.iter().filter(|reply| is_error(reply.frame));
    if how == Join::OneSucceeded {
        let succeeded = replies.iter().find(|reply| !is_error(reply.frame));
        out.extend_from_slice(succeeded.or(replies.first()).map_or(MISFIT, |reply| reply.frame));
        return;
    }
    if let Some(error) = failed.next() {
        out.extend_from_slice(error.frame);
        return;
    }
    let start = out.len();
    if joined(how, replies, out).is_none() {
        out.truncate(start);
        out.extend_from_slice(MISFIT);
    }
}

fn joined(how: Join, replies: &[Reply<'_>], out: &mut Vec<u8>) -> Option<()> {
    match how {
        Join::Positions => by_position(replies, out),
        Join::Concat => one_after_the_other(replies, out),
        Join::Sum => numbers(replies, out, |sum, value| sum.checked_add(value)),
        Join::Min => numbers(replies, out, |least, value| Some(least.min(value))),
        Join::Max => numbers(replies, out, |most, value| Some(most.max(value))),
        Join::And => numbers(replies, out, |all, value| Some(i64::from(all != 0 && value != 0))),
        Join::Or => numbers(replies, out, |any, value| Some(i64::from(any != 0 || value != 0))),
        Join::AllSucceeded | Join::OneSucceeded => {
            out.extend_from_slice(replies.first()?.frame);
            Some(())
        }
        Join::OneOf => {
            let is_something = |reply: &&Reply<'_>| {
                Reader::new(reply.frame).next().is_some_and(|node| node != Node::Null)
            };
            let some: Vec<_> = replies.iter().filter(is_something).collect();
            // Which one is the replies' own chance: a random key of each is random enough.
            let chance: usize =
                some.iter().flat_map(|reply| reply.frame).map(|&b| b as usize).sum();
            let chosen = some.get(chance % some.len().max(1)).copied().or(replies.first())?;
            out.extend_from_slice(chosen.frame);
            Some(())
        }
    }
}

fn is_error(frame: &[u8]) -> bool {
    matches!(frame.first(), Some(b'-' | b'!'))
}

/// Each part's elements to where their keys stood in the command.
fn by_position(replies: &[Reply<'_>], out: &mut Vec<u8>) -> Option<()> {
    let count: usize = replies.iter().map(|reply| reply.positions.len()).sum();
    let mut elements = vec![None; count];
    for reply in replies {
        let mut reader = Reader::new(reply.frame);
        if reader.next()? != Node::Array(reply.positions.len()) {
            return None;
        }
        for &position in reply.positions {
            *elements.get_mut(position as usize)? = Some(reader.raw()?);
        }
    }
    header(b'*', count, out);
    for element in elements {
        out.extend_from_slice(element?);
    }
    Some(())
}

fn one_after_the_other(replies: &[Reply<'_>], out: &mut Vec<u8>) -> Option<()> {
    let kind = *replies.first()?.frame.first()?;
    let mut bodies = Vec::with_capacity(replies.len());
    let mut count = 0_usize;
    for reply in replies {
        let mut reader = Reader::new(reply.frame);
        let elements = match reader.next()? {
            Node::Array(count) | Node::Set(count) | Node::Map(count) => count,
            _ => return None,
        };
        if reply.frame.first() != Some(&kind) {
            return None;
        }
        count = count.checked_add(elements)?;
        bodies.push(reader.rest());
    }
    header(kind, count, out);
    for body in bodies {
        out.extend_from_slice(body);
    }
    Some(())
}

/// Integers, or arrays of them element by element.
fn numbers(
    replies: &[Reply<'_>],
    out: &mut Vec<u8>,
    combine: impl Fn(i64, i64) -> Option<i64>,
) -> Option<()> {
    let (is_array, mut all) = integers(replies.first()?.frame)?;
    for reply in &replies[1..] {
        let (is_array_too, values) = integers(reply.frame)?;
        if is_array_too != is_array || values.len() != all.len() {
            return None;
        }
        for (so_far, value) in all.iter_mut().zip(values) {
            *so_far = combine(*so_far, value)?;
        }
    }
    if is_array {
        header(b'*', all.len(), out);
    }
    for value in all {
        out.extend_from_slice(format!(":{value}\r\n").as_bytes());
    }
    Some(())
}

fn integers(frame: &[u8]) -> Option<(bool, Vec<i64>)> {
    let mut reader = Reader::new(frame);
    match reader.next()? {
        Node::Integer(value) => Some((false, vec![value])),
        Node::Array(count) => {
            let values = (0..count).map(|_| reader.integer()).collect::<Option<_>>()?;
            Some((true, values))
        }
        _ => None,
    }
}

fn header(kind: u8, count: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(format!("{count}\r\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined_of(how: Join, frames: &[&[u8]]) -> String {
        let replies: Vec<_> = frames.iter().map(|&frame| Reply { positions: &[], frame }).collect();
        let mut out = b"+before\r\n".to_vec();
        join(how, &replies, &mut out);
        String::from_utf8(out[9..].to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_combined() {
        for (how, expected) in [
            (Join::Sum, ":7\r\n"),
            (Join::Min, ":0\r\n"),
            (Join::Max, ":5\r\n"),
            (Join::And, ":0\r\n"),
            (Join::Or, ":1\r\n"),
        ] {
            assert_eq!(joined_of(how, &[b":5\r\n", b":0\r\n", b":2\r\n"]), expected);
        }
        // SCRIPT EXISTS; WAITAOF.
        let pairs: [&[u8]; 2] = [b"*2\r\n:1\r\n:1\r\n", b"*2\r\n:0\r\n:1\r\n"];
        assert_eq!(joined_of(Join::And, &pairs), "*2\r\n:0\r\n:1\r\n");
        assert_eq!(joined_of(Join::Min, &pairs), "*2\r\n:0\r\n:1\r\n");
        assert_eq!(joined_of(Join::Sum, &[b":-3\r\n"]), ":-3\r\n");
    }

    #[test]
    fn the_first_error_wins() {
        let frames: [&[u8]; 3] = [b"+OK\r\n", b"-ERR a\r\n", b"!5\r\nERR b\r\n"];
        for how in [Join::AllSucceeded, Join::Sum, Join::Concat, Join::Positions, Join::OneOf] {
            assert_eq!(joined_of(how, &frames), "-ERR a\r\n");
        }
        assert_eq!(joined_of(Join::OneSucceeded, &frames), "+OK\r\n");
        assert_eq!(joined_of(Join::OneSucceeded, &frames[1..]), "-ERR a\r\n");
        assert_eq!(joined_of(Join::AllSucceeded, &[b"+OK\r\n", b"+OK\r\n"]), "+OK\r\n");
    }

    #[test]
    fn lists_are_put_one_after_the_other() {
        let frames: [&[u8]; 3] =
            [b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*2\r\n$1\r\nb\r\n*1\r\n:1\r\n"];
        assert_eq!(joined_of(Join::Concat, &frames), "*3\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n:1\r\n");
        let maps: [&[u8]; 2] = [b"%1\r\n+a\r\n:1\r\n", b"%1\r\n+b\r\n:2\r\n"];
        assert_eq!(joined_of(Join::Concat, &maps), "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n");
    }

    #[test]
    fn one_that_is_something_is_chosen() {
        assert_eq!(joined_of(Join::OneOf, &[b"$-1\r\n", b"$1\r\nk\r\n"]), "$1\r\nk\r\n");
        assert_eq!(joined_of(Join::OneOf, &[b"_\r\n", b"_\r\n"]), "_\r\n");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let misfit = std::str::from_utf8(MISFIT).unwrap();
        for (how, frames) in [
            (Join::Sum, &[&b":1\r\n"[..], b"+OK\r\n"][..]),
            (Join::Sum, &[b":9223372036854775807\r\n", b":1\r\n"]),
            (Join::Min, &[b"*1\r\n:1\r\n", b"*2\r\n:1\r\n:2\r\n"]),
            (Join::Min, &[b"*1\r\n:1\r\n", b":1\r\n"]),
            (Join::Concat, &[b"*0\r\n", b"~0\r\n"]),
            (Join::Concat, &[b"*0\r\n", b"*-1\r\n"]),
            (Join::Positions, &[b"*1\r\n:1\r\n"]),
            (Join::Sum, &[]),
            (Join::Concat, &[]),
            (Join::OneSucceeded, &[]),
        ] {
            assert_eq!(joined_of(how, frames), misfit, "{how:?} {frames:?}");
        }
        let twice = [Reply { positions: &[0, 0], frame: b"*2\r\n:1\r\n:2\r\n" }];
        let mut out = Vec::new();
        join(Join::Positions, &twice, &mut out);
        assert_eq!(out, MISFIT);
    }

    proptest! {
        #[test]
        fn every_element_comes_to_its_place(
            elements in prop::collection::vec((0..4_usize, "[a-z]{0,5}", any::<bool>()), 1..30),
        ) {
            let encoded = |text: &str, is_null: bool| match is_null {
                true => "_\r\n".to_owned(),
                false => format!("${}\r\n{text}\r\n", text.len()),
            };
            let mut parts = vec![(Vec::new(), String::new()); 4];
            let mut whole = format!("*{}\r\n", elements.len());
            for (position, (part, text, is_null)) in elements.iter().enumerate() {
                parts[*part].0.push(position as u32);
                parts[*part].1 += &encoded(text, *is_null);
                whole += &encoded(text, *is_null);
            }
            let frames: Vec<_> = parts
                .iter()
                .filter(|(positions, _)| !positions.is_empty())
                .map(|(positions, body)| (positions, format!("*{}\r\n{body}", positions.len())))
                .collect();
            let replies: Vec<_> = frames
                .iter()
                .map(|(positions, frame)| Reply { positions, frame: frame.as_bytes() })
                .collect();
            let mut out = Vec::new();
            join(Join::Positions, &replies, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), whole);
        }

        #[test]
        fn garbage_never_panics(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            kind in prop::sample::select(&b"*~%:$-"[..]),
        ) {
            let all: Vec<Vec<u8>> =
                frames.iter().map(|frame| [&[kind], &frame[..]].concat()).collect();
            let replies: Vec<_> =
                all.iter().map(|frame| Reply { positions: &[0, 1], frame }).collect();
            for how in [Join::Positions, Join::Concat, Join::Sum, Join::OneOf] {
                join(how, &replies, &mut Vec::new());
            }
        }
    }
}
