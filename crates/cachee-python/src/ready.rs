//! The awaitable of an asynchronous hit: it has its value and never suspends.
//!
//! Problem: `async def` costs a coroutine object, a frame and its suspension, 60 ns and more for a
//! value that is already there. Idea: a native type that is its own iterator. `await` asks
//! `am_await` for the iterator and drives it by `am_send` (CPython 3.10, 3.11) or by `tp_iternext`
//! (3.12 and later, where the value travels in a StopIteration, see `Stop`); `send`, `throw` and `close` make
//! it a `collections.abc.Coroutine`, so `asyncio.iscoroutine` is true and `create_task`, `gather`
//! and `wait_for` take it. Freed objects wait on a free list of 64.
//!
//! Cost: the object is not tracked by the garbage collector. A cycle through it needs a value that
//! holds its own, never awaited, awaitable. Rejected: a finished `Future`, which is bound to a loop
//! and three times as slow.

use crate::raw::{Obj, Table, incref, is_exact_bytes, is_exact_str, plain};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::os::raw::{c_char, c_void};
use std::ptr;

const FREE_LIST_LENGTH: usize = 64;

#[repr(C)]
struct Ready {
    head: ffi::PyObject,
    /// Owned; null once the value was handed out.
    value: Obj,
}

struct FreeList {
    kept: [*mut Ready; FREE_LIST_LENGTH],
    length: usize,
}

static FREE: Table<FreeList> =
    Table::new(FreeList { kept: [ptr::null_mut(); FREE_LIST_LENGTH], length: 0 });
static TYPE: Table<*mut ffi::PyTypeObject> = Table::new(ptr::null_mut());

static METHODS: Table<[ffi::PyMethodDef; 4]> = Table::new([
    plain(c"send".as_ptr(), send, ffi::METH_O, c"Finish with the value.".as_ptr()),
    plain(c"throw".as_ptr(), throw, ffi::METH_VARARGS, c"Finish with an exception.".as_ptr()),
    plain(c"close".as_ptr(), close, ffi::METH_NOARGS, c"Finish without the value.".as_ptr()),
    ffi::PyMethodDef::zeroed(),
]);

/// Makes the type. Called once, when the module is made.
pub fn init(py: Python<'_>) -> PyResult<()> {
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_am_await, identity as *mut c_void),
        slot(ffi::Py_am_send, am_send as *mut c_void),
        slot(ffi::Py_tp_iter, identity as *mut c_void),
        slot(ffi::Py_tp_iternext, iternext as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_methods, METHODS.get().cast()),
        slot(ffi::Py_tp_doc, c"An awaitable that already has its value.".as_ptr() as *mut c_void),
        slot(0, ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"cachee._core.Ready".as_ptr(),
        basicsize: size_of::<Ready>() as i32,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
            | ffi::Py_TPFLAGS_IMMUTABLETYPE) as u32,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: spec and slots live through the call; METHODS lives for ever. The GIL is held.
    unsafe {
        let made = ffi::PyType_FromSpec(&raw mut spec);
        if made.is_null() {
            return Err(PyErr::fetch(py));
        }
        *TYPE.get() = made.cast();
        init_stop(py);
    }
    Ok(())
}

/// A new awaitable of `value`, whose reference it takes over; null with MemoryError set.
///
/// # Safety
/// The GIL is held, `init` was called, `value` is an owned reference.
#[inline]
pub unsafe fn ready(value: Obj) -> Obj {
    // SAFETY: the free list is guarded by the GIL; what is on it kept its type and memory.
    unsafe {
        let free = FREE.get();
        if (*free).length > 0 {
            (*free).length -= 1;
            let object = (*free).kept[(*free).length];
            *object.cast::<i64>() = 1;
            (*object).value = value;
            return object.cast();
        }
        allocate(value)
    }
}

