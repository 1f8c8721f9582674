//! Traces from files.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ruzstd::decoding::StreamingDecoder;

const SUFFIX: &str = ".u64.zst";

/// A sequence of requests.
pub struct Trace {
    pub name: String,
    pub requests: Vec<u64>,
    /// How many of them are distinct.
    pub keys: usize,
}

impl Trace {
    pub fn new(name: &str, requests: Vec<u64>) -> Self {
        let keys = requests.iter().collect::<HashSet<_>>().len();
        Self { name: name.to_owned(), requests, keys }
    }
}

/// The trace files of a folder, by name.
pub fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(SUFFIX))
        .collect();
    paths.sort();
    paths
}

/// Reads one trace file.
pub fn read(path: &Path) -> io::Result<Trace> {
    let mut decoder = StreamingDecoder::new(File::open(path)?).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    decoder.read_to_end(&mut bytes)?;
    let requests = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Trace::new(file.trim_end_matches(SUFFIX), requests))
}
