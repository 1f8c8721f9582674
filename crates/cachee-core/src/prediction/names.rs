//! The names behind codes, for the time they are of use.
//!
//! What is remembered of the order of keys holds a code a key. A key of a template with one number
//! in it is its own code and needs nothing here (`rules`); of any other the name is kept, until
//! there is no more room: what was heard of longest ago goes first.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::store::EntryRef;
use crate::weigh::heap_bytes;

/// What a name takes beside its own bytes: place in the map and in the order.
const PLACE_BYTES: usize = 48;
const HEADER_BYTES: usize = 8;

#[derive(Default)]
pub(super) struct Names {
    names: HashMap<u64, Box<[u8]>, FixedState>,
    order: VecDeque<u64>,
    bytes: usize,
}

impl Names {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a name for a code, within so many bytes for all.
    pub(super) fn keep(&mut self, code: u64, id: &EntryRef<'_>, limit: usize) {
        let length = HEADER_BYTES + id.key.len() + id.args.len();
        let bytes = PLACE_BYTES + heap_bytes(length);
        if self.names.contains_key(&code) || bytes > limit {
            return;
        }
        self.shrink(limit - bytes);
        let header = [id.shape.to_ne_bytes(), (id.key.len() as u32).to_ne_bytes()];
        let name = [header.as_flattened(), id.key, id.args].concat();
        self.names.insert(code, name.into());
        self.order.push_back(code);
        self.bytes += bytes;
    }

    /// Gives up the oldest until so many bytes are left.
    pub(super) fn shrink(&mut self, limit: usize) {
        while self.bytes > limit {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(name) = self.names.remove(&oldest) {
                self.bytes -= PLACE_BYTES + heap_bytes(name.len());
            }
        }
        if self.names.capacity() > 4 * self.names.len() + 64 {
            self.names.shrink_to(2 * self.names.len());
            self.order.shrink_to(2 * self.order.len());
        }
    }

    /// Shape, key and arguments.
    pub(super) fn get(&self, code: u64) -> Option<(u32, &[u8], &[u8])> {
        let (shape, rest) = self.names.get(&code)?.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (key, args) = rest.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
        Some((u32::from_ne_bytes(*shape), key, args))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<'a>(key: &'a [u8], args: &'a [u8]) -> EntryRef<'a> {
        EntryRef { scope: 1, shape: 7, key, args, key_hash: 0 }
    }

    #[test]
    fn a_name_comes_back_until_there_is_no_room() {
        let mut names = Names::default();
        names.keep(1, &id(b"key", b"args"), 1000);
        assert_eq!(names.get(1), Some((7, &b"key"[..], &b"args"[..])));
        for code in 2..100 {
            names.keep(code, &id(b"key", b""), 1000);
            assert!(names.bytes() <= 1000);
        }
        assert_eq!(names.get(1), None);
        assert_eq!(names.get(99), Some((7, &b"key"[..], &b""[..])));
        names.keep(100, &id(&[b'x'; 2000], b""), 1000);
        assert_eq!(names.get(100), None, "it would take all the room");
        names.shrink(0);
        assert_eq!((names.bytes(), names.get(99)), (0, None));
    }
}
