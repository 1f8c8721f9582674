//! The engine of one process: one store, the links that fill it, the writes under way.

use crate::admission::Admission;
use crate::command::{Encoding, Shapes};
use crate::decode::{DECODING_SHIFT, Decoding};
use crate::identity::{Identity, config_of};
use crate::link::Link;
use crate::recording::Recording;
use crate::remembered::{self, HotKey, PyHotKey};
use crate::value::Value;
use crate::{ahead, fork, graveyard};
use cachee_core::{InspectedState, Store, StoreConfig};
use cachee_net::cacheable::{SHAPE_MASK, command_name};
use cachee_net::record::RecordStatistics;
use cachee_net::{Effect, LinkConfig, Tracking, clock};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

const SHARDS_MAX: usize = 64;
const SHARDS_DEFAULT: usize = 8;
/// A smaller shard could not hold a value of ordinary size.
const SHARD_BYTES_MIN: usize = 1 << 20;

/// What lasts as long as the process, or until the fork that makes a child.
pub struct EngineCore {
    /// The entries of every link.
    pub store: Arc<Store<Value>>,
    /// `fork::generation` when this was made.
    pub generation: u32,
    /// Shapes of the native methods.
    pub shapes: Shapes,
    settings: StoreSettings,
    template: LinkConfig,
    /// Of what is asked for.
    pub recording: Recording,
    links: Mutex<Vec<(Arc<Identity>, Py<Link>)>>,
    writes: Mutex<HashMap<u64, Write>>,
    writes_begun: AtomicU64,
    decodings: Mutex<Vec<Decoding>>,
    /// What an earlier process knew, for links that are not open yet.
    remembered: Mutex<remembered::Waiting>,
    is_closed: AtomicBool,
}

