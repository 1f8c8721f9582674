use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use cachee_core::{Hot, Store, StoreConfig};
use proptest::prelude::*;

use super::*;
use crate::admission::Admission;
use crate::commands::CommandTable;
use crate::proxy::config::{Limits, Login, Mode};
use crate::proxy::counters::Counters;
use crate::proxy::host::{Feed, Host, Identity};
use crate::proxy::reply::Reply as Stored;
use crate::proxy::topology::Address;
use crate::proxy::topology::slots::{SlotMap, slot};
use crate::resp::Reader;

/// What the router never asks.
struct Nobody;

impl Host for Nobody {
    fn store(&self) -> &Store<Stored> {
        static STORE: LazyLock<Store<Stored>> = LazyLock::new(|| {
            Store::new(StoreConfig { capacity_bytes: 1 << 20, shards: 1, seed: 1 })
        });
        &STORE
    }

    fn feed(&self, _: &Identity) -> Option<Arc<dyn Feed>> {
        None
    }

    fn written(&self, _: &[Hot]) {}

    fn barrier(&self) {}

    fn rights_changed(&self) {}

    fn is_open(&self) -> bool {
        true
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn info(&self) -> String {
        String::new()
    }
}

static TABLE: LazyLock<CommandTable> = LazyLock::new(|| {
    let frame = include_bytes!("../../../../tests/data/command-valkey-8.1.8.resp");
    CommandTable::parse(frame).unwrap()
});
static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);
static ADMISSION: LazyLock<Admission> =
    LazyLock::new(|| Admission::new(&["*"], &[] as &[&str], &[] as &[(&str, bool)]));
static COUNTERS: LazyLock<Counters> = LazyLock::new(Counters::default);

fn context(now_ms: u64) -> Context<'static> {
    Context {
        host: &Nobody,
        table: Some(&TABLE),
        limits: &LIMITS,
        mode: Mode::On,
        admission: &ADMISSION,
        counters: &COUNTERS,
        login: None,
        db: 0,
        recorder: None,
        now_ms,
    }
}

fn at(node: u16) -> Address {
    Address::new("h", 7000 + node)
}

/// As the nodes would tell it: half of the slots each.
fn map(owner: impl Fn(u16) -> u16) -> SlotMap {
    let mut ranges = Vec::new();
    for slot in 0..16384 {
        let port = 7000 + owner(slot);
        ranges.push(format!("*3\r\n:{slot}\r\n:{slot}\r\n*3\r\n$1\r\nh\r\n:{port}\r\n$1\r\ni\r\n"));
    }
    let text = format!("*{}\r\n{}", ranges.len(), ranges.concat());
    SlotMap::parse(text.as_bytes(), "h").unwrap()
}

fn half(slot: u16) -> u16 {
    u16::from(slot >= 8192)
}

/// A key of each half.
const FIRST: &str = "b";
const SECOND: &str = "a";

fn router() -> Router {
    static MAP: LazyLock<SlotMap> = LazyLock::new(|| map(half));
    router_of(MAP.clone())
}

fn router_of(map: SlotMap) -> Router {
    let cluster = Arc::new(Cluster::new());
    cluster.publish(map, Vec::new(), 0);
    Router::new(cluster, Facade::new(None, false), 0)
}

fn submit(router: &mut Router, line: &str) {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    router.submit(&context(0), &words);
}

/// What was sent to a node, a command a line.
fn sent(router: &mut Router, node: u16) -> Vec<String> {
    let Some(connection) = router.connections.iter_mut().find(|each| each.address == at(node))
    else {
        return Vec::new();
    };
    let bytes = connection.out.take(usize::MAX);
    let mut reader = Reader::new(&bytes);
    let mut lines = Vec::new();
    while let Some(count) = reader.elements() {
        let words: Vec<_> =
            (0..count).map(|_| String::from_utf8_lossy(reader.string().unwrap())).collect();
        lines.push(words.join(" "));
    }
    lines
}

fn reply(router: &mut Router, node: u16, frames: &str) {
    let number = router.connections.iter().position(|each| each.address == at(node)).unwrap();
    router.take_bytes(&context(0), number, frames.as_bytes(), false);
}

