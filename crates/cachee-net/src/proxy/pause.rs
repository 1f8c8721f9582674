//! How a thread pauses so that others can end or shorten it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Ends a thread that pauses on it.
#[derive(Default)]
pub(crate) struct Stop {
    is_told: AtomicBool,
    is_nudged: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn tell(&self) {
        self.is_told.store(true, Ordering::Release);
        let _held = self.lock.lock();
        self.changed.notify_all();
    }

    /// Something is to be looked at now.
    pub(crate) fn nudge(&self) {
        self.is_nudged.store(true, Ordering::Release);
        let _held = self.lock.lock();
        self.changed.notify_all();
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    pub(crate) fn pause(&self, time: Duration) {
        let mut held = self.lock.lock();
        if !self.is_told() && !self.is_nudged.load(Ordering::Acquire) {
            self.changed.wait_for(&mut held, time);
        }
        self.is_nudged.store(false, Ordering::Release);
    }
}
