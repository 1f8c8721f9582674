//! Against a real server, started here: `CACHEE_TEST_VALKEY` is the path of `valkey-server`.

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachee_net::load::{self, LoadConfig, Operation, Workload};
use cachee_net::{Effect, Endpoint, LinkStatus, Outcome, Tracking};
use support::valkey::Valkey;
use support::{Client, bulk};

impl Valkey {
    fn writer(&self) -> Writer {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Writer { stream: BufReader::new(stream) }
    }
}

/// Somebody else's connection.
struct Writer {
    stream: BufReader<TcpStream>,
}

impl Writer {
    /// Runs one inline command whose reply is a line or a short bulk string.
    fn run(&mut self, line: &str) -> String {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut reply = String::new();
        self.stream.read_line(&mut reply).unwrap();
        if reply.starts_with('$') && reply != "$-1\r\n" {
            self.stream.read_line(&mut reply).unwrap();
        }
        reply
    }
}

fn get(client: &Client, line: &str) -> String {
    for _ in 0..100 {
        if let Some(value) = client.hit(line) {
            return value;
        }
        match client.wait(line) {
            Outcome::Reply(frame) => return support::text(&frame),
            Outcome::Present => {}
            Outcome::Bypass(reason) => panic!("{line}: {reason:?}"),
        }
    }
    panic!("{line}: neither present nor absent");
}

#[test]
fn foreign_writes_of_every_kind_are_seen() {
    let Some(server) = Valkey::start(&[]) else { return };
    let client = server.open(|_| {});
    let mut writer = server.writer();
    assert_eq!(get(&client, "GET k"), "_\r\n");
    assert!(client.hit("GET k").is_some(), "nil is remembered");
    for write in [
        "SET k 1",
        "APPEND k 2",
        "EXPIRE k 1000",
        "PERSIST k",
        "RENAME k j",
        "RENAME j k",
        "EVAL \"return redis.call('SET','k','x')\" 0",
        "GETDEL k",
        "RESTORE k 0 x",
        "SET k 2",
        "FLUSHDB",
    ] {
        get(&client, "GET k");
        client.until("stored", || client.hit("GET k").is_some());
        let reply = writer.run(write);
        if reply.starts_with('-') {
            continue; // RESTORE of nonsense changes nothing
        }
        client.until(write, || client.hit("GET k").is_none());
    }
}

