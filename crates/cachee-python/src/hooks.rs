//! The native methods of the client classes.
//!
//! `PyDescr_NewMethod` makes of a C function what a method written in C is: the interpreter calls
//! it without making a bound method, and passes the arguments where they lie. There is one function
//! for each name and kind of client; which client object it is called on decides, by address, which
//! binding answers. Anything but a plain hit goes to the method that was there before.

use crate::binding::{BindingCore, Hit};
use crate::clients;
use crate::raw::{Obj, Table, entry, fastcall_keywords, text_or_bytes};
use crate::ready::ready;
use crate::value::handed_out;
use cachee_net::Resp2Shape::Generic;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::borrow::Cow;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

/// What one hot method does with its arguments.
trait Method {
    /// Its place in `NAMES`, and its bit in a client's `hot`.
    const NUMBER: usize;

    /// The result as the client's method gives it, owned; null without an exception for no answer.
    ///
    /// # Safety
    /// The GIL is held; `arguments` are live.
    unsafe fn answer(core: &Arc<BindingCore>, arguments: &[Obj]) -> Obj;
}

/// The names, in the order of `Method::NUMBER`.
pub const NAMES: [&str; 9] =
    ["get", "exists", "hget", "hexists", "hgetall", "sismember", "smembers", "mget", "hmget"];

#[inline(always)]
unsafe fn word<'a>(core: &BindingCore, argument: Obj) -> Option<&'a [u8]> {
    // SAFETY: the argument is live through the call.
    unsafe {
        if !core.is_utf8() && !crate::raw::is_exact_bytes(argument) {
            return None;
        }
        text_or_bytes(argument)
    }
}

/// The caller's own object of a hit.
#[inline(always)]
unsafe fn given(hit: Option<Hit>) -> Obj {
    let Some(Hit { object, form }) = hit else { return ptr::null_mut() };
    if form == crate::value::Form::Scalar {
        return object;
    }
    // SAFETY: the hit's reference is ours.
    unsafe {
        let copy = handed_out(object, form);
        ffi::Py_DECREF(object);
        copy
    }
}

/// A second argument as `encode_args` writes it, on the stack when it is short.
#[inline(always)]
unsafe fn with_argument<R>(argument: &[u8], act: impl FnOnce(&[u8]) -> R) -> R {
    const SHORT: usize = 124;
    let length = (argument.len() as u32).to_le_bytes();
    if argument.len() <= SHORT {
        let mut encoded = [0_u8; SHORT + 4];
        encoded[..4].copy_from_slice(&length);
        encoded[4..4 + argument.len()].copy_from_slice(argument);
        return act(&encoded[..4 + argument.len()]);
    }
    act(&[&length[..], argument].concat())
}

macro_rules! one_key {
    ($method:ident, $number:expr, $shape:ident) => {
        struct $method;
        impl Method for $method {
            const NUMBER: usize = $number;
            #[inline(always)]
            unsafe fn answer(core: &Arc<BindingCore>, arguments: &[Obj]) -> Obj {
                let [key] = arguments else { return ptr::null_mut() };
                // SAFETY: the GIL is held and the arguments are live.
                unsafe {
                    let Some(key) = word(core, *key) else { return ptr::null_mut() };
                    given(core.hit(core.engine().shapes.$shape, Generic, key, &[]))
                }
            }
        }
    };
}

macro_rules! key_and_word {
    ($method:ident, $number:expr, $shape:ident) => {
        struct $method;
        impl Method for $method {
            const NUMBER: usize = $number;
            #[inline(always)]
            unsafe fn answer(core: &Arc<BindingCore>, arguments: &[Obj]) -> Obj {
                let [key, argument] = arguments else { return ptr::null_mut() };
                // SAFETY: the GIL is held and the arguments are live.
                unsafe {
                    let Some(key) = word(core, *key) else { return ptr::null_mut() };
                    let Some(argument) = word(core, *argument) else { return ptr::null_mut() };
                    let shape = core.engine().shapes.$shape;
                    given(with_argument(argument, |args| core.hit(shape, Generic, key, args)))
                }
            }
        }
    };
}

one_key!(Get, 0, get);
one_key!(Exists, 1, exists);
key_and_word!(Hget, 2, hget);
key_and_word!(HexistsNumber, 3, hexists);
one_key!(Hgetall, 4, hgetall);
key_and_word!(Sismember, 5, sismember);

