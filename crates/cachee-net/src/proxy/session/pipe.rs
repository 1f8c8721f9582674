//! A connection whose replies cannot be told from commands any more (`MONITOR`, `CLIENT REPLY OFF`).

use super::answers::Note;
use super::state::{Special, special};
use super::{Command, Core};
use crate::proxy::host::Context;

/// How long what a pipe sends may take until it is executed.
const PIPED_MS: u64 = 1_000;

impl Core {
    /// Nothing but bytes from here on; what was asked before is answered first.
    pub(super) fn become_pipe(&mut self, context: &Context<'_>, command: &Command<'_>) -> bool {
        // The router refuses it: there is no one connection to be a pipe to.
        if self.router.is_some() {
            let note = if self.multi.is_some() { Note::Queued } else { Note::None };
            self.forward(context, command, note);
            return true;
        }
        if !self.slots.is_empty() {
            return false;
        }
        self.multi = None;
        self.open_upstream(context);
        if self.upstream.in_flight() > 0 {
            // The proxy's own login has to be answered before.
            return false;
        }
        self.state.is_pipe = true;
        self.has_piped_rights |= special(command.words) == Some(Special::Rights);
        // Half a push, perhaps.
        self.out.extend(&std::mem::take(&mut self.upstream.inbound));
        self.upstream.out.append(|out| command.write(out));
        context.counters.forwarded.add(1);
        true
    }

    /// A command of a pipe: its reply will not be recognised, so what it may change goes now, and
    /// every byte that may acknowledge it waits for a barrier (`take_piped_bytes`). `SWAPDB` is
    /// announced by nobody: for a while everything goes with those bytes as well. So it is with rights,
    /// which a transaction may change long after they were named.
    pub(super) fn pipe(&mut self, context: &Context<'_>, command: &Command<'_>) {
        let effect = self.hashed(context, command);
        if effect.is_opaque || !effect.writes.is_empty() {
            self.has_piped_write = true;
        }
        if effect.flushes {
            context.host.store().clear();
            self.piped_flush_ms = Some(context.now_ms);
        }
        for &write in &effect.writes {
            context.host.store().invalidate(write);
        }
        self.has_piped_rights |= special(command.words) == Some(Special::Rights);
        if self.has_piped_rights && effect.is_opaque {
            context.host.rights_changed();
            self.piped_rights_ms = Some(context.now_ms);
        }
        context.counters.forwarded.add(1);
        self.upstream.out.append(|out| command.write(out));
    }

    /// Bytes for a pipe: any of them may acknowledge what it has sent.
    pub(super) fn take_piped_bytes(&mut self, context: &Context<'_>, bytes: &[u8]) {
        if self.has_piped_write {
            context.host.barrier();
        }
        if let Some(flushed_ms) = self.piped_flush_ms {
            context.host.store().clear();
            if context.now_ms >= flushed_ms + PIPED_MS {
                self.piped_flush_ms = None;
            }
        }
        if let Some(changed_ms) = self.piped_rights_ms {
            context.host.rights_changed();
            if context.now_ms >= changed_ms + PIPED_MS {
                self.piped_rights_ms = None;
            }
        }
        self.out.extend(bytes);
    }
}
