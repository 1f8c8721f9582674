//! Temporal streams: what followed a key the last time follows it again.
//!
//! ```text
//! log    … a b c d e … x y a b c          every event, the oldest overwritten
//! links    └─►└─►└─►                      the next event of the same flow
//! index  a → ●             │              where a key was last, by its hash
//! stream     next ─────────┘ depth ──►    an event that fits moves it on and doubles its depth
//! ```
//!
//! The log is one, the order that is followed is that of each flow: events of others come between,
//! and another time others do.
//!
//! An event that one of the live streams expects among its next few goes on with that stream: its
//! depth doubles, and what lies that far ahead is predicted. Any other begins a stream where its
//! key was last, in the place of the one that has been still for longest, with a depth of one: a
//! coincidence costs one prediction.
//!
//! Cost: 8 bytes a log entry, 2 for its link and 4 an index entry (8 bits of the hash, 24 of the
//! position; the key is compared in the log). An event looks at sixteen windows and one bucket.

/// Live streams.
const STREAMS: usize = 16;
/// An event may come so many places behind the expected one.
const WINDOW: usize = 8;
/// Keys ahead, at most.
const DEPTH_MAX: usize = 16;
/// Places of a bucket of the index.
const WAYS: usize = 4;
/// A log entry with its link and its index entry.
const ENTRY_BYTES: usize = size_of::<u64>() + size_of::<u16>() + size_of::<u32>();
/// Flows whose latest event is known, at most, and log entries for each; two that share a place end
/// each other's order.
const FLOWS_MAX: usize = 256;
const ENTRIES_A_FLOW: usize = 16;
/// Fewer make no stream.
const ENTRIES_MIN: usize = 64;
/// What 24 bits of a position tell apart.
const ENTRIES_MAX: usize = (1 << 24) - 1;

const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Copy, Default)]
struct Stream {
    /// Where in the log its latest event was before.
    at: u64,
    /// Up to where was predicted.
    sent: u64,
    depth: usize,
    /// The event that moved it last; 0 of one that never was.
    moved: u64,
}

/// Where a flow was last.
#[derive(Clone, Copy)]
struct Latest {
    flow: u64,
    position: u64,
}

pub(super) struct Streams {
    log: Vec<u64>,
    /// How far behind it the next event of the same flow is; 0 while there is none.
    links: Vec<u16>,
    latest: Vec<Latest>,
    /// Entries it may come to have.
    limit: usize,
    /// How many events there were: the next one's position.
    head: u64,
    /// Before this position nothing is kept: the log was made anew.
    first: u64,
    index: Vec<u32>,
    live: [Stream; STREAMS],
}

