use std::collections::BTreeSet;
use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use super::*;
use crate::cacheable::{cacheable, encode_args};

const ROOMY: Limits = Limits { buffer_bytes: 1 << 20, file_bytes: 1 << 20 };

/// Told of each write; it goes on when it is answered.
type Hold = Arc<Mutex<(Sender<()>, Receiver<()>)>>;

/// What a file would hold, and what a disk says to each write.
#[derive(Clone, Default)]
struct Disk {
    content: Arc<Mutex<Vec<u8>>>,
    held: Option<Hold>,
    /// Bytes that fit.
    room: Option<usize>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(held) = self.held.as_ref().filter(|_| !bytes.is_empty()) {
            let held = held.lock();
            held.0.send(()).unwrap();
            held.1.recv().unwrap();
        }
        let mut content = self.content.lock();
        let room = self.room.map_or(bytes.len(), |room| room - content.len());
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = room.min(bytes.len());
        content.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Out for Disk {
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.content.lock().truncate(bytes as usize);
        Ok(())
    }
}

/// A configuration, and the warnings that come.
fn config(keys: RecordedKeys, one_in: u64) -> (RecordConfig, Receiver<String>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let warn = Arc::new(move |text: &str| tell.lock().send(text.to_owned()).unwrap());
    (RecordConfig { path: "trace".into(), one_in, keys, warn }, told)
}

fn start(config: &RecordConfig, disk: &Disk, limits: Limits) -> Recorder {
    Recorder::start(config, config.path.clone(), disk.clone(), limits).unwrap()
}

fn ask(recorder: &Recorder, words: &[&[u8]]) {
    let mut args = Vec::new();
    encode_args(words, &mut args);
    recorder.record(1, cacheable(words).unwrap().shape, words[1], &args);
}

/// One of the keys that are asked for.
fn key(number: u32) -> Vec<u8> {
    format!("user:{number}").into_bytes()
}

fn plain(one_in: u64, requests: impl Fn(&Recorder)) -> String {
    let disk = Disk::default();
    let recorder = start(&config(RecordedKeys::Plain, one_in).0, &disk, ROOMY);
    requests(&recorder);
    recorder.close();
    let text = disk.content.lock().clone();
    String::from_utf8(text).unwrap()
}

fn codes(requests: impl Fn(&Recorder)) -> Vec<u64> {
    let disk = Disk::default();
    let recorder = start(&config(RecordedKeys::Hashed, 1).0, &disk, ROOMY);
    requests(&recorder);
    recorder.close();
    let bytes = disk.content.lock().clone();
    assert_eq!(recorder.statistics().recorded, bytes.len() as u64 / 8);
    bytes.chunks(8).map(|code| u64::from_le_bytes(code.try_into().unwrap())).collect()
}

#[test]
fn requests_stand_in_the_order_in_which_they_came() {
    let text = plain(1, |recorder| (0..1000).for_each(|at| ask(recorder, &[b"GET", &key(at)])));
    let expected: String = (0..1000).map(|at| format!("user:{at}\n")).collect();
    assert_eq!(text, format!("key\n{expected}"));
}

#[test]
fn text_can_be_read_and_is_one_value_each() {
    let text = plain(1, |recorder| {
        ask(recorder, &[b"GET", b""]);
        ask(recorder, &[b"HGET", b"h", b"a field"]);
        ask(recorder, &[b"GET", b"a,\"b\"\n\xff"]);
        ask(recorder, &[b"LRANGE", b"l", b"0", b"-1"]);
    });
    let expected = "key\n\"\"\nh a\\x20field\n\"a,\\\"\"b\\\"\"\\n\\xff\"\nl 0 -1\n";
    assert_eq!(text, expected);
}

#[test]
fn an_entry_has_one_code_and_another_another() {
    let requests = |recorder: &Recorder| {
        ask(recorder, &[b"GET", b"k"]);
        ask(recorder, &[b"STRLEN", b"k"]);
        ask(recorder, &[b"HGET", b"k", b"f"]);
        ask(recorder, &[b"HGET", b"k", b"g"]);
        recorder.record(2, cacheable(&[b"GET", b"k"]).unwrap().shape, b"k", b"");
        ask(recorder, &[b"GET", b"k"]);
    };
    let (one, two) = (codes(requests), codes(requests));
    assert_eq!(one.len(), 6);
    assert_eq!(one[0], one[5]);
    assert_eq!(one.iter().collect::<BTreeSet<_>>().len(), 5);
    assert!(
        one.iter().all(|code| !two.contains(code)),
        "the codes of one file say nothing of another"
    );
}

#[test]
fn places_are_users_and_databases() {
    let recorder = start(&config(RecordedKeys::Hashed, 1).0, &Disk::default(), ROOMY);
    let places = [(None, 0), (None, 1), (Some("a"), 0), (Some("b"), 0)];
    let numbers: BTreeSet<u64> =
        places.iter().map(|&(user, db)| recorder.place(user, db)).collect();
    assert_eq!(numbers.len(), places.len());
    assert_eq!(recorder.place(Some("a"), 0), recorder.place(Some("a"), 0));
}

