//! Commands as arrays of bulk strings.

/// Appends one command.
pub fn encode_command(args: &[&[u8]], out: &mut Vec<u8>) {
    let bytes: usize = args.iter().map(|arg| arg.len() + 16).sum();
    out.reserve(bytes + 16);
    header(b'*', args.len(), out);
    for arg in args {
        header(b'$', arg.len(), out);
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// One command by itself.
pub fn command_bytes(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_command(args, &mut out);
    out
}

/// Appends a header line: of an aggregate, or of a bulk string.
pub(crate) fn header(kind: u8, count: usize, out: &mut Vec<u8>) {
    out.push(kind);
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = count;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_any_bytes() {
        assert_eq!(command_bytes(&[b"GET", b"a\r\nb"]), b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n");
        assert_eq!(command_bytes(&[b"", &[7; 12]])[..9], *b"*2\r\n$0\r\n\r");
    }
}
