//! Which keys may be cached: what `include`, `exclude` and `overrides` say of one.
//!
//! The globs are the server's own (`KEYS`, ACL patterns): `*` any bytes, `?` one byte, `[abc]` and
//! `[a-z]` one of, `[^a]` none of, `\` takes the next character as it is, between brackets too; a
//! `[` that is not closed goes on to the end. Keys are matched as bytes, in full.
//!
//! A `*` takes the nearest place where what follows it fits, for good: the next `*` can make up
//! for anything, so going back never helps, and a pattern of many stars costs what its longest
//! piece does.

/// Decides whether a key may be cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    is_all: bool,
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    /// Longest first: the closest one decides.
    overrides: Vec<(Box<[u8]>, bool)>,
}

impl Default for Admission {
    /// Every key.
    fn default() -> Self {
        Self::new(&["*"], &[] as &[&str], &[] as &[(&str, bool)])
    }
}

impl Admission {
    /// Keys that match a glob of `include` and none of `exclude`; those that begin with a prefix
    /// of `overrides` are decided by it alone: the longest, of equals the first.
    pub fn new(
        include: &[impl AsRef<[u8]>],
        exclude: &[impl AsRef<[u8]>],
        overrides: &[(impl AsRef<[u8]>, bool)],
    ) -> Self {
        let mut overrides: Vec<(Box<[u8]>, bool)> =
            overrides.iter().map(|(prefix, is_on)| (prefix.as_ref().into(), *is_on)).collect();
        overrides.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self {
            is_all: include.iter().any(|glob| glob.as_ref() == b"*")
                && exclude.is_empty()
                && overrides.is_empty(),
            include: include.iter().map(|glob| Glob::new(glob.as_ref())).collect(),
            exclude: exclude.iter().map(|glob| Glob::new(glob.as_ref())).collect(),
            overrides,
        }
    }

    /// Nothing needs to be asked.
    #[inline]
    pub fn is_all(&self) -> bool {
        self.is_all
    }

    /// May this key be cached?
    #[inline]
    pub fn admits(&self, key: &[u8]) -> bool {
        self.is_all || self.decides(key)
    }

    fn decides(&self, key: &[u8]) -> bool {
        if let Some((_, is_on)) = self.overrides.iter().find(|(prefix, _)| key.starts_with(prefix))
        {
            return *is_on;
        }
        self.include.iter().any(|glob| glob.matches(key))
            && !self.exclude.iter().any(|glob| glob.matches(key))
    }
}

/// One pattern: what is before, between and behind its stars.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob {
    first: Piece,
    /// Not empty, each.
    middle: Vec<Piece>,
    /// `None`: there is no star.
    last: Option<Piece>,
}

impl Glob {
    fn new(pattern: &[u8]) -> Self {
        let mut pieces = between_stars(pattern);
        let last = if pieces.len() > 1 { pieces.pop() } else { None };
        let first = pieces.remove(0);
        pieces.retain(|piece| !piece.0.is_empty());
        Self { first, middle: pieces, last }
    }

    fn matches(&self, key: &[u8]) -> bool {
        let Some(mut rest) = self.first.strip_from(key) else { return false };
        let Some(last) = &self.last else { return rest.is_empty() };
        for piece in &self.middle {
            let found = (0..rest.len()).find_map(|start| piece.strip_from(&rest[start..]));
            let Some(behind) = found else { return false };
            rest = behind;
        }
        let end = rest.len().checked_sub(last.0.len());
        end.is_some_and(|start| last.strip_from(&rest[start..]).is_some())
    }
}

/// One unit for each byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Piece(Vec<Unit>);

impl Piece {
    /// What is behind it when `text` begins with it.
    fn strip_from<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (head, rest) = text.split_at_checked(self.0.len())?;
        self.0.iter().zip(head).all(|(unit, &byte)| unit.takes(byte)).then_some(rest)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Unit {
    Byte(u8),
    Any,
    /// A bit for each byte.
    Class(Box<[u64; 4]>),
}

impl Unit {
    #[inline]
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::Any => true,
            Self::Class(bits) => bits[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1,
        }
    }

    /// What is behind a `[`, and the rest of the pattern.
    fn class(behind: &[u8]) -> (Self, &[u8]) {
        let (is_negated, mut members) = match behind {
            [b'^', members @ ..] => (true, members),
            _ => (false, behind),
        };
        let mut bits = Box::new([0_u64; 4]);
        let mut add = |from: u8, to: u8| {
            for byte in from.min(to)..=from.max(to) {
                bits[usize::from(byte >> 6)] |= 1 << (byte & 63);
            }
        };
        let rest = loop {
            members = match *members {
                [] => break members,
                [b']', ref rest @ ..] => break rest,
                [b'\\', one, ref rest @ ..] => {
                    add(one, one);
                    rest
                }
                [from, b'-', to, ref rest @ ..] => {
                    add(from, to);
                    rest
                }
                [one, ref rest @ ..] => {
                    add(one, one);
                    rest
                }
            };
        };
        if is_negated {
            bits.iter_mut().for_each(|word| *word = !*word);
        }
        (Self::Class(bits), rest)
    }
}

