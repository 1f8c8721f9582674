//! A proxy from the command line, for measuring: `proxy LISTEN_PORT UPSTREAM_PORT [THREADS]`.

use cachee_net::Endpoint;
use cachee_net::proxy::Proxy;
use cachee_net::proxy::config::{ListenAddress, ProxyConfig};

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u16>().unwrap_or(0));
    let local = |port| Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
    let listen = local(numbers.next().unwrap_or(0));
    let upstream = local(numbers.next().unwrap_or(6379));
    let listen = vec![ListenAddress { endpoint: listen, tls: false }];
    let mut config = ProxyConfig::new(listen, upstream);
    if let Some(threads) = numbers.next() {
        config.threads = usize::from(threads);
    }
    match Proxy::start(config, 42) {
        Ok(proxy) => {
            println!("ready {}", proxy.addresses()[0]);
            loop {
                std::thread::park();
            }
        }
        Err(error) => eprintln!("proxy: {error}"),
    }
}
