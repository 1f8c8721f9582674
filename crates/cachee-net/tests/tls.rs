//! TLS: what is accepted, what is not, and data in many pieces.
//!
//! The certificates in `data/tls` are for these tests only: a root, and two it signed for
//! `cachee.test` and 127.0.0.1.

mod support;

use std::io::{Read as _, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use cachee_net::{Endpoint, LinkStatus, TlsConfig, Verify};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use support::{Client, HELLO_VALKEY, TRACKED, bulk, reply_of};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}

fn chain(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file(name)).unwrap().map(Result::unwrap).collect()
}

fn server_config(wants_client: bool) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if wants_client {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(chain("ca.pem"));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    builder.with_single_cert(chain("server.pem"), key).unwrap()
}

/// A server that answers everything a link asks, with one value for every key.
fn serve(wants_client: bool, value: String) -> (Endpoint, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(support::LIMIT)).unwrap();
        let config = Arc::new(server_config(wants_client));
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
        let mut received = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(bytes @ 1..) = stream.read(&mut chunk) {
            received.extend_from_slice(&chunk[..bytes]);
            while let Some((command, length)) = first_command(&received) {
                received.drain(..length);
                let answer = answer(&command, &value);
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    });
    (Endpoint::Tcp { host: "127.0.0.1".to_owned(), port }, serving)
}

fn first_command(received: &[u8]) -> Option<(String, usize)> {
    let mut scanner = cachee_net::resp::Scanner::new();
    let cachee_net::resp::Scan::Complete(length) = scanner.scan(received).unwrap() else {
        return None;
    };
    let mut reader = cachee_net::resp::Reader::new(&received[..length]);
    let count = reader.elements().unwrap();
    let words: Vec<String> = (0..count).map(|_| support::text(reader.string().unwrap())).collect();
    Some((words.join(" "), length))
}

fn answer(command: &str, value: &str) -> String {
    match command.split(' ').next().unwrap_or_default() {
        "HELLO" => HELLO_VALKEY.to_owned(),
        "COMMAND" => "-NOPERM no\r\n".to_owned(),
        "PTTL" => ":-1\r\n".to_owned(),
        "GET" => bulk(value),
        "CLIENT" if command.ends_with("INFO") => TRACKED.to_owned(),
        _ => "+OK\r\n".to_owned(),
    }
}

fn open(endpoint: Endpoint, tls: TlsConfig) -> Client {
    Client::open(endpoint, |config| config.tls = Some(tls))
}

fn trusting() -> TlsConfig {
    TlsConfig { ca_file: Some(file("ca.pem")), ..TlsConfig::default() }
}

fn settled(client: &Client) -> LinkStatus {
    client.link.wait_settled(support::LIMIT)
}

#[test]
fn values_of_any_size_come_through_for_callbacks_and_blocked_readers() {
    // More than one TLS record, and more than the socket holds.
    let value = "v".repeat(3_000_000);
    let (endpoint, serving) = serve(false, value.clone());
    let client = open(endpoint, trusting());
    client.until_ready();
    assert_eq!(reply_of(&client.submit("GET a")), bulk(&value));
    for number in 0..20 {
        let end = client.wait(&format!("GET {number}"));
        assert_eq!(end, cachee_net::Outcome::Reply(bulk(&value).as_bytes().into()));
    }
    assert_eq!(client.hit("GET a"), Some(bulk(&value)));
    drop(client);
    serving.join().unwrap();
}

#[test]
fn roots_may_come_as_text_and_the_name_may_be_given() {
    let (endpoint, _serving) = serve(false, "v".to_owned());
    let client = open(
        endpoint,
        TlsConfig {
            ca_data: Some(std::fs::read(file("ca.pem")).unwrap()),
            server_name: Some("cachee.test".to_owned()),
            ..TlsConfig::default()
        },
    );
    client.until_ready();
}

#[test]
fn a_certificate_nobody_vouches_for_is_refused() {
    for (tls, is_accepted) in [
        (TlsConfig { ca_file: Some(file("client.pem")), ..TlsConfig::default() }, false),
        (
            TlsConfig {
                verify: Verify::NoHostname,
                ca_file: Some(file("client.pem")),
                ..TlsConfig::default()
            },
            false,
        ),
        (TlsConfig { verify: Verify::None, ..TlsConfig::default() }, true),
    ] {
        let (endpoint, _serving) = serve(false, "v".to_owned());
        let client = open(endpoint, tls.clone());
        let status = settled(&client);
        assert_eq!(matches!(status, LinkStatus::Ready { .. }), is_accepted, "{tls:?} {status:?}");
    }
}

#[test]
fn a_certificate_for_another_name_is_refused_unless_names_do_not_matter() {
    for (verify, is_accepted) in
        [(Verify::Full, false), (Verify::NoHostname, true), (Verify::None, true)]
    {
        let (endpoint, _serving) = serve(false, "v".to_owned());
        let tls = TlsConfig { verify, server_name: Some("other.test".to_owned()), ..trusting() };
        let client = open(endpoint, tls);
        let status = settled(&client);
        assert_eq!(
            matches!(status, LinkStatus::Ready { .. }),
            is_accepted,
            "{verify:?} {status:?}"
        );
    }
}

#[test]
fn a_server_that_wants_our_certificate_gets_it() {
    for (cert_file, is_accepted) in [(Some(file("client.pem")), true), (None, false)] {
        let (endpoint, _serving) = serve(true, "v".to_owned());
        let key_file = cert_file.is_some().then(|| file("client.key"));
        let client = open(endpoint, TlsConfig { cert_file, key_file, ..trusting() });
        let status = settled(&client);
        assert_eq!(matches!(status, LinkStatus::Ready { .. }), is_accepted, "{status:?}");
    }
}

#[test]
fn missing_files_are_told() {
    let (endpoint, _serving) = serve(false, "v".to_owned());
    let tls = TlsConfig { ca_file: Some(file("nowhere.pem")), ..TlsConfig::default() };
    let client = open(endpoint, tls);
    assert!(
        matches!(settled(&client), LinkStatus::Down { reason } if reason.contains("nowhere.pem"))
    );
}
