//! One client's view of a link: its commands in, replies out as its own parser would give them.
//!
//! `BindingCore::hit` is the hit path of everything: gate, store, reference. It holds the GIL and
//! takes one shard lock, under which nothing but a reference count changes; the link's thread takes
//! the same lock and never the GIL, so neither waits for the other in a circle.

mod joined;
mod recorded;

use crate::command::{Encoding, Joint, Plan, Read, elements, plan};
use crate::completions::{Batch, Completions, Ending};
use crate::decode::{DECODING_SHIFT, Decoded, Decoding, Text, decode, flattened};
use crate::engine::{Engine, EngineCore};
use crate::link::Link;
use crate::raw::Obj;
use crate::value::{Form, Kept, Value, handed_out};
use crate::{flow, fork, graveyard, sentinels};
use cachee_core::{EntryRef, HitToken};
use cachee_net::record::Recorder;
use cachee_net::{Outcome, Request, Resp2Shape, cacheable, clock};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::ptr;
use std::sync::{Arc, Mutex};

pub use joined::{finished, joined};

/// So often a read looks again after it was told that an entry has appeared meanwhile.
const LOOKS_MAX: usize = 3;

/// What the native methods use of a binding.
pub struct BindingCore {
    engine: Arc<EngineCore>,
    link: Arc<cachee_net::Link<Value>>,
    decoding: Decoding,
    encoding: Encoding,
    /// Ready to be added to a shape.
    decoding_bits: u32,
    recorder: Option<Arc<Recorder>>,
    bypasses: Mutex<Bypasses>,
}

#[derive(Default)]
struct Bypasses {
    counts: BTreeMap<&'static str, u64>,
}

/// What an entry was when it was hit.
enum Seen {
    Object(Obj, Form),
    Raw(std::sync::Arc<[u8]>, HitToken),
}

/// An object as the L1 keeps it, with a reference of our own.
pub struct Hit {
    /// Owned.
    pub object: Obj,
    /// How to hand it out.
    pub form: Form,
}

impl BindingCore {
    /// The entry of one command and key, if it may be served now. `args` are the other arguments
    /// as `encode_args` writes them.
    ///
    /// # Safety
    /// The GIL is held. May run Python code (a collection) once, when the entry is decoded; a
    /// caller whose own reference to `self` could go with that holds another.
    #[inline(always)]
    pub unsafe fn hit(
        &self,
        shape: u32,
        resp2: Resp2Shape,
        key: &[u8],
        args: &[u8],
    ) -> Option<Hit> {
        if self.engine.generation != fork::generation() {
            return None;
        }
        let now_ms = clock::coarse_ms();
        let scope = self.link.gate().open_scope(now_ms)?;
        let store = &self.engine.store;
        let key_hash = store.key_hash(key);
        let id = EntryRef { scope, shape: shape | self.decoding_bits, key, args, key_hash };
        let seen = store.with_hit(&id, now_ms, |value, token| match value {
            Value::Object { kept, form, .. } => {
                let object = kept.as_ptr();
                // SAFETY: the store's reference keeps it alive under the lock; the GIL is held.
                unsafe { crate::raw::incref(object) };
                Seen::Object(object, *form)
            }
            Value::Raw(frame) => Seen::Raw(frame.clone(), token),
        })?;
        match seen {
            Seen::Object(object, form) => Some(Hit { object, form }),
            // SAFETY: the GIL is held.
            Seen::Raw(frame, token) => unsafe { self.first_hit(shape, resp2, &frame, token) },
        }
    }

