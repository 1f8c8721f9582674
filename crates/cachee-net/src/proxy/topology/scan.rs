//! `SCAN` over all nodes by one cursor.
//!
//! A client's cursor is the number of a shard in its low ten bits and that shard's own cursor
//! above: 0 begins with shard 0, and a shard that is done is followed by the next one's beginning.
//! A server's cursor is a place in its table (and, newer ones, a slot), far below the 54 bits that
//! are left; one that does not fit is an error, never a wrong cursor. A thousand shards is what
//! clusters are made for.
//!
//! What a scan promises ends where keys move: a slot that goes to another shard meanwhile may be
//! seen twice or not at all, as by every client that asks the nodes in turn.

use super::slots::SlotMap;
use crate::resp::{Node, Reader};

const SHARD_BITS: u32 = 10;
const SHARD_MASK: u64 = (1 << SHARD_BITS) - 1;

/// What a client is told when a node's cursor leaves no room for the shard.
pub(crate) const NO_ROOM: &[u8] = b"-ERR this cursor does not fit beside the number of a shard\r\n";

/// Where a scan goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The shard, by its number in the slot map.
    pub(crate) shard: u16,
    /// The cursor as that shard knows it.
    pub(crate) inner: u64,
}

impl Cursor {
    /// From what a client sent.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let value: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        Some(Self { shard: (value & SHARD_MASK) as u16, inner: value >> SHARD_BITS })
    }

    /// What the client is given; `None` when it does not fit.
    fn encode(self) -> Option<u64> {
        let fits = self.inner <= u64::MAX >> SHARD_BITS && u64::from(self.shard) <= SHARD_MASK;
        fits.then_some(self.inner << SHARD_BITS | u64::from(self.shard))
    }

    /// Where it really goes on: at the next shard if its own serves nothing any more. `None`: there
    /// is none left, and the scan is over.
    pub(crate) fn at(self, map: &SlotMap) -> Option<Self> {
        let shard = map.serving_from(self.shard).next()?;
        Some(Self { shard, inner: if shard == self.shard { self.inner } else { 0 } })
    }

    /// Appends the answer to a shard's reply at this cursor: its elements and the next cursor.
    pub(crate) fn answer(self, reply: &[u8], map: &SlotMap, out: &mut Vec<u8>) {
        let mut reader = Reader::new(reply);
        let Some(Node::Array(2)) = reader.next() else {
            // An error.
            out.extend_from_slice(reply);
            return;
        };
        let inner = reader.string().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let next = match inner {
            Some(0) => Self { shard: self.shard + 1, inner: 0 }.at(map),
            Some(inner) => Some(Self { shard: self.shard, inner }),
            None => return out.extend_from_slice(super::join::MISFIT),
        };
        match next.map_or(Some(0), Self::encode) {
            Some(next) => answer(next, reader.rest(), out),
            None => out.extend_from_slice(NO_ROOM),
        }
    }

    /// Appends the answer of a scan that is over.
    pub(crate) fn over(out: &mut Vec<u8>) {
        answer(0, b"*0\r\n", out);
    }
}

fn answer(next: u64, elements: &[u8], out: &mut Vec<u8>) {
    let text = next.to_string();
    out.extend_from_slice(format!("*2\r\n${}\r\n{text}\r\n", text.len()).as_bytes());
    out.extend_from_slice(elements);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::topology::slots::tests::map;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn answer_of(cursor: Cursor, reply: &[u8], map: &SlotMap) -> String {
        let mut out = Vec::new();
        cursor.answer(reply, map, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_shard_is_followed_by_the_next() {
        let map = map(&[(0, 1), (5000, 2)]);
        let start = Cursor::parse(b"0").unwrap();
        assert_eq!(start, Cursor { shard: 0, inner: 0 });
        let more = answer_of(start, b"*2\r\n$1\r\n6\r\n*1\r\n+k\r\n", &map);
        assert_eq!(more, "*2\r\n$4\r\n6144\r\n*1\r\n+k\r\n");
        let going_on = Cursor::parse(b"6144").unwrap();
        assert_eq!(going_on, Cursor { shard: 0, inner: 6 });
        assert_eq!(answer_of(going_on, b"*2\r\n+0\r\n*0\r\n", &map), "*2\r\n$1\r\n1\r\n*0\r\n");
        let last = Cursor::parse(b"1").unwrap();
        assert_eq!(last, Cursor { shard: 1, inner: 0 });
        assert_eq!(answer_of(last, b"*2\r\n+0\r\n*0\r\n", &map), "*2\r\n$1\r\n0\r\n*0\r\n");
    }

    #[test]
    fn a_shard_that_serves_nothing_is_passed_over() {
        let before = map(&[(0, 1), (5000, 2), (10000, 3)]);
        let mut after = map(&[(0, 1), (5000, 3)]);
        after.inherit(&before);
        let gone = Cursor { shard: 1, inner: 77 };
        assert_eq!(gone.at(&before), Some(gone));
        assert_eq!(gone.at(&after), Some(Cursor { shard: 2, inner: 0 }));
        assert_eq!(Cursor { shard: 3, inner: 0 }.at(&after), None);
    }

    #[test]
    fn what_is_no_cursor_is_left_to_the_server() {
        for text in [&b"abc"[..], b"", b"-1", b"18446744073709551616", b"\xff"] {
            assert_eq!(Cursor::parse(text), None);
        }
        let map = map(&[(0, 1)]);
        let at = Cursor { shard: 0, inner: 0 };
        assert_eq!(answer_of(at, b"-ERR x\r\n", &map), "-ERR x\r\n");
        let huge = answer_of(at, b"*2\r\n+18014398509481984\r\n*0\r\n", &map);
        assert_eq!(huge.as_bytes(), NO_ROOM);
    }

    proptest! {
        #[test]
        fn every_key_of_every_shard_comes_once(
            shards in prop::collection::vec(prop::collection::vec(0..1_000_000_u64, 1..6), 1..20),
        ) {
            let firsts: Vec<_> = (0..shards.len() as u16).map(|n| (n * 100, n + 1)).collect();
            let map = map(&firsts);
            // A shard's cursors are its pages; what comes after the last is 0.
            let pages = |shard: u16| -> BTreeMap<u64, u64> {
                let mut cursors = shards[usize::from(shard)].clone();
                cursors.insert(0, 0);
                cursors.sort_unstable();
                cursors.dedup();
                let next = cursors[1..].iter().copied().chain([0]);
                cursors.iter().copied().zip(next).collect()
            };
            let mut seen = Vec::new();
            let mut text = "0".to_owned();
            loop {
                let cursor = Cursor::parse(text.as_bytes()).unwrap().at(&map).unwrap();
                seen.push((cursor.shard, cursor.inner));
                let next = pages(cursor.shard)[&cursor.inner];
                let answer = answer_of(cursor, format!("*2\r\n+{next}\r\n*0\r\n").as_bytes(), &map);
                text = answer.split("\r\n").nth(2).unwrap().to_owned();
                if text == "0" {
                    break;
                }
            }
            let all: Vec<_> = (0..shards.len() as u16)
                .flat_map(|shard| pages(shard).into_keys().map(move |inner| (shard, inner)))
                .collect();
            prop_assert_eq!(seen, all);
        }
    }
}
