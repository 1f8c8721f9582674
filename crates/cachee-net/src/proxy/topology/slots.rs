//! Which node serves which slot.
//!
//! Shards have numbers that outlive what happens to them ([`SlotMap::inherit`]): a replica that
//! takes over has the number of the primary it replaces, and moving slots renumbers nobody. A
//! `SCAN` over the cluster has such a number in its cursor.

use std::str;

use super::Address;
use crate::resp::{Node, Reader};

mod hash;

pub(crate) use hash::slot;

/// How many slots every cluster has.
pub(crate) const SLOTS: u16 = 16384;
/// The owner of a slot that nobody serves.
const NOBODY: u16 = u16::MAX;

/// A primary and what is known around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// The primary.
    pub(crate) address: Address,
    /// Its host name where the cluster prefers addresses but has one: for TLS.
    pub(crate) hostname: Option<Box<str>>,
    /// The primary's id in the cluster.
    pub(crate) id: Box<str>,
    /// Who may take over.
    pub(crate) replicas: Vec<Address>,
}

/// The owner of every slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotMap {
    /// Numbers of shards.
    owners: Box<[u16]>,
    /// One that serves nothing any more stays, so that the others keep their numbers.
    shards: Vec<Shard>,
}

impl SlotMap {
    /// Nobody serves anything.
    pub(crate) fn empty() -> Self {
        Self { owners: vec![NOBODY; usize::from(SLOTS)].into(), shards: Vec::new() }
    }

    /// From the reply to `CLUSTER SLOTS`, one whole frame of either protocol. `asked` is the host
    /// that was asked: what a node means that does not know its own.
    pub(crate) fn parse(frame: &[u8], asked: &str) -> Option<Self> {
        let mut map = Self::empty();
        let mut reader = Reader::new(frame);
        for _ in 0..reader.elements()? {
            map.range(&mut reader, asked)?;
        }
        reader.is_at_end().then_some(map)
    }

    /// First slot, last slot, primary, replicas.
    fn range(&mut self, reader: &mut Reader<'_>, asked: &str) -> Option<()> {
        let parts = reader.elements()?;
        let (first, last) = (index(reader.integer()?)?, index(reader.integer()?)?);
        let mut nodes = parts.checked_sub(3)?;
        let Announced { address, hostname, id } = Announced::read(reader, asked)?;
        let mut shard = Shard { address: address?, hostname, id, replicas: Vec::new() };
        while nodes > 0 {
            shard.replicas.extend(Announced::read(reader, asked)?.address);
            nodes -= 1;
        }
        let number = self.number(shard)?;
        self.owners.get_mut(first..=last)?.fill(number);
        Some(())
    }

    /// The number of a shard, new or known.
    fn number(&mut self, shard: Shard) -> Option<u16> {
        let is_it = |known: &Shard| known.address == shard.address;
        let number = self.shards.iter().position(is_it).unwrap_or_else(|| {
            self.shards.push(shard);
            self.shards.len() - 1
        });
        u16::try_from(number).ok().filter(|&number| number < SLOTS)
    }

    /// Takes over the numbers of the map before this one.
    pub(crate) fn inherit(&mut self, before: &Self) {
        let mut shards = before.shards.clone();
        let mut is_taken = vec![false; shards.len()];
        let mut numbers = vec![NOBODY; self.shards.len()];
        let is_same = |a: &Shard, b: &Shard| a.address == b.address;
        for (shard, number) in self.shards.iter().zip(&mut numbers) {
            if let Some(known) = before.shards.iter().position(|known| is_same(known, shard)) {
                *number = known as u16;
            }
        }
        for &number in numbers.iter().filter(|&&number| number != NOBODY) {
            is_taken[usize::from(number)] = true;
        }
        for (now, number) in numbers.iter_mut().enumerate().filter(|(_, n)| **n == NOBODY) {
            // Another node serves what that shard served, and the shard's own is gone.
            let replaced = self.owners.iter().zip(&before.owners).find_map(|(&owner, &old)| {
                let is_free = old != NOBODY && !is_taken[usize::from(old)];
                (usize::from(owner) == now && is_free).then_some(old)
            });
            let mut numbers = 0..shards.len() as u16;
            let spare =
                |number: &u16| !is_taken[usize::from(*number)] && !before.owners.contains(number);
            *number = replaced.or_else(|| numbers.find(spare)).unwrap_or_else(|| {
                shards.push(self.shards[now].clone());
                is_taken.push(false);
                (shards.len() - 1) as u16
            });
            is_taken[usize::from(*number)] = true;
        }
        for (shard, &number) in self.shards.drain(..).zip(&numbers) {
            shards[usize::from(number)] = shard;
        }
        self.shards = shards;
        for owner in self.owners.iter_mut().filter(|owner| **owner != NOBODY) {
            *owner = numbers[usize::from(*owner)];
        }
    }

