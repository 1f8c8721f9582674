//! Which commands may be answered from the L1, and how their replies look in RESP2.
//!
//! A closed list. A command is on it when its reply is a function of one key's value and its own
//! arguments, and when every change of that function makes the server send an invalidation.
//! "Read-only" is not enough. Left out on purpose: `XPENDING` and `XINFO` (`XACK`, `XREADGROUP`
//! send no invalidation), `SORT_RO` (reads keys by pattern), `TTL` and its family, `OBJECT`,
//! `MEMORY`, `DUMP` (time or encoding), `SRANDMEMBER`, `HRANDFIELD`, `ZRANDMEMBER`, `RANDOMKEY`,
//! the `SCAN`s (cursor state), everything with two keys, scripts, and module commands other than
//! `JSON.*`.

mod table;

pub use table::{Fields, Spec};
use table::{NAME_BYTES_MAX, spec_of};

/// How a RESP3 reply becomes what a RESP2 client would have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resp2Shape {
    /// Type by type: map to flat array, set to array, double to its text as a bulk string,
    /// boolean to 0 or 1, verbatim to its payload, null to null.
    Generic,
    /// As `Generic`, and when the reply is an array of two-element arrays those are flattened
    /// (`ZRANGE … WITHSCORES`).
    Pairs,
    /// Not known to be derivable: a RESP2 client asks for itself.
    Unknown,
}

/// A command that may be answered from the L1. Its key is always the first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cacheable {
    /// Identifies the command (not its arguments) within this build.
    pub shape: u32,
    /// The RESP2 form of the reply.
    pub resp2: Resp2Shape,
}

/// Decides by name and number of arguments; `args[0]` is the command's name in any case.
pub fn cacheable(args: &[&[u8]]) -> Option<Cacheable> {
    let name = args.first()?;
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut upper = [0_u8; NAME_BYTES_MAX];
    let upper = &mut upper[..name.len()];
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    let (shape, spec) = spec_of(upper)?;
    let rest = args.len() - 1;
    if rest < spec.least || rest > spec.most {
        return None;
    }
    // `JSON.GET … FORMAT` means something in RESP3 only.
    let is_format = |arg: &&[u8]| arg.eq_ignore_ascii_case(b"FORMAT");
    if spec.name == "JSON.GET" && args[2..].iter().any(is_format) {
        return None;
    }
    Some(Cacheable { shape, resp2: spec.resp2 })
}

/// The part of a shape that says which command. The upper half is the caller's: it tells entries
/// of one command apart that it decodes differently.
pub const SHAPE_MASK: u32 = 0xffff;

/// The description behind a shape that `cacheable` returned, whatever its upper half.
pub fn spec(shape: u32) -> Option<&'static Spec> {
    table::COMMANDS.get((shape & SHAPE_MASK) as usize)
}

/// The shape of a command by its name, in upper case.
pub(crate) fn shape_named(name: &[u8]) -> Option<u32> {
    spec_of(name).map(|(shape, _)| shape)
}

/// The name of a shape's command, for people.
pub fn command_name(shape: u32) -> &'static str {
    spec(shape).map_or("?", |spec| spec.name)
}

/// Writes every argument after the key in one unambiguous form: what `EntryRef::args` and
/// `Request::args` hold. Nothing for a command of name and key alone.
pub fn encode_args(args: &[&[u8]], out: &mut Vec<u8>) {
    for arg in args.iter().skip(2) {
        out.extend_from_slice(&(arg.len() as u32).to_le_bytes());
        out.extend_from_slice(arg);
    }
}

