//! Traces made by formula, the same on every machine.

use crate::traces::Trace;

const REQUESTS: usize = 2_000_000;
const KEYS: usize = 100_000;
const SKEW: f64 = 0.99;
/// Keys of the scan and the loop start here.
const BEYOND: u64 = 1 << 40;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks by popularity proportional to rank^-SKEW.
struct Zipf {
    cumulative: Vec<f64>,
    random: Random,
}

impl Zipf {
    fn new() -> Self {
        let mut total = 0.0;
        let weights = (1..=KEYS).map(|rank| (rank as f64).powf(-SKEW));
        let mut cumulative: Vec<f64> = weights
            .map(|weight| {
                total += weight;
                total
            })
            .collect();
        cumulative.iter_mut().for_each(|sum| *sum /= total);
        Self { cumulative, random: Random(0x9e37_79b9_7f4a_7c15) }
    }

    fn next(&mut self) -> u64 {
        let point = self.random.unit();
        self.cumulative.partition_point(|&sum| sum < point) as u64
    }
}

/// Independent draws.
pub fn zipf() -> Trace {
    let mut zipf = Zipf::new();
    Trace::new("zipf-0.99", (0..REQUESTS).map(|_| zipf.next()).collect())
}

/// Zipf, and every tenth of the time a run of a thousand keys that never come back.
pub fn scan_mix() -> Trace {
    let mut zipf = Zipf::new();
    let mut requests = Vec::with_capacity(REQUESTS);
    let mut fresh = BEYOND;
    while requests.len() < REQUESTS {
        requests.extend((0..9_000).map(|_| zipf.next()));
        requests.extend(fresh..fresh + 1_000);
        fresh += 1_000;
    }
    Trace::new("scan-mix", requests)
}

/// Zipf, every other request the next of 15 000 keys asked round and round.
pub fn loop_mix() -> Trace {
    let mut zipf = Zipf::new();
    let step = |n: usize| {
        if n.is_multiple_of(2) { zipf.next() } else { BEYOND + (n as u64 / 2) % 15_000 }
    };
    Trace::new("loop-mix", (0..REQUESTS).map(step).collect())
}
