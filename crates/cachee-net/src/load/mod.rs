//! A load generator for RESP servers, and the byte relay that is the floor of any proxy.
//!
//! Problem: what is to be measured shares two cores with what measures it, and the usual tools
//! take more of them than the server does, wait for a slow reply before they ask again (so that a
//! stall is one slow request instead of thousands), or know one kind of key only.
//! Idea: requests are made before the clock starts ([`requests`]), replies are counted and not
//! kept ([`replies`]), a thread makes one system call a look, a send and a receive a pipeline
//! ([`worker`]). The *closed loop* keeps one pipeline under way on each connection and measures
//! what a server can do; the *open loop* sends at fixed times whatever has come back and measures
//! latency from those times, so nothing is left out.
//! Cost: a reply is not checked beyond its kind; errors and nils are counted, that is all.
//! Rejected: redis-benchmark and memtier_benchmark (closed loop only, not in the wheel, two to
//! three times the CPU), an asynchronous runtime.

mod connection;
mod histogram;
mod readiness;
mod relay;
mod replies;
mod requests;
mod stream;
mod worker;

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::Endpoint;
use histogram::Histogram;
pub use relay::Relay;
use requests::Requests;
pub use requests::key;
use worker::{Tally, Worker};

/// Between two looks at whether the run is to be broken off.
const INTERRUPT_LOOK: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// GET of keys that exist.
    Get,
    /// GET of keys that do not exist, no key twice.
    Missing,
    /// SET.
    Set,
    /// GET with the given probability, else SET.
    Mixed {
        /// From 0 to 1.
        read_share: f64,
    },
    /// MGET of so many keys.
    Mget {
        /// Keys a command.
        keys: usize,
    },
}

/// Which keys and values.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What is asked for.
    pub operation: Operation,
    /// How many keys there are.
    pub keys: u32,
    /// Size of the values set.
    pub value_bytes: usize,
    /// The exponent of Zipf's law, by which some keys are asked for more often; `None`: all alike.
    pub zipf: Option<f64>,
    /// Of all that is drawn.
    pub seed: u64,
    /// In front of each key's number, see [`key`].
    pub prefix: String,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            operation: Operation::Get,
            keys: 10_000,
            value_bytes: 100,
            zipf: None,
            seed: 1,
            prefix: "bench:".to_owned(),
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Whom to ask.
    pub endpoint: Endpoint,
    /// For AUTH on every connection.
    pub password: Option<Vec<u8>>,
    /// Threads the connections are shared out to.
    pub threads: usize,
    /// Connections.
    pub connections: usize,
    /// Commands sent at once on a connection.
    pub pipeline: usize,
    /// How long to send.
    pub duration: Duration,
    /// Commands a second in the open loop; `None`: the closed loop.
    pub rate_per_s: Option<f64>,
    /// Which commands.
    pub workload: Workload,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Replies that came.
    pub operations: u64,
    /// From the start to the last reply.
    pub seconds: f64,
    /// Replies, or elements of them, that are errors.
    pub errors: u64,
    /// Replies, or elements of them, that are nil.
    pub nils: u64,
    /// Commands that were due and had no reply five seconds after the end.
    pub unanswered: u64,
    /// Bytes of requests.
    pub bytes_sent: u64,
    /// Bytes of replies.
    pub bytes_received: u64,
    /// CPU time of the load's own threads.
    pub cpu_seconds: f64,
    /// Latencies, in microseconds: the median,
    pub latency_us_p50: f64,
    /// nine of ten,
    pub latency_us_p90: f64,
    /// ninety-nine of a hundred,
    pub latency_us_p99: f64,
    /// 999 of a thousand,
    pub latency_us_p999: f64,
    /// and the longest.
    pub latency_us_max: f64,
}

impl LoadConfig {
    /// What is wrong with it, if anything is.
    fn check(&self) -> Result<(), &'static str> {
        let Workload { operation, keys, zipf, .. } = &self.workload;
        let is_positive = |number: f64| number.is_finite() && number > 0.0;
        if self.threads == 0 || self.pipeline == 0 || *keys == 0 {
            return Err("threads, pipeline and keys must be at least 1");
        }
        if self.connections < self.threads {
            return Err("there must be a connection for each thread");
        }
        if self.rate_per_s.is_some_and(|rate| !is_positive(rate)) {
            return Err("rate must be above 0");
        }
        if zipf.is_some_and(|exponent| !is_positive(exponent)) {
            return Err("zipf must be above 0");
        }
        match operation {
            Operation::Mixed { read_share } if !(0.0..=1.0).contains(read_share) => {
                Err("read_share must be from 0 to 1")
            }
            Operation::Mget { keys: 0 } => Err("mget_keys must be at least 1"),
            _ => Ok(()),
        }
    }
}

/// Runs the load to its end, or until `is_interrupted`, which is asked every 50 ms.
pub fn run(config: &LoadConfig, is_interrupted: &mut dyn FnMut() -> bool) -> io::Result<Load> {
    config.check().map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
    let requests = Requests::draw(&config.workload, config.pipeline);
    let is_stopped = AtomicBool::new(false);
    let workers: Vec<Worker<'_>> = (0..config.threads)
        .map(|thread| Worker::connect(config, &requests, &is_stopped, thread))
        .collect::<io::Result<_>>()?;
    let start = Barrier::new(config.threads);
    let tallies: io::Result<Vec<Tally>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            workers.into_iter().map(|worker| scope.spawn(|| worker.run(&start))).collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            if is_interrupted() {
                is_stopped.store(true, Ordering::Relaxed);
                break;
            }
            std::thread::sleep(INTERRUPT_LOOK);
        }
        threads.into_iter().map(|thread| thread.join().expect("no worker panics")).collect()
    });
    Ok(summary(&tallies?))
}

fn summary(tallies: &[Tally]) -> Load {
    let mut latency = Histogram::new();
    tallies.iter().for_each(|tally| latency.merge(&tally.latency));
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let quantile_us = |share| latency.quantile_ns(share) as f64 / 1e3;
    Load {
        operations: sum(|tally| tally.counted.replies),
        seconds: tallies.iter().map(|tally| tally.took_ns).max().unwrap_or(0) as f64 / 1e9,
        errors: sum(|tally| tally.counted.errors),
        nils: sum(|tally| tally.counted.nils),
        unanswered: sum(|tally| tally.unanswered),
        bytes_sent: sum(|tally| tally.bytes_sent),
        bytes_received: sum(|tally| tally.bytes_received),
        cpu_seconds: sum(|tally| tally.cpu_ns) as f64 / 1e9,
        latency_us_p50: quantile_us(0.5),
        latency_us_p90: quantile_us(0.9),
        latency_us_p99: quantile_us(0.99),
        latency_us_p999: quantile_us(0.999),
        latency_us_max: latency.max_ns() as f64 / 1e3,
    }
}