struct Hexists;
impl Method for Hexists {
    const NUMBER: usize = 3;
    unsafe fn answer(core: &Arc<BindingCore>, arguments: &[Obj]) -> Obj {
        // SAFETY: the number is ours.
        unsafe {
            let number = HexistsNumber::answer(core, arguments);
            if number.is_null() {
                return number;
            }
            let truth = ffi::PyObject_IsTrue(number);
            ffi::Py_DECREF(number);
            ffi::PyBool_FromLong(truth.into())
        }
    }
}

struct Smembers;
impl Method for Smembers {
    const NUMBER: usize = 6;
    unsafe fn answer(core: &Arc<BindingCore>, arguments: &[Obj]) -> Obj {
        let [key] = arguments else { return ptr::null_mut() };
        // SAFETY: the hit's reference is ours.
        unsafe {
            let Some(key) = word(core, *key) else { return ptr::null_mut() };
            let Some(hit) = core.hit(core.engine().shapes.smembers, Generic, key, &[]) else {
                return ptr::null_mut();
            };
            let members = ffi::PySet_New(hit.object);
            ffi::Py_DECREF(hit.object);
            members
        }
    }
}

/// The keys of `mget(keys, *args)` and `hmget(name, keys, *args)`: one list or tuple, or several
/// arguments. None for what the client itself has to take apart.
unsafe fn words_of<'a>(core: &BindingCore, arguments: &[Obj]) -> Option<Vec<&'a [u8]>> {
    // SAFETY: elements of a list stay alive as long as no Python code runs.
    unsafe {
        let [only] = arguments else {
            return arguments.iter().map(|argument| word(core, *argument)).collect();
        };
        let kind = ffi::Py_TYPE(*only).cast_const();
        if ptr::eq(kind, &raw const ffi::PyList_Type) {
            let length = ffi::PyList_Size(*only);
            return (0..length).map(|at| word(core, ffi::PyList_GetItem(*only, at))).collect();
        }
        if ptr::eq(kind, &raw const ffi::PyTuple_Type) {
            let length = ffi::PyTuple_Size(*only);
            return (0..length).map(|at| word(core, ffi::PyTuple_GetItem(*only, at))).collect();
        }
        word(core, *only).map(|word| vec![word])
    }
}

/// A list of hits, or null when one is missing. `arguments` keep the words alive.
unsafe fn list_of<'a>(
    core: &Arc<BindingCore>,
    words: &[&'a [u8]],
    look: impl Fn(&BindingCore, &'a [u8]) -> Option<Hit>,
) -> Obj {
    if words.is_empty() {
        return ptr::null_mut();
    }
    // Making the list may collect garbage, and decoding the first hit may too.
    let core = core.clone();
    let mut hits = Vec::with_capacity(words.len());
    // SAFETY: every hit is owned until it is in the list.
    unsafe {
        for word in words {
            match look(&core, word) {
                Some(hit) => hits.push(hit.object),
                None => {
                    for object in hits {
                        ffi::Py_DECREF(object);
                    }
                    return ptr::null_mut();
                }
            }
        }
        let list = ffi::PyList_New(hits.len() as ffi::Py_ssize_t);
        if list.is_null() {
            for object in hits {
                ffi::Py_DECREF(object);
            }
            return list;
        }
        for (at, object) in hits.into_iter().enumerate() {
            ffi::PyList_SetItem(list, at as ffi::Py_ssize_t, object);
        }
        list
    }
}

struct Mget;
impl Method for Mget {
    const NUMBER: usize = 7;
    unsafe fn answer(core: &Arc<BindingCore>, arguments: &[Obj]) -> Obj {
        // SAFETY: the GIL is held and the arguments are live.
        unsafe {
            // A list may be changed by code that a collection runs; ours keeps its elements.
            let Some(held) = held(arguments) else { return ptr::null_mut() };
            let Some(words) = words_of(core, &held.objects()) else { return ptr::null_mut() };
            let shape = core.engine().shapes.get;
            list_of(core, &words, |core, key| core.hit(shape, Generic, key, &[]))
        }
    }
}

struct Hmget;
impl Method for Hmget {
    const NUMBER: usize = 8;
    unsafe fn answer(core: &Arc<BindingCore>, arguments: &[Obj]) -> Obj {
        let [key, fields @ ..] = arguments else { return ptr::null_mut() };
        // SAFETY: the GIL is held and the arguments are live.
        unsafe {
            let Some(key) = word(core, *key) else { return ptr::null_mut() };
            let Some(held) = held(fields) else { return ptr::null_mut() };
            let Some(fields) = words_of(core, &held.objects()) else { return ptr::null_mut() };
            let shape = core.engine().shapes.hget;
            list_of(core, &fields, |core, field| {
                with_argument(field, |args| core.hit(shape, Generic, key, args))
            })
        }
    }
}

/// Arguments whose only list is replaced by a tuple of its elements.
enum Held<'a> {
    Tuple(Obj),
    Arguments(&'a [Obj]),
}

impl Held<'_> {
    fn objects(&self) -> Vec<Obj> {
        match self {
            Held::Tuple(tuple) => vec![*tuple],
            Held::Arguments(arguments) => arguments.to_vec(),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Held::Tuple(tuple) = self {
            // SAFETY: owned; the GIL is held.
            unsafe { ffi::Py_DECREF(*tuple) };
        }
    }
}

unsafe fn held(arguments: &[Obj]) -> Option<Held<'_>> {
    // SAFETY: reads the type of a live object; the tuple is owned by the result.
    unsafe {
        match arguments {
            [only] if ptr::eq(ffi::Py_TYPE(*only), &raw const ffi::PyList_Type) => {
                let tuple = ffi::PyList_AsTuple(*only);
                if tuple.is_null() {
                    ffi::PyErr_Clear();
                    return None;
                }
                Some(Held::Tuple(tuple))
            }
            _ => Some(Held::Arguments(arguments)),
        }
    }
}

