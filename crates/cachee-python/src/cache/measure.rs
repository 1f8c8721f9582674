//! How many bytes an entry holds.
//!
//! `sys.getsizeof` of a container does not count what is in it, and following every reference
//! would cost more than the cache saves. So: exact builtin containers and instance dictionaries
//! are followed, at most four levels deep; of each container at most 64 elements are looked at,
//! evenly spread, and the rest is taken to be like them; 2 000 objects an entry at most. Shared
//! objects count wherever they occur, except None, booleans and types. Whoever knows better gives
//! a `sizer`.

use crate::raw::{Obj, Table, is_exact_bytes};
use cachee_core::heap_bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFrozenSet, PyList, PySet, PyString, PyTuple, PyType};
use std::ptr;

const DEPTH: u32 = 4;
const SAMPLE: usize = 64;
const OBJECTS: u32 = 2_000;
/// Head of a bytes object and its final zero.
const BYTES_HEAD: usize = 33;

/// `sys.getsizeof`, kept.
static GETSIZEOF: Table<Obj> = Table::new(ptr::null_mut());

pub(super) fn init(py: Python<'_>) -> PyResult<()> {
    let getsizeof = py.import("sys")?.getattr("getsizeof")?.into_ptr();
    // SAFETY: the GIL is held; the reference is kept for ever.
    unsafe { *GETSIZEOF.get() = getsizeof };
    Ok(())
}

/// Bytes of a key and a value, by the sizer if there is one. May run Python code.
///
/// # Safety
/// Live objects (`sizer` may be null); no borrow is alive.
pub(super) unsafe fn weight_bytes(
    py: Python<'_>,
    sizer: Obj,
    key: Obj,
    value: Obj,
) -> PyResult<usize> {
    // SAFETY: the sizer is held through its own call.
    unsafe {
        if sizer.is_null() {
            let mut budget = OBJECTS;
            let key = measured(&Bound::from_borrowed_ptr(py, key), DEPTH, &mut budget)?;
            return Ok(key + measured(&Bound::from_borrowed_ptr(py, value), DEPTH, &mut budget)?);
        }
        let sizer = Bound::from_borrowed_ptr(py, sizer);
        let size = sizer
            .call1((Bound::from_borrowed_ptr(py, key), Bound::from_borrowed_ptr(py, value)))?;
        let bytes: i64 = size.extract().map_err(|_| {
            PyTypeError::new_err(format!("sizer must return bytes as an int, not {size:?}"))
        })?;
        usize::try_from(bytes).map_err(|_| {
            PyValueError::new_err(format!("sizer must return 0 or more bytes, not {bytes}"))
        })
    }
}

/// What the object itself occupies.
fn own_bytes(object: &Bound<'_, PyAny>) -> PyResult<usize> {
    // SAFETY: an exact bytes object's size is its length; getsizeof is a live callable.
    unsafe {
        if is_exact_bytes(object.as_ptr()) {
            return Ok(heap_bytes(BYTES_HEAD + ffi::PyBytes_Size(object.as_ptr()) as usize));
        }
        if object.is_none()
            || object.is_instance_of::<PyBool>()
            || object.is_instance_of::<PyType>()
        {
            return Ok(0);
        }
        let getsizeof = Bound::from_borrowed_ptr(object.py(), *GETSIZEOF.get());
        Ok(heap_bytes(getsizeof.call1((object,))?.extract()?))
    }
}

fn measured(object: &Bound<'_, PyAny>, depth: u32, budget: &mut u32) -> PyResult<usize> {
    let own = own_bytes(object)?;
    *budget = budget.saturating_sub(1);
    if depth == 0 || *budget == 0 || is_leaf(object) {
        return Ok(own);
    }
    Ok(own + contained(object, depth - 1, budget)?)
}

fn is_leaf(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: reads the type only.
    unsafe { is_exact_bytes(object.as_ptr()) || object.is_exact_instance_of::<PyString>() }
}

/// The bytes of what is in a container; 0 for what is none.
fn contained(object: &Bound<'_, PyAny>, depth: u32, budget: &mut u32) -> PyResult<usize> {
    if let Ok(list) = object.cast_exact::<PyList>() {
        // Elements are held by the vector: measuring may run code that changes the list.
        let length = list.len();
        let step = length.div_ceil(SAMPLE).max(1);
        let sample: Vec<_> = (0..length).step_by(step).flat_map(|at| list.get_item(at)).collect();
        return scaled(&sample, length, depth, budget);
    }
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        let length = tuple.len();
        let step = length.div_ceil(SAMPLE).max(1);
        let sample: Vec<_> = (0..length).step_by(step).flat_map(|at| tuple.get_item(at)).collect();
        return scaled(&sample, length, depth, budget);
    }
    if let Ok(dict) = object.cast_exact::<PyDict>() {
        let length = dict.len();
        let pairs: Vec<_> = dict.iter().take(SAMPLE).flat_map(|pair| [pair.0, pair.1]).collect();
        return scaled(&pairs, length * 2, depth, budget);
    }
    if object.is_exact_instance_of::<PySet>() || object.is_exact_instance_of::<PyFrozenSet>() {
        let length = object.len()?;
        let sample = object.try_iter()?.take(SAMPLE).collect::<PyResult<Vec<_>>>()?;
        return scaled(&sample, length, depth, budget);
    }
    if object.is_instance_of::<PyType>() {
        return Ok(0);
    }
    match object.getattr_opt("__dict__") {
        Ok(Some(dict)) if dict.is_exact_instance_of::<PyDict>() => measured(&dict, depth, budget),
        _ => Ok(0),
    }
}

fn scaled(
    sample: &[Bound<'_, PyAny>],
    length: usize,
    depth: u32,
    budget: &mut u32,
) -> PyResult<usize> {
    let mut bytes = 0_usize;
    let mut looked_at = 0_usize;
    for object in sample {
        if *budget == 0 {
            break;
        }
        bytes += measured(object, depth, budget)?;
        looked_at += 1;
    }
    Ok(bytes.saturating_mul(length).checked_div(looked_at).unwrap_or(0))
}
