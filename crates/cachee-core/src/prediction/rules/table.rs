//! A bounded table whose places are used again; who remembers a place of before finds nothing.

/// A place, and whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ref {
    slot: u32,
    id: u32,
}

impl Ref {
    /// Sixteen bits that nearly always tell it from others.
    pub(super) fn short(self) -> u16 {
        (self.slot << SHORT_ID_BITS | self.id & SHORT_ID_MASK) as u16
    }
}

const SHORT_ID_BITS: u32 = 6;
const SHORT_ID_MASK: u32 = (1 << SHORT_ID_BITS) - 1;

pub(super) struct Table<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    limit: usize,
    last_id: u32,
    /// Where the search for something to give up goes on.
    hand: usize,
}

/// Places looked at for something to give up.
const STEPS: usize = 16;

impl<T> Table<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), limit, last_id: 0, hand: 0 }
    }

    pub(super) fn get(&self, at: Ref) -> Option<&T> {
        let (id, held) = self.slots.get(at.slot as usize)?;
        held.as_ref().filter(|_| *id == at.id)
    }

    /// What is in the place that `Ref::short` came from.
    pub(super) fn by_short(&self, short: u16) -> Option<&T> {
        let (id, held) = self.slots.get((u32::from(short) >> SHORT_ID_BITS) as usize)?;
        held.as_ref().filter(|_| id & SHORT_ID_MASK == u32::from(short) & SHORT_ID_MASK)
    }

    pub(super) fn get_mut(&mut self, at: Ref) -> Option<&mut T> {
        let (id, held) = self.slots.get_mut(at.slot as usize)?;
        held.as_mut().filter(|_| *id == at.id)
    }

    pub(super) fn remove(&mut self, at: Ref) -> Option<T> {
        self.get(at)?;
        self.free.push(at.slot);
        self.slots[at.slot as usize].1.take()
    }

    /// Takes a place; none while all are taken.
    pub(super) fn insert(&mut self, value: T) -> Option<Ref> {
        if self.is_full() {
            return None;
        }
        self.last_id = self.last_id.wrapping_add(1);
        let place = (self.last_id, Some(value));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = place;
                slot
            }
            None => {
                self.slots.push(place);
                self.slots.len() as u32 - 1
            }
        };
        Some(Ref { slot, id: self.last_id })
    }

    /// The one of the next few that is worth least, if `worth` says that any may go.
    pub(super) fn least(&mut self, worth: impl Fn(&T) -> Option<u64>) -> Option<Ref> {
        let count = self.slots.len();
        let steps = (0..STEPS.min(count)).map(|step| (self.hand + step) % count);
        let known = steps.filter_map(|slot| {
            let (id, held) = &self.slots[slot];
            Some((worth(held.as_ref()?)?, Ref { slot: slot as u32, id: *id }))
        });
        let least = known.min_by_key(|(worth, _)| *worth).map(|(_, at)| at);
        self.hand += STEPS;
        least
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ref, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, (id, held))| {
            Some((Ref { slot: slot as u32, id: *id }, held.as_ref()?))
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.limit
    }

    /// The places; what they own is not counted.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.slots.as_slice())
    }
}
