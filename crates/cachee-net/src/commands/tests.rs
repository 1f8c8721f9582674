use super::*;

/// A real server's own answer (Valkey 8.1.8, RESP3), kept as it came.
fn table() -> CommandTable {
    CommandTable::parse(include_bytes!("../../tests/data/command-valkey-8.1.8.resp")).unwrap()
}

fn effect(table: &CommandTable, line: &str) -> Effect<'static> {
    // Leaked: an effect borrows its arguments, and a test is short.
    let args: Vec<&'static [u8]> = line
        .split(' ')
        .map(|word| &*Box::leak(word.as_bytes().to_vec().into_boxed_slice()))
        .collect();
    table.effect(&args)
}

fn writes(keys: &[&'static str]) -> Effect<'static> {
    Effect::Writes(keys.iter().map(|key| key.as_bytes()).collect())
}

#[test]
fn keys_are_found_where_the_server_says() {
    let table = table();
    for (line, keys) in [
        ("SET k v", &["k"][..]),
        ("set k v GET", &["k"]),
        ("MSET a 1 b 2", &["a", "b"]),
        ("DEL a b c", &["a", "b", "c"]),
        ("RENAME a b", &["a", "b"]),
        ("COPY a b REPLACE", &["b"]),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", &["d"]),
        ("LMPOP 2 a b LEFT", &["a", "b"]),
        ("BLPOP a b 0", &["a", "b"]),
        ("XREADGROUP GROUP g c STREAMS s t > >", &["s", "t"]),
        ("XGROUP CREATE s g $", &["s"]),
        ("GEORADIUS g 1 2 3 km STORE d", &["d"]),
        ("GEORADIUS g 1 2 3 km", &[]),
        ("BITOP AND d a b", &["d"]),
        ("PFCOUNT h", &["h"]),
        ("GETEX k EX 10", &["k"]),
        ("SMOVE a b m", &["a", "b"]),
        ("RESTORE k 0 x", &["k"]),
        ("EXPIRE k 1", &["k"]),
        ("MOVE k 3", &["k"]),
    ] {
        assert_eq!(effect(&table, line), writes(keys), "{line}");
    }
}

#[test]
fn what_cannot_be_known_is_unknown() {
    let table = table();
    for line in [
        "EVAL script 0",
        "EVALSHA sha 1 k",
        "FCALL f 0",
        "SORT k",
        "SORT k STORE d",
        "EXEC",
        "MIGRATE h 1 k 0 1",
        "NOSUCH k",
        "XGROUP NOSUCH s",
        "XGROUP",
        "LMPOP x a LEFT",
        "",
    ] {
        assert_eq!(effect(&table, line), Effect::Unknown, "{line}");
    }
    let long = "x".repeat(1_000);
    assert_eq!(effect(&table, &long), Effect::Unknown);
    assert_eq!(table.effect(&[]), Effect::Unknown);
}

#[test]
fn reads_and_the_rest_are_told_apart() {
    let table = table();
    for line in ["GET k", "MGET a b", "EVAL_RO s 0", "WATCH k", "XREAD STREAMS s 0", "KEYS *"] {
        assert!(matches!(effect(&table, line), Effect::ReadOnly | Effect::None), "{line}");
    }
    for line in ["PING", "MULTI", "CLIENT INFO", "PUBLISH c m", "CONFIG GET x", "SUBSCRIBE c"] {
        assert_eq!(effect(&table, line), Effect::None, "{line}");
    }
    for line in ["FLUSHALL", "flushdb ASYNC", "SWAPDB 0 1", "DEBUG RELOAD"] {
        assert_eq!(effect(&table, line), Effect::FlushAll, "{line}");
    }
}

#[test]
fn a_broken_description_is_refused_not_believed() {
    let frame = include_bytes!("../../tests/data/command-valkey-8.1.8.resp");
    for cut in [0, 1, 100, 1_000, frame.len() / 2, frame.len() - 1] {
        assert!(CommandTable::parse(&frame[..cut]).is_none());
    }
    assert!(CommandTable::parse(b"-NOPERM\r\n").is_none());
    assert!(CommandTable::parse(b"*0\r\n").is_none());
}