/// What the client has been told since.
fn told(router: &mut Router) -> String {
    let frame = |ready| match ready {
        Ready::Reply(frame) | Ready::Push(frame) => String::from_utf8(frame).unwrap(),
    };
    router.ready.drain(..).map(frame).collect::<Vec<_>>().concat().replace("\r\n", " ")
}

#[test]
fn the_keys_are_of_different_nodes() {
    assert_eq!((half(slot(FIRST.as_bytes())), half(slot(SECOND.as_bytes()))), (0, 1));
}

#[test]
fn replies_are_in_the_order_of_the_commands() {
    let mut router = router();
    for line in ["GET b", "GET a", "MGET a b", "PING", "GET b"] {
        submit(&mut router, line);
    }
    assert_eq!(sent(&mut router, 0), ["GET b", "MGET b", "PING", "GET b"]);
    assert_eq!(sent(&mut router, 1), ["GET a", "MGET a"]);
    reply(&mut router, 1, ":2\r\n*1\r\n:3\r\n");
    assert_eq!(told(&mut router), "");
    reply(&mut router, 0, ":1\r\n*1\r\n:4\r\n+PONG\r\n:5\r\n");
    assert_eq!(told(&mut router), ":1 :2 *2 :3 :4 +PONG :5 ");
    assert_eq!((router.bytes, router.ways.len()), (0, 0));
}

#[test]
fn a_command_is_sent_on_and_those_behind_it_stay_behind() {
    let mut router = router();
    submit(&mut router, "SET b 1");
    submit(&mut router, "SET b 2");
    sent(&mut router, 0);
    let moved = format!("-MOVED {} h:7001\r\n", slot(b"b"));
    reply(&mut router, 0, &moved);
    assert_eq!(sent(&mut router, 1), ["SET b 1"]);
    submit(&mut router, "SET b 3");
    assert!(sent(&mut router, 1).is_empty(), "it would overtake the second");
    reply(&mut router, 0, &moved);
    reply(&mut router, 1, "+OK\r\n");
    assert_eq!(sent(&mut router, 1), ["SET b 2"]);
    reply(&mut router, 1, "+OK\r\n");
    assert_eq!(sent(&mut router, 1), ["SET b 3"]);
    reply(&mut router, 1, "+OK\r\n");
    assert_eq!(told(&mut router), "+OK +OK +OK ");
}

#[test]
fn a_node_that_is_not_of_the_cluster_is_not_asked() {
    let mut router = router();
    submit(&mut router, "GET b");
    reply(&mut router, 0, &format!("-ASK {} evil:1\r\n", slot(b"b")));
    assert_eq!(router.connections.len(), 1);
    assert!(router.retry_ms().is_some());
}

#[test]
fn asking_goes_before_what_is_asked() {
    let mut router = router();
    submit(&mut router, "GET b");
    reply(&mut router, 0, &format!("-ASK {} h:7001\r\n", slot(b"b")));
    assert_eq!(sent(&mut router, 1), ["ASKING", "GET b"]);
    reply(&mut router, 1, "+OK\r\n$1\r\nx\r\n");
    assert_eq!(told(&mut router), "$1 x ");
}

#[test]
fn what_is_to_be_tried_again_is_and_then_given_up() {
    let mut router = router();
    submit(&mut router, "MGET b b");
    submit(&mut router, "GET a");
    assert_eq!(sent(&mut router, 0), ["MGET b b"]);
    reply(&mut router, 0, "-TRYAGAIN x\r\n");
    submit(&mut router, "GET a");
    assert_eq!(sent(&mut router, 1), ["GET a"], "the second waits");
    let due_ms = router.retry_ms().unwrap();
    router.retry(&context(due_ms));
    assert_eq!(sent(&mut router, 0), ["MGET b b"]);
    assert_eq!(sent(&mut router, 1), ["GET a"]);
    router.take_bytes(&context(60_000), 0, b"-TRYAGAIN x\r\n", false);
    reply(&mut router, 1, ":1\r\n:2\r\n");
    assert_eq!(told(&mut router), "-TRYAGAIN x :1 :2 ");
}

