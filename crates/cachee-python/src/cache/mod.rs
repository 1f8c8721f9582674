//! `Cache`: a `Shard` of Python objects, guarded by the GIL alone.
//!
//! Problem: a lookup may cost about what `dict.get` costs, though deadline, eviction and counters
//! come with it; and every comparison or destructor may run Python code that calls back in.
//!
//! Idea: a type made from a bare spec, so that its methods are C functions without a trampoline
//! and its state lies in the object itself. The hash is the key's own (`str` caches it), mixed
//! with a secret; identity is tried before equality. The rule that keeps re-entry safe:
//!
//! * No Python code runs while the shard is borrowed. Keys whose equality is known to run none
//!   (`str`, `bytes`, numbers, None and tuples of these) are compared inside a lookup; any other
//!   is compared between two lookups, on slot ids that notice when the entry has gone.
//! * What the shard lets go of is parked in it, and released after the last borrow of a call.
//!
//! Cost: a cache that holds one foreign key looks everything up the longer way. Not protected by
//! a mutex: this module is not loaded by free-threaded interpreters.

mod arguments;
mod keys;
mod loads;
mod lookup;
mod many;
mod measure;
mod write;

use crate::raw::{Obj, Table, entry, fastcall, fastcall_keywords, plain};
use cachee_core::Shard;
use cachee_net::clock;
use loads::Load;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};

/// An owned reference inside the shard. Released by hand, never while the shard is borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Held(NonNull<ffi::PyObject>);

impl Held {
    #[inline(always)]
    fn as_ptr(self) -> Obj {
        self.0.as_ptr()
    }

    /// Takes over a reference.
    ///
    /// # Safety
    /// `object` is a live object.
    #[inline(always)]
    unsafe fn new(object: Obj) -> Held {
        // SAFETY: a live object is not null.
        Held(unsafe { NonNull::new_unchecked(object) })
    }
}

/// What a cache is, behind the object head.
struct Inner {
    shard: Shard<Held, Held>,
    seed: u64,
    /// Some entry has or had a deadline; without any the clock is not read.
    timed: bool,
    /// Some key was stored whose equality may run Python code.
    foreign_keys: bool,
    /// Entries put in so far: tells a search whether a comparison has put one in.
    insertions: u64,
    /// Milliseconds every new entry lives, u64::MAX for ever.
    ttl_ms: u64,
    /// Added to the clock; moved only by tests.
    clock_offset_ms: u64,
    /// Owned; null when sizes are measured.
    sizer: Obj,
    loads: Vec<Load>,
    loads_begun: u64,
}

#[repr(C)]
struct CacheObject {
    head: ffi::PyObject,
    /// None only before `__new__` has finished and after the type's clean-up.
    inner: Option<Inner>,
}

impl Inner {
    /// The time for reading entries.
    #[inline(always)]
    fn now_ms(&self) -> u64 {
        if self.timed { clock::coarse_ms() + self.clock_offset_ms } else { 0 }
    }

    fn deadline_ms(&mut self, ttl_ms: u64) -> u64 {
        if ttl_ms == u64::MAX {
            return u64::MAX;
        }
        self.timed = true;
        self.now_ms().saturating_add(ttl_ms)
    }

    /// The key's own hash, spread over all bits and unpredictable from outside.
    #[inline(always)]
    fn mix(&self, hash: ffi::Py_hash_t) -> u64 {
        const ODD: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(hash as u64 ^ self.seed) * ODD;
        product as u64 ^ (product >> 64) as u64
    }
}

/// The state of a live cache. The borrow must end before any Python code runs.
///
/// # Safety
/// `object` is an instance of the type, made by `new`; no other borrow is alive.
#[inline(always)]
unsafe fn inner<'a>(object: Obj) -> &'a mut Inner {
    // SAFETY: `new` fills it before anyone sees the object and only dealloc empties it.
    unsafe { (*object.cast::<CacheObject>()).inner.as_mut().unwrap_unchecked() }
}

/// Releases what the shard has let go of. Runs Python code.
///
/// # Safety
/// As `inner`; no borrow is alive.
#[inline]
unsafe fn release(object: Obj) {
    // SAFETY: each borrow ends before the references are dropped.
    unsafe {
        if inner(object).shard.is_dropped_empty() {
            return;
        }
        for (key, value) in inner(object).shard.take_dropped() {
            ffi::Py_DECREF(key.as_ptr());
            ffi::Py_DECREF(value.as_ptr());
        }
    }
}

