//! Lost, silent, slow and lying servers.

mod support;

use cachee_net::{BypassReason, LinkStatus, Outcome, Read};
use support::{Client, HELLO_VALKEY, INVALIDATE_ALL, bulk, invalidate, outcome, reply_of};

const LOST: Outcome = Outcome::Bypass(BypassReason::LinkLost);

fn is_down(client: &Client) -> bool {
    matches!(client.link.status(), LinkStatus::Down { .. })
}

#[test]
fn a_lost_connection_gives_flights_back_and_hides_everything_first() {
    let (client, mut session, server) = Client::connected(|_| {});
    client.load(&mut session, "held", "old");
    let scope = client.link.gate().scope();
    let unanswered = client.submit("GET a");
    let half_answered = client.submit("GET b");
    session.expect(&["GET a", "PTTL a", "GET b", "PTTL b"]);
    session.send(&format!("{}:-1\r\n{}", bulk("1"), bulk("2")));
    reply_of(&unanswered);
    drop(session);
    // By the time anyone is told, the old entries are out of reach.
    assert_eq!(outcome(&half_answered), LOST);
    assert_ne!(client.link.gate().scope(), scope);
    assert_eq!(client.hit("GET held"), None);

    let mut session = server.accept_tracked(HELLO_VALKEY);
    client.until_ready();
    assert_eq!(client.hit("GET held"), None);
    assert_eq!(client.stored("GET b"), None);
    client.load(&mut session, "held", "new");
    assert_eq!(client.hit("GET held"), Some(bulk("new")));
    assert_eq!(client.stored("GET a"), None, "nothing of the old connection is there");
}

#[test]
fn a_blocked_reader_is_given_back_when_the_connection_is_lost() {
    let (client, mut session, _server) = Client::connected(|_| {});
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| client.wait("GET k"));
        session.expect(&["GET k", "PTTL k"]);
        drop(session);
        assert_eq!(reading.join().unwrap(), LOST);
    });
}

#[test]
fn late_bytes_of_an_old_connection_mean_nothing() {
    let (client, mut old, server) = Client::connected(|config| {
        config.reply_timeout_ms = 50;
        config.max_staleness_ms = 100;
    });
    let given_back = client.submit("GET k");
    old.expect(&["GET k", "PTTL k"]);
    assert_eq!(outcome(&given_back), Outcome::Bypass(BypassReason::SlowServer));
    // Silent for twice max_staleness: connected to anew.
    let mut session = server.accept_tracked(HELLO_VALKEY);
    client.until_ready();
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    old.try_send(&format!("{}:-1\r\n{INVALIDATE_ALL}", bulk("old")));
    session.send(&format!("{}:-1\r\n", bulk("new")));
    assert_eq!(reply_of(&reply), bulk("new"));
    assert_eq!(client.stored("GET k"), Some(bulk("new")));
}

#[test]
fn what_is_not_resp_ends_the_connection() {
    for garbage in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$3\r\nabcdef\r\n",
        "*1\r\n*1\r\n*x\r\n",
        "\r\n\r\n",
        "$-7\r\n",
        "~-1\r\n",
    ] {
        let (client, mut session, server) = Client::connected(|_| {});
        client.load(&mut session, "held", "v");
        let reply = client.submit("GET k");
        session.expect(&["GET k", "PTTL k"]);
        session.send(garbage);
        assert_eq!(outcome(&reply), LOST, "{garbage:?}");
        assert_eq!(client.hit("GET held"), None);
        let mut session = server.accept_tracked(HELLO_VALKEY);
        client.until_ready();
        client.load(&mut session, "held", "w");
    }
}

#[test]
fn a_reply_nobody_asked_for_ends_the_connection() {
    let (client, mut session, server) = Client::connected(|_| {});
    client.load(&mut session, "held", "v");
    session.send("+OK\r\n");
    client.until("given up", || client.hit("GET held").is_none());
    let _session = server.accept_tracked(HELLO_VALKEY);
    client.until_ready();
}

