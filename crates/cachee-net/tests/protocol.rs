//! What the proxy reads and writes itself, beside a real server: `CACHEE_TEST_VALKEY` names it.

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use cachee_net::cacheable;
use cachee_net::cacheable::{command_name, spec};
use cachee_net::proxy::request::{Limits, Parsed, RequestParser, UnauthenticatedLimits};
use cachee_net::proxy::resp2::write_resp2;
use cachee_net::resp::{Scan, Scanner, command_bytes, encode_command};
use support::valkey::Valkey;

/// Everything the server says to these bytes and their end.
fn replies(server: &Valkey, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(&server.socket).unwrap();
    stream.set_read_timeout(Some(support::LIMIT)).unwrap();
    let mut replies = Vec::new();
    // A server that closes first has said what there is to say.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let _ = stream.read_to_end(&mut replies);
    replies
}

/// The commands in these bytes encoded anew, and the error reply at their end.
fn understood(bytes: &[u8], limits: &Limits) -> (Vec<u8>, Vec<u8>) {
    let mut parser = RequestParser::new();
    let (mut commands, mut error) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    loop {
        match parser.parse(rest, limits) {
            Parsed::Command { consumed } => {
                encode_command(&parser.args(rest).collect::<Vec<_>>(), &mut commands);
                rest = &rest[consumed..];
            }
            Parsed::Nothing { consumed } => rest = &rest[consumed..],
            Parsed::Incomplete => break,
            Parsed::Error(found) => {
                found.write_reply(&mut error);
                break;
            }
        }
    }
    (commands, error)
}

fn assert_understood(server: &Valkey, bytes: &[u8], limits: &Limits) {
    let (commands, error) = understood(bytes, limits);
    let expected = [replies(server, &commands), error].concat();
    let found = replies(server, bytes);
    assert!(
        found == expected,
        "{}\n  server: {}\n  parser: {}",
        bytes.escape_ascii(),
        found.escape_ascii(),
        expected.escape_ascii()
    );
}

/// Pieces that make whole commands, nearly whole ones and nonsense.
const PIECES: &[&[u8]] = &[
    b"*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n",
    b"*2\r\n",
    b"*1\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*01\r\n",
    b"$4\r\n",
    b"$1\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"ECHO ",
    b"PING",
    b"\"a\\x4\\x41\\n\\t\\q\"",
    b"'b\\'\\n'",
    b"\"",
    b"'",
    b"\\",
    b" ",
    b"\t\x0b",
    b"\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"x",
    b"\xfe",
    b"2147483648\r\n",
    b"99999999999999999999",
];

#[test]
fn requests_are_understood_as_the_server_does() {
    let Some(server) = Valkey::start(&[]) else { return };
    let limits = Limits::default();
    let mut random = 7_u64;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % limit
    };
    for _ in 0..5_000 {
        let pieces: Vec<&[u8]> = (0..=below(8)).map(|_| PIECES[below(PIECES.len())]).collect();
        let bytes = pieces.concat();
        if !has_blank_line(&bytes) {
            assert_understood(&server, &bytes, &limits);
        }
    }
}

/// Valkey 8.1 takes whatever follows a line of blanks for an inline command; Redis does not.
fn has_blank_line(bytes: &[u8]) -> bool {
    bytes.split(|&byte| byte == b'\n').any(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        !line.is_empty() && line.iter().all(|byte| b" \t\r\x0b".contains(byte))
    })
}

#[test]
fn strangers_may_send_as_little_as_the_server_lets_them() {
    let Some(server) = Valkey::start(&["--requirepass", "secret"]) else { return };
    let lower = UnauthenticatedLimits { max_bulk: 16384, max_args: 10 };
    let limits = Limits { unauthenticated: Some(lower), ..Limits::default() };
    for args in
        [&vec![&b"x"[..]; 10], &vec![b"x"; 11], &vec![&[b'x'; 16384]], &vec![&[b'x'; 16385]]]
    {
        assert_understood(&server, &command_bytes(args), &limits);
    }
    assert_understood(&server, b"*2147483648\r\n", &limits);
    assert_understood(&server, b"*1\r\n$536870913\r\n", &limits);
}

