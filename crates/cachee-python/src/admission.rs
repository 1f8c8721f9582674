//! Which keys may be cached, for the in-process clients.

use pyo3::prelude::*;

/// `include`, `exclude` and `overrides` as one question; see `cachee_net::admission`.
#[pyclass(frozen, module = "cachee._core")]
pub(crate) struct Admission(cachee_net::admission::Admission);

#[pymethods]
impl Admission {
    #[new]
    fn new(include: Vec<Vec<u8>>, exclude: Vec<Vec<u8>>, overrides: Vec<(Vec<u8>, bool)>) -> Self {
        Self(cachee_net::admission::Admission::new(&include, &exclude, &overrides))
    }

    fn __call__(&self, key: &[u8]) -> bool {
        self.0.admits(key)
    }
}
