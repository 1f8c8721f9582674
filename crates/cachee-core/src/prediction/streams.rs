//! Temporal streams: what followed a key the last time follows it again.
//!
//! ```text
//! chains   a ─► b ─► c ─► d ─► e ─► f ─►      which key followed which (`chains`)
//! stream       [b    c    d    e]             what it expects
//!              ──depth──►                     what it has predicted
//! ```
//!
//! The order that is followed is that of each flow: events of others come between, and another time
//! others do.
//!
//! An event that one of the live streams expects among its next few goes on with that stream: its
//! depth doubles, and what lies that far ahead is predicted. Any other begins a stream at its key,
//! in the place of the one that has been still for longest, with a depth of one: a coincidence
//! costs one prediction. A stream keeps the keys it expects, so that links which change meanwhile
//! do not lead it astray.
//!
//! Cost: 13 bytes a key (`chains`), 112 a stream. An event compares its key with sixty-four and
//! looks at two buckets.

use super::chains::{Chains, SLOT_BYTES};
use super::mix;

/// Live streams.
const STREAMS: usize = 16;
/// An event may come so many places behind the expected one.
const WINDOW: usize = 4;
/// Keys ahead, at most. With twice as many the rest of a small cache is full of what is not asked
/// for in the end.
const DEPTH_MAX: usize = 8;
/// Flows whose latest event is known, at most, and slots for each; two that share a place end each
/// other's order.
const FLOWS_MAX: usize = 256;
const SLOTS_A_FLOW: usize = 16;

#[derive(Clone, Copy, Default)]
struct Stream {
    /// Keys expected, the next one first.
    ahead: [u64; DEPTH_MAX],
    length: usize,
    /// Of those, predicted.
    sent: usize,
    /// The last of those, and its slot; the key it began at while there are none.
    end: u64,
    end_at: usize,
    depth: usize,
    /// The event that moved it last; 0 of one that never was.
    moved: u64,
}

/// Where a flow was last.
#[derive(Clone, Copy)]
struct Latest {
    flow: u64,
    code: u64,
    at: usize,
}

pub(super) struct Streams {
    chains: Chains,
    latest: Vec<Latest>,
    live: Vec<Stream>,
    events: u64,
}

