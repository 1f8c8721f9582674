//! What a reply says that a key may be made of: the scalars of JSON, MessagePack, hashes and lists.

use std::fmt;

use cachee_core::Fields;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::resp::{Node, Reader};

/// Longer values are not looked at.
const VALUE_BYTES_MAX: usize = 8 << 10;
/// Deeper ones to this depth only.
const DEPTH_MAX: usize = 6;

/// Adds the scalars of a reply, each under the name of its place.
pub(crate) fn add_fields(frame: &[u8], fields: &mut Fields) {
    if frame.len() > VALUE_BYTES_MAX {
        return;
    }
    let mut reader = Reader::new(frame);
    add_node(&mut reader, "", 0, fields);
}

/// One element of a reply; None when there is no more.
fn add_node(reader: &mut Reader<'_>, name: &str, depth: usize, fields: &mut Fields) -> Option<()> {
    if depth > DEPTH_MAX || fields.is_full() {
        return None;
    }
    match reader.next()? {
        Node::Bulk(text) | Node::Verbatim { text, .. } => add_text(text, name, fields),
        Node::Integer(number) => fields.push(name, number.to_string().as_bytes()),
        Node::Array(count) | Node::Set(count) => {
            let name = format!("{name}[]");
            for _ in 0..count {
                add_node(reader, &name, depth + 1, fields)?;
            }
        }
        Node::Map(pairs) => {
            for _ in 0..pairs {
                let Node::Bulk(field) = reader.next()? else { return None };
                let field = String::from_utf8_lossy(field);
                add_node(reader, &joined(name, &field), depth + 1, fields)?;
            }
        }
        _ => {}
    }
    Some(())
}

fn joined(name: &str, field: &str) -> String {
    if name.is_empty() { field.to_owned() } else { format!("{name}.{field}") }
}

/// A string: JSON, MessagePack, or what it is.
fn add_text(text: &[u8], name: &str, fields: &mut Fields) {
    let first = text.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    let mut place = Place { name: name.to_owned(), depth: 0, fields };
    match first {
        Some(b'{' | b'[') => {
            let mut json = serde_json::Deserializer::from_slice(text);
            // What was understood before an error stands; the rest is nobody's.
            let _ = place.deserialize(&mut json);
        }
        // Maps and arrays of MessagePack; no text begins so.
        Some(0x80..=0x9f | 0xdc..=0xdf) => {
            let mut packed = rmp_serde::Deserializer::from_read_ref(text);
            let _ = place.deserialize(&mut packed);
        }
        _ => place.push(text),
    }
}

/// Where in a document the reading is.
struct Place<'f> {
    name: String,
    depth: usize,
    fields: &'f mut Fields,
}

impl Place<'_> {
    fn push(&mut self, text: &[u8]) {
        self.fields.push(&self.name, text);
    }

    /// The same place with more of a name.
    fn within<E: Error, R>(
        &mut self,
        more: &str,
        act: impl FnOnce(&mut Place<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        if self.depth >= DEPTH_MAX || self.fields.is_full() {
            return Err(E::custom("enough"));
        }
        let length = self.name.len();
        if length > 0 && more != "[]" {
            self.name.push('.');
        }
        self.name.push_str(more);
        self.depth += 1;
        let result = act(self);
        self.depth -= 1;
        self.name.truncate(length);
        result
    }
}

impl<'de> DeserializeSeed<'de> for &mut Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A map's key as text.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        Ok(name.to_owned())
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    fn visit_i64<E: Error>(self, name: i64) -> Result<String, E> {
        Ok(name.to_string())
    }

    fn visit_u64<E: Error>(self, name: u64) -> Result<String, E> {
        Ok(name.to_string())
    }
}