#[test]
fn a_sample_has_the_same_keys_everywhere_and_all_their_requests() {
    let requests = |recorder: &Recorder| {
        for at in (0..4096).chain(0..4096) {
            ask(recorder, &[b"GET", &key(at)]);
            ask(recorder, &[b"STRLEN", &key(at)]);
        }
    };
    let text = plain(16, requests);
    assert_eq!(text, plain(16, requests));
    let lines: Vec<&str> = text.lines().skip(1).collect();
    let keys: BTreeSet<&str> = lines.iter().copied().collect();
    assert!((190..330).contains(&keys.len()), "{} of 256 expected", keys.len());
    assert_eq!(lines.len(), keys.len() * 4);
}

#[test]
fn what_a_slow_disk_cannot_take_is_dropped_and_counted() {
    let (written, writes) = channel();
    let (go_on, goes_on) = channel();
    let held = Some(Arc::new(Mutex::new((written, goes_on))));
    let disk = Disk { held, ..Disk::default() };
    let limits = Limits { buffer_bytes: 4 * 8, ..ROOMY };
    let recorder = start(&config(RecordedKeys::Hashed, 1).0, &disk, limits);
    // Half a buffer is written at once; from then on the disk does not answer.
    (0..2).for_each(|at| ask(&recorder, &[b"GET", &key(at)]));
    writes.recv().unwrap();
    (0..10).for_each(|at| ask(&recorder, &[b"GET", &key(at)]));
    assert_eq!(recorder.statistics(), RecordStatistics { recorded: 0, dropped: 6 });
    (0..2).for_each(|_| go_on.send(()).unwrap());
    recorder.close();
    assert_eq!(recorder.statistics(), RecordStatistics { recorded: 6, dropped: 6 });
    assert_eq!(disk.content.lock().len(), 6 * 8);
}

#[test]
fn an_error_ends_it_with_one_warning_and_whole_requests() {
    let (config, warnings) = config(RecordedKeys::Hashed, 1);
    let disk = Disk { room: Some(2 * 8 + 4), ..Disk::default() };
    let recorder = start(&config, &disk, Limits { buffer_bytes: 4 * 8, ..ROOMY });
    (0..2).for_each(|at| ask(&recorder, &[b"GET", &key(at)]));
    while recorder.statistics().recorded < 2 {
        thread::yield_now();
    }
    (0..2).for_each(|at| ask(&recorder, &[b"GET", &key(at)]));
    let warning = warnings.recv().unwrap();
    assert!(warning.starts_with("nothing more is recorded in trace: "), "{warning}");
    ask(&recorder, &[b"GET", b"later"]);
    recorder.close();
    assert_eq!(recorder.statistics(), RecordStatistics { recorded: 2, dropped: 3 });
    assert_eq!(disk.content.lock().len(), 2 * 8);
    drop((recorder, config));
    assert!(warnings.recv().is_err(), "one warning");
}

#[test]
fn a_file_ends_at_its_size() {
    let (config, warnings) = config(RecordedKeys::Hashed, 1);
    let disk = Disk::default();
    let limits = Limits { buffer_bytes: 2 * 8, file_bytes: 3 * 8 };
    let recorder = start(&config, &disk, limits);
    let mut asked = 0;
    let warning = loop {
        ask(&recorder, &[b"GET", &key(asked)]);
        asked += 1;
        if let Ok(warning) = warnings.try_recv() {
            break warning;
        }
    };
    assert!(warning.ends_with("a file may have 0 MB"), "{warning}");
    recorder.close();
    let statistics = recorder.statistics();
    assert_eq!(statistics.recorded + statistics.dropped, u64::from(asked));
    assert_eq!(disk.content.lock().len() as u64, statistics.recorded * 8);
    assert!(statistics.recorded <= 3);
}

#[test]
fn a_key_that_is_too_long_for_text_is_dropped() {
    let disk = Disk::default();
    let recorder = start(&config(RecordedKeys::Plain, 1).0, &disk, ROOMY);
    ask(&recorder, &[b"GET", &vec![b'k'; PLAIN_BYTES_MAX + 1]]);
    recorder.close();
    assert_eq!(recorder.statistics(), RecordStatistics { recorded: 0, dropped: 1 });
}

#[test]
fn every_file_is_a_new_one_of_its_process() {
    let folder = std::env::temp_dir().join(format!("cachee-record-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let made = |name: &str, keys, one_in| {
        let (mut config, _) = config(keys, one_in);
        config.path = folder.join(name);
        let (path, _) = create(&config, 42).unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(made("trace.u64", RecordedKeys::Hashed, 1), "trace-42.u64");
    assert_eq!(made("trace", RecordedKeys::Hashed, 1), "trace-42-2.u64");
    assert_eq!(made("trace.csv", RecordedKeys::Plain, 16), "trace-1in16-42.csv");
    assert_eq!(made("trace.csv", RecordedKeys::Plain, 16), "trace-1in16-42-2.csv");
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(folder.join("trace-42.u64")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (mut config, _) = config(RecordedKeys::Hashed, 1);
    config.path = folder.clone();
    assert_eq!(create(&config, 42).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    fs::remove_dir_all(&folder).unwrap();
    config.path = folder.join("trace");
    assert_eq!(create(&config, 42).unwrap_err().kind(), io::ErrorKind::NotFound);
}
