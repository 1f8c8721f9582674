//! When to try again.

use std::hash::{BuildHasher, RandomState};

/// Least time between two attempts: at most twenty a second.
const LEAST_MS: u64 = 50;
/// While the outage is young: a restarted server is met within a fifth of a second.
const YOUNG_MS: u64 = 120;
/// Later.
const OLD_MS: u64 = 1_000;
/// How long an outage is young.
const YOUTH_MS: u64 = 10_000;
/// After an answer that will not change soon.
const LASTING_MS: u64 = 30_000;

/// The pauses of one outage: doubling, bounded, each longer by a random part of half of it.
pub(super) struct Backoff {
    attempts: u32,
    first_failed_ms: u64,
    random: RandomState,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { attempts: 0, first_failed_ms: 0, random: RandomState::new() }
    }

    /// A connection became ready.
    pub(super) fn succeeded(&mut self) {
        self.attempts = 0;
    }

    /// The least time between the start of the last attempt and the next one.
    pub(super) fn pause_ms(&mut self, now_ms: u64, is_lasting: bool) -> u64 {
        if self.attempts == 0 {
            self.first_failed_ms = now_ms;
        }
        let most_ms = if is_lasting {
            LASTING_MS
        } else if now_ms - self.first_failed_ms < YOUTH_MS {
            YOUNG_MS
        } else {
            OLD_MS
        };
        let base_ms =
            if is_lasting { LASTING_MS } else { (LEAST_MS << self.attempts.min(10)).min(most_ms) };
        self.attempts = self.attempts.saturating_add(1);
        base_ms + self.random.hash_one((now_ms, self.attempts)) % (base_ms / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_spaced_and_a_restart_is_met_soon() {
        let mut backoff = Backoff::new();
        let mut now_ms = 1_000;
        for attempt in 0..200 {
            let pause_ms = backoff.pause_ms(now_ms, false);
            assert!(pause_ms >= LEAST_MS);
            assert!(now_ms > 1_000 + YOUTH_MS || pause_ms <= 180, "{attempt}: {pause_ms}");
            assert!(pause_ms <= OLD_MS * 3 / 2);
            now_ms += pause_ms;
        }
        backoff.succeeded();
        assert!(backoff.pause_ms(now_ms, false) <= LEAST_MS * 3 / 2);
        assert!(backoff.pause_ms(now_ms, true) >= LASTING_MS);
    }
}