/// Spreads a code over all bits.
pub(super) fn mix(code: u64) -> u64 {
    let spread = (code ^ (code >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    spread ^ (spread >> 29)
}

impl Streams {
    /// Takes memory as events come, up to `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        let limit = (bytes / ENTRY_BYTES).clamp(ENTRIES_MIN, ENTRIES_MAX);
        Self::empty(ENTRIES_MIN, limit)
    }

    fn empty(entries: usize, limit: usize) -> Self {
        Self {
            log: vec![0; entries],
            links: vec![0; entries],
            latest: vec![
                Latest { flow: 0, position: u64::MAX };
                (entries / ENTRIES_A_FLOW).clamp(1, FLOWS_MAX)
            ],
            limit,
            head: 0,
            first: 0,
            index: vec![NOWHERE; entries.next_multiple_of(WAYS)],
            live: [Stream::default(); STREAMS],
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let log = size_of_val(self.log.as_slice()) + size_of_val(self.links.as_slice());
        log + size_of_val(self.index.as_slice()) + size_of_val(self.latest.as_slice())
    }

    /// Nothing is kept but at the cost of something older.
    pub(super) fn is_full(&self) -> bool {
        self.log.len() == self.limit && self.has_wrapped()
    }

    fn has_wrapped(&self) -> bool {
        self.head - self.first >= self.log.len() as u64
    }

    /// Another bound; of a smaller one the newest stay.
    pub(super) fn set_limit(&mut self, bytes: usize) {
        self.limit = (bytes / ENTRY_BYTES).clamp(ENTRIES_MIN, ENTRIES_MAX);
        if self.log.len() > self.limit {
            self.rebuild(self.limit);
        }
    }

    /// The same with another number of entries.
    #[cold]
    fn rebuild(&mut self, entries: usize) {
        let mut rebuilt = Self::empty(entries, self.limit);
        let kept = (self.head - self.oldest()).min(entries as u64);
        (rebuilt.head, rebuilt.first) = (self.head - kept, self.head - kept);
        for position in self.head - kept..self.head {
            let link = self.links[self.place(position)];
            rebuilt.enter(self.at(position));
            let place = rebuilt.place(position);
            rebuilt.links[place] = link;
        }
        rebuilt.live = self.live;
        for latest in self.latest.iter().filter(|latest| latest.position != u64::MAX) {
            let place = rebuilt.place_of(latest.flow);
            rebuilt.latest[place] = *latest;
        }
        *self = rebuilt;
    }

    fn place(&self, position: u64) -> usize {
        (position % self.log.len() as u64) as usize
    }

    fn place_of(&self, flow: u64) -> usize {
        (mix(flow) >> 32) as usize % self.latest.len()
    }

    fn at(&self, position: u64) -> u64 {
        self.log[self.place(position)]
    }

    /// The event that followed in the same flow.
    fn after(&self, position: u64) -> Option<u64> {
        match self.links[self.place(position)] {
            0 => None,
            distance => Some(position + u64::from(distance)),
        }
    }

    /// Events of one flow from one on, that one included.
    fn from(&self, position: Option<u64>) -> impl Iterator<Item = u64> {
        let is_kept = |position: &u64| *position >= self.oldest() && *position < self.head;
        std::iter::successors(position.filter(is_kept), |&position| self.after(position))
    }

    /// A key of the log, none in particular; it takes a number that differs each time.
    pub(super) fn draw(&self, number: u64) -> Option<u64> {
        let kept = self.head - self.oldest();
        (kept > 0).then(|| self.at(self.head - 1 - mix(number) % kept))
    }

    fn oldest(&self) -> u64 {
        self.head.saturating_sub(self.log.len() as u64).max(self.first)
    }

    fn bucket(&self, code: u64) -> (usize, u32) {
        let hash = mix(code);
        let buckets = (self.index.len() / WAYS) as u64;
        ((((hash >> 32) * buckets) >> 32) as usize * WAYS, hash as u32 & 0xff)
    }

    /// The position of an index entry, if the log still has it.
    fn position(&self, entry: u32) -> Option<u64> {
        let age = self.head.wrapping_sub(u64::from(entry >> 8)) & ENTRIES_MAX as u64;
        (entry != NOWHERE && age > 0 && age <= self.head - self.oldest()).then(|| self.head - age)
    }

    /// Where in the index a code is, and where in the log.
    fn find(&self, code: u64) -> Option<(usize, u64)> {
        let (bucket, tag) = self.bucket(code);
        (bucket..bucket + WAYS).find_map(|at| {
            let entry = self.index[at];
            let position = (entry & 0xff == tag).then(|| self.position(entry)).flatten()?;
            (self.at(position) == code).then_some((at, position))
        })
    }

    fn append(&mut self, code: u64, flow: u64) {
        if self.has_wrapped() && self.log.len() < self.limit {
            self.rebuild((self.log.len() * 2).min(self.limit));
        }
        let position = self.head;
        let place = self.place_of(flow);
        let before = std::mem::replace(&mut self.latest[place], Latest { flow, position });
        self.enter(code);
        if before.flow == flow
            && before.position >= self.oldest()
            && before.position < position
            && let Ok(distance) = u16::try_from(position - before.position)
        {
            let place = self.place(before.position);
            self.links[place] = distance;
        }
    }

    fn enter(&mut self, code: u64) {
        let (bucket, tag) = self.bucket(code);
        let place = self
            .find(code)
            .map(|(at, _)| at)
            .or_else(|| (bucket..bucket + WAYS).min_by_key(|&at| self.position(self.index[at])));
        if let Some(place) = place {
            self.index[place] = (self.head as u32) << 8 | tag;
        }
        let at = self.place(self.head);
        self.log[at] = code;
        self.links[at] = 0;
        self.head += 1;
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
        let moved = self.head + 1;
        match self.expected(code) {
            Some((number, position)) => {
                let stream = &mut self.live[number];
                let factor = if is_late { 4 } else { 2 };
                let depth = (stream.depth * factor).min(DEPTH_MAX);
                *stream = Stream { at: position, depth, moved, ..*stream };
                self.predict(number, predict);
            }
            None => {
                if let Some((_, position)) = self.find(code) {
                    let stillest = (0..STREAMS).min_by_key(|&number| self.live[number].moved);
                    let number = stillest.unwrap_or(0);
                    self.live[number] =
                        Stream { at: position, sent: position + 1, depth: 1, moved };
                    self.predict(number, predict);
                }
            }
        }
        self.append(code, flow);
    }

    /// The stream that expects a key soonest, and where.
    fn expected(&self, code: u64) -> Option<(usize, u64)> {
        let oldest = self.oldest();
        let live = self.live.iter().enumerate();
        let kept = live.filter(|(_, stream)| stream.moved > 0 && stream.at >= oldest);
        let found = kept.filter_map(|(number, stream)| {
            let window = self.from(self.after(stream.at)).take(WINDOW);
            let is_it = |&(_, position): &(usize, u64)| self.at(position) == code;
            let (step, position) = window.enumerate().find(is_it)?;
            Some((step, number, position))
        });
        found.min().map(|(_, number, position)| (number, position))
    }

    fn predict(&mut self, number: usize, mut predict: impl FnMut(u64)) {
        let Stream { at, mut sent, depth, .. } = self.live[number];
        for position in self.from(self.after(at)).take(depth) {
            if position >= sent {
                predict(self.at(position));
                sent = position + 1;
            }
        }
        self.live[number].sent = sent;
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
        let mut streams = Streams::new(14 * 1000);
        predictions(&mut streams, 0..100);
        let again = predictions(&mut streams, 0..5);
        assert_eq!(again[0], [1]);
        assert_eq!(again[1], [2, 3]);
        assert_eq!(again[2], [4, 5, 6]);
        assert_eq!(again[3], (7..12).collect::<Vec<_>>());
        assert_eq!(again[4], (12..21).collect::<Vec<_>>());
    }

    #[test]
    fn interleaved_streams_go_on_side_by_side() {
        let mut streams = Streams::new(14 * 1000);
        predictions(&mut streams, (0..50).chain(100..150));
        let both = (0..20).flat_map(|step| [step, 100 + step]);
        let predicted = predictions(&mut streams, both).concat();
        let expected: Vec<u64> = (1..20).chain(101..120).collect();
        assert!(expected.iter().all(|code| predicted.contains(code)), "{predicted:?}");
    }

    #[test]
    fn what_others_do_between_is_not_what_follows() {
        let mut streams = Streams::new(14 * 1000);
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
        // The index forgets a few.
        let known = (1..50).filter(|code| predicted.contains(code)).count();
        assert!(known > 45 && predicted.iter().all(|&code| code < 50), "{predicted:?}");
    }

    #[test]
    fn one_left_out_does_not_end_a_stream() {
        let mut streams = Streams::new(14 * 1000);
        predictions(&mut streams, 0..100);
        let again = predictions(&mut streams, [0, 1, 4]);
        assert_eq!(again[2], [5, 6, 7, 8]);
    }

    #[test]
    fn what_was_overwritten_is_not_known() {
        let mut streams = Streams::new(0);
        predictions(&mut streams, 0..1000);
        assert_eq!(predictions(&mut streams, [5]), [[]; 1]);
        assert_eq!(predictions(&mut streams, [990]), [[991]]);
    }

    #[test]
    fn a_log_of_another_size_knows_its_newest() {
        for entries in [100, 300, 5000] {
            let mut streams = Streams::new(14 * 1000);
            assert!(streams.bytes() < 2000, "memory is taken as events come");
            predictions(&mut streams, 0..700);
            streams.set_limit(14 * entries);
            assert!(streams.bytes() <= 15 * entries + 32);
            assert_eq!(predictions(&mut streams, [650]), [[651]]);
            let is_kept = entries >= 700;
            assert_eq!(predictions(&mut streams, [5]).concat().is_empty(), !is_kept);
            predictions(&mut streams, 1000..7000);
            assert!(streams.is_full());
        }
    }
}
