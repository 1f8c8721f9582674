//! Commands taken apart, executed by nodes that each refuse keys which are not their own, and joined
//! again, beside one server that has all keys: the client must not see which it was.

use std::collections::HashMap;

use proptest::prelude::*;

use super::join::{Reply, join};
use super::routing::{Join, Nodes, Route, State, route};
use super::slots::{SLOTS, slot};
use crate::commands::CommandTable;

const NODES: u16 = 3;

/// A server, as far as the commands below go.
#[derive(Clone, Default)]
struct Server {
    keys: HashMap<Vec<u8>, Vec<u8>>,
    /// The node of a cluster that this is.
    node: Option<u16>,
}

impl Server {
    fn execute(&mut self, words: &[&[u8]]) -> String {
        let step = if words[0] == b"MSET" { 2 } else { 1 };
        let keys: Vec<&[u8]> = words[1..].iter().step_by(step).copied().collect();
        if let Some(node) = self.node {
            let slots: Vec<u16> = keys.iter().map(|key| slot(key)).collect();
            assert!(slots.windows(2).all(|pair| pair[0] == pair[1]), "CROSSSLOT");
            assert!(slots.iter().all(|&slot| node_of(slot) == node), "MOVED");
        }
        let is_there = |key: &&&[u8]| self.keys.contains_key(**key);
        match words[0] {
            b"MGET" => {
                let values = keys.iter().map(|key| match self.keys.get(*key) {
                    Some(value) => format!("${}\r\n{}\r\n", value.len(), value.escape_ascii()),
                    None => "_\r\n".to_owned(),
                });
                format!("*{}\r\n{}", keys.len(), values.collect::<String>())
            }
            b"MSET" => {
                for pair in words[1..].chunks(2) {
                    self.keys.insert(pair[0].to_vec(), pair[1].to_vec());
                }
                "+OK\r\n".to_owned()
            }
            b"EXISTS" | b"TOUCH" => format!(":{}\r\n", keys.iter().filter(is_there).count()),
            b"DEL" | b"UNLINK" => {
                let gone = keys.iter().filter(|key| self.keys.remove(**key).is_some()).count();
                format!(":{gone}\r\n")
            }
            b"DBSIZE" => format!(":{}\r\n", self.keys.len()),
            other => panic!("{}", other.escape_ascii()),
        }
    }
}

fn node_of(slot: u16) -> u16 {
    slot / (SLOTS / NODES + 1)
}

/// What the proxy does with a command.
fn through(nodes: &mut [Server], table: &CommandTable, words: &[&[u8]]) -> String {
    let at = |slot: u16| usize::from(node_of(slot));
    let (how, replies): (Join, Vec<(Vec<u32>, String)>) = match route(words, table, State::Plain) {
        Route::Slot(slot) => return nodes[at(slot)].execute(words),
        Route::Split { parts, join } => {
            let execute = |part: super::routing::Part<'_>| {
                let reply = nodes[at(part.slot)].execute(&part.words);
                (part.positions, reply)
            };
            (join, parts.into_iter().map(execute).collect())
        }
        Route::Every { which: Nodes::Primaries, join } => {
            (join, nodes.iter_mut().map(|node| (Vec::new(), node.execute(words))).collect())
        }
        other => panic!("{other:?}"),
    };
    let replies: Vec<Reply<'_>> = replies
        .iter()
        .map(|(positions, frame)| Reply { positions, frame: frame.as_bytes() })
        .collect();
    let mut out = Vec::new();
    join(how, &replies, &mut out);
    String::from_utf8(out).unwrap()
}

fn commands() -> impl Strategy<Value = Vec<String>> {
    let keys = prop::collection::vec("[a-e]{1,2}(\\{[xy]\\})?", 1..12);
    let names = &["MGET", "MSET", "EXISTS", "TOUCH", "DEL", "UNLINK", "DBSIZE"][..];
    (prop::sample::select(names), keys, 0..100_u32).prop_map(|(name, keys, value)| {
        let rest: Vec<String> = match name {
            "DBSIZE" => Vec::new(),
            "MSET" => keys.into_iter().flat_map(|key| [key, value.to_string()]).collect(),
            _ => keys,
        };
        [vec![name.to_owned()], rest].concat()
    })
}

proptest! {
    #[test]
    fn a_cluster_answers_as_one_server(history in prop::collection::vec(commands(), 1..30)) {
        let table = super::routing::tests::table();
        let mut one = Server::default();
        let mut nodes: Vec<Server> =
            (0..NODES).map(|node| Server { node: Some(node), ..Server::default() }).collect();
        for command in history {
            let words: Vec<&[u8]> = command.iter().map(String::as_bytes).collect();
            let answer = through(&mut nodes, table, &words);
            prop_assert_eq!(answer, one.execute(&words));
        }
    }
}
