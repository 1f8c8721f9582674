//! Any bytes mean the same in any pieces as at once; what is found, encoded anew, is found again.

#![no_main]

use cachee_net::proxy::request::{
    Limits, Parsed, RequestError, RequestParser, UnauthenticatedLimits,
};
use cachee_net::resp::command_bytes;

type Found = (Vec<Vec<Vec<u8>>>, Option<RequestError>);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [piece, settings, bytes @ ..] = input else { return };
    let lower = UnauthenticatedLimits { max_bulk: 40, max_args: 4 };
    let limits = Limits {
        max_bulk: 1 << 20,
        inline_bytes: 20 + usize::from(settings >> 1),
        unauthenticated: (settings & 1 == 1).then_some(lower),
        ..Limits::default()
    };
    let found = walk(bytes, usize::MAX, &limits);
    assert_eq!(walk(bytes, usize::from(*piece).max(1), &limits), found);

    let again: Vec<u8> = found.0.iter().flat_map(|command| encoded(command)).collect();
    assert_eq!(walk(&again, usize::from(*piece).max(1), &Limits::default()), (found.0, None));
});

fn walk(bytes: &[u8], piece: usize, limits: &Limits) -> Found {
    let mut parser = RequestParser::new();
    let mut commands = Vec::new();
    let (mut start, mut fed) = (0, 0);
    while fed < bytes.len() {
        fed += piece.min(bytes.len() - fed);
        loop {
            let buffer = &bytes[start..fed];
            match parser.parse(buffer, limits) {
                Parsed::Incomplete => break,
                Parsed::Nothing { consumed } => start += consumed,
                Parsed::Command { consumed } => {
                    let command: Vec<_> = parser.args(buffer).map(<[u8]>::to_vec).collect();
                    assert!(!command.is_empty());
                    if !parser.is_inline() {
                        assert_eq!(encoded(&command), buffer[..consumed]);
                    }
                    commands.push(command);
                    start += consumed;
                }
                Parsed::Error(error) => {
                    error.write_reply(&mut Vec::new());
                    return (commands, Some(error));
                }
            }
        }
        assert!(parser.pending_bulk().is_none_or(|missing| missing <= limits.max_bulk + 2));
    }
    (commands, None)
}

fn encoded(command: &[Vec<u8>]) -> Vec<u8> {
    let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    command_bytes(&args)
}
