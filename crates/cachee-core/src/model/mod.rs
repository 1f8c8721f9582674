//! The shard and the store beside plain maps: the same operations on both, compared after each.
//!
//! One list of operations serves the property tests, the bounded runs by seed and the fuzz
//! targets. Operations are decoded from bytes, so that any input is a valid run and a failing
//! one shrinks by leaving operations out.

mod shard;
mod store;

pub use shard::run_shard;
pub use store::run_store;

/// Bytes that encode one operation.
pub const OPERATION_BYTES: usize = 4;

/// The first byte sets the run up, each following group of four is one operation.
fn split(bytes: &[u8]) -> (u8, impl Iterator<Item = [u8; OPERATION_BYTES]>) {
    let (setup, rest) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
    (setup, rest.as_chunks::<OPERATION_BYTES>().0.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs() -> impl Strategy<Value = Vec<u8>> {
        let operation = any::<[u8; OPERATION_BYTES]>();
        (any::<u8>(), proptest::collection::vec(operation, 0..300))
            .prop_map(|(setup, operations)| [&[setup][..], operations.as_flattened()].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn the_shard_agrees_with_its_model(bytes in runs()) {
            run_shard(&bytes);
        }

        #[test]
        fn the_store_agrees_with_its_model(bytes in runs()) {
            run_store(&bytes);
        }
    }

    /// Longer runs than the property tests take; the seed is printed by the panic of a failure.
    fn run_by_seed(run: fn(&[u8])) {
        for seed in 1..=12u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            };
            let bytes: Vec<u8> = (0..8_000).map(|_| next()).collect();
            let outcome = std::panic::catch_unwind(|| run(&bytes));
            assert!(outcome.is_ok(), "the run by seed {seed} failed, see above");
        }
    }

    #[test]
    fn long_runs_of_the_shard_by_seed() {
        run_by_seed(run_shard);
    }

    #[test]
    fn long_runs_of_the_store_by_seed() {
        run_by_seed(run_store);
    }
}