/// What a write under way will have changed.
#[derive(Default)]
struct Write {
    deps: Vec<u64>,
    barrier: bool,
    flush: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one of these is held leaves nothing half done that matters.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl EngineCore {
    fn new(settings: StoreSettings, template: LinkConfig, recording: Recording) -> EngineCore {
        let StoreSettings { capacity_bytes, shards } = settings;
        let config =
            StoreConfig { capacity_bytes, shards, seed: RandomState::new().hash_one(0_u64) };
        EngineCore {
            store: Arc::new(Store::new(config)),
            generation: fork::generation(),
            shapes: Shapes::new(),
            settings,
            template,
            recording,
            links: Mutex::default(),
            writes: Mutex::default(),
            writes_begun: AtomicU64::new(0),
            decodings: Mutex::default(),
            remembered: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Made in this process and not closed.
    pub fn is_usable(&self) -> bool {
        self.generation == fork::generation() && !self.is_closed.load(Ordering::Relaxed)
    }

    /// A small number for a decoding, the same for equal ones.
    pub fn decoding_number(&self, decoding: &Decoding) -> PyResult<u32> {
        if self.generation != fork::generation() {
            return Ok(0);
        }
        let mut decodings = locked(&self.decodings);
        let place = decodings.iter().position(|known| known == decoding);
        let number = place.unwrap_or_else(|| {
            decodings.push(decoding.clone());
            decodings.len() - 1
        });
        u32::try_from(number)
            .ok()
            .filter(|number| *number <= SHAPE_MASK)
            .ok_or_else(|| PyRuntimeError::new_err("more than 65536 different decodings"))
    }

    /// A link is there: it gets what has waited for it.
    fn hand_over(&self, identity: &Identity, link: &cachee_net::Link<Value>) {
        if let Some(known) = locked(&self.remembered).remove(&remembered::owner_of(identity)) {
            link.remember(known);
        }
    }

    fn identified_links(&self) -> Vec<(Arc<Identity>, Arc<cachee_net::Link<Value>>)> {
        let links = locked(&self.links);
        links.iter().map(|(identity, link)| (identity.clone(), link.get().link.clone())).collect()
    }

    fn open_links(&self) -> Vec<Arc<cachee_net::Link<Value>>> {
        locked(&self.links).iter().map(|(_, link)| link.get().link.clone()).collect()
    }

    /// What the commands change: the dependencies, and whether more than those.
    fn write_of(&self, commands: &[Bound<'_, PyTuple>], encoding: Encoding) -> Write {
        let tables = locked(&self.links).iter().find_map(|(_, link)| link.get().link.commands());
        let mut write = Write::default();
        for command in commands {
            let arguments = crate::command::elements(command);
            let Some(words) = encoding.command(&arguments) else {
                write.barrier = true;
                continue;
            };
            let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
            let Some(table) = &tables else {
                write.barrier = true;
                continue;
            };
            match table.effect(&words) {
                Effect::ReadOnly | Effect::None => {}
                Effect::Writes(keys) => {
                    write.deps.extend(keys.iter().map(|key| self.store.key_hash(key)));
                }
                Effect::Unknown => write.barrier = true,
                Effect::FlushAll => {
                    write.flush = true;
                    write.barrier = true;
                }
            }
        }
        write.deps.sort_unstable();
        write.deps.dedup();
        write
    }
}

#[derive(Clone, Copy)]
struct StoreSettings {
    capacity_bytes: usize,
    shards: usize,
}

/// The L1 of one process and the links that fill it.
#[pyclass(frozen, module = "cachee._core")]
pub struct Engine {
    /// Replaced in a forked child. Held only for a moment, always with the GIL: never at a fork.
    core: Mutex<Arc<EngineCore>>,
}

impl Engine {
    /// The engine's present state.
    pub fn core(&self) -> Arc<EngineCore> {
        locked(&self.core).clone()
    }
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (
        *, max_memory, max_age_ms, max_staleness_ms, tracking = "default", prefixes = None,
        learn_ttl = false, reply_timeout_ms = 500, connect_timeout_ms = 1000,
        max_value_bytes = None, shards = None, prefetch = "off", prefetch_reads = 1,
        admission = None, record = None, record_sample = 1, record_keys = "hashed"
    ))]
    #[allow(clippy::too_many_arguments, reason = "one keyword a setting")]
    fn new(
        max_memory: usize,
        max_age_ms: u64,
        max_staleness_ms: u64,
        tracking: &str,
        prefixes: Option<Vec<Vec<u8>>>,
        learn_ttl: bool,
        reply_timeout_ms: u64,
        connect_timeout_ms: u64,
        max_value_bytes: Option<usize>,
        shards: Option<usize>,
        prefetch: &str,
        prefetch_reads: u32,
        admission: Option<Bound<'_, Admission>>,
        record: Option<PathBuf>,
        record_sample: u64,
        record_keys: &str,
    ) -> PyResult<Engine> {
        let tracking = match tracking {
            "default" => Tracking::Default,
            "opt-in" => Tracking::OptIn,
            "broadcast" => Tracking::Broadcast(prefixes.unwrap_or_default()),
            other => {
                let message =
                    format!("tracking must be default, opt-in or broadcast, not {other:?}");
                return Err(PyValueError::new_err(message));
            }
        };
        for (name, value) in [("max_age_ms", max_age_ms), ("max_staleness_ms", max_staleness_ms)] {
            if value == 0 {
                return Err(PyValueError::new_err(format!("{name} must be at least 1")));
            }
        }
        let shards = shards.unwrap_or(SHARDS_DEFAULT).clamp(1, SHARDS_MAX);
        let shards = shards.min((max_memory / SHARD_BYTES_MIN).max(1));
        let admission = admission.map(|admission| admission.get().0.clone()).unwrap_or_default();
        let endpoint = cachee_net::Endpoint::Tcp { host: String::new(), port: 0 };
        let mut template = LinkConfig {
            tracking,
            max_staleness_ms,
            max_age_ms,
            connect_timeout_ms,
            reply_timeout_ms,
            learn_ttl,
            ahead: ahead::config_of(prefetch, prefetch_reads, admission)?,
            ..LinkConfig::new(endpoint)
        };
        // A value that would fill a good part of its shard displaces everything else in it.
        let fitting = (max_memory / shards / 2).max(1);
        template.max_value_bytes = max_value_bytes.unwrap_or(template.max_value_bytes).min(fitting);
        let settings = StoreSettings { capacity_bytes: max_memory, shards };
        let recording = Recording::new(record, record_sample, record_keys)?;
        Ok(Engine { core: Mutex::new(Arc::new(EngineCore::new(settings, template, recording))) })
    }

    #[pyo3(signature = (
        *, host, port, path, db, username, password, credentials, tls, client_name
    ))]
    #[allow(clippy::too_many_arguments, reason = "one keyword a part of the identity")]
    fn link(
        &self,
        py: Python<'_>,
        host: Option<String>,
        port: u16,
        path: Option<String>,
        db: u32,
        username: Option<String>,
        password: Option<Bound<'_, PyAny>>,
        credentials: Option<Py<PyAny>>,
        tls: Option<Bound<'_, PyAny>>,
        client_name: String,
    ) -> PyResult<Py<Link>> {
        let core = self.core();
        if !core.is_usable() {
            return Err(PyRuntimeError::new_err("the engine is closed or belongs to the parent"));
        }
        let password = password.map(|password| bytes_of(&password)).transpose()?;
        let identity = Identity::new(host, port, path, db, username, password, credentials, tls)?;
        // Comparing providers runs Python code, so no lock is held meanwhile.
        let snapshot = |links: &[(Arc<Identity>, Py<Link>)]| -> Vec<_> {
            links.iter().map(|(known, link)| (known.clone(), link.clone_ref(py))).collect()
        };
        let mut seen = 0;
        loop {
            let known = snapshot(&locked(&core.links)[seen..]);
            if known.is_empty() {
                break;
            }
            seen += known.len();
            if let Some((_, link)) =
                known.into_iter().find(|(known, _)| known.equals(py, &identity))
            {
                return Ok(link);
            }
        }
        let config = config_of(py, &core.template, &identity, client_name);
        let store = core.store.clone();
        let link = cachee_net::Link::open(config, store)?;
        let (db, generation) = (identity.db, core.generation);
        let address = identity.address();
        let identity = Arc::new(identity);
        let opened = Py::new(py, Link::new(link.clone(), db, address, generation))?;
        locked(&core.links).push((identity.clone(), opened.clone_ref(py)));
        core.hand_over(&identity, &link);
        let link = opened;
        Ok(link)
    }

    #[pyo3(signature = (commands, encoding = "utf-8", errors = "strict"))]
    fn begin_write(
        &self,
        py: Python<'_>,
        commands: Vec<Bound<'_, PyTuple>>,
        encoding: &str,
        errors: &str,
    ) -> PyResult<u64> {
        let core = self.core();
        if !core.is_usable() || locked(&core.links).is_empty() {
            return Ok(0);
        }
        let write = core.write_of(&commands, Encoding::new(py, encoding, errors));
        if write.deps.is_empty() && !write.barrier && !write.flush {
            return Ok(0);
        }
        core.store.begin_write(&write.deps);
        if write.flush {
            core.store.clear();
        }
        let ticket = core.writes_begun.fetch_add(1, Ordering::Relaxed) + 1;
        locked(&core.writes).insert(ticket, write);
        graveyard::release(py);
        Ok(ticket)
    }

    fn end_write(&self, py: Python<'_>, ticket: u64) {
        let core = self.core();
        if ticket == 0 || core.generation != fork::generation() {
            return;
        }
        let Some(write) = locked(&core.writes).remove(&ticket) else { return };
        if write.flush {
            core.store.clear();
        }
        let hot = core.store.end_write(&write.deps);
        if write.barrier {
            core.open_links().iter().for_each(|link| link.barrier());
        }
        if !hot.is_empty() {
            let links = core.open_links();
            py.detach(|| links.iter().for_each(|link| link.written(&hot)));
        }
        graveyard::release(py);
    }

    fn invalidate(&self, py: Python<'_>, key: Bound<'_, PyAny>) -> PyResult<usize> {
        let core = self.core();
        if !core.is_usable() {
            return Ok(0);
        }
        let key = bytes_of(&key)?;
        let dropped = core.store.invalidate(core.store.key_hash(&key));
        graveyard::release(py);
        Ok(dropped)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        graveyard::release(py);
        let core = self.core();
        let (stats, recorded) = if core.generation == fork::generation() {
            (core.store.stats(), core.recording.statistics())
        } else {
            (cachee_core::Stats::default(), RecordStatistics::default())
        };
        let figures = PyDict::new(py);
        for (name, value) in [
            ("hits", stats.hits),
            ("misses", stats.misses),
            ("coalesced", stats.coalesced),
            ("stored", stats.stored),
            ("replaced", stats.replaced),
            ("evicted", stats.evicted),
            ("expired", stats.expired),
            ("invalidated", stats.invalidated),
            ("removed", stats.removed),
            ("voided", stats.voided),
            ("bypass_write_in_flight", stats.bypass_write_in_flight),
            ("bypass_write_hot", stats.bypass_write_hot),
            ("bypass_too_large", stats.bypass_too_large),
            ("too_large", stats.too_large),
            ("ahead_used", stats.ahead_used),
            ("ahead_unused", stats.ahead_unused),
            ("ahead_unused_bytes", stats.ahead_unused_bytes),
            ("recorded", recorded.recorded),
            ("record_dropped", recorded.dropped),
            ("entries", stats.entries),
            ("leases", stats.leases),
            ("weight_bytes", stats.weight_bytes),
            ("capacity_bytes", stats.capacity_bytes),
        ] {
            figures.set_item(name, value)?;
        }
        Ok(figures)
    }

    fn links(&self, py: Python<'_>) -> Vec<Py<Link>> {
        let core = self.core();
        if core.generation != fork::generation() {
            return Vec::new();
        }
        locked(&core.links).iter().map(|(_, link)| link.clone_ref(py)).collect()
    }

    fn hot_keys<'py>(&self, py: Python<'py>, count: usize) -> Vec<PyHotKey<'py>> {
        let core = self.core();
        if !core.is_usable() {
            return Vec::new();
        }
        let hot_keys = py.detach(|| {
            // In this order: what a link takes over meanwhile is told twice rather than not at all.
            let waiting = locked(&core.remembered).clone();
            let (links, decodings) = (core.identified_links(), locked(&core.decodings).clone());
            remembered::hot_keys(&core.store, &links, &decodings, &waiting, count)
        });
        hot_keys.into_iter().map(|hot| remembered::to_python(py, hot)).collect()
    }

    fn warm(&self, py: Python<'_>, names: Vec<HotKey>, admission: Bound<'_, Admission>) {
        let core = self.core();
        if !core.is_usable() {
            return;
        }
        let admission = admission.get().0.clone();
        py.detach(|| {
            let number_of = |decoding: &Decoding| core.decoding_number(decoding).ok();
            // A link opened before this is found below, one opened after it looks here itself.
            *locked(&core.remembered) = remembered::waiting(names, &admission, number_of);
            for (identity, link) in core.identified_links() {
                core.hand_over(&identity, &link);
            }
        });
    }

    fn inspect<'py>(
        &self,
        py: Python<'py>,
        key: Bound<'py, PyAny>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let core = self.core();
        if !core.is_usable() {
            return Ok(Vec::new());
        }
        let key = bytes_of(&key)?;
        let now_ms = clock::now_ms();
        let rows = core.store.inspect(&key, now_ms);
        rows.iter()
            .map(|row| {
                let shown = PyDict::new(py);
                shown.set_item("state", state_word(row.state))?;
                shown.set_item("scope", row.scope)?;
                let is_command = matches!(
                    row.state,
                    InspectedState::Held | InspectedState::Ahead | InspectedState::Loading
                );
                let command = is_command.then(|| command_name(row.shape));
                shown.set_item("command", command)?;
                shown.set_item("decoding", row.shape >> DECODING_SHIFT)?;
                let args = arguments(&row.args);
                shown.set_item(
                    "args",
                    PyList::new(py, args.iter().map(|arg| PyBytes::new(py, arg)))?,
                )?;
                shown.set_item("ttl_ms", row.deadline_ms.saturating_sub(now_ms))?;
                shown.set_item("hits", row.hits)?;
                shown.set_item("weight_bytes", row.weight_bytes)?;
                Ok(shown)
            })
            .collect()
    }

    fn clear(&self, py: Python<'_>) {
        let core = self.core();
        if core.generation == fork::generation() {
            core.store.clear();
            graveyard::release(py);
        }
    }

    fn close(&self, py: Python<'_>) {
        let core = self.core();
        if core.is_closed.swap(true, Ordering::Relaxed) || core.generation != fork::generation() {
            return;
        }
        let links = core.open_links();
        py.detach(|| {
            links.iter().for_each(|link| link.close());
            core.recording.close();
        });
        core.store.clear();
        graveyard::release(py);
    }

    fn after_fork_in_child(&self) {
        let mut core = locked(&self.core);
        if core.generation == fork::generation() {
            return;
        }
        // Nobody else runs in a fresh child: links of the parent are given up one by one. The
        // mutex may have been held by another of the parent's threads; then the sockets stay open.
        if let Ok(links) = core.links.try_lock() {
            for (_, link) in links.iter() {
                link.get().link.clone().abandon_after_fork();
            }
        }
        let fresh = EngineCore::new(core.settings, core.template.clone(), core.recording.anew());
        let parents = std::mem::replace(&mut *core, Arc::new(fresh));
        // Dropping it would lock, join and free what other threads of the parent were using.
        std::mem::forget(parents);
    }
}

/// The bytes of a `str` (as UTF-8) or `bytes` argument.
fn bytes_of(text: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = text.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(text) = text.cast::<PyString>() {
        return Ok(text.to_cow()?.as_bytes().to_vec());
    }
    Err(PyTypeError::new_err(format!("expected bytes or str, not {}", text.get_type())))
}

fn state_word(state: InspectedState) -> &'static str {
    match state {
        InspectedState::Held => "held",
        InspectedState::Ahead => "ahead",
        InspectedState::Loading => "loading",
        InspectedState::WriteInFlight => "write_in_flight",
        InspectedState::WriteHot => "write_hot",
    }
}

/// Undoes `encode_args`.
fn arguments(mut encoded: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((length, rest)) = encoded.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (argument, rest) = rest.split_at(length);
        found.push(argument);
        encoded = rest;
    }
    found
}
