//! What is asked for, written down: between Python's settings and `cachee_net::record`.

use cachee_net::record::{RecordConfig, RecordStatistics, RecordedKeys, Recorder};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// By the words of the settings; without a path nothing is recorded.
pub fn config_of(path: Option<PathBuf>, one_in: u64, keys: &str) -> PyResult<Option<RecordConfig>> {
    let keys = match keys {
        "hashed" => RecordedKeys::Hashed,
        "plain" => RecordedKeys::Plain,
        other => {
            let message = format!("record_keys must be hashed or plain, not {other:?}");
            return Err(PyValueError::new_err(message));
        }
    };
    Ok(path.map(|path| RecordConfig { path, one_in, keys, warn: Arc::new(warn) }))
}

/// What is recorded of one process, from its first read on.
pub struct Recording {
    config: Option<RecordConfig>,
    opened: OnceLock<Option<Arc<Recorder>>>,
}

impl Recording {
    /// By the words of the settings; nothing is opened yet.
    pub fn new(path: Option<PathBuf>, one_in: u64, keys: &str) -> PyResult<Recording> {
        let config = config_of(path, one_in, keys)?;
        Ok(Recording { config, opened: OnceLock::new() })
    }

    /// The same for a forked child, in a file of its own.
    pub fn anew(&self) -> Recording {
        Recording { config: self.config.clone(), opened: OnceLock::new() }
    }

    /// Opened by the first who asks; where that fails there is a warning, and nothing recorded.
    pub fn recorder(&self) -> Option<Arc<Recorder>> {
        let config = self.config.as_ref()?;
        let mut problem = None;
        let opened = self.opened.get_or_init(|| {
            let recorder = Recorder::open(config).map(Arc::new);
            recorder.map_err(|error| problem = Some(error)).ok()
        });
        // Not above: whoever waits there holds the GIL.
        if let Some(error) = problem {
            warn(&format!("nothing is recorded: {}: {error}", config.path.display()));
        }
        opened.clone()
    }

    /// All zeros where nothing was opened.
    pub fn statistics(&self) -> RecordStatistics {
        self.open().map_or_else(RecordStatistics::default, |recorder| recorder.statistics())
    }

    /// Waits, for a bounded time, until everything is written. Without the GIL.
    pub fn close(&self) {
        self.open().iter().for_each(|recorder| recorder.close());
    }

    fn open(&self) -> Option<&Arc<Recorder>> {
        self.opened.get()?.as_ref()
    }
}

/// One line in the log `cachee`, from any thread; none once the interpreter is going.
fn warn(text: &str) {
    Python::try_attach(|py| {
        let logged = py.import("logging").and_then(|logging| {
            let logger = logging.call_method1("getLogger", ("cachee",))?;
            logger.call_method1("warning", ("cachee: %s", text))
        });
        if let Err(error) = logged {
            error.write_unraisable(py, None);
        }
    });
}
