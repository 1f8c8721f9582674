//! How many replies have come? Nothing is kept of them.
//!
//! A client that decodes costs more than the server it measures. Here a bulk string is a number of
//! bytes to skip and an aggregate a number of elements to wait for, so a 64 KB value costs the
//! copy out of the socket and nothing more. The state fits in a few words and survives any
//! fragmentation; nothing is buffered. Both RESP versions; pushes would be counted as replies.

use std::io;

/// Where in the stream of one connection we are.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// Type byte of the line under way; 0 between lines.
    kind: u8,
    is_negative: bool,
    number: u64,
    /// Bytes of a bulk string still to come, its CR LF included.
    body_left: u64,
    /// Elements still to come of the reply under way; 0 between replies.
    elements_left: u64,
}

/// What was found in some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Replies that are complete now.
    pub(super) replies: u64,
    /// Replies or elements that are errors.
    pub(super) errors: u64,
    /// Replies or elements that are nil.
    pub(super) nils: u64,
}

impl Replies {
    /// Goes on with the next bytes.
    pub(super) fn count(&mut self, bytes: &[u8], counted: &mut Counted) -> io::Result<()> {
        let mut at = 0;
        while at < bytes.len() {
            if self.body_left > 0 {
                let skipped = self.body_left.min((bytes.len() - at) as u64);
                at += skipped as usize;
                self.body_left -= skipped;
                if self.body_left == 0 {
                    self.element_done(counted);
                }
                continue;
            }
            if self.kind == 0 {
                self.kind = bytes[at];
                self.number = 0;
                self.is_negative = false;
                at += 1;
            }
            let rest = &bytes[at..];
            let end = match self.kind {
                b'$' | b'*' | b'%' | b'~' | b'>' | b'=' | b'!' => self.header(rest),
                b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                    rest.iter().position(|&byte| byte == b'\n')
                }
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a RESP reply")),
            };
            let Some(end) = end else { return Ok(()) };
            at += end + 1;
            self.line_done(counted);
        }
        Ok(())
    }

    /// Reads the digits of a length; where its line ends, if it does.
    fn header(&mut self, rest: &[u8]) -> Option<usize> {
        for (at, &byte) in rest.iter().enumerate() {
            match byte {
                b'\n' => return Some(at),
                b'-' => self.is_negative = true,
                b'0'..=b'9' => {
                    self.number = self.number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                }
                _ => {}
            }
        }
        None
    }

    fn line_done(&mut self, counted: &mut Counted) {
        let kind = std::mem::take(&mut self.kind);
        if self.elements_left == 0 {
            self.elements_left = 1;
        }
        match kind {
            b'$' | b'=' | b'!' if !self.is_negative => {
                self.body_left = self.number.saturating_add(2);
                return;
            }
            b'*' | b'~' | b'>' if !self.is_negative => {
                self.elements_left = self.elements_left.saturating_add(self.number);
            }
            b'%' => {
                self.elements_left =
                    self.elements_left.saturating_add(self.number.saturating_mul(2));
            }
            b'-' => counted.errors += 1,
            b'$' | b'*' | b'_' => counted.nils += 1,
            _ => {}
        }
        self.element_done(counted);
    }

    fn element_done(&mut self, counted: &mut Counted) {
        self.elements_left -= 1;
        counted.replies += u64::from(self.elements_left == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"+OK\r\n$3\r\nabc\r\n$-1\r\n:12\r\n-ERR no\r\n*3\r\n$1\r\na\r\n$-1\r\n*1\r\n\
        $0\r\n\r\n*0\r\n*-1\r\n%1\r\n+k\r\n,1.5\r\n_\r\n$12\r\n$3\r\n*5\r\n+OK\r\r\n";
    const FOUND: Counted = Counted { replies: 11, errors: 1, nils: 4 };

    #[test]
    fn replies_are_counted_however_they_are_cut() {
        for first in 0..STREAM.len() {
            for second in first..STREAM.len() {
                let mut replies = Replies::default();
                let mut counted = Counted::default();
                for part in [&STREAM[..first], &STREAM[first..second], &STREAM[second..]] {
                    replies.count(part, &mut counted).unwrap();
                }
                assert_eq!(counted, FOUND, "{first} {second}");
            }
        }
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        let mut counted = Counted::default();
        assert!(Replies::default().count(b"HTTP/1.1 400\r\n", &mut counted).is_err());
    }
}
