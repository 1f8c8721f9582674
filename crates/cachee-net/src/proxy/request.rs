//! Where does a client's command end, and where are its arguments?
//!
//! Bytes in, ranges out; no I/O. The rules are those of Valkey 8.1, the odd ones included: a header
//! line ends at its first CR, an inline line at its first LF, a NUL hides every LF behind it, and
//! counts below one and empty lines are no command. (Older servers do not look at what follows a
//! CR or a bulk string; nothing is accepted here that two servers may read differently.) The parser
//! resumes where it stopped, so bytes that arrive in n pieces are walked once, and what is
//! announced costs nothing: a bulk string is a position to wait for, and the ranges grow with the
//! arguments that are there.
//!
//! Two rules are others. A server finds a line too long by what it happens to have read, up to
//! 16 KiB later; here a line may have `inline_bytes`, however it comes. And Valkey 8.1 loses the
//! byte 0xff from inline words; here it stays, as it does in Redis.

use std::ops::Range;

mod error;
mod words;

pub use error::RequestError;

/// The servers' ceiling for a line without arguments: an inline command or a header.
pub const INLINE_BYTES: usize = 64 << 10;
/// No server takes a larger number of arguments.
const ARGS_MAX: usize = i32::MAX as usize;
/// Ranges kept for the next command; a rare larger one gives its memory back.
const ARGS_KEPT: usize = 1024;
/// Likewise the bytes of unescaped words.
const WORDS_BYTES_KEPT: usize = 16 << 10;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest argument.
    pub max_bulk: usize,
    /// Most arguments, the name included.
    pub max_args: usize,
    /// Longest line, its end not counted; 20 at least.
    pub inline_bytes: usize,
    /// What a client may send that has yet to authenticate; `None` once it has.
    pub unauthenticated: Option<UnauthenticatedLimits>,
}

/// The ceilings before authentication, where they are the lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnauthenticatedLimits {
    /// Longest argument.
    pub max_bulk: usize,
    /// Most arguments, the name included.
    pub max_args: usize,
}

impl Default for Limits {
    /// What a server has by default, for a client that is authenticated.
    fn default() -> Self {
        Self {
            max_bulk: 512 << 20,
            max_args: ARGS_MAX,
            inline_bytes: INLINE_BYTES,
            unauthenticated: None,
        }
    }
}

/// How far a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed.
    Incomplete,
    /// A command is the first so many bytes; the parser has its arguments until the next call,
    /// which starts anew behind them.
    Command {
        /// Its bytes.
        consumed: usize,
    },
    /// The first so many bytes ask for nothing: an empty line, or a count below one.
    Nothing {
        /// Their number.
        consumed: usize,
    },
    /// Not a command. Servers answer this and close; the same bytes give the same again.
    Error(RequestError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is known of the command but perhaps its first byte.
    Start,
    /// The length of the next argument is to come.
    Length,
    /// The next argument is so many bytes from `at` on.
    Bulk(usize),
}

/// Resumable search for one command after another.
#[derive(Debug)]
pub struct RequestParser {
    stage: Stage,
    /// Everything before this is understood.
    at: usize,
    /// Line bytes behind `at` known to hold no line end.
    line_seen: usize,
    /// Arguments still to come.
    remaining: usize,
    /// What the bulk string lacked, its CR LF included, when the bytes ended.
    missing: usize,
    is_inline: bool,
    /// `args` are ranges of `words`, not of the buffer.
    is_unescaped: bool,
    args: Vec<Range<usize>>,
    words: Vec<u8>,
    /// Bytes looked at in lines that are not plain headers.
    #[cfg(test)]
    walked: usize,
}

impl Default for RequestParser {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestParser {
    /// A parser at the start of a command.
    pub fn new() -> Self {
        Self {
            stage: Stage::Start,
            at: 0,
            line_seen: 0,
            remaining: 0,
            missing: 0,
            is_inline: false,
            is_unescaped: false,
            args: Vec::new(),
            words: Vec::new(),
            #[cfg(test)]
            walked: 0,
        }
    }

    /// Goes on with `buffer`, which starts where the command starts and only grows until one is
    /// taken.
    #[inline]
    pub fn parse(&mut self, buffer: &[u8], limits: &Limits) -> Parsed {
        match self.advance(buffer, limits) {
            Ok(parsed) => parsed,
            Err(error) => Parsed::Error(error),
        }
    }

