//! A client: what it asks, and what it may be told.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::super::Session;
use super::random::Random;
use super::server::{Key, NOPERM, Server, refuses, user_of};
use crate::proxy::config::Login;
use crate::proxy::host::Ticket;
use crate::resp::{Node, Reader, Scan, Scanner, encode_command};

const KEYS: [&str; 6] = ["s0", "s1", "s2", "c0", "h0", "l0"];
/// A value that is passed on in pieces.
pub(super) const LARGE_BYTES: usize = 40 << 10;
pub(super) const STALENESS_MS: u64 = 200;

/// Whose reads are in one order.
pub(super) type Seen = HashMap<(Option<&'static str>, Key), usize>;

/// Of a hundred commands; the others change the connection.
#[derive(Clone, Copy)]
pub(super) struct Habits {
    reads: usize,
    writes: usize,
}

impl Habits {
    pub(super) const READER: Self = Self { reads: 96, writes: 3 };
    pub(super) const WRITER: Self = Self { reads: 80, writes: 18 };
    pub(super) const ANYTHING: Self = Self { reads: 60, writes: 15 };
}

/// What all clients together have been told.
#[derive(Default)]
pub(super) struct Told {
    /// Writes that were acknowledged.
    acked: HashMap<Key, usize>,
    /// What was read, by whom.
    seen: Seen,
}

/// What one command is answered with.
pub(super) enum Expect {
    /// The server's very reply to it.
    Exact(Option<&'static str>),
    Ok,
    Reads(Reads),
}

/// A read that anybody may answer.
pub(super) struct Reads {
    is_many: bool,
    name: &'static str,
    keys: Vec<(Key, usize)>,
    sent_ms: u64,
    is_resp3: bool,
    user: Option<&'static str>,
    is_refused: bool,
}

pub(super) struct Client {
    habits: Habits,
    pub(super) session: Session,
    /// Its own connection to the server.
    pub(super) conn: Option<usize>,
    pub(super) to_proxy: Vec<u8>,
    received: Vec<u8>,
    scanner: Scanner,
    pub(super) expected: VecDeque<Expect>,
    is_resp3: bool,
    user: Option<&'static str>,
    db: u32,
    in_multi: bool,
    is_watching: bool,
    channels: BTreeSet<&'static str>,
    /// Of which the confirmation has come and the end has not.
    confirmed: BTreeSet<Vec<u8>>,
    tracks: bool,
    pub(super) is_quitting: bool,
    /// An error of the proxy itself may come, and is the last.
    pub(super) may_fail: bool,
    pub(super) is_slow: bool,
    pub(super) sent_writes: usize,
    seen: Seen,
    login: Option<(&'static str, u32)>,
}

impl Client {
    pub(super) fn new(habits: Habits, place: Ticket, login: Option<&Login>, db: u32) -> Self {
        let user =
            login.and_then(|login| user_of(login.user.as_deref()?.as_bytes(), &login.password));
        Self {
            session: Session::new(place, login, db),
            habits,
            conn: None,
            to_proxy: Vec::new(),
            received: Vec::new(),
            scanner: Scanner::new(),
            expected: VecDeque::new(),
            is_resp3: false,
            user,
            db,
            in_multi: false,
            is_watching: false,
            channels: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            tracks: false,
            is_quitting: false,
            may_fail: false,
            is_slow: false,
            sent_writes: 0,
            seen: HashMap::new(),
            login: user.map(|user| (user, db)),
        }
    }

    fn is_plain(&self) -> bool {
        !self.in_multi && !self.is_watching && self.channels.is_empty() && !self.tracks
    }

    fn command(&mut self, words: &[&str]) {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        encode_command(&words, &mut self.to_proxy);
    }

    fn exact(&mut self, words: &[&str]) {
        self.command(words);
        self.expected.push_back(Expect::Exact(self.user));
    }

    fn is_refused(&self, words: &[&str]) -> bool {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        refuses(self.user, &words)
    }

    /// A read, by whoever may answer it. `is_last`: only the newest value will do.
    fn read(
        &mut self,
        words: &[&str],
        name: &'static str,
        server: &mut Server,
        told: &Told,
        is_last: bool,
    ) {
        if !self.is_plain() {
            return self.exact(words);
        }
        let is_many = name == "MGET";
        let count = if is_many { words.len() - 1 } else { 1 };
        let keys = words[1..=count].iter().map(|word| {
            let key = (self.db, word.as_bytes().to_vec());
            let acked = told.acked.get(&key).copied().unwrap_or(0);
            let seen = told.seen.get(&(self.user, key.clone())).copied().unwrap_or(0);
            let last = if is_last { server.epochs(&key).len() - 1 } else { 0 };
            (key, acked.max(seen).max(last))
        });
        let reads = Reads {
            is_many,
            name,
            keys: keys.collect(),
            sent_ms: server.now_ms,
            is_resp3: self.is_resp3,
            user: self.user,
            is_refused: self.is_refused(words),
        };
        self.command(words);
        self.expected.push_back(Expect::Reads(reads));
    }

    /// Reads everything as `user` in every database.
    pub(super) fn ask_all(&mut self, user: &str, server: &mut Server, told: &Told) {
        self.sign_in(user, &user[..1]);
        for db in ["0", "1"] {
            self.select(db);
            for key in KEYS {
                if user == "bob" && key == "s0" {
                    continue;
                }
                self.read_by_type(key, true, server, told);
            }
        }
    }

    fn read_by_type(&mut self, key: &'static str, is_last: bool, server: &mut Server, told: &Told) {
        match key.as_bytes()[0] {
            b'h' => self.read(&["HGETALL", key], "HGETALL", server, told, is_last),
            b'l' => self.read(&["LRANGE", key, "0", "-1"], "LRANGE", server, told, is_last),
            _ => self.read(&["GET", key], "GET", server, told, is_last),
        }
    }

    fn sign_in(&mut self, user: &str, password: &str) {
        self.exact(&["AUTH", user, password]);
        if let Some(user) = user_of(user.as_bytes(), password.as_bytes()) {
            self.user = Some(user);
        }
    }

    fn select(&mut self, db: &str) {
        self.exact(&["SELECT", db]);
        self.db = db.parse().unwrap_or(0);
    }

    /// Sends one more command.
    pub(super) fn send(
        &mut self,
        random: &mut Random,
        server: &mut Server,
        told: &Told,
        (is_calm, is_hard): (bool, bool),
    ) {
        if self.is_quitting {
            return;
        }
        let key = KEYS[random.below(KEYS.len())];
        if self.in_multi {
            return self.send_in_multi(random, server, key);
        }
        let choice = random.below(100);
        if is_calm && is_hard && self.is_plain() && random.below(50) == 0 {
            let script = format!("s1 {}", server.unique());
            self.sent_writes += 1;
            self.exact(&["EVAL", &script, "0"]);
        } else if is_calm && self.is_plain() || choice < self.habits.reads {
            self.send_read(random, server, told, key);
        } else if choice < self.habits.reads + self.habits.writes {
            self.send_write(random, server, key);
        } else {
            self.send_special(random, server, key);
        }
    }

    fn send_read(
        &mut self,
        random: &mut Random,
        server: &mut Server,
        told: &Told,
        key: &'static str,
    ) {
        match random.below(12) {
            0 => self.read(&["MGET", "s1", "c0"], "MGET", server, told, false),
            1 => self.read(&["MGET", key, "s2", "s1"], "MGET", server, told, false),
            2 => self.read(&["HGET", "h0", "f"], "HGET", server, told, false),
            _ => self.read_by_type(key, false, server, told),
        }
    }

    fn send_in_multi(&mut self, random: &mut Random, server: &mut Server, key: &'static str) {
        match random.below(10) {
            0..3 => {
                self.exact(&["EXEC"]);
                (self.in_multi, self.is_watching) = (false, false);
            }
            3 => {
                self.exact(&["DISCARD"]);
                (self.in_multi, self.is_watching) = (false, false);
            }
            4..7 => self.exact(&["GET", key]),
            7 if random.below(8) == 0 => self.reset(),
            _ => self.send_write(random, server, key),
        }
    }

    fn send_write(&mut self, random: &mut Random, server: &mut Server, key: &'static str) {
        let mut token = server.unique().to_string();
        let is_counter = key.starts_with('c');
        self.sent_writes += 1;
        match random.below(12) {
            _ if key == "l0" => self.exact(&["RPUSH", key, &token]),
            0 => self.exact(&["DEL", key]),
            1 if is_counter || key == "h0" => self.exact(&["DEL", key]),
            1 => {
                let script = format!("{key} {token}");
                self.exact(&["EVAL", &script, "0"]);
            }
            2 => {
                let other = server.unique().to_string();
                self.exact(&["MSET", "s1", &token, "s2", &other]);
            }
            3 if !is_counter => {
                let life = (20 + random.below(150)).to_string();
                self.exact(&["PEXPIRE", key, &life]);
            }
            _ if is_counter => self.exact(&["INCR", key]),
            _ if key == "h0" => self.exact(&["HSET", key, "f", &token]),
            4..6 => {
                let life = (5 + random.below(200)).to_string();
                self.exact(&["SET", key, &token, "PX", &life]);
            }
            _ => {
                if random.below(60) == 0 {
                    token.push_str(&"x".repeat(LARGE_BYTES));
                }
                self.exact(&["SET", key, &token]);
            }
        }
    }

    fn send_special(&mut self, random: &mut Random, server: &mut Server, key: &'static str) {
        let is_special = !self.is_plain();
        match random.below(26) {
            0..3 if !is_special || self.is_watching => {
                self.exact(&["MULTI"]);
                self.in_multi = true;
            }
            3..5 if self.channels.is_empty() => {
                let is_refused = self.is_refused(&["WATCH", key]);
                self.exact(&["WATCH", key]);
                self.is_watching |= !is_refused;
            }
            5 | 6 if self.is_watching && self.channels.is_empty() => {
                self.exact(&["UNWATCH"]);
                self.is_watching = false;
            }
            7..9 if !is_special => self.select(["0", "1"][random.below(2)]),
            9..11 if !is_special => {
                let (user, password) =
                    [("alice", "a"), ("bob", "b"), ("bob", "x")][random.below(3)];
                self.sign_in(user, password);
            }
            11..14 if !is_special => {
                let version = ["2", "3"][random.below(2)];
                self.is_resp3 = version == "3";
                self.exact(&["HELLO", version]);
            }
            14 => self.reset(),
            15 if !self.is_watching && !self.tracks => {
                let channel = ["one", "two"][random.below(2)];
                self.exact(&["SUBSCRIBE", channel]);
                self.channels.insert(channel);
            }
            16 | 17 if !self.channels.is_empty() => {
                self.command(&["UNSUBSCRIBE"]);
                for _ in 0..self.channels.len() {
                    self.expected.push_back(Expect::Exact(self.user));
                }
                self.channels.clear();
            }
            18 if self.channels.is_empty() => self.exact(&["PUBLISH", "one", "m"]),
            19 if self.channels.is_empty() && random.below(3) == 0 => self.exact(&["FLUSHALL"]),
            20 if self.channels.is_empty() && self.is_resp3 => {
                self.exact(&["CLIENT", "TRACKING", "ON"]);
                self.tracks = true;
            }
            20..22 if self.tracks => {
                self.exact(&["CLIENT", "TRACKING", "OFF"]);
                self.tracks = false;
            }
            22 if self.channels.is_empty() => {
                self.exact(&["BLPOP", "l0", "0"]);
            }
            23 if random.below(6) == 0 => {
                self.command(&["QUIT"]);
                self.expected.push_back(Expect::Ok);
                self.is_quitting = true;
            }
            _ => {
                let token = server.unique().to_string();
                self.exact(&["ECHO", &token]);
            }
        }
    }

    fn reset(&mut self) {
        self.exact(&["RESET"]);
        (self.in_multi, self.is_watching, self.tracks) = (false, false, false);
        self.is_resp3 = false;
        self.channels.clear();
        self.user = self.login.map(|(user, _)| user);
        self.db = self.login.map_or(0, |(_, db)| db);
    }

    /// Replies have come.
    pub(super) fn receive(&mut self, bytes: &[u8], server: &mut Server, told: &mut Told) {
        self.received.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.received);
        let mut at = 0;
        while at < buffer.len() {
            match self.scanner.scan(&buffer[at..]).expect("replies are well formed") {
                Scan::Complete(length) => {
                    self.judge(&buffer[at..at + length], server, told);
                    at += length;
                }
                Scan::Incomplete => break,
            }
        }
        self.received = buffer[at..].to_vec();
    }

    fn judge(&mut self, frame: &[u8], server: &mut Server, told: &mut Told) {
        if is_pushed(frame) {
            let conn = self.conn.expect("a push without a connection");
            let due = server.conns[conn].pushed.pop_front().expect("a push nobody sent");
            assert_eq!(show(frame), show(&due), "a push out of order");
            let words = words_of(frame);
            let is_message = words[0] == b"message";
            assert!(!is_message || self.confirmed.contains(&words[1]), "a message too early");
            return;
        }
        if self.may_fail && frame.starts_with(b"-MASTERDOWN") {
            return self.expected.clear();
        }
        let expected = self.expected.pop_front();
        match expected.unwrap_or_else(|| panic!("a reply nobody asked for: {}", show(frame))) {
            Expect::Ok => assert_eq!(frame, b"+OK\r\n"),
            Expect::Exact(user) => {
                let conn = self.conn.expect("an answer that cannot be the server's");
                let due = server.conns[conn].log.pop_front();
                let due = due.unwrap_or_else(|| panic!("too early: {}", show(frame)));
                assert_eq!(show(frame), show(&due.reply), "not the server's answer");
                self.note_confirmation(frame);
                for (key, epoch) in &due.wrote {
                    let id = (user, key.clone());
                    let seen = self.seen.get(&id).copied().unwrap_or(0);
                    assert!(*epoch > seen, "{key:?} was read from the future: {seen} {epoch}");
                }
                for (key, epoch) in due.read {
                    self.note(user, key, epoch, told);
                }
                for (key, epoch) in due.wrote {
                    let acked = told.acked.entry(key.clone()).or_default();
                    *acked = epoch.max(*acked);
                    self.note(user, key, epoch, told);
                }
            }
            Expect::Reads(reads) => self.judge_reads(&reads, frame, server, told),
        }
    }

    /// From which channels messages may come.
    fn note_confirmation(&mut self, frame: &[u8]) {
        let words = words_of(frame);
        match words.first().map(Vec::as_slice) {
            Some(b"subscribe") => {
                self.confirmed.insert(words[1].clone());
            }
            Some(b"unsubscribe") if words.len() > 1 => {
                self.confirmed.remove(&words[1]);
            }
            _ if frame == b"+RESET\r\n" => self.confirmed.clear(),
            _ => {}
        }
    }

    fn note(&mut self, user: Option<&'static str>, key: Key, epoch: usize, told: &mut Told) {
        let seen = told.seen.entry((user, key.clone())).or_default();
        *seen = epoch.max(*seen);
        let seen = self.seen.entry((user, key)).or_default();
        *seen = epoch.max(*seen);
    }

    fn judge_reads(&mut self, reads: &Reads, frame: &[u8], server: &mut Server, told: &mut Told) {
        assert_eq!(frame == NOPERM, reads.is_refused, "{} {:?}", show(frame), reads.keys);
        if reads.is_refused {
            return;
        }
        let values = values_of(reads, frame)
            .unwrap_or_else(|| panic!("{} {:?} cannot be {}", reads.name, reads.keys, show(frame)));
        assert_eq!(values.len(), reads.keys.len(), "{}", show(frame));
        for ((key, floor), value) in reads.keys.iter().zip(values) {
            if reads.is_many && !matches!(key.1[0], b's' | b'c') {
                assert_eq!(value, None, "MGET of what is no string");
                continue;
            }
            let own = self.seen.get(&(reads.user, key.clone())).copied().unwrap_or(0);
            let epochs = server.epochs(key);
            let is_due = |at: &usize| {
                let until = epochs.get(at + 1);
                epochs[*at].value == value
                    && until.is_none_or(|next| {
                        let slack_ms = if next.by_expiry { 0 } else { STALENESS_MS };
                        next.since_ms + slack_ms >= reads.sent_ms
                    })
            };
            let from = own.max(*floor);
            let Some(found) = (from..epochs.len()).find(is_due) else {
                let text = value.as_deref().map_or("nil".to_owned(), show);
                let at = epochs.iter().rposition(|epoch| epoch.value == value);
                panic!(
                    "{} {key:?} at {} answered {text}, epoch {at:?}, own {own}, floor {floor}: {:?}",
                    reads.name,
                    reads.sent_ms,
                    epochs[from.saturating_sub(3)..].iter().map(brief).collect::<Vec<_>>(),
                )
            };
            self.note(reads.user, key.clone(), found, told);
        }
    }
}

fn brief(epoch: &super::server::Epoch) -> (String, u64, bool) {
    (epoch.value.as_deref().map_or("nil".to_owned(), show), epoch.since_ms, epoch.by_expiry)
}

fn show(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(60)].escape_ascii().to_string()
}

/// A message or an invalidation, but not a confirmation.
fn is_pushed(frame: &[u8]) -> bool {
    let is_array = matches!(frame[0], b'>' | b'*');
    let rest = frame.get(2..).unwrap_or_default();
    (is_array && frame.starts_with(&frame[..1]) && rest.starts_with(b"\r\n$7\r\nmessage\r\n"))
        || frame.starts_with(b">2\r\n$10\r\ninvalidate\r\n")
}

/// The strings of an array, as far as they are strings.
fn words_of(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(frame);
    match reader.elements() {
        Some(_) => std::iter::from_fn(|| Some(reader.string()?.to_vec())).collect(),
        None => Vec::new(),
    }
}

type Values = Vec<Option<Vec<u8>>>;

/// What the reply says each key holds; `None` when it is no reply to this, in this version.
fn values_of(reads: &Reads, frame: &[u8]) -> Option<Values> {
    let mut reader = Reader::new(frame);
    if !is_version(frame, reads.is_resp3) {
        return None;
    }
    let scalar = |reader: &mut Reader<'_>| match reader.next()? {
        Node::Bulk(text) => Some(Some(text.to_vec())),
        Node::Null => Some(None),
        _ => None,
    };
    match reads.name {
        "GET" | "HGET" => Some(vec![scalar(&mut reader)?]),
        "MGET" => {
            let Node::Array(count) = reader.next()? else { return None };
            (0..count).map(|_| scalar(&mut reader)).collect()
        }
        "HGETALL" => {
            let count = match reader.next()? {
                Node::Map(pairs) if reads.is_resp3 => pairs,
                Node::Array(count) if !reads.is_resp3 => count / 2,
                _ => return None,
            };
            if count == 0 {
                return Some(vec![None]);
            }
            (reader.string()? == b"f").then_some(())?;
            Some(vec![scalar(&mut reader)?])
        }
        "LRANGE" => {
            let Node::Array(count) = reader.next()? else { return None };
            let elements: Option<Vec<_>> = (0..count).map(|_| reader.string()).collect();
            let elements = elements?;
            Some(vec![(!elements.is_empty()).then(|| elements.join(&b","[..]))])
        }
        _ => None,
    }
}

/// Nulls and maps tell the version.
fn is_version(frame: &[u8], is_resp3: bool) -> bool {
    let has = |part: &[u8]| {
        frame[..frame.len().min(200)].windows(part.len()).any(|window| window == part)
    };
    if is_resp3 { !has(b"$-1\r\n") } else { frame[0] != b'%' && !has(b"_\r\n") }
}
