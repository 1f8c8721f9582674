use super::*;
use proptest::prelude::*;

/// A real cluster's own answers (Valkey 8.1.8), kept as they came.
const RESP2: &[u8] = include_bytes!("../../../../tests/data/cluster-slots-valkey-8.1.8-resp2.resp");
const RESP3: &[u8] = include_bytes!("../../../../tests/data/cluster-slots-valkey-8.1.8-resp3.resp");

#[test]
fn a_real_reply_in_either_protocol() {
    let map = SlotMap::parse(RESP2, "asked").unwrap();
    assert_eq!(SlotMap::parse(RESP3, "asked").unwrap(), map);
    assert_eq!(map.serving_from(0).collect::<Vec<_>>(), [0, 1, 2]);
    for (slot, port) in
        [(0, 36109), (5460, 36109), (5461, 35979), (10921, 35979), (10922, 42351), (16383, 42351)]
    {
        assert_eq!(map.primary(slot), Some(&Address::new("127.0.0.1", port)), "{slot}");
    }
    assert_eq!(map.primary(SLOTS), None);
    let shard = map.shard(1).unwrap();
    assert_eq!(&*shard.id, "5d8fd68bee01223687b2ab2c2b338319a14f2ba5");
    assert_eq!(shard.replicas, [Address::new("127.0.0.1", 49831)]);
    assert!(map.knows(&Address::new("127.0.0.1", 49831)));
    assert!(!map.knows(&Address::new("127.0.0.1", 1)));
}

#[test]
fn a_broken_reply_is_refused_not_believed() {
    for cut in 0..RESP3.len() {
        assert!(SlotMap::parse(&RESP3[..cut], "h").is_none(), "{cut}");
    }
    for reply in [
        &b"-ERR This instance has cluster support disabled\r\n"[..],
        b"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n+a\r\n:1\r\n",
        b"*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n+?\r\n:1\r\n",
        b"*1\r\n*2\r\n:0\r\n:1\r\n",
        b"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n+a\r\n:-1\r\n",
    ] {
        assert!(SlotMap::parse(reply, "h").is_none(), "{}", reply.escape_ascii());
    }
    let nobody = SlotMap::parse(b"*0\r\n", "h").unwrap();
    assert_eq!((nobody.owner(0), nobody.serving_from(0).count()), (None, 0));
}

/// One range, one primary.
fn announced(host: &str, metadata: &str) -> SlotMap {
    let reply = format!("*1\r\n*3\r\n:0\r\n:1\r\n*4\r\n{host}:7\r\n+id\r\n{metadata}");
    SlotMap::parse(reply.as_bytes(), "asked").unwrap()
}

#[test]
fn hosts_as_nodes_announce_them() {
    for (host, metadata, expected) in [
        ("$-1\r\n", "*0\r\n", "asked"),
        ("_\r\n", "%0\r\n", "asked"),
        ("$0\r\n\r\n", "%0\r\n", "asked"),
        ("$1\r\n?\r\n", "%1\r\n+ip\r\n+10.1.1.1\r\n", "10.1.1.1"),
        ("$3\r\n::1\r\n", "*0\r\n", "::1"),
        ("$6\r\nnode-1\r\n", "*2\r\n+ip\r\n+10.1.1.1\r\n", "node-1"),
    ] {
        let map = announced(host, metadata);
        assert_eq!(map.primary(1), Some(&Address::new(expected, 7)), "{host}");
    }
    let named = announced("$8\r\n10.1.1.1\r\n", "%1\r\n+hostname\r\n+node-1\r\n");
    assert_eq!(named.shard(0).unwrap().hostname.as_deref(), Some("node-1"));
    assert!(SlotMap::parse(b"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\n?\r\n:1\r\n", "h").is_none());
}

