//! A pipeline of `GET`s that are hits: the case that is most of a cache's work.
//!
//! Problem: a hit in a large L1 waits for memory three or four times in a row, and a pipeline of
//! them waits for each in turn; recognising each by the general parser and the table of commands
//! costs about as much again.
//!
//! Idea: in plain state with nothing unanswered, commands of exactly the bytes
//! `*2 $3 GET $length key` are taken a batch at a time: keys found and hashed, their places in the
//! index asked for ahead, then the entries, then their keys and replies, then the hits themselves.
//! The first command that is anything else, or no hit, ends the run, and the general way goes on
//! from there: nothing is decided here but what a hit is.

use cachee_core::EntryRef;

use super::Core;
use super::reads::Form;
use crate::cacheable::{Cacheable, cacheable};
use crate::prefetch;
use crate::proxy::config::Mode;
use crate::proxy::host::Context;

const BATCH: usize = 16;
const HEAD: &[u8] = b"*2\r\n$3\r\n";
const NAME_AT: usize = HEAD.len();
const LENGTH_AT: usize = NAME_AT + b"GET\r\n$".len();

impl Core {
    /// Answers the run of hits that `buffer` begins with; how many bytes it had.
    pub(super) fn take_gets(&mut self, context: &Context<'_>, buffer: &[u8]) -> usize {
        let is_ours = context.mode == Mode::On
            && context.admission.is_all()
            && self.slots.is_empty()
            && self.multi.is_none()
            && !self.is_resetting
            && self.state.is_plain();
        if !is_ours {
            return 0;
        }
        let scope = self.feed.as_ref().and_then(|feed| feed.open_scope(context.now_ms));
        let Some(scope) = scope else { return 0 };
        let Some(found) = cacheable(&[b"GET", b""]) else { return 0 };
        let mut at = 0;
        while self.out.len() < context.limits.output_buffer_bytes {
            let (taken, is_run) = self.take_batch(context, scope, found, &buffer[at..]);
            at += taken;
            if !is_run {
                break;
            }
        }
        at
    }

    /// Up to `BATCH` of them; true when the next may be another.
    fn take_batch(
        &mut self,
        context: &Context<'_>,
        scope: u32,
        found: Cacheable,
        buffer: &[u8],
    ) -> (usize, bool) {
        let store = context.host.store();
        let none = EntryRef { scope, shape: found.shape, key: &[], args: &[], key_hash: 0 };
        let mut batch = [(none, 0_usize); BATCH];
        let mut count = 0;
        let mut end = 0;
        while count < BATCH
            && let Some((key, length)) = plain_get(&buffer[end..])
        {
            end += length;
            batch[count] = (EntryRef { key, key_hash: store.key_hash(key), ..none }, end);
            count += 1;
        }
        let batch = &batch[..count];
        if count > 1 {
            batch.iter().for_each(|(id, _)| prefetch(store.bucket_address(id)));
            batch.iter().for_each(|(id, _)| prefetch(store.entry_address(id)));
            for (id, _) in batch {
                let addresses = store.content_addresses(id, |reply| reply.0.as_ptr());
                addresses.into_iter().flatten().for_each(prefetch);
            }
        }
        let form = Form { is_resp3: self.state.is_resp3, found, arg_count: 2 };
        let mut taken = 0;
        let mut hits = 0;
        for (id, end) in batch {
            let out = &mut self.out;
            let served = store.with_hit(id, context.now_ms, |reply, _| form.write(&reply.0, out));
            if served != Some(true) {
                break;
            }
            taken = *end;
            hits += 1;
        }
        if let Some(recorder) = context.recorder {
            let place = self.place_in(recorder);
            let served = batch[..hits as usize].iter();
            served.for_each(|(id, _)| recorder.record(place, found.shape, id.key, &[]));
        }
        context.counters.hits.add(hits);
        context.counters.commands.add(hits);
        (taken, hits as usize == BATCH)
    }
}

/// The key and the length of a `GET` that `buffer` begins with, whole and in its usual form.
#[inline]
fn plain_get(buffer: &[u8]) -> Option<(&[u8], usize)> {
    let rest = buffer.get(LENGTH_AT..)?;
    if !buffer.starts_with(HEAD)
        || !buffer[NAME_AT..NAME_AT + 3].eq_ignore_ascii_case(b"GET")
        || &buffer[NAME_AT + 3..LENGTH_AT] != b"\r\n$"
    {
        return None;
    }
    // One to three digits, the first not 0: a longer key is not common enough.
    let mut length = 0;
    let mut digits = 0;
    while digits < 3 && rest.get(digits)?.is_ascii_digit() {
        length = length * 10 + usize::from(rest[digits] - b'0');
        digits += 1;
    }
    if digits == 0 || rest[0] == b'0' || rest.get(digits..digits + 2)? != b"\r\n" {
        return None;
    }
    let start = digits + 2;
    let key = rest.get(start..start + length)?;
    if rest.get(start + length..start + length + 2)? != b"\r\n" {
        return None;
    }
    Some((key, LENGTH_AT + start + length + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_form_is_taken() {
        let bytes = b"*2\r\n$3\r\nget\r\n$4\r\nuser\r\n*2\r\n";
        assert_eq!(plain_get(bytes), Some((&b"user"[..], 23)));
        assert_eq!(plain_get(b"*2\r\n$3\r\nGET\r\n$12\r\nabcdefghijkl\r\n").unwrap().1, 32);
        for bytes in [
            &b""[..],
            b"*2\r\n$3\r\nGET\r\n",
            b"*2\r\n$3\r\nGET\r\n$4\r\nuse",
            b"*2\r\n$3\r\nGET\r\n$4\r\nuserXX",
            b"*2\r\n$3\r\nGET\r\n$04\r\nuser\r\n",
            b"*2\r\n$3\r\nGET\r\n$-1\r\n\r\n",
            b"*2\r\n$3\r\nDEL\r\n$4\r\nuser\r\n",
            b"*3\r\n$3\r\nGET\r\n$4\r\nuser\r\n",
            b"*2\r\n$3\r\nGET\r\n$1000\r\nuser\r\n",
        ] {
            assert_eq!(plain_get(bytes), None, "{}", bytes.escape_ascii());
        }
    }
}