    /// Decodes an entry outside the lock and swaps the object in.
    #[cold]
    unsafe fn first_hit(
        &self,
        shape: u32,
        resp2: Resp2Shape,
        frame: &std::sync::Arc<[u8]>,
        token: HitToken,
    ) -> Option<Hit> {
        let (engine, decoding) = (self.engine.clone(), self.decoding.clone());
        // SAFETY: the GIL is held; `self` may go in a collection and is not used from here on.
        unsafe {
            let Decoded { object, form, weight_bytes } =
                decode(frame, &decoding, resp2, shape == engine.shapes.hgetall)?;
            crate::raw::incref(object);
            let kept = Kept::new(object);
            let weight_bytes = u32::try_from(weight_bytes).unwrap_or(u32::MAX);
            let mut swapped = Some(Value::Object { kept, form, weight_bytes });
            engine.store.update(token, |value| {
                // The token may have outlived its entry; these very bytes cannot have.
                if matches!(value, Value::Raw(now) if Arc::ptr_eq(now, frame))
                    && let Some(object) = swapped.take()
                {
                    *value = object;
                }
            });
            graveyard::release(Python::assume_attached());
            Some(Hit { object, form })
        }
    }

    /// The reply in its raw form, the caller's own; null with MemoryError set.
    unsafe fn raw_reply(&self, shape: u32, hit: Hit) -> Obj {
        // SAFETY: the hit's reference is ours and dropped here.
        unsafe {
            let reply = if self.decoding.resp2 && shape == self.engine.shapes.hgetall {
                flattened(hit.object)
            } else {
                handed_out(hit.object, hit.form)
            };
            ffi::Py_DECREF(hit.object);
            reply
        }
    }

    /// The L1's answer to one read: null without an exception when there is none.
    unsafe fn look(&self, read: &Read<'_>, args: &[u8]) -> Obj {
        let shape = read.cacheable.shape;
        // SAFETY: the GIL is held; the caller holds `self` by an Arc.
        unsafe {
            match self.hit(shape, read.cacheable.resp2, read.key(), args) {
                Some(hit) => self.raw_reply(shape, hit),
                None => ptr::null_mut(),
            }
        }
    }

    /// A reply that came just now, as the caller's own object; null when it cannot be decoded.
    ///
    /// # Safety
    /// The GIL is held.
    pub unsafe fn fresh_reply(&self, resp2: Resp2Shape, frame: &[u8]) -> Obj {
        // SAFETY: the GIL is held. A whole hash is not kept here, so it is laid flat right away.
        match unsafe { decode(frame, &self.decoding, resp2, false) } {
            Some(decoded) => decoded.object,
            None => {
                self.note("undecodable");
                ptr::null_mut()
            }
        }
    }

    /// Counts a MISS.
    pub fn note(&self, reason: &'static str) {
        if self.engine.generation != fork::generation() {
            return;
        }
        let mut bypasses = self.bypasses.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *bypasses.counts.entry(reason).or_default() += 1;
    }

    fn is_usable(&self) -> bool {
        self.engine.is_usable()
    }

    /// The client's `str` arguments are the bytes in the object.
    pub fn is_utf8(&self) -> bool {
        self.encoding.is_utf8()
    }

    /// The engine this binding reads from.
    pub fn engine(&self) -> &EngineCore {
        &self.engine
    }

    fn plan<'a>(&self, words: &'a [std::borrow::Cow<'a, [u8]>]) -> Option<Plan<'a>> {
        let plan = plan(words)?;
        let is_known = |read: &Read<'_>| read.cacheable.resp2 != Resp2Shape::Unknown;
        (!self.decoding.resp2 || plan.reads.iter().all(is_known)).then_some(plan)
    }
}

/// A read with its other arguments encoded.
struct Prepared<'a> {
    read: Read<'a>,
    args: Vec<u8>,
}

impl<'a> Prepared<'a> {
    fn new(read: Read<'a>) -> Self {
        let mut args = Vec::new();
        cacheable::encode_args(&read.words, &mut args);
        Prepared { read, args }
    }