#[test]
fn a_transaction_is_at_one_node_and_begins_alone() {
    let mut router = router();
    for line in ["MULTI", "SET a 1", "SET b 1", "EXEC", "GET b"] {
        submit(&mut router, line);
    }
    assert_eq!(told(&mut router), "+OK ");
    assert_eq!(sent(&mut router, 1), ["MULTI"]);
    reply(&mut router, 1, "+OK\r\n");
    assert_eq!(sent(&mut router, 1), ["SET a 1"]);
    reply(&mut router, 1, "+QUEUED\r\n");
    assert_eq!(sent(&mut router, 1), ["SET b 1", "EXEC"]);
    let moved = format!("-MOVED {} h:7000\r\n", slot(b"b"));
    reply(&mut router, 1, &format!("{moved}-EXECABORT x\r\n"));
    reply(&mut router, 0, ":1\r\n");
    let cross = "-CROSSSLOT Keys in request don't hash to the same slot ";
    assert_eq!(told(&mut router), format!("+QUEUED {cross}-EXECABORT x :1 "));
}

#[test]
fn a_transaction_begins_anew_where_its_slot_has_gone() {
    let mut router = router();
    for line in ["MULTI", "SET a 1", "GET a", "EXEC"] {
        submit(&mut router, line);
    }
    reply(&mut router, 1, "+OK\r\n");
    reply(&mut router, 1, &format!("-MOVED {} h:7000\r\n", slot(b"a")));
    assert_eq!(sent(&mut router, 1), ["MULTI", "SET a 1", "DISCARD"]);
    assert_eq!(sent(&mut router, 0), ["MULTI"]);
    reply(&mut router, 1, "+OK\r\n");
    reply(&mut router, 0, "+OK\r\n");
    reply(&mut router, 0, "+QUEUED\r\n");
    assert_eq!(sent(&mut router, 0), ["SET a 1", "GET a", "EXEC"]);
    reply(&mut router, 0, "+QUEUED\r\n*2\r\n+OK\r\n:1\r\n");
    assert_eq!(told(&mut router), "+OK +QUEUED +QUEUED *2 +OK :1 ");
    assert_eq!((router.bytes, router.held.len(), router.is_beginning), (0, 0, false));
}

#[test]
fn a_transaction_that_cannot_begin_does_nothing() {
    let mut router = router();
    for line in ["MULTI", "SET a 1", "EXEC"] {
        submit(&mut router, line);
    }
    reply(&mut router, 1, "-NOPERM x\r\n");
    assert_eq!(sent(&mut router, 1), ["MULTI"]);
    assert!(told(&mut router).starts_with("+OK -NOPERM x -EXECABORT"));
}

#[test]
fn what_is_watched_is_where_the_transaction_is() {
    let mut router = router();
    for line in ["WATCH a", "WATCH b", "MULTI", "SET b 1"] {
        submit(&mut router, line);
    }
    assert_eq!(sent(&mut router, 1), ["WATCH a", "MULTI"]);
    reply(&mut router, 1, "+OK\r\n+OK\r\n");
    assert_eq!(sent(&mut router, 1), ["SET b 1"], "where it is refused");
    assert!(told(&mut router).starts_with("+OK -CROSSSLOT"));
    router.lose(&context(0), 0, "x");
    router.lose(&context(0), 1, "x");
    assert!(router.failure == Some(Failure::Lost));
}

