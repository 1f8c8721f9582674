//! The weight a store counts beside what the process really grew by.
//!
//! `cargo run --release -p cachee-core --example memory [-- --json]`
//!
//! Each case runs in a process of its own, so that no case profits from memory another one freed.

use std::process::{Command, ExitCode};
use std::sync::Arc;

use cachee_core::{Begin, EntryRef, Store, StoreConfig};

const ENTRIES: usize = 1_000_000;
/// How far the count may be from the growth.
const TOLERANCE: f64 = 0.10;

struct Case {
    name: &'static str,
    entries: usize,
    key_bytes: usize,
    /// The value of entry `n` takes `value_bytes(n)`.
    value_bytes: fn(usize) -> usize,
    capacity_bytes: usize,
}

const CASES: [Case; 6] = [
    Case {
        name: "16 B keys, 100 B values",
        entries: ENTRIES,
        key_bytes: 16,
        value_bytes: |_| 100,
        capacity_bytes: 1 << 30,
    },
    Case {
        name: "40 B keys, 24 B values",
        entries: ENTRIES,
        key_bytes: 40,
        value_bytes: |_| 24,
        capacity_bytes: 1 << 30,
    },
    Case {
        name: "16 B keys, 1000 B values",
        entries: ENTRIES / 2,
        key_bytes: 16,
        value_bytes: |_| 1000,
        capacity_bytes: 1 << 30,
    },
    Case {
        name: "mixed, 20 to 4000 B values",
        entries: ENTRIES / 2,
        key_bytes: 24,
        value_bytes: mixed_bytes,
        capacity_bytes: 1 << 30,
    },
    Case {
        name: "100 B values, evicting at 64 MiB",
        entries: ENTRIES,
        key_bytes: 16,
        value_bytes: |_| 100,
        capacity_bytes: 64 << 20,
    },
    Case {
        name: "mixed, evicting at 64 MiB",
        entries: ENTRIES,
        key_bytes: 24,
        value_bytes: mixed_bytes,
        capacity_bytes: 64 << 20,
    },
];

/// Many small, few large: a reply length as applications have it.
fn mixed_bytes(n: usize) -> usize {
    let random = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    match random % 100 {
        0..60 => 20 + random as usize % 180,
        60..90 => 200 + random as usize % 800,
        _ => 1000 + random as usize % 3000,
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("statm");
    pages * 4096
}

fn run(case: &Case) {
    let before = resident_bytes();
    let config = StoreConfig { capacity_bytes: case.capacity_bytes, shards: 8, seed: 42 };
    let store: Store<Arc<[u8]>> = Store::new(config);
    for n in 0..case.entries {
        let key = format!("{n:0width$}", width = case.key_bytes).into_bytes();
        let key_hash = store.key_hash(&key);
        let id = EntryRef { scope: 1, shape: 1, key: &key, args: b"", key_hash };
        if let Begin::Lease(token) = store.begin(&id, 1, false) {
            store.publish(token, Arc::from(vec![b'x'; (case.value_bytes)(n)]), u64::MAX, 1);
        }
    }
    let grown = resident_bytes() - before;
    let stats = store.stats();
    println!(
        "{}\t{}\t{}\t{}\t{}",
        stats.entries, stats.weight_bytes, stats.capacity_bytes, grown, stats.evicted
    );
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, nth] = &arguments[..]
        && flag == "--case"
    {
        run(&CASES[nth.parse::<usize>().expect("a case number")]);
        return ExitCode::SUCCESS;
    }
    let is_json = arguments.iter().any(|argument| argument == "--json");
    let mut rows = Vec::new();
    let mut is_within = true;
    if !is_json {
        println!(
            "{:<34} {:>9} {:>8} {:>8} {:>7} {:>8}",
            "", "entries", "counted", "grown", "ratio", "B/entry"
        );
    }
    for (nth, case) in CASES.iter().enumerate() {
        let own = std::env::current_exe().expect("own path");
        let output = Command::new(own).args(["--case", &nth.to_string()]).output().expect("run");
        let line = String::from_utf8(output.stdout).expect("text");
        let figures: Vec<f64> =
            line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let [entries, weight, capacity, grown, evicted] = figures[..] else {
            panic!("case {nth}: {line}{}", String::from_utf8_lossy(&output.stderr));
        };
        let ratio = weight / grown;
        is_within &= (ratio - 1.0).abs() <= TOLERANCE && grown <= capacity * (1.0 + TOLERANCE);
        if is_json {
            rows.push(format!(
                "{{\"case\": \"{}\", \"entries\": {entries}, \"weight_bytes\": {weight}, \
                 \"capacity_bytes\": {capacity}, \"grown_bytes\": {grown}, \"evicted\": {evicted}, \
                 \"bytes_per_entry\": {:.1}}}",
                case.name,
                grown / entries
            ));
        } else {
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            println!(
                "{:<34} {entries:>9} {:>8.1} {:>8.1} {ratio:>7.3} {:>8.1}",
                case.name,
                mib(weight),
                mib(grown),
                grown / entries
            );
        }
    }
    if is_json {
        println!("[\n  {}\n]", rows.join(",\n  "));
    }
    if is_within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
