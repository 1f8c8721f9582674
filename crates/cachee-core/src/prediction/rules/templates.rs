//! Keys are made by templates: `user:{}:cart`. Which one, and what is in its holes?
//!
//! A key is cut at what is neither letter nor digit. A piece with a digit in it is a hole; a word
//! with a number behind it (`user42`, `user_42`) is a text and a hole; a long word is a hole, being
//! nobody's name for anything. Words of letters alone are text, until so many different ones have
//! been seen in the same place that they must be names (`user:alice`); the first word of a key is
//! always text. Of a command with arguments each is cut like a key.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::FixedState;

use super::rule::{FLOOR, TRIALS_MIN};
use super::table::{Ref, Table};
use super::trials::Precision;
use crate::hash::KeyedHash;
use crate::store::EntryRef;

/// Longer names have no template.
const NAME_BYTES_MAX: usize = 512;
/// Holes of one template.
pub(super) const HOLES_MAX: usize = 8;
/// A word of letters that is so long is a name.
const LONG_WORD: usize = 20;
/// A word before a number.
const STEM_BYTES_MAX: usize = 16;
/// Words of one place, of 64 kinds, that make it a hole.
const KINDS_MAX: u32 = 48;
/// Places of one key where words are counted.
const PLACES_A_KEY: usize = 4;

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(Box<[u8]>),
    Hole,
    /// Here the key or an argument ends.
    End,
}

pub(super) struct Template {
    hash: u64,
    pub(super) shape: u32,
    pub(super) parts: Box<[Part]>,
    pub(super) holes: usize,
    /// Rules that begin here.
    pub(super) rules: Vec<Ref>,
    /// How often it was seen, and when last.
    pub(super) seen: u64,
    latest: u64,
    /// A key of it from some time ago, and how often such a one comes again in time.
    pub(super) drawn: Option<Drawn>,
    pub(super) by_chance: Precision,
    /// How often what was sent ahead of it was here when it was asked for: it may be refused, or
    /// live too shortly, however right the prediction was.
    pub(super) of_use: Precision,
}

impl Template {
    /// What was sent ahead of it was there when it was asked for, or nobody knows yet.
    pub(super) fn is_of_use(&self) -> bool {
        self.of_use.trials < TRIALS_MIN || self.of_use.value >= FLOOR
    }

    /// The key and the encoded arguments, with these in the holes.
    pub(super) fn fill(&self, holes: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut args) = (None, Vec::new());
        let (mut word, mut next) = (Vec::new(), holes.iter());
        for part in &self.parts {
            match part {
                Part::Text(text) => word.extend_from_slice(text),
                Part::Hole => word.extend_from_slice(next.next().copied().unwrap_or_default()),
                Part::End if key.is_none() => key = Some(std::mem::take(&mut word)),
                Part::End => {
                    args.extend_from_slice(&(word.len() as u32).to_le_bytes());
                    args.append(&mut word);
                }
            }
        }
        (key.unwrap_or_default(), args)
    }
}

/// A key that nothing speaks for.
pub(super) struct Drawn {
    pub(super) code: u64,
    pub(super) key: Box<[u8]>,
    pub(super) args: Box<[u8]>,
    pub(super) key_hash: u64,
}

/// The words seen in one place, one bit a kind.
#[derive(Clone, Copy, Default)]
struct Kinds {
    place: u64,
    seen: u64,
}

pub(super) struct Templates {
    hash: KeyedHash,
    table: Table<Template>,
    by_hash: HashMap<u64, Ref, FixedState>,
    /// By what stands before it.
    kinds: Vec<Kinds>,
    /// Rules of templates that have gone.
    pub(super) orphans: Vec<Ref>,
}

/// Which template a name has.
pub(super) struct Recognised<'a> {
    pub(super) template: Ref,
    pub(super) holes: Vec<&'a [u8]>,
}

enum Piece<'a> {
    Text(&'a [u8]),
    Hole(&'a [u8]),
    End,
}

fn words<'a>(id: &EntryRef<'a>) -> impl Iterator<Item = &'a [u8]> {
    let mut args = id.args;
    let rest = std::iter::from_fn(move || {
        let (len, rest) = args.split_first_chunk::<4>()?;
        let (arg, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        args = rest;
        Some(arg)
    });
    std::iter::once(id.key).chain(rest)
}

fn is_of_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || !byte.is_ascii()
}

