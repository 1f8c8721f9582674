//! From a fresh connection to a tracked one.
