//! Which key followed which, in a bounded table.
//!
//! ```text
//! slot   code │ link ──► slot of what followed │ age, confirmed
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
//! choices hardly any key goes before its time. The oldest of the sixteen goes. Links to what has
//! gone are known by the hash of the key that is there now.
//!
//! Rejected: a log of all events (14 bytes each with links and index; the same order stood in it
//! two to three times), one bucket of eight (a third of the table unused when keys begin to go), a
//! second link a slot.
//!
//! Cost: 13 bytes a slot: 8 the code, 4 the link (24 bits of the slot, 4 of the hash of the key
//! that it leads to, 4 of the key that it came after), 1 for age and confirmations.

use super::mix;

/// Slots of a bucket; a key has two buckets.
const WAYS: usize = 8;
pub(super) const SLOT_BYTES: usize = size_of::<u64>() + size_of::<u32>() + size_of::<u8>();
/// Fewer know nothing.
const SLOTS_MIN: usize = 64;
/// What 24 bits tell apart, one left for none.
const SLOTS_MAX: usize = (1 << 24) - WAYS;
const NOWHERE: u32 = u32::MAX >> 8;
/// Four bits of a hash: in a link, of the key before; four bits higher, of the key it leads to.
const CONTEXT: u32 = 0xf;
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

impl Chains {
    /// Takes memory as keys come, up to `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        Self::empty(SLOTS_MIN, slots_of(bytes))
    }

    fn empty(slots: usize, limit: usize) -> Self {
        Self {
            codes: vec![0; slots],
            links: vec![NOWHERE << 8; slots],
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
        let mut moved = vec![NOWHERE; self.codes.len()];
        let mut order: Vec<usize> =
            (0..self.codes.len()).filter(|&at| self.marks[at] > 0).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(self.marks[at]));
        for &at in &order {
            let place = rebuilt.insert(self.codes[at], self.context(at));
            rebuilt.marks[place] = self.marks[at];
            moved[at] = place as u32;
        }
        for &at in &order {
            let place = moved[at] as usize;
            if rebuilt.codes[place] == self.codes[at]
                && let Some(next) = self.after(at)
                && rebuilt.codes[moved[next] as usize] == self.codes[next]
            {
                rebuilt.set_link(place, moved[next] as usize);
            }
        }
        rebuilt
    }

    /// The slots where a code may be.
    fn slots(&self, code: u64) -> impl Iterator<Item = usize> + use<> {
        let buckets = (self.codes.len() / WAYS) as u64;
        let bucket = |hash: u64| (((hash >> 32) * buckets) >> 32) as usize * WAYS;
        let hash = mix(code);
        let (one, other) = (bucket(hash), bucket(mix(hash)));
        (one..one + WAYS).chain(other..other + WAYS)
    }

    pub(super) fn code(&self, at: usize) -> u64 {
        self.codes[at]
    }

    pub(super) fn is_at(&self, at: usize, code: u64) -> bool {
        self.codes.get(at) == Some(&code) && self.marks[at] > 0
    }

    /// Where a key is that comes after another: best where it did before.
    pub(super) fn find(&self, code: u64, before: u64) -> Option<usize> {
        let context = nibble(before);
        let held = self.slots(code).filter(|&at| self.is_at(at, code));
        held.min_by_key(|&at| (self.context(at) != context, self.marks[at] / AGE))
    }

    /// What followed the last time.
    pub(super) fn after(&self, at: usize) -> Option<usize> {
        let (next, check) = ((self.links[at] >> 8) as usize, self.links[at] >> 4 & CONTEXT);
        let code = *self.codes.get(next)?;
        (self.marks[next] > 0 && nibble(code) == check).then_some(next)
    }

    fn set_link(&mut self, at: usize, next: usize) {
        let context = self.context(at);
        self.links[at] = (next as u32) << 8 | nibble(self.codes[next]) << 4 | context;
    }

    /// Four bits of the hash of the key that this one came after.
    fn context(&self, at: usize) -> u32 {
        self.links[at] & CONTEXT
    }

    fn is_known(&self, code: u64) -> bool {
        self.slots(code).any(|at| self.is_at(at, code))
    }

    fn has_room(&self, code: u64) -> bool {
        self.slots(code).any(|at| self.marks[at] == 0)
    }

    /// One event: a key came after another, which was at `from`. Its slot.
    pub(super) fn came(&mut self, code: u64, before: u64, from: Option<usize>) -> usize {
        self.grow_older();
        if self.codes.len() < self.limit && !self.has_room(code) && !self.is_known(code) {
            self.grow();
        }
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
            self.follow(from, at);
        }
        at
    }

    /// One has come after the other: a link that says so is confirmed, another one weakened.
    fn follow(&mut self, from: usize, to: usize) {
        let resists = self.marks[from] % AGE;
        match self.after(from) {
            Some(next) if next == to => self.marks[from] += u8::from(resists < RESISTS_MAX),
            Some(_) if resists > TAKEN => self.marks[from] -= 1,
            _ => self.set_link(from, to),
        }
    }

    /// A free slot of the emptier bucket, or the oldest.
    fn place(&self, code: u64) -> usize {
        let is_free = |at: usize| self.marks[at] == 0;
        let free = |at: usize| (at / WAYS * WAYS..).take(WAYS).filter(|&at| is_free(at)).count();
        let age = |at: usize| usize::from(self.marks[at] / AGE);
        let rank = |&at: &usize| (free(at) * usize::from(is_free(at)), age(at));
        self.slots(code).max_by_key(rank).expect("a bucket has slots")
    }

    fn insert(&mut self, code: u64, context: u32) -> usize {
        let at = self.place(code);
        if self.marks[at] > 0 {
            self.is_crowded = true;
            self.leaving_age += WEIGHT * (f32::from(self.marks[at] / AGE) - self.leaving_age);
        }
        self.codes[at] = code;
        self.links[at] = NOWHERE << 8 | context;
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
        self.slots(code).filter(|&at| self.is_at(at, code)).all(|at| self.is_old(at))
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
