//! Bytes on their way to a socket.
//!
//! Small replies are appended to one buffer and leave in one system call; a large value is not
//! copied but kept as the L1's own reference (or as the buffer it arrived in) between two buffers:
//! copying a hundred megabytes would hold up every other client of the loop.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::transport::Transport;

/// From here on a reference is cheaper than a copy.
pub(crate) const SHARED_BYTES_MIN: usize = 16 << 10;
/// A buffer that grew beyond this is given back to the system when it is empty.
const KEPT_BYTES_MAX: usize = 64 << 10;

enum Chunk {
    Bytes(Vec<u8>),
    Shared(Arc<[u8]>),
    Part(Arc<Vec<u8>>, Range<usize>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Part(buffer, range) => &buffer[range.clone()],
        }
    }
}

/// What a socket has not taken yet.
#[derive(Default)]
pub(crate) struct Output {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are gone already.
    sent: usize,
    len: usize,
    /// The transport may hold bytes that the socket has not taken.
    is_held: bool,
}

impl Output {
    /// Bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0 && !self.is_held
    }

    /// Lets `write` append to the last buffer.
    #[inline]
    pub(crate) fn append<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if !matches!(self.chunks.back(), Some(Chunk::Bytes(_))) {
            self.chunks.push_back(Chunk::Bytes(Vec::new()));
        }
        let Some(Chunk::Bytes(buffer)) = self.chunks.back_mut() else { unreachable!() };
        let before = buffer.len();
        let result = write(buffer);
        self.len += buffer.len() - before;
        result
    }

    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.append(|buffer| buffer.extend_from_slice(bytes));
    }

    /// A whole reply of the L1: copied when small, referred to when large.
    #[inline]
    pub(crate) fn extend_shared(&mut self, bytes: &Arc<[u8]>) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.extend(bytes);
        }
        self.len += bytes.len();
        self.chunks.push_back(Chunk::Shared(Arc::clone(bytes)));
    }

    /// A part of what has come from another socket.
    pub(crate) fn extend_part(&mut self, buffer: &Arc<Vec<u8>>, range: Range<usize>) {
        self.len += range.len();
        self.chunks.push_back(Chunk::Part(Arc::clone(buffer), range));
    }

    /// A buffer as it is.
    pub(crate) fn extend_owned(&mut self, bytes: Vec<u8>) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.extend(&bytes);
        }
        self.len += bytes.len();
        self.chunks.push_back(Chunk::Bytes(bytes));
    }

    /// Everything another output holds.
    pub(crate) fn extend_output(&mut self, other: Output) {
        if other.len < SHARED_BYTES_MIN {
            for (place, chunk) in other.chunks.iter().enumerate() {
                let skipped = if place == 0 { other.sent } else { 0 };
                self.extend(&chunk.bytes()[skipped..]);
            }
            return;
        }
        self.len += other.len;
        self.chunks.extend(other.chunks);
    }

    /// Writes until all is gone or the socket takes no more (`false`); what has been written is
    /// added to `written`.
    pub(crate) fn flush(
        &mut self,
        transport: &Transport,
        pool: &mut Pool,
        written: &mut u64,
    ) -> io::Result<bool> {
        if std::mem::take(&mut self.is_held) && transport.write(&[])?.is_blocked {
            self.is_held = true;
            return Ok(false);
        }
        while let Some(chunk) = self.chunks.front() {
            let bytes = &chunk.bytes()[self.sent..];
            let done = if bytes.is_empty() {
                crate::transport::Written { bytes: 0, is_blocked: false }
            } else {
                transport.write(bytes)?
            };
            self.sent += done.bytes;
            self.len -= done.bytes;
            *written += done.bytes as u64;
            if self.sent == chunk.bytes().len() {
                self.sent = 0;
                if let Some(Chunk::Bytes(buffer)) = self.chunks.pop_front() {
                    pool.give(buffer);
                }
            }
            if done.is_blocked {
                self.is_held = true;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a socket that takes `most` bytes would have been given.
    #[cfg(any(test, feature = "model"))]
    pub(crate) fn take(&mut self, most: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while let Some(chunk) = self.chunks.front() {
            let bytes = &chunk.bytes()[self.sent..];
            let count = bytes.len().min(most - taken.len());
            taken.extend_from_slice(&bytes[..count]);
            self.sent += count;
            self.len -= count;
            if self.sent < chunk.bytes().len() {
                break;
            }
            self.sent = 0;
            self.chunks.pop_front();
        }
        taken
    }

    /// Gives the output a buffer to begin with, so that an idle connection holds none.
    #[inline]
    pub(crate) fn prepare(&mut self, pool: &mut Pool) {
        if self.chunks.is_empty() {
            self.chunks.push_back(Chunk::Bytes(pool.take()));
        }
    }

    /// Gives an unused buffer back.
    #[inline]
    pub(crate) fn relax(&mut self, pool: &mut Pool) {
        if self.len == 0 {
            while let Some(chunk) = self.chunks.pop_front() {
                if let Chunk::Bytes(buffer) = chunk {
                    pool.give(buffer);
                }
            }
            self.sent = 0;
        }
    }
}

/// Empty buffers of one worker.
#[derive(Default)]
pub(crate) struct Pool {
    buffers: Vec<Vec<u8>>,
}

const POOLED_MAX: usize = 256;

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0
            && buffer.capacity() <= KEPT_BYTES_MAX
            && self.buffers.len() < POOLED_MAX
        {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}
