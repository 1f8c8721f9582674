//! Finding the primary that sentinels name, and following it.
//!
//! Every step of `topology::sentinel` takes two short connections. The sentinel that was right is
//! then listened to for `+switch-master`, and asked again whenever the upstream is looked at: an
//! announcement may be lost, a silent sentinel may be cut off. A sentinel that does not answer any
//! more is one turn of the next search.

use std::time::Duration;

use super::config::Login;
use super::questions::{ask, log_in};
use super::topology::Address;
use super::topology::sentinel::{
    Answer, ROLE_QUESTION, SUBSCRIPTION, Search, Step, question, switched,
};
use crate::clock;
use crate::config::{Endpoint, LinkConfig};
use crate::error::NetError;
use crate::link::inbound::{Frame, Inbound};
use crate::resp::command_bytes;
use crate::transport::{self, Transport};

/// A sentinel answers at once or is passed over.
const PATIENCE_MS: u64 = 1_000;
/// An announcement is some hundred bytes.
const ANNOUNCEMENT_BYTES_MAX: usize = 64 << 10;

/// Who the primary is, as far as is known.
pub(crate) struct Follower {
    search: Search,
    known: Option<Address>,
    sentinel: Option<Sentinel>,
}

/// What a sentinel has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// The primary is another server now.
    Another,
    /// It can be listened to no longer.
    Silence,
}

/// The sentinel that was right.
struct Sentinel {
    asked: Transport,
    listened: Transport,
    heard: Inbound,
}

impl Follower {
    pub(crate) fn new(master: &str, sentinels: &[Endpoint]) -> Self {
        let addresses = sentinels.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Tcp { host, port } => Some(Address::new(host, *port)),
            Endpoint::Unix { .. } => None,
        });
        Self { search: Search::new(master, addresses.collect()), known: None, sentinel: None }
    }

    /// Asks until one is found that says of itself that it is the primary.
    pub(crate) fn find(
        &mut self,
        config: &LinkConfig,
        login: Option<&Login>,
    ) -> Result<Address, NetError> {
        self.sentinel = None;
        let timeout_ms = config.connect_timeout_ms.min(PATIENCE_MS);
        let mut step = self.search.begin();
        let mut right = None;
        let found = loop {
            step = match step {
                Step::Pause(why) => return Err(NetError::Refused(why)),
                Step::Ask(address) => match self.ask_sentinel(&address, timeout_ms) {
                    Ok(answer) => {
                        right = Some(address);
                        self.search.answered(&answer)
                    }
                    Err(error) => self.search.failed(error.to_string()),
                },
                Step::Try(address) => match role(&address, config, login, timeout_ms) {
                    Ok(answer) => match self.search.proved(&answer) {
                        Some(step) => step,
                        None => break address,
                    },
                    Err(error) => self.search.failed(error.to_string()),
                },
            };
        };
        // Without it the next look begins a search, which is as right and only later.
        self.sentinel = right.and_then(|sentinel| Sentinel::listen(&sentinel, timeout_ms).ok());
        self.known = Some(found.clone());
        Ok(found)
    }

    /// Whether the sentinel still names the server that was found.
    pub(crate) fn is_current(&mut self) -> bool {
        let name = self.search.name();
        let answer = self.sentinel.as_ref().map(|held| ask(&held.asked, &question(name)));
        match answer {
            Some(Ok(frame)) => match Answer::parse(&frame) {
                Answer::Primary(address) => self.known.as_ref() == Some(&address),
                _ => false,
            },
            _ => false,
        }
    }

    /// Waits for an announcement, `time` at most.
    pub(crate) fn hears(&mut self, time: Duration) -> Heard {
        let Some(sentinel) = &mut self.sentinel else { return Heard::Silence };
        match sentinel.heard(time, self.search.name()) {
            Ok(Some(address)) if self.known.as_ref() != Some(&address) => Heard::Another,
            Ok(_) => Heard::Nothing,
            Err(_) => {
                self.sentinel = None;
                Heard::Silence
            }
        }
    }

    /// Is there anybody to listen to?
    pub(crate) fn is_listening(&self) -> bool {
        self.sentinel.is_some()
    }

    fn ask_sentinel(&self, address: &Address, timeout_ms: u64) -> Result<Vec<u8>, NetError> {
        let (transport, _) = transport::connect(&address.endpoint(), None, timeout_ms)?;
        ask(&transport, &question(self.search.name()))
    }
}

impl Sentinel {
    fn listen(address: &Address, timeout_ms: u64) -> Result<Self, NetError> {
        let (asked, _) = transport::connect(&address.endpoint(), None, timeout_ms)?;
        let (listened, deadline_ms) = transport::connect(&address.endpoint(), None, timeout_ms)?;
        listened.write_all(&command_bytes(&SUBSCRIPTION), deadline_ms)?;
        Ok(Self { asked, listened, heard: Inbound::new(ANNOUNCEMENT_BYTES_MAX) })
    }

    /// The next announcement for `name` within `time`.
    fn heard(&mut self, time: Duration, name: &str) -> Result<Option<Address>, NetError> {
        let deadline_ms = clock::now_ms() + time.as_millis() as u64;
        loop {
            while let Some(frame) = self.heard.next()? {
                if let Frame::Whole(frame) = frame
                    && let Some(address) = switched(frame, name)
                {
                    return Ok(Some(address));
                }
            }
            let left_ms = deadline_ms.saturating_sub(clock::now_ms());
            if left_ms == 0 || !self.listened.wait_readable(left_ms)? {
                return Ok(None);
            }
            match self.listened.read(self.heard.space()) {
                Ok(0) => return Err(NetError::Refused("the sentinel has gone".to_owned())),
                Ok(bytes) => self.heard.filled(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What the server says of its role.
fn role(
    address: &Address,
    config: &LinkConfig,
    login: Option<&Login>,
    timeout_ms: u64,
) -> Result<Vec<u8>, NetError> {
    let tls = config.tls.as_ref();
    let (transport, _) = transport::connect(&address.endpoint(), tls, timeout_ms)?;
    if let Some(login) = login {
        log_in(&transport, login)?;
    }
    ask(&transport, &ROLE_QUESTION)
}
