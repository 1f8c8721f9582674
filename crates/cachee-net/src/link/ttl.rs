//! How long a reply may live, and whether it is worth asking.
//!
//! A prefix (a key up to its last `:`) under which 64 loads in a row had no expiry is believed to
//! have none, and its keys are loaded without `PTTL`. The belief is not trusted: an entry loaded
//! on it lives `max_staleness` only, and a key asked for again after that has its `PTTL` asked.
//! One key with an expiry ends the belief. Both tables are bounded; forgetting only costs a
//! `PTTL`.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::resp::Reader;

/// Loads in a row without expiry until a prefix is believed to have none.
const LOADS_TO_LEARN: u8 = 64;
const PREFIXES_MAX: usize = 4_096;
const SKIPPED_SLOTS: usize = 4_096;

/// What is believed of prefixes, and which keys were loaded on belief alone.
pub(super) struct TtlLearner {
    /// Loads in a row without expiry.
    prefixes: HashMap<u64, u8, FixedState>,
    skipped: Box<[u64]>,
    is_enabled: bool,
}

impl TtlLearner {
    pub(super) fn new(is_enabled: bool) -> Self {
        let slots = if is_enabled { SKIPPED_SLOTS } else { 0 };
        Self { prefixes: HashMap::default(), skipped: vec![0; slots].into(), is_enabled }
    }

    /// The learner's name for a key's prefix.
    pub(super) fn prefix(&self, key: &[u8], hash: impl FnOnce(&[u8]) -> u64) -> u64 {
        if !self.is_enabled {
            return 0;
        }
        let end = key.iter().rposition(|&byte| byte == b':').map_or(0, |at| at + 1);
        hash(&key[..end])
    }

    /// May this load go without `PTTL`? Says yes once for a key, then no once.
    pub(super) fn skips(&mut self, prefix: u64, key_hash: u64) -> bool {
        if !self.is_enabled || self.prefixes.get(&prefix).is_none_or(|&seen| seen < LOADS_TO_LEARN)
        {
            return false;
        }
        let slot = &mut self.skipped[key_hash as usize % SKIPPED_SLOTS];
        if *slot == key_hash {
            *slot = 0;
            return false;
        }
        *slot = key_hash;
        true
    }

    /// What a `PTTL` said.
    pub(super) fn learn(&mut self, prefix: u64, has_expiry: bool) {
        if !self.is_enabled {
            return;
        }
        if self.prefixes.len() >= PREFIXES_MAX && !self.prefixes.contains_key(&prefix) {
            self.prefixes.clear();
        }
        let seen = self.prefixes.entry(prefix).or_default();
        *seen = if has_expiry { 0 } else { seen.saturating_add(1) };
    }
}

/// What a reply to `HPTTL` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FieldTtls {
    /// The shortest lifetime, if any field has one.
    pub(super) least_ms: Option<u64>,
    /// Places of fields that are not there.
    pub(super) missing: Vec<usize>,
}

impl FieldTtls {
    /// `None` when it is not such a reply.
    pub(super) fn read(frame: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(frame);
        let mut ttls = Self::default();
        for place in 0..reader.elements()? {
            match reader.integer()? {
                -1 => {}
                ttl_ms @ 0.. => {
                    let ttl_ms = ttl_ms as u64;
                    ttls.least_ms = Some(ttls.least_ms.map_or(ttl_ms, |known| known.min(ttl_ms)));
                }
                _ => ttls.missing.push(place),
            }
        }
        Some(ttls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_without_expiry_is_learned_and_each_belief_is_checked() {
        let mut learner = TtlLearner::new(true);
        let prefix = learner.prefix(b"user:7", |bytes| bytes.len() as u64);
        assert_eq!(prefix, 5);
        for _ in 0..LOADS_TO_LEARN {
            assert!(!learner.skips(prefix, 1));
            learner.learn(prefix, false);
        }
        assert!(learner.skips(prefix, 1));
        assert!(!learner.skips(prefix, 1), "the second load of a key asks");
        assert!(learner.skips(prefix, 1));
        learner.learn(prefix, true);
        assert!(!learner.skips(prefix, 2), "one expiry ends the belief");
    }

    #[test]
    fn nothing_is_learned_unless_asked_to() {
        let mut learner = TtlLearner::new(false);
        for _ in 0..200 {
            learner.learn(0, false);
        }
        assert!(!learner.skips(0, 1));
    }

    #[test]
    fn the_shortest_lived_field_bounds_the_reply() {
        let read = |frame| FieldTtls::read(frame).map(|ttls| (ttls.least_ms, ttls.missing));
        assert_eq!(read(b"*3\r\n:-1\r\n:70\r\n:30\r\n"), Some((Some(30), vec![])));
        assert_eq!(read(b"*2\r\n:-1\r\n:-2\r\n"), Some((None, vec![1])));
        assert_eq!(read(b"-ERR unknown command\r\n"), None);
        assert_eq!(read(b"_\r\n"), None);
    }
}
