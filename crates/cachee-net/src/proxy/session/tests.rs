//! The orderings argued in the module, each forced.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Ending;
use super::model::rig::Rig;
use crate::link::{BypassReason, Outcome};
use crate::proxy::config::{Limits, Login};
use crate::proxy::request::{Limits as RequestLimits, Parsed, RequestParser};
use crate::resp::encode_command;

fn rig() -> Rig {
    Rig::new(None, 0, Limits::default())
}

fn alice() -> Option<Login> {
    Some(Login { user: Some("alice".to_owned()), password: b"a".to_vec() })
}

impl Rig {
    fn send(&mut self, lines: &[&str]) {
        let mut bytes = Vec::new();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            encode_command(&words, &mut bytes);
        }
        self.take_bytes(&bytes);
    }

    fn hear(&mut self, text: &str) {
        self.take_upstream_bytes(text.as_bytes());
    }

    fn out(&mut self) -> String {
        String::from_utf8(self.session.core.out.take(usize::MAX)).unwrap()
    }

    /// Commands that have left for the server since the last look.
    fn sent(&mut self) -> Vec<String> {
        let bytes = self.session.core.upstream.out.take(usize::MAX);
        let (mut parser, mut at, mut found) = (RequestParser::new(), 0, Vec::new());
        while let Parsed::Command { consumed } =
            parser.parse(&bytes[at..], &RequestLimits::default())
        {
            let words: Vec<_> = parser.args(&bytes[at..]).map(String::from_utf8_lossy).collect();
            found.push(words.join(" "));
            at += consumed;
        }
        found
    }

    /// Keys asked of the link and not answered.
    fn asked(&self) -> Vec<String> {
        let asked = self.host.feed.asked.lock();
        asked.iter().map(|(_, key)| String::from_utf8_lossy(key).into_owned()).collect()
    }

    fn reply(&mut self, frame: &str) {
        self.end_read(0, Outcome::Reply(Arc::from(frame.as_bytes())));
    }

    fn refuse(&mut self) {
        self.end_read(0, Outcome::Bypass(BypassReason::ErrorReply));
    }

    fn barriers(&self) -> usize {
        self.host.barriers.load(Ordering::Relaxed)
    }
}

#[test]
fn hits_take_their_turn_in_a_pipeline() {
    let mut rig = rig();
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.send(&["GET k"]);
    assert_eq!(rig.out(), "$1\r\n1\r\n");
    rig.send(&["ECHO a", "GET k", "ECHO b"]);
    assert_eq!(rig.out(), "");
    rig.hear("$1\r\na\r\n");
    assert_eq!(rig.out(), "$1\r\na\r\n$1\r\n1\r\n");
    rig.hear("$1\r\nb\r\n");
    assert_eq!(rig.out(), "$1\r\nb\r\n");
}

#[test]
fn a_write_is_gone_from_the_l1_before_it_leaves() {
    let mut rig = rig();
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.send(&["SET k 2", "GET k"]);
    assert_eq!((rig.sent(), rig.asked()), (vec!["SET k 2".to_owned()], vec!["k".to_owned()]));
    // As the real link does while a write is under way.
    rig.refuse();
    assert_eq!(rig.sent(), ["GET k"]);
    rig.hear("+OK\r\n$1\r\n2\r\n");
    assert_eq!(rig.out(), "+OK\r\n$1\r\n2\r\n");
}

#[test]
fn what_ends_as_soon_as_it_is_asked_holds_nobody_up() {
    let mut rig = rig();
    rig.host.feed.is_slow.store(true, Ordering::Relaxed);
    rig.send(&["GET k", "GET k", "GET j", "GET j", "SET j 1"]);
    assert_eq!(rig.sent(), ["GET k", "GET k", "GET j", "GET j", "SET j 1"]);
}

#[test]
fn a_large_command_is_passed_on_as_it_came() {
    let mut rig = rig();
    let large = "x".repeat(300 << 10);
    let mut bytes = Vec::new();
    for words in [["SET", "k", &large], ["SET", "j", "1"], ["SET", "h", &large]] {
        encode_command(&words.map(str::as_bytes), &mut bytes);
    }
    bytes.extend_from_slice(b"*2\r\n$4\r\nECHO\r\n");
    for piece in bytes.chunks(64 << 10) {
        rig.take_bytes(piece);
    }
    rig.take_bytes(b"$1\r\na\r\n");
    let expected = [
        format!("SET k {large}"),
        "SET j 1".to_owned(),
        format!("SET h {large}"),
        "ECHO a".to_owned(),
    ];
    assert!(rig.sent() == expected);
}

