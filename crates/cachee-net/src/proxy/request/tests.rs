use super::*;
use crate::resp::command_bytes;
use proptest::prelude::*;

type Commands = Vec<Vec<Vec<u8>>>;

/// Feeds `bytes` in pieces; what was found until they end or are wrong.
fn walk(bytes: &[u8], cuts: &[usize], limits: &Limits) -> (Commands, Option<RequestError>) {
    let mut parser = RequestParser::new();
    let mut commands = Vec::new();
    let (mut start, mut fed) = (0, 0);
    let mut cuts = cuts.iter().copied().cycle();
    while fed < bytes.len() {
        fed += cuts.next().unwrap_or(usize::MAX).max(1).min(bytes.len() - fed);
        loop {
            let buffer = &bytes[start..fed];
            match parser.parse(buffer, limits) {
                Parsed::Incomplete => break,
                Parsed::Nothing { consumed } => start += consumed,
                Parsed::Command { consumed } => {
                    let command: Vec<_> = parser.args(buffer).map(<[u8]>::to_vec).collect();
                    let args: Vec<&[u8]> =
                        (0..parser.arg_count()).map(|index| parser.arg(buffer, index)).collect();
                    assert_eq!(command, args);
                    if !parser.is_inline() {
                        assert_eq!(command_bytes(&args), buffer[..consumed]);
                    }
                    commands.push(command);
                    start += consumed;
                }
                Parsed::Error(error) => {
                    assert_eq!(parser.parse(buffer, limits), Parsed::Error(error));
                    return (commands, Some(error));
                }
            }
        }
    }
    (commands, None)
}

fn one(bytes: &[u8]) -> Result<Vec<Vec<u8>>, RequestError> {
    let (mut commands, error) = walk(bytes, &[], &Limits::default());
    match error {
        Some(error) => Err(error),
        None => Ok(commands.pop().unwrap_or_default()),
    }
}

#[test]
fn commands_and_nothings_follow_each_other() {
    let bytes =
        b"*1\r\n$4\r\nPING\r\n\r\n*0\r\n*-5\r\n \t\nGET k\n*2\r\n$0\r\n\r\n$1\r\n\0\r\nPING\r\n";
    let expected: &[&[&[u8]]] = &[&[b"PING"], &[b"GET", b"k"], &[b"", b"\0"], &[b"PING"]];
    for piece in 1..bytes.len() {
        let (commands, error) = walk(bytes, &[piece], &Limits::default());
        assert_eq!((commands, error), (expected.iter().map(owned).collect(), None), "{piece}");
    }
}

