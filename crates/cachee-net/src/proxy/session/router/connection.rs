//! One client's connection to one node.

use std::collections::VecDeque;

use super::super::beginning::Beginning;
use super::super::effects::hello_options;
use super::super::state::{Kind, State};
use super::Router;
use crate::proxy::config::Login;
use crate::proxy::output::Output;
use crate::proxy::topology::Address;
use crate::resp::{Scanner, encode_command};

/// For what the next reply of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Part {
        sequence: u64,
        part: usize,
    },
    /// Confirmations of a subscription.
    Frames {
        sequence: u64,
        kind: Kind,
        is_subscribe: bool,
        left: u64,
    },
    /// For nobody (`ASKING`).
    Nothing,
    /// The `MULTI` of a transaction.
    Begin,
    /// The proxy's own login.
    Login,
    /// A command that has changed the connections there were.
    Replay(u64),
}

/// What those that a record was sent to have said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not all have answered.
    Open,
    Accepted,
    /// Kept while a connection that was opened meanwhile has yet to say the same.
    Refused,
}

/// A command that changes connections, to be repeated on those opened later.
pub(super) struct Record {
    pub(super) id: u64,
    /// A later one of the same name replaces it.
    pub(super) name: Vec<u8>,
    bytes: Vec<u8>,
    pub(super) standing: Standing,
    /// Connections opened meanwhile, and whether they have refused it. Until all of the others have
    /// answered they get nothing else.
    pub(super) replayed: Vec<(usize, bool)>,
}

/// A connection, or the place of one.
pub(crate) struct Connection {
    pub(crate) address: Address,
    pub(crate) out: Output,
    pub(super) beginning: Beginning,
    pub(super) inbound: Vec<u8>,
    pub(super) scanner: Scanner,
    pub(super) expected: VecDeque<Awaited>,
    /// Opened, or to be opened.
    pub(crate) is_wanted: bool,
    pub(super) subscriptions: State,
}

impl Connection {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            out: Output::default(),
            beginning: Beginning::default(),
            inbound: Vec::new(),
            scanner: Scanner::for_pipe(),
            expected: VecDeque::new(),
            is_wanted: false,
            subscriptions: State::default(),
        }
    }

    /// Leaves the place of one; what was awaited.
    pub(super) fn close(&mut self) -> VecDeque<Awaited> {
        let closed = std::mem::replace(self, Self::new(self.address.clone()));
        closed.expected
    }

    pub(super) fn send(&mut self, words: &[&[u8]], awaited: Awaited) {
        self.commands().append(|out| encode_command(words, out));
        self.expected.push_back(awaited);
    }

    /// Where the client's commands go.
    pub(super) fn commands(&mut self) -> &mut Output {
        self.beginning.target(&mut self.out)
    }

    /// Every command is on its way.
    pub(in super::super) fn is_sent(&self) -> bool {
        self.out.is_empty() && self.beginning.held() == 0
    }

    /// One of those it began with is answered.
    pub(super) fn begun(&mut self) {
        self.beginning.answered(&mut self.out);
    }

    pub(super) fn log_in(&mut self, login: Option<&Login>) {
        if let Some(login) = login {
            let user = login.user.as_deref().unwrap_or("default").as_bytes();
            self.send(&[b"AUTH", user, &login.password], Awaited::Login);
            self.beginning.add();
        }
    }

    /// Begins: the proxy's own login, then what the client has made of the others.
    pub(super) fn open(&mut self, login: Option<&Login>, records: &[Record]) {
        self.is_wanted = true;
        self.log_in(login);
        for record in records.iter().filter(|record| record.standing != Standing::Refused) {
            self.out.extend(&record.bytes);
            self.expected.push_back(Awaited::Replay(record.id));
            self.beginning.add();
        }
    }
}

impl Router {
    /// Keeps a command that changes connections; its number.
    pub(super) fn record(&mut self, words: &[&[u8]], bytes: &[u8]) -> u64 {
        let id = self.next_record;
        self.next_record += 1;
        // Of `CLIENT SETINFO LIB-NAME x` all but the value, of others that have many none.
        let is_setinfo = words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"SETINFO"));
        let name = match words[0] {
            name if name.eq_ignore_ascii_case(b"AUTH") => &words[..1],
            name if name.eq_ignore_ascii_case(b"CLIENT") => {
                &words[..words.len().min(if is_setinfo { 3 } else { 2 })]
            }
            _ => words,
        };
        let mut name = name.join(&b' ').to_ascii_uppercase();
        if words[0].eq_ignore_ascii_case(b"HELLO") {
            let has = |wanted| hello_options(words).any(|(is_auth, _)| is_auth == wanted);
            name = format!("HELLO {} {}", has(true), has(false)).into_bytes();
        }
        let record = Record {
            id,
            name,
            bytes: bytes.to_vec(),
            standing: Standing::Open,
            replayed: Vec::new(),
        };
        self.records.push(record);
        id
    }

    /// Drops a refused record that nobody is asked about any more.
    pub(super) fn forget_refused(&mut self, id: u64) {
        if !self.connections.iter().any(|each| each.expected.contains(&Awaited::Replay(id))) {
            let is_it = |record: &Record| record.id == id && record.standing == Standing::Refused;
            self.records.retain(|record| !is_it(record));
        }
    }

    /// It is not known yet who the client is, at some node.
    pub(super) fn is_unsettled(&self) -> bool {
        let is_replay = |awaited: &Awaited| matches!(awaited, Awaited::Replay(_));
        self.records.iter().any(|record| record.standing == Standing::Open)
            || self.connections.iter().any(|each| each.expected.iter().any(is_replay))
    }

    /// A new connection's answer to what has changed the others, or may have.
    pub(super) fn take_replay(&mut self, number: usize, id: u64, is_refused: bool) {
        let record = self.records.iter_mut().find(|record| record.id == id);
        let standing = record.as_ref().map(|record| record.standing);
        match (standing, record) {
            (Some(Standing::Open), Some(record)) => record.replayed.push((number, is_refused)),
            (Some(Standing::Accepted), _) if is_refused => self.disagree(),
            (Some(Standing::Refused), _) if !is_refused => self.disagree(),
            _ => {
                self.connections[number].begun();
                if is_refused {
                    self.forget_refused(id);
                }
            }
        }
    }

    /// What all that a record was sent to have said of it.
    pub(super) fn settle_record(&mut self, id: u64, is_refused: bool) {
        let Some(at) = self.records.iter().position(|record| record.id == id) else { return };
        let replayed = std::mem::take(&mut self.records[at].replayed);
        if replayed.iter().any(|(_, has_refused)| *has_refused != is_refused) {
            return self.disagree();
        }
        for (number, _) in replayed {
            self.connections[number].begun();
        }
        if is_refused {
            self.records[at].standing = Standing::Refused;
            return self.forget_refused(id);
        }
        self.records[at].standing = Standing::Accepted;
        let name = self.records[at].name.clone();
        self.records.retain(|record| record.id >= id || record.name != name);
    }
}
