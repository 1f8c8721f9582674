//! Reading one key.

use super::keys::{Found, find, is_plain, same};
use super::write::mixed_hash;
use super::{inner, release};
use crate::raw::{Obj, entry, incref};
use pyo3::ffi;
use pyo3::prelude::*;
use std::os::raw::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// Looks a key up, counting a hit or a miss.
pub(super) enum Looked {
    /// A new reference.
    Hit(Obj),
    Miss,
    /// The exception is set.
    Raised,
}

/// # Safety
/// `object` is a live cache, `key` a live object; the GIL is held and no borrow is alive.
#[inline(always)]
pub(super) unsafe fn look(object: Obj, key: Obj) -> Looked {
    // SAFETY: no Python code runs while `state` is used; see keys.rs.
    unsafe {
        let hash = ffi::PyObject_Hash(key);
        if hash == -1 {
            return Looked::Raised;
        }
        let state = inner(object);
        let hash = state.mix(hash);
        if state.foreign_keys || !is_plain(key) {
            return look_foreign(object, key, hash);
        }
        let now_ms = state.now_ms();
        let mut foreign = false;
        match state.shard.get(hash, now_ms, |stored| same(stored.as_ptr(), key, &mut foreign)) {
            Some(value) => {
                let value = value.as_ptr();
                incref(value);
                Looked::Hit(value)
            }
            None => {
                release(object);
                Looked::Miss
            }
        }
    }
}

/// As `look`; a panic, which is a bug, becomes an exception instead of ending the process.
#[inline(always)]
unsafe fn guarded(object: Obj, key: Obj) -> Looked {
    // SAFETY: as look.
    catch_unwind(AssertUnwindSafe(|| unsafe { look(object, key) })).unwrap_or_else(|_| {
        let message = c"cachee: internal error, please report it";
        // SAFETY: the GIL is held.
        unsafe { ffi::PyErr_SetString(ffi::PyExc_RuntimeError, message.as_ptr()) };
        Looked::Raised
    })
}

#[inline(never)]
unsafe fn look_foreign(object: Obj, key: Obj, hash: u64) -> Looked {
    // SAFETY: as look; `find` may run Python code, so the state is borrowed anew after it.
    unsafe {
        let found = find(object, key, hash);
        let state = inner(object);
        let now_ms = state.now_ms();
        let value = match found {
            Found::Raised => return Looked::Raised,
            Found::At(id) => state.shard.hit(id, now_ms).map(|value| value.as_ptr()),
            Found::Absent => None,
        };
        match value {
            Some(value) => {
                incref(value);
                Looked::Hit(value)
            }
            None => {
                state.shard.miss();
                release(object);
                Looked::Miss
            }
        }
    }
}

/// `get(key, default=None)`
pub(super) unsafe extern "C" fn get(
    object: Obj,
    arguments: *const Obj,
    count: ffi::Py_ssize_t,
    names: Obj,
) -> Obj {
    // SAFETY: the interpreter gives `count` positional and len(names) named live arguments.
    unsafe {
        let default = if count == 1 && names.is_null() {
            ffi::Py_None()
        } else {
            match default_of(arguments, count, names) {
                Some(default) => default,
                None => return ptr::null_mut(),
            }
        };
        match guarded(object, *arguments) {
            Looked::Hit(value) => value,
            Looked::Miss => {
                incref(default);
                default
            }
            Looked::Raised => ptr::null_mut(),
        }
    }
}

/// The default among the arguments of `get`; None with TypeError set.
#[inline(never)]
unsafe fn default_of(arguments: *const Obj, count: ffi::Py_ssize_t, names: Obj) -> Option<Obj> {
    // SAFETY: as get.
    unsafe {
        let named = if names.is_null() { 0 } else { ffi::PyTuple_Size(names) };
        if count == 2 && named == 0 {
            return Some(*arguments.add(1));
        }
        if count == 1 && named == 1 {
            let name = ffi::PyTuple_GetItem(names, 0);
            if ffi::PyUnicode_CompareWithASCIIString(name, c"default".as_ptr()) == 0 {
                return Some(*arguments.add(1));
            }
        }
        let message = c"get() takes a key and at most one more argument, default";
        ffi::PyErr_SetString(ffi::PyExc_TypeError, message.as_ptr());
        None
    }
}

/// `cache[key]`
pub(super) unsafe extern "C" fn subscript(object: Obj, key: Obj) -> Obj {
    // SAFETY: called by the interpreter with live objects.
    unsafe {
        match guarded(object, key) {
            Looked::Hit(value) => value,
            Looked::Miss => {
                set_key_error(key);
                ptr::null_mut()
            }
            Looked::Raised => ptr::null_mut(),
        }
    }
}

/// Raises KeyError of one key, whatever the key is.
pub(super) unsafe fn set_key_error(key: Obj) {
    // SAFETY: a tuple of one keeps a tuple key from becoming several arguments.
    unsafe {
        let arguments = ffi::PyTuple_Pack(1, key);
        if !arguments.is_null() {
            ffi::PyErr_SetObject(ffi::PyExc_KeyError, arguments);
            ffi::Py_DECREF(arguments);
        }
    }
}

/// `key in cache`, which counts neither as a hit nor as a miss.
pub(super) unsafe extern "C" fn contains(object: Obj, key: Obj) -> c_int {
    // SAFETY: called by the interpreter with live objects.
    unsafe {
        entry(-1, |py| {
            let hash = mixed_hash(py, object, key)?;
            match find(object, key, hash) {
                Found::Raised => Err(PyErr::fetch(py)),
                Found::Absent => Ok(0),
                Found::At(id) => {
                    let state = inner(object);
                    let now_ms = state.now_ms();
                    Ok(state.shard.is_live(id, now_ms).into())
                }
            }
        })
    }
}
