//! What was hot before, read again by its name: after a restart, and after a lost connection.

mod support;

use std::sync::Arc;

use cachee_core::{Hot, Store, StoreConfig};
use cachee_net::remembered::Remembered;
use cachee_net::{Link, LinkConfig};
use support::{Client, HELLO_VALKEY, Server, bulk, invalidate, reply_of, with_prefetch};

fn name(key: &str) -> Hot {
    let words = ["GET", key].map(|word| word.as_bytes().to_vec());
    match Remembered::from_words(words.to_vec(), 0) {
        Some(Remembered::Read(hot)) => hot,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_of_an_earlier_process_are_read_as_soon_as_there_is_a_connection() {
    let server = Server::new();
    let client = Client::open(server.endpoint(), |_| {});
    client.link.read_again(["a", "b"].map(name));
    assert_eq!(client.link.waiting_names().len(), 2);
    let mut session = server.accept();
    session.shake_hands_before(HELLO_VALKEY, &["GET a", "PTTL a", "GET b", "PTTL b"]);
    session.send(&format!("{}:-1\r\n{}:-1\r\n", bulk("of a"), bulk("of b")));
    for key in ["a", "b"] {
        client.until("a hit", || client.hit(&format!("GET {key}")).is_some());
    }
    assert!(client.link.waiting_names().is_empty());
    assert_eq!(client.link.statistics().warmed, 2);
    assert_eq!(client.store.stats().ahead_used, 0, "nobody predicted it");
}

#[test]
fn a_name_that_is_asked_for_meanwhile_is_read_once() {
    let (client, mut session, _server) = Client::connected(|_| {});
    client.link.read_again([name("a")]);
    session.expect(&["GET a", "PTTL a"]);
    let reply = client.submit("GET a");
    session.send(&format!("{}{}:-1\r\n", bulk("old"), invalidate(&["a"])));
    assert_eq!(reply_of(&reply), bulk("old"), "asked before the change");
    client.fence(&mut session);
    assert_eq!(client.hit("GET a"), None, "a push behind the reply voids it");
}

#[test]
fn no_more_than_so_many_names_are_on_their_way() {
    let (client, mut session, _server) = Client::connected(|_| {});
    client.link.read_again((0..200).map(|number| name(&format!("k{number}"))));
    for number in 0..64 {
        session.expect(&[&format!("GET k{number}"), &format!("PTTL k{number}")]);
    }
    assert_eq!(client.link.waiting_names().len(), 200, "those on their way may be lost yet");
    let reply = client.submit("GET other");
    session.expect(&["GET other", "PTTL other"]);
    for number in 0..64 {
        session.send(&format!("{}:-1\r\n", bulk(&number.to_string())));
    }
    session.send(&format!("{}:-1\r\n", bulk("of other")));
    assert_eq!(reply_of(&reply), bulk("of other"));
    for number in 64..200 {
        session.answer_get(&format!("k{number}"), "late", -1);
    }
    client.until("all of them", || client.link.statistics().warmed == 200);
}

#[test]
fn what_was_hit_before_a_connection_was_lost_is_read_again() {
    let (client, mut session, server) = Client::connected(with_prefetch);
    client.load(&mut session, "cold", "once");
    client.load(&mut session, "hot", "often");
    for _ in 0..2 {
        assert_eq!(client.hit("GET hot"), Some(bulk("often")));
    }
    drop(session);
    let mut session = server.accept();
    session.shake_hands_before(HELLO_VALKEY, &["GET hot", "PTTL hot"]);
    session.send(&format!("{}:-1\r\n", bulk("of now")));
    client.until("a hit", || client.hit("GET hot") == Some(bulk("of now")));
    assert_eq!(client.hit("GET cold"), None);
    assert_eq!(client.link.statistics().warmed, 1);
}

#[test]
fn what_a_lost_connection_has_left_behind_takes_no_room() {
    let store = Arc::new(Store::new(StoreConfig { capacity_bytes: 1 << 20, shards: 1, seed: 7 }));
    let server = Server::new();
    let mut config = LinkConfig::new(server.endpoint());
    with_prefetch(&mut config);
    let link = Link::open(config, Arc::clone(&store)).unwrap();
    let client = Client { store, link };
    let mut session = server.accept_tracked(HELLO_VALKEY);
    client.until_ready();
    let names = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    for name in names {
        client.load(&mut session, name, &"x".repeat(95_000));
    }
    client.fence(&mut session);
    for name in names {
        client.hit(&format!("GET {name}"));
        client.hit(&format!("GET {name}"));
    }
    assert!(client.store.is_nearly_full());
    drop(session);
    let mut session = server.accept();
    session.shake_hands(HELLO_VALKEY);
    let first = session.command();
    assert_eq!(first[0], "GET");
    assert!(names.contains(&first[1].as_str()));
}

#[test]
fn names_displace_nothing() {
    let store = Arc::new(Store::new(StoreConfig { capacity_bytes: 1 << 20, shards: 1, seed: 7 }));
    let server = Server::new();
    let link = Link::open(LinkConfig::new(server.endpoint()), Arc::clone(&store)).unwrap();
    let client = Client { store, link };
    let mut session = server.accept_tracked(HELLO_VALKEY);
    client.until_ready();
    for number in 0..10 {
        client.load(&mut session, &format!("large{number}"), &"x".repeat(100_000));
    }
    client.link.read_again([name("a")]);
    assert!(client.link.waiting_names().is_empty(), "nearly full: passed over");
    let reply = client.submit("GET b");
    session.answer_get("b", "the next command", -1);
    assert_eq!(reply_of(&reply), bulk("the next command"));
}
