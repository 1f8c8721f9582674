//! What commands change: in the L1, and in the connection itself.

use super::answers::Note;
use super::reads::Parts;
use super::state::{Special, behind};
use super::{Command, Core, Ending};
use crate::cacheable::cacheable;
use crate::commands::Effect;
use crate::proxy::config::{Login, Mode};
use crate::proxy::host::Context;
use crate::resp::{Node, Reader};

/// What a connection is after a command that was accepted.
#[derive(Debug)]
pub(super) enum Change {
    Select(Option<u32>),
    Login(Option<Login>),
    /// The login, if one was given, and if it can be represented.
    Hello {
        version: Option<u8>,
        login: Option<Option<Login>>,
    },
    Reset,
    Multi,
    Exec(Transaction),
    Discard,
    Unwatch,
    Tracking {
        is_off: bool,
    },
    ReadWrite,
    Touch,
}

/// What the commands queued since `MULTI` will change.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    writes: Vec<u64>,
    reads: Vec<u64>,
    is_opaque: bool,
    flushes: bool,
    db: Option<u32>,
}

/// A command's effect on the L1, as hashes.
pub(super) struct Hashed {
    pub(super) writes: Vec<u64>,
    pub(super) is_opaque: bool,
    pub(super) flushes: bool,
    waits: bool,
}

impl Core {
    /// A command that is neither a plain cacheable read nor one that changes the connection.
    pub(super) fn take_other(&mut self, context: &Context<'_>, command: &Command<'_>) -> bool {
        if context.mode == Mode::Off {
            self.forward(context, command, Note::None);
            return true;
        }
        if let Some(multi) = self.multi.take() {
            let multi = self.queue(context, command, multi);
            self.multi = Some(multi);
            self.forward(context, command, Note::Queued);
            return true;
        }
        if let Some(note) = self.read_note(context, command) {
            self.forward(context, command, note);
            return true;
        }
        let effect = self.hashed(context, command);
        if self.must_wait(&effect) {
            return false;
        }
        let note = self.begin(context, effect);
        self.forward(context, command, note);
        true
    }

