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

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

#[test]
fn all_keys_are_found_read_or_written() {
    let table = table();
    for (line, keys) in [
        ("GET k", &["k"][..]),
        ("COPY a b", &["a", "b"]),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", &["d", "a", "b"]),
        ("EVAL s 2 a b c", &["a", "b"]),
        ("XREAD COUNT 2 STREAMS a b 0 0", &["a", "b"]),
        ("OBJECT ENCODING k", &["k"]),
        ("SPUBLISH channel m", &[]),
        ("PING", &[]),
    ] {
        let args = words(line);
        let keys: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
        assert_eq!(table.describe(&args).unwrap().keys(&args), Some(keys), "{line}");
    }
    for line in ["SORT k STORE d", "MIGRATE h 1 k 0 1", "LMPOP x a LEFT"] {
        let args = words(line);
        assert_eq!(table.describe(&args).unwrap().keys(&args), None, "{line}");
    }
    assert!(table.describe(&words("NOSUCH k")).is_none());
    assert!(table.describe(&words("OBJECT NOSUCH k")).is_none());
}

#[test]
fn a_node_is_found_by_any_known_key_or_channel() {
    let table = table();
    for (line, word) in [
        ("SORT k BY w_* STORE d", Some("k")),
        ("SPUBLISH channel m", Some("channel")),
        ("SSUBSCRIBE channel other", Some("channel")),
        ("EVAL s 1 k", Some("k")),
        ("EVAL s 0 k", None),
        ("XREAD STREAMS", None),
        ("GET", None),
        ("PUBLISH channel m", None),
    ] {
        let args = words(line);
        let found = table.describe(&args).unwrap().routed_by(&args);
        assert_eq!(found, word.map(str::as_bytes), "{line}");
    }
}

#[test]
fn what_can_be_taken_apart_is_keys_to_the_end() {
    let table = table();
    for (line, size) in [
        ("MGET a b c", Some(1)),
        ("MSET a 1 b 2", Some(2)),
        ("MSET a 1 b", None),
        ("MGET", None),
        ("DEL a", Some(1)),
        ("SET k v", None),
        ("BLPOP a b 0", None),
    ] {
        let args = words(line);
        assert_eq!(table.describe(&args).unwrap().group_size(&args), size, "{line}");
    }
}

#[test]
fn policies_and_flags_are_the_servers() {
    let table = table();
    let described = |line| table.describe(&words(line)).unwrap();
    let policies = |line| (described(line).request(), described(line).response());
    assert_eq!(policies("DBSIZE"), (RequestPolicy::AllShards, ResponsePolicy::Sum));
    assert_eq!(policies("SCRIPT LOAD x"), (RequestPolicy::AllNodes, ResponsePolicy::AllSucceeded));
    assert_eq!(policies("MGET a"), (RequestPolicy::MultiShard, ResponsePolicy::Default));
    assert_eq!(policies("SCAN 0"), (RequestPolicy::Special, ResponsePolicy::Special));
    assert_eq!(policies("GET a"), (RequestPolicy::Default, ResponsePolicy::Default));
    for (line, expected) in [
        ("BLPOP a 0", true),
        ("LPOP a", false),
        ("XREAD block 0 STREAMS s 0", true),
        ("XREAD COUNT 1 STREAMS s 0", false),
        ("XREADGROUP GROUP g c STREAMS s 0", false),
    ] {
        assert_eq!(table.is_blocking(&words(line)), expected, "{line}");
    }
    for line in ["CLIENT MAINT_NOTIFICATIONS ON", "client nosuch", "CLIENT"] {
        assert_eq!(effect(&table, line), Effect::None, "{line}");
    }
    assert!(described("cluster MEET h 1").is_admin());
    assert!(!described("CLUSTER SLOTS").is_admin());
    assert_eq!(described("Cluster Slots").name(), b"cluster|slots");
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

#[test]
fn a_plain_write_changes_its_first_argument_and_nothing_else() {
    let table = table();
    for line in
        ["SET k v EX 10", "getset k v", "INCR k", "HSET k f v", "XADD k * f v", "ZADD k 1 m"]
    {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        assert_eq!(table.written_key(&args), Some(&b"k"[..]), "{line}");
    }
    for line in [
        "SET",
        "GET k",
        "PFCOUNT k",
        "MSET k v",
        "DEL k",
        "RENAME k l",
        "BLPOP k 0",
        "SORT k",
        "XGROUP CREATE k g $",
        "SPUBLISH k m",
        "EVAL k 0",
        "FLUSHALL k",
        "EXEC k",
        "NEWER k",
    ] {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        assert_eq!(table.written_key(&args), None, "{line}");
    }
    // Whatever is found in one step is found in the general way as well.
    for name in table.commands.keys() {
        let args: [&[u8]; 3] = [name, b"k", b"v"];
        if let Some(key) = table.written_key(&args) {
            assert_eq!(table.effect(&args), Effect::Writes(vec![key]), "{}", name.escape_ascii());
            assert!(!table.is_blocking(&args));
        }
    }
}