/// The holes in a piece between two separators; none in a word.
fn holes_of(piece: &[u8]) -> Vec<Range<usize>> {
    let is_joint = |byte: &u8| matches!(byte, b'_' | b'-');
    let is_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let has_digit = |part: &[u8]| part.iter().any(u8::is_ascii_digit);
    if !has_digit(piece) {
        let is_name = piece.len() >= LONG_WORD && !piece.iter().any(is_joint);
        return is_name.then_some(0..piece.len()).into_iter().collect();
    }
    let mut parts = piece.split(is_joint);
    if parts.all(|part| !part.is_empty() && (is_digits(part) || !has_digit(part))) {
        let mut from = 0;
        let ranges = piece.split(is_joint).filter_map(|part| {
            let range = from..from + part.len();
            from = range.end + 1;
            is_digits(part).then_some(range)
        });
        return ranges.collect();
    }
    let stem = piece.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let has_stem = (1..=STEM_BYTES_MAX).contains(&stem) && is_digits(&piece[stem..]);
    let hole = if has_stem { stem } else { 0 }..piece.len();
    std::iter::once(hole).collect()
}

impl Templates {
    pub(super) fn new(limit: usize, hash: KeyedHash) -> Self {
        Self {
            hash,
            table: Table::new(limit),
            by_hash: HashMap::default(),
            // Four places a template.
            kinds: vec![Kinds::default(); 4 * limit],
            orphans: Vec::new(),
        }
    }

    pub(super) fn get(&self, at: Ref) -> Option<&Template> {
        self.table.get(at)
    }

    pub(super) fn get_mut(&mut self, at: Ref) -> Option<&mut Template> {
        self.table.get_mut(at)
    }

    pub(super) fn by_short(&self, short: u16) -> Option<&Template> {
        self.table.by_short(short)
    }

    pub(super) fn bytes(&self) -> usize {
        let texts = self.table.iter().map(|(_, template)| 24 * template.parts.len() + 64);
        let kinds = size_of_val(self.kinds.as_slice());
        self.table.bytes() + texts.sum::<usize>() + 32 * self.by_hash.len() + kinds
    }