    /// The number of the shard that serves a slot.
    pub(crate) fn owner(&self, slot: u16) -> Option<u16> {
        self.owners.get(usize::from(slot)).copied().filter(|&owner| owner != NOBODY)
    }

    /// A shard by its number.
    pub(crate) fn shard(&self, number: u16) -> Option<&Shard> {
        self.shards.get(usize::from(number))
    }

    /// The numbers of the shards that serve anything, ascending, from one number on.
    pub(crate) fn serving_from(&self, first: u16) -> impl Iterator<Item = u16> {
        (first..self.shards.len() as u16).filter(|number| self.owners.contains(number))
    }

    /// Whether an address is of a node of this cluster. A script can make a redirection up, so one
    /// to an address that is still unknown after `CLUSTER SLOTS` was asked again is not followed.
    pub(crate) fn knows(&self, address: &Address) -> bool {
        self.nodes().any(|node| node == address)
    }

    /// Every node that is known, also those that serve nothing now.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Address> {
        self.shards.iter().flat_map(|shard| std::iter::once(&shard.address).chain(&shard.replicas))
    }

    /// Takes in a `MOVED`, until the whole map is asked for again.
    pub(crate) fn assign(&mut self, slot: u16, address: &Address) -> Option<()> {
        let shard = Shard {
            address: address.clone(),
            hostname: None,
            id: Box::default(),
            replicas: Vec::new(),
        };
        let number = self.number(shard)?;
        *self.owners.get_mut(usize::from(slot))? = number;
        Some(())
    }

    /// The slots that have another primary than they had: what was cached of them goes.
    pub(crate) fn moved_since(&self, before: &Self) -> impl Iterator<Item = u16> {
        (0..SLOTS).filter(|&slot| self.primary(slot) != before.primary(slot))
    }

    /// The address of the primary of a slot.
    pub(crate) fn primary(&self, slot: u16) -> Option<&Address> {
        Some(&self.shard(self.owner(slot)?)?.address)
    }
}

fn index(slot: i64) -> Option<usize> {
    usize::try_from(slot).ok().filter(|&slot| slot < usize::from(SLOTS))
}

/// One node of a range, as it announces itself.
struct Announced {
    /// `None`: of a node that has no name yet where names are wanted.
    address: Option<Address>,
    hostname: Option<Box<str>>,
    id: Box<str>,
}

impl Announced {
    /// Host, port, id, and what else is known of it; a later server may add more.
    fn read(reader: &mut Reader<'_>, asked: &str) -> Option<Self> {
        let parts = reader.elements()?;
        let host = match reader.next()? {
            Node::Bulk(host) | Node::Simple(host) => str::from_utf8(host).ok()?,
            Node::Null => "",
            _ => return None,
        };
        let port = u16::try_from(reader.integer()?).ok()?;
        let mut announced = Self { address: None, hostname: None, id: Box::default() };
        if parts > 2 {
            announced.id = str::from_utf8(reader.string()?).ok()?.into();
        }
        let mut ip = None;
        if parts > 3 {
            let pairs = match reader.next()? {
                Node::Map(pairs) => pairs,
                Node::Array(elements) => elements / 2,
                _ => return None,
            };
            for _ in 0..pairs {
                let (name, value) = (reader.string()?, str::from_utf8(reader.string()?).ok()?);
                match name {
                    b"ip" => ip = Some(value),
                    b"hostname" if !value.is_empty() => announced.hostname = Some(value.into()),
                    _ => {}
                }
            }
        }
        for _ in 4..parts {
            reader.skip()?;
        }
        announced.address = match host {
            "" => Some(asked),
            "?" => ip,
            host => Some(host),
        }
        .map(|host| Address::new(host, port));
        Some(announced)
    }
}

#[cfg(test)]
pub(super) mod tests;
