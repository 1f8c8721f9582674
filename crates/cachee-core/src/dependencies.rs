//! From a dependency to the entries built on it, at the cost of the entries alone.
//!
//! Problem: "key k changed" must drop every entry read from k, among a million others, without
//! looking at them; and dropping an entry for any reason must take it off all its lists.
//!
//! Idea: one doubly linked list a dependency, its head found through an [`Index`] by hash. The
//! usual entry has exactly one dependency: its link lies in an array parallel to the slots and
//! needs no allocation and no pointer. Further links lie in a second array, chained per entry.
//!
//! ```text
//! index: hash -> head link ─ next ─ next ...        link < EXTRA: the first of slot `link`
//! first[slot]  { dep previous next }                link >= EXTRA: extra[link - EXTRA]
//! extra[n]     { dep previous next } slot sibling   extras[slot] -> its first extra
//! ```
//!
//! Cost: 16 bytes and a bucket for the one; nothing at all for shards that never use
//! dependencies. Attach and detach are O(dependencies of the entry), a drop O(entries dropped).
//!
//! Rejected: a set of keys per dependency (an allocation each, 100+ bytes), version counters
//! per dependency compared on every hit (free to invalidate, but a second lookup a hit and
//! memory that outlives the entries).

use crate::index::{Index, tag};
use crate::slab::{NONE, reserve_step};

/// Links from here on are in `extra`.
const EXTRA: u32 = 1 << 31;
/// In `previous` of a link that is on no list.
const UNUSED: u32 = u32::MAX - 1;

#[derive(Clone, Copy)]
struct Link {
    dep: u64,
    previous: u32,
    next: u32,
}

const UNLINKED: Link = Link { dep: 0, previous: UNUSED, next: NONE };

#[derive(Clone, Copy)]
struct Extra {
    link: Link,
    slot: u32,
    /// The same entry's next extra link, or the next free one.
    sibling: u32,
}

/// The dependency lists of one slab of slots.
pub(crate) struct Dependencies {
    index: Index,
    first: Vec<Link>,
    extra: Vec<Extra>,
    /// Per slot its first extra link; as long as the highest slot that ever had one.
    extras: Vec<u32>,
    free_extra: u32,
}

impl Dependencies {
    pub(crate) fn new() -> Self {
        Self {
            index: Index::new(),
            first: Vec::new(),
            extra: Vec::new(),
            extras: Vec::new(),
            free_extra: NONE,
        }
    }

    fn link(&self, id: u32) -> &Link {
        if id < EXTRA { &self.first[id as usize] } else { &self.extra[(id - EXTRA) as usize].link }
    }

    fn link_mut(&mut self, id: u32) -> &mut Link {
        if id < EXTRA {
            &mut self.first[id as usize]
        } else {
            &mut self.extra[(id - EXTRA) as usize].link
        }
    }

    fn slot_of(&self, id: u32) -> u32 {
        if id < EXTRA { id } else { self.extra[(id - EXTRA) as usize].slot }
    }

    fn head(&self, dep: u64) -> Option<u32> {
        self.index.find(tag(dep), |id| self.link(id).dep == dep)
    }

    /// Some slot that depends on `dep`.
    pub(crate) fn any(&self, dep: u64) -> Option<u32> {
        self.head(dep).map(|id| self.slot_of(id))
    }

