//! The proxy: addresses and settings from Python, everything else in Rust threads of its own.

use crate::link::status_words;
use crate::remembered::{self, PyHotKey, to_python};
use crate::{ahead, recording};
use cachee_net::admission::Admission;
use cachee_net::proxy::config::{
    Limits, ListenAddress, ListenTls, Login, Mode, ProxyConfig, Topology,
};
use cachee_net::proxy::{HotKey, LinkReport, Proxy as Running};
use cachee_net::{Endpoint, LinkConfig, NetError, TlsConfig, Tracking, Verify};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// Where clients are listened for: scheme (tcp, tls, unix), host, port, path.
type ListenParts = (String, String, u16, String);

/// What is behind the proxy, as `cachee.proxy.url` has taken it apart.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Upstream {
    scheme: String,
    hosts: Vec<(String, u16)>,
    path: String,
    username: Option<String>,
    password: Option<Vec<u8>>,
    database: u32,
    master: String,
}

/// One running proxy.
#[pyclass(frozen, module = "cachee._core")]
pub struct Proxy {
    running: Mutex<Option<std::sync::Arc<Running>>>,
    addresses: Vec<String>,
}

impl Proxy {
    fn running(&self) -> PyResult<std::sync::Arc<Running>> {
        let running = self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        running.clone().ok_or_else(|| PyRuntimeError::new_err("the proxy is closed"))
    }
}

#[pymethods]
impl Proxy {
    #[new]
    #[pyo3(signature = (*, listen, upstream, settings))]
    fn new(
        py: Python<'_>,
        listen: Vec<ListenParts>,
        upstream: Upstream,
        settings: &Bound<'_, PyDict>,
    ) -> PyResult<Proxy> {
        let config = config_of(listen, upstream, settings)?;
        let seed = RandomState::new().hash_one(0_u64);
        let running = py.detach(|| Running::start(config, seed)).map_err(error_of)?;
        let addresses = running.addresses().iter().map(ToString::to_string).collect();
        Ok(Proxy { running: Mutex::new(Some(running.into())), addresses })
    }

    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    fn reload(&self, settings: &Bound<'_, PyDict>) -> PyResult<()> {
        let running = self.running()?;
        running.set_limits(limits_of(settings, running.limits())?);
        Ok(())
    }

    fn drain(&self, py: Python<'_>, timeout_s: f64) -> PyResult<bool> {
        let running = self.running()?;
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|_| PyValueError::new_err("timeout_s must be 0 or more seconds"))?;
        Ok(py.detach(|| running.drain(timeout)))
    }

    fn close(&self, py: Python<'_>) {
        let running = self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        py.detach(|| running.iter().for_each(|running| running.close()));
    }

    fn is_ready(&self) -> bool {
        self.running().is_ok_and(|running| running.is_ready())
    }

    fn hot_keys<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Vec<PyHotKey<'py>>> {
        let running = self.running()?;
        let hot_keys = py.detach(|| running.hot_keys(count)).into_iter();
        Ok(hot_keys.map(|hot| to_python(py, (hot.user, hot.db, hot.words))).collect())
    }

    fn warm(&self, py: Python<'_>, names: Vec<remembered::HotKey>) -> PyResult<()> {
        let running = self.running()?;
        let hot_keys =
            names.into_iter().map(|(user, db, words)| HotKey { user, db, words }).collect();
        py.detach(|| running.warm(hot_keys));
        Ok(())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let running = self.running()?;
        let report = py.detach(|| running.report());
        let stats = PyDict::new(py);
        stats.set_item("problem", report.problem)?;
        stats.set_item("clients", report.clients)?;
        for (name, count) in report.counters {
            stats.set_item(name, count)?;
        }
        let store = report.store;
        for (name, value) in [
            ("stored", store.stored),
            ("replaced", store.replaced),
            ("evicted", store.evicted),
            ("expired", store.expired),
            ("invalidated", store.invalidated),
            ("coalesced", store.coalesced),
            ("voided", store.voided),
            ("leases", store.leases),
            ("entries", store.entries),
            ("ahead_used", store.ahead_used),
            ("ahead_unused", store.ahead_unused),
            ("ahead_unused_bytes", store.ahead_unused_bytes),
            ("weight_bytes", store.weight_bytes),
            ("capacity_bytes", store.capacity_bytes),
        ] {
            stats.set_item(name, value)?;
        }
        let links = PyList::empty(py);
        for link in report.links {
            links.append(link_dict(py, link)?)?;
        }
        stats.set_item("links", links)?;
        Ok(stats)
    }
}

