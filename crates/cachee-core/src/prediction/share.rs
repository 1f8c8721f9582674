//! How much of the memory prediction deserves.
//!
//! Bytes of the log are bytes that the cache does not have. It may take a sixty-fourth, and takes
//! that as events come. Once it is full it may have twice as much: up to a thirty-second where it
//! is believed, up to a fifth while a good part of what is told to it are keys it has loaded ahead.
//! While it is not believed it has half as much, down to a rest: enough to go on watching, too
//! little to be missed.

/// Events between two reviews.
const REVIEW_EVENTS: u32 = 4096;
/// Of the events, one in so many has to be of its making for more.
const USED_PART: u32 = 20;

const FIRST_PART: usize = 64;
const BELIEVED_PART: usize = 32;
const LARGEST_PART: usize = 5;
const SMALLEST_PART: usize = 512;

pub(super) struct Share {
    total: usize,
    /// There is no more for it at present.
    most: usize,
    bytes: usize,
    events: u32,
    used: u32,
    believed: u32,
}

impl Share {
    pub(super) fn new(total_bytes: usize) -> Self {
        Self {
            total: total_bytes,
            most: usize::MAX,
            bytes: total_bytes / FIRST_PART,
            events: 0,
            used: 0,
            believed: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.min(self.most)
    }

    pub(super) fn set_most(&mut self, bytes: usize) {
        self.most = bytes;
    }

    /// One event; true when the share is another now. `is_full`: it has what it may have.
    pub(super) fn review(&mut self, is_used: bool, is_believed: bool, is_full: bool) -> bool {
        self.events += 1;
        self.used += u32::from(is_used);
        self.believed += u32::from(is_believed);
        if self.events < REVIEW_EVENTS {
            return false;
        }
        let is_used = self.used * USED_PART > self.events;
        let is_believed = self.believed * 2 > self.events;
        let most = match (is_used, is_believed) {
            (true, _) => self.total / LARGEST_PART,
            (false, true) => self.total / BELIEVED_PART,
            (false, false) => 0,
        };
        let wanted = if !is_full {
            self.bytes
        } else if most > 0 {
            (self.bytes * 2).min(most).max(self.bytes)
        } else {
            (self.bytes / 2).max(self.total / SMALLEST_PART)
        };
        (self.events, self.used, self.believed) = (0, 0, 0);
        wanted != std::mem::replace(&mut self.bytes, wanted)
    }
}