    /// The key of a write that is nothing else.
    #[inline]
    pub(super) fn written_key<'a>(
        &self,
        context: &Context<'_>,
        words: &[&'a [u8]],
    ) -> Option<&'a [u8]> {
        let is_ours = self.multi.is_none() && context.mode != Mode::Off;
        context.table.filter(|_| is_ours)?.written_key(words)
    }

    pub(super) fn write_one(&mut self, context: &Context<'_>, command: &Command<'_>, key: u64) {
        context.counters.writes.add(1);
        context.host.store().begin_write(&[key]);
        self.forward(context, command, Note::Write(key));
    }

    /// A cacheable read that the L1 must not answer now.
    fn read_note(&self, context: &Context<'_>, command: &Command<'_>) -> Option<Note> {
        let words = command.words;
        let store = context.host.store();
        if let Some(found) = cacheable(words) {
            self.record(context, words, found);
            context.counters.bypassed.add(1);
            return Some(Note::Read(store.key_hash(words[1])));
        }
        (words.len() > 1 && words[0].eq_ignore_ascii_case(b"MGET")).then(|| {
            self.record_keys(context, words);
            context.counters.bypassed.add(words.len() as u64 - 1);
            Note::Reads(words[1..].iter().map(|key| store.key_hash(key)).collect())
        })
    }

    pub(super) fn hashed(&self, context: &Context<'_>, command: &Command<'_>) -> Hashed {
        let store = context.host.store();
        let mut hashed =
            Hashed { writes: Vec::new(), is_opaque: false, flushes: false, waits: false };
        let Some(table) = context.table else {
            hashed.is_opaque = true;
            return hashed;
        };
        hashed.waits = table.is_blocking(command.words);
        match table.effect(command.words) {
            Effect::ReadOnly | Effect::None => {}
            Effect::Writes(keys) => {
                hashed.writes.extend(keys.iter().map(|key| store.key_hash(key)));
            }
            Effect::Unknown => hashed.is_opaque = true,
            Effect::FlushAll => {
                hashed.is_opaque = true;
                hashed.flushes = true;
            }
        }
        hashed
    }

    /// A read of the link is under way whose key this command may change: two streams have no
    /// order, so it is sent when the read has ended.
    fn must_wait(&self, effect: &Hashed) -> bool {
        !self.reading.is_empty()
            && (effect.is_opaque
                || effect.waits
                || effect.writes.iter().any(|write| self.reading.contains(*write)))
    }

    /// The command is about to leave.
    fn begin(&self, context: &Context<'_>, effect: Hashed) -> Note {
        let store = context.host.store();
        if effect.flushes {
            store.clear();
        }
        if effect.is_opaque {
            context.counters.opaque_writes.add(1);
            return Note::Opaque { flushes: effect.flushes };
        }
        if effect.waits {
            // It may wait for hours: its keys are not held, only dropped when it is answered.
            return Note::Waited(effect.writes.into());
        }
        if effect.writes.is_empty() {
            return Note::None;
        }
        context.counters.writes.add(1);
        store.begin_write(&effect.writes);
        match effect.writes[..] {
            [key_hash] => Note::Write(key_hash),
            _ => Note::Writes(effect.writes.into()),
        }
    }

    /// A command between `MULTI` and `EXEC`.
    fn queue(
        &self,
        context: &Context<'_>,
        command: &Command<'_>,
        mut multi: Box<Transaction>,
    ) -> Box<Transaction> {
        match self.read_note(context, command) {
            Some(Note::Read(key_hash)) => multi.reads.push(key_hash),
            Some(Note::Reads(key_hashes)) => multi.reads.extend_from_slice(&key_hashes),
            _ => {
                let effect = self.hashed(context, command);
                multi.writes.extend_from_slice(&effect.writes);
                multi.is_opaque |= effect.is_opaque;
                multi.flushes |= effect.flushes;
            }
        }
        multi
    }

    /// A command that changes the connection; false when it has to wait.
    pub(super) fn take_special(
        &mut self,
        context: &Context<'_>,
        command: &Command<'_>,
        special: Special,
    ) -> bool {
        if self.multi.is_some() {
            return self.take_special_in_multi(context, command, special);
        }
        if !self.reading.is_empty() && special != Special::Info {
            return false;
        }
        let words = command.words;
        let change = match special {
            Special::Select => Change::Select(number(words.get(1).copied())),
            Special::Auth => Change::Login(login_of(&words[1..])),
            Special::Hello => hello(words),
            Special::Reset => self.reset(context),
            Special::Multi => {
                self.multi = Some(Box::default());
                Change::Multi
            }
            // Without `MULTI`: errors.
            Special::Exec | Special::Discard => Change::Discard,
            Special::Watch => {
                self.state.watched = Some(self.next_sequence());
                self.forward(context, command, Note::None);
                return true;
            }
            Special::Unwatch => Change::Unwatch,
            Special::Tracking => {
                let is_off = is_off(words);
                if !is_off {
                    self.state.tracked = Some(self.next_sequence());
                }
                Change::Tracking { is_off }
            }
            Special::ReadOnly => {
                self.state.read_only = Some(self.next_sequence());
                self.forward(context, command, Note::None);
                return true;
            }
            Special::ReadWrite => Change::ReadWrite,
            Special::NoTouch if is_off(words) => Change::Touch,
            Special::NoTouch => {
                self.state.untouched = Some(self.next_sequence());
                self.forward(context, command, Note::None);
                return true;
            }
            Special::Info => {
                self.forward(context, command, Note::Info);
                return true;
            }
            Special::Rights => {
                self.forward(context, command, Note::Rights);
                return true;
            }
            Special::Subscribe(kind) => {
                let left = Some(words.len().saturating_sub(1).max(1) as u64);
                let note = Note::Confirmations { kind, is_subscribe: true, left };
                self.forward(context, command, note);
                return true;
            }
            Special::Unsubscribe(kind) => {
                let named = words.len() as u64 - 1;
                let left = (named > 0).then_some(named);
                let note = Note::Confirmations { kind, is_subscribe: false, left };
                self.forward(context, command, note);
                return true;
            }
            Special::Pipe => return self.become_pipe(context, command),
            Special::Quit => {
                self.quit(context, command);
                return true;
            }
        };
        self.forward(context, command, Note::Change(Box::new(change)));
        true
    }

    fn take_special_in_multi(
        &mut self,
        context: &Context<'_>,
        command: &Command<'_>,
        special: Special,
    ) -> bool {
        let change = match special {
            Special::Exec => {
                let Some(multi) = self.multi.take() else { return true };
                if !self.reading.is_empty() {
                    self.multi = Some(multi);
                    return false;
                }
                let store = context.host.store();
                if multi.flushes {
                    store.clear();
                }
                store.begin_write(&multi.writes);
                Change::Exec(*multi)
            }
            Special::Discard if command.words.len() == 1 => {
                self.multi = None;
                Change::Discard
            }
            Special::Reset => {
                self.multi = None;
                self.reset(context)
            }
            Special::Quit => {
                self.quit(context, command);
                return true;
            }
            Special::Select => {
                if let Some(multi) = &mut self.multi {
                    multi.db = number(command.words.get(1).copied()).or(multi.db);
                }
                self.forward(context, command, Note::Queued);
                return true;
            }
            // Refused inside a transaction, or (`WATCH`, `MULTI`) an error of its own.
            Special::Watch
            | Special::Multi
            | Special::Unwatch
            | Special::Info
            | Special::Discard => {
                self.forward(context, command, Note::Queued);
                return true;
            }
            // What a queued one of these leaves of the connection is not followed.
            _ => return self.become_pipe(context, command),
        };
        self.forward(context, command, Note::Change(Box::new(change)));
        true
    }

    fn quit(&mut self, context: &Context<'_>, command: &Command<'_>) {
        if self.upstream.is_wanted {
            self.forward(context, command, Note::Quit);
        } else {
            self.answer(b"+OK\r\n");
        }
        self.ending = Ending::AfterReplies;
    }

    /// A reply is here: does what its note says.
    pub(super) fn settle(
        &mut self,
        context: &Context<'_>,
        note: Note,
        sequence: u64,
        frame: &[u8],
    ) -> Option<Box<Parts>> {
        if note.is_opaque() {
            self.opaque -= 1;
        }
        let store = context.host.store();
        match note {
            Note::None | Note::Info | Note::Confirmations { .. } => {}
            Note::Read(key_hash) => {
                store.remove(key_hash);
                self.passing.remove(&[key_hash]);
            }
            Note::Reads(key_hashes) => {
                for &key_hash in &key_hashes {
                    store.remove(key_hash);
                }
                self.passing.remove(&key_hashes);
            }
            Note::Parts(parts) => {
                for &key_hash in &parts.key_hashes {
                    store.remove(key_hash);
                }
                self.passing.remove(&parts.key_hashes);
                return Some(parts);
            }
            Note::Waited(key_hashes) => {
                for &key_hash in &key_hashes {
                    store.invalidate(key_hash);
                }
            }
            Note::Write(key_hash) => end_write(context, &[key_hash]),
            Note::Writes(key_hashes) => end_write(context, &key_hashes),
            Note::Opaque { flushes } => {
                if flushes {
                    store.clear();
                }
                context.host.barrier();
            }
            Note::Rights => {
                context.host.rights_changed();
                context.host.barrier();
            }
            Note::Queued => self.settle_queued(context, frame),
            Note::Change(change) => self.change(context, *change, sequence, frame),
            Note::Quit => self.ending = Ending::AfterOutput,
        }
        None
    }

    /// No reply will come.
    pub(super) fn settle_lost(&mut self, context: &Context<'_>, note: Note) {
        match note {
            Note::Write(key_hash) => end_write(context, &[key_hash]),
            Note::Writes(key_hashes) => end_write(context, &key_hashes),
            Note::Opaque { .. } => context.host.barrier(),
            Note::Rights => context.host.rights_changed(),
            Note::Change(change) => {
                if let Change::Exec(transaction) = *change {
                    self.end_transaction(context, &transaction);
                }
            }
            _ => {}
        }
    }

    /// Inside `MULTI` everything is queued or refused. Anything else was executed (`MULTI` itself
    /// had been refused), and what it changed is not known here.
    fn settle_queued(&mut self, context: &Context<'_>, frame: &[u8]) {
        if frame != b"+QUEUED\r\n" && frame[0] != b'-' {
            context.host.barrier();
        }
    }

    fn end_transaction(&self, context: &Context<'_>, transaction: &Transaction) {
        let store = context.host.store();
        if transaction.flushes {
            store.clear();
        }
        end_write(context, &transaction.writes);
        for &key_hash in &transaction.reads {
            store.remove(key_hash);
        }
        if transaction.is_opaque {
            context.host.barrier();
        }
    }

    fn change(&mut self, context: &Context<'_>, change: Change, sequence: u64, frame: &[u8]) {
        let is_error = frame[0] == b'-' || frame[0] == b'!';
        match change {
            Change::Select(Some(db)) if !is_error => {
                self.state.db = db;
                self.forget_feed();
            }
            Change::Login(login) if !is_error => self.accepted(login),
            Change::Hello { version, login } if !is_error => {
                if let Some(version) = version {
                    self.state.is_resp3 = version == 3;
                }
                if let Some(login) = login {
                    self.accepted(login);
                }
            }
            Change::Reset => {
                self.is_resetting = false;
                if !is_error {
                    self.state.reset(sequence);
                    self.state.login = context.login.cloned();
                    self.state.db = context.db;
                    self.forget_feed();
                    self.send_preamble(context);
                }
            }
            Change::Multi if !is_error => self.state.in_multi = true,
            Change::Exec(transaction) => self.executed(context, transaction, sequence, frame),
            Change::Discard if !is_error => self.leave_multi(sequence),
            Change::Unwatch if !is_error => self.unwatch(sequence),
            Change::Tracking { is_off: true } if !is_error => {
                self.state.tracked = behind(self.state.tracked, sequence);
            }
            Change::ReadWrite if !is_error => {
                self.state.read_only = behind(self.state.read_only, sequence);
            }
            Change::Touch if !is_error => {
                self.state.untouched = behind(self.state.untouched, sequence);
            }
            _ => {}
        }
    }

    fn executed(
        &mut self,
        context: &Context<'_>,
        transaction: Transaction,
        sequence: u64,
        frame: &[u8],
    ) {
        self.end_transaction(context, &transaction);
        // Forbidden to execute: still inside, as far as the server is concerned.
        if frame.starts_with(b"-NOPERM") {
            return;
        }
        if let Some(db) = transaction.db
            && matches!(Reader::new(frame).next(), Some(Node::Array(_)))
        {
            self.state.db = db;
            self.forget_feed();
        }
        self.leave_multi(sequence);
    }

    fn leave_multi(&mut self, sequence: u64) {
        self.state.in_multi = false;
        self.unwatch(sequence);
    }

    /// What was watched before this command is watched no longer.
    fn unwatch(&mut self, sequence: u64) {
        self.state.watched = behind(self.state.watched, sequence);
    }

    /// The upstream has accepted this login; None: it cannot be represented.
    fn accepted(&mut self, login: Option<Login>) {
        self.state.is_nameless = login.is_none();
        self.state.login = login;
        self.forget_feed();
    }

    fn forget_feed(&mut self) {
        self.feed = None;
        self.feed_asked_ms = 0;
    }

    /// The proxy's own login follows the answer; until it is sent nothing else is.
    fn reset(&mut self, context: &Context<'_>) -> Change {
        self.is_resetting = self.router.is_none() && (context.login.is_some() || context.db != 0);
        Change::Reset
    }
}

