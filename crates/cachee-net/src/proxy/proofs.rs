//! A thread that logs every identity in once more: whom the server lets in no longer has no link.
//!
//! Within `max_age`, and at once when rights have changed. Not on the thread that watches: a node
//! that is silent costs a timeout, and a view of the cluster that is old meanwhile serves nobody.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::host::Identity;
use super::pause::Stop;
use super::questions::{ask, log_in, refused};
use super::shared::Shared;
use super::topology::Address;
use crate::error::NetError;

/// While there is no upstream to prove anything to.
const ABSENT_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(crate) struct Proofs {
    stop: Stop,
}

impl Proofs {
    /// Rights have changed.
    pub(crate) fn ask(&self) {
        self.stop.nudge();
    }

    pub(crate) fn stop(&self) {
        self.stop.tell();
    }

    /// Until told to stop.
    pub(crate) fn run(&self, shared: &Shared) {
        let interval = Duration::from_millis(shared.config.link.max_age_ms);
        while !self.stop.is_told() {
            self.stop.pause(interval);
            while !shared.is_ready.load(Ordering::Acquire) && !self.stop.is_told() {
                self.stop.pause(ABSENT_INTERVAL);
            }
            self.prove_all(shared);
        }
    }

    fn prove_all(&self, shared: &Shared) {
        // One identity is enough to find out that a node is not there.
        let mut absent: HashSet<Option<Address>> = HashSet::new();
        for (identity, _) in shared.links() {
            if self.stop.is_told() {
                return;
            }
            if absent.contains(&identity.node) {
                continue;
            }
            match prove(shared, &identity) {
                Ok(()) => {}
                Err(NetError::Unsupported(_)) => shared.close_link(&identity),
                Err(_) => {
                    absent.insert(identity.node);
                }
            }
        }
    }
}

fn prove(shared: &Shared, identity: &Identity) -> Result<(), NetError> {
    let config = shared.link_config();
    let own = identity.node.as_ref().map(Address::endpoint);
    let endpoint = own.unwrap_or(config.endpoint);
    let transport = shared.connect(&endpoint, config.connect_timeout_ms)?;
    match &identity.login {
        None => refused(&ask(&transport, &[b"PING"])?),
        Some(login) => log_in(&transport, login),
    }
}
