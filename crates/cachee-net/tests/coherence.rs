//! Every interleaving of replies, invalidations and own writes, forced by a scripted server.

mod support;

use cachee_net::{BypassReason, LinkConfig, Outcome, Read, Tracking};
use support::{Client, HELLO_REDIS_8, INVALIDATE_ALL, PANICS, bulk, invalidate, outcome, reply_of};

fn connected() -> (Client, support::Session, support::Server) {
    Client::connected(|_| {})
}

#[test]
fn a_push_before_the_reply_concerns_an_older_read() {
    let (client, mut session, _server) = connected();
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send(&format!("{}{}:-1\r\n", invalidate(&["k"]), bulk("new")));
    assert_eq!(reply_of(&reply), bulk("new"));
    assert_eq!(client.hit("GET k"), Some(bulk("new")));
}

#[test]
fn a_push_between_reply_and_ttl_voids_the_load() {
    let (client, mut session, _server) = connected();
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send(&format!("{}{}:-1\r\n", bulk("old"), invalidate(&["k"])));
    assert_eq!(reply_of(&reply), bulk("old"), "who asked before gets it once");
    assert_eq!(client.stored("GET k"), None);
    assert_eq!(client.store.stats().voided, 1);
    client.load(&mut session, "k", "new");
    assert_eq!(client.hit("GET k"), Some(bulk("new")));
}

#[test]
fn a_reader_after_a_voiding_push_does_not_get_the_old_value() {
    let (client, mut session, _server) = connected();
    let first = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send(&format!("{}{}", bulk("old"), invalidate(&["k"])));
    client.until("the push is applied", || client.link.statistics().invalidations == 1);
    let second = client.submit("GET k");
    session.send(":-1\r\n");
    session.answer_get("k", "new", -1);
    assert_eq!(reply_of(&first), bulk("old"));
    assert_eq!(reply_of(&second), bulk("new"));
    assert_eq!(client.hit("GET k"), Some(bulk("new")));
}

#[test]
fn a_push_after_the_load_drops_the_entry() {
    let (client, mut session, _server) = connected();
    client.load(&mut session, "k", "old");
    client.load(&mut session, "other", "stays");
    session.send(&invalidate(&["k"]));
    client.fence(&mut session);
    assert_eq!(client.hit("GET k"), None);
    assert_eq!(client.hit("GET other"), Some(bulk("stays")));
}

#[test]
fn a_push_in_the_same_segment_as_the_load_drops_the_entry() {
    let (client, mut session, _server) = connected();
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send(&format!("{}:-1\r\n{}", bulk("old"), invalidate(&["a", "k", "b"])));
    assert_eq!(reply_of(&reply), bulk("old"));
    client.fence(&mut session);
    assert_eq!(client.hit("GET k"), None);
}

#[test]
fn every_reply_shape_of_an_invalidated_key_goes() {
    let (client, mut session, _server) = connected();
    let field = client.submit("HGET h f");
    let length = client.submit("HLEN h");
    session.expect(&["HGET h f", "PTTL h", "HLEN h", "PTTL h"]);
    session.send("$1\r\nv\r\n:-1\r\n:1\r\n:-1\r\n");
    assert_eq!(reply_of(&field), bulk("v"));
    assert_eq!(reply_of(&length), ":1\r\n");
    assert_eq!(client.hit("HLEN h"), Some(":1\r\n".to_owned()));
    session.send(&invalidate(&["h"]));
    client.fence(&mut session);
    assert_eq!(client.hit("HGET h f"), None);
    assert_eq!(client.hit("HLEN h"), None);
}

#[test]
fn a_push_of_everything_voids_what_is_in_the_air_and_hides_what_is_held() {
    let (client, mut session, _server) = connected();
    client.load(&mut session, "held", "old");
    let scope = client.link.gate().scope();
    let read = client.submit("GET read");
    let unread = client.submit("GET unread");
    session.expect(&["GET read", "PTTL read", "GET unread", "PTTL unread"]);
    session.send(&format!("{}{INVALIDATE_ALL}:-1\r\n{}:-1\r\n", bulk("a"), bulk("b")));
    assert_eq!(reply_of(&read), bulk("a"));
    assert_eq!(reply_of(&unread), bulk("b"));
    assert_ne!(client.link.gate().scope(), scope);
    for key in ["held", "read", "unread"] {
        assert_eq!(client.stored(&format!("GET {key}")), None, "{key}");
    }
    client.load(&mut session, "held", "new");
    assert_eq!(client.hit("GET held"), Some(bulk("new")));
    assert_eq!(client.link.statistics().flushes, 1);
}

