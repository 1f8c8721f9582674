//! Predictions that have yet to come true, acted on or not.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::table::Ref;

/// Rules that share the merit of one prediction.
const RULES_MAX: usize = 4;
/// A prediction that has not come true by then was wrong.
const HORIZON_MS: u64 = 10_000;

/// How often predictions of a kind come true, by samples.
///
/// A prediction that comes true does so soon, and one that does not never says so: whoever counts
/// what has ended believes everybody, and whoever counts what is open as wrong believes nobody who
/// has many requests at a time. So a few are followed, as many as make a sample, until all have come
/// true or have had time to; then the next few.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Precision {
    pub(super) trials: u32,
    pub(super) value: f32,
    /// The number of the sample, and how many of it are begun, open, and have come true.
    sample: u32,
    begun: u32,
    open: u32,
    right: u32,
    latest_ms: u64,
    /// How long those take that come true.
    delay_ms: f32,
    has_delay: bool,
}

/// Predictions of one sample.
pub(super) const SAMPLE: u32 = 8;
/// The weight of the latest sample, once there are enough.
const WEIGHT: f32 = 0.25;
/// How long a sample is waited for: at first, and in delays of those that have come true.
const PATIENCE_MS: u64 = 2_000;
const PATIENCE_LEAST_MS: f32 = 50.0;
const PATIENCE_DELAYS: f32 = 4.0;

impl Precision {
    /// As an earlier process has found it.
    pub(super) fn known(value: f32) -> Self {
        Self { trials: SAMPLE, value, ..Self::default() }
    }

    /// One more prediction; the number of its sample if it is to be followed.
    pub(super) fn begin(&mut self, now_ms: u64) -> Option<u32> {
        if self.begun == SAMPLE && now_ms.saturating_sub(self.latest_ms) > self.patience_ms() {
            self.close();
        }
        (self.begun < SAMPLE).then(|| {
            self.begun += 1;
            self.open += 1;
            self.latest_ms = now_ms;
            self.sample
        })
    }

    /// One has come true after so long, followed or not: how long they take is learned from all.
    pub(super) fn came_true(&mut self, sample: Option<u32>, took_ms: u64) {
        self.delay_ms += WEIGHT * (took_ms as f32 - self.delay_ms);
        self.has_delay = true;
        if let Some(sample) = sample {
            self.ended(sample, true);
        }
    }

    /// One that was followed has come true, or never will.
    pub(super) fn ended(&mut self, sample: u32, came_true: bool) {
        if sample != self.sample || self.open == 0 {
            return;
        }
        self.open -= 1;
        self.right += u32::from(came_true);
        if self.begun == SAMPLE && self.open == 0 {
            self.close();
        }
    }

    fn close(&mut self) {
        let samples = self.trials / SAMPLE;
        let weight = WEIGHT.max(1.0 / (samples + 1) as f32);
        self.value += weight * (self.right as f32 / SAMPLE as f32 - self.value);
        self.trials = self.trials.saturating_add(SAMPLE);
        self.sample = self.sample.wrapping_add(1);
        (self.begun, self.open, self.right) = (0, 0, 0);
    }

    fn patience_ms(&self) -> u64 {
        if !self.has_delay {
            return PATIENCE_MS;
        }
        ((PATIENCE_DELAYS * self.delay_ms + PATIENCE_LEAST_MS) as u64).min(HORIZON_MS)
    }
}

/// One prediction.
#[derive(Default)]
pub(super) struct Trial {
    /// Who says so, and in which sample of theirs.
    pub(super) rules: Vec<(Ref, Option<u32>)>,
    /// No rule has said so: a key of this template, drawn to see how often any comes true.
    pub(super) drawn_of: Option<(Ref, Option<u32>)>,
    /// It is to be acted on.
    pub(super) is_claimed: bool,
    /// It was.
    pub(super) is_issued: bool,
    pub(super) at_ms: u64,
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

    /// A rule that has not said so yet may.
    pub(super) fn may_join(trial: &Trial, rule: Ref) -> bool {
        trial.rules.len() < RULES_MAX && trial.rules.iter().all(|(known, _)| *known != rule)
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
            .map(|trial| 24 * trial.rules.capacity() + 8 * trial.fields.capacity())
            .sum();
        (size_of::<Trial>() + 16) * self.open.len() + 16 * self.order.len() + owned
    }
}