fn link_dict(py: Python<'_>, link: LinkReport) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("user", link.user)?;
    dict.set_item("db", link.db)?;
    let (state, reason) = status_words(link.status);
    dict.set_item("state", state)?;
    dict.set_item("reason", reason)?;
    dict.set_item("is_serving", link.is_serving)?;
    let statistics = link.statistics;
    dict.set_item("in_flight", statistics.in_flight)?;
    dict.set_item("connects", statistics.connects)?;
    dict.set_item("fetched", statistics.fetched)?;
    dict.set_item("joined", statistics.joined)?;
    dict.set_item("invalidations", statistics.invalidations)?;
    dict.set_item("flushes", statistics.flushes)?;
    let bypassed = PyDict::new(py);
    for (reason, count) in cachee_net::BypassReason::ALL.iter().zip(statistics.bypassed) {
        bypassed.set_item(reason.as_str(), count)?;
    }
    dict.set_item("bypassed", bypassed)?;
    let counted = PyDict::new(py);
    for (name, value) in link.ahead.iter().flat_map(ahead::counters) {
        counted.set_item(name, value)?;
    }
    dict.set_item("prefetch", counted)?;
    if let Some(stats) = &link.ahead {
        dict.set_item("prefetch_doubts", ahead::doubts(py, stats)?)?;
    }
    let rules: PyResult<Vec<_>> =
        link.rules.iter().map(|rule| ahead::rule_dict(py, rule)).collect();
    dict.set_item("rules", rules?)?;
    Ok(dict)
}

fn error_of(error: NetError) -> PyErr {
    match error {
        NetError::Io(source) => PyOSError::new_err(source.to_string()),
        other => PyValueError::new_err(other.to_string()),
    }
}

/// The value of a setting; `default` when it is absent or None.
fn setting<'py, T>(settings: &Bound<'py, PyDict>, name: &str, default: T) -> PyResult<T>
where
    T: FromPyObjectOwned<'py>,
{
    match settings.get_item(name)? {
        Some(value) if !value.is_none() => {
            let extracted: Result<T, T::Error> = value.extract();
            extracted.map_err(|error| {
                let error: PyErr = error.into();
                PyValueError::new_err(format!("{name}: {error}"))
            })
        }
        _ => Ok(default),
    }
}

fn path(settings: &Bound<'_, PyDict>, name: &str) -> PyResult<Option<PathBuf>> {
    setting(settings, name, None)
}

fn config_of(
    listen: Vec<ListenParts>,
    upstream: Upstream,
    settings: &Bound<'_, PyDict>,
) -> PyResult<ProxyConfig> {
    let listen = listen
        .into_iter()
        .map(|(scheme, host, port, path)| ListenAddress {
            endpoint: if scheme == "unix" {
                Endpoint::Unix { path: path.into() }
            } else {
                Endpoint::Tcp { host, port }
            },
            tls: scheme == "tls",
        })
        .collect();
    let endpoints: Vec<Endpoint> =
        upstream.hosts.into_iter().map(|(host, port)| Endpoint::Tcp { host, port }).collect();
    let first = match upstream.scheme.as_str() {
        "unix" => Endpoint::Unix { path: upstream.path.into() },
        _ => endpoints
            .first()
            .cloned()
            .ok_or_else(|| PyValueError::new_err("an upstream needs a host"))?,
    };
    let mut config = ProxyConfig::new(listen, first);
    config.topology = match upstream.scheme.as_str() {
        "redis+cluster" => Topology::Cluster { seeds: endpoints },
        "redis+sentinel" => Topology::Sentinel { sentinels: endpoints, master: upstream.master },
        _ => Topology::One,
    };
    config.login = upstream.password.map(|password| Login { user: upstream.username, password });
    config.link.db = upstream.database;
    if upstream.scheme == "rediss" {
        config.link.tls = Some(upstream_tls(settings)?);
    }
    link_settings(&mut config.link, settings)?;
    config.mode = match setting(settings, "mode", "on".to_owned())?.as_str() {
        "on" => Mode::On,
        "observe" => Mode::Observe,
        "off" => Mode::Off,
        other => return Err(PyValueError::new_err(format!("mode: {other:?}"))),
    };
    config.threads = setting(settings, "threads", config.threads)?;
    config.max_memory_bytes = setting(settings, "max_memory", config.max_memory_bytes)?;
    config.include = setting(settings, "include", config.include)?;
    config.exclude = setting(settings, "exclude", config.exclude)?;
    config.overrides = setting(settings, "overrides", config.overrides)?;
    config.limits = limits_of(settings, config.limits)?;
    let admission = Admission::new(&config.include, &config.exclude, &config.overrides);
    let prefetch = setting(settings, "prefetch", "off".to_owned())?;
    let reads = setting(settings, "prefetch_reads", 1)?;
    config.link.ahead = ahead::config_of(&prefetch, reads, admission.into())?;
    let keys = setting(settings, "record_keys", "hashed".to_owned())?;
    let one_in = setting(settings, "record_sample", 1)?;
    config.record = recording::config_of(path(settings, "record")?, one_in, &keys)?;
    if let Some(cert_file) = path(settings, "tls_cert")? {
        config.listen_tls = Some(ListenTls {
            cert_file,
            key_file: path(settings, "tls_key")?,
            client_ca_file: path(settings, "tls_client_ca")?,
        });
    }
    Ok(config)
}

