//! What a link says first, and servers it must not be used with.

mod support;

use std::sync::Arc;

use cachee_net::{BypassReason, Credentials, LinkConfig, LinkStatus, NetError, Read};
use support::{Client, HELLO_VALKEY, Server, TRACKED, bulk};

struct Fixed(Option<&'static str>);

impl Credentials for Fixed {
    fn get(&self) -> Result<Option<(Option<String>, Vec<u8>)>, NetError> {
        Ok(Some((self.0.map(str::to_owned), b"p w\r\n".to_vec())))
    }
}

struct Failing;

impl Credentials for Failing {
    fn get(&self) -> Result<Option<(Option<String>, Vec<u8>)>, NetError> {
        Err(NetError::Credentials("the vault is closed".to_owned()))
    }
}

fn settled(client: &Client) -> LinkStatus {
    client.link.wait_settled(support::LIMIT)
}

fn unsupported_after(answers: &[&str], reason: &str) {
    let server = Server::new();
    let client = Client::open(server.endpoint(), |_| {});
    let mut session = server.accept();
    for answer in answers {
        session.command();
        session.send(answer);
    }
    match settled(&client) {
        LinkStatus::Unsupported { reason: given } => {
            assert!(given.contains(reason), "{given:?} does not say {reason:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.read("GET k"), Read::Bypass(BypassReason::Unsupported));
    assert!(session.try_command().is_none_or(|command| command[0] != "GET"));
}

#[test]
fn servers_that_cannot_or_will_not_track_are_left_alone() {
    let hello_6 = "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n6.2.5\r\n";
    unsupported_after(&["-ERR unknown command `HELLO`\r\n"], "unknown command");
    unsupported_after(&["-NOPROTO unsupported protocol version\r\n"], "NOPROTO");
    unsupported_after(&["-WRONGPASS invalid username-password pair\r\n"], "WRONGPASS");
    unsupported_after(
        &["-NOAUTH HELLO must be called with the client authenticated\r\n"],
        "NOAUTH",
    );
    unsupported_after(&["*2\r\n$6\r\nserver\r\n$5\r\nredis\r\n"], "RESP3");
    unsupported_after(&[hello_6], "older than 7.0");
    unsupported_after(
        &[HELLO_VALKEY, "-ERR unknown subcommand 'TRACKING'\r\n", TRACKED],
        "TRACKING",
    );
    unsupported_after(
        &[HELLO_VALKEY, "+OK\r\n", "%1\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n"],
        "not on",
    );
    unsupported_after(&[HELLO_VALKEY, "+OK\r\n", "-NOPERM no\r\n"], "TRACKINGINFO");
}

#[test]
fn passing_troubles_are_tried_again() {
    let server = Server::new();
    let client = Client::open(server.endpoint(), |_| {});
    let mut session = server.accept();
    session.command();
    session.send("-LOADING Redis is loading the dataset in memory\r\n");
    assert!(matches!(settled(&client), LinkStatus::Down { reason } if reason.contains("LOADING")));
    assert_eq!(client.read("GET k"), Read::Bypass(BypassReason::LinkDown));
    drop(server.accept());
    let mut session = server.accept();
    session.command();
    session.send("HTTP/1.1 200 OK\r\n\r\n");
    let mut session = server.accept_tracked(HELLO_VALKEY);
    client.until_ready();
    client.load(&mut session, "k", "v");
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_down() {
    let server = Server::new();
    let client = Client::open(server.endpoint(), |config| config.connect_timeout_ms = 50);
    let _silent = server.accept();
    assert!(
        matches!(settled(&client), LinkStatus::Down { reason } if reason.contains("timed out"))
    );
}

#[test]
fn user_password_name_and_database_are_sent_as_they_are() {
    for (user, sent) in [(Some("app"), "app"), (None, "default"), (Some(""), "default")] {
        let server = Server::new();
        let client = Client::open(server.endpoint(), |config: &mut LinkConfig| {
            config.credentials = Some(Arc::new(Fixed(user)));
            config.client_name = "my service".to_owned();
            config.db = 3;
        });
        let mut session = server.accept();
        assert_eq!(
            session.command(),
            ["HELLO", "3", "AUTH", sent, "p w\r\n", "SETNAME", "my-service"]
        );
        session.send(HELLO_VALKEY);
        session.expect(&["SELECT 3", "CLIENT TRACKING ON", "CLIENT TRACKINGINFO", "COMMAND"]);
        session.send(&format!("+OK\r\n+OK\r\n{TRACKED}-NOPERM no\r\n"));
        client.until_ready();
        assert!(client.link.commands().is_none());
        client.load(&mut session, "k", "v");
    }
}

#[test]
fn a_database_that_does_not_exist_is_not_served_from_another() {
    let server = Server::new();
    let client = Client::open(server.endpoint(), |config| config.db = 99);
    let mut session = server.accept();
    session.command();
    session.send(HELLO_VALKEY);
    session.expect(&["SELECT 99"]);
    session.send(&format!("-ERR DB index is out of range\r\n+OK\r\n{TRACKED}-X\r\n"));
    assert!(matches!(settled(&client), LinkStatus::Unsupported { .. }));
}

#[test]
fn a_failing_credential_provider_is_told() {
    let server = Server::new();
    let client = Client::open(server.endpoint(), |config| {
        config.credentials = Some(Arc::new(Failing));
    });
    assert!(
        matches!(settled(&client), LinkStatus::Down { reason } if reason.contains("the vault"))
    );
}

#[test]
fn nothing_is_served_before_tracking_is_verified() {
    let server = Server::new();
    let client = Client::open(server.endpoint(), |_| {});
    let mut session = server.accept();
    assert_eq!(client.read("GET k"), Read::Bypass(BypassReason::Connecting));
    session.command();
    session.send(HELLO_VALKEY);
    session.expect(&["CLIENT TRACKING ON", "CLIENT TRACKINGINFO", "COMMAND"]);
    session.send("+OK\r\n");
    assert_eq!(client.read("GET k"), Read::Bypass(BypassReason::Connecting));
    // Frames behind the handshake in the same segment are not lost.
    session.send(&format!("{TRACKED}-NOPERM no\r\n{}", support::invalidate(&["x"])));
    client.until_ready();
    client.load(&mut session, "k", "v");
    assert_eq!(client.hit("GET k"), Some(bulk("v")));
    assert_eq!(client.link.statistics().invalidations, 1);
}

#[test]
fn the_command_table_is_asked_for_once_a_version() {
    let table = include_bytes!("data/command-valkey-8.1.8.resp");
    let server = Server::new();
    let client = Client::open(server.endpoint(), |_| {});
    let mut session = server.accept();
    session.command();
    session.send(HELLO_VALKEY);
    session.expect(&["CLIENT TRACKING ON", "CLIENT TRACKINGINFO", "COMMAND"]);
    session.send(&format!("+OK\r\n{TRACKED}{}", std::str::from_utf8(table).unwrap()));
    client.until_ready();
    assert!(client.link.commands().unwrap().len() > 300);
    drop(session);
    let mut session = server.accept();
    session.command();
    session.send(HELLO_VALKEY);
    session.expect(&["CLIENT TRACKING ON", "CLIENT TRACKINGINFO"]);
    session.send(&format!("+OK\r\n{TRACKED}"));
    client.until_ready();
    client.load(&mut session, "k", "v");
    assert!(client.link.commands().is_some());
}