    /// The number of arguments of the command found last, its name included.
    #[inline]
    pub fn arg_count(&self) -> usize {
        self.args.len()
    }

    /// An argument of the command found last, in the buffer it was found in.
    #[inline]
    pub fn arg<'a>(&'a self, buffer: &'a [u8], index: usize) -> &'a [u8] {
        &self.source(buffer)[self.args[index].clone()]
    }

    /// The arguments of the command found last, in the buffer it was found in.
    #[inline]
    pub fn args<'a>(
        &'a self,
        buffer: &'a [u8],
    ) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + 'a {
        let source = self.source(buffer);
        self.args.iter().map(move |range| &source[range.clone()])
    }

    /// The command found last was a line of words. Any other is byte for byte what encoding its
    /// arguments gives, and may be passed on as it is.
    #[inline]
    pub fn is_inline(&self) -> bool {
        self.is_inline
    }

    /// Bytes that the argument being received lacks, its CR LF included; `None` when it is not
    /// known that any are to come.
    #[inline]
    pub fn pending_bulk(&self) -> Option<usize> {
        (self.missing > 0).then_some(self.missing)
    }

    #[inline]
    fn source<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        if self.is_unescaped { &self.words } else { buffer }
    }

    #[inline]
    fn advance(&mut self, buffer: &[u8], limits: &Limits) -> Result<Parsed, RequestError> {
        if self.stage == Stage::Start {
            if self.line_seen == 0 {
                self.forget();
            }
            match buffer.first() {
                None => return Ok(Parsed::Incomplete),
                Some(b'*') => {}
                Some(_) => return self.inline(buffer, limits),
            }
            let Some((count, end)) = self.header(buffer, limits, RequestError::BigCount)? else {
                return Ok(Parsed::Incomplete);
            };
            if count <= 0 {
                return Ok(Parsed::Nothing { consumed: end });
            }
            self.remaining = checked_count(count, limits)?;
            self.at = end;
            self.stage = Stage::Length;
        }
        self.arguments(buffer, limits)
    }

    fn arguments(&mut self, buffer: &[u8], limits: &Limits) -> Result<Parsed, RequestError> {
        loop {
            if self.stage == Stage::Length {
                let Some((length, start)) = self.header(buffer, limits, RequestError::BigLength)?
                else {
                    return Ok(Parsed::Incomplete);
                };
                self.stage = Stage::Bulk(checked_length(length, limits)?);
                self.at = start;
            }
            let Stage::Bulk(length) = self.stage else { unreachable!("only after a length") };
            // No overflow: no buffer and no length reaches half of the address space.
            let end = self.at + length;
            let Some(line_end) = buffer.get(end..end + 2) else {
                self.missing = end + 2 - buffer.len();
                return Ok(Parsed::Incomplete);
            };
            if line_end != b"\r\n" {
                return Err(RequestError::LineEnd);
            }
            self.args.push(self.at..end);
            self.at = end + 2;
            self.missing = 0;
            self.stage = Stage::Length;
            self.remaining -= 1;
            if self.remaining == 0 {
                self.stage = Stage::Start;
                return Ok(Parsed::Command { consumed: std::mem::take(&mut self.at) });
            }
        }
    }

    /// The number in the header line at `at`, and where what follows it begins; `None` until the
    /// line is whole. `too_big` says what kind of header it is.
    #[inline]
    fn header(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        too_big: RequestError,
    ) -> Result<Option<(i64, usize)>, RequestError> {
        let kind = if too_big == RequestError::BigCount { b'*' } else { b'$' };
        if let Some((&first, digits)) = buffer.get(self.at..).and_then(<[u8]>::split_first)
            && first == kind
            && let Some((value, length)) = plain_number(digits)
            && digits.get(length + 1) == Some(&b'\n')
        {
            self.line_seen = 0;
            return Ok(Some((value, self.at + 1 + length + 2)));
        }
        self.rare_header(buffer, limits, too_big)
    }

    #[cold]
    #[inline(never)]
    fn rare_header(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        too_big: RequestError,
    ) -> Result<Option<(i64, usize)>, RequestError> {
        let Some(end) = self.line_end(b'\r', buffer, limits.inline_bytes, too_big)? else {
            return Ok(None);
        };
        let Some(&line_feed) = buffer.get(end + 1) else { return Ok(None) };
        let (kind, wrong) = match too_big {
            RequestError::BigCount => (b'*', RequestError::Count),
            _ => (b'$', RequestError::Length),
        };
        let line = &buffer[self.at..=end];
        if line[0] != kind {
            return Err(RequestError::Kind(line[0]));
        }
        if line_feed != b'\n' {
            return Err(RequestError::LineEnd);
        }
        let value = number(&line[1..line.len() - 1]).ok_or(wrong)?;
        self.line_seen = 0;
        Ok(Some((value, end + 2)))
    }

    fn inline(&mut self, buffer: &[u8], limits: &Limits) -> Result<Parsed, RequestError> {
        let too_big = RequestError::BigInline;
        let Some(end) = self.line_end(b'\n', buffer, limits.inline_bytes, too_big)? else {
            return Ok(Parsed::Incomplete);
        };
        let line = &buffer[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.args.clear();
        self.words.clear();
        self.is_inline = true;
        self.is_unescaped = line.iter().any(|byte| matches!(byte, b'"' | b'\''));
        if self.is_unescaped {
            words::unescape(line, &mut self.words, &mut self.args).ok_or(RequestError::Quotes)?;
        } else {
            words::split(line, &mut self.args);
        }
        self.line_seen = 0;
        let consumed = end + 1;
        Ok(match self.args.len() {
            0 => Parsed::Nothing { consumed },
            _ => Parsed::Command { consumed },
        })
    }

    /// Where the line at `at` ends with `mark`; each byte of it is looked at once.
    fn line_end(
        &mut self,
        mark: u8,
        buffer: &[u8],
        bytes_max: usize,
        too_big: RequestError,
    ) -> Result<Option<usize>, RequestError> {
        let line = buffer.get(self.at..).unwrap_or_default();
        let unseen = line.get(self.line_seen..).unwrap_or_default();
        let found = match mark {
            // A NUL is never passed: what follows it is as good as not there.
            b'\n' => unseen.iter().position(|&byte| byte == mark || byte == 0),
            _ => unseen.iter().position(|&byte| byte == mark),
        };
        self.line_seen += found.unwrap_or(unseen.len());
        #[cfg(test)]
        {
            self.walked += found.map_or(unseen.len(), |found| found + 1);
        }
        let is_ended = found.is_some() && line[self.line_seen] == mark;
        let length = if is_ended { self.line_seen } else { line.len() };
        if length > bytes_max {
            return Err(too_big);
        }
        Ok(is_ended.then_some(self.at + self.line_seen))
    }

    /// Starts on the next command.
    #[inline]
    fn forget(&mut self) {
        self.args.clear();
        self.is_inline = false;
        self.is_unescaped = false;
        if self.args.capacity() > ARGS_KEPT || self.words.capacity() > WORDS_BYTES_KEPT {
            self.args.shrink_to(ARGS_KEPT);
            self.words.clear();
            self.words.shrink_to(WORDS_BYTES_KEPT);
        }
    }
}

