//! A real server, started for one test: `CACHEE_TEST_VALKEY` is the path of `valkey-server`.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Client, LIMIT};
use cachee_net::{Endpoint, LinkConfig};

pub struct Valkey {
    child: Child,
    pub port: u16,
    pub socket: PathBuf,
}

impl Valkey {
    /// `None`, with a line saying so, when no server is named.
    pub fn start(options: &[&str]) -> Option<Self> {
        let Some(path) = std::env::var_os("CACHEE_TEST_VALKEY") else {
            eprintln!("skipped: CACHEE_TEST_VALKEY does not name a valkey-server");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let socket = std::env::temp_dir().join(format!("cachee-{}-{port}", std::process::id()));
        let child = Command::new(path)
            .args(["--save", "", "--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--unixsocket", &socket.to_string_lossy()])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("CACHEE_TEST_VALKEY can be started");
        let server = Self { child, port, socket };
        let start = std::time::Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() || !server.socket.exists() {
            assert!(start.elapsed() < LIMIT, "the server does not start");
            std::thread::yield_now();
        }
        Some(server)
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: self.port }
    }

    pub fn open(&self, configure: impl FnOnce(&mut LinkConfig)) -> Client {
        let client = Client::open(self.endpoint(), configure);
        client.until_ready();
        client
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