#[test]
fn a_shifted_stream_gives_nobody_a_value() {
    for shifted in ["$1\r\na\r\n$1\r\nb\r\n", "_\r\n_\r\n", "$1\r\na\r\n+OK\r\n"] {
        let (client, mut session, server) = Client::connected(|_| {});
        let reply = client.submit("GET k");
        let next = client.submit("GET next");
        session.expect(&["GET k", "PTTL k", "GET next", "PTTL next"]);
        session.send(&format!("{shifted}$1\r\nc\r\n:-1\r\n"));
        assert_eq!(outcome(&reply), LOST, "{shifted:?}");
        assert_eq!(outcome(&next), LOST);
        assert_eq!(client.stored("GET k"), None);
        let mut session = server.accept_tracked(HELLO_VALKEY);
        client.until_ready();
        client.load(&mut session, "k", "v");
    }
}

#[test]
fn other_pushes_concern_nobody() {
    let (client, mut session, _server) = Client::connected(|_| {});
    client.load(&mut session, "held", "v");
    session
        .send(">3\r\n+message\r\n+channel\r\n+text\r\n>1\r\n+MOVING\r\n>0\r\n>2\r\n:1\r\n:2\r\n");
    client.fence(&mut session);
    assert_eq!(client.hit("GET held"), Some(bulk("v")));
}

#[test]
fn a_push_whose_keys_cannot_be_read_is_one_of_everything() {
    let (client, mut session, _server) = Client::connected(|_| {});
    client.load(&mut session, "held", "v");
    session.send(">2\r\n$10\r\ninvalidate\r\n*1\r\n:5\r\n");
    client.until("flushed", || client.link.statistics().flushes == 1);
    assert_eq!(client.stored("GET held"), None);
}

#[test]
fn an_announced_half_gigabyte_is_given_back_at_once() {
    let (client, mut session, _server) = Client::connected(|_| {});
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send("$536870912\r\nx");
    assert_eq!(outcome(&reply), Outcome::Bypass(BypassReason::TooLarge));
    assert_eq!(client.read("GET k"), Read::Bypass(BypassReason::TooLarge));
}

#[test]
fn a_value_over_the_limit_is_dropped_as_it_comes_and_the_link_goes_on() {
    let (client, mut session, _server) =
        Client::connected(|config| config.max_value_bytes = 100_000);
    let large = client.submit("GET large");
    let small = client.submit("GET small");
    session.expect(&["GET large", "PTTL large", "GET small", "PTTL small"]);
    session.send(&format!("{}:-1\r\n{}:-1\r\n", bulk(&"x".repeat(1_000_000)), bulk("v")));
    assert_eq!(outcome(&large), Outcome::Bypass(BypassReason::TooLarge));
    assert_eq!(reply_of(&small), bulk("v"));
    assert_eq!(client.read("GET large"), Read::Bypass(BypassReason::TooLarge));
    assert_eq!(client.hit("GET small"), Some(bulk("v")));
    // An invalidation too long to be kept is one of everything.
    let keys: Vec<String> = (0..20_000).map(|number| format!("key:{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    session.send(&invalidate(&keys));
    client.until("flushed", || client.link.statistics().flushes == 1);
    client.load(&mut session, "small", "w");
}

#[test]
fn a_silent_server_is_bypassed_at_once_and_taken_back_when_it_answers() {
    let (client, mut session, _server) = Client::connected(|config| config.reply_timeout_ms = 60);
    client.load(&mut session, "held", "v");
    let slow = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    assert_eq!(outcome(&slow), Outcome::Bypass(BypassReason::SlowServer));
    assert_eq!(client.read("GET other"), Read::Bypass(BypassReason::SlowServer));
    assert_eq!(client.wait("GET other"), Outcome::Bypass(BypassReason::SlowServer));
    assert_eq!(client.hit("GET held"), Some(bulk("v")), "within max_staleness hits go on");
    session.send(&format!("{}:-1\r\n", bulk("late")));
    client.until("taken back", || client.link.statistics().in_flight == 0);
    assert_eq!(client.stored("GET k"), None, "nobody may get what was asked for long ago");
    client.load(&mut session, "k", "now");
}

#[test]
fn a_blocked_reader_is_given_back_after_the_reply_timeout() {
    let (client, mut session, _server) = Client::connected(|config| config.reply_timeout_ms = 60);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| client.wait("GET k"));
        session.expect(&["GET k", "PTTL k"]);
        assert_eq!(reading.join().unwrap(), Outcome::Bypass(BypassReason::SlowServer));
    });
}

