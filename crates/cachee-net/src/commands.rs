//! What a command changes, by the server's own description of its commands.

/// What a command leaves to be done in the L1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Reads keys, changes none.
    ReadOnly,
    /// Changes at most these keys.
    Writes(Vec<&'a [u8]>),
    /// May change any key: needs the barrier.
    Unknown,
    /// Changes everything at once, and not every server says so.
    FlushAll,
    /// Touches no key.
    None,
}

/// The commands of one server.
#[derive(Debug, Default)]
pub struct CommandTable {}

impl CommandTable {
    /// From the reply to `COMMAND`, one whole frame.
    pub fn parse(_frame: &[u8]) -> Option<Self> {
        Some(Self {})
    }

    /// What `args` (the name first) changes.
    pub fn effect<'a>(&self, _args: &[&'a [u8]]) -> Effect<'a> {
        Effect::Unknown
    }
}
