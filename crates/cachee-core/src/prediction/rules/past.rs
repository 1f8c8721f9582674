//! What was asked for lately, by flow: one request of the application, one task, one connection.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::table::Ref;

/// Of one flow, so many are looked back at.
const LOOK_BACK: usize = 12;
/// Longer ago, it was for something else.
const LOOK_BACK_MS: u64 = 5_000;
/// Where the flow tells nothing: of all flows together.
const LOOK_AROUND: usize = 256;

/// One access: what it was, and all that a later key may have been made of.
pub(super) struct Past {
    flow: u64,
    /// The one before it in its flow.
    previous: Option<u64>,
    pub(super) code: u64,
    pub(super) template: Ref,
    at_ms: u64,
    /// Labels, and hashes of the texts.
    pub(super) fields: Vec<(u32, u32)>,
}

pub(super) struct Pasts {
    ring: VecDeque<Past>,
    /// The number of the first one in the ring.
    first: u64,
    limit: usize,
    latest: HashMap<u64, u64, FixedState>,
}

impl Pasts {
    pub(super) fn new(limit: usize) -> Self {
        Self { ring: VecDeque::new(), first: 0, limit, latest: HashMap::default() }
    }

    fn get(&self, number: u64) -> Option<&Past> {
        self.ring.get(number.checked_sub(self.first)? as usize)
    }

    pub(super) fn push(
        &mut self,
        flow: u64,
        code: u64,
        template: Ref,
        at_ms: u64,
        fields: Vec<(u32, u32)>,
    ) {
        if self.ring.len() == self.limit {
            self.ring.pop_front();
            self.first += 1;
        }
        let number = self.first + self.ring.len() as u64;
        let previous = self.latest.insert(flow, number);
        self.ring.push_back(Past { flow, previous, code, template, at_ms, fields });
        if self.latest.len() > 2 * self.limit {
            let first = self.first;
            self.latest.retain(|_, number| *number >= first);
        }
    }

    /// The accesses of one flow, the latest first.
    pub(super) fn of_flow(&self, flow: u64, now_ms: u64) -> impl Iterator<Item = &Past> {
        let mut next = self.latest.get(&flow).copied();
        let chain = std::iter::from_fn(move || {
            let past = self.get(next?)?;
            next = past.previous;
            Some(past)
        });
        let is_near = move |past: &&Past| now_ms.saturating_sub(past.at_ms) <= LOOK_BACK_MS;
        chain.take(LOOK_BACK).take_while(is_near)
    }

    /// The accesses of all flows, the latest first.
    pub(super) fn of_all(&self, now_ms: u64) -> impl Iterator<Item = &Past> {
        let is_near = move |past: &&Past| now_ms.saturating_sub(past.at_ms) <= LOOK_BACK_MS;
        self.ring.iter().rev().take(LOOK_AROUND).take_while(is_near)
    }

    /// What its value says is known now.
    pub(super) fn add_fields(&mut self, flow: u64, code: u64, fields: &[(u32, u32)]) {
        let mut next = self.latest.get(&flow).copied();
        for _ in 0..LOOK_BACK {
            let Some(at) = next.and_then(|number| number.checked_sub(self.first)) else { return };
            let Some(past) = self.ring.get_mut(at as usize) else { return };
            if past.code == code && past.flow == flow {
                return past.fields.extend_from_slice(fields);
            }
            next = past.previous;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let fields: usize = self.ring.iter().map(|past| 8 * past.fields.capacity()).sum();
        size_of::<Past>() * self.ring.len() + fields + 32 * self.latest.len()
    }
}
