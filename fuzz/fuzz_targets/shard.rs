//! Operations on one shard, beside a plain map.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachee_core::model::run_shard(bytes));
