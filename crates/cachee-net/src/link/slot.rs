//! Where a blocked caller waits for one end or several.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::outcome::Outcome;

/// Ends of one caller's reads.
pub(super) struct Slot {
    filled: Mutex<Filled>,
    changed: Condvar,
}

struct Filled {
    outcomes: Vec<Option<Outcome>>,
    left: usize,
    is_waited_for: bool,
}

impl Slot {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            filled: Mutex::new(Filled {
                outcomes: vec![None; places],
                left: places,
                is_waited_for: false,
            }),
            changed: Condvar::new(),
        })
    }

    pub(super) fn fill(&self, place: usize, outcome: Outcome) {
        let mut filled = self.filled.lock();
        if filled.outcomes[place].replace(outcome).is_none() {
            filled.left -= 1;
        }
        if filled.left == 0 && filled.is_waited_for {
            self.changed.notify_one();
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.filled.lock().left == 0
    }

    /// Sleeps until done or the time is over; true when done.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let mut filled = self.filled.lock();
        if filled.left > 0 {
            filled.is_waited_for = true;
            self.changed.wait_for(&mut filled, timeout);
            filled.is_waited_for = false;
        }
        filled.left == 0
    }

    /// Every end; `otherwise` where none has come.
    pub(super) fn take(&self, otherwise: &Outcome) -> Vec<Outcome> {
        let mut filled = self.filled.lock();
        let ends = filled.outcomes.iter_mut();
        ends.map(|end| end.take().unwrap_or_else(|| otherwise.clone())).collect()
    }
}
