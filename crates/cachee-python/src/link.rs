//! One link as Python sees it.

use crate::value::Value;
use crate::{ahead, fork};
use cachee_net::{LinkStatus, clock};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use std::time::Duration;

/// One coherent connection to a server.
#[pyclass(frozen, module = "cachee._core")]
pub struct Link {
    /// The connection itself.
    pub link: Arc<cachee_net::Link<Value>>,
    db: u32,
    address: String,
    generation: u32,
}

impl Link {
    /// `address` is for people, `generation` that of the process that opened it.
    pub fn new(
        link: Arc<cachee_net::Link<Value>>,
        db: u32,
        address: String,
        generation: u32,
    ) -> Link {
        Link { link, db, address, generation }
    }
}

/// One word, and a text that says why.
pub fn status_words(status: LinkStatus) -> (&'static str, String) {
    match status {
        LinkStatus::Connecting => ("connecting", String::new()),
        LinkStatus::Ready { server, version, .. } => ("ready", format!("{server} {version}")),
        LinkStatus::Down { reason } => ("down", reason),
        LinkStatus::Unsupported { reason } => ("unsupported", reason),
        LinkStatus::Closed => ("closed", String::new()),
    }
}

#[pymethods]
impl Link {
    fn status(&self) -> (&'static str, String) {
        if self.generation != fork::generation() {
            return ("closed", "belongs to the parent process".to_owned());
        }
        status_words(self.link.status())
    }

    fn wait_settled(&self, py: Python<'_>, timeout_s: f64) -> PyResult<(&'static str, String)> {
        if self.generation != fork::generation() {
            return Ok(self.status());
        }
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|_| PyValueError::new_err("timeout_s must be 0 or more seconds"))?;
        Ok(status_words(py.detach(|| self.link.wait_settled(timeout))))
    }

    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let info = PyDict::new(py);
        let (status, text) = self.status();
        info.set_item("status", status)?;
        info.set_item("text", text)?;
        info.set_item("address", &self.address)?;
        info.set_item("db", self.db)?;
        if self.generation != fork::generation() {
            return Ok(info);
        }
        let now_ms = clock::now_ms();
        let until_ms = self.link.gate().serve_until_ms();
        info.set_item("scope", self.link.gate().scope())?;
        info.set_item("is_serving", now_ms < until_ms)?;
        info.set_item("serve_for_ms", until_ms.saturating_sub(now_ms))?;
        if let LinkStatus::Ready { server, version, since_ms } = self.link.status() {
            info.set_item("server", server)?;
            info.set_item("version", version)?;
            info.set_item("ready_for_ms", now_ms.saturating_sub(since_ms))?;
        }
        let statistics = self.link.statistics();
        info.set_item("in_flight", statistics.in_flight)?;
        info.set_item("connects", statistics.connects)?;
        info.set_item("fetched", statistics.fetched)?;
        info.set_item("joined", statistics.joined)?;
        info.set_item("invalidations", statistics.invalidations)?;
        info.set_item("flushes", statistics.flushes)?;
        info.set_item("warmed", statistics.warmed)?;
        let bypassed = PyDict::new(py);
        for (reason, count) in cachee_net::BypassReason::ALL.iter().zip(statistics.bypassed) {
            bypassed.set_item(reason.as_str(), count)?;
        }
        info.set_item("bypassed", bypassed)?;
        Ok(info)
    }

    fn prefetch<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counted = PyDict::new(py);
        if self.generation == fork::generation()
            && let Some(stats) = self.link.ahead_stats()
        {
            for (name, value) in ahead::counters(&stats) {
                counted.set_item(name, value)?;
            }
        }
        Ok(counted)
    }

    fn prefetch_doubts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats =
            if self.generation == fork::generation() { self.link.ahead_stats() } else { None };
        stats.map_or_else(|| Ok(PyDict::new(py)), |stats| ahead::doubts(py, &stats))
    }

    fn rules<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Vec<Bound<'py, PyDict>>> {
        if self.generation != fork::generation() {
            return Ok(Vec::new());
        }
        self.link.rules(count).iter().map(|rule| ahead::rule_dict(py, rule)).collect()
    }

    fn barrier(&self) {
        if self.generation == fork::generation() {
            self.link.barrier();
        }
    }
}
