//! A RESP3 reply as the object the client's own parser would have given.
//!
//! redis-py and valkey-py, with hiredis, libvalkey or their own parser, agree: sets come as lists,
//! maps as dicts, doubles as floats, verbatim strings without their format. A client that speaks
//! RESP2 would have been sent other types for the same values, and gets what its parser would
//! have made of those. HGETALL alone is kept as a dict either way, because the client's method
//! gives a dict either way; its RESP2 reply is laid flat when somebody asks for it raw.

use crate::raw::Obj;
use crate::value::{Form, text_bytes};
use cachee_core::heap_bytes;
use cachee_net::Resp2Shape;
use cachee_net::resp::{Node, Reader};
use pyo3::ffi;
use std::ffi::CString;
use std::ptr;

/// The low half of a shape says which command, the high half which decoding.
pub const DECODING_SHIFT: u32 = 16;

/// How strings become objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// bytes
    Bytes,
    /// str, from an encoding by an error handler.
    Decoded {
        /// As `bytes.decode` takes it.
        encoding: CString,
        /// As `bytes.decode` takes it.
        errors: CString,
    },
}

/// How one client sees replies. Two clients of equal decoding share entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoding {
    /// Strings.
    pub text: Text,
    /// The client speaks RESP2.
    pub resp2: bool,
}

/// A finished object, owned, with what handing it out and keeping it takes.
pub struct Decoded {
    /// A new reference.
    pub object: Obj,
    /// How it is handed out.
    pub form: Form,
    /// What it occupies.
    pub weight_bytes: usize,
}

struct Decoder<'a> {
    decoding: &'a Decoding,
    reader: Reader<'a>,
    weight_bytes: usize,
    containers: usize,
    is_nested: bool,
}

/// Decodes one whole reply. None when that is not possible (a text the encoding refuses, an error
/// inside): the client shall ask for itself. No exception is left set.
///
/// # Safety
/// The GIL is held. A custom error handler may run Python code.
pub unsafe fn decode(
    frame: &[u8],
    decoding: &Decoding,
    shape: Resp2Shape,
    is_whole_hash: bool,
) -> Option<Decoded> {
    let reader = Reader::new(frame);
    let mut decoder =
        Decoder { decoding, reader, weight_bytes: 0, containers: 0, is_nested: false };
    // SAFETY: the GIL is held.
    unsafe {
        let object = if decoding.resp2 && !is_whole_hash {
            decoder.resp2(shape == Resp2Shape::Pairs)
        } else {
            decoder.resp3(0)
        };
        if object.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        let form = match (decoder.containers, decoder.is_nested) {
            (0, _) => Form::Scalar,
            (_, false) => Form::Flat,
            (_, true) => Form::Nested,
        };
        Some(Decoded { object, form, weight_bytes: decoder.weight_bytes })
    }
}

/// The RESP2 reply of a whole hash: its dict laid flat. Null with MemoryError set.
///
/// # Safety
/// `dict` is a live exact dict; the GIL is held.
pub unsafe fn flattened(dict: Obj) -> Obj {
    // SAFETY: borrowed references of a dict nobody changes meanwhile.
    unsafe {
        let list = ffi::PyList_New(2 * ffi::PyDict_Size(dict));
        if list.is_null() {
            return list;
        }
        let (mut at, mut index) = (0, 0);
        let (mut key, mut value): (Obj, Obj) = (ptr::null_mut(), ptr::null_mut());
        while ffi::PyDict_Next(dict, &raw mut at, &raw mut key, &raw mut value) != 0 {
            ffi::PyList_SetItem(list, index, ffi::Py_NewRef(key));
            ffi::PyList_SetItem(list, index + 1, ffi::Py_NewRef(value));
            index += 2;
        }
        list
    }
}

