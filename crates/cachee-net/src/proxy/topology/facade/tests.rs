use super::*;
use crate::proxy::topology::slots::SlotMap;
use crate::resp::{Node, Reader, Scan, Scanner};

/// A real cluster's own answers (Valkey 8.1.8), kept as they came.
const SLOTS_REPLIES: [(&[u8], Protocol); 2] = [
    (
        include_bytes!("../../../../tests/data/cluster-slots-valkey-8.1.8-resp2.resp"),
        Protocol::Resp2,
    ),
    (
        include_bytes!("../../../../tests/data/cluster-slots-valkey-8.1.8-resp3.resp"),
        Protocol::Resp3,
    ),
];
const SHARDS_REPLIES: [(&[u8], Protocol); 2] = [
    (
        include_bytes!("../../../../tests/data/cluster-shards-valkey-8.1.8-resp2.resp"),
        Protocol::Resp2,
    ),
    (
        include_bytes!("../../../../tests/data/cluster-shards-valkey-8.1.8-resp3.resp"),
        Protocol::Resp3,
    ),
];

fn facade() -> Facade {
    Facade::new(Some(Address::new("10.0.0.9", 6380)), false)
}

fn answer(facade: &Facade, line: &str, protocol: Protocol) -> Option<Vec<u8>> {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let answer = facade.answer(&args, protocol)?;
    assert_eq!(Scanner::new().scan(&answer), Ok(Scan::Complete(answer.len())));
    Some(answer)
}

/// Types, counts and, where they are the same for all nodes, texts.
fn shape(frame: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(frame);
    let mut shape = Vec::new();
    while !reader.is_at_end() {
        shape.push(match reader.next().unwrap() {
            Node::Bulk(text) if text.iter().all(|&b| b.is_ascii_lowercase() || b == b'-') => {
                String::from_utf8(text.to_vec()).unwrap()
            }
            Node::Bulk(_) => "text".to_owned(),
            Node::Integer(_) => "integer".to_owned(),
            other => format!("{other:?}"),
        });
    }
    shape
}

#[test]
fn slots_look_like_the_servers() {
    for (real, protocol) in SLOTS_REPLIES {
        let ours = answer(&facade(), "CLUSTER SLOTS", protocol).unwrap();
        // Ours has one range with one node, theirs three with two.
        let node = |frame: &[u8], ranges: usize, nodes: usize| {
            let mut reader = Reader::new(frame);
            assert_eq!(reader.next(), Some(Node::Array(ranges)));
            assert_eq!(reader.next(), Some(Node::Array(2 + nodes)));
            assert!(reader.integer().is_some() && reader.integer().is_some());
            shape(reader.raw().unwrap())
        };
        assert_eq!(node(&ours, 1, 1), node(real, 3, 2));
        let map = SlotMap::parse(&ours, "asked").unwrap();
        for slot in [0, SLOTS - 1] {
            assert_eq!(map.primary(slot), Some(&Address::new("10.0.0.9", 6380)));
        }
        assert_eq!(&*map.shard(0).unwrap().id, facade().id);
    }
}

#[test]
fn shards_look_like_the_servers() {
    for (real, protocol) in SHARDS_REPLIES {
        let ours = answer(&facade(), "cluster shards", protocol).unwrap();
        let parts = |frame: &[u8]| {
            let mut reader = Reader::new(frame);
            reader.next();
            let shard = format!("{:?}", reader.next());
            let slots = [reader.raw().unwrap(), reader.raw().unwrap()].map(shape);
            let nodes = reader.string().map(<[u8]>::to_vec);
            reader.next();
            (shard, slots, nodes, shape(reader.raw().unwrap()))
        };
        assert_eq!(parts(&ours), parts(real));
    }
    let tls = Facade::new(Some(Address::new("h", 1)), true);
    let shards = String::from_utf8(answer(&tls, "CLUSTER SHARDS", Protocol::Resp3).unwrap());
    assert!(shards.unwrap().contains("$8\r\ntls-port\r\n:1\r\n"));
}

#[test]
fn nodes_are_one_line() {
    let id = facade().id;
    let line = format!("{id} 10.0.0.9:6380@0 myself,master - 0 0 1 connected 0-16383\n");
    let resp2 = format!("${}\r\n{line}\r\n", line.len());
    let resp3 = format!("={}\r\ntxt:{line}\r\n", line.len() + 4);
    for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
        let nodes = answer(&facade(), "CLUSTER NODES", protocol).unwrap();
        assert_eq!(String::from_utf8(nodes).unwrap(), expected);
    }
}

#[test]
fn the_name_is_lasting_and_its_own() {
    let myid = |facade: &Facade| answer(facade, "CLUSTER MYID", Protocol::Resp2).unwrap();
    assert_eq!(myid(&facade()), myid(&facade()));
    assert_eq!(myid(&facade()).len(), b"$40\r\n\r\n".len() + 40);
    let other = Facade::new(Some(Address::new("10.0.0.9", 6381)), false);
    assert_ne!(myid(&facade()), myid(&other));
    let shard = answer(&facade(), "CLUSTER MYSHARDID", Protocol::Resp2).unwrap();
    assert_ne!(shard, myid(&facade()));
    let replicas = format!("CLUSTER REPLICAS {}", facade().id);
    assert_eq!(answer(&facade(), &replicas, Protocol::Resp3).unwrap(), b"*0\r\n");
}

#[test]
fn over_a_unix_socket_it_is_the_one_asked() {
    let facade = Facade::new(None, false);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let slots = answer(&facade, "CLUSTER SLOTS", protocol).unwrap();
        let map = SlotMap::parse(&slots, "asked").unwrap();
        assert_eq!(map.primary(0), Some(&Address::new("asked", 0)));
    }
}

#[test]
fn the_rest_is_the_servers() {
    for line in ["READONLY", "readwrite", "Asking"] {
        assert_eq!(answer(&facade(), line, Protocol::Resp2).unwrap(), b"+OK\r\n");
    }
    for line in [
        "READONLY x",
        "CLUSTER",
        "CLUSTER SLOTS x",
        "CLUSTER INFO",
        "CLUSTER KEYSLOT k",
        "CLUSTER REPLICAS id",
        "CLUSTER NOSUCH",
        "GET slots",
        "",
    ] {
        assert_eq!(answer(&facade(), line, Protocol::Resp2), None, "{line}");
    }
    assert_eq!(facade().answer(&[], Protocol::Resp2), None);
}
