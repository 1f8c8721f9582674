//! What a proxy is told.

use std::fmt;
use std::path::PathBuf;

use crate::config::{Endpoint, LinkConfig};
use crate::record::RecordConfig;

/// Where clients are listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Address; port 0 lets the system choose.
    pub endpoint: Endpoint,
    /// TLS is spoken on it.
    pub tls: bool,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "tcp" };
        match &self.endpoint {
            Endpoint::Tcp { .. } => write!(f, "{scheme}://{}", self.endpoint),
            Endpoint::Unix { .. } => write!(f, "{}", self.endpoint),
        }
    }
}

/// The listener's side of TLS; PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenTls {
    /// Our certificate chain.
    pub cert_file: PathBuf,
    /// Our private key; the certificate's own file when absent.
    pub key_file: Option<PathBuf>,
    /// Clients must show a certificate of these authorities.
    pub client_ca_file: Option<PathBuf>,
}

/// What kind of thing the upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// The one server of `ProxyConfig::link`.
    One,
    /// A primary that sentinels name.
    Sentinel {
        /// Where to ask.
        sentinels: Vec<Endpoint>,
        /// Under which name.
        master: String,
    },
    /// A cluster; these nodes are asked for the slot table.
    Cluster {
        /// Where to ask.
        seeds: Vec<Endpoint>,
    },
}

/// What the L1 does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Serves.
    #[default]
    On,
    /// Loads and counts what would have been served; the server is always asked.
    Observe,
    /// Passes everything through.
    Off,
}

/// User and password that the proxy itself was given for the upstream.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// None: the default user.
    pub user: Option<String>,
    /// Never printed.
    pub password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The ceilings of one client, and of all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; one more is refused in the server's words.
    pub clients: usize,
    /// Bytes of a command that are held while it is incomplete.
    pub query_buffer_bytes: usize,
    /// The same before the upstream has accepted the client.
    pub query_buffer_unauthenticated_bytes: usize,
    /// Reply bytes held for a client that does not read; its upstream is not read beyond.
    pub output_buffer_bytes: usize,
    /// Commands of one client that are not answered yet.
    pub pipeline: usize,
    /// Longest argument.
    pub bulk_bytes: usize,
    /// Most arguments.
    pub args: usize,
    /// Most arguments before the upstream has accepted the client.
    pub args_unauthenticated: usize,
    /// Longest argument before that.
    pub bulk_unauthenticated_bytes: usize,
    /// A client silent for this long is closed; 0: never.
    pub idle_timeout_ms: u64,
    /// A client that takes nothing for this long while replies wait is closed.
    pub write_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 10_000,
            query_buffer_bytes: 1 << 30,
            query_buffer_unauthenticated_bytes: 64 << 10,
            output_buffer_bytes: 32 << 20,
            pipeline: 1_024,
            bulk_bytes: 512 << 20,
            args: i32::MAX as usize,
            args_unauthenticated: 10,
            bulk_unauthenticated_bytes: 16 << 10,
            idle_timeout_ms: 0,
            write_timeout_ms: 60_000,
        }
    }
}

/// Everything a proxy is told.
#[derive(Clone)]
pub struct ProxyConfig {
    /// Where clients are listened for.
    pub listen: Vec<ListenAddress>,
    /// TLS of the listeners that speak it.
    pub listen_tls: Option<ListenTls>,
    /// What the upstream is.
    pub topology: Topology,
    /// Address, TLS, database and bounds of every link; credentials are those of the clients.
    pub link: LinkConfig,
    /// With which every client's upstream connection begins.
    pub login: Option<Login>,
    /// What the L1 does.
    pub mode: Mode,
    /// Bytes of the L1.
    pub max_memory_bytes: usize,
    /// Event loops; clients are spread over them.
    pub threads: usize,
    /// Keys that may be cached.
    pub include: Vec<Vec<u8>>,
    /// Keys that are not cached.
    pub exclude: Vec<Vec<u8>>,
    /// Prefixes whose keys are cached or not whatever the lists say; the longest wins.
    pub overrides: Vec<(Vec<u8>, bool)>,
    /// The ceilings, which may be changed while running.
    pub limits: Limits,
    /// Where what is asked for is written down.
    pub record: Option<RecordConfig>,
}

impl ProxyConfig {
    /// One server, the defaults.
    pub fn new(listen: Vec<ListenAddress>, upstream: Endpoint) -> Self {
        Self {
            listen,
            listen_tls: None,
            topology: Topology::One,
            link: LinkConfig {
                client_name: "cachee-proxy".to_owned(),
                ..LinkConfig::new(upstream)
            },
            login: None,
            mode: Mode::On,
            max_memory_bytes: 256 << 20,
            threads: std::thread::available_parallelism()
                .map_or(1, |cores| cores.get().div_ceil(2)),
            include: vec![b"*".to_vec()],
            exclude: Vec::new(),
            overrides: Vec::new(),
            limits: Limits::default(),
            record: None,
        }
    }
}
