//! Storing, removing, invalidating.

use super::keys::{Found, find, hold, is_plain, same};
use super::{arguments, inner, loads, lookup, measure, release};
use crate::raw::{Obj, entry};
use cachee_core::Inserted;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::os::raw::c_int;
use std::ptr;

/// How long an entry lives and what drops it, read once for one or many entries.
pub(super) struct Terms {
    pub(super) ttl_ms: u64,
    pub(super) dependencies: Vec<u64>,
}

impl Terms {
    /// From the `ttl` and `tags` arguments, null where not given.
    ///
    /// # Safety
    /// `object` is a live cache; the arguments are live or null; no borrow is alive.
    pub(super) unsafe fn read(py: Python<'_>, object: Obj, ttl: Obj, tags: Obj) -> PyResult<Terms> {
        // SAFETY: the arguments are live; the state is borrowed only between Python calls.
        unsafe {
            let default_ms = inner(object).ttl_ms;
            let ttl_ms = if ttl.is_null() {
                default_ms
            } else {
                arguments::ttl_ms(&Bound::from_borrowed_ptr(py, ttl), default_ms)?
            };
            let mut dependencies = Vec::new();
            if !tags.is_null() {
                for tag in arguments::tags(&Bound::from_borrowed_ptr(py, tags))? {
                    dependencies.push(inner(object).tag_dependency(&tag)?);
                }
            }
            Ok(Terms { ttl_ms, dependencies })
        }
    }
}

/// The key's mixed hash.
///
/// # Safety
/// Live objects, no borrow alive.
pub(super) unsafe fn mixed_hash(py: Python<'_>, object: Obj, key: Obj) -> PyResult<u64> {
    // SAFETY: as above.
    unsafe {
        let hash = ffi::PyObject_Hash(key);
        if hash == -1 {
            return Err(PyErr::fetch(py));
        }
        Ok(inner(object).mix(hash))
    }
}

/// Stores one entry; false when it does not fit.
///
/// # Safety
/// Live objects, no borrow alive.
pub(super) unsafe fn store(
    py: Python<'_>,
    object: Obj,
    key: Obj,
    value: Obj,
    terms: &Terms,
) -> PyResult<bool> {
    // SAFETY: sizes and comparisons, which may run Python code, come before the last borrow.
    unsafe {
        let hash = mixed_hash(py, object, key)?;
        let sizer = inner(object).sizer;
        let weight_bytes = measure::weight_bytes(py, sizer, key, value)?;
        let plain = is_plain(key);
        let mut existing = ptr::null_mut();
        if !plain || inner(object).foreign_keys {
            match find(object, key, hash) {
                Found::Raised => return Err(PyErr::fetch(py)),
                Found::Absent => {}
                Found::At(id) => {
                    let pair = inner(object).shard.slot(id);
                    existing = pair.map_or(ptr::null_mut(), |(stored, _)| stored.as_ptr());
                }
            }
        }
        let (held_key, held_value) = (hold(key), hold(value));
        let state = inner(object);
        let by_identity = !plain || state.foreign_keys;
        state.foreign_keys |= !plain;
        state.insertions += 1;
        loads::void_key(state, hash);
        let deadline_ms = state.deadline_ms(terms.ttl_ms);
        let inserted = state.shard.insert(
            hash,
            held_key,
            held_value,
            weight_bytes,
            deadline_ms,
            &terms.dependencies,
            |stored| {
                if by_identity {
                    ptr::eq(stored.as_ptr(), existing)
                } else {
                    same(stored.as_ptr(), key, &mut false)
                }
            },
        );
        release(object);
        Ok(inserted != Inserted::TooLarge)
    }
}

/// Removes one entry; whether it was there.
unsafe fn remove(py: Python<'_>, object: Obj, key: Obj) -> PyResult<bool> {
    // SAFETY: live objects from the interpreter; `find` ends its borrows.
    unsafe {
        let hash = mixed_hash(py, object, key)?;
        let found = find(object, key, hash);
        let state = inner(object);
        loads::void_key(state, hash);
        let removed = match found {
            Found::Raised => return Err(PyErr::fetch(py)),
            Found::Absent => false,
            Found::At(id) => {
                let now_ms = state.now_ms();
                let live = state.shard.is_live(id, now_ms);
                state.shard.remove_slot(id);
                live
            }
        };
        release(object);
        Ok(removed)
    }
}

