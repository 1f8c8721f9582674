//! A RESP3 reply as a RESP2 client would have been sent it.
//!
//! Cached replies are RESP3. Most of what RESP2 lacks has one form in it, whatever the command,
//! and an aggregate's elements follow its header in both: one pass rewrites the headers. Two things
//! depend on more than the reply: pairs that RESP2 has flat, and null, of which RESP2 has two.

use crate::cacheable::{Cacheable, Resp2Shape, Spec, spec};
use crate::resp::{Node, Reader, header};

/// Appends the RESP2 form of `frame`, the whole reply to a command of `arg_count` arguments, its
/// name included. False, and nothing appended, when it cannot be told.
#[inline]
pub fn write_resp2(frame: &[u8], command: Cacheable, arg_count: usize, out: &mut Vec<u8>) -> bool {
    if command.resp2 == Resp2Shape::Unknown {
        return false;
    }
    // The same bytes in both.
    if let Some(b'$' | b':' | b'+' | b'-') = frame.first() {
        out.extend_from_slice(frame);
        return true;
    }
    let start = out.len();
    let is_written = rewrite(frame, command, arg_count, out).is_some();
    if !is_written {
        out.truncate(start);
    }
    is_written
}

fn rewrite(frame: &[u8], command: Cacheable, arg_count: usize, out: &mut Vec<u8>) -> Option<()> {
    let spec = spec(command.shape)?;
    let mut reader = Reader::new(frame);
    if command.resp2 == Resp2Shape::Pairs
        && let Some(pairs) = pairs(frame)
    {
        reader.next()?;
        header(b'*', pairs.checked_mul(2)?, out);
        for _ in 0..pairs {
            (reader.next()? == Node::Array(2)).then_some(())?;
            elements(&mut reader, 2, spec, arg_count, out)?;
        }
    } else {
        elements(&mut reader, 1, spec, arg_count, out)?;
    }
    reader.is_at_end().then_some(())
}

/// How many, when the reply is an array of arrays of two.
fn pairs(frame: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(frame);
    match (reader.next()?, reader.next()?) {
        (Node::Array(count), Node::Array(2)) => Some(count),
        _ => None,
    }
}

/// So many elements with everything in them.
fn elements(
    reader: &mut Reader<'_>,
    count: usize,
    spec: &Spec,
    arg_count: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut remaining = count;
    while remaining > 0 {
        remaining -= 1;
        let mut open = |count: usize| {
            header(b'*', count, out);
            remaining = remaining.checked_add(count)?;
            Some(())
        };
        match reader.next()? {
            Node::Array(count) | Node::Set(count) => open(count)?,
            Node::Map(pairs) => open(pairs.checked_mul(2)?)?,
            Node::Bulk(text)
            | Node::Double(text)
            | Node::BigNumber(text)
            | Node::Verbatim { text, .. } => {
                header(b'$', text.len(), out);
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            Node::Integer(value) => line(b':', value.to_string().as_bytes(), out),
            Node::Boolean(value) => line(b':', if value { b"1" } else { b"0" }, out),
            Node::Simple(text) => line(b'+', text, out),
            Node::Error(text) if !text.contains(&b'\n') => line(b'-', text, out),
            Node::Null if spec.has_null_arrays(arg_count) => out.extend_from_slice(b"*-1\r\n"),
            Node::Null => out.extend_from_slice(b"$-1\r\n"),
            Node::Error(_) | Node::Push(_) => return None,
        }
    }
    Some(())
}

fn line(kind: u8, text: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cacheable;
    use proptest::prelude::*;

    fn resp2(command: &str, frame: &[u8]) -> Option<Vec<u8>> {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let mut out = b"before".to_vec();
        let is_written = write_resp2(frame, cacheable(&args).unwrap(), args.len(), &mut out);
        assert!(is_written || out == b"before");
        is_written.then(|| out.split_off(6))
    }

    #[test]
    fn types_that_resp2_lacks() {
        for (resp3, expected) in [
            (&b"_\r\n"[..], &b"$-1\r\n"[..]),
            (b",-inf\r\n", b"$4\r\n-inf\r\n"),
            (b"#t\r\n", b":1\r\n"),
            (b"#f\r\n", b":0\r\n"),
            (b"(12345678901234567890\r\n", b"$20\r\n12345678901234567890\r\n"),
            (b"=5\r\ntxt:a\r\n", b"$1\r\na\r\n"),
            (b"!5\r\nERR x\r\n", b"-ERR x\r\n"),
            (b"%1\r\n+a\r\n~2\r\n:-1\r\n_\r\n", b"*2\r\n+a\r\n*2\r\n:-1\r\n$-1\r\n"),
            (b"|1\r\n+a\r\n:1\r\n*0\r\n", b"*0\r\n"),
            (b"$-1\r\n", b"$-1\r\n"),
        ] {
            assert_eq!(resp2("GET k", resp3).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_depends_on_the_command() {
        let pairs = b"*2\r\n*2\r\n$1\r\na\r\n,1\r\n*2\r\n$1\r\nb\r\n,2\r\n";
        let flat = b"*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n";
        assert_eq!(resp2("ZRANGE k 0 1 WITHSCORES", pairs).as_deref(), Some(&flat[..]));
        assert_eq!(resp2("ZRANGE k 0 1", b"*1\r\n$1\r\na\r\n").unwrap(), b"*1\r\n$1\r\na\r\n");
        assert_eq!(resp2("GEOPOS k a", b"*1\r\n_\r\n").unwrap(), b"*1\r\n*-1\r\n");
        assert_eq!(resp2("HMGET k a", b"*1\r\n_\r\n").unwrap(), b"*1\r\n$-1\r\n");
        assert_eq!(resp2("ZRANK k a", b"_\r\n").unwrap(), b"$-1\r\n");
        assert_eq!(resp2("ZRANK k a WITHSCORE", b"_\r\n").unwrap(), b"*-1\r\n");
    }

    #[test]
    fn what_cannot_be_told() {
        for (command, frame) in [
            ("JSON.TYPE k", &b"*1\r\n$1\r\na\r\n"[..]),
            ("GET k", b">1\r\n+a\r\n"),
            ("GET k", b"!4\r\na\r\nb\r\n"),
            ("GET k", b"*2\r\n_\r\n"),
            ("GET k", b"_\r\n_\r\n"),
            ("GET k", b""),
            ("ZRANGE k 0 1 WITHSCORES", b"*2\r\n*2\r\n$1\r\na\r\n,1\r\n_\r\n"),
        ] {
            assert_eq!(resp2(command, frame), None, "{}", frame.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(
            bytes in prop::collection::vec(
                prop::sample::select(&b"$*%~>|+-:,#_=!(\r\n0123456789"[..]), 0..60,
            ),
        ) {
            resp2("GET k", &bytes);
            resp2("ZRANGE k 0 1 WITHSCORES", &bytes);
        }
    }
}
