//! What a link is told: where the server is, who we are, and the bounds it works within.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admission::Admission;
use crate::error::NetError;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP address; the host is a name or an IP address.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix domain socket.
    Unix {
        /// Path of the socket.
        path: PathBuf,
    },
}

impl Endpoint {
    /// The name a certificate has to carry; empty for a Unix socket.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix { .. } => "",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How much of the server's certificate is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verify {
    /// The chain and the name.
    #[default]
    Full,
    /// The chain only.
    NoHostname,
    /// Nothing: encryption without authentication.
    None,
}

/// TLS to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsConfig {
    /// What is checked.
    pub verify: Verify,
    /// Name to ask for and to check; the endpoint's host when absent.
    pub server_name: Option<String>,
    /// Roots in a PEM file, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Roots as PEM text, instead of the system's.
    pub ca_data: Option<Vec<u8>>,
    /// Our certificate chain, a PEM file.
    pub cert_file: Option<PathBuf>,
    /// Our private key, a PEM file; the certificate's own file when absent.
    pub key_file: Option<PathBuf>,
}

/// Asked for user and password at every connect, on the link's thread.
pub trait Credentials: Send + Sync {
    /// `None` when the server wants none; the user is `None` for the default user.
    #[allow(clippy::type_complexity)] // a pair in an option in a result, used in one place
    fn get(&self) -> Result<Option<(Option<String>, Vec<u8>)>, NetError>;
}

/// What the server is asked to remember of our reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tracking {
    /// Every key this link reads.
    #[default]
    Default,
    /// Only keys announced by `CLIENT CACHING YES`: one more command a read, no gain unless the
    /// connection is shared with other traffic.
    OptIn,
    /// Nothing: the server tells every change under these prefixes, read or not. Empty: every key.
    Broadcast(Vec<Vec<u8>>),
}

/// What a link may read before it is asked for.
#[derive(Clone, Debug)]
pub struct AheadConfig {
    /// Reads sent ahead per read that no hit answered, at most; 0: nothing is sent, all is scored.
    pub reads_a_miss: f64,
    /// Which keys.
    pub admission: Arc<Admission>,
}

/// Everything a link needs to know.
#[derive(Clone)]
pub struct LinkConfig {
    /// Where the server is.
    pub endpoint: Endpoint,
    /// TLS, if any.
    pub tls: Option<TlsConfig>,
    /// User and password, if any.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// Database number.
    pub db: u32,
    /// Name shown in `CLIENT LIST`; characters the server refuses are replaced.
    pub client_name: String,
    /// Mode of client tracking.
    pub tracking: Tracking,
    /// No entry is served this long after the feed was last proven alive.
    pub max_staleness_ms: u64,
    /// No entry is served longer than this after it was read.
    pub max_age_ms: u64,
    /// Name lookup excluded: connect, TLS and handshake together.
    pub connect_timeout_ms: u64,
    /// A read not answered in this time is given back to the caller, and so are all that follow
    /// until the server answers again.
    pub reply_timeout_ms: u64,
    /// Commands sent and not yet answered.
    pub max_in_flight: usize,
    /// Replies longer than this are neither stored nor kept; the caller asks for itself.
    pub max_value_bytes: usize,
    /// Stop asking for the TTL under prefixes that never have one.
    pub learn_ttl: bool,
    /// What is read ahead of the application; None: nothing.
    pub ahead: Option<AheadConfig>,
    /// A thread of the link that panics ends the process. By default it ends the link: the process
    /// is somebody else's.
    pub panic_ends_process: bool,
}

/// Default of `reply_timeout_ms`.
pub const REPLY_TIMEOUT_MS: u64 = 500;
/// Default of `connect_timeout_ms`.
pub const CONNECT_TIMEOUT_MS: u64 = 1_000;
/// Default of `max_in_flight`.
pub const MAX_IN_FLIGHT: usize = 4_096;
/// Default of `max_value_bytes`.
pub const MAX_VALUE_BYTES: usize = 8 << 20;

impl LinkConfig {
    /// The defaults towards `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            tls: None,
            credentials: None,
            db: 0,
            client_name: "cachee".to_owned(),
            tracking: Tracking::Default,
            max_staleness_ms: 1_000,
            max_age_ms: 60_000,
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            reply_timeout_ms: REPLY_TIMEOUT_MS,
            max_in_flight: MAX_IN_FLIGHT,
            max_value_bytes: MAX_VALUE_BYTES,
            learn_ttl: false,
            ahead: None,
            panic_ends_process: false,
        }
    }
}
