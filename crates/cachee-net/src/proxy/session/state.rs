//! What is known of a client's connection beyond its bytes: whether it is in plain state, as whom
//! and in which protocol it speaks, and which commands change that.

use crate::proxy::config::Login;

/// Commands the proxy has to understand because they change what the following ones mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Select,
    Auth,
    Hello,
    Reset,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Subscribe(Kind),
    Unsubscribe(Kind),
    Tracking,
    ReadOnly,
    ReadWrite,
    NoTouch,
    /// From here on replies cannot be told from commands: nothing but a pipe.
    Pipe,
    Quit,
    Info,
    /// Passwords and rights.
    Rights,
}

/// The three name spaces of subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Channel,
    Pattern,
    Shard,
}

/// Which of the commands above this is; `None` for all others.
pub(super) fn special(words: &[&[u8]]) -> Option<Special> {
    const NAME_BYTES_MAX: usize = 12;
    let name = *words.first()?;
    if name.len() > NAME_BYTES_MAX || name.len() < 3 {
        return None;
    }
    let mut upper = [0_u8; NAME_BYTES_MAX];
    let upper = &mut upper[..name.len()];
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    Some(match &*upper {
        b"SELECT" => Special::Select,
        b"AUTH" => Special::Auth,
        b"HELLO" => Special::Hello,
        b"RESET" => Special::Reset,
        b"MULTI" => Special::Multi,
        b"EXEC" => Special::Exec,
        b"DISCARD" => Special::Discard,
        b"WATCH" => Special::Watch,
        b"UNWATCH" => Special::Unwatch,
        b"SUBSCRIBE" => Special::Subscribe(Kind::Channel),
        b"PSUBSCRIBE" => Special::Subscribe(Kind::Pattern),
        b"SSUBSCRIBE" => Special::Subscribe(Kind::Shard),
        b"UNSUBSCRIBE" => Special::Unsubscribe(Kind::Channel),
        b"PUNSUBSCRIBE" => Special::Unsubscribe(Kind::Pattern),
        b"SUNSUBSCRIBE" => Special::Unsubscribe(Kind::Shard),
        b"READONLY" => Special::ReadOnly,
        b"READWRITE" => Special::ReadWrite,
        b"MONITOR" | b"SYNC" | b"PSYNC" | b"REPLCONF" => Special::Pipe,
        b"QUIT" => Special::Quit,
        b"INFO" if shows_own_section(words) => Special::Info,
        b"ACL" if changes_rights(words) => Special::Rights,
        b"CONFIG" if is_word(words, 1, b"SET") && sets_rights(words) => Special::Rights,
        b"CLIENT" => return client(words),
        _ => return None,
    })
}

fn is_word(words: &[&[u8]], at: usize, word: &[u8]) -> bool {
    words.get(at).is_some_and(|given| given.eq_ignore_ascii_case(word))
}

/// `INFO` of everything, or of the proxy's own section by name.
fn shows_own_section(words: &[&[u8]]) -> bool {
    const NAMES: [&[u8]; 4] = [b"default", b"all", b"everything", b"cachee"];
    let is_one = |word: &&[u8]| NAMES.iter().any(|name| word.eq_ignore_ascii_case(name));
    words.len() == 1 || words[1..].iter().any(is_one)
}

fn changes_rights(words: &[&[u8]]) -> bool {
    [&b"SETUSER"[..], b"DELUSER", b"LOAD"].iter().any(|name| is_word(words, 1, name))
}

/// `CONFIG SET` of a parameter that says who is let in, or what for.
fn sets_rights(words: &[&[u8]]) -> bool {
    const NAMES: [&[u8]; 6] = [
        b"requirepass",
        b"aclfile",
        b"acl-pubsub-default",
        b"protected-mode",
        b"bind",
        b"tls-auth-clients",
    ];
    words.iter().skip(2).any(|word| NAMES.iter().any(|name| word.eq_ignore_ascii_case(name)))
}

fn client(words: &[&[u8]]) -> Option<Special> {
    if is_word(words, 1, b"TRACKING") || is_word(words, 1, b"CACHING") {
        Some(Special::Tracking)
    } else if is_word(words, 1, b"NO-TOUCH") {
        Some(Special::NoTouch)
    } else if is_word(words, 1, b"REPLY")
        && words.len() == 3
        && (is_word(words, 2, b"OFF") || is_word(words, 2, b"SKIP"))
    {
        Some(Special::Pipe)
    } else {
        None
    }
}

/// What keeps a connection from being answered by the L1.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// RESP3, by an accepted `HELLO`.
    pub(super) is_resp3: bool,
    /// As whom the upstream has accepted the client; None: nobody in particular.
    pub(super) login: Option<Login>,
    pub(super) db: u32,
    /// Whom the upstream has accepted cannot be said: a user name that is not UTF-8.
    pub(super) is_nameless: bool,
    /// Between `MULTI` and the answer to `EXEC` or `DISCARD`.
    pub(super) in_multi: bool,
    /// The sequence of the last `WATCH` that no `EXEC` has ended.
    pub(super) watched: Option<u64>,
    pub(super) channels: u64,
    pub(super) patterns: u64,
    pub(super) shards: u64,
    /// The same of `CLIENT TRACKING ON`: the client's reads must be seen by the server.
    pub(super) tracked: Option<u64>,
    /// The same of `READONLY`.
    pub(super) read_only: Option<u64>,
    /// The same of `CLIENT NO-TOUCH ON`: a read by the link would touch its key.
    pub(super) untouched: Option<u64>,
    /// Bytes only.
    pub(super) is_pipe: bool,
}

