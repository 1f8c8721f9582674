//! The buffer between those who ask and the disk, and who empties it.

use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Limits, RecordStatistics};

/// How long a request may wait in the buffer.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How long a close waits for a disk that does not answer.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Where requests go.
pub(super) trait Out: Write + Send {
    /// Takes back what was written of a part only.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

impl Out for File {
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests are taken.
    Open,
    /// Those that were taken are written.
    Closing,
    /// Nobody writes any more.
    Over,
}

struct State {
    bytes: Vec<u8>,
    /// In `bytes`.
    requests: u64,
    statistics: RecordStatistics,
    phase: Phase,
}

/// Requests that are not written yet.
pub(super) struct Pending {
    state: Mutex<State>,
    changed: Condvar,
    limits: Limits,
}

impl Pending {
    pub(super) fn new(limits: Limits) -> Self {
        let statistics = RecordStatistics::default();
        let state = State { bytes: Vec::new(), requests: 0, statistics, phase: Phase::Open };
        Self { state: Mutex::new(state), changed: Condvar::new(), limits }
    }

    /// Takes one request, if there is room.
    pub(super) fn push(&self, record: &[u8]) {
        let mut state = self.state.lock();
        let (before, after) = (state.bytes.len(), state.bytes.len() + record.len());
        if state.phase != Phase::Open || after > self.limits.buffer_bytes {
            state.statistics.dropped += 1;
            return;
        }
        state.bytes.extend_from_slice(record);
        state.requests += 1;
        drop(state);
        let due = self.due_bytes();
        if before == 0 || (before < due && after >= due) {
            self.changed.notify_all();
        }
    }

    /// Counts one request that cannot be taken.
    pub(super) fn lose(&self) {
        self.state.lock().statistics.dropped += 1;
    }

    pub(super) fn statistics(&self) -> RecordStatistics {
        self.state.lock().statistics
    }

    /// No more requests.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
            self.changed.notify_all();
        }
    }

    /// Until nobody writes any more.
    pub(super) fn wait(&self) {
        let deadline = Instant::now() + CLOSE_WAIT;
        let mut state = self.state.lock();
        while state.phase != Phase::Over
            && !self.changed.wait_until(&mut state, deadline).timed_out()
        {}
    }

    /// Nobody writes any more.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.statistics.dropped += state.requests;
        (state.bytes, state.requests, state.phase) = (Vec::new(), 0, Phase::Over);
        self.changed.notify_all();
    }

    /// Empties the buffer again and again until it is closed. `written` bytes are there already.
    pub(super) fn write_out(&self, out: &mut impl Out, mut written: u64) -> Result<(), String> {
        let mut chunk = Vec::new();
        loop {
            chunk.clear();
            let (requests, is_last) = self.take(&mut chunk);
            let after = written + chunk.len() as u64;
            let end = if after > self.limits.file_bytes {
                Err(format!("a file may have {} MB", self.limits.file_bytes >> 20))
            } else {
                out.write_all(&chunk).map_err(|error| error.to_string())
            };
            let mut state = self.state.lock();
            match end {
                Ok(()) => state.statistics.recorded += requests,
                Err(reason) => {
                    state.statistics.dropped += requests;
                    drop(state);
                    // Half a request would spoil the others.
                    let _ = out.cut(written);
                    return Err(reason);
                }
            }
            if is_last {
                return Ok(());
            }
            written = after;
        }
    }

    /// Waits for something to write; how many requests that is, and whether it is the last of it.
    fn take(&self, chunk: &mut Vec<u8>) -> (u64, bool) {
        let mut state = self.state.lock();
        while state.phase == Phase::Open && state.bytes.is_empty() {
            self.changed.wait(&mut state);
        }
        let deadline = Instant::now() + FLUSH_EVERY;
        while state.phase == Phase::Open
            && state.bytes.len() < self.due_bytes()
            && !self.changed.wait_until(&mut state, deadline).timed_out()
        {}
        std::mem::swap(&mut state.bytes, chunk);
        (std::mem::take(&mut state.requests), state.phase != Phase::Open)
    }

    /// So much is written without waiting for its time.
    fn due_bytes(&self) -> usize {
        self.limits.buffer_bytes / 2
    }
}
