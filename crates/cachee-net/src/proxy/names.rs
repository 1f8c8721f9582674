//! Where the nodes of a cluster are that are announced by name.
//!
//! A lookup takes as long as the system lets it. An event loop that makes one holds up its clients,
//! and the survey that makes one grows so old that nothing is served any more. So a thread of its
//! own looks every name up, every few seconds, and at once when one leads nowhere; what was found
//! stays until something else is. Event loops take what is known, and no more. The survey looks up
//! a name that nobody knows yet: before there is a view with it, nothing of that node is served.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use socket2::SockAddr;

use super::cluster::Cluster;
use super::pause::Stop;
use super::topology::Address;
use crate::transport;

/// How often all of them are looked up.
const INTERVAL: Duration = Duration::from_secs(5);
/// And how often at most.
const LEAST: Duration = Duration::from_secs(1);

/// How long a name is kept that no view has.
const KEPT: Duration = Duration::from_secs(60);

struct Found {
    addresses: Vec<SockAddr>,
    at: Instant,
}

#[derive(Default)]
pub(crate) struct Names {
    found: RwLock<HashMap<Address, Found>>,
    stop: Stop,
}

impl Names {
    /// The addresses of a node, if they are known.
    pub(crate) fn known(&self, node: &Address) -> Option<Vec<SockAddr>> {
        match node.literal() {
            Some(address) => Some(vec![address]),
            None => self.found.read().get(node).map(|found| found.addresses.clone()),
        }
    }

    /// The same, looked up if nobody has.
    pub(crate) fn find(&self, node: &Address) -> io::Result<Vec<SockAddr>> {
        if let Some(known) = self.known(node) {
            return Ok(known);
        }
        let addresses = transport::resolve(&node.endpoint())?;
        self.keep(node, addresses.clone());
        Ok(addresses)
    }

    fn keep(&self, node: &Address, addresses: Vec<SockAddr>) {
        if !addresses.is_empty() {
            let found = Found { addresses, at: Instant::now() };
            self.found.write().insert(node.clone(), found);
        }
    }

    /// There are other nodes than there were, or one is not where its name leads.
    pub(crate) fn look(&self) {
        self.stop.nudge();
    }

    /// Looks up what is known of the cluster, until told to stop.
    pub(crate) fn run(&self, cluster: &Cluster) {
        while !self.stop.is_told() {
            let began = Instant::now();
            let named: Vec<Address> = cluster.view().map.nodes().cloned().collect();
            self.look_up(&named);
            self.stop.pause(INTERVAL);
            while began.elapsed() < LEAST && !self.stop.is_told() {
                self.stop.pause(LEAST.saturating_sub(began.elapsed()));
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.tell();
    }

    fn look_up(&self, nodes: &[Address]) {
        let is_kept =
            |node: &Address, found: &mut Found| nodes.contains(node) || found.at.elapsed() < KEPT;
        self.found.write().retain(is_kept);
        for node in nodes.iter().filter(|node| node.literal().is_none()) {
            if self.stop.is_told() {
                return;
            }
            if let Ok(addresses) = transport::resolve(&node.endpoint()) {
                self.keep(node, addresses);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    fn ports(names: &Names, node: &Address) -> Vec<u16> {
        let found = names.known(node).unwrap();
        found.iter().map(|found| found.as_socket().unwrap().port()).collect()
    }

    #[test]
    fn what_was_found_stays_until_something_else_is() {
        let names = Names::default();
        let (local, wrong) = (Address::new("localhost", 7), Address::new("no.such.invalid", 7));
        assert!(names.find(&wrong).is_err());
        assert!(names.known(&wrong).is_none());
        assert!(names.known(&local).is_none(), "nobody has looked it up");
        let old = Address::new("::1", 9).literal().unwrap();
        names.keep(&wrong, vec![old]);
        names.look_up(&[local.clone(), wrong.clone()]);
        assert_eq!(ports(&names, &wrong), [9], "a name server that fails takes nothing away");
        assert_eq!(ports(&names, &local)[0], 7);
        names.look_up(slice::from_ref(&wrong));
        assert_eq!(ports(&names, &local)[0], 7, "a view with it may be about to come");
        let earlier = Instant::now().checked_sub(KEPT).unwrap();
        names.found.write().values_mut().for_each(|found| found.at = earlier);
        names.look_up(slice::from_ref(&wrong));
        assert!(names.known(&local).is_none(), "no node any more");
        assert_eq!(ports(&names, &wrong), [9]);
        assert_eq!(ports(&names, &Address::new("127.0.0.1", 8)), [8]);
    }
}
