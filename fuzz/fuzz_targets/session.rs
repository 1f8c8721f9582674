//! One client's session: any bytes from it, its upstream and its link, in any pieces and order.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachee_net::proxy::model::run_session(bytes));
