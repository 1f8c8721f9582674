use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::mutation::Mutation;
use super::world::{Tally, World};

/// More seeds: `CACHEE_SIMULATION_SEEDS=1000000`; one again: `CACHEE_SIMULATION_SEED=17`.
const SEEDS: u64 = 3_000;
/// Within which each mistake has to be found.
const SEEDS_A_MISTAKE: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64) -> Tally {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, None).run())).unwrap_or_else(|_| {
        panic!("seed {seed} failed, see above; again: CACHEE_SIMULATION_SEED={seed}")
    })
}

#[test]
fn clients_are_told_what_the_server_would_have_told_them() {
    if let Some(seed) = number("CACHEE_SIMULATION_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let seeds = number("CACHEE_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(1);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let work = || {
            let mut total = Tally::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > seeds {
                    return total;
                }
                let tally = run(seed);
                total.hits += tally.hits;
                total.reads += tally.reads;
                total.commands += tally.commands;
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (hits, reads) = (sum(|tally| tally.hits), sum(|tally| tally.reads));
    println!("{seeds} seeds, {} commands, {hits} hits of {reads}", sum(|tally| tally.commands));
    assert!(hits * 10 > reads * 3, "only {hits} hits of {reads} reads: nothing was tested");
}

#[test]
#[ignore = "shows what fails"]
fn survey() {
    let seeds = number("CACHEE_SIMULATION_SEEDS").unwrap_or(SEEDS);
    for seed in 1..=seeds {
        if catch_unwind(AssertUnwindSafe(|| World::new(seed, None).run())).is_err() {
            println!("SEED {seed}");
        }
    }
}

#[test]
fn every_mistake_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<_> = Mutation::ALL
        .iter()
        .map(|&mutation| {
            let fails = |seed: &u64| {
                catch_unwind(AssertUnwindSafe(|| World::new(*seed, Some(mutation)).run())).is_err()
            };
            (mutation, (1..=SEEDS_A_MISTAKE).find(fails))
        })
        .collect();
    let _ = std::panic::take_hook();
    println!("{found:?}");
    let missed: Vec<_> = found.iter().filter(|(_, seed)| seed.is_none()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