/// A map in which each listed primary (by port) serves the slots from one number to the next.
pub(in super::super) fn map(primaries: &[(u16, u16)]) -> SlotMap {
    let mut reply = format!("*{}\r\n", primaries.len());
    for (at, &(first, port)) in primaries.iter().enumerate() {
        let last = primaries.get(at + 1).map_or(SLOTS, |next| next.0) - 1;
        reply += &format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n+h\r\n:{port}\r\n");
    }
    SlotMap::parse(reply.as_bytes(), "asked").unwrap()
}

fn ports(map: &SlotMap) -> Vec<u16> {
    map.shards.iter().map(|shard| shard.address.port).collect()
}

#[test]
fn numbers_outlive_moves_and_failovers() {
    let before = map(&[(0, 1), (5000, 2), (10000, 3)]);
    // Slot 0 moves to the second: by its lowest slot it would come first now.
    let mut moved = map(&[(0, 2), (1, 1), (5000, 2), (10000, 3)]);
    moved.inherit(&before);
    assert_eq!(ports(&moved), [1, 2, 3]);
    assert_eq!((moved.owner(0), moved.owner(1)), (Some(1), Some(0)));
    assert_eq!(moved.moved_since(&before).collect::<Vec<_>>(), [0]);
    // A replica takes over from the first.
    let mut taken = map(&[(0, 2), (1, 9), (5000, 2), (10000, 3)]);
    taken.inherit(&moved);
    assert_eq!(ports(&taken), [9, 2, 3]);
    // A new node gets slots of the third; the second gives all of its own to the third.
    let mut grown = map(&[(0, 3), (1, 9), (5000, 3), (10000, 4), (10001, 3)]);
    grown.inherit(&taken);
    assert_eq!(ports(&grown), [9, 2, 3, 4]);
    assert_eq!(grown.serving_from(0).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(grown.serving_from(1).next(), Some(2));
}

#[test]
fn a_moved_slot_is_assigned_until_the_map_is_asked_for() {
    let before = map(&[(0, 1), (5000, 2)]);
    let mut after = before.clone();
    after.assign(7, &Address::new("h", 2)).unwrap();
    after.assign(8, &Address::new("h", 3)).unwrap();
    assert_eq!(after.owner(7), Some(1));
    assert_eq!(after.primary(8), Some(&Address::new("h", 3)));
    assert_eq!(after.moved_since(&before).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(before.moved_since(&before).count(), 0);
    assert_ne!(after.moved_since(&before).count(), 0);
    assert!(after.assign(SLOTS, &Address::new("h", 1)).is_none());
}

fn maps() -> impl Strategy<Value = SlotMap> {
    let cuts = prop::collection::btree_set(1..SLOTS, 0..8);
    (cuts, prop::collection::vec(1_u16..8, 9)).prop_map(|(cuts, ports)| {
        let firsts = std::iter::once(0).chain(cuts);
        map(&firsts.zip(ports).collect::<Vec<_>>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))] // each looks at every slot of several maps

    #[test]
    fn inheriting_changes_numbers_only(history in prop::collection::vec(maps(), 2..6)) {
        let mut known = history[0].clone();
        for next in &history[1..] {
            let mut inherited = next.clone();
            inherited.inherit(&known);
            prop_assert_eq!(inherited.moved_since(next).count(), 0);
            for shard in 0..known.shards.len() as u16 {
                // Whoever still serves something has kept its number.
                let old = known.shard(shard).unwrap();
                if next.shards.iter().any(|now| now.address == old.address) {
                    prop_assert_eq!(&inherited.shard(shard).unwrap().address, &old.address);
                }
            }
            let mut serving = ports(&inherited);
            serving.sort_unstable();
            serving.dedup();
            prop_assert_eq!(serving.len(), inherited.shards.len());
            known = inherited;
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), at in 0..300_usize) {
        let mut reply = RESP3[..at].to_vec();
        reply.extend(bytes);
        let _ = SlotMap::parse(&reply, "h");
    }
}
