//! Reading the arguments of the writing methods.

use super::Inner;
use crate::raw::Obj;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// Seconds to milliseconds: None gives `default_ms`, infinity gives u64::MAX.
pub(super) fn ttl_ms(ttl: &Bound<'_, PyAny>, default_ms: u64) -> PyResult<u64> {
    if ttl.is_none() {
        return Ok(default_ms);
    }
    let seconds: f64 = ttl.extract().map_err(|_| {
        let kind = ttl.get_type();
        PyTypeError::new_err(format!("ttl must be a number of seconds or None, not {kind}"))
    })?;
    if seconds.is_nan() || seconds <= 0.0 {
        let message = format!("ttl must be more than 0 seconds, not {seconds}");
        return Err(PyValueError::new_err(message));
    }
    let milliseconds = (seconds * 1_000.0).ceil();
    Ok(if milliseconds >= u64::MAX as f64 { u64::MAX } else { milliseconds as u64 })
}

impl Inner {
    /// The dependency a tag stands for.
    pub(super) fn tag_dependency(&self, tag: &Bound<'_, PyAny>) -> PyResult<u64> {
        if !tag.is_instance_of::<PyString>() {
            let message = format!("a tag must be a str, not {}", tag.get_type());
            return Err(PyTypeError::new_err(message));
        }
        Ok(self.mix(tag.hash()? as ffi::Py_hash_t).rotate_left(17) ^ self.seed)
    }
}

/// The tags of an argument, each a str.
pub(super) fn tags<'py>(tags: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if tags.is_instance_of::<PyString>() || tags.is_instance_of::<PyBytes>() {
        return Err(PyTypeError::new_err("tags must be several strings, e.g. a tuple, not one"));
    }
    tags.try_iter()
        .map_err(|_| {
            PyTypeError::new_err(format!(
                "tags must be an iterable of strings, not {}",
                tags.get_type()
            ))
        })?
        .map(|tag| {
            let tag = tag?;
            if tag.is_exact_instance_of::<PyString>() {
                Ok(tag)
            } else {
                let message = format!("a tag must be a str, not {}", tag.get_type());
                Err(PyTypeError::new_err(message))
            }
        })
        .collect()
}

/// Up to four arguments by position or name; null where none was given.
///
/// # Safety
/// The arguments are those of a METH_FASTCALL | METH_KEYWORDS call.
pub(super) unsafe fn bind<const N: usize>(
    function: &str,
    parameters: [&str; N],
    required: usize,
    arguments: *const Obj,
    count: ffi::Py_ssize_t,
    names: Obj,
) -> PyResult<[Obj; N]> {
    let count = count as usize;
    let mut bound = [std::ptr::null_mut(); N];
    if count > N {
        let message = format!("{function}() takes at most {N} arguments, {count} were given");
        return Err(PyTypeError::new_err(message));
    }
    // SAFETY: there are `count` positional arguments and then one for each name.
    unsafe {
        for (index, place) in bound.iter_mut().take(count).enumerate() {
            *place = *arguments.add(index);
        }
        let named = if names.is_null() { 0 } else { ffi::PyTuple_Size(names) as usize };
        let py = Python::assume_attached();
        for index in 0..named {
            let name =
                Bound::from_borrowed_ptr(py, ffi::PyTuple_GetItem(names, index as ffi::Py_ssize_t))
                    .extract::<String>()?;
            match parameters.iter().position(|parameter| *parameter == name) {
                Some(place) if bound[place].is_null() => {
                    bound[place] = *arguments.add(count + index);
                }
                Some(_) => {
                    let message = format!("{function}() got two values for argument '{name}'");
                    return Err(PyTypeError::new_err(message));
                }
                None => {
                    let message = format!("{function}() got an unexpected argument '{name}'");
                    return Err(PyTypeError::new_err(message));
                }
            }
        }
    }
    if let Some(missing) = bound.iter().take(required).position(|place| place.is_null()) {
        let message = format!("{function}() misses its argument '{}'", parameters[missing]);
        return Err(PyTypeError::new_err(message));
    }
    Ok(bound)
}
