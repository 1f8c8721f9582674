//! A command as the application wrote it, in the bytes its client would send.

use crate::raw::{is_exact_bytes, is_exact_str};
use cachee_net::cacheable::{Cacheable, cacheable};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyString, PyTuple};
use std::borrow::Cow;
use std::ffi::CString;

/// How a client turns `str` arguments into bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// None for strict UTF-8, which needs no copy.
    codec: Option<(CString, CString)>,
}

impl Encoding {
    /// From the client's settings.
    pub fn new(encoding: &str, errors: &str) -> PyResult<Encoding> {
        let is_utf8 = matches!(encoding.to_ascii_lowercase().as_str(), "utf-8" | "utf8" | "utf_8");
        let codec = if is_utf8 && errors == "strict" {
            None
        } else {
            Some((CString::new(encoding)?, CString::new(errors)?))
        };
        Ok(Encoding { codec })
    }

    /// Strict UTF-8: the bytes of a `str` can be used as they lie in the object.
    pub fn is_utf8(&self) -> bool {
        self.codec.is_none()
    }

    /// The bytes the client would send for one argument. None where it would refuse, or where
    /// only the client knows (subclasses of numbers, buffers).
    fn bytes<'a>(&self, argument: &'a Bound<'_, PyAny>) -> Option<Cow<'a, [u8]>> {
        // SAFETY: reads the type of a live object.
        let (is_str, is_bytes) =
            unsafe { (is_exact_str(argument.as_ptr()), is_exact_bytes(argument.as_ptr())) };
        if is_bytes {
            return argument.cast::<PyBytes>().ok().map(|bytes| Cow::Borrowed(bytes.as_bytes()));
        }
        if is_str || argument.is_instance_of::<PyString>() {
            let text = argument.cast::<PyString>().ok()?;
            return self.text(text);
        }
        if argument.is_exact_instance_of::<PyInt>() || argument.is_exact_instance_of::<PyFloat>() {
            let text = argument.repr().ok()?;
            return Some(Cow::Owned(text.to_cow().ok()?.into_owned().into_bytes()));
        }
        None
    }

    fn text<'a>(&self, text: &'a Bound<'_, PyString>) -> Option<Cow<'a, [u8]>> {
        let Some((encoding, errors)) = &self.codec else {
            let mut length: ffi::Py_ssize_t = 0;
            // SAFETY: the bytes lie in the immutable object, which lives for 'a.
            return unsafe {
                let data = ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut length);
                if data.is_null() {
                    ffi::PyErr_Clear();
                    return None;
                }
                Some(Cow::Borrowed(std::slice::from_raw_parts(data.cast(), length as usize)))
            };
        };
        // SAFETY: terminated strings; the result is a new bytes object or null.
        unsafe {
            let encoded =
                ffi::PyUnicode_AsEncodedString(text.as_ptr(), encoding.as_ptr(), errors.as_ptr());
            if encoded.is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            let encoded = Bound::from_owned_ptr(text.py(), encoded).cast_into::<PyBytes>().ok()?;
            Some(Cow::Owned(encoded.as_bytes().to_vec()))
        }
    }

    /// A whole command. A name of several words ("CONFIG GET") is split, as the client does.
    pub fn command<'a>(&self, arguments: &'a [Bound<'_, PyAny>]) -> Option<Vec<Cow<'a, [u8]>>> {
        let mut words = Vec::with_capacity(arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            let word = self.bytes(argument)?;
            if index == 0 && word.contains(&b' ') {
                let parts = word.split(|byte| *byte == b' ').filter(|part| !part.is_empty());
                words.extend(parts.map(|part| Cow::Owned(part.to_vec())));
            } else {
                words.push(word);
            }
        }
        Some(words)
    }
}

/// The elements of a command tuple.
pub fn elements<'py>(arguments: &Bound<'py, PyTuple>) -> Vec<Bound<'py, PyAny>> {
    arguments.iter().collect()
}

/// One reply made of many: what is asked key by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// The reply itself.
    None,
    /// A list of the replies.
    List,
    /// The sum of the replies.
    Sum,
}

/// What a command becomes: reads of one key each, whose replies `joint` puts together.
pub struct Plan<'a> {
    /// The reads, in the order of the reply.
    pub reads: Vec<Read<'a>>,
    /// How their replies make the command's.
    pub joint: Joint,
}

/// One cacheable read of one key.
pub struct Read<'a> {
    /// What the L1 and the link know about the command.
    pub cacheable: Cacheable,
    /// The words of the command, name first.
    pub words: Vec<&'a [u8]>,
}

impl<'a> Read<'a> {
    fn new(words: Vec<&'a [u8]>) -> Option<Read<'a>> {
        Some(Read { cacheable: cacheable(&words)?, words })
    }

    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.words[1]
    }
}

/// Splits MGET, HMGET and EXISTS of many keys; None when the command is not cacheable.
pub fn plan<'a>(words: &'a [Cow<'a, [u8]>]) -> Option<Plan<'a>> {
    let name = words.first()?;
    let whole = || words.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>();
    let (reads, joint) = if name.eq_ignore_ascii_case(b"MGET") && words.len() >= 2 {
        let reads = words[1..].iter().map(|key| Read::new(vec![b"GET", key])).collect();
        (reads, Joint::List)
    } else if name.eq_ignore_ascii_case(b"HMGET") && words.len() >= 3 {
        let field = |field: &'a Cow<'a, [u8]>| Read::new(vec![b"HGET", &words[1], field]);
        (words[2..].iter().map(field).collect(), Joint::List)
    } else if name.eq_ignore_ascii_case(b"EXISTS") && words.len() > 2 {
        let reads = words[1..].iter().map(|key| Read::new(vec![b"EXISTS", key])).collect();
        (reads, Joint::Sum)
    } else {
        (Read::new(whole()).map(|read| vec![read]), Joint::None)
    };
    Some(Plan { reads: reads?, joint })
}
