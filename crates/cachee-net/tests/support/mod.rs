//! A scripted server: exact bytes in exact order, no sleeps; and a link that talks to it.

#![allow(dead_code)] // every test file uses its own part of this

pub mod valkey;

use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use cachee_core::{EntryRef, Store, StoreConfig, Weigh};
use cachee_net::{
    AheadConfig, Endpoint, Link, LinkConfig, LinkStatus, LinkValue, Outcome, Read, Request,
    cacheable, clock,
};

/// Only reached when a test is about to fail.
pub const LIMIT: Duration = Duration::from_secs(10);

pub const HELLO_VALKEY: &str =
    "%2\r\n$6\r\nserver\r\n$6\r\nvalkey\r\n$7\r\nversion\r\n$5\r\n8.1.8\r\n";
pub const HELLO_REDIS_8: &str =
    "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n8.0.0\r\n";
pub const TRACKED: &str = "%1\r\n$5\r\nflags\r\n~1\r\n$2\r\non\r\n";

/// The value the tests store: the reply itself.
pub struct Raw(pub Arc<[u8]>);

impl Weigh for Raw {
    fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }
}

/// A reply that the link's thread does not survive.
pub const PANICS: &str = "$6\r\npanics\r\n";

impl LinkValue for Raw {
    fn from_reply(frame: Arc<[u8]>) -> Self {
        assert_ne!(&frame[..], PANICS.as_bytes(), "a planted panic");
        Self(frame)
    }
}

/// Listens, and accepts one connection after another when told to.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    pub fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    pub fn endpoint(&self) -> Endpoint {
        let address = self.listener.local_addr().unwrap();
        Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: address.port() }
    }

    pub fn accept(&self) -> Session {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Session { reader: BufReader::new(stream) }
    }

    /// Accepts and answers a handshake in default mode.
    pub fn accept_tracked(&self, hello: &str) -> Session {
        let mut session = self.accept();
        session.shake_hands(hello);
        session
    }
}

/// The server's side of one connection.
pub struct Session {
    reader: BufReader<TcpStream>,
}

impl Session {
    /// The next command, as text.
    pub fn command(&mut self) -> Vec<String> {
        self.try_command().expect("a command within the time limit")
    }

    pub fn try_command(&mut self) -> Option<Vec<String>> {
        let count = self.header()?;
        (0..count)
            .map(|_| {
                let length = self.header()?;
                let mut bytes = vec![0; length + 2];
                self.reader.read_exact(&mut bytes).ok()?;
                bytes.truncate(length);
                Some(String::from_utf8_lossy(&bytes).into_owned())
            })
            .collect()
    }

    fn header(&mut self) -> Option<usize> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        line.trim_end().get(1..)?.parse().ok()
    }

    /// The next commands are exactly these.
    pub fn expect(&mut self, commands: &[&str]) {
        for expected in commands {
            assert_eq!(self.command().join(" "), *expected);
        }
    }

    pub fn send(&mut self, bytes: &str) {
        self.reader.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    /// As `send`, on a connection that may be gone.
    pub fn try_send(&mut self, bytes: &str) {
        let _ = self.reader.get_mut().write_all(bytes.as_bytes());
    }

    pub fn shake_hands(&mut self, hello: &str) {
        self.track(hello);
        self.after_tracking();
    }

    fn track(&mut self, hello: &str) {
        assert_eq!(self.command()[..2], ["HELLO", "3"]);
        self.send(hello);
        self.expect(&["CLIENT TRACKING ON", "CLIENT TRACKINGINFO"]);
        self.send("+OK\r\n");
        self.send(TRACKED);
    }

    /// A handshake after which the link itself sends these at once.
    pub fn shake_hands_before(&mut self, hello: &str, commands: &[&str]) {
        self.track(hello);
        let mut first = self.command().join(" ");
        if first == "COMMAND" {
            self.send("-NOPERM no\r\n");
            first = self.command().join(" ");
        }
        assert_eq!(first, commands[0]);
        self.expect(&commands[1..]);
    }

    /// The command table is asked for once a server version.
    pub fn after_tracking(&mut self) {
        self.reader.get_ref().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let is_asked = self.reader.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.reader.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
        if is_asked {
            self.expect(&["COMMAND"]);
            self.send("-NOPERM no\r\n");
        }
    }

    /// Expects a `GET` with its `PTTL` and answers both.
    pub fn answer_get(&mut self, key: &str, value: &str, ttl: i64) {
        self.expect(&[&format!("GET {key}"), &format!("PTTL {key}")]);
        self.send(&format!("{}:{ttl}\r\n", bulk(value)));
    }
}

pub fn with_prefetch(config: &mut LinkConfig) {
    config.ahead = Some(AheadConfig { reads_a_miss: 1.0, admission: Arc::default() });
}

pub fn bulk(value: &str) -> String {
    format!("${}\r\n{value}\r\n", value.len())
}

