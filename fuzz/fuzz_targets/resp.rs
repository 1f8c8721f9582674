//! Any bytes in any pieces: what the scanner accepts, the reader reads to its end; nothing panics.

#![no_main]

use cachee_net::CommandTable;
use cachee_net::resp::{Reader, Scan, Scanner};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let mut scanner = Scanner::new();
    let mut buffer: Vec<u8> = Vec::new();
    'stream: for piece in bytes.chunks(usize::from(piece).max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match scanner.scan(&buffer) {
                Ok(Scan::Complete(length)) => {
                    let frame: Vec<u8> = buffer.drain(..length).collect();
                    let mut reader = Reader::new(&frame);
                    assert!(reader.skip().is_some() && reader.is_at_end());
                    let _ = CommandTable::parse(&frame);
                }
                Ok(Scan::Incomplete) => break,
                Err(_) => break 'stream,
            }
        }
    }
    let mut reader = Reader::new(bytes);
    while reader.next().is_some() {}
    let _ = CommandTable::parse(bytes);
});
