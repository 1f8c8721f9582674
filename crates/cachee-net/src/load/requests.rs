//! The bytes of the requests, made before the clock starts.
//!
//! A sequence of commands is drawn once by seed and laid out as one block; a pipeline is a range of
//! it, sent as it is. Every connection starts at another place of the block. Only keys that must
//! never repeat are written while running: ten digits of a connection's own pipeline, counted up.

use std::ops::Range;

use super::{Operation, Workload};
use crate::resp::encode_command;

/// Commands drawn for a block, and the bytes a block of large values is kept to.
const COMMANDS_MAX: usize = 32 << 10;
const BLOCK_BYTES_MAX: usize = 8 << 20;
/// Digits of the number at the end of a key.
const DIGITS: usize = 10;

/// The commands of one run; shared by its connections.
#[derive(Debug)]
pub(super) struct Requests {
    block: Vec<u8>,
    /// Where each command starts, and where the last one ends.
    starts: Vec<usize>,
    pipeline: usize,
}

impl Requests {
    /// Draws the commands for pipelines of `pipeline`.
    pub(super) fn draw(workload: &Workload, pipeline: usize) -> Self {
        let mut draw = Draw::new(workload);
        let value = vec![b'x'; workload.value_bytes];
        let mut block = Vec::new();
        let mut starts = vec![0];
        while starts.len() <= 2 * pipeline
            || (starts.len() <= COMMANDS_MAX && block.len() < BLOCK_BYTES_MAX)
        {
            match workload.operation {
                // Each connection makes its own.
                Operation::Missing => break,
                Operation::Get => encode_command(&[b"GET", &draw.key()], &mut block),
                Operation::Mixed { read_share } if draw.unit() < read_share => {
                    encode_command(&[b"GET", &draw.key()], &mut block);
                }
                Operation::Set | Operation::Mixed { .. } => {
                    encode_command(&[b"SET", &draw.key(), &value], &mut block);
                }
                Operation::Mget { keys } => {
                    let keys: Vec<Vec<u8>> = (0..keys).map(|_| draw.key()).collect();
                    let mut words: Vec<&[u8]> = vec![b"MGET"];
                    words.extend(keys.iter().map(Vec::as_slice));
                    encode_command(&words, &mut block);
                }
            }
            starts.push(block.len());
        }
        Self { block, starts, pipeline }
    }
}

/// One connection's way through the requests.
#[derive(Debug)]
pub(super) enum Cursor {
    /// Through the shared block: the next command.
    Shared(usize),
    /// Keys that never repeat: a pipeline of this connection's own, and where its commands end.
    Own { block: Vec<u8>, ends: Vec<usize> },
}

impl Cursor {
    /// The way of connection number `connection`.
    pub(super) fn new(requests: &Requests, workload: &Workload, connection: usize) -> Self {
        let pipeline = requests.pipeline;
        if workload.operation == Operation::Missing {
            let (mut block, mut ends) = (Vec::new(), Vec::new());
            let Workload { prefix, seed, .. } = workload;
            for place in 0..pipeline {
                let key = format!("{prefix}missing:{seed}:{connection}:{place}:{:0DIGITS$}", 0);
                encode_command(&[b"GET", key.as_bytes()], &mut block);
                ends.push(block.len());
            }
            return Self::Own { block, ends };
        }
        let pipelines = (requests.starts.len() - 1) / pipeline;
        Self::Shared(connection % pipelines * pipeline)
    }

    /// Goes on to the next pipeline: where it is in `bytes`.
    pub(super) fn next(&mut self, requests: &Requests) -> Range<usize> {
        match self {
            Self::Shared(at) => {
                if *at + requests.pipeline >= requests.starts.len() {
                    *at = 0;
                }
                let first = requests.starts[*at];
                *at += requests.pipeline;
                first..requests.starts[*at]
            }
            Self::Own { block, ends } => {
                for &end in ends.iter() {
                    count_up(&mut block[end - 2 - DIGITS..end - 2]);
                }
                0..block.len()
            }
        }
    }

    /// What the ranges are of.
    pub(super) fn bytes<'a>(&'a self, requests: &'a Requests) -> &'a [u8] {
        match self {
            Self::Shared(_) => &requests.block,
            Self::Own { block, .. } => block,
        }
    }
}

