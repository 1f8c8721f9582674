//! The L1 of cachee.
