//! Process-wide monotonic milliseconds.
//!
//! Deadlines, proofs and proofs' ends are all on this clock. The hit path reads the coarse one:
//! a vDSO load of about 5 ns against 25 ns for the precise one, in steps of the kernel's tick. It
//! is used rounded *up* by one step, so it never runs behind the precise clock and a deadline is
//! never overrun. A ticker thread would be cheaper still and was rejected: a starved ticker, or a
//! process stopped and continued, would serve what has expired.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// How far `coarse_ms` may run ahead of `now_ms`: one tick of the slowest kernel in use (100 Hz),
/// and one millisecond for the rounding of the two clocks. A constant, because asking the kernel
/// for its step would put another load on the hit path for a few milliseconds of lifetime.
pub const GRANULE_MS: u64 = if cfg!(target_os = "linux") { 11 } else { 1 };

#[cfg(target_os = "linux")]
const COARSE: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const COARSE: ClockId = ClockId::Monotonic;

/// Milliseconds on the precise clock.
#[inline]
pub fn now_ms() -> u64 {
    milliseconds(clock_gettime(ClockId::Monotonic))
}

/// Milliseconds on the coarse clock, never behind `now_ms`.
#[inline]
pub fn coarse_ms() -> u64 {
    milliseconds(clock_gettime(COARSE)) + GRANULE_MS
}

#[inline]
fn milliseconds(time: Timespec) -> u64 {
    // The monotonic clock is never negative.
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_is_never_behind() {
        for _ in 0..200_000 {
            let precise = now_ms();
            let coarse = coarse_ms();
            assert!(coarse >= precise, "{coarse} < {precise}");
            assert!(coarse <= now_ms() + GRANULE_MS);
        }
    }
}