#[test]
fn replies_that_wait_for_others_are_under_the_ceiling_too() {
    let mut rig = Rig::new(None, 0, Limits { output_buffer_bytes: 1_000, ..Limits::default() });
    let large = format!("$2000\r\n{}\r\n", "x".repeat(2_000));
    rig.send(&["GET k", "ECHO a"]);
    rig.hear(&large);
    assert!(rig.is_output_full() && !rig.wants_bytes() && rig.out().is_empty());
    rig.reply("$1\r\n1\r\n");
    assert!(rig.is_output_full(), "the client has yet to take them");
    assert_eq!(rig.out(), format!("$1\r\n1\r\n{large}"));
    assert!(!rig.is_output_full());
    rig.hold(b"j", large.as_bytes());
    rig.send(&["ECHO b", "GET j"]);
    assert!(!rig.is_output_full() && !rig.wants_bytes(), "what they wait for is yet to be read");
    rig.hear("$1\r\nb\r\n");
    assert_eq!(rig.out(), format!("$1\r\nb\r\n{large}"));
}

#[test]
fn a_write_waits_for_the_read_before_it() {
    let mut rig = rig();
    rig.send(&["GET k", "SET k 2", "ECHO a"]);
    assert!(rig.sent().is_empty());
    rig.reply("$1\r\n1\r\n");
    assert_eq!(rig.sent(), ["SET k 2", "ECHO a"]);
    assert_eq!(rig.out(), "$1\r\n1\r\n");
    rig.send(&["GET j", "SET k 3"]);
    assert_eq!(rig.sent(), ["SET k 3"], "of another key");
}

#[test]
fn a_write_waits_for_the_whole_of_an_mget() {
    let mut rig = rig();
    rig.send(&["MGET h k", "SET k 2"]);
    assert_eq!(rig.asked(), ["h", "k"]);
    rig.end_read(1, Outcome::Reply(Arc::from(&b"$1\r\n1\r\n"[..])));
    assert!(rig.sent().is_empty(), "were the other part refused as well, the whole would be sent");
    rig.refuse();
    assert_eq!(rig.sent(), ["MGET h", "SET k 2"]);
    rig.hear("*1\r\n$-1\r\n+OK\r\n");
    assert_eq!(rig.out(), "*2\r\n$-1\r\n$1\r\n1\r\n+OK\r\n");
}

#[test]
fn an_mget_asks_for_what_is_missing_only() {
    let mut rig = rig();
    rig.hold(b"a", b"$1\r\n1\r\n");
    rig.hold(b"b", b"_\r\n");
    rig.send(&["MGET a b c d", "ECHO x"]);
    assert_eq!(rig.asked(), ["c", "d"]);
    rig.refuse();
    rig.refuse();
    assert_eq!(rig.sent(), ["ECHO x", "MGET c d"]);
    rig.hear("$1\r\nx\r\n*2\r\n$-1\r\n$3\r\n\r\n.\r\n");
    assert_eq!(rig.out(), "*4\r\n$1\r\n1\r\n$-1\r\n$-1\r\n$3\r\n\r\n.\r\n$1\r\nx\r\n");
    rig.send(&["MGET a b"]);
    assert_eq!(rig.out(), "*2\r\n$1\r\n1\r\n$-1\r\n", "what was not asked for is still held");
    rig.send(&["MGET a c"]);
    rig.refuse();
    rig.hear("-NOPERM no\r\n");
    assert_eq!((rig.sent(), rig.out()), (vec!["MGET c".to_owned()], "-NOPERM no\r\n".to_owned()));
    // A read of `c` is unanswered on the client's own connection: its turn is behind that one.
    rig.send(&["GET c"]);
    rig.refuse();
    rig.send(&["MGET a c"]);
    assert_eq!((rig.sent(), rig.asked().len()), (vec!["GET c".to_owned(), "MGET c".to_owned()], 0));
    rig.hear("$1\r\n5\r\n*1\r\n$1\r\n5\r\n");
    assert_eq!(rig.out(), "$1\r\n5\r\n*2\r\n$1\r\n1\r\n$1\r\n5\r\n");
}

