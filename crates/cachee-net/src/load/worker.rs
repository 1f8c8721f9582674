//! One thread of the load and its connections.

use std::io;
use std::os::fd::AsFd;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::connection::Connection;
use super::histogram::Histogram;
use super::readiness::{Interest, Ready, Sockets};
use super::replies::Counted;
use super::requests::{Cursor, Requests};
use super::{LoadConfig, stream};
use crate::resp::command_bytes;

/// Large enough that a pipeline of ordinary replies is one read.
const BUFFER_BYTES: usize = 256 << 10;
/// A look at whether the run is to end at least this often.
const LOOK: Duration = Duration::from_millis(50);
/// How long after the end replies are waited for.
const GRACE_NS: u64 = 5_000_000_000;
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// What one thread has seen.
pub(super) struct Tally {
    pub(super) counted: Counted,
    pub(super) latency: Histogram,
    pub(super) unanswered: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) took_ns: u64,
    pub(super) cpu_ns: u64,
}

/// A thread's connections and clock.
pub(super) struct Worker<'a> {
    config: &'a LoadConfig,
    requests: &'a Requests,
    is_stopped: &'a AtomicBool,
    connections: Vec<Connection>,
    sockets: Sockets,
    pipeline: u64,
    /// Nanoseconds between two pipelines of this thread; the closed loop has none.
    interval_ns: Option<f64>,
    /// Pipelines that were due so far, in the open loop.
    due: u64,
    started: Instant,
    counted: Counted,
    latency: Histogram,
    last_reply_ns: u64,
    buffer: Vec<u8>,
}