static METHODS: Table<[ffi::PyMethodDef; 14]> = Table::new([
    fastcall_keywords(
        c"get".as_ptr(),
        lookup::get,
        c"get($self, key, /, default=None)\n--\n\nThe value of the key, or the default.".as_ptr(),
    ),
    fastcall_keywords(
        c"set".as_ptr(),
        write::set,
        c"set($self, key, value, ttl=None, tags=())\n--\n\nStore a value; False if it does not fit."
            .as_ptr(),
    ),
    plain(
        c"delete".as_ptr(),
        write::delete,
        ffi::METH_O,
        c"delete($self, key, /)\n--\n\nRemove a key; whether it was there.".as_ptr(),
    ),
    fastcall(
        c"get_many".as_ptr(),
        many::get_many,
        c"get_many($self, keys, default=None, /)\n--\n\nThe values of many keys, in order."
            .as_ptr(),
    ),
    fastcall_keywords(
        c"set_many".as_ptr(),
        write::set_many,
        c"set_many($self, items, ttl=None, tags=())\n--\n\nStore many; how many were stored."
            .as_ptr(),
    ),
    plain(
        c"invalidate_tag".as_ptr(),
        write::invalidate_tag,
        ffi::METH_O,
        c"invalidate_tag($self, tag, /)\n--\n\nDrop every entry stored with the tag.".as_ptr(),
    ),
    plain(
        c"clear".as_ptr(),
        write::clear,
        ffi::METH_NOARGS,
        c"clear($self)\n--\n\nRemove every entry.".as_ptr(),
    ),
    plain(
        c"keys".as_ptr(),
        many::keys,
        ffi::METH_NOARGS,
        c"keys($self)\n--\n\nA list of the keys held.".as_ptr(),
    ),
    plain(
        c"_counters".as_ptr(),
        counters,
        ffi::METH_NOARGS,
        c"_counters($self)\n--\n\nCounters and sizes.".as_ptr(),
    ),
    fastcall(c"_begin_load".as_ptr(), loads::begin_load, ptr::null()),
    fastcall(c"_finish_load".as_ptr(), loads::finish_load, ptr::null()),
    plain(c"_abandon_load".as_ptr(), loads::abandon_load, ffi::METH_O, ptr::null()),
    plain(c"_advance_clock".as_ptr(), advance_clock, ffi::METH_O, ptr::null()),
    ffi::PyMethodDef::zeroed(),
]);

/// Makes the type and adds it to the module.
pub fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_new, new as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear_references as *mut c_void),
        slot(ffi::Py_tp_iter, many::iterate as *mut c_void),
        slot(ffi::Py_mp_subscript, lookup::subscript as *mut c_void),
        slot(ffi::Py_mp_ass_subscript, write::assign as *mut c_void),
        slot(ffi::Py_mp_length, many::length as *mut c_void),
        slot(ffi::Py_sq_contains, lookup::contains as *mut c_void),
        slot(ffi::Py_tp_methods, METHODS.get().cast()),
        slot(ffi::Py_tp_doc, c"The store of cachee.Cache.".as_ptr() as *mut c_void),
        slot(0, ptr::null_mut()),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC;
    let mut spec = ffi::PyType_Spec {
        name: c"cachee._core.Cache".as_ptr(),
        basicsize: size_of::<CacheObject>() as i32,
        itemsize: 0,
        flags: flags as u32,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: spec and slots live through the call; METHODS lives for ever. The GIL is held.
    let made =
        unsafe { Bound::from_owned_ptr_or_err(module.py(), ffi::PyType_FromSpec(&raw mut spec))? };
    keys::init(module.py())?;
    measure::init(module.py())?;
    module.add("Cache", made)
}

/// Gives a subclass method descriptors of its own. The interpreter's specialised calls want an
/// instance of exactly the class a descriptor was made for; an inherited one costs 15 ns more.
pub fn adopt_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    // SAFETY: the GIL is held; METHODS lives for ever and ends with a definition without a name.
    let methods = unsafe { &*METHODS.get() };
    for definition in methods.iter().take_while(|definition| !definition.ml_name.is_null()) {
        // SAFETY: as above; the names are literals, and the descriptor is a new reference.
        let (name, descriptor) = unsafe {
            let made =
                ffi::PyDescr_NewMethod(class.as_ptr().cast(), ptr::from_ref(definition).cast_mut());
            (CStr::from_ptr(definition.ml_name), Bound::from_owned_ptr_or_err(class.py(), made)?)
        };
        class.setattr(name, descriptor)?;
    }
    Ok(())
}

unsafe extern "C" fn new(kind: *mut ffi::PyTypeObject, positional: Obj, named: Obj) -> Obj {
    // SAFETY: the interpreter gives a tuple and a dict or null.
    unsafe {
        entry(ptr::null_mut(), |py| {
            let positional = Bound::from_borrowed_ptr(py, positional).cast_into::<PyTuple>()?;
            let named = Bound::from_borrowed_ptr_or_opt(py, named);
            let made = construct(&positional, named.map(|named| named.cast_into()).transpose()?)?;
            let object = ffi::PyType_GenericAlloc(kind, 0);
            if object.is_null() {
                ffi::Py_XDECREF(made.sizer);
                return Err(PyErr::fetch(py));
            }
            ptr::write(&raw mut (*object.cast::<CacheObject>()).inner, Some(made));
            Ok(object)
        })
    }
}

