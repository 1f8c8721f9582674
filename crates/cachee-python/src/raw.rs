//! The few things done on bare object pointers, because a hit has a budget of tens of nanoseconds.
//!
//! The limited API keeps reference counts behind a function call and PyO3's method trampolines
//! cost as much as a whole hit. What is used here beside the limited API is the part of the
//! layout the stable ABI itself fixes: `ob_refcnt` first, `ob_type` second, in every CPython from
//! 3.10 that loads abi3 modules (free-threaded builds do not).

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::os::raw::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// A borrowed or owned object pointer, as the C functions see it.
pub type Obj = *mut ffi::PyObject;

/// Adds a reference without a call; immortal objects (CPython >= 3.12) are left alone.
///
/// # Safety
/// `op` is a live object and the GIL is held.
#[inline(always)]
pub unsafe fn incref(op: Obj) {
    // SAFETY: ob_refcnt is the first word in every ABI this module is loaded by. A negative low
    // half marks an immortal object from 3.12 on and cannot occur before.
    unsafe {
        let count = op.cast::<i64>();
        let now = *count;
        if (now as i32) >= 0 {
            *count = now + 1;
        }
    }
}

/// Whether `op` is exactly a `str`.
///
/// # Safety
/// `op` is a live object.
#[inline(always)]
pub unsafe fn is_exact_str(op: Obj) -> bool {
    // SAFETY: PyUnicode_Type is a static of the interpreter.
    unsafe { ptr::eq(ffi::Py_TYPE(op), &raw const ffi::PyUnicode_Type) }
}

/// Whether `op` is exactly a `bytes`.
///
/// # Safety
/// `op` is a live object.
#[inline(always)]
pub unsafe fn is_exact_bytes(op: Obj) -> bool {
    // SAFETY: PyBytes_Type is a static of the interpreter.
    unsafe { ptr::eq(ffi::Py_TYPE(op), &raw const ffi::PyBytes_Type) }
}

/// The UTF-8 of an exact `str` or the content of an exact `bytes`; None for anything else and
/// for what UTF-8 cannot hold (lone surrogates).
///
/// # Safety
/// `op` is live and stays so, unchanged, for `'a`; the GIL is held.
#[inline(always)]
pub unsafe fn text_or_bytes<'a>(op: Obj) -> Option<&'a [u8]> {
    // SAFETY: both calls give a pointer into the immutable object.
    unsafe {
        if is_exact_str(op) {
            let mut length: ffi::Py_ssize_t = 0;
            let data = ffi::PyUnicode_AsUTF8AndSize(op, &raw mut length);
            if data.is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            Some(std::slice::from_raw_parts(data.cast(), length as usize))
        } else if is_exact_bytes(op) {
            let data = ffi::PyBytes_AsString(op);
            Some(std::slice::from_raw_parts(data.cast(), ffi::PyBytes_Size(op) as usize))
        } else {
            None
        }
    }
}

/// Runs the body of a slow C entry point: an error becomes the Python exception, a panic too.
///
/// # Safety
/// The GIL is held (the interpreter called us).
pub unsafe fn entry<R>(failed: R, body: impl FnOnce(Python<'_>) -> PyResult<R>) -> R {
    // SAFETY: the caller holds the GIL.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            error.restore(py);
            failed
        }
        Err(_) => {
            PyRuntimeError::new_err("cachee: internal error, please report it").restore(py);
            failed
        }
    }
}

/// A method table entry for a METH_FASTCALL | METH_KEYWORDS function.
pub const fn fastcall_keywords(
    name: *const c_char,
    function: ffi::PyCFunctionFastWithKeywords,
    doc: *const c_char,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name,
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc,
    }
}

/// A method table entry for a METH_FASTCALL function.
pub const fn fastcall(
    name: *const c_char,
    function: ffi::PyCFunctionFast,
    doc: *const c_char,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name,
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: function },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: doc,
    }
}

/// A method table entry for a METH_O or METH_NOARGS function.
pub const fn plain(
    name: *const c_char,
    function: ffi::PyCFunction,
    flags: c_int,
    doc: *const c_char,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name,
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: doc,
    }
}

/// A table the interpreter keeps for ever and writes into only while a type is made.
pub struct Table<T>(pub std::cell::UnsafeCell<T>);

// SAFETY: only touched with the GIL held.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    /// A table with its first content.
    pub const fn new(value: T) -> Self {
        Table(std::cell::UnsafeCell::new(value))
    }

    /// The address of the content; dereferencing needs the GIL.
    #[inline(always)]
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}
