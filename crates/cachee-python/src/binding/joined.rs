//! Replies as the caller gets them.

use crate::command::Joint;
use crate::sentinels;
use crate::value::Kept;
use pyo3::prelude::*;
use pyo3::types::PyList;

/// Puts the replies of a command's reads together. Borrowed in, owned out; MISS if any is missing.
pub fn joined(py: Python<'_>, replies: &[Option<Kept>], joint: Joint) -> PyResult<Py<PyAny>> {
    let Some(replies) = replies.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else {
        return Ok(sentinels::miss(py));
    };
    // SAFETY: kept references are live; the GIL is held.
    let bound = |kept: &Kept| unsafe { Bound::from_borrowed_ptr(py, kept.as_ptr()) };
    Ok(match joint {
        Joint::None => bound(replies[0]).unbind(),
        Joint::List => PyList::new(py, replies.into_iter().map(bound))?.into_any().unbind(),
        Joint::Sum => {
            let mut sum = 0_i64;
            for reply in replies {
                sum += bound(reply).extract::<i64>()?;
            }
            sum.into_pyobject(py)?.into_any().unbind()
        }
    })
}

/// What `submit` and `submit_many` return or complete with.
pub fn finished(py: Python<'_>, mut replies: Vec<Py<PyAny>>, single: bool) -> PyResult<Py<PyAny>> {
    if single {
        return Ok(replies.swap_remove(0));
    }
    Ok(PyList::new(py, replies)?.into_any().unbind())
}
