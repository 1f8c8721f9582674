//! Bytes through, unread: the floor of any proxy with one upstream connection a client.
//!
//! One thread; per piece of bytes a look, a receive and a send. What a proxy costs above this is
//! its own work; what this costs is the kernel's. With a delay it stands for the network: each
//! piece leaves that much later than it came, any number of pieces under way at once, in order.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket};

use super::readiness::{Interest, Ready, Sockets};
use super::{stream, worker};
use crate::config::Endpoint;

const BUFFER_BYTES: usize = 64 << 10;
/// What may wait in one direction of one connection before it is read no more.
const WAITING_BYTES_MAX: usize = 4 << 20;
const LOOK: Duration = Duration::from_millis(100);
const LISTENER: usize = usize::MAX;

/// A relay that listens.
pub struct Relay {
    listener: Socket,
    domain: Domain,
    upstream: Endpoint,
    delay: Duration,
}

impl Relay {
    /// Listens; every connection will be connected to `upstream`, and each direction `delay` late.
    pub fn bind(listen: &Endpoint, upstream: Endpoint, delay: Duration) -> io::Result<Self> {
        let listener = stream::listen(listen)?;
        let domain = listener.local_addr()?.domain();
        Ok(Self { listener, domain, upstream, delay })
    }

    /// The port chosen, when it listens on TCP.
    pub fn port(&self) -> Option<u16> {
        self.listener.local_addr().ok()?.as_socket().map(|address| address.port())
    }

    /// Relays until `is_interrupted`, which is asked every 100 ms and after each look.
    pub fn serve(&self, is_interrupted: &mut dyn FnMut() -> bool) -> io::Result<()> {
        worker::set_exact_timers();
        let mut pump = Pump::new(self.delay)?;
        pump.sockets.add(self.listener.as_fd(), LISTENER, Interest::READ)?;
        let mut ready = Vec::new();
        let mut looked = Instant::now();
        loop {
            let limit = pump.send_late();
            pump.sockets.wait(limit, &mut ready)?;
            for &event in &ready {
                if event.key == LISTENER {
                    self.accept(&mut pump);
                } else {
                    pump.attend(event);
                }
            }
            if ready.is_empty() || looked.elapsed() >= LOOK {
                looked = Instant::now();
                if is_interrupted() {
                    return Ok(());
                }
            }
        }
    }

    fn accept(&self, pump: &mut Pump) {
        while let Ok((client, _)) = self.listener.accept() {
            // A client whose upstream cannot be reached sees its connection closed.
            let Ok(upstream) = stream::connect(&self.upstream) else { continue };
            if stream::prepare(&client, self.domain).is_ok() {
                pump.join(client, upstream);
            }
        }
    }
}

/// One end of a connection; its opposite has the same number but for the last bit.
struct End {
    socket: Socket,
    /// Came from the opposite and does not fit into the socket.
    unsent: VecDeque<u8>,
    /// Came from here and is under way to the opposite.
    late_bytes: usize,
    interest: Interest,
    has_ended: bool,
}

/// Bytes that leave later; none stand for the end.
struct Piece {
    due: Instant,
    from: usize,
    bytes: Vec<u8>,
}

struct Pump {
    sockets: Sockets,
    /// Numbers are not used again: a piece under way must not meet a stranger.
    ends: Vec<Option<End>>,
    delay: Duration,
    late: VecDeque<Piece>,
    buffer: Vec<u8>,
}

impl Pump {
    fn new(delay: Duration) -> io::Result<Self> {
        let buffer = vec![0; BUFFER_BYTES];
        Ok(Self {
            sockets: Sockets::new()?,
            ends: Vec::new(),
            delay,
            late: VecDeque::new(),
            buffer,
        })
    }

    fn join(&mut self, client: Socket, upstream: Socket) {
        for socket in [client, upstream] {
            // Without being watched it stands still and its opposite's end closes both.
            let _ = self.sockets.add(socket.as_fd(), self.ends.len(), Interest::READ);
            let interest = Interest::READ;
            let unsent = VecDeque::new();
            let end = End { socket, unsent, late_bytes: 0, interest, has_ended: false };
            self.ends.push(Some(end));
        }
    }

    fn attend(&mut self, event: Ready) {
        if event.is_writable {
            self.send(event.key, &[]);
        }
        if event.is_readable {
            self.receive(event.key);
        }
    }

    fn receive(&mut self, at: usize) {
        let Some(end) = &mut self.ends[at] else { return };
        if end.has_ended {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = match stream::receive(&end.socket, &mut buffer) {
            Ok(received) => Some(received),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        };
        if let Some(received) = received {
            end.has_ended = received == 0;
            if self.delay.is_zero() {
                self.send(at ^ 1, &buffer[..received]);
            } else {
                end.late_bytes += received;
                let bytes = buffer[..received].to_vec();
                self.late.push_back(Piece { due: Instant::now() + self.delay, from: at, bytes });
                self.watch(at);
            }
        }
        self.buffer = buffer;
    }

    /// Sends the pieces that are due; how long no other will be.
    fn send_late(&mut self) -> Duration {
        while let Some(piece) = self.late.front() {
            let left = piece.due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return left.min(LOOK);
            }
            let Some(Piece { from, bytes, .. }) = self.late.pop_front() else { break };
            if let Some(end) = &mut self.ends[from] {
                end.late_bytes -= bytes.len();
                self.send(from ^ 1, &bytes);
            }
        }
        LOOK
    }

    /// Sends on end `at` what waits for it and then `bytes`, as much as fits; the rest waits.
    fn send(&mut self, at: usize, mut bytes: &[u8]) {
        let Some(end) = &mut self.ends[at] else { return };
        let sent = loop {
            let waits = !end.unsent.is_empty();
            let next = if waits { end.unsent.as_slices().0 } else { bytes };
            if next.is_empty() {
                break Ok(());
            }
            match stream::send(&end.socket, next) {
                Ok(sent) if waits => drop(end.unsent.drain(..sent)),
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        end.unsent.extend(bytes);
        let is_done = end.unsent.is_empty();
        let other = self.ends[at ^ 1].as_ref();
        let is_last = is_done && other.is_some_and(|end| end.has_ended && end.late_bytes == 0);
        if sent.is_err() || is_last {
            self.close(at);
        } else {
            self.watch(at);
            self.watch(at ^ 1);
        }
    }

    /// Waits for room where something is unsent, and for bytes where not too many wait.
    fn watch(&mut self, at: usize) {
        let waiting = |end: &Option<End>| end.as_ref().map_or(0, |end| end.unsent.len());
        let to_opposite = waiting(&self.ends[at ^ 1]);
        let Some(end) = &mut self.ends[at] else { return };
        let interest = Interest {
            reads: !end.has_ended && to_opposite + end.late_bytes < WAITING_BYTES_MAX,
            writes: !end.unsent.is_empty(),
        };
        if interest != end.interest {
            end.interest = interest;
            // It was added, so it can be modified.
            let _ = self.sockets.modify(end.socket.as_fd(), at, interest);
        }
    }

    fn close(&mut self, at: usize) {
        for at in [at, at ^ 1] {
            if let Some(end) = self.ends[at].take() {
                let _ = self.sockets.remove(end.socket.as_fd());
            }
        }
    }
}
