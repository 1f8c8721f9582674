//! The load generator and the relay, as functions that block until they are done.

use std::path::PathBuf;
use std::time::Duration;

use cachee_net::Endpoint;
use cachee_net::load::{self, Load, LoadConfig, Operation, Relay, Workload};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// `tcp://HOST:PORT` or `unix:PATH`.
fn endpoint(address: &str) -> PyResult<Endpoint> {
    if let Some(path) = address.strip_prefix("unix:") {
        return Ok(Endpoint::Unix { path: PathBuf::from(path) });
    }
    let parts = address.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':'));
    if let Some((host, port)) = parts
        && let Ok(port) = port.parse()
    {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        return Ok(Endpoint::Tcp { host, port });
    }
    Err(PyValueError::new_err(format!("{address:?} is not tcp://HOST:PORT or unix:PATH")))
}

fn operation(name: &str, read_share: f64, mget_keys: usize) -> PyResult<Operation> {
    Ok(match name {
        "get" => Operation::Get,
        "missing" => Operation::Missing,
        "set" => Operation::Set,
        "mixed" => Operation::Mixed { read_share },
        "mget" => Operation::Mget { keys: mget_keys },
        other => {
            let message =
                format!("operation must be get, missing, set, mixed or mget, not {other:?}");
            return Err(PyValueError::new_err(message));
        }
    })
}

/// Runs `work` without the GIL; an exception raised by a signal's handler ends it.
fn interruptible<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> std::io::Result<T> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let done = py.detach(|| {
        work(&mut || {
            if raised.is_none() {
                raised = Python::try_attach(|py| py.check_signals().err()).flatten();
            }
            raised.is_some()
        })
    });
    match raised {
        Some(error) => Err(error),
        None => Ok(done?),
    }
}

#[pyfunction]
#[pyo3(signature = (
    address, *, operation = "get", threads = 1, connections = 50, pipeline = 1, seconds = 1.0,
    rate_per_s = None, keys = 10_000, value_bytes = 100, read_share = 0.9, mget_keys = 100,
    zipf = None, seed = 1, prefix = "bench:", password = None
))]
#[allow(clippy::too_many_arguments, reason = "one keyword a part of the load")]
pub fn generate_load<'py>(
    py: Python<'py>,
    address: &str,
    operation: &str,
    threads: usize,
    connections: usize,
    pipeline: usize,
    seconds: f64,
    rate_per_s: Option<f64>,
    keys: u32,
    value_bytes: usize,
    read_share: f64,
    mget_keys: usize,
    zipf: Option<f64>,
    seed: u64,
    prefix: &str,
    password: Option<&str>,
) -> PyResult<Bound<'py, PyDict>> {
    let operation = self::operation(operation, read_share, mget_keys)?;
    let config = LoadConfig {
        endpoint: endpoint(address)?,
        password: password.map(|word| word.as_bytes().to_vec()),
        threads,
        connections,
        pipeline,
        duration: Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err("seconds must be a number of seconds"))?,
        rate_per_s,
        workload: Workload { operation, keys, value_bytes, zipf, seed, prefix: prefix.to_owned() },
    };
    let found = interruptible(py, |is_interrupted| load::run(&config, is_interrupted))?;
    as_dict(py, &found)
}

fn as_dict<'py>(py: Python<'py>, load: &Load) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(py);
    found.set_item("operations", load.operations)?;
    found.set_item("seconds", load.seconds)?;
    found.set_item("errors", load.errors)?;
    found.set_item("nils", load.nils)?;
    found.set_item("unanswered", load.unanswered)?;
    found.set_item("bytes_sent", load.bytes_sent)?;
    found.set_item("bytes_received", load.bytes_received)?;
    found.set_item("cpu_seconds", load.cpu_seconds)?;
    found.set_item("latency_us_p50", load.latency_us_p50)?;
    found.set_item("latency_us_p90", load.latency_us_p90)?;
    found.set_item("latency_us_p99", load.latency_us_p99)?;
    found.set_item("latency_us_p999", load.latency_us_p999)?;
    found.set_item("latency_us_max", load.latency_us_max)?;
    Ok(found)
}

#[pyfunction]
#[pyo3(signature = (listen, upstream, *, delay_ms = 0.0, ready))]
pub fn relay_bytes(
    py: Python<'_>,
    listen: &str,
    upstream: &str,
    delay_ms: f64,
    ready: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let delay = Duration::try_from_secs_f64(delay_ms / 1e3)
        .map_err(|_| PyValueError::new_err("delay_ms must not be negative"))?;
    let relay = Relay::bind(&endpoint(listen)?, endpoint(upstream)?, delay)?;
    let address = match (listen.rsplit_once(':'), relay.port()) {
        (Some((host, _)), Some(port)) => format!("{host}:{port}"),
        _ => listen.to_owned(),
    };
    ready.call1((address,))?;
    interruptible(py, |is_interrupted| relay.serve(is_interrupted))
}