#[test]
fn a_lost_node_costs_what_was_asked_of_it() {
    let mut router = router();
    submit(&mut router, "CLIENT SETNAME n");
    for line in ["GET b", "MGET a b", "GET a"] {
        submit(&mut router, line);
    }
    assert_eq!(sent(&mut router, 0), ["CLIENT SETNAME n", "GET b", "MGET b"]);
    assert_eq!(sent(&mut router, 1), ["CLIENT SETNAME n"], "the rest as who it is then");
    reply(&mut router, 0, "+OK\r\n");
    reply(&mut router, 1, "+OK\r\n");
    assert_eq!(sent(&mut router, 1), ["MGET a", "GET a"]);
    reply(&mut router, 1, "*1\r\n:1\r\n:2\r\n");
    router.lose(&context(0), 0, "gone");
    let lost = "-CLUSTERDOWN cachee: gone ";
    assert_eq!(told(&mut router), format!("+OK {lost}{lost}:2 "));
    assert!(router.failure.is_none());
    submit(&mut router, "GET b");
    assert_eq!(sent(&mut router, 0), ["CLIENT SETNAME n"]);
    reply(&mut router, 0, "+OK\r\n");
    assert_eq!(sent(&mut router, 0), ["GET b"]);
}

#[test]
fn nothing_runs_at_a_node_before_it_has_accepted_the_proxy() {
    let login = Login { user: None, password: b"x".to_vec() };
    let context = Context { login: Some(&login), ..context(0) };
    let mut router = router();
    let ask = |router: &mut Router, line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        router.submit(&context, &words);
    };
    for line in ["GET b", "RESET", "GET b"] {
        ask(&mut router, line);
    }
    assert_eq!(sent(&mut router, 0), ["AUTH default x"]);
    reply(&mut router, 0, "+OK\r\n");
    assert_eq!(sent(&mut router, 0), ["GET b", "RESET", "AUTH default x"]);
    reply(&mut router, 0, "$1\r\n1\r\n+RESET\r\n+OK\r\n");
    assert_eq!(sent(&mut router, 0), ["GET b"]);
    reply(&mut router, 0, "$1\r\n2\r\n");
    assert_eq!(told(&mut router), "$1 1 +RESET $1 2 ");
    ask(&mut router, "GET a");
    assert_eq!(sent(&mut router, 1), ["AUTH default x"]);
    reply(&mut router, 1, "-WRONGPASS no\r\n");
    assert!(matches!(router.failure, Some(Failure::Refused(_))));
    assert!(sent(&mut router, 1).is_empty());
}

#[test]
fn a_login_that_not_every_node_accepts_runs_nothing_as_somebody_else() {
    const YES: &str = "+OK\r\n";
    const NO: &str = "-WRONGPASS no\r\n";
    let answers = [(YES, YES), (YES, NO), (NO, YES), (NO, NO)];
    for (is_first, (here, there)) in answers.map(|each| [(false, each), (true, each)]).concat() {
        let mut router = router();
        submit(&mut router, "GET b");
        sent(&mut router, 0);
        reply(&mut router, 0, "$1\r\n1\r\n");
        for line in ["AUTH bob b", "SET a 1", "RESET"] {
            submit(&mut router, line);
        }
        assert_eq!(sent(&mut router, 0), ["AUTH bob b"]);
        assert_eq!(sent(&mut router, 1), ["AUTH bob b"]);
        let (first, second) =
            if is_first { ((0, here), (1, there)) } else { ((1, there), (0, here)) };
        reply(&mut router, first.0, first.1);
        assert!(sent(&mut router, 1).is_empty(), "it is not known yet who this client is");
        reply(&mut router, second.0, second.1);
        let disagree = matches!(router.failure, Some(Failure::Refused(_)));
        assert_eq!(disagree, here != there, "{here} {there}");
        let then = if disagree { vec![] } else { vec!["SET a 1", "RESET"] };
        assert_eq!(sent(&mut router, 1), then);
    }
}