impl Streams {
    /// Takes memory as keys come, up to `bytes` for the table.
    pub(super) fn new(bytes: usize) -> Self {
        let flows = (bytes / SLOT_BYTES / SLOTS_A_FLOW).clamp(1, FLOWS_MAX);
        Self {
            chains: Chains::new(bytes),
            latest: vec![Latest { flow: 0, code: 0, at: 0 }; flows],
            live: vec![Stream::default(); STREAMS],
            events: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.table_bytes() + self.other_bytes()
    }

    /// What grows and shrinks.
    pub(super) fn table_bytes(&self) -> usize {
        self.chains.bytes()
    }

    pub(super) fn other_bytes(&self) -> usize {
        size_of_val(self.latest.as_slice()) + size_of_val(self.live.as_slice())
    }

    /// Nothing is kept but at the cost of something older.
    pub(super) fn is_full(&self) -> bool {
        self.chains.is_full()
    }

    /// Another bound for the table; of a smaller one the youngest stay.
    pub(super) fn set_limit(&mut self, bytes: usize) {
        self.chains.set_limit(bytes);
    }

    /// Whether a smaller table would not know a key.
    pub(super) fn is_old(&self, code: u64) -> bool {
        self.chains.is_key_old(code)
    }

    /// A key of the table, none in particular, and whether a smaller one would not have its slot;
    /// it takes a number that differs each time.
    pub(super) fn draw(&self, number: u64) -> Option<(u64, bool)> {
        self.chains.draw(number)
    }

    /// Keys and what followed them more than once, at most `count`.
    pub(super) fn pairs(&self, count: usize) -> Vec<[u64; 2]> {
        self.chains.pairs(count)
    }

    /// One key is known to follow another.
    pub(super) fn learn(&mut self, pair: [u64; 2]) {
        self.chains.learn(pair);
    }

    /// One event, and what is predicted after it. `is_late`: it was predicted, but not far enough
    /// ahead.
    pub(super) fn observe(
        &mut self,
        code: u64,
        flow: u64,
        is_late: bool,
        predict: impl FnMut(u64),
    ) {
        self.events += 1;
        let place = (mix(flow) >> 32) as usize % self.latest.len();
        let latest = self.latest[place];
        let is_known = latest.flow == flow;
        let before = if is_known { latest.code } else { 0 };
        if let Some(number) = self.move_on(code, before, is_late) {
            self.predict(number, predict);
        }
        let at = self.chains.came(code, before, is_known.then_some(latest.at));
        self.latest[place] = Latest { flow, code, at };
    }

    /// The stream that goes on with a key, or begins at it.
    fn move_on(&mut self, code: u64, before: u64, is_late: bool) -> Option<usize> {
        if let Some((step, number)) = self.expected(code) {
            let stream = &mut self.live[number];
            stream.ahead.copy_within(step + 1.., 0);
            stream.length -= step + 1;
            stream.sent = stream.sent.saturating_sub(step + 1);
            stream.depth = (stream.depth * if is_late { 4 } else { 2 }).min(DEPTH_MAX);
            stream.moved = self.events;
            return Some(number);
        }
        let at = self.chains.find(code, before)?;
        let number = (0..STREAMS).min_by_key(|&number| self.live[number].moved)?;
        let moved = self.events;
        self.live[number] = Stream { end: code, end_at: at, depth: 1, moved, ..Stream::default() };
        Some(number)
    }

    /// How soon the stream that expects a key soonest does, and which one that is.
    fn expected(&self, code: u64) -> Option<(usize, usize)> {
        let place = |stream: &Stream| {
            stream.ahead[..stream.length.min(WINDOW)].iter().position(|&next| next == code)
        };
        let live = self.live.iter().enumerate();
        live.filter_map(|(number, stream)| Some((place(stream)?, number))).min()
    }

    fn predict(&mut self, number: usize, mut predict: impl FnMut(u64)) {
        let Self { live, chains, .. } = self;
        let stream = &mut live[number];
        let is_there = chains.is_at(stream.end_at, stream.end);
        let mut end = if is_there { Some(stream.end_at) } else { chains.find(stream.end, 0) };
        while stream.length < stream.depth.max(WINDOW) {
            end = end.and_then(|at| chains.after(at));
            let Some(at) = end else { break };
            (stream.end, stream.end_at) = (chains.code(at), at);
            stream.ahead[stream.length] = stream.end;
            stream.length += 1;
        }
        for &next in &stream.ahead[stream.sent.min(stream.length)..stream.depth.min(stream.length)]
        {
            predict(next);
        }
        stream.sent = stream.sent.max(stream.depth.min(stream.length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(streams: &mut Streams, codes: impl IntoIterator<Item = u64>) -> Vec<Vec<u64>> {
        let each = |code| {
            let mut predicted = Vec::new();
            streams.observe(code, 1, false, |next| predicted.push(next));
            predicted
        };
        codes.into_iter().map(each).collect()
    }

    #[test]
    fn the_longer_it_fits_the_further_ahead() {
        let mut streams = Streams::new(SLOT_BYTES * 1000);
        predictions(&mut streams, 0..100);
        let again = predictions(&mut streams, 0..5);
        assert_eq!(again[0], [1]);
        assert_eq!(again[1], [2, 3]);
        assert_eq!(again[2], [4, 5, 6]);
        assert_eq!(again[3], (7..12).collect::<Vec<_>>());
        assert_eq!(again[4], [12]);
    }

    #[test]
    fn interleaved_streams_go_on_side_by_side() {
        let mut streams = Streams::new(SLOT_BYTES * 1000);
        predictions(&mut streams, (0..50).chain(100..150));
        let both = (0..20).flat_map(|step| [step, 100 + step]);
        let predicted = predictions(&mut streams, both).concat();
        let expected: Vec<u64> = (1..20).chain(101..120).collect();
        assert!(expected.iter().all(|code| predicted.contains(code)), "{predicted:?}");
    }

    #[test]
    fn what_others_do_between_is_not_what_follows() {
        let mut streams = Streams::new(SLOT_BYTES * 1000);
        let mut noise = 1_000_000..;
        let mut walk = |streams: &mut Streams| {
            let mut predicted = Vec::new();
            for code in 0..50 {
                streams.observe(code, 1, false, |next| predicted.push(next));
                for flow in 2..5 {
                    streams.observe(noise.next().unwrap(), flow, false, |_| {});
                }
            }
            predicted
        };
        walk(&mut streams);
        let predicted = walk(&mut streams);
        let known = (1..50).filter(|code| predicted.contains(code)).count();
        assert!(known == 49 && predicted.iter().all(|&code| code < 50), "{predicted:?}");
    }

    #[test]
    fn one_left_out_does_not_end_a_stream() {
        let mut streams = Streams::new(SLOT_BYTES * 1000);
        predictions(&mut streams, 0..100);
        let again = predictions(&mut streams, [0, 1, 4]);
        assert_eq!(again[2], [5, 6, 7, 8]);
    }

    #[test]
    fn links_that_change_do_not_lead_a_stream_astray() {
        let mut streams = Streams::new(SLOT_BYTES * 1000);
        predictions(&mut streams, 0..100);
        let again = predictions(&mut streams, [0, 1, 500, 2, 501, 3]);
        assert_eq!(again[3], [4, 5, 6]);
        assert_eq!(again[5], (7..12).collect::<Vec<_>>());
    }
}