fn number(word: Option<&[u8]>) -> Option<u32> {
    std::str::from_utf8(word?).ok()?.parse().ok()
}

/// `CLIENT something OFF`.
fn is_off(words: &[&[u8]]) -> bool {
    words.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"OFF"))
}

/// `AUTH password` or `AUTH user password`.
fn login_of(words: &[&[u8]]) -> Option<Login> {
    match *words {
        [password] => Some(Login { user: None, password: password.to_vec() }),
        [user, password] => {
            let user = String::from_utf8(user.to_vec()).ok()?;
            Some(Login { user: Some(user), password: password.to_vec() })
        }
        _ => None,
    }
}

fn hello(words: &[&[u8]]) -> Change {
    let version = number(words.get(1).copied()).and_then(|version| u8::try_from(version).ok());
    let login = hello_options(words).filter(|(is_auth, _)| *is_auth).last();
    Change::Hello { version, login: login.map(|(_, values)| login_of(values)) }
}

/// What a `HELLO` sets besides the version, as the server reads it (the last of a kind counts):
/// whether it is `AUTH`, else a name, and the values.
pub(super) fn hello_options<'a, 'b>(
    words: &'a [&'b [u8]],
) -> impl Iterator<Item = (bool, &'a [&'b [u8]])> {
    let mut options = words.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (option, rest) = options.split_first()?;
        let is_auth = option.eq_ignore_ascii_case(b"AUTH");
        let (values, behind) = rest.split_at_checked(if is_auth { 2 } else { 1 })?;
        options = behind;
        Some((is_auth, values))
    })
}

/// The write is over; what was hit before it may be read again.
fn end_write(context: &Context<'_>, key_hashes: &[u64]) {
    let hot = context.host.store().end_write(key_hashes);
    if !hot.is_empty() {
        context.host.written(&hot);
    }
}
