//! Which link a client belongs to: server, database, user, TLS.

use cachee_net::{Credentials, Endpoint, LinkConfig, NetError, TlsConfig, Verify};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::Arc;

/// What tells two links apart.
pub struct Identity {
    endpoint: Endpoint,
    /// Database number.
    pub db: u32,
    user: Option<String>,
    password: Option<Vec<u8>>,
    credentials: Option<Py<PyAny>>,
    tls: Option<TlsConfig>,
}

impl Identity {
    /// From the arguments of `Engine.link`.
    #[allow(clippy::too_many_arguments, reason = "the parts of an identity")]
    pub fn new(
        host: Option<String>,
        port: u16,
        path: Option<String>,
        db: u32,
        user: Option<String>,
        password: Option<Vec<u8>>,
        credentials: Option<Py<PyAny>>,
        tls: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Identity> {
        let endpoint = match (host, path) {
            (Some(host), None) => Endpoint::Tcp { host, port },
            (None, Some(path)) => Endpoint::Unix { path: PathBuf::from(path) },
            _ => return Err(PyValueError::new_err("give either host or path")),
        };
        let tls = tls.map(|tls| tls_of(&tls)).transpose()?;
        Ok(Identity { endpoint, db, user, password, credentials, tls })
    }

    /// Whether both are the same link's. Providers of credentials are the same if equal.
    pub fn equals(&self, py: Python<'_>, other: &Identity) -> bool {
        let same_provider = match (&self.credentials, &other.credentials) {
            (None, None) => true,
            (Some(left), Some(right)) => left.bind(py).eq(right).unwrap_or(false),
            _ => false,
        };
        same_provider
            && self.endpoint == other.endpoint
            && self.db == other.db
            && self.user == other.user
            && self.password == other.password
            && self.tls == other.tls
    }

    /// By the name the server knows; of a provider nobody knows it before it is asked.
    pub fn user_name(&self) -> &str {
        match (&self.user, &self.password, &self.credentials) {
            (Some(user), ..) => user,
            (None, None, None) => "",
            (None, ..) => "default",
        }
    }

    /// For people.
    pub fn address(&self) -> String {
        self.endpoint.to_string()
    }
}

/// The link's configuration: the engine's, with this identity.
pub fn config_of(
    py: Python<'_>,
    template: &LinkConfig,
    identity: &Identity,
    client_name: String,
) -> LinkConfig {
    let credentials: Option<Arc<dyn Credentials>> = match &identity.credentials {
        Some(provider) => Some(Arc::new(Provided(provider.clone_ref(py)))),
        None if identity.user.is_none() && identity.password.is_none() => None,
        None => Some(Arc::new(Fixed {
            user: identity.user.clone(),
            password: identity.password.clone().unwrap_or_default(),
        })),
    };
    LinkConfig {
        endpoint: identity.endpoint.clone(),
        tls: identity.tls.clone(),
        credentials,
        db: identity.db,
        client_name,
        ..template.clone()
    }
}

struct Fixed {
    user: Option<String>,
    password: Vec<u8>,
}

impl Credentials for Fixed {
    fn get(&self) -> Result<Option<(Option<String>, Vec<u8>)>, NetError> {
        Ok(Some((self.user.clone(), self.password.clone())))
    }
}

/// A Python callable, asked at each connect on the link's thread.
struct Provided(Py<PyAny>);

impl Credentials for Provided {
    fn get(&self) -> Result<Option<(Option<String>, Vec<u8>)>, NetError> {
        let asked = Python::try_attach(|py| self.ask(py).map_err(|error| error.to_string()));
        asked
            .unwrap_or_else(|| Err("the interpreter is shutting down".to_owned()))
            .map_err(NetError::Credentials)
    }
}

impl Provided {
    #[allow(clippy::type_complexity, reason = "the trait's own type")]
    fn ask(&self, py: Python<'_>) -> PyResult<Option<(Option<String>, Vec<u8>)>> {
        let (user, password): (Option<String>, Option<Bound<'_, PyAny>>) =
            self.0.call0(py)?.extract(py)?;
        let password = match password {
            None => Vec::new(),
            Some(password) => match password.extract::<String>() {
                Ok(text) => text.into_bytes(),
                Err(_) => password.extract::<Vec<u8>>()?,
            },
        };
        if user.is_none() && password.is_empty() {
            return Ok(None);
        }
        Ok(Some((user, password)))
    }
}

fn tls_of(tls: &Bound<'_, PyAny>) -> PyResult<TlsConfig> {
    let settings = PyDict::new(tls.py());
    settings.update(tls.cast()?)?;
    let mut config = TlsConfig::default();
    for (name, value) in settings {
        if value.is_none() {
            continue;
        }
        match name.extract::<String>()?.as_str() {
            "verify" => config.verify = verify_of(&value.extract::<String>()?)?,
            "server_name" => config.server_name = Some(value.extract()?),
            "ca_file" => config.ca_file = Some(value.extract()?),
            "ca_data" => {
                config.ca_data = Some(match value.extract::<String>() {
                    Ok(text) => text.into_bytes(),
                    Err(_) => value.extract()?,
                });
            }
            "cert_file" => config.cert_file = Some(value.extract()?),
            "key_file" => config.key_file = Some(value.extract()?),
            other => return Err(PyTypeError::new_err(format!("unknown key of tls: {other}"))),
        }
    }
    Ok(config)
}

fn verify_of(word: &str) -> PyResult<Verify> {
    match word {
        "full" => Ok(Verify::Full),
        "no-hostname" => Ok(Verify::NoHostname),
        "none" => Ok(Verify::None),
        other => Err(PyValueError::new_err(format!(
            "verify must be full, no-hostname or none, not {other:?}"
        ))),
    }
}
