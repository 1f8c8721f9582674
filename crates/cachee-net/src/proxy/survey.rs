//! Who serves what in the cluster, asked of its nodes.
//!
//! The slot map is asked of one node, the next one when it does not answer. That a slot is being
//! given away only its own node says, so each primary is asked for its line of `CLUSTER NODES` too:
//! from the first key that has moved on, the rest of the slot may be written at the other node
//! without this one hearing of it.

use std::collections::HashMap;

use super::config::Login;
use super::questions::{ask, log_in};
use super::shared::Shared;
use super::topology::Address;
use super::topology::slots::{SLOTS, Shard, SlotMap};
use crate::clock;
use crate::commands::CommandTable;
use crate::config::Endpoint;
use crate::error::NetError;
use crate::resp::Reader;
use crate::transport::Transport;

/// A node answers at once or is passed over.
const PATIENCE_MS: u64 = 1_000;
/// One that did not is left alone for so long, or the others would wait for it each time.
const SILENCE_MS: u64 = 3_000;

/// The connections that are asked.
pub(crate) struct Survey {
    seeds: Vec<Address>,
    /// Who answered last.
    asked: Option<Address>,
    nodes: HashMap<Address, Transport>,
    /// Until when a node that was silent is not asked.
    silent_ms: HashMap<Address, u64>,
    has_commands: bool,
}

