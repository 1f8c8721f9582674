//! The reading side's buffer: bytes in, whole frames out.
//!
//! The buffer grows with what has arrived, never with what was announced. A frame longer than the
//! limit is recognised as soon as its length is known or reached, reported once, and then dropped
//! piece by piece while it comes, so the memory held stays near the limit whatever a server sends.

use crate::resp::{ProtocolError, Scan, Scanner};

const READ_BYTES: usize = 64 << 10;
/// Room for a frame's own header above the value's limit.
const HEADER_BYTES: usize = 1 << 10;

/// What the stream brought next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// One whole frame.
    Whole(&'a [u8]),
    /// A frame over the limit has begun; `is_push` tells its kind.
    Oversize { is_push: bool },
    /// That frame has ended.
    OversizeEnd { is_push: bool },
}

/// Received and not yet taken.
pub(crate) struct Inbound {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    scanner: Scanner,
    frame_bytes_max: usize,
    oversize: Option<bool>,
}

impl Inbound {
    pub(crate) fn new(value_bytes_max: usize) -> Self {
        Self {
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
            scanner: Scanner::new(),
            frame_bytes_max: value_bytes_max.saturating_add(HEADER_BYTES),
            oversize: None,
        }
    }

    /// Frames over this limit are dropped from now on.
    pub(crate) fn limit(&mut self, value_bytes_max: usize) {
        self.frame_bytes_max = value_bytes_max.saturating_add(HEADER_BYTES);
    }

    /// Where the next bytes go; never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.buffer.len() > READ_BYTES {
                self.buffer = vec![0; READ_BYTES];
            }
        } else if self.buffer.len() - self.end < READ_BYTES / 4 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() - self.end < READ_BYTES / 4 {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put into `space`.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// The next frame, if it is here.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, ProtocolError> {
        if self.start == self.end {
            return Ok(None);
        }
        let is_push = self.buffer[self.start] == b'>';
        let scan = self.scanner.scan(&self.buffer[self.start..self.end])?;
        if let Some(is_push) = self.oversize {
            return Ok(match scan {
                Scan::Complete(length) => {
                    self.start += length;
                    self.oversize = None;
                    Some(Frame::OversizeEnd { is_push })
                }
                Scan::Incomplete => {
                    self.drop_front();
                    None
                }
            });
        }
        match scan {
            Scan::Complete(length) => {
                let at = self.start;
                self.start += length;
                Ok(Some(Frame::Whole(&self.buffer[at..at + length])))
            }
            Scan::Incomplete if self.scanner.known_length() > self.frame_bytes_max => {
                self.oversize = Some(is_push);
                self.drop_front();
                Ok(Some(Frame::Oversize { is_push }))
            }
            Scan::Incomplete => Ok(None),
        }
    }

    fn drop_front(&mut self) {
        self.start += self.scanner.drop_front(self.end - self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(inbound: &mut Inbound, bytes: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        for chunk in bytes.chunks(10_000) {
            let space = inbound.space();
            let take = chunk.len().min(space.len());
            assert_eq!(take, chunk.len());
            space[..take].copy_from_slice(chunk);
            inbound.filled(take);
            while let Some(frame) = inbound.next().unwrap() {
                seen.push(match frame {
                    Frame::Whole(frame) => format!("{}", frame.len()),
                    other => format!("{other:?}"),
                });
            }
        }
        seen
    }

    #[test]
    fn a_frame_over_the_limit_takes_no_memory() {
        let mut inbound = Inbound::new(100_000);
        let value = |bytes: usize| {
            let mut frame = format!("${bytes}\r\n").into_bytes();
            frame.resize(frame.len() + bytes, b'x');
            frame.extend_from_slice(b"\r\n");
            frame
        };
        let sent = [value(90_000), value(5_000_000), value(3), value(100_000)].concat();
        let seen = feed(&mut inbound, &sent);
        assert_eq!(
            seen,
            [
                "90010",
                "Oversize { is_push: false }",
                "OversizeEnd { is_push: false }",
                "9",
                "100011"
            ]
        );
        assert!(inbound.buffer.len() <= 4 * 100_000, "{}", inbound.buffer.len());
        inbound.space();
        assert_eq!(inbound.buffer.len(), READ_BYTES);
    }

    #[test]
    fn a_push_of_many_small_elements_over_the_limit_is_told() {
        let mut inbound = Inbound::new(1_000);
        let keys = "$1\r\nk\r\n".repeat(10_000);
        let push = format!(">2\r\n$10\r\ninvalidate\r\n*10000\r\n{keys}+OK\r\n");
        let seen = feed(&mut inbound, push.as_bytes());
        assert_eq!(seen, ["Oversize { is_push: true }", "OversizeEnd { is_push: true }", "5"]);
    }
}
