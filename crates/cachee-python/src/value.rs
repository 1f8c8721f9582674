//! What the L1 keeps of a reply: its bytes, or after the first hit the finished object.
//!
//! The link's thread stores bytes. The first hit decodes them, outside the shard's lock, and swaps
//! the object in. Strings, numbers and None are handed out as they are; a list or dict is a
//! template, kept to ourselves and copied for each caller, who may change what it got.

use crate::graveyard;
use crate::raw::{Obj, incref};
use cachee_core::{Weigh, heap_bytes};
use cachee_net::LinkValue;
use pyo3::ffi;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// An owned reference that may be dropped without the GIL.
pub struct Kept(NonNull<ffi::PyObject>);

// SAFETY: the object is used with the GIL held only; dropping without it goes to the graveyard.
unsafe impl Send for Kept {}
// SAFETY: as Send.
unsafe impl Sync for Kept {}

impl Kept {
    /// Takes over a reference.
    ///
    /// # Safety
    /// `object` is live.
    pub unsafe fn new(object: Obj) -> Kept {
        // SAFETY: a live object is not null.
        Kept(unsafe { NonNull::new_unchecked(object) })
    }

    /// Borrowed.
    #[inline(always)]
    pub fn as_ptr(&self) -> Obj {
        self.0.as_ptr()
    }

    /// Gives the reference up.
    pub fn into_ptr(self) -> Obj {
        std::mem::ManuallyDrop::new(self).as_ptr()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        graveyard::bury(self.as_ptr());
    }
}

/// How a kept object is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Immutable: another reference.
    Scalar,
    /// A list or dict of scalars: a shallow copy.
    Flat,
    /// Containers in containers: a copy of each.
    Nested,
}

/// The value of one entry.
pub enum Value {
    /// One whole RESP3 reply, as received.
    Raw(Arc<[u8]>),
    /// What a hit gives, and its bytes.
    Object {
        /// The object or template.
        kept: Kept,
        /// How it is handed out.
        form: Form,
        /// What it and everything in it occupies.
        weight_bytes: u32,
    },
}

impl Weigh for Value {
    fn weight_bytes(&self) -> usize {
        match self {
            Value::Raw(frame) => frame.weight_bytes(),
            Value::Object { weight_bytes, .. } => *weight_bytes as usize,
        }
    }
}

impl LinkValue for Value {
    fn from_reply(frame: Arc<[u8]>) -> Self {
        Value::Raw(frame)
    }
}

/// A caller's own object of a kept one; null with MemoryError set.
///
/// # Safety
/// `object` is live and stays so through the call; the GIL is held; no lock is.
#[inline]
pub unsafe fn handed_out(object: Obj, form: Form) -> Obj {
    // SAFETY: as the caller promises.
    unsafe {
        match form {
            Form::Scalar => {
                incref(object);
                object
            }
            Form::Flat => copied_flat(object),
            Form::Nested => copied(object),
        }
    }
}

unsafe fn is_list(object: Obj) -> bool {
    // SAFETY: reads the type of a live object.
    unsafe { ptr::eq(ffi::Py_TYPE(object), &raw const ffi::PyList_Type) }
}

unsafe fn is_dict(object: Obj) -> bool {
    // SAFETY: reads the type of a live object.
    unsafe { ptr::eq(ffi::Py_TYPE(object), &raw const ffi::PyDict_Type) }
}

unsafe fn copied_flat(object: Obj) -> Obj {
    // SAFETY: a template is an exact list or dict.
    unsafe {
        if is_list(object) {
            ffi::PyList_GetSlice(object, 0, ffi::Py_ssize_t::MAX)
        } else {
            ffi::PyDict_Copy(object)
        }
    }
}

/// Copies lists and dicts all the way down. Nobody else sees a template, so it does not change.
unsafe fn copied(object: Obj) -> Obj {
    // SAFETY: borrowed references of a live, unchanging container.
    unsafe {
        if is_list(object) {
            let length = ffi::PyList_Size(object);
            let list = ffi::PyList_New(length);
            if list.is_null() {
                return list;
            }
            for index in 0..length {
                let element = copied(ffi::PyList_GetItem(object, index));
                if element.is_null() {
                    ffi::Py_DECREF(list);
                    return ptr::null_mut();
                }
                ffi::PyList_SetItem(list, index, element);
            }
            return list;
        }
        if is_dict(object) {
            let dict = ffi::PyDict_New();
            if dict.is_null() {
                return dict;
            }
            let mut at = 0;
            let (mut key, mut value): (Obj, Obj) = (ptr::null_mut(), ptr::null_mut());
            while ffi::PyDict_Next(object, &raw mut at, &raw mut key, &raw mut value) != 0 {
                let value = copied(value);
                if value.is_null() || ffi::PyDict_SetItem(dict, key, value) != 0 {
                    ffi::Py_XDECREF(value);
                    ffi::Py_DECREF(dict);
                    return ptr::null_mut();
                }
                ffi::Py_DECREF(value);
            }
            return dict;
        }
        incref(object);
        object
    }
}

/// Bytes of a `str` or `bytes` object of so many bytes of content.
pub fn text_bytes(length: usize) -> usize {
    const HEAD: usize = 49;
    heap_bytes(HEAD + length)
}
