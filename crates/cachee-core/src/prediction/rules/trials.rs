//! Predictions that have yet to come true, acted on or not.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::table::Ref;

/// Rules that share the merit of one prediction.
const RULES_MAX: usize = 4;
/// A prediction that has not come true by then was wrong.
const HORIZON_MS: u64 = 10_000;
/// The weight of one trial, once there are enough.
const WEIGHT: f32 = 1.0 / 256.0;

/// How often predictions of a kind come true, the latest counting most. One that is still open
/// counts as wrong: those that come true do so at once, and the others would be counted too late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Precision {
    pub(super) trials: u32,
    pub(super) value: f32,
}

impl Precision {
    pub(super) fn begun(&mut self) {
        self.trials = self.trials.saturating_add(1);
        self.value -= self.weight() * self.value;
    }

    pub(super) fn came_true(&mut self) {
        self.value = (self.value + self.weight()).min(1.0);
    }

    fn weight(self) -> f32 {
        WEIGHT.max(1.0 / self.trials.max(1) as f32)
    }
}

/// One prediction.
#[derive(Default)]
pub(super) struct Trial {
    pub(super) rules: Vec<Ref>,
    /// No rule has said so: a key of this template, drawn to see how often any comes true.
    pub(super) drawn_of: Option<Ref>,
    /// It was acted on.
    pub(super) is_issued: bool,
    at_ms: u64,
    number: u64,
    /// What its value says, once that has come.
    pub(super) fields: Vec<(u32, u32)>,
}

pub(super) struct Trials {
    open: HashMap<u64, Trial, FixedState>,
    order: VecDeque<(u64, u64)>,
    limit: usize,
    last: u64,
}

impl Trials {
    pub(super) fn new(limit: usize) -> Self {
        Self { open: HashMap::default(), order: VecDeque::new(), limit, last: 0 }
    }

    pub(super) fn get_mut(&mut self, code: u64) -> Option<&mut Trial> {
        self.open.get_mut(&code)
    }

    /// One more rule says so; false when it has said so already.
    pub(super) fn join(trial: &mut Trial, rule: Ref) -> bool {
        let is_new = trial.rules.len() < RULES_MAX && !trial.rules.contains(&rule);
        if is_new {
            trial.rules.push(rule);
        }
        is_new
    }

    pub(super) fn begin(&mut self, code: u64, at_ms: u64) -> &mut Trial {
        self.last += 1;
        let number = self.last;
        self.order.push_back((code, number));
        let trial = Trial { at_ms, number, ..Trial::default() };
        self.open.entry(code).insert_entry(trial).into_mut()
    }

    /// It came true.
    pub(super) fn take(&mut self, code: u64) -> Option<Trial> {
        self.open.remove(&code)
    }

    /// The oldest, if its time is over or there are too many.
    pub(super) fn take_failed(&mut self, now_ms: u64) -> Option<Trial> {
        while let Some(&(code, number)) = self.order.front() {
            let open = self.open.get(&code).filter(|trial| trial.number == number);
            let is_over = open.is_none_or(|trial| {
                now_ms.saturating_sub(trial.at_ms) > HORIZON_MS || self.order.len() > self.limit
            });
            if !is_over {
                return None;
            }
            let is_open = open.is_some();
            self.order.pop_front();
            if is_open {
                return self.open.remove(&code);
            }
        }
        None
    }

    pub(super) fn bytes(&self) -> usize {
        let owned: usize = self
            .open
            .values()
            .map(|trial| 8 * (trial.rules.capacity() + trial.fields.capacity()))
            .sum();
        (size_of::<Trial>() + 16) * self.open.len() + 16 * self.order.len() + owned
    }
}