#[test]
fn every_cacheable_command_is_understood() {
    let Some(server) = Valkey::start(&[]) else { return };
    let client = server.open(|_| {});
    let mut writer = server.writer();
    for line in [
        "SET s hello",
        "HSET h a 1 b 2",
        "SADD set a b",
        "ZADD z 1 a 2.5 b",
        "RPUSH l a b c",
        "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
        "XADD x 1-1 f v",
    ] {
        assert!(!writer.run(line).starts_with('-'), "{line}");
    }
    for line in [
        "GET s",
        "STRLEN s",
        "GETRANGE s 0 2",
        "SUBSTR s 0 2",
        "GETBIT s 1",
        "BITCOUNT s",
        "BITPOS s 1",
        "BITFIELD_RO s GET u8 0",
        "EXISTS s",
        "TYPE s",
        "HGET h a",
        "HMGET h a x",
        "HGETALL h",
        "HKEYS h",
        "HVALS h",
        "HLEN h",
        "HEXISTS h a",
        "HSTRLEN h a",
        "SMEMBERS set",
        "SISMEMBER set a",
        "SMISMEMBER set a x",
        "SCARD set",
        "ZRANGE z 0 -1 WITHSCORES",
        "ZREVRANGE z 0 -1",
        "ZRANGEBYSCORE z 0 9 WITHSCORES",
        "ZREVRANGEBYSCORE z 9 0",
        "ZRANGEBYLEX z - +",
        "ZREVRANGEBYLEX z + -",
        "ZSCORE z a",
        "ZMSCORE z a x",
        "ZRANK z b",
        "ZREVRANK z b",
        "ZCARD z",
        "ZCOUNT z 0 9",
        "ZLEXCOUNT z - +",
        "LRANGE l 0 -1",
        "LLEN l",
        "LINDEX l 0",
        "LPOS l b",
        "GEOPOS g Palermo",
        "GEODIST g Palermo Catania",
        "GEOHASH g Palermo",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 200 km ASC",
        "GEORADIUS_RO g 15 37 200 km",
        "GEORADIUSBYMEMBER_RO g Palermo 200 km",
        "XLEN x",
        "XRANGE x - +",
        "XREVRANGE x + -",
    ] {
        let reply = get(&client, line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        assert_eq!(client.hit(line).as_ref(), Some(&reply), "{line}");
        let missing = line.replacen(line.split(' ').nth(1).unwrap(), "missing", 1);
        let reply = get(&client, &missing);
        // Which of its answers means absence depends on what bit was asked for.
        let expected = (!line.starts_with("BITPOS")).then_some(reply);
        assert_eq!(client.hit(&missing), expected, "{missing}");
    }
}

#[test]
fn the_servers_own_description_of_its_commands_is_read() {
    let Some(server) = Valkey::start(&[]) else { return };
    let client = server.open(|_| {});
    let table = client.link.commands().expect("allowed by default");
    assert!(table.len() > 300);
    assert_eq!(table.effect(&[b"mset", b"a", b"1", b"b", b"2"]), Effect::Writes(vec![b"a", b"b"]));
}

#[test]
fn users_databases_sockets_and_modes() {
    let Some(server) = Valkey::start(&["--requirepass", "secret"]) else { return };
    struct Password(&'static str);
    impl cachee_net::Credentials for Password {
        fn get(&self) -> Result<Option<(Option<String>, Vec<u8>)>, cachee_net::NetError> {
            Ok(Some((None, self.0.as_bytes().to_vec())))
        }
    }
    let mut writer = server.writer();
    writer.run("AUTH secret");
    writer.run("SELECT 3");
    writer.run("SET p:k three");
    for tracking in [Tracking::Default, Tracking::OptIn, Tracking::Broadcast(vec![b"p:".to_vec()])]
    {
        let endpoint = Endpoint::Unix { path: server.socket.clone() };
        let client = Client::open(endpoint, |config| {
            config.credentials = Some(std::sync::Arc::new(Password("secret")));
            config.db = 3;
            config.tracking = tracking.clone();
        });
        client.until_ready();
        assert_eq!(get(&client, "GET p:k"), bulk("three"), "{tracking:?}");
        assert_eq!(client.hit("GET p:k"), Some(bulk("three")));
        writer.run("SET p:k three");
        client.until("invalidated", || client.hit("GET p:k").is_none());
    }
    let wrong = Client::open(server.endpoint(), |config| {
        config.credentials = Some(std::sync::Arc::new(Password("wrong")));
    });
    let status = wrong.link.wait_settled(support::LIMIT);
    assert!(matches!(status, LinkStatus::Unsupported { .. }), "{status:?}");
}

#[test]
fn an_entry_is_gone_when_its_key_expires() {
    let Some(server) = Valkey::start(&[]) else { return };
    let client = server.open(|_| {});
    let mut writer = server.writer();
    writer.run("SET k v PX 150");
    let ends_ms = cachee_net::clock::now_ms() + 150;
    assert_eq!(get(&client, "GET k"), bulk("v"));
    loop {
        let asked_ms = cachee_net::clock::now_ms();
        if client.hit("GET k").is_none() {
            break;
        }
        assert!(asked_ms <= ends_ms, "served {} ms too long", asked_ms - ends_ms);
    }
    client.until("gone", || get(&client, "GET k") == "_\r\n");
}

#[test]
fn a_killed_connection_comes_back_with_nothing_old() {
    let Some(server) = Valkey::start(&[]) else { return };
    let client = server.open(|_| {});
    let mut writer = server.writer();
    writer.run("SET k old");
    get(&client, "GET k");
    let connects = client.link.statistics().connects;
    writer.run("CLIENT KILL TYPE normal");
    writer.run("SET k new");
    client.until("reconnected", || client.link.statistics().connects > connects);
    client.until_ready();
    assert_eq!(get(&client, "GET k"), bulk("new"));
}

/// Threads read through one link while others write with versions: no reader ever sees a version
/// go back further than the bound allows, which over loopback means: not after a barrier.
#[test]
fn under_load_no_reader_goes_back_and_a_barrier_shows_every_write() {
    let Some(server) = Valkey::start(&[]) else { return };
    let client = server.open(|config| config.max_staleness_ms = 1_000);
    const KEYS: usize = 16;
    const ROUNDS: usize = 400;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen: HashMap<usize, u64> = HashMap::new();
                let mut at = 0;
                while !is_over.load(Ordering::Relaxed) {
                    at = (at + 7) % KEYS;
                    let line = format!("GET key:{at}");
                    let value = match client.hit(&line) {
                        Some(value) => value,
                        None => match client.wait(&line) {
                            Outcome::Reply(frame) => support::text(&frame),
                            _ => continue,
                        },
                    };
                    let version = version(&value);
                    let last = seen.insert(at, version).unwrap_or(0);
                    assert!(version >= last, "key:{at} went from {last} to {version}");
                }
            });
        }
        let mut writer = server.writer();
        for round in 1..=ROUNDS {
            let at = round % KEYS;
            // As a script with keys nobody declared: only the barrier makes it visible.
            writer.run(&format!("EVAL \"return redis.call('SET','key:{at}','{round}').ok\" 0"));
            client.link.barrier();
            let line = format!("GET key:{at}");
            let value = match client.hit(&line) {
                Some(value) => value,
                None => match client.wait(&line) {
                    Outcome::Reply(frame) => support::text(&frame),
                    _ => continue,
                },
            };
            assert_eq!(version(&value), round as u64, "the writer's own read");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(client.link.statistics().connects, 1);
}

