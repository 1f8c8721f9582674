//! Reading many keys, and walking over all.
//!
//! A lookup in a large cache waits for memory four times in a row: index, entry, key, value. Many
//! lookups at once need not: `get_many` goes over a batch once for each of these steps and asks
//! the processor for the next step's lines ahead, so the waits of a batch overlap.

use super::lookup::{Looked, look};
use super::{inner, release};
use crate::raw::{Obj, entry, is_exact_str};
use cachee_net::prefetch;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr;

const BATCH: usize = 64;
/// Below so many entries index and entries stay in the processor's caches by themselves.
const PREFETCH_FROM: usize = 4_096;

/// Brings what the lookups of a batch will read into the processor's cache.
///
/// # Safety
/// `object` is a live cache, `keys` are live; no borrow is alive.
unsafe fn prefetch_batch(object: Obj, keys: &[Obj]) {
    let mut hashes = [0_u64; BATCH];
    // SAFETY: only exact strings are hashed here, which runs no Python code.
    unsafe {
        let state = inner(object);
        for key in keys {
            prefetch((*key).cast());
        }
        for (key, hash) in keys.iter().zip(&mut hashes) {
            if is_exact_str(*key) {
                *hash = state.mix(ffi::PyObject_Hash(*key));
                prefetch(state.shard.bucket_address(*hash));
            }
        }
        let hashes = &hashes[..keys.len()];
        for hash in hashes {
            prefetch(state.shard.entry_address(*hash));
        }
        for hash in hashes {
            if let Some((key, value)) = state.shard.first_candidate(*hash) {
                prefetch(key.as_ptr().cast());
                prefetch(value.as_ptr().cast());
            }
        }
    }
}

/// `get_many(keys, default=None)`
pub(super) unsafe extern "C" fn get_many(
    object: Obj,
    arguments: *mut Obj,
    count: ffi::Py_ssize_t,
) -> Obj {
    // SAFETY: called by the interpreter with `count` live arguments.
    unsafe {
        entry(ptr::null_mut(), |py| {
            if !(1..=2).contains(&count) {
                return Err(PyTypeError::new_err("get_many() takes keys and a default"));
            }
            let is_large = inner(object).shard.len() >= PREFETCH_FROM;
            let default = if count == 2 { *arguments.add(1) } else { ffi::Py_None() };
            // A tuple: its elements stay alive and in place whatever the comparisons run.
            let keys = Bound::from_owned_ptr_or_err(py, ffi::PySequence_Tuple(*arguments))?;
            let length = ffi::PyTuple_Size(keys.as_ptr());
            let values = Bound::from_owned_ptr_or_err(py, ffi::PyList_New(length))?;
            let mut batch = [ptr::null_mut(); BATCH];
            let mut start = 0;
            while start < length {
                let end = length.min(start + BATCH as ffi::Py_ssize_t);
                let batch = &mut batch[..(end - start) as usize];
                for (index, key) in batch.iter_mut().enumerate() {
                    *key = ffi::PyTuple_GetItem(keys.as_ptr(), start + index as ffi::Py_ssize_t);
                }
                if is_large {
                    prefetch_batch(object, batch);
                }
                for (index, key) in batch.iter().enumerate() {
                    let value = match look(object, *key) {
                        Looked::Hit(value) => value,
                        Looked::Miss => ffi::Py_NewRef(default),
                        Looked::Raised => return Err(PyErr::fetch(py)),
                    };
                    let place = start + index as ffi::Py_ssize_t;
                    ffi::PyList_SetItem(values.as_ptr(), place, value);
                }
                start = end;
            }
            Ok(values.into_ptr())
        })
    }
}

/// `keys()`: live entries only.
pub(super) unsafe extern "C" fn keys(object: Obj, _unused: Obj) -> Obj {
    // SAFETY: the references are taken under one borrow, the list is filled after it.
    unsafe {
        entry(ptr::null_mut(), |py| {
            let state = inner(object);
            let now_ms = state.now_ms();
            let held: Vec<Bound<'_, PyAny>> = state
                .shard
                .iter()
                .filter(|(id, _, _)| state.shard.is_live(*id, now_ms))
                .map(|(_, key, _)| Bound::from_borrowed_ptr(py, key.as_ptr()))
                .collect();
            Ok(pyo3::types::PyList::new(py, held)?.into_ptr())
        })
    }
}

/// `iter(cache)`: over the keys held now.
pub(super) unsafe extern "C" fn iterate(object: Obj) -> Obj {
    // SAFETY: called by the interpreter with a live object.
    unsafe {
        let list = keys(object, ptr::null_mut());
        if list.is_null() {
            return list;
        }
        let iterator = ffi::PyObject_GetIter(list);
        ffi::Py_DECREF(list);
        iterator
    }
}

/// `len(cache)`: entries held, those that have expired unseen included.
pub(super) unsafe extern "C" fn length(object: Obj) -> ffi::Py_ssize_t {
    // SAFETY: called by the interpreter with a live object.
    unsafe {
        release(object);
        inner(object).shard.len() as ffi::Py_ssize_t
    }
}