impl<'a> Worker<'a> {
    /// Connects the connections of thread number `thread`.
    pub(super) fn connect(
        config: &'a LoadConfig,
        requests: &'a Requests,
        is_stopped: &'a AtomicBool,
        thread: usize,
    ) -> io::Result<Self> {
        let sockets = Sockets::new()?;
        let mut connections = Vec::new();
        for number in (thread..config.connections).step_by(config.threads) {
            let mut socket = stream::connect(&config.endpoint)?;
            greet(&mut socket, config.password.as_deref())?;
            let cursor = Cursor::new(requests, &config.workload, number);
            let connection = Connection::new(socket, cursor);
            sockets.add(connection.as_fd(), connections.len(), Interest::READ)?;
            connections.push(connection);
        }
        let pipelines_per_s = config.rate_per_s.map(|rate| rate / config.pipeline as f64);
        let share = connections.len() as f64 / config.connections as f64;
        Ok(Self {
            config,
            requests,
            is_stopped,
            connections,
            sockets,
            pipeline: config.pipeline as u64,
            interval_ns: pipelines_per_s.map(|rate| 1e9 / (rate * share)),
            due: 0,
            started: Instant::now(),
            counted: Counted::default(),
            latency: Histogram::new(),
            last_reply_ns: 0,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Runs from when all threads are connected to the end of the run.
    pub(super) fn run(mut self, start: &Barrier) -> io::Result<Tally> {
        set_exact_timers();
        start.wait();
        let cpu_ns = thread_cpu_ns();
        self.started = Instant::now();
        let end_ns = self.config.duration.as_nanos() as u64;
        if self.interval_ns.is_none() {
            for at in 0..self.connections.len() {
                self.start_pipeline(at)?;
            }
        }
        let mut ready = Vec::new();
        loop {
            let now_ns = self.now_ns();
            let is_stopped = self.is_stopped.load(Ordering::Relaxed);
            let is_over = now_ns >= end_ns;
            if is_stopped || (is_over && (self.is_answered() || now_ns >= end_ns + GRACE_NS)) {
                break;
            }
            let limit = if is_over { LOOK } else { self.send_due(now_ns, end_ns)? };
            self.sockets.wait(limit, &mut ready)?;
            for &event in &ready {
                self.attend(event, end_ns)?;
            }
        }
        Ok(self.tally(thread_cpu_ns() - cpu_ns))
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn is_answered(&self) -> bool {
        self.connections.iter().all(|c| c.pipelines_sent * self.pipeline == c.replies_received)
    }

    /// Sends what is due in the open loop; how long nothing more will be. Whole milliseconds in
    /// the closed loop, which cost one system call less.
    fn send_due(&mut self, now_ns: u64, end_ns: u64) -> io::Result<Duration> {
        let Some(interval_ns) = self.interval_ns else { return Ok(LOOK) };
        loop {
            let due_ns = (self.due as f64 * interval_ns) as u64;
            if due_ns > now_ns {
                return Ok(Duration::from_nanos(due_ns.min(end_ns) - now_ns).min(LOOK));
            }
            let at = self.due as usize % self.connections.len();
            self.due += 1;
            self.connections[at].pipelines_due += 1;
            self.start_pipeline(at)?;
        }
    }

    /// Sends as many pipelines as may be sent now: one in the closed loop, those due in the open.
    fn start_pipeline(&mut self, at: usize) -> io::Result<()> {
        if self.interval_ns.is_none() {
            self.connections[at].began_ns = self.now_ns();
            self.connections[at].send_next(self.requests)?;
        } else {
            while self.connections[at].pipelines_due > 0 && self.connections[at].is_sent() {
                self.connections[at].pipelines_due -= 1;
                self.connections[at].send_next(self.requests)?;
            }
        }
        self.watch(at)
    }

    /// Watches for room while there is something unsent.
    fn watch(&mut self, at: usize) -> io::Result<()> {
        let connection = &mut self.connections[at];
        let writes = !connection.is_sent();
        if writes != connection.is_watched_for_room {
            connection.is_watched_for_room = writes;
            let interest = Interest { reads: true, writes };
            self.sockets.modify(connection.as_fd(), at, interest)?;
        }
        Ok(())
    }

    fn attend(&mut self, event: Ready, end_ns: u64) -> io::Result<()> {
        let at = event.key;
        if event.is_writable && !self.connections[at].is_sent() {
            self.connections[at].send_rest(self.requests)?;
            if self.interval_ns.is_some() {
                self.start_pipeline(at)?;
            }
            self.watch(at)?;
        }
        if !event.is_readable {
            return Ok(());
        }
        let first = self.connections[at].replies_received;
        let replies = self.connections[at].receive(&mut self.buffer, &mut self.counted)?;
        if replies == 0 {
            return Ok(());
        }
        let now_ns = self.now_ns();
        self.last_reply_ns = now_ns;
        self.record(at, first, replies, now_ns);
        let connection = &self.connections[at];
        let is_answered = connection.pipelines_sent * self.pipeline == connection.replies_received;
        if self.interval_ns.is_none() && is_answered && now_ns < end_ns {
            self.start_pipeline(at)?;
        }
        Ok(())
    }

    /// Latency of `replies` replies, of which `first` came before on the connection: from when
    /// their pipeline was meant to leave, whether or not it could.
    fn record(&mut self, at: usize, first: u64, replies: u64, now_ns: u64) {
        let Some(interval_ns) = self.interval_ns else {
            let took_ns = now_ns - self.connections[at].began_ns;
            return self.latency.record(took_ns, replies);
        };
        let (mut seen, end) = (first, first + replies);
        while seen < end {
            let turn = seen / self.pipeline;
            let of_this = ((turn + 1) * self.pipeline).min(end) - seen;
            let due = turn * self.connections.len() as u64 + at as u64;
            let due_ns = (due as f64 * interval_ns) as u64;
            self.latency.record(now_ns.saturating_sub(due_ns), of_this);
            seen += of_this;
        }
    }

    fn tally(self, cpu_ns: u64) -> Tally {
        let sent = |c: &Connection| (c.pipelines_sent + c.pipelines_due) * self.pipeline;
        Tally {
            counted: self.counted,
            unanswered: self.connections.iter().map(|c| sent(c) - c.replies_received).sum(),
            bytes_sent: self.connections.iter().map(|c| c.bytes_sent).sum(),
            bytes_received: self.connections.iter().map(|c| c.bytes_received).sum(),
            took_ns: self.last_reply_ns,
            latency: self.latency,
            cpu_ns,
        }
    }
}

/// Authenticates if asked to, and makes sure that whoever listens is there with all behind it.
fn greet(socket: &mut socket2::Socket, password: Option<&[u8]>) -> io::Result<()> {
    use std::io::{Read, Write};

    let mut greeting = password.map(|word| command_bytes(&[b"AUTH", word])).unwrap_or_default();
    greeting.extend(command_bytes(&[b"PING"]));
    let expected: &[u8] = if password.is_some() { b"+OK\r\n+PONG\r\n" } else { b"+PONG\r\n" };
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(GREETING_TIMEOUT))?;
    socket.write_all(&greeting)?;
    let mut answer = vec![0; expected.len()];
    socket.read_exact(&mut answer)?;
    if answer != expected {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        return Err(io::Error::other(format!("the server greets with {shown:?}")));
    }
    socket.set_nonblocking(true)
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Linux lets a sleeper oversleep by 50 µs, which an open loop would see as latency.
pub(super) fn set_exact_timers() {
    #[cfg(target_os = "linux")]
    // It stays as it was where this is not allowed, and the latencies are that much longer.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}
