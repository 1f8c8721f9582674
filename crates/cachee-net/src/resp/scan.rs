//! Where does a frame end?
//!
//! The scanner is a counter machine over a growing buffer: a stack of "elements still to come",
//! one level for each open aggregate, and a position. It resumes where it stopped, so a frame that
//! arrives in n pieces is walked once, not n times. An announced length costs nothing: nothing is
//! allocated for it, and a bulk string is a position to wait for. Depth, line length, bulk length
//! and counts are bounded; whatever is outside those bounds is an error, never a panic.
//!
//! A scanner `for_pipe` only looks for the end, for someone who passes the frame on: what stands
//! in a line is not its business (scripts and modules write there what they like), and lines and
//! nesting may be as long and deep as a script makes them.
//!
//! Streamed types (`$?`, `*?`) are refused: no server sends them. Attributes (`|`) are part of the
//! frame they precede.

use super::error::ProtocolError;

/// Deepest nesting; replies of any known command stay under ten.
pub const DEPTH_MAX: usize = 32;
/// The same of a frame that is only passed on: scripts nest as deep as their stack allows.
const PIPE_DEPTH_MAX: usize = 1 << 20;
/// Longest line (simple string, error, number, header).
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Longest bulk string: the ceiling servers have for `proto-max-bulk-len` in practice.
const BULK_BYTES_MAX: u64 = 4 << 30;
/// Largest announced count; twice it (a map's) still fits every counter.
const COUNT_MAX: u64 = 1 << 40;

/// How far a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// More bytes are needed.
    Incomplete,
    /// The frame is the first so many bytes; the scanner has started anew behind it.
    Complete(usize),
}

/// Resumable search for the end of one frame after another.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// Everything before this is understood. May lie behind the buffer's end: a bulk string's end.
    at: usize,
    /// Line bytes behind `at` known to hold no line end.
    line_seen: usize,
    /// `at` is the end of a bulk string, whose CR LF is still to be checked.
    in_bulk: bool,
    depth: usize,
    remaining: [u64; DEPTH_MAX],
    /// Levels below those.
    deeper: Vec<u64>,
    is_for_pipe: bool,
}

impl Scanner {
    /// A scanner at the start of a frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// One for frames that are passed on as they are.
    pub fn for_pipe() -> Self {
        Self { is_for_pipe: true, ..Self::default() }
    }

    /// Goes on with `buffer`, which starts where the frame starts and only ever grows.
    pub fn scan(&mut self, buffer: &[u8]) -> Result<Scan, ProtocolError> {
        loop {
            if self.in_bulk {
                let Some(end) = buffer.get(self.at - 2..self.at) else {
                    return Ok(Scan::Incomplete);
                };
                if end != b"\r\n" {
                    return Err(ProtocolError::LineEnd);
                }
                self.in_bulk = false;
                if self.element_done() {
                    return Ok(self.complete());
                }
            }
            let Some(line) = self.line(buffer)? else { return Ok(Scan::Incomplete) };
            self.at += line.len() + 2;
            self.line_seen = 0;
            if self.element(line)? {
                return Ok(self.complete());
            }
        }
    }

    /// Bytes at the front that are understood and that a caller who does not want the frame may
    /// drop now; `at` stays meaningful for what follows them.
    pub fn drop_front(&mut self, buffered: usize) -> usize {
        let dropped = if self.in_bulk { buffered.min(self.at - 2) } else { buffered.min(self.at) };
        self.at -= dropped;
        dropped
    }

    /// The least length the frame will have, by what was announced so far.
    pub fn known_length(&self) -> usize {
        self.at
    }

    fn complete(&mut self) -> Scan {
        let length = self.at;
        self.at = 0;
        Scan::Complete(length)
    }

