use super::*;
use crate::resp::{Node, Reader};
use proptest::prelude::*;

fn whole(bytes: &[u8]) -> Result<Scan, ProtocolError> {
    Scanner::new().scan(bytes)
}

#[test]
fn finds_the_end_of_every_type() {
    for frame in [
        &b"+OK\r\n"[..],
        b"-ERR x\r\n",
        b":-9223372036854775808\r\n",
        b"$5\r\nhe\r\no\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",3.14\r\n",
        b",inf\r\n",
        b",-inf\r\n",
        b",nan\r\n",
        b"(-3492890328409238509324850943850943825024385\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"!5\r\nERR x\r\n",
        b"*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n~2\r\n:1\r\n:2\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
        b">2\r\n$10\r\ninvalidate\r\n_\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n",
        b"|0\r\n:1\r\n",
    ] {
        assert_eq!(whole(frame), Ok(Scan::Complete(frame.len())), "{}", frame.escape_ascii());
        let mut followed = frame.to_vec();
        followed.extend_from_slice(b"+next\r\n");
        assert_eq!(whole(&followed), Ok(Scan::Complete(frame.len())));
        for cut in 0..frame.len() {
            assert_eq!(whole(&frame[..cut]), Ok(Scan::Incomplete), "{cut}");
        }
    }
}

#[test]
fn refuses_what_no_server_sends() {
    for (bytes, error) in [
        (&b"GET\r\n"[..], ProtocolError::Type(b'G')),
        (b"HTTP/1.1 400 Bad\r\n", ProtocolError::Type(b'H')),
        (b"\r\n", ProtocolError::LineEnd),
        (b"+OK\n", ProtocolError::LineEnd),
        (b"$x\r\n", ProtocolError::Length),
        (b"$-2\r\n", ProtocolError::Length),
        (b"$?\r\n", ProtocolError::Length),
        (b"$99999999999999\r\n", ProtocolError::Length),
        (b"*9223372036854775807\r\n", ProtocolError::Length),
        (b"%-1\r\n", ProtocolError::Length),
        (b"=-1\r\n", ProtocolError::Value),
        (b"$2\r\nabcd", ProtocolError::LineEnd),
        (b":1x\r\n", ProtocolError::Value),
        (b":\r\n", ProtocolError::Value),
        (b"#y\r\n", ProtocolError::Value),
        (b",one\r\n", ProtocolError::Value),
        (b"_x\r\n", ProtocolError::Value),
    ] {
        assert_eq!(whole(bytes), Err(error), "{}", bytes.escape_ascii());
    }
    assert_eq!(whole(&b"*1\r\n".repeat(DEPTH_MAX + 1)), Err(ProtocolError::TooDeep));
    assert_eq!(whole(&[b'+'; LINE_BYTES_MAX + 2]), Err(ProtocolError::LineTooLong));
}

#[test]
fn a_huge_announcement_only_waits() {
    assert_eq!(whole(b"$536870912\r\nx"), Ok(Scan::Incomplete));
    assert_eq!(whole(b"*1099511627776\r\n:1\r\n"), Ok(Scan::Incomplete));
}

#[test]
fn an_unwanted_frame_can_be_dropped_as_it_comes() {
    let mut frame = b"*2\r\n$300\r\n".to_vec();
    frame.extend_from_slice(&[b'x'; 300]);
    frame.extend_from_slice(b"\r\n:1\r\n");
    let mut scanner = Scanner::new();
    let mut buffer = Vec::new();
    let mut most = 0;
    let mut ends = 0;
    for chunk in frame.repeat(3).chunks(7) {
        buffer.extend_from_slice(chunk);
        while let Scan::Complete(end) = scanner.scan(&buffer).unwrap() {
            buffer.drain(..end);
            ends += 1;
        }
        let dropped = scanner.drop_front(buffer.len());
        buffer.drain(..dropped);
        most = most.max(buffer.len());
    }
    assert_eq!((ends, buffer.len()), (3, 0));
    assert!(most < 16, "{most}");
}

