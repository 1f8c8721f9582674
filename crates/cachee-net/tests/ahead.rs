//! Reads sent ahead of the application: every interleaving with who asks, with pushes and writes.

mod support;

use std::sync::Arc;

use cachee_net::admission::Admission;
use cachee_net::{AheadConfig, Outcome, Read};
use support::{
    Client, HELLO_VALKEY, Server, Session, bulk, invalidate, outcome, reply_of, with_prefetch,
};

/// So often a rule has to be right before it is acted on.
const TRIALS: u64 = 8;

fn connected() -> (Client, Session, Server) {
    Client::connected(with_prefetch)
}

fn session_of(round: u64) -> String {
    format!("session:{round}a")
}

/// No two follow each other.
fn user_of(round: u64) -> u64 {
    1_000 + round * 7
}

fn value_of(round: u64) -> String {
    format!("{{\"version\": 3, \"user_id\": {}}}", user_of(round))
}

/// Requests that read a session and then the rights of its user, as often as it takes.
fn learn(client: &Client, session: &mut Session) {
    for round in 0..=TRIALS {
        client.load(session, &session_of(round), &value_of(round));
        client.load(session, &format!("perm:{}", user_of(round)), "rights");
    }
}

/// Reads one more session; the rights of its user are asked for unasked. Returns their key.
fn predicted(client: &Client, session: &mut Session, round: u64) -> String {
    client.load(session, &session_of(round), &value_of(round));
    let key = format!("perm:{}", user_of(round));
    session.expect(&[&format!("GET {key}"), &format!("PTTL {key}")]);
    key
}

fn arrived(client: &Client, key: &str) {
    client.until("it is here", || {
        client.store.inspect(key.as_bytes(), 0).iter().any(|row| row.deadline_ms > 0)
    });
}

#[test]
fn it_is_here_before_it_is_asked_for() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    session.send(&format!("{}:-1\r\n", bulk("ahead")));
    arrived(&client, &key);
    let read = format!("GET {key}");
    assert_eq!(client.hit(&read), None, "the first to ask says so");
    assert_eq!(client.read(&read), Read::Present);
    assert_eq!(client.hit(&read), Some(bulk("ahead")));
    let stats = client.link.ahead_stats().unwrap().rules;
    assert_eq!((stats.issued, stats.used, stats.late, stats.unused), (1, 1, 0, 0));
    let rule = &client.link.rules(1)[0];
    assert_eq!(
        (rule.source.as_str(), rule.target.as_str()),
        ("session:{1}", "perm:{value.user_id}")
    );
    assert!(rule.is_trusted && rule.issued == 1 && rule.used == 1);
}

#[test]
fn who_asks_while_it_is_on_its_way_waits_for_it() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    let read = format!("GET {key}");
    let reply = client.submit(&read);
    session.send(&format!("{}:-1\r\n", bulk("ahead")));
    assert_eq!(reply_of(&reply), bulk("ahead"));
    client.fence(&mut session);
    assert_eq!(client.hit(&read), Some(bulk("ahead")), "a hit like any other");
    let stats = client.link.ahead_stats().unwrap().rules;
    assert_eq!((stats.issued, stats.used, stats.late), (1, 0, 1));
}

#[test]
fn a_push_between_reply_and_ttl_voids_it() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    session.send(&format!("{}{}:-1\r\n", bulk("old"), invalidate(&[&key])));
    client.fence(&mut session);
    let reply = client.submit(&format!("GET {key}"));
    session.answer_get(&key, "new", -1);
    assert_eq!(reply_of(&reply), bulk("new"));
}

#[test]
fn a_push_drops_what_nobody_has_asked_for_yet() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    session.send(&format!("{}:-1\r\n", bulk("old")));
    arrived(&client, &key);
    session.send(&invalidate(&[&key]));
    client.fence(&mut session);
    let reply = client.submit(&format!("GET {key}"));
    session.answer_get(&key, "new", -1);
    assert_eq!(reply_of(&reply), bulk("new"));
    assert_eq!(client.store.stats().ahead_unused, 1);
}

#[test]
fn an_own_write_meanwhile_keeps_it_out() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    let dep = client.dep(&key);
    client.store.begin_write(&[dep]);
    session.send(&format!("{}:-1\r\n", bulk("old")));
    client.fence(&mut session);
    client.store.end_write(&[dep]);
    let reply = client.submit(&format!("GET {key}"));
    session.answer_get(&key, "new", -1);
    assert_eq!(reply_of(&reply), bulk("new"));
}

#[test]
fn nothing_is_sent_ahead_of_a_key_that_is_being_written() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let dep = client.dep(&format!("perm:{}", user_of(99)));
    client.store.begin_write(&[dep]);
    client.load(&mut session, &session_of(99), &value_of(99));
    client.fence(&mut session);
    assert_eq!(client.link.ahead_stats().unwrap().rules.issued, 0);
}

