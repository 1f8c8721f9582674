//! Latencies in buckets: exact below 64 ns, then 64 buckets an octave, at most 1.6 % wide.

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = (u64::BITS - SUB_BITS) as usize * SUB + SUB;

/// How often each latency was seen.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_ns: 0 }
    }

    /// Notes `times` answers that took `ns` each.
    pub(super) fn record(&mut self, ns: u64, times: u64) {
        self.counts[bucket(ns)] += times;
        self.total += times;
        self.max_ns = self.max_ns.max(ns);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub(super) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The latency that `share` of the answers did not exceed, in nanoseconds.
    pub(super) fn quantile_ns(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest_ns(at).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

fn bucket(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(SUB_BITS + 1);
    (shift as usize) * SUB + (ns >> shift) as usize
}

/// The largest latency of a bucket.
fn highest_ns(bucket: usize) -> u64 {
    let shift = (bucket / SUB).saturating_sub(1);
    let next = (bucket - shift * SUB + 1) as u128;
    u64::try_from((next << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_are_narrow() {
        let mut last = 0;
        for exponent in 0..64 {
            for sixteenth in 0..16_u64 {
                let ns = (1_u64 << exponent) + ((u128::from(sixteenth) << exponent) >> 4) as u64;
                let at = bucket(ns);
                assert!(at >= last && at < BUCKETS, "{ns}");
                last = at;
                let highest = highest_ns(at);
                assert!(highest >= ns && (highest - ns) as f64 <= ns as f64 / 60.0, "{ns}");
                assert!(highest == u64::MAX || bucket(highest + 1) == at + 1, "{ns}");
            }
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::new();
        let mut other = Histogram::new();
        assert_eq!(histogram.quantile_ns(0.5), 0);
        for ns in 1..=1_000 {
            (if ns % 2 == 0 { &mut histogram } else { &mut other }).record(ns * 1_000, 3);
        }
        histogram.merge(&other);
        for (share, expected) in [(0.5, 500_000.0), (0.99, 990_000.0), (0.999, 999_000.0)] {
            let found = histogram.quantile_ns(share) as f64;
            assert!((found / expected - 1.0).abs() < 0.017, "{share}: {found}");
        }
        assert_eq!(histogram.quantile_ns(1.0), 1_000_000);
        assert_eq!(histogram.max_ns(), 1_000_000);
    }
}
