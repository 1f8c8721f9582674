//! Clients, their sessions, links and a server, and a network that lets any of them wait: at each
//! step some bytes of one stream arrive, or something breaks, or time passes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cachee_core::{InspectedState, Store, StoreConfig};

use super::client::{Client, Habits, LARGE_BYTES, STALENESS_MS, Told};
use super::host::{ModelFeed, ModelHost};
use super::mutation::Mutation;
use super::random::Random;
use super::rig::table;
use super::server::Server;
use crate::admission::Admission;
use crate::cacheable::{Cacheable, cacheable, encode_args};
use crate::link::{BypassReason, Request};
use crate::proxy::config::{Limits, Login, Mode};
use crate::proxy::counters::Counters;
use crate::proxy::host::{Context, Ticket};
use crate::proxy::session::Ending;

const CLIENTS: usize = 4;
const STEPS: usize = 960;
/// One fifth storm, the rest calm.
const CALM_STEPS: usize = 240;
/// One read of a socket.
const READ_BYTES: usize = 64 << 10;

/// What a run has seen of the L1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) hits: u64,
    pub(super) reads: u64,
    pub(super) commands: u64,
    /// Values that were asked for once they had been read ahead.
    pub(super) ahead: u64,
    /// Entries that were read again before they ended.
    pub(super) renewed: u64,
}

pub(super) struct World {
    random: Random,
    now_ms: u64,
    server: Server,
    host: ModelHost,
    links: HashMap<usize, usize>,
    clients: Vec<Client>,
    serial: u64,
    told: Told,
    limits: Limits,
    admission: Admission,
    counters: Counters,
    login: Option<Login>,
    db: u32,
    mode: Mode,
    knows_commands: bool,
    mutation: Option<Mutation>,
    /// Scripts run while others read, and links fall silent.
    is_hard: bool,
    /// The links' network swallows everything until then.
    silent_until_ms: u64,
    /// Nobody writes, so that hits are hits.
    is_calm: bool,
    /// Nothing breaks any more.
    is_healed: bool,
}

macro_rules! context {
    ($world:ident) => {
        Context {
            host: &$world.host,
            table: $world.knows_commands.then(table),
            limits: &$world.limits,
            mode: $world.mode,
            admission: &$world.admission,
            counters: &$world.counters,
            login: $world.login.as_ref(),
            db: $world.db,
            recorder: None,
            now_ms: $world.now_ms,
        }
    };
}

