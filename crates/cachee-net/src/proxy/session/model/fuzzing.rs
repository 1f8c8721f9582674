//! Any bytes from both sides, in any pieces and order.

use super::super::Ending;
use super::rig::Rig;
use crate::link::{BypassReason, Outcome};
use crate::proxy::config::{Limits, Login};

const PIPELINE: usize = 16;
const OUTPUT_BYTES: usize = 4 << 10;
const QUERY_BYTES: usize = 4 << 10;
/// The most one step delivers, and the most the L1's own replies add to the output.
const STEP_BYTES: usize = 255;
const KEPT_BYTES_MAX: usize = 1 << 20;

/// One input: a setting, then steps of a kind, a length and so many bytes. Nothing panics, the
/// ceilings are kept, and when the client is gone nothing it began is left.
pub fn run_session(input: &[u8]) {
    let Some((&setting, mut rest)) = input.split_first() else { return };
    let login = (setting & 1 == 1)
        .then(|| Login { user: Some("alice".to_owned()), password: b"a".to_vec() });
    let limits = Limits {
        pipeline: PIPELINE,
        output_buffer_bytes: OUTPUT_BYTES,
        query_buffer_bytes: QUERY_BYTES,
        bulk_bytes: 1 << 20,
        ..Limits::default()
    };
    let mut rig = Rig::new(login, u32::from(setting >> 1 & 1), limits);
    if setting & 4 == 4 {
        rig.hold(b"k", b"$5\r\nvalue\r\n");
        rig.hold(b"j", b"_\r\n");
    }
    while let [kind, length, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        step(&mut rig, *kind, bytes);
        rest = tail;
        let core = &rig.session.core;
        assert!(core.in_flight() <= PIPELINE);
        assert!(core.out.len() <= OUTPUT_BYTES + (PIPELINE + 2) * (STEP_BYTES + KEPT_BYTES));
        let held = rig.session.inbound.capacity() + core.upstream.inbound.capacity();
        assert!(held <= KEPT_BYTES_MAX);
    }
    rig.close();
    for key in ["k", "j", "h"] {
        let rows = rig.host.store.inspect(key.as_bytes(), 0);
        let is_left =
            |row: &cachee_core::Inspected| row.state == cachee_core::InspectedState::WriteInFlight;
        assert!(!rows.iter().any(is_left), "a write is left begun: {rows:?}");
    }
    rig.host.store.validate();
}

/// Our own errors and the replies that are held.
const KEPT_BYTES: usize = 256;

fn step(rig: &mut Rig, kind: u8, bytes: &[u8]) {
    let is_over = rig.session.core.ending == Ending::AfterOutput;
    match kind % 8 {
        0..3 if rig.wants_bytes() => rig.take_bytes(bytes),
        3 | 4 if !is_over && !rig.is_output_full() && rig.session.core.upstream.is_wanted => {
            rig.take_upstream_bytes(bytes);
        }
        5 => {
            rig.session.core.out.take(usize::MAX);
            rig.session.core.upstream.out.take(usize::MAX);
        }
        6 => {
            let asked = rig.host.feed.asked.lock().len();
            let Some((&first, frame)) = bytes.split_first() else { return };
            if asked == 0 {
                return;
            }
            // A link hands out whole frames only.
            let is_whole = crate::resp::Scanner::new().scan(frame)
                == Ok(crate::resp::Scan::Complete(frame.len()));
            let end = if is_whole {
                Outcome::Reply(frame.into())
            } else {
                Outcome::Bypass(BypassReason::ErrorReply)
            };
            rig.end_read(usize::from(first) % asked, end);
        }
        7 if bytes.len() > 200 => rig.lose_upstream(),
        _ => {}
    }
}
