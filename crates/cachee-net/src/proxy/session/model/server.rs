//! A server as far as a proxy can tell: every reply it sends is kept beside the connection, every
//! value a key has had is kept with its time, so that whatever a client is told can be judged.
//!
//! A key's first letter is its type: `s` string, `c` counter, `h` hash with the one field `f`,
//! `l` list. What it holds is one token (a list: its elements, joined), different from every other
//! token there ever was.

mod commands;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::mutation::Mutation;
use crate::proxy::request::{Limits, Parsed, RequestParser};
use crate::resp::header;

pub(super) type Key = (u32, Vec<u8>);

/// What a key held from some moment on.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    pub(super) value: Option<Vec<u8>>,
    pub(super) since_ms: u64,
    /// The value before it had a lifetime, which was over.
    pub(super) by_expiry: bool,
}

/// A reply the client must get, byte by byte, and what it says.
#[derive(Clone, Debug, Default)]
pub(super) struct Logged {
    pub(super) reply: Vec<u8>,
    pub(super) wrote: Vec<(Key, usize)>,
    pub(super) read: Vec<(Key, usize)>,
}

/// One connection.
#[derive(Default)]
pub(super) struct Conn {
    parser: RequestParser,
    inbound: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) log: VecDeque<Logged>,
    /// Messages and other pushes, in order.
    pub(super) pushed: VecDeque<Vec<u8>>,
    pub(super) is_link: bool,
    pub(super) is_closed: bool,
    pub(super) is_resp3: bool,
    pub(super) user: Option<&'static str>,
    pub(super) db: u32,
    /// Replies nobody outside the proxy sees.
    pub(super) silent: usize,
    multi: Option<Vec<Vec<Vec<u8>>>>,
    is_aborted: bool,
    watched: BTreeSet<Key>,
    is_dirty: bool,
    channels: BTreeSet<Vec<u8>>,
    pub(super) tracks: bool,
    blocked: Option<Key>,
    /// What the running command did.
    note: Logged,
    pub(super) executed_writes: usize,
}

pub(super) struct Server {
    pub(super) now_ms: u64,
    pub(super) conns: Vec<Conn>,
    data: BTreeMap<Key, (Vec<u8>, Option<u64>)>,
    pub(super) history: HashMap<Key, Vec<Epoch>>,
    tracked: HashMap<Vec<u8>, BTreeSet<usize>>,
    /// Pushes of expired keys that are late.
    late: Vec<Vec<u8>>,
    unique: u64,
    /// Commands of the proxy itself after a connect or `RESET`.
    pub(super) preamble: usize,
    pub(super) mutation: Option<Mutation>,
    pushes_after: Vec<(usize, Vec<u8>)>,
}

const WRONGTYPE: &[u8] = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

impl Server {
    pub(super) fn new(preamble: usize, mutation: Option<Mutation>) -> Self {
        Self {
            now_ms: 0,
            conns: Vec::new(),
            data: BTreeMap::new(),
            history: HashMap::new(),
            tracked: HashMap::new(),
            late: Vec::new(),
            unique: 1_000,
            preamble,
            mutation,
            pushes_after: Vec::new(),
        }
    }

    /// A connection of a client.
    pub(super) fn accept(&mut self) -> usize {
        self.conns.push(Conn { silent: self.preamble, ..Conn::default() });
        self.conns.len() - 1
    }

    /// A link's, its handshake done.
    pub(super) fn accept_link(&mut self, user: Option<&'static str>, db: u32) -> usize {
        let is_link = true;
        let conn = Conn { is_link, is_resp3: true, tracks: true, user, db, ..Conn::default() };
        self.conns.push(conn);
        self.conns.len() - 1
    }

    pub(super) fn close(&mut self, conn: usize) {
        self.cut(conn, 0);
    }

    /// Closes a connection of which so many bytes are still to arrive.
    pub(super) fn cut(&mut self, conn: usize, kept: usize) {
        let conn = &mut self.conns[conn];
        conn.is_closed = true;
        conn.channels.clear();
        conn.blocked = None;
        conn.out.truncate(kept);
        conn.inbound.clear();
    }