impl<'de> Visitor<'de> for &mut Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.push(number.to_string().as_bytes());
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.push(number.to_string().as_bytes());
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.push(text.as_bytes());
        Ok(())
    }

    fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<(), E> {
        self.push(text);
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        // A MessagePack extension: a time, or something else's own.
        inner.deserialize_ignored_any(serde::de::IgnoredAny).map(|_| ())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while self.within("[]", |place| elements.next_element_seed(place))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        while let Some(name) = pairs.next_key_seed(Name)? {
            self.within(&name, |place| pairs.next_value_seed(place))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(frame: &[u8]) -> Vec<String> {
        let mut fields = Fields::default();
        add_fields(frame, &mut fields);
        fields.texts().map(|(name, text)| format!("{name}={}", text.escape_ascii())).collect()
    }

    fn bulk(text: &[u8]) -> Vec<u8> {
        [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
    }

    #[test]
    fn json_is_taken_apart() {
        let json = br#" {"user": {"id": 42, "name": "Ada"}, "ok": true, "x": 1.5, "n": null,
            "items": [{"id": 7}, {"id": -8}], "tags": ["a", "b"]}"#;
        assert_eq!(
            found(&bulk(json)),
            [
                "user.id=42",
                "user.name=Ada",
                "items[].id=7",
                "items[].id=-8",
                "tags[]=a",
                "tags[]=b"
            ]
        );
        assert_eq!(found(&bulk(br#"{"id": 42, "broken"#)), ["id=42"]);
    }

    #[test]
    fn messagepack_is_taken_apart() {
        // {"user_id": 300, "roles": ["admin"], 5: "five", "t": a timestamp, "b": the bytes "xy"}
        let packed = [
            &[0x85, 0xa7][..],
            b"user_id",
            &[0xcd, 1, 44, 0xa5],
            b"roles",
            &[0x91, 0xa5],
            b"admin",
            &[5, 0xa4],
            b"five",
            &[0xa1, b't', 0xd6, 0xff, 0, 0, 0, 1],
            &[0xa1, b'b', 0xc4, 2, b'x', b'y'],
        ];
        assert_eq!(
            found(&bulk(&packed.concat())),
            ["user_id=300", "roles[]=admin", "5=five", "b=xy"]
        );
    }

    #[test]
    fn hashes_lists_and_words_are_what_they_are() {
        assert_eq!(
            found(b"%2\r\n$3\r\nuid\r\n$2\r\n42\r\n$1\r\nn\r\n$3\r\nAda\r\n"),
            ["uid=42", "n=Ada"]
        );
        assert_eq!(found(b"*2\r\n$1\r\n7\r\n$1\r\n8\r\n"), ["[]=7", "[]=8"]);
        assert_eq!(found(b"~1\r\n$1\r\n7\r\n"), ["[]=7"]);
        assert_eq!(found(b"$2\r\n42\r\n"), ["=42"]);
        assert_eq!(found(b":42\r\n"), ["=42"]);
        assert_eq!(found(b"%1\r\n$1\r\nu\r\n$8\r\n{\"id\":7}\r\n"), ["u.id=7"]);
        assert_eq!(found(b"_\r\n"), [""; 0]);
    }

    #[test]
    fn what_is_long_or_deep_is_passed_over() {
        let deep = "[".repeat(10_000);
        assert_eq!(found(&bulk(deep.as_bytes())), [""; 0]);
        let deep = format!("{{\"a\":1,\"b\":{}1{}}}", "[".repeat(60), "]".repeat(60));
        assert_eq!(found(&bulk(deep.as_bytes())), ["a=1"]);
        let many: Vec<String> = (0..100).map(|nth| format!("\"k{nth}\":{nth}")).collect();
        assert_eq!(found(&bulk(format!("{{{}}}", many.join(",")).as_bytes())).len(), 32);
        assert_eq!(found(&bulk(&vec![b'1'; 9_000])), [""; 0]);
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_survived(value: Vec<u8>, first in proptest::sample::select(vec![0x81_u8, 0x93, 0xdc, 0xdf, b'{', b'['])) {
            found(&bulk(&value));
            found(&bulk(&[&[first][..], &value].concat()));
            found(&value);
        }
    }
}