#[test]
fn nodes_that_disagree_are_sent_nothing_any_more() {
    const NO: &str = "-WRONGPASS no\r\n";
    let keys = || (0..).map(|number| format!("k{number}"));
    let key = |node: u16| keys().find(|key| slot(key.as_bytes()) % 3 == node);
    let [first, second, third] = [0, 1, 2].map(|node| key(node).unwrap());
    let append = format!("APPEND {third} x");
    // A third node is opened while the others have not answered; a command waits for its turn.
    for lines in [["AUTH bob b", &append, "GET x"], ["AUTH bob b", "SUBSCRIBE ch", &append]] {
        let mut router = router_of(map(|slot| slot % 3));
        for (node, key) in [(0, &first), (1, &second)] {
            submit(&mut router, &format!("GET {key}"));
            sent(&mut router, node);
            reply(&mut router, node, "$1\r\n1\r\n");
        }
        for line in lines {
            submit(&mut router, line);
        }
        let opened = router.connections.iter().any(|each| each.address == at(2));
        assert_eq!(opened, lines[1] == append);
        let answers = [(2, NO), (0, NO), (1, "+OK\r\n")];
        for (node, answer) in answers.into_iter().skip(usize::from(!opened)) {
            assert!(router.failure.is_none());
            sent(&mut router, node);
            reply(&mut router, node, answer);
        }
        assert!(matches!(router.failure, Some(Failure::Refused(_))));
        assert_eq!([0, 1, 2].map(|node| sent(&mut router, node)).concat(), [""; 0]);
        router.abandon();
        router.failure = None;
        router.retry(&context(60_000));
        assert!(router.connections.iter().all(|each| each.is_sent() && !each.is_wanted));
    }
}

#[test]
fn everything_waits_behind_what_blocks() {
    let mut router = router();
    submit(&mut router, "BLPOP b 0");
    submit(&mut router, "SET a 1");
    assert!(sent(&mut router, 1).is_empty());
    reply(&mut router, 0, "*-1\r\n");
    assert_eq!(sent(&mut router, 1), ["SET a 1"]);
}

/// Nodes that count: `INCR` of a key at the owner of its slot, `MOVED` elsewhere.
struct Counting {
    owners: HashMap<u16, u16>,
    values: HashMap<String, u64>,
    /// Bytes on their way to each.
    inbound: [Vec<String>; 2],
    outbound: [Vec<String>; 2],
}

impl Counting {
    fn execute(&mut self, node: u16) {
        if self.inbound[usize::from(node)].is_empty() {
            return;
        }
        let line = self.inbound[usize::from(node)].remove(0);
        let key = line.strip_prefix("INCR ").unwrap();
        let slot = slot(key.as_bytes());
        let owner = *self.owners.get(&slot).unwrap_or(&half(slot));
        let reply = if owner == node {
            let value = self.values.entry(key.to_owned()).or_default();
            *value += 1;
            format!(":{value}\r\n")
        } else {
            format!("-MOVED {slot} h:{}\r\n", 7000 + owner)
        };
        self.outbound[usize::from(node)].push(reply);
    }
}

proptest! {
    #[test]
    fn commands_of_a_key_are_executed_in_their_order(
        events in prop::collection::vec((0..5_u8, 0..4_usize, 0..2_u16), 1..120),
    ) {
        const KEYS: [&str; 4] = ["a", "b", "c", "d"];
        let mut router = router();
        let mut nodes = Counting {
            owners: HashMap::new(),
            values: HashMap::new(),
            inbound: Default::default(),
            outbound: Default::default(),
        };
        let mut asked: Vec<&str> = Vec::new();
        let mut answers = String::new();
        // What happens, and then everything that is still to come.
        let rest = (0..800).map(|n| (1 + (n % 2) as u8 * 2, 0, (n / 2 % 2) as u16));
        for (event, key, node) in events.into_iter().chain(rest) {
            let key = KEYS[key];
            match event {
                0 => {
                    submit(&mut router, &format!("INCR {key}"));
                    asked.push(key);
                }
                1 | 2 => nodes.execute(node),
                3 => {
                    let place = usize::from(node);
                    nodes.inbound[place].extend(sent(&mut router, node));
                    if !nodes.outbound[place].is_empty() {
                        let frame = nodes.outbound[place].remove(0);
                        reply(&mut router, node, &frame);
                    }
                }
                _ => {
                    // Once: one that is back within one pipeline is beyond what is promised.
                    let slot = slot(key.as_bytes());
                    nodes.owners.entry(slot).or_insert(1 - half(slot));
                }
            }
            answers += &told(&mut router);
        }
        let mut counts: HashMap<&str, u64> = HashMap::new();
        let expected: Vec<String> = asked
            .iter()
            .map(|key| {
                let count = counts.entry(key).or_default();
                *count += 1;
                format!(":{count}")
            })
            .collect();
        let answers: Vec<&str> = answers.split_whitespace().collect();
        prop_assert_eq!(answers, expected);
        prop_assert_eq!((router.bytes, router.ways.len(), router.places.len()), (0, 0, 0));
        let keys: HashSet<_> = asked.into_iter().collect();
        prop_assert_eq!(keys.len(), nodes.values.len());
    }
}

