//! Small exact simulations: LRU, SIEVE, S3-FIFO as published.

use crate::list::{Lists, NONE};
use crate::policies::Policy;

/// Least recently used.
pub struct Lru {
    lists: Lists<1>,
    capacity: usize,
}

impl Lru {
    pub fn new(capacity: usize) -> Self {
        Self { lists: Lists::new(), capacity }
    }
}

impl Policy for Lru {
    fn access(&mut self, key: u64) -> bool {
        if let Some(at) = self.lists.find(key) {
            self.lists.renew(at, 0);
            return true;
        }
        if self.lists.len(0) == self.capacity {
            self.lists.remove(self.lists.oldest(0));
        }
        self.lists.insert(key, 0);
        false
    }
}

/// SIEVE (NSDI 2024): one queue, one visited bit, a hand that moves from old to new.
pub struct Sieve {
    lists: Lists<1>,
    capacity: usize,
    hand: u32,
}

impl Sieve {
    pub fn new(capacity: usize) -> Self {
        Self { lists: Lists::new(), capacity, hand: NONE }
    }

    fn evict(&mut self) {
        let mut hand = if self.hand == NONE { self.lists.oldest(0) } else { self.hand };
        while self.lists.node(hand).count > 0 {
            self.lists.node(hand).count = 0;
            hand = self.lists.newer(hand);
            if hand == NONE {
                hand = self.lists.oldest(0);
            }
        }
        self.hand = self.lists.newer(hand);
        self.lists.remove(hand);
    }
}

impl Policy for Sieve {
    fn access(&mut self, key: u64) -> bool {
        if let Some(at) = self.lists.find(key) {
            self.lists.node(at).count = 1;
            return true;
        }
        if self.lists.len(0) == self.capacity {
            self.evict();
        }
        self.lists.insert(key, 0);
        false
    }
}

const SMALL: usize = 0;
const MAIN: usize = 1;

/// S3-FIFO (SOSP 2023) as published: small 10 %, ghost 90 %, two hits to be promoted.
pub struct S3Fifo {
    lists: Lists<2>,
    ghost: Lists<1>,
    small: usize,
    main: usize,
}

impl S3Fifo {
    pub fn new(capacity: usize) -> Self {
        let small = (capacity / 10).max(1);
        Self { lists: Lists::new(), ghost: Lists::new(), small, main: capacity - small }
    }

    fn evict(&mut self) {
        while !(if self.lists.len(MAIN) > self.main || self.lists.len(SMALL) == 0 {
            self.evict_main()
        } else {
            self.evict_small()
        }) {}
    }

    fn evict_small(&mut self) -> bool {
        const PROMOTION_HITS: u32 = 2;
        let at = self.lists.oldest(SMALL);
        if self.lists.node(at).count >= PROMOTION_HITS {
            self.lists.node(at).count = 0;
            self.lists.renew(at, MAIN);
            return false;
        }
        let key = self.lists.remove(at);
        if self.ghost.len(0) >= self.main {
            self.ghost.remove(self.ghost.oldest(0));
        }
        self.ghost.insert(key, 0);
        true
    }

    fn evict_main(&mut self) -> bool {
        let at = self.lists.oldest(MAIN);
        let count = self.lists.node(at).count;
        if count > 0 {
            self.lists.node(at).count = count - 1;
            self.lists.renew(at, MAIN);
            return false;
        }
        self.lists.remove(at);
        true
    }
}

impl Policy for S3Fifo {
    fn access(&mut self, key: u64) -> bool {
        if let Some(at) = self.lists.find(key) {
            let node = self.lists.node(at);
            node.count = (node.count + 1).min(3);
            return true;
        }
        if self.lists.len(SMALL) + self.lists.len(MAIN) >= self.small + self.main {
            self.evict();
        }
        let known = self.ghost.find(key);
        if let Some(at) = known {
            self.ghost.remove(at);
        }
        self.lists.insert(key, if known.is_some() { MAIN } else { SMALL });
        false
    }
}
