//! Reads an event loop waits for.
//!
//! A submitted read ends on the link's thread, without the GIL: it leaves its reply in its batch,
//! and the last one of a batch queues the batch and makes a descriptor readable. The loop, woken by
//! that, drains the queue and decodes with the GIL in its own thread. The descriptor is written
//! once however many batches wait.

use crate::binding::{BindingCore, Part, finished, joined};
use crate::raw::Obj;
use crate::value::Kept;
use crate::{fork, sentinels};
use cachee_net::{BypassReason, Cacheable, Outcome, Waiter};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// How one read of a batch ended.
pub enum Ending {
    /// With a reply.
    Reply(Arc<[u8]>),
    /// An entry has appeared meanwhile, and here is its reply.
    Found(Kept),
    /// An entry has appeared meanwhile, and was gone again.
    Gone,
    /// The client shall ask for itself.
    Bypass(BypassReason),
}

/// One `submit` or `submit_many`.
pub struct Batch {
    core: Arc<BindingCore>,
    ticket: i64,
    single: bool,
    state: Mutex<State>,
    parts: Vec<Part>,
    /// Which of the replies are asked for upstream.
    pub missing: Vec<usize>,
    /// Their commands.
    shapes: Vec<Cacheable>,
    /// Reads not ended, and one for the submitting call itself.
    open: AtomicUsize,
}

#[derive(Default)]
struct State {
    replies: Vec<Option<Kept>>,
    endings: Vec<Option<Ending>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Batch {
    /// A batch that waits for `missing`.
    pub fn new(
        core: Arc<BindingCore>,
        ticket: i64,
        single: bool,
        replies: Vec<Option<Kept>>,
        parts: Vec<Part>,
        missing: Vec<usize>,
        shapes: Vec<Cacheable>,
    ) -> Batch {
        let endings = missing.iter().map(|_| None).collect();
        let open = AtomicUsize::new(missing.len() + 1);
        let state = Mutex::new(State { replies, endings });
        Batch { core, ticket, single, state, parts, missing, shapes, open }
    }

    /// The nth missing read has ended. True for the last of the batch.
    pub fn end(&self, nth: usize, ending: Ending) -> bool {
        locked(&self.state).endings[nth] = Some(ending);
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The submitting call is over; true when every read had ended by then.
    pub fn claim_if_done(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The result of each command. Called once, when all has ended.
    pub fn replies(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let state = std::mem::take(&mut *locked(&self.state));
        let State { mut replies, endings } = state;
        for ((index, cacheable), ending) in self.missing.iter().zip(&self.shapes).zip(endings) {
            // SAFETY: the GIL is held.
            let reply = unsafe { self.reply(*cacheable, ending) };
            // SAFETY: an owned reference.
            replies[*index] = (!reply.is_null()).then(|| unsafe { Kept::new(reply) });
        }
        self.parts
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

    /// An owned reference, or null for a MISS.
    unsafe fn reply(&self, cacheable: Cacheable, ending: Option<Ending>) -> Obj {
        match ending {
            // SAFETY: the GIL is held.
            Some(Ending::Reply(frame)) => unsafe { self.core.fresh_reply(cacheable.resp2, &frame) },
            Some(Ending::Bypass(reason)) => {
                self.core.note(reason.as_str());
                ptr::null_mut()
            }
            Some(Ending::Found(reply)) => reply.into_ptr(),
            Some(Ending::Gone) | None => {
                self.core.note("contended");
                ptr::null_mut()
            }
        }
    }
}

struct Shared {
    queue: Mutex<Vec<Arc<Batch>>>,
    writer: UnixStream,
    is_closed: AtomicBool,
}

impl Shared {
    /// Queues a batch and wakes the loop unless it has been woken already.
    fn push(&self, batch: Arc<Batch>) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        let mut queue = locked(&self.queue);
        queue.push(batch);
        if queue.len() == 1 {
            // A full buffer means a wake-up is on its way.
            let _ = (&self.writer).write(&[0]);
        }
    }
}

/// Finished reads of one event loop.
#[pyclass(frozen, module = "cachee._core")]
pub struct Completions {
    shared: Arc<Shared>,
    reader: Mutex<Option<UnixStream>>,
    generation: u32,
}

impl Completions {
    /// What the link calls at the end of the nth missing read.
    pub fn waiter(&self, batch: &Arc<Batch>, nth: usize) -> Waiter {
        let (batch, shared) = (batch.clone(), self.shared.clone());
        Box::new(move |outcome| {
            let ending = match outcome {
                Outcome::Reply(frame) => Ending::Reply(frame),
                Outcome::Present => Ending::Gone,
                Outcome::Bypass(reason) => Ending::Bypass(reason),
            };
            if batch.end(nth, ending) {
                shared.push(batch);
            }
        })
    }
}

#[pymethods]
impl Completions {
    #[new]
    fn new() -> PyResult<Completions> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let queue = Mutex::default();
        let shared = Arc::new(Shared { queue, writer, is_closed: AtomicBool::new(false) });
        let generation = fork::generation();
        Ok(Completions { shared, reader: Mutex::new(Some(reader)), generation })
    }

    fn fileno(&self) -> PyResult<i32> {
        let reader = locked(&self.reader);
        let reader = reader.as_ref().ok_or_else(|| PyOSError::new_err("closed"))?;
        Ok(reader.as_raw_fd())
    }

    fn drain(&self, py: Python<'_>) -> PyResult<Vec<(i64, Py<PyAny>)>> {
        if self.generation != fork::generation() {
            return Ok(Vec::new());
        }
        if let Some(reader) = locked(&self.reader).as_mut() {
            let mut bytes = [0_u8; 64];
            loop {
                match reader.read(&mut bytes) {
                    Ok(count) if count == bytes.len() => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
        }
        let batches = std::mem::take(&mut *locked(&self.shared.queue));
        batches
            .into_iter()
            .map(|batch| {
                let replies = batch.replies(py)?;
                Ok((batch.ticket, finished(py, replies, batch.single)?))
            })
            .collect()
    }

    fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
        drop(locked(&self.reader).take());
        if self.generation == fork::generation() {
            locked(&self.shared.queue).clear();
        }
    }
}