#[test]
fn a_read_does_not_overtake_an_unanswered_one_of_its_key() {
    let mut rig = rig();
    rig.send(&["GET k", "GET k", "GET j"]);
    assert_eq!(rig.asked(), ["k"]);
    rig.refuse();
    assert_eq!(rig.sent(), ["GET k", "GET k"], "both on one stream");
    assert_eq!(rig.asked(), ["j"]);
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.send(&["GET k"]);
    assert_eq!(rig.sent(), ["GET k"], "the first may be answered by a newer value");
    rig.hear("$1\r\n2\r\n");
    assert_eq!(rig.out(), "$1\r\n2\r\n");
    rig.hear("$1\r\n2\r\n");
    rig.reply("_\r\n");
    rig.hear("$1\r\n2\r\n");
    assert_eq!(rig.out(), "$1\r\n2\r\n$-1\r\n$1\r\n2\r\n");
    rig.hold(b"k", b"$1\r\n2\r\n");
    rig.send(&["GET k"]);
    assert_eq!(rig.out(), "$1\r\n2\r\n", "all answered: the L1 again");
}

#[test]
fn nothing_is_answered_behind_what_is_not_known() {
    for line in ["EVAL x 0", "BLPOP l 0", "SELECT 1", "HELLO 3", "AUTH bob b", "RESET", "NOSUCH"] {
        let mut rig = rig();
        rig.hold(b"k", b"$1\r\n1\r\n");
        rig.send(&[line, "GET k"]);
        assert_eq!(rig.sent(), [line, "GET k"]);
        assert_eq!(rig.out(), "", "{line}");
    }
}

#[test]
fn an_unknown_effect_ends_with_a_barrier_before_its_reply() {
    let mut rig = rig();
    rig.send(&["EVAL x 0"]);
    assert_eq!(rig.barriers(), 0);
    rig.hear("+OK\r\n");
    assert_eq!((rig.barriers(), rig.out()), (1, "+OK\r\n".to_owned()));
    assert_eq!(rig.sent(), ["EVAL x 0"]);
    rig.send(&["GET j", "EVAL x 0"]);
    assert!(rig.sent().is_empty(), "it waits for the read before it");
    rig.reply("_\r\n");
    assert_eq!(rig.sent(), ["EVAL x 0"]);
}

#[test]
fn a_transaction_is_the_servers_until_its_end_is_answered() {
    let mut rig = rig();
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.send(&["MULTI", "GET k", "SET k 2", "EXEC", "GET k"]);
    assert_eq!(rig.sent(), ["MULTI", "GET k", "SET k 2", "EXEC", "GET k"]);
    rig.hear("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n");
    assert!(rig.out().ends_with("*2\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n"));
    rig.hold(b"k", b"$1\r\n2\r\n");
    rig.send(&["GET k"]);
    assert_eq!(rig.out(), "$1\r\n2\r\n");
}

#[test]
fn who_watches_reads_from_the_server() {
    let mut rig = rig();
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.send(&["WATCH k", "GET k"]);
    assert_eq!(rig.sent(), ["WATCH k", "GET k"]);
    rig.hear("+OK\r\n$1\r\n1\r\n");
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.send(&["UNWATCH"]);
    rig.hear("+OK\r\n");
    rig.out();
    rig.send(&["GET k"]);
    assert_eq!(rig.out(), "$1\r\n1\r\n");
}

#[test]
fn what_is_set_behind_a_command_is_not_unset_by_its_answer() {
    for (lines, answers) in [
        (["RESET", "WATCH k"], "+RESET\r\n+OK\r\n"),
        (["CLIENT TRACKING OFF", "CLIENT TRACKING ON"], "+OK\r\n+OK\r\n"),
        (["READWRITE", "READONLY"], "+OK\r\n+OK\r\n"),
        (["CLIENT NO-TOUCH OFF", "CLIENT NO-TOUCH ON"], "+OK\r\n+OK\r\n"),
    ] {
        let mut rig = rig();
        rig.send(&lines);
        rig.hear(answers);
        rig.sent();
        rig.hold(b"k", b"$1\r\n1\r\n");
        rig.send(&["GET k"]);
        assert_eq!(rig.sent(), ["GET k"], "{lines:?}");
    }
}

