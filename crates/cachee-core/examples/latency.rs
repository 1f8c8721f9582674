//! What a hit and an invalidation cost, by size of the store: the median of repeated rounds.
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

/// Median over the rounds of nanoseconds a call.
fn median_ns(calls: usize, mut round: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_nanos() as f64 / calls as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() {
    println!("{:>10} {:>12} {:>12} {:>16}", "entries", "hit ns", "hash ns", "invalidate ns");
    for entries in [1_000, 10_000, 100_000, 1_000_000] {
        let (store, keys) = filled(entries);
        // Multiplying by an odd number visits every key, far apart from the one before.
        let order: Vec<usize> = (0..100_000).map(|n| n * 7_919 % entries).collect();
        let hit = median_ns(order.len(), || {
            for &at in &order {
                let hit = store.with_hit(&id(&store, &keys[at]), 1, |value, _| value.len());
                assert_eq!(black_box(hit), Some(VALUE_BYTES));
            }
        });
        let hash = median_ns(order.len(), || {
            for &at in &order {
                black_box(store.key_hash(&keys[at]));
            }
        });
        let calls = order.len().min(entries);
        let mut invalidations = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for &at in &order[..calls] {
                black_box(store.invalidate(store.key_hash(&keys[at])));
            }
            invalidations.push(start.elapsed().as_nanos() as f64 / calls as f64);
            for &at in &order[..calls] {
                load(&store, &keys[at]);
            }
        }
        invalidations.sort_by(f64::total_cmp);
        let invalidate = invalidations[ROUNDS / 2];
        println!("{entries:>10} {hit:>12.1} {hash:>12.1} {invalidate:>16.1}");
    }
}
