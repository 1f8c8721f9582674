//! What outlives a process: the names of hot reads and the rules between templates, as the words of
//! commands. Never a value, which nobody would invalidate in a file.

use cachee_core::{Hot, Learned, Store};

use crate::cacheable::{
    SHAPE_MASK, cacheable, command_name, decode_words, encode_args, shape_named,
};
use crate::link::{Link, LinkValue, NAME_BYTES_MAX, NAMES_MAX};

/// In the place of a command: a rule.
const RULE: &[u8] = b"RULE";
/// The same: one read that followed another, and how many words the first has.
const THEN: &[u8] = b"THEN";
/// Rules kept of one link.
const RULES_MAX: usize = 128;
/// The part of the names that may be pairs of such reads.
const ORDER_PART: usize = 4;

/// Name, key, other arguments.
pub type Words = Vec<Vec<u8>>;

/// Something worth knowing in the next process.
#[derive(Clone, Debug, PartialEq)]
pub enum Remembered {
    /// A read that was answered often.
    Read(Hot),
    /// Which key leads to which.
    Rule(Learned),
    /// A read, and the one that followed it more than once.
    Order([Hot; 2]),
}

fn words_of_read(hot: &Hot) -> Option<Words> {
    let words = decode_words(hot.shape, &hot.key, &hot.args)?;
    Some(words.into_iter().map(<[u8]>::to_vec).collect())
}

fn read_of_words(words: &[Vec<u8>], decoding: u32) -> Option<Hot> {
    let refs: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let shape = cacheable(&refs)?.shape | decoding;
    let mut args = Vec::new();
    encode_args(&refs, &mut args);
    Some(Hot { hits: 0, scope: 0, shape, key: refs[1].to_vec(), args })
}

impl Remembered {
    /// As words that mean the same in any build; None of what cannot be said in words. The upper
    /// half of its shapes is not part of them.
    pub fn words(self) -> Option<Words> {
        match self {
            Self::Read(hot) => words_of_read(&hot),
            Self::Rule(rule) => Some(words_of_rule(rule)),
            Self::Order([before, next]) => {
                let before = words_of_read(&before)?;
                let head = [THEN.to_vec(), before.len().to_string().into_bytes()];
                Some([&head[..], &before, &words_of_read(&next)?].concat())
            }
        }
    }

    /// From such words, for entries with this upper half of their shapes; None when they mean
    /// nothing here.
    pub fn from_words(words: Words, decoding: u32) -> Option<Self> {
        match words.first().map(Vec::as_slice) {
            Some(RULE) => {
                let mut rule = rule_of_words(words)?;
                rule.shapes = rule.shapes.map(|shape| shape | decoding);
                Some(Self::Rule(rule))
            }
            Some(THEN) => {
                let length = std::str::from_utf8(words.get(1)?).ok()?.parse().ok()?;
                let (before, next) = words.get(2..)?.split_at_checked(length)?;
                Some(Self::Order([
                    read_of_words(before, decoding)?,
                    read_of_words(next, decoding)?,
                ]))
            }
            _ => read_of_words(&words, decoding).map(Self::Read),
        }
    }

    /// The upper half of its shapes; None where they differ.
    pub fn decoding(&self) -> Option<u32> {
        let upper = |shape: u32| shape & !SHAPE_MASK;
        let same = |[one, other]: [u32; 2]| (upper(one) == upper(other)).then(|| upper(one));
        match self {
            Self::Read(hot) => Some(upper(hot.shape)),
            Self::Rule(rule) => same(rule.shapes),
            Self::Order([before, next]) => same([before.shape, next.shape]),
        }
    }

    /// What may be cached is worth knowing; `admits` says of which key.
    pub fn is_admitted(&self, admits: impl Fn(&[u8]) -> bool) -> bool {
        match self {
            Self::Read(hot) => admits(&hot.key),
            Self::Rule(_) => true,
            Self::Order(pair) => pair.iter().all(|hot| admits(&hot.key)),
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
    let order = each().flat_map(|(place, link)| {
        let pairs = link.order(count / ORDER_PART / links.len().max(1));
        pairs.into_iter().map(move |pair| (place, Remembered::Order(pair)))
    });
    rules.chain(order).chain(held).chain(waiting).take(count).collect()
}

impl<V: LinkValue> Link<V> {
    /// Takes over what an earlier process knew: rules at once, reads in the background.
    pub fn remember(&self, known: Vec<Remembered>) {
        let (mut rules, mut names, mut order) = (Vec::new(), Vec::new(), Vec::new());
        for each in known {
            match each {
                Remembered::Read(hot) => names.push(hot),
                Remembered::Rule(rule) => rules.push(rule),
                Remembered::Order(pair) => order.push(pair),
            }
        }
        self.learn_again(&rules);
        self.learn_order(&order);
        self.read_again(names);
    }
}

/// A rule as the words of a command that no server has.
fn words_of_rule(rule: Learned) -> Words {
    let Learned { shapes, templates: [source, target], bindings, precision } = rule;
    let [from, to] = shapes.map(|shape| command_name(shape).as_bytes().to_vec());
    let mut words = vec![RULE.to_vec(), from, source, to, target];
    words.push(format!("{precision:.2}").into_bytes());
    words.extend(bindings);
    words
}

fn rule_of_words(words: Words) -> Option<Learned> {
    let mut words = words.into_iter();
    let mut next = || words.next();
    let (_, from, source, to, target, precision) =
        (next()?, next()?, next()?, next()?, next()?, next()?);
    Some(Learned {
        shapes: [shape_named(&from)?, shape_named(&to)?],
        templates: [source, target],
        bindings: words.collect(),
        precision: std::str::from_utf8(&precision)
            .ok()?
            .parse()
            .ok()
            .filter(|part| (0.0..=1.0).contains(part))?,
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
    fn a_read_and_what_followed_it_come_back() {
        let said = words(&["THEN", "3", "HGET", "h", "f", "GET", "k"]);
        let order = Remembered::from_words(said.clone(), 1 << 16).unwrap();
        assert_eq!(order.decoding(), Some(1 << 16));
        assert!(order.is_admitted(|_| true) && !order.is_admitted(|key| key == b"h"));
        assert_eq!(order.words(), Some(said));
    }

    #[test]
    fn what_means_nothing_is_none() {
        for said in [&["SET", "k", "v"][..], &["GET"], &["RULE", "GET"], &["NOTHING", "k"], &[]]
            .into_iter()
            .chain([&["RULE", "GET", "s:\0h\0e", "GET", "u:\0h\0e", "nan", "h0"][..]])
            .chain([&["THEN"][..], &["THEN", "x", "GET", "k"], &["THEN", "9", "GET", "k"]])
        {
            assert_eq!(Remembered::from_words(words(said), 0), None, "{said:?}");
        }
    }
}
