//! A command as the application wrote it, in the bytes its client would send.

use crate::raw::{is_exact_bytes, is_exact_str};
use cachee_net::cacheable::{Cacheable, cacheable};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyString, PyTuple};
use std::borrow::Cow;

/// How a client turns `str` arguments into bytes.
///
/// Its `encoding` and `encoding_errors` do not settle that: with hiredis or libvalkey the packer
/// takes UTF-8 whatever was asked for. So a `str` counts only where all agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Strict UTF-8.
    Utf8,
    /// Another, which writes ASCII as ASCII: only ASCII is taken.
    Ascii,
    /// Any other: no `str` is taken.
    Unknown,
}

impl Encoding {
    /// From the client's settings.
    pub fn new(py: Python<'_>, encoding: &str, errors: &str) -> Encoding {
        let is_utf8 = matches!(encoding.to_ascii_lowercase().as_str(), "utf-8" | "utf8" | "utf_8");
        if is_utf8 && errors == "strict" {
            return Encoding::Utf8;
        }
        let ascii: String = (0_u8..128).map(char::from).collect();
        let encoded = PyString::new(py, &ascii).call_method1("encode", (encoding,));
        match encoded.and_then(|encoded| Ok(encoded.cast::<PyBytes>()?.as_bytes().to_vec())) {
            Ok(bytes) if bytes == ascii.as_bytes() => Encoding::Ascii,
            _ => Encoding::Unknown,
        }
    }

    /// The bytes of a `str` can be used as they lie in the object.
    pub fn is_utf8(self) -> bool {
        self == Encoding::Utf8
    }

    /// The bytes the client would send for one argument. None where it would refuse, or where
    /// only the client knows (subclasses of numbers, buffers).
    fn bytes<'a>(self, argument: &'a Bound<'_, PyAny>) -> Option<Cow<'a, [u8]>> {
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

    fn text<'a>(self, text: &'a Bound<'_, PyString>) -> Option<Cow<'a, [u8]>> {
        let mut length: ffi::Py_ssize_t = 0;
        // SAFETY: the bytes lie in the immutable object, which lives for 'a.
        let bytes = unsafe {
            let data = ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut length);
            if data.is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            std::slice::from_raw_parts(data.cast::<u8>(), length as usize)
        };
        let is_taken = match self {
            Encoding::Utf8 => true,
            Encoding::Ascii => bytes.is_ascii(),
            Encoding::Unknown => false,
        };
        is_taken.then_some(Cow::Borrowed(bytes))
    }

    /// A whole command. A name of several words ("CONFIG GET") is split, as the client does.
    pub fn command<'a>(self, arguments: &'a [Bound<'_, PyAny>]) -> Option<Vec<Cow<'a, [u8]>>> {
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

/// The shapes the native methods ask by, looked up once.
#[derive(Clone, Copy)]
pub struct Shapes {
    pub get: u32,
    pub exists: u32,
    pub hget: u32,
    pub hexists: u32,
    pub hgetall: u32,
    pub sismember: u32,
    pub smembers: u32,
}

impl Shapes {
    /// From the table of commands.
    pub fn new() -> Shapes {
        let shape = |words: &[&[u8]]| cacheable(words).map_or(u32::MAX, |found| found.shape);
        Shapes {
            get: shape(&[b"GET", b""]),
            exists: shape(&[b"EXISTS", b""]),
            hget: shape(&[b"HGET", b"", b""]),
            hexists: shape(&[b"HEXISTS", b"", b""]),
            hgetall: shape(&[b"HGETALL", b""]),
            sismember: shape(&[b"SISMEMBER", b"", b""]),
            smembers: shape(&[b"SMEMBERS", b""]),
        }
    }
}
