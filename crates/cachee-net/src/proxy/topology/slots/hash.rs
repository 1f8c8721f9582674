//! The slot of a key: CRC16 (XMODEM) of the key or of its hash tag.

use super::SLOTS;

/// The remainder for each byte.
const REMAINDERS: [u16; 256] = remainders();

const fn remainders() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = remainder & 0x8000 != 0;
            remainder <<= 1;
            if carry {
                remainder ^= 0x1021;
            }
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

/// The slot of a key.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let crc = tag(key)
        .iter()
        .fold(0_u16, |crc, &byte| (crc << 8) ^ REMAINDERS[usize::from((crc >> 8) as u8 ^ byte)]);
    crc % SLOTS
}

/// What stands between the first `{` and the next `}`, if anything does; otherwise the whole key.
fn tag(key: &[u8]) -> &[u8] {
    let inside = || {
        let rest = &key[key.iter().position(|&byte| byte == b'{')? + 1..];
        let end = rest.iter().position(|&byte| byte == b'}').filter(|&end| end > 0)?;
        Some(&rest[..end])
    };
    inside().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_servers_own() {
        // Of `CLUSTER KEYSLOT` on Valkey 8.1.8.
        for (key, expected) in [
            (&b""[..], 0),
            (b"123456789", 0x31c3),
            (b"a", 15495),
            (b"foo", 12182),
            (b"{user1000}.following", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"foo{bar", 15278),
            (b"\xff\x00", 1023),
        ] {
            assert_eq!(slot(key), expected, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_tag_decides_alone() {
        assert_eq!(slot(b"{user1000}.following"), slot(b"x{user1000}"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"a}b{c}"), slot(b"c"));
    }
}
