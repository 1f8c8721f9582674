//! Where the nodes of a cluster are that are announced by name.
//!
//! A lookup takes as long as the system lets it. An event loop that makes one holds up its clients,
//! and the survey that makes one grows so old that nothing is served any more. So a thread of its
//! own looks every name up, every few seconds, and at once when one leads nowhere; what was found
//! stays until something else is. Only a name that has never been found is looked up by who wants
//! it.

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

#[derive(Default)]
pub(crate) struct Names {
    found: RwLock<HashMap<Address, Vec<SockAddr>>>,
    stop: Stop,
}

impl Names {
    /// The addresses of a node.
    pub(crate) fn find(&self, node: &Address) -> io::Result<Vec<SockAddr>> {
        if let Some(address) = node.literal() {
            return Ok(vec![address]);
        }
        if let Some(found) = self.found.read().get(node) {
            return Ok(found.clone());
        }
        transport::resolve(&node.endpoint())
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
        self.found.write().retain(|node, _| nodes.contains(node));
        for node in nodes.iter().filter(|node| node.literal().is_none()) {
            if self.stop.is_told() {
                return;
            }
            if let Ok(found) = transport::resolve(&node.endpoint())
                && !found.is_empty()
            {
                self.found.write().insert(node.clone(), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(names: &Names, node: &Address) -> Vec<u16> {
        let found = names.find(node).unwrap();
        found.iter().map(|found| found.as_socket().unwrap().port()).collect()
    }

    #[test]
    fn what_was_found_stays_until_something_else_is() {
        let names = Names::default();
        let (local, wrong) = (Address::new("localhost", 7), Address::new("no.such.invalid", 7));
        assert!(names.find(&wrong).is_err());
        let old = Address::new("::1", 9).literal().unwrap();
        names.found.write().insert(wrong.clone(), vec![old]);
        names.look_up(&[local.clone(), wrong.clone()]);
        assert_eq!(ports(&names, &wrong), [9], "a name server that fails takes nothing away");
        assert!(names.found.read().contains_key(&local));
        names.look_up(&[wrong]);
        assert!(!names.found.read().contains_key(&local), "no node any more");
        assert_eq!(ports(&names, &Address::new("127.0.0.1", 8)), [8]);
    }
}
