//! How a connection to the upstream begins: with the proxy's own login and database, and with what
//! the client has made of its other connections.
//!
//! The client's commands stay here until all of that is answered. Sent along, they would run even
//! where it is refused, as whoever the server takes a stranger for. `RESET` makes a stranger again,
//! so there may be more than one beginning.

use std::collections::VecDeque;

use crate::proxy::output::Output;

#[derive(Default)]
pub(super) struct Beginning {
    /// Commands that begin it, sent and not answered.
    left: usize,
    held: VecDeque<Stage>,
}

/// Commands, the last of which may begin the connection anew.
#[derive(Default)]
struct Stage {
    out: Output,
    /// How many of them do.
    left: usize,
}

impl Beginning {
    /// The command written last is one that begins it.
    pub(super) fn add(&mut self) {
        match self.held.back_mut() {
            Some(stage) => stage.left += 1,
            None => self.left += 1,
        }
    }

    /// Where commands go.
    #[inline]
    pub(super) fn target<'a>(&'a mut self, out: &'a mut Output) -> &'a mut Output {
        if self.left == 0 {
            return out;
        }
        if self.held.back().is_none_or(|stage| stage.left > 0) {
            self.held.push_back(Stage::default());
        }
        self.held.back_mut().map_or(out, |stage| &mut stage.out)
    }

    /// One of those that begin it is answered, and not by a refusal.
    pub(super) fn answered(&mut self, out: &mut Output) {
        self.left -= 1;
        while self.left == 0
            && let Some(stage) = self.held.pop_front()
        {
            out.extend_output(stage.out);
            self.left = stage.left;
        }
    }

    /// Bytes of commands that are not sent yet.
    pub(super) fn held(&self) -> usize {
        self.held.iter().map(|stage| stage.out.len()).sum()
    }
}