/// One piece more than there are stars.
fn between_stars(pattern: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut piece = Piece::default();
    let mut rest = pattern;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        piece.0.push(match (byte, behind) {
            (b'*', _) => {
                pieces.push(std::mem::take(&mut piece));
                continue;
            }
            (b'?', _) => Unit::Any,
            (b'\\', &[escaped, ref behind @ ..]) => {
                rest = behind;
                Unit::Byte(escaped)
            }
            (b'[', _) => {
                let (class, behind) = Unit::class(behind);
                rest = behind;
                class
            }
            _ => Unit::Byte(byte),
        });
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(include: &[&str], exclude: &[&str], overrides: &[(&str, bool)]) -> Admission {
        Admission::new(include, exclude, overrides)
    }

    /// The definition, without regard to cost.
    fn matches_plainly(pattern: &[u8], key: &[u8]) -> bool {
        match pattern {
            [] => key.is_empty(),
            [b'*', rest @ ..] => (0..=key.len()).any(|cut| matches_plainly(rest, &key[cut..])),
            [one, rest @ ..] => {
                key.first().is_some_and(|byte| matches!(one, b'?') || one == byte)
                    && matches_plainly(rest, &key[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn stars_and_question_marks(pattern in "[ab*?]{0,8}", key in "[ab]{0,8}") {
            let expected = matches_plainly(pattern.as_bytes(), key.as_bytes());
            prop_assert_eq!(of(&[&pattern], &[], &[]).admits(key.as_bytes()), expected);
        }

        #[test]
        fn one_of_many(patterns in prop::collection::vec("[ab*]{1,5}", 0..4), key in "[ab]{0,6}") {
            let expected = patterns.iter().any(|one| matches_plainly(one.as_bytes(), key.as_bytes()));
            let admission = Admission::new(&patterns, &[] as &[&str], &[] as &[(&str, bool)]);
            prop_assert_eq!(admission.admits(key.as_bytes()), expected);
        }

        #[test]
        fn any_pattern_is_one(
            pattern in prop::collection::vec(any::<u8>(), 0..20), key in "[ab]{0,6}",
        ) {
            let admission = Admission::new(&[pattern], &[] as &[&str], &[] as &[(&str, bool)]);
            admission.admits(key.as_bytes());
        }
    }

    #[test]
    fn classes_and_escapes() {
        let globs = of(&["flag:[ab]", "n[^0-9]", r"star\*", "open[xy"], &[], &[]);
        for (key, expected) in [
            ("flag:a", true),
            ("flag:c", false),
            ("nx", true),
            ("n1", false),
            ("star*", true),
            ("starx", false),
            ("openy", true),
            ("open[x", false),
        ] {
            assert_eq!(globs.admits(key.as_bytes()), expected, "{key}");
        }
        for (glob, yes, no) in [
            ("[a-c", "abc", "d-"),
            ("[a-]", "]^_`a", "-"),
            ("[--/]", "-./", "a"),
            ("[z-a]", "amz", "A"),
            ("[a-cx-z]", "bcxy", "dw-"),
            ("[!^]", "!^", "a"),
            ("[^]", "a^]", ""),
            ("[^", "a^]", ""),
            ("[]", "", "[]"),
            ("[", "", "["),
            (r"[\]a]", "]a", r"\"),
            (r"[a\-z]", "a-z", "m"),
            ("?", "a\n\0", ""),
        ] {
            let glob_of = of(&[glob], &[], &[]);
            assert!(yes.bytes().all(|byte| glob_of.admits(&[byte])), "{glob}");
            assert!(!no.bytes().any(|byte| glob_of.admits(&[byte])), "{glob}");
        }
        assert!(of(&["a\\"], &[], &[]).admits(b"a\\"));
        assert!(of(&[""], &[], &[]).admits(b""));
        assert!(of(&["\u{e9}*"], &[], &[]).admits(b"\xc3\xa9\xff"));
    }

    /// With going back this would not end before the sun does.
    #[test]
    fn many_stars_end() {
        assert!(!of(&[&("a*".repeat(50) + "b")], &[], &[]).admits(&b"a".repeat(5_000)));
    }

    #[test]
    fn exclusions_and_overrides() {
        let keys = of(
            &["user:*", "flag:*"],
            &["*:tmp"],
            &[("user:1", false), ("user:12", true), ("flag:x:tmp", true), ("user:1", true)],
        );
        for (key, expected) in [
            ("user:2", true),
            ("other", false),
            ("user:2:tmp", false),
            ("user:1", false),
            ("user:13", false),
            ("user:12", true),
            ("user:12:tmp", true),
            ("flag:x:tmp", true),
        ] {
            assert_eq!(keys.admits(key.as_bytes()), expected, "{key}");
        }
        assert!(!keys.is_all());
        assert!(Admission::default().is_all() && Admission::default().admits(b"any"));
        assert!(of(&["a", "*"], &[], &[]).is_all());
        assert!(!of(&["*"], &["x"], &[]).is_all());
        assert!(!of(&[], &[], &[]).admits(b"any"));
    }
}