#[test]
fn replies_are_in_the_version_that_was_accepted() {
    let mut rig = rig();
    rig.hold(b"k", b"_\r\n");
    rig.send(&["GET k"]);
    assert_eq!(rig.out(), "$-1\r\n");
    rig.send(&["HELLO 3"]);
    rig.hear("%1\r\n$5\r\nproto\r\n:3\r\n");
    rig.out();
    rig.send(&["GET k"]);
    assert_eq!(rig.out(), "_\r\n");
    rig.send(&["HELLO 2 AUTH bob x"]);
    rig.hear("-WRONGPASS\r\n");
    rig.out();
    rig.send(&["GET k"]);
    assert_eq!(rig.out(), "_\r\n", "refused as a whole");
}

#[test]
fn the_database_and_the_user_are_those_that_were_accepted() {
    let mut rig = rig();
    rig.send(&["SELECT 7", "AUTH bob b"]);
    rig.hear("+OK\r\n+OK\r\n");
    rig.send(&["GET k"]);
    let identity = rig.host.identity.lock().clone().unwrap();
    assert_eq!(identity.db, 7);
    assert_eq!(identity.login.unwrap().user.as_deref(), Some("bob"));
    rig.reply("_\r\n");
    rig.send(&["SELECT 99"]);
    rig.hear("-ERR DB index is out of range\r\n");
    rig.send(&["GET j"]);
    assert_eq!(rig.host.identity.lock().as_ref().unwrap().db, 7);
}

const CONFIRMED: &str = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
const MESSAGE: &str = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n";

#[test]
fn messages_come_after_the_confirmation_whatever_is_in_front() {
    for version in [2, 3] {
        let mut rig = rig();
        let kind = if version == 3 { ">" } else { "*" };
        let [confirmed, message] = [CONFIRMED, MESSAGE].map(|frame| frame.replacen('*', kind, 1));
        if version == 3 {
            rig.send(&["HELLO 3"]);
            rig.hear("%1\r\n$5\r\nproto\r\n:3\r\n");
            rig.out();
        }
        rig.hold(b"k", b"$1\r\n1\r\n");
        rig.send(&["SET j 1", "GET k", "SUBSCRIBE c", "PING"]);
        rig.hear(&format!("+OK\r\n{confirmed}{message}+PONG\r\n{message}"));
        let due = format!("+OK\r\n$1\r\n1\r\n{confirmed}{message}+PONG\r\n{message}");
        assert_eq!(rig.out(), due);
        rig.send(&["GET k"]);
        assert_eq!(rig.sent().last().unwrap(), "GET k", "subscribed");
    }
}

#[test]
fn unsubscribing_from_everything_takes_as_many_confirmations() {
    let mut rig = rig();
    let end =
        |channel: &str, left: u32| format!("*3\r\n$11\r\nunsubscribe\r\n{channel}\r\n:{left}\r\n");
    rig.send(&["UNSUBSCRIBE", "PING"]);
    rig.hear(&format!("{}+PONG\r\n", end("$-1", 0)));
    assert_eq!(rig.out(), format!("{}+PONG\r\n", end("$-1", 0)));
    rig.send(&["SUBSCRIBE c d", "UNSUBSCRIBE", "PING"]);
    let second = "*3\r\n$9\r\nsubscribe\r\n$1\r\nd\r\n:2\r\n";
    let ends = end("$1\r\nc", 1) + &end("$1\r\nd", 0);
    rig.hear(&format!("{CONFIRMED}{second}{ends}+PONG\r\n"));
    assert_eq!(rig.out(), format!("{CONFIRMED}{second}{ends}+PONG\r\n"));
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.send(&["GET k"]);
    assert_eq!(rig.out(), "$1\r\n1\r\n", "plain again");
}

#[test]
fn without_replies_there_is_only_a_pipe() {
    for line in ["CLIENT REPLY OFF", "CLIENT REPLY SKIP", "MONITOR"] {
        let mut rig = rig();
        rig.hold(b"k", b"$1\r\n1\r\n");
        rig.send(&["ECHO a", line, "GET k"]);
        assert_eq!(rig.sent(), ["ECHO a"], "what was asked before is answered first");
        rig.hear("$1\r\na\r\n");
        assert_eq!(rig.sent(), [line, "GET k"]);
        rig.hear("$1\r\n2\r\nany bytes");
        assert_eq!(rig.out(), "$1\r\na\r\n$1\r\n2\r\nany bytes");
    }
}

#[test]
fn a_pipe_that_writes_is_a_barrier_with_every_answer() {
    let mut rig = rig();
    rig.send(&["CLIENT REPLY OFF", "SET k 2", "CLIENT REPLY ON"]);
    rig.hear("+OK\r\n");
    assert_eq!(rig.barriers(), 1);
}

