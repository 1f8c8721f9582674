//! W-TinyLFU (Einziger et al.) with Caffeine's classic hill climber for the window.

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use crate::list::Lists;
use crate::policies::Policy;

const WINDOW: usize = 0;
const PROBATION: usize = 1;
const PROTECTED: usize = 2;

/// Four 4-bit counters a key, halved after ten times the capacity.
struct Sketch {
    counters: Vec<u8>,
    hash: FixedState,
    added: usize,
    sample: usize,
}

impl Sketch {
    fn new(capacity: usize) -> Self {
        let width = (capacity * 4).next_power_of_two().max(64);
        let hash = FixedState::with_seed(7);
        Self { counters: vec![0; width * 4], hash, added: 0, sample: capacity.max(16) * 10 }
    }

    fn places(&self, key: u64) -> [usize; 4] {
        let width = self.counters.len() / 4;
        let hash = self.hash.hash_one(key);
        let step = (hash >> 32) | 1;
        std::array::from_fn(|row| {
            row * width + (hash.wrapping_add(step.wrapping_mul(row as u64)) as usize & (width - 1))
        })
    }

    fn frequency(&self, key: u64) -> u8 {
        self.places(key).into_iter().map(|at| self.counters[at]).min().unwrap_or(0)
    }

    fn add(&mut self, key: u64) {
        for at in self.places(key) {
            self.counters[at] = (self.counters[at] + 1).min(15);
        }
        self.added += 1;
        if self.added == self.sample {
            self.counters.iter_mut().for_each(|counter| *counter /= 2);
            self.added /= 2;
        }
    }
}

/// A window, and behind it a main part entered only by being more frequent than its victim.
pub struct WTinyLfu {
    lists: Lists<3>,
    sketch: Sketch,
    capacity: usize,
    window: usize,
    climber: Option<Climber>,
}

/// Moves the window's size in the direction that last raised the hit ratio.
struct Climber {
    hits: usize,
    requests: usize,
    last_ratio: f64,
    step: f64,
}

impl WTinyLfu {
    fn new(capacity: usize, climber: Option<Climber>) -> Self {
        let window = (capacity / 100).max(1);
        Self { lists: Lists::new(), sketch: Sketch::new(capacity), capacity, window, climber }
    }

    /// The window stays at 1 %.
    pub fn fixed(capacity: usize) -> Self {
        Self::new(capacity, None)
    }

    /// The window adapts.
    pub fn adaptive(capacity: usize) -> Self {
        let step = capacity as f64 * 0.0625;
        Self::new(capacity, Some(Climber { hits: 0, requests: 0, last_ratio: 0.0, step }))
    }

    fn protected(&self) -> usize {
        (self.capacity - self.window) * 8 / 10
    }

    fn climb(&mut self, is_hit: bool) {
        let Some(climber) = &mut self.climber else { return };
        climber.hits += usize::from(is_hit);
        climber.requests += 1;
        if climber.requests < self.capacity * 10 {
            return;
        }
        let ratio = climber.hits as f64 / climber.requests as f64;
        let change = ratio - climber.last_ratio;
        if change < 0.0 {
            climber.step = -climber.step;
        }
        let largest = self.capacity as f64 * 0.8;
        self.window = (self.window as f64 + climber.step).clamp(1.0, largest.max(1.0)) as usize;
        let restart = self.capacity as f64 * 0.0625;
        climber.step =
            if change.abs() >= 0.05 { restart.copysign(climber.step) } else { climber.step * 0.98 };
        (climber.last_ratio, climber.hits, climber.requests) = (ratio, 0, 0);
    }

    fn make_room(&mut self) {
        while self.lists.len(WINDOW) > self.window {
            let candidate = self.lists.oldest(WINDOW);
            self.lists.renew(candidate, PROBATION);
        }
        while self.lists.len(WINDOW) + self.lists.len(PROBATION) + self.lists.len(PROTECTED)
            > self.capacity
        {
            self.evict();
        }
    }

    /// The newest of probation just came from the window: it or the oldest goes.
    fn evict(&mut self) {
        let list = if self.lists.len(PROBATION) > 0 { PROBATION } else { PROTECTED };
        if self.lists.len(list) == 0 {
            self.lists.remove(self.lists.oldest(WINDOW));
            return;
        }
        let victim = self.lists.oldest(list);
        let candidate = self.lists.newest(PROBATION);
        let Some(candidate) = candidate.filter(|&candidate| candidate != victim) else {
            self.lists.remove(victim);
            return;
        };
        let of_candidate = self.sketch.frequency(self.lists.node(candidate).key);
        let of_victim = self.sketch.frequency(self.lists.node(victim).key);
        self.lists.remove(if of_candidate > of_victim { victim } else { candidate });
    }
}

impl Policy for WTinyLfu {
    fn access(&mut self, key: u64) -> bool {
        self.sketch.add(key);
        let found = self.lists.find(key);
        self.climb(found.is_some());
        if let Some(at) = found {
            match self.lists.node(at).list {
                WINDOW => self.lists.renew(at, WINDOW),
                _ => self.lists.renew(at, PROTECTED),
            }
            while self.lists.len(PROTECTED) > self.protected() {
                self.lists.renew(self.lists.oldest(PROTECTED), PROBATION);
            }
            return true;
        }
        self.lists.insert(key, WINDOW);
        self.make_room();
        false
    }
}