impl Survey {
    pub(crate) fn new(seeds: &[Endpoint]) -> Self {
        let seeds = seeds.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Tcp { host, port } => Some(Address::new(host, *port)),
            Endpoint::Unix { .. } => None,
        });
        let seeds = seeds.collect();
        Self {
            seeds,
            asked: None,
            nodes: HashMap::new(),
            silent_ms: HashMap::new(),
            has_commands: false,
        }
    }

    /// Makes the view what the nodes say now, and closes the links that this ends; who answered.
    pub(crate) fn look(&mut self, shared: &Shared) -> Result<Address, NetError> {
        let Some(cluster) = &shared.cluster else {
            return Err(NetError::Refused("no cluster".to_owned()));
        };
        let asked_ms = clock::now_ms();
        self.silent_ms.retain(|_, until_ms| *until_ms > asked_ms);
        let (map, answered) = self.map(shared)?;
        let migrating = self.migrating(shared, &map);
        cluster.publish(map, migrating, asked_ms);
        let closing = cluster.to_close();
        if !closing.is_empty() {
            shared.close_links_to(&closing);
            cluster.closed(&closing);
        }
        if !self.has_commands {
            let frame = self.ask(shared, &answered, &[b"COMMAND"])?;
            if let Some(table) = CommandTable::parse(&frame) {
                shared.set_table(table);
                self.has_commands = true;
            }
        }
        Ok(answered)
    }

    /// The map by the first node that has one.
    fn map(&mut self, shared: &Shared) -> Result<(SlotMap, Address), NetError> {
        let view = shared.cluster.as_ref().map(|cluster| cluster.view());
        let mut candidates: Vec<Address> = self.asked.iter().cloned().collect();
        if let Some(view) = &view {
            candidates.extend(nodes(&view.map));
        }
        candidates.extend(self.seeds.iter().cloned());
        let mut last = NetError::Refused("no node of the cluster is named".to_owned());
        for candidate in candidates {
            if self.silent_ms.contains_key(&candidate) {
                continue;
            }
            match self.ask(shared, &candidate, &[b"CLUSTER", b"SLOTS"]) {
                Ok(frame) => match SlotMap::parse(&frame, &candidate.host) {
                    Some(map) if map.serving_from(0).next().is_some() => {
                        self.asked = Some(candidate.clone());
                        return Ok((map, candidate));
                    }
                    _ => last = NetError::Refused(String::from_utf8_lossy(&frame).into_owned()),
                },
                Err(error) => last = error,
            }
        }
        self.asked = None;
        Err(last)
    }

    /// The slots that primaries are giving away; of one that does not say, all.
    fn migrating(&mut self, shared: &Shared, map: &SlotMap) -> Vec<u16> {
        let primaries: Vec<Address> = shards(map).map(|shard| shard.address.clone()).collect();
        self.nodes.retain(|address, _| primaries.contains(address));
        let mut found = Vec::new();
        for address in &primaries {
            let is_silent = self.silent_ms.contains_key(address);
            let answer = (!is_silent)
                .then(|| self.ask(shared, address, &[b"CLUSTER", b"NODES"]).ok())
                .flatten();
            match answer.as_deref().and_then(given_away) {
                Some(slots) => found.extend(slots),
                None => found.extend((0..SLOTS).filter(|&slot| map.primary(slot) == Some(address))),
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn ask(
        &mut self,
        shared: &Shared,
        address: &Address,
        words: &[&[u8]],
    ) -> Result<Vec<u8>, NetError> {
        let begun_ms = clock::now_ms();
        let answer = self.ask_patiently(shared, address, words);
        if answer.is_err() {
            self.nodes.remove(address);
            let now_ms = clock::now_ms();
            // One that refuses costs nothing to be asked again.
            if now_ms >= begun_ms + PATIENCE_MS {
                self.silent_ms.insert(address.clone(), now_ms + SILENCE_MS);
            }
        }
        answer
    }

    fn ask_patiently(
        &mut self,
        shared: &Shared,
        address: &Address,
        words: &[&[u8]],
    ) -> Result<Vec<u8>, NetError> {
        if !self.nodes.contains_key(address) {
            let transport = connect(shared, address, shared.config.login.as_ref())?;
            self.nodes.insert(address.clone(), transport);
        }
        match self.nodes.get(address) {
            Some(transport) => ask(transport, words),
            None => Err(NetError::Refused("not connected".to_owned())),
        }
    }
}

fn shards(map: &SlotMap) -> impl Iterator<Item = &Shard> {
    map.serving_from(0).filter_map(|number| map.shard(number))
}

/// Primaries first.
fn nodes(map: &SlotMap) -> Vec<Address> {
    let primaries = shards(map).map(|shard| &shard.address);
    primaries.chain(shards(map).flat_map(|shard| &shard.replicas)).cloned().collect()
}

fn connect(
    shared: &Shared,
    address: &Address,
    login: Option<&Login>,
) -> Result<Transport, NetError> {
    let timeout_ms = shared.config.link.connect_timeout_ms.min(PATIENCE_MS);
    let transport = shared.connect(&address.endpoint(), timeout_ms)?;
    if let Some(login) = login {
        log_in(&transport, login)?;
    }
    // Commands are described in full in RESP3 only.
    ask(&transport, &[b"HELLO", b"3"])?;
    Ok(transport)
}

/// Slots that the node which answers is giving away: `[815->-id]` in its own line. None when that
/// is not what it answers (it may not be asked, it is loading).
fn given_away(frame: &[u8]) -> Option<Vec<u16>> {
    let text = String::from_utf8_lossy(Reader::new(frame).string()?);
    let own = text.lines().find(|line| line.contains("myself"))?;
    let slot = |word: &str| word.strip_prefix('[')?.split_once("->-")?.0.parse().ok();
    Some(own.split(' ').filter_map(slot).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_given_away_are_in_the_nodes_own_line() {
        let text = "a 127.0.0.1:1@2 master - 0 1 1 connected 7-9 [9->-b]\n\
                    b 127.0.0.1:3@4 myself,master - 0 0 2 connected 0-6 [5->-a] [6->-a] [8-<-a]\n";
        let frame = format!("${}\r\n{text}\r\n", text.len());
        assert_eq!(given_away(frame.as_bytes()), Some(vec![5, 6]));
        assert_eq!(given_away(b"-ERR no\r\n"), None);
    }
}