#[test]
fn an_own_write_during_the_read_keeps_the_value_out() {
    let (client, mut session, _server) = connected();
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    let dep = client.dep("k");
    client.store.begin_write(&[dep]);
    assert_eq!(client.read("GET k"), Read::Bypass(BypassReason::WriteInFlight));
    session.send(&format!("{}:-1\r\n", bulk("old")));
    assert_eq!(reply_of(&reply), bulk("old"));
    assert_eq!(client.stored("GET k"), None);
    client.store.end_write(&[dep]);
    client.load(&mut session, "k", "new");
    assert_eq!(client.hit("GET k"), Some(bulk("new")));
}

#[test]
fn a_read_sent_during_an_own_write_is_not_joined_after_it() {
    let (client, mut session, _server) = connected();
    let before = client.submit("GET k");
    let dep = client.dep("k");
    client.store.begin_write(&[dep]);
    client.store.end_write(&[dep]);
    let after = client.submit("GET k");
    session.answer_get("k", "old", -1);
    session.answer_get("k", "new", -1);
    assert_eq!(reply_of(&before), bulk("old"));
    assert_eq!(reply_of(&after), bulk("new"));
    assert_eq!(client.hit("GET k"), Some(bulk("new")));
}

#[test]
fn a_barrier_stops_hits_and_older_flights_until_something_newer_is_answered() {
    let (client, mut session, _server) = connected();
    client.load(&mut session, "held", "1");
    let before = client.submit("GET k");
    client.link.barrier();
    assert_eq!(client.hit("GET held"), None);
    let after = client.submit("GET k");
    let joined = client.submit("GET k");
    session.answer_get("k", "old", -1);
    assert_eq!(reply_of(&before), bulk("old"));
    assert_eq!(client.hit("GET held"), None, "an older answer proves nothing about the write");
    assert_eq!(client.stored("GET k"), None);
    session.send(&invalidate(&["held"]));
    session.answer_get("k", "new", -1);
    assert_eq!(reply_of(&after), bulk("new"));
    assert_eq!(reply_of(&joined), bulk("new"));
    assert_eq!(client.hit("GET k"), Some(bulk("new")));
    assert_eq!(client.hit("GET held"), None, "the write's push came before the answer");
}

#[test]
fn an_entry_is_not_believed_behind_a_barrier() {
    let (client, mut session, _server) = connected();
    client.load(&mut session, "k", "old");
    client.link.barrier();
    client.load(&mut session, "k", "new");
    assert_eq!(client.hit("GET k"), Some(bulk("new")));
}

#[test]
fn many_readers_of_a_cold_key_make_one_read() {
    let (client, mut session, _server) = connected();
    let waiting: Vec<_> = (0..8).map(|_| client.submit("GET k")).collect();
    session.answer_get("k", "v", -1);
    for reply in &waiting {
        assert_eq!(reply_of(reply), bulk("v"));
    }
    let statistics = client.link.statistics();
    assert_eq!((statistics.fetched, statistics.joined), (1, 7));
    assert_eq!(client.read("GET k"), Read::Present);
}

#[test]
fn blocked_readers_share_flights_and_one_of_them_reads_for_all() {
    let (client, mut session, _server) = connected();
    std::thread::scope(|scope| {
        let same: Vec<_> = (0..4).map(|_| scope.spawn(|| client.wait("GET k"))).collect();
        client.until("all wait", || {
            let statistics = client.link.statistics();
            statistics.fetched + statistics.joined == 4
        });
        let callback = client.submit("GET other");
        session.send(&invalidate(&["nobody"]));
        session.answer_get("k", "v", -1);
        session.answer_get("other", "w", -1);
        for thread in same {
            assert_eq!(thread.join().unwrap(), Outcome::Reply(bulk("v").as_bytes().into()));
        }
        assert_eq!(reply_of(&callback), bulk("w"));
    });
    assert_eq!(client.link.statistics().fetched, 2);
    assert_eq!(client.wait("GET k"), Outcome::Present);
}

#[test]
fn an_interrupted_reader_leaves_and_the_load_goes_on() {
    let (client, mut session, _server) = connected();
    let end = client.request("GET k", |request| client.link.read_wait(request, &mut || true));
    assert_eq!(end, Outcome::Bypass(BypassReason::Interrupted));
    session.answer_get("k", "v", -1);
    client.until("stored", || client.hit("GET k").is_some());
}