    /// The line at `at` without its end, once it is whole.
    fn line<'a>(&mut self, buffer: &'a [u8]) -> Result<Option<&'a [u8]>, ProtocolError> {
        let rest = buffer.get(self.at..).unwrap_or_default();
        let Some(found) = rest[self.line_seen..].iter().position(|&byte| byte == b'\n') else {
            if rest.len() > LINE_BYTES_MAX && !self.is_for_pipe {
                return Err(ProtocolError::LineTooLong);
            }
            self.line_seen = rest.len();
            return Ok(None);
        };
        let end = self.line_seen + found;
        if end > LINE_BYTES_MAX && !self.is_for_pipe {
            return Err(ProtocolError::LineTooLong);
        }
        match rest[..end].split_last() {
            Some((b'\r', line)) if !line.is_empty() => Ok(Some(line)),
            _ => Err(ProtocolError::LineEnd),
        }
    }

    /// Takes in one header or scalar line; true when it ended the frame.
    fn element(&mut self, line: &[u8]) -> Result<bool, ProtocolError> {
        let text = &line[1..];
        match line[0] {
            b'+' | b'-' => {}
            b':' | b'(' | b',' | b'#' | b'_' if self.is_for_pipe => {}
            b':' => check(number(text).is_some())?,
            b'(' => check(is_big_number(text))?,
            b',' => check(std::str::from_utf8(text).is_ok_and(|s| s.parse::<f64>().is_ok()))?,
            b'#' => check(text == b"t" || text == b"f")?,
            b'_' => check(text.is_empty())?,
            b'$' | b'=' | b'!' => {
                if let Some(length) = length(text, BULK_BYTES_MAX)? {
                    let length = usize::try_from(length).map_err(|_| ProtocolError::Length)?;
                    self.at = self.at.checked_add(length + 2).ok_or(ProtocolError::Length)?;
                    self.in_bulk = true;
                    return Ok(false);
                }
                check(line[0] == b'$')?;
            }
            b'*' => {
                if let Some(count) = length(text, COUNT_MAX)? {
                    return self.open(count);
                }
            }
            b'~' | b'>' => return self.open(count(text)?),
            b'%' => return self.open(count(text)? * 2),
            // The annotated element comes after the attribute's own pairs.
            b'|' => {
                let pairs = count(text)? * 2;
                return self.push(pairs + 1).map(|()| false);
            }
            other => return Err(ProtocolError::Type(other)),
        }
        Ok(self.element_done())
    }

    fn open(&mut self, elements: u64) -> Result<bool, ProtocolError> {
        if elements == 0 {
            return Ok(self.element_done());
        }
        self.push(elements).map(|()| false)
    }

    fn push(&mut self, elements: u64) -> Result<(), ProtocolError> {
        match self.remaining.get_mut(self.depth) {
            Some(level) => *level = elements,
            None if self.is_for_pipe && self.depth < PIPE_DEPTH_MAX => self.deeper.push(elements),
            None => return Err(ProtocolError::TooDeep),
        }
        self.depth += 1;
        Ok(())
    }

    /// Counts one element off the open aggregates; true when none is left open.
    fn element_done(&mut self) -> bool {
        while self.depth > 0 {
            let level = match self.deeper.last_mut() {
                Some(level) => level,
                None => &mut self.remaining[self.depth - 1],
            };
            *level -= 1;
            if *level > 0 {
                return false;
            }
            self.deeper.pop();
            self.depth -= 1;
        }
        true
    }
}

fn check(is_valid: bool) -> Result<(), ProtocolError> {
    if is_valid { Ok(()) } else { Err(ProtocolError::Value) }
}

/// A length or count; `None` for RESP2's null, −1.
fn length(text: &[u8], most: u64) -> Result<Option<u64>, ProtocolError> {
    match number(text) {
        Some(-1) => Ok(None),
        Some(length) if length >= 0 && length as u64 <= most => Ok(Some(length as u64)),
        _ => Err(ProtocolError::Length),
    }
}

fn count(text: &[u8]) -> Result<u64, ProtocolError> {
    length(text, COUNT_MAX)?.ok_or(ProtocolError::Length)
}

/// A signed decimal, nothing around it.
pub(super) fn number(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Counted downwards: the smallest number has no positive counterpart.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if is_negative { Some(value) } else { value.checked_neg() }
}

fn is_big_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests;
