//! May what one link loaded be served right now?
//!
//! An entry is only as good as the feed that would have invalidated it. The link proves its feed
//! alive up to some moment (`prove`), stops hits until a new proof (`close`), and after a lost
//! connection moves to a fresh scope in which none of the old entries exist (`reset`). Readers
//! ask on every hit, so the answer is two loads and no lock.
//!
//! The order is the whole point. `reset` clears the proof, then publishes the scope, and only a
//! later `prove` on the new connection lets readers in again. A reader loads the proof first with
//! Acquire: one that sees the new proof therefore sees the new scope, and can never serve an
//! entry of the lost connection on the strength of the new one. A reader that still sees the old
//! proof may see either scope; both are within the bound the old proof gave.
//!
//! Rejected: one packed word (48 bits of time and 16 of scope wrap within hours of reconnects),
//! a seqlock (a reader would retry while the link writes).

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The serving permission of one link. Written by the link under its own lock, read by all.
#[derive(Debug)]
pub struct Gate {
    serve_until_ms: AtomicU64,
    scope: AtomicU32,
}

impl Gate {
    /// A closed gate on `scope`.
    pub fn new(scope: u32) -> Self {
        Self { serve_until_ms: AtomicU64::new(0), scope: AtomicU32::new(scope) }
    }

    /// The scope whose entries may be served at `now_ms`, if the proof covers that moment.
    #[inline]
    pub fn open_scope(&self, now_ms: u64) -> Option<u32> {
        let until_ms = self.serve_until_ms.load(Ordering::Acquire);
        let scope = self.scope.load(Ordering::Acquire);
        (now_ms < until_ms).then_some(scope)
    }

    /// The present scope, open or not: where new loads are to be stored.
    #[inline]
    pub fn scope(&self) -> u32 {
        self.scope.load(Ordering::Acquire)
    }

    /// The moment up to which hits are allowed.
    pub fn serve_until_ms(&self) -> u64 {
        self.serve_until_ms.load(Ordering::Acquire)
    }

    /// The feed was alive: hits are allowed until `until_ms`. Never shortens an earlier proof.
    pub fn prove(&self, until_ms: u64) {
        self.serve_until_ms.fetch_max(until_ms, Ordering::AcqRel);
    }

    /// Hits stop until the next proof.
    pub fn close(&self) {
        self.serve_until_ms.store(0, Ordering::Release);
    }

    /// The connection was lost: hits stop, and the next proof speaks for `scope` only.
    pub fn reset(&self, scope: u32) {
        self.serve_until_ms.store(0, Ordering::Release);
        self.scope.store(scope, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn opens_with_a_proof_and_closes_with_time() {
        let gate = Gate::new(1);
        assert_eq!(gate.open_scope(0), None);
        gate.prove(100);
        gate.prove(50);
        assert_eq!(gate.open_scope(99), Some(1));
        assert_eq!(gate.open_scope(100), None);
    }

    #[test]
    fn a_barrier_closes_it_until_the_next_proof() {
        let gate = Gate::new(1);
        gate.prove(100);
        gate.close();
        assert_eq!(gate.open_scope(10), None);
        gate.prove(60);
        assert_eq!(gate.open_scope(10), Some(1));
    }

    #[test]
    fn a_reset_speaks_for_the_new_scope_only() {
        let gate = Gate::new(1);
        gate.prove(100);
        gate.reset(2);
        assert_eq!(gate.open_scope(10), None);
        gate.prove(100);
        assert_eq!(gate.open_scope(10), Some(2));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    const OLD: u32 = 1;
    const NEW: u32 = 2;
    const OLD_PROOF_MS: u64 = 10;
    const NEW_PROOF_MS: u64 = 100;

    /// A reader that loads the scope before the proof: the mistake the order exists to prevent.
    fn open_scope_in_the_wrong_order(gate: &Gate, now_ms: u64) -> Option<u32> {
        let scope = gate.scope.load(Ordering::Acquire);
        let until_ms = gate.serve_until_ms.load(Ordering::Acquire);
        (now_ms < until_ms).then_some(scope)
    }

    fn reconnect_against(open_scope: fn(&Gate, u64) -> Option<u32>) {
        loom::model(move || {
            let gate = Arc::new(Gate::new(OLD));
            gate.prove(OLD_PROOF_MS);
            let link = {
                let gate = Arc::clone(&gate);
                thread::spawn(move || {
                    gate.reset(NEW);
                    gate.prove(NEW_PROOF_MS);
                })
            };
            let after_the_old_proof = OLD_PROOF_MS + 1;
            let seen = open_scope(&gate, after_the_old_proof);
            assert_ne!(seen, Some(OLD), "the new proof opened the old scope");
            link.join().unwrap();
            assert_eq!(gate.open_scope(after_the_old_proof), Some(NEW));
        });
    }

    #[test]
    fn the_new_proof_never_opens_the_old_scope() {
        reconnect_against(Gate::open_scope);
    }

    #[test]
    #[should_panic(expected = "the new proof opened the old scope")]
    fn the_model_catches_the_wrong_order() {
        reconnect_against(open_scope_in_the_wrong_order);
    }

    #[test]
    fn a_barrier_seen_by_its_thread_is_seen_by_its_next_read() {
        loom::model(|| {
            let gate = Arc::new(Gate::new(OLD));
            gate.prove(OLD_PROOF_MS);
            let other = {
                let gate = Arc::clone(&gate);
                thread::spawn(move || gate.open_scope(OLD_PROOF_MS - 1))
            };
            gate.close();
            assert_eq!(gate.open_scope(OLD_PROOF_MS - 1), None);
            let seen = other.join().unwrap();
            assert!(seen.is_none() || seen == Some(OLD));
        });
    }

    #[test]
    fn two_proofs_leave_the_later_one() {
        loom::model(|| {
            let gate = Arc::new(Gate::new(OLD));
            let other = {
                let gate = Arc::clone(&gate);
                thread::spawn(move || gate.prove(NEW_PROOF_MS))
            };
            gate.prove(OLD_PROOF_MS);
            other.join().unwrap();
            assert_eq!(gate.serve_until_ms(), NEW_PROOF_MS);
        });
    }
}
