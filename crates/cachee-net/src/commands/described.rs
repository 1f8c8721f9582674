//! One command by its description, for whoever has to send it somewhere.

use super::{Command, NAME_BYTES_MAX, RequestPolicy, ResponsePolicy, name_without_padding};

/// What the server says of one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described<'t> {
    pub(super) name: [u8; NAME_BYTES_MAX],
    pub(super) command: &'t Command,
}

impl Described<'_> {
    /// In lower case; a subcommand's as `xgroup|create`.
    pub(crate) fn name(&self) -> &[u8] {
        name_without_padding(&self.name)
    }

    /// About the server, not its data.
    pub(crate) fn is_admin(&self) -> bool {
        self.command.is_admin
    }

    /// To which nodes of a cluster it goes.
    pub(crate) fn request(&self) -> RequestPolicy {
        self.command.request
    }

    /// What is made of the nodes' replies.
    pub(crate) fn response(&self) -> ResponsePolicy {
        self.command.response
    }

    /// Every key read or written; `None` when they cannot be known from the description.
    #[cfg(test)]
    pub(crate) fn keys<'a>(&self, args: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
        let mut keys = Vec::new();
        for spec in
            self.command.keys.iter().filter(|spec| spec.access != super::spec::Access::Channel)
        {
            spec.find(args, &mut keys)?;
        }
        Some(keys)
    }

    /// Some word that a cluster finds the command's node by: a key or a sharded channel. The
    /// server looks at all of them itself, so one that is known suffices.
    pub(crate) fn routed_by<'a>(&self, args: &[&'a [u8]]) -> Option<&'a [u8]> {
        let mut specs = self.command.keys.iter();
        specs.find_map(|spec| args.get(spec.positions(args)?.next()?).copied())
    }

    /// How many arguments belong to each key, if nothing but keys and what belongs to each follows
    /// the name: a command that can be taken apart.
    pub(crate) fn group_size(&self, args: &[&[u8]]) -> Option<usize> {
        let [spec] = self.command.keys.as_slice() else { return None };
        let (mut positions, step) = (spec.positions(args)?, spec.step());
        let count = positions.len();
        let is_all = positions.next() == Some(1) && count * step == args.len() - 1;
        (is_all && !spec.is_incomplete).then_some(step)
    }
}
