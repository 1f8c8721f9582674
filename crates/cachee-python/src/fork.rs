//! Telling a forked child from its parent, without a system call on the hit path.
//!
//! A child inherits the store's locks in whatever state other threads of the parent had them, and
//! the links' sockets, which stay the parent's. So everything made before the fork is never used
//! again: a handler of `pthread_atfork` counts forks in the child, each engine remembers the count
//! it was made at, and one that differs answers MISS to everything. This also covers forks that
//! run none of Python's own hooks.

use std::sync::atomic::{AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> std::os::raw::c_int;
}

unsafe extern "C" fn count() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Registers the handler. Called once, when the module is made.
pub fn init() {
    // SAFETY: the handler only adds to an atomic, which any child may do.
    unsafe { pthread_atfork(None, None, Some(count)) };
}

/// How many forks lie between the first process and this one.
#[inline(always)]
pub fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}
