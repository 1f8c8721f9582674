//! How much of the memory prediction deserves.
//!
//! Bytes of the table are bytes that the cache does not have, and both are worth what their last
//! part saves. What the table's saves is counted: predictions that came true of keys that a smaller
//! table would not have known, over the part of the table that such slots are. What the cache's
//! would save is taken from a rule of thumb, that misses go with the inverse square root of its
//! size: of all events, half the part of the cache that is given or taken (Hartstein et al., Power
//! laws of cache misses, 2006). Both are counted in events, so neither size nor rate of misses
//! matters.
//!
//! The table begins with a sixty-fourth, taken as keys come. It grows while its last part saves
//! more than the cache's, shrinks where that is far less, and has a third at most. Who has had
//! trials enough and is far from being believed keeps a rest to go on watching; so does who is full
//! for long without having had them. Where even the rest is too much it sleeps. Whoever has kept
//! to the rest, or slept, for a while is tried anew, with the first share and all trials forgotten;
//! the while is twice as long each time: what repeats may begin to later, and the first table may
//! have been too small to see it.

/// Events between two reviews, one for so many bytes of the first share; what was counted weighs
/// half at the next.
const REVIEW_EVENTS: std::ops::RangeInclusive<usize> = 1024..=2048;
const BYTES_AN_EVENT: usize = 8;
const FIRST_PART: usize = 64;
const LARGEST_PART: usize = 3;
const SMALLEST_PART: usize = 512;
/// Misses that come with the part of the cache that is lost.
const MISSES_A_SHARE: f32 = 0.5;
/// So much more than the cache's bytes: it doubles.
const FAR_MORE: f32 = 2.0;
/// So much of what the cache's bytes save is far less.
const FAR_LESS: f32 = 0.1;
/// With so many trials it is known whether it is to be believed.
const TRIALS: u32 = 128;
/// Reviews of a full table before which they have to come.
const PATIENCE: u32 = 5;
const PATIENCE_FACTOR_MAX: u32 = 4;
/// Who is not believed has so much less after each review.
const DOUBTED_PART: usize = 4;
/// A rest of more than this part is too much.
const REST_PART: usize = 128;
/// Fewer slots have been drawn: take so much of them to be old.
const OLD_MIN: f32 = 0.02;
/// Events until it is tried anew, at first and at most.
const PAUSE_EVENTS: u32 = 1 << 14;
const PAUSE_EVENTS_MAX: u32 = 1 << 20;

/// What one event shows.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    /// A prediction came true.
    pub(super) is_true: bool,
    /// A smaller table would not have known the key.
    pub(super) is_old: bool,
    /// Of a slot drawn from all: is it old?
    pub(super) is_drawn_old: Option<bool>,
    pub(super) is_believed: bool,
}

/// How it stands at the end of a review.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    /// Predictions that were on trial.
    pub(super) trials: u32,
    /// Too few of them came true, by far.
    pub(super) is_far_from_belief: bool,
    /// It has what it may have.
    pub(super) is_full: bool,
    pub(super) table_bytes: usize,
    /// Beside the table.
    pub(super) other_bytes: usize,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    events: f32,
    old_true: f32,
    drawn: f32,
    drawn_old: f32,
    believed: f32,
}

pub(super) struct Share {
    total: usize,
    /// There is no more for it at present.
    most: usize,
    bytes: usize,
    counts: Counts,
    review_events: u32,
    until_review: u32,
    patience: u32,
    /// Events to sleep.
    asleep: u32,
    /// The next pause, and the events that it has kept to the rest.
    pause_events: u32,
    rested: u32,
    is_new_trial: bool,
}

impl Share {
    pub(super) fn new(total_bytes: usize) -> Self {
        let bytes = total_bytes / FIRST_PART;
        let (least, most) = REVIEW_EVENTS.into_inner();
        let review_events = (bytes / BYTES_AN_EVENT).clamp(least, most) as u32;
        Self {
            total: total_bytes,
            most: usize::MAX,
            bytes,
            counts: Counts::default(),
            review_events,
            until_review: review_events,
            patience: PATIENCE,
            asleep: 0,
            pause_events: PAUSE_EVENTS,
            rested: 0,
            is_new_trial: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.min(self.most)
    }

    pub(super) fn set_most(&mut self, bytes: usize) {
        self.most = bytes;
    }

    /// It has nothing, and looks at nothing.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep > 0
    }

