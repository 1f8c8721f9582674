//! What outlives a process: the names of hot reads and the rules between templates, as the words of
//! commands. Never a value, which nobody would invalidate in a file.

use cachee_core::{Hot, Learned, Store};

use crate::cacheable::{
    SHAPE_MASK, cacheable, command_name, decode_words, encode_args, shape_named,
};
use crate::link::{Link, LinkValue, NAME_BYTES_MAX, NAMES_MAX};

/// In the place of a command: a rule.
const RULE: &[u8] = b"RULE";
/// Rules kept of one link.
const RULES_MAX: usize = 128;

/// Name, key, other arguments.
pub type Words = Vec<Vec<u8>>;

/// Something worth knowing in the next process.
#[derive(Clone, Debug, PartialEq)]
pub enum Remembered {
    /// A read that was answered often.
    Read(Hot),
    /// Which key leads to which.
    Rule(Learned),
}

impl Remembered {
    /// As words that mean the same in any build; None of what cannot be said in words. The upper
    /// half of its shapes is not part of them.
    pub fn words(self) -> Option<Words> {
        match self {
            Self::Read(Hot { shape, key, args, .. }) => {
                Some(decode_words(shape, &key, &args)?.into_iter().map(<[u8]>::to_vec).collect())
            }
            Self::Rule(rule) => Some(words_of(rule)),
        }
    }

    /// From such words, for entries with this upper half of their shapes; None when they mean
    /// nothing here.
    pub fn from_words(words: Words, decoding: u32) -> Option<Self> {
        if words.first().is_some_and(|first| first == RULE) {
            let mut rule = rule_of(words)?;
            rule.shapes = rule.shapes.map(|shape| shape | decoding);
            return Some(Self::Rule(rule));
        }
        let refs: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let shape = cacheable(&refs)?.shape | decoding;
        let mut args = Vec::new();
        encode_args(&refs, &mut args);
        Some(Self::Read(Hot { hits: 0, scope: 0, shape, key: refs[1].to_vec(), args }))
    }

    /// The upper half of its shapes; None where they differ.
    pub fn decoding(&self) -> Option<u32> {
        let upper = |shape: u32| shape & !SHAPE_MASK;
        match self {
            Self::Read(hot) => Some(upper(hot.shape)),
            Self::Rule(Learned { shapes: [source, target], .. }) => {
                (upper(*source) == upper(*target)).then(|| upper(*source))
            }
        }
    }
}

/// What is worth knowing of these links of one store, at most `count`, with the place of its link:
/// what was learned, the names most hit, and those of the last time that still wait to be read.
pub fn remembered<V: LinkValue>(
    store: &Store<V>,
    links: &[&Link<V>],
    count: usize,
) -> Vec<(usize, Remembered)> {
    let scopes: Vec<u32> = links.iter().map(|link| link.gate().scope()).collect();
    let place_of = |scope: u32| scopes.iter().position(|known| *known == scope);
    let each = || links.iter().enumerate();
    let rules = each().flat_map(|(place, link)| {
        link.learned(RULES_MAX).into_iter().map(move |rule| (place, Remembered::Rule(rule)))
    });
    let hottest =
        store.hottest(count.min(NAMES_MAX), NAME_BYTES_MAX, |scope| place_of(scope).is_some());
    let held =
        hottest.into_iter().filter_map(|hot| Some((place_of(hot.scope)?, Remembered::Read(hot))));
    let waiting = each().flat_map(|(place, link)| {
        link.waiting_names().into_iter().map(move |hot| (place, Remembered::Read(hot)))
    });
    rules.chain(held).chain(waiting).take(count).collect()
}

impl<V: LinkValue> Link<V> {
    /// Takes over what an earlier process knew: rules at once, reads in the background.
    pub fn remember(&self, known: Vec<Remembered>) {
        let (mut rules, mut names) = (Vec::new(), Vec::new());
        for each in known {
            match each {
                Remembered::Read(hot) => names.push(hot),
                Remembered::Rule(rule) => rules.push(rule),
            }
        }
        self.learn_again(&rules);
        self.read_again(names);
    }
}

/// A rule as the words of a command that no server has.
fn words_of(rule: Learned) -> Words {
    let Learned { shapes, templates: [source, target], bindings, precision } = rule;
    let [from, to] = shapes.map(|shape| command_name(shape).as_bytes().to_vec());
    let mut words = vec![RULE.to_vec(), from, source, to, target];
    words.push(format!("{precision:.2}").into_bytes());
    words.extend(bindings);
    words
}

fn rule_of(words: Words) -> Option<Learned> {
    let mut words = words.into_iter();
    let mut next = || words.next();
    let (_, from, source, to, target, precision) =
        (next()?, next()?, next()?, next()?, next()?, next()?);
    Some(Learned {
        shapes: [shape_named(&from)?, shape_named(&to)?],
        templates: [source, target],
        bindings: words.collect(),
        precision: std::str::from_utf8(&precision).ok()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Words {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_read_comes_back_for_whoever_decodes_it() {
        let said = words(&["HMGET", "h", "a", "b"]);
        let read = Remembered::from_words(said.clone(), 3 << 16).unwrap();
        assert_eq!(read.decoding(), Some(3 << 16));
        assert_eq!(read.words(), Some(said));
    }

    #[test]
    fn a_rule_comes_back() {
        let said = words(&["RULE", "GET", "s:\0h\0e", "HGETALL", "u:\0h\0e", "0.75", "fid"]);
        let rule = Remembered::from_words(said.clone(), 1 << 16).unwrap();
        assert_eq!(rule.decoding(), Some(1 << 16));
        assert_eq!(rule.words(), Some(said));
    }

    #[test]
    fn what_means_nothing_is_none() {
        for said in [&["SET", "k", "v"][..], &["GET"], &["RULE", "GET"], &["NOTHING", "k"], &[]] {
            assert_eq!(Remembered::from_words(words(said), 0), None, "{said:?}");
        }
    }
}