/// One connection, one command at a time.
struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(server: &Valkey) -> Self {
        let stream = UnixStream::connect(&server.socket).unwrap();
        stream.set_read_timeout(Some(support::LIMIT)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    fn ask(&mut self, args: &[&[u8]]) -> Vec<u8> {
        self.stream.write_all(&command_bytes(args)).unwrap();
        let mut scanner = Scanner::new();
        loop {
            if let Scan::Complete(length) = scanner.scan(&self.buffer).unwrap() {
                return self.buffer.drain(..length).collect();
            }
            let mut piece = [0; 16 << 10];
            let count = self.stream.read(&mut piece).unwrap();
            assert!(count > 0, "the server closed the connection");
            self.buffer.extend_from_slice(&piece[..count]);
        }
    }
}

const BINARY: &str = "a\r\n$-1\r\n\0b";

/// Commands by words; a tab stands for a space within a word, `@` for bytes that look like RESP.
fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.replace('@', BINARY).replace('\t', " ").into_bytes()).collect()
}

fn borrowed(words: &[Vec<u8>]) -> Vec<&[u8]> {
    words.iter().map(Vec::as_slice).collect()
}

const FILL: &[&str] = &[
    "SET s hello",
    "SET empty \t",
    "SETRANGE empty 0 ",
    "SET @ @",
    "SET number 12345678901234567890",
    "HSET h a 1 @ @ b ",
    "SADD set a b @",
    "SADD iset 1 2 -3",
    "ZADD z 1 a 2.5 b -inf c inf d 1e300 e 1e-300 f 0.1 g -0 h 3.0 i 12345678901234567890 j",
    "ZADD z -1.7976931348623157e308 k 5e-324 l 0.30000000000000004 m 100000000000000000000 @",
    "ZADD lex 0 a 0 b 0 c",
    "RPUSH l a b @ a",
    "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania 0 0 @ -179.9 -85 far",
    "XADD x 1-1 f v",
    "XADD x 1-2 f v @ @",
    "XADD x 2-1 f v",
    "XDEL x 2-1",
    "XADD xempty 1-1 f v",
    "XDEL xempty 1-1",
    "JSON.SET j $ {\"a\":[1,null,true]}",
];

const KEYS: &[&str] = &[
    "s", "empty", "@", "number", "h", "set", "iset", "z", "lex", "l", "g", "x", "xempty", "j", "no",
];