pub fn invalidate(keys: &[&str]) -> String {
    let keys: String = keys.iter().map(|key| bulk(key)).collect();
    let count = keys.matches("\r\n$").count() + usize::from(!keys.is_empty());
    format!(">2\r\n$10\r\ninvalidate\r\n*{count}\r\n{keys}")
}

pub const INVALIDATE_ALL: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// A link and its store.
pub struct Client {
    pub store: Arc<Store<Raw>>,
    pub link: Arc<Link<Raw>>,
}

impl Client {
    pub fn open(endpoint: Endpoint, configure: impl FnOnce(&mut LinkConfig)) -> Self {
        let store =
            Arc::new(Store::new(StoreConfig { capacity_bytes: 64 << 20, shards: 4, seed: 7 }));
        let mut config = LinkConfig::new(endpoint);
        // Long enough that nothing ends by time unless a test wants it.
        config.max_staleness_ms = 60_000;
        config.reply_timeout_ms = 30_000;
        config.connect_timeout_ms = 5_000;
        configure(&mut config);
        let link = Link::open(config, Arc::clone(&store)).unwrap();
        Self { store, link }
    }

    /// Connected to a fresh scripted server.
    pub fn connected(configure: impl FnOnce(&mut LinkConfig)) -> (Self, Session, Server) {
        Self::connected_to(HELLO_VALKEY, configure)
    }

    pub fn connected_to(
        hello: &str,
        configure: impl FnOnce(&mut LinkConfig),
    ) -> (Self, Session, Server) {
        let server = Server::new();
        let client = Self::open(server.endpoint(), configure);
        let session = server.accept_tracked(hello);
        client.until_ready();
        (client, session, server)
    }

    pub fn until_ready(&self) {
        self.until("ready", || matches!(self.link.status(), LinkStatus::Ready { .. }));
    }

    /// Waits for something that happens on another thread and has no other sign.
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < LIMIT, "{what}: {:?}", self.link.status());
            std::thread::yield_now();
        }
    }

    pub fn request<R>(&self, line: &str, run: impl FnOnce(&Request<'_>) -> R) -> R {
        let command: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let shape = cacheable(&command).expect("cacheable").shape;
        let mut args = Vec::new();
        cachee_net::cacheable::encode_args(&command, &mut args);
        let key = command[1];
        let key_hash = self.store.key_hash(key);
        run(&Request { shape, key, key_hash, args: &args, command: &command, flow: Some(1) })
    }

    pub fn start(&self, line: &str) -> (Read, Receiver<Outcome>) {
        let (sender, receiver) = channel();
        let waiter = Box::new(move |outcome| sender.send(outcome).unwrap_or(()));
        (self.request(line, |request| self.link.read(request, waiter)), receiver)
    }

    /// A read that goes upstream.
    pub fn submit(&self, line: &str) -> Receiver<Outcome> {
        let (read, receiver) = self.start(line);
        assert_eq!(read, Read::Submitted, "{line}");
        receiver
    }

    pub fn read(&self, line: &str) -> Read {
        self.start(line).0
    }

    pub fn wait(&self, line: &str) -> Outcome {
        self.request(line, |request| self.link.read_wait(request, &mut || false))
    }

    fn find(&self, line: &str, scope: u32) -> Option<String> {
        self.request(line, |request| {
            let id = EntryRef {
                scope,
                shape: request.shape,
                key: request.key,
                args: request.args,
                key_hash: request.key_hash,
            };
            self.store.with_hit(&id, clock::coarse_ms(), |value, _| text(&value.0))
        })
    }

    /// What a hit would serve now.
    pub fn hit(&self, line: &str) -> Option<String> {
        let scope = self.link.gate().open_scope(clock::coarse_ms())?;
        self.find(line, scope)
    }

    /// What is stored in the present scope, served or not.
    pub fn stored(&self, line: &str) -> Option<String> {
        self.find(line, self.link.gate().scope())
    }

    pub fn dep(&self, key: &str) -> u64 {
        self.store.key_hash(key.as_bytes())
    }

    /// Loads a key and waits until it is stored.
    pub fn load(&self, session: &mut Session, key: &str, value: &str) {
        let reply = self.submit(&format!("GET {key}"));
        session.answer_get(key, value, -1);
        assert_eq!(reply_of(&reply), bulk(value));
    }

    /// Returns when everything sent before is applied.
    pub fn fence(&self, session: &mut Session) {
        let reply = self.submit("STRLEN fence");
        session.expect(&["STRLEN fence", "PTTL fence"]);
        session.send(&invalidate(&["fence"]));
        session.send(&format!(":1\r\n{}:-1\r\n", invalidate(&["fence"])));
        assert_eq!(reply_of(&reply), ":1\r\n");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.link.close();
        self.store.validate();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn outcome(receiver: &Receiver<Outcome>) -> Outcome {
    receiver.recv_timeout(LIMIT).expect("an end")
}

pub fn reply_of(receiver: &Receiver<Outcome>) -> String {
    match outcome(receiver) {
        Outcome::Reply(frame) => text(&frame),
        other => panic!("{other:?}"),
    }
}
