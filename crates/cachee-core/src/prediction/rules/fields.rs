//! What a value says that a key may be made of.

use std::ops::Range;

/// Longer texts are no part of a key.
const TEXT_BYTES_MAX: usize = 64;
/// Fields of one value that are looked at.
const FIELDS_MAX: usize = 32;
/// Set in the label of a field of a value; a hole of the key has its number.
const OF_VALUE: u32 = 1 << 31;

/// The scalars of one value, each under the name of its place: `user.id`, `items[]`.
#[derive(Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    /// Where in `bytes` name and text are.
    places: Vec<(Range<usize>, Range<usize>)>,
}

/// One of them.
pub(super) struct Field<'a> {
    pub(super) label: u32,
    pub(super) name: &'a str,
    pub(super) text: &'a [u8],
}

/// What a name is called inside: 31 bits of its hash.
pub(super) fn label_of(name: &[u8]) -> u32 {
    // FNV-1a: names come from the application, and a collision costs a prediction.
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    name.iter().fold(0x811c_9dc5, step) | OF_VALUE
}

pub(super) fn is_of_value(label: u32) -> bool {
    label & OF_VALUE != 0
}

impl Fields {
    /// No more are taken.
    pub fn is_full(&self) -> bool {
        self.places.len() >= FIELDS_MAX
    }

    /// None so far.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// One more; what is empty or long is passed over.
    pub fn push(&mut self, name: &str, text: &[u8]) {
        let fits = 1..=TEXT_BYTES_MAX;
        if self.is_full() || !fits.contains(&text.len()) || name.len() > TEXT_BYTES_MAX {
            return;
        }
        let from = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(text);
        self.places.push((from..middle, middle..self.bytes.len()));
    }

    /// Names and texts, in their order.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter().map(|field| (field.name, field.text))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.places.iter().map(|(name, text)| {
            let name = &self.bytes[name.clone()];
            let text = &self.bytes[text.clone()];
            let label = label_of(name);
            // It came in as text.
            Field { label, name: std::str::from_utf8(name).unwrap_or_default(), text }
        })
    }
}
