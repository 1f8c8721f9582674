//! Which keys may be cached, for the in-process clients.

use pyo3::prelude::*;
use std::sync::Arc;

/// `include`, `exclude` and `overrides` as one question; see `cachee_net::admission`.
#[pyclass(frozen, module = "cachee._core")]
pub(crate) struct Admission(pub(crate) Arc<cachee_net::admission::Admission>);

#[pymethods]
impl Admission {
    #[new]
    fn new(include: Vec<Vec<u8>>, exclude: Vec<Vec<u8>>, overrides: Vec<(Vec<u8>, bool)>) -> Self {
        Self(Arc::new(cachee_net::admission::Admission::new(&include, &exclude, &overrides)))
    }

    fn __call__(&self, key: &[u8]) -> bool {
        self.0.admits(key)
    }
}
