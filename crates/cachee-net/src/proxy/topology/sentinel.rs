//! Who the primary is, by the sentinels that watch it.
//!
//! The procedure is the one Redis documents for clients: the sentinels are asked in turn, the first
//! that knows the name is believed only as far as the server it names says of itself that it is
//! the primary, and the sentinel that was right is asked first the next time. A sentinel that is
//! cut off, or has not heard of a failover yet, costs one turn. A subscription to
//! `+switch-master` makes the change known before a connection fails; what it says is a reason to
//! connect anew, and the new server is asked for its role like any other.

use std::str;

use super::Address;
use crate::resp::{Node, Reader};

/// The channel on which a sentinel announces another primary.
const SWITCHED: &[u8] = b"+switch-master";

/// The question for the primary of a name.
pub(crate) fn question(name: &str) -> [&[u8]; 3] {
    [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.as_bytes()]
}

/// To be told of every change; on a connection of its own.
pub(crate) const SUBSCRIPTION: [&[u8]; 2] = [b"SUBSCRIBE", SWITCHED];

/// The question to a server for its role.
pub(crate) const ROLE_QUESTION: [&[u8]; 1] = [b"ROLE"];

/// A sentinel's answer to the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Primary(Address),
    /// It does not watch anything of that name.
    UnknownName,
    /// Its error, or what it sent that is no answer.
    Refused(String),
}

impl Answer {
    /// From one whole frame.
    pub(crate) fn parse(frame: &[u8]) -> Self {
        let mut reader = Reader::new(frame);
        let address = match reader.next() {
            Some(Node::Null) => return Self::UnknownName,
            Some(Node::Error(text)) => {
                return Self::Refused(String::from_utf8_lossy(text).into_owned());
            }
            Some(Node::Array(2)) => address(reader.string(), reader.string()),
            _ => None,
        };
        address.map_or_else(|| Self::Refused("not an address".to_owned()), Self::Primary)
    }
}

/// The new primary of `name`, when one whole frame announces one, in either protocol.
pub(crate) fn switched(frame: &[u8], name: &str) -> Option<Address> {
    let mut reader = Reader::new(frame);
    let is_message =
        reader.elements()? == 3 && reader.string()? == b"message" && reader.string()? == SWITCHED;
    if !is_message {
        return None;
    }
    // Name, old host, old port, new host, new port; a name has no space in it.
    let words: Vec<&[u8]> = reader.string()?.split(|&byte| byte == b' ').collect();
    match words.as_slice() {
        [who, _, _, host, port] if *who == name.as_bytes() => address(Some(host), Some(port)),
        _ => None,
    }
}

/// Whether a server's answer to `ROLE` says that it is a primary.
pub(crate) fn is_primary(frame: &[u8]) -> bool {
    let mut reader = Reader::new(frame);
    reader.elements().is_some_and(|count| count > 0) && reader.string() == Some(b"master")
}

/// Whether it says that it is something else.
pub(crate) fn is_replica(frame: &[u8]) -> bool {
    !is_primary(frame) && Reader::new(frame).elements().is_some()
}

/// Whether it does not say so to strangers, or to this user: the sentinel is believed.
fn is_withheld(frame: &[u8]) -> bool {
    frame.starts_with(b"-NOAUTH") || frame.starts_with(b"-NOPERM")
}

fn address(host: Option<&[u8]>, port: Option<&[u8]>) -> Option<Address> {
    let host = str::from_utf8(host?).ok().filter(|host| !host.is_empty())?;
    let port = str::from_utf8(port?).ok()?.parse().ok().filter(|&port| port > 0)?;
    Some(Address::new(host, port))
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this sentinel.
    Ask(Address),
    /// Connect to this server and ask it for its role.
    Try(Address),
    /// Nobody knew: begin again after a pause. Why the last one did not.
    Pause(String),
}

/// One search for the primary after the other.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    name: String,
    /// The one that was right last is first.
    sentinels: Vec<Address>,
    /// Which is being asked, or was believed.
    at: usize,
}

impl Search {
    /// Among at least one sentinel.
    pub(crate) fn new(name: &str, sentinels: Vec<Address>) -> Self {
        Self { name: name.to_owned(), sentinels, at: 0 }
    }

    /// The name searched for.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Begins: the primary is not known, or not reached.
    pub(crate) fn begin(&mut self) -> Step {
        self.at = 0;
        self.ask("no sentinel is named".to_owned())
    }

    /// The sentinel answered.
    pub(crate) fn answered(&mut self, frame: &[u8]) -> Step {
        match Answer::parse(frame) {
            Answer::Primary(address) => Step::Try(address),
            Answer::UnknownName => {
                let text = format!("the sentinel knows no primary named {}", self.name);
                self.failed(text)
            }
            Answer::Refused(text) => self.failed(text),
        }
    }

    /// The sentinel could not be asked, or the server it named could not be reached.
    pub(crate) fn failed(&mut self, why: String) -> Step {
        self.at += 1;
        self.ask(why)
    }

    /// The server answered to `ROLE`; `None`: it is the primary, and the search is over.
    pub(crate) fn proved(&mut self, frame: &[u8]) -> Option<Step> {
        if is_primary(frame) || is_withheld(frame) {
            self.sentinels.swap(0, self.at);
            self.at = 0;
            return None;
        }
        Some(self.failed("the server that the sentinel names is not a primary".to_owned()))
    }