#[test]
fn a_missing_key_is_remembered() {
    let (client, mut session, _server) = connected();
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send("_\r\n:-2\r\n");
    assert_eq!(reply_of(&reply), "_\r\n");
    assert_eq!(client.hit("GET k"), Some("_\r\n".to_owned()));
    session.send(&invalidate(&["k"]));
    client.fence(&mut session);
    assert_eq!(client.hit("GET k"), None, "the key was created");
}

#[test]
fn a_key_that_expired_between_the_two_replies_is_not_stored() {
    let (client, mut session, _server) = connected();
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send(&format!("{}:-2\r\n", bulk("v")));
    assert_eq!(reply_of(&reply), bulk("v"));
    assert_eq!(client.stored("GET k"), None);
    let rank = client.submit("ZRANK z m");
    session.expect(&["ZRANK z m", "PTTL z"]);
    session.send(":0\r\n:-2\r\n");
    assert_eq!(reply_of(&rank), ":0\r\n");
    assert_eq!(client.stored("ZRANK z m"), None, "0 is a rank, not an absence");
}

#[test]
fn who_joined_a_flight_does_not_get_a_value_that_has_ended() {
    let (client, mut session, _server) = connected();
    for ttl in [0, -2] {
        let first = client.submit("GET k");
        let joined = client.submit("GET k");
        session.answer_get("k", "v", ttl);
        assert_eq!(reply_of(&first), bulk("v"), "asked before the read ran");
        assert_eq!(outcome(&joined), Outcome::Bypass(BypassReason::Expired));
    }
    let first = client.submit("GET k");
    let joined = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send(&bulk("v"));
    let sent_ms = cachee_net::clock::now_ms();
    client.until("the end of the value", || cachee_net::clock::now_ms() > sent_ms + 20);
    session.send(":20\r\n");
    assert_eq!(reply_of(&first), bulk("v"));
    assert_eq!(outcome(&joined), Outcome::Bypass(BypassReason::Expired));
}

#[test]
fn a_lifetime_that_is_not_told_is_not_guessed() {
    let (client, mut session, _server) = connected();
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send(&format!("{}-NOPERM no PTTL for you\r\n", bulk("v")));
    assert_eq!(reply_of(&reply), bulk("v"));
    assert_eq!(client.stored("GET k"), None);
}

#[test]
fn an_entry_lives_no_longer_than_its_key_or_max_age() {
    let (client, mut session, _server) = Client::connected(|config| config.max_age_ms = 40_000);
    let before_ms = cachee_net::clock::now_ms();
    for (key, ttl, life_ms) in
        [("short", 5_000, 5_000), ("long", 90_000, 40_000), ("none", -1, 40_000)]
    {
        let reply = client.submit(&format!("GET {key}"));
        session.answer_get(key, "v", ttl);
        reply_of(&reply);
        let now_ms = cachee_net::clock::now_ms();
        let rows = client.store.inspect(key.as_bytes(), now_ms);
        let deadline_ms = rows.first().expect("held").deadline_ms;
        assert!(deadline_ms >= before_ms + life_ms, "{key}");
        assert!(deadline_ms <= now_ms + life_ms, "{key}");
    }
    let gone = client.submit("GET gone");
    session.answer_get("gone", "v", 0);
    assert_eq!(reply_of(&gone), bulk("v"));
    assert_eq!(client.stored("GET gone"), None);
}

#[test]
fn an_answer_proves_the_moment_its_command_was_sent() {
    let (client, mut session, _server) =
        Client::connected(|config| config.max_staleness_ms = 50_000);
    let before_ms = cachee_net::clock::now_ms();
    let reply = client.submit("GET k");
    let after_ms = cachee_net::clock::now_ms();
    session.answer_get("k", "v", -1);
    reply_of(&reply);
    let until_ms = client.link.gate().serve_until_ms();
    assert!((before_ms + 50_000..=after_ms + 50_000).contains(&until_ms));
}

#[test]
fn an_error_reply_is_left_to_the_callers_own_connection() {
    let (client, mut session, _server) = connected();
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n:-1\r\n");
    assert_eq!(outcome(&reply), Outcome::Bypass(BypassReason::ErrorReply));
    client.load(&mut session, "k", "v");
}

