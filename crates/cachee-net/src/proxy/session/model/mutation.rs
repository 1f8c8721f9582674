//! Mistakes to be found: most are made by the world around a session, some by changing what the
//! session has noted between two turns.

use super::super::Session;
use super::super::answers::{Note, Slot};
use super::super::effects::Change;
use cachee_core::Store;

use crate::proxy::reply::Reply;

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    /// A lost link keeps its entries.
    EntriesOutliveLink,
    /// Invalidations of single keys do not come.
    PushLost,
    /// The null push of a flush does not come.
    NullPushLost,
    /// Every value seems to live for ever.
    TtlIgnored,
    /// All databases share a link.
    DbIgnored,
    /// All users share a link.
    UserIgnored,
    /// Replies are in RESP3 whatever was agreed.
    VersionIgnored,
    /// One reply too many on the client's own connection.
    ReplyShifted,
    /// Keys are not held until the write is answered.
    WriteNotHeld,
    /// `MULTI` is not noticed.
    MultiIgnored,
    /// `WATCH` is not noticed.
    WatchIgnored,
    /// A command with unknown keys does not close the gate.
    NoBarrier,
    /// Reads behind a command with unknown effects are answered at once.
    OpaqueIgnored,
    /// A write does not wait for the read before it.
    MustWaitIgnored,
    /// A read of the client's own connection leaves the entry.
    ReadLeavesEntry,
    /// `RESET` changes nothing.
    ResetIgnored,
    /// A command is sent twice, as by a retry.
    Retried,
    /// The feed is believed for ever.
    ProofsForEver,
    /// The upstream is read whether there is room or not.
    CeilingIgnored,
    /// A write that was lost on its way stays begun.
    WriteNotEnded,
}

impl Mutation {
    pub(super) const ALL: [Self; 20] = [
        Self::EntriesOutliveLink,
        Self::PushLost,
        Self::NullPushLost,
        Self::TtlIgnored,
        Self::DbIgnored,
        Self::UserIgnored,
        Self::VersionIgnored,
        Self::ReplyShifted,
        Self::WriteNotHeld,
        Self::MultiIgnored,
        Self::WatchIgnored,
        Self::NoBarrier,
        Self::OpaqueIgnored,
        Self::MustWaitIgnored,
        Self::ReadLeavesEntry,
        Self::ResetIgnored,
        Self::Retried,
        Self::ProofsForEver,
        Self::CeilingIgnored,
        Self::WriteNotEnded,
    ];

    /// Changes what a session has noted, after its turn.
    pub(super) fn tamper(self, session: &mut Session, store: &Store<Reply>) {
        let core = &mut session.core;
        match self {
            Self::VersionIgnored => core.state.is_resp3 = true,
            Self::MultiIgnored => {
                core.multi = None;
                core.state.in_multi = false;
            }
            Self::WatchIgnored => core.state.watched = None,
            Self::MustWaitIgnored => core.reading.clear(),
            Self::OpaqueIgnored => {
                for slot in &mut core.slots {
                    if let Slot::Upstream { note, .. } = slot
                        && matches!(note, Note::Opaque { .. })
                    {
                        *note = Note::None;
                        core.opaque -= 1;
                    }
                }
            }
            Self::WriteNotHeld => core.slots.iter_mut().for_each(|slot| {
                if let Slot::Upstream { note, .. } = slot
                    && let Note::Write(key_hash) = *note
                {
                    store.end_write(&[key_hash]);
                    *note = Note::None;
                }
            }),
            Self::ReadLeavesEntry => {
                core.passing.clear();
                core.slots.iter_mut().for_each(|slot| {
                    if let Slot::Upstream { note, .. } = slot
                        && matches!(note, Note::Read(_) | Note::Reads(_))
                    {
                        *note = Note::None;
                    }
                });
            }
            Self::ResetIgnored => core.slots.iter_mut().for_each(|slot| {
                if let Slot::Upstream { note, .. } = slot
                    && matches!(note, Note::Change(change) if matches!(**change, Change::Reset))
                {
                    *note = Note::Change(Box::new(Change::ReadWrite));
                    core.is_resetting = false;
                }
            }),
            _ => {}
        }
    }
}
