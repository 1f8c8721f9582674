//! What a hit and an invalidation cost, by size of the store: the best and the median of repeated
//! rounds. On a machine that others use too the best is what the code costs.
//!
//! `cargo run --release -p cachee-core --example latency`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use cachee_core::{Begin, EntryRef, Store, StoreConfig, heap_bytes};

const ROUNDS: usize = 15;
const VALUE_BYTES: usize = 100;

type Values = Store<Arc<[u8]>>;

fn id<'a>(store: &Values, key: &'a [u8]) -> EntryRef<'a> {
    EntryRef { scope: 1, shape: 1, key, args: b"", key_hash: store.key_hash(key) }
}

fn load(store: &Values, key: &[u8]) {
    let Begin::Lease(token) = store.begin(&id(store, key), 1, false) else { return };
    store.publish(token, Arc::from([b'x'; VALUE_BYTES]), u64::MAX, 1);
}

fn filled(entries: usize) -> (Values, Vec<Vec<u8>>) {
    let entry_bytes = 400 + heap_bytes(VALUE_BYTES);
    let config = StoreConfig { capacity_bytes: entries * entry_bytes, shards: 8, seed: 42 };
    let store = Store::new(config);
    let keys: Vec<Vec<u8>> = (0..entries).map(|n| format!("user:{n:011}").into_bytes()).collect();
    for key in &keys {
        load(&store, key);
    }
    (store, keys)
}

/// Best and median over the rounds.
fn summary(mut rounds_ns: Vec<f64>) -> String {
    rounds_ns.sort_by(f64::total_cmp);
    format!("{:>9.1} {:>9.1}", rounds_ns[0], rounds_ns[ROUNDS / 2])
}

/// Nanoseconds a call, of one round.
fn timed_ns(calls: usize, round: impl FnOnce()) -> f64 {
    let start = Instant::now();
    round();
    start.elapsed().as_nanos() as f64 / calls as f64
}

fn main() {
    println!("{:>10}   {:<19}  {:<19}  {:<19}", "", "hit ns", "its hash ns", "invalidate ns");
    println!("{:>10} {}", "entries", "      best    median".repeat(3));
    for entries in [1_000, 10_000, 100_000, 1_000_000] {
        let (store, keys) = filled(entries);
        // Multiplying by a prime visits every key, far apart from the one before.
        let order: Vec<usize> = (0..100_000).map(|n| n * 7_919 % entries).collect();
        let calls = order.len().min(entries);
        let (mut hits, mut hashes, mut invalidations) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            hits.push(timed_ns(order.len(), || {
                for &at in &order {
                    let hit = store.with_hit(&id(&store, &keys[at]), 1, |value, _| value.len());
                    assert_eq!(black_box(hit), Some(VALUE_BYTES));
                }
            }));
            hashes.push(timed_ns(order.len(), || {
                for &at in &order {
                    black_box(store.key_hash(&keys[at]));
                }
            }));
            invalidations.push(timed_ns(calls, || {
                for &at in &order[..calls] {
                    black_box(store.invalidate(store.key_hash(&keys[at])));
                }
            }));
            for &at in &order[..calls] {
                load(&store, &keys[at]);
            }
        }
        let columns = [hits, hashes, invalidations].map(summary);
        println!("{entries:>10} {}", columns.join(" "));
    }
}
