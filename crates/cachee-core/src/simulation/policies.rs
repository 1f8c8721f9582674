//! What stands beside: LRU, and the best that is possible without prediction.

use std::collections::{BinaryHeap, HashMap, VecDeque};

use foldhash::fast::FixedState;

/// Hits of a cache that drops what was not asked for longest.
pub fn lru_hits(trace: &[u64], entries: usize) -> u64 {
    let mut latest: HashMap<u64, u32, FixedState> = HashMap::default();
    // Requests in their order; the latest of a held key counts, others are passed over.
    let mut requests: VecDeque<(u32, u64)> = VecDeque::new();
    let mut hits = 0;
    for (at, &key) in (0u32..).zip(trace) {
        if latest.insert(key, at).is_some() {
            hits += 1;
        }
        requests.push_back((at, key));
        while latest.len() > entries
            && let Some((old, key)) = requests.pop_front()
        {
            if latest.get(&key) == Some(&old) {
                latest.remove(&key);
            }
        }
        if requests.len() > 2 * entries + 64 {
            requests.retain(|(old, key)| latest.get(key) == Some(old));
        }
    }
    hits
}

/// Hits of a cache that knows what comes: it drops what is needed last, and does not take what is
/// needed later than all it has (Belady, "A study of replacement algorithms", 1966).
pub fn belady_hits(trace: &[u64], entries: usize) -> u64 {
    let mut seen: HashMap<u64, u32, FixedState> = HashMap::default();
    let mut next = vec![u32::MAX; trace.len()];
    for (at, key) in trace.iter().enumerate().rev() {
        if let Some(later) = seen.insert(*key, at as u32) {
            next[at] = later;
        }
    }
    // Of each held key when it is needed next; what is on top otherwise is out of date.
    let mut held = seen;
    held.clear();
    let mut by_need: BinaryHeap<(u32, u64)> = BinaryHeap::new();
    let mut hits = 0;
    for (&key, &need) in trace.iter().zip(&next) {
        if held.remove(&key).is_some() {
            hits += 1;
        }
        if need == u32::MAX || entries == 0 {
            continue;
        }
        held.insert(key, need);
        by_need.push((need, key));
        while held.len() > entries
            && let Some((need, key)) = by_need.pop()
        {
            if held.get(&key) == Some(&need) {
                held.remove(&key);
            }
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let trace = [1, 2, 3, 1, 2, 3, 3];
        assert_eq!(lru_hits(&trace, 2), 1);
        assert_eq!(lru_hits(&trace, 3), 4);
        assert_eq!(belady_hits(&trace, 2), 3);
        assert_eq!(belady_hits(&trace, 3), 4);
        assert_eq!((lru_hits(&trace, 0), belady_hits(&trace, 0)), (0, 0));
    }

    #[test]
    fn the_best_is_never_worse() {
        let mut number = 7u64;
        let mut draw = || {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (number >> 40) % 200 * ((number >> 50) % 3)
        };
        let trace: Vec<u64> = (0..20_000).map(|_| draw()).collect();
        let mut before = 0;
        for entries in [1, 5, 20, 100, 1000] {
            let (lru, best) = (lru_hits(&trace, entries), belady_hits(&trace, entries));
            assert!(lru <= best, "{entries}: {lru} {best}");
            assert!(before <= best);
            before = best;
        }
        let keys = super::super::distinct(&trace) as u64;
        assert_eq!(before, 20_000 - keys, "all but the first requests");
    }
}
