//! `MISS` and `PENDING`: answers that are no reply.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

#[pyclass(frozen, module = "cachee._core")]
struct Sentinel(&'static str);

#[pymethods]
impl Sentinel {
    fn __repr__(&self) -> &'static str {
        self.0
    }

    /// Pickled and copied by name, so that identity holds.
    fn __reduce__(&self) -> &'static str {
        self.0
    }
}

static MISS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static PENDING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn sentinel(py: Python<'_>, cell: &PyOnceLock<Py<PyAny>>, name: &'static str) -> Py<PyAny> {
    let made = cell.get_or_try_init(py, || Py::new(py, Sentinel(name)).map(Py::into_any));
    made.map_or_else(|_| py.None(), |made| made.clone_ref(py))
}

/// Ask through your own connection.
pub fn miss(py: Python<'_>) -> Py<PyAny> {
    sentinel(py, &MISS, "MISS")
}

/// The reply comes later.
pub fn pending(py: Python<'_>) -> Py<PyAny> {
    sentinel(py, &PENDING, "PENDING")
}