    fn request(&'a self, core: &BindingCore, flow: u64) -> Request<'a> {
        Request {
            flow: Some(flow),
            shape: self.read.cacheable.shape | core.decoding_bits,
            key: self.read.key(),
            key_hash: core.engine.store.key_hash(self.read.key()),
            args: &self.args,
            command: &self.read.words,
        }
    }
}

/// One command of a batch: its reads are a slice of the batch's.
pub struct Part {
    pub first: usize,
    pub count: usize,
    pub joint: Joint,
}

/// What is known of a batch after looking into the L1.
struct Looked<'a> {
    prepared: Vec<Prepared<'a>>,
    replies: Vec<Option<Kept>>,
    parts: Vec<Part>,
    /// Which reads have to go upstream.
    missing: Vec<usize>,
}

/// How one client sees a link.
#[pyclass(frozen, module = "cachee._core")]
pub struct Binding {
    pub core: Arc<BindingCore>,
}

type Words<'a> = Vec<std::borrow::Cow<'a, [u8]>>;

impl Binding {
    /// Looks up every read of every command; commands that are not cacheable have no reads.
    fn look_all<'a>(&self, commands: &'a [Option<Words<'a>>]) -> PyResult<Looked<'a>> {
        let mut looked =
            Looked { prepared: vec![], replies: vec![], parts: vec![], missing: vec![] };
        for words in commands {
            let first = looked.prepared.len();
            let plan = words.as_ref().and_then(|words| self.core.plan(words));
            let (joint, reads) =
                plan.map_or((Joint::None, Vec::new()), |plan| (plan.joint, plan.reads));
            looked.parts.push(Part { first, count: reads.len(), joint });
            for read in reads {
                let prepared = Prepared::new(read);
                // SAFETY: the GIL is held by the calling method.
                let reply = unsafe {
                    let reply = self.core.look(&prepared.read, &prepared.args);
                    if reply.is_null() && !ffi::PyErr_Occurred().is_null() {
                        return Err(PyErr::fetch(Python::assume_attached()));
                    }
                    (!reply.is_null()).then(|| Kept::new(reply))
                };
                if reply.is_none() {
                    looked.missing.push(looked.prepared.len());
                }
                looked.replies.push(reply);
                looked.prepared.push(prepared);
            }
        }
        Ok(looked)
    }

    /// Asks upstream for what is missing and waits for it.
    fn fetch(&self, py: Python<'_>, looked: &mut Looked<'_>) -> PyResult<()> {
        let flow = flow::of_thread();
        for _ in 0..LOOKS_MAX {
            if looked.missing.is_empty() {
                return Ok(());
            }
            let requests: Vec<Request<'_>> = looked
                .missing
                .iter()
                .map(|index| looked.prepared[*index].request(&self.core, flow))
                .collect();
            let mut raised = None;
            let link = &self.core.link;
            let outcomes = py.detach(|| {
                let mut interrupted = || is_interrupted(&mut raised);
                if let [request] = requests.as_slice() {
                    vec![link.read_wait(request, &mut interrupted)]
                } else {
                    link.read_many_wait(&requests, &mut interrupted)
                }
            });
            if let Some(error) = raised {
                return Err(error);
            }
            let missing = std::mem::take(&mut looked.missing);
            for (index, outcome) in missing.into_iter().zip(outcomes) {
                let prepared = &looked.prepared[index];
                // SAFETY: the GIL is held again.
                let reply = unsafe {
                    match outcome {
                        Outcome::Reply(frame) => {
                            self.core.fresh_reply(prepared.read.cacheable.resp2, &frame)
                        }
                        Outcome::Present => {
                            let reply = self.core.look(&prepared.read, &prepared.args);
                            if reply.is_null() {
                                looked.missing.push(index);
                            }
                            reply
                        }
                        Outcome::Bypass(reason) => {
                            self.core.note(reason.as_str());
                            ptr::null_mut()
                        }
                    }
                };
                // SAFETY: an owned reference.
                looked.replies[index] = (!reply.is_null()).then(|| unsafe { Kept::new(reply) });
            }
        }
        if !looked.missing.is_empty() {
            self.core.note("contended");
        }
        Ok(())
    }

    fn read_all(
        &self,
        py: Python<'_>,
        commands: &[Bound<'_, PyTuple>],
    ) -> PyResult<Vec<Py<PyAny>>> {
        let arguments: Vec<_> = commands.iter().map(elements).collect();
        let words: Vec<_> =
            arguments.iter().map(|arguments| self.core.encoding.command(arguments)).collect();
        if !self.core.is_usable() {
            return Ok(words.iter().map(|_| sentinels::miss(py)).collect());
        }
        self.core.record_all(&words);
        let mut looked = self.look_all(&words)?;
        self.fetch(py, &mut looked)?;
        graveyard::release(py);
        self.replies(py, &looked.parts, &looked.replies)
    }

    fn replies(
        &self,
        py: Python<'_>,
        parts: &[Part],
        replies: &[Option<Kept>],
    ) -> PyResult<Vec<Py<PyAny>>> {
        parts
            .iter()
            .map(|part| {
                if part.count == 0 {
                    self.core.note("not_cacheable");
                    return Ok(sentinels::miss(py));
                }
                joined(py, &replies[part.first..part.first + part.count], part.joint)
            })
            .collect()
    }
}

/// Called without the GIL every 50 ms of waiting: lets Python see its signals.
fn is_interrupted(raised: &mut Option<PyErr>) -> bool {
    let checked = Python::try_attach(|py| {
        // A collection or a signal handler may have dropped references here.
        py.check_signals().err()
    });
    match checked {
        Some(None) => false,
        Some(Some(error)) => {
            *raised = Some(error);
            true
        }
        // The interpreter is going.
        None => true,
    }
}

#[pymethods]
impl Binding {
    #[new]
    #[pyo3(signature = (engine, link, *, decode, encoding, errors, resp2))]
    fn new(
        py: Python<'_>,
        engine: &Engine,
        link: &Link,
        decode: bool,
        encoding: &str,
        errors: &str,
        resp2: bool,
    ) -> PyResult<Binding> {
        let text = if decode {
            Text::Decoded { encoding: CString::new(encoding)?, errors: CString::new(errors)? }
        } else {
            Text::Bytes
        };
        let decoding = Decoding { text, resp2 };
        let engine = engine.core();
        let decoding_bits = engine.decoding_number(&decoding)? << DECODING_SHIFT;
        Ok(Binding {
            core: Arc::new(BindingCore {
                link: link.link.clone(),
                encoding: Encoding::new(py, encoding, errors),
                recorder: engine.recording.recorder(),
                engine,
                decoding,
                decoding_bits,
                bypasses: Mutex::default(),
            }),
        })
    }

    fn cacheable(&self, args: &Bound<'_, PyTuple>) -> bool {
        let arguments = elements(args);
        let words = self.core.encoding.command(&arguments);
        words.is_some_and(|words| self.core.plan(&words).is_some())
    }

    fn peek(&self, py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let arguments = elements(args);
        let words = [self.core.encoding.command(&arguments)];
        let looked = self.look_all(&words)?;
        if looked.prepared.is_empty() {
            return Ok(sentinels::miss(py));
        }
        if looked.missing.is_empty() {
            self.core.record_all(&words);
        }
        joined(py, &looked.replies, looked.parts[0].joint)
    }

    fn record(&self, args: &Bound<'_, PyTuple>) {
        let arguments = elements(args);
        if self.core.is_recording() && self.core.is_usable() {
            self.core.record_all(&[self.core.encoding.command(&arguments)]);
        }
    }

    fn read(&self, py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let mut replies = self.read_all(py, std::slice::from_ref(args))?;
        Ok(replies.swap_remove(0))
    }

    fn read_many(
        &self,
        py: Python<'_>,
        commands: Vec<Bound<'_, PyTuple>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.read_all(py, &commands)
    }

    fn submit(
        &self,
        py: Python<'_>,
        args: &Bound<'_, PyTuple>,
        completions: &Completions,
        ticket: i64,
    ) -> PyResult<Py<PyAny>> {
        self.submit_all(py, std::slice::from_ref(args), completions, ticket, true)
    }

    fn submit_many(
        &self,
        py: Python<'_>,
        commands: Vec<Bound<'_, PyTuple>>,
        completions: &Completions,
        ticket: i64,
    ) -> PyResult<Py<PyAny>> {
        self.submit_all(py, &commands, completions, ticket, false)
    }

    fn bypasses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        if self.core.is_usable() {
            let bypasses =
                self.core.bypasses.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for (reason, count) in &bypasses.counts {
                counts.set_item(reason, count)?;
            }
        }
        Ok(counts)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Binding belongs to its process"))
    }
}

impl Binding {
    fn submit_all(
        &self,
        py: Python<'_>,
        commands: &[Bound<'_, PyTuple>],
        completions: &Completions,
        ticket: i64,
        single: bool,
    ) -> PyResult<Py<PyAny>> {
        let arguments: Vec<_> = commands.iter().map(elements).collect();
        let words: Vec<_> =
            arguments.iter().map(|arguments| self.core.encoding.command(arguments)).collect();
        graveyard::release(py);
        if self.core.is_usable() {
            self.core.record_all(&words);
        }
        for _ in 1..LOOKS_MAX {
            if let Some(result) = self.try_submit(py, &words, completions, ticket, single, false)? {
                return Ok(result);
            }
        }
        let last = self.try_submit(py, &words, completions, ticket, single, true)?;
        Ok(last.unwrap_or_else(|| sentinels::miss(py)))
    }

    /// One look and, for what it does not find, one submission. `None`: all of it has appeared
    /// between the two, so that another look finds it; not on the `last` try.
    fn try_submit(
        &self,
        py: Python<'_>,
        words: &[Option<Words<'_>>],
        completions: &Completions,
        ticket: i64,
        single: bool,
        last: bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        let looked = if self.core.is_usable() {
            self.look_all(words)?
        } else {
            Looked { prepared: vec![], replies: vec![], parts: vec![], missing: vec![] }
        };
        if looked.parts.is_empty() || looked.missing.is_empty() {
            let mut replies = self.replies(py, &looked.parts, &looked.replies)?;
            replies.resize_with(words.len(), || sentinels::miss(py));
            return finished(py, replies, single).map(Some);
        }
        let Looked { prepared, replies, parts, missing } = looked;
        let shapes = missing.iter().map(|index| prepared[*index].read.cacheable).collect();
        let batch = Batch::new(self.core.clone(), ticket, single, replies, parts, missing, shapes);
        let batch = Arc::new(batch);
        let flow = flow::of_context(py);
        let requests: Vec<Request<'_>> =
            batch.missing.iter().map(|index| prepared[*index].request(&self.core, flow)).collect();
        let waiters = (0..requests.len()).map(|nth| completions.waiter(&batch, nth)).collect();
        // Without the GIL: a socket buffer may be full, a lock taken by the reader.
        let reads = py.detach(|| self.core.link.read_many(&requests, waiters));
        if !last && reads.iter().all(|read| matches!(read, cachee_net::Read::Present)) {
            return Ok(None);
        }
        for (nth, read) in reads.into_iter().enumerate() {
            let ending = match read {
                cachee_net::Read::Submitted => continue,
                cachee_net::Read::Present => {
                    let prepared = &prepared[batch.missing[nth]];
                    // SAFETY: the GIL is held.
                    let reply = unsafe { self.core.look(&prepared.read, &prepared.args) };
                    if reply.is_null() {
                        // SAFETY: the GIL is held. Whatever it was, the client asks for itself.
                        unsafe { ffi::PyErr_Clear() };
                        Ending::Gone
                    } else {
                        // SAFETY: an owned reference.
                        Ending::Found(unsafe { Kept::new(reply) })
                    }
                }
                cachee_net::Read::Bypass(reason) => Ending::Bypass(reason),
            };
            batch.end(nth, ending);
        }
        if batch.claim_if_done() {
            let replies = batch.replies(py)?;
            return finished(py, replies, single).map(Some);
        }
        Ok(Some(sentinels::pending(py)))
    }
}