fn construct(positional: &Bound<'_, PyTuple>, named: Option<Bound<'_, PyDict>>) -> PyResult<Inner> {
    let mut max_memory = None;
    let (mut ttl_ms, mut sizer) = (u64::MAX, ptr::null_mut());
    if positional.len() > 1 {
        return Err(PyTypeError::new_err("Cache() takes one positional argument, max_memory"));
    }
    if let Ok(first) = positional.get_item(0) {
        max_memory = Some(first);
    }
    for (name, value) in named.iter().flat_map(|named| named.iter()) {
        match name.extract::<String>()?.as_str() {
            "max_memory" if max_memory.is_none() => max_memory = Some(value),
            "ttl" => ttl_ms = arguments::ttl_ms(&value, u64::MAX)?,
            "sizer" if value.is_none() => {}
            "sizer" if value.is_callable() => sizer = value.into_ptr(),
            "sizer" => {
                return Err(PyTypeError::new_err("sizer must be a callable of (key, value)"));
            }
            other => {
                let message = format!("Cache() got an unexpected argument '{other}'");
                return Err(PyTypeError::new_err(message));
            }
        }
    }
    let Some(max_memory) = max_memory else {
        return Err(PyTypeError::new_err("Cache() misses its argument max_memory (bytes)"));
    };
    let capacity_bytes: i64 = max_memory.extract()?;
    if capacity_bytes <= 0 {
        let message = format!("max_memory must be at least 1 byte, not {capacity_bytes}");
        return Err(PyValueError::new_err(message));
    }
    Ok(Inner {
        shard: Shard::new(capacity_bytes as usize),
        seed: RandomState::new().hash_one(0_u64),
        timed: false,
        foreign_keys: false,
        insertions: 0,
        ttl_ms,
        clock_offset_ms: 0,
        sizer,
        loads: Vec::new(),
        loads_begun: 0,
    })
}

unsafe extern "C" fn dealloc(object: Obj) {
    // SAFETY: the last reference is gone, so no code that releasing the entries runs reaches us.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        clear_references(object);
        let this = object.cast::<CacheObject>();
        drop((*this).inner.take());
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn traverse(object: Obj, visit: ffi::visitproc, argument: *mut c_void) -> c_int {
    // SAFETY: the collector calls with a live object; visiting runs no Python code.
    unsafe {
        let found = visit(ffi::Py_TYPE(object).cast(), argument);
        if found != 0 {
            return found;
        }
        let Some(state) = (*object.cast::<CacheObject>()).inner.as_ref() else {
            return 0;
        };
        let entries = state.shard.iter().flat_map(|(_, key, value)| [key.as_ptr(), value.as_ptr()]);
        let loads = state.loads.iter().map(|load| load.key.as_ptr());
        for reference in entries.chain(loads).chain((!state.sizer.is_null()).then_some(state.sizer))
        {
            let found = visit(reference, argument);
            if found != 0 {
                return found;
            }
        }
        0
    }
}

unsafe extern "C" fn clear_references(object: Obj) -> c_int {
    // SAFETY: each borrow ends before references are dropped.
    unsafe {
        let Some(state) = (*object.cast::<CacheObject>()).inner.as_mut() else {
            return 0;
        };
        state.shard.clear();
        let sizer = std::mem::replace(&mut state.sizer, ptr::null_mut());
        let loads = std::mem::take(&mut state.loads);
        release(object);
        for load in loads {
            ffi::Py_DECREF(load.key.as_ptr());
        }
        ffi::Py_XDECREF(sizer);
        0
    }
}

unsafe extern "C" fn counters(object: Obj, _unused: Obj) -> Obj {
    // SAFETY: called by the interpreter with a live instance.
    unsafe {
        entry(ptr::null_mut(), |py| {
            let stats = inner(object).shard.stats();
            let counters = PyDict::new(py);
            for (name, value) in [
                ("hits", stats.hits),
                ("misses", stats.misses),
                ("stored", stats.stored),
                ("replaced", stats.replaced),
                ("evicted", stats.evicted),
                ("expired", stats.expired),
                ("invalidated", stats.invalidated),
                ("removed", stats.removed),
                ("too_large", stats.too_large),
                ("entries", stats.entries),
                ("weight_bytes", stats.weight_bytes),
                ("capacity_bytes", stats.capacity_bytes),
            ] {
                counters.set_item(name, value)?;
            }
            Ok(counters.into_ptr())
        })
    }
}

unsafe extern "C" fn advance_clock(object: Obj, seconds: Obj) -> Obj {
    // SAFETY: called by the interpreter with live objects.
    unsafe {
        entry(ptr::null_mut(), |py| {
            let seconds: f64 = Bound::from_borrowed_ptr(py, seconds).extract()?;
            inner(object).clock_offset_ms += (seconds * 1_000.0) as u64;
            Ok(py.None().into_ptr())
        })
    }
}