#[test]
fn who_asks_behind_a_barrier_does_not_get_what_was_sent_before_it() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    client.link.barrier();
    let reply = client.submit(&format!("GET {key}"));
    session.expect(&[&format!("GET {key}"), &format!("PTTL {key}")]);
    session.send(&format!("{}:-1\r\n{}:-1\r\n", bulk("old"), bulk("new")));
    assert_eq!(reply_of(&reply), bulk("new"));
    client.fence(&mut session);
    assert_eq!(client.hit(&format!("GET {key}")), Some(bulk("new")));
}

#[test]
fn nor_what_had_come_before_it() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    session.send(&format!("{}:-1\r\n", bulk("old")));
    arrived(&client, &key);
    client.link.barrier();
    let reply = client.submit(&format!("GET {key}"));
    session.answer_get(&key, "new", -1);
    assert_eq!(reply_of(&reply), bulk("new"));
}

#[test]
fn a_lost_link_takes_it_along_and_what_was_learned_stays() {
    let (client, mut session, server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    session.send(&format!("{}:-1\r\n", bulk("old")));
    arrived(&client, &key);
    drop(session);
    let mut session = server.accept_tracked(HELLO_VALKEY);
    client.until_ready();
    let reply = client.submit(&format!("GET {key}"));
    session.answer_get(&key, "new", -1);
    assert_eq!(reply_of(&reply), bulk("new"));
    predicted(&client, &mut session, 100);
}

#[test]
fn an_error_to_it_is_nobodys() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    session.send("-WRONGTYPE not a string\r\n:-1\r\n");
    client.fence(&mut session);
    assert_eq!(client.link.statistics().bypassed, [0; 14]);
    let reply = client.submit(&format!("GET {key}"));
    session.answer_get(&key, "value", -1);
    assert_eq!(reply_of(&reply), bulk("value"));
}

#[test]
fn an_error_to_it_sends_who_had_joined_to_his_own_connection() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    let reply = client.submit(&format!("GET {key}"));
    session.send("-NOPERM no\r\n:-1\r\n");
    assert!(matches!(outcome(&reply), Outcome::Bypass(_)));
}

#[test]
fn keys_that_may_not_be_cached_are_not_sent() {
    let (client, mut session, _server) = Client::connected(|config| {
        let none: [&[u8]; 0] = [];
        let admission = Arc::new(Admission::new(
            &["*"],
            &[format!("perm:{}", user_of(99))],
            &none.map(|prefix| (prefix, true)),
        ));
        config.ahead = Some(AheadConfig { reads_a_miss: 1.0, admission });
    });
    learn(&client, &mut session);
    client.load(&mut session, &session_of(99), &value_of(99));
    client.fence(&mut session);
    assert_eq!(client.link.ahead_stats().unwrap().rules.issued, 0);
    predicted(&client, &mut session, 100);
}

#[test]
fn a_busy_link_sends_nothing_ahead() {
    let (client, mut session, _server) = Client::connected(|config| {
        with_prefetch(config);
        config.max_in_flight = 32;
    });
    learn(&client, &mut session);
    let waiting: Vec<_> = (0..4).map(|nth| client.submit(&format!("STRLEN w{nth}"))).collect();
    let reply = client.submit(&format!("GET {}", session_of(99)));
    for nth in 0..4 {
        session.expect(&[&format!("STRLEN w{nth}"), &format!("PTTL w{nth}")]);
    }
    session.expect(&[&format!("GET {}", session_of(99)), &format!("PTTL {}", session_of(99))]);
    // The session's reply comes while another four reads have just been sent.
    session.send(&":1\r\n:-1\r\n".repeat(4));
    waiting.iter().for_each(|reply| assert_eq!(reply_of(reply), ":1\r\n"));
    let waiting: Vec<_> = (4..8).map(|nth| client.submit(&format!("STRLEN w{nth}"))).collect();
    session.send(&format!("{}:-1\r\n", bulk(&value_of(99))));
    assert_eq!(reply_of(&reply), bulk(&value_of(99)));
    for nth in 4..8 {
        session.expect(&[&format!("STRLEN w{nth}"), &format!("PTTL w{nth}")]);
    }
    session.send(&":1\r\n:-1\r\n".repeat(4));
    waiting.iter().for_each(|reply| assert_eq!(reply_of(reply), ":1\r\n"));
    client.fence(&mut session);
    assert_eq!(client.link.ahead_stats().unwrap().rules.issued, 0);
}

