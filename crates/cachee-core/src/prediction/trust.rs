//! Do predictions come true, and more often than by chance? Counted for all, acted on or not.
//!
//! A prediction is a trial, and has come true when its key is asked for within so many events.
//! Without that horizon nearly every key comes true some day, and it means nothing. Where few keys
//! are asked for, any guess comes true often: beside each prediction a key drawn from what is known
//! is a trial as well, a placebo, and a prediction has to be worth two of those.

use crate::ghost::Ghost;

/// Below this part nothing is asked for.
const FLOOR: f64 = 0.2;
/// Below this part of what is asked for it is nowhere near.
const FAR: f64 = 0.75;
/// How much oftener than a placebo.
const OVER_PLACEBO: f64 = 2.0;
/// Events that a prediction has at the least, and at the most: what is open takes memory.
const HORIZON: std::ops::RangeInclusive<usize> = 32..=2048;
/// Before so many nobody is believed.
const TRIALS_MIN: u32 = 64;
/// The weight of one trial, once there are enough.
const WEIGHT: f64 = 0.002;

/// Trials of one kind.
struct Trials {
    open: Ghost,
    precision: f64,
    count: u32,
}

impl Trials {
    fn new(horizon: usize) -> Self {
        let mut open = Ghost::new();
        open.set_limit(horizon.clamp(*HORIZON.start(), *HORIZON.end()));
        Self { open, precision: 0.0, count: 0 }
    }

    /// One more, counted as failed until it is not; one that is open already is none.
    fn begin(&mut self, tag: u32) {
        if self.open.contains(tag) {
            return;
        }
        self.open.insert(tag);
        self.count = self.count.saturating_add(1);
        self.precision -= self.weight() * self.precision;
    }

    /// One event: the key was asked for. True when a trial had it.
    fn seen(&mut self, tag: u32) -> bool {
        self.open.age_all();
        let is_true = self.open.take(tag);
        if is_true {
            self.precision = (self.precision + self.weight()).min(1.0);
        }
        is_true
    }

    fn weight(&self) -> f64 {
        WEIGHT.max(1.0 / f64::from(self.count.max(1)))
    }
}

pub(super) struct Trust {
    predictions: Trials,
    placebos: Trials,
}

fn tag(code: u64) -> u32 {
    (super::mix(code) >> 32) as u32
}

impl Trust {
    pub(super) fn new(horizon: usize) -> Self {
        Self { predictions: Trials::new(horizon), placebos: Trials::new(horizon) }
    }

    /// Events that a prediction has from now on.
    pub(super) fn set_horizon(&mut self, horizon: usize) {
        for trials in [&mut self.predictions, &mut self.placebos] {
            trials.open.set_limit(horizon.clamp(*HORIZON.start(), *HORIZON.end()));
        }
    }

    pub(super) fn predicted(&mut self, code: u64) {
        self.predictions.begin(tag(code));
    }

    pub(super) fn drawn(&mut self, code: u64) {
        self.placebos.begin(tag(code));
    }

    /// One event: the key was asked for. True when that had been predicted.
    pub(super) fn seen(&mut self, code: u64) -> bool {
        self.placebos.seen(tag(code));
        self.predictions.seen(tag(code))
    }

    /// Predictions that were on trial.
    pub(super) fn trials(&self) -> u32 {
        self.predictions.count
    }

    /// Predictions are worth acting on.
    pub(super) fn is_given(&self) -> bool {
        self.doubt().is_none()
    }

    /// Why they are not.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        if self.predictions.count < TRIALS_MIN {
            Some("too few predictions yet")
        } else if self.predictions.precision < FLOOR {
            Some("comes true too seldom")
        } else {
            (self.predictions.precision < self.bar()).then_some("little better than chance")
        }
    }

    /// They are not, and nowhere near.
    pub(super) fn is_far(&self) -> bool {
        self.predictions.precision < FAR * self.bar()
    }

    fn bar(&self) -> f64 {
        FLOOR.max(OVER_PLACEBO * self.placebos.precision).min(1.0 - FLOOR)
    }

    /// The part of the last predictions that came true.
    #[cfg(test)]
    pub(super) fn precision(&self) -> f64 {
        self.predictions.precision
    }

    pub(super) fn bytes(&self) -> usize {
        self.predictions.open.bytes() + self.placebos.open.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_believed_before_there_are_enough_trials() {
        let mut trust = Trust::new(1000);
        for code in 0..u64::from(TRIALS_MIN) {
            assert!(!trust.is_given());
            trust.predicted(code);
            trust.seen(code);
        }
        assert!(trust.is_given());
        assert!(trust.precision() > 0.99);
    }

    #[test]
    fn one_in_ten_is_not_enough_and_too_late_does_not_count() {
        let mut trust = Trust::new(1000);
        for code in 0..10_000 {
            trust.predicted(code);
            if code % 10 == 0 {
                trust.seen(code);
            }
            if code > 2_000 {
                trust.seen(code - 2_000);
            }
        }
        assert!(!trust.is_given());
        assert!((0.05..0.15).contains(&trust.precision()), "{}", trust.precision());
    }

    #[test]
    fn what_any_guess_would_have_found_is_no_merit() {
        let mut trust = Trust::new(1000);
        for code in 0..10_000 {
            trust.predicted(code);
            trust.drawn(1_000_000 + code);
            if code % 2 == 0 {
                trust.seen(code);
            }
            if code % 3 == 0 {
                trust.seen(1_000_000 + code);
            }
        }
        assert!(trust.precision() > 0.4);
        assert!(!trust.is_given());
    }

    #[test]
    fn a_prediction_made_twice_is_one() {
        let mut trust = Trust::new(1000);
        for code in 0..1_000 {
            trust.predicted(code);
            trust.predicted(code);
            trust.seen(code);
        }
        assert!(trust.precision() > 0.99);
    }
}
