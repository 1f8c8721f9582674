//! Which request of the application asks: the prediction learns what follows what within one.
//!
//! A thread's reads are one flow. On an event loop the flow is the context (PEP 567): the first read
//! in a context marks it, tasks made by it later inherit the mark. A mark ends after a while, so
//! that what the program read while it started does not make one flow of all that comes.

use cachee_net::clock;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use std::sync::atomic::{AtomicU64, Ordering};

/// A context that was marked longer ago is marked anew.
const LASTS_MS: u64 = 5_000;

static LAST: AtomicU64 = AtomicU64::new(0);
static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn next() -> u64 {
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

thread_local! {
    static OF_THREAD: u64 = next();
}

/// The flow of a thread that waits for its reads.
pub fn of_thread() -> u64 {
    OF_THREAD.with(|flow| *flow)
}

/// The flow of the present context; that of the thread when Python refuses.
pub fn of_context(py: Python<'_>) -> u64 {
    mark(py).unwrap_or_else(|error| {
        // Whatever it was, a read does not fail for it.
        drop(error);
        of_thread()
    })
}

fn mark(py: Python<'_>) -> PyResult<u64> {
    let variable = VARIABLE.get_or_try_init(py, || -> PyResult<Py<PyAny>> {
        let made = py.import("contextvars")?.getattr("ContextVar")?.call1(("cachee_flow",))?;
        Ok(made.unbind())
    })?;
    let variable = variable.bind(py);
    let now_ms = clock::coarse_ms();
    let marked = variable.call_method1("get", (py.None(),))?;
    if let Ok(marked) = marked.cast::<PyTuple>() {
        let (flow, since_ms): (u64, u64) = marked.extract()?;
        if now_ms.saturating_sub(since_ms) < LASTS_MS {
            return Ok(flow);
        }
    }
    let flow = next();
    variable.call_method1("set", ((flow, now_ms),))?;
    Ok(flow)
}