#[test]
fn an_idle_feed_lapses_and_the_next_read_proves_it_again() {
    let (client, mut session, _server) = Client::connected(|config| {
        config.max_staleness_ms = 80;
        config.reply_timeout_ms = 10_000;
    });
    client.load(&mut session, "k", "v");
    client.load(&mut session, "other", "w");
    client.until("lapsed", || client.link.gate().open_scope(cachee_net::clock::now_ms()).is_none());
    assert_eq!(client.hit("GET k"), None);
    assert_eq!(client.stored("GET k"), Some(bulk("v")), "still there");
    let reply = client.submit("GET k");
    session.expect(&["GET k", "PTTL k"]);
    session.send(&format!("{}:-1\r\n", bulk("v2")));
    assert_eq!(reply_of(&reply), bulk("v2"));
    assert_eq!(client.stored("GET other"), Some(bulk("w")), "the feed had no gap");
}

#[test]
fn entries_in_use_keep_the_feed_proven() {
    let (client, mut session, _server) =
        Client::connected(|config| config.max_staleness_ms = 3_000);
    client.load(&mut session, "k", "v");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                client.hit("GET k");
                std::thread::yield_now();
            }
        });
        session.expect(&["PING"]);
        let before_ms = client.link.gate().serve_until_ms();
        session.send("+PONG\r\n");
        client.until("proven", || client.link.gate().serve_until_ms() > before_ms);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn commands_in_flight_are_bounded() {
    let (client, mut session, _server) = Client::connected(|config| config.max_in_flight = 8);
    let first: Vec<_> = (0..3).map(|number| client.submit(&format!("GET {number}"))).collect();
    assert_eq!(client.read("GET 3"), Read::Bypass(BypassReason::Overloaded));
    for (number, reply) in first.iter().enumerate() {
        session.answer_get(&number.to_string(), "v", -1);
        reply_of(reply);
    }
    client.load(&mut session, "3", "v");
}

#[test]
fn a_server_that_does_not_read_holds_nobody_up() {
    let (client, mut session, _server) = Client::connected(|_| {});
    let key = "k".repeat(60_000);
    let submitted: Vec<_> = (0..150)
        .map_while(|number| {
            let (read, reply) = client.start(&format!("GET {key}{number}"));
            (read == Read::Submitted).then_some(reply)
        })
        .collect();
    assert!(submitted.len() > 60, "{}", submitted.len());
    for (number, reply) in submitted.iter().enumerate() {
        session.answer_get(&format!("{key}{number}"), "v", -1);
        assert_eq!(reply_of(reply), bulk("v"));
    }
    client.load(&mut session, "after", "v");
}

#[test]
fn closing_gives_everything_back_and_serves_nothing() {
    let (client, mut session, _server) = Client::connected(|_| {});
    client.load(&mut session, "held", "v");
    let reply = client.submit("GET k");
    client.link.close();
    assert_eq!(outcome(&reply), Outcome::Bypass(BypassReason::Closed));
    assert_eq!(client.hit("GET held"), None);
    assert_eq!(client.read("GET k"), Read::Bypass(BypassReason::Closed));
    assert_eq!(client.link.status(), LinkStatus::Closed);
}

#[test]
fn a_panicking_waiter_harms_nobody_else() {
    let (client, mut session, _server) = Client::connected(|_| {});
    let read = client.request("GET k", |request| {
        client.link.read(request, Box::new(|_| panic!("a waiter's own fault")))
    });
    assert_eq!(read, Read::Submitted);
    let reply = client.submit("GET k");
    session.answer_get("k", "v", -1);
    assert_eq!(reply_of(&reply), bulk("v"));
    client.load(&mut session, "after", "v");
}

#[test]
fn nobody_there_is_down_not_forever() {
    let server = support::Server::new();
    let endpoint = server.endpoint();
    drop(server);
    let client = Client::open(endpoint.clone(), |_| {});
    client.until("down", || is_down(&client));
    assert_eq!(client.read("GET k"), Read::Bypass(BypassReason::LinkDown));
    let cachee_net::Endpoint::Tcp { port, .. } = endpoint else { unreachable!() };
    let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", port)) else {
        return; // somebody else took the port meanwhile
    };
    listener.accept().unwrap();
}