#[test]
fn who_only_keeps_score_sends_nothing() {
    let (client, mut session, _server) = Client::connected(|config| {
        config.ahead = Some(AheadConfig { reads_a_miss: 0.0, admission: Arc::default() });
    });
    learn(&client, &mut session);
    client.load(&mut session, &session_of(99), &value_of(99));
    client.fence(&mut session);
    let stats = client.link.ahead_stats().unwrap().rules;
    assert_eq!((stats.issued, stats.trusted), (0, 1));
}

#[test]
fn who_is_not_to_be_learned_from_teaches_nothing() {
    let (client, mut session, _server) = connected();
    for round in 0..=2 * TRIALS {
        for (key, value) in [
            (session_of(round), value_of(round)),
            (format!("perm:{}", user_of(round)), "rights".to_owned()),
        ] {
            let read = client.request(&format!("GET {key}"), |request| {
                let request = cachee_net::Request { flow: None, ..*request };
                client.link.read(&request, Box::new(|_| {}))
            });
            assert_eq!(read, Read::Submitted);
            session.answer_get(&key, &value, -1);
            client.until("it is here", || client.hit(&format!("GET {key}")).is_some());
        }
    }
    assert_eq!(client.link.ahead_stats().unwrap().rules.events, 0);
}

/// A key that was hit often enough.
fn heat_flags(client: &Client, session: &mut Session) {
    client.load(session, "flags", "old");
    client.fence(session);
    for _ in 0..3 {
        assert_eq!(client.hit("GET flags"), Some(bulk("old")));
    }
}

#[test]
fn a_key_that_was_hit_and_has_changed_is_asked_for_again() {
    let (client, mut session, _server) = connected();
    client.load(&mut session, "seldom", "old");
    heat_flags(&client, &mut session);
    session.send(&invalidate(&["flags", "seldom"]));
    session.expect(&["GET flags", "PTTL flags"]);
    assert_eq!(client.hit("GET flags"), None, "the old one is gone at once");
    session.send(&format!("{}:-1\r\n", bulk("new")));
    arrived(&client, "flags");
    assert_eq!(client.read("GET flags"), Read::Present);
    assert_eq!(client.hit("GET flags"), Some(bulk("new")));
    let stats = client.link.ahead_stats().unwrap().refetch;
    assert_eq!((stats.issued, stats.used), (1, 1));
}

#[test]
fn a_change_while_it_is_asked_for_again_is_not_missed() {
    let (client, mut session, _server) = connected();
    heat_flags(&client, &mut session);
    session.send(&invalidate(&["flags"]));
    session.expect(&["GET flags", "PTTL flags"]);
    session.send(&format!("{}{}:-1\r\n", bulk("second"), invalidate(&["flags"])));
    client.fence(&mut session);
    let reply = client.submit("GET flags");
    session.answer_get("flags", "third", -1);
    assert_eq!(reply_of(&reply), bulk("third"));
}

#[test]
fn what_was_hot_is_read_again_after_a_write_of_our_own() {
    let (client, mut session, _server) = connected();
    client.load(&mut session, "seldom", "old");
    heat_flags(&client, &mut session);
    let deps = ["flags", "seldom"].map(|key| client.dep(key));
    client.store.begin_write(&deps);
    client.store.begin_write(&deps[..1]);
    assert!(client.store.end_write(&deps).is_empty(), "another write of it is under way");
    let hot = client.store.end_write(&deps[..1]);
    assert_eq!(hot.iter().map(|hot| &*hot.key).collect::<Vec<_>>(), [b"flags"]);
    client.link.written(&hot);
    session.expect(&["GET flags", "PTTL flags"]);
    session.send(&format!("{}{}:-1\r\n", invalidate(&["flags"]), bulk("new")));
    arrived(&client, "flags");
    assert_eq!(client.read("GET flags"), Read::Present, "the push was of the write");
    assert_eq!(client.hit("GET flags"), Some(bulk("new")));
    let stats = client.link.ahead_stats().unwrap().refetch;
    assert_eq!((stats.issued, stats.used), (1, 1));
}

#[test]
fn a_write_that_follows_at_once_keeps_the_value_before_it_out() {
    let (client, mut session, _server) = connected();
    heat_flags(&client, &mut session);
    let dep = [client.dep("flags")];
    client.store.begin_write(&dep);
    client.link.written(&client.store.end_write(&dep));
    session.expect(&["GET flags", "PTTL flags"]);
    client.store.begin_write(&dep);
    session.send(&format!("{}:-1\r\n", bulk("of the first")));
    client.fence(&mut session);
    assert!(client.store.end_write(&dep).is_empty(), "nobody has hit it");
    let reply = client.submit("GET flags");
    session.answer_get("flags", "of the second", -1);
    assert_eq!(reply_of(&reply), bulk("of the second"));
}

