//! Hashes of keys under way, each as often as it was added: a pipeline may have very many.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Kept when empty.
const KEPT: usize = 64;

#[derive(Default)]
pub(super) struct Keys {
    counts: HashMap<u64, u32, FixedState>,
    len: usize,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn contains(&self, key_hash: u64) -> bool {
        self.len > 0 && self.counts.contains_key(&key_hash)
    }

    pub(super) fn add(&mut self, key_hashes: &[u64]) {
        self.len += key_hashes.len();
        for &key_hash in key_hashes {
            *self.counts.entry(key_hash).or_default() += 1;
        }
    }

    /// Once for each.
    pub(super) fn remove(&mut self, key_hashes: &[u64]) {
        for &key_hash in key_hashes {
            let Some(count) = self.counts.get_mut(&key_hash) else { continue };
            *count -= 1;
            self.len -= 1;
            if *count == 0 {
                self.counts.remove(&key_hash);
            }
        }
        if self.len == 0 && self.counts.capacity() > KEPT {
            self.counts = HashMap::default();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_key() {
        let mut keys = Keys::default();
        keys.add(&[1, 2, 1]);
        keys.remove(&[1, 3]);
        assert!(keys.contains(1) && keys.contains(2) && !keys.contains(3));
        keys.remove(&[2, 1]);
        assert!(keys.is_empty() && !keys.contains(1));
    }
}