    fn ask(&self, why: String) -> Step {
        self.sentinels.get(self.at).cloned().map_or(Step::Pause(why), Step::Ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(port: u16) -> Address {
        Address::new("h", port)
    }

    fn found(port: u16) -> Vec<u8> {
        format!("*2\r\n$1\r\nh\r\n${}\r\n{port}\r\n", port.to_string().len()).into_bytes()
    }

    const PRIMARY: &[u8] = b"*3\r\n$6\r\nmaster\r\n:14\r\n*0\r\n";
    const REPLICA: &[u8] = b"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:14\r\n";

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(Answer::parse(&found(6379)), Answer::Primary(at(6379)));
        let v6 = b"*2\r\n$3\r\n::1\r\n$4\r\n6379\r\n";
        assert_eq!(Answer::parse(v6), Answer::Primary(Address::new("::1", 6379)));
        for null in [&b"*-1\r\n"[..], b"_\r\n", b"$-1\r\n"] {
            assert_eq!(Answer::parse(null), Answer::UnknownName);
        }
        let refused = Answer::Refused("NOAUTH x".to_owned());
        assert_eq!(Answer::parse(b"-NOAUTH x\r\n"), refused);
        for other in
            [&b"+OK\r\n"[..], b"*1\r\n+h\r\n", b"*2\r\n+h\r\n+0\r\n", b"*2\r\n+\r\n+1\r\n", b""]
        {
            assert!(matches!(Answer::parse(other), Answer::Refused(_)));
        }
    }

    #[test]
    fn a_switch_is_announced_in_either_protocol() {
        for kind in ['*', '>'] {
            let message = |channel: &str, text: &str| {
                let (c, t) = (channel.len(), text.len());
                let body = format!("$7\r\nmessage\r\n${c}\r\n{channel}\r\n${t}\r\n{text}\r\n");
                switched(format!("{kind}3\r\n{body}").as_bytes(), "main")
            };
            assert_eq!(message("+switch-master", "main h 1 h 2"), Some(at(2)));
            assert_eq!(message("+switch-master", "other h 1 h 2"), None);
            assert_eq!(message("+switch-master", "main h 1 h"), None);
            assert_eq!(message("+sdown", "main h 1 h 2"), None);
        }
        let subscribed = b"*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n";
        assert_eq!(switched(subscribed, "main"), None);
    }

    #[test]
    fn sentinels_are_asked_in_turn_and_the_right_one_first_next_time() {
        let mut search = Search::new("main", vec![at(1), at(2), at(3)]);
        assert_eq!(search.begin(), Step::Ask(at(1)));
        assert_eq!(search.failed("refused".to_owned()), Step::Ask(at(2)));
        // The second has not heard of the failover.
        assert_eq!(search.answered(&found(10)), Step::Try(at(10)));
        assert_eq!(search.proved(REPLICA), Some(Step::Ask(at(3))));
        assert_eq!(search.answered(&found(11)), Step::Try(at(11)));
        assert_eq!(search.proved(PRIMARY), None);
        assert_eq!(search.begin(), Step::Ask(at(3)));
        assert_eq!(search.answered(&found(11)), Step::Try(at(11)));
        assert_eq!(search.failed("refused".to_owned()), Step::Ask(at(2)));
    }

    #[test]
    fn a_server_that_does_not_tell_its_role_is_believed_to_be_what_it_is_named() {
        for frame in [&b"-NOAUTH Authentication required.\r\n"[..], b"-NOPERM x\r\n"] {
            let mut search = Search::new("main", vec![at(1)]);
            search.begin();
            search.answered(&found(10));
            assert_eq!(search.proved(frame), None);
            assert!(!is_replica(frame));
        }
        assert!(is_replica(REPLICA) && !is_replica(PRIMARY) && !is_replica(b"-LOADING x\r\n"));
    }

    #[test]
    fn nobody_knows_is_a_pause_with_a_reason() {
        let mut search = Search::new("main", vec![at(1)]);
        search.begin();
        let why = "the sentinel knows no primary named main".to_owned();
        assert_eq!(search.answered(b"*-1\r\n"), Step::Pause(why));
        assert_eq!(search.begin(), Step::Ask(at(1)));
        assert_eq!(search.answered(b"-ERR x\r\n"), Step::Pause("ERR x".to_owned()));
        assert!(matches!(Search::new("main", Vec::new()).begin(), Step::Pause(_)));
    }

    proptest! {
        #[test]
        fn every_search_asks_each_sentinel_at_most_once(
            count in 0_u16..6, events in prop::collection::vec(0..5_u8, 0..60),
        ) {
            let sentinels: Vec<_> = (1..=count).map(at).collect();
            let mut search = Search::new("main", sentinels.clone());
            let mut step = search.begin();
            let mut asked = Vec::new();
            for event in events {
                let next = match &step {
                    Step::Pause(_) => None,
                    Step::Ask(sentinel) => {
                        prop_assert!(!asked.contains(sentinel));
                        asked.push(sentinel.clone());
                        Some(match event {
                            0 | 1 => search.answered(&found(9)),
                            2 => search.answered(b"*-1\r\n"),
                            _ => search.failed("lost".to_owned()),
                        })
                    }
                    Step::Try(_) if event < 2 => search.proved(PRIMARY),
                    Step::Try(_) if event < 4 => search.proved(REPLICA),
                    Step::Try(_) => Some(search.failed("lost".to_owned())),
                };
                step = next.unwrap_or_else(|| {
                    asked.clear();
                    search.begin()
                });
                let mut all = search.sentinels.clone();
                all.sort_by_key(|address| address.port);
                prop_assert_eq!(&all, &sentinels);
            }
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (Answer::parse(&bytes), switched(&bytes, "main"), is_primary(&bytes));
        }
    }
}