/// Each is asked of every key; `K` is its place.
const QUESTIONS: &[&str] = &[
    "BITCOUNT K",
    "BITCOUNT K 0 -1",
    "BITCOUNT K 0 -1 BIT",
    "BITFIELD_RO K",
    "BITFIELD_RO K GET u8 0 GET i64 3",
    "BITPOS K 1",
    "BITPOS K 0 0 -1 BIT",
    "EXISTS K",
    "GEODIST K Palermo Catania",
    "GEODIST K Palermo no km",
    "GEOHASH K",
    "GEOHASH K Palermo no @",
    "GEOPOS K",
    "GEOPOS K Palermo no @ far",
    "GEORADIUSBYMEMBER_RO K Palermo 200 km",
    "GEORADIUSBYMEMBER_RO K Palermo 200 km WITHDIST WITHCOORD WITHHASH ASC",
    "GEORADIUSBYMEMBER_RO K no 200 km",
    "GEORADIUS_RO K 15 37 200 km",
    "GEORADIUS_RO K 15 37 200 km WITHDIST WITHCOORD WITHHASH COUNT 1",
    "GEORADIUS_RO K 15 37 200 km WITHCOORD DESC",
    "GEORADIUS_RO K 99 37 1 m WITHHASH",
    "GEOSEARCH K FROMLONLAT 15 37 BYRADIUS 200 km ASC",
    "GEOSEARCH K FROMMEMBER Palermo BYBOX 9000 9000 km DESC WITHDIST WITHCOORD WITHHASH",
    "GEOSEARCH K FROMMEMBER Palermo BYBOX 9000 9000 km DESC WITHDIST",
    "GEOSEARCH K FROMMEMBER no BYBOX 9000 9000 km DESC WITHCOORD",
    "GET K",
    "GETBIT K 1",
    "GETRANGE K 0 2",
    "GETRANGE K 9 7",
    "HEXISTS K a",
    "HGET K a",
    "HGET K no",
    "HGETALL K",
    "HKEYS K",
    "HLEN K",
    "HMGET K a no @ b",
    "HSTRLEN K a",
    "HVALS K",
    "JSON.GET K",
    "JSON.GET K $",
    "JSON.GET K $.a[0] $.no",
    "JSON.GET K .no",
    "LINDEX K 0",
    "LINDEX K 99",
    "LLEN K",
    "LPOS K a",
    "LPOS K no",
    "LPOS K a COUNT 0",
    "LPOS K no COUNT 0 MAXLEN 2",
    "LPOS K a RANK -1",
    "LRANGE K 0 -1",
    "LRANGE K 7 3",
    "SCARD K",
    "SISMEMBER K a",
    "SMEMBERS K",
    "SMISMEMBER K a no",
    "STRLEN K",
    "SUBSTR K 0 2",
    "TYPE K",
    "XLEN K",
    "XRANGE K - +",
    "XRANGE K - + COUNT 1",
    "XRANGE K - + COUNT 0",
    "XRANGE K 5 7",
    "XREVRANGE K + -",
    "XREVRANGE K + - COUNT 0",
    "XREVRANGE K + - COUNT -1",
    "ZCARD K",
    "ZCOUNT K -inf +inf",
    "ZLEXCOUNT K - +",
    "ZMSCORE K a b c d e f g h i j k l m no @",
    "ZRANGE K 0 -1",
    "ZRANGE K 0 -1 WITHSCORES",
    "ZRANGE K 0 -1 REV WITHSCORES",
    "ZRANGE K 0 0 WITHSCORES",
    "ZRANGE K 0 1",
    "ZRANGE K 9 7 WITHSCORES",
    "ZRANGE K (1 +inf BYSCORE LIMIT 0 2 WITHSCORES",
    "ZRANGE K - [b BYLEX",
    "ZRANGE K - [b BYLEX WITHSCORES",
    "ZRANGEBYLEX K - + LIMIT 0 2",
    "ZRANGEBYSCORE K -inf +inf",
    "ZRANGEBYSCORE K -inf +inf WITHSCORES",
    "ZRANGEBYSCORE K 5 4 WITHSCORES LIMIT 0 1",
    "ZRANK K a",
    "ZRANK K no",
    "ZRANK K a WITHSCORE",
    "ZRANK K no WITHSCORE",
    "ZREVRANGE K 0 -1",
    "ZREVRANGE K 0 -1 WITHSCORES",
    "ZREVRANGEBYLEX K + -",
    "ZREVRANGEBYSCORE K +inf -inf WITHSCORES LIMIT 1 2",
    "ZREVRANK K a",
    "ZREVRANK K no",
    "ZREVRANK K a WITHSCORE",
    "ZREVRANK K no WITHSCORE",
    "ZSCORE K a",
    "ZSCORE K c",
    "ZSCORE K l",
    "ZSCORE K no",
];

#[test]
fn replies_are_what_a_resp2_client_is_sent() {
    let Some(server) = Valkey::start(&[]) else { return };
    let mut resp2 = Connection::open(&server);
    let mut resp3 = Connection::open(&server);
    assert!(resp3.ask(&[b"HELLO", b"3"]).starts_with(b"%"));
    for line in FILL {
        let reply = resp2.ask(&borrowed(&words(line)));
        assert!(reply[0] != b'-' || line.starts_with("JSON"), "{line}: {}", reply.escape_ascii());
    }
    let mut asked = BTreeSet::new();
    for question in QUESTIONS {
        for key in KEYS {
            let line = question.replace(" K", &format!(" {key}"));
            let command = words(&line);
            let args = borrowed(&command);
            let found = cacheable(&args).unwrap_or_else(|| panic!("{line} is cacheable"));
            asked.insert(command_name(found.shape));
            let expected = resp2.ask(&args);
            let frame = resp3.ask(&args);
            let mut written = Vec::new();
            assert!(write_resp2(&frame, found, args.len(), &mut written), "{line}");
            assert!(
                written == expected,
                "{line}\n  server: {}\n  written: {}\n  of: {}",
                expected.escape_ascii(),
                written.escape_ascii(),
                frame.escape_ascii()
            );
        }
    }
    let every: BTreeSet<&str> = (0..)
        .map_while(spec)
        .filter(|spec| spec.name == "JSON.GET" || !spec.name.starts_with("JSON."))
        .map(|spec| spec.name)
        .collect();
    assert_eq!(asked, every);
}
