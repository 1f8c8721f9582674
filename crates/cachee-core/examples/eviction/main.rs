//! Hit ratios of the shard's own eviction beside other policies, on real and synthetic traces.
//!
//! `cargo run --release -p cachee-core --example eviction -- [FOLDER] [--json FILE]`
//!
//! FOLDER holds traces `*.u64.zst`: one key a request, little-endian u64, zstd. Without it only
//! the synthetic traces run. Every key weighs 1, a miss is stored, nothing expires; the shard is
//! the real one, not a simulation of it.

mod list;
mod policies;
mod simulated;
mod synthetic;
mod tiny_lfu;
mod traces;

use std::path::PathBuf;
use std::process::ExitCode;

use policies::POLICIES;
use traces::Trace;

/// Cache sizes, as shares of the trace's distinct keys.
const SHARES: [f64; 3] = [0.001, 0.01, 0.1];
/// Below this many entries a share is left out.
const MIN_CAPACITY: usize = 10;

/// S3-FIFO as libCacheSim 0.3.5 measures it: trace, share, hit ratio.
const REFERENCE: [(&str, f64, f64); 9] = [
    ("orm-night", 0.01, 0.646),
    ("scarab-recs", 0.01, 0.428),
    ("web12", 0.01, 0.410),
    ("arc-OLTP", 0.01, 0.465),
    ("domains", 0.01, 0.757),
    ("orm-night", 0.1, 0.941),
    ("scarab-recs", 0.1, 0.628),
    ("web12", 0.1, 0.721),
    ("arc-OLTP", 0.1, 0.677),
];

struct Row {
    trace: String,
    requests: usize,
    keys: usize,
    share: f64,
    capacity: usize,
    hit_ratios: Vec<f64>,
}

fn measure(trace: &Trace, rows: &mut Vec<Row>) {
    for share in SHARES {
        let capacity = (trace.keys as f64 * share) as usize;
        if capacity < MIN_CAPACITY {
            continue;
        }
        let hit_ratio = |policy: &policies::Candidate| {
            let mut cache = (policy.build)(capacity);
            let hits = trace.requests.iter().filter(|&&key| cache.access(key)).count();
            hits as f64 / trace.requests.len() as f64
        };
        let hit_ratios: Vec<f64> = POLICIES.iter().map(hit_ratio).collect();
        print!("{:<12} {:>5.1}% {capacity:>7} ", trace.name, share * 100.0);
        hit_ratios.iter().for_each(|ratio| print!(" {ratio:>9.4}"));
        println!();
        let (trace, requests, keys) = (trace.name.clone(), trace.requests.len(), trace.keys);
        rows.push(Row { trace, requests, keys, share, capacity, hit_ratios });
    }
}

/// Mean of how many misses of LRU a policy saves, over the rows of one share.
fn saved_misses(rows: &[Row], share: f64, policy: usize) -> Option<f64> {
    let lru = POLICIES.iter().position(|policy| policy.name == "lru")?;
    let saved: Vec<f64> = rows
        .iter()
        .filter(|row| row.share == share)
        .map(|row| 1.0 - (1.0 - row.hit_ratios[policy]) / (1.0 - row.hit_ratios[lru]))
        .collect();
    (!saved.is_empty()).then(|| saved.iter().sum::<f64>() / saved.len() as f64)
}

fn print_summary(rows: &[Row]) {
    println!("\nmisses saved against LRU, mean of the traces");
    for share in SHARES {
        print!("{:<12} {:>5.1}% {:>7} ", "", share * 100.0, "");
        for policy in 0..POLICIES.len() {
            print!(" {:>9.4}", saved_misses(rows, share, policy).unwrap_or(f64::NAN));
        }
        println!();
    }
    println!("\nS3-FIFO as published beside libCacheSim's");
    let simulated = POLICIES.iter().position(|policy| policy.name == "s3-fifo").expect("listed");
    for (trace, share, reference) in REFERENCE {
        let row = rows.iter().find(|row| row.trace == trace && row.share == share);
        if let Some(row) = row {
            let ours = row.hit_ratios[simulated];
            let difference = ours - reference;
            println!(
                "{trace:<12} {:>5.1}%  {ours:.3} {reference:.3} {difference:+.3}",
                share * 100.0
            );
        }
    }
}

fn json(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let ratios: Vec<String> = POLICIES
            .iter()
            .zip(&row.hit_ratios)
            .map(|(policy, ratio)| format!("\"{}\": {ratio:.5}", policy.name))
            .collect();
        format!(
            "    {{\"trace\": \"{}\", \"requests\": {}, \"keys\": {}, \"share\": {}, \
             \"capacity\": {}, \"hit_ratio\": {{{}}}}}",
            row.trace,
            row.requests,
            row.keys,
            row.share,
            row.capacity,
            ratios.join(", ")
        )
    };
    let policies: Vec<String> = POLICIES
        .iter()
        .map(|policy| format!("    \"{}\": \"{}\"", policy.name, policy.description))
        .collect();
    let rows: Vec<String> = rows.iter().map(row).collect();
    let reference: Vec<String> = REFERENCE
        .iter()
        .map(|(trace, share, ratio)| {
            format!("    {{\"trace\": \"{trace}\", \"share\": {share}, \"hit_ratio\": {ratio}}}")
        })
        .collect();
    format!(
        "{{\n  \"policies\": {{\n{}\n  }},\n  \"rows\": [\n{}\n  ],\n  \
         \"reference_s3_fifo_libcachesim_0_3_5\": [\n{}\n  ]\n}}\n",
        policies.join(",\n"),
        rows.join(",\n"),
        reference.join(",\n")
    )
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut folder = None;
    let mut json_path = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json_path = arguments.next().map(PathBuf::from),
            other => folder = Some(PathBuf::from(other)),
        }
    }
    print!("{:<12} {:>6} {:>7} ", "trace", "share", "entries");
    POLICIES.iter().for_each(|policy| print!(" {:>9}", policy.name));
    println!();
    let mut rows = Vec::new();
    for path in folder.iter().flat_map(|folder| traces::list(folder)) {
        match traces::read(&path) {
            Ok(trace) => measure(&trace, &mut rows),
            Err(error) => {
                eprintln!("eviction: {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    for make in [synthetic::zipf, synthetic::scan_mix, synthetic::loop_mix] {
        measure(&make(), &mut rows);
    }
    print_summary(&rows);
    if let Some(path) = json_path
        && let Err(error) = std::fs::write(&path, json(&rows))
    {
        eprintln!("eviction: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
