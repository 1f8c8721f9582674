//! Which key followed which, in a bounded table.
//!
//! ```text
//! slot   code │ link: hash of what followed │ age, confirmed
//! ```
//!
//! Problem: a log of all events holds what repeats as often as it repeats, and bounded memory is
//! where prediction ends.
//!
//! Idea: each key has one slot, and that slot links to the one of the key that came next. To follow
//! the links is to read a log in which nothing stands twice. A link that came true resists: one
//! exception does not change it. While there is room a key has one slot for each key it came after,
//! so that orders that cross are told apart; that is given up first.
//!
//! A slot is one of sixteen, in two buckets chosen by the key's hash: no index, and with two
//! choices hardly any key goes before its time. The oldest of the sixteen goes. A link is the hash
//! of the key it leads to, so it holds wherever that key is: a table of another size is made in one
//! pass.
//!
//! Rejected: a log of all events (14 bytes each with links and index; the same order stood in it
//! two to three times), one bucket of eight (a third of the table unused when keys begin to go), a
//! second link a slot, links to slots (all of them had to be found anew in a table of another size:
//! ten times the pause).
//!
//! Cost: 13 bytes a slot: 8 the code, 4 the link (28 bits of the hash of the key that it leads to,
//! 4 of the key that this one came after), 1 for age and confirmations.

use super::mix;

/// Slots of a bucket; a key has two buckets.
const WAYS: usize = 8;
pub(super) const SLOT_BYTES: usize = size_of::<u64>() + size_of::<u32>() + size_of::<u8>();
/// Fewer know nothing.
const SLOTS_MIN: usize = 64;
/// What is built anew in one go when it grows.
const SLOTS_MAX: usize = 1 << 19;
/// Bits of a hash that find a key, and that a link is.
const TAG_BITS: u32 = 28;
const NOWHERE: u32 = (1 << TAG_BITS) - 1;
/// The low bits of a link: of the hash of the key before.
const CONTEXT_BITS: u32 = u32::BITS - TAG_BITS;
const CONTEXT: u32 = (1 << CONTEXT_BITS) - 1;
/// Slots that grow older by one at each event: all have after an eighth as many events.
const AGED: usize = 8;
/// A mark: 0 where nothing is; 1 and the exceptions that its link resists; the age times this.
const AGE: u8 = 4;
const AGE_MAX: u8 = u8::MAX / AGE;
const TAKEN: u8 = 1;
const RESISTS_MAX: u8 = 3;
/// Of the age at which keys go: older are those that a smaller table would not have.
const OLD_PART: f32 = 0.75;
/// The weight of one that goes in that age.
const WEIGHT: f32 = 1.0 / 256.0;

/// Slots, found by code, linked in the order of their keys.
pub(super) struct Chains {
    codes: Vec<u64>,
    links: Vec<u32>,
    marks: Vec<u8>,
    limit: usize,
    /// The next slot that grows older.
    hand: usize,
    /// A new key has found no place.
    is_crowded: bool,
    /// How old is what goes, on average.
    leaving_age: f32,
}

fn nibble(code: u64) -> u32 {
    mix(code) as u32 & CONTEXT
}

/// By which it is found in its second bucket.
fn other(tag_of: u32) -> u32 {
    tag(u64::from(tag_of))
}

/// By which a key is found.
fn tag(code: u64) -> u32 {
    ((mix(code) >> (u64::BITS - TAG_BITS)) as u32).min(NOWHERE - 1)
}

