//! Readers, loaders and writers on one store: no reader sees a value older than a change that was
//! over before it asked.
//!
//! The "server" is one version number a key. Loaders read it and publish after a while; writers
//! raise it and tell the store, as own writes, out of band, or in the order of one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use cachee_core::{Begin, EntryRef, Stats, Store, StoreConfig};

const KEYS: usize = 8;
const READS: usize = 20_000;
const WRITES: usize = 1_500;

struct World {
    store: Store<u64>,
    /// What the server holds.
    versions: [AtomicU64; KEYS],
    /// The version every later read must be at least.
    settled: [AtomicU64; KEYS],
    is_over: AtomicBool,
}

fn key(number: usize) -> [u8; 2] {
    [b'k', number as u8]
}

impl World {
    fn new(capacity_bytes: usize) -> Arc<Self> {
        let config = StoreConfig { capacity_bytes, shards: 2, seed: 5 };
        Arc::new(Self {
            store: Store::new(config),
            versions: Default::default(),
            settled: Default::default(),
            is_over: AtomicBool::new(false),
        })
    }

    /// One read as the drop-in makes it; the version seen.
    fn read(&self, number: usize, fresh: bool, tick: usize) -> u64 {
        let name = key(number);
        let key_hash = self.store.key_hash(&name);
        let id = EntryRef { scope: 1, shape: 1, key: &name, args: b"", key_hash };
        if !fresh && let Some(version) = self.store.with_hit(&id, 1, |version, _| *version) {
            return version;
        }
        match self.store.begin(&id, 1, fresh) {
            Begin::Lease(token) => {
                let version = self.versions[number].load(Ordering::SeqCst);
                if tick.is_multiple_of(3) {
                    thread::yield_now();
                }
                self.store.mark_read(token);
                if tick.is_multiple_of(17) {
                    self.store.abandon(token);
                } else {
                    self.store.publish(token, version, u64::MAX, 1);
                }
                version
            }
            // Whoever joins waits for another's reply; here it asks the server itself.
            Begin::Join(_) | Begin::Present | Begin::Ahead | Begin::Bypass(_) => {
                self.versions[number].load(Ordering::SeqCst)
            }
        }
    }

    /// One change; afterwards no reader may see less.
    fn write(&self, number: usize, tick: usize) {
        let dep = self.store.key_hash(&key(number));
        let version = if tick.is_multiple_of(2) {
            self.store.begin_write(&[dep]);
            let version = self.versions[number].fetch_add(1, Ordering::SeqCst) + 1;
            thread::yield_now();
            self.store.end_write(&[dep]);
            version
        } else {
            let version = self.versions[number].fetch_add(1, Ordering::SeqCst) + 1;
            self.store.invalidate(dep);
            version
        };
        self.settled[number].fetch_max(version, Ordering::SeqCst);
    }
}

fn run(capacity_bytes: usize) -> Stats {
    let world = World::new(capacity_bytes);
    let writers = (0..2).map(|nth| {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            for tick in 0..WRITES {
                world.write((tick * 7 + nth) % KEYS, tick / KEYS + nth);
                thread::yield_now();
            }
        })
    });
    let readers = (0..3).map(|nth| {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let mut tick = nth;
            while tick < READS || !world.is_over.load(Ordering::Relaxed) {
                tick += 1;
                let number = (tick * 5 + nth) % KEYS;
                let at_least = world.settled[number].load(Ordering::SeqCst);
                let seen = world.read(number, tick.is_multiple_of(41), tick);
                assert!(seen >= at_least, "key {number}: saw {seen} after {at_least} had settled");
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    writers.collect::<Vec<_>>().into_iter().for_each(|writer| writer.join().expect("writer"));
    world.is_over.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().expect("reader"));
    world.store.validate();
    let stats = world.store.stats();
    assert_eq!(stats.leases, 0, "loads left behind");
    assert!(stats.hits > 0 && stats.invalidated > 0 && stats.voided > 0, "{stats:?}");
    stats
}

#[test]
fn no_reader_sees_a_value_older_than_a_settled_change() {
    run(1 << 20);
}

#[test]
fn nor_while_entries_are_evicted_all_the_time() {
    let stats = run(2_500);
    assert!(stats.evicted > 0, "{stats:?}");
}
