//! One connection of the load: pipelines out, replies counted in.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::Shutdown;
use socket2::Socket;

use super::replies::{Counted, Replies};
use super::requests::{Cursor, Requests};
use super::stream;

/// A connection and how far its replies are.
pub(super) struct Connection {
    socket: Socket,
    cursor: Cursor,
    replies: Replies,
    unsent: Range<usize>,
    /// Pipelines handed to the socket, and replies that came.
    pub(super) pipelines_sent: u64,
    pub(super) replies_received: u64,
    /// When the pipeline under way was meant to be sent; for the closed loop.
    pub(super) began_ns: u64,
    /// Pipelines that are due but wait for the one before to leave; for the open loop.
    pub(super) pipelines_due: u64,
    /// The socket is watched for room to write.
    pub(super) is_watched_for_room: bool,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

impl Connection {
    pub(super) fn new(socket: Socket, cursor: Cursor) -> Self {
        Self {
            socket,
            cursor,
            replies: Replies::default(),
            unsent: 0..0,
            pipelines_sent: 0,
            replies_received: 0,
            began_ns: 0,
            pipelines_due: 0,
            is_watched_for_room: false,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// Whether the last pipeline has left whole, so that the next may start.
    pub(super) fn is_sent(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Starts the next pipeline; the last one must have left.
    pub(super) fn send_next(&mut self, requests: &Requests) -> io::Result<()> {
        debug_assert!(self.is_sent(), "the bytes of the pipeline before are still needed");
        self.unsent = self.cursor.next(requests);
        self.pipelines_sent += 1;
        self.send_rest(requests)
    }

    /// Sends what the socket takes of the pipeline under way.
    pub(super) fn send_rest(&mut self, requests: &Requests) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let rest = &self.cursor.bytes(requests)[self.unsent.clone()];
            match stream::send(&self.socket, rest) {
                Ok(sent) => {
                    self.unsent.start += sent;
                    self.bytes_sent += sent as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Counts what has come; `buffer` is scratch space.
    pub(super) fn receive(&mut self, buffer: &mut [u8], counted: &mut Counted) -> io::Result<u64> {
        let before = counted.replies;
        loop {
            match stream::receive(&self.socket, buffer) {
                Ok(0) => {
                    let message = "the server closed a connection under load";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
                Ok(received) => {
                    self.bytes_received += received as u64;
                    self.replies.count(&buffer[..received], counted)?;
                    if received < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let replies = counted.replies - before;
        self.replies_received += replies;
        Ok(replies)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It may be gone already; nothing is left to be done about that.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}