fn owned(words: &&[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

#[test]
fn errors_are_the_servers_own() {
    for (bytes, reply) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*-\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*1\n$4\r\n", "invalid multibulk length"),
        (b"*1\0\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*x\rx", "invalid CRLF in request"),
        (b"*1\rx", "invalid CRLF in request"),
        (b"*1\r\n$x\rx", "invalid CRLF in request"),
        (b"*1\r\n$4\r\nPINGxx", "invalid CRLF in request"),
        (b"*1\r\n$4\r\nPING\rx", "invalid CRLF in request"),
        (b"*1\r\nx\rx", "expected '$', got 'x'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$00\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
        (b"\"\n", "unbalanced quotes in request"),
        (b"'a'b\n", "unbalanced quotes in request"),
        (b"\"a\"b\n", "unbalanced quotes in request"),
        (b"\"a\\\n", "unbalanced quotes in request"),
    ] {
        let error = one(bytes).expect_err(&bytes.escape_ascii().to_string());
        let mut written = Vec::new();
        error.write_reply(&mut written);
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text, format!("-ERR Protocol error: {reply}\r\n"), "{}", bytes.escape_ascii());
    }
    let mut written = Vec::new();
    one(b"*1\r\n\xff\r\n").unwrap_err().write_reply(&mut written);
    assert_eq!(written, b"-ERR Protocol error: expected '$', got '\xff'\r\n");
}

#[test]
fn who_has_not_authenticated_may_send_less() {
    let lower = UnauthenticatedLimits { max_bulk: 16384, max_args: 10 };
    let limits = Limits { unauthenticated: Some(lower), ..Limits::default() };
    let error = |bytes: &[u8]| walk(bytes, &[], &limits).1;
    assert_eq!(error(b"*10\r\n$16384\r\n"), None);
    assert_eq!(error(b"*11\r\n"), Some(RequestError::UnauthenticatedCount));
    assert_eq!(error(b"*1\r\n$16385\r\n"), Some(RequestError::UnauthenticatedLength));
    assert_eq!(error(b"*2147483648\r\n"), Some(RequestError::Count));
    assert_eq!(error(b"*1\r\n$536870913\r\n"), Some(RequestError::Length));
}

#[test]
fn words_are_split_as_servers_do() {
    for (line, words) in [
        (&b" a  b\tc \r\n"[..], &[&b"a"[..], b"b", b"c"][..]),
        (b"a\x0bb \x0b\x0cc\n", &[b"a\x0bb", b"c"]),
        (b"a\rb\r\r\n", &[b"a", b"b"]),
        (b"\"\" ''\n", &[b"", b""]),
        (b"\"\\x41\\x4\\xg\\n\\r\\t\\b\\a\\\\\\\"\\q\"\n", &[b"Ax4xg\n\r\t\x08\x07\\\"q"]),
        (b"'a\\n\\'\"' b\n", &[b"a\\n'\"", b"b"]),
        (b"pre\"fi x\" 'y'\x0bz\n", &[b"prefi x", b"y", b"z"]),
        (b"\xff \"\xff\"\n", &[b"\xff", b"\xff"]),
        (b"back\\slash \\x41\n", &[b"back\\slash", b"\\x41"]),
    ] {
        assert_eq!(one(line), Ok(owned(&words)), "{}", line.escape_ascii());
    }
}

#[test]
fn a_line_has_its_ceiling_however_it_comes() {
    let limits = Limits { inline_bytes: 30, ..Limits::default() };
    let long = b"*1\r\n$4\r\nPING\r\n".repeat(3);
    for piece in 1..20 {
        let error = |bytes: &[u8]| walk(bytes, &[piece], &limits).1;
        for (line, end, expected) in [
            (&b"PING"[..], &b"\n"[..], RequestError::BigInline),
            (b"*", b"\r\n", RequestError::BigCount),
            (b"*1\r\n$", b"\r\n", RequestError::BigLength),
        ] {
            let start = line.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            let pad = |bytes: usize| [line, &b"1".repeat(bytes + start - line.len())].concat();
            assert_ne!(error(&[&pad(30), end].concat()), Some(expected));
            assert_eq!(error(&[&pad(31), end].concat()), Some(expected));
            assert_eq!(error(&pad(31)), Some(expected));
        }
        // What a NUL hides counts, whole commands too.
        assert_eq!(error(b"a\0\nPING\r\n"), None);
        assert_eq!(error(&[b"a\0\n", &long[..]].concat()), Some(RequestError::BigInline));
        assert_eq!(error(&long), None);
    }
}

#[test]
fn a_large_argument_is_announced() {
    let mut parser = RequestParser::new();
    let mut bytes = b"*2\r\n$3\r\nSET\r\n$100000\r\n".to_vec();
    assert_eq!(parser.pending_bulk(), None);
    assert_eq!(parser.parse(&bytes, &Limits::default()), Parsed::Incomplete);
    assert_eq!(parser.pending_bulk(), Some(100_002));
    bytes.resize(bytes.len() + 100_001, b'\r');
    assert_eq!(parser.parse(&bytes, &Limits::default()), Parsed::Incomplete);
    assert_eq!(parser.pending_bulk(), Some(1));
    bytes.push(b'\n');
    let consumed = bytes.len();
    assert_eq!(parser.parse(&bytes, &Limits::default()), Parsed::Command { consumed });
    assert_eq!(parser.pending_bulk(), None);
    assert_eq!(parser.arg(&bytes, 1).len(), 100_000);
}

#[test]
fn announcements_cost_no_memory_and_large_commands_give_theirs_back() {
    let limits = Limits::default();
    let mut parser = RequestParser::new();
    assert_eq!(parser.parse(b"*2147483647\r\n$536870912\r\n", &limits), Parsed::Incomplete);
    assert_eq!(parser.args.capacity(), 0);
    let many = vec![&b"x"[..]; 100_000];
    for bytes in [command_bytes(&many), [b"\"", &[b'x'; 60_000][..], b"\"\n"].concat()] {
        let mut parser = RequestParser::new();
        assert_eq!(parser.parse(&bytes, &limits), Parsed::Command { consumed: bytes.len() });
        assert_eq!(parser.parse(b"*", &limits), Parsed::Incomplete);
        assert!(parser.args.capacity() <= ARGS_KEPT);
        assert!(parser.words.capacity() <= WORDS_BYTES_KEPT);
    }
}

/// Bytes looked at when they arrive one by one. Plain headers are short: each call may look at
/// one again.
#[test]
fn the_work_is_linear() {
    let limits = Limits { inline_bytes: usize::MAX, ..Limits::default() };
    for bytes in [
        vec![b'a'; 50_000],
        [b"*", &[b'1'; 50_000][..]].concat(),
        [b"*2\r\n$", &[b'1'; 50_000][..]].concat(),
        [b"*2\r\n$50000\r\n", &[b'1'; 50_000][..]].concat(),
        [b"a\0", &[b'\n'; 50_000][..]].concat(),
        command_bytes(&vec![&b"xyz"[..]; 5_000]),
    ] {
        let mut parser = RequestParser::new();
        for end in 1..bytes.len() {
            assert_eq!(parser.parse(&bytes[..end], &limits), Parsed::Incomplete);
        }
        assert!(parser.walked <= 2 * bytes.len(), "{} of {}", parser.walked, bytes.len());
    }
}

fn commands() -> impl Strategy<Value = Commands> {
    let arg = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(any::<u8>(), 200..300),
    ];
    prop::collection::vec(prop::collection::vec(arg, 1..6), 1..6)
}

