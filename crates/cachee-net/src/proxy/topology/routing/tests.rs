use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

/// A real server's own answer (Valkey 8.1.8, RESP3), kept as it came.
pub(in super::super) fn table() -> &'static CommandTable {
    static TABLE: LazyLock<CommandTable> = LazyLock::new(|| {
        let frame = include_bytes!("../../../../tests/data/command-valkey-8.1.8.resp");
        CommandTable::parse(frame).unwrap()
    });
    &TABLE
}

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

fn routed<'a>(table: &CommandTable, line: &'a str, state: State) -> Route<'a> {
    route(&words(line), table, state)
}

#[test]
fn keys_and_channels_find_the_node() {
    let table = table();
    for (line, word) in [
        ("GET k", "k"),
        ("set k v", "k"),
        ("GET {tag}k", "tag"),
        ("BLPOP a b 0", "a"),
        ("EVAL s 1 k x", "k"),
        ("FCALL f 1 k", "k"),
        ("XREADGROUP GROUP g c STREAMS s >", "s"),
        ("SORT k STORE d", "k"),
        ("SPUBLISH c m", "c"),
        ("SSUBSCRIBE c", "c"),
        ("HSCAN h 0", "h"),
        ("WATCH a b", "a"),
        ("OBJECT ENCODING k", "k"),
        ("MSETNX a 1 b 2", "a"),
        ("RENAME a b", "a"),
        // One slot, or not whole: not taken apart.
        ("MGET {t}a {t}b", "t"),
        ("DEL a", "a"),
        ("MSET a 1 b", "a"),
    ] {
        let expected = Route::Slot(slot(word.as_bytes()));
        assert_eq!(routed(table, line, State::Plain), expected, "{line}");
        assert_eq!(routed(table, line, State::Transaction), expected, "{line}");
    }
    assert_eq!(routed(table, "CLUSTER GETKEYSINSLOT 7 10", State::Plain), Route::Slot(7));
    assert_eq!(routed(table, "CLUSTER COUNTKEYSINSLOT 16384", State::Plain), Route::Any);
}

#[test]
fn what_has_no_key_goes_to_any_node() {
    let table = table();
    for line in [
        "PING",
        "ECHO x",
        "EVAL s 0",
        "PUBLISH c m",
        "SUBSCRIBE c",
        "PSUBSCRIBE c*",
        "MULTI",
        "EXEC",
        "UNWATCH",
        "INFO",
        "MEMORY STATS",
        "TIME",
        "CLUSTER INFO",
        "CLUSTER KEYSLOT k",
        "CONFIG GET x",
        "CLIENT LIST",
        "SCAN abc",
        "SCAN",
        "GET",
        "MGET",
        "EVAL s x k",
        "NOSUCH k",
        "CLUSTER NOSUCH",
        "",
    ] {
        assert_eq!(routed(table, line, State::Plain), Route::Any, "{line}");
        assert_eq!(routed(table, line, State::Transaction), Route::Any, "{line}");
    }
    assert_eq!(route(&[], table, State::Plain), Route::Any);
}

#[test]
fn policies_say_which_nodes_and_how_to_join() {
    let table = table();
    for (line, which, join) in [
        ("DBSIZE", Nodes::Primaries, Join::Sum),
        ("FLUSHALL ASYNC", Nodes::Primaries, Join::AllSucceeded),
        ("flushdb", Nodes::Primaries, Join::AllSucceeded),
        ("KEYS *", Nodes::Primaries, Join::Concat),
        ("RANDOMKEY", Nodes::Primaries, Join::OneOf),
        ("WAIT 1 100", Nodes::Primaries, Join::Min),
        ("WAITAOF 1 0 100", Nodes::Primaries, Join::Min),
        ("SCRIPT EXISTS a b", Nodes::Primaries, Join::And),
        ("SCRIPT KILL", Nodes::Primaries, Join::OneSucceeded),
        ("SCRIPT LOAD x", Nodes::All, Join::AllSucceeded),
        ("SCRIPT FLUSH", Nodes::All, Join::AllSucceeded),
        ("FUNCTION LOAD x", Nodes::Primaries, Join::AllSucceeded),
        ("CONFIG SET a b", Nodes::All, Join::AllSucceeded),
        ("SLOWLOG GET", Nodes::All, Join::Concat),
        ("SLOWLOG LEN", Nodes::All, Join::Sum),
        ("LATENCY RESET", Nodes::All, Join::Sum),
        ("ACL SETUSER u", Nodes::All, Join::AllSucceeded),
    ] {
        let expected = Route::Every { which, join };
        assert_eq!(routed(table, line, State::Plain), expected, "{line}");
        let refused = Route::Refuse(EVERY_IN_TRANSACTION);
        assert_eq!(routed(table, line, State::Transaction), refused, "{line}");
    }
    let cursor = Cursor { shard: 3, inner: 2 };
    assert_eq!(routed(table, "SCAN 2051 COUNT 10", State::Plain), Route::Scan(cursor));
}