#[test]
fn quit_is_answered_and_then_nothing() {
    let mut rig = rig();
    rig.send(&["QUIT", "ECHO a"]);
    assert_eq!((rig.out(), rig.sent()), ("+OK\r\n".to_owned(), Vec::new()));
    assert_eq!(rig.session.core.ending, Ending::AfterOutput);
    let mut rig = self::rig();
    rig.send(&["ECHO a", "QUIT", "ECHO b"]);
    assert_eq!(rig.sent(), ["ECHO a", "QUIT"]);
    rig.hear("$1\r\na\r\n+OK\r\n");
    assert_eq!(rig.out(), "$1\r\na\r\n+OK\r\n");
    assert_eq!(rig.session.core.ending, Ending::AfterOutput);
}

#[test]
fn a_reply_nobody_asked_for_is_the_last() {
    let mut rig = rig();
    rig.send(&["ECHO a"]);
    rig.hear("$1\r\na\r\n$6\r\nFORGED\r\n$1\r\nb\r\n");
    assert_eq!(rig.session.core.ending, Ending::AfterOutput);
    assert_eq!(rig.out(), "$1\r\na\r\n$6\r\nFORGED\r\n");
}

#[test]
fn a_reply_nobody_asked_for_answers_no_read() {
    let mut rig = rig();
    rig.send(&["ECHO a", "GET k"]);
    rig.hear("$1\r\na\r\n$6\r\nFORGED\r\n");
    assert_eq!(rig.out(), "$1\r\na\r\n");
    assert_eq!(rig.session.core.ending, Ending::AfterOutput);
}

#[test]
fn a_large_reply_is_passed_on_while_it_comes() {
    let mut rig = rig();
    rig.send(&["HELLO 3", "GETRANGE k 0 -1", "ECHO a"]);
    rig.hear("%1\r\n$5\r\nproto\r\n:3\r\n");
    rig.refuse_all();
    rig.out();
    let half = "x".repeat(50_000);
    rig.hear(&format!("$100000\r\n{half}"));
    assert!(rig.out().len() >= 50_000, "it is not kept until it is whole");
    let push = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
    rig.hear(&format!("{half}\r\n{push}$1\r\na\r\n"));
    assert!(rig.out().ends_with(&format!("x\r\n{push}$1\r\na\r\n")));
}

impl Rig {
    fn refuse_all(&mut self) {
        while !self.asked().is_empty() {
            self.refuse();
        }
    }
}

#[test]
fn after_reset_the_proxy_logs_in_again_before_anything_else() {
    let mut rig = Rig::new(alice(), 3, Limits::default());
    rig.send(&["PING"]);
    assert_eq!(rig.sent(), ["AUTH alice a", "SELECT 3"]);
    rig.hear("+OK\r\n");
    assert!(rig.sent().is_empty(), "not in another database than the proxy's");
    rig.hear("+OK\r\n");
    assert_eq!(rig.sent(), ["PING"]);
    rig.hear("+PONG\r\n");
    rig.send(&["SELECT 5", "RESET", "ECHO a"]);
    assert_eq!(rig.sent(), ["SELECT 5", "RESET"]);
    rig.hear("+OK\r\n+RESET\r\n");
    assert_eq!(rig.sent(), ["AUTH alice a", "SELECT 3"]);
    rig.hear("+OK\r\n+OK\r\n");
    assert_eq!(rig.sent(), ["ECHO a"]);
    rig.hear("$1\r\na\r\n");
    assert_eq!(rig.out(), "+PONG\r\n+OK\r\n+RESET\r\n$1\r\na\r\n");
    rig.send(&["GET k"]);
    let identity = rig.host.identity.lock().clone().unwrap();
    assert_eq!((identity.db, identity.login), (3, alice()));
}

#[test]
fn nothing_runs_when_the_proxys_own_login_is_refused() {
    let mut rig = Rig::new(alice(), 0, Limits::default());
    rig.send(&["SET k 1"]);
    rig.hear("-WRONGPASS x\r\n");
    assert!(rig.sent().is_empty(), "not even what was on its way");
    assert!(rig.out().starts_with("-MASTERDOWN cachee: the upstream refuses"));
}