/// A line whose words are those of the command, in quotes.
fn inline(command: &[Vec<u8>]) -> Vec<u8> {
    let mut line = Vec::new();
    for word in command {
        line.push(b'"');
        line.extend(word.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()));
        line.extend(b"\" ");
    }
    line.extend(b"\r\n");
    line
}

proptest! {
    #[test]
    fn commands_are_found_whatever_the_pieces(
        sent in commands(),
        inlines in prop::collection::vec(any::<bool>(), 6),
        cuts in prop::collection::vec(1_usize..12, 1..8),
    ) {
        let mut bytes = Vec::new();
        for (command, is_inline) in sent.iter().zip(inlines) {
            if is_inline {
                bytes.extend(inline(command));
            } else {
                let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                bytes.extend(command_bytes(&args));
            }
        }
        prop_assert_eq!(walk(&bytes, &cuts, &Limits::default()), (sent, None));
    }

    #[test]
    fn garbage_never_panics_and_means_the_same_in_any_pieces(
        bytes in prop::collection::vec(
            prop_oneof![
                4 => prop::sample::select(&b"**$$\r\n\r\n012-\"'\\x \0"[..]).boxed(),
                1 => any::<u8>().boxed(),
            ],
            0..200,
        ),
        cuts in prop::collection::vec(1_usize..12, 1..4),
    ) {
        let limits = Limits { inline_bytes: 20, ..Limits::default() };
        prop_assert_eq!(walk(&bytes, &cuts, &limits), walk(&bytes, &[], &limits));
    }

    #[test]
    fn one_changed_byte_means_the_same_in_any_pieces(
        sent in commands(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        cuts in prop::collection::vec(1_usize..12, 1..4),
    ) {
        let mut bytes: Vec<u8> = Vec::new();
        for command in &sent {
            let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            bytes.extend(command_bytes(&args));
        }
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let limits = Limits::default();
        prop_assert_eq!(walk(&bytes, &cuts, &limits), walk(&bytes, &[], &limits));
    }
}

/// The fuzzer's seeds, by what its target holds them to.
#[test]
fn seeds_mean_the_same_in_any_pieces() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/request");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let seed = std::fs::read(seed.unwrap().path()).unwrap();
        let [piece, settings, bytes @ ..] = &seed[..] else { panic!("a seed of one byte") };
        let lower = UnauthenticatedLimits { max_bulk: 40, max_args: 4 };
        let limits = Limits {
            max_bulk: 1 << 20,
            inline_bytes: 20 + usize::from(settings >> 1),
            unauthenticated: (settings & 1 == 1).then_some(lower),
            ..Limits::default()
        };
        for piece in [usize::from(*piece), 1, 2, 7] {
            assert_eq!(walk(bytes, &[piece], &limits), walk(bytes, &[], &limits));
        }
        count += 1;
    }
    assert!(count > 10);
}