/// The function behind a descriptor.
unsafe extern "C" fn call<M: Method, const ASYNCHRONOUS: bool>(
    client: Obj,
    arguments: *const Obj,
    count_of: ffi::Py_ssize_t,
    names: Obj,
) -> Obj {
    // SAFETY: the interpreter gives live arguments; see Method and clients for the rest.
    unsafe {
        if names.is_null()
            && let Some(core) = clients::binding_of(client, 1 << M::NUMBER)
        {
            let arguments = std::slice::from_raw_parts(arguments, count_of as usize);
            // A panic is a bug, and a miss: the client's own method answers.
            let answer = catch_unwind(AssertUnwindSafe(|| M::answer(core, arguments)));
            let answer = answer.unwrap_or(ptr::null_mut());
            if !answer.is_null() {
                return if ASYNCHRONOUS { ready(answer) } else { answer };
            }
            if !ffi::PyErr_Occurred().is_null() {
                return ptr::null_mut();
            }
        }
        call_otherwise::<M, ASYNCHRONOUS>(client, arguments, count_of, names)
    }
}

/// The same for a client whose reads are recorded; then what was there before.
#[inline(never)]
unsafe fn call_otherwise<M: Method, const ASYNCHRONOUS: bool>(
    client: Obj,
    arguments: *const Obj,
    count_of: ffi::Py_ssize_t,
    names: Obj,
) -> Obj {
    // SAFETY: as `call`.
    unsafe {
        if names.is_null()
            && let Some(core) = clients::binding_of(client, clients::RECORDED << M::NUMBER)
        {
            let given = std::slice::from_raw_parts(arguments, count_of as usize);
            let answer = catch_unwind(AssertUnwindSafe(|| recorded::<M>(core, given)));
            let answer = answer.unwrap_or(ptr::null_mut());
            if !answer.is_null() {
                return if ASYNCHRONOUS { ready(answer) } else { answer };
            }
            if !ffi::PyErr_Occurred().is_null() {
                return ptr::null_mut();
            }
        }
        call_original(client, M::NUMBER, arguments, count_of, names)
    }
}

/// An answer that is written down. What has none here is asked for again, and written down then.
unsafe fn recorded<M: Method>(core: &Arc<BindingCore>, arguments: &[Obj]) -> Obj {
    let core = core.clone();
    // SAFETY: the GIL is held and the arguments are live; from the answer on no Python code runs.
    unsafe {
        let answer = M::answer(&core, arguments);
        if !answer.is_null() {
            let name = std::iter::once(NAMES[M::NUMBER].as_bytes());
            let words = arguments.iter().filter_map(|argument| words_of(&core, &[*argument]));
            let command: Vec<Cow<'_, [u8]>> =
                name.chain(words.flatten()).map(Cow::Borrowed).collect();
            core.record(&command);
        }
        answer
    }
}

struct Original {
    class: Py<PyType>,
    number: usize,
    function: Py<PyAny>,
}

/// What the native methods replaced, latest first. Never shortened: a descriptor taken from a
/// class before `uninstall` still works after it.
static ORIGINALS: Table<Vec<Original>> = Table::new(Vec::new());