impl Decoder<'_> {
    unsafe fn text(&mut self, text: &[u8]) -> Obj {
        // SAFETY: the slice is valid for its length; the GIL is held.
        unsafe {
            let (data, length) = (text.as_ptr().cast(), text.len() as ffi::Py_ssize_t);
            let object = match &self.decoding.text {
                Text::Bytes => ffi::PyBytes_FromStringAndSize(data, length),
                Text::Decoded { encoding, errors } => {
                    ffi::PyUnicode_Decode(data, length, encoding.as_ptr(), errors.as_ptr())
                }
            };
            let is_wide = matches!(self.decoding.text, Text::Decoded { .. }) && !text.is_ascii();
            self.weight_bytes += text_bytes(text.len() * if is_wide { 2 } else { 1 });
            object
        }
    }

    unsafe fn number(&mut self, text: &[u8]) -> Obj {
        self.weight_bytes += 32;
        let Ok(text) = CString::new(text) else { return ptr::null_mut() };
        // SAFETY: a terminated string.
        unsafe { ffi::PyLong_FromString(text.as_ptr(), ptr::null_mut(), 10) }
    }

    unsafe fn float(&mut self, text: &[u8]) -> Obj {
        self.weight_bytes += 32;
        let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
        // SAFETY: the GIL is held.
        parsed.map_or(ptr::null_mut(), |value| unsafe { ffi::PyFloat_FromDouble(value) })
    }

    unsafe fn integer(&mut self, value: i64) -> Obj {
        self.weight_bytes += if (-5..=256).contains(&value) { 0 } else { 32 };
        // SAFETY: the GIL is held.
        unsafe { ffi::PyLong_FromLongLong(value) }
    }

    fn enter(&mut self, depth: u32, bytes: usize) {
        self.containers += 1;
        self.is_nested |= depth > 0;
        self.weight_bytes += heap_bytes(16 + bytes);
    }

    unsafe fn resp3(&mut self, depth: u32) -> Obj {
        let Some(node) = self.reader.next() else { return ptr::null_mut() };
        // SAFETY: the GIL is held.
        unsafe {
            match node {
                Node::Bulk(text) | Node::Simple(text) | Node::Verbatim { text, .. } => {
                    self.text(text)
                }
                Node::Integer(value) => self.integer(value),
                Node::Double(text) => self.float(text),
                Node::BigNumber(text) => self.number(text),
                Node::Boolean(value) => ffi::PyBool_FromLong(value.into()),
                Node::Null => ffi::Py_NewRef(ffi::Py_None()),
                Node::Array(count) | Node::Set(count) => {
                    self.list(count, depth, |decoder| decoder.resp3(depth + 1))
                }
                Node::Map(pairs) => self.dict(pairs, depth),
                Node::Error(_) | Node::Push(_) => ptr::null_mut(),
            }
        }
    }

    unsafe fn dict(&mut self, pairs: usize, depth: u32) -> Obj {
        self.enter(depth, 64 + 40 + pairs * 48);
        // SAFETY: references are dropped on every way out.
        unsafe {
            let dict = ffi::PyDict_New();
            for _ in 0..pairs {
                let key = self.resp3(depth + 1);
                let value = if key.is_null() { key } else { self.resp3(depth + 1) };
                let set = !value.is_null() && ffi::PyDict_SetItem(dict, key, value) == 0;
                ffi::Py_XDECREF(key);
                ffi::Py_XDECREF(value);
                if !set {
                    ffi::Py_XDECREF(dict);
                    return ptr::null_mut();
                }
            }
            dict
        }
    }

    unsafe fn list(
        &mut self,
        count: usize,
        depth: u32,
        mut element: impl FnMut(&mut Self) -> Obj,
    ) -> Obj {
        self.enter(depth, 40 + count * 8);
        // SAFETY: the list is filled before anyone sees it; a half-filled one is dropped whole.
        unsafe {
            let list = ffi::PyList_New(count as ffi::Py_ssize_t);
            if list.is_null() {
                return list;
            }
            for index in 0..count {
                let object = element(self);
                if object.is_null() {
                    ffi::Py_DECREF(list);
                    return ptr::null_mut();
                }
                ffi::PyList_SetItem(list, index as ffi::Py_ssize_t, object);
            }
            list
        }
    }

    /// The outermost element of a RESP2 reply; `pairs`: an array of pairs comes flat.
    unsafe fn resp2(&mut self, pairs: bool) -> Obj {
        if pairs {
            let mut ahead = self.reader.clone();
            if let (Some(Node::Array(count)), Some(Node::Array(2))) = (ahead.next(), ahead.next()) {
                self.reader.next();
                let mut left = 0;
                // SAFETY: the GIL is held.
                return unsafe {
                    self.list(2 * count, 0, |decoder| {
                        if left == 0 {
                            if decoder.reader.next() != Some(Node::Array(2)) {
                                return ptr::null_mut();
                            }
                            left = 2;
                        }
                        left -= 1;
                        decoder.resp2_element(1)
                    })
                };
            }
        }
        // SAFETY: the GIL is held.
        unsafe { self.resp2_element(0) }
    }

    unsafe fn resp2_element(&mut self, depth: u32) -> Obj {
        let Some(node) = self.reader.next() else { return ptr::null_mut() };
        // SAFETY: the GIL is held.
        unsafe {
            match node {
                Node::Bulk(text) | Node::Simple(text) | Node::Verbatim { text, .. } => {
                    self.text(text)
                }
                Node::Double(text) | Node::BigNumber(text) => self.text(text),
                Node::Integer(value) => self.integer(value),
                Node::Boolean(value) => self.integer(value.into()),
                Node::Null => ffi::Py_NewRef(ffi::Py_None()),
                Node::Array(count) | Node::Set(count) => {
                    self.list(count, depth, |decoder| decoder.resp2_element(depth + 1))
                }
                Node::Map(pairs) => {
                    self.list(2 * pairs, depth, |decoder| decoder.resp2_element(depth + 1))
                }
                Node::Error(_) | Node::Push(_) => ptr::null_mut(),
            }
        }
    }
}
