//! What a key is made of: where the texts in its holes come from.

use std::borrow::Cow;

use super::fields::{Fields, is_of_value};
use super::past::Past;
use super::table::Ref;

/// Keys that one rule makes of one value.
const FAN_OUT_MAX: usize = 16;

/// A longer text is not what a key always has.
const CONSTANT_BYTES_MAX: usize = 32;

/// Where the text of a hole comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// The source's hole of this number, or its value's field of this label.
    Field(u32),
    /// The number after that in the source's hole.
    Next(u32),
    /// It is always this.
    Constant(Box<[u8]>),
}

impl Binding {
    pub(super) fn needs_value(&self) -> bool {
        matches!(self, Self::Field(label) if is_of_value(*label))
    }
}

/// A key that missed, and what is in its holes.
pub(super) struct Wanted<'a> {
    code: u64,
    target: Ref,
    holes: &'a [&'a [u8]],
    hashes: Vec<u32>,
    /// Of the number before it, where a hole is a number.
    before: Vec<Option<u32>>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(
        text_hash: impl Fn(&[u8]) -> u32,
        code: u64,
        target: Ref,
        holes: &'a [&'a [u8]],
    ) -> Self {
        let hashes = holes.iter().map(|text| text_hash(text)).collect();
        let before = holes.iter().map(|text| {
            let number = number_of(text)?.checked_sub(1)?;
            Some(text_hash(number.to_string().as_bytes()))
        });
        Self { code, target, holes, hashes, before: before.collect() }
    }

    /// How it could have been made of an earlier access: at least one hole of it, of so many bytes.
    pub(super) fn bind(&self, past: &Past, bytes_min: usize) -> Option<(Ref, Box<[Binding]>)> {
        if past.code == self.code {
            return None;
        }
        let label = |hash: u32| past.fields.iter().find(|field| field.1 == hash).map(|it| it.0);
        let is_same = past.template == self.target;
        let mut is_bound = false;
        let bindings: Box<[Binding]> = (0..self.holes.len())
            .map(|hole| {
                let text = self.holes[hole];
                let binding = label(self.hashes[hole]).map(Binding::Field).or_else(|| {
                    let before = self.before[hole].filter(|_| is_same)?;
                    label(before).filter(|label| !is_of_value(*label)).map(Binding::Next)
                });
                is_bound |= binding.is_some() && text.len() >= bytes_min;
                binding.unwrap_or_else(|| Binding::Constant(text.into()))
            })
            .collect();
        let is_short = |binding: &Binding| match binding {
            Binding::Constant(text) => text.len() <= CONSTANT_BYTES_MAX,
            _ => true,
        };
        (is_bound && bindings.iter().all(is_short)).then_some((past.template, bindings))
    }
}

/// A number as a key would have it: no sign, no zero before it.
pub(super) fn number_of(text: &[u8]) -> Option<u64> {
    let number: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

/// The texts for the holes of a target: several where a field of the value occurs several times.
pub(super) fn fillings<'a>(
    bindings: &'a [Binding],
    holes: &[&'a [u8]],
    fields: &'a Fields,
) -> Vec<Vec<Cow<'a, [u8]>>> {
    let mut made: Vec<Vec<Cow<'a, [u8]>>> = vec![Vec::new()];
    for binding in bindings {
        let texts: Vec<Cow<'a, [u8]>> = match binding {
            Binding::Constant(text) => vec![Cow::Borrowed(&**text)],
            Binding::Field(label) if is_of_value(*label) => {
                let of_label = fields.iter().filter(|field| field.label == *label);
                let limit = if made.len() == 1 { FAN_OUT_MAX } else { 1 };
                of_label.take(limit).map(|field| Cow::Borrowed(field.text)).collect()
            }
            Binding::Field(hole) => {
                holes.get(*hole as usize).map(|text| Cow::Borrowed(*text)).into_iter().collect()
            }
            Binding::Next(hole) => {
                let number = holes.get(*hole as usize).and_then(|text| number_of(text));
                let next = number.and_then(|number| number.checked_add(1));
                next.map(|next| Cow::Owned(next.to_string().into_bytes())).into_iter().collect()
            }
        };
        made = made
            .into_iter()
            .flat_map(|before| {
                texts.iter().map(move |text| {
                    let mut before = before.clone();
                    before.push(text.clone());
                    before
                })
            })
            .collect();
    }
    made
}
