//! The extension module `cachee._core`.

use pyo3::prelude::*;

/// The native half of cachee.
#[pymodule]
mod _core {}