impl State {
    /// Nothing forbids an answer from the L1.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        !(self.in_multi
            || self.watched.is_some()
            || self.tracked.is_some()
            || self.read_only.is_some()
            || self.untouched.is_some()
            || self.is_pipe
            || self.is_nameless
            || self.is_subscribed())
    }

    #[inline]
    pub(super) fn is_subscribed(&self) -> bool {
        self.channels > 0 || self.patterns > 0 || self.shards > 0
    }

    /// What the `RESET` of this sequence leaves, before the proxy's own login and database are set
    /// again. Commands behind it may have been taken already.
    pub(super) fn reset(&mut self, sequence: u64) {
        *self = Self {
            is_pipe: self.is_pipe,
            watched: behind(self.watched, sequence),
            tracked: behind(self.tracked, sequence),
            read_only: behind(self.read_only, sequence),
            untouched: behind(self.untouched, sequence),
            ..Self::default()
        };
    }

    pub(super) fn subscriptions(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Channel => self.channels,
            Kind::Pattern => self.patterns,
            Kind::Shard => self.shards,
        }
    }
}

/// What a command of an earlier sequence than this set is set no longer.
pub(super) fn behind(set: Option<u64>, sequence: u64) -> Option<u64> {
    set.filter(|&set| set > sequence)
}

/// A message or confirmation of the subscription protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Confirmation {
    pub(super) kind: Kind,
    pub(super) is_subscribe: bool,
    pub(super) total: u64,
}

impl Confirmation {
    /// Reads one, from a push or, in RESP2, an array.
    pub(super) fn read(frame: &[u8]) -> Option<Self> {
        let mut reader = crate::resp::Reader::new(frame);
        if reader.elements()? != 3 {
            return None;
        }
        let (kind, is_subscribe) = match reader.string()? {
            b"subscribe" => (Kind::Channel, true),
            b"psubscribe" => (Kind::Pattern, true),
            b"ssubscribe" => (Kind::Shard, true),
            b"unsubscribe" => (Kind::Channel, false),
            b"punsubscribe" => (Kind::Pattern, false),
            b"sunsubscribe" => (Kind::Shard, false),
            _ => return None,
        };
        reader.skip()?;
        let total = u64::try_from(reader.integer()?).ok()?;
        Some(Self { kind, is_subscribe, total })
    }

    /// The server tells channels and patterns as one sum.
    pub(super) fn apply(self, state: &mut State) {
        match self.kind {
            Kind::Shard => state.shards = self.total,
            Kind::Channel => state.channels = self.total.saturating_sub(state.patterns),
            Kind::Pattern => state.patterns = self.total.saturating_sub(state.channels),
        }
    }
}

/// A published message, which in RESP2 looks like a reply.
pub(super) fn is_message(frame: &[u8]) -> bool {
    frame.starts_with(b"*3\r\n$7\r\nmessage\r\n")
        || frame.starts_with(b"*4\r\n$8\r\npmessage\r\n")
        || frame.starts_with(b"*3\r\n$8\r\nsmessage\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special_of(text: &str) -> Option<Special> {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        special(&words)
    }

    #[test]
    fn commands_that_change_the_connection_are_known_in_any_case() {
        assert_eq!(special_of("select 1"), Some(Special::Select));
        assert_eq!(special_of("pSubscribe a*"), Some(Special::Subscribe(Kind::Pattern)));
        assert_eq!(special_of("client reply off"), Some(Special::Pipe));
        assert_eq!(special_of("CLIENT REPLY Skip"), Some(Special::Pipe));
        for error in ["CLIENT REPLY ON", "CLIENT REPLY", "CLIENT REPLY x", "CLIENT REPLY OFF x"] {
            assert_eq!(special_of(error), None);
        }
        assert_eq!(special_of("client tracking on"), Some(Special::Tracking));
        assert_eq!(special_of("client no-touch on"), Some(Special::NoTouch));
        assert_eq!(special_of("client no-evict on"), None);
        assert_eq!(special_of("acl whoami"), None);
        assert_eq!(special_of("acl setuser bob on"), Some(Special::Rights));
        assert_eq!(special_of("config get requirepass"), None);
        assert_eq!(special_of("config set maxmemory 1gb"), None);
        assert_eq!(special_of("config set appendonly no Requirepass x"), Some(Special::Rights));
        for all in ["INFO", "info ALL", "INFO server Cachee", "INFO default", "INFO everything"] {
            assert_eq!(special_of(all), Some(Special::Info), "{all}");
        }
        assert_eq!(special_of("INFO server cpu"), None);
        assert_eq!(special_of("GET k"), None);
    }

    #[test]
    fn confirmations_keep_the_counts_of_each_kind() {
        let mut state = State::default();
        for (frame, channels, patterns) in [
            (&b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"[..], 1, 0),
            (b">3\r\n$10\r\npsubscribe\r\n$1\r\nb\r\n:2\r\n", 1, 1),
            (b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n", 1, 1),
            (b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n", 0, 1),
            (b"*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n", 0, 0),
        ] {
            Confirmation::read(frame).unwrap().apply(&mut state);
            assert_eq!((state.channels, state.patterns), (channels, patterns));
        }
        assert_eq!(Confirmation::read(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"), None);
        assert!(is_message(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"));
    }
}