#[test]
fn fields_that_expire_bound_the_reply() {
    let (client, mut session, _server) =
        Client::connected_to(HELLO_REDIS_8, |config: &mut LinkConfig| config.max_age_ms = 40_000);
    let life_ms = |key: &str| {
        let now_ms = cachee_net::clock::now_ms();
        let rows = client.store.inspect(key.as_bytes(), now_ms);
        rows.first().and_then(|row| row.deadline_ms.checked_sub(now_ms))
    };
    let field = client.submit("HGET h f");
    session.expect(&["HGET h f", "PTTL h", "HPTTL h FIELDS 1 f"]);
    session.send("$1\r\nv\r\n:-1\r\n*1\r\n:9000\r\n");
    reply_of(&field);
    assert!(life_ms("h").unwrap() <= 9_000);

    let whole = client.submit("HGETALL all");
    session.expect(&["HGETALL all", "PTTL all"]);
    session.send("%2\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n:-1\r\n");
    reply_of(&whole);
    assert_eq!(client.stored("HGETALL all"), None, "told, and not stored before the fields are");
    session.expect(&["HPTTL all FIELDS 2 a b"]);
    session.send("*2\r\n:-1\r\n:7000\r\n");
    client.until("stored", || life_ms("all").is_some_and(|life_ms| life_ms <= 7_000));

    // Voided between the reply and the fields' answer.
    let voided = client.submit("HKEYS gone");
    session.expect(&["HKEYS gone", "PTTL gone"]);
    session.send(&format!("*1\r\n$1\r\na\r\n:-1\r\n{}", invalidate(&["gone"])));
    reply_of(&voided);
    session.expect(&["HPTTL gone FIELDS 1 a"]);
    session.send("*1\r\n:-1\r\n");
    client.fence(&mut session);
    assert_eq!(client.stored("HKEYS gone"), None);
}

#[test]
fn a_field_that_ended_after_it_was_read_is_not_stored() {
    let (client, mut session, _server) = Client::connected_to(HELLO_REDIS_8, |_| {});
    for (read, reply, fields, ttls, is_stored) in [
        ("HGET a f", "$1\r\nv\r\n", "1 f", "*1\r\n:-2\r\n", false),
        ("HGET b f", "_\r\n", "1 f", "*1\r\n:-2\r\n", true),
        ("HEXISTS c f", ":1\r\n", "1 f", "*1\r\n:-2\r\n", false),
        ("HMGET d f g", "*2\r\n_\r\n$1\r\nv\r\n", "2 f g", "*2\r\n:-2\r\n:-1\r\n", true),
        ("HMGET e f g", "*2\r\n_\r\n$1\r\nv\r\n", "2 f g", "*2\r\n:-2\r\n:-2\r\n", false),
    ] {
        let key = read.split(' ').nth(1).unwrap();
        let end = client.submit(read);
        session.expect(&[read, &format!("PTTL {key}"), &format!("HPTTL {key} FIELDS {fields}")]);
        session.send(&format!("{reply}:-1\r\n{ttls}"));
        assert_eq!(reply_of(&end), reply);
        assert_eq!(client.stored(read).is_some(), is_stored, "{read}");
    }
    let whole = client.submit("HGETALL h");
    session.expect(&["HGETALL h", "PTTL h"]);
    session.send("%1\r\n$1\r\nf\r\n$1\r\nv\r\n:-1\r\n");
    reply_of(&whole);
    session.expect(&["HPTTL h FIELDS 1 f"]);
    session.send("*1\r\n:-2\r\n");
    client.fence(&mut session);
    assert_eq!(client.stored("HGETALL h"), None);
}

#[test]
fn a_reply_about_fields_it_does_not_name_is_trusted_no_longer_than_the_feed() {
    let (client, mut session, _server) = Client::connected_to(HELLO_REDIS_8, |config| {
        config.max_staleness_ms = 20_000;
        config.max_age_ms = 50_000;
    });
    let count = client.submit("HLEN h");
    session.expect(&["HLEN h", "PTTL h"]);
    session.send(":3\r\n:-1\r\n");
    assert_eq!(reply_of(&count), ":3\r\n");
    let now_ms = cachee_net::clock::now_ms();
    assert!(client.store.inspect(b"h", now_ms)[0].deadline_ms <= now_ms + 20_000);
}

