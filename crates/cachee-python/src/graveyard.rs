//! Where references go that were dropped without the GIL.
//!
//! The link's thread evicts and invalidates decoded objects, and may not release them: that needs
//! the GIL, which it never takes. It pushes them on a lock-free stack (a lock could be held by
//! another thread at a fork), and whoever next holds the GIL and is not in a hurry releases them.
//! When many wait, the interpreter is asked to do it between two bytecodes.

use crate::raw::Obj;
use pyo3::ffi;
use pyo3::prelude::*;
use std::os::raw::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// So many waiting references are worth interrupting the interpreter for.
const PENDING_CALL_AT: usize = 256;

struct Grave {
    object: Obj,
    next: *mut Grave,
}

static HEAD: AtomicPtr<Grave> = AtomicPtr::new(ptr::null_mut());
static WAITING: AtomicUsize = AtomicUsize::new(0);
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Takes over a reference, with or without the GIL.
pub fn bury(object: Obj) {
    if IS_CLOSED.load(Ordering::Relaxed) {
        return;
    }
    let grave = Box::into_raw(Box::new(Grave { object, next: ptr::null_mut() }));
    let mut head = HEAD.load(Ordering::Relaxed);
    loop {
        // SAFETY: the grave is ours until the exchange succeeds.
        unsafe { (*grave).next = head };
        match HEAD.compare_exchange_weak(head, grave, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => head = now,
        }
    }
    if (WAITING.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(PENDING_CALL_AT) {
        // SAFETY: may be called from any thread; refused calls are no loss.
        unsafe { ffi::Py_AddPendingCall(Some(pending), ptr::null_mut()) };
    }
}

extern "C" fn pending(_unused: *mut c_void) -> c_int {
    // SAFETY: the interpreter calls this with the GIL held.
    release(unsafe { Python::assume_attached() });
    0
}

/// Releases everything that waits. Runs Python code when a value does.
#[inline]
pub fn release(_py: Python<'_>) {
    if WAITING.load(Ordering::Relaxed) > 0 {
        release_all();
    }
}

#[cold]
fn release_all() {
    let mut grave = HEAD.swap(ptr::null_mut(), Ordering::Acquire);
    while !grave.is_null() {
        // SAFETY: the whole stack is ours after the swap; the GIL is held.
        unsafe {
            let Grave { object, next } = *Box::from_raw(grave);
            WAITING.fetch_sub(1, Ordering::Relaxed);
            ffi::Py_DECREF(object);
            grave = next;
        }
    }
}

/// The interpreter is going: what is dropped from now on is leaked.
pub fn close() {
    IS_CLOSED.store(true, Ordering::Relaxed);
}
