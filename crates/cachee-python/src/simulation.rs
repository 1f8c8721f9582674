//! Recorded traces, played through the core's simulation.

use std::io::Read;

use cachee_core::simulation::{self, Outcome, Setup};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use ruzstd::decoding::StreamingDecoder;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Requests are numbered in 32 bits.
const REQUESTS_MAX: usize = u32::MAX as usize;

/// The keys of a trace, 8 bytes each.
#[pyclass(frozen, module = "cachee._core")]
pub struct Trace {
    requests: Vec<u64>,
    #[pyo3(get)]
    keys: usize,
}

#[pymethods]
impl Trace {
    #[classattr]
    const ENTRY_OVERHEAD_BYTES: usize = simulation::ENTRY_OVERHEAD_BYTES;

    #[new]
    fn new(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let read = py.detach(|| read(data));
        let requests = read.map_err(PyValueError::new_err)?;
        let keys = py.detach(|| simulation::distinct(&requests));
        Ok(Self { requests, keys })
    }

    fn __len__(&self) -> usize {
        self.requests.len()
    }

    fn lru_hits(&self, py: Python<'_>, entries: usize) -> u64 {
        py.detach(|| simulation::lru_hits(&self.requests, entries))
    }

    fn belady_hits(&self, py: Python<'_>, entries: usize) -> u64 {
        py.detach(|| simulation::belady_hits(&self.requests, entries))
    }

    /// The same of one key in so many, chosen by hash.
    fn sample(&self, py: Python<'_>, one_in: u64) -> PyResult<Self> {
        if one_in == 0 {
            return Err(PyValueError::new_err("one_in must be at least 1"));
        }
        Ok(py.detach(|| {
            let requests = simulation::sample(&self.requests, one_in);
            let keys = simulation::distinct(&requests);
            Self { requests, keys }
        }))
    }

    #[pyo3(signature = (
        *, capacity_bytes, value_bytes, prediction, round_trip_us, think_us, clients = 1
    ))]
    #[allow(clippy::too_many_arguments, reason = "one keyword a part of the setup")]
    fn simulate<'py>(
        &self,
        py: Python<'py>,
        capacity_bytes: usize,
        value_bytes: usize,
        prediction: bool,
        round_trip_us: u64,
        think_us: u64,
        clients: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        let setup = Setup {
            capacity_bytes,
            value_bytes,
            has_prediction: prediction,
            round_trip_us,
            think_us,
            clients,
        };
        let outcome = py.detach(|| simulation::simulate(&self.requests, &setup));
        as_dict(py, &outcome)
    }

    #[pyo3(signature = (*, capacity_bytes, value_bytes, round_trip_us, think_us, clients = 1))]
    fn compare<'py>(
        &self,
        py: Python<'py>,
        capacity_bytes: usize,
        value_bytes: usize,
        round_trip_us: u64,
        think_us: u64,
        clients: usize,
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyDict>)> {
        let has_prediction = true;
        let setup =
            Setup { capacity_bytes, value_bytes, has_prediction, round_trip_us, think_us, clients };
        let (plain, ahead) = py.detach(|| simulation::compare(&self.requests, &setup));
        Ok((as_dict(py, &plain)?, as_dict(py, &ahead)?))
    }
}

fn as_dict<'py>(py: Python<'py>, outcome: &Outcome) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(py);
    found.set_item("requests", outcome.requests)?;
    found.set_item("hits", outcome.hits)?;
    found.set_item("joined", outcome.joined)?;
    found.set_item("misses", outcome.misses)?;
    found.set_item("issued", outcome.issued)?;
    found.set_item("used", outcome.used)?;
    found.set_item("prediction_bytes", outcome.prediction_bytes)?;
    found.set_item("waited_us", outcome.waited_us)?;
    found.set_item("lost", outcome.lost)?;
    found.set_item("polluted", outcome.polluted)?;
    found.set_item("events", outcome.events)?;
    Ok(found)
}

fn read(data: &[u8]) -> Result<Vec<u64>, String> {
    if !data.starts_with(&ZSTD_MAGIC) {
        return words(data);
    }
    let mut bytes = Vec::new();
    let mut decoder = StreamingDecoder::new(data).map_err(|error| format!("zstd: {error}"))?;
    decoder.read_to_end(&mut bytes).map_err(|error| format!("zstd: {error}"))?;
    words(&bytes)
}

fn words(bytes: &[u8]) -> Result<Vec<u64>, String> {
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(format!("{} bytes are no whole number of 8-byte keys", bytes.len()));
    }
    if words.len() > REQUESTS_MAX {
        return Err(format!("{} requests, at most {REQUESTS_MAX} are taken", words.len()));
    }
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}
