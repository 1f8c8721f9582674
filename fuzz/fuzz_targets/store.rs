//! Operations on the store, beside a plain account of what may be held, loaded and written.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachee_core::model::run_store(bytes));