/// A short number without sign that a CR follows, and its digits.
#[inline]
fn plain_number(text: &[u8]) -> Option<(i64, usize)> {
    const DIGITS_MAX: usize = 18;
    let mut value = 0_i64;
    for (at, &byte) in text.iter().take(DIGITS_MAX + 1).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let is_number = byte == b'\r' && at > 0 && (text[0] != b'0' || at == 1);
            return is_number.then_some((value, at));
        }
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
    }
    None
}

/// A number as servers take it: no plus, no leading zeros, no minus zero.
fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'1'..=b'9', ..] => std::str::from_utf8(text).ok()?.parse().ok(),
        b"0" if text == b"0" => Some(0),
        _ => None,
    }
}

#[inline]
fn checked_count(count: i64, limits: &Limits) -> Result<usize, RequestError> {
    let count = usize::try_from(count).map_err(|_| RequestError::Count)?;
    if count > limits.max_args.min(ARGS_MAX) {
        return Err(RequestError::Count);
    }
    match &limits.unauthenticated {
        Some(lower) if count > lower.max_args => Err(RequestError::UnauthenticatedCount),
        _ => Ok(count),
    }
}

#[inline]
fn checked_length(length: i64, limits: &Limits) -> Result<usize, RequestError> {
    let length = usize::try_from(length).map_err(|_| RequestError::Length)?;
    if length > limits.max_bulk.min(isize::MAX as usize / 4) {
        return Err(RequestError::Length);
    }
    match &limits.unauthenticated {
        Some(lower) if length > lower.max_bulk => Err(RequestError::UnauthenticatedLength),
        _ => Ok(length),
    }
}

#[cfg(test)]
mod tests;
