//! An inline command's words, as servers split them.
//!
//! The line holds neither NUL nor LF. Blanks before a word are one set, and what ends a word
//! without quotes is a smaller one: that is how servers do it.

use std::ops::Range;

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// Where the words of a line without quotes are.
pub(super) fn split(line: &[u8], words: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(blanks) = line[at..].iter().position(|&byte| !is_blank(byte)) {
        let start = at + blanks;
        let length = line[start..].iter().position(|&byte| ends_word(byte));
        at = length.map_or(line.len(), |length| start + length);
        words.push(start..at);
    }
}

/// Appends the words of any line to `out` and says where each is in it; `None` when a quote is
/// not closed or something is right behind one that is.
pub(super) fn unescape(
    line: &[u8],
    out: &mut Vec<u8>,
    words: &mut Vec<Range<usize>>,
) -> Option<()> {
    let mut rest = line;
    loop {
        let blanks = rest.iter().position(|&byte| !is_blank(byte));
        let Some(blanks) = blanks else { return Some(()) };
        rest = &rest[blanks..];
        let start = out.len();
        rest = word(rest, out)?;
        words.push(start..out.len());
    }
}

/// One word; what is behind it.
fn word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let Some((&byte, behind)) = rest.split_first() {
        let quoted = match byte {
            b'"' => double_quoted(behind, out)?,
            b'\'' => single_quoted(behind, out)?,
            _ if ends_word(byte) => return Some(behind),
            _ => {
                out.push(byte);
                rest = behind;
                continue;
            }
        };
        // A closing quote ends its word, and only a blank may follow.
        return quoted.first().is_none_or(|&byte| is_blank(byte)).then_some(quoted);
    }
    Some(rest)
}

/// What is behind the closing quote.
fn double_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, behind) = match *rest {
            [b'\\', b'x', high, low, ref behind @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex_digit(high) * 16 + hex_digit(low), behind)
            }
            [b'\\', escaped, ref behind @ ..] => (unescaped(escaped), behind),
            [b'"', ref behind @ ..] => return Some(behind),
            [byte, ref behind @ ..] => (byte, behind),
            [] => return None,
        };
        out.push(byte);
        rest = behind;
    }
}

/// What is behind the closing quote.
fn single_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, behind) = match *rest {
            [b'\\', b'\'', ref behind @ ..] => (b'\'', behind),
            [b'\'', ref behind @ ..] => return Some(behind),
            [byte, ref behind @ ..] => (byte, behind),
            [] => return None,
        };
        out.push(byte);
        rest = behind;
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        _ => byte,
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}