    /// The template of a name, a new one if need be. None of a name that is too long or has too
    /// many holes.
    pub(super) fn recognise<'a>(&mut self, id: &EntryRef<'a>, now: u64) -> Option<Recognised<'a>> {
        let (pieces, hash) = self.cut(id)?;
        let holes: Vec<&[u8]> = pieces
            .iter()
            .filter_map(|piece| if let Piece::Hole(text) = piece { Some(*text) } else { None })
            .collect();
        if holes.len() > HOLES_MAX {
            return None;
        }
        if let Some(&template) = self.by_hash.get(&hash) {
            let known = self.table.get_mut(template)?;
            (known.seen, known.latest) = (known.seen + 1, now);
            // Two templates of one hash: the second one has none.
            let is_it = known.shape == id.shape && known.holes == holes.len();
            return is_it.then_some(Recognised { template, holes });
        }
        let parts = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => Part::Text((*text).into()),
            Piece::Hole(_) => Part::Hole,
            Piece::End => Part::End,
        });
        let template = self.insert(hash, id.shape, parts.collect(), holes.len(), now)?;
        Some(Recognised { template, holes })
    }

    /// The template of these parts, a new one if need be.
    pub(super) fn known(&mut self, shape: u32, parts: Vec<Part>) -> Option<Ref> {
        let mut hash = self.hash.number(u64::from(shape));
        let mut pieces = Vec::new();
        for part in &parts {
            let piece = match part {
                Part::Text(text) => Piece::Text(text),
                Part::Hole => Piece::Hole(b""),
                Part::End => Piece::End,
            };
            hash = self.add(hash, &mut pieces, piece);
        }
        let holes = parts.iter().filter(|part| **part == Part::Hole).count();
        if holes > HOLES_MAX {
            return None;
        }
        if let Some(&known) = self.by_hash.get(&hash) {
            let template = self.table.get(known)?;
            return (template.shape == shape && template.holes == holes).then_some(known);
        }
        self.insert(hash, shape, parts.into(), holes, 0)
    }

    fn insert(
        &mut self,
        hash: u64,
        shape: u32,
        parts: Box<[Part]>,
        holes: usize,
        now: u64,
    ) -> Option<Ref> {
        self.make_room();
        let template = self.table.insert(Template {
            hash,
            shape,
            parts,
            holes,
            rules: Vec::new(),
            seen: 1,
            latest: now,
            drawn: None,
            by_chance: Precision::default(),
            of_use: Precision::default(),
        })?;
        self.by_hash.insert(hash, template);
        Some(template)
    }

    fn make_room(&mut self) {
        if !self.table.is_full() {
            return;
        }
        let oldest = self.table.least(|template| Some(template.latest));
        if let Some(evicted) = oldest.and_then(|oldest| self.table.remove(oldest)) {
            self.by_hash.remove(&evicted.hash);
            self.orphans.extend(evicted.rules);
        }
    }

    /// The pieces of a name, and the hash of its template.
    fn cut<'a>(&mut self, id: &EntryRef<'a>) -> Option<(Vec<Piece<'a>>, u64)> {
        if id.key.len() + id.args.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut pieces = Vec::with_capacity(8);
        let mut places = 0;
        let mut hash = self.hash.number(u64::from(id.shape));
        for (nth, word) in words(id).enumerate() {
            let mut from = 0;
            let mut at = 0;
            while at < word.len() {
                let length = word[at..].iter().take_while(|byte| is_of_word(byte)).count();
                let piece = at..at + length;
                let mut holes = holes_of(&word[piece.clone()]);
                let may_be_name = length > 0 && (nth > 0 || at > 0) && places < PLACES_A_KEY;
                if holes.is_empty() && may_be_name {
                    places += 1;
                    // What stands before it, its own separator included.
                    let place = hash ^ self.hash.bytes(&word[from..at]);
                    if self.is_name(place, &word[piece.clone()]) {
                        holes.push(0..length);
                    }
                }
                for hole in holes {
                    let hole = at + hole.start..at + hole.end;
                    hash = self.add(hash, &mut pieces, Piece::Text(&word[from..hole.start]));
                    hash = self.add(hash, &mut pieces, Piece::Hole(&word[hole.clone()]));
                    from = hole.end;
                }
                at = piece.end + 1;
            }
            hash = self.add(hash, &mut pieces, Piece::Text(&word[from..]));
            hash = self.add(hash, &mut pieces, Piece::End);
        }
        Some((pieces, hash))
    }

    fn add<'a>(&self, hash: u64, pieces: &mut Vec<Piece<'a>>, piece: Piece<'a>) -> u64 {
        let of_piece = match piece {
            Piece::Text([]) => return hash,
            Piece::Text(text) => self.hash.bytes(text),
            Piece::Hole(_) => 1,
            Piece::End => 2,
        };
        pieces.push(piece);
        self.hash.number(hash.rotate_left(5) ^ of_piece)
    }

    /// Counts a word of letters in its place; true where there are too many to be templates. Where
    /// two places share one record, the one with fewer kinds gives way.
    fn is_name(&mut self, place: u64, word: &[u8]) -> bool {
        let kind = 1 << (self.hash.bytes(word) >> 58);
        let records = self.kinds.len() as u64;
        let record = &mut self.kinds[(((place >> 32) * records) >> 32) as usize];
        if record.place != place {
            // One kind fewer.
            record.seen &= record.seen.wrapping_sub(1);
            if record.seen != 0 {
                return false;
            }
            record.place = place;
        }
        record.seen |= kind;
        record.seen.count_ones() >= KINDS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates() -> Templates {
        Templates::new(64, KeyedHash::new(1))
    }

    fn entry<'a>(key: &'a [u8], args: &'a [u8]) -> EntryRef<'a> {
        EntryRef { scope: 0, shape: 1, key, args, key_hash: 0 }
    }

    fn shown(templates: &mut Templates, key: &str) -> (String, Vec<String>) {
        let found = templates.recognise(&entry(key.as_bytes(), b""), 0).expect("a template");
        let holes = found.holes.iter().map(|hole| String::from_utf8_lossy(hole).into_owned());
        let template = templates.get(found.template).expect("held");
        let text = template.parts.iter().map(|part| match part {
            Part::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Part::Hole => "{}".to_owned(),
            Part::End => String::new(),
        });
        (text.collect(), holes.collect())
    }

    #[test]
    fn a_key_is_cut_into_text_and_holes() {
        for (key, template, holes) in [
            ("user:42:cart", "user:{}:cart", &["42"][..]),
            ("user:42", "user:{}", &["42"]),
            ("user42", "user{}", &["42"]),
            ("user_42_cart", "user_{}_cart", &["42"]),
            ("v2/users/7/orders/9", "v{}/users/{}/orders/{}", &["2", "7", "9"]),
            ("day:2024-01-31", "day:{}-{}-{}", &["2024", "01", "31"]),
            ("session:9f3a-77b1", "session:{}", &["9f3a-77b1"]),
            (
                "s:550e8400-e29b-41d4-a716-446655440000",
                "s:{}",
                &["550e8400-e29b-41d4-a716-446655440000"],
            ),
            ("{tenant7}:conf", "{tenant{}}:conf", &["7"]),
            ("flags", "flags", &[]),
            ("", "", &[]),
            ("a::1", "a::{}", &["1"]),
            ("sid:qwertzuiopasdfghjklyx", "sid:{}", &["qwertzuiopasdfghjklyx"]),
        ] {
            let (text, found) = shown(&mut templates(), key);
            assert_eq!(
                (text.as_str(), found),
                (template, holes.iter().map(|hole| (*hole).to_owned()).collect()),
                "{key}"
            );
        }
    }

    #[test]
    fn many_words_in_one_place_are_names() {
        let mut templates = templates();
        let name = |number: usize| -> String {
            [number / 676, number / 26, number]
                .map(|at| (b'a' + (at % 26) as u8) as char)
                .iter()
                .collect()
        };
        assert_eq!(shown(&mut templates, "user:abc:cart").0, "user:abc:cart");
        for number in 0..400 {
            shown(&mut templates, &format!("user:{}:cart", name(number)));
        }
        assert_eq!(
            shown(&mut templates, "user:xyz:cart"),
            ("user:{}:cart".into(), vec!["xyz".into()])
        );
        assert_eq!(shown(&mut templates, "order:abc:cart").0, "order:abc:cart");
    }

    #[test]
    fn what_was_cut_is_filled_again() {
        let mut templates = templates();
        let args = [&2u32.to_le_bytes()[..], b"f1", &1u32.to_le_bytes(), b"x"].concat();
        let id = entry(b"user:42:prefs", &args);
        let found = templates.recognise(&id, 0).expect("a template");
        let template = templates.get(found.template).expect("held");
        assert_eq!(template.fill(&found.holes), (b"user:42:prefs".to_vec(), args.clone()));
        assert_eq!(template.fill(&[b"7", b"2"]).0, b"user:7:prefs");
        let again = templates.recognise(&id, 0).expect("a template");
        assert_eq!(again.template, found.template);
    }

    #[test]
    fn the_longest_unseen_goes_and_there_is_room_for_every_new_one() {
        let mut templates = Templates::new(3, KeyedHash::new(1));
        for (now, key) in [b"a:1", b"b:1", b"c:1", b"a:2"].into_iter().enumerate() {
            templates.recognise(&entry(key, b""), now as u64).expect("one");
        }
        let seen = |templates: &mut Templates, key: &[u8]| {
            let found = templates.recognise(&entry(key, b""), 9).expect("a template");
            templates.get(found.template).expect("held").seen
        };
        assert_eq!(seen(&mut templates, b"d:1"), 1);
        assert_eq!(seen(&mut templates, b"a:3"), 3, "b went");
        for number in 0..1_000 {
            let word = [
                b'a' + (number / 100) as u8,
                b'k' + (number / 10 % 10) as u8,
                b'a' + (number % 10) as u8,
            ];
            assert_eq!(seen(&mut templates, &[&word[..], b":z"].concat()), 1);
        }
    }

    #[test]
    fn a_long_key_does_not_make_the_others_forgotten() {
        let mut templates = templates();
        let name = |number: usize| -> String {
            [676, 26, 1].map(|part| (b'a' + (number / part % 26) as u8) as char).iter().collect()
        };
        for number in 0..400 {
            shown(&mut templates, &format!("user:{}:cart", name(number)));
        }
        for number in 0..20 {
            shown(&mut templates, &format!("{}{number}", "a:".repeat(240)));
        }
        assert_eq!(shown(&mut templates, "user:xyz:cart").0, "user:{}:cart");
    }

    proptest::proptest! {
        #[test]
        fn any_name_comes_back(key: Vec<u8>, args in proptest::collection::vec("[a-z0-9:_-]{0,9}", 0..4)) {
            let mut encoded = Vec::new();
            for arg in &args {
                encoded.extend_from_slice(&(arg.len() as u32).to_le_bytes());
                encoded.extend_from_slice(arg.as_bytes());
            }
            let mut templates = templates();
            if let Some(found) = templates.recognise(&entry(&key, &encoded), 0) {
                let template = templates.get(found.template).expect("held");
                proptest::prop_assert_eq!(template.fill(&found.holes), (key.clone(), encoded));
            }
        }
    }
}
