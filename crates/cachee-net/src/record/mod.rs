//! What was asked for, written to a file that `cachee simulate` plays.
//!
//! Problem: how much memory an application should give its L1 only its own requests can tell, and
//! nobody has a trace of those. The place that sees all of them is the one that must not wait.
//!
//! Idea: every read that the L1 may be asked for becomes a few bytes in a buffer, under a lock that
//! is held for that copy alone; a thread writes the buffer out once a second, or when half of it is
//! full. When the disk is slower the buffer fills, and what does not fit is dropped and counted. An
//! error, or the end of what a file may hold, ends the recording with one warning: whoever asks for
//! keys notices none of it. A sample is one of *keys* (SHARDS; Waldspurger et al., FAST 2015), by
//! a hash that is the same in every process of a build: all requests of a key or none, so that a
//! cache smaller by as much has about the hit rate of the whole.
//!
//! An entry is recorded by a keyed code of 8 bytes (SipHash under a random key that is never
//! written down, so names cannot be found by trying), or in plain text. The forms are those that
//! the simulation reads. A file belongs to one process and is made anew: never overwritten, never
//! shared, for the owner alone.
//!
//! Cost: some tens of nanoseconds a request, and two buffers. Rejected: a buffer a thread (no order
//! between them), the store's own hash (random for each process, so that a sample would be of other
//! keys in each), recording inside the store's lookup (one read looks up to four times).

mod form;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use cachee_core::KeyedHash;

use writer::{Out, Pending};

/// Bytes that wait to be written; a request beyond them is dropped.
pub const BUFFER_BYTES_MAX: usize = 4 << 20;
/// How large one file may become.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Of key and arguments in plain text; a longer request is dropped. Escaped and quoted it is still
/// what a reader of CSV takes for one value.
const PLAIN_BYTES_MAX: usize = 16 << 10;
/// Files of one name and process, such as one for each `install`.
const FILES_MAX: u32 = 1_000;
/// The same in every process.
const SAMPLE_SEED: u64 = 0x5348_4152_4453;

/// What is written of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedKeys {
    /// A code of 8 bytes for each entry of the L1.
    Hashed,
    /// Key and arguments.
    Plain,
}

impl RecordedKeys {
    /// By which the simulation knows the form of a file.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Hashed => ".u64",
            Self::Plain => ".csv",
        }
    }
}

/// What is recorded, and where.
#[derive(Clone)]
pub struct RecordConfig {
    /// `trace.u64` becomes `trace-PID.u64`, or `trace-1in16-PID.u64`.
    pub path: PathBuf,
    /// Of so many keys, one; 1: all.
    pub one_in: u64,
    /// The form.
    pub keys: RecordedKeys,
    /// Told once, from a thread of the recorder's own, when it ends before it was closed.
    pub warn: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Requests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordStatistics {
    /// In the file.
    pub recorded: u64,
    /// Lost: the disk was too slow or full, the file had its size, or the key was too long.
    pub dropped: u64,
}

#[derive(Clone, Copy)]
struct Limits {
    buffer_bytes: usize,
    file_bytes: u64,
}

const LIMITS: Limits = Limits { buffer_bytes: BUFFER_BYTES_MAX, file_bytes: FILE_BYTES_MAX };

/// Writes requests down. Dropping it lets what it holds be written, and waits for nothing.
pub struct Recorder {
    path: PathBuf,
    one_in: u64,
    keys: RecordedKeys,
    sampled: KeyedHash,
    coded: RandomState,
    pending: Arc<Pending>,
}

impl Recorder {
    /// Makes the file and starts the thread.
    pub fn open(config: &RecordConfig) -> io::Result<Self> {
        let (path, file) = create(config, std::process::id())?;
        Self::start(config, path, file, LIMITS)
    }

    fn start(
        config: &RecordConfig,
        path: PathBuf,
        mut out: impl Out + 'static,
        limits: Limits,
    ) -> io::Result<Self> {
        let head = form::head(config.keys);
        out.write_all(head)?;
        let pending = Arc::new(Pending::new(limits));
        let (writing, warn) = (Arc::clone(&pending), Arc::clone(&config.warn));
        let shown = path.display().to_string();
        let run = move || {
            if let Err(reason) = writing.write_out(&mut out, head.len() as u64) {
                warn(&format!("nothing more is recorded in {shown}: {reason}"));
            }
            // After the warning: a process that waits for this may end at once.
            writing.end();
        };
        thread::Builder::new().name("cachee-record".to_owned()).spawn(run)?;
        Ok(Self {
            path,
            one_in: config.one_in.max(1),
            keys: config.keys,
            sampled: KeyedHash::new(SAMPLE_SEED),
            coded: RandomState::new(),
            pending,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number for a user's database, to tell its entries from those of others.
    pub fn place(&self, user: Option<&str>, db: u32) -> u64 {
        self.coded.hash_one((user, db))
    }

    /// Whether requests of this key are taken down.
    #[inline]
    pub fn is_sampled(&self, key: &[u8]) -> bool {
        self.one_in == 1 || self.sampled.bytes(key).is_multiple_of(self.one_in)
    }

    /// Takes one request down; `shape` and `args` as in the entry that would answer it. Costs a
    /// hash or two and a copy, and never waits for the disk.
    pub fn record(&self, place: u64, shape: u32, key: &[u8], args: &[u8]) {
        if !self.is_sampled(key) {
            return;
        }
        match self.keys {
            RecordedKeys::Hashed => {
                let code = self.coded.hash_one((place, shape, key, args));
                self.pending.push(&code.to_le_bytes());
            }
            RecordedKeys::Plain if key.len() + args.len() > PLAIN_BYTES_MAX => self.pending.lose(),
            RecordedKeys::Plain => self.pending.push(&form::line(shape, key, args)),
        }
    }

    /// What has become of the requests.
    pub fn statistics(&self) -> RecordStatistics {
        self.pending.statistics()
    }

    /// Waits, for a bounded time, until everything is written; what is asked for later is dropped.
    pub fn close(&self) {
        self.pending.close();
        self.pending.wait();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.pending.close();
    }
}

/// A file that was not there before. `cachee simulate` reads the sample out of its name.
fn create(config: &RecordConfig, pid: u32) -> io::Result<(PathBuf, File)> {
    let suffix = config.keys.suffix();
    let name = config.path.file_name().filter(|_| !config.path.is_dir());
    let name = name.ok_or(io::ErrorKind::IsADirectory)?.as_encoded_bytes();
    let mut stem = name.strip_suffix(suffix.as_bytes()).unwrap_or(name).to_vec();
    if config.one_in > 1 {
        write!(stem, "-1in{}", config.one_in)?;
    }
    write!(stem, "-{pid}")?;
    for number in 1..=FILES_MAX {
        let mut name = stem.clone();
        if number > 1 {
            write!(name, "-{number}")?;
        }
        name.extend_from_slice(suffix.as_bytes());
        let path = config.path.with_file_name(os_string(name));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (path, file)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn os_string(bytes: Vec<u8>) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}