/// What the router has handed over, pushes marked.
fn ready(router: &mut Router) -> Vec<String> {
    let text = |frame: Vec<u8>| String::from_utf8_lossy(&frame).into_owned();
    let shown = |ready| match ready {
        Ready::Reply(frame) => text(frame),
        Ready::Push(frame) => format!("push {}", text(frame)),
    };
    router.ready.drain(..).map(shown).collect()
}

fn confirmation(kind: &str, channel: &str, left: u32) -> String {
    format!("*3\r\n${}\r\n{kind}\r\n$1\r\n{channel}\r\n:{left}\r\n", kind.len())
}

/// The connection that the last command went to.
fn only_sender(router: &mut Router) -> usize {
    router.connections.iter().position(|each| !each.out.is_empty()).expect("something was sent")
}

#[test]
fn a_subscription_waits_for_what_is_before_it() {
    let mut router = router();
    submit(&mut router, "APPEND b 1");
    let first = only_sender(&mut router);
    router.connections[first].out.take(usize::MAX);
    submit(&mut router, "SUBSCRIBE c");
    assert!(router.connections.iter().all(|each| each.out.is_empty()));
    router.take_bytes(&context(0), first, b":1\r\n", false);
    let second = only_sender(&mut router);
    let message = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n";
    let bytes = confirmation("subscribe", "c", 1) + message;
    router.take_bytes(&context(0), second, bytes.as_bytes(), false);
    let expected =
        [":1\r\n".to_owned(), confirmation("subscribe", "c", 1), format!("push {message}")];
    assert_eq!(ready(&mut router), expected);
}

#[test]
fn unsubscribing_from_everything_is_counted_in_its_turn() {
    let mut router = router();
    submit(&mut router, "SUBSCRIBE a b");
    submit(&mut router, "UNSUBSCRIBE");
    let number = only_sender(&mut router);
    let subscribed = confirmation("subscribe", "a", 1) + &confirmation("subscribe", "b", 2);
    router.take_bytes(&context(0), number, subscribed.as_bytes(), false);
    submit(&mut router, "PING");
    let rest = confirmation("unsubscribe", "a", 1) + &confirmation("unsubscribe", "b", 0);
    router.take_bytes(&context(0), number, (rest + "+PONG\r\n").as_bytes(), false);
    assert_eq!(router.failure, None);
    assert_eq!(ready(&mut router).last().map(String::as_str), Some("+PONG\r\n"));
}

#[test]
fn what_is_repeated_on_new_connections_is_bounded() {
    let mut router = router();
    for at in 0..50 {
        for line in [
            format!("HELLO 3 SETNAME n{at}"),
            format!("HELLO 3 AUTH u p{at} SETNAME n"),
            format!("CLIENT SETNAME n{at}"),
            format!("CLIENT SETINFO LIB-NAME n{at}"),
            format!("CLIENT SETINFO LIB-VER n{at}"),
            format!("CLIENT CAPA n{at} x"),
        ] {
            submit(&mut router, &line);
            let number = router.connections.iter().position(|each| each.is_wanted).unwrap();
            router.take_bytes(&context(0), number, b"+OK\r\n", false);
        }
    }
    let names: Vec<_> =
        router.records.iter().map(|record| String::from_utf8_lossy(&record.name)).collect();
    let expected = [
        "HELLO false true",
        "HELLO true true",
        "CLIENT SETNAME",
        "CLIENT SETINFO LIB-NAME",
        "CLIENT SETINFO LIB-VER",
        "CLIENT CAPA",
    ];
    assert_eq!(names, expected);
}
