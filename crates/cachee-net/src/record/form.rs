//! The text of a request: a value of CSV, in which every byte can be read.

use super::RecordedKeys;
use crate::cacheable::decode_words;

/// What a file begins with.
pub(super) fn head(keys: RecordedKeys) -> &'static [u8] {
    match keys {
        RecordedKeys::Hashed => b"",
        RecordedKeys::Plain => b"key\n",
    }
}

/// The key, and what follows it in its command, with a space before each: one in a word is written
/// as `\x20`.
pub(super) fn line(shape: u32, key: &[u8], args: &[u8]) -> Vec<u8> {
    let words = decode_words(shape, key, args);
    let words = words.as_deref().and_then(|words| words.get(1..)).unwrap_or(&[]);
    let mut text = Vec::with_capacity(key.len() + args.len() + 2);
    for (nth, word) in words.iter().enumerate() {
        if nth > 0 {
            text.push(b' ');
        }
        for byte in word.escape_ascii() {
            match byte {
                b' ' => text.extend_from_slice(b"\\x20"),
                _ => text.push(byte),
            }
        }
    }
    quoted(text)
}

/// A line of its own, between quotes where it would be taken for something else.
fn quoted(mut text: Vec<u8>) -> Vec<u8> {
    if !text.is_empty() && !text.iter().any(|byte| matches!(byte, b',' | b'"')) {
        text.push(b'\n');
        return text;
    }
    let mut line = vec![b'"'];
    for byte in text {
        if byte == b'"' {
            line.push(b'"');
        }
        line.push(byte);
    }
    line.extend_from_slice(b"\"\n");
    line
}
