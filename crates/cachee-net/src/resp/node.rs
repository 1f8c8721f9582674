//! Reading a whole frame in place.

use super::scan::{DEPTH_MAX, number};

/// One element of a frame. An aggregate only says how many elements follow; they come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node<'a> {
    /// A binary string.
    Bulk(&'a [u8]),
    /// A status line.
    Simple(&'a [u8]),
    /// An error's text, simple or bulk.
    Error(&'a [u8]),
    /// A signed integer.
    Integer(i64),
    /// A double, as the server wrote it.
    Double(&'a [u8]),
    /// A boolean.
    Boolean(bool),
    /// Null, in any of its three spellings.
    Null,
    /// An integer of any size, as the server wrote it.
    BigNumber(&'a [u8]),
    /// A string with a three-letter format before it.
    Verbatim {
        /// Such as `txt`.
        format: &'a [u8],
        /// The string itself.
        text: &'a [u8],
    },
    /// So many elements follow.
    Array(usize),
    /// So many pairs follow.
    Map(usize),
    /// So many elements follow.
    Set(usize),
    /// Out of band; so many elements follow.
    Push(usize),
}

/// What a header line begins: an element, or the elements of an attribute before one.
enum Item<'a> {
    Node(Node<'a>),
    Attribute(usize),
}

/// Walks a frame that the scanner found whole. On any other bytes it ends early; it never panics.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `frame`.
    pub fn new(frame: &'a [u8]) -> Self {
        Self { rest: frame }
    }

    /// Everything is read.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next element; attributes before it are passed over.
    #[allow(clippy::should_implement_trait)] // an iterator would invite combinators over a tree
    #[inline]
    pub fn next(&mut self) -> Option<Node<'a>> {
        loop {
            match self.item()? {
                Item::Node(node) => return Some(node),
                Item::Attribute(elements) => self.skip_elements(elements)?,
            }
        }
    }

    /// Passes over one element with everything in it.
    pub fn skip(&mut self) -> Option<()> {
        self.skip_elements(1)
    }

    /// Passes over one element and returns its bytes, those of attributes before it included.
    pub fn raw(&mut self) -> Option<&'a [u8]> {
        let before = self.rest;
        self.skip()?;
        Some(&before[..before.len() - self.rest.len()])
    }

    /// Not recursive: a reader of bytes that nobody scanned must not run out of stack.
    fn skip_elements(&mut self, elements: usize) -> Option<()> {
        let mut open = [0_usize; DEPTH_MAX + 2];
        open[0] = elements;
        let mut depth = 1;
        while depth > 0 {
            let level = &mut open[depth - 1];
            if *level == 0 {
                depth -= 1;
                continue;
            }
            *level -= 1;
            let elements = match self.item()? {
                Item::Attribute(elements) => elements.checked_add(1)?,
                Item::Node(Node::Array(count) | Node::Set(count) | Node::Push(count)) => count,
                Item::Node(Node::Map(pairs)) => pairs.checked_mul(2)?,
                Item::Node(_) => 0,
            };
            if elements > 0 {
                *open.get_mut(depth)? = elements;
                depth += 1;
            }
        }
        Some(())
    }

    #[inline]
    fn item(&mut self) -> Option<Item<'a>> {
        let (kind, line) = self.line()?;
        Some(Item::Node(match kind {
            b'$' | b'=' | b'!' => match non_negative(line)? {
                None => Node::Null,
                Some(length) => {
                    let payload = self.payload(length)?;
                    match kind {
                        b'$' => Node::Bulk(payload),
                        b'!' => Node::Error(payload),
                        _ => verbatim(payload),
                    }
                }
            },
            b'+' => Node::Simple(line),
            b'-' => Node::Error(line),
            b':' => Node::Integer(number(line)?),
            b',' => Node::Double(line),
            b'#' => Node::Boolean(line == b"t"),
            b'_' => Node::Null,
            b'(' => Node::BigNumber(line),
            b'*' => non_negative(line)?.map_or(Node::Null, Node::Array),
            b'%' => Node::Map(non_negative(line)??),
            b'~' => Node::Set(non_negative(line)??),
            b'>' => Node::Push(non_negative(line)??),
            b'|' => return Some(Item::Attribute(non_negative(line)??.checked_mul(2)?)),
            _ => return None,
        }))
    }

    /// The next element if it is a string of any kind.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        match self.next()? {
            Node::Bulk(text) | Node::Simple(text) | Node::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The next element if it is an integer.
    pub fn integer(&mut self) -> Option<i64> {
        match self.next()? {
            Node::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// The next element's number of elements, whether array, set or push.
    pub fn elements(&mut self) -> Option<usize> {
        match self.next()? {
            Node::Array(count) | Node::Set(count) | Node::Push(count) => Some(count),
            _ => None,
        }
    }

    #[inline]
    fn line(&mut self) -> Option<(u8, &'a [u8])> {
        let end = self.rest.iter().position(|&byte| byte == b'\n')?;
        let line = self.rest[..end].strip_suffix(b"\r")?;
        self.rest = &self.rest[end + 1..];
        line.split_first().map(|(&kind, text)| (kind, text))
    }

    #[inline]
    fn payload(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = length.checked_add(2)?;
        let whole = self.rest.get(..end)?;
        self.rest = &self.rest[end..];
        whole.strip_suffix(b"\r\n")
    }
}

/// The outer `None`: not a length. The inner one: RESP2's null.
#[allow(clippy::option_option)] // the two kinds of nothing are what it tells apart
#[inline]
fn non_negative(text: &[u8]) -> Option<Option<usize>> {
    match number(text)? {
        -1 => Some(None),
        length => usize::try_from(length).ok().map(Some),
    }
}

fn verbatim(payload: &[u8]) -> Node<'_> {
    match payload {
        [_, _, _, b':', ..] => Node::Verbatim { format: &payload[..3], text: &payload[4..] },
        _ => Node::Verbatim { format: b"", text: payload },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there() {
        let frame = b"|1\r\n+a\r\n+b\r\n*3\r\n%1\r\n+k\r\n,1.5\r\n=7\r\ntxt:abc\r\n_\r\n";
        let mut reader = Reader::new(frame);
        let expected = [
            Node::Array(3),
            Node::Map(1),
            Node::Simple(b"k"),
            Node::Double(b"1.5"),
            Node::Verbatim { format: b"txt", text: b"abc" },
            Node::Null,
        ];
        for node in expected {
            assert_eq!(reader.next(), Some(node));
        }
        assert!(reader.is_at_end());
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn an_element_is_had_as_bytes() {
        let mut reader = Reader::new(b"*2\r\n|1\r\n+a\r\n+b\r\n*1\r\n$-1\r\n:7\r\n");
        assert_eq!(reader.next(), Some(Node::Array(2)));
        assert_eq!(reader.raw(), Some(&b"|1\r\n+a\r\n+b\r\n*1\r\n$-1\r\n"[..]));
        assert_eq!(reader.raw(), Some(&b":7\r\n"[..]));
        assert_eq!(reader.raw(), None);
    }

    #[test]
    fn deep_attributes_do_not_recurse() {
        let mut reader = Reader::new(&[]);
        assert_eq!(reader.next(), None);
        let deep = b"|1\r\n".repeat(1_000_000);
        assert_eq!(Reader::new(&deep).next(), None);
    }
}
