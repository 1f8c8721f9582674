//! The key of a store's entry: scope, shape, Redis key and arguments in one allocation.

use crate::store::EntryRef;
use crate::weigh::heap_bytes;

const HEADER_BYTES: usize = 12;

/// `[scope | shape | key length | key | args]`: one pointer in the entry, one line to compare.
pub(crate) struct EntryKey(Box<[u8]>);

fn header(id: &EntryRef<'_>) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&id.scope.to_ne_bytes());
    header[4..8].copy_from_slice(&id.shape.to_ne_bytes());
    // A key is at most 512 MB; a longer one would only ever compare unequal to itself.
    header[8..].copy_from_slice(&(id.key.len() as u32).to_ne_bytes());
    header
}

impl EntryKey {
    pub(crate) fn new(id: &EntryRef<'_>) -> Self {
        Self([&header(id)[..], id.key, id.args].concat().into_boxed_slice())
    }

    /// Whether this is the key of `id`, compared in full.
    #[inline]
    pub(crate) fn matches(&self, id: &EntryRef<'_>) -> bool {
        let Some((head, rest)) = self.0.split_first_chunk::<HEADER_BYTES>() else { return false };
        let Some((key, args)) = rest.split_at_checked(id.key.len()) else { return false };
        *head == header(id) && is_equal(key, id.key) && is_equal(args, id.args)
    }

    /// The same again.
    pub(crate) fn copy(&self) -> Self {
        Self(self.0.clone())
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Where its bytes are.
    pub(crate) fn address(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self.0[at..at + 4].try_into().expect("four bytes");
        u32::from_ne_bytes(bytes)
    }

    pub(crate) fn scope(&self) -> u32 {
        self.word(0)
    }

    pub(crate) fn shape(&self) -> u32 {
        self.word(4)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.0[HEADER_BYTES..HEADER_BYTES + self.word(8) as usize]
    }

    pub(crate) fn args(&self) -> &[u8] {
        &self.0[HEADER_BYTES + self.word(8) as usize..]
    }

    /// Key and arguments together.
    pub(crate) fn name_bytes(&self) -> usize {
        self.0.len() - HEADER_BYTES
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        heap_bytes(self.0.len())
    }
}

/// Slice equality without the call: keys are short, and a call costs as much as comparing them.
#[inline]
fn is_equal(ours: &[u8], theirs: &[u8]) -> bool {
    if ours.len() != theirs.len() {
        return false;
    }
    let (our_words, our_rest) = ours.as_chunks::<8>();
    let (their_words, their_rest) = theirs.as_chunks::<8>();
    let mut words = our_words.iter().zip(their_words);
    if !words.all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b)) {
        return false;
    }
    // The last eight bytes cover the rest, whatever its length.
    match (ours.last_chunk::<8>(), theirs.last_chunk::<8>()) {
        (Some(a), Some(b)) => a == b,
        _ => our_rest.iter().zip(their_rest).all(|(a, b)| a == b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<'a>(scope: u32, shape: u32, key: &'a [u8], args: &'a [u8]) -> EntryRef<'a> {
        EntryRef { scope, shape, key, args, key_hash: 0 }
    }

    #[test]
    fn matches_itself_and_nothing_that_differs_in_one_part() {
        let key = EntryKey::new(&id(1, 2, b"user:1", b"name"));
        assert!(key.matches(&id(1, 2, b"user:1", b"name")));
        assert!(!key.matches(&id(9, 2, b"user:1", b"name")));
        assert!(!key.matches(&id(1, 9, b"user:1", b"name")));
        assert!(!key.matches(&id(1, 2, b"user:1n", b"ame")), "the border between key and args");
        assert!(!key.matches(&id(1, 2, b"user:1", b"nam")));
        assert!(!key.matches(&id(1, 2, b"", b"")));
    }

    #[test]
    fn every_byte_of_every_length_counts() {
        for len in 0..40 {
            let ours: Vec<u8> = (0..len).collect();
            assert!(is_equal(&ours, &ours.clone()));
            for at in 0..ours.len() {
                let mut theirs = ours.clone();
                theirs[at] ^= 1;
                assert!(!is_equal(&ours, &theirs), "byte {at} of {len}");
            }
            assert!(!is_equal(&ours, &[&ours[..], b"x"].concat()));
        }
    }

    #[test]
    fn gives_its_parts_back() {
        let key = EntryKey::new(&id(1, 2, b"", b"\0args"));
        assert_eq!(
            (key.scope(), key.shape(), key.key(), key.args()),
            (1, 2, &b""[..], &b"\0args"[..])
        );
    }
}
