//! Latency of a miss through the link, against a server that is already running.
//!
//! `cargo run --release -p cachee-net --example miss -- HOST PORT [THREADS]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use cachee_core::{Store, StoreConfig, Weigh};
use cachee_net::{Endpoint, Link, LinkConfig, LinkStatus, LinkValue, Outcome, Request, cacheable};

struct Raw(Arc<[u8]>);

impl Weigh for Raw {
    fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }
}

impl LinkValue for Raw {
    fn from_reply(frame: Arc<[u8]>) -> Self {
        Self(frame)
    }
}

const READS: usize = 20_000;
const KEYS: usize = 1_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = arguments.next().and_then(|port| port.parse().ok()).unwrap_or(6379);
    let threads = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1);
    let config = StoreConfig { capacity_bytes: 64 << 20, shards: 8, seed: 1 };
    let store = Arc::new(Store::<Raw>::new(config));
    let endpoint = if host.starts_with('/') {
        Endpoint::Unix { path: host.into() }
    } else {
        Endpoint::Tcp { host, port }
    };
    let link = Link::open(LinkConfig::new(endpoint), store).expect("descriptors and threads");
    let status = link.wait_settled(Duration::from_secs(2));
    assert!(matches!(status, LinkStatus::Ready { .. }), "{status:?}");
    for round in 0..5 {
        let started = Instant::now();
        let mut latencies_us: Vec<f64> = std::thread::scope(|scope| {
            let reading: Vec<_> = (0..threads)
                .map(|thread| {
                    scope.spawn({
                        let link = &link;
                        move || read(link, thread)
                    })
                })
                .collect();
            reading.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        let total = started.elapsed();
        latencies_us.sort_by(f64::total_cmp);
        let at = |part: f64| latencies_us[(latencies_us.len() as f64 * part) as usize];
        println!(
            "round {round}: p50 {:.1} us, p90 {:.1}, p99 {:.1}, {:.0} reads/s",
            at(0.5),
            at(0.9),
            at(0.99),
            latencies_us.len() as f64 / total.as_secs_f64()
        );
    }
    println!("{:?}", link.statistics());
    link.close();
}

fn read(link: &Link<Raw>, thread: usize) -> Vec<f64> {
    let mut latencies_us = Vec::with_capacity(READS);
    for index in 0..READS {
        let key = format!("key:{thread}:{}", index % KEYS);
        let command: [&[u8]; 2] = [b"GET", key.as_bytes()];
        let shape = cacheable(&command).expect("GET is cacheable").shape;
        let key_hash = link.store().key_hash(key.as_bytes());
        if index % KEYS == 0 {
            link.store().clear();
        }
        let request = Request {
            shape,
            key: key.as_bytes(),
            key_hash,
            args: b"",
            command: &command,
            flow: Some(1),
        };
        let started = Instant::now();
        let outcome = link.read_wait(&request, &mut || false);
        latencies_us.push(started.elapsed().as_secs_f64() * 1e6);
        assert!(matches!(outcome, Outcome::Reply(_)), "{outcome:?}");
    }
    latencies_us
}
