//! Taking down what the L1 may be asked for, whoever answers it.

use super::Core;
use super::answers::{Note, Slot};
use crate::cacheable::{Cacheable, Resp2Shape, cacheable, encode_args};
use crate::proxy::host::Context;
use crate::record::Recorder;

impl Core {
    /// Of a cacheable read, once. In a state that is not plain nothing is the L1's to answer, and
    /// behind an unanswered `MULTI` or `SELECT` the state is not known.
    #[cold]
    pub(super) fn record(&self, context: &Context<'_>, words: &[&[u8]], found: Cacheable) {
        let Some(recorder) = context.recorder.filter(|_| self.is_surely_plain()) else { return };
        let is_known = self.state.is_resp3 || found.resp2 != Resp2Shape::Unknown;
        if is_known && context.admission.admits(words[1]) {
            let mut args = Vec::new();
            encode_args(words, &mut args);
            recorder.record(self.place_in(recorder), found.shape, words[1], &args);
        }
    }

    /// Of `MGET`, key by key.
    #[cold]
    pub(super) fn record_keys(&self, context: &Context<'_>, words: &[&[u8]]) {
        for key in &words[1..] {
            let get = [b"GET", *key];
            if let Some(found) = cacheable(&get) {
                self.record(context, &get, found);
            }
        }
    }

    fn is_surely_plain(&self) -> bool {
        let is_changing = |slot: &Slot| {
            let Slot::Upstream { note, .. } = slot else { return false };
            matches!(note, Note::Change(_) | Note::Confirmations { .. } | Note::Quit)
        };
        self.state.is_plain() && (self.opaque == 0 || !self.slots.iter().any(is_changing))
    }

    /// Whose entries they are.
    pub(super) fn place_in(&self, recorder: &Recorder) -> u64 {
        let user = self.state.login.as_ref().and_then(|login| login.user.as_deref());
        recorder.place(user, self.state.db)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::model::rig::Rig;
    use crate::link::Outcome;
    use crate::proxy::config::Limits;
    use crate::record::{RecordConfig, RecordedKeys, Recorder};
    use crate::resp::encode_command;

    fn send(rig: &mut Rig, lines: &[&str]) {
        let mut bytes = Vec::new();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            encode_command(&words, &mut bytes);
        }
        rig.take_bytes(&bytes);
    }

    #[test]
    fn each_read_that_may_be_served_is_taken_down_once() {
        let folder = std::env::temp_dir().join(format!("cachee-asked-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let config = RecordConfig {
            path: folder.join("asked"),
            one_in: 1,
            keys: RecordedKeys::Plain,
            warn: Arc::new(|_| ()),
        };
        let mut rig = Rig::new(None, 0, Limits::default());
        rig.recorder = Some(Recorder::open(&config).unwrap());
        rig.hold(b"hit", b"$1\r\n1\r\n");
        // Hits by both ways, misses, and one of them that has to wait for the other.
        send(&mut rig, &["GET hit", "GET hit", "STRLEN hit", "GET miss", "GET miss", "GET hit"]);
        send(&mut rig, &["MGET hit other", "HGET h f"]);
        while !rig.host.feed.asked.lock().is_empty() {
            rig.end_read(0, Outcome::Reply(b"$1\r\n1\r\n"[..].into()));
            send(&mut rig, &[]);
        }
        // Behind a script the client's own connection answers.
        send(&mut rig, &["EVAL x 0", "GET behind", "MGET b c"]);
        // Never the L1's.
        send(&mut rig, &["TTL k", "SET k v", "MULTI", "GET queued"]);
        let recorder = rig.recorder.take().unwrap();
        recorder.close();
        let text = std::fs::read_to_string(recorder.path()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        let expected = ["hit", "hit", "hit", "miss", "miss", "hit", "hit", "other", "h f"];
        assert_eq!(lines, [&expected[..], &["behind", "b", "c"]].concat());
    }
}
