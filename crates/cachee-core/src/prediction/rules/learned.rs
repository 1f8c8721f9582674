//! Rules that outlive the process: as bytes that say the same in the next one.
//!
//! Templates are written with NUL as the escape: `\0h` is a hole, `\0e` the end of the key or of an
//! argument, `\0\0` a NUL of the key itself. A binding is a letter and what it needs.

use super::Rules;
use super::binding::Binding;
use super::fields::{is_of_value, label_of};
use super::rule::Rule;
use super::table::Ref;
use super::templates::Part;
use super::trials::Precision;

/// A rule of an earlier process is believed, but one bad sample is enough to doubt it.
const TAKEN_OVER_MOST: f32 = 0.6;
const ESCAPE: u8 = 0;
const HOLE: u8 = b'h';
const END: u8 = b'e';

/// One rule that is acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// Of source and target; the numbers of commands hold within one build only.
    pub shapes: [u32; 2],
    /// Of source and target.
    pub templates: [Vec<u8>; 2],
    /// Where the texts in the target's holes come from.
    pub bindings: Vec<Vec<u8>>,
    /// The part of its predictions that came true.
    pub precision: f32,
}

fn written(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Hole => bytes.extend([ESCAPE, HOLE]),
            Part::End => bytes.extend([ESCAPE, END]),
            Part::Text(text) => {
                for &byte in text {
                    let times = if byte == ESCAPE { 2 } else { 1 };
                    bytes.extend(std::iter::repeat_n(byte, times));
                }
            }
        }
    }
    bytes
}

fn read(bytes: &[u8]) -> Option<Vec<Part>> {
    let (mut parts, mut text) = (Vec::new(), Vec::new());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        let escaped = if byte == ESCAPE { rest.next()? } else { ESCAPE };
        if byte != ESCAPE || escaped == ESCAPE {
            text.push(byte);
            continue;
        }
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text).into()));
        }
        parts.push(match escaped {
            HOLE => Part::Hole,
            END => Part::End,
            _ => return None,
        });
    }
    // Each ends in the end of its last word.
    (text.is_empty() && parts.last() == Some(&Part::End)).then_some(parts)
}

impl Rules {
    /// The rules that are acted on, those of most use first, at most `count`.
    pub(in crate::prediction) fn learned(&self, count: usize) -> Vec<Learned> {
        let mut trusted: Vec<&Rule> =
            self.rules.iter().map(|(_, rule)| rule).filter(|rule| rule.is_trusted()).collect();
        trusted.sort_by_key(|rule| std::cmp::Reverse(rule.issued));
        trusted.into_iter().filter_map(|rule| self.written(rule)).take(count).collect()
    }

    fn written(&self, rule: &Rule) -> Option<Learned> {
        let (source, target) = (self.templates.get(rule.source)?, self.templates.get(rule.target)?);
        let binding = |binding: &Binding| {
            Some(match binding {
                Binding::Field(label) if is_of_value(*label) => {
                    [b"f", self.names.get(label)?.as_bytes()].concat()
                }
                Binding::Field(hole) => format!("h{hole}").into_bytes(),
                Binding::Next(hole) => format!("n{hole}").into_bytes(),
                Binding::Constant(text) => [b"c", &**text].concat(),
            })
        };
        Some(Learned {
            shapes: [source.shape, target.shape],
            templates: [written(&source.parts), written(&target.parts)],
            bindings: rule.bindings.iter().map(binding).collect::<Option<_>>()?,
            precision: rule.precision.value,
        })
    }

    /// Takes over what an earlier process has learned; what makes no sense is passed over.
    pub(in crate::prediction) fn learn_again(&mut self, learned: &[Learned]) {
        for each in learned {
            self.take_over(each);
        }
    }

    fn take_over(&mut self, learned: &Learned) -> Option<()> {
        let [source, target] = [0, 1].map(|nth| {
            let parts = read(&learned.templates[nth])?;
            self.templates.known(learned.shapes[nth], parts)
        });
        let (source, target): (Ref, Ref) = (source?, target?);
        let holes = self.templates.get(source)?.holes;
        let hole = |text: &[u8]| -> Option<u32> {
            let hole: u32 = std::str::from_utf8(text).ok()?.parse().ok()?;
            ((hole as usize) < holes).then_some(hole)
        };
        let binding = |bytes: &Vec<u8>| {
            let (kind, text) = bytes.split_first()?;
            Some(match kind {
                b'h' => Binding::Field(hole(text)?),
                b'n' => Binding::Next(hole(text)?),
                b'c' => Binding::Constant(text.into()),
                b'f' => Binding::Field(label_of(text)),
                _ => return None,
            })
        };
        let bindings: Box<[Binding]> =
            learned.bindings.iter().map(binding).collect::<Option<_>>()?;
        if bindings.len() != self.templates.get(target)?.holes {
            return None;
        }
        for field in learned.bindings.iter().filter_map(|bytes| bytes.strip_prefix(b"f")) {
            let name = std::str::from_utf8(field).ok()?;
            self.names.entry(label_of(field)).or_insert_with(|| name.into());
        }
        let rule = self.begin_rule(source, target, bindings)?;
        self.rules.get_mut(rule)?.precision =
            Precision::known(learned.precision.clamp(0.0, TAKEN_OVER_MOST));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_template_or_none(bytes: Vec<u8>) {
            if let Some(parts) = read(&bytes) {
                proptest::prop_assert_eq!(written(&parts), bytes);
            }
        }
    }
}