#[test]
fn a_prefix_without_expiry_is_loaded_without_asking() {
    let (client, mut session, _server) = Client::connected(|config| {
        config.learn_ttl = true;
        config.max_staleness_ms = 20_000;
        config.max_age_ms = 50_000;
    });
    for number in 0..64 {
        client.load(&mut session, &format!("p:{number}"), "v");
    }
    let skipping = client.submit("GET p:99");
    session.expect(&["GET p:99"]);
    session.send(&bulk("v"));
    assert_eq!(reply_of(&skipping), bulk("v"));
    let now_ms = cachee_net::clock::now_ms();
    let deadline_ms = client.store.inspect(b"p:99", now_ms)[0].deadline_ms;
    assert!(deadline_ms <= now_ms + 20_000, "believed, not known");
    session.send(&invalidate(&["p:99"]));
    client.until("dropped", || client.stored("GET p:99").is_none());
    client.load(&mut session, "p:99", "w");
}

#[test]
fn opt_in_announces_every_read() {
    let server = support::Server::new();
    let client = Client::open(server.endpoint(), |config| config.tracking = Tracking::OptIn);
    let mut session = server.accept();
    assert_eq!(session.command()[0], "HELLO");
    session.send(support::HELLO_VALKEY);
    session.expect(&["CLIENT TRACKING ON OPTIN", "CLIENT TRACKINGINFO"]);
    session.send("+OK\r\n%1\r\n$5\r\nflags\r\n~2\r\n$2\r\non\r\n$5\r\noptin\r\n");
    session.after_tracking();
    client.until_ready();
    let reply = client.submit("GET k");
    session.expect(&["CLIENT CACHING YES", "GET k", "PTTL k"]);
    session.send(&format!("+OK\r\n{}:-1\r\n", bulk("v")));
    assert_eq!(reply_of(&reply), bulk("v"));
    assert_eq!(client.hit("GET k"), Some(bulk("v")));
}

#[test]
fn broadcast_serves_only_what_is_announced() {
    let server = support::Server::new();
    let client = Client::open(server.endpoint(), |config| {
        config.tracking = Tracking::Broadcast(vec![b"a:".to_vec(), b"b:".to_vec()]);
    });
    let mut session = server.accept();
    assert_eq!(session.command()[0], "HELLO");
    session.send(support::HELLO_VALKEY);
    session.expect(&["CLIENT TRACKING ON BCAST PREFIX a: PREFIX b:", "CLIENT TRACKINGINFO"]);
    session.send("+OK\r\n%1\r\n$5\r\nflags\r\n~2\r\n$2\r\non\r\n$5\r\nbcast\r\n");
    session.after_tracking();
    client.until_ready();
    assert_eq!(client.read("GET c:1"), Read::Bypass(BypassReason::NotTracked));
    client.load(&mut session, "b:1", "v");
    assert_eq!(client.hit("GET b:1"), Some(bulk("v")));
}

#[test]
fn a_batch_is_one_write_and_partly_present() {
    let (client, mut session, _server) = connected();
    client.load(&mut session, "a", "1");
    let ends = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            client.request("GET a", |a| {
                client.request("GET b", |b| {
                    client.request("GET c", |c| {
                        client.link.read_many_wait(&[*a, *b, *c, *b], &mut || false)
                    })
                })
            })
        });
        session.expect(&["GET b", "PTTL b", "GET c", "PTTL c"]);
        session.send("$1\r\n2\r\n:-1\r\n_\r\n:-2\r\n");
        reading.join().unwrap()
    });
    let reply = |frame: &str| Outcome::Reply(frame.as_bytes().into());
    assert_eq!(
        ends,
        [Outcome::Present, reply("$1\r\n2\r\n"), reply("_\r\n"), reply("$1\r\n2\r\n")]
    );
}

#[test]
fn a_thread_that_panics_leaves_nobody_waiting_and_nothing_to_be_served() {
    let (client, mut session, _server) = connected();
    client.load(&mut session, "held", "1");
    let first = client.submit("GET k");
    let second = client.submit("GET j");
    session.expect(&["GET k", "PTTL k", "GET j", "PTTL j"]);
    session.send(&format!("{PANICS}:-1\r\n"));
    assert!(first.recv().is_err() || outcome(&first) == Outcome::Bypass(BypassReason::Closed));
    assert_eq!(outcome(&second), Outcome::Bypass(BypassReason::Closed));
    assert_eq!(client.read("GET held"), Read::Bypass(BypassReason::Closed));
    assert_eq!(client.hit("GET held"), None);
}