#[test]
fn nothing_stays_begun_when_a_client_is_gone() {
    for is_upstream in [false, true] {
        let mut rig = rig();
        rig.send(&["SET k 1", "MULTI", "SET j 1", "EXEC", "MSET a 1 b 1"]);
        if is_upstream {
            rig.lose_upstream()
        } else {
            rig.close()
        }
        for key in ["k", "j", "a", "b"] {
            assert!(rig.host.store.inspect(key.as_bytes(), 0).is_empty(), "{key}");
        }
    }
}

#[test]
fn a_name_that_cannot_be_said_is_nobodys() {
    let mut rig = rig();
    rig.hold(b"k", b"$1\r\n1\r\n");
    for words in
        [&[&b"AUTH"[..], b"\xffbob", b"b"][..], &[b"HELLO", b"2", b"AUTH", b"\xffbob", b"b"]]
    {
        let mut bytes = Vec::new();
        encode_command(words, &mut bytes);
        rig.take_bytes(&bytes);
        rig.hear("+OK\r\n");
        rig.sent();
        rig.send(&["GET k"]);
        assert_eq!((rig.sent(), rig.out().as_str()), (vec!["GET k".to_owned()], "+OK\r\n"));
        rig.hear("-NOPERM no\r\n");
        assert_eq!(rig.out(), "-NOPERM no\r\n");
        rig.send(&["AUTH bob b"]);
        rig.hear("+OK\r\n");
        rig.hold(b"k", b"$1\r\n1\r\n");
        rig.send(&["GET k"]);
        assert_eq!(rig.out(), "+OK\r\n$1\r\n1\r\n");
        rig.sent();
    }
}

#[test]
fn hello_is_read_as_the_server_reads_it() {
    let mut rig = rig();
    for (line, user) in [
        ("HELLO 3 SETNAME AUTH AUTH bob b", Some("bob")),
        ("HELLO 3 AUTH bob b AUTH carol c", Some("carol")),
        ("HELLO 3", Some("carol")),
        ("RESET", None),
        ("HELLO 2 AUTH", None),
    ] {
        rig.send(&[line]);
        rig.hear("+OK\r\n");
        rig.send(&["GET k"]);
        rig.refuse();
        rig.hear("$-1\r\n");
        let identity = rig.host.identity.lock().take();
        let login = identity.and_then(|identity| identity.login);
        // Not asked for again where nothing has changed.
        if line != "HELLO 3" {
            assert_eq!(login.and_then(|login| login.user).as_deref(), user, "{line}");
        }
    }
}

#[test]
fn half_a_push_is_passed_on_before_the_pipe() {
    let mut rig = rig();
    rig.send(&["HELLO 3", "SUBSCRIBE c"]);
    rig.hear(&("%1\r\n$5\r\nproto\r\n:3\r\n".to_owned() + &CONFIRMED.replacen('*', ">", 1)));
    rig.out();
    rig.hear(">3\r\n$7\r\nmess");
    rig.send(&["CLIENT REPLY SKIP"]);
    rig.hear("age\r\n$1\r\nc\r\n$1\r\nm\r\n");
    assert_eq!(rig.out(), MESSAGE.replacen('*', ">", 1));
}

#[test]
fn a_wrong_discard_ends_no_transaction() {
    let mut rig = rig();
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.send(&["MULTI", "DISCARD x", "GET k", "DISCARD", "GET k"]);
    assert_eq!(rig.sent(), ["MULTI", "DISCARD x", "GET k", "DISCARD", "GET k"]);
    rig.hear("+OK\r\n-ERR arity\r\n+QUEUED\r\n+OK\r\n$1\r\n1\r\n");
    rig.out();
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.send(&["GET k"]);
    assert_eq!(rig.out(), "$1\r\n1\r\n");
}

#[test]
fn what_has_failed_is_not_sent_later() {
    let mut rig = rig();
    rig.send(&["SET k 1"]);
    assert!(rig.session.core.upstream.is_wanted);
    rig.fail("refused");
    assert_eq!(rig.out(), "-MASTERDOWN cachee: refused\r\n");
    assert!(rig.sent().is_empty() && !rig.session.core.upstream.is_wanted);
}

#[test]
fn exchanged_databases_are_not_read_through_a_pipe_either() {
    let mut rig = rig();
    rig.send(&["CLIENT REPLY SKIP", "SWAPDB 0 1"]);
    rig.hold(b"k", b"$1\r\n1\r\n");
    rig.hear("+PONG\r\n");
    assert_eq!(rig.host.store.stats().entries, 0, "read before it was executed");
}