/// The words of the command that `cacheable` gave this shape, `encode_args` these arguments; none
/// when that cannot be.
pub fn decode_words<'a>(shape: u32, key: &'a [u8], mut args: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let mut words = vec![spec(shape)?.name.as_bytes(), key];
    while !args.is_empty() {
        let (len, rest) = args.split_first_chunk::<4>()?;
        let (arg, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        words.push(arg);
        args = rest;
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(words: &[&str]) -> Option<u32> {
        let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        cacheable(&args).map(|found| found.shape)
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert!(shape(&["GET", "k"]).is_some());
        assert_eq!(shape(&["GET", "k"]), shape(&["gEt", "other"]));
        assert_ne!(shape(&["GET", "k"]), shape(&["STRLEN", "k"]));
        let shape = shape(&["json.get", "k"]).unwrap();
        assert_eq!(command_name(shape), "JSON.GET");
        assert_eq!(command_name(shape | 7 << 16), "JSON.GET", "the upper half is the caller's");
    }

    #[test]
    fn a_wrong_number_of_arguments_is_left_to_the_server() {
        for words in [&["GET"][..], &["GET", "a", "b"], &["EXISTS", "a", "b"], &["HGET", "h"]] {
            assert_eq!(shape(words), None, "{words:?}");
        }
        assert_eq!(cacheable(&[]), None);
        assert_eq!(shape(&["JSON.GET", "k", "format", "EXPAND", "$"]), None);
    }

    #[test]
    fn what_the_server_does_not_announce_is_not_cacheable() {
        for name in [
            "XPENDING",
            "XINFO",
            "TTL",
            "PTTL",
            "OBJECT",
            "SRANDMEMBER",
            "SORT_RO",
            "SCAN",
            "SSCAN",
            "HSCAN",
            "ZSCAN",
            "DUMP",
            "RANDOMKEY",
            "LCS",
            "SINTER",
            "EVAL_RO",
            "FCALL_RO",
            "MGET",
            "GETEX",
            "GETDEL",
            "TOUCH",
            "JSON.MGET",
            "SET",
            "HRANDFIELD",
        ] {
            for count in 0..6 {
                let mut words = vec![name];
                words.extend(["k"; 6].iter().take(count));
                assert_eq!(shape(&words), None, "{words:?}");
            }
        }
    }

    #[test]
    fn arguments_are_told_apart() {
        let encode = |words: &[&[u8]]| {
            let mut out = Vec::new();
            encode_args(words, &mut out);
            out
        };
        assert!(encode(&[b"GET", b"k"]).is_empty());
        assert_ne!(encode(&[b"X", b"k", b"ab", b"c"]), encode(&[b"X", b"k", b"a", b"bc"]));
        assert_ne!(encode(&[b"X", b"k", b""]), encode(&[b"X", b"k"]));
    }

    proptest::proptest! {
        #[test]
        fn words_come_back(args in proptest::collection::vec(".{0,9}", 1..6)) {
            for name in ["HMGET", "BITFIELD_RO", "GET"] {
                let mut words: Vec<&[u8]> = vec![name.as_bytes()];
                words.extend(args.iter().map(|arg| arg.as_bytes()));
                let Some(found) = cacheable(&words) else { continue };
                let mut encoded = Vec::new();
                encode_args(&words, &mut encoded);
                proptest::prop_assert_eq!(decode_words(found.shape, words[1], &encoded), Some(words));
            }
        }

        #[test]
        fn any_bytes_are_words_or_nothing(shape: u32, args: Vec<u8>) {
            if let Some(words) = decode_words(shape, b"k", &args) {
                let mut encoded = Vec::new();
                encode_args(&words, &mut encoded);
                proptest::prop_assert_eq!(encoded, args);
            }
        }
    }

    #[test]
    fn absence_is_told_from_a_value() {
        let is = |name: &[u8], frame: &[u8]| spec_of(name).unwrap().1.answers_missing(frame);
        for (name, frame) in [
            (&b"GET"[..], &b"_\r\n"[..]),
            (b"GET", b"$-1\r\n"),
            (b"STRLEN", b":0\r\n"),
            (b"TYPE", b"+none\r\n"),
            (b"LRANGE", b"*0\r\n"),
            (b"HGETALL", b"%0\r\n"),
            (b"SMEMBERS", b"~0\r\n"),
            (b"HMGET", b"*2\r\n_\r\n_\r\n"),
            (b"SMISMEMBER", b"*2\r\n:0\r\n:0\r\n"),
            (b"GETRANGE", b"$0\r\n\r\n"),
        ] {
            assert!(is(name, frame), "{}", frame.escape_ascii());
        }
        for (name, frame) in [
            (&b"GET"[..], &b"$1\r\n0\r\n"[..]),
            (b"GET", b"$0\r\n\r\n"),
            (b"EXISTS", b":1\r\n"),
            (b"TYPE", b"+string\r\n"),
            (b"LRANGE", b"*1\r\n$0\r\n\r\n"),
            (b"HMGET", b"*2\r\n_\r\n$1\r\na\r\n"),
            (b"SMEMBERS", b"~1\r\n$1\r\na\r\n"),
            (b"ZRANK", b":0\r\n"),
            (b"BITPOS", b":0\r\n"),
            (b"BITPOS", b":-1\r\n"),
            (b"LPOS", b"*1\r\n:0\r\n"),
            (b"GET", b""),
            (b"HMGET", b"*1\r\n"),
        ] {
            assert!(!is(name, frame), "{}", frame.escape_ascii());
        }
    }

    #[test]
    fn the_table_is_sorted_for_the_search() {
        let names: Vec<_> = table::COMMANDS.iter().map(|spec| spec.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
        assert!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX));
    }
}