impl Chains {
    /// Takes memory as keys come, up to `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        Self::empty(SLOTS_MIN, slots_of(bytes))
    }

    fn empty(slots: usize, limit: usize) -> Self {
        Self {
            codes: vec![0; slots],
            links: vec![NOWHERE << CONTEXT_BITS; slots],
            marks: vec![0; slots],
            limit,
            hand: 0,
            is_crowded: false,
            leaving_age: f32::from(AGE_MAX),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.codes.len() * SLOT_BYTES
    }

    /// Nothing is kept but at the cost of something older.
    pub(super) fn is_full(&self) -> bool {
        self.codes.len() == self.limit && self.is_crowded
    }

    /// Another bound; of a smaller one the youngest stay.
    pub(super) fn set_limit(&mut self, bytes: usize) {
        self.limit = slots_of(bytes);
        if self.codes.len() > self.limit {
            *self = self.resized(self.limit);
            self.is_crowded = false;
        }
    }

    /// By a quarter, or as much as it takes to lose nothing.
    fn grow(&mut self) {
        let mut slots = self.codes.len();
        while slots < self.limit {
            slots = (slots * 5 / 4).next_multiple_of(WAYS).min(self.limit);
            let grown = self.resized(slots);
            if !grown.is_crowded || slots == self.limit {
                *self = grown;
                break;
            }
        }
        self.is_crowded = false;
    }

    /// The same with another number of slots.
    #[cold]
    fn resized(&self, slots: usize) -> Self {
        let mut rebuilt = Self::empty(slots, self.limit);
        rebuilt.leaving_age = self.leaving_age;
        for at in (0..self.codes.len()).filter(|&at| self.marks[at] > 0) {
            let code = self.codes[at];
            let place = rebuilt.place(code);
            if rebuilt.marks[place] > 0 {
                rebuilt.is_crowded = true;
                if rebuilt.marks[place] / AGE <= self.marks[at] / AGE {
                    continue;
                }
            }
            rebuilt.codes[place] = code;
            rebuilt.links[place] = self.links[at];
            rebuilt.marks[place] = self.marks[at];
        }
        rebuilt
    }

    /// Where a bucket begins.
    fn bucket(&self, tag: u32) -> usize {
        let buckets = (self.codes.len() / WAYS) as u64;
        ((u64::from(tag) * buckets) >> TAG_BITS) as usize * WAYS
    }

    /// The slots where a key may be.
    fn slots(&self, tag: u32) -> impl Iterator<Item = usize> + use<> {
        let (one, two) = (self.bucket(tag), self.bucket(other(tag)));
        (one..one + WAYS).chain(two..two + WAYS)
    }

    pub(super) fn code(&self, at: usize) -> u64 {
        self.codes[at]
    }

    pub(super) fn is_at(&self, at: usize, code: u64) -> bool {
        self.codes.get(at) == Some(&code) && self.marks[at] > 0
    }

    /// Where a key is that comes after another: best where it did before.
    pub(super) fn find(&self, code: u64, before: u64) -> Option<usize> {
        let held = self.slots(tag(code)).filter(|&at| self.is_at(at, code));
        held.min_by_key(|&at| self.strangeness(at, before))
    }

    fn strangeness(&self, at: usize, before: u64) -> (bool, u8) {
        (self.context(at) != nibble(before), self.marks[at] / AGE)
    }

    /// What followed the last time.
    pub(super) fn after(&self, at: usize) -> Option<usize> {
        let next = self.next(at)?;
        let is_it = |&at: &usize| self.marks[at] > 0 && tag(self.codes[at]) == next;
        self.slots(next).filter(is_it).min_by_key(|&held| self.strangeness(held, self.codes[at]))
    }

    /// The key that a link leads to, by its tag.
    fn next(&self, at: usize) -> Option<u32> {
        Some(self.links[at] >> CONTEXT_BITS).filter(|&next| next != NOWHERE)
    }

    fn set_link(&mut self, at: usize, next: u32) {
        self.links[at] = next << CONTEXT_BITS | self.context(at);
    }

    /// Four bits of the hash of the key that this one came after.
    fn context(&self, at: usize) -> u32 {
        self.links[at] & CONTEXT
    }

    fn is_known(&self, code: u64) -> bool {
        self.slots(tag(code)).any(|at| self.is_at(at, code))
    }

    fn has_room(&self, code: u64) -> bool {
        self.slots(tag(code)).any(|at| self.marks[at] == 0)
    }

    /// One event: a key came after another, which was at `from`. Its slot.
    pub(super) fn came(&mut self, code: u64, before: u64, from: Option<usize>) -> usize {
        self.grow_older();
        self.make_room(code);
        let from = from
            .and_then(|at| if self.is_at(at, before) { Some(at) } else { self.find(before, 0) });
        let linked = from.and_then(|at| self.after(at)).filter(|&at| self.codes[at] == code);
        let at = match linked.or_else(|| self.find(code, before)) {
            Some(at) if linked.is_some() || self.context(at) == nibble(before) => at,
            Some(at) if !self.has_room(code) => at,
            _ => self.insert(code, nibble(before)),
        };
        self.marks[at] %= AGE;
        if let Some(from) = from.filter(|&from| before != code && self.is_at(from, before)) {
            self.follow(from, tag(code));
        }
        at
    }

    fn make_room(&mut self, code: u64) {
        if self.codes.len() < self.limit && !self.has_room(code) && !self.is_known(code) {
            self.grow();
        }
    }

    /// One key is known to follow another, wherever that came from.
    pub(super) fn learn(&mut self, [before, code]: [u64; 2]) {
        for key in [code, before] {
            self.make_room(key);
            if !self.is_known(key) {
                self.insert(key, nibble(before));
            }
        }
        if let Some(from) = self.find(before, 0) {
            self.set_link(from, tag(code));
            // It has come true before, so it is worth keeping once more.
            self.marks[from] = self.marks[from] / AGE * AGE + TAKEN + 1;
        }
    }

    /// A key has come after the one of a slot: a link that says so is confirmed, another one
    /// weakened.
    fn follow(&mut self, from: usize, next: u32) {
        let resists = self.marks[from] % AGE;
        match self.next(from) {
            Some(linked) if linked == next => self.marks[from] += u8::from(resists < RESISTS_MAX),
            Some(_) if resists > TAKEN => self.marks[from] -= 1,
            _ => self.set_link(from, next),
        }
    }

    /// A free slot of the emptier bucket, or the oldest.
    fn place(&self, code: u64) -> usize {
        let tag = tag(code);
        let buckets = [self.bucket(tag), self.bucket(other(tag))];
        let free =
            buckets.map(|at| self.marks[at..at + WAYS].iter().filter(|&&it| it == 0).count());
        let emptier = buckets[usize::from(free[1] > free[0])];
        let room = (emptier..emptier + WAYS).find(|&at| self.marks[at] == 0);
        let oldest = || self.slots(tag).max_by_key(|&at| self.marks[at] / AGE);
        room.or_else(oldest).unwrap_or(emptier)
    }

    fn insert(&mut self, code: u64, context: u32) -> usize {
        let at = self.place(code);
        if self.marks[at] > 0 {
            self.is_crowded = true;
            self.leaving_age += WEIGHT * (f32::from(self.marks[at] / AGE) - self.leaving_age);
        }
        self.codes[at] = code;
        self.links[at] = NOWHERE << CONTEXT_BITS | context;
        self.marks[at] = TAKEN;
        at
    }

    fn grow_older(&mut self) {
        for mark in &mut self.marks[self.hand..self.hand + AGED] {
            if (1..AGE * AGE_MAX).contains(mark) {
                *mark += AGE;
            }
        }
        self.hand = (self.hand + AGED) % self.marks.len();
    }

    /// Whether a smaller table would not have a slot.
    fn is_old(&self, at: usize) -> bool {
        f32::from(self.marks[at] / AGE) >= OLD_PART * self.leaving_age
    }

    /// Whether a smaller table would not know the key.
    pub(super) fn is_key_old(&self, code: u64) -> bool {
        self.slots(tag(code)).filter(|&at| self.is_at(at, code)).all(|at| self.is_old(at))
    }

    /// Keys and what followed them more than once, at most `count`, the youngest first.
    pub(super) fn pairs(&self, count: usize) -> Vec<[u64; 2]> {
        let is_confirmed = |&at: &usize| self.marks[at] % AGE > TAKEN;
        let mut slots: Vec<usize> = (0..self.codes.len()).filter(is_confirmed).collect();
        slots.sort_by_key(|&at| self.marks[at] / AGE);
        let pair = |at: usize| Some([self.codes[at], self.codes[self.after(at)?]]);
        slots.into_iter().filter_map(pair).take(count).collect()
    }

    /// The key of a slot, none in particular, and whether a smaller table would not have that slot;
    /// it takes a number that differs each time.
    pub(super) fn draw(&self, number: u64) -> Option<(u64, bool)> {
        let at = (mix(number) >> 8) as usize % self.codes.len();
        (self.marks[at] > 0).then(|| (self.codes[at], self.is_old(at)))
    }
}

