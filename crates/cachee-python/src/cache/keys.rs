//! Which keys may be compared while the shard is borrowed, and how the others are found.

use super::{Held, Inner, inner};
use crate::raw::{Obj, Table, incref};
use cachee_core::SlotId;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr;

const PLAIN_TUPLE_DEPTH: u32 = 3;

/// Comparing bytes with str may warn (`python -b`), and a warning runs Python code.
static BYTES_WARNING: Table<bool> = Table::new(false);

pub(super) fn init(py: Python<'_>) -> PyResult<()> {
    let flag: u32 = py.import("sys")?.getattr("flags")?.getattr("bytes_warning")?.extract()?;
    // SAFETY: the GIL is held.
    unsafe { *BYTES_WARNING.get() = flag != 0 };
    Ok(())
}

/// Whether comparing this key with another such key runs no Python code.
///
/// # Safety
/// `key` is a live object and the GIL is held.
#[inline(always)]
pub(super) unsafe fn is_plain(key: Obj) -> bool {
    // SAFETY: type objects are compared by address.
    unsafe { crate::raw::is_exact_str(key) || is_plain_other(key, PLAIN_TUPLE_DEPTH) }
}

unsafe fn is_plain_other(key: Obj, depth: u32) -> bool {
    // SAFETY: as is_plain; a tuple's elements live as long as it does.
    unsafe {
        let kind = ffi::Py_TYPE(key).cast_const();
        if ptr::eq(kind, &raw const ffi::PyUnicode_Type)
            || ptr::eq(kind, &raw const ffi::PyLong_Type)
            || ptr::eq(kind, &raw const ffi::PyBytes_Type)
            || ptr::eq(kind, &raw const ffi::PyFloat_Type)
            || ptr::eq(kind, &raw const ffi::PyBool_Type)
            || ptr::eq(key, ffi::Py_None())
        {
            return true;
        }
        if !ptr::eq(kind, &raw const ffi::PyTuple_Type) || depth == 0 || *BYTES_WARNING.get() {
            return false;
        }
        (0..ffi::PyTuple_Size(key))
            .all(|index| is_plain_other(ffi::PyTuple_GetItem(key, index), depth - 1))
    }
}

/// Whether two keys are equal, as far as that is known without running Python code; otherwise
/// false, and `foreign` is set.
///
/// # Safety
/// Both are live, `asked` is plain or `foreign` is looked at afterwards; the GIL is held.
#[inline(always)]
pub(super) unsafe fn same(stored: Obj, asked: Obj, foreign: &mut bool) -> bool {
    if ptr::eq(stored, asked) {
        return true;
    }
    // SAFETY: comparing exact strings allocates nothing and calls nobody.
    unsafe {
        if crate::raw::is_exact_str(stored) && crate::raw::is_exact_str(asked) {
            return ffi::PyUnicode_Compare(stored, asked) == 0;
        }
        same_other(stored, asked, foreign)
    }
}

#[inline(never)]
unsafe fn same_other(stored: Obj, asked: Obj, foreign: &mut bool) -> bool {
    // SAFETY: as same.
    unsafe {
        if !is_plain(stored) || !is_plain(asked) {
            *foreign = true;
            return false;
        }
        let text = |kind| {
            ptr::eq(kind, &raw const ffi::PyUnicode_Type)
                || ptr::eq(kind, &raw const ffi::PyBytes_Type)
        };
        let (left, right) = (ffi::Py_TYPE(stored).cast_const(), ffi::Py_TYPE(asked).cast_const());
        if !ptr::eq(left, right) && (text(left) || text(right)) {
            return false;
        }
        match ffi::PyObject_RichCompareBool(stored, asked, ffi::Py_EQ) {
            -1 => {
                ffi::PyErr_Clear();
                false
            }
            equal => equal == 1,
        }
    }
}

/// What was found for a key.
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// This entry.
    At(SlotId),
    /// A comparison raised; the exception is set.
    Raised,
}

impl Inner {
    /// Finds a plain key among plain keys; `foreign` is set when that was not the whole answer.
    #[inline]
    unsafe fn find_plain(&self, key: Obj, hash: u64, foreign: &mut bool) -> Option<SlotId> {
        // SAFETY: keys in the shard are live.
        self.shard.find(hash, |stored| unsafe { same(stored.as_ptr(), key, foreign) })
    }
}

/// So often a comparison may insert entries before the search for its key is given up.
const RESTARTS_MAX: u32 = 16;

/// Finds a key of any kind, counting nothing. May run Python code; no borrow is alive then.
///
/// # Safety
/// `object` is a live cache, `key` a live object, `hash` the key's mixed hash.
pub(super) unsafe fn find(object: Obj, key: Obj, hash: u64) -> Found {
    // SAFETY: every borrow ends before a comparison; compared keys are kept alive through it.
    unsafe {
        for _ in 0..RESTARTS_MAX {
            let mut foreign = false;
            if let Some(id) = inner(object).find_plain(key, hash, &mut foreign) {
                return Found::At(id);
            }
            if !foreign {
                return Found::Absent;
            }
            let insertions = inner(object).insertions;
            match compare_candidates(object, key, hash) {
                // A comparison has put something in: it may be this very key.
                Found::Absent if inner(object).insertions != insertions => {}
                found => return found,
            }
        }
        let message = c"comparing the key keeps changing the cache";
        ffi::PyErr_SetString(ffi::PyExc_RuntimeError, message.as_ptr());
        Found::Raised
    }
}

unsafe fn compare_candidates(object: Obj, key: Obj, hash: u64) -> Found {
    // SAFETY: as find.
    unsafe {
        let candidates: Vec<SlotId> = inner(object).shard.candidates(hash).collect();
        for id in candidates {
            let Some(stored) = inner(object).shard.slot(id).map(|(stored, _)| stored.as_ptr())
            else {
                continue;
            };
            incref(stored);
            let equal = ffi::PyObject_RichCompareBool(stored, key, ffi::Py_EQ);
            // The comparison may have changed the cache; the key, still held, tells its entry.
            let is_there =
                inner(object).shard.slot(id).is_some_and(|(now, _)| ptr::eq(now.as_ptr(), stored));
            ffi::Py_DECREF(stored);
            if equal < 0 {
                return Found::Raised;
            }
            if equal == 1 && is_there {
                return Found::At(id);
            }
        }
        Found::Absent
    }
}

/// A key as the shard stores it, with its reference.
///
/// # Safety
/// `key` is a live object and the GIL is held.
pub(super) unsafe fn hold(object: Obj) -> Held {
    // SAFETY: the caller's object is live.
    unsafe {
        incref(object);
        Held::new(object)
    }
}