    /// One event of its sleep; true when that is over and all begins anew.
    pub(super) fn wakes(&mut self) -> bool {
        self.asleep -= 1;
        if self.asleep == 0 {
            *self =
                Self { most: self.most, pause_events: self.pause_events, ..Self::new(self.total) };
            self.patience = self.patience_now();
        }
        self.asleep == 0
    }

    /// It is tried anew: whatever was found out of it before does not count. Once.
    pub(super) fn takes_new_trial(&mut self) -> bool {
        std::mem::take(&mut self.is_new_trial)
    }

    /// Counts one event; true when a review is due.
    pub(super) fn is_due(&mut self, seen: Seen) -> bool {
        let one = |is_it: bool| f32::from(u8::from(is_it));
        self.counts.events += 1.0;
        self.counts.old_true += one(seen.is_true && seen.is_old);
        self.counts.drawn += one(seen.is_drawn_old.is_some());
        self.counts.drawn_old += one(seen.is_drawn_old == Some(true));
        self.counts.believed += one(seen.is_believed);
        self.until_review -= 1;
        self.until_review == 0
    }

    /// Decides anew; true when the share is another now.
    pub(super) fn review(&mut self, standing: Standing) -> bool {
        let wanted = if self.counts.believed * 2.0 > self.counts.events {
            (self.patience, self.pause_events, self.rested) = (PATIENCE, PAUSE_EVENTS, 0);
            self.balanced(standing)
        } else {
            self.doubted(standing)
        };
        self.until_review = self.review_events;
        for count in [
            &mut self.counts.events,
            &mut self.counts.old_true,
            &mut self.counts.drawn,
            &mut self.counts.drawn_old,
            &mut self.counts.believed,
        ] {
            *count /= 2.0;
        }
        wanted != std::mem::replace(&mut self.bytes, wanted)
    }

    /// The share of who is believed.
    fn balanced(&self, standing: Standing) -> usize {
        let Counts { events, old_true, drawn, drawn_old, .. } = self.counts;
        let bytes = standing.table_bytes.min(self.bytes);
        let share = bytes as f32 / self.total as f32;
        let old_part = (drawn_old / drawn.max(1.0)).max(OLD_MIN);
        let saved = old_true / events / (old_part * share);
        let saved_by_cache = MISSES_A_SHARE / (1.0 - share);
        let smallest = self.total / SMALLEST_PART;
        if saved > saved_by_cache && standing.is_full {
            let more = if saved > FAR_MORE * saved_by_cache { bytes * 2 } else { bytes * 5 / 4 };
            more.min(self.total / LARGEST_PART).max(self.bytes)
        } else if saved < FAR_LESS * saved_by_cache && bytes > smallest {
            (bytes * 4 / 5).max(smallest)
        } else {
            self.bytes
        }
    }

    /// The share of who is not.
    fn doubted(&mut self, standing: Standing) -> usize {
        let is_known = standing.trials >= TRIALS;
        let is_refuted = is_known && standing.is_far_from_belief;
        let smallest = self.total / SMALLEST_PART;
        if self.bytes <= smallest {
            return self.rest(standing, is_refuted);
        }
        if !is_refuted {
            if is_known || !standing.is_full {
                return self.bytes;
            }
            self.patience -= 1;
            if self.patience > 0 {
                return self.bytes;
            }
        }
        self.patience = self.patience_now();
        (self.bytes / DOUBTED_PART).max(smallest)
    }

    /// The longer the pause before a trial was, the longer the trial.
    fn patience_now(&self) -> u32 {
        PATIENCE * (self.pause_events / PAUSE_EVENTS).min(PATIENCE_FACTOR_MAX)
    }

