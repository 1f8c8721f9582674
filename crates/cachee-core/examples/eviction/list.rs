//! Doubly linked lists of keys over one array, for the simulated policies.

use foldhash::fast::FixedState;
use std::collections::HashMap;

/// No node.
pub const NONE: u32 = u32::MAX;

/// A key on one of several lists.
#[derive(Clone, Copy)]
pub struct Node {
    pub key: u64,
    pub list: usize,
    /// Whatever the policy counts.
    pub count: u32,
    newer: u32,
    older: u32,
}

#[derive(Clone, Copy)]
struct Ends {
    newest: u32,
    oldest: u32,
    len: usize,
}

/// Keys, each on exactly one of `N` lists, newest first.
pub struct Lists<const N: usize> {
    nodes: Vec<Node>,
    free: Vec<u32>,
    ends: [Ends; N],
    by_key: HashMap<u64, u32, FixedState>,
}

impl<const N: usize> Lists<N> {
    pub fn new() -> Self {
        let ends = [Ends { newest: NONE, oldest: NONE, len: 0 }; N];
        Self { nodes: Vec::new(), free: Vec::new(), ends, by_key: HashMap::default() }
    }

    pub fn find(&self, key: u64) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    pub fn node(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }

    pub fn len(&self, list: usize) -> usize {
        self.ends[list].len
    }

    pub fn oldest(&self, list: usize) -> u32 {
        self.ends[list].oldest
    }

    pub fn newest(&self, list: usize) -> Option<u32> {
        Some(self.ends[list].newest).filter(|&at| at != NONE)
    }

    pub fn newer(&self, at: u32) -> u32 {
        self.nodes[at as usize].newer
    }

    /// Adds a key as the newest of a list.
    pub fn insert(&mut self, key: u64, list: usize) {
        let node = Node { key, list, count: 0, newer: NONE, older: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        };
        self.by_key.insert(key, at);
        self.link(at, list);
    }

    /// Makes a node the newest of a list, perhaps another one.
    pub fn renew(&mut self, at: u32, list: usize) {
        self.unlink(at);
        self.link(at, list);
    }

    /// Takes a node out; its key.
    pub fn remove(&mut self, at: u32) -> u64 {
        self.unlink(at);
        self.free.push(at);
        let key = self.nodes[at as usize].key;
        self.by_key.remove(&key);
        key
    }

    fn link(&mut self, at: u32, list: usize) {
        let ends = &mut self.ends[list];
        let node = &mut self.nodes[at as usize];
        (node.list, node.newer, node.older) = (list, NONE, ends.newest);
        match ends.newest {
            NONE => ends.oldest = at,
            newest => self.nodes[newest as usize].newer = at,
        }
        ends.newest = at;
        ends.len += 1;
    }

    fn unlink(&mut self, at: u32) {
        let Node { list, newer, older, .. } = self.nodes[at as usize];
        let ends = &mut self.ends[list];
        ends.len -= 1;
        match newer {
            NONE => ends.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => ends.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
    }
}