fn slots_of(bytes: usize) -> usize {
    (bytes / SLOT_BYTES).clamp(SLOTS_MIN, SLOTS_MAX) / WAYS * WAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys in their order, the last of which came before; where the last is now.
    fn came(chains: &mut Chains, codes: impl IntoIterator<Item = u64>) -> Option<usize> {
        let mut before = (0, None);
        for code in codes {
            before = (code, Some(chains.came(code, before.0, before.1)));
        }
        before.1
    }

    fn after(chains: &Chains, code: u64, before: u64) -> Option<u64> {
        chains.find(code, before).and_then(|at| chains.after(at)).map(|at| chains.code(at))
    }

    #[test]
    fn each_key_leads_to_the_one_that_came_next() {
        let mut chains = Chains::new(SLOT_BYTES * 1000);
        assert!(chains.bytes() < 1000, "memory is taken as keys come");
        came(&mut chains, 1..=500);
        assert!((1..500).all(|code| after(&chains, code, code - 1) == Some(code + 1)));
        assert_eq!(after(&chains, 500, 499), None);
    }

    #[test]
    fn what_repeats_takes_no_more_room() {
        let mut chains = Chains::new(SLOT_BYTES * 10_000);
        came(&mut chains, 1..=500);
        let bytes = chains.bytes();
        for _ in 0..20 {
            came(&mut chains, 1..=500);
        }
        assert_eq!(chains.bytes(), bytes);
    }

    #[test]
    fn orders_that_cross_are_told_apart() {
        let mut chains = Chains::new(SLOT_BYTES * 1000);
        for _ in 0..2 {
            came(&mut chains, [1, 2, 3]);
            came(&mut chains, [4, 2, 5]);
        }
        assert_eq!(after(&chains, 2, 1), Some(3));
        assert_eq!(after(&chains, 2, 4), Some(5));
    }

    #[test]
    fn a_link_that_came_true_resists_one_exception() {
        let mut chains = Chains::new(SLOT_BYTES * 1000);
        came(&mut chains, [1, 2]);
        came(&mut chains, [1, 2]);
        came(&mut chains, [1, 3]);
        assert_eq!(after(&chains, 1, 0), Some(2));
        came(&mut chains, [1, 3]);
        assert_eq!(after(&chains, 1, 0), Some(3));
    }

    #[test]
    fn what_came_true_is_worth_keeping() {
        let mut chains = Chains::new(SLOT_BYTES * 1000);
        came(&mut chains, [1, 2, 3, 4]);
        assert!(chains.pairs(9).is_empty());
        came(&mut chains, [1, 2, 3, 4]);
        let mut pairs = chains.pairs(9);
        pairs.sort_unstable();
        assert_eq!(pairs, [[1, 2], [2, 3], [3, 4]]);
        assert_eq!(chains.pairs(1).len(), 1);
        let mut other = Chains::new(SLOT_BYTES * 1000);
        for pair in pairs.into_iter().rev() {
            other.learn(pair);
        }
        assert!((1..4).all(|code| after(&other, code, code - 1) == Some(code + 1)));
        assert_eq!(other.pairs(9).len(), 3, "and once more");
    }

    #[test]
    fn the_oldest_go() {
        let mut chains = Chains::new(SLOT_BYTES * 1024);
        came(&mut chains, 1..=4000);
        assert!(chains.is_full());
        assert!(chains.bytes() <= SLOT_BYTES * 1024);
        let known = |from: u64, to: u64| (from..=to).filter(|&code| chains.find(code, 0).is_some());
        assert!(known(3300, 4000).count() > 650, "{}", known(3300, 4000).count());
        assert!(known(1, 2000).count() < 20, "{}", known(1, 2000).count());
        assert!(chains.is_key_old(1), "what is not known");
        assert!(!chains.is_key_old(4000));
    }

    #[test]
    fn a_table_of_another_size_knows_its_youngest_and_their_order() {
        for slots in [104, 304, 5000] {
            let mut chains = Chains::new(SLOT_BYTES * 1000);
            came(&mut chains, 1..=700);
            chains.set_limit(SLOT_BYTES * slots);
            assert!(chains.bytes() <= SLOT_BYTES * slots.max(1000));
            let linked = |code: &u64| after(&chains, *code, code - 1) == Some(code + 1);
            let youngest = 700 - slots.min(699) as u64 / 4;
            let count = (youngest..700).filter(linked).count() as u64;
            assert!(count * 10 > (700 - youngest) * 7, "{count} of {}", 700 - youngest);
        }
    }
}
