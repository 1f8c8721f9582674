//! What a node answers when a command is not its own to answer.

use std::str;

use super::Address;
use super::slots::SLOTS;
use crate::resp::{Node, Reader};

/// An error that says where, or when, to ask instead. The command was not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirection {
    /// Another node serves the slot from now on. No address: ask for the whole map.
    Moved { slot: u16, address: Option<Address> },
    /// Another node has the key already: it is asked, once, after `ASKING`.
    Ask { slot: u16, address: Option<Address> },
    /// Some of the keys are on their way to another node: the same again, a little later.
    TryAgain,
    /// Slots without a primary, or a node that is cut off: the same again when the map changed.
    ClusterDown,
}

impl Redirection {
    /// From one whole frame; `asked` is the host that sent it.
    pub(crate) fn parse(frame: &[u8], asked: &str) -> Option<Self> {
        if !matches!(frame.first(), Some(b'-' | b'!')) {
            return None;
        }
        let Some(Node::Error(text)) = Reader::new(frame).next() else { return None };
        let mut words = str::from_utf8(text).ok()?.split(' ');
        let kind = words.next()?;
        match kind {
            "TRYAGAIN" => return Some(Self::TryAgain),
            "CLUSTERDOWN" => return Some(Self::ClusterDown),
            "MOVED" | "ASK" => {}
            _ => return None,
        }
        let slot = words.next()?.parse().ok().filter(|&slot| slot < SLOTS)?;
        let address = address(words.next()?, asked)?;
        Some(if kind == "MOVED" {
            Self::Moved { slot, address }
        } else {
            Self::Ask { slot, address }
        })
    }
}

/// `host:port`; the host may be an IPv6 address, bare or in brackets, or empty: the one asked. The
/// inner `None` for `?`, a node without a name where names are wanted.
#[allow(clippy::option_option)] // unreadable is not the same as unknown
fn address(text: &str, asked: &str) -> Option<Option<Address>> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(match host {
        "" => Some(Address::new(asked, port)),
        "?" => None,
        host => Some(Address::new(host, port)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<Redirection> {
        Redirection::parse(format!("-{text}\r\n").as_bytes(), "10.0.0.1")
    }

    #[test]
    fn every_spelling_of_an_address() {
        for (text, host) in [
            ("127.0.0.1:6381", Some("127.0.0.1")),
            ("::1:6381", Some("::1")),
            ("[2001:db8::5]:6381", Some("2001:db8::5")),
            ("node-3.example:6381", Some("node-3.example")),
            (":6381", Some("10.0.0.1")),
            ("?:6381", None),
        ] {
            let address = host.map(|host| Address::new(host, 6381));
            let moved = Redirection::Moved { slot: 3999, address: address.clone() };
            assert_eq!(parse(&format!("MOVED 3999 {text}")), Some(moved));
            let ask = Redirection::Ask { slot: 16383, address };
            assert_eq!(parse(&format!("ASK 16383 {text}")), Some(ask));
        }
    }

    #[test]
    fn other_errors_are_told_apart() {
        assert_eq!(parse("TRYAGAIN Multiple keys request"), Some(Redirection::TryAgain));
        assert_eq!(parse("CLUSTERDOWN The cluster is down"), Some(Redirection::ClusterDown));
        for text in [
            "ERR no",
            "MOVED",
            "MOVED 1",
            "MOVED x a:1",
            "MOVED 16384 a:1",
            "MOVED 1 a",
            "MOVED 1 a:70000",
            "MOVEDX 1 a:1",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(Redirection::parse(b"+MOVED 1 a:1\r\n", "h"), None);
        assert_eq!(Redirection::parse(b"$13\r\nMOVED 1 a:100\r\n", "h"), None);
        let bulk = b"!13\r\nMOVED 1 a:100\r\n";
        assert!(matches!(Redirection::parse(bulk, "h"), Some(Redirection::Moved { .. })));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "(MOVED|ASK)? ?[0-9]{0,6} ?[^\r\n]{0,20}") {
            let _ = parse(&text);
        }
    }
}
