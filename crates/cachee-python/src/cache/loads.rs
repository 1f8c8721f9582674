//! Loads under way: what `get_or_load` may still store when its loader returns.
//!
//! A load is a token. Setting or deleting its key, clearing, or invalidating one of its tags voids
//! it: the loader may have read what has just been replaced, so its result is handed out and not
//! stored. Keys are told apart by hash alone; a collision voids one load too many. There are as
//! many loads as loaders running, so a list is searched through.

use super::keys::hold;
use super::write::{Terms, mixed_hash, store};
use super::{Held, Inner, inner};
use crate::raw::{Obj, entry};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr;

/// One loader that has not returned yet.
pub(super) struct Load {
    token: u64,
    hash: u64,
    pub(super) key: Held,
    dependencies: Vec<u64>,
    void: bool,
}

/// The key is being written or removed.
#[inline]
pub(super) fn void_key(state: &mut Inner, hash: u64) {
    for load in &mut state.loads {
        load.void |= load.hash == hash;
    }
}

/// The tag is being invalidated.
pub(super) fn void_dependency(state: &mut Inner, dependency: u64) {
    for load in &mut state.loads {
        load.void |= load.dependencies.contains(&dependency);
    }
}

/// Everything is being removed.
pub(super) fn void_all(state: &mut Inner) {
    for load in &mut state.loads {
        load.void = true;
    }
}

/// `_begin_load(key, tags)`: a token.
pub(super) unsafe extern "C" fn begin_load(
    object: Obj,
    arguments: *mut Obj,
    count: ffi::Py_ssize_t,
) -> Obj {
    // SAFETY: called by the interpreter with `count` live arguments.
    unsafe {
        entry(ptr::null_mut(), |py| {
            if count != 2 {
                return Err(PyTypeError::new_err("_begin_load() takes key and tags"));
            }
            let key = *arguments;
            let hash = mixed_hash(py, object, key)?;
            let terms = Terms::read(py, object, ptr::null_mut(), *arguments.add(1))?;
            let key = hold(key);
            let state = inner(object);
            state.loads_begun += 1;
            let token = state.loads_begun;
            let dependencies = terms.dependencies;
            state.loads.push(Load { token, hash, key, dependencies, void: false });
            Ok(ffi::PyLong_FromUnsignedLongLong(token))
        })
    }
}

/// The load leaves the list.
unsafe fn end(object: Obj, token: Obj) -> PyResult<Option<Load>> {
    // SAFETY: called with live objects; the borrow comes after the conversion.
    unsafe {
        let token: u64 = Bound::from_borrowed_ptr(Python::assume_attached(), token).extract()?;
        let loads = &mut inner(object).loads;
        let place = loads.iter().position(|load| load.token == token);
        Ok(place.map(|place| loads.swap_remove(place)))
    }
}

/// `_finish_load(token, value, ttl)`: whether the value was stored.
pub(super) unsafe extern "C" fn finish_load(
    object: Obj,
    arguments: *mut Obj,
    count: ffi::Py_ssize_t,
) -> Obj {
    // SAFETY: called by the interpreter with `count` live arguments.
    unsafe {
        entry(ptr::null_mut(), |py| {
            if count != 3 {
                return Err(PyTypeError::new_err("_finish_load() takes token, value and ttl"));
            }
            let Some(load) = end(object, *arguments)? else {
                return Ok(ffi::PyBool_FromLong(0));
            };
            // From here on the key's reference is dropped with `key`.
            let key = Bound::from_owned_ptr(py, load.key.as_ptr());
            let mut stored = false;
            if !load.void {
                let mut terms = Terms::read(py, object, *arguments.add(2), ptr::null_mut())?;
                terms.dependencies = load.dependencies;
                stored = store(py, object, key.as_ptr(), *arguments.add(1), &terms)?;
            }
            Ok(ffi::PyBool_FromLong(stored.into()))
        })
    }
}

/// `_abandon_load(token)`
pub(super) unsafe extern "C" fn abandon_load(object: Obj, token: Obj) -> Obj {
    // SAFETY: called by the interpreter with live objects.
    unsafe {
        entry(ptr::null_mut(), |py| {
            if let Some(load) = end(object, token)? {
                ffi::Py_DECREF(load.key.as_ptr());
            }
            Ok(py.None().into_ptr())
        })
    }
}