/// `set(key, value, ttl=None, tags=())`
pub(super) unsafe extern "C" fn set(
    object: Obj,
    arguments: *const Obj,
    count: ffi::Py_ssize_t,
    names: Obj,
) -> Obj {
    // SAFETY: called by the interpreter with live arguments.
    unsafe {
        entry(ptr::null_mut(), |py| {
            let parameters = ["key", "value", "ttl", "tags"];
            let [key, value, ttl, tags] =
                arguments::bind("set", parameters, 2, arguments, count, names)?;
            let terms = Terms::read(py, object, ttl, tags)?;
            let stored = store(py, object, key, value, &terms)?;
            Ok(ffi::PyBool_FromLong(stored.into()))
        })
    }
}

/// `set_many(items, ttl=None, tags=())`
pub(super) unsafe extern "C" fn set_many(
    object: Obj,
    arguments: *const Obj,
    count: ffi::Py_ssize_t,
    names: Obj,
) -> Obj {
    // SAFETY: called by the interpreter with live arguments; each item is held while it is used.
    unsafe {
        entry(ptr::null_mut(), |py| {
            let parameters = ["items", "ttl", "tags"];
            let [items, ttl, tags] =
                arguments::bind("set_many", parameters, 1, arguments, count, names)?;
            let terms = Terms::read(py, object, ttl, tags)?;
            let items = Bound::from_borrowed_ptr(py, items);
            let pairs = if items.is_instance_of::<PyDict>() || items.hasattr("items")? {
                items.call_method0("items")?
            } else {
                items
            };
            let mut stored = 0_usize;
            for pair in pairs.try_iter()? {
                let pair = pair?;
                let pair = pair.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2).ok_or_else(
                    || PyTypeError::new_err("items must be a mapping or pairs of (key, value)"),
                )?;
                let (key, value) = (pair.get_item(0)?, pair.get_item(1)?);
                stored += usize::from(store(py, object, key.as_ptr(), value.as_ptr(), &terms)?);
            }
            Ok(ffi::PyLong_FromSize_t(stored))
        })
    }
}

/// `delete(key)`
pub(super) unsafe extern "C" fn delete(object: Obj, key: Obj) -> Obj {
    // SAFETY: called by the interpreter with live objects.
    unsafe {
        entry(ptr::null_mut(), |py| Ok(ffi::PyBool_FromLong(remove(py, object, key)?.into())))
    }
}

/// `cache[key] = value` and `del cache[key]`
pub(super) unsafe extern "C" fn assign(object: Obj, key: Obj, value: Obj) -> c_int {
    // SAFETY: called by the interpreter with live objects; value is null for del.
    unsafe {
        entry(-1, |py| {
            if value.is_null() {
                if !remove(py, object, key)? {
                    lookup::set_key_error(key);
                    return Err(PyErr::fetch(py));
                }
                return Ok(0);
            }
            let terms = Terms { ttl_ms: inner(object).ttl_ms, dependencies: Vec::new() };
            store(py, object, key, value, &terms)?;
            Ok(0)
        })
    }
}

/// `invalidate_tag(tag)`
pub(super) unsafe extern "C" fn invalidate_tag(object: Obj, tag: Obj) -> Obj {
    // SAFETY: called by the interpreter with live objects.
    unsafe {
        entry(ptr::null_mut(), |py| {
            let dependency = inner(object).tag_dependency(&Bound::from_borrowed_ptr(py, tag))?;
            let state = inner(object);
            loads::void_dependency(state, dependency);
            let dropped = state.shard.invalidate(dependency);
            release(object);
            Ok(ffi::PyLong_FromSize_t(dropped))
        })
    }
}

/// `clear()`
pub(super) unsafe extern "C" fn clear(object: Obj, _unused: Obj) -> Obj {
    // SAFETY: called by the interpreter with a live object.
    unsafe {
        entry(ptr::null_mut(), |py| {
            let state = inner(object);
            loads::void_all(state);
            state.shard.clear();
            release(object);
            Ok(py.None().into_ptr())
        })
    }
}