    pub(super) fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        let is_over = |until: &Option<u64>| until.is_some_and(|until_ms| until_ms <= now_ms);
        let ended: Vec<_> = self.data.iter().filter(|(_, (_, until))| is_over(until)).collect();
        let ended: Vec<(Key, u64)> =
            ended.iter().map(|(key, (_, until))| ((*key).clone(), until.unwrap_or(0))).collect();
        for (key, until_ms) in ended {
            self.data.remove(&key);
            let epoch = Epoch { value: None, since_ms: until_ms, by_expiry: true };
            self.epochs(&key).push(epoch);
            self.spoil_watches(&key);
            self.late.push(key.1);
        }
    }

    pub(super) fn push_late(&mut self) {
        for key in std::mem::take(&mut self.late) {
            self.announce(&key);
            self.send_pushes();
        }
    }

    pub(super) fn epochs(&mut self, key: &Key) -> &mut Vec<Epoch> {
        let first = || vec![Epoch { value: None, since_ms: 0, by_expiry: false }];
        self.history.entry(key.clone()).or_insert_with(first)
    }

    pub(super) fn value(&self, key: &Key) -> Option<&[u8]> {
        self.data.get(key).map(|(value, _)| value.as_slice())
    }

    pub(super) fn unique(&mut self) -> u64 {
        self.unique += 1;
        self.unique
    }

    fn spoil_watches(&mut self, key: &Key) {
        for conn in &mut self.conns {
            conn.is_dirty |= conn.watched.contains(key);
        }
    }

    fn announce(&mut self, key: &[u8]) {
        let mut push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n".to_vec();
        bulk(key, &mut push);
        for conn in self.tracked.remove(key).unwrap_or_default() {
            self.pushes_after.push((conn, push.clone()));
        }
    }

    fn send_pushes(&mut self) {
        for (at, push) in std::mem::take(&mut self.pushes_after) {
            let is_null = push.ends_with(b"_\r\n");
            let conn = &mut self.conns[at];
            if conn.is_closed || !conn.is_resp3 || !conn.tracks {
                continue;
            }
            let is_lost = match self.mutation {
                Some(Mutation::NullPushLost) => is_null,
                Some(Mutation::PushLost) => conn.is_link && !is_null,
                _ => false,
            };
            if is_lost {
                continue;
            }
            conn.out.extend_from_slice(&push);
            if !conn.is_link {
                conn.pushed.push_back(push);
            }
        }
    }

    /// The one way a value changes.
    fn set(&mut self, by: Option<usize>, key: &Key, value: Option<Vec<u8>>, until: Option<u64>) {
        let since_ms = self.now_ms;
        match value.clone() {
            Some(value) => self.data.insert(key.clone(), (value, until)),
            None => self.data.remove(key),
        };
        let epochs = self.epochs(key);
        epochs.push(Epoch { value, since_ms, by_expiry: false });
        let at = epochs.len() - 1;
        if let Some(by) = by {
            self.conns[by].note.wrote.push((key.clone(), at));
        }
        self.spoil_watches(key);
        self.announce(&key.1);
        if !key.1.starts_with(b"l") {
            return;
        }
        let waits = |conn: &Conn| conn.blocked.as_ref() == Some(key) && !conn.is_closed;
        while self.value(key).is_some()
            && let Some(at) = self.conns.iter().position(waits)
        {
            self.conns[at].blocked = None;
            let reply = self.pop(at, key);
            self.finish(at, &reply, false);
            let rest = std::mem::take(&mut self.conns[at].inbound);
            self.take(at, &rest);
        }
    }

    fn pop(&mut self, by: usize, key: &Key) -> Vec<u8> {
        let value = self.value(key).unwrap_or_default().to_vec();
        let mut elements: Vec<&[u8]> = value.split(|&byte| byte == b',').collect();
        let first = elements.remove(0);
        let rest = elements.join(&b","[..]);
        self.set(Some(by), key, (!rest.is_empty()).then_some(rest), None);
        let mut reply = b"*2\r\n".to_vec();
        bulk(&key.1, &mut reply);
        bulk(first, &mut reply);
        reply
    }

    /// Somebody who is not a client of the proxy.
    pub(super) fn write_outside(&mut self, key: &Key, is_delete: bool, life_ms: Option<u64>) {
        let token = self.unique().to_string().into_bytes();
        let until = life_ms.map(|life_ms| self.now_ms + life_ms);
        if !is_delete {
            self.set(None, key, Some(token), until);
        } else if self.value(key).is_some() {
            self.set(None, key, None, None);
        }
        self.send_pushes();
    }

    pub(super) fn flush(&mut self, by: Option<usize>) {
        let keys: Vec<Key> = self.data.keys().cloned().collect();
        self.tracked.clear();
        for key in keys {
            self.set(by, &key, None, None);
        }
        for conn in 0..self.conns.len() {
            let push = b">2\r\n$10\r\ninvalidate\r\n_\r\n".to_vec();
            self.pushes_after.push((conn, push));
        }
        if by.is_none() {
            self.send_pushes();
        }
    }

    /// Bytes of a connection.
    pub(super) fn take(&mut self, at: usize, bytes: &[u8]) {
        let conn = &mut self.conns[at];
        if conn.is_closed {
            return;
        }
        conn.inbound.extend_from_slice(bytes);
        while self.conns[at].blocked.is_none() {
            let conn = &mut self.conns[at];
            match conn.parser.parse(&conn.inbound, &Limits::default()) {
                Parsed::Command { consumed } => {
                    let words: Vec<Vec<u8>> =
                        conn.parser.args(&conn.inbound).map(<[u8]>::to_vec).collect();
                    conn.inbound.drain(..consumed);
                    self.run(at, &words);
                }
                Parsed::Nothing { consumed } => {
                    conn.inbound.drain(..consumed);
                }
                Parsed::Incomplete => break,
                Parsed::Error(error) => panic!("the proxy sent what is no command: {error}"),
            }
        }
    }

    /// Sends a reply, keeps it for the judge, and then the pushes it caused.
    fn finish(&mut self, at: usize, reply: &[u8], is_plain_read: bool) {
        let conn = &mut self.conns[at];
        let mut note = std::mem::take(&mut conn.note);
        conn.out.extend_from_slice(reply);
        if conn.silent > 0 {
            conn.silent -= 1;
        } else if !is_plain_read && !conn.is_link {
            note.reply = reply.to_vec();
            conn.log.push_back(note);
        }
        self.send_pushes();
    }

    fn run(&mut self, at: usize, words: &[Vec<u8>]) {
        let name = words[0].to_ascii_uppercase();
        let conn = &mut self.conns[at];
        if conn.multi.is_some()
            && !matches!(&name[..], b"EXEC" | b"DISCARD" | b"RESET" | b"WATCH" | b"MULTI" | b"QUIT")
        {
            let is_refused = refuses(conn.user, words);
            conn.is_aborted |= is_refused;
            let reply: &[u8] = if is_refused { NOPERM } else { b"+QUEUED\r\n" };
            if let (Some(multi), false) = (&mut conn.multi, is_refused) {
                multi.push(words.to_vec());
            }
            return self.finish(at, reply, false);
        }
        if !conn.is_resp3
            && !conn.channels.is_empty()
            && !matches!(&name[..], b"SUBSCRIBE" | b"UNSUBSCRIBE" | b"PING" | b"QUIT" | b"RESET")
        {
            return self.finish(at, b"-ERR Can't execute: only (P)SUBSCRIBE is allowed\r\n", false);
        }
        let is_plain = conn.watched.is_empty() && !conn.tracks && conn.channels.is_empty();
        let is_read =
            matches!(&name[..], b"GET" | b"MGET" | b"HGET" | b"HGETALL" | b"LRANGE" | b"STRLEN");
        match &name[..] {
            b"SUBSCRIBE" | b"UNSUBSCRIBE" => return self.subscribe(at, &name, &words[1..]),
            b"BLPOP" => {
                let key = (conn.db, words[1].clone());
                if self.value(&key).is_none() {
                    self.conns[at].blocked = Some(key);
                    return;
                }
                let reply = self.pop(at, &key);
                return self.finish(at, &reply, false);
            }
            _ => {}
        }
        let reply = self.execute(at, &name, words);
        self.finish(at, &reply, is_read && is_plain);
        if name == b"RESET" {
            self.conns[at].silent = self.preamble;
        }
        if name == b"QUIT" {
            self.conns[at].is_closed = true;
        }
    }

    fn subscribe(&mut self, at: usize, name: &[u8], channels: &[Vec<u8>]) {
        let is_subscribe = name == b"SUBSCRIBE";
        let mut channels = channels.to_vec();
        if channels.is_empty() {
            channels = self.conns[at].channels.iter().cloned().collect();
        }
        let names: Vec<Option<Vec<u8>>> =
            if channels.is_empty() { vec![None] } else { channels.into_iter().map(Some).collect() };
        for channel in names {
            let conn = &mut self.conns[at];
            let mut reply = if conn.is_resp3 { b">3\r\n".to_vec() } else { b"*3\r\n".to_vec() };
            bulk(&name.to_ascii_lowercase(), &mut reply);
            match channel {
                Some(channel) => {
                    bulk(&channel, &mut reply);
                    if is_subscribe {
                        conn.channels.insert(channel);
                    } else {
                        conn.channels.remove(&channel);
                    }
                }
                None => reply.extend_from_slice(null(conn.is_resp3)),
            }
            reply.extend_from_slice(format!(":{}\r\n", conn.channels.len()).as_bytes());
            self.finish(at, &reply, false);
        }
    }

    pub(super) fn publish(&mut self, channel: &[u8]) -> usize {
        let token = self.unique().to_string();
        let mut count = 0;
        for conn in &mut self.conns {
            if !conn.channels.contains(channel) {
                continue;
            }
            let mut message = if conn.is_resp3 { b">3\r\n".to_vec() } else { b"*3\r\n".to_vec() };
            bulk(b"message", &mut message);
            bulk(channel, &mut message);
            bulk(token.as_bytes(), &mut message);
            conn.out.extend_from_slice(&message);
            conn.pushed.push_back(message);
            count += 1;
        }
        count
    }

    fn note_read(&mut self, at: usize, key: &Key) {
        let epoch = self.epochs(key).len() - 1;
        self.conns[at].note.read.push((key.clone(), epoch));
    }

    fn read(&mut self, at: usize, key: &Key, kind: u8) -> Result<Option<Vec<u8>>, ()> {
        let conn = &self.conns[at];
        if conn.tracks && conn.is_resp3 {
            self.tracked.entry(key.1.clone()).or_default().insert(at);
        }
        self.note_read(at, key);
        let is_string = matches!(key.1[0], b's' | b'c');
        let fits = if kind == b's' { is_string } else { key.1[0] == kind };
        match self.value(key) {
            Some(_) if !fits => Err(()),
            value => Ok(value.map(<[u8]>::to_vec)),
        }
    }
}

pub(super) const NOPERM: &[u8] = b"-NOPERM No permissions to access a key\r\n";

/// `bob` must not see the keys of `alice`.
pub(super) fn refuses(user: Option<&str>, words: &[Vec<u8>]) -> bool {
    user == Some("bob") && words[1..].iter().any(|word| word == b"s0")
}

pub(super) fn user_of(user: &[u8], password: &[u8]) -> Option<&'static str> {
    match (user, password) {
        (b"alice", b"a") => Some("alice"),
        (b"bob", b"b") => Some("bob"),
        _ => None,
    }
}

fn bulk(bytes: &[u8], out: &mut Vec<u8>) {
    header(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn null(is_resp3: bool) -> &'static [u8] {
    if is_resp3 { b"_\r\n" } else { b"$-1\r\n" }
}

fn bulk_or_null(value: Option<&[u8]>, is_resp3: bool, out: &mut Vec<u8>) {
    match value {
        Some(value) => bulk(value, out),
        None => out.extend_from_slice(null(is_resp3)),
    }
}

fn integer(value: usize, out: &mut Vec<u8>) {
    header(b':', value, out);
}
