//! One rule, and when it is believed.

use super::binding::Binding;
use super::table::Ref;
use super::trials::{Precision, SAMPLE};

/// Below this part of its predictions coming true a rule is not acted on.
pub(super) const FLOOR: f32 = 0.5;
/// Nor before so many have ended.
pub(super) const TRIALS_MIN: u32 = SAMPLE;
/// A rule that was wrong so often is asked only now and then whether that is still so.
const HOPELESS_TRIALS: u32 = 32;
const HOPELESS: f32 = 0.1;
pub(super) const HOPELESS_PERIOD: u64 = 16;
/// What was sent for a template and of no use is sent for one event in so many: several rules lead
/// to one template.
pub(super) const USELESS_PERIOD: u64 = 64;
/// A rule that has had no occasion for so many events gives way.
const FORGOTTEN_EVENTS: u64 = 200_000;

/// If a key of one template is asked for, one of another is asked for soon.
pub(super) struct Rule {
    pub(super) source: Ref,
    pub(super) target: Ref,
    pub(super) bindings: Box<[Binding]>,
    pub(super) precision: Precision,
    /// What the precision has to reach.
    pub(super) bar: f32,
    /// The event at which it last predicted.
    pub(super) latest: u64,
    pub(super) issued: u64,
    pub(super) used: u64,
    pub(super) late: u64,
    pub(super) unused: u64,
}

impl Rule {
    pub(super) fn new(source: Ref, target: Ref, bindings: Box<[Binding]>, now: u64) -> Self {
        Self {
            source,
            target,
            bindings,
            precision: Precision::default(),
            bar: FLOOR,
            latest: now,
            issued: 0,
            used: 0,
            late: 0,
            unused: 0,
        }
    }

    /// Where so many keys of its target come true by chance, it has to be better: twice as good,
    /// or half as often wrong where that cannot be.
    pub(super) fn set_bar(&mut self, by_chance: Precision) {
        let chance = by_chance.value;
        self.bar = (2.0 * chance).min((1.0 + chance) / 2.0).max(FLOOR);
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.doubt().is_none()
    }

    /// Why it is not believed.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        let Precision { trials, value, .. } = self.precision;
        if trials < TRIALS_MIN {
            Some("too few predictions yet")
        } else if value < FLOOR {
            Some("comes true too seldom")
        } else {
            (value < self.bar).then_some("little better than chance")
        }
    }

    pub(super) fn needs_value(&self) -> bool {
        self.bindings.iter().any(Binding::needs_value)
    }

    pub(super) fn is_hopeless(&self) -> bool {
        self.precision.trials >= HOPELESS_TRIALS && self.precision.value < HOPELESS
    }

    /// How much would be lost with it; none where that is out of the question.
    pub(super) fn worth(&self, now: u64) -> Option<u64> {
        if now - self.latest > FORGOTTEN_EVENTS {
            return Some(0);
        }
        let Precision { trials, value, .. } = self.precision;
        let tried = (value * 1000.0) as u64;
        (!self.is_trusted()).then_some(if trials < TRIALS_MIN { 300 } else { tried })
    }
}