/// Any well-formed frame, as bytes.
pub(crate) fn frames() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        "[^\r\n]{0,8}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        any::<f64>().prop_map(|number| format!(",{number}\r\n").into_bytes()),
        any::<bool>().prop_map(|is| if is { b"#t\r\n".to_vec() } else { b"#f\r\n".to_vec() }),
        Just(b"_\r\n".to_vec()),
        Just(b"$-1\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| {
            let mut frame = format!("${}\r\n", bytes.len()).into_bytes();
            frame.extend_from_slice(&bytes);
            frame.extend_from_slice(b"\r\n");
            frame
        }),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        (prop::collection::vec(inner, 0..6), prop::sample::select(&b"*~%"[..])).prop_map(
            |(mut elements, kind)| {
                let mut count = elements.len();
                if kind == b'%' {
                    count /= 2;
                    elements.truncate(count * 2);
                }
                let mut frame = vec![kind];
                frame.extend_from_slice(format!("{count}\r\n").as_bytes());
                frame.extend(elements.concat());
                frame
            },
        )
    })
}

/// Drives scanner and reader over any bytes; what the scanner accepts the reader must read whole.
fn walk(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let mut scanner = Scanner::new();
    let mut buffer = Vec::new();
    let mut found = Vec::new();
    let mut fed = 0;
    let mut cuts = cuts.iter().copied().cycle();
    while fed < bytes.len() {
        let take = cuts.next().unwrap_or(usize::MAX).max(1).min(bytes.len() - fed);
        buffer.extend_from_slice(&bytes[fed..fed + take]);
        fed += take;
        while let Scan::Complete(end) = scanner.scan(&buffer)? {
            let frame: Vec<u8> = buffer.drain(..end).collect();
            let mut reader = Reader::new(&frame);
            assert!(reader.skip().is_some(), "{}", frame.escape_ascii());
            assert!(reader.is_at_end(), "{}", frame.escape_ascii());
            found.push(frame);
        }
    }
    Ok(found)
}

proptest! {
    #[test]
    fn frames_are_found_whatever_the_pieces(
        sent in prop::collection::vec(frames(), 1..6),
        cuts in prop::collection::vec(1_usize..12, 1..8),
    ) {
        prop_assert_eq!(walk(&sent.concat(), &cuts).unwrap(), sent);
    }

    #[test]
    fn garbage_never_panics(
        bytes in prop::collection::vec(
            prop_oneof![
                prop::sample::select(&b"$*%~>|+-:,#_=!(\r\n0123456789"[..]).boxed(),
                any::<u8>().boxed(),
            ],
            0..200,
        ),
        cuts in prop::collection::vec(1_usize..12, 1..4),
    ) {
        let _ = walk(&bytes, &cuts);
        let mut reader = Reader::new(&bytes);
        while let Some(node) = reader.next() {
            let _: Node<'_> = node;
        }
    }

    #[test]
    fn one_changed_byte_never_panics(
        frame in frames(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut changed = frame;
        let at = at.index(changed.len());
        changed[at] = byte;
        let _ = walk(&changed, &[3]);
        let mut reader = Reader::new(&changed);
        while reader.next().is_some() {}
    }
}

#[test]
fn what_is_only_passed_on_may_be_odd_long_and_deep() {
    let mut deep = b"*2\r\n:1\r\n".repeat(10 * DEPTH_MAX);
    deep.extend_from_slice(b"-ERR reached lua stack limit\r\n");
    let mut long = vec![b'-'; 2 * LINE_BYTES_MAX];
    long.extend_from_slice(b"\r\n");
    for frame in [&deep[..], &long, b"(123  123\r\n", b",one\r\n", b"#y\r\n", b"_x\r\n"] {
        let mut two = frame.to_vec();
        two.extend_from_slice(frame);
        let mut scanner = Scanner::for_pipe();
        for end in 1..frame.len() {
            assert_eq!(scanner.scan(&two[..end]), Ok(Scan::Incomplete));
        }
        assert_eq!(scanner.scan(&two), Ok(Scan::Complete(frame.len())));
        assert_eq!(scanner.scan(&two[frame.len()..]), Ok(Scan::Complete(frame.len())));
        assert!(whole(frame).is_err(), "{}", frame[..16.min(frame.len())].escape_ascii());
    }
}