#[cold]
unsafe fn allocate(value: Obj) -> Obj {
    // SAFETY: a heap type's instance is made by its tp_alloc (here the default one).
    unsafe {
        let object = ffi::PyType_GenericAlloc(*TYPE.get(), 0).cast::<Ready>();
        if object.is_null() {
            ffi::Py_DECREF(value);
            return ptr::null_mut();
        }
        (*object).value = value;
        object.cast()
    }
}

unsafe extern "C" fn dealloc(object: Obj) {
    // SAFETY: the last reference is gone; the value may run code, so the list is read after it.
    unsafe {
        let this = object.cast::<Ready>();
        let value = std::mem::replace(&mut (*this).value, ptr::null_mut());
        ffi::Py_XDECREF(value);
        let free = FREE.get();
        if (*free).length < FREE_LIST_LENGTH {
            (*free).kept[(*free).length] = this;
            (*free).length += 1;
            return;
        }
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn identity(object: Obj) -> Obj {
    // SAFETY: called by the interpreter with a live instance.
    unsafe { incref(object) };
    object
}

/// The value, or null with RuntimeError set when it was taken before.
#[inline(always)]
unsafe fn take(object: Obj) -> Obj {
    // SAFETY: called by the interpreter with a live instance of this type.
    unsafe {
        let this = object.cast::<Ready>();
        let value = std::mem::replace(&mut (*this).value, ptr::null_mut());
        if value.is_null() {
            refuse();
        }
        value
    }
}

#[cold]
unsafe fn refuse() {
    // SAFETY: the GIL is held.
    let py = unsafe { Python::assume_attached() };
    PyRuntimeError::new_err("cannot reuse already awaited result").restore(py);
}

unsafe extern "C" fn am_send(object: Obj, _sent: Obj, result: *mut Obj) -> ffi::PySendResult {
    // SAFETY: the interpreter gives a live instance and a place for the result.
    unsafe {
        let value = take(object);
        *result = value;
        if value.is_null() {
            ffi::PySendResult::PYGEN_ERROR
        } else {
            ffi::PySendResult::PYGEN_RETURN
        }
    }
}

unsafe extern "C" fn iternext(object: Obj) -> Obj {
    // SAFETY: the interpreter gives a live instance; `stop` takes the value over.
    unsafe {
        let value = take(object);
        if !value.is_null() && !stop_with_kept(value) {
            stop(value);
        }
        ptr::null_mut()
    }
}

/// Raises StopIteration of a value.
#[cold]
unsafe fn stop(value: Obj) {
    // SAFETY: an instance is made here, because PyErr_SetObject with a bare value would take a
    // tuple for its arguments and an exception for itself.
    unsafe {
        let stop = ffi::PyObject_CallFunctionObjArgs(
            ffi::PyExc_StopIteration,
            value,
            ptr::null_mut::<ffi::PyObject>(),
        );
        ffi::Py_DECREF(value);
        if !stop.is_null() {
            ffi::PyErr_SetObject(ffi::PyExc_StopIteration, stop);
            ffi::Py_DECREF(stop);
        }
    }
}

/// From CPython 3.12 on `await` gets the value through a StopIteration, whose making costs more
/// than all the rest. One instance is kept and raised again and again: the interpreter takes the
/// value out and drops it at once.
struct Stop {
    /// `PyErr_SetRaisedException`, where there is one.
    raise: Option<unsafe extern "C" fn(Obj)>,
    /// Owned; null before the first use.
    exception: Obj,
    /// The name `value`.
    value: Obj,
}

static STOP: Table<Stop> =
    Table::new(Stop { raise: None, exception: ptr::null_mut(), value: ptr::null_mut() });

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
}

/// Every symbol of the process.
const RTLD_DEFAULT: isize = if cfg!(target_os = "macos") { -2 } else { 0 };

unsafe fn init_stop(py: Python<'_>) {
    // SAFETY: a symbol of that name is the interpreter's, with this signature.
    unsafe {
        let process = RTLD_DEFAULT as *mut c_void;
        let symbol = dlsym(process, c"PyErr_SetRaisedException".as_ptr());
        let stop = STOP.get();
        if !symbol.is_null() {
            (*stop).raise =
                Some(std::mem::transmute::<*mut c_void, unsafe extern "C" fn(Obj)>(symbol));
        }
        (*stop).value = pyo3::intern!(py, "value").clone().into_ptr();
    }
}

/// Raises the kept StopIteration with a value, which it then holds until it is used again:
/// therefore only for plain scalars. False: nothing was done.
#[inline]
unsafe fn stop_with_kept(value: Obj) -> bool {
    // SAFETY: the GIL guards STOP; a kept exception that anyone else holds, or that has been
    // caught (and has a traceback), is given up for a new one.
    unsafe {
        let stop = STOP.get();
        let Some(raise) = (*stop).raise else { return false };
        let is_scalar = is_exact_bytes(value) || is_exact_str(value);
        if !is_scalar && !ptr::eq(value, ffi::Py_None()) {
            return false;
        }
        let kept = (*stop).exception;
        if kept.is_null() || *kept.cast::<i32>() != 1 || has_traceback(kept) {
            ffi::Py_XDECREF(kept);
            let made = ffi::PyObject_CallFunctionObjArgs(
                ffi::PyExc_StopIteration,
                ptr::null_mut::<ffi::PyObject>(),
            );
            (*stop).exception = made;
            if made.is_null() {
                ffi::PyErr_Clear();
                return false;
            }
        }
        let kept = (*stop).exception;
        if ffi::PyObject_SetAttr(kept, (*stop).value, value) != 0 {
            ffi::PyErr_Clear();
            return false;
        }
        ffi::Py_DECREF(value);
        incref(kept);
        raise(kept);
        true
    }
}

unsafe fn has_traceback(exception: Obj) -> bool {
    // SAFETY: a live exception; the new reference is dropped.
    unsafe {
        let traceback = ffi::PyException_GetTraceback(exception);
        ffi::Py_XDECREF(traceback);
        !traceback.is_null()
    }
}

unsafe extern "C" fn send(object: Obj, _sent: Obj) -> Obj {
    // SAFETY: called by the interpreter with a live instance of this type.
    unsafe {
        let value = take(object);
        if !value.is_null() {
            stop(value);
        }
        ptr::null_mut()
    }
}

unsafe extern "C" fn close(object: Obj, _unused: Obj) -> Obj {
    // SAFETY: called by the interpreter with a live instance of this type.
    unsafe {
        let this = object.cast::<Ready>();
        ffi::Py_XDECREF(std::mem::replace(&mut (*this).value, ptr::null_mut()));
        ffi::Py_NewRef(ffi::Py_None())
    }
}

/// `throw(exception)` or the older `throw(type[, value[, traceback]])`.
unsafe extern "C" fn throw(object: Obj, arguments: Obj) -> Obj {
    // SAFETY: arguments is the tuple of METH_VARARGS; borrowed references stay valid through it.
    unsafe {
        let (mut kind, mut value, mut traceback): (Obj, Obj, Obj) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        let parsed = ffi::PyArg_UnpackTuple(
            arguments,
            c"throw".as_ptr(),
            1,
            3,
            &raw mut kind,
            &raw mut value,
            &raw mut traceback,
        );
        if parsed == 0 {
            return ptr::null_mut();
        }
        ffi::Py_DECREF(close(object, ptr::null_mut()));
        if ffi::PyExceptionInstance_Check(kind) != 0 {
            ffi::PyErr_SetObject(ffi::Py_TYPE(kind).cast(), kind);
        } else if ffi::PyExceptionClass_Check(kind) != 0 {
            let value = if value.is_null() { ffi::Py_None() } else { value };
            ffi::PyErr_SetObject(kind, value);
        } else {
            let message = c"exceptions must be classes or instances deriving from BaseException";
            ffi::PyErr_SetString(ffi::PyExc_TypeError, message.as_ptr());
        }
        ptr::null_mut()
    }
}