#[inline(never)]
unsafe fn call_original(
    client: Obj,
    number: usize,
    arguments: *const Obj,
    count: ffi::Py_ssize_t,
    names: Obj,
) -> Obj {
    // SAFETY: live arguments; the function is held by a reference of our own while it runs.
    unsafe {
        entry(ptr::null_mut(), |py| {
            let is_of = |class: &Py<PyType>| {
                ffi::PyType_IsSubtype(ffi::Py_TYPE(client), class.as_ptr().cast()) != 0
            };
            let function = (*ORIGINALS.get())
                .iter()
                .find(|original| original.number == number && is_of(&original.class))
                .map(|original| original.function.bind(py).clone())
                .ok_or_else(|| PyTypeError::new_err("no original of this method is known"))?;
            let mut positional = vec![Bound::from_borrowed_ptr(py, client)];
            for at in 0..count as usize {
                positional.push(Bound::from_borrowed_ptr(py, *arguments.add(at)));
            }
            let positional = PyTuple::new(py, positional)?;
            if names.is_null() {
                return Ok(function.call1(positional)?.into_ptr());
            }
            let named = PyDict::new(py);
            for at in 0..ffi::PyTuple_Size(names) {
                let value = Bound::from_borrowed_ptr(py, *arguments.add((count + at) as usize));
                let name = Bound::from_borrowed_ptr(py, ffi::PyTuple_GetItem(names, at));
                named.set_item(name, value)?;
            }
            Ok(function.call(positional, Some(&named))?.into_ptr())
        })
    }
}

fn function_of(number: usize, asynchronous: bool) -> ffi::PyCFunctionFastWithKeywords {
    macro_rules! pick {
        ($($method:ident),*) => {
            match number {
                $(<$method as Method>::NUMBER if asynchronous => call::<$method, true>,
                  <$method as Method>::NUMBER => call::<$method, false>,)*
                _ => unreachable!("numbers come from NAMES"),
            }
        };
    }
    pick!(Get, Exists, Hget, Hexists, Hgetall, Sismember, Smembers, Mget, Hmget)
}

/// The bit of a hot method's name.
pub fn bit_of(name: &str) -> PyResult<u32> {
    let number = NAMES.iter().position(|known| *known == name);
    number.map(|number| 1 << number).ok_or_else(|| {
        PyValueError::new_err(format!("no native method {name:?}; there are {NAMES:?}"))
    })
}

/// Signature and docstring of the original, so that `help` and `inspect` say the same as before.
fn documentation(original: &Bound<'_, PyAny>, name: &str) -> PyResult<CString> {
    let py = original.py();
    let inspect = py.import("inspect")?;
    let described = || -> PyResult<String> {
        let signature = inspect.call_method1("signature", (original,))?;
        let empty = inspect.getattr("Parameter")?.getattr("empty")?;
        let plain = PyDict::new(py);
        plain.set_item("annotation", &empty)?;
        let mut parameters = Vec::new();
        for parameter in signature.getattr("parameters")?.call_method0("values")?.try_iter()? {
            parameters.push(parameter?.call_method("replace", (), Some(&plain))?);
        }
        let bare = PyDict::new(py);
        bare.set_item("parameters", parameters)?;
        bare.set_item("return_annotation", empty)?;
        let text = signature.call_method("replace", (), Some(&bare))?.str()?.to_string();
        Ok(text.replacen("(self", "($self", 1))
    };
    let document = original.getattr_opt("__doc__")?.filter(|text| !text.is_none());
    let document = document.map_or(String::new(), |text| text.to_string());
    let text = match described() {
        Ok(signature) => format!("{name}{signature}\n--\n\n{document}"),
        Err(_) => document,
    };
    Ok(CString::new(text.replace('\0', ""))?)
}

/// Puts the native method in a class.
pub fn install(
    class: &Bound<'_, PyType>,
    name: &str,
    original: &Bound<'_, PyAny>,
    asynchronous: bool,
) -> PyResult<Py<PyAny>> {
    let py = class.py();
    let number = bit_of(name)?.trailing_zeros() as usize;
    // The interpreter keeps pointers into these as long as the descriptor lives: for ever.
    let name_kept: &'static CString = Box::leak(Box::new(CString::new(name)?));
    let document: &'static CString = Box::leak(Box::new(documentation(original, name)?));
    let definition = Box::leak(Box::new(fastcall_keywords(
        name_kept.as_ptr(),
        function_of(number, asynchronous),
        document.as_ptr(),
    )));
    // SAFETY: the definition lives for ever; the GIL guards the list.
    let descriptor = unsafe {
        let made = ffi::PyDescr_NewMethod(class.as_ptr().cast(), definition);
        let made = Bound::from_owned_ptr_or_err(py, made)?;
        let class = class.clone().unbind();
        let function = original.clone().unbind();
        (*ORIGINALS.get()).insert(0, Original { class, number, function });
        made
    };
    class.setattr(name, &descriptor)?;
    Ok(descriptor.unbind())
}