fn count_up(digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

/// Keys and chances, by seed (SplitMix64).
struct Draw<'a> {
    state: u64,
    workload: &'a Workload,
    /// For Zipf: how likely a key is among those up to each rank, not normalised.
    cumulated: Vec<f64>,
}

impl<'a> Draw<'a> {
    fn new(workload: &'a Workload) -> Self {
        let mut sum = 0.0;
        let weigh = |exponent: f64| {
            let weights = (1..=workload.keys).map(|rank| f64::from(rank).powf(-exponent));
            weights
                .map(|weight| {
                    sum += weight;
                    sum
                })
                .collect()
        };
        let cumulated = workload.zipf.map(weigh).unwrap_or_default();
        Self { state: workload.seed, workload, cumulated }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// From 0 up to, not including, 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn key(&mut self) -> Vec<u8> {
        let unit = self.unit();
        let index = match self.cumulated.last() {
            Some(sum) => self.cumulated.partition_point(|upto| *upto <= unit * sum),
            None => (unit * f64::from(self.workload.keys)) as usize,
        };
        key(&self.workload.prefix, index)
    }
}

/// Key number `index`, as whoever fills the server has to name it.
pub fn key(prefix: &str, index: usize) -> Vec<u8> {
    format!("{prefix}{index:0DIGITS$}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn workload(operation: Operation) -> Workload {
        Workload { operation, keys: 100, ..Workload::default() }
    }

    fn commands(workload: &Workload, pipeline: usize, pipelines: usize) -> Vec<String> {
        let requests = Requests::draw(workload, pipeline);
        let mut cursor = Cursor::new(&requests, workload, 7);
        (0..pipelines)
            .flat_map(|_| {
                let range = cursor.next(&requests);
                let text = String::from_utf8(cursor.bytes(&requests)[range].to_vec()).unwrap();
                text.split_inclusive('*').map(str::to_owned).collect::<Vec<_>>()
            })
            .filter(|command| command != "*")
            .collect()
    }

    #[test]
    fn a_pipeline_is_whole_commands_and_comes_round() {
        let workload = workload(Operation::Get);
        let seen = commands(&workload, 64, 2 * COMMANDS_MAX / 64);
        assert_eq!(seen.len(), 2 * COMMANDS_MAX);
        let distinct: HashSet<_> = seen.iter().map(|c| c.split("\r\n").nth(4).unwrap()).collect();
        assert_eq!(distinct.len(), 100, "every key is asked for");
        assert!(seen[0].starts_with("2\r\n$3\r\nGET\r\n$16\r\nbench:00000000"), "{}", seen[0]);
    }

    #[test]
    fn missing_keys_never_repeat() {
        let workload = workload(Operation::Missing);
        let seen = commands(&workload, 16, 100);
        let keys: HashSet<_> = seen.iter().map(|c| c.split("\r\n").nth(4).unwrap()).collect();
        assert_eq!(keys.len(), 1_600);
    }

    #[test]
    fn shares_and_zipf_are_kept() {
        let mixed = commands(&workload(Operation::Mixed { read_share: 0.9 }), 1, 10_000);
        let reads = mixed.iter().filter(|command| command.contains("GET")).count();
        assert!((8_800..9_200).contains(&reads), "{reads}");
        let zipf = Workload { zipf: Some(1.0), ..workload(Operation::Get) };
        let mut times: HashMap<String, usize> = HashMap::new();
        for command in commands(&zipf, 1, 10_000) {
            *times.entry(command.split("\r\n").nth(4).unwrap().to_owned()).or_default() += 1;
        }
        // The first of a hundred keys has a share of 1 / (1 + 1/2 + … + 1/100).
        assert!((1_700..2_150).contains(&times["bench:0000000000"]), "{times:?}");
    }

    #[test]
    fn large_values_do_not_make_a_large_block() {
        let workload = Workload { value_bytes: 64 << 10, ..workload(Operation::Set) };
        let requests = Requests::draw(&workload, 64);
        assert!(requests.block.len() < 9 << 20);
        let mget = commands(&self::workload(Operation::Mget { keys: 100 }), 1, 1);
        assert!(mget[0].starts_with("101\r\n$4\r\nMGET\r\n"));
    }

    #[test]
    fn digits_carry() {
        let mut digits = *b"0199";
        count_up(&mut digits);
        assert_eq!(&digits, b"0200");
    }
}