#[test]
fn what_one_endpoint_cannot_do_is_refused() {
    let table = table();
    for line in ["SHUTDOWN", "CLUSTER FAILOVER", "CLUSTER MEET h 1", "cluster forget id"] {
        assert_eq!(routed(table, line, State::Plain), Route::Refuse(ONE_NODE), "{line}");
    }
    for line in ["AUTH p", "HELLO 3", "SELECT 0", "CLIENT SETNAME n", "CLIENT NO-TOUCH ON"] {
        assert_eq!(routed(table, line, State::Plain), Route::Connection, "{line}");
        // Queued like anything else.
        assert_eq!(routed(table, line, State::Transaction), Route::Any, "{line}");
    }
}

#[test]
fn several_slots_are_taken_apart() {
    let table = table();
    let Route::Split { parts, join } = routed(table, "MSET a 1 b 2 x{a} 3", State::Plain) else {
        panic!("not taken apart")
    };
    assert_eq!(join, Join::AllSucceeded);
    let first = Part { slot: slot(b"a"), words: words("MSET a 1 x{a} 3"), positions: vec![0, 2] };
    let second = Part { slot: slot(b"b"), words: words("MSET b 2"), positions: vec![1] };
    assert_eq!(parts, [first, second]);
    for (line, expected) in [
        ("MGET a b", Join::Positions),
        ("DEL a b", Join::Sum),
        ("UNLINK a b", Join::Sum),
        ("EXISTS a b", Join::Sum),
        ("TOUCH a b", Join::Sum),
    ] {
        let Route::Split { join, .. } = routed(table, line, State::Plain) else { panic!("{line}") };
        assert_eq!(join, expected, "{line}");
        // The server refuses it there, in its own words.
        let whole = Route::Slot(slot(b"a"));
        assert_eq!(routed(table, line, State::Transaction), whole, "{line}");
    }
}

proptest! {
    #[test]
    fn parts_are_the_command(
        name in prop::sample::select(&["MGET", "DEL", "MSET"][..]),
        keys in prop::collection::vec("[a-c]{0,2}(\\{[xy]\\})?", 1..40),
    ) {
        let table = table();
        let groups: Vec<Vec<&[u8]>> = keys
            .iter()
            .map(|key| match name {
                "MSET" => vec![key.as_bytes(), b"v"],
                _ => vec![key.as_bytes()],
            })
            .collect();
        let mut args = vec![name.as_bytes()];
        args.extend(groups.iter().flatten());
        match route(&args, table, State::Plain) {
            Route::Slot(only) => {
                prop_assert!(keys.iter().all(|key| slot(key.as_bytes()) == only));
            }
            Route::Split { parts, .. } => {
                let mut whole = vec![Vec::new(); keys.len()];
                for part in &parts {
                    prop_assert_eq!(part.words[0], name.as_bytes());
                    let own = part.words[1..].chunks(groups[0].len());
                    prop_assert_eq!(own.len(), part.positions.len());
                    for (group, &position) in own.zip(&part.positions) {
                        prop_assert_eq!(slot(group[0]), part.slot);
                        prop_assert!(whole[position as usize].is_empty());
                        whole[position as usize] = group.to_vec();
                    }
                    prop_assert!(part.positions.is_sorted());
                }
                prop_assert_eq!(whole, groups);
                let mut slots: Vec<_> = parts.iter().map(|part| part.slot).collect();
                slots.sort_unstable();
                slots.dedup();
                prop_assert_eq!(slots.len(), parts.len());
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn any_words_are_routed(line in "(EVAL|MGET|SCAN|XREAD|SORT|MIGRATE|CLUSTER)( [A-Z0-9a-z]{0,9}){0,6}") {
        let table = table();
        for state in [State::Plain, State::Transaction] {
            let _ = routed(table, &line, state);
        }
    }
}
