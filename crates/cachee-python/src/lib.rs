//! The extension module `cachee._core`: conversions between Python and the Rust core.
//!
//! From the inside out: [`raw`] what is done on bare pointers, [`value`] what an entry keeps,
//! [`decode`] replies as objects, [`command`] commands as bytes, [`binding`] one client's reads,
//! [`completions`] the same for event loops, [`engine`] the process's store and links, [`clients`]
//! and [`hooks`] the native methods, [`ready`] the awaitable they return, [`cache`] the L1 by itself,
//! [`admission`] which keys, [`proxy`] the L1 for every other language, [`load`] what that is measured with,
//! [`recording`] what is asked for, [`simulation`] recorded traces.

mod admission;
mod ahead;
mod binding;
mod cache;
mod clients;
mod command;
mod completions;
mod decode;
mod engine;
mod flow;
mod fork;
mod graveyard;
mod hooks;
mod identity;
mod link;
mod load;
mod proxy;
mod raw;
mod ready;
mod recording;
mod remembered;
mod sentinels;
mod simulation;
mod value;

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyFrozenSet, PyType};

/// The native half of cachee.
#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use crate::admission::Admission;
    #[pymodule_export]
    use crate::binding::Binding;
    #[pymodule_export]
    use crate::completions::Completions;
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::link::Link;
    #[pymodule_export]
    use crate::load::{generate_load, relay_bytes};
    #[pymodule_export]
    use crate::proxy::Proxy;
    #[pymodule_export]
    use crate::simulation::Trace;

    /// An awaitable that gives `value` without suspending; awaiting it twice is a RuntimeError.
    #[pyfunction]
    fn ready(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
        let py = value.py();
        // SAFETY: the GIL is held; into_ptr gives an owned reference, and so does ready.
        unsafe { Bound::from_owned_ptr_or_err(py, crate::ready::ready(value.into_ptr())) }
    }

    #[pyfunction]
    #[pyo3(signature = (cls, name, original, *, asynchronous))]
    fn install_method(
        cls: &Bound<'_, PyType>,
        name: &str,
        original: &Bound<'_, PyAny>,
        asynchronous: bool,
    ) -> PyResult<Py<PyAny>> {
        hooks::install(cls, name, original, asynchronous)
    }

    /// Gives a subclass of Cache native methods of its own, which are called faster.
    #[pyfunction]
    fn adopt_methods(cls: &Bound<'_, PyType>) -> PyResult<()> {
        crate::cache::adopt_methods(cls)
    }

    #[pyfunction]
    fn enroll(
        client: &Bound<'_, PyAny>,
        binding: Option<Bound<'_, Binding>>,
        hot: &Bound<'_, PyFrozenSet>,
    ) -> PyResult<()> {
        let mut bits = 0;
        for name in hot {
            bits |= hooks::bit_of(&name.extract::<String>()?)?;
        }
        clients::enroll(client, binding, bits)
    }

    #[pyfunction]
    fn withdraw(client: &Bound<'_, PyAny>) {
        clients::withdraw(client);
    }

    #[pyfunction]
    fn withdraw_all() {
        clients::withdraw_all();
    }

    #[pyfunction]
    fn enrolled(client: &Bound<'_, PyAny>) -> Option<Py<Binding>> {
        clients::enrolled(client)
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        fork::init();
        crate::ready::init(py)?;
        crate::cache::init(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("MISS", sentinels::miss(py))?;
        module.add("PENDING", sentinels::pending(py))?;
        module.add("HOT_METHODS", PyFrozenSet::new(py, hooks::NAMES)?)?;
        // Registered first, so run last: no reference is dropped after it.
        let leave = PyCFunction::new_closure(py, None, None, |_, _| graveyard::close())?;
        py.import("atexit")?.call_method1("register", (leave,))?;
        Ok(())
    }
}