/// A lost wake-up would leave the callback waiting: nobody else reads after the blocked caller.
#[test]
fn callers_that_read_the_socket_leave_nothing_unread() {
    let Some(server) = Valkey::start(&[]) else { return };
    let client = server.open(|_| {});
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..1_000 {
                start.wait();
                client.wait(&format!("GET blocked:{round}"));
            }
        });
        for round in 0..1_000 {
            start.wait();
            let callback = client.submit(&format!("GET callback:{round}"));
            support::reply_of(&callback);
        }
    });
}

fn version(frame: &str) -> u64 {
    frame.split("\r\n").nth(1).and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[test]
fn a_load_is_answered_directly_and_through_a_relay() {
    let Some(server) = Valkey::start(&["--requirepass", "secret"]) else { return };
    let mut writer = server.writer();
    writer.run("AUTH secret");
    for index in 0..100 {
        writer.run(&format!("SET {} v", String::from_utf8(load::key("bench:", index)).unwrap()));
    }
    let listen = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let upstream = Endpoint::Unix { path: server.socket.clone() };
    let relay = load::Relay::bind(&listen, upstream, Duration::from_millis(1)).unwrap();
    let relayed = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: relay.port().unwrap() };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| relay.serve(&mut || is_over.load(Ordering::Relaxed)).unwrap());
        for (operation, rate_per_s, endpoint) in [
            (Operation::Get, None, server.endpoint()),
            (Operation::Set, None, Endpoint::Unix { path: server.socket.clone() }),
            (Operation::Missing, Some(2_000.0), server.endpoint()),
            (Operation::Mget { keys: 10 }, None, relayed.clone()),
            (Operation::Mixed { read_share: 0.5 }, Some(2_000.0), relayed),
        ] {
            let is_relayed = endpoint != server.endpoint() && operation != Operation::Set;
            let mut config = LoadConfig {
                endpoint,
                password: Some(b"secret".to_vec()),
                threads: 2,
                connections: 5,
                pipeline: 8,
                duration: Duration::from_millis(200),
                rate_per_s,
                workload: Workload { operation, keys: 100, ..Workload::default() },
            };
            let found = load::run(&config, &mut || false).unwrap();
            assert_eq!((found.errors, found.unanswered), (0, 0), "{operation:?}");
            assert_eq!(found.nils > 0, operation == Operation::Missing, "{operation:?}");
            assert!(found.operations >= 40 && found.bytes_received > 0, "{operation:?}");
            assert!(!is_relayed || found.latency_us_p50 >= 2_000.0, "{operation:?}: {found:?}");
            if rate_per_s.is_some() {
                assert!((350..=450).contains(&found.operations), "{operation:?}: {found:?}");
            }
            config.password = None;
            assert!(load::run(&config, &mut || false).is_err(), "who is not let in is told");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
