//! The extension module `cachee._core`: conversions between Python and the Rust core.

mod cache;
mod raw;
mod ready;

use pyo3::prelude::*;

/// The native half of cachee.
#[pymodule]
mod _core {
    use super::*;

    /// An awaitable that gives `value` without suspending; awaiting it twice is a RuntimeError.
    #[pyfunction]
    fn ready(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
        let py = value.py();
        // SAFETY: the GIL is held; into_ptr gives an owned reference, and so does ready.
        unsafe { Bound::from_owned_ptr_or_err(py, crate::ready::ready(value.into_ptr())) }
    }

    /// The clock all deadlines are on, in milliseconds since an arbitrary start.
    #[pyfunction]
    fn monotonic_ms() -> u64 {
        cachee_net::clock::now_ms()
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        crate::ready::init(py)?;
        crate::cache::init(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