    /// Every slot that depends on `dep`; one that named it twice comes twice.
    pub(crate) fn all(&self, dep: u64) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.head(dep);
        std::iter::from_fn(move || {
            let id = at?;
            let next = self.link(id).next;
            at = (next != NONE).then_some(next);
            Some(self.slot_of(id))
        })
    }

    /// Puts a slot, on no list yet, on the list of each of its dependencies.
    pub(crate) fn attach(&mut self, slot: u32, deps: &[u64]) {
        let Some((&first, others)) = deps.split_first() else { return };
        while self.first.len() <= slot as usize {
            reserve_step(&mut self.first);
            self.first.push(UNLINKED);
        }
        self.push_front(slot, first);
        for &dep in others {
            let id = self.take_extra(slot);
            self.push_front(id, dep);
        }
    }

    fn take_extra(&mut self, slot: u32) -> u32 {
        while self.extras.len() <= slot as usize {
            reserve_step(&mut self.extras);
            self.extras.push(NONE);
        }
        let sibling = self.extras[slot as usize];
        let extra = Extra { link: UNLINKED, slot, sibling };
        let at = if self.free_extra == NONE {
            reserve_step(&mut self.extra);
            self.extra.push(extra);
            self.extra.len() as u32 - 1
        } else {
            let at = self.free_extra;
            self.free_extra = self.extra[at as usize].sibling;
            self.extra[at as usize] = extra;
            at
        };
        self.extras[slot as usize] = at;
        at + EXTRA
    }

    fn push_front(&mut self, id: u32, dep: u64) {
        let head = self.head(dep);
        match head {
            Some(head) => {
                self.link_mut(head).previous = id;
                self.index.replace(tag(dep), head, id);
            }
            None => self.index.insert(tag(dep), id),
        }
        *self.link_mut(id) = Link { dep, previous: NONE, next: head.unwrap_or(NONE) };
    }

    /// Takes a slot off every list.
    pub(crate) fn detach(&mut self, slot: u32) {
        if self.first.get(slot as usize).is_none_or(|link| link.previous == UNUSED) {
            return;
        }
        self.unlink(slot);
        let Some(mut at) = self.extras.get(slot as usize).copied() else { return };
        self.extras[slot as usize] = NONE;
        while at != NONE {
            self.unlink(at + EXTRA);
            let sibling = self.extra[at as usize].sibling;
            self.extra[at as usize].sibling = self.free_extra;
            self.free_extra = at;
            at = sibling;
        }
    }

    fn unlink(&mut self, id: u32) {
        let Link { dep, previous, next } = *self.link(id);
        match (previous, next) {
            (NONE, NONE) => self.index.remove(tag(dep), id),
            (NONE, _) => self.index.replace(tag(dep), id, next),
            _ => self.link_mut(previous).next = next,
        }
        if next != NONE {
            self.link_mut(next).previous = previous;
        }
        *self.link_mut(id) = UNLINKED;
    }

    /// Bytes of all arrays.
    pub(crate) fn bytes(&self) -> usize {
        self.index.bytes()
            + size_of_val(self.first.as_slice())
            + size_of_val(self.extra.as_slice())
            + size_of_val(self.extras.as_slice())
    }

    /// Bytes attaching `deps` dependencies to a slot of a slab `slots` long would add, at most.
    pub(crate) fn growth_bytes(&self, slots: usize, deps: usize) -> usize {
        match deps {
            0 => 0,
            1 => {
                let links = slots.saturating_sub(self.first.len());
                self.index.growth_bytes() + links * size_of::<Link>()
            }
            _ => {
                let extras = slots.saturating_sub(self.extras.len()) * size_of::<u32>();
                let links = (deps - 1) * (size_of::<Extra>() + 16);
                self.growth_bytes(slots, 1) + extras + links
            }
        }
    }

    /// Panics unless every list is whole and holds only slots that `is_held`.
    pub(crate) fn validate(&self, is_held: impl Fn(u32) -> bool) {
        let mut listed = 0;
        let mut heads = 0;
        let firsts = 0..self.first.len() as u32;
        let extras = (0..self.extra.len() as u32).map(|at| at + EXTRA);
        for id in firsts.chain(extras) {
            let link = self.link(id);
            if link.previous == UNUSED {
                continue;
            }
            listed += 1;
            assert!(is_held(self.slot_of(id)), "link {id} of a slot that is gone");
            if link.previous == NONE {
                assert_eq!(self.head(link.dep), Some(id), "head of {}", link.dep);
                heads += 1;
            } else {
                assert_eq!(self.link(link.previous).next, id, "link {id} from before");
            }
            if link.next != NONE {
                assert_eq!(self.link(link.next).previous, id, "link {id} from behind");
            }
        }
        assert_eq!(heads, self.index.len(), "one bucket a dependency");
        self.index.validate(|id| tag(self.link(id).dep));
        let chained: usize = (0..self.extras.len())
            .map(|slot| {
                let of_slot = |at: u32| (at != NONE).then_some(at);
                let first = of_slot(self.extras[slot]);
                std::iter::successors(first, |&at| of_slot(self.extra[at as usize].sibling)).count()
            })
            .sum();
        let single = self.first.iter().filter(|link| link.previous != UNUSED).count();
        assert_eq!(chained + single, listed, "every link belongs to its entry");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn dep(number: u64) -> u64 {
        number << 32 | number
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(
            steps in proptest::collection::vec(
                (0u32..12, proptest::collection::vec(0u64..6, 0..5)), 0..120)
        ) {
            let mut dependencies = Dependencies::new();
            let mut model: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
            for (slot, deps) in steps {
                let deps: Vec<u64> = deps.into_iter().map(dep).collect();
                if model.remove(&slot).is_some() {
                    dependencies.detach(slot);
                } else {
                    let bound = dependencies.bytes()
                        + dependencies.growth_bytes(dependencies.first.len().max(slot as usize + 1), deps.len());
                    dependencies.attach(slot, &deps);
                    if deps.len() <= 1 {
                        prop_assert!(dependencies.bytes() <= bound);
                    }
                    model.insert(slot, deps);
                }
                dependencies.validate(|slot| model.contains_key(&slot));
                for number in 0..6 {
                    let found: BTreeSet<u32> = dependencies.all(dep(number)).collect();
                    let expected: BTreeSet<u32> = model.iter()
                        .filter(|(_, deps)| deps.contains(&dep(number)))
                        .map(|(&slot, _)| slot).collect();
                    prop_assert_eq!(dependencies.any(dep(number)).is_some(), !expected.is_empty());
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn without_dependencies_it_owns_nothing() {
        let mut dependencies = Dependencies::new();
        dependencies.attach(1_000_000, &[]);
        dependencies.detach(1_000_000);
        assert_eq!(dependencies.bytes(), 0);
    }
}
