use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::mutation::Mutation;
use super::random::Random;
use super::run_session;
use super::world::{Tally, World};

/// More seeds: `CACHEE_SIMULATION_SEEDS=1000000`; one again: `CACHEE_SIMULATION_SEED=17`.
const SEEDS: u64 = 10_000;
/// Within which each mistake has to be found.
const SEEDS_A_MISTAKE: u64 = 2_000;
/// Inputs made from the fuzzer's seeds; more: `CACHEE_FUZZ_RUNS`.
const FUZZ_RUNS: u64 = 50_000;
/// Threads whose panics are what is looked for.
const MISTAKEN: &str = "mistaken";

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
                total.ahead += tally.ahead;
                total.renewed += tally.renewed;
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (hits, reads) = (sum(|tally| tally.hits), sum(|tally| tally.reads));
    let (commands, ahead) = (sum(|tally| tally.commands), sum(|tally| tally.ahead));
    println!("{seeds} seeds, {commands} commands, {hits} hits of {reads}, {ahead} read ahead");
    assert!(ahead > seeds / 2, "only {ahead} reads ahead were asked for");
    let renewed = sum(|tally| tally.renewed);
    assert!(renewed > seeds / 20, "only {renewed} entries were renewed");
    assert!(hits * 10 > reads * 3, "only {hits} hits of {reads} reads: nothing was tested");
}

/// The first seed that finds the mistake. What it finds is not shown.
fn find(mutation: Mutation) -> Option<u64> {
    let fails = |seed: &u64| {
        catch_unwind(AssertUnwindSafe(|| World::new(*seed, Some(mutation)).run())).is_err()
    };
    (1..=SEEDS_A_MISTAKE).find(fails)
}

#[test]
fn every_mistake_is_found() {
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some(MISTAKEN) {
            shown(info);
        }
    }));
    let searches: Vec<_> = Mutation::ALL
        .chunks(Mutation::ALL.len() / 2)
        .map(|some| {
            let search = || some.iter().map(|&mutation| (mutation, find(mutation))).collect();
            std::thread::Builder::new().name(MISTAKEN.to_owned()).spawn(search).unwrap()
        })
        .collect();
    let found: Vec<Vec<_>> = searches.into_iter().map(|search| search.join().unwrap()).collect();
    let found = found.concat();
    println!("{found:?}");
    let missed: Vec<_> = found.iter().filter(|(_, seed)| seed.is_none()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Each input, and inputs made of parts of several.
#[test]
fn any_bytes_are_survived() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/session");
    let mut seeds: Vec<_> =
        std::fs::read_dir(seeds).unwrap().map(|seed| seed.unwrap().path()).collect();
    seeds.sort();
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| std::fs::read(seed).unwrap()).collect();
    assert!(seeds.len() > 10);
    seeds.iter().for_each(|seed| run_session(seed));
    let mut random = Random::new(1);
    for _ in 0..number("CACHEE_FUZZ_RUNS").unwrap_or(FUZZ_RUNS) {
        let mut input = vec![random.below(8) as u8];
        for _ in 0..1 + random.below(6) {
            let seed = &seeds[random.below(seeds.len())];
            let from = if random.below(4) > 0 { 1 } else { random.below(seed.len()) };
            let to = if random.below(4) > 0 { seed.len() } else { from + random.below(seed.len()) };
            input.extend_from_slice(&seed[from.min(seed.len())..to.min(seed.len())]);
        }
        for _ in 0..random.below(4) {
            let at = random.below(input.len());
            input[at] = random.below(256) as u8;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| run_session(&input)));
        assert!(outcome.is_ok(), "see above; the input: {}", input.escape_ascii());
    }
}
