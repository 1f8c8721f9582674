//! The weight a store counts is what the process grows by, within a tenth. The only test of its
//! process, so that nothing else allocates meanwhile.

#![cfg(target_os = "linux")]

use std::sync::Arc;

use cachee_core::{Begin, EntryRef, Store, StoreConfig};

const ENTRIES: usize = 100_000;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("pages");
    pages * 4096
}

fn fill(store: &Store<Arc<[u8]>>, range: std::ops::Range<usize>) {
    for n in range {
        let key = format!("{n:016}").into_bytes();
        let key_hash = store.key_hash(&key);
        let id = EntryRef { scope: 1, shape: 1, key: &key, args: b"", key_hash };
        if let Begin::Lease(token) = store.begin(&id, 1, false) {
            store.publish(token, Arc::from([b'x'; 100]), u64::MAX, 1);
        }
    }
}

#[test]
fn the_counted_weight_is_the_growth_of_the_process() {
    let capacity_bytes = 20 << 20;
    let before = resident_bytes();
    let store = Store::new(StoreConfig { capacity_bytes, shards: 4, seed: 1 });
    fill(&store, 0..ENTRIES / 2);
    let (counted, grown) = (store.stats().weight_bytes as f64, resident_bytes() - before);
    let ratio = counted / grown as f64;
    assert!((0.9..=1.1).contains(&ratio), "filling: counted {counted}, grown {grown}");

    fill(&store, ENTRIES / 2..ENTRIES * 2);
    let (stats, grown) = (store.stats(), resident_bytes() - before);
    assert!(stats.evicted > 0, "never full");
    assert!(stats.weight_bytes <= capacity_bytes as u64, "{stats:?}");
    assert!(grown as f64 <= capacity_bytes as f64 * 1.1, "evicting: grown to {grown}");
}
