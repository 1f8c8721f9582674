//! What outlives a process, between Python and the links: owner, database and the words of reads.
//!
//! An owner says whose a name is and how its replies are decoded, in one text that means the same in
//! the next process: `resp3:utf-8:strict app@127.0.0.1:6379`.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

use cachee_core::Store;
use cachee_net::Link;
use cachee_net::admission::Admission;
use cachee_net::remembered::{Remembered, Words, remembered};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::decode::{DECODING_SHIFT, Decoding, Text};
use crate::identity::Identity;
use crate::value::Value;

/// Owner, database, words.
pub type HotKey = (String, u32, Words);

/// The same for Python.
pub type PyHotKey<'py> = (String, u32, Vec<Bound<'py, PyBytes>>);

/// One name for Python.
pub fn to_python(py: Python<'_>, (owner, db, words): HotKey) -> PyHotKey<'_> {
    (owner, db, words.iter().map(|word| PyBytes::new(py, word)).collect())
}

/// What waits for links that are not open yet, by their owner and database.
pub type Waiting = HashMap<(String, u32), Vec<Remembered>>;

/// Whose names a link reads. A provider of credentials counts as one user.
pub fn owner_of(identity: &Identity) -> (String, u32) {
    (format!("{}@{}", identity.user_name(), identity.address()), identity.db)
}

/// A decoding as text; None of one whose names would not come back from it.
fn text_of(decoding: &Decoding) -> Option<String> {
    let protocol = if decoding.resp2 { "resp2" } else { "resp3" };
    let Text::Decoded { encoding, errors } = &decoding.text else {
        return Some(protocol.to_owned());
    };
    let (encoding, errors) = (encoding.to_str().ok()?, errors.to_str().ok()?);
    let is_plain = |text: &str| !text.contains([':', ' ']);
    (is_plain(encoding) && is_plain(errors)).then(|| format!("{protocol}:{encoding}:{errors}"))
}

fn decoding_of(text: &str) -> Option<Decoding> {
    let mut parts = text.split(':');
    let resp2 = match parts.next()? {
        "resp2" => true,
        "resp3" => false,
        _ => return None,
    };
    let text = match (parts.next(), parts.next(), parts.next()) {
        (None, None, None) => Text::Bytes,
        (Some(encoding), Some(errors), None) => Text::Decoded {
            encoding: CString::new(encoding).ok()?,
            errors: CString::new(errors).ok()?,
        },
        _ => return None,
    };
    Some(Decoding { text, resp2 })
}

/// What is worth knowing of these links, and of those not open yet, at most `count`. `decodings` are
/// those of the upper halves of shapes, by number.
pub fn hot_keys(
    store: &Store<Value>,
    links: &[(Arc<Identity>, Arc<Link<Value>>)],
    decodings: &[Decoding],
    waiting: &Waiting,
    count: usize,
) -> Vec<HotKey> {
    let of_links: Vec<&Link<Value>> = links.iter().map(|(_, link)| &**link).collect();
    let known = remembered(store, &of_links, count).into_iter();
    let known = known.map(|(place, each)| (owner_of(&links[place].0), each));
    let later = waiting
        .iter()
        .flat_map(|(owner, names)| names.iter().map(|each| (owner.clone(), each.clone())));
    let named = known.chain(later).filter_map(|((owner, db), each)| {
        let decoding = decodings.get((each.decoding()? >> DECODING_SHIFT) as usize)?;
        Some((format!("{} {owner}", text_of(decoding)?), db, each.words()?))
    });
    named.take(count).collect()
}

/// Sorts the names of an earlier process by the links they are for; what means nothing here, or may
/// not be cached, is passed over. `number_of` gives a decoding its number.
pub fn waiting(
    hot_keys: Vec<HotKey>,
    admission: &Admission,
    number_of: impl Fn(&Decoding) -> Option<u32>,
) -> Waiting {
    let mut waiting = Waiting::new();
    let mut numbers: HashMap<String, Option<u32>> = HashMap::new();
    for (owner, db, words) in hot_keys {
        let Some((text, owner)) = owner.split_once(' ') else { continue };
        let number = *numbers
            .entry(text.to_owned())
            .or_insert_with(|| decoding_of(text).and_then(|decoding| number_of(&decoding)));
        let Some(each) =
            number.and_then(|number| Remembered::from_words(words, number << DECODING_SHIFT))
        else {
            continue;
        };
        if each.is_admitted(|key| admission.admits(key)) {
            waiting.entry((owner.to_owned(), db)).or_default().push(each);
        }
    }
    waiting
}