fn upstream_tls(settings: &Bound<'_, PyDict>) -> PyResult<TlsConfig> {
    let verify = match setting(settings, "upstream_verify", "full".to_owned())?.as_str() {
        "full" => Verify::Full,
        "chain" => Verify::NoHostname,
        "none" => Verify::None,
        other => return Err(PyValueError::new_err(format!("upstream_verify: {other:?}"))),
    };
    Ok(TlsConfig {
        verify,
        ca_file: path(settings, "upstream_ca")?,
        cert_file: path(settings, "upstream_cert")?,
        key_file: path(settings, "upstream_key")?,
        ..TlsConfig::default()
    })
}

fn link_settings(link: &mut LinkConfig, settings: &Bound<'_, PyDict>) -> PyResult<()> {
    link.max_age_ms = setting(settings, "max_age_ms", link.max_age_ms)?;
    link.max_staleness_ms = setting(settings, "max_staleness_ms", link.max_staleness_ms)?;
    link.reply_timeout_ms = setting(settings, "reply_timeout_ms", link.reply_timeout_ms)?;
    link.connect_timeout_ms = setting(settings, "connect_timeout_ms", link.connect_timeout_ms)?;
    link.learn_ttl = setting(settings, "learn_ttl", link.learn_ttl)?;
    link.tracking = match setting(settings, "tracking", "default".to_owned())?.as_str() {
        "default" => Tracking::Default,
        "opt-in" => Tracking::OptIn,
        "broadcast" => Tracking::Broadcast(setting(settings, "prefixes", Vec::new())?),
        other => return Err(PyValueError::new_err(format!("tracking: {other:?}"))),
    };
    Ok(())
}

fn limits_of(settings: &Bound<'_, PyDict>, known: Limits) -> PyResult<Limits> {
    Ok(Limits {
        clients: setting(settings, "max_clients", known.clients)?,
        query_buffer_bytes: setting(settings, "query_buffer", known.query_buffer_bytes)?,
        query_buffer_unauthenticated_bytes: setting(
            settings,
            "query_buffer_unauthenticated",
            known.query_buffer_unauthenticated_bytes,
        )?,
        output_buffer_bytes: setting(settings, "output_buffer", known.output_buffer_bytes)?,
        pipeline: setting(settings, "pipeline", known.pipeline)?,
        bulk_bytes: setting(settings, "max_bulk", known.bulk_bytes)?,
        args: setting(settings, "max_args", known.args)?,
        args_unauthenticated: setting(
            settings,
            "max_args_unauthenticated",
            known.args_unauthenticated,
        )?,
        bulk_unauthenticated_bytes: setting(
            settings,
            "max_bulk_unauthenticated",
            known.bulk_unauthenticated_bytes,
        )?,
        idle_timeout_ms: setting(settings, "idle_timeout_ms", known.idle_timeout_ms)?,
        write_timeout_ms: setting(settings, "write_timeout_ms", known.write_timeout_ms)?,
    })
}