impl World {
    pub(super) fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut random = Random::new(seed);
        let is_login = random.below(4) == 0;
        let login =
            is_login.then(|| Login { user: Some("alice".to_owned()), password: b"a".to_vec() });
        let db = if is_login { random.below(2) as u32 } else { 0 };
        let mode = if random.below(20) == 0 { Mode::Observe } else { Mode::On };
        let knows_commands = random.below(20) > 0;
        let is_hard = random.below(8) == 0;
        let capacity_bytes = if random.below(10) == 0 { 4 << 10 } else { 1 << 20 };
        // In a few lives are short enough to be renewed.
        let max_age_ms = if random.below(4) == 0 { 300 } else { 5_000 };
        let store = Store::new(StoreConfig { capacity_bytes, shards: 1, seed });
        let preamble = usize::from(is_login) + usize::from(db != 0);
        let mut world = Self {
            random,
            now_ms: 1_000,
            server: Server::new(preamble, mutation),
            host: ModelHost::new(Arc::new(store), STALENESS_MS, max_age_ms, mutation),
            links: HashMap::new(),
            clients: Vec::new(),
            serial: 0,
            told: Told::default(),
            limits: Limits { pipeline: 12, output_buffer_bytes: 8 << 10, ..Limits::default() },
            admission: Admission::new(&["*"], &[] as &[&str], &[] as &[(&str, bool)]),
            counters: Counters::default(),
            login,
            db,
            mode,
            knows_commands,
            mutation,
            is_hard,
            silent_until_ms: 0,
            is_calm: false,
            is_healed: false,
        };
        world.pass(0);
        for place in 0..CLIENTS {
            let client = world.new_client(place);
            world.clients.push(client);
        }
        world
    }

    fn new_client(&mut self, client: usize) -> Client {
        self.serial += 1;
        let place = Ticket { worker: 0, client, serial: self.serial, sequence: 0, part: 0 };
        // Two read, one writes as well, one does everything.
        let habits = [Habits::READER, Habits::READER, Habits::WRITER, Habits::ANYTHING];
        Client::new(habits[client % habits.len()], place, self.login.as_ref(), self.db)
    }

    fn pass(&mut self, time_ms: u64) {
        self.now_ms += time_ms;
        self.host.clock.store(self.now_ms, Ordering::Relaxed);
        self.server.set_time(self.now_ms);
    }

    /// The whole run.
    pub(super) fn run(mut self) -> Tally {
        for step in 0..STEPS {
            self.is_calm = step % CALM_STEPS > CALM_STEPS / 5;
            self.step();
        }
        self.heal();
        self.ask_all();
        self.end();
        let counters = &self.counters;
        let (hits, misses) = (counters.hits.get(), counters.misses.get());
        let reads = hits + misses + counters.bypassed.get();
        let is_on = self.mode == Mode::On && self.knows_commands;
        let commands = counters.commands.get();
        let stats = self.host.store.stats();
        let (ahead, renewed) = (stats.ahead_used, stats.replaced);
        let counted = Tally { hits, reads, commands, ahead, renewed };
        if is_on { counted } else { Tally { hits: 0, reads: 0, ..counted } }
    }

    fn step(&mut self) {
        let client = self.random.below(CLIENTS);
        match self.random.below(100) {
            0..16 => self.send(client),
            16..31 => self.carry_to_session(client),
            31..41 => self.carry_to_server(client),
            41..51 => self.carry_from_server(client),
            51..61 => self.carry_to_client(client),
            61..83 => self.move_link(),
            83..92 => self.end_read(),
            92..95 => {
                let most_ms = [3, 3, 3, 3, 3, 3, 20, 20, 40, 300][self.random.below(10)];
                let time_ms = self.random.below(most_ms) as u64;
                self.pass(time_ms);
                self.tick();
            }
            95 if !self.is_calm || self.random.below(4) == 0 => self.write_outside(),
            96 => self.read_ahead(),
            97 if self.random.below(4) == 0 => self.server.push_late(),
            97 => self.move_link(),
            98 => self.misfortune(client),
            _ => self.publish(),
        }
    }

    fn send(&mut self, client: usize) {
        let held = &mut self.clients[client];
        for _ in 0..=self.random.below(3) {
            if held.expected.len() < 20 {
                let weather = (self.is_calm, self.is_hard);
                held.send(&mut self.random, &mut self.server, &self.told, weather);
            }
        }
    }

    fn some(&mut self, bytes: usize) -> usize {
        match self.random.below(4) {
            0 => 1 + self.random.below(8),
            1 => 1 + self.random.below(60),
            _ => bytes,
        }
        .min(bytes)
    }

    fn carry_to_session(&mut self, client: usize) {
        let count = self.some(self.clients[client].to_proxy.len()).min(READ_BYTES);
        let context = context!(self);
        let held = &mut self.clients[client];
        if count == 0 || !held.session.wants_bytes(&context) {
            return;
        }
        let bytes: Vec<u8> = held.to_proxy.drain(..count).collect();
        held.session.take_bytes(&context, &bytes);
        self.worked(client);
    }

    /// As a worker ends each turn of a client.
    fn worked(&mut self, client: usize) {
        let context = context!(self);
        let held = &mut self.clients[client];
        let session = &mut held.session;
        session.core.advance();
        session.resume(&context);
        if let Some(mutation) = self.mutation {
            mutation.tamper(session, &self.host.store);
        }
        assert!(session.core.in_flight() <= self.limits.pipeline, "the pipeline has no end");
        // What slots hold is moved to the output at once.
        let slots = self.limits.pipeline * (LARGE_BYTES + 64);
        let most = self.limits.output_buffer_bytes + READ_BYTES + slots;
        assert!(session.core.out.len() <= most, "the output has no end");
        if session.core.upstream.is_wanted && held.conn.is_none() {
            if !self.is_healed && self.random.below(100) == 0 {
                held.may_fail = true;
                session.core.fail(&context, "no connection");
            } else {
                held.conn = Some(self.server.accept());
            }
        }
        if session.core.ending == Ending::AfterOutput && session.core.out.is_empty() {
            self.close(client);
        }
    }

    fn close(&mut self, client: usize) {
        let mut fresh = self.new_client(client);
        let context = context!(self);
        std::mem::swap(&mut self.clients[client], &mut fresh);
        let is_lost = self.mutation == Some(Mutation::WriteNotEnded);
        if !is_lost {
            fresh.session.core.settle_all(&context);
        }
        if let Some(conn) = fresh.conn {
            // What was written to a socket arrives, or does not.
            if self.random.below(2) == 0 {
                let rest = fresh.session.core.upstream.out.take(usize::MAX);
                self.server.take(conn, &rest);
            }
            self.judge_writes(&fresh);
            self.server.close(conn);
        }
    }

    fn judge_writes(&self, client: &Client) {
        if let Some(conn) = client.conn {
            let executed = self.server.conns[conn].executed_writes;
            assert!(executed <= client.sent_writes, "a write was sent twice");
        }
    }

    fn carry_to_server(&mut self, client: usize) {
        let count = self.some(READ_BYTES);
        let held = &mut self.clients[client];
        let Some(conn) = held.conn else { return };
        let bytes = held.session.core.upstream.out.take(count);
        self.server.take(conn, &bytes);
        if self.mutation == Some(Mutation::Retried) && bytes.starts_with(b"*2\r\n$4\r\nINCR") {
            self.server.conns[conn].executed_writes += 1;
        }
        self.judge_writes(&self.clients[client]);
        self.worked(client);
    }

    fn carry_from_server(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn else { return };
        if self.mutation == Some(Mutation::ReplyShifted)
            && self.server.conns[conn].out.is_empty()
            && self.random.below(100) == 0
        {
            self.server.conns[conn].out.extend_from_slice(b"$3\r\nodd\r\n");
        }
        let count = self.some(self.server.conns[conn].out.len()).min(READ_BYTES);
        let context = context!(self);
        let core = &mut self.clients[client].session.core;
        let is_heard = self.mutation == Some(Mutation::CeilingIgnored)
            || (core.ending != Ending::AfterOutput && !core.is_output_full(&context));
        if !is_heard {
            return;
        }
        if count > 0 {
            let bytes: Vec<u8> = self.server.conns[conn].out.drain(..count).collect();
            core.take_upstream_bytes(&context, &bytes);
        } else if self.server.conns[conn].is_closed {
            core.lose_upstream(&context);
        }
        self.worked(client);
    }

    fn carry_to_client(&mut self, client: usize) {
        if self.clients[client].is_slow && !self.is_healed && self.random.below(12) > 0 {
            return;
        }
        let count = self.some(4 * READ_BYTES);
        let held = &mut self.clients[client];
        let bytes = held.session.core.out.take(count);
        held.receive(&bytes, &mut self.server, &mut self.told);
        self.worked(client);
    }

    fn feed(&mut self) -> Option<(usize, Arc<ModelFeed>)> {
        let feeds = self.host.feeds.lock();
        let place = self.random.below(feeds.len());
        Some((place, Arc::clone(feeds.get(place)?)))
    }

    fn move_link(&mut self) {
        let Some((place, feed)) = self.feed() else { return };
        if self.is_healed || self.now_ms >= self.silent_until_ms {
            self.move_one_link(place, &feed);
        }
    }

    fn move_one_link(&mut self, place: usize, feed: &ModelFeed) {
        if !feed.link.is_connected() {
            let login = feed.identity.login.as_ref();
            let user = match login.and_then(|login| login.user.as_deref()) {
                Some("alice") => Some("alice"),
                Some(_) => Some("bob"),
                None => None,
            };
            self.links.insert(place, self.server.accept_link(user, feed.identity.db));
            return feed.link.connect(self.now_ms);
        }
        let conn = self.links[&place];
        if self.random.below(2) == 0 {
            let bytes = feed.link.take_out();
            self.server.take(conn, &bytes);
        } else {
            let count = self.some(self.server.conns[conn].out.len());
            let bytes: Vec<u8> = self.server.conns[conn].out.drain(..count).collect();
            if !bytes.is_empty() {
                assert!(feed.link.take_bytes(&bytes, self.now_ms), "the link's stream broke");
            }
        }
    }

    fn tick(&mut self) {
        let feeds = self.host.feeds.lock().clone();
        for (place, feed) in feeds.iter().enumerate() {
            if feed.link.is_connected() && !feed.link.tick(self.now_ms, true) {
                self.server.close(self.links[&place]);
            }
        }
        self.host.store.sweep_step(self.now_ms);
    }

    /// Something is asked of the server that nobody has asked for, and somebody may.
    fn read_ahead(&mut self) {
        let Some((_, feed)) = self.feed() else { return };
        let names: [&[&[u8]]; 6] = [
            &[b"GET", b"s0"],
            &[b"GET", b"s1"],
            &[b"GET", b"s2"],
            &[b"GET", b"c0"],
            &[b"HGETALL", b"h0"],
            &[b"LRANGE", b"l0", b"0", b"-1"],
        ];
        let command = names[self.random.below(names.len())];
        let Some(Cacheable { shape, .. }) = cacheable(command) else { unreachable!("reads") };
        let mut args = Vec::new();
        encode_args(command, &mut args);
        let key_hash = self.host.store.key_hash(command[1]);
        let request =
            Request { shape, key: command[1], key_hash, args: &args, command, flow: None };
        feed.link.read_ahead(&request, self.now_ms);
    }

    fn end_read(&mut self) {
        let end = self.host.ends.lock().pop_front();
        let Some((ticket, end)) = end else { return };
        let context = context!(self);
        let held = &mut self.clients[ticket.client];
        if held.session.core.serial() == ticket.serial {
            held.session.core.end_read(&context, ticket.sequence, ticket.part, end);
            self.worked(ticket.client);
        }
    }

    fn write_outside(&mut self) {
        let names = [&b"s0"[..], b"s1", b"s2", b"h0", b"l0", b"c0"];
        let key = (self.random.below(2) as u32, names[self.random.below(names.len())].to_vec());
        let life_ms = (self.random.below(3) == 0).then(|| 5 + self.random.below(100) as u64);
        let is_delete = self.random.below(4) == 0;
        self.server.write_outside(&key, is_delete, life_ms);
    }

    fn publish(&mut self) {
        let (many, seldom) = match self.mutation {
            Some(Mutation::CeilingIgnored) => (20_000, 10),
            _ => (1_000, 60),
        };
        let count = if self.random.below(seldom) == 0 { many } else { 1 };
        // Somebody does not read all of that.
        self.clients[CLIENTS - 1].is_slow |= count > 1;
        for _ in 0..count {
            self.server.publish(b"one");
        }
    }

    fn misfortune(&mut self, client: usize) {
        match self.random.below(40) {
            0..2 => self.close(client),
            2..4 => {
                if let Some(conn) = self.clients[client].conn {
                    let kept = self.random.below(self.server.conns[conn].out.len() + 1);
                    self.server.cut(conn, kept);
                }
            }
            4..10 => self.cut_link(),
            10..12 => self.server.flush(None),
            16..22 if self.is_hard => {
                self.silent_until_ms = self.now_ms + self.random.below(600) as u64;
            }
            12..14 => self.clients[client].is_slow ^= true,
            14 => {
                let links = self.host.feeds.lock().len();
                for _ in 0..links {
                    self.cut_link();
                }
                for conn in 0..self.server.conns.len() {
                    if !self.server.conns[conn].is_link {
                        self.server.cut(conn, usize::MAX);
                    }
                }
            }
            _ => {}
        }
    }

    fn cut_link(&mut self) {
        let Some((place, feed)) = self.feed() else { return };
        if !feed.link.is_connected() {
            return;
        }
        self.server.close(self.links[&place]);
        if self.mutation == Some(Mutation::EntriesOutliveLink) {
            feed.link.lose_keeping_entries();
        } else {
            feed.link.lose(BypassReason::LinkLost);
        }
    }

    /// Everything under way arrives.
    fn heal(&mut self) {
        self.is_healed = true;
        for round in 0..400 {
            for client in 0..CLIENTS {
                self.carry_to_session(client);
                self.carry_to_server(client);
                self.carry_from_server(client);
                self.carry_to_client(client);
            }
            for _ in 0..8 {
                self.move_link();
                self.end_read();
            }
            let is_done = self
                .clients
                .iter()
                .all(|client| client.expected.is_empty() && client.to_proxy.is_empty());
            if is_done {
                break;
            }
            if round % 8 == 0 {
                self.pass(5);
                self.tick();
            }
            if round % 50 == 49 {
                // Somebody may be waiting for an element.
                for db in 0..2 {
                    self.server.write_outside(&(db, b"l0".to_vec()), false, None);
                }
            }
        }
        for (place, client) in self.clients.iter().enumerate() {
            assert!(client.expected.is_empty(), "client {place} is not answered");
        }
    }

    /// After all has settled nobody is told anything but the newest.
    fn ask_all(&mut self) {
        for user in ["alice", "bob"] {
            self.pass(2 * STALENESS_MS);
            for _ in 0..20 {
                let feeds = self.host.feeds.lock().clone();
                for (place, feed) in feeds.iter().enumerate() {
                    self.move_one_link(place, feed);
                }
            }
            self.server.push_late();
            self.close(0);
            self.clients[0].ask_all(user, &mut self.server, &self.told);
            self.heal();
        }
    }

    fn end(&mut self) {
        (0..CLIENTS).for_each(|client| self.close(client));
        for feed in self.host.feeds.lock().iter() {
            feed.link.lose(BypassReason::Closed);
            assert_eq!(feed.link.in_flight(), 0);
        }
        let store = &self.host.store;
        for key in ["s0", "s1", "s2", "c0", "h0", "l0"] {
            for row in store.inspect(key.as_bytes(), self.now_ms) {
                let is_over = matches!(
                    row.state,
                    InspectedState::Held | InspectedState::Ahead | InspectedState::WriteHot
                );
                assert!(is_over, "left behind: {key} {row:?}");
            }
        }
        store.validate();
    }
}