    /// The share of who has kept to the rest since the last review.
    fn rest(&mut self, standing: Standing, is_refuted: bool) -> usize {
        let rest_bytes = standing.table_bytes + standing.other_bytes;
        self.rested += self.review_events;
        let is_too_much = is_refuted && rest_bytes * REST_PART > self.total;
        if !is_too_much && self.rested < self.pause_events {
            return self.bytes;
        }
        self.rested = 0;
        self.asleep = if is_too_much { self.pause_events } else { 0 };
        self.is_new_trial = !is_too_much;
        self.pause_events = (self.pause_events * 2).min(PAUSE_EVENTS_MAX);
        self.patience = self.patience_now();
        if is_too_much { self.bytes } else { self.total / FIRST_PART }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: usize = 64 << 20;

    fn standing(share: &Share, trials: u32) -> Standing {
        Standing {
            trials,
            is_far_from_belief: true,
            is_full: true,
            table_bytes: share.bytes(),
            other_bytes: 0,
        }
    }

    /// So many reviews in which all events but one in so many are the same.
    fn reviews(share: &mut Share, count: u32, seen: Seen, one_in: u32, trials: u32) {
        for _ in 0..count {
            for event in 1..=share.review_events {
                let is_true = seen.is_true && event % one_in == 0;
                let is_drawn_old = Some(event % 5 == 0);
                let is_due = share.is_due(Seen { is_true, is_drawn_old, ..seen });
                assert_eq!(is_due, event == share.review_events);
            }
            let standing = standing(share, trials);
            share.review(standing);
        }
    }

    const USEFUL: Seen =
        Seen { is_true: true, is_old: true, is_drawn_old: None, is_believed: true };

    #[test]
    fn it_grows_as_long_as_its_last_part_saves_more_than_the_cache() {
        let mut share = Share::new(TOTAL);
        assert_eq!(share.bytes(), TOTAL / FIRST_PART);
        // A fifth of its slots saves one event in fifty: a balance where it has a sixth or so.
        reviews(&mut share, 40, USEFUL, 50, 1000);
        let part = share.bytes() as f32 / TOTAL as f32;
        assert!((0.1..0.25).contains(&part), "{part}");
        reviews(&mut share, 40, USEFUL, 2, 1000);
        assert_eq!(share.bytes(), TOTAL / LARGEST_PART);
        reviews(&mut share, 40, Seen { is_old: false, ..USEFUL }, 2, 1000);
        assert_eq!(share.bytes(), TOTAL / SMALLEST_PART, "what is old is of no use");
    }

    #[test]
    fn who_is_not_believed_keeps_a_rest() {
        let doubted = Seen { is_believed: false, ..USEFUL };
        let mut share = Share::new(TOTAL);
        reviews(&mut share, PATIENCE - 1, doubted, 2, TRIALS - 1);
        assert_eq!(share.bytes(), TOTAL / FIRST_PART, "nobody knows yet");
        reviews(&mut share, 1, doubted, 2, TRIALS - 1);
        assert_eq!(share.bytes(), TOTAL / FIRST_PART / DOUBTED_PART, "it has had its time");
        reviews(&mut share, 4, doubted, 2, TRIALS);
        assert_eq!(share.bytes(), TOTAL / SMALLEST_PART);
        assert!(!share.is_asleep());
    }

    #[test]
    fn who_was_not_believed_is_tried_anew_ever_more_seldom() {
        let doubted = Seen { is_believed: false, ..USEFUL };
        let mut share = Share::new(TOTAL);
        let mut trials = Vec::new();
        for review in 0..400 {
            reviews(&mut share, 1, doubted, 2, TRIALS);
            if share.takes_new_trial() {
                assert_eq!(share.bytes(), TOTAL / FIRST_PART);
                trials.push(review);
            }
        }
        let pauses: Vec<i32> = trials.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.len() >= 4 && pauses.windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
        reviews(&mut share, 3, USEFUL, 2, TRIALS);
        assert_eq!(share.pause_events, PAUSE_EVENTS, "who is believed begins anew");
    }

    #[test]
    fn where_the_rest_is_too_much_it_sleeps_and_begins_anew() {
        let doubted = Seen { is_believed: false, ..USEFUL };
        let mut share = Share::new(1 << 18);
        reviews(&mut share, 3, doubted, 2, TRIALS);
        share.review(Standing { other_bytes: 4096, ..standing(&share, TRIALS) });
        assert!(share.is_asleep());
        let slept = (1..).find(|_| share.wakes());
        assert_eq!(slept, Some(PAUSE_EVENTS));
        assert_eq!(share.bytes(), (1 << 18) / FIRST_PART);
        assert!(!share.is_asleep());
        reviews(&mut share, 3, doubted, 2, TRIALS);
        share.review(Standing { other_bytes: 4096, ..standing(&share, TRIALS) });
        assert_eq!(share.asleep, 2 * PAUSE_EVENTS, "longer each time");
    }
}