/// A server that knows nothing but `v`, until its connection ends.
fn answer_all(mut session: Session) {
    std::thread::spawn(move || {
        while let Some(command) = session.try_command() {
            session.try_send(match &*command[0] {
                "GET" => "$1\r\nv\r\n",
                "PING" => "+PONG\r\n",
                _ => ":-1\r\n",
            });
        }
    });
}

#[test]
fn an_order_that_comes_again_is_read_ahead() {
    let (client, session, _server) = connected();
    answer_all(session);
    let keys: Vec<String> = (0..200).map(|nth| format!("w{}x{nth}", nth * 7 % 200)).collect();
    let mut joined_or_found = 0;
    for _ in 0..3 {
        let before = client.link.statistics().joined;
        let mut found = 0;
        for key in &keys {
            match client.start(&format!("GET {key}")) {
                (Read::Submitted, reply) => assert_eq!(reply_of(&reply), bulk("v")),
                (read, _) => {
                    assert_eq!(read, Read::Present);
                    found += 1;
                }
            }
        }
        joined_or_found = found + client.link.statistics().joined - before;
        keys.iter().for_each(|key| assert!(client.store.invalidate(client.dep(key)) <= 1));
    }
    let stats = client.link.ahead_stats().unwrap();
    assert!(joined_or_found > 150, "{joined_or_found} of 200, {stats:?}");
    assert!(stats.streams.used + stats.streams.late >= joined_or_found, "{stats:?}");
}

#[test]
fn what_is_learned_in_is_taken_out_of_the_capacity_and_given_back() {
    let (client, _session, _server) = connected();
    let store = Arc::clone(&client.store);
    let quarter = store.capacity_bytes() / 4;
    assert!(!store.reserve(quarter), "the link has some of it");
    assert!(store.reserve(quarter - (1 << 20)));
    store.give_back(quarter - (1 << 20));
    drop(client);
    let deadline = std::time::Instant::now() + support::LIMIT;
    // Its thread has it until it ends.
    while !store.reserve(quarter) {
        assert!(std::time::Instant::now() < deadline, "the link's own is back");
        std::thread::yield_now();
    }
}

#[test]
fn what_was_hit_is_read_again_before_it_ends_and_served_meanwhile() {
    let (client, session, _server) = Client::connected(|config| {
        with_prefetch(config);
        config.max_staleness_ms = 150;
        config.max_age_ms = 600;
    });
    answer_all(session);
    for key in ["hot", "cold"] {
        let reply = client.submit(&format!("GET {key}"));
        assert_eq!(reply_of(&reply), bulk("v"));
    }
    let renewed = || client.link.ahead_stats().unwrap().renewal;
    client.until("it is stored", || client.stored("GET hot").is_some());
    client.until("it has been renewed three times", || {
        if client.hit("GET hot").is_none() {
            // This machine was too busy to come by in time.
            client.start("GET hot");
        }
        renewed().used >= 2
    });
    assert!(renewed().issued >= 3 && renewed().unused == 0, "{:?}", renewed());
    assert!(client.store.stats().replaced >= 2);
    assert_eq!(client.stored("GET cold"), None, "nobody asked for it");
}

#[test]
fn what_may_not_be_kept_is_not_sent_for_long() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    // The user may read the key and not ask how long it lives.
    std::thread::spawn(move || {
        while let Some(command) = session.try_command() {
            let user = command[1].strip_prefix("session:");
            let reply = match (&*command[0], user) {
                ("GET", Some(name)) => bulk(&value_of(name.trim_end_matches('a').parse().unwrap())),
                ("GET", None) => bulk("rights"),
                (_, Some(_)) => ":-1\r\n".to_owned(),
                (_, None) => "-NOPERM no\r\n".to_owned(),
            };
            session.try_send(&reply);
        }
    });
    for round in 100..300 {
        for key in [session_of(round), format!("perm:{}", user_of(round))] {
            if let (Read::Submitted, reply) = client.start(&format!("GET {key}")) {
                outcome(&reply);
            }
        }
    }
    let stats = client.link.ahead_stats().unwrap().rules;
    assert!((1..60).contains(&stats.issued), "{stats:?}");
}

#[test]
fn behind_a_barrier_nothing_counts_as_found() {
    let (client, mut session, _server) = connected();
    learn(&client, &mut session);
    let key = predicted(&client, &mut session, 99);
    session.send(&format!("{}:-1\r\n", bulk("old")));
    arrived(&client, &key);
    client.link.barrier();
    let reply = client.submit(&format!("GET {key}"));
    session.answer_get(&key, "new", -1);
    assert_eq!(reply_of(&reply), bulk("new"));
    let (store, rules) = (client.store.stats(), client.link.ahead_stats().unwrap().rules);
    assert_eq!((store.ahead_used, store.ahead_unused), (0, 1));
    assert_eq!((rules.issued, rules.used, rules.unused), (1, 0, 1));
}
