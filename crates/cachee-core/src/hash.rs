//! The keyed hash of the store.
//!
//! Keys come from outside, so their places in the index must not be predictable: the hash is
//! foldhash under a random number the owner passes in (its `fast` form: for byte strings it differs
//! from `quality` only in a last multiplication, and the entry's hash adds one anyway). Keys are
//! always compared in full afterwards; only a dependency is identified by its hash alone, and a
//! collision there removes one entry too many, never one too few.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// Hashes byte strings and numbers under one secret seed.
#[derive(Clone)]
pub struct KeyedHash {
    seed: u64,
    shared: SharedSeed,
}

impl KeyedHash {
    /// A hash under `seed`, which must be random and stay in the process.
    pub fn new(seed: u64) -> Self {
        let shared = SharedSeed::from_u64(seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
        // Foldhash multiplies by its seed: a small one (a test's 0) would map many keys to 0.
        let seed = fold(seed ^ 0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db) | 1;
        Self { seed, shared }
    }

    /// The hash of a byte string.
    #[inline]
    pub fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(bytes);
        hasher.finish()
    }

    /// The hash of a number, for callers whose own hash is weak (Python's of an `int`).
    #[inline]
    pub fn number(&self, number: u64) -> u64 {
        fold(number ^ self.seed, 0x9e37_79b9_7f4a_7c15 ^ self.seed.rotate_left(17))
    }

    /// The hash of one entry: its key's hash, mixed with everything else that identifies it.
    #[inline]
    pub(crate) fn entry(&self, key_hash: u64, scope: u32, shape: u32, args: &[u8]) -> u64 {
        let place = u64::from(scope) << 32 | u64::from(shape);
        let mixed = fold(key_hash ^ self.seed, place ^ 0x2545_f491_4f6c_dd1d);
        if args.is_empty() { mixed } else { fold(mixed, self.bytes(args) | 1) }
    }
}

/// Multiplies to 128 bits and folds the halves together.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_identity_changes_its_hash() {
        let hash = KeyedHash::new(7);
        let key = hash.bytes(b"user:1");
        let base = hash.entry(key, 1, 1, b"");
        assert_ne!(base, hash.entry(hash.bytes(b"user:2"), 1, 1, b""));
        assert_ne!(base, hash.entry(key, 2, 1, b""));
        assert_ne!(base, hash.entry(key, 1, 2, b""));
        assert_ne!(base, hash.entry(key, 1, 1, b"field"));
        assert_ne!(base, KeyedHash::new(8).entry(key, 1, 1, b""));
    }

    #[test]
    fn a_seed_of_zero_is_as_good_as_any() {
        let hash = KeyedHash::new(0);
        let keys: [&[u8]; 5] = [b"", b"\0", b"\0\0", b"\0\xff", b"\xff"];
        let hashes: std::collections::BTreeSet<u64> =
            keys.iter().map(|key| hash.bytes(key)).collect();
        assert_eq!(hashes.len(), keys.len());
    }

    #[test]
    fn both_ends_spread_over_sequential_keys() {
        let hash = KeyedHash::new(3);
        let mut high = [0u32; 256];
        let mut low = [0u32; 256];
        for number in 0..65_536 {
            let hashed = hash.bytes(format!("user:{number:011}").as_bytes());
            high[(hashed >> 56) as usize] += 1;
            low[(hashed & 255) as usize] += 1;
        }
        for counts in [high, low] {
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least > 150 && *most < 370, "{least}..{most} of 256 expected");
        }
    }

    #[test]
    fn high_bits_spread_over_sequential_numbers() {
        let hash = KeyedHash::new(3);
        let mut buckets = [0u32; 256];
        for number in 0..65_536 {
            buckets[(hash.number(number) >> 56) as usize] += 1;
        }
        let (low, high) = (buckets.iter().min().unwrap(), buckets.iter().max().unwrap());
        assert!(*low > 150 && *high < 370, "{low}..{high} of 256 expected");
    }
}
